//! Upshift: node.
