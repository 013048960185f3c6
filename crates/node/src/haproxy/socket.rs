//! HAProxy's runtime socket: a command in, a text out. The format is that of the management guide of HAProxy 2.2 to 3.0.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use upshift_model::balancer::HaproxyState;

use crate::error::{Context, NodeError, Result};

/// How long HAProxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of an answer: the states of some ten thousand servers.
const MOST: u64 = 32 * 1024 * 1024;
/// Bits of `srv_admin_state` that an operator sets.
const FORCED_MAINTENANCE: u32 = 0x01;
const FORCED_DRAIN: u32 = 0x08;

/// What an operator has told HAProxy about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Administered {
    /// Takes part, as far as its health checks let it.
    Ready,
    /// No new connections.
    Drain,
    /// No connections at all.
    Maintenance,
}

impl Administered {
    /// As `set server … state` wants it.
    fn word(self) -> &'static str {
        match self {
            Administered::Ready => "ready",
            Administered::Drain => "drain",
            Administered::Maintenance => "maint",
        }
    }

    /// What an order makes of a server that is in this state, which was found in `found`.
    pub fn after(self, order: HaproxyState, found: Administered) -> Administered {
        match order {
            HaproxyState::Drain if self == Administered::Maintenance => self,
            HaproxyState::Drain => Administered::Drain,
            HaproxyState::Maintenance => Administered::Maintenance,
            HaproxyState::AsFound => found,
        }
    }
}

/// A server as HAProxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub administered: Administered,
    /// `UP`, `DOWN`, `MAINT`, `DRAIN`, `no check`, …
    pub status: String,
    /// Sessions that it has.
    pub sessions: u64,
    /// `address:port`.
    pub address: String,
}

impl Seen {
    /// Whether health checks let connections through to it.
    pub fn is_up(&self) -> bool {
        self.status.starts_with("UP") || self.status == "no check"
    }

    /// Whether it gets new connections.
    pub fn takes_traffic(&self) -> bool {
        self.administered == Administered::Ready && self.is_up()
    }
}

/// A runtime socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket<'a>(pub &'a str);

impl Socket<'_> {
    /// All servers, by `backend/server`.
    ///
    /// # Errors
    /// Where HAProxy does not answer, or answers something else.
    pub fn servers(&self) -> Result<BTreeMap<String, Seen>> {
        let states = self.ask("show servers state")?;
        let statistics = self.ask("show stat -1 4 -1")?;
        read(&states, &statistics).map_err(|problem| {
            NodeError::refused(format!("{} does not answer as HAProxy does: {problem}", self.0))
        })
    }

    /// Tells HAProxy about a server.
    ///
    /// # Errors
    /// Where HAProxy does not answer, or says why it does not do it.
    pub fn administer(&self, name: &str, state: Administered) -> Result<()> {
        self.tell(name, &format!("set server {name} state {}", state.word()))
    }

    /// Has HAProxy close all connections that a server has through it.
    ///
    /// # Errors
    /// Where HAProxy does not answer, or says why it does not do it.
    pub fn end_sessions(&self, name: &str) -> Result<()> {
        self.tell(name, &format!("shutdown sessions server {name}"))
    }

    /// Gives an order about a server. HAProxy says something only where it does not obey.
    fn tell(&self, name: &str, command: &str) -> Result<()> {
        let answer = self.ask(command)?;
        match answer.trim() {
            "" => Ok(()),
            reason => Err(NodeError::refused(format!(
                "HAProxy at {} does not change {name}: {reason}",
                self.0
            ))),
        }
    }

    fn ask(&self, command: &str) -> Result<String> {
        let talk = || -> io::Result<String> {
            let mut answer = Vec::new();
            let mut stream = self.connect()?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            stream.take(MOST).read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = talk();
        if let Err(error) = &answer
            && passes(error)
        {
            return Err(NodeError::Transient(format!("HAProxy at {}: {error}", self.0)));
        }
        answer.context(|| format!("HAProxy at {}", self.0))
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        // HAProxy's own way to write an address names its family first.
        let address = self.0.split_once('@').map_or(self.0, |(_, address)| address);
        if address.starts_with('/') {
            let stream = UnixStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Box::new(stream));
        }
        let mut error = io::Error::new(io::ErrorKind::InvalidInput, "no such address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(Box::new(stream));
                }
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Whether trying again may help: HAProxy is being reloaded, or is busy.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::BrokenPipe
    )
}

/// Reads both tables.
fn read(states: &str, statistics: &str) -> std::result::Result<BTreeMap<String, Seen>, String> {
    let states = Table::read(states, ' ')?;
    let statistics = Table::read(statistics, ',')?;
    let mut status = BTreeMap::new();
    for row in statistics.rows() {
        let name = format!("{}/{}", row.get("pxname")?, row.get("svname")?);
        let sessions = row.get("scur")?.parse::<u64>().unwrap_or(0);
        status.insert(name, (row.get("status")?.to_owned(), sessions));
    }
    let mut servers = BTreeMap::new();
    for row in states.rows() {
        let name = format!("{}/{}", row.get("be_name")?, row.get("srv_name")?);
        let bits: u32 = row
            .get("srv_admin_state")?
            .parse()
            .map_err(|_| "srv_admin_state is no number")?;
        let administered = match bits {
            _ if bits & FORCED_MAINTENANCE != 0 => Administered::Maintenance,
            _ if bits & FORCED_DRAIN != 0 => Administered::Drain,
            _ => Administered::Ready,
        };
        let port = row.get("srv_port").unwrap_or("0");
        let (status, sessions) = status.remove(&name).unwrap_or_default();
        let address = format!("{}:{port}", row.get("srv_addr")?);
        let seen = Seen {
            administered,
            status,
            sessions,
            address,
        };
        servers.insert(name, seen);
    }
    Ok(servers)
}

/// A table whose header begins with `# `.
struct Table<'a> {
    columns: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

struct Row<'t, 'a> {
    columns: &'t [&'a str],
    cells: &'t [&'a str],
}

impl<'a> Table<'a> {
    fn read(text: &'a str, separator: char) -> std::result::Result<Self, String> {
        let mut lines = text.lines().skip_while(|line| !line.starts_with("# "));
        let header = lines.next().ok_or_else(|| {
            format!(
                "no table in `{}`",
                text.trim().chars().take(120).collect::<String>()
            )
        })?;
        let columns = header.trim_start_matches("# ").split(separator).collect();
        let rows = lines
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.split(separator).collect())
            .collect();
        Ok(Table { columns, rows })
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_, 'a>> {
        self.rows.iter().map(|cells| Row {
            columns: &self.columns,
            cells,
        })
    }
}

impl<'a> Row<'_, 'a> {
    fn get(&self, column: &str) -> std::result::Result<&'a str, String> {
        let position = self.columns.iter().position(|name| *name == column);
        position
            .and_then(|position| self.cells.get(position).copied())
            .ok_or_else(|| format!("there is no {column}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord\n4 mqtt 1 n1 10.0.0.1 2 0 1 1 5 6 3 4 6 0 0 0 - 1883 -\n4 mqtt 2 n2 10.0.0.2 2 8 1 1 5 6 3 4 6 0 0 0 - 1883 -\n4 mqtt 3 n3 10.0.0.3 0 5 1 1 5 6 3 4 6 0 0 0 - 1883 -\n\n";
    const STATISTICS: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight\nmqtt,n1,0,0,3,4,,9,0,0,,0,,0,0,0,0,UP,1\nmqtt,n2,0,0,1,4,,9,0,0,,0,,0,0,0,0,DRAIN,1\nmqtt,n3,0,0,0,0,,0,0,0,,0,,0,0,0,0,MAINT,1\n\n";

    #[test]
    fn servers_are_read_from_both_tables() {
        let servers = read(STATES, STATISTICS).unwrap();
        let short = |name: &str| {
            let seen = &servers[name];
            (
                seen.administered,
                seen.status.as_str(),
                seen.sessions,
                seen.address.as_str(),
            )
        };
        assert_eq!(short("mqtt/n1"), (Administered::Ready, "UP", 3, "10.0.0.1:1883"));
        assert_eq!(
            short("mqtt/n2"),
            (Administered::Drain, "DRAIN", 1, "10.0.0.2:1883")
        );
        assert_eq!(
            short("mqtt/n3"),
            (Administered::Maintenance, "MAINT", 0, "10.0.0.3:1883")
        );
        let error = read("Permission denied\n", STATISTICS).unwrap_err();
        assert!(error.contains("Permission denied"), "{error}");
    }

    #[test]
    fn nothing_that_was_out_of_service_comes_into_it() {
        use Administered::{Drain, Maintenance, Ready};
        assert_eq!(Ready.after(HaproxyState::Drain, Ready), Drain);
        assert_eq!(Maintenance.after(HaproxyState::Drain, Maintenance), Maintenance);
        assert_eq!(Drain.after(HaproxyState::Maintenance, Drain), Maintenance);
        assert_eq!(Maintenance.after(HaproxyState::AsFound, Drain), Drain);
    }
}
