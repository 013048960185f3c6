//! The planner: facts, profile and request in; an immutable plan out, or all the reasons why not. Pure.

pub mod types;

pub use types::*;
