//! What a plan is made of, by topic; and what holds for every plan.

mod common;
mod defaults;
mod guards;
mod prepare;
mod properties;
mod request;
mod strategies;
