//! `upshift report --bundle`: one archive with all that is known of a run, for whoever has to understand it elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use upshift_control::{Hosts, ask_each};
use upshift_model::Millis;
use upshift_model::action::{Command, OutputFormat};
use upshift_model::probe::{Probe, ProbeFailure};
use upshift_plan::{Plan, show};
use upshift_run::State;
use upshift_store::{RunRecord, Store};

use crate::args::Global;
use crate::cluster;
use crate::commands::operate::fleet_now;
use crate::commands::upgrade::Kept;
use crate::commands::why;
use crate::exit::{Failure, Problem};
use crate::files;
use crate::report::Report;
use crate::runs;
use crate::scrub::scrubbed;

/// How long a host may take to send its logs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ends of the logs that the agent, its guards and the services that it supervises have written, and of what the unit of the product said.
const LOGS: &str = r#"
for file in "$1"/logs/* "$1"/records/runs/"$2"/* "$1"/records/guards/*; do
  [ -f "$file" ] || continue
  printf '== %s\n' "$file"
  tail -n 300 "$file" | cut -c1-2000
done
exit 0
"#;

/// Writes the archive; yields how many files are in it, and the hosts that could not be asked.
pub fn write(
    file: &Path,
    record: &RunRecord,
    state: &State,
    report: &Report,
    store: &Store,
    global: &Global,
) -> Result<(usize, Vec<String>), Failure> {
    let mut journal = Vec::new();
    store
        .export(&record.id, &mut journal)
        .map_err(|error| runs::failure(error, &[]))?;
    let plan = state.plan();
    let mut texts: BTreeMap<String, String> = [
        ("about.txt".to_owned(), about(record)),
        ("report.md".to_owned(), report.markdown()),
        ("report.json".to_owned(), serde_json::to_string_pretty(report)?),
        ("why.txt".to_owned(), why::text(state)),
        (
            "plan.txt".to_owned(),
            show::table(plan, show::Detail::Expressions),
        ),
        (
            "journal.jsonl".to_owned(),
            String::from_utf8_lossy(&journal).into_owned(),
        ),
    ]
    .into();
    let (logs, silent) = logs(plan, record, global)?;
    for (host, text) in logs {
        texts.insert(format!("hosts/{host}.log"), text);
    }
    let packed = packed(&record.id, &texts)?;
    files::write_private(file, &packed).map_err(|error| {
        Failure::Usage(
            Problem::new("cannot write the bundle")
                .at(file.display())
                .because(error)
                .next("name another file"),
        )
    })?;
    Ok((texts.len(), silent))
}

fn about(record: &RunRecord) -> String {
    format!(
        "run {}\nupshift {}\nbegun {} by {}\nsecrets were taken out: values of keys that name one, private keys, passwords in URLs\n",
        record.id,
        env!("CARGO_PKG_VERSION"),
        crate::moment::text(record.created_ms),
        record.created_by
    )
}

/// What the hosts have written of the run; a host that cannot be asked is named.
fn logs(
    plan: &Plan,
    record: &RunRecord,
    global: &Global,
) -> Result<(BTreeMap<String, String>, Vec<String>), Failure> {
    let kept: Kept = serde_json::from_value(record.setting.clone())?;
    let fleet = fleet_now(&kept, global)?;
    let observed = cluster::wait(async {
        let hosts: Hosts = cluster::hosts(&fleet, &kept.group, cluster::sharing(global).as_ref())?;
        let nodes = (0_usize..).zip(&plan.nodes);
        let questions = nodes.map(|(index, node)| {
            (
                index,
                node.name.clone(),
                question(&node.state_directory, &record.id),
            )
        });
        let questions: Vec<_> = questions.collect();
        Ok(tokio::time::timeout(PATIENCE, ask_each(&hosts, questions))
            .await
            .unwrap_or_default())
    })?;
    let (mut logs, mut silent) = (BTreeMap::new(), Vec::new());
    for (index, node) in plan.nodes.iter().enumerate() {
        let text = match observed.get(&index) {
            Some(Ok(value)) => value["value"].as_str().unwrap_or_default().to_owned(),
            Some(Err(failure)) => {
                silent.push(node.name.clone());
                let reason = match failure {
                    ProbeFailure::Unreachable(reason) | ProbeFailure::Failed(reason) => reason,
                    ProbeFailure::GuardFired => "its guard has fired",
                };
                format!("the host could not be asked: {reason}\n")
            }
            None => {
                silent.push(node.name.clone());
                format!("the host did not answer within {} s\n", PATIENCE.as_secs())
            }
        };
        logs.insert(node.name.clone(), text);
    }
    Ok((logs, silent))
}

fn question(state_directory: &str, run: &str) -> Probe {
    Probe::Command(Command {
        argv: ["sh", "-c", LOGS, "sh", state_directory, run]
            .map(str::to_owned)
            .to_vec(),
        env: BTreeMap::new(),
        directory: None,
        timeout: Millis::seconds(20),
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    })
}

/// A compressed archive with one directory, named after the run; secrets are taken out of every file.
fn packed(run: &str, texts: &BTreeMap<String, String>) -> Result<Vec<u8>, Failure> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, text) in texts {
        let text = scrubbed(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("{run}/{name}"), text.as_bytes())?;
    }
    let mut compressed = archive.into_inner()?;
    compressed.flush()?;
    Ok(compressed.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_archive_holds_every_text_without_its_secrets() {
        let texts = [("hosts/n1.log".to_owned(), "password=abc\n".to_owned())].into();
        let packed = packed("run-1", &texts).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_string_lossy(), "run-1/hosts/n1.log");
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "password=(secret)\n");
    }
}
