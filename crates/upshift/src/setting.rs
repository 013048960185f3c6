//! Everything that a command about a cluster needs to know before it reaches the first host.

use std::path::PathBuf;

use upshift_model::action::Artifact;
use upshift_model::fleet::{Acceptance, Fleet};
use upshift_model::profile::{CLIENT, Profile};
use upshift_plan::{Request, Timing};
use upshift_wire::transport::Sharing;

use crate::acceptances;
use crate::args::{Global, Target};
use crate::cluster;
use crate::exit::{Failure, Problem};
use crate::fleets;
use crate::packages::Packages;
use crate::profiles;
use crate::restic;

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
    /// The restic program at hand, for hosts that have none.
    pub tool: Option<(Artifact, PathBuf)>,
    /// How logins are shared with other commands.
    pub sharing: Option<Sharing>,
}

impl Setting {
    /// Reads what the options name.
    pub fn read(global: &Global) -> Result<Self, Failure> {
        let fleet = fleets::read(&global.fleet)?;
        let profile = fleets::product(global, &fleet)?;
        Setting::of(global, fleet, profile)
    }

    /// The clients of this setting's product, by their own profile. Nothing where the profile has no upgrades of clients.
    pub fn clients(&self, global: &Global) -> Result<Option<Self>, Failure> {
        let Some(rule) = &self.profile.clients else {
            return Ok(None);
        };
        let profile = profiles::choose(&rule.product, None)?;
        Setting::of(global, fleets::read(&global.fleet)?, profile).map(Some)
    }

    /// The servers of the clients that this setting is about, by the shipped profile that names its own. Nothing where none does.
    pub fn servers(&self, global: &Global) -> Result<Option<Self>, Failure> {
        let product = &self.profile.product;
        let names = |profile: &Profile| {
            profile
                .clients
                .as_ref()
                .is_some_and(|rule| rule.product == *product)
        };
        match profiles::shipped()?.into_iter().find(names) {
            Some(profile) => Setting::of(global, fleets::read(&global.fleet)?, profile).map(Some),
            None => Ok(None),
        }
    }

    /// This setting of clients, with those left out that an operator has left out for their servers: who that is is said of the product, before
    /// anybody thinks of upgrading its clients.
    pub fn leaving_out_as(mut self, servers: &Setting) -> Self {
        let left_out = servers
            .accepted
            .iter()
            .filter(|accepted| accepted.name.starts_with(CLIENT));
        self.accepted.extend(left_out.cloned());
        self
    }

    fn of(global: &Global, fleet: Fleet, profile: Profile) -> Result<Self, Failure> {
        // Where a profile is about clients, they are the hosts that are upgraded.
        let fleet = match &profile.clients_of {
            Some(group) => fleet.of_clients(group, fleets::group(&profile)),
            None => fleet,
        };
        if fleet.servers(fleets::group(&profile)).next().is_none() {
            return Err(no_servers(global, &fleet, &profile));
        }
        let packages = Packages::read(&global.packages, &profile, &fleet.package_keys)?;
        let accepted = acceptances::in_force(global, &fleet, &profile)?;
        let tool = (!profile.snapshots.is_empty()).then(restic::find).flatten();
        Ok(Setting {
            accepted,
            tool,
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
            snapshot_tool: self.tool.as_ref().map(|(artifact, _)| artifact.clone()),
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
    if let Some(servers) = &profile.clients_of {
        return Failure::Usage(
            Problem::new(format!("the fleet `{}` has no clients of {servers}", fleet.name))
                .at(global.fleet.display())
                .because(format!("no host in the group `{servers}` has the role `client`"))
                .next(format!(
                    "list the clients under the product `{servers}`, too, each with `roles: [client]`"
                )),
        );
    }
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
