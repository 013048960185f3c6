//! A guard that fires, with a host that is made up: what is asked, what is done, and how it ends.

use serde_json::json;
use upshift_host::fire::{Check, Effect, Firing, Input, Performed, step};
use upshift_host::guard::State;
use upshift_model::Millis;
use upshift_model::action::GuardRecipe;

/// Stop, switch, start, then two actions that bring the server back into service.
fn recipe(with: serde_json::Value) -> GuardRecipe {
    let check = json!({"probe": "releases", "expect": "true"});
    let service = json!({"systemd": {"unit": "ledger.service"}});
    let mut recipe = json!({
        "scheme": "semver", "lease": "60s", "stagger": "0s",
        "rollback": [
            {"stop": {"service": service, "patience": "10s"}},
            {"switch": {"release": "1.0.0"}},
            {"start": service},
            {"command": {"argv": ["resume"]}},
            {"command": {"argv": ["undrain"]}},
        ],
        "proof": [check],
    });
    for (name, value) in with.as_object().unwrap() {
        recipe[name] = if value == "check" {
            check.clone()
        } else {
            value.clone()
        };
    }
    serde_json::from_value(recipe).unwrap()
}

/// What happens on the host.
struct Puppet {
    recipe: GuardRecipe,
    /// What a check shows at a moment, given the actions that were done.
    shows: fn(Check, u64, &[usize]) -> Result<bool, String>,
    /// How an attempt at an action ends.
    performs: fn(usize, u32) -> Performed,
}

/// What came of it.
#[derive(Debug, Default, PartialEq)]
struct Story {
    done: Vec<usize>,
    took: u64,
    locks: u32,
    /// None where it was still waiting after an hour.
    end: Option<State>,
}

fn done(_: usize, _: u32) -> Performed {
    Performed::Done
}

impl Puppet {
    fn run(&self) -> Story {
        let mut story = Story::default();
        let (mut firing, mut input, mut locked) = (Firing::default(), Input::Begin, false);
        while story.took < 3_600_000 {
            let next = step(firing, &self.recipe, Millis(story.took), input);
            firing = next.firing;
            input = match next.effect {
                Effect::Observe(check) => Input::Seen((self.shows)(check, story.took, &story.done)),
                Effect::Pause(time) => {
                    story.took += time.0;
                    Input::Ready
                }
                Effect::LockOrders => {
                    assert!(!locked, "the lock is taken once");
                    (locked, story.locks) = (true, story.locks + 1);
                    Input::Ready
                }
                Effect::FreeOrders => {
                    assert!(locked, "what is freed was locked");
                    locked = false;
                    Input::Ready
                }
                Effect::Perform { action, attempt } => {
                    assert!(locked, "no order is done while the guard acts");
                    let performed = (self.performs)(action, attempt);
                    if performed == Performed::Done {
                        story.done.push(action);
                    }
                    Input::Performed(performed)
                }
                Effect::End(state) => {
                    story.end = Some(state);
                    return story;
                }
            };
        }
        story
    }
}

#[test]
fn what_brings_it_back_into_service_waits_until_the_old_version_serves() {
    let puppet = Puppet {
        recipe: recipe(json!({})),
        shows: |_, now, done| Ok(done.contains(&2) && now > 20_000),
        performs: done,
    };
    let story = puppet.run();
    assert_eq!(story.done, [0, 1, 2, 3, 4]);
    assert!(story.took > 20_000);
    assert_eq!((story.locks, story.end), (2, Some(State::RolledBack)));
}

#[test]
fn an_old_version_that_does_not_serve_is_reported_and_not_brought_into_service() {
    let puppet = Puppet {
        recipe: recipe(json!({})),
        shows: |_, _, _| Err("connection refused".to_owned()),
        performs: done,
    };
    let story = puppet.run();
    assert_eq!(story.done, [0, 1, 2], "the rollback is tried once");
    let Some(State::Failed { reason }) = story.end else {
        panic!("{:?}", story.end)
    };
    assert_eq!(
        reason,
        "the rollback ran, but `true` did not hold within 120 s: connection refused"
    );
}

#[test]
fn past_the_point_of_no_return_nothing_is_changed() {
    let puppet = Puppet {
        recipe: recipe(json!({"stand_down_if": "check", "serving_if": "check"})),
        shows: |check, _, _| Ok(check == Check::Crossed),
        performs: done,
    };
    let story = puppet.run();
    assert_eq!((story.done, story.end), (vec![], Some(State::StoodDown)));
}

#[test]
fn a_server_that_serves_and_cannot_say_whether_it_was_crossed_is_asked_until_it_can() {
    let puppet = Puppet {
        recipe: recipe(json!({"stand_down_if": "check", "serving_if": "check"})),
        shows: |check, _, _| match check {
            Check::Crossed => Err("no answer".to_owned()),
            check => Ok(check == Check::Serves),
        },
        performs: done,
    };
    let story = puppet.run();
    assert_eq!((story.done.len(), story.end), (0, None), "unknown is not no");
    let later = Puppet {
        shows: |check, now, done| match check {
            Check::Crossed if now < 90_000 => Err("no answer".to_owned()),
            Check::Crossed => Ok(false),
            Check::Proof(_) => Ok(done.contains(&2)),
            check => Ok(check == Check::Serves),
        },
        ..puppet
    };
    let story = later.run();
    assert_eq!(story.end, Some(State::RolledBack));
    assert!(story.took >= 90_000);
}

#[test]
fn a_server_that_does_not_serve_cannot_be_asked_and_is_brought_back() {
    let puppet = Puppet {
        recipe: recipe(json!({"stand_down_if": "check", "serving_if": "check"})),
        shows: |check, _, done| match check {
            Check::Crossed => Err("connection refused".to_owned()),
            Check::Proof(_) => Ok(done.contains(&2)),
            _ => Ok(false),
        },
        performs: done,
    };
    assert_eq!(puppet.run().end, Some(State::RolledBack));
}

#[test]
fn a_server_that_serves_waits_until_the_others_can_bear_its_loss() {
    let recipe = recipe(json!({"serving_if": "check", "wait_until": "check"}));
    let puppet = Puppet {
        recipe: recipe.clone(),
        shows: |check, now, done| match check {
            Check::Serves => Ok(true),
            Check::OthersServe => Ok(now >= 50_000),
            _ => Ok(done.contains(&2)),
        },
        performs: done,
    };
    let story = puppet.run();
    assert_eq!(story.end, Some(State::RolledBack));
    assert!(story.took >= 50_000);
    let down = Puppet {
        shows: |check, _, done| Ok(matches!(check, Check::Proof(_)) && done.contains(&2)),
        ..puppet
    };
    assert_eq!(down.run().took, 0, "one that is down has nothing to wait for");
}

#[test]
fn an_old_version_that_serves_already_is_not_stopped() {
    let puppet = Puppet {
        recipe: recipe(json!({"serving_if": "check", "wait_until": "check"})),
        shows: |check, _, _| Ok(check != Check::OthersServe),
        performs: done,
    };
    let story = puppet.run();
    assert_eq!(story.done, [1, 2, 3, 4]);
    assert_eq!(story.end, Some(State::RolledBack));
}

#[test]
fn an_action_that_may_work_later_is_tried_five_times_and_one_that_fails_once() {
    let shows = |_: Check, _: u64, done: &[usize]| Ok(done.contains(&2));
    let transient = Puppet {
        recipe: recipe(json!({})),
        shows,
        performs: |action, attempt| match (action, attempt) {
            (1, ..5) => Performed::Transient("busy".to_owned()),
            _ => Performed::Done,
        },
    };
    assert_eq!(transient.run().end, Some(State::RolledBack));
    let busy = Puppet {
        performs: |_, _| Performed::Transient("busy".to_owned()),
        ..transient
    };
    let failed = |reason: &str| {
        Some(State::Failed {
            reason: reason.to_owned(),
        })
    };
    assert_eq!(busy.run().end, failed("stop failed: busy"));
    let broken = Puppet {
        performs: |_, _| Performed::Failed("no such unit".to_owned()),
        ..busy
    };
    let story = broken.run();
    assert_eq!((story.took, story.end), (0, failed("stop failed: no such unit")));
}
