//! `upshift init`: write a fleet file.

use std::fmt::Write;

use upshift_model::fleet::{Fleet, InventoryFiles};

use crate::args::{Global, InitArgs, Output};
use crate::exit::{Exit, Failure, Problem};
use crate::output::Printer;
use crate::profiles;

/// Does what was typed.
pub fn run(arguments: &InitArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let Some(product) = &global.product else {
        return Err(Failure::Usage(
            Problem::new("which product do the hosts run?")
                .next("say so with --product, such as --product etcd"),
        ));
    };
    let profile = profiles::choose(product, global.profile.as_deref())?;
    let hosts = arguments
        .hosts
        .iter()
        .map(|text| NewHost::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let name = arguments.name.as_deref().unwrap_or(product);
    let group = profile.group.as_deref().unwrap_or(&profile.product);
    let text = text(name, group, &hosts, arguments.sudo);
    let path = &global.fleet;
    let fleet = Fleet::from_text(&path.display().to_string(), &text, &InventoryFiles::none())
        .map_err(|mistakes| Failure::Mistakes(profiles::rendered(&mistakes)))?;
    if path.exists() && !arguments.force {
        return Err(Failure::Usage(
            Problem::new("the fleet file exists")
                .at(path.display())
                .next("name another with --fleet, or give --force"),
        ));
    }
    std::fs::write(path, text).map_err(|error| {
        Failure::Usage(
            Problem::new("cannot write the fleet file")
                .at(path.display())
                .because(error)
                .next("name another with --fleet"),
        )
    })?;
    printer.result(&serde_json::json!({"fleet": fleet.name, "file": path, "hosts": fleet.hosts.keys().collect::<Vec<_>>()}), || {
        format!(
            "{} written: the fleet `{}` with {} {} of {}.\nNext: `upshift check --fleet {}`",
            path.display(),
            fleet.name,
            fleet.hosts.len(),
            if fleet.hosts.len() == 1 { "server" } else { "servers" },
            profile.title,
            path.display()
        )
    })?;
    Ok(Exit::Done)
}

/// A host as typed: `NAME` or `NAME=[USER@]ADDRESS[:PORT]`.
#[derive(Debug, PartialEq, Eq)]
struct NewHost {
    name: String,
    address: Option<String>,
    user: Option<String>,
    port: Option<u16>,
}

impl NewHost {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::Usage(
                Problem::new(format!("`{text}` is not a host"))
                    .because(why)
                    .next("write NAME or NAME=[USER@]ADDRESS[:PORT], such as n1=ops@10.0.0.1:2222"),
            )
        };
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        if name.is_empty() || rest == Some("") {
            return Err(wrong("a part is missing"));
        }
        let Some(rest) = rest else {
            return Ok(NewHost {
                name: name.to_owned(),
                address: None,
                user: None,
                port: None,
            });
        };
        let (user, rest) = match rest.split_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        let (address, port) =
            split_port(rest).ok_or_else(|| wrong("the port is not a number up to 65535"))?;
        Ok(NewHost {
            name: name.to_owned(),
            address: Some(address),
            user,
            port,
        })
    }
}

/// Address and port; an IPv6 address with a port stands in brackets.
fn split_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((address.to_owned(), port));
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => Some((address.to_owned(), Some(port.parse().ok()?))),
        _ => Some((text.to_owned(), None)),
    }
}

/// A word as YAML; JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn text(name: &str, group: &str, hosts: &[NewHost], sudo: bool) -> String {
    let mut text = String::from("# The hosts of a cluster; see docs/guide.md. Written by `upshift init`.\n");
    let names: Vec<String> = hosts.iter().map(|host| quoted(&host.name)).collect();
    // Writing into a text cannot fail.
    let _ = writeln!(text, "name: {}", quoted(name));
    if sudo {
        text.push_str("defaults:\n  sudo: true\n");
    }
    let _ = writeln!(
        text,
        "products:\n  {}:\n    hosts: [{}]\nhosts:",
        quoted(group),
        names.join(", ")
    );
    for host in hosts {
        let mut parts = Vec::new();
        if let Some(address) = &host.address {
            parts.push(format!("address: {}", quoted(address)));
        }
        let user = host.user.as_ref().map(|user| format!("user: {}", quoted(user)));
        let port = host.port.map(|port| format!("port: {port}"));
        let ssh: Vec<String> = user.into_iter().chain(port).collect();
        if !ssh.is_empty() {
            parts.push(format!("transport: {{ ssh: {{ {} }} }}", ssh.join(", ")));
        }
        let inside = if parts.is_empty() {
            String::new()
        } else {
            format!(" {} ", parts.join(", "))
        };
        let _ = writeln!(text, "  {}: {{{inside}}}", quoted(&host.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> NewHost {
        NewHost::parse(text).unwrap_or_else(|failure| panic!("{}", failure.text(false)))
    }

    #[test]
    fn hosts_are_read_as_ssh_users_write_them() {
        let typed = host("n1=ops@10.0.0.1:2222");
        assert_eq!(
            (typed.address.as_deref(), typed.user.as_deref(), typed.port),
            (Some("10.0.0.1"), Some("ops"), Some(2222))
        );
        assert_eq!(host("n1").address, None);
        assert_eq!(host("n1=fe80::1").address.as_deref(), Some("fe80::1"));
        assert_eq!(host("n1=[fe80::1]:22").port, Some(22));
        for wrong in ["", "=a", "n1=", "n1=a:ssh", "n1=[::1"] {
            assert!(NewHost::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let hosts = [host("n1=ops@10.0.0.1:2222"), host("n2=10.0.0.2"), host("n3")];
        let written = text("lab", "etcd", &hosts, true);
        insta::assert_snapshot!(written, @r#"
        # The hosts of a cluster; see docs/guide.md. Written by `upshift init`.
        name: "lab"
        defaults:
          sudo: true
        products:
          "etcd":
            hosts: ["n1", "n2", "n3"]
        hosts:
          "n1": { address: "10.0.0.1", transport: { ssh: { user: "ops", port: 2222 } } }
          "n2": { address: "10.0.0.2" }
          "n3": {}
        "#);
        let fleet = Fleet::from_text("fleet.yaml", &written, &InventoryFiles::none()).expect("it reads back");
        assert_eq!(fleet.servers("etcd").count(), 3);
        assert!(fleet.hosts["n1"].sudo);
    }
}
