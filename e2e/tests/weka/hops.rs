//! Paths of several hops, and hops whose command takes other words.

use serde_json::json;
use upshift_e2e::harness::{Outcome, only_when_exhaustive};

use super::cluster::{Weka, With};
use super::{NEW, NEWER, OLD, newer};

fn from_3_13(change: serde_json::Value) -> Weka {
    With {
        version: "3.13.5.100",
        release: "3.13.5.100-0123456789abcdef0123456789abcdef",
        change,
        ..With::default()
    }
    .begin()
}

pub fn between() -> Outcome {
    only_when_exhaustive("a minute and a half")?;
    let weka = from_3_13(json!({"fail": "undone", "last_upgrade": 5}));
    let via = ["--via", OLD];
    let plan = weka.run(&[&["plan", "--to", NEW][..], &via].concat()).expect(0);
    plan.keep("weka-hops");
    for words in [
        "3.13.5.100",
        OLD,
        NEW,
        "whether 4.0.1.118 is the newest release of its line is not known here",
    ] {
        assert!(plan.text().contains(words), "{words}\n{}", plan.text());
    }
    // The conversion of data after the first hop never begins, so the second one must not.
    let ran = weka.impatient(NEW, &via).expect(5);
    ran.keep("weka-between-hops");
    assert!(
        ran.text()
            .contains("whether a data upgrade has begun cannot be told"),
        "{}",
        ran.text()
    );
    weka.all_on(OLD);
    // Every backend has left 3.13, and the vendor names no downgrade: a rollback is refused, with that reason, and nothing is changed.
    let refused = weka.run(&["rollback", "--yes"]);
    refused.keep("weka-no-rollback-between-hops");
    assert!(
        matches!(refused.status.code(), Some(3 | 5))
            && refused.text().contains("The vendor names no downgrade"),
        "{}",
        refused.text()
    );
    weka.all_on(OLD);
    assert_eq!(weka.upgrades(), 1, "{:?}", weka.orders());
    // It begins after all, and takes a while.
    let begin = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock")
        .as_secs_f64();
    weka.change(json!({"fail": "", "last_upgrade": 6, "task_until": begin + 8.0}));
    weka.run(&["resume"]).expect(0);
    weka.all_on(NEW);
    assert_eq!(weka.upgrades(), 2, "{:?}", weka.orders());
    Ok(())
}

/// The second hop's own rollback is the vendor's: the run ends between the hops, and another one goes on from there.
pub fn second_fails() -> Outcome {
    only_when_exhaustive("a minute")?;
    let weka = from_3_13(json!({"fail": "window", "fail_at": NEW, "last_upgrade": 5}));
    let ran = weka.upgrade(NEW, &["--via", OLD]).expect(4);
    ran.keep("weka-second-hop-fails");
    assert!(
        ran.text().contains("rolled back, every server is back on 3.14.1"),
        "{}",
        ran.text()
    );
    weka.all_on(OLD);
    assert_eq!(weka.cluster()["io"], "STARTED");
    weka.change(json!({"fail": ""}));
    weka.upgrade(NEW, &["--again"]).expect(0);
    weka.all_on(NEW);
    Ok(())
}

/// The mode has a name, and I/O is started by hand after a rollback.
pub fn one_shot_by_name() -> Outcome {
    only_when_exhaustive("a minute")?;
    let (from, to) = ("3.10.4.20", "3.11.2.50");
    let weka = With {
        version: from,
        release: "3.10.4.20-0123456789abcdef0123456789abcdef",
        change: json!({"fail": "window"}),
        ..With::default()
    }
    .begin();
    weka.upgrade(to, &[]).expect(4);
    weka.all_on(from);
    assert_eq!(weka.cluster()["io"], "STARTED");
    weka.change(json!({"fail": ""}));
    weka.upgrade(to, &["--again"]).expect(0);
    weka.all_on(to);
    let orders = weka.orders();
    let upgrades: Vec<&String> = orders
        .iter()
        .filter(|order| order.starts_with("upgrade"))
        .collect();
    assert!(
        upgrades.len() == 2
            && upgrades
                .iter()
                .all(|order| order.starts_with("upgrade --mode one-shot --stop-io-timeout 91s")),
        "{orders:?}"
    );
    assert!(orders.contains(&"start-io".to_owned()), "{orders:?}");
    Ok(())
}

/// From 4.0, whose backends have several containers already, on: the mode is `ndu`, and a container is named.
pub fn ndu_by_name() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let (from, to) = ("4.0.5.39", "4.1.2.36");
    let weka = With {
        version: from,
        release: from,
        variables: vec![("weka_logs", "/dev/shm".to_owned())],
        ..With::default()
    }
    .begin();
    let plan = weka.run(&["plan", "--to", to]).expect(0);
    assert!(
        plan.text().contains("is not known here; the vendor"),
        "{}",
        plan.text()
    );
    weka.upgrade(to, &[]).expect(0);
    weka.all_on(to);
    assert!(
        weka.orders()
            .iter()
            .any(|order| order.starts_with("upgrade --mode ndu")),
        "{:?}",
        weka.orders()
    );
    Ok(())
}

/// The override that some hops need is there while the vendor's command runs, and gone afterwards; an operator's own stays.
pub fn overridden() -> Outcome {
    only_when_exhaustive("a minute")?;
    let own = json!([{"override_id": "ManualOverrideId<7>", "key": "max_read_blocks", "value": "2", "nodes": "ALL", "enabled": true}]);
    let from = |overrides: serde_json::Value| {
        With {
            version: "4.2.11",
            release: "4.2.11",
            variables: vec![("weka_logs", "/dev/shm".to_owned())],
            change: json!({"overrides": overrides}),
            ..With::default()
        }
        .begin()
    };
    let weka = from(own.clone());
    let ran = weka.upgrade("4.4.22", &[]).expect(0);
    assert!(
        ran.text()
            .contains("4.4.22 is not the newest release of its line that is known here, which is 4.4.36.15"),
        "{}",
        ran.text()
    );
    weka.all_on("4.4.22");
    assert_eq!(weka.cluster()["overrides"], own);
    let orders = weka.orders();
    let at = |begins: &str| orders.iter().position(|order| order.starts_with(begins));
    assert!(
        at("override rpc.exception.version") < at("upgrade") && at("upgrade") < at("no override 2"),
        "{orders:?}"
    );
    // What an operator had set beforehand is theirs.
    let set = json!([{"override_id": "ManualOverrideId<1>", "key": "rpc.exception.version", "value": "1", "nodes": "ALL", "enabled": true}]);
    let weka = from(set.clone());
    weka.upgrade("4.4.22", &[]).expect(0);
    assert_eq!(weka.cluster()["overrides"], set);
    let disabled = json!([{"override_id": "ManualOverrideId<1>", "key": "rpc.exception.version", "value": "1", "nodes": "ALL", "enabled": false}]);
    let weka = from(disabled);
    let ran = weka.upgrade("4.4.22", &[]).expect(3);
    assert!(ran.text().contains("one that is disabled"), "{}", ran.text());
    Ok(())
}

/// What the vendor's checker looks at on newer releases; what cannot be read is no pass.
pub fn checked() -> Outcome {
    only_when_exhaustive("half a minute")?;
    for (change, told) in [
        (
            json!({"each_container": {"cores_ids": [3]}}),
            "use the same cores",
        ),
        (
            json!({"each_container": {"cores_ids": null}}),
            "whether `core-ids` holds cannot be told",
        ),
        (
            json!({"join_secrets": {"compute0": ["other"]}}),
            "do not all have the same join secret",
        ),
        (json!({"no_resources": true}), "permission denied"),
    ] {
        let weka = newer(change.clone());
        let ran = weka.run(&["check", "--to", NEWER]).expect(3);
        assert!(ran.text().contains(told), "{change}\n{}", ran.text());
        assert!(!ran.text().contains("s3cret"), "{}", ran.text());
    }
    Ok(())
}
