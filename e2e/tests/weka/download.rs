//! The ways of getting a release that do without the vendor's distribution servers, and without a token in sight.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use upshift_e2e::harness::{Outcome, only_when_exhaustive};

use super::NEW;
use super::cluster::With;

const TOKEN: &str = "tok3nthatnobodymaysee";

fn with(variables: &[(&'static str, &str)]) -> With {
    let own = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
    With {
        variables: own.chain(With::default().variables).collect(),
        ..With::default()
    }
}

pub fn by_tar() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = with(&[("weka_download", "tar")]).begin();
    let ran = weka.upgrade(NEW, &[]).expect(3);
    assert!(
        ran.text().contains(&format!("there is no package of {NEW}")),
        "{}",
        ran.text()
    );
    weka.package(NEW);
    weka.upgrade(NEW, &[]).expect(0);
    weka.all_on(NEW);
    let orders = weka.orders();
    assert!(orders.contains(&format!("tar {NEW}")), "{orders:?}");
    assert!(
        !orders.iter().any(|order| order.starts_with("get ")),
        "{orders:?}"
    );
    Ok(())
}

pub fn by_curl() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let refused = with(&[("weka_from", "https://tok3nthatnobodymaysee@get.example.org")]).begin();
    let ran = refused.run(&["check", "--to", NEW]);
    assert!(ran.text().contains("holds a token"), "{}", ran.text());
    assert!(!ran.text().contains(TOKEN), "{}", ran.text());

    let (site, asked) = serve(format!("#!/bin/sh\nexec weka double installed curl {NEW}\n"));
    let netrc = tempfile::NamedTempFile::new().expect("a file");
    fs::write(
        netrc.path(),
        format!("machine 127.0.0.1 login {TOKEN} password x\n"),
    )
    .expect("a file");
    let weka = with(&[
        ("weka_download", "curl"),
        ("weka_site", &site),
        ("weka_netrc", &netrc.path().display().to_string()),
    ])
    .begin();
    weka.upgrade(NEW, &[]).expect(0);
    weka.all_on(NEW);
    assert!(
        weka.orders().contains(&format!("curl {NEW}")),
        "{:?}",
        weka.orders()
    );
    let asked = asked.lock().expect("no thread panics").clone();
    assert!(
        asked
            .iter()
            .any(|line| line == &format!("GET /dist/v1/install/{NEW}/{NEW} HTTP/1.1")),
        "{asked:?}"
    );
    assert!(
        asked.iter().any(|line| line.starts_with("Authorization: Basic ")),
        "{asked:?}"
    );
    assert_eq!(holding(weka.root(), TOKEN), Vec::<String>::new());
    Ok(())
}

/// The files below a directory that hold a text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() {
            let held = fs::read(&path).expect("a file");
            if held.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// A site that gives everybody with a login the same answer; what it was asked, line by line. It ends with the test's process.
fn serve(body: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let request = BufReader::new(stream.try_clone().expect("a connection"));
            let read = request
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty());
            let read: Vec<String> = read.collect();
            let known = read.iter().any(|line| line.starts_with("Authorization: Basic "));
            let (status, body) = if known {
                ("200 OK", body.as_str())
            } else {
                ("401 Unauthorized", "")
            };
            lines.lock().expect("no thread panics").extend(read);
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever has gone does not need the answer.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (format!("http://{address}"), asked)
}
