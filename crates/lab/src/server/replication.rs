//! A leader's threads, one for each other member: they carry the log over.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::api::Member;
use super::core::{ELECTION, HEARTBEAT, Role};
use super::wire::AppendAnswer;
use crate::http;

/// Starts a thread for each other member.
pub(super) fn start(member: &Arc<Member>) {
    for (name, address) in member.others() {
        let member = Arc::clone(member);
        thread::spawn(move || {
            loop {
                speak(&member, &name, &address);
            }
        });
    }
}

/// Says one thing to a member, or waits until there is something to say.
fn speak(member: &Member, name: &str, address: &str) {
    let request = {
        let core = member.core();
        let idle = core.role != Role::Leader
            || core
                .peers
                .get(name)
                .is_some_and(|peer| peer.next > core.disk.last());
        let core = if idle { member.wait(core, HEARTBEAT) } else { core };
        if core.role != Role::Leader {
            return;
        }
        core.append_request(name)
    };
    let Some(request) = request else { return };
    let answer = http::post(
        address,
        "/peer/append",
        &json!(request),
        ELECTION.saturating_mul(4),
    )
    .ok()
    .and_then(|answer| serde_json::from_slice::<AppendAnswer>(&answer.body).ok());
    match answer {
        Some(answer) => {
            member.must(member.core().appended(name, &request, &answer));
            member.notify();
        }
        None => thread::sleep(Duration::from_millis(20)),
    }
}
