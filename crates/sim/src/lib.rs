//! A simulated fleet under the real engine: deterministic, seeded, with faults at every step.

pub mod agent;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod data;
pub mod disk;
pub mod exhaustive;
pub mod facts;
pub mod fault;
pub mod guard;
pub mod host;
pub mod network;
pub mod observe;
pub mod ops;
pub mod planted;
pub mod product;
pub mod promises;
pub mod random;
pub mod record;
pub mod rng;
pub mod scenario;
pub mod server;
pub mod tool;
pub mod trace;
pub mod work;
pub mod world;
