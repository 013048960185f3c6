//! HTTP and HTTPS calls: those that ask, and those that change something.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_model::balancer::HttpOrder;
use upshift_model::probe::HttpProbe;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, http};

use crate::error::{Context, NodeError, Result};

/// The most that is read of an answer.
const MOST: u64 = 8 * 1024 * 1024;
/// Where operating systems keep the certificate authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Files of a call; an empty name is how a template says that there is none.
struct Files<'a> {
    authorization: &'a Option<String>,
    authorities: &'a Option<String>,
    certificate: &'a Option<String>,
    key: &'a Option<String>,
}

/// One call.
struct Call<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a BTreeMap<String, String>,
    body: Option<&'a str>,
    timeout: Millis,
    files: Files<'a>,
}

/// Asks, and says what was answered: `{status, value}`.
pub fn look(probe: &HttpProbe) -> Result<Value> {
    let call = Call {
        method: "GET",
        url: &probe.url,
        headers: &probe.headers,
        body: None,
        timeout: probe.timeout,
        files: Files {
            authorization: &probe.authorization_file,
            authorities: &probe.ca_file,
            certificate: &probe.cert_file,
            key: &probe.key_file,
        },
    };
    match call.attempt()? {
        Ok((status, value)) => Ok(json!({ "status": status, "value": value })),
        Err(error) if probe.may_be_closed && is_closed(&error) => Ok(json!({ "status": 0, "value": null })),
        Err(error) => Err(call.cannot(&error)),
    }
}

/// Whether the host has shown that nobody answers there: nothing listens, or what does closes the connection without a word, as a standby
/// of Alluxio 2.9 does. Silence shows nothing.
fn is_closed(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let ureq::Error::Io(error) = error else {
        return false;
    };
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | UnexpectedEof | BrokenPipe
    )
}

/// Changes something by a call; what was answered is the action's output: `{status, value}`.
pub fn order(order: &HttpOrder) -> Result<Value> {
    let call = Call {
        method: &order.method,
        url: &order.url,
        headers: &order.headers,
        body: order.body.as_deref(),
        timeout: order.timeout,
        files: Files {
            authorization: &order.authorization_file,
            authorities: &order.ca_file,
            certificate: &order.cert_file,
            key: &order.key_file,
        },
    };
    let (status, value) = call.make()?;
    let said = || format!("{} {}: {status}, {value}", order.method, order.url);
    match status {
        200..=299 => Ok(json!({ "status": status, "value": value })),
        _ if order.done.contains(&status) => Ok(json!({ "status": status, "value": value })),
        408 | 429 | 500..=599 => Err(NodeError::Transient(said())),
        _ => Err(NodeError::Refused(said())),
    }
}

impl Call<'_> {
    fn make(&self) -> Result<(u16, Value)> {
        self.attempt()?.map_err(|error| self.cannot(&error))
    }

    fn cannot(&self, error: &ureq::Error) -> NodeError {
        NodeError::Transient(format!("{} {}: {error}", self.method, self.url))
    }

    /// Fails where the call cannot be made up; the inner result says what became of it.
    fn attempt(&self) -> Result<std::result::Result<(u16, Value), ureq::Error>> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            // What a host is asked must not depend on the environment of whoever logged in.
            .proxy(None)
            .max_redirects(0)
            // A connection kept from before a restart would be answered by nobody.
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_millis(self.timeout.0)));
        if self.url.starts_with("https:") {
            config = config.tls_config(tls(&self.files)?);
        }
        let agent = Agent::new_with_config(config.build());
        let answer = match self.body {
            Some(body) => agent.run(self.request(body.to_owned())?),
            None => agent.run(self.request(())?),
        };
        Ok(answer.and_then(read))
    }

    fn request<B>(&self, body: B) -> Result<http::Request<B>> {
        let mut request = http::Request::builder().method(self.method).uri(self.url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(file) = named(self.files.authorization) {
            let value = fs::read_to_string(&file).context(|| format!("cannot read {file}"))?;
            request = request.header("Authorization", value.trim());
        }
        // The error does not say the values of headers.
        let cannot =
            |error: http::Error| NodeError::refused(format!("{} {}: {error}", self.method, self.url));
        request.body(body).map_err(cannot)
    }
}

/// The status, and the body as JSON where it is some.
fn read(mut answer: http::Response<ureq::Body>) -> std::result::Result<(u16, Value), ureq::Error> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MOST).read_to_vec()?;
    let value = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).trim_end().to_owned()));
    Ok((status, value))
}

fn named(file: &Option<String>) -> Option<String> {
    file.clone().filter(|file| !file.is_empty())
}

fn tls(files: &Files<'_>) -> Result<TlsConfig> {
    let mut config = TlsConfig::builder().root_certs(match &named(files.authorities) {
        Some(file) => RootCerts::from(certificates(file)?),
        None => system_authorities().clone(),
    });
    match (&named(files.certificate), &named(files.key)) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            config = config.client_cert(Some(ClientCert::new_with_certs(&chain, private_key(key)?)));
        }
        (None, None) => {}
        _ => {
            return Err(NodeError::refused(
                "a client's certificate and its key must be given together",
            ));
        }
    }
    Ok(config.build())
}

/// What the host itself trusts; what browsers trust where it says nothing.
fn system_authorities() -> &'static RootCerts {
    static TRUSTED: OnceLock<RootCerts> = OnceLock::new();
    TRUSTED.get_or_init(|| {
        let found = SYSTEM_AUTHORITIES.iter().filter(|file| Path::new(file).exists());
        let found = found
            .filter_map(|file| certificates(file).ok())
            .find(|found| !found.is_empty());
        found.map_or(RootCerts::WebPki, RootCerts::from)
    })
}

fn certificates(file: &str) -> Result<Vec<Certificate<'static>>> {
    let text = fs::read(file).context(|| format!("cannot read {file}"))?;
    let certificates: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(NodeError::refused(format!("{file} holds no certificate"))),
        false => Ok(certificates),
    }
}

fn private_key(file: &str) -> Result<PrivateKey<'static>> {
    let text = fs::read(file).context(|| format!("cannot read {file}"))?;
    PrivateKey::from_pem(&text).map_err(|_| NodeError::refused(format!("{file} holds no private key")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request, and returns what was asked.
    fn server(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 1024];
            while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (url, served)
    }

    fn probe(url: String) -> HttpProbe {
        HttpProbe {
            url,
            may_be_closed: false,
            timeout: upshift_model::Millis(5000),
            headers: BTreeMap::from([("X-Token".to_owned(), "secret".to_owned())]),
            authorization_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }

    #[test]
    fn json_is_read_and_an_error_status_is_an_answer() {
        let (url, served) =
            server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 17\r\n\r\n{\"health\":\"bad\"}\n");
        assert_eq!(
            look(&probe(url)).unwrap(),
            json!({"status": 503, "value": {"health": "bad"}})
        );
        assert!(served.join().unwrap().to_lowercase().contains("x-token: secret"));
        let (url, _served) =
            server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 3\r\n\r\nok\n");
        assert_eq!(look(&probe(url)).unwrap(), json!({"status": 302, "value": "ok"}));
    }

    #[test]
    fn a_port_that_answers_nothing_is_an_answer_where_that_is_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let closing = thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                // What was asked is read first, so that closing is no reset.
                let _read = stream.unwrap().read(&mut [0; 1024]);
            }
        });
        let asks = |may_be_closed: bool| {
            look(&HttpProbe {
                may_be_closed,
                ..probe(url.clone())
            })
        };
        let nothing = json!({"status": 0, "value": null});
        assert!(asks(false).is_err());
        assert_eq!(asks(true).unwrap(), nothing);
        closing.join().unwrap();
        // Now nothing listens.
        assert!(asks(false).is_err());
        assert_eq!(asks(true).unwrap(), nothing);
    }

    #[test]
    fn a_call_says_its_body_and_the_authorization_that_a_file_holds() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "Basic YWRtaW46c2VjcmV0\n").unwrap();
        let (url, served) = server("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}");
        let mut call = HttpOrder {
            url,
            method: "PUT".to_owned(),
            headers: BTreeMap::new(),
            body: Some("{\"state\":\"drain\"}".to_owned()),
            done: vec![],
            timeout: Millis(5000),
            authorization_file: Some(secret.to_str().unwrap().to_owned()),
            ca_file: None,
            cert_file: None,
            key_file: None,
        };
        assert_eq!(order(&call).unwrap(), json!({"status": 202, "value": {}}));
        let asked = served.join().unwrap();
        assert!(asked.starts_with("PUT /health"), "{asked}");
        assert!(
            asked
                .to_lowercase()
                .contains("authorization: basic ywrtaw46c2vjcmv0"),
            "{asked}"
        );
        (call.method, call.body) = ("DELETE".to_owned(), None);
        for (status, done, passes) in [
            (404, vec![], None),
            (404, vec![404], Some(true)),
            (503, vec![], Some(false)),
        ] {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
            let (url, _served) = server(answer.leak());
            (call.url, call.done) = (url, done);
            match (order(&call), passes) {
                (Ok(_), Some(true))
                | (Err(NodeError::Transient(_)), Some(false))
                | (Err(NodeError::Refused(_)), None) => {}
                (other, _) => panic!("{status}: {other:?}"),
            }
        }
    }

    #[test]
    fn nobody_there_is_a_failure_that_names_the_address() {
        let error = look(&probe("http://127.0.0.1:1/health".to_owned()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("127.0.0.1:1") && error.contains("refused"),
            "{error}"
        );
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut probe = probe(format!("http://{}/", listener.local_addr().unwrap()));
        probe.timeout = upshift_model::Millis(100);
        assert!(look(&probe).unwrap_err().to_string().contains("time"));
    }
}
