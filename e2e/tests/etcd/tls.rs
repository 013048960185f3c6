//! Members that speak https, ask their clients for a certificate, and have authentication on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, NoVerdict, Outcome, Skip};
use upshift_e2e::program::Upshift;
use upshift_lab::cluster::Member;
use upshift_lab::processes;

use crate::local::to;

pub const TRIALS: &[Case] = &[(
    "tls_and_authentication_are_understood_and_what_is_missing_is_named_once",
    tls_and_authentication,
)];

const LIMIT: Duration = Duration::from_secs(20);

/// Certificates of an authority of our own: the server's, and one for each of these users.
fn certificates(directory: &Path, users: &[&str]) -> Result<(), NoVerdict> {
    fs::create_dir_all(directory).expect("a directory");
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(directory);
        processes::run(&mut command, LIMIT)
    };
    let authority = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem";
    openssl(authority).map_err(|error| Skip(format!("openssl cannot be run: {error}")))?;
    fs::write(
        directory.join("extensions"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .expect("written");
    for name in users.iter().chain(&["server"]) {
        let request = format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        );
        openssl(&request).expect("a request");
        let sign = format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        );
        openssl(&sign).expect("a certificate");
    }
    Ok(())
}

/// A fleet file like the cluster's, with these variables for every member beside its configuration file, and no others.
fn fleet(fixture: &Fixture, name: &str, variables: &Value) -> Upshift {
    let members = fixture.cluster.members();
    let hosts: serde_json::Map<String, Value> = members
        .iter()
        .map(|member| {
            let mut vars = variables.clone();
            vars["etcd_config_file"] = json!(member.config_file);
            let host = json!({"transport": "local", "state_directory": member.state_directory, "vars": vars});
            (member.name.clone(), host)
        })
        .collect();
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let fleet = json!({"name": "lab", "products": {"etcd": {"hosts": names}}, "hosts": hosts});
    let file = fixture.directory().join(name);
    fs::write(&file, fleet.to_string()).expect("written");
    fixture.upshift.with_fleet(&file)
}

/// The codes of `check`'s refusals, with what each hides.
fn refusals(upshift: &Upshift) -> Vec<(String, usize)> {
    let ran = upshift.run(&["check", "--output", "json"]).expect(3);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let found = value["refusals"].as_array().expect("refusals");
    found
        .iter()
        .map(|refusal| {
            let hidden = refusal["hides"].as_array().map_or(0, Vec::len);
            (refusal["code"].as_str().expect("a code").to_owned(), hidden)
        })
        .collect()
}

fn etcdctl(member: &Member, pki: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(member.current().join("etcdctl"));
    command
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_CACERT", pki.join("ca.pem"))
        .env("ETCDCTL_CERT", pki.join("root.pem"))
        .env("ETCDCTL_KEY", pki.join("root.key"))
        .arg(format!("--endpoints=https://{}", member.endpoint()))
        .args(arguments);
    processes::run(&mut command, LIMIT).is_ok()
}

/// Lets every member speak https, all of them stopped together.
fn secure(fixture: &mut Fixture, pki: &Path) {
    let count = fixture.cluster.members().len();
    for position in 0..count {
        fixture.cluster.stop_member(position);
        let member = &fixture.cluster.members()[position];
        let file = |name: &str| pki.join(name).display().to_string();
        let text = fs::read_to_string(&member.config_file).expect("a configuration");
        let plain = format!("http://{}", member.endpoint());
        let text = format!(
            "{}client-transport-security:\n  cert-file: {}\n  key-file: {}\n  client-cert-auth: true\n  trusted-ca-file: {}\n",
            text.replace(&plain, &format!("https://{}", member.endpoint())),
            file("server.pem"),
            file("server.key"),
            file("ca.pem")
        );
        fs::write(&member.config_file, text).expect("written");
    }
    for position in 0..count {
        fixture.cluster.start_member(position).expect("started");
    }
    let members = fixture.cluster.members();
    let healthy = || {
        members
            .iter()
            .all(|member| etcdctl(member, pki, &["endpoint", "health"]))
    };
    assert!(
        processes::poll(Duration::from_secs(60), healthy),
        "the members serve https"
    );
}

fn tls_and_authentication() -> Outcome {
    let mut fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let pki: PathBuf = fixture.directory().join("pki");
    certificates(&pki, &["root", "guest"])?;
    secure(&mut fixture, &pki);

    // Address, authority and the wish for a certificate are found; the certificate is the one thing that is missing.
    let bare = fleet(&fixture, "bare.yaml", &json!({}));
    let found = refusals(&bare);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "check:client-certificate");
    assert!(found[0].1 >= 8, "{found:?}");

    let shown_by = |user: &str| {
        json!({
            "etcd_client_cert": pki.join(format!("{user}.pem")),
            "etcd_client_key": pki.join(format!("{user}.key")),
        })
    };
    let root = fleet(&fixture, "root.yaml", &shown_by("root"));
    // A proxy that leads nowhere, as a login's environment may name one.
    let root = root
        .with("https_proxy", "http://127.0.0.1:9")
        .with("http_proxy", "http://127.0.0.1:9");
    root.run(&["check", "--to", "3.5.16"]).expect(0);
    root.run(&to("3.5.16")).expect(0);
    root.run(&["check"]).expect(0);

    let first = &fixture.cluster.members()[0];
    assert!(etcdctl(first, &pki, &["user", "add", "root:secret"]), "a user");
    assert!(etcdctl(first, &pki, &["auth", "enable"]), "authentication is on");
    // Who is known to nobody may not compare data: told at once, and not after minutes of comparing.
    let guest = fleet(&fixture, "guest.yaml", &shown_by("guest"));
    let found = refusals(&guest);
    // One cause; each member adds what it answered, with its own time.
    assert!(
        found.len() <= 3 && found.iter().all(|(code, _)| code == "check:data-may-be-compared"),
        "{found:?}"
    );
    assert!(!found.is_empty(), "a guest may not compare data");

    let password = fixture.directory().join("password");
    fs::write(&password, "secret\n").expect("written");
    let mut variables = shown_by("guest");
    variables["etcd_user"] = json!("root");
    variables["etcd_password_file"] = json!(password);
    let known = fleet(&fixture, "known.yaml", &variables);
    known.run(&["check"]).expect(0);
    Ok(())
}
