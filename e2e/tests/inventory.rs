//! Ansible inventories, read by Upshift and by Ansible itself: where the two differ, Upshift would work on another host than
//! its user means.

#[path = "inventory/compare.rs"]
mod compare;
#[path = "inventory/corpus.rs"]
mod corpus;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;
use upshift_e2e::harness::{self, Case, Outcome, only_when_exhaustive};
use upshift_lab::fetch::{self, Cache, PythonTool};

const TRIALS: &[Case] = &[
    (
        "inventories_after_public_patterns_are_read_as_ansible_reads_them",
        public,
    ),
    ("generated_inventories_are_read_as_ansible_reads_them", generated),
];

fn main() -> ExitCode {
    let trials = harness::trials(&[TRIALS]);
    harness::main(&trials)
}

/// What Ansible makes of inventories.
fn ask_ansible(inventories: &[PathBuf]) -> Result<Value, harness::NoVerdict> {
    let cache = Cache::open().map_err(|error| harness::Skip(error.to_string()))?;
    let programs = fetch::python_tool(&cache, PythonTool::Ansible, &|words| println!("{words}"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inventory/expected.py");
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(programs.join("python"))
        .arg(script)
        // What this machine's user has configured is not what is compared.
        .env("ANSIBLE_CONFIG", home.path().join("ansible.cfg"))
        .env("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1")
        .env("ANSIBLE_LOCALHOST_WARNING", "0")
        .env("HOME", home.path())
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let question = serde_json::to_vec(inventories).unwrap();
    child.stdin.take().unwrap().write_all(&question).unwrap();
    let answer = child.wait_with_output().unwrap();
    assert!(answer.status.success(), "Ansible could not be asked");
    Ok(serde_json::from_slice(&answer.stdout).unwrap())
}

/// Inventories as people publish them: none may be refused.
fn public() -> Outcome {
    only_when_exhaustive("half a minute, and Ansible")?;
    let directory = tempfile::tempdir().unwrap();
    let inventories: Vec<PathBuf> = corpus::PUBLIC
        .iter()
        .map(|(name, files)| write(directory.path(), name, files))
        .collect();
    let answers = ask_ansible(&inventories)?;
    let mut compared = compare::Tally::default();
    for inventory in &inventories {
        let answer = &answers[inventory.to_str().unwrap()];
        assert!(
            answer.get("error").is_none(),
            "Ansible refuses {inventory:?}: {answer}"
        );
        compared.add(inventory, answer);
    }
    println!("{compared}");
    compared.expect_no_difference();
    assert!(compared.refused.is_empty(), "refused: {:#?}", compared.refused);
    assert!(compared.reached > 20, "{compared}");
    Ok(())
}

fn generated() -> Outcome {
    only_when_exhaustive("a minute, and Ansible")?;
    let directory = tempfile::tempdir().unwrap();
    let inventories: Vec<PathBuf> = (0..200)
        .map(|seed| {
            let files = corpus::generate(seed);
            let files: Vec<(&str, &str)> = files
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str()))
                .collect();
            write(directory.path(), &format!("seed-{seed}"), &files)
        })
        .collect();
    let answers = ask_ansible(&inventories)?;
    let mut compared = compare::Tally::default();
    for inventory in &inventories {
        compared.add(inventory, &answers[inventory.to_str().unwrap()]);
    }
    println!("{compared}");
    compared.expect_no_difference();
    // Caution alone would agree with everything.
    assert!(compared.reached > 150 && compared.unreachable > 100, "{compared}");
    assert!(compared.refused.len() < inventories.len() / 3, "{compared}");
    Ok(())
}

/// Writes an inventory; the first file is the one that is named, or the directory where that is empty.
fn write(directory: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = directory.join(name);
    for (path, text) in files.iter().filter(|(path, _)| !path.is_empty()) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    match files[0].0 {
        "" => directory,
        main => directory.join(main),
    }
}
