//! One controller per fleet.

use upshift_store::{Acquire, Holder, Lease, LeaseInfo, Store};

use crate::exit::Failure;
use crate::runs;

/// A lease that is given back when it is dropped, unless a runner has taken it over.
pub struct HeldLease<'s> {
    store: &'s Store,
    lease: Lease,
    handed_over: bool,
}

impl<'s> HeldLease<'s> {
    /// Takes the lease of a fleet; refused, with who holds it and since when, where somebody does.
    pub fn take(store: &'s Store, fleet: &str, take_over: bool) -> Result<Self, Failure> {
        let lease = store
            .acquire(
                fleet,
                &Holder::this_process(&who()),
                Acquire { take_over, above: 0 },
            )
            .map_err(|error| runs::failure(error, &[]))?;
        Ok(HeldLease {
            store,
            lease,
            handed_over: false,
        })
    }

    /// Takes a token that is younger than this one, where the lease's own is not: hosts have seen it of a controller with another
    /// journal, whose clock may be ahead of ours.
    pub fn raise(&mut self, above: u64) -> Result<(), Failure> {
        if self.lease.token > above {
            return Ok(());
        }
        let how = Acquire {
            take_over: true,
            above,
        };
        self.lease = self
            .store
            .acquire(&self.lease.fleet, &Holder::this_process(&who()), how)
            .map_err(|error| runs::failure(error, &[]))?;
        Ok(())
    }

    /// The lease itself, for what is written under it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The fencing token.
    pub fn token(&self) -> u64 {
        self.lease.token
    }

    /// Hands the lease to a runner, which gives it back itself.
    pub fn hand_over(mut self) -> Lease {
        self.handed_over = true;
        self.lease.clone()
    }
}

impl Drop for HeldLease<'_> {
    fn drop(&mut self) {
        if !self.handed_over {
            // A lease that was not given back shows that its holder has ended, and is taken over by the next.
            let _ = self.store.release(&self.lease);
        }
    }
}

/// Who carries a run just now, where somebody lives who does.
pub fn carrier(store: &Store, fleet: &str, run: &str) -> Result<Option<LeaseInfo>, Failure> {
    let lease = store.lease(fleet).map_err(|error| runs::failure(error, &[]))?;
    Ok(lease.filter(|lease| lease.run.as_deref() == Some(run) && !lease.holder.has_ended()))
}

/// The person at this machine, as `user@host`.
pub fn who() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let system = rustix::system::uname();
    format!(
        "{}@{}",
        user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw())),
        system.nodename().to_string_lossy()
    )
}
