//! Upshift: store.
