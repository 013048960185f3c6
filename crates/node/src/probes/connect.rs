//! A connection made for the purpose: whether somebody is listening, and whether TLS can be agreed on.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use upshift_model::probe::ConnectProbe;

use crate::error::{NodeError, Result};

pub fn look(probe: &ConnectProbe) -> Result<Value> {
    if probe.address.is_empty() {
        return Ok(json!({ "connected": null, "tls": null, "reason": "there is no address" }));
    }
    let limit = Duration::from_millis(probe.timeout.0);
    let address = reachable(&probe.address);
    let agreed = connect(&address, limit).and_then(|stream| match probe.tls {
        true => shake_hands(&address, stream).map(Some),
        false => Ok(None),
    });
    match agreed {
        Ok(tls) => Ok(json!({ "connected": true, "tls": tls, "reason": null })),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(NodeError::refused(format!(
            "`{}` is no address: {error}",
            probe.address
        ))),
        Err(error) => Ok(json!({ "connected": false, "tls": null, "reason": error.to_string() })),
    }
}

/// An address as servers are told to listen on it, made one that can be reached from the host itself.
fn reachable(listening: &str) -> String {
    if listening.parse::<u16>().is_ok() {
        return format!("127.0.0.1:{listening}");
    }
    match listening.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(address)) if address.ip().is_unspecified() => {
            format!("127.0.0.1:{}", address.port())
        }
        Ok(SocketAddr::V6(address)) if address.ip().is_unspecified() => format!("[::1]:{}", address.port()),
        _ => listening.to_owned(),
    }
}

fn connect(address: &str, limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name stands for no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Agrees on TLS; gives the version of the protocol. The connection ends with the value.
fn shake_hands(address: &str, mut stream: TcpStream) -> io::Result<String> {
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let version = connection.protocol_version();
    Ok(version.map_or_else(String::new, |version| format!("{version:?}")))
}

/// Takes every certificate: nothing is said over the connection, and whether clients trust it is not what is asked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use upshift_model::Millis;

    use super::*;

    fn probe(address: String, tls: bool) -> ConnectProbe {
        ConnectProbe {
            address,
            tls,
            timeout: Millis(2000),
        }
    }

    #[test]
    fn a_listener_is_reached_and_a_closed_port_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(look(&probe(address.clone(), false)).unwrap()["connected"], true);
        drop(listener);
        let seen = look(&probe(address, false)).unwrap();
        assert_eq!(seen["connected"], false);
        assert!(seen["reason"].as_str().unwrap().contains("refused"), "{seen}");
    }

    #[test]
    fn who_listens_without_speaking_tls_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 16];
            stream.read_exact(&mut buffer).unwrap();
            io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        let seen = look(&probe(address, true)).unwrap();
        answering.join().unwrap();
        assert_eq!(seen["connected"], false, "{seen}");
    }

    #[test]
    fn what_a_server_listens_on_is_reached_from_its_host() {
        for (listening, reached) in [
            ("8883", "127.0.0.1:8883"),
            ("0.0.0.0:8883", "127.0.0.1:8883"),
            ("[::]:8883", "[::1]:8883"),
            ("10.0.0.1:8883", "10.0.0.1:8883"),
            ("broker:8883", "broker:8883"),
        ] {
            assert_eq!(reachable(listening), reached);
        }
    }

    #[test]
    fn without_an_address_nothing_is_tried() {
        assert_eq!(
            look(&probe(String::new(), true)).unwrap()["connected"],
            Value::Null
        );
        assert!(look(&probe("nonsense".to_owned(), false)).is_err());
    }
}
