//! What was observed, and where a run is, as metrics for Prometheus: gauges alone, so that node_exporter's textfile collector takes them, too.
//!
//! What is not known has no sample: a missing series is not a zero.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as Value;
use prometheus_client::registry::Registry;
use upshift_control::{Ended, Progress};
use upshift_model::Millis;
use upshift_run::{Event, Outcome, State, View};
use upshift_wire::session::LinkState;

use crate::output::Printer;

type Labels = Vec<(&'static str, String)>;
type Gauge = Family<Labels, Value<f64, std::sync::atomic::AtomicU64>>;

/// The states of a run, of which one holds.
const STATES: [&str; 11] = [
    "driven",
    "no_controller",
    "held",
    "upgraded",
    "rolled_back",
    "refused",
    "finalized",
    "prepared",
    "ended_as_is",
    "ended_elsewhere",
    "superseded",
];

/// Metrics that are being put together.
#[derive(Default)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A new gauge. Names begin with `upshift_`, and helps end without a full stop.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.registry
            .register(format!("upshift_{name}"), help, gauge.clone());
        gauge
    }

    /// The metrics of one run; `driven` says whether a controller drives it.
    pub fn run(&mut self, fleet: &str, view: &View, driven: bool) {
        let labels = |more: &[(&'static str, &str)]| -> Labels {
            let own = [("fleet", fleet), ("product", &view.product), ("run", &view.run)];
            own.iter()
                .chain(more)
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect()
        };
        let state = state_of(view.outcome.as_ref(), driven);
        let states = self.gauge(
            "run_state",
            "Where the newest run is: 1 for its state, 0 for every other",
        );
        for known in STATES {
            states
                .get_or_create(&labels(&[("state", known)]))
                .set(f64::from(known == state));
        }
        self.gauge("run_info", "The newest run, from which version to which")
            .get_or_create(&labels(&[("from", &view.from), ("to", &view.to)]))
            .set(1.0);
        let mut set = |name: &str, help: &str, value: f64| {
            self.gauge(name, help).get_or_create(&labels(&[])).set(value);
        };
        set(
            "run_rolling_back",
            "Whether the newest run rolls back, or has",
            f64::from(view.rolling_back),
        );
        set(
            "run_in_doubt",
            "Whether the new version stays and not every guard is known to be disarmed",
            f64::from(view.in_doubt),
        );
        set(
            "run_elapsed_seconds",
            "Seconds from the beginning of the newest run to its newest event",
            seconds(view.elapsed),
        );
        set(
            "run_steps",
            "Steps of the way that the newest run is on",
            f64::from(view.progress.1),
        );
        set(
            "run_steps_done",
            "Steps of it that are done",
            f64::from(view.progress.0),
        );
        let disturbed = self.gauge(
            "server_disturbed_seconds",
            "How long the newest run has disturbed a server",
        );
        let guards = self.gauge(
            "guard_remaining_seconds",
            "Seconds until the guard of a server fires, as far as its controller knows; no sample where none stands",
        );
        for node in &view.nodes {
            let labels = labels(&[("host", &node.name)]);
            if let Some(time) = node.disturbed {
                disturbed.get_or_create(&labels).set(seconds(time));
            }
            if let Some(left) = node.guard {
                guards.get_or_create(&labels).set(seconds(left));
            }
        }
    }

    /// As text, the samples of each metric in the order of their labels.
    pub fn text(&self) -> String {
        let mut encoded = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut encoded, &self.registry);
        let mut lines: Vec<&str> = encoded.lines().collect();
        for samples in lines.split_mut(|line| line.starts_with('#')) {
            samples.sort_unstable();
        }
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

fn seconds(time: Millis) -> f64 {
    time.0 as f64 / 1000.0
}

fn state_of(outcome: Option<&Outcome>, driven: bool) -> &'static str {
    match outcome {
        None if driven => "driven",
        None => "no_controller",
        Some(Outcome::Held { .. }) => "held",
        Some(Outcome::Upgraded) => "upgraded",
        Some(Outcome::RolledBack { .. }) => "rolled_back",
        Some(Outcome::Refused { .. }) => "refused",
        Some(Outcome::Finalized) => "finalized",
        Some(Outcome::Prepared) => "prepared",
        Some(Outcome::EndedAsIs { .. }) => "ended_as_is",
        Some(Outcome::EndedElsewhere { .. }) => "ended_elsewhere",
        Some(Outcome::Superseded { .. }) => "superseded",
    }
}

/// Replaces a file of metrics, so that whoever reads it finds the old ones or the new ones.
///
/// # Errors
/// Where it cannot be written.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".upshift-metrics-")
        // Another user's collector reads it.
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// How often a file of metrics is replaced while a run is driven, at most.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps a file of metrics while a run is driven. A file that cannot be written is reported once, and stands in nobody's way.
pub struct MetricsFile {
    inner: Box<dyn Progress>,
    path: PathBuf,
    fleet: String,
    printer: Printer,
    written: Option<Instant>,
    failed: bool,
}

impl MetricsFile {
    /// Metrics of a run on this fleet, written beside what else is told of it.
    pub fn new(inner: Box<dyn Progress>, path: &Path, fleet: &str, printer: Printer) -> Self {
        MetricsFile {
            inner,
            path: path.to_owned(),
            fleet: fleet.to_owned(),
            printer,
            written: None,
            failed: false,
        }
    }

    fn write(&mut self, view: &View, driven: bool) {
        let mut metrics = Metrics::default();
        metrics.run(&self.fleet, view, driven);
        self.written = Some(Instant::now());
        match replace(&self.path, &metrics.text()) {
            Ok(()) => self.failed = false,
            Err(_) if self.failed => {}
            Err(error) => {
                self.failed = true;
                self.printer.note(&format!(
                    "the metrics cannot be written to {}: {error}; the run goes on",
                    self.path.display()
                ));
            }
        }
    }
}

impl Progress for MetricsFile {
    fn event(&mut self, event: &Event) {
        self.inner.event(event);
    }

    fn view(&mut self, view: &View, state: &State) {
        self.inner.view(view, state);
        if self.written.is_none_or(|written| written.elapsed() >= EVERY) {
            self.write(view, true);
        }
    }

    fn tick(&mut self, now: Millis) {
        self.inner.tick(now);
    }

    fn transfer(&mut self, host: &str, received: u64, size: u64) {
        self.inner.transfer(host, received, size);
    }

    fn link(&mut self, host: &str, state: &LinkState) {
        self.inner.link(host, state);
    }

    fn ended(&mut self, ended: &Ended, state: &State) {
        self.inner.ended(ended, state);
        self.write(&state.view(), false);
    }
}

#[cfg(test)]
mod tests {
    use upshift_run::{NodeView, Pause};

    use super::*;

    fn view(outcome: Option<Outcome>) -> View {
        View {
            run: "20261120-0930-\"etcd\"".to_owned(),
            product: "etcd".to_owned(),
            from: "3.4.23".to_owned(),
            to: "3.5.16".to_owned(),
            elapsed: Millis(12_500),
            phase: "window 1 of 3".to_owned(),
            rolling_back: false,
            pause: Pause::No,
            in_doubt: false,
            nodes: vec![
                NodeView {
                    name: "n1".to_owned(),
                    version: "3.5.16".to_owned(),
                    step: None,
                    guard: Some(Millis(80_000)),
                    disturbed: Some(Millis(2_400)),
                    done: true,
                },
                NodeView {
                    name: "n2".to_owned(),
                    version: "3.4.23".to_owned(),
                    step: None,
                    guard: None,
                    disturbed: None,
                    done: false,
                },
            ],
            why: Vec::new(),
            outcome,
            progress: (14, 40),
        }
    }

    #[test]
    fn a_run_is_in_one_state_and_what_is_not_known_has_no_sample() {
        let mut metrics = Metrics::default();
        metrics.run("prod", &view(None), true);
        let text = metrics.text();
        insta::assert_snapshot!(text);
        let of_states = text.lines().filter(|line| line.starts_with("upshift_run_state{"));
        assert_eq!(of_states.filter(|line| line.ends_with(" 1.0")).count(), 1);
    }

    #[test]
    fn every_outcome_is_a_state() {
        let reason = String::new;
        for (outcome, driven, state) in [
            (None, false, "no_controller"),
            (Some(Outcome::Upgraded), true, "upgraded"),
            (
                Some(Outcome::Held {
                    reason: reason(),
                    remedies: Vec::new(),
                }),
                false,
                "held",
            ),
            (
                Some(Outcome::RolledBack {
                    to: reason(),
                    reason: reason(),
                }),
                false,
                "rolled_back",
            ),
        ] {
            assert_eq!(state_of(outcome.as_ref(), driven), state);
            assert!(STATES.contains(&state));
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_anybody_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upshift.prom");
        replace(&path, "a 1\n").unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        replace(&path, "b 2\n").unwrap();
        assert_eq!(
            io::read_to_string(reader).unwrap(),
            "a 1\n",
            "whoever reads has the old file"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b 2\n");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert!(replace(&directory.path().join("no/such.prom"), "").is_err());
    }
}
