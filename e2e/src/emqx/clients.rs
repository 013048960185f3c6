//! Clients that stay connected, and are counted.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Node;

const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02up";
const CONNECTED: [u8; 4] = [0x20, 2, 0, 0];
const PING: [u8; 2] = [0xC0, 0];
const PONG: [u8; 2] = [0xD0, 0];
const PATIENCE: Duration = Duration::from_secs(10);

/// One MQTT client over TCP.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and is accepted by the broker.
    ///
    /// # Errors
    /// Where it is not.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(CONNECT)?;
        expect(&mut stream, &CONNECTED)?;
        Ok(Client { stream })
    }

    /// Whether the broker still answers on this very connection.
    pub fn is_connected(&mut self) -> bool {
        self.stream
            .write_all(&PING)
            .and_then(|()| expect(&mut self.stream, &PONG))
            .is_ok()
    }

    /// Leaves a message that the broker keeps for the topic.
    ///
    /// # Errors
    /// Where the broker does not acknowledge it.
    pub fn retain(&mut self, topic: &str, message: &str) -> io::Result<()> {
        let length = 2 + topic.len() + 2 + message.len();
        let mut packet = vec![0x33, u8::try_from(length).map_err(io::Error::other)?];
        packet.extend([0, u8::try_from(topic.len()).map_err(io::Error::other)?]);
        packet.extend(topic.bytes().chain([0, 1]).chain(message.bytes()));
        self.stream.write_all(&packet)?;
        expect(&mut self.stream, &[0x40, 2, 0, 1])
    }

    /// The message that the broker keeps for a topic.
    ///
    /// # Errors
    /// Where it has none.
    pub fn retained(&mut self, topic: &str) -> io::Result<String> {
        let length = u8::try_from(2 + 2 + topic.len() + 1).map_err(io::Error::other)?;
        let mut packet = vec![0x82, length, 0, 2, 0, length - 5];
        packet.extend(topic.bytes().chain([0]));
        self.stream.write_all(&packet)?;
        expect(&mut self.stream, &[0x90, 3, 0, 2, 0])?;
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let mut rest = vec![0; usize::from(head[1]) - 2];
        self.stream.read_exact(&mut rest)?;
        Ok(String::from_utf8_lossy(&rest[usize::from(head[3])..]).into_owned())
    }
}

fn expect(source: &mut impl Read, wanted: &[u8]) -> io::Result<()> {
    let mut found = vec![0; wanted.len()];
    source.read_exact(&mut found)?;
    if found == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!("the broker answers {found:?}")))
    }
}

/// Clients that publish with QoS 1 all the time, and go to the next node where theirs does not answer any more.
pub struct Load {
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// So many publishers at the nodes. Every message has a topic of its own, and is kept by the broker.
    pub fn start(nodes: &[Node], publishers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let addresses: Vec<SocketAddr> = nodes.iter().map(Node::endpoint).collect();
        let publish = |number: usize| {
            let (stop, addresses) = (Arc::clone(&stop), addresses.clone());
            std::thread::spawn(move || publish(number, &addresses, &stop))
        };
        Load {
            publishers: (0..publishers).map(publish).collect(),
            stop,
        }
    }

    /// Ends it; the topics of the messages that were acknowledged.
    pub fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.publishers
            .drain(..)
            .flat_map(|publisher| publisher.join().expect("a publisher ends"))
            .collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(50);

fn publish(number: usize, addresses: &[SocketAddr], stop: &AtomicBool) -> Vec<String> {
    let (mut acknowledged, mut client, mut next) = (Vec::new(), None, number);
    for message in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let topic = format!("load/{number}/{message}");
        if client.is_none() {
            client = Client::connect(addresses[next % addresses.len()]).ok();
            next += 1;
        }
        match client.as_mut().map(|client| client.retain(&topic, &topic)) {
            Some(Ok(())) => acknowledged.push(topic),
            // Not acknowledged: nobody has promised to keep it.
            _ => client = None,
        }
        std::thread::sleep(PACE);
    }
    acknowledged
}

/// Those of the topics whose message the broker does not give to a new subscriber.
pub fn lost(node: &Node, topics: &[String]) -> Vec<String> {
    let mut client = Client::connect(node.endpoint()).expect("a client");
    let mut arrived = |topic: &String| client.retained(topic).is_ok_and(|message| message == *topic);
    let mut lost = topics.to_vec();
    lost.retain(|topic| !arrived(topic));
    lost
}

/// One MQTT client over TLS, by way of `openssl s_client`.
pub struct TlsClient {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl TlsClient {
    /// Connects and is accepted by the broker.
    ///
    /// # Errors
    /// Where it is not.
    pub fn connect(node: &Node) -> io::Result<Self> {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect"])
            .arg(format!("{}:{}", node.address, node.tls))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("no pipe");
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        input.write_all(CONNECT)?;
        expect(&mut output, &CONNECTED)?;
        Ok(TlsClient { child, input, output })
    }

    /// Whether the broker still answers on this very connection.
    pub fn is_connected(&mut self) -> bool {
        self.input
            .write_all(&PING)
            .and_then(|()| expect(&mut self.output, &PONG))
            .is_ok()
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients of a whole cluster: some over TCP and one over TLS at each node.
pub struct Clients {
    plain: Vec<Client>,
    encrypted: Vec<TlsClient>,
}

impl Clients {
    /// Connects so many clients to each node over TCP, and one over TLS.
    ///
    /// # Errors
    /// Where one is not accepted.
    pub fn connect(nodes: &[Node], each: usize) -> io::Result<Self> {
        let mut clients = Clients {
            plain: Vec::new(),
            encrypted: Vec::new(),
        };
        for node in nodes {
            for _ in 0..each {
                clients.plain.push(Client::connect(node.endpoint())?);
            }
            clients.encrypted.push(TlsClient::connect(node)?);
        }
        Ok(clients)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.plain.len() + self.encrypted.len()
    }

    /// How many of them the broker still answers, on the connections that they began with.
    pub fn connected(&mut self) -> usize {
        let plain = self
            .plain
            .iter_mut()
            .filter_map(|client| client.is_connected().then_some(()))
            .count();
        let encrypted = self
            .encrypted
            .iter_mut()
            .filter_map(|client| client.is_connected().then_some(()))
            .count();
        plain + encrypted
    }
}
