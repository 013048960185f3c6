//! Plain TCP clients of a balanced service: some connect, ask and leave, again and again; others stay until they are cut off, and
//! then come back at once.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// What clients met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientsReport {
    /// New connections that were answered.
    pub answered: u64,
    /// New connections that were refused, cut off, or got no answer; with the first reasons.
    pub refused: Vec<String>,
    /// How often those that stay were cut off and came back.
    pub returned: u64,
}

/// Clients at work.
pub struct Clients {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<ClientsReport>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Clients of the service on a port of 127.0.0.1. Every new connection says `greeting`, and must be answered with something.
    pub fn start(port: u16, greeting: &'static str, passing: usize, staying: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(ClientsReport::default()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let spawn = |stays: bool| {
            let (stop, report) = (Arc::clone(&stop), Arc::clone(&report));
            thread::spawn(move || client(address, greeting, stays, &stop, &report))
        };
        let threads = (0..passing)
            .map(|_| spawn(false))
            .chain((0..staying).map(|_| spawn(true)))
            .collect();
        Clients {
            stop,
            report,
            threads,
        }
    }

    /// What they have met so far.
    pub fn so_far(&self) -> ClientsReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends them away, and says what they met.
    pub fn finish(mut self) -> ClientsReport {
        self.halt();
        self.so_far()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.halt();
    }
}

fn client(
    address: SocketAddr,
    greeting: &str,
    stays: bool,
    stop: &AtomicBool,
    report: &Mutex<ClientsReport>,
) {
    let mut first = true;
    while !stop.load(Ordering::Relaxed) {
        let met = if stays {
            stay(address, stop)
        } else {
            ask(address, greeting)
        };
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        match met {
            Ok(()) if stays => report.returned += u64::from(!first),
            Ok(()) => report.answered += 1,
            Err(error) => report.refused.push(error.to_string()),
        }
        drop(report);
        first = false;
        if !stays {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Connects, asks, hears the beginning of an answer, and leaves.
fn ask(address: SocketAddr, greeting: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(greeting.as_bytes())?;
    match stream.read(&mut [0; 256])? {
        0 => Err(io::Error::other("the connection was closed without an answer")),
        _ => Ok(()),
    }
}

/// Connects and says nothing, until it is cut off or sent away.
fn stay(address: SocketAddr, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // Reset: a server that is stopped need not say goodbye.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
