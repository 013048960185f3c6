//! Load balancers that are no HAProxy: a profile says how they are told, by HTTP calls or by commands.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::json;
use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};

use super::stage::{to, with_load_balancer};

pub const TRIALS: &[Case] = &[
    ("a_balancer_that_is_told_by_http_is_left_as_found", http),
    ("a_balancer_that_is_told_by_commands_is_left_as_found", command),
];

const SHIPPED: &str = include_str!("../../../profiles/lab.yaml");

const BY_HTTP: [&str; 2] = [
    r#"
  balanced: { http: { url: "{{ balancer.url }}/servers/{{ node.name }}", authorization_file: "{{ balancer.secret_file }}" } }"#,
    r#"
  drain:
    - title: take it out
      via: load_balancers
      only_if: &is_in { probe: balanced, at: load_balancer, expect: "value.value.state == 'in'", waiting: "{{ balancer.name }} does not tell" }
      action: { http: { method: PUT, url: "{{ balancer.url }}/servers/{{ node.name }}", body: out, authorization_file: "{{ balancer.secret_file }}" } }
      proof: [{ probe: balanced, at: load_balancer, expect: "value.value.state == 'out'", waiting: "{{ balancer.name }} still has {{ node.name }}" }]
  undrain:
    - title: put it back
      via: load_balancers
      action: { http: { method: PUT, url: "{{ balancer.url }}/servers/{{ node.name }}", body: in, authorization_file: "{{ balancer.secret_file }}" } }
      proof: [*is_in]"#,
];

const BY_COMMAND: [&str; 2] = [
    r#"
  balanced: { command: { argv: ["{{ balancer.program }}", show, "{{ node.name }}"] } }"#,
    r#"
  drain:
    - title: take it out
      via: load_balancers
      only_if: &is_in { probe: balanced, at: load_balancer, expect: "value.value == 'in'", waiting: "{{ balancer.name }} does not tell" }
      action: { command: { argv: ["{{ balancer.program }}", set, "{{ node.name }}", out] } }
      proof: [{ probe: balanced, at: load_balancer, expect: "value.value == 'out'", waiting: "{{ balancer.name }} still has {{ node.name }}" }]
  undrain:
    - title: put it back
      via: load_balancers
      action: { command: { argv: ["{{ balancer.program }}", set, "{{ node.name }}", in] } }
      proof: [*is_in]"#,
];

/// The lab server's profile with probes and verbs of its own for the load balancer.
fn profile(fixture: &Fixture, [probes, verbs]: [&str; 2]) -> PathBuf {
    let text = SHIPPED
        .replacen("\nprobes:", &format!("\nprobes:{probes}"), 1)
        .replacen("\nverbs:", &format!("\nverbs:{verbs}"), 1);
    let path = fixture.directory().join("own.yaml");
    fs::write(&path, text).expect("a file is written");
    path
}

/// Upgrades to a good release, then to one that is no good; gives what was asked of the balancer in between.
fn upgrade_twice(
    fixture: &Fixture,
    variables: &serde_json::Value,
    own: [&str; 2],
    states: &dyn Fn() -> String,
) {
    let path = profile(fixture, own).display().to_string();
    fixture.add_release("1.0.1", |_| {});
    fixture.add_release("1.1.0", |manifest| manifest.misbehaviour.never_healthy = true);
    let upshift = with_load_balancer(fixture, variables);
    upshift.run(&["profile", "lint", &path]).expect(0);
    let with_profile = |version: &str| [to(version), vec!["--profile".to_owned(), path.clone()]].concat();
    upshift.run(&with_profile("1.0.1")).expect(0);
    assert_eq!(states(), "n1 in, n2 out, n3 in");
    upshift.run(&with_profile("1.1.0")).expect(4);
    assert_eq!(states(), "n1 in, n2 out, n3 in");
    fixture.expect_all("1.0.1");
}

fn http() -> Outcome {
    let fixture = Fixture::lab();
    let balancer = HttpBalancer::start();
    let secret = fixture.directory().join("secret");
    fs::write(&secret, "Basic dXBzaGlmdDpzZWNyZXQ=\n").expect("a file is written");
    let variables = json!({ "url": balancer.url, "secret_file": secret });
    upgrade_twice(&fixture, &variables, BY_HTTP, &|| balancer.states());
    let changes = balancer
        .told
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .changes
        .clone();
    assert!(changes.len() >= 6, "{changes:?}");
    assert!(
        changes.iter().all(|change| !change.starts_with("n2 ")),
        "the server that was out is not touched: {changes:?}"
    );
    // The secret is in no journal.
    let journal = fs::read(fixture.upshift.state.join("upshift.db")).unwrap_or_default();
    let texts = String::from_utf8_lossy(&journal);
    assert!(!texts.contains("dXBzaGlmdDpzZWNyZXQ"));
    Ok(())
}

fn command() -> Outcome {
    let fixture = Fixture::lab();
    let states = fixture.directory().join("balancer-states");
    fs::create_dir_all(&states).expect("a directory");
    for (name, state) in [("n1", "in"), ("n2", "out"), ("n3", "in")] {
        fs::write(states.join(name), state).expect("a file is written");
    }
    let program = fixture.directory().join("lbctl");
    let script = format!(
        "#!/bin/sh\ncd '{}' || exit 1\ncase $1 in show) cat \"$2\" ;; set) printf %s \"$3\" > \"$2\" ;; esac\n",
        states.display()
    );
    fs::write(&program, script)
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
        .expect("a program is written");
    let read = |name: &str| fs::read_to_string(states.join(name)).expect("a state");
    let all = || {
        ["n1", "n2", "n3"]
            .map(|name| format!("{name} {}", read(name)))
            .join(", ")
    };
    upgrade_twice(&fixture, &json!({ "program": program }), BY_COMMAND, &all);
    Ok(())
}

/// A load balancer with an HTTP interface: `GET` and `PUT /servers/NAME`, for those who know the secret.
struct HttpBalancer {
    url: String,
    told: Arc<Mutex<Told>>,
}

struct Told {
    states: BTreeMap<String, String>,
    changes: Vec<String>,
}

impl HttpBalancer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let states = [("n1", "in"), ("n2", "out"), ("n3", "in")];
        let told = Arc::new(Mutex::new(Told {
            states: states
                .map(|(name, state)| (name.to_owned(), state.to_owned()))
                .into(),
            changes: Vec::new(),
        }));
        let known = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut told = known.lock().unwrap_or_else(PoisonError::into_inner);
                // A client that leaves in the middle asks again.
                let _ = answer(stream, &mut told);
            }
        });
        HttpBalancer { url, told }
    }

    fn states(&self) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let states = told.states.iter().map(|(name, state)| format!("{name} {state}"));
        states.collect::<Vec<_>>().join(", ")
    }
}

fn answer(mut stream: TcpStream, told: &mut Told) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length, mut knows) = (String::new(), 0, false);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim();
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => knows = value.trim() == "Basic dXBzaGlmdDpzZWNyZXQ=",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let name = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches("/servers/")
        .to_owned();
    if request.starts_with("PUT") && knows {
        let state = String::from_utf8_lossy(&body).into_owned();
        told.changes.push(format!("{name} {state}"));
        told.states.insert(name.clone(), state);
    }
    let status = if knows { "200 OK" } else { "401 Unauthorized" };
    let state = told.states.get(&name).cloned().unwrap_or_default();
    let text = json!({ "state": state }).to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
