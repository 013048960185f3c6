//! Upshift: lab.
