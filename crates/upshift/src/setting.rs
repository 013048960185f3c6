//! Everything that a command about a cluster needs to know before it reaches the first host.

use upshift_model::fleet::{Acceptance, Fleet};
use upshift_model::profile::Profile;
use upshift_plan::{Request, Timing};
use upshift_wire::transport::Sharing;

use crate::acceptances;
use crate::args::{Global, Target};
use crate::cluster;
use crate::exit::{Failure, Problem};
use crate::fleets;
use crate::packages::Packages;

/// The fleet, the product's profile, and the packages at hand.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The hosts.
    pub fleet: Fleet,
    /// What is known about the product.
    pub profile: Profile,
    /// The package files at hand.
    pub packages: Packages,
    /// The risks that are taken upon oneself on this day.
    pub accepted: Vec<Acceptance>,
    /// How logins are shared with other commands.
    pub sharing: Option<Sharing>,
}

impl Setting {
    /// Reads what the options name.
    pub fn read(global: &Global) -> Result<Self, Failure> {
        let fleet = fleets::read(&global.fleet)?;
        let profile = fleets::product(global, &fleet)?;
        if fleet.servers(fleets::group(&profile)).next().is_none() {
            return Err(no_servers(global, &fleet, &profile));
        }
        let packages = Packages::read(&global.packages, &profile, &fleet.package_keys)?;
        let accepted = acceptances::in_force(global, &fleet, &profile)?;
        Ok(Setting {
            accepted,
            fleet,
            profile,
            packages,
            sharing: cluster::sharing(global),
        })
    }

    /// What is asked of the planner.
    pub fn request(&self, to: &str, target: &Target) -> Request {
        Request {
            to: to.to_owned(),
            via: target.via.clone(),
            artifacts: self.packages.artifacts(),
            verified: self.packages.verified.clone(),
            batch: target.batch,
            canary: target.canary.clone(),
            accepted: self.accepted.clone(),
            again: target.again,
            timing: Timing {
                soak: target.soak,
                between: target.soak_between,
                lease: target.guard_lease,
                limit: target.window,
                ..Timing::default()
            },
            ..Request::default()
        }
    }
}

fn no_servers(global: &Global, fleet: &Fleet, profile: &Profile) -> Failure {
    let group = fleets::group(profile);
    Failure::Usage(
        Problem::new(format!(
            "the fleet `{}` has no servers of {}",
            fleet.name, profile.title
        ))
        .at(global.fleet.display())
        .because(format!("no host is in the group `{group}`"))
        .next(format!("list the servers under the product `{group}`")),
    )
}
