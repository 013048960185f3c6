//! How a host is reached, from Ansible's variables.

use serde_json::Value;

use super::host::Settings;
use super::words;
use crate::diagnostic;
use crate::fleet::{SshTransport, Transport};

/// Connections that Upshift can make itself.
const CONNECTIONS: [&str; 2] = ["ssh", "local"];

/// How the host `name` is reached.
pub(super) fn transport(settings: &mut Settings<'_>, name: &str) -> Transport {
    if let Some(command) = command(settings) {
        return Transport::Command(command);
    }
    let connection = settings
        .text(&["ansible_connection"])
        .unwrap_or_else(|| "ssh".to_owned());
    match connection.strip_prefix("ansible.builtin.").unwrap_or(&connection) {
        "local" => Transport::Local,
        "ssh" | "smart" | "paramiko" | "paramiko_ssh" => Transport::Ssh(ssh(settings, name)),
        other => {
            let message = format!("the connection `{other}` is not one that Upshift can make");
            match diagnostic::nearest(other, CONNECTIONS) {
                Some(meant) => {
                    settings.error("ansible_connection", message, format!("did you mean `{meant}`?"));
                }
                None => settings.unusable("ansible_connection", message, COMMAND_HELP),
            }
            Transport::Local
        }
    }
}

const COMMAND_HELP: &str = "set `upshift_command` to a command whose standard input and output reach a shell on the host, \
                            such as `docker exec -i node1 sh`";

/// `upshift_command`, as a list or as one line.
fn command(settings: &mut Settings<'_>) -> Option<Vec<String>> {
    let (key, value) = settings.value(&["upshift_command"])?;
    let arguments = match value {
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        Value::String(line) => words::split(&line, false)
            .ok()
            .map(|words| words.into_iter().map(|word| word.text).collect()),
        _ => None,
    };
    let usable = arguments
        .filter(|arguments: &Vec<String>| arguments.first().is_some_and(|program| !program.is_empty()));
    if usable.is_none() {
        settings.error(
            key,
            "this is not a command",
            "write it as a list of texts, or as one line: `docker exec -i n1 sh`",
        );
    }
    Some(usable.unwrap_or_default())
}

fn ssh(settings: &mut Settings<'_>, name: &str) -> SshTransport {
    let host = settings.text(&["ansible_host", "ansible_ssh_host"]);
    if host
        .as_deref()
        .is_some_and(|host| host.trim().is_empty() || host.starts_with('-'))
    {
        settings.error(
            "ansible_host",
            "this is not an address",
            "write a name or an address that ssh can reach",
        );
    }
    let mut arguments = arguments(settings, "ansible_ssh_common_args");
    arguments.extend(self::arguments(settings, "ansible_ssh_extra_args"));
    SshTransport {
        host: host.unwrap_or_else(|| name.to_owned()),
        port: port(settings),
        user: settings.text(&["ansible_user", "ansible_ssh_user"]),
        key_file: settings.text(&["ansible_ssh_private_key_file", "ansible_private_key_file"]),
        arguments,
    }
}

fn port(settings: &mut Settings<'_>) -> Option<u16> {
    let (key, value) = settings.value(&["ansible_port", "ansible_ssh_port"])?;
    let port = match &value {
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let port = port.filter(|port| *port > 0);
    if port.is_none() {
        settings.error(key, "this is not a port", "write a number from 1 to 65535");
    }
    port
}

fn arguments(settings: &mut Settings<'_>, key: &'static str) -> Vec<String> {
    let Some(line) = settings.text(&[key]) else {
        return Vec::new();
    };
    match words::split(&line, false) {
        Ok(words) => words.into_iter().map(|word| word.text).collect(),
        Err(_) => {
            settings.error(key, "a quote in these arguments is never closed", "close it");
            Vec::new()
        }
    }
}

/// Whether the agent runs under sudo: `upshift_sudo`, otherwise `ansible_become`.
pub(super) fn sudo(settings: &mut Settings<'_>) -> bool {
    if let Some(sudo) = settings.switch(&["upshift_sudo"]) {
        return sudo;
    }
    if !settings.switch(&["ansible_become"]).unwrap_or(false) {
        return false;
    }
    let only = [("ansible_become_method", "sudo"), ("ansible_become_user", "root")];
    for (key, value) in only {
        let set = settings.text(&[key]);
        let set = set
            .as_deref()
            .map(|set| set.strip_prefix("ansible.builtin.").unwrap_or(set));
        if let Some(other) = set.filter(|set| *set != value) {
            let reason = format!("`{key}` is `{other}`, and Upshift becomes root with sudo and nothing else");
            let remedy = "set `upshift_sudo` to say whether the agent shall run under sudo";
            settings.unusable(key, reason, remedy);
        }
    }
    true
}
