//! A client whose session is to be kept, and one that publishes to it, both by way of a load balancer.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const TOPIC: &str = "orders";
const SUBSCRIBER: &str = "keeper";
/// How long a client waits for an answer before it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two messages, and before a client connects again.
const PACE: Duration = Duration::from_millis(50);

/// What was seen of both.
#[derive(Debug, Default)]
pub struct Seen {
    /// Messages of QoS 1 that the broker acknowledged.
    pub acknowledged: BTreeSet<String>,
    /// Messages that arrived at the subscriber.
    pub arrived: BTreeSet<String>,
    /// How often the subscriber came back and found its session.
    pub resumed: usize,
    /// How often it came back, and the broker knew of no session.
    pub forgotten: usize,
}

impl Seen {
    /// Messages that were acknowledged and never arrived.
    pub fn lost(&self) -> Vec<&String> {
        self.acknowledged.difference(&self.arrived).collect()
    }
}

/// A subscriber of QoS 1 with a session that is kept (`clean_session` off), and a publisher; each connects again where its
/// connection ends.
pub struct Kept {
    /// For the publisher, and for the subscriber, which ends after it.
    stop: [Arc<AtomicBool>; 2],
    subscriber: Option<JoinHandle<Seen>>,
    publisher: Option<JoinHandle<BTreeSet<String>>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop
            .iter()
            .for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}

impl Kept {
    /// Starts both; the subscription stands before anything is published.
    ///
    /// # Errors
    /// Where the broker takes no client or no subscription.
    pub fn start(address: SocketAddr) -> io::Result<Self> {
        let mut stream = connect(address, SUBSCRIBER, false)?.0;
        subscribe(&mut stream)?;
        let stop: [Arc<AtomicBool>; 2] = Default::default();
        let [publishing, ending] = stop.clone();
        Ok(Kept {
            subscriber: Some(std::thread::spawn(move || subscriber(address, stream, &ending))),
            publisher: Some(std::thread::spawn(move || publisher(address, &publishing))),
            stop,
        })
    }

    /// Ends the publisher, waits until nothing more arrives, and ends the subscriber.
    pub fn finish(mut self) -> Seen {
        self.stop[0].store(true, Ordering::Relaxed);
        let acknowledged = self.publisher.take().and_then(|publisher| publisher.join().ok());
        self.stop[1].store(true, Ordering::Relaxed);
        let seen = self
            .subscriber
            .take()
            .and_then(|subscriber| subscriber.join().ok());
        Seen {
            acknowledged: acknowledged.expect("the publisher ends"),
            ..seen.expect("the subscriber ends")
        }
    }
}

/// A connection that the broker has accepted, and whether it knew the client's session.
fn connect(address: SocketAddr, client: &str, clean: bool) -> io::Result<(TcpStream, bool)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.extend([if clean { 2 } else { 0 }, 0, 60]);
    body.extend(string(client));
    stream.write_all(&packet(0x10, &body))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    match answer {
        [0x20, 2, present, 0] => Ok((stream, present == 1)),
        other => Err(io::Error::other(format!("the broker answers {other:?}"))),
    }
}

fn subscribe(stream: &mut TcpStream) -> io::Result<()> {
    let mut body = vec![0, 1];
    body.extend(string(TOPIC));
    body.push(1);
    stream.write_all(&packet(0x82, &body))?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    match answer {
        [0x90, 3, 0, 1, 1] => Ok(()),
        other => Err(io::Error::other(format!("the broker answers {other:?}"))),
    }
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes
}

/// A short packet.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, u8::try_from(body.len()).expect("a short packet")];
    packet.extend(body);
    packet
}

fn read_packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// The message of a PUBLISH of QoS 1, and its number.
fn message(body: &[u8]) -> Option<([u8; 2], String)> {
    let length = usize::from(u16::from_be_bytes(body.get(..2)?.try_into().ok()?));
    let number = body.get(2 + length..4 + length)?.try_into().ok()?;
    let text = String::from_utf8_lossy(body.get(4 + length..)?).into_owned();
    Some((number, text))
}

/// Takes what comes until nothing has come for a while after the end was asked for.
fn subscriber(address: SocketAddr, stream: TcpStream, stop: &AtomicBool) -> Seen {
    const QUIET: Duration = Duration::from_secs(3);
    let mut seen = Seen::default();
    let mut connection = Some(stream);
    loop {
        let ending = stop.load(Ordering::Relaxed);
        let Some(stream) = &mut connection else {
            std::thread::sleep(PACE);
            match connect(address, SUBSCRIBER, false) {
                Ok((stream, true)) => {
                    seen.resumed += 1;
                    connection = Some(stream);
                }
                Ok((mut stream, false)) => {
                    seen.forgotten += 1;
                    connection = subscribe(&mut stream).ok().map(|()| stream);
                }
                Err(_) if ending => return seen,
                Err(_) => {}
            }
            continue;
        };
        // Short while it runs, so that the end is seen; a packet is written at once, so that none is cut in two by it.
        let _ = stream.set_read_timeout(Some(if ending { QUIET } else { PATIENCE / 10 }));
        let mut first = [0];
        match stream.peek(&mut first) {
            Ok(1) => {}
            Ok(_) => {
                connection = None;
                continue;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if ending {
                    return seen;
                }
                continue;
            }
            Err(_) => {
                connection = None;
                continue;
            }
        }
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let taken = read_packet(stream).and_then(|(kind, body)| match (kind, message(&body)) {
            (0x32 | 0x3A, Some((number, text))) => {
                seen.arrived.insert(text);
                stream.write_all(&packet(0x40, &number))
            }
            _ => Ok(()),
        });
        if taken.is_err() {
            connection = None;
        }
    }
}

fn publisher(address: SocketAddr, stop: &AtomicBool) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    let mut connection: Option<TcpStream> = None;
    for number in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(PACE);
        let text = format!("order {number}");
        let sent = match &mut connection {
            Some(stream) => publish(stream, &text),
            None => connect(address, "publisher", true).and_then(|(mut stream, _)| {
                publish(&mut stream, &text)?;
                connection = Some(stream);
                Ok(())
            }),
        };
        match sent {
            Ok(()) => {
                acknowledged.insert(text);
            }
            // Not acknowledged: nobody has promised to deliver it.
            Err(_) => connection = None,
        }
    }
    acknowledged
}

fn publish(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let mut body = string(TOPIC);
    body.extend([0, 7]);
    body.extend(text.bytes());
    stream.write_all(&packet(0x32, &body))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    match answer {
        [0x40, 2, 0, 7] => Ok(()),
        other => Err(io::Error::other(format!("the broker answers {other:?}"))),
    }
}
