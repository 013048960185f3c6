//! A real HAProxy in front of servers on this machine, and clients that go through it.

mod clients;
mod view;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

pub use clients::{Clients, ClientsReport};
pub use view::{View, ViewReport};

use crate::cleanup::Cleanup;
use crate::fetch::Haproxy;
use crate::{ports, processes};

/// Name of the backend.
pub const BACKEND: &str = "service";

/// A running HAProxy. It ends when it is dropped.
pub struct Balancer {
    child: Child,
    directory: PathBuf,
    /// Port for clients on 127.0.0.1.
    pub port: u16,
    /// Port of the runtime socket on 127.0.0.1, for those who do not reach the Unix socket.
    pub runtime_port: u16,
    // Last: it is told that all is clean after it is.
    _cleanup: Cleanup,
}

impl Balancer {
    /// Starts HAProxy in front of servers, each a name and `address:port`; returns when it answers at its runtime socket and
    /// all servers are up. Connections that fail are not tried again elsewhere, so that every failure is seen.
    ///
    /// # Errors
    /// Where files cannot be written, or HAProxy does not come up.
    pub fn start(haproxy: &Haproxy, directory: &Path, servers: &[(String, String)]) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let _cleanup = Cleanup::of_directory(directory)?;
        let free = ports::free(2)?;
        let (port, runtime_port) = (free[0], free[1]);
        let socket = directory.join("admin.sock");
        let mut text = format!(
            "global\n\
             \x20   stats socket {socket} mode 600 level admin\n\
             \x20   stats socket ipv4@127.0.0.1:{runtime_port} level admin\n\
             defaults\n\
             \x20   mode tcp\n\
             \x20   retries 0\n\
             \x20   timeout connect 2s\n\
             \x20   timeout client 10m\n\
             \x20   timeout server 10m\n\
             frontend clients\n\
             \x20   bind 127.0.0.1:{port}\n\
             \x20   default_backend {BACKEND}\n\
             backend {BACKEND}\n\
             \x20   balance roundrobin\n",
            socket = socket.display()
        );
        for (name, address) in servers {
            text.push_str(&format!(
                "    server {name} {address} check inter 200ms fall 2 rise 1\n"
            ));
        }
        let file = directory.join("haproxy.cfg");
        fs::write(&file, text)?;
        let log = fs::File::create(directory.join("haproxy.log"))?;
        let child = haproxy
            .command()
            .arg("-f")
            .arg(&file)
            .arg("-db")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let balancer = Balancer {
            child,
            directory: directory.to_owned(),
            port,
            runtime_port,
            _cleanup,
        };
        let all_up = || {
            balancer
                .view()
                .is_ok_and(|view| view.values().all(|server| server.status == "UP"))
        };
        if processes::poll(Duration::from_secs(15), all_up) {
            return Ok(balancer);
        }
        let log = fs::read_to_string(directory.join("haproxy.log")).unwrap_or_default();
        Err(io::Error::other(format!("HAProxy did not come up: {log}")))
    }

    /// The path of the runtime socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    /// Says something at the runtime socket, as an operator does; gives the answer.
    ///
    /// # Errors
    /// Where HAProxy does not answer.
    pub fn tell(&self, command: &str) -> io::Result<String> {
        tell(&self.socket(), command)
    }

    /// What HAProxy says of each server, by name.
    ///
    /// # Errors
    /// Where HAProxy does not answer.
    pub fn view(&self) -> io::Result<std::collections::BTreeMap<String, view::Server>> {
        view::servers(&self.socket())
    }

    /// The state of each server by HAProxy's own word for it, in the order of their names: `UP`, `DRAIN`, `MAINT`, `DOWN`.
    ///
    /// # Errors
    /// Where HAProxy does not answer.
    pub fn states(&self) -> io::Result<Vec<String>> {
        Ok(self.view()?.into_values().map(|server| server.status).collect())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Best effort: what stays is a configuration file and a log.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn tell(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
