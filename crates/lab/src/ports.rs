//! Free ports on loopback addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Finds ports on 127.0.0.1 that nobody listens on. They are held together while they are looked for, so that all differ.
///
/// # Errors
/// Where the system has no port left.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
        .collect::<io::Result<_>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_differ() {
        let mut ports = super::free(8).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
