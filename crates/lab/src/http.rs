//! The little of HTTP/1.1 that talking to etcd's gateway and to the lab server takes: one request per connection, on
//! plain TCP, within a bounded time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde_json::Value;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The body, as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Asks `http://address/path`.
///
/// # Errors
/// Where nobody answers within the time, or not in HTTP.
pub fn get(address: &str, path: &str, limit: Duration) -> io::Result<Answer> {
    request("GET", address, path, &[], limit)
}

/// Posts a JSON document to `http://address/path`.
///
/// # Errors
/// Where nobody answers within the time, or not in HTTP.
pub fn post(address: &str, path: &str, body: &Value, limit: Duration) -> io::Result<Answer> {
    request("POST", address, path, body.to_string().as_bytes(), limit)
}

/// The `host:port` of a URL such as `http://127.0.0.1:2379`.
pub fn address_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn request(method: &str, address: &str, path: &str, body: &[u8], limit: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + limit;
    let target = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{address} is no address")))?;
    let mut stream = TcpStream::connect_timeout(&target, limit)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    let mut message = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut received = Vec::new();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        if let Some(answer) = parse(&received, false)? {
            return Ok(answer);
        }
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut buffer)? {
            0 => return parse(&received, true)?.ok_or_else(|| malformed("the answer ended early")),
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    }
    Ok(left)
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

/// Reads an answer out of what has come so far; `None` where more must come.
fn parse(received: &[u8], ended: bool) -> io::Result<Option<Answer>> {
    let Some(head_end) = find(received, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..head_end]).map_err(|_| malformed("the head is no text"))?;
    let rest = &received[head_end + 4..];
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| malformed("no status"))?;
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(chunks(rest)?.map(|body| Answer { status, body }));
    }
    let complete = match header("content-length").and_then(|value| value.parse::<usize>().ok()) {
        Some(length) => (rest.len() >= length).then(|| rest[..length].to_vec()),
        None => ended.then(|| rest.to_vec()),
    };
    Ok(complete.map(|body| Answer { status, body }))
}

fn chunks(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(line_end) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..line_end])
            .ok()
            .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok())
            .ok_or_else(|| malformed("no chunk size"))?;
        let begin = line_end + 2;
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(chunk) = rest.get(begin..begin + size) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        let Some(next) = rest.get(begin + size + 2..) else {
            return Ok(None);
        };
        rest = next;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(
            parse(plain, false).unwrap(),
            Some(Answer {
                status: 200,
                body: b"hi".to_vec()
            })
        );
        assert_eq!(parse(&plain[..plain.len() - 1], false).unwrap(), None);
        let chunked =
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let answer = parse(chunked, false).unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (404, b"abcde".as_slice())
        );
        assert_eq!(parse(&chunked[..60], false).unwrap(), None);
    }

    #[test]
    fn an_answer_without_length_ends_with_the_connection() {
        let open = b"HTTP/1.0 200 OK\r\n\r\nhello";
        assert_eq!(parse(open, false).unwrap(), None);
        assert_eq!(parse(open, true).unwrap().unwrap().body, b"hello");
    }

    #[test]
    fn urls_have_addresses() {
        assert_eq!(address_of("http://127.0.0.1:2379/health"), "127.0.0.1:2379");
        assert_eq!(address_of("127.0.0.1:1"), "127.0.0.1:1");
    }
}
