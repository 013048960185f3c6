//! The run engine: `step(state, event) → (state, effects)`. Pure: it decides, others perform.
//!
//! The journal of a run is the list of its [`Event`]s; [`State`] is their fold; [`step`] takes one in and says what is to be
//! done. Resume is [`replay`] of the journal followed by [`EventKind::Started`].

mod attempts;
mod context;
mod decide;
mod engine;
mod event;
mod forward_again;
mod guards;
mod operator;
mod program;
mod rounds;
mod soak;
mod state;
mod steps;
mod view;

pub use context::{Names, context};
pub use engine::{replay, step};
pub use event::*;
pub use state::State;
pub use view::*;
