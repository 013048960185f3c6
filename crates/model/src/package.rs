//! Names of packages as patterns with named parts.
