//! The order in which servers are taken, and which are taken together.

use std::collections::BTreeMap;

use crate::survey::{Server, Survey};
use crate::types::NodeIndex;

/// Which servers come when: the canary, then everybody else, then leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Canary,
    Follower,
    Leader,
}

/// The servers in the order in which they are taken: the canary first, leaders last, otherwise domain by domain and by name.
pub(crate) fn order(survey: &Survey<'_>, servers: &[NodeIndex]) -> Vec<NodeIndex> {
    batches(survey, servers, 1).into_iter().flatten().collect()
}

/// Batches of at most `size` servers, in the order in which they are taken. A batch never spans two failure domains; a server
/// whose domain is not known is a batch of its own where the profile asks for domains. Neither the canary nor a leader shares a
/// batch with others than its like.
pub(crate) fn batches(survey: &Survey<'_>, servers: &[NodeIndex], size: u32) -> Vec<Vec<NodeIndex>> {
    let mut sorted: BTreeMap<(Class, Option<&str>), Vec<&Server<'_>>> = BTreeMap::new();
    for index in servers {
        let server = &survey.servers[index.0 as usize];
        sorted
            .entry((class(survey, server), domain(survey, server)))
            .or_default()
            .push(server);
    }
    let mut batches = Vec::new();
    for ((_, domain), members) in sorted {
        let alone = survey.profile.capacity.failure_domain.is_some() && domain.is_none();
        let size = if alone { 1 } else { size.max(1) as usize };
        batches.extend(
            members
                .chunks(size)
                .map(|batch| batch.iter().map(|server| server.index).collect()),
        );
    }
    batches
}

/// How many servers of a rolling hop are taken together.
pub(crate) fn batch_size(survey: &Survey<'_>) -> u32 {
    survey
        .request
        .batch
        .unwrap_or(survey.profile.capacity.max_unavailable)
}

fn class(survey: &Survey<'_>, server: &Server<'_>) -> Class {
    if survey.request.canary.as_deref() == Some(server.name) {
        Class::Canary
    } else if server.facts.leader {
        Class::Leader
    } else {
        Class::Follower
    }
}

/// The failure domain of a server, where the profile names the label that tells it.
pub(crate) fn domain<'a>(survey: &Survey<'a>, server: &Server<'a>) -> Option<&'a str> {
    let label = survey.profile.capacity.failure_domain.as_ref()?;
    server.host.labels.get(label).map(String::as_str)
}
