//! The run engine: `step(state, event) → (state, effects)`. Pure: it decides, others perform.

pub mod event;

pub use event::*;
