//! Apache Ignite, the real one: three nodes with persistence, switched as a whole, because a node of another version is not let in.

use std::process::ExitCode;

use upshift_e2e::harness::{self, Case, Outcome, only_when_exhaustive};

#[path = "ignite/cluster.rs"]
mod cluster;

use cluster::{Ignite, NEW, OLD, STAYS_INACTIVE, Writer};

const TRIALS: &[Case] = &[
    ("up_back_and_up_again_with_every_entry_each_time", up_back_up),
    ("a_new_version_that_stays_inactive_is_taken_back", stays_inactive),
];

fn main() -> ExitCode {
    harness::main(&harness::trials(&[TRIALS]))
}

fn up_back_up() -> Outcome {
    only_when_exhaustive("three minutes")?;
    let ignite = Ignite::start("")?;
    let configurations = ignite.configurations();
    let plan = ignite.run(&["plan", "--to", NEW]).expect(0);
    plan.keep("ignite-plan");
    assert!(
        plan.text().contains("switch") && plan.text().contains("to be sent to them"),
        "{}",
        plan.text()
    );
    let mut all = ignite.seed(300);
    let writer = Writer::start(&ignite, "first");
    let ran = ignite.upgrade(&[]).expect(0);
    ran.keep("ignite-upgraded");
    ignite.all_serve(NEW);
    let written = writer.finish();
    println!(
        "    up: {} writes, longest gap {:.1} s",
        written.entries.len(),
        written.gap.as_secs_f64()
    );
    all.extend(written.entries);
    ignite.expect_all(&all);
    assert_eq!((ignite.nodes(), ignite.copies()), (3, 3));
    // What was written on the new version is read by the old one.
    let writer = Writer::start(&ignite, "second");
    let back = ignite.run(&["rollback", "--yes"]).expect(0);
    back.keep("ignite-rolled-back");
    ignite.all_serve(OLD);
    let written = writer.finish();
    println!(
        "    back: {} writes, longest gap {:.1} s",
        written.entries.len(),
        written.gap.as_secs_f64()
    );
    all.extend(written.entries);
    ignite.expect_all(&all);
    assert_eq!(ignite.configurations(), configurations);
    let refused = ignite.upgrade(&[]).expect(3);
    assert!(refused.text().contains("--again"), "{}", refused.text());
    ignite.upgrade(&["--again"]).expect(0);
    ignite.all_serve(NEW);
    ignite.expect_all(&all);
    ignite.run(&["finalize", "--yes"]).expect(0);
    // That of the run that was rolled back is its own.
    assert_eq!((ignite.nodes(), ignite.copies()), (3, 3));
    Ok(())
}

fn stays_inactive() -> Outcome {
    only_when_exhaustive("three minutes")?;
    let ignite = Ignite::start(STAYS_INACTIVE)?;
    let configurations = ignite.configurations();
    let seeded = ignite.seed(100);
    let writer = Writer::start(&ignite, "entry");
    let ran = ignite.upgrade(&[]).expect(4);
    ran.keep("ignite-inactive");
    assert!(ran.text().contains("the cluster is INACTIVE"), "{}", ran.text());
    ignite.all_serve(OLD);
    let written = writer.finish();
    println!(
        "    {} writes, longest gap {:.1} s",
        written.entries.len(),
        written.gap.as_secs_f64()
    );
    ignite.expect_all(&written.entries);
    ignite.expect_all(&seeded);
    assert!(
        ignite
            .count()
            .is_some_and(|count| count >= (seeded.len() + written.entries.len()) as u64)
    );
    assert_eq!(ignite.configurations(), configurations);
    assert_eq!(ignite.nodes(), 3);
    Ok(())
}
