//! The network: latency, and messages that are lost, doubled or late.

use std::collections::BTreeSet;

use upshift_model::Millis;
use upshift_model::action::{GuardStatus, Report};
use upshift_model::probe::{Observation, Probe};
use upshift_plan::{NodeIndex, StepId};
use upshift_run::{AskId, Order};

use crate::rng::Rng;
use crate::world::{Happening, World};

/// What a controller asks of a host.
#[derive(Clone, Debug)]
pub enum Question {
    /// Do something.
    Order(Box<Order>),
    /// Observe something.
    Observe {
        /// The question's number.
        ask: AskId,
        /// The hop whose way forward the answer is to prove.
        hop: Option<u32>,
        /// What.
        probe: Box<Probe>,
    },
    /// Renew a guard.
    Renew {
        /// Fencing token.
        token: u64,
        /// The hop.
        hop: u32,
    },
    /// Disarm a guard.
    Disarm {
        /// Fencing token.
        token: u64,
        /// The hop.
        hop: u32,
        /// Number of the run's newest order.
        sequence: u64,
    },
}

/// What a host answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To an order.
    Reported {
        /// Which step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
        /// How it ended.
        report: Report,
    },
    /// To a question.
    Observed {
        /// The question's number.
        ask: AskId,
        /// What.
        observation: Observation,
    },
    /// To a renewal or disarming.
    Guard(GuardStatus),
    /// The host has seen a greater token.
    Stale(u64),
}

/// The network's state.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Hosts that controllers cannot reach.
    pub cut_from_controllers: BTreeSet<usize>,
    /// Hosts that the other hosts and the balancer cannot reach.
    pub cut_from_peers: BTreeSet<usize>,
    /// The next messages that are lost.
    pub lose: u32,
    /// The next messages that arrive twice.
    pub double: u32,
    /// The next messages that arrive late, and by how much.
    pub delay: (u32, Millis),
    /// How many of a hundred messages are lost.
    pub loss: u64,
    /// How many of a hundred messages arrive twice.
    pub doubling: u64,
    /// How many of a hundred messages arrive late.
    pub lateness: u64,
}

impl Network {
    /// Whether two hosts reach each other.
    pub fn peers(&self, one: usize, other: usize) -> bool {
        one == other || !(self.is_isolated(one) || self.is_isolated(other))
    }

    /// Whether a host reaches no other.
    pub fn is_isolated(&self, host: usize) -> bool {
        self.cut_from_peers.contains(&host)
    }

    /// The delays with which a message arrives: none where it is lost, two where it is doubled.
    fn deliveries(&mut self, host: usize, rng: &mut Rng) -> Vec<u64> {
        if self.cut_from_controllers.contains(&host) {
            return Vec::new();
        }
        let latency = rng.between(1, 8);
        if take_one(&mut self.lose) || rng.percent(self.loss) {
            return Vec::new();
        }
        if take_one(&mut self.double) || rng.percent(self.doubling) {
            return vec![latency, latency + rng.between(1, 9_000)];
        }
        if take_one(&mut self.delay.0) {
            return vec![latency + self.delay.1.0];
        }
        if rng.percent(self.lateness) {
            return vec![latency + rng.between(100, 8_000)];
        }
        vec![latency]
    }
}

fn take_one(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

impl World {
    /// Sends a question on its way.
    pub fn send_to_host(&mut self, controller: usize, node: NodeIndex, question: &Question) {
        let host = node.0 as usize;
        for delay in self.network.deliveries(host, &mut self.rng) {
            self.after(
                delay,
                Happening::ToHost {
                    host,
                    controller,
                    question: question.clone(),
                },
            );
        }
    }

    /// Sends an answer on its way.
    pub fn send_to_controller(&mut self, host: usize, controller: usize, answer: &Answer) {
        for delay in self.network.deliveries(host, &mut self.rng) {
            self.after(
                delay,
                Happening::ToController {
                    host,
                    controller,
                    answer: answer.clone(),
                },
            );
        }
    }
}
