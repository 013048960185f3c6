//! How EMQX's own tool refuses and fails, row by row: what it prints, how it ends, and the state that it leaves. What Upshift does about
//! each row is said beside it; the tests in `hot` show it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use upshift_e2e::emqx::{Answer, Cluster, NOBODY, Node, cached};
use upshift_e2e::harness::{Case, Outcome, Skip, only_when_exhaustive};

pub const TRIALS: &[Case] = &[
    ("row_another_minor_version_or_none_at_all", another_minor),
    ("row_no_package_two_packages_and_a_poisoned_archive", packages),
    ("row_no_instructions_for_the_running_version", no_instructions),
    ("row_files_that_are_not_in_the_package", missing_files),
    ("row_a_process_in_old_code", old_code),
    (
        "row_instructions_that_fail_after_the_point_of_no_return",
        fails_late,
    ),
    (
        "row_a_script_that_is_missing_when_it_is_made_permanent",
        split_state,
    ),
    ("row_a_restart_while_only_current", restart),
    ("row_files_of_another_user", not_its_own),
    ("files_of_another_user_are_refused_beforehand", another_user),
];

fn one_node() -> Result<Cluster, upshift_lab::fetch::Unavailable> {
    Cluster::start(1, "4.4.15", &[])
}

/// Puts a package where the tool looks for it, under a name of its own.
fn place(node: &Node, version: &str, name: &str) -> Result<(), upshift_lab::fetch::Unavailable> {
    fs::copy(cached(version)?.path, node.releases().join(name)).expect("copied");
    Ok(())
}

fn releases(node: &Node) -> Vec<String> {
    node.versions()
        .into_iter()
        .map(|(version, status)| format!("{version} {status}"))
        .collect()
}

#[track_caller]
fn has(answer: &Answer, words: &[&str]) {
    let whole = format!("{}{}", answer.stdout, answer.stderr);
    // Terms are broken into lines where they are long, and how long depends on the paths in them.
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    for word in words {
        assert!(plain(&whole).contains(&plain(word)), "no `{word}` in {whole}");
    }
}

fn aside(node: &Node) -> usize {
    let entries = fs::read_dir(&node.temporary).expect("a directory").flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("emqx_untar_"))
        .count()
}

/// Upshift knows no hot path to another minor version, and says so before anything is sent.
fn another_minor() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    for version in ["4.3.9", "5.0.0"] {
        let answer = node.emqx(&["upgrade", version]).expect(127);
        assert_eq!(
            answer.stdout,
            format!(
                "Cannot upgrade/downgrade to {version} from 4.4.15\nWe only support relup between patch versions\n"
            )
        );
        has(
            &answer,
            &["escript: exception error: {relup_not_allowed,unsupported_target_version}"],
        );
    }
    has(
        &node.emqx(&["upgrade", "abc"]).expect(127),
        &["escript: exception error: {invalid_semver,\"abc\"}"],
    );
    assert_eq!(releases(node), ["4.4.15 permanent"]);
    Ok(())
}

/// Upshift lets exactly one package lie there, under a name of its own, only while it is unpacked.
fn packages() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    let missing = node.emqx(&["upgrade", "4.4.16"]).expect(2);
    assert_eq!(
        missing.stdout,
        "unzip []\nUnpack failed: release_package_not_found\nInstalled versions:\n* 4.4.15\tpermanent\n\n"
    );
    place(node, "4.4.19", "emqx-a-4.4.16.zip")?;
    place(node, "4.4.16", "emqx-b-4.4.16.zip")?;
    let two = node.emqx(&["upgrade", "4.4.16"]).expect(127);
    has(
        &two,
        &[
            "unzip [\"releases/emqx-a-4.4.16.zip\"",
            "no match of right hand side value {error,enoent}",
        ],
    );
    // Made from the first one, which is another version's.
    assert!(node.releases().join("emqx-4.4.16.tar.gz").exists());
    assert_eq!(aside(node), 2);
    fs::remove_file(node.releases().join("emqx-a-4.4.16.zip")).expect("removed");
    fs::remove_file(node.releases().join("emqx-b-4.4.16.zip")).expect("removed");
    let poisoned = node.emqx(&["upgrade", "4.4.16"]).expect(2);
    has(
        &poisoned,
        &["Unpack failed: {enoent,", "releases/4.4.16/emqx.rel"],
    );
    assert_eq!(releases(node), ["4.4.15 permanent"]);
    fs::remove_file(node.releases().join("emqx-4.4.16.tar.gz")).expect("removed");
    place(node, "4.4.16", "emqx-4.4.16.zip")?;
    node.emqx(&["upgrade", "4.4.16"]).expect(0);
    assert_eq!(releases(node), ["4.4.16 permanent", "4.4.15 old"]);
    Ok(())
}

/// Upshift reads the instructions in the package before it plans.
fn no_instructions() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    place(node, "4.4.19", "emqx-4.4.19.zip")?;
    let first = node.emqx(&["upgrade", "4.4.19"]).expect(3);
    has(
        &first,
        &[
            "ERROR: release_handler:check_install_release failed: {enoent,",
            "releases/4.4.15/relup\"}.",
        ],
    );
    assert_eq!(releases(node), ["4.4.19 unpacked", "4.4.15 permanent"]);
    has(
        &node.emqx(&["upgrade", "4.4.19"]).expect(3),
        &[
            "Release 4.4.19 is already unpacked, now installing.",
            "check_install_release failed",
        ],
    );
    node.emqx(&["uninstall", "4.4.19"]).expect(0);
    assert_eq!(releases(node), ["4.4.15 permanent"]);
    // From a release that has instructions of its own.
    place(node, "4.4.16", "emqx-4.4.16.zip")?;
    node.emqx(&["upgrade", "4.4.16"]).expect(0);
    place(node, "4.4.20", "emqx-4.4.20.zip")?;
    has(
        &node.emqx(&["upgrade", "4.4.20"]).expect(3),
        &[
            "check_install_release failed: {no_matching_relup,\"4.4.20\"",
            "\"4.4.16\"}.",
        ],
    );
    Ok(())
}

/// Upshift looks for what a package must hold when it prepares.
fn missing_files() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    place(node, "4.4.27", "emqx-4.4.27.zip")?;
    let answer = node.emqx(&["upgrade", "4.4.27"]);
    assert!(matches!(answer.status, 2 | 3), "{answer:?}");
    has(&answer, &["no_such_"]);
    assert_eq!(node.running().as_deref(), Some("4.4.15"));
    Ok(())
}

/// Upshift rolls back: nothing has changed but that the release is unpacked, and it removes that.
fn old_code() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    node.emqx(&["eval", "code:load_file(emqx_lingering)"]).expect(0);
    place(node, "4.4.26", "emqx-4.4.26.zip")?;
    has(
        &node.emqx(&["upgrade", "4.4.26"]).expect(3),
        // The release handler finds them when it checks, before it installs.
        &["ERROR: release_handler:check_install_release failed: {old_processes,emqx_lingering}."],
    );
    assert_eq!(releases(node), ["4.4.26 unpacked", "4.4.15 permanent"]);
    Ok(())
}

/// Upshift counts it as failed, whatever runs afterwards: another virtual machine, and other clients.
fn fails_late() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    let (pid, system) = (
        node.pid(),
        node.emqx(&["eval", "pid_to_list(whereis(application_controller))"]),
    );
    let mut client = upshift_e2e::emqx::Client::connect(node.endpoint()).expect("a client");
    place(node, "4.4.20", "emqx-4.4.20.zip")?;
    has(
        &node.emqx(&["upgrade", "4.4.20"]).expect(4),
        &[
            "ERROR: release_handler:install_release failed: {code_change_failed,",
            "'EXIT'",
        ],
    );
    // The old virtual machine may answer once more, then nobody does, then another one inside the same process.
    let restarted = || {
        let now = node.emqx(&["eval", "pid_to_list(whereis(application_controller))"]);
        now.stdout.contains('<') && now.stdout != system.stdout && !releases(node).is_empty()
    };
    assert!(
        upshift_lab::processes::poll(std::time::Duration::from_secs(60), restarted),
        "another virtual machine inside it"
    );
    assert!(!client.is_connected());
    assert_eq!(node.pid(), pid, "the same process of the system");
    assert_eq!(releases(node), ["4.4.20 unpacked", "4.4.15 permanent"]);
    Ok(())
}

/// Upshift refuses such a package when it prepares, because what this leaves is a node that starts another release than its files say.
fn split_state() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    place(node, "4.4.25", "emqx-4.4.25.zip")?;
    let answer = node.emqx(&["upgrade", "4.4.25"]).expect(127);
    assert!(
        answer.stdout.ends_with("Made release permanent: \"4.4.25\"\n"),
        "{answer:?}"
    );
    has(
        &answer,
        &["escript: exception error: no match of right hand side value {error,enoent}"],
    );
    assert_eq!(releases(node), ["4.4.25 permanent", "4.4.15 old"]);
    let read = |name: &str| fs::read_to_string(node.releases().join(name)).expect("a file");
    assert!(read("start_erl.data").ends_with(" 4.4.25"));
    assert!(!read("emqx_vars").contains("4.4.25"));
    node.emqx(&["stop"]).expect(0);
    node.emqx(&["start"]).expect(0);
    assert_eq!(
        node.running().as_deref(),
        Some("4.4.15"),
        "although 4.4.25 is permanent"
    );
    Ok(())
}

/// Upshift watches for this until it makes the release permanent.
fn restart() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    place(node, "4.4.16", "emqx-4.4.16.zip")?;
    node.emqx(&["upgrade", "--no-permanent", "4.4.16"]).expect(0);
    assert_eq!(releases(node), ["4.4.16 current", "4.4.15 permanent"]);
    node.emqx(&["stop"]).expect(0);
    node.emqx(&["start"]).expect(0);
    assert_eq!(releases(node), ["4.4.16 unpacked", "4.4.15 permanent"]);
    assert_eq!(node.running().as_deref(), Some("4.4.15"));
    Ok(())
}

/// Gives a directory with all that is in it to a user; all others may read it.
fn give(directory: &Path, user: u32) {
    let owner = format!("{user}:{user}");
    for words in [["chown", &owner], ["chmod", "go+rX"]] {
        let mut command = Command::new(words[0]);
        let ran = command.args(["-R", words[1]]).arg(directory).status();
        assert!(
            ran.is_ok_and(|status| status.success()),
            "{}",
            directory.display()
        );
    }
}

/// Upshift refuses before anything is sent, because this breaks off when it is too late: see [`another_user`].
fn not_its_own() -> Outcome {
    only_when_exhaustive("a quarter of a minute")?;
    let cluster = one_node()?;
    let node = &cluster.nodes[0];
    if !rustix::process::geteuid().is_root() {
        return Err(Skip("only the superuser gives files to others".to_owned()));
    }
    node.emqx(&["stop"]).expect(0);
    fs::set_permissions(cluster.directory(), fs::Permissions::from_mode(0o755)).expect("set");
    give(&node.root, NOBODY);
    give(&node.temporary, NOBODY);
    node.emqx_as_nobody(&["start"]).expect(0);
    place(node, "4.4.16", "emqx-4.4.16.zip")?;
    node.emqx_as_nobody(&["unpack", "4.4.16"]).expect(0);
    give(&node.releases(), 0);
    has(
        &node.emqx_as_nobody(&["install", "4.4.16"]).expect(127),
        &["escript: exception error: no match of right hand side value {error,eacces}"],
    );
    assert_eq!(releases(node), ["4.4.16 unpacked", "4.4.15 permanent"]);
    has(
        &node.emqx_as_nobody(&["uninstall", "4.4.16"]).expect(3),
        &["ERROR: release_handler:remove_release failed:", "eacces"],
    );
    assert_eq!(node.running().as_deref(), Some("4.4.15"));
    Ok(())
}

/// Where `releases` belongs to another user than EMQX runs as, nothing is sent.
fn another_user() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let cluster = Cluster::start(2, "4.4.15", &["4.4.16"])?;
    let fleet = fs::read_to_string(&cluster.upshift.fleet).expect("a fleet");
    let other = cluster.directory().join("other.yaml");
    fs::write(
        &other,
        fleet.replace("\"emqx_user\":\"root\"", "\"emqx_user\":\"emqx\""),
    )
    .expect("written");
    let ran = cluster
        .upshift
        .with_fleet(&other)
        .run(&["check", "--to", "4.4.16"])
        .expect(3);
    assert!(ran.text().contains("belongs to root"), "{}", ran.text());
    Ok(())
}
