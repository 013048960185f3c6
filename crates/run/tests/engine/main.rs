//! The engine, one behaviour at a time.

mod back;
mod balancers;
mod controllers;
mod forward;
mod forward_again;
mod guards;
mod hops;
mod no_return;
mod operators;
mod puppet;
mod steps;
mod telling;
