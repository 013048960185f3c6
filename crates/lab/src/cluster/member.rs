//! One member of a cluster.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::processes;

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of the host in the fleet, and of the member.
    pub name: String,
    /// Address that it listens on.
    pub address: String,
    /// Port for clients.
    pub client_port: u16,
    /// Port for other members; the lab server has one port for both.
    pub peer_port: u16,
    /// Port of NATS for its clients, whose `client_port` is the one for monitoring; the same as `client_port` for other products.
    pub message_port: u16,
    /// Upshift's state directory on its host.
    pub state_directory: PathBuf,
    /// Its configuration file.
    pub config_file: PathBuf,
    /// Its data directory.
    pub data_directory: PathBuf,
    /// Where it writes what it has to say, when this crate started it.
    pub log_file: PathBuf,
    /// The program and arguments that the profile names.
    pub argv: Vec<String>,
    /// What a command is preceded by to run on the member's host.
    pub enter: Vec<String>,
    /// The rest of its entry in the fleet file: transport and the like, as JSON.
    pub fleet_entry: serde_json::Map<String, serde_json::Value>,
}

impl Member {
    /// `host:port` for clients.
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.address, self.client_port)
    }

    /// `host:port` for clients that write and read data.
    pub fn data_endpoint(&self) -> String {
        format!("{}:{}", self.address, self.message_port)
    }

    /// The link to the current release.
    pub fn current(&self) -> PathBuf {
        self.state_directory.join("store/current")
    }

    /// Starts the process in a session of its own. A thread waits for its end, so that it never stays as a zombie.
    pub(super) fn start(&self) -> io::Result<()> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log_file)?;
        let argv: Vec<&String> = self.enter.iter().chain(&self.argv).collect();
        let mut command = Command::new("setsid");
        command
            .args(argv)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir(&self.state_directory);
        let mut child = processes::spawn(&mut command)?;
        thread::spawn(move || child.wait());
        Ok(())
    }
}
