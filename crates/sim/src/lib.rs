//! Upshift: sim.
