//! Journals on shared storage: 2.3.0's is read by 2.9.3; 1.8.1's is not, and what is restored from its backup cannot be read.

use upshift_e2e::alluxio::{Alluxio, Made, Misbehaves};
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};

use super::{GO, run};

pub const TRIALS: &[Case] = &[
    (
        "a_journal_on_shared_storage_is_taken_over_and_given_back",
        there_and_back,
    ),
    ("files_of_1_8_that_cannot_be_read_are_noticed", from_1_8),
    (
        "files_of_1_8_are_read_by_clients_that_do_not_load_metadata",
        from_1_8_without_loading,
    ),
];

fn one_host(version: &'static str, accept: &'static [&'static str], configuration: &'static str) -> Made {
    Made {
        version,
        journal: "UFS",
        hosts: vec![vec!["master", "worker"]],
        accept,
        configuration,
    }
}

fn there_and_back() -> Outcome {
    only_when_exhaustive("two minutes")?;
    let cluster = Alluxio::start(one_host("2.3.0", &[], ""), "2.9.3", Misbehaves::No)?;
    cluster.write("/kept", "kept since 2.3.0\n");
    let before = cluster.configurations();

    let ran = run(&cluster, &GO);
    ran.keep("alluxio-switch");
    assert_eq!(ran.status.code(), Some(0), "{}\n{}", ran.text(), cluster.logs());
    assert!(ran.text().contains("loses those writes"), "{}", ran.text());
    cluster.expect_all("2.9.3");
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    cluster.alluxio(&["fs", "mkdir", "/since"]);

    // What was written since would be lost: that takes a second word.
    let asks = run(&cluster, &["rollback", "--yes"]);
    asks.keep("alluxio-rollback-asks");
    assert_eq!(asks.status.code(), Some(3), "{}", asks.text());
    assert!(asks.text().contains("--accept-loss"), "{}", asks.text());
    cluster.expect_all("2.9.3");
    let ran = run(&cluster, &["rollback", "--yes", "--accept-loss"]);
    ran.keep("alluxio-rollback");
    assert_eq!(ran.status.code(), Some(0), "{}\n{}", ran.text(), cluster.logs());
    cluster.expect_all("2.3.0");
    assert_eq!(cluster.configurations(), before);
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    Ok(())
}

fn from_1_8() -> Outcome {
    only_when_exhaustive("four minutes")?;
    let cluster = Alluxio::start(one_host("1.8.1", &[], ""), "2.9.3", Misbehaves::No)?;
    cluster.write("/kept", "kept since 1.8.1\n");
    let before = cluster.configurations();
    let ran = run(&cluster, &GO).expect(3);
    assert!(ran.text().contains("alluxio-13877"), "{}", ran.text());
    cluster.expect_all("1.8.1");

    // Who accepts it without the property gets the old version back.
    let accept = ["accept", "alluxio-13877", "--reason", "a test"];
    cluster.upshift.run(&accept).expect(0);
    let ran = run(&cluster, &GO);
    ran.keep("alluxio-1.8");
    assert_eq!(ran.status.code(), Some(4), "{}\n{}", ran.text(), cluster.logs());
    assert!(ran.text().contains("files that cannot be read"), "{}", ran.text());
    cluster.expect_all("1.8.1");
    assert_eq!(cluster.configurations(), before);
    cluster.expect_content("/kept", "kept since 1.8.1\n");
    Ok(())
}

fn from_1_8_without_loading() -> Outcome {
    only_when_exhaustive("a minute")?;
    let property = "alluxio.user.file.metadata.load.type=Never";
    let cluster = Alluxio::start(
        one_host("1.8.1", &["alluxio-13877"], property),
        "2.9.3",
        Misbehaves::No,
    )?;
    cluster.write("/kept", "kept since 1.8.1\n");
    let ran = run(&cluster, &GO);
    assert_eq!(ran.status.code(), Some(0), "{}\n{}", ran.text(), cluster.logs());
    cluster.expect_all("2.9.3");
    cluster.expect_content("/kept", "kept since 1.8.1\n");
    Ok(())
}
