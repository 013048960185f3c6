//! Clients: they keep their version, must not lag too far behind, and follow in batches.

use serde_json::{Value, json};
use upshift_e2e::harness::{Outcome, only_when_exhaustive};

use super::cluster::{Weka, With};
use super::{NEW, OLD};

/// A cluster with clients; those whose version is not that of the servers are named with it.
fn with(server: &'static str, versions: &[(&str, &str)], names: &'static [&'static str]) -> Weka {
    let clients: Vec<Value> = versions
        .iter()
        .map(|(name, version)| json!({"name": name, "version": version}))
        .collect();
    let old = With::default();
    With {
        version: server,
        release: if server == old.version {
            old.release
        } else {
            server
        },
        change: json!({"clients": clients}),
        clients: names,
        ..old
    }
    .begin()
}

fn version_of(weka: &Weka, client: &str) -> String {
    let cluster = weka.cluster();
    let clients = cluster["clients"].as_array().expect("clients").iter();
    let found = clients
        .filter(|one| one["name"] == client)
        .map(|one| &one["version"]);
    let versions: Vec<&str> = found.filter_map(Value::as_str).collect();
    versions.concat()
}

fn client_orders(weka: &Weka) -> Vec<String> {
    let orders = weka.orders().into_iter();
    orders.filter(|order| order.starts_with("client ")).collect()
}

pub fn two_lines_behind() -> Outcome {
    only_when_exhaustive("a minute")?;
    let weka = with(OLD, &[("c1", "3.13.5"), ("c2", "3.13.5")], &[]);
    // A muted alert, and shown all the same.
    let status = weka.run(&["status"]).expect(3);
    for words in [
        "clients run another version",
        "2 of 2 clients do not run the version of the servers",
    ] {
        assert!(status.text().contains(words), "{}", status.text());
    }
    let ran = weka.upgrade(NEW, &[]).expect(3);
    for words in [
        "clients of 3.13.5 do not work with servers of",
        "c1, c2",
        "client:NAME",
    ] {
        assert!(ran.text().contains(words), "{words}\n{}", ran.text());
    }
    weka.all_on(OLD);
    // One is left out by name; the other still blocks.
    let accept = |name: &str| {
        weka.run(&["accept", name, "--reason", "it is switched off"])
            .expect(0);
    };
    accept("client-versions");
    accept("client:c1");
    let ran = weka.run(&["check", "--to", NEW]).expect(3);
    assert!(
        ran.text().contains("clients of 3.13.5 do not work") && !ran.text().contains("c1, c2"),
        "{}",
        ran.text()
    );
    accept("client:c2");
    let ran = weka.upgrade(NEW, &[]).expect(0);
    assert!(ran.text().contains("risk taken, `client:c1`"), "{}", ran.text());
    weka.all_on(NEW);
    Ok(())
}

pub fn in_batches() -> Outcome {
    only_when_exhaustive("a minute and a half")?;
    let each = [("c1", OLD), ("c2", OLD), ("c3", OLD)];
    let weka = with(OLD, &each, &["c1", "c2", "c3"]);
    let file = weka.root().join("upgrade.plan").display().to_string();
    let plan = weka.run(&["plan", "--to", NEW, "--soak", "1s"]).expect(0);
    plan.keep("weka-plan-with-notice");
    weka.run(&["plan", "--to", NEW, "--soak", "1s", "-o", &file])
        .expect(0);
    for words in ["to be sent to them", "all reading and writing", "25 min"] {
        assert!(plan.text().contains(words), "{words}\n{}", plan.text());
    }
    weka.run(&["upgrade", "--yes", "--accept-no-return", "--plan", &file])
        .expect(0);
    weka.all_on(NEW);
    // They keep their version, and that is an alert.
    let versions = || ["c1", "c2", "c3"].map(|name| version_of(&weka, name));
    assert_eq!(versions(), [OLD, OLD, OLD]);
    let status = weka.run(&["status"]).expect(3);
    status.keep("weka-status-clients");
    assert!(
        status.text().contains("not the servers' 4.0.1.118"),
        "{}",
        status.text()
    );
    // The second batch fails; the third is not begun.
    weka.change(json!({"client_fail": "c2"}));
    let upgrade = |more: &[&str]| {
        let all = [
            "upgrade",
            "--clients",
            "--yes",
            "--accept-no-return",
            "--batch",
            "1",
            "--soak",
            "1s",
        ];
        weka.run(&[&all[..], more].concat())
    };
    let asked = weka.run(&["upgrade", "--clients", "--yes"]).expect(3);
    assert!(asked.text().contains("point of no return"), "{}", asked.text());
    let other = upgrade(&["--to", "4.0.2"]).expect(3);
    assert!(
        other.text().contains("the servers run 4.0.1.118"),
        "{}",
        other.text()
    );
    let ran = upgrade(&[]).expect(5);
    ran.keep("weka-clients-batch-fails");
    assert_eq!(versions(), [NEW, OLD, OLD]);
    assert_eq!(client_orders(&weka), ["client c1", "client c2"]);
    assert!(ran.text().contains("c2: failed to build"), "{}", ran.text());
    let why = weka.run(&["why"]);
    why.keep("weka-clients-why");
    assert!(
        why.text().contains("upshift resume") && why.text().contains("A client that was upgraded stays so"),
        "{}",
        why.text()
    );
    weka.change(json!({"client_fail": ""}));
    weka.run(&["resume"]).expect(0);
    assert_eq!(versions(), [NEW, NEW, NEW]);
    let status = weka.run(&["status"]).expect(0);
    assert!(!status.text().contains("not well"), "{}", status.text());
    let again = upgrade(&[]).expect(0);
    assert!(
        again.text().contains("every client in the fleet runs"),
        "{}",
        again.text()
    );
    Ok(())
}

pub fn of_several_versions() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let server = "4.0.2.10";
    let each = [("c1", "3.14.1.6926"), ("c2", "4.0.1.118"), ("c4", server)];
    // The third one is not connected, and so no version is known of it.
    let weka = with(server, &each, &["c1", "c2", "c3", "c4"]);
    let upgrade = || {
        weka.run(&[
            "upgrade",
            "--clients",
            "--yes",
            "--accept-no-return",
            "--soak",
            "1s",
        ])
    };
    let refused = upgrade().expect(3);
    assert!(
        refused
            .text()
            .contains("the cluster lists no client whose hostname is c3"),
        "{}",
        refused.text()
    );
    assert_eq!(client_orders(&weka), [""; 0]);
    weka.run(&["accept", "client:c3", "--reason", "it is being repaired"])
        .expect(0);
    let ran = upgrade().expect(0);
    ran.keep("weka-clients-versions");
    assert!(
        ran.text()
            .contains("c3 is left out by name: it is being repaired"),
        "{}",
        ran.text()
    );
    // The oldest first, each straight to the servers' version; the driver is prepared where the vendor says so.
    assert_eq!(client_orders(&weka), ["client c1", "client c2 --prepare-driver"]);
    for client in ["c1", "c2", "c4"] {
        assert_eq!(version_of(&weka, client), server);
    }
    Ok(())
}
