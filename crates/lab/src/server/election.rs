//! Elections: who leads when nobody does.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::api::Member;
use super::core::{ELECTION, Role};
use super::log::Change;
use super::wire::{VoteAnswer, VoteRequest};
use crate::http;

/// Watches the leader, stands for election when it is gone, and raises the cluster version when it is time. Never returns.
pub(super) fn watch(member: &Arc<Member>) {
    loop {
        thread::sleep(Duration::from_millis(10));
        member.crash_if_due();
        let request = {
            let mut core = member.core();
            if let Some(version) = core.due_rise() {
                member.must(core.propose(Change::ClusterVersion(version)));
                member.notify();
            }
            if core.role == Role::Leader || Instant::now() < core.stand_at {
                continue;
            }
            member.must(core.stand())
        };
        stand(member, &request);
    }
}

/// Stands for election in a term that has been taken up already.
pub(super) fn stand(member: &Arc<Member>, request: &VoteRequest) {
    let (sender, answers) = mpsc::channel();
    let others = member.others();
    for (_, address) in others.clone() {
        let (sender, request) = (sender.clone(), request.clone());
        thread::spawn(move || {
            let answer = http::post(&address, "/peer/vote", &json!(request), ELECTION)
                .ok()
                .and_then(|answer| serde_json::from_slice::<VoteAnswer>(&answer.body).ok());
            let _ = sender.send(answer);
        });
    }
    drop(sender);
    let mut votes = 1;
    let needed = member.core().majority();
    let mut left = others.len();
    while votes < needed && left > 0 {
        let Ok(answer) = answers.recv() else { break };
        left -= 1;
        let Some(answer) = answer else { continue };
        if answer.granted && answer.term == request.term {
            votes += 1;
        } else if answer.term > request.term {
            member.must(member.core().follow(answer.term));
            return;
        }
    }
    let mut core = member.core();
    if votes >= needed && core.role == Role::Candidate && core.ballot.term == request.term {
        member.must(core.lead());
        drop(core);
        member.notify();
    }
}
