//! The way of docs/guide.md, in its order, on real etcd that somebody else has installed: check, adopt, services onto the store, upgrade,
//! rollback. The commands are those that the refusals name, and the guide's transcripts are what they print.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{self, Case, Outcome};
use upshift_e2e::program::Ran;
use upshift_e2e::watch::Watch;
use upshift_lab::cluster::Member;
use upshift_lab::load::Load;
use upshift_lab::processes;

use super::local::expect_equal_hashes;

pub const TRIALS: &[Case] = &[("the_guide_is_walked_in_its_order", guide)];

fn guide() -> Outcome {
    harness::only_when_exhaustive("2 minutes and a Go toolchain, which builds two versions of etcd")?;
    let fixture = Fixture::etcd("3.5.35", &["3.6.16"])?;
    installed_by_somebody_else(&fixture);
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    let watch = Watch::start(fixture.cluster.members().iter().map(Member::endpoint).collect());
    assert!(processes::poll(Duration::from_secs(20), || load
        .so_far()
        .acknowledged
        > 20));
    let configurations = fixture.cluster.configurations().expect("configurations");
    let mut transcripts = Vec::new();
    let run = |arguments: &[&str], code: i32| fixture.upshift.run(arguments).expect(code);

    let refused = run(&["check", "--to", "3.6.16"], 3);
    transcripts.push(("check", shown(&fixture, &refused)));
    let remedy = remedy(&fixture, "check:store-has-the-release");
    assert_eq!(remedy, ["adopt"]);
    run(&[&remedy[0]], 0);

    let refused = run(&["check", "--to", "3.6.16"], 3);
    transcripts.push(("adopted", shown(&fixture, &refused)));
    let remedy = self::remedy(&fixture, "check:runs-from-the-store");
    assert_eq!(remedy, ["adopt", "--services"]);
    let soak = ["--yes", "--soak", "2s", "--soak-between", "200ms"];
    let words: Vec<&str> = remedy.iter().map(String::as_str).chain(soak).collect();
    let pids = |fixture: &Fixture| {
        (0..3)
            .map(|position| fixture.cluster.pid(position))
            .collect::<Vec<_>>()
    };
    let before = pids(&fixture);
    let moved = run(&words, 0);
    transcripts.push(("services", end_of(&fixture, &moved)));
    assert!(
        pids(&fixture)
            .iter()
            .zip(&before)
            .all(|(now, before)| now != before),
        "each was restarted"
    );
    assert!(run(&words, 0).text().contains("nothing was changed"));

    let well = run(&["check", "--to", "3.6.16"], 0);
    transcripts.push(("well", shown(&fixture, &well)));
    let upgrade = ["upgrade", "--to", "3.6.16", "--accept-no-return"];
    let words: Vec<&str> = upgrade.into_iter().chain(soak).collect();
    let upgraded = run(&words, 0);
    transcripts.push(("upgraded", end_of(&fixture, &upgraded)));
    fixture.expect_all("3.6.16");
    let rolled_back = run(&["rollback", "--yes"], 0);
    transcripts.push(("rolled-back", end_of(&fixture, &rolled_back)));
    fixture.expect_all("3.5.35");
    assert_eq!(watch.finish(), 1, "never more than one member was down");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    expect_equal_hashes(&fixture);
    assert_eq!(
        fixture.cluster.configurations().expect("configurations"),
        configurations
    );
    fixture.expect_nothing_left();
    documented(&fixture);
    compare(&transcripts);
    Ok(())
}

/// The members run on, from where no release store is.
fn installed_by_somebody_else(fixture: &Fixture) {
    for (position, member) in fixture.cluster.members().iter().enumerate() {
        let elsewhere = fixture.cluster.directory().join(format!("installed-{position}"));
        fs::rename(member.state_directory.join("store"), elsewhere).expect("a directory is moved");
    }
}

/// The command that the remedy of a refusal names, as its words after `upshift`.
fn remedy(fixture: &Fixture, code: &str) -> Vec<String> {
    let refused = fixture
        .upshift
        .run(&["check", "--to", "3.6.16", "--output", "json"])
        .expect(3);
    let value: serde_json::Value = serde_json::from_str(refused.stdout.trim()).expect("JSON");
    let refusals = value["refusals"].as_array().expect("refusals");
    let refusal = refusals.iter().find(|refusal| refusal["code"] == code);
    let refusal = refusal.unwrap_or_else(|| panic!("no {code} in {value}"));
    let text = refusal["remedy"].as_str().expect("a remedy");
    let mut commands = text.split('`').skip(1).step_by(2);
    let command = commands
        .find_map(|command| command.strip_prefix("upshift "))
        .unwrap_or_else(|| panic!("{text}"));
    command.split_whitespace().map(str::to_owned).collect()
}

/// All that a command said, as every reader sees it.
fn shown(fixture: &Fixture, ran: &Ran) -> String {
    plain(fixture, &format!("{}{}", ran.stdout, ran.stderr))
}

/// What a command that drives a run says at its end.
fn end_of(fixture: &Fixture, ran: &Ran) -> String {
    let text = plain(fixture, &ran.stdout);
    let from = text.rfind("run RUN: ").unwrap_or_else(|| panic!("{text}"));
    text[from..].to_owned()
}

/// Without what is another one each time: the run's name, ports, times, sizes.
fn plain(fixture: &Fixture, text: &str) -> String {
    let text = fixture.replace(text);
    let mut plain = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(word).collect();
        plain.push_str(words.join(" ").trim_end());
        plain.push('\n');
    }
    let replaced = [
        (r"\[DIR\]/cluster/installed-\d/releases/[\d.]+", "/usr/local/bin"),
        (r"\d+ m \d+ s|\d+(\.\d+)? s\b", "TIME"),
        (r"TIME +", "TIME  "),
        (r"\d+(\.\d+)? [GMk]B", "SIZE"),
        // Who leads decides the order, and with it how many steps a server has.
        (r"(?m)[\d.]+( +)\d+$", "N.NN${1}N"),
        (r"(?m)  leader( |$)", "        $1"),
        (r"\d+ connections", "N connections"),
        (r"\b\d+ of (n\d)", "N of $1"),
        (r"\S+@\S+ asked", "ann@desk asked"),
    ];
    let replace = |text: String, (pattern, with): &(&str, &str)| {
        let pattern = regex::Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&text, *with).into_owned()
    };
    let text = replaced.iter().fold(plain, replace);
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn word(word: &str) -> String {
    let is_run = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.len() == 4 && parts[0].len() == 8 && parts[0].chars().all(|c| c.is_ascii_digit())
    };
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    match is_run(bare) {
        true => word.replace(bare, "RUN"),
        false => match word.split_once("127.0.0.1:") {
            Some((before, rest)) => format!(
                "{before}127.0.0.1:PORT{}",
                rest.trim_start_matches(|c: char| c.is_ascii_digit())
            ),
            None => word.to_owned(),
        },
    }
}

/// Every member of what these commands print for programs stands in docs/json.md, and what stands there is printed.
fn documented(fixture: &Fixture) {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    let page = fs::read_to_string(page).expect("the page");
    let commands: [(&str, &[&str]); 6] = [
        ("`check`", &["check", "--to", "3.6.16", "--again"]),
        ("`status`", &["status"]),
        ("`why`", &["why"]),
        ("`report` and `show`", &["report"]),
        ("`report` and `show`", &["show"]),
        ("`history`", &["history"]),
    ];
    for (heading, arguments) in commands {
        let section = page
            .split(&format!("\n## {heading}\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("{heading}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let members: Vec<(&str, bool)> = rows
            .filter_map(|row| Some((row.split('`').nth(1)?, row.contains("absent where"))))
            .collect();
        let ran = fixture.upshift.run(&[arguments, &["--output", "json"]].concat());
        let value: serde_json::Value =
            serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|_| panic!("{}", ran.text()));
        let value = if value.is_array() { value[0].clone() } else { value };
        let printed = value.as_object().expect("an object");
        for name in printed.keys() {
            assert!(
                members.iter().any(|(known, _)| known == name),
                "{heading}: `{name}` is not documented"
            );
        }
        for (name, may_be_absent) in members {
            assert!(
                may_be_absent || printed.contains_key(name),
                "{heading}: `{name}` is not printed"
            );
        }
    }
}

/// The transcripts of the guide are these; with `UPDATE_GUIDE` set they become these.
fn compare(transcripts: &[(&str, String)]) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/guide.md");
    let mut guide = fs::read_to_string(&file).expect("the guide");
    let update = std::env::var_os("UPDATE_GUIDE").is_some();
    for (name, said) in transcripts {
        let mark = format!("<!-- transcript {name} -->\n");
        let at = guide
            .find(&mark)
            .unwrap_or_else(|| panic!("the guide has no {mark}"))
            + mark.len();
        let block = &guide[at..];
        let begin = block
            .find("\n$ ")
            .and_then(|line| block[line + 1..].find('\n').map(|end| line + 1 + end + 1));
        let begin = at + begin.expect("a command in the transcript");
        let end = begin + guide[begin..].find("```").expect("the end of the transcript");
        if update {
            guide.replace_range(begin..end, said);
        } else {
            assert_eq!(
                &guide[begin..end],
                said,
                "the guide's transcript `{name}`; UPDATE_GUIDE=1 writes it anew"
            );
        }
    }
    if update {
        fs::write(&file, guide).expect("the guide is written");
    }
}
