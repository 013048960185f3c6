//! `upshift plan`, `prepare` and `upgrade`: make a plan, show it, ask, do it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use upshift_control::{Artifacts, Hosts, Runner, Setup};
use upshift_model::action::{Action, Artifact};
use upshift_model::fleet::Fleet;
use upshift_plan::{PLAN_FORMAT, Plan, Refusal, Request, show};
use upshift_run::OperatorCommand;
use upshift_store::Store;

use crate::args::{AdoptArgs, Global, Output, PlanArgs, PrepareArgs, Target, UpgradeArgs};
use crate::ask::{Question, confirm};
use crate::cluster::{self, Surveyed};
use crate::commands::clients;
use crate::drive::{self, Asked};
use crate::exit::{Exit, Failure, Problem};
use crate::files;
use crate::fleets;
use crate::lease::{self, HeldLease};
use crate::output::Printer;
use crate::runs;
use crate::seal::{self, Seal};
use crate::setting::Setting;

/// What a run needs to be taken up again, kept with it in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The hosts.
    pub fleet: Fleet,
    /// The group of the fleet whose hosts are the servers.
    pub group: String,
    /// Where the hosts are clients: the group of the fleet whose clients they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_of: Option<String>,
    /// Where the packages lie, by digest.
    pub packages: BTreeMap<String, PathBuf>,
}

impl Kept {
    /// The ways to the hosts, without their variables: those that the plan uses are in the plan, and others may be secrets.
    fn of(setting: &Setting, packages: BTreeMap<String, PathBuf>) -> Self {
        let mut fleet = setting.fleet.clone();
        for host in fleet.hosts.values_mut() {
            host.variables.clear();
        }
        Kept {
            fleet,
            group: fleets::group(&setting.profile).to_owned(),
            clients_of: setting.profile.clients_of.clone(),
            packages,
        }
    }
}

/// `upshift plan`.
pub fn plan(arguments: &PlanArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json, Output::Markdown, Output::Svg])?;
    let setting = Setting::read(global)?;
    let request = setting.request(&arguments.to, &arguments.target);
    let made = cluster::wait(async {
        let hosts = cluster::hosts_of(&setting)?;
        let surveyed = cluster::observe(&setting, &hosts, runs::look(global).ok().as_ref()).await?;
        make(&setting, &hosts, &surveyed, &request).await
    });
    let plan = match made {
        Err(Failure::Refusals(refusals)) if arguments.exit_code && nothing_to_do(&refusals) => {
            let text = || format!("nothing to do: every server runs {} already", arguments.to);
            printer.result(&serde_json::json!({"changes": false, "to": arguments.to}), text)?;
            return Ok(Exit::Done);
        }
        made => made?,
    };
    let done = match arguments.exit_code {
        true => Exit::WouldChange,
        false => Exit::Done,
    };
    let rendered = match printer.form() {
        Output::Markdown => Some(show::markdown(&plan)),
        Output::Svg => Some(show::svg(&plan)),
        Output::Table | Output::Json | Output::Metrics | Output::Html => None,
    };
    if let Some(file) = &arguments.file {
        let text = match &rendered {
            Some(rendered) => rendered.clone(),
            None => sealed(&plan, global)?,
        };
        files::write_private(file, text.as_bytes()).map_err(|error| unwritable(file, &error))?;
        printer.note(&format!("written to {}", file.display()));
        if rendered.is_some() {
            return Ok(done);
        }
    }
    match rendered {
        Some(rendered) => printer.text(&rendered)?,
        None => printer.result(&plan, || {
            let mut text = show::table_in(
                &plan,
                detail(global),
                crate::output::columns().unwrap_or(show::WIDE),
            );
            if arguments.picture {
                text.push_str(&format!("\n{}", show::picture(&plan)));
            }
            text
        })?,
    }
    Ok(done)
}

/// Whether all that stands in the way is that the servers are there already.
fn nothing_to_do(refusals: &[Refusal]) -> bool {
    !refusals.is_empty() && refusals.iter().all(|refusal| refusal.code == "already-there")
}

/// A plan as `upgrade --plan` takes it: with the seal of this machine's journal.
fn sealed(plan: &Plan, global: &Global) -> Result<String, Failure> {
    let state = runs::state_directory(global)?;
    let seal = seal::of(plan, &state).map_err(|error| no_key(&state, &error))?;
    let mut file = serde_json::to_value(plan)?;
    file[seal::MEMBER] = seal.into();
    Ok(serde_json::to_string_pretty(&file)?)
}

fn no_key(state: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(
        Problem::new("the key that plans are sealed with cannot be used")
            .at(state.display())
            .because(error)
            .next("mend its permissions, or name another directory with --state-dir"),
    )
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(
        Problem::new("cannot write the plan")
            .at(file.display())
            .because(error)
            .next("name another file with -o"),
    )
}

/// Shows a plan before it is asked whether to carry it out.
fn show_plan(plan: &Plan, global: &Global, printer: Printer) -> Result<(), Failure> {
    if printer.json() {
        return printer.line(&serde_json::json!({"type": "plan", "plan": plan}).to_string());
    }
    let width = crate::output::columns().unwrap_or(show::WIDE);
    printer.text(&show::table_in(plan, detail(global), width))
}

/// How much a plan says of what its steps wait for.
fn detail(global: &Global) -> show::Detail {
    match global.verbose {
        true => show::Detail::Expressions,
        false => show::Detail::Sentences,
    }
}

/// A plan whose steps have what they need on every host, or all the reasons why not.
pub async fn make(
    setting: &Setting,
    hosts: &Hosts,
    surveyed: &Surveyed,
    request: &Request,
) -> Result<Plan, Failure> {
    let made = upshift_plan::plan(
        &setting.profile,
        &setting.fleet.name,
        &setting.fleet,
        &surveyed.facts,
        request,
    );
    let mut plan = unless_barred(surveyed, made)?;
    let remarks = tried(&plan, hosts).await?;
    let merges = cluster::preview_merges(&plan, hosts, setting).await?;
    if !merges.refusals.is_empty() {
        return Err(Failure::Refusals(merges.refusals));
    }
    plan.config_changes = merges.changes;
    plan.add_remarks(remarks.into_iter().chain(merges.warnings));
    Ok(plan)
}

/// What is worth knowing of hosts that have what the plan's steps need.
async fn tried(plan: &Plan, hosts: &Hosts) -> Result<Vec<String>, Failure> {
    let (unmet, remarks) = cluster::try_needs(plan, hosts).await;
    if unmet.is_empty() {
        return Ok(remarks);
    }
    Err(Failure::Refusals(unmet))
}

/// What the planner says, unless another run stands in the way; then that is said, too.
fn unless_barred<T>(surveyed: &Surveyed, made: Result<T, Vec<Refusal>>) -> Result<T, Failure> {
    match made {
        Ok(made) if surveyed.barred.is_empty() => Ok(made),
        made => {
            let mut refusals = surveyed.barred.clone();
            refusals.extend(made.err().unwrap_or_default());
            Err(Failure::Refusals(refusals))
        }
    }
}

/// `upshift prepare`.
pub fn prepare(arguments: &PrepareArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    let request = Request {
        prepare_only: true,
        ..setting.request(&arguments.to, &arguments.target)
    };
    let store = runs::open(global)?;
    cluster::wait(async {
        let (begun, surveyed) = Begun::survey(&store, &setting).await?;
        let plan = make(&setting, &begun.hosts, &surveyed, &request).await?;
        begun.execute(plan, &setting, false, global, printer).await
    })
}

/// `upshift adopt`.
pub fn adopt(arguments: &AdoptArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    if arguments.services {
        return move_services(arguments, &setting, global, printer);
    }
    let request = setting.request("", &Target::default());
    let store = runs::open(global)?;
    cluster::wait(async {
        let (begun, surveyed) = Begun::survey(&store, &setting).await?;
        let (profile, fleet) = (&setting.profile, &setting.fleet);
        let made = upshift_plan::adoption(profile, &fleet.name, fleet, &surveyed.facts, &request);
        let plan = unless_barred(&surveyed, made)?;
        if plan.prepare.is_empty() {
            printer.result(&serde_json::json!({"adopted": true, "changed": false}), || {
                "every release store holds what runs already; nothing was changed".to_owned()
            })?;
            return Ok(Exit::Done);
        }
        begun.execute(plan, &setting, false, global, printer).await
    })
}

/// `upshift adopt --services`.
fn move_services(
    arguments: &AdoptArgs,
    setting: &Setting,
    global: &Global,
    printer: Printer,
) -> Result<Exit, Failure> {
    let request = setting.request("", &arguments.target);
    let store = runs::open(global)?;
    cluster::wait(async {
        let (begun, surveyed) = Begun::survey(&store, setting).await?;
        let (profile, fleet) = (&setting.profile, &setting.fleet);
        let made = upshift_plan::moving(profile, &fleet.name, fleet, &surveyed.facts, &request);
        let Some(plan) = unless_barred(&surveyed, made)? else {
            printer.result(&serde_json::json!({"moved": true, "changed": false}), || {
                "every service is started from its release store already; nothing was changed".to_owned()
            })?;
            return Ok(Exit::Done);
        };
        tried(&plan, &begun.hosts).await?;
        show_plan(&plan, global, printer)?;
        let text = "Restart these services from the release store?";
        let question = Question {
            text,
            answer: "y",
            option: "--yes",
        };
        confirm(question, arguments.yes, printer)?;
        begun.execute(plan, setting, false, global, printer).await
    })
}

/// `upshift upgrade`.
pub fn upgrade(arguments: &UpgradeArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    if arguments.clients {
        return clients::upgrade(arguments, global, printer);
    }
    let setting = Setting::read(global)?;
    let kept = arguments
        .plan
        .as_deref()
        .map(|path| read_plan(path, arguments.trust_plan, global, printer))
        .transpose()?;
    let store = runs::open(global)?;
    cluster::wait(async {
        let (begun, surveyed) = Begun::survey(&store, &setting).await?;
        let plan = match (kept, &arguments.to) {
            (Some(plan), _) => {
                let facts = &surveyed.facts;
                let same = upshift_plan::verify_unchanged(&plan, &setting.profile, &setting.fleet, facts);
                unless_barred(&surveyed, same)?;
                tried(&plan, &begun.hosts).await?;
                plan
            }
            (None, Some(to)) => {
                let request = setting.request(to, &arguments.target);
                make(&setting, &begun.hosts, &surveyed, &request).await?
            }
            (None, None) => {
                return Err(Failure::Usage(
                    Problem::new("upgrade to which version?").next("say so with --to"),
                ));
            }
        };
        begun
            .show_ask_execute(plan, &setting, arguments, global, printer)
            .await
    })
}

/// Asks for the yes to the plan, and for another one to each point of no return. Yields whether that was given.
fn ask(plan: &Plan, arguments: &UpgradeArgs, printer: Printer) -> Result<bool, Failure> {
    let points: Vec<_> = plan
        .hops
        .iter()
        .filter_map(|hop| Some((hop, hop.no_return.as_ref()?)))
        .collect();
    if arguments.yes
        && !arguments.accept_no_return
        && let Some((hop, point)) = points.first()
    {
        return Err(Failure::Refused(
            Problem::new(format!(
                "the hop {} → {} has a point of no return, and --yes alone does not cross it",
                hop.from, hop.to
            ))
            .because(&point.description)
            .next(format!(
                "read the rollback, then give --accept-no-return, too. The rollback: {}",
                point.rollback
            )),
        ));
    }
    confirm(
        Question {
            text: "Carry out this plan?",
            answer: "y",
            option: "--yes",
        },
        arguments.yes,
        printer,
    )?;
    for (hop, point) in &points {
        let text = format!(
            "\nThe hop {} → {} has a point of no return: {}\nThe rollback after it: {}\nCross it?",
            hop.from, hop.to, point.description, point.rollback
        );
        confirm(
            Question {
                text: &text,
                answer: "yes",
                option: "--accept-no-return",
            },
            arguments.accept_no_return,
            printer,
        )?;
    }
    Ok(!points.is_empty())
}

/// Reads a plan that `upshift plan -o` wrote. One that was made elsewhere, or changed, is taken only where that was asked for, and
/// what it runs is shown.
fn read_plan(path: &Path, trusted: bool, global: &Global, printer: Printer) -> Result<Plan, Failure> {
    let text = files::read_text(path, "plan")?;
    let wrong = |why: String| {
        Failure::Usage(
            Problem::new("this is not a plan of this program")
                .at(path.display())
                .because(why)
                .next("make it anew with `upshift plan -o`"),
        )
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(u64::from(PLAN_FORMAT)) {
        let found = format.map_or_else(
            || "it says no format".to_owned(),
            |found| format!("it has format {found}"),
        );
        return Err(wrong(format!("{found}, this program knows format {PLAN_FORMAT}")));
    }
    let plan: Plan = serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))?;
    plan.validate().map_err(wrong)?;
    let state = runs::state_directory(global)?;
    let why = match seal::check(&value, &plan, &state).map_err(|error| no_key(&state, &error))? {
        Seal::Ours => return Ok(plan),
        Seal::Absent => "it has no seal",
        Seal::Other => "its seal is of another journal, or the plan was changed since it was made",
    };
    if !trusted {
        return Err(Failure::Refused(
            Problem::new("this plan was not made here")
                .at(path.display())
                .because(why)
                .next("make it here with `upshift plan -o`; or read what it runs, and pass --trust-plan"),
        ));
    }
    printer.note(&format!(
        "the plan {} was not made here ({why}), and is trusted. It runs:",
        path.display()
    ));
    for command in show::commands(&plan)? {
        printer.note(&format!("  {command}"));
    }
    Ok(plan)
}

/// The fleet is ours, and nothing else runs on it.
pub struct Begun<'s> {
    store: &'s Store,
    lease: HeldLease<'s>,
    hosts: Hosts,
}

impl<'s> Begun<'s> {
    /// Takes the fleet; refused where somebody else has it, or where a run on it has not ended.
    fn take(store: &'s Store, setting: &Setting) -> Result<Self, Failure> {
        let lease = HeldLease::take(store, &setting.fleet.name, false)?;
        refuse_unfinished(store, &setting.fleet.name)?;
        Ok(Begun {
            store,
            lease,
            hosts: cluster::hosts_of(setting)?,
        })
    }

    /// Takes the fleet, and observes it; see [`Begun::take`].
    pub async fn survey(store: &'s Store, setting: &Setting) -> Result<(Self, Surveyed), Failure> {
        let mut begun = Begun::take(store, setting)?;
        let surveyed = cluster::observe(setting, &begun.hosts, Some(store)).await?;
        begun.lease.raise(surveyed.token)?;
        Ok((begun, surveyed))
    }

    /// The ways to the servers.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Begins a run of a plan; yields who carries it, and its name.
    pub fn start(
        self,
        plan: Plan,
        setting: &Setting,
        consent: bool,
    ) -> Result<(Runner<'s>, String), Failure> {
        let (artifacts, packages) = at_hand(&plan, setting)?;
        let kept = Kept::of(setting, packages);
        let run = self
            .store
            .fresh_run_id(&setting.fleet.name)
            .map_err(|error| runs::failure(error, &[]))?;
        let who = lease::who();
        let setup = Setup {
            store: self.store,
            lease: self.lease.hand_over(),
            hosts: self.hosts,
            artifacts,
            who: who.clone(),
        };
        let runner = Runner::begin(setup, &run, Arc::new(plan), &serde_json::to_value(&kept)?)?;
        if consent {
            self.store
                .say(&run, &who, &OperatorCommand::Consent)
                .map_err(|error| runs::failure(error, &[]))?;
        }
        Ok((runner, run))
    }

    /// Shows the plan, asks, and does it.
    pub async fn show_ask_execute(
        self,
        plan: Plan,
        setting: &Setting,
        arguments: &UpgradeArgs,
        global: &Global,
        printer: Printer,
    ) -> Result<Exit, Failure> {
        show_plan(&plan, global, printer)?;
        let consent = ask(&plan, arguments, printer)?;
        self.execute(plan, setting, consent, global, printer).await
    }

    async fn execute(
        self,
        plan: Plan,
        setting: &Setting,
        consent: bool,
        global: &Global,
        printer: Printer,
    ) -> Result<Exit, Failure> {
        let store = self.store;
        let (runner, _) = self.start(plan, setting, consent)?;
        drive::drive(
            runner,
            store,
            Asked::Forward,
            global.metrics_file.as_deref(),
            printer,
        )
        .await
    }
}

/// A run that has not ended comes first: its guards may still stand.
pub fn refuse_unfinished(store: &Store, fleet: &str) -> Result<(), Failure> {
    let runs = store
        .runs(Some(fleet))
        .map_err(|error| runs::failure(error, &[]))?;
    let Some(open) = runs.iter().find(|run| runs::is_open(run)) else {
        return Ok(());
    };
    let what = match &open.outcome {
        Some(_) => "is held: an operator must decide",
        None => "has not ended",
    };
    Err(Failure::Refused(
        Problem::new(format!("the run {} on the fleet `{fleet}` {what}", open.id)).next(format!(
            "`upshift why {0}` says why; `upshift resume {0}` goes on, `upshift abort {0}` rolls back",
            open.id
        )),
    ))
}

/// The files of all packages that the plan distributes.
fn at_hand(plan: &Plan, setting: &Setting) -> Result<(Artifacts, BTreeMap<String, PathBuf>), Failure> {
    let needed = plan.recipes.iter().filter_map(|recipe| match &recipe.action {
        Some(Action::Distribute(artifact)) => Some(artifact),
        _ => None,
    });
    let (mut artifacts, mut paths, mut missing) = (Artifacts::new(), BTreeMap::new(), Vec::new());
    for artifact in needed {
        let own = setting
            .tool
            .as_ref()
            .filter(|(tool, _)| tool.sha256 == artifact.sha256);
        match setting.packages.found.get(&artifact.sha256).or(own) {
            Some((_, path)) => {
                let path = std::path::absolute(path)?;
                artifacts.add(artifact, &path);
                paths.insert(artifact.sha256.clone(), path);
            }
            None => missing.push(gone(artifact, setting)),
        }
    }
    if missing.is_empty() {
        Ok((artifacts, paths))
    } else {
        Err(Failure::Refusals(missing))
    }
}

fn gone(artifact: &Artifact, setting: &Setting) -> Refusal {
    Refusal {
        code: "package-changed".to_owned(),
        hosts: Vec::new(),
        message: format!(
            "the plan was made with {} of digest {}…, which is not in {}",
            artifact.file_name,
            artifact.sha256.get(..12).unwrap_or(&artifact.sha256),
            setting.packages.directory.display()
        ),
        remedy: "put that file back, or make the plan anew".to_owned(),
        link: None,
        finding: upshift_plan::Finding::DoesNotHold,
        hides: Vec::new(),
    }
}
