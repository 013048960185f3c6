//! The little of NATS' protocol that a client of JetStream takes: a request, and its answer. Lines of text, plain TCP, within a
//! bounded time (NATS documentation, "Client Protocol" and "JetStream wire API").

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::{Value, json};

/// The stream that tests write into.
pub const STREAM: &str = "load";

/// A connection to one server.
pub struct Connection {
    reader: BufReader<TcpStream>,
    requests: u64,
}

fn invalid(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.into())
}

impl Connection {
    /// Connects to `host:port`. Each answer must come within the limit.
    ///
    /// # Errors
    /// Where nobody answers, or not as NATS does.
    pub fn open(address: &str, limit: Duration) -> io::Result<Self> {
        let target = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| invalid(format!("{address} is no address")))?;
        let stream = TcpStream::connect_timeout(&target, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let mut connection = Connection {
            reader: BufReader::new(stream),
            requests: 0,
        };
        let info = connection.line()?;
        if !info.starts_with("INFO ") {
            return Err(invalid(format!("{address} does not speak NATS")));
        }
        connection.send(
            b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB answer.* 1\r\nPING\r\n",
        )?;
        while connection.line()? != "PONG" {}
        Ok(connection)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Publishes to a subject and waits for the answer.
    ///
    /// # Errors
    /// Where none comes in time, nobody listens to the subject, or the answer says that it was not done.
    pub fn request(&mut self, subject: &str, body: &[u8]) -> io::Result<Value> {
        self.requests += 1;
        let answer = format!("answer.{}", self.requests);
        let mut message = format!("PUB {subject} {answer} {}\r\n", body.len()).into_bytes();
        message.extend_from_slice(body);
        message.extend_from_slice(b"\r\n");
        self.send(&message)?;
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "PING" => self.send(b"PONG\r\n")?,
                "MSG" | "HMSG" => {
                    let length: usize = words
                        .last()
                        .and_then(|length| length.parse().ok())
                        .ok_or_else(|| invalid(line.clone()))?;
                    let mut body = vec![0; length + 2];
                    self.reader.read_exact(&mut body)?;
                    body.truncate(length);
                    if words.get(1) != Some(&answer.as_str()) {
                        continue;
                    }
                    return match words[0] {
                        "MSG" => answered(&body),
                        // Headers without a body: nobody listens there just now.
                        _ => Err(invalid(String::from_utf8_lossy(&body).trim().to_owned())),
                    };
                }
                "-ERR" => return Err(invalid(line)),
                _ => {}
            }
        }
    }

    /// Makes the stream that tests write into, on three servers.
    ///
    /// # Errors
    /// Where it cannot be made now.
    pub fn create_stream(&mut self) -> io::Result<()> {
        let config = json!({
            "name": STREAM, "subjects": [format!("{STREAM}.>")], "num_replicas": 3, "storage": "file",
        });
        let subject = format!("$JS.API.STREAM.CREATE.{STREAM}");
        self.request(&subject, config.to_string().as_bytes()).map(drop)
    }

    /// The message that was published last under a subject, or the one with a number.
    ///
    /// # Errors
    /// Where nobody tells.
    pub fn message(&mut self, which: &Value) -> io::Result<Option<(String, String)>> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{STREAM}");
        let answer = match self.request(&subject, which.to_string().as_bytes()) {
            Err(error) if error.to_string().contains("no message found") => return Ok(None),
            answer => answer?,
        };
        let text = |name: &str| answer["message"][name].as_str().map(str::to_owned);
        match (text("subject"), text("data")) {
            (Some(subject), Some(data)) => Ok(Some((subject, data))),
            _ => Err(invalid(answer.to_string())),
        }
    }

    /// Numbers of the first and the last message.
    ///
    /// # Errors
    /// Where nobody tells.
    pub fn range(&mut self) -> io::Result<(u64, u64)> {
        let answer = self.request(&format!("$JS.API.STREAM.INFO.{STREAM}"), b"")?;
        let number = |name: &str| answer["state"][name].as_u64();
        number("first_seq")
            .zip(number("last_seq"))
            .ok_or_else(|| invalid(answer.to_string()))
    }
}

fn answered(body: &[u8]) -> io::Result<Value> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => Err(invalid(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_request_finds_its_answer_among_other_messages() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"INFO {}\r\n").unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut read = |expected: &str| {
                let mut line = String::new();
                while !line.starts_with(expected) {
                    line.clear();
                    assert!(reader.read_line(&mut line).unwrap() > 0);
                }
            };
            read("PING");
            stream.write_all(b"PONG\r\n").unwrap();
            read("PUB load.1 answer.1 5");
            stream
                .write_all(b"PING\r\nMSG other 1 2\r\nxx\r\nMSG answer.1 1 9\r\n{\"seq\":1}\r\n")
                .unwrap();
            read("PUB load.2");
            stream
                .write_all(b"HMSG answer.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n")
                .unwrap();
            read("PUB load.3");
            stream
                .write_all(b"MSG answer.3 1 28\r\n{\"error\":{\"code\":503,\"a\":1}}\r\n")
                .unwrap();
        });
        let mut connection = Connection::open(&address, Duration::from_secs(10)).unwrap();
        assert_eq!(
            connection.request("load.1", b"hello").unwrap(),
            json!({ "seq": 1 })
        );
        assert!(
            connection
                .request("load.2", b"")
                .unwrap_err()
                .to_string()
                .contains("503")
        );
        assert!(
            connection
                .request("load.3", b"")
                .unwrap_err()
                .to_string()
                .contains("code")
        );
        server.join().unwrap();
    }
}
