//! What must hold before anything is changed: hosts, the cluster, and the profile's own checks.

use serde_json::json;
use upshift_model::facts::{Facts, NodeFacts};
use upshift_model::profile::{Check, Profile, Source, Strategy};
use upshift_plan::{Finding, Plan, Refusal, Request, plan, standing, testing};

/// A profile that is changed in one thing.
fn profile(change: impl FnOnce(&mut Profile)) -> Profile {
    let mut profile = testing::profile();
    change(&mut profile);
    profile
}

/// Three servers of 1.0.0, of which the second is changed.
fn facts(change: impl FnOnce(&mut NodeFacts)) -> Facts {
    let mut facts = testing::facts(3, "1.0.0");
    change(facts.nodes.get_mut("n00002").unwrap());
    facts
}

fn planned(profile: &Profile, facts: &Facts, request: &Request) -> Result<Plan, Vec<Refusal>> {
    plan(
        profile,
        "test",
        &testing::fleet(facts.nodes.len()),
        facts,
        request,
    )
}

/// The plan to 1.1.0, or the reasons why there is none, as `code: message`.
fn attempt(profile: &Profile, facts: &Facts) -> Result<Plan, Vec<String>> {
    planned(profile, facts, &testing::request("1.1.0", &[])).map_err(words)
}

fn words(refusals: Vec<Refusal>) -> Vec<String> {
    let words = |refusal: &Refusal| format!("{}: {}", refusal.code, refusal.message);
    refusals.iter().map(words).collect()
}

fn unhealthy(node: &mut NodeFacts) {
    node.probes.get_mut("status").unwrap()["value"]["healthy"] = false.into();
}

/// The profile with this as the only check.
fn with_check(change: impl FnOnce(&mut Check)) -> Profile {
    profile(|profile| {
        profile.checks.truncate(1);
        change(&mut profile.checks[0]);
    })
}

#[test]
fn a_healthy_cluster_stands_well() {
    let standing = standing(
        &testing::profile(),
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
    );
    assert_eq!((standing.troubles, standing.warnings), (Vec::new(), Vec::new()));
}

#[test]
fn a_cluster_is_judged_without_a_target() {
    let mut facts = facts(|node| {
        unhealthy(node);
        node.places.remove("data_dir");
        node.host.clock_offset_ms = 90_000;
    });
    let profile = profile(|profile| {
        // These are about hops, and there is none.
        for change in [0, 1] {
            let mut check = profile.checks[0].clone();
            match change {
                0 => check.to = Some("1.1.x".to_owned()),
                _ => check.strategies = vec![Strategy::Rolling],
            }
            check.name = format!("about-a-hop-{change}");
            profile.checks.push(check);
        }
    });
    let fleet = testing::fleet(3);
    let found = standing(&profile, &fleet, &facts);
    assert_eq!(
        words(found.troubles),
        [
            "check:healthy: the server says that it is not healthy",
            "missing-place: the data directory (`data_dir`) was not found on the host",
        ]
    );
    assert_eq!(
        found.warnings,
        ["the clock of n00002 is 90 s ahead of this machine's: check its time service"]
    );
    facts.nodes.get_mut("n00003").unwrap().unreachable = Some("no route to host".to_owned());
    let codes: Vec<String> = standing(&profile, &fleet, &facts)
        .troubles
        .into_iter()
        .map(|trouble| trouble.code)
        .collect();
    // What keeps others from being told comes first.
    assert_eq!(codes, ["unreachable", "check:healthy", "missing-place"]);
}

#[test]
fn clocks_are_warned_of_from_a_minute_on_in_their_direction() {
    let about = "the clock of n00002 is";
    for (offset, words) in [
        (60_000, None),
        (-60_000, None),
        (60_001, Some("60 s ahead of")),
        (-60_001, Some("60 s behind")),
        (3_600_000, Some("3600 s ahead of")),
    ] {
        let facts = facts(|node| node.host.clock_offset_ms = offset);
        let expected = words.map(|words| format!("{about} {words} this machine's: check its time service"));
        let plan = attempt(&testing::profile(), &facts).unwrap();
        assert_eq!(plan.warnings, Vec::from_iter(expected), "{offset} ms");
    }
}

#[test]
fn a_program_that_was_replaced_under_its_server_is_warned_of() {
    for (shown, warned) in [
        (
            json!({"running": true, "exe": "/usr/bin/ledger", "replaced": true}),
            true,
        ),
        (
            json!({"running": true, "exe": "/usr/bin/ledger", "replaced": false}),
            false,
        ),
        (
            json!({"running": true, "exe": "/usr/bin/ledger", "replaced": null}),
            false,
        ),
        (json!({"error": "no answer"}), false),
    ] {
        let facts = facts(|node| {
            node.probes.insert("process".to_owned(), shown.clone());
        });
        let plan = attempt(&testing::profile(), &facts).unwrap();
        let said = plan.warnings.iter().any(|warning| {
            warning.starts_with("n00002 runs a program that was removed or replaced on disk")
                && warning.contains("/usr/bin/ledger")
        });
        assert_eq!(said, warned, "{shown}: {:?}", plan.warnings);
    }
}

#[test]
fn disk_is_enough_to_the_byte() {
    let profile = testing::profile();
    let enough = facts(|node| node.host.disk_free = 80_000_000);
    assert!(attempt(&profile, &enough).is_ok());
    let short = facts(|node| node.host.disk_free = 79_000_000);
    assert_eq!(
        attempt(&profile, &short).unwrap_err(),
        ["disk: 80 MB must be free under /var/lib/upshift, and 79 MB are: 1 MB are missing"]
    );
}

#[test]
fn a_place_that_the_profile_can_do_without_may_be_missing() {
    let optional = profile(|profile| {
        let mut place = profile.places["config"].clone();
        place.required = false;
        profile.places.insert("archive".to_owned(), place);
    });
    assert!(attempt(&optional, &testing::facts(3, "1.0.0")).is_ok());
}

#[test]
fn no_more_servers_are_taken_at_once_than_may_be_down() {
    for (servers, most, batch, expected) in [
        (7, 2, Some(0), Some("a batch of no servers was asked for")),
        (7, 2, Some(2), None),
        (7, 2, None, None),
        (
            7,
            2,
            Some(3),
            Some("a batch of 3 was asked for; no more than 2 may be down at once"),
        ),
        (5, 2, Some(2), None),
        (4, 2, Some(1), None),
        (
            4,
            2,
            Some(2),
            Some("with 2 of 4 servers down no majority is left (3 must stay up)"),
        ),
        (3, 1, None, None),
    ] {
        let profile = profile(|profile| profile.capacity.max_unavailable = most);
        let request = Request {
            batch,
            ..testing::request("1.1.0", &[])
        };
        let found = planned(&profile, &testing::facts(servers, "1.0.0"), &request);
        let found = found.err().map(words).unwrap_or_default();
        let expected: Vec<String> = expected
            .iter()
            .map(|words| format!("capacity: {words}"))
            .collect();
        assert_eq!(found, expected, "{batch:?} of {servers}, {most} may be down");
    }
}

#[test]
fn without_a_quorum_every_server_but_the_fewest_may_be_spared() {
    let profile = profile(|profile| {
        profile.capacity.quorum = false;
        profile.capacity.min_servers = 2;
    });
    assert!(attempt(&profile, &testing::facts(2, "1.0.0")).is_ok());
    assert_eq!(
        attempt(&profile, &testing::facts(1, "1.0.0")).unwrap_err(),
        ["capacity: test has 1 server, and a rolling upgrade takes at least 2"]
    );
}

#[test]
fn only_a_rolling_upgrade_asks_who_can_be_spared() {
    for (from, to) in [("1.0.0", "1.0.1"), ("1.1.0", "2.0.0"), ("2.0.0", "3.0.0")] {
        let one = testing::facts(1, from);
        assert!(
            planned(&testing::profile(), &one, &testing::request(to, &[])).is_ok(),
            "{from} to {to}"
        );
    }
}

#[test]
fn versions_that_meet_on_the_way_must_be_allowed_to() {
    let facts = testing::facts(3, "1.0.0");
    for (rule, expected) in [
        ("same_minor(a, b)", Some("which Ledger does not support")),
        ("a == '1.0.0'", None),
        ("b == '1.0.0'", None),
        ("a.nothing == 1", Some("and whether they may cannot be told")),
    ] {
        let profile = profile(|profile| profile.skew.servers = Some(rule.to_owned()));
        let found = attempt(&profile, &facts).err().unwrap_or_default();
        let expected = expected
            .map(|words| format!("skew: on the way servers of 1.0.0 and 1.1.0 run side by side, {words}"));
        assert_eq!(found.len(), usize::from(expected.is_some()), "{rule}: {found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.starts_with(expected), "{rule}: {found}");
        }
    }
    // Nothing runs side by side where all servers are stopped together.
    let never = profile(|profile| profile.skew.servers = Some("false".to_owned()));
    assert!(
        planned(
            &never,
            &testing::facts(3, "1.1.0"),
            &testing::request("2.0.0", &[])
        )
        .is_ok()
    );
}

#[test]
fn what_is_said_of_the_cluster_needs_every_server() {
    let mut facts = facts(|_| {});
    let leads = |node: &mut NodeFacts, leads: bool| {
        node.probes.get_mut("status").unwrap()["value"]["leader"] = leads.into();
    };
    leads(facts.nodes.get_mut("n00001").unwrap(), false);
    let refusals = planned(&testing::profile(), &facts, &testing::request("1.1.0", &[])).unwrap_err();
    assert_eq!(
        words(refusals),
        ["check:one-leader: the cluster does not have exactly one leader"]
    );
    // Perhaps it is the one that cannot be seen.
    facts.nodes.get_mut("n00003").unwrap().unreachable = Some("no route to host".to_owned());
    assert_eq!(
        attempt(&testing::profile(), &facts).unwrap_err(),
        ["unreachable: the host cannot be reached: no route to host"]
    );
}

#[test]
fn a_check_says_where_its_rule_comes_from() {
    let link = Some("https://ledger.invalid/health".to_owned());
    for cluster in [false, true] {
        let profile = with_check(|check| {
            check.cluster = cluster;
            if cluster {
                check.expect = "nodes.all(n, n.probes.status.value.healthy)".to_owned();
            }
            check.source = Some(Source {
                title: "made up for tests".to_owned(),
                link: link.clone(),
            });
        });
        let refusals = planned(&profile, &facts(unhealthy), &testing::request("1.1.0", &[])).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:#?}");
        assert_eq!(refusals[0].link, link);
        assert_eq!(refusals[0].remedy, "make the cluster healthy first");
    }
}

#[test]
fn advice_is_told_and_stops_nothing() {
    for (cluster, expect, expected) in [
        (false, "probes.status.value.healthy", "n00002 is not well"),
        (
            true,
            "nodes.all(n, n.probes.status.value.healthy)",
            "1.0.0 is not well",
        ),
    ] {
        let profile = with_check(|check| {
            (check.cluster, check.advice) = (cluster, true);
            check.expect = expect.to_owned();
            let who = if cluster { "from" } else { "name" };
            check.message = format!("{{{{ {who} }}}} is not well");
        });
        assert_eq!(attempt(&profile, &facts(unhealthy)).unwrap().warnings, [expected]);
        assert!(attempt(&profile, &facts(|_| {})).unwrap().warnings.is_empty());
        // Advice that cannot be computed is told as that, and not passed over.
        let profile = with_check(|check| {
            (check.cluster, check.advice) = (cluster, true);
            check.expect = "nothing.of.the.kind".to_owned();
        });
        let warnings = attempt(&profile, &facts(|_| {})).unwrap().warnings;
        assert!(
            warnings[0].contains("whether `healthy` holds cannot be told"),
            "{warnings:?}"
        );
    }
}

#[test]
fn what_depends_on_a_check_that_does_not_hold_is_only_counted() {
    let profile = profile(|profile| {
        let mut root = profile.checks[0].clone();
        root.name = "answers".to_owned();
        root.message = "the server wants a certificate".to_owned();
        profile.checks[0].needs = vec!["answers".to_owned()];
        profile.checks[0].expect = "probes.status.value.healthy".to_owned();
        profile.checks[1].needs = vec!["healthy".to_owned()];
        profile.checks.insert(0, root);
    });
    let refusals = planned(&profile, &facts(unhealthy), &testing::request("1.1.0", &[])).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].code, "check:answers");
    assert_eq!(refusals[0].hosts, ["n00002"]);
    assert_eq!(refusals[0].hides, ["healthy", "one-leader"]);
    insta::assert_snapshot!(upshift_plan::show::refusals(&refusals), @r"
    Refused, for 1 reason. Nothing was changed.

      1. n00002: the server wants a certificate [check:answers]
         what to do: make the cluster healthy first
         because of this 2 checks cannot be told
    ");
}

#[test]
fn a_place_that_is_missing_is_the_cause_of_what_cannot_be_told_without_it() {
    let profile = with_check(|check| check.expect = "places.data_dir != ''".to_owned());
    let lacking = facts(|node| {
        node.places.remove("data_dir");
    });
    let refusals = planned(&profile, &lacking, &testing::request("1.1.0", &[])).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].code, "missing-place");
    assert_eq!(refusals[0].hides, ["healthy"]);
}

#[test]
fn a_command_that_failed_is_the_cause_and_is_told_first() {
    let profile = with_check(|check| check.expect = "probes.status.value.healthy".to_owned());
    let failed = facts(|node| {
        let value = json!({"exit": 1, "value": null, "stderr": "Error: certificate required\n"});
        node.probes.insert("status".to_owned(), value);
        node.host.disk_free = 0;
    });
    let refusals = planned(&profile, &failed, &testing::request("1.1.0", &[])).unwrap_err();
    let told: Vec<(&str, Finding)> = refusals
        .iter()
        .map(|refusal| (refusal.code.as_str(), refusal.finding))
        .collect();
    assert_eq!(
        told,
        [
            ("probe-failed", Finding::CannotTell),
            ("disk", Finding::DoesNotHold)
        ]
    );
    assert!(
        refusals[0]
            .message
            .ends_with("ended with status 1: Error: certificate required")
    );
}

#[test]
fn a_check_that_cannot_be_computed_is_refused_with_the_reason() {
    for cluster in [false, true] {
        let profile = with_check(|check| {
            check.cluster = cluster;
            check.expect = "nothing.of.the.kind".to_owned();
        });
        let found = attempt(&profile, &facts(|_| {})).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        let told = "check:healthy: whether `healthy` holds cannot be told: ";
        assert!(
            found[0].starts_with(told) && found[0].contains("nothing"),
            "{found:?}"
        );
    }
}

#[test]
fn a_look_that_failed_is_told_only_where_a_check_needs_it() {
    let failed = |name: &str| {
        facts(|node| {
            node.probes.insert(name.to_owned(), json!({"error": "timed out"}));
        })
    };
    let profile = testing::profile();
    assert!(attempt(&profile, &failed("snapshot")).is_ok());
    let refusals = planned(&profile, &failed("status"), &testing::request("1.1.0", &[])).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(
        (refusals[0].code.as_str(), &refusals[0].hosts[..]),
        ("probe-failed", &["n00002".to_owned()][..])
    );
}

#[test]
fn a_check_may_ask_who_leads_and_say_it_with_a_choice_of_words() {
    let profile = with_check(|check| {
        check.expect = "!leader || version == '1.1.0'".to_owned();
        check.message = "{% if leader %}the leader{% else %}a follower{% endif %} is too old".to_owned();
    });
    let refusals = planned(
        &profile,
        &testing::facts(3, "1.0.0"),
        &testing::request("1.1.0", &[]),
    )
    .unwrap_err();
    assert_eq!(refusals[0].hosts, ["n00001"]);
    assert_eq!(words(refusals), ["check:healthy: the leader is too old"]);
}

#[test]
fn a_check_is_made_for_the_hops_that_it_is_about() {
    type Change = fn(&mut Check);
    let changes: [(Change, bool); 6] = [
        (|check| check.from = Some("1.0.x".to_owned()), true),
        (|check| check.from = Some("1.1.x".to_owned()), false),
        (|check| check.to = Some("1.1.x".to_owned()), true),
        (|check| check.to = Some("1.2.x".to_owned()), false),
        (
            |check| check.strategies = vec![Strategy::Rolling, Strategy::Hot],
            true,
        ),
        (|check| check.strategies = vec![Strategy::Switch], false),
    ];
    for (position, (change, made)) in changes.into_iter().enumerate() {
        let found = attempt(&with_check(change), &facts(unhealthy));
        assert_eq!(found.is_err(), made, "{position}");
    }
}

#[test]
fn what_could_not_be_observed_is_not_said_to_be_stopped() {
    let profile = profile(|profile| {
        profile.versions.absent = vec![upshift_model::profile::Absent {
            name: "in-a-container".to_owned(),
            holds: "has(probes.containers) && probes.containers.value.size() > 0".to_owned(),
            message: "{{ node.name }} runs it in the container {{ probes.containers.value[0] }}".to_owned(),
            remedy: "replace the container".to_owned(),
        }];
    });
    let running = profile.versions.running.probe.clone();
    let said = |change: &dyn Fn(&mut NodeFacts)| {
        let facts = facts(|node| {
            node.version = None;
            change(node);
        });
        attempt(&profile, &facts).unwrap_err().join("\n")
    };
    let stopped = |node: &mut NodeFacts| {
        node.probes
            .insert("process".to_owned(), json!({ "running": false }));
    };
    assert!(said(&stopped).contains("not-running: "), "{}", said(&stopped));
    let slow = said(&|node| {
        node.probes
            .insert("process".to_owned(), json!({ "running": true }));
        node.probes
            .insert(running.clone(), json!({ "error": "no answer within 75 s" }));
    });
    assert!(
        slow.contains("version-unknown: ") && slow.contains("no answer within 75 s"),
        "{slow}"
    );
    let unseen = said(&|node| {
        node.probes
            .insert("process".to_owned(), json!({ "error": "cannot run systemctl" }));
    });
    assert!(
        unseen.contains("version-unknown: ") && unseen.contains("systemctl"),
        "{unseen}"
    );
    let unlocated = said(&|node| node.unlocated = Some("cannot run systemctl".to_owned()));
    assert!(
        unlocated.contains("not-located: ") && unlocated.contains("systemctl"),
        "{unlocated}"
    );
    let contained = said(&|node| {
        stopped(node);
        node.probes
            .insert("containers".to_owned(), json!({ "value": ["4711"] }));
    });
    assert!(
        contained.contains("in-a-container: n00002 runs it in the container 4711"),
        "{contained}"
    );
}

#[test]
fn a_target_that_is_not_the_newest_of_its_line_is_told_so() {
    let with = |version: Option<&str>| {
        profile(|profile| {
            let lines = version.map(|version| json!({"line": "1.1.x", "version": version}));
            let newest = json!({
                "rule": "always take the newest", "lines": lines.iter().collect::<Vec<_>>(), "source": {"title": "the vendor's page"},
            });
            profile.newest = Some(serde_json::from_value(newest).unwrap());
        })
    };
    let remarks = |profile: &Profile| {
        let plan = attempt(profile, &testing::facts(3, "1.0.0")).unwrap();
        let found = plan.warnings.into_iter();
        found
            .filter(|warning| warning.contains("newest"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        remarks(&with(Some("1.1.3"))),
        [
            "1.1.0 is not the newest release of its line that is known here, which is 1.1.3; always take the newest"
        ]
    );
    assert!(remarks(&with(Some("1.1.0"))).is_empty());
    // What is not known is said, and is no yes.
    assert_eq!(
        remarks(&with(None)),
        ["whether 1.1.0 is the newest release of its line is not known here; always take the newest"]
    );
    assert!(remarks(&testing::profile()).is_empty());
}

#[test]
fn remedies_are_filled_in_as_messages_are() {
    let profile = with_check(|check| {
        check.expect = "false".to_owned();
        check.message = "{{ name }} is not as it should be".to_owned();
        check.remedy = "mend it: `ledgerctl mend {{ name }} --to {{ to }}`".to_owned();
        check.acceptable = true;
    });
    let refusals = planned(
        &profile,
        &testing::facts(3, "1.0.0"),
        &testing::request("1.1.0", &[]),
    )
    .unwrap_err();
    let name = &profile.checks[0].name;
    let expected = format!(
        "mend it: `ledgerctl mend n00002 --to 1.1.0`; to take it upon yourself: `upshift accept {name} --reason \"…\"`"
    );
    assert!(
        refusals.iter().any(|refusal| refusal.remedy == expected),
        "{refusals:#?}"
    );
}
