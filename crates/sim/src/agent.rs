//! The agent's rules on a host: durable records, fencing, one order at a time.

use upshift_model::action::Report;
use upshift_run::{Direction, Order};

use crate::disk::{GuardRecord, Record};
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
            Question::Observe { ask, probe } => {
                let observation = self.observe(host, &run, &probe);
                self.send_to_controller(host, controller, &Answer::Observed { ask, observation });
            }
            Question::Renew { token, hop } => {
                let answer = match self.admit(host, token) {
                    Ok(()) => Answer::Guard(self.renew_guard(host, &(run, hop))),
                    Err(seen) => Answer::Stale(seen),
                };
                self.send_to_controller(host, controller, &answer);
            }
            Question::Disarm { token, hop } => {
                let answer = match self.admit(host, token) {
                    Ok(()) => Answer::Guard(self.disarm_guard(host, &(run, hop))),
                    Err(seen) => Answer::Stale(seen),
                };
                self.send_to_controller(host, controller, &answer);
            }
        }
    }

    /// Lets a token in, or names the greater one that has been seen.
    fn admit(&mut self, host: usize, token: u64) -> Result<(), u64> {
        let seen = self.hosts[host].disk.token;
        if token < seen && !self.sabotage.ignore_fencing {
            return Err(seen);
        }
        self.hosts[host].disk.token = seen.max(token);
        self.books.token_admitted(host, token);
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
            if self.guard_works(host) {
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
        let key = (run.clone(), order.step.0, order.attempt);
        self.hosts[host].disk.records.insert(key, Record::Started);
        self.books.execution_begins(host, &order);
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
        let key = (run.to_owned(), order.step.0, order.attempt);
        let disk = &mut self.hosts[host].disk;
        match disk.records.get(&key) {
            Some(Record::Finished(report)) if !self.sabotage.run_twice => return Some(report.clone()),
            Some(Record::Started) if !self.sabotage.run_twice => {
                disk.records.insert(key, Record::Finished(Report::Interrupted));
                return Some(Report::Interrupted);
            }
            _ => {}
        }
        let newest = disk.sequence.entry(run.to_owned()).or_default();
        let this = (order.token, order.sequence);
        let obeys_anything = self.sabotage.ignore_fencing || self.sabotage.run_twice;
        if this < *newest && !obeys_anything {
            return Some(Report::Fenced { token: disk.token });
        }
        *newest = this.max(*newest);
        let fired = disk
            .guards
            .get(&(run.to_owned(), order.hop))
            .is_some_and(GuardRecord::has_fired);
        (fired && order.direction == Direction::Forward).then_some(Report::GuardFired)
    }

    /// An order is over: recorded, then reported.
    pub fn order_over(&mut self, host: usize, controller: usize, run: &str, order: &Order, report: Report) {
        let key = (run.to_owned(), order.step.0, order.attempt);
        self.hosts[host]
            .disk
            .records
            .insert(key, Record::Finished(report.clone()));
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
