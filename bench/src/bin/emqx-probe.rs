//! What one observation of a node of EMQX costs its host, in seconds of CPU time: everything that the profile asks of the running node,
//! beside the ten commands of EMQX's own that give the same answers.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use upshift_e2e::emqx::Cluster;
use upshift_model::probe::Probe;
use upshift_model::profile::shipped;
use upshift_model::template;

/// How often each is done; the mean counts.
const TIMES: u32 = 5;

/// What the profile asked of a node before it asked in one call.
const COMMANDS: [(&str, &[&str]); 10] = [
    ("emqx_ctl", &["broker"]),
    ("emqx_ctl", &["cluster", "status"]),
    ("emqx_ctl", &["cluster", "status"]),
    ("emqx", &["versions"]),
    ("emqx_ctl", &["resources", "list"]),
    ("emqx", &["eval", "pid_to_list(whereis(application_controller))"]),
    ("emqx_ctl", &["plugins", "list"]),
    ("emqx_ctl", &["status"]),
    (
        "emqx",
        &[
            "eval",
            "mnesia:wait_for_tables(mnesia:system_info(local_tables), 1000)",
        ],
    ),
    (
        "emqx",
        &[
            "eval",
            "[maps:get(name, A) || A <- emqx_alarm:get_alarms(activated)]",
        ],
    ),
];

fn main() -> ExitCode {
    match measure() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Value, Box<dyn Error>> {
    let cluster = Cluster::start(1, "4.4.15", &[]).map_err(|unavailable| unavailable.to_string())?;
    let root = &cluster.nodes[0].root;
    let argv = argv(root)?;
    let (one_call, one_call_took) = mean(|| run(&argv))?;
    let (own, own_took) = mean(|| {
        COMMANDS.iter().try_for_each(|(program, arguments)| {
            let mut argv = vec![root.join("bin").join(program).display().to_string()];
            argv.extend(arguments.iter().map(|word| (*word).to_owned()));
            run(&argv)
        })
    })?;
    Ok(json!({
        "bench": "emqx-probe", "cpu_seconds": one_call, "took_seconds": one_call_took,
        "own_commands_cpu_seconds": own, "own_commands_took_seconds": own_took, "share": one_call / own,
    }))
}

/// The command of the profile's probe `state`, for this installation.
fn argv(root: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let (_, text) = shipped()
        .iter()
        .find(|(name, _)| *name == "emqx.yaml")
        .ok_or("the profile is not there")?;
    let profile =
        upshift_model::profile::parse("emqx.yaml", text).map_err(|problems| format!("{problems:?}"))?;
    match profile.probes.get("state") {
        Some(Probe::Command(command)) => Ok(template::render(
            &command.argv,
            &json!({ "places": { "root": root } }),
        )?),
        _ => Err("the profile has no command `state`".into()),
    }
}

fn run(argv: &[String]) -> Result<(), Box<dyn Error>> {
    let status = Command::new(&argv[0])
        .args(&argv[1..])
        .stdout(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{argv:?} ends with {status}").into()),
    }
}

/// Seconds of CPU time of all that was started, and seconds that passed, for one of several.
fn mean(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<(f64, f64), Box<dyn Error>> {
    let (began, before) = (Instant::now(), of_children()?);
    for _ in 0..TIMES {
        work()?;
    }
    let times = f64::from(TIMES);
    Ok((
        (of_children()? - before) / times,
        began.elapsed().as_secs_f64() / times,
    ))
}

/// CPU time of the children that have ended and been waited for, in seconds: fields 16 and 17 of the kernel's account, in ticks of 10 ms.
fn of_children() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let behind = text.rsplit_once(')').ok_or("a process has a name")?.1;
    let field = |at: usize| -> Result<f64, Box<dyn Error>> {
        Ok(behind
            .split_whitespace()
            .nth(at)
            .ok_or("too few fields")?
            .parse()?)
    };
    // Behind the name, the first is field 3.
    Ok((field(13)? + field(14)?) / 100.0)
}
