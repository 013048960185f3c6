//! What members say to each other, and the HTTP server that hears it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log::Entry;

/// "Vote for me."
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct VoteRequest {
    pub term: u64,
    pub candidate: String,
    pub last_index: u64,
    pub last_term: u64,
    /// The candidate's version.
    #[serde(default)]
    pub version: String,
}

/// The answer to [`VoteRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct VoteAnswer {
    pub term: u64,
    pub granted: bool,
}

/// "I lead; append these."
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AppendRequest {
    pub term: u64,
    pub leader: String,
    pub previous_index: u64,
    pub previous_term: u64,
    pub entries: Vec<Entry>,
    pub commit: u64,
    /// The leader's version.
    #[serde(default)]
    pub version: String,
}

/// The answer to [`AppendRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AppendAnswer {
    pub term: u64,
    pub accepted: bool,
    /// Where accepted: the newest entry known to be the leader's. Otherwise: where to try next.
    pub index: u64,
    pub version: String,
}

/// A request as it came.
pub(super) struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Vec<u8>,
}

impl Asked {
    /// A parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, v)| v)
    }
}

/// Answers requests until the process ends, one thread for each connection.
pub(super) fn serve<F>(listener: TcpListener, answer: F)
where
    F: Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    for stream in listener.incoming().flatten() {
        let answer = Arc::clone(&answer);
        thread::spawn(move || {
            let _ = one(stream, &*answer);
        });
    }
}

fn one(mut stream: TcpStream, answer: &dyn Fn(&Asked) -> (u16, Value)) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_nodelay(true)?;
    let Some(asked) = read(&mut stream)? else {
        return Ok(());
    };
    let (status, value) = answer(&asked);
    let body = value.to_string();
    let reason = if status == 200 { "OK" } else { "Not OK" };
    write!(
        stream,
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn read(stream: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut received = Vec::new();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        received.extend_from_slice(&buffer[..count]);
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .unwrap_or(0);
        while received.len() < end + 4 + length {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(None);
            }
            received.extend_from_slice(&buffer[..count]);
        }
        let mut words = head.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = received[end + 4..end + 4 + length].to_vec();
        return Ok(Some(Asked {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            body,
        }));
    }
}
