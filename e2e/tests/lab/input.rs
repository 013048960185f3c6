//! Wrong input: a clear message with what to do, the documented exit status, and nothing changed.

use std::fs;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};
use upshift_e2e::program::Ran;

use super::basics::to;

pub const TRIALS: &[Case] = &[
    ("wrong_input_is_refused_and_nothing_is_changed", refusals),
    (
        "a_plan_for_another_state_of_the_cluster_is_refused",
        changed_cluster,
    ),
    ("a_profile_with_three_mistakes_names_all_three", profile_mistakes),
];

/// What an operator reads, with everything taken out that differs from run to run.
fn words(fixture: &Fixture, ran: &Ran) -> String {
    let mut text = fixture.replace(&format!(
        "exit {}\n{}{}",
        ran.status.code().unwrap_or(-1),
        ran.stdout,
        ran.stderr
    ));
    for member in fixture.cluster.members() {
        text = text.replace(&member.client_port.to_string(), "[PORT]");
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn check(name: &str, fixture: &Fixture, ran: &Ran) {
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, words(fixture, ran));
    });
}

/// Fails the test unless the command said all of this on its last lines.
#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    let text = ran.text();
    let last: Vec<&str> = text.lines().rev().take(8).collect();
    for word in words {
        assert!(
            last.iter().any(|line| line.contains(word)),
            "no `{word}` in {text}"
        );
    }
}

fn refusals() -> Outcome {
    let fixture = Fixture::lab();
    let pids: Vec<_> = (0..3).map(|position| fixture.cluster.pid(position)).collect();
    let upshift = &fixture.upshift;

    check("unknown_version", &fixture, &upshift.run(&to("7.7.7")).expect(3));
    fixture.add_release("1.1.1", |_| {});
    check("blocked_version", &fixture, &upshift.run(&to("1.1.1")).expect(3));
    fixture.add_release("2.0.0", |_| {});
    check("skipped_minor", &fixture, &upshift.run(&to("2.0.0")).expect(3));

    let good = fixture.add_release("1.1.0", |_| {});
    let bytes = fs::read(&good.path).expect("a package");
    fs::write(&good.path, &bytes[..bytes.len() / 2]).expect("a package is cut");
    says(
        &upshift.run(&to("1.1.0")).expect(3),
        &["lab-1.1.0.tar.gz", "damaged"],
    );
    fs::write(&good.path, &bytes).expect("a package");

    let plan = fixture.directory().join("upgrade.plan");
    let plan_name = plan.display().to_string();
    upshift
        .run(&["plan", "--to", "1.1.0", "-o", &plan_name])
        .expect(0);
    let mut other = bytes.clone();
    other.extend_from_slice(b"more");
    fs::write(&good.path, other).expect("a package is changed");
    let ran = upshift.run(&["upgrade", "--yes", "--accept-no-return", "--plan", &plan_name]);
    says(&ran.expect(3), &["lab-1.1.0.tar.gz", "digest"]);
    fs::write(&good.path, &bytes).expect("a package");

    let unreachable = fixture.directory().join("unreachable.yaml");
    let text = fixture.cluster.fleet_text("lab");
    let transport = "transport: {\"command\": [\"sh\", \"-c\", \"echo no route to host >&2; exit 255\"]}";
    fs::write(&unreachable, text.replacen("transport: \"local\"", transport, 1)).expect("a fleet");
    check(
        "unreachable_host",
        &fixture,
        &upshift.with_fleet(&unreachable).run(&to("1.1.0")).expect(3),
    );

    assert_eq!(
        (0..3)
            .map(|position| fixture.cluster.pid(position))
            .collect::<Vec<_>>(),
        pids
    );
    fixture.expect_all("1.0.0");
    fixture.expect_nothing_left();
    Ok(())
}

fn changed_cluster() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    fixture.add_release("1.1.0", |_| {});
    let plan = fixture.directory().join("upgrade.plan").display().to_string();
    fixture
        .upshift
        .run(&["plan", "--to", "1.1.0", "-o", &plan])
        .expect(0);
    fixture.upshift.run(&to("1.0.1")).expect(0);
    let ran = fixture
        .upshift
        .run(&["upgrade", "--yes", "--accept-no-return", "--plan", &plan])
        .expect(3);
    check("changed_cluster", &fixture, &ran);
    fixture.expect_all("1.0.1");
    Ok(())
}

fn profile_mistakes() -> Outcome {
    let fixture = Fixture::lab();
    let own = fixture.directory().join("own.yaml");
    let text = fixture.upshift.run(&["profile", "show", "lab"]).expect(0).stdout;
    let text = text
        .replace("scheme: semver", "scheme: semantic")
        .replace("max_unavailable: 1", "max_unavailabel: 1")
        .replace("settle:", "setle:");
    fs::write(&own, text).expect("a profile");
    let mut arguments = to("1.1.0");
    arguments.extend(["--profile".to_owned(), own.display().to_string()]);
    check(
        "three_mistakes",
        &fixture,
        &fixture.upshift.run(&arguments).expect(2),
    );
    fixture.expect_all("1.0.0");
    Ok(())
}
