//! Project tasks: `cargo xtask test | sim | bench | mutants | words`.

mod bench;
mod count;
mod run;
mod test;
mod words;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask TASK

Tasks:
  test [NAME…]              every test, or only the end-to-end tests of the named products
                            (alluxio, emqx, etcd, haproxy, ignite, inventory,
                            kyligence, lab, nats, weka); closes with
                            `N passed, N failed, N skipped, N left out`
  sim [--seeds N] [--seed S]   the simulator; see docs/simulation.md
  bench NAME                one benchmark: ssh-steps, rolling, distribute, emqx-probe, plan; ends with one JSON line
  mutants [ARGUMENTS…]      how many planted faults the tests of `plan` and `run` catch (needs cargo-mutants)
  words                     words that docs/glossary.md does not use";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match task {
        "test" => test::main(rest),
        "sim" => run::sim(rest),
        "bench" => bench::main(rest),
        "mutants" => run::mutants(rest),
        "words" => words::main(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(run::TaskError::Usage(format!(
            "there is no task `{other}`\n\n{USAGE}"
        ))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(run::TaskError::Usage(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
        Err(run::TaskError::Failed(text)) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
