//! The report of a run as one page to look at: no script, and no request to anywhere.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use upshift_model::Millis;
use upshift_model::template;
use upshift_plan::{Group, Plan, StepId, StepKind};
use upshift_run::StepTime;

use super::{Report, disturbs, seconds};

/// Height of a row of the picture, and where the first begins; in units of which the picture is [`WIDTH`] wide.
const ROW: usize = 26;
const TOP: usize = 24;
const WIDTH: f64 = 1000.0;
/// Room for the names of hosts.
const NAMES: f64 = 150.0;
/// The narrowest bar that is seen.
const NARROWEST: f64 = 1.5;

/// What a step had to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The expression that held.
    pub expect: String,
    /// What is reported while it does not.
    pub waiting: String,
}

/// The proofs of a plan's steps.
pub fn proofs(plan: &Plan) -> BTreeMap<StepId, Vec<Proof>> {
    let hops = plan.hops.iter().flat_map(upshift_plan::Hop::groups);
    let groups = [&plan.prepare, &plan.proof, &plan.finalize]
        .into_iter()
        .flatten()
        .chain(hops);
    let steps = groups.flat_map(|group: &Group| &group.steps);
    steps
        .map(|step| {
            let proofs = plan.recipe(step.recipe).proof.iter();
            let words = proofs.map(|proof| Proof {
                expect: proof.expect.clone(),
                waiting: template::abridged(&proof.waiting),
            });
            (step.id, words.collect())
        })
        .collect()
}

#[derive(Serialize)]
struct StepRow<'a> {
    began: String,
    took: String,
    host: &'a str,
    title: &'a str,
    stage: &'a str,
    tone: &'static str,
    attempts: u32,
    proofs: &'a [Proof],
}

#[derive(Serialize)]
struct Picture {
    height: usize,
    marks: Vec<Mark>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Mark {
    x: String,
    text: String,
}

#[derive(Serialize)]
struct Row {
    y: usize,
    name: String,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    class: &'static str,
    x: String,
    width: String,
    title: String,
}

/// The page. `began` and `by` say when the run began, and who began it.
///
/// # Errors
/// Where the page cannot be put together, which is a mistake of this program.
pub fn page(
    report: &Report,
    proofs: &BTreeMap<StepId, Vec<Proof>>,
    began: &str,
    by: &str,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let steps: Vec<StepRow<'_>> = report.steps.iter().map(|step| row(step, proofs)).collect();
    let hosts: Vec<_> = report.hosts.iter().map(super::HostReport::cells).collect();
    let risks: Vec<String> = report.risks.iter().map(upshift_plan::Risk::words).collect();
    environment.render_str(
        include_str!("page.html"),
        minijinja::value::Serde(serde_json::json!({
            "report": report,
            "tone": tone(&report.outcome),
            "took": seconds(Millis(report.took_ms)),
            "hosts": hosts,
            "risks": risks,
            "steps": steps,
            "picture": picture(report),
            "began": began,
            "by": by,
        })),
    )
}

fn tone(outcome: &str) -> &'static str {
    match outcome {
        "upgraded" | "finalized" | "prepared" => "good",
        "rolled back" => "back",
        "running" => "",
        _ => "bad",
    }
}

fn row<'a>(step: &'a StepTime, proofs: &'a BTreeMap<StepId, Vec<Proof>>) -> StepRow<'a> {
    StepRow {
        began: seconds(step.began),
        took: step
            .ended
            .map(|ended| seconds(ended.minus(step.began)))
            .unwrap_or_default(),
        host: &step.host,
        title: &step.title,
        stage: &step.stage,
        tone: match step.stage.as_str() {
            "failed" => "bad",
            "skipped" => "faint",
            _ => "",
        },
        attempts: step.attempts,
        proofs: proofs.get(&step.id).map(Vec::as_slice).unwrap_or_default(),
    }
}

fn picture(report: &Report) -> Picture {
    let ends = report.steps.iter().map(|step| step.ended.unwrap_or(step.began).0);
    let total = ends.chain([report.took_ms, 1]).max().unwrap_or(1);
    let at = |time: u64| NAMES + (WIDTH - NAMES) * time as f64 / total as f64;
    let rows = report.hosts.iter().enumerate().map(|(position, host)| {
        let of_host: Vec<&StepTime> = report
            .steps
            .iter()
            .filter(|step| step.host == host.host)
            .collect();
        let serving = super::serving(&of_host);
        let shown = of_host.iter().filter(|step| step.stage != "skipped");
        let bars = shown.map(|step| {
            let end = step
                .ended
                .map_or(report.took_ms, |ended| ended.0)
                .max(step.began.0);
            let width = (at(end) - at(step.began.0)).max(NARROWEST);
            Bar {
                class: class(step, disturbs(step.kind, serving).is_some()),
                x: format!("{:.1}", at(step.began.0)),
                width: format!("{width:.1}"),
                title: format!(
                    "{}: {} ({})",
                    step.title,
                    step.stage,
                    seconds(Millis(end - step.began.0))
                ),
            }
        });
        Row {
            y: TOP + ROW * position,
            name: host.host.chars().take(20).collect(),
            bars: bars.collect(),
        }
    });
    let marks = (0..=4u64).map(|quarter| Mark {
        x: format!(
            "{:.1}",
            at(total * quarter / 4) - if quarter == 4 { 52.0 } else { 0.0 }
        ),
        text: seconds(Millis(total * quarter / 4)),
    });
    Picture {
        height: TOP + ROW * report.hosts.len(),
        rows: rows.collect(),
        marks: marks.collect(),
    }
}

fn class(step: &StepTime, disturbs: bool) -> &'static str {
    match (step.stage.as_str(), step.kind, disturbs) {
        ("failed", ..) => "failed",
        (_, StepKind::Undo(_), _) => "undo",
        (_, _, true) => "busy",
        _ => "calm",
    }
}

#[cfg(test)]
mod tests {
    use upshift_model::profile::Slot;

    use super::*;
    use crate::report::HostReport;

    fn step(id: u32, host: &str, kind: StepKind, title: &str, stage: &str, from: u64, to: u64) -> StepTime {
        StepTime {
            id: StepId(id),
            host: host.to_owned(),
            kind,
            title: title.to_owned(),
            stage: stage.to_owned(),
            began: Millis(from),
            ended: Some(Millis(to)),
            attempts: 1,
            disconnected: None,
        }
    }

    fn report(host: &str, reason: &str) -> Report {
        Report {
            run: "20261120-0930-etcd-7f3a9c".to_owned(),
            fleet: "prod".to_owned(),
            product: "etcd".to_owned(),
            from: "3.4.23".to_owned(),
            to: "3.5.16".to_owned(),
            outcome: "rolled back".to_owned(),
            no_controller_since: None,
            reason: Some(reason.to_owned()),
            remedies: Vec::new(),
            took_ms: 20_000,
            risks: Vec::new(),
            hosts: vec![HostReport {
                host: host.to_owned(),
                version: "3.4.23".to_owned(),
                expected: false,
                guard: Some("fired and brought it back".to_owned()),
                disturbed_ms: 9_000,
                own_ms: 8_000,
                steps: 3,
                disconnected: 0,
            }],
            steps: vec![
                step(
                    1,
                    host,
                    StepKind::Unpack,
                    "unpack etcd-3.5.16.tar.gz",
                    "done",
                    0,
                    4_000,
                ),
                step(
                    2,
                    host,
                    StepKind::Do(Slot::Stop),
                    "stop etcd",
                    "done",
                    5_000,
                    7_000,
                ),
                step(
                    3,
                    host,
                    StepKind::Do(Slot::Recover),
                    "the member serves",
                    "failed",
                    7_000,
                    12_000,
                ),
                step(
                    4,
                    host,
                    StepKind::Undo(Slot::Start),
                    "start etcd",
                    "done",
                    13_000,
                    16_000,
                ),
            ],
        }
    }

    fn shown(report: &Report) -> String {
        let proof = Proof {
            expect: "!value.running && size(value.members) < 3".to_owned(),
            waiting: "the process still runs".to_owned(),
        };
        let proofs = BTreeMap::from([(StepId(2), vec![proof])]);
        page(report, &proofs, "2026-11-20 09:30:00 UTC", "ada@admin1").unwrap()
    }

    #[test]
    fn a_page_says_what_was_done_when_and_why() {
        insta::assert_snapshot!(shown(&report(
            "n1",
            "n1: the member serves: after 5.0 s: n1 is not healthy"
        )));
    }

    #[test]
    fn what_hosts_say_never_becomes_markup_and_nothing_is_asked_of_anybody() {
        let evil = "</title><script src=\"http://evil.example/x.js\">alert('x')</script><img src=x onerror=alert(1)>";
        let page = shown(&report(evil, evil));
        for markup in [
            "<script", "<img", "<link", "<iframe", "url(", "@import", "src=\"", "href=",
        ] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&lt;script src=&quot;http:&#x2f;&#x2f;evil.example"));
        assert!(page.contains("value.running &amp;&amp; size(value.members) &lt; 3"));
    }
}
