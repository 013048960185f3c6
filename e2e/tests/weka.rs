//! WEKA: the vendor's own upgrade as a delegate, with a double of `weka` that keeps one state for all hosts.

use std::process::ExitCode;

use serde_json::json;
use upshift_e2e::harness::{self, Case, Outcome, only_when_exhaustive};

#[path = "weka/clients.rs"]
mod clients;
#[path = "weka/cluster.rs"]
mod cluster;
#[path = "weka/download.rs"]
mod download;
#[path = "weka/hops.rs"]
mod hops;
#[path = "weka/lost.rs"]
mod lost;

use cluster::{With, failing};

const TRIALS: &[Case] = &[
    (
        "an_upgrade_that_rolls_back_by_itself_is_seen_on_all_backends",
        rolled_back,
    ),
    (
        "the_vendors_upgrade_is_watched_and_its_versions_are_asked_for",
        upgraded,
    ),
    ("forty_backends", forty),
    ("a_mixed_cluster_is_never_called_done", mixed),
    ("a_command_that_never_ends_is_not_judged_while_it_runs", hanging),
    ("an_upgrade_that_did_nothing_is_no_success", silent),
    (
        "a_server_that_cannot_prepare_stops_it_before_anything_changes",
        cannot_prepare,
    ),
    ("what_is_not_known_is_never_a_pass", unknown),
    ("what_was_prepared_days_ahead_is_skipped", prepared_ahead),
    ("releases_come_from_a_tar_file_in_a_dark_site", download::by_tar),
    ("curl_reads_the_token_from_a_file", download::by_curl),
    (
        "hops_wait_for_the_data_upgrade_and_go_on_from_between",
        hops::between,
    ),
    (
        "a_second_hop_that_fails_ends_between_and_another_run_goes_on",
        hops::second_fails,
    ),
    (
        "up_to_3_10_the_mode_is_named_and_io_started_by_hand",
        hops::one_shot_by_name,
    ),
    ("from_4_0_to_4_1_the_mode_is_ndu", hops::ndu_by_name),
    (
        "the_override_of_a_hop_is_set_for_as_long_as_it_takes",
        hops::overridden,
    ),
    ("cores_and_join_secrets_are_compared", hops::checked),
    (
        "a_controller_killed_while_the_command_runs_watches_it_again",
        lost::still_running,
    ),
    (
        "a_command_that_ended_meanwhile_is_not_started_again",
        lost::ended_meanwhile,
    ),
    ("a_cluster_that_is_mixed_meanwhile_is_held", lost::mixed_meanwhile),
    ("container_by_container_from_4_1_on", by_container),
    (
        "a_phase_that_failed_is_held_and_resume_goes_on_with_it",
        failed_phase,
    ),
    (
        "clients_two_lines_behind_block_the_next_hop",
        clients::two_lines_behind,
    ),
    (
        "clients_follow_in_batches_and_one_that_fails_stops_the_next",
        clients::in_batches,
    ),
    (
        "clients_of_several_versions_go_straight_to_the_servers_version",
        clients::of_several_versions,
    ),
];

const OLD: &str = "3.14.1.6926";
const NEW: &str = "4.0.1.118";

fn main() -> ExitCode {
    let trials = harness::trials(&[TRIALS]);
    // They wait more than they compute.
    harness::side_by_side(&trials, 2)
}

fn upgraded() -> Outcome {
    let weka = With::default().begin();
    let ran = weka.upgrade(NEW, &[]).expect(0);
    ran.keep("weka-upgrade");
    weka.all_on(NEW);
    let orders = weka.orders();
    let upgrade = orders
        .iter()
        .find(|order| order.starts_with("upgrade"))
        .expect("an upgrade");
    for words in [
        "--stop-io-timeout 91s",
        "--host-version-change-timeout 180s",
        "--disconnect-stateless-clients-timeout 60s",
    ] {
        assert!(upgrade.contains(words), "{orders:?}");
    }
    Ok(())
}

fn rolled_back() -> Outcome {
    rolled_back_with(3)
}

fn rolled_back_with(backends: usize) -> Outcome {
    let weka = With {
        backends,
        change: json!({"fail": "window"}),
        ..With::default()
    }
    .begin();
    let ran = weka.upgrade(NEW, &[]).expect(4);
    ran.keep("weka-rolled-back");
    weka.all_on(OLD);
    // The vendor's own words, and the server that they name.
    assert!(
        ran.text()
            .contains(&format!("w{backends}: host version change timed out")),
        "{}",
        ran.text()
    );
    // Up to 3.14 the vendor's command leaves I/O stopped.
    assert!(
        weka.orders().contains(&"start-io".to_owned()),
        "{:?}",
        weka.orders()
    );
    assert_eq!(weka.cluster()["io"], "STARTED");
    Ok(())
}

fn forty() -> Outcome {
    only_when_exhaustive("a minute")?;
    let weka = With {
        backends: 40,
        ..With::default()
    }
    .begin();
    let ran = weka.upgrade(NEW, &[]).expect(0);
    for advice in [
        "timeouts of the upgrade are those for small clusters",
        "more backends than the fleet",
    ] {
        assert!(ran.text().contains(advice), "{}", ran.text());
    }
    weka.all_on(NEW);
    rolled_back_with(40)
}

fn mixed() -> Outcome {
    only_when_exhaustive("a minute")?;
    for how in ["stuck", "mixed"] {
        let weka = failing(how);
        let ran = weka.impatient(NEW, &[]).expect(5);
        ran.keep("weka-mixed");
        assert!(ran.text().contains("may be mixed"), "{}", ran.text());
        assert!(weka.versions().contains(&NEW.to_owned()) && weka.versions().contains(&OLD.to_owned()));
        let why = weka.run(&["why"]);
        assert!(why.text().contains("may be mixed"), "{}", why.text());
        // Mended by hand, the run ends with the old version everywhere.
        let mut hosts = weka.cluster()["hosts"].clone();
        for host in hosts.as_array_mut().expect("hosts") {
            host["containers"]["default"] = json!(OLD);
        }
        weka.change(json!({"hosts": hosts}));
        weka.run(&["resume"]).expect(4);
        assert_eq!(weka.cluster()["io"], "STARTED");
    }
    Ok(())
}

fn hanging() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = failing("hang");
    let ran = weka.impatient(NEW, &[]).expect(5);
    assert!(
        ran.text().contains("the vendor's command still runs"),
        "{}",
        ran.text()
    );
    Ok(())
}

fn silent() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = failing("silent");
    let ran = weka.upgrade(NEW, &[]).expect(4);
    assert!(
        ran.text().contains("the vendor's command has ended"),
        "{}",
        ran.text()
    );
    weka.all_on(OLD);
    Ok(())
}

fn cannot_prepare() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let weka = failing("prepare");
    let ran = weka.upgrade(NEW, &[]);
    assert!(matches!(ran.status.code(), Some(3 | 4)), "{}", ran.text());
    assert!(ran.text().contains("w3: failed to build"), "{}", ran.text());
    weka.all_on(OLD);
    assert!(
        !weka.orders().iter().any(|order| order.starts_with("upgrade")),
        "{:?}",
        weka.orders()
    );
    Ok(())
}

fn unknown() -> Outcome {
    only_when_exhaustive("two minutes")?;
    for (change, told) in [
        (json!({"without": ["buckets"]}), "buckets"),
        (json!({"without": ["block_upgrade_task"]}), "block_upgrade_task"),
        (json!({"without": ["rebuild"]}), "rebuild"),
        (json!({"also": {"status": "CONVALESCENT"}}), "CONVALESCENT"),
        (json!({"also": {"io_status": "STARTING"}}), "STARTING"),
        (
            json!({"also": {"block_upgrade_task": {"type": "X", "state": "PONDERING", "progress": 0, "taskId": 0}}}),
            "PONDERING",
        ),
        (
            json!({"also": {"drives": {"active": 5, "total": 18}}}),
            "5 of 18 drives",
        ),
        (
            json!({"each_container": {"state": "LEAVING"}}),
            "not every backend container",
        ),
        (
            json!({"alerts": [{"type": "NoClusterLicense", "muted": true}]}),
            "NoClusterLicense",
        ),
        (json!({"tasks": [{"type": "STOW_UPLOAD"}]}), "STOW_UPLOAD"),
        (json!({"logged_out": true}), "not-logged-in"),
    ] {
        let weka = With {
            change: change.clone(),
            ..With::default()
        }
        .begin();
        let ran = weka.upgrade(NEW, &[]).expect(3);
        assert!(ran.text().contains(told), "{change}\n{}", ran.text());
        weka.all_on(OLD);
        assert!(weka.orders().is_empty(), "{change}");
    }
    Ok(())
}

fn prepared_ahead() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = With::default().begin();
    weka.run(&["prepare", "--to", NEW]).expect(0);
    weka.all_on(OLD);
    let count = |weka: &cluster::Weka, begins: &str| {
        weka.orders()
            .iter()
            .filter(|order| order.starts_with(begins))
            .count()
    };
    assert_eq!(
        (count(&weka, "get "), count(&weka, "prepared ")),
        (1, 1),
        "{:?}",
        weka.orders()
    );
    assert_eq!(weka.cluster()["io"], "STARTED");
    weka.upgrade(NEW, &[]).expect(0);
    weka.all_on(NEW);
    // The vendor's command was asked again, and had nothing to do.
    assert_eq!(
        (count(&weka, "get "), count(&weka, "prepared ")),
        (1, 1),
        "{:?}",
        weka.orders()
    );
    Ok(())
}

fn newer(change: serde_json::Value) -> cluster::Weka {
    With {
        version: "4.4.22",
        release: "4.4.22",
        // Of the machine's own disk a fifth may not be free.
        variables: vec![("weka_logs", "/dev/shm".to_owned())],
        change,
        ..With::default()
    }
    .begin()
}

const NEWER: &str = "4.4.36.15";

fn by_container() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = newer(json!({}));
    let asked = weka.run(&["upgrade", "--yes", "--to", NEWER]).expect(3);
    assert!(asked.text().contains("point of no return"), "{}", asked.text());
    let ran = weka.upgrade(NEWER, &[]).expect(0);
    ran.keep("weka-by-container");
    weka.all_on(NEWER);
    Ok(())
}

fn failed_phase() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = newer(json!({"fail": "computes"}));
    weka.upgrade(NEWER, &[]).expect(5);
    let why = weka.run(&["why"]);
    why.keep("weka-why");
    for words in [
        "upgrade failed in phase computes",
        "--ndu-computes-phase",
        "upshift resume",
    ] {
        assert!(why.text().contains(words), "{}", why.text());
    }
    weka.run(&["resume"]).expect(0);
    weka.all_on(NEWER);
    Ok(())
}
