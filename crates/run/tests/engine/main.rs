//! The engine, one behaviour at a time.

mod back;
mod balancers;
mod controllers;
mod forward;
mod guards;
mod no_return;
mod operators;
mod puppet;
mod steps;
