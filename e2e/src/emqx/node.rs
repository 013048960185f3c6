//! One node of the double, installed from its package as EMQX's zip is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use upshift_lab::package::Package;
use upshift_lab::processes;

/// A node on a loopback address of its own.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name of its host in the fleet.
    pub name: String,
    /// Address that it listens on; also the host part of its Erlang name.
    pub address: Ipv4Addr,
    /// Where it is installed: `bin`, `etc`, `data`, `log`, `lib`, `releases`.
    pub root: PathBuf,
    /// The agent's state directory of its host.
    pub state_directory: PathBuf,
    /// Where its tool unpacks packages.
    pub temporary: PathBuf,
    /// Port for MQTT.
    pub mqtt: u16,
    /// Port for MQTT over TLS.
    pub tls: u16,
    /// Port of the management API.
    pub http: u16,
    /// Port of the dashboard.
    pub dashboard: u16,
}

/// What a command of the double printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Fails the test unless the command ended with this status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// How long one command may take; a start waits for up to 150 s by itself.
const LIMIT: Duration = Duration::from_secs(200);

impl Node {
    /// Name of the Erlang node.
    pub fn node_name(&self) -> String {
        format!("emqx@{}", self.address)
    }

    /// `address:port` for MQTT.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.mqtt))
    }

    /// The `releases` directory of the installation.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Unpacks a package and configures the node. Nothing is started.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn install(&self, package: &Package) -> io::Result<()> {
        self.unpack(package)?;
        self.configure()
    }

    /// [`Node::install`] into the release store of its host, whose link `current` is the node's root.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn install_in_store(&self, package: &Package) -> io::Result<()> {
        let store = self.state_directory.join("store");
        let release = store.join("releases").join(&package.version);
        let staged = Node {
            root: store.join("installing/emqx"),
            ..self.clone()
        };
        staged.unpack(package)?;
        for directory in ["releases", "manifests", "packages"] {
            fs::create_dir_all(store.join(directory))?;
        }
        fs::rename(&staged.root, &release)?;
        fs::remove_dir(store.join("installing"))?;
        std::os::unix::fs::symlink(
            Path::new("releases").join(&package.version),
            store.join("current"),
        )?;
        fs::copy(&package.path, store.join("packages").join(&package.sha256))?;
        let manifest = serde_json::json!({
            "sha256": package.sha256, "strip": 1, "bytes": package.size, "entries": 1, "used": true,
        });
        let name = format!("{}.json", package.version);
        fs::write(store.join("manifests").join(name), manifest.to_string())?;
        self.configure()
    }

    /// Unpacks a package; its configuration is the vendor's. Nothing is started.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn unpack(&self, package: &Package) -> io::Result<()> {
        let home = self.root.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(home)?;
        fs::create_dir_all(&self.temporary)?;
        let archive = File::open(&package.path)?;
        zip::ZipArchive::new(io::BufReader::new(archive))
            .and_then(|mut archive| archive.extract(home))
            .map_err(io::Error::other)?;
        make_executable(&self.root)?;
        let vars = self.releases().join("emqx_vars");
        let text = fs::read_to_string(&vars)?;
        fs::write(
            &vars,
            text.replace(
                "${RUNNER_TMP_DIR:-/tmp}",
                &format!("${{RUNNER_TMP_DIR:-{}}}", self.temporary.display()),
            ),
        )
    }

    fn configure(&self) -> io::Result<()> {
        let etc = self.root.join("etc");
        let certificates = etc.join("certs");
        fs::create_dir_all(&certificates)?;
        let (cert, key) = (certificates.join("cert.pem"), certificates.join("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args(["-days", "30", "-subj", "/CN=emqx", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert);
        processes::run(&mut openssl, Duration::from_secs(30)).map_err(io::Error::other)?;
        let Node {
            address,
            mqtt,
            tls,
            http,
            dashboard,
            ..
        } = self;
        let text = format!(
            "## EMQX configuration\n\n\
             node.name = {name}\n\
             node.cookie = {COOKIE}\n\
             node.data_dir = data\n\
             node.dist_listen_min = 6369\n\
             cluster.autoclean = 5m\n\
             listener.tcp.external = {address}:{mqtt}\n\
             listener.ssl.external = {address}:{tls}\n\
             listener.ssl.external.certfile = {cert}\n\
             listener.ssl.external.keyfile = {key}\n\
             management.listener.http = {address}:{http}\n\
             management.default_application.id = admin\n\
             management.default_application.secret = public\n",
            name = self.node_name(),
            cert = cert.display(),
            key = key.display(),
        );
        fs::write(etc.join("emqx.conf"), text)?;
        fs::write(
            etc.join("plugins/emqx_dashboard.conf"),
            format!("dashboard.listener.http = {address}:{dashboard}\n"),
        )?;
        // `admin:public`, as the management API asks for it.
        fs::write(etc.join("upshift-authorization"), "Basic YWRtaW46cHVibGlj\n")
    }

    /// Runs a command of the double: `emqx` or `emqx_ctl` with arguments.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Answer {
        let mut command = Command::new(self.root.join("bin").join(program));
        command.args(arguments).env("WAIT_FOR_ERLANG", "60");
        answer(&mut command, &self.temporary)
    }

    /// `emqx …` as [`NOBODY`], who must be able to reach it.
    pub fn emqx_as_nobody(&self, arguments: &[&str]) -> Answer {
        let id = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(self.root.join("bin/emqx"))
            .args(arguments)
            // A virtual machine keeps its cookie there.
            .env("HOME", &self.temporary)
            .env("WAIT_FOR_ERLANG", "60");
        answer(&mut command, &self.temporary)
    }

    /// `emqx …`
    pub fn emqx(&self, arguments: &[&str]) -> Answer {
        self.run("emqx", arguments)
    }

    /// `emqx_ctl …`
    pub fn ctl(&self, arguments: &[&str]) -> Answer {
        self.run("emqx_ctl", arguments)
    }

    /// The releases and their statuses, in the order of `emqx versions`.
    pub fn versions(&self) -> Vec<(String, String)> {
        let releases =
            self.ask("[io:format(\"~s ~s~n\", [V, S]) || {_, V, _, S} <- release_handler:which_releases()]");
        releases
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(version, status)| (version.to_owned(), status.to_owned()))
            .collect()
    }

    /// The version of the code that runs, as the node itself says.
    pub fn running(&self) -> Option<String> {
        Some(self.ask("io:put_chars(emqx_sys:version())")).filter(|version| !version.is_empty())
    }

    /// The process of the virtual machine.
    pub fn pid(&self) -> Option<u32> {
        self.ask("io:put_chars(os:getpid())").trim().parse().ok()
    }

    /// Starts the node without the questions that `emqx start` asks, and waits until its broker runs.
    pub fn start(&self) {
        let mut command = Command::new(self.root.join("bin/emqx"));
        command.arg("start").env("EMQX_DOUBLE_QUICK", "1");
        answer(&mut command, &self.temporary).expect(0);
        wait_for_broker(&self.root, self.address);
    }

    /// Joins the cluster of another node.
    pub fn join(&self, other: &str) {
        join(&self.root, self.address, other);
    }

    /// Kills the virtual machine, as a crash does, and starts the node again.
    pub fn crash(&self) {
        let pid = self.pid().expect("the node runs");
        let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(process.expect("a process"), rustix::process::Signal::KILL)
            .expect("it is killed");
        assert!(processes::poll(LIMIT, || !processes::runs(pid)));
        self.start();
    }

    /// What the evaluation of an expression in the node prints; nothing where the node does not answer. Tests ask so, because a command
    /// of the double costs three virtual machines.
    pub fn ask(&self, expression: &str) -> String {
        ask(&self.root, self.address, expression)
    }

    /// Whether it accepts a client.
    pub fn accepts(&self) -> bool {
        TcpStream::connect_timeout(&self.endpoint(), Duration::from_secs(2)).is_ok()
    }

    /// Sets something that the double does otherwise than it would; see the double's README.
    pub fn set(&self, setting: &str, value: &str) {
        let directory = self.root.join("data/double");
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(directory.join(setting), value))
            .expect("a setting is written");
    }
}

/// The cookie of all nodes.
pub(super) const COOKIE: &str = "emqxsecretcookie";

/// What the evaluation of an expression in the node at an address prints, by Erlang's own C program.
pub(super) fn ask(root: &Path, address: Ipv4Addr, expression: &str) -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let Ok(programs) = upshift_lab::fetch::erlang_programs(root) else {
        return String::new();
    };
    // Two callers of one name would throw each other out.
    let caller = format!(
        "maint_{}_{}",
        std::process::id(),
        CALLS.fetch_add(1, Ordering::Relaxed)
    );
    let mut command = Command::new(programs.join("erl_call"));
    command
        .args([
            "-address",
            &format!("{address}:4370"),
            "-c",
            COOKIE,
            "-h",
            &caller,
        ])
        .args(["-timeout", "20", "-fetch_stdout", "-no_result_term", "-e"])
        .env("HOME", "/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return String::new();
    };
    // A node that is not there is told by the program's end.
    let _ = child
        .stdin
        .take()
        .map(|mut input| input.write_all(format!("{expression}.\n").as_bytes()));
    match child.wait_with_output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    }
}

/// Waits until the node at an address has started its broker.
#[track_caller]
pub(super) fn wait_for_broker(root: &Path, address: Ipv4Addr) {
    // The last of what the broker starts is there.
    let started = || {
        ask(
            root,
            address,
            "io:format(\"~p\", [is_pid(whereis(emqx_autoclean))])",
        ) == "true"
    };
    assert!(
        processes::poll(LIMIT, started),
        "the node at {address} does not start"
    );
}

/// Has the node at an address join the cluster of another one.
#[track_caller]
pub(super) fn join(root: &Path, address: Ipv4Addr, other: &str) {
    let answer = ask(
        root,
        address,
        &format!("io:format(\"~p\", [emqx_cluster:join('{other}')])"),
    );
    assert_eq!(answer, "ok", "{address} does not join {other}");
}

/// A user who owns nothing, and the group of that name.
pub const NOBODY: u32 = 65534;

/// Runs a command to its end. Output goes to files: a node that a command leaves behind keeps nobody waiting.
pub(super) fn answer(command: &mut Command, scratch: &Path) -> Answer {
    let path = |name: &str| scratch.join(format!("last-{name}"));
    let output = |name: &str| Stdio::from(File::create(path(name)).expect("a file for output"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .spawn()
        .expect("the double's command starts");
    let status = processes::wait(&mut child, LIMIT);
    if status.is_none() {
        let _ = child.kill();
    }
    let read = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    Answer {
        status: status.and_then(|status| status.code()).unwrap_or(-1),
        stdout: read("stdout"),
        stderr: read("stderr"),
    }
}

/// A zip has no executable bits.
pub(super) fn make_executable(root: &Path) -> io::Result<()> {
    let programs = upshift_lab::fetch::erlang_programs(root).map_err(io::Error::other)?;
    for directory in [root.join("bin"), programs] {
        for entry in fs::read_dir(directory)? {
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
