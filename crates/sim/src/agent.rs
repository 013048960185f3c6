//! The agent's rules on a host: durable records, fencing, one order at a time.

use upshift_host::orders::{self, Admission, Asked, Ledger};
use upshift_model::action::{Action, Report};
use upshift_run::{Direction, Order};

use crate::guard::{key, place};
use crate::host::{Waiting, Worker};
use crate::network::{Answer, Question};
use crate::ops::ops_of;
use crate::world::World;

impl World {
    /// A question reaches a host.
    pub fn host_hears(&mut self, host: usize, controller: usize, question: Question) {
        if !self.hosts[host].up {
            return;
        }
        let run = self.run.clone();
        match question {
            Question::Order(order) => self.order_arrives(host, controller, run, order),
            Question::Observe { ask, hop, probe } => {
                let seen = self.observe(host, &run, &probe);
                let guard = hop.and_then(|hop| self.hosts[host].disk.guards.get(&key(&run, hop)));
                let observation = orders::of_way_forward(guard, seen);
                self.send_to_controller(host, controller, &Answer::Observed { ask, observation });
            }
            Question::Renew { token, hop } => {
                let answer = match self.admit(host, token) {
                    Ok(()) => Answer::Guard(self.renew_guard(host, &key(&run, hop))),
                    Err(seen) => Answer::Stale(seen),
                };
                self.send_to_controller(host, controller, &answer);
            }
            Question::Disarm { token, hop, sequence } => {
                let answer = match self.admit(host, token) {
                    Ok(()) => Answer::Guard(self.disarm_guard(host, &key(&run, hop), place(token, sequence))),
                    Err(seen) => Answer::Stale(seen),
                };
                self.send_to_controller(host, controller, &answer);
            }
        }
    }

    /// Lets a token in, or names the greater one that has been seen.
    fn admit(&mut self, host: usize, token: u64) -> Result<(), u64> {
        let seen = self.hosts[host].disk.token;
        if token < seen && !self.planted.ignore_fencing {
            return Err(seen);
        }
        self.hosts[host].disk.token = seen.max(token);
        self.record.token_admitted(host, token);
        Ok(())
    }

    fn order_arrives(&mut self, host: usize, controller: usize, run: String, order: Box<Order>) {
        // Raised at once, also while an older controller's order is still being done, so that its next one is refused.
        let _ = self.admit(host, order.token);
        let same = |other: &Order| other.step == order.step && other.attempt == order.attempt;
        if let Some(job) = &mut self.hosts[host].job
            && let Worker::Agent {
                controller: told,
                order: doing,
                ..
            } = &mut job.worker
            && same(doing)
            && order.token >= doing.token
        {
            *told = controller;
            return;
        }
        self.hosts[host].queue.push_back(Waiting {
            controller,
            run,
            order,
        });
        self.pump(host);
    }

    /// Gives the host its next piece of work, where it has none.
    pub fn pump(&mut self, host: usize) {
        while self.hosts[host].up && self.hosts[host].job.is_none() {
            self.guard_takes_lock(host);
            if self.hosts[host].orders_locked.is_some() || self.hosts[host].job.is_some() {
                return;
            }
            let Some(waiting) = self.hosts[host].queue.pop_front() else {
                return;
            };
            self.order_begins(host, waiting);
        }
    }

    fn order_begins(&mut self, host: usize, waiting: Waiting) {
        let Waiting {
            controller,
            run,
            order,
        } = waiting;
        let report = self.answer_without_doing(host, &run, &order);
        if let Some(report) = report {
            let text = report_words(&report);
            self.tell(host, || {
                format!(
                    "answers {}#{} {}: {text}",
                    order.step.0,
                    order.attempt,
                    order.action.word()
                )
            });
            let answer = Answer::Reported {
                step: order.step,
                attempt: order.attempt,
                report,
            };
            self.send_to_controller(host, controller, &answer);
            return;
        }
        self.ledger(host, &run)
            .begin((order.step.0, order.attempt), place(order.token, order.sequence));
        self.record.execution_begins(host, &order);
        self.check_readiness(&order);
        self.tell(host, || {
            format!(
                "does {}#{} {}",
                order.step.0,
                order.attempt,
                crate::trace::describe(&order.action)
            )
        });
        let ops = ops_of(&order.action);
        self.begin_job(
            host,
            Worker::Agent {
                controller,
                order,
                run,
            },
            ops,
        );
    }

    fn answer_without_doing(&mut self, host: usize, run: &str, order: &Order) -> Option<Report> {
        if let Err(token) = self.admit(host, order.token) {
            return Some(Report::Fenced { token });
        }
        let planted = &self.planted;
        let mut asked = Asked {
            attempt: (order.step.0, order.attempt),
            place: place(order.token, order.sequence),
            forward: order.direction == Direction::Forward,
            arms: matches!(order.action, Action::ArmGuard(_)),
            again: matches!(&order.action, Action::ArmGuard(guard) if guard.again),
        };
        if planted.ignore_fencing {
            asked.place = place(u64::MAX, u64::MAX);
        }
        let disk = &self.hosts[host].disk;
        let forgotten = Ledger::default();
        let ledger = disk.ledgers.get(run).filter(|_| !planted.run_twice);
        let guard = disk.guards.get(&key(run, order.hop));
        match orders::admit(ledger.unwrap_or(&forgotten), disk.token, guard, &asked) {
            Admission::Perform => None,
            Admission::Repeat(report) => Some(report.clone()),
            Admission::Answer(report) => Some(report),
        }
    }

    fn ledger(&mut self, host: usize, run: &str) -> &mut Ledger<Report> {
        self.hosts[host].disk.ledgers.entry(run.to_owned()).or_default()
    }

    /// An order is over: recorded, then reported.
    pub fn order_over(&mut self, host: usize, controller: usize, run: &str, order: &Order, report: Report) {
        self.ledger(host, run)
            .end((order.step.0, order.attempt), report.clone());
        if !matches!(report, Report::Done { .. }) {
            let text = report_words(&report);
            self.tell(host, || {
                format!(
                    "fails {}#{} {}: {text}",
                    order.step.0,
                    order.attempt,
                    order.action.word()
                )
            });
        }
        let answer = Answer::Reported {
            step: order.step,
            attempt: order.attempt,
            report,
        };
        self.send_to_controller(host, controller, &answer);
    }

    /// The agent of a host is killed: what it did and what waited is gone; its records stay.
    pub fn agent_dies(&mut self, host: usize) {
        self.hosts[host].queue.clear();
        self.hosts[host]
            .job
            .take_if(|job| matches!(job.worker, Worker::Agent { .. }));
        self.pump(host);
        self.session_returns(host);
    }
}

/// A report in a few words.
pub fn report_words(report: &Report) -> String {
    match report {
        Report::Done { .. } => "done".to_owned(),
        Report::Transient { reason } => format!("not now: {reason}"),
        Report::Failed { reason } => format!("failed: {reason}"),
        Report::Interrupted => "interrupted".to_owned(),
        Report::Fenced { token } => format!("fenced: a controller with token {token} has been here"),
        Report::GuardFired => "refused: the guard has fired".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use upshift_host::guard::State;
    use upshift_model::profile::Strategy;

    use super::*;
    use crate::scenario::{Scenario, profile};
    use crate::trace::Level;

    /// The order to arm the first guard of the plan.
    fn arming(world: &World) -> Order {
        let plan = &world.plan;
        let step = &plan.hops[0].windows[0].forward[0].steps[0];
        let recipe = plan.recipe(step.recipe);
        let action = upshift_plan::render_action(plan, step.node, recipe, &BTreeMap::new(), &world.run, 0);
        Order {
            node: step.node,
            host: None,
            step: step.id,
            attempt: 1,
            token: 1,
            sequence: 7,
            direction: Direction::Forward,
            action: action.unwrap().unwrap(),
            hop: 0,
        }
    }

    fn disarming(sequence: u64) -> Question {
        Question::Disarm {
            token: 1,
            hop: 0,
            sequence,
        }
    }

    #[test]
    fn an_order_to_arm_that_the_disarming_has_overtaken_arms_nothing() {
        let mut world = Scenario::of(Strategy::Rolling).world(&profile(), Level::Silent);
        let mut order = arming(&world);
        let host = order.node.0 as usize;
        let tell = |world: &mut World, order: &Order| {
            world.host_hears(host, 0, Question::Order(Box::new(order.clone())));
            while world.hosts[host].job.is_some() {
                world.advance();
            }
        };
        let stands = |world: &World| {
            let guard = world.hosts[host].disk.guards.get(&key(&world.run, 0));
            guard.is_some_and(|guard| guard.state == State::Armed)
        };
        world.host_hears(host, 0, disarming(7));
        tell(&mut world, &order);
        assert!(!stands(&world), "it came too late");
        order.sequence = 8;
        tell(&mut world, &order);
        assert!(stands(&world), "a newer one arms");
        world.host_hears(host, 0, disarming(7));
        assert!(stands(&world), "a disarming that comes late leaves it");
        world.host_hears(host, 0, disarming(8));
        assert!(!stands(&world));
    }
}
