//! Real agents in temporary directories. Every process that was started there is killed at the end, also of a failed test.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use upshift_model::action::{Action, Artifact, GuardStatus, Report};
use upshift_model::probe::{Observation, Probe};
use upshift_model::release::{ReleaseAnswer, ReleaseCall};
use upshift_wire::frame::encode;
use upshift_wire::protocol::{
    ExecuteOrder, GuardCall, PROTOCOL, ReleaseOrder, Request, RequestFrame, Response, ResponseFrame,
};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A host of its own: a state directory, and a place for files.
pub struct World {
    directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        World {
            directory: tempfile::Builder::new()
                .prefix("upshift-node-")
                .tempdir()
                .unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn agent(&self) -> Agent {
        Agent::start(&self.state(), None)
    }

    pub fn failing(&self, failpoint: &str) -> Agent {
        Agent::start(&self.state(), Some(failpoint))
    }

    /// Numbers of the living processes whose arguments or environment name this world.
    pub fn processes(&self) -> Vec<u32> {
        let name = self.directory.path().as_os_str().as_encoded_bytes();
        let names = |pid: &u32| {
            ["cmdline", "environ"].iter().any(|file| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(name.len()).any(|window| window == name)
            })
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(names)
            .filter(|pid| lives(*pid))
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.processes() {
            kill(pid);
        }
    }
}

pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether a process lives; one that is dead and not waited for does not.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next())
        .is_some_and(|state| !"ZX".contains(state))
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The agent as it was built for these tests.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_upshift-node");

/// An agent, as a controller sees it.
pub struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    last: u64,
    early: BTreeMap<u64, Result<Response, String>>,
}

impl Agent {
    pub fn start(state: &Path, failpoint: Option<&str>) -> Self {
        Self::start_argv(&[PROGRAM.to_owned()], state, failpoint)
    }

    /// Starts an agent by a program with arguments, as `nsenter … upshift-node` is one.
    pub fn start_argv(argv: &[String], state: &Path, failpoint: Option<&str>) -> Self {
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .arg("serve")
            .arg("--state")
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.env_remove("UPSHIFT_FAILPOINT");
        if let Some(failpoint) = failpoint {
            command.env("UPSHIFT_FAILPOINT", failpoint);
        }
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = child.stdout.take().unwrap();
        Agent {
            child,
            input,
            output,
            last: 0,
            early: BTreeMap::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request; its number. An agent that has died meanwhile hears nothing.
    pub fn send(&mut self, request: Request, tail: &[u8]) -> u64 {
        self.last += 1;
        let frame = encode(
            &RequestFrame {
                id: self.last,
                request,
            },
            tail,
        )
        .unwrap();
        let _ = self.input.as_mut().unwrap().write_all(&frame);
        self.last
    }

    /// The answer to a request; nothing where the agent has died.
    pub fn answer(&mut self, id: u64) -> Option<Result<Response, String>> {
        loop {
            if let Some(response) = self.early.remove(&id) {
                return Some(response);
            }
            let frame = self.read()?;
            self.early.insert(frame.id, frame.response);
        }
    }

    fn read(&mut self) -> Option<ResponseFrame> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length).ok()?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.output.read_exact(&mut payload).ok()?;
        let header = u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize;
        Some(serde_json::from_slice(&payload[4..4 + header]).unwrap())
    }

    pub fn call(&mut self, request: Request) -> Result<Response, String> {
        let id = self.send(request, &[]);
        self.answer(id).expect("the agent lives")
    }

    pub fn hello(&mut self) -> Value {
        match self.call(Request::Hello { protocol: PROTOCOL }).unwrap() {
            Response::Hello { host, .. } => serde_json::to_value(host).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub fn order(&mut self, order: &ExecuteOrder) -> Report {
        let id = self.send(Request::Execute(Box::new(order.clone())), &[]);
        self.report(id).expect("the agent lives")
    }

    pub fn report(&mut self, id: u64) -> Option<Report> {
        match self.answer(id)?.unwrap() {
            Response::Report(report) => Some(report),
            other => panic!("{other:?}"),
        }
    }

    /// Does an action as the step of this number; what it yields.
    pub fn done(&mut self, step: u32, action: Action) -> Value {
        match self.order(&order(step, action)) {
            Report::Done { output } => output,
            other => panic!("{other:?}"),
        }
    }

    pub fn observe(&mut self, probe: Probe) -> Value {
        self.observed(probe).unwrap()
    }

    pub fn observed(&mut self, probe: Probe) -> Observation {
        self.observed_in(None, probe)
    }

    /// Observes to prove the way forward in a hop.
    pub fn observed_in(&mut self, hop: Option<u32>, probe: Probe) -> Observation {
        let request = Request::Observe {
            hop,
            run: Some("run".to_owned()),
            probe: Box::new(probe),
        };
        match self.call(request).unwrap() {
            Response::Observation(observation) => observation,
            other => panic!("{other:?}"),
        }
    }

    pub fn guard(&mut self) -> GuardStatus {
        serde_json::from_value(self.observe(Probe::Guard)).unwrap()
    }

    pub fn renew(&mut self, token: u64) -> Result<GuardStatus, String> {
        self.guard_call(Request::Renew(guard_call(token)))
    }

    /// Disarms the guard with a word that is newer than all orders of the test.
    pub fn disarm(&mut self, token: u64) -> Result<GuardStatus, String> {
        self.disarm_from(token, 1000)
    }

    /// Disarms the guard, when so many orders had been given.
    pub fn disarm_from(&mut self, token: u64, sequence: u64) -> Result<GuardStatus, String> {
        let guard = guard_call(token);
        self.guard_call(Request::Disarm { guard, sequence })
    }

    /// Disarms the guard of a hop, when so many orders had been given.
    pub fn disarm_hop(&mut self, guard: GuardCall, sequence: u64) -> Result<GuardStatus, String> {
        self.guard_call(Request::Disarm { guard, sequence })
    }

    fn guard_call(&mut self, request: Request) -> Result<GuardStatus, String> {
        self.call(request).and_then(|response| match response {
            Response::Guard(status) => Ok(status),
            Response::Fenced { token } => Err(format!("fenced by token {token}")),
            other => panic!("{other:?}"),
        })
    }

    /// Sends a file in pieces; how many bytes were sent.
    pub fn put(&mut self, artifact: &Artifact, contents: &[u8]) -> Result<usize, String> {
        let Response::Put { received, complete } = self.call(Request::PutBegin(artifact.clone()))? else {
            panic!()
        };
        if complete {
            return Ok(0);
        }
        let mut sent = 0;
        let mut offset = received as usize;
        for piece in contents[offset..].chunks(100_000) {
            let request = Request::PutChunk {
                sha256: artifact.sha256.clone(),
                offset: offset as u64,
            };
            let id = self.send(request, piece);
            self.answer(id).expect("the agent lives")?;
            offset += piece.len();
            sent += piece.len();
        }
        match self.call(Request::PutEnd {
            sha256: artifact.sha256.clone(),
        })? {
            Response::Put { complete: true, .. } => Ok(sent),
            other => panic!("{other:?}"),
        }
    }

    /// Ends the session, as a lost connection does, and waits for the agent's end.
    pub fn close(&mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }

    /// Ends the session without waiting.
    pub fn cut(&mut self) {
        self.input = None;
    }

    /// Waits until the agent has died by itself.
    pub fn died(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the agent should have died");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn guard_call(token: u64) -> GuardCall {
    GuardCall {
        run: "run".to_owned(),
        hop: 0,
        fleet: "fleet".to_owned(),
        token,
    }
}

/// A first attempt forward at a step.
pub fn order(step: u32, action: Action) -> ExecuteOrder {
    ExecuteOrder {
        run: "run".to_owned(),
        step,
        attempt: 1,
        token: 1,
        sequence: u64::from(step),
        fleet: "fleet".to_owned(),
        forward: true,
        hop: 0,
        action,
    }
}

/// Runs a shell text, as profiles' commands are run.
pub fn shell(text: &str) -> Action {
    action(json!({"command": {"argv": ["sh", "-c", text], "timeout": "30s"}}))
}

pub fn action(value: Value) -> Action {
    serde_json::from_value(value).unwrap()
}

pub fn probe(value: Value) -> Probe {
    serde_json::from_value(value).unwrap()
}

/// A release whose server is a copy of `sleep`: a program of its own, so that its process names the release.
pub fn package(version: &str) -> (Artifact, Vec<u8>) {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut add = |name: String, mode: u32, contents: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(contents.len() as u64);
        builder.append_data(&mut header, name, contents).unwrap();
    };
    add(
        format!("server-{version}/bin/server"),
        0o755,
        &fs::read("/bin/sleep").unwrap(),
    );
    add(format!("server-{version}/VERSION"), 0o644, version.as_bytes());
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    (artifact(version, &bytes), bytes)
}

pub fn artifact(version: &str, contents: &[u8]) -> Artifact {
    use sha2::Digest;
    Artifact {
        file_name: format!("server-{version}.tar.gz"),
        version: version.to_owned(),
        variant: BTreeMap::new(),
        sha256: sha2::Sha256::digest(contents)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        size: contents.len() as u64,
    }
}

/// A call about releases, by who holds the fleet.
pub fn release_request(service: Value, call: ReleaseCall) -> Request {
    Request::Release(Box::new(ReleaseOrder {
        call,
        handler: None,
        service: Some(serde_json::from_value(service).unwrap()),
        patience: upshift_model::Millis::seconds(10),
        fleet: "fleet".to_owned(),
        token: Some(1),
    }))
}

/// What the agent answers to a call about releases.
pub fn ask_release(agent: &mut Agent, service: Value, call: ReleaseCall) -> ReleaseAnswer {
    match agent.call(release_request(service, call)).unwrap() {
        Response::Release(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// Sends and unpacks a release, as steps from this number.
pub fn install(agent: &mut Agent, step: u32, version: &str) {
    let (artifact, contents) = package(version);
    agent.put(&artifact, &contents).unwrap();
    agent.done(step, Action::Distribute(artifact.clone()));
    agent.done(
        step + 1,
        action(json!({"unpack": {"artifact": artifact, "strip": 1}})),
    );
}

/// The server of the current release, as a supervised service.
pub fn service(world: &World) -> Value {
    json!({"supervised": {
        "name": "server",
        "argv": [world.state().join("store/current/bin/server"), "3600"],
        "env": {"WORLD": world.text("")},
    }})
}

pub fn start(world: &World) -> Action {
    action(json!({"start": service(world)}))
}

pub fn stop(world: &World) -> Action {
    action(json!({"stop": {"service": service(world), "patience": "10s"}}))
}

pub fn switch(version: &str) -> Action {
    action(json!({"switch": {"release": version}}))
}

pub fn process(world: &World) -> Probe {
    probe(json!({"process": {"service": service(world)}}))
}

/// A file system of a few megabytes, gone at the end.
pub struct Small {
    pub path: PathBuf,
}

impl Small {
    pub fn new(world: &World) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can mount a small file system");
            return None;
        }
        let path = world.path("state");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m,mode=755", "upshift-test"])
            .arg(&path)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: a small file system cannot be mounted here");
            return None;
        }
        Some(Small { path })
    }

    /// Writes until nothing more fits.
    pub fn fill(&self) {
        let mut ballast = fs::File::create(self.path.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
