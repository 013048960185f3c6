//! The bootstrap against real shells, with a script in the agent's place.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::binary::AgentBinary;

/// Prints its arguments and ends with its input, as far as it can be told from outside like an agent.
const FAKE_AGENT: &str = "#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\"\nexec cat\n";

struct Scene {
    directory: TempDir,
    binary: AgentBinary,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, FAKE_AGENT).unwrap();
        Scene {
            binary: AgentBinary::at(path),
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A directory for `PATH` whose programs stand before the real ones.
    fn program(&self, name: &str, text: &str) -> String {
        let directory = self.directory.path().join("bin");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        // Written by another process: a program that this one has open while another test forks is busy and cannot be run.
        let mut writer = std::process::Command::new("sh")
            .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        format!("PATH={}:{}", directory.display(), std::env::var("PATH").unwrap())
    }

    /// What the agent printed first, and echoed of what it was sent.
    async fn start(
        &self,
        argv: &[&str],
        state: &str,
        sudo: bool,
    ) -> Result<(String, String), ConnectFailure> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let mut process = Process::start(&argv).unwrap();
        let identity = self.binary.identity().unwrap();
        let bootstrap = Bootstrap {
            state_directory: state,
            sudo,
            binary: &self.binary,
            identity,
            nonce: &nonce(),
            limit: LOGIN_LIMIT,
        };
        if let Err(known) = bootstrap.run(&mut process.stdout, &mut process.stdin).await {
            drop((process.stdin, process.stdout));
            let said = process.shutdown.end().await;
            return Err(known.unwrap_or_else(|| error::classify(&said)));
        }
        let mut stdin = process.stdin;
        stdin.write_all(b"\0frames\n").await.unwrap();
        drop(stdin);
        let mut printed = String::new();
        process.stdout.read_to_string(&mut printed).await.unwrap();
        process.shutdown.end().await;
        let (arguments, echo) = printed.split_once('\0').unwrap();
        Ok((arguments.to_owned(), echo.to_owned()))
    }

    fn expected(&self, state: &str) -> (String, String) {
        let sha256 = &self.binary.identity().unwrap().sha256;
        (
            format!("{state}/agent/{sha256}/upshift-node\nserve\n--state\n{state}\n"),
            "frames\n".to_owned(),
        )
    }
}

fn present(program: &str) -> bool {
    std::env::var("PATH")
        .unwrap()
        .split(':')
        .any(|directory| Path::new(directory).join(program).exists())
}

#[tokio::test]
async fn a_missing_agent_is_sent_and_one_that_is_there_is_not() {
    for shell in ["sh", "bash", "dash", "ksh", "zsh"]
        .into_iter()
        .filter(|shell| present(shell))
    {
        let scene = Scene::new();
        let state = scene.path("state");
        assert_eq!(
            scene.start(&[shell], &state, false).await.unwrap(),
            scene.expected(&state),
            "{shell}"
        );
        let program = Path::new(&state)
            .join("agent")
            .join(&scene.binary.identity().unwrap().sha256)
            .join("upshift-node");
        let written = fs::metadata(&program).unwrap();
        assert_eq!(written.permissions().mode() & 0o777, 0o700);
        assert_eq!(
            scene.start(&[shell], &state, false).await.unwrap(),
            scene.expected(&state),
            "{shell}"
        );
        assert_eq!(
            fs::metadata(&program).unwrap().modified().unwrap(),
            written.modified().unwrap()
        );
        assert_eq!(
            fs::read_dir(program.parent().unwrap()).unwrap().count(),
            1,
            "temporary files are left"
        );
    }
}

/// A directory for `PATH` with what the bootstrap needs, and no more: a host without gzip and sha256sum.
fn bare_path(scene: &Scene) -> String {
    let directory = scene.directory.path().join("bare");
    fs::create_dir_all(&directory).unwrap();
    for program in [
        "sh", "cat", "wc", "mkdir", "rm", "chmod", "mv", "head", "id", "sync", "ls",
    ] {
        let real = std::env::var("PATH")
            .unwrap()
            .split(':')
            .map(|part| Path::new(part).join(program))
            .find(|path| path.exists())
            .unwrap();
        std::os::unix::fs::symlink(real, directory.join(program)).unwrap();
    }
    format!("PATH={}", directory.display())
}

#[tokio::test]
async fn a_host_without_gzip_and_sha256sum_gets_the_agent_as_it_is() {
    let scene = Scene::new();
    let (state, path) = (scene.path("state"), bare_path(&scene));
    assert_eq!(
        scene.start(&["env", &path, "sh"], &state, false).await.unwrap(),
        scene.expected(&state)
    );
}

#[tokio::test]
async fn a_damaged_agent_is_replaced() {
    let scene = Scene::new();
    let state = scene.path("state");
    scene.start(&["sh"], &state, false).await.unwrap();
    let program = Path::new(&state)
        .join("agent")
        .join(&scene.binary.identity().unwrap().sha256)
        .join("upshift-node");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    assert_eq!(
        scene.start(&["sh"], &state, false).await.unwrap(),
        scene.expected(&state)
    );
}

/// Changes what lies under the state directory of a host that has the agent, and starts it again.
async fn start_after(
    change: impl FnOnce(&Path, &Path),
) -> Result<((String, String), (String, String)), ConnectFailure> {
    let scene = Scene::new();
    let state = scene.path("parent/state");
    fs::create_dir(scene.path("parent")).unwrap();
    scene.start(&["sh"], &state, false).await.unwrap();
    let program = Path::new(&state)
        .join("agent")
        .join(&scene.binary.identity().unwrap().sha256)
        .join("upshift-node");
    change(Path::new(&state), &program);
    let started = scene.start(&["sh"], &state, false).await?;
    Ok((started, scene.expected(&state)))
}

/// Same size, other bytes: the program of somebody else.
const ANOTHER: &str = "#!/bin/sh\nprintf '%s\\n' another program\nexec sh\n";

#[tokio::test]
async fn an_agent_of_the_right_size_and_with_other_bytes_is_replaced() {
    let (started, expected) = start_after(|_, program| {
        let mut other = ANOTHER.as_bytes().to_vec();
        other.resize(FAKE_AGENT.len(), b'\n');
        fs::write(program, other).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(started, expected);
}

#[tokio::test]
async fn an_agent_that_others_may_write_to_or_that_is_a_link_is_replaced() {
    for link in [false, true] {
        let (started, expected) = start_after(|state, program| {
            if link {
                let aside = state.join("aside");
                fs::rename(program, &aside).unwrap();
                std::os::unix::fs::symlink(&aside, program).unwrap();
            } else {
                fs::set_permissions(program, fs::Permissions::from_mode(0o777)).unwrap();
            }
        })
        .await
        .unwrap();
        assert_eq!(started, expected, "link: {link}");
    }
}

#[tokio::test]
async fn directories_that_others_may_write_to_are_refused() {
    for (up, mode) in [(0, 0o777), (0, 0o770), (1, 0o777), (1, 0o775), (0, 0o1777)] {
        let refused = start_after(|state, _| {
            let directory = state.ancestors().nth(up).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        })
        .await
        .unwrap_err();
        assert!(
            matches!(&refused, ConnectFailure::Unsafe { reason, .. } if reason.contains("others may write to")),
            "{up} up, mode {mode:o}: {refused:?}"
        );
    }
    // Others cannot replace what is not theirs in a directory such as /tmp.
    let (started, expected) = start_after(|state, _| {
        let parent = state.parent().unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o1777)).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(started, expected);
}

#[tokio::test]
async fn a_directory_of_another_user_is_refused() {
    let own = tempfile::tempdir().unwrap();
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata(own.path()).unwrap()) != 0 {
        println!("skipped: only the superuser can give a directory away");
        return;
    }
    for up in [0, 1] {
        let refused = start_after(|state, _| {
            let directory = state.ancestors().nth(up).unwrap();
            std::os::unix::fs::chown(directory, Some(65_534), None).unwrap();
        })
        .await
        .unwrap_err();
        assert!(
            matches!(&refused, ConnectFailure::Unsafe { reason, .. } if reason.contains("belongs to user 65534")),
            "{up} up: {refused:?}"
        );
    }
}

#[tokio::test]
async fn noise_of_login_scripts_is_passed_over() {
    let scene = Scene::new();
    let state = scene.path("state");
    let noise = "echo 'Welcome to h1'; echo UPSHIFT-; printf 'no newline at the end'; exec sh";
    assert_eq!(
        scene.start(&["sh", "-c", noise], &state, false).await.unwrap(),
        scene.expected(&state)
    );
}

#[tokio::test]
async fn no_character_of_the_state_directory_means_anything_to_the_shell() {
    let scene = Scene::new();
    let state = scene.path("a 'b\" $(touch x) `id` \\ %s ; é *");
    assert_eq!(
        scene.start(&["sh"], &state, false).await.unwrap(),
        scene.expected(&state)
    );
}

#[tokio::test]
async fn sudo_is_asked_where_the_user_is_not_root() {
    let scene = Scene::new();
    let state = scene.path("state");
    scene.program("id", "#!/bin/sh\necho 1000\n");
    let path = scene.program(
        "sudo",
        "#!/bin/sh\necho \"$@\" >&2\n[ \"$1 $2\" = '-n --' ] || exit 9\nshift 2\nexec \"$@\"\n",
    );
    assert_eq!(
        scene.start(&["env", &path, "sh"], &state, true).await.unwrap(),
        scene.expected(&state)
    );
    let path = scene.program(
        "sudo",
        "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n",
    );
    let failure = scene
        .start(&["env", &path, "sh"], &state, true)
        .await
        .unwrap_err();
    assert_eq!(
        failure,
        ConnectFailure::NoSudo("sudo: a password is required".to_owned())
    );
}

#[tokio::test]
async fn root_needs_no_sudo() {
    let scene = Scene::new();
    let state = scene.path("state");
    scene.program("id", "#!/bin/sh\necho 0\n");
    let path = scene.program("sudo", "#!/bin/sh\nexit 1\n");
    assert_eq!(
        scene.start(&["env", &path, "sh"], &state, true).await.unwrap(),
        scene.expected(&state)
    );
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_named() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "").unwrap();
    let state = format!("{file}/state");
    let ConnectFailure::StateDirectory { directory, reason } =
        scene.start(&["sh"], &state, false).await.unwrap_err()
    else {
        panic!("another failure")
    };
    assert_eq!(directory, state);
    assert!(reason.contains("Not a directory"), "{reason}");
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    let scene = Scene::new();
    let state = scene.path("state");
    let path = scene.program(
        "gzip",
        "#!/bin/sh\necho 'gzip: stdout: No space left on device' >&2\nexit 1\n",
    );
    let failure = scene
        .start(&["env", &path, "sh"], &state, false)
        .await
        .unwrap_err();
    assert!(
        matches!(&failure, ConnectFailure::DiskFull { directory, .. } if *directory == state),
        "{failure:?}"
    );
    let agents = Path::new(&state)
        .join("agent")
        .join(&scene.binary.identity().unwrap().sha256);
    assert_eq!(fs::read_dir(agents).unwrap().count(), 0);
}

#[tokio::test]
async fn bytes_changed_on_the_way_are_noticed() {
    let scene = Scene::new();
    let path = scene.program("gzip", "#!/bin/sh\n/usr/bin/gzip \"$@\" | tr c d\n");
    let failure = scene
        .start(&["env", &path, "sh"], &scene.path("state"), false)
        .await
        .unwrap_err();
    assert!(matches!(failure, ConnectFailure::Corrupted(_)), "{failure:?}");
}

#[tokio::test]
async fn a_shell_that_never_comes_is_told_by_what_was_said() {
    let scene = Scene::new();
    let argv = [
        "sh",
        "-c",
        "echo 'ssh: connect to host h9 port 22: No route to host' >&2; exit 255",
    ];
    let failure = scene.start(&argv, &scene.path("state"), false).await.unwrap_err();
    assert_eq!(
        failure,
        ConnectFailure::Unreachable("ssh: connect to host h9 port 22: No route to host".to_owned())
    );
}

#[tokio::test]
async fn an_agent_that_ends_at_once_is_told_by_its_last_words() {
    let scene = Scene::new();
    fs::write(
        scene.binary.path(),
        "#!/bin/sh\necho 'the disk is on fire' >&2\nexit 1\n",
    )
    .unwrap();
    let host = Host {
        transport: Transport::Command(vec!["sh".to_owned()]),
        state_directory: Some(scene.path("state")),
        ..Host::default()
    };
    let reach = Reach::new("h1", &host, Arc::new(AgentBinary::at(scene.binary.path())));
    let Err(error) = reach.connect(Freshness::Any).await else {
        panic!("it was reached")
    };
    assert_eq!(
        error.to_string(),
        "the agent on h1 ended before it answered: the disk is on fire"
    );
}

#[tokio::test]
async fn a_program_that_is_not_installed_is_named() {
    let host = Host {
        transport: Transport::Command(vec!["/nonexistent/ssh".to_owned()]),
        ..Host::default()
    };
    let reach = Reach::new("h1", &host, Arc::new(AgentBinary::at("/bin/true")));
    let Err(error) = reach.connect(Freshness::Any).await else {
        panic!("it was reached")
    };
    assert_eq!(error.failure.code(), "spawn");
    assert!(
        error.to_string().contains("`/nonexistent/ssh` cannot be started"),
        "{error}"
    );
}

#[test]
fn the_ssh_command_keeps_to_the_users_configuration() {
    let ssh = SshTransport {
        host: "-oProxyCommand=evil".to_owned(),
        port: Some(2222),
        user: Some("deploy".to_owned()),
        key_file: Some("/keys/id".to_owned()),
        arguments: vec!["-J".to_owned(), "jump".to_owned()],
    };
    insta::assert_snapshot!(ssh_command(&ssh, &Login::Own).join(" "), @"ssh -T -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o ClearAllForwardings=yes -o ControlMaster=no -o ControlPath=none -p 2222 -l deploy -i /keys/id -J jump -- -oProxyCommand=evil sh");
}

#[test]
fn what_ssh_says_becomes_what_an_operator_reads() {
    let said = [
        "ssh: connect to host 10.77.0.9 port 22: No route to host\n",
        "ssh: connect to host 10.77.0.9 port 22: Connection timed out\n",
        "ssh: connect to host 10.77.0.9 port 22: Connection refused\n",
        "kex_exchange_identification: read: Connection reset by peer\nConnection reset by 10.77.0.9 port 22\n",
        "ssh: Could not resolve hostname h9: Name or service not known\n",
        "Warning: Permanently added 'h9' (ED25519) to the list of known hosts.\nroot@h9: Permission denied (publickey,password).\n",
        "@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@@\nOffending ED25519 key in /root/.ssh/known_hosts:3\nHost key verification failed.\n",
        "No ED25519 host key is known for h9 and you have requested strict checking.\nHost key verification failed.\n",
        "sudo: a password is required\n",
        "sh: 3: exec: sudo: not found\n",
        "sh: 1: exec: /var/lib/upshift/agent/x/upshift-node: Permission denied\n",
        "sh: 1: exec: /var/lib/upshift/agent/x/upshift-node: Exec format error\n",
        "This account is currently not available.\n",
        "Something that nobody has seen before\n",
        "",
    ];
    let mut page = String::new();
    for said in said {
        let error = ConnectError {
            host: "h9".to_owned(),
            by_hand: "ssh -o BatchMode=yes -- h9 true".to_owned(),
            failure: error::classify(said),
        };
        page.push_str(&format!(
            "[{}] {error}\n    {}\n",
            error.failure.code(),
            error.remedy()
        ));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn the_reason_that_sudo_gives_is_told_and_not_its_warnings() {
    let warning = "sudo: unable to resolve host h9: Name or service not known\n";
    let refused =
        format!("{warning}sudo: a terminal is required to read the password\nsudo: a password is required\n");
    assert_eq!(
        error::classify(&refused),
        ConnectFailure::NoSudo("sudo: a password is required".to_owned())
    );
    let sudoers = format!("{warning}upshift is not in the sudoers file.\n");
    assert_eq!(
        error::classify(&sudoers),
        ConnectFailure::NoSudo("upshift is not in the sudoers file.".to_owned())
    );
    // Sudo went on, and something else failed.
    let other = format!("{warning}sh: 1: exec: /var/lib/upshift/agent/x/upshift-node: Exec format error\n");
    assert_eq!(error::classify(&other).code(), "not-executable");
}

#[test]
fn every_failure_has_its_words() {
    let text = || "what the host says".to_owned();
    let directory = || "/var/lib/upshift".to_owned();
    let failures = [
        ConnectFailure::StateDirectory {
            directory: directory(),
            reason: text(),
        },
        ConnectFailure::Unsafe {
            directory: directory(),
            reason: "others may write to /var/lib/upshift (drwxrwxrwx)".to_owned(),
        },
        ConnectFailure::DiskFull {
            directory: directory(),
            reason: text(),
        },
        ConnectFailure::Corrupted("its digest there is 1234".to_owned()),
        ConnectFailure::AgentEnded(text()),
        ConnectFailure::Protocol { theirs: 2, ours: 1 },
        ConnectFailure::NoAnswer {
            seconds: 30,
            said: text(),
        },
        ConnectFailure::NoAnswer {
            seconds: 30,
            said: String::new(),
        },
        ConnectFailure::Spawn {
            program: "ssh".to_owned(),
            reason: "No such file or directory".to_owned(),
        },
        ConnectFailure::Binary("the agent's program /x cannot be read".to_owned()),
    ];
    let mut page = String::new();
    for failure in failures {
        let error = ConnectError {
            host: "h9".to_owned(),
            by_hand: "ssh -o BatchMode=yes -- h9 true".to_owned(),
            failure,
        };
        page.push_str(&format!(
            "[{}] {error}\n    {}\n",
            error.failure.code(),
            error.remedy()
        ));
    }
    insta::assert_snapshot!(page);
}
