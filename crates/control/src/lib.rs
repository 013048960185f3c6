//! Upshift: control.
