//! The beginning of a run, and taking one up again.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use upshift_model::Millis;
use upshift_plan::Plan;
use upshift_run::{State, replay};
use upshift_store::NewRun;

use super::perform::Performer;
use super::{ControlError, Current, Handle, Runner, Setup};
use crate::clock::RunClock;
use crate::known::Notes;

impl<'a> Runner<'a> {
    /// Begins a run of a plan under a lease of its fleet. That nothing has changed since the plan was made is for the caller
    /// to see before ([`upshift_plan::verify_unchanged`]). `setting` is kept for whoever takes the run up again; see
    /// [`NewRun::setting`].
    ///
    /// # Errors
    /// Where the store fails or the lease was taken over, and where the fleet lacks a host of the plan.
    pub fn begin(
        setup: Setup<'a>,
        run: &str,
        plan: Arc<Plan>,
        setting: &Value,
    ) -> Result<Self, ControlError> {
        setup.know_hosts(&plan)?;
        let new = NewRun {
            id: run,
            plan: &plan,
            setting,
            created_by: &setup.who,
        };
        setup.store.create_run(&setup.lease, &new)?;
        let created_ms = setup.store.run(run)?.created_ms;
        let state = State::new(plan, run.to_owned());
        let clock = RunClock::take_up(created_ms, Millis::ZERO);
        Ok(Runner::with(setup, state, clock, created_ms))
    }

    /// Takes a run up where its journal ends.
    ///
    /// # Errors
    /// Where there is no such run, the store fails, the lease was taken over, or the fleet lacks a host of the plan.
    pub fn resume(setup: Setup<'a>, run: &str) -> Result<Self, ControlError> {
        let plan = Arc::new(setup.store.plan(run)?);
        setup.know_hosts(&plan)?;
        setup.store.take_up(&setup.lease, run)?;
        let created_ms = setup.store.run(run)?.created_ms;
        let events = setup
            .store
            .events(run, 1)?
            .into_iter()
            .map(|recorded| recorded.event);
        let state = replay(State::new(plan, run.to_owned()), events);
        setup.store.set_outcome(&setup.lease, run, None)?;
        let clock = RunClock::take_up(created_ms, state.now());
        Ok(Runner::with(setup, state, clock, created_ms))
    }

    fn with(setup: Setup<'a>, state: State, clock: RunClock, began_ms: u64) -> Self {
        let Setup {
            store,
            lease,
            hosts,
            artifacts,
            who,
        } = setup;
        let (sender, signals) = mpsc::unbounded_channel();
        let (say, spoken) = mpsc::unbounded_channel();
        let notes = Notes::of(&state, &lease.fleet, lease.token, &who, began_ms);
        let performer = Performer::new(&state, &lease, hosts, artifacts, notes, sender);
        let handle = Handle {
            spoken: say,
            leaving: Arc::new(Notify::new()),
        };
        Runner {
            store,
            lease,
            who,
            state: Current(Some(state)),
            clock,
            performer,
            signals,
            spoken,
            handle,
            wake: None,
            shown: None,
        }
    }
}

impl Setup<'_> {
    fn know_hosts(&self, plan: &Plan) -> Result<(), ControlError> {
        let servers = plan.nodes.iter().map(|node| &node.name);
        let balancers = plan.balancers.iter().map(|balancer| &balancer.name);
        match servers
            .chain(balancers)
            .find(|name| self.hosts.get(name).is_none())
        {
            Some(name) => Err(ControlError::UnknownHost(name.clone())),
            None => Ok(()),
        }
    }
}
