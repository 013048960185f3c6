//! `upshift release` over a fleet of the double: EMQX's own words and statuses, and what a restart leaves.

use upshift_e2e::emqx::{Clients, Cluster};
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};

pub const TRIALS: &[Case] = &[
    ("releases_live_as_the_vendor_says", life),
    ("calls_about_releases_that_make_no_sense_are_told", nonsense),
];

fn life() -> Outcome {
    only_when_exhaustive("one to two minutes; the trials of hot upgrades call the same tool")?;
    let cluster = Cluster::start(2, "4.4.15", &["4.4.16"])?;
    let mut clients = Clients::connect(&cluster.nodes, 3).expect("clients");
    let ask = |arguments: &[&str], status: i32| -> String {
        let mut whole = vec!["release"];
        whole.extend(arguments);
        let ran = cluster.upshift.run(&whole).expect(status);
        println!(
            "    $ upshift {}\n{}",
            whole.join(" "),
            cluster.replace(&ran.stdout)
        );
        cluster.replace(&ran.stdout)
    };
    let statuses = |text: &str| -> Vec<String> {
        let rows = text.lines().skip(1);
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(
        statuses(&ask(&["ls"], 0)),
        ["n1 4.4.15 permanent", "n2 4.4.15 permanent"]
    );
    assert!(ask(&["root"], 0).contains("n2: [DIR]/n2/emqx/releases"));
    assert!(ask(&["get", "4.4.16"], 0).contains("n1: emqx-4.4.16-otp"));
    let unpacked = ask(&["unpack", "4.4.16"], 0);
    assert!(
        unpacked.contains("n1: Unpacked successfully: \"4.4.16\"\n"),
        "{unpacked}"
    );
    assert_eq!(
        ask(&["unpack", "4.4.16", "--host", "n2"], 0),
        "n2: Release 4.4.16 is already unpacked.\n"
    );
    let installed = ask(&["install", "--yes", "--no-permanent", "4.4.16"], 0);
    assert!(
        installed.contains(
            "n1: Release 4.4.16 is already unpacked, now installing.\nn1: Installed Release: 4.4.16.\n"
        ),
        "{installed}"
    );
    assert_eq!(
        statuses(&ask(&["ls", "--host", "n1"], 0)),
        ["n1 4.4.16 current", "n1 4.4.15 permanent"]
    );
    assert_eq!(clients.connected(), clients.count());
    assert_eq!(
        ask(&["uninstall", "4.4.16", "--host", "n1"], 3),
        "n1: Uninstall failed: Release 4.4.16 is marked current.\n"
    );
    assert_eq!(
        ask(&["uninstall", "4.4.15", "--host", "n1"], 3),
        "n1: Uninstall failed: Release 4.4.15 is running.\n"
    );
    // What is not permanent is gone with a restart.
    cluster.nodes[1].emqx(&["stop"]).expect(0);
    cluster.nodes[1].emqx(&["start"]).expect(0);
    assert_eq!(
        statuses(&ask(&["ls", "--host", "n2"], 0)),
        ["n2 4.4.16 unpacked", "n2 4.4.15 permanent"]
    );
    assert_eq!(
        ask(&["install", "--yes", "4.4.16", "--host", "n1"], 0),
        "n1: Release 4.4.16 is already installed and current, making permanent.\n\
         n1: Made release permanent: \"4.4.16\"\n"
    );
    assert_eq!(
        ask(&["install", "--yes", "4.4.16", "--host", "n1"], 0),
        "n1: Release 4.4.16 is already installed, running and set permanent.\n"
    );
    assert_eq!(
        ask(&["downgrade", "--yes", "4.4.15", "--host", "n1"], 0),
        "n1: Release 4.4.15 is marked old, switching to it.\n\
         n1: Installed Release: 4.4.15.\n\
         n1: Made release permanent: \"4.4.15\"\n"
    );
    assert_eq!(
        ask(&["uninstall", "4.4.16"], 0),
        "n1: Release 4.4.16 is marked old, uninstalling it.\n\
         n1: Uninstalled Release: 4.4.16\n\
         n2: Release 4.4.16 is marked unpacked, uninstalling it\n\
         n2: Uninstalled Release: 4.4.16\n"
    );
    assert_eq!(
        ask(&["uninstall", "4.4.16", "--host", "n1"], 0),
        "n1: Release 4.4.16 is already uninstalled.\n"
    );
    let json = cluster
        .upshift
        .run(&["release", "ls", "--output", "json"])
        .expect(0)
        .last_json();
    assert_eq!(json[0]["releases"]["4.4.15"], "permanent");
    assert_eq!(json[1]["outcome"], "done");
    Ok(())
}

fn nonsense() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let cluster = Cluster::start(1, "4.4.15", &[])?;
    let ask = |arguments: &[&str], status: i32| {
        let mut whole = vec!["release"];
        whole.extend(arguments);
        cluster.upshift.run(&whole).expect(status).text()
    };
    assert!(ask(&["install", "--yes", "4.4.16"], 3).contains("Unpack failed: release_package_not_found"));
    assert!(ask(&["get", "4.4.16"], 3).contains("--packages"));
    assert!(ask(&["unpack", "next"], 2).contains("`next` is no version of EMQX"));
    assert!(ask(&["ls", "--host", "n11"], 2).contains("did you mean `n1`?"));
    assert!(ask(&["install", "4.4.16"], 3).contains("--yes"));
    // EMQX's own tool breaks off where another minor version is asked for; nothing is changed.
    assert!(ask(&["install", "--yes", "4.5.1"], 3).contains("release_package_not_found"));
    assert!(ask(&["install", "--yes", "5.0.0"], 5).contains("We only support relup between patch versions"));
    cluster.nodes[0].emqx(&["stop"]).expect(0);
    assert!(ask(&["ls"], 3).contains("Node is not running!"));
    assert_eq!(cluster.nodes[0].pid(), None);
    Ok(())
}
