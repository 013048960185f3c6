//! The story itself: start, load, a good upgrade, a bad one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use upshift_control::progress::{self, Progress, json::Json};
use upshift_lab::cluster::{Cluster, Place, Product};
use upshift_lab::load::Load;
use upshift_model::Millis;
use upshift_plan::{Timing, show};
use upshift_run::Outcome;

use super::result::{Act, Summary, table};
use super::stage::Stage;
use crate::args::{DemoArgs, Global, Output, Target};
use crate::cluster;
use crate::commands::history;
use crate::commands::upgrade::{Begun, make};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::report::Report;
use crate::runs;
use crate::setting::Setting;

/// Members of the cluster.
const MEMBERS: usize = 3;
/// Writes per second.
const RATE: u32 = 200;
/// How long the result is watched: real upgrades watch longer.
const SOAK: Millis = Millis(2_000);
/// How long a step may take with the bad release, so that nobody has to wait for minutes.
const BAD_WITHIN: Millis = Millis(15_000);

/// Tells the story. Everything lies under `directory`; whoever called clears it away.
pub fn tell(
    arguments: &DemoArgs,
    global: &Global,
    directory: &Path,
    printer: Printer,
) -> Result<Exit, Failure> {
    let say = |text: &str| {
        if !printer.json() {
            printer.note(text);
        }
    };
    let stage = Stage::set(arguments, directory, &say)?;
    let began = Instant::now();
    let (name, version) = (stage.product.name(), &stage.start.version);
    match &stage.excuse {
        None => say(&format!(
            "\n1. Three members of real {name} {version} on loopback addresses."
        )),
        Some(excuse) => say(&format!(
            "\nNot with real etcd ({excuse}): the same story with the lab server, a small replicated key-value server of Upshift's own.\n\n\
             1. Three members of the lab server {version} on loopback addresses."
        )),
    }
    let cluster = Cluster::start(
        stage.product,
        &directory.join("cluster"),
        Place::local(MEMBERS),
        &stage.start,
    )
    .context("the cluster does not come up")?;
    let player = Player {
        global: settings(global, &stage, &cluster, directory),
        cluster: &cluster,
        printer,
    };
    say(&format!(
        "\n2. A client writes and reads, {RATE} times a second, while every member is upgraded to {}.\n",
        stage.good
    ));
    let good = player.play(
        &stage.good,
        Timing {
            soak: Some(SOAK),
            ..Timing::default()
        },
        true,
    )?;
    let upgraded = good.1 == Outcome::Upgraded && player.all_run(&stage.good);
    let configurations = cluster
        .configurations()
        .context("cannot read the members' configuration")?;
    say(&format!(
        "\n3. The same with {}, a release made up for this demo: its server starts, says its version, and never serves.\n",
        stage.bad
    ));
    let timing = Timing {
        soak: Some(SOAK),
        within: Some(BAD_WITHIN),
        ..Timing::default()
    };
    let bad = player.play(&stage.bad, timing, false)?;
    let unchanged = cluster
        .configurations()
        .context("cannot read the members' configuration")?
        == configurations;
    let rolled_back = matches!(bad.1, Outcome::RolledBack { .. }) && player.all_run(&stage.good) && unchanged;
    let summary = summary(&stage, &good.0, &bad.0, upgraded, rolled_back, began.elapsed());
    report(&summary, &good.0, &bad.0, printer)?;
    if let Some(file) = &arguments.report {
        player.write_page(file)?;
    }
    let well = upgraded && rolled_back && summary.lost == 0;
    Ok(if well { Exit::Done } else { Exit::Unexpected })
}

/// The options that the demo's commands are given.
fn settings(global: &Global, stage: &Stage, cluster: &Cluster, directory: &Path) -> Global {
    Global {
        fleet: cluster.fleet_file().to_owned(),
        product: Some(stage.product.name().to_owned()),
        profile: None,
        state_dir: Some(directory.join("controller")),
        packages: stage.packages.clone(),
        output: Output::Table,
        ..global.clone()
    }
}

/// Plays one upgrade after the other.
struct Player<'a> {
    global: Global,
    cluster: &'a Cluster,
    printer: Printer,
}

impl Player<'_> {
    /// The report of the newest run, as a page.
    fn write_page(&self, file: &Path) -> Result<(), Failure> {
        let store = runs::open(&self.global)?;
        let record = runs::pick(&store, None, &self.global)?;
        let state = runs::state(&store, &record.id)?;
        let page = history::page(&record, &Report::of(&state), state.plan())?;
        std::fs::write(file, page).map_err(|error| super::unwritable(file, &error))?;
        self.printer.note(&format!("the report is in {}", file.display()));
        Ok(())
    }

    /// One upgrade under load, and how it ended.
    fn play(&self, to: &str, timing: Timing, show_plan: bool) -> Result<(Act, Outcome), Failure> {
        let load = Load::start(&self.cluster.client(), to, RATE);
        let outcome = cluster::wait(self.upgrade(to, timing, show_plan));
        let load = load.finish().context("cannot read the client's writes again")?;
        let (report, outcome) = outcome?;
        Ok((Act { report, load }, outcome))
    }

    async fn upgrade(&self, to: &str, timing: Timing, show_plan: bool) -> Result<(Report, Outcome), Failure> {
        let setting = Setting::read(&self.global)?;
        let store = runs::open(&self.global)?;
        let (begun, surveyed) = Begun::survey(&store, &setting).await?;
        let mut request = setting.request(to, &Target::default());
        request.timing = timing;
        let plan = make(&setting, begun.hosts(), &surveyed, &request).await?;
        if show_plan && !self.printer.json() {
            self.printer.text(&format!(
                "{}\n\n{}",
                head(&show::table(&plan, show::Detail::Sentences)),
                show::picture(&plan)
            ))?;
        }
        // The demo crosses points of no return: its cluster is its own.
        let (runner, run) = begun.start(plan, &setting, true)?;
        let mut progress: Box<dyn Progress> = if self.printer.json() {
            Box::new(Json::new(std::io::stdout()))
        } else {
            progress::for_people()
        };
        runner.drive(progress.as_mut()).await?;
        let state = runs::state(&store, &run)?;
        let outcome = state.outcome().cloned().context("the run has not ended")?;
        Ok((Report::of(&state), outcome))
    }

    /// Whether every member says that it runs a version.
    fn all_run(&self, version: &str) -> bool {
        self.cluster
            .versions()
            .iter()
            .all(|said| said.as_deref() == Some(version))
    }
}

/// The first paragraph of a plan: what, where, how long; `upshift plan` shows all of it.
fn head(table: &str) -> &str {
    table.split("\n\n").next().unwrap_or_default()
}

fn summary(
    stage: &Stage,
    good: &Act,
    bad: &Act,
    upgraded: bool,
    rolled_back: bool,
    took: Duration,
) -> Summary {
    Summary {
        product: stage.product.name().to_owned(),
        real: stage.product == Product::Etcd,
        from: stage.start.version.clone(),
        to: stage.good.clone(),
        acknowledged: good.load.acknowledged + bad.load.acknowledged,
        lost: good.load.lost + bad.load.lost,
        failed_requests: good.load.failed_requests + bad.load.failed_requests,
        longest_gap_ms: good.load.longest_gap_ms.max(bad.load.longest_gap_ms),
        upgraded,
        bad_release_rolled_back: rolled_back,
        seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
    }
}

fn report(summary: &Summary, good: &Act, bad: &Act, printer: Printer) -> Result<(), Failure> {
    if printer.json() {
        return printer.line(&serde_json::to_string(summary)?);
    }
    printer.text(&format!(
        "\n4. What the client and the members saw\n\n{}",
        table(good, bad)
    ))?;
    if let Some(reason) = &bad.report.reason {
        printer.text(&format!("\nwhy it rolled back: {reason}"))?;
    }
    let verdict = |yes: bool| if yes { "yes" } else { "NO" };
    printer.text(&format!(
        "\nevery member runs {}, as it says itself: {}\nbad release rolled back, configuration byte for byte: {}\nwrites lost: {}\n\
         took {:.1} s",
        summary.to,
        verdict(summary.upgraded),
        verdict(summary.bad_release_rolled_back),
        summary.lost,
        summary.seconds
    ))
}
