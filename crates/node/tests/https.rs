//! HTTPS questions, with authorities and certificates of the operator's own, against the server of the `openssl` program.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{World, eventually, probe};

fn openssl(world: &World, arguments: &str) -> bool {
    let mut command = Command::new("openssl");
    command
        .args(arguments.split(' '))
        .current_dir(world.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Makes `NAME.crt` and `NAME.key`, signed by the authority `ca`.
fn certificate(world: &World, name: &str) {
    let request = format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
    );
    assert!(openssl(world, &request));
    let sign =
        format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -days 2 -extfile names -out {name}.crt");
    assert!(openssl(world, &sign));
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that wants a certificate of every client.
fn server(world: &World) -> Option<(Server, u16)> {
    let authority = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority -days 2 \
                     -keyout ca.key -out ca.crt";
    if !openssl(world, authority) {
        eprintln!("skipped: openssl is not installed");
        return None;
    }
    std::fs::write(world.path("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    certificate(world, "server");
    certificate(world, "client");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let arguments = format!(
        "s_server -accept 127.0.0.1:{port} -cert server.crt -key server.key -CAfile ca.crt -Verify 1 -verify_return_error -www -quiet"
    );
    let child = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(world.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    eventually("the server listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some((server, port))
}

#[test]
fn a_server_is_trusted_by_the_operators_authority_and_trusts_the_operators_certificate() {
    let world = World::new();
    let Some((_server, port)) = server(&world) else {
        return;
    };
    let file = |name: &str| -> Value { json!(Path::new(&world.text("")).join(name)) };
    let url = format!("https://127.0.0.1:{port}/");
    let mut agent = world.agent();
    let mut ask = |more: Value| {
        let mut http = json!({"url": url});
        http.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        agent
            .observed(probe(json!({"http": http})))
            .map_err(|failure| format!("{failure:?}"))
    };
    let full =
        json!({"ca_file": file("ca.crt"), "cert_file": file("client.crt"), "key_file": file("client.key")});
    let answer = ask(full).unwrap();
    assert_eq!(answer["status"], 200);
    assert!(answer["value"].as_str().unwrap().contains("s_server"), "{answer}");
    ask(json!({"ca_file": file("ca.crt")})).expect_err("without a certificate, the server refuses");
    let stranger = ask(json!({})).unwrap_err();
    assert!(
        stranger.contains("certificate") || stranger.contains("UnknownIssuer"),
        "{stranger}"
    );
    let half = ask(json!({"ca_file": file("ca.crt"), "cert_file": file("client.crt")})).unwrap_err();
    assert!(half.contains("must be given together"), "{half}");
    let wrong = ask(json!({"ca_file": file("client.key")})).unwrap_err();
    assert!(wrong.contains("holds no certificate"), "{wrong}");
    let missing = ask(json!({"ca_file": "/no/such/file"})).unwrap_err();
    assert!(missing.contains("/no/such/file"), "{missing}");
}
