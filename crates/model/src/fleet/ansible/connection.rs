//! How a host is reached, from Ansible's variables.

use serde_json::Value;

use super::host::{HOST, PRIVATE_KEYS, Settings};
use super::words;
use crate::diagnostic;
use crate::fleet::names::split_user;
use crate::fleet::{SshTransport, Transport};

// Where Ansible has several names for one setting, the later ones of its own list win. They stand first here.
const PORT: [&str; 2] = ["ansible_ssh_port", "ansible_port"];
const USER: [&str; 2] = ["ansible_ssh_user", "ansible_user"];
const KEY_FILE: [&str; 2] = ["ansible_ssh_private_key_file", "ansible_private_key_file"];

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
    let destination = settings.text(&HOST);
    let key = HOST
        .into_iter()
        .find(|key| settings.is_set(key))
        .unwrap_or(HOST[1]);
    let destination = destination.unwrap_or_else(|| name.to_owned());
    let (prefix, host) = split_user(&destination);
    if host.trim().is_empty() || destination.starts_with('-') || host.starts_with('-') {
        settings.error(
            key,
            "this is not an address",
            "write a name or an address that ssh can reach",
        );
    }
    let first = arguments(settings, "ansible_ssh_args");
    let port = port(settings);
    // ssh takes the first of two values, and Ansible's order is: these arguments, then the settings.
    if port.is_some() && names_option(&first, "port", "-p") {
        refuse_both(settings, "ansible_ssh_args", "port");
    }
    let user = settings.text(&USER);
    if (user.is_some() || prefix.is_some()) && names_option(&first, "user", "-l") {
        refuse_both(settings, "ansible_ssh_args", "user");
    }
    refuse_what_is_not_followed(settings);
    let mut arguments = first;
    arguments.extend(self::arguments(settings, "ansible_ssh_common_args"));
    arguments.extend(self::arguments(settings, "ansible_ssh_extra_args"));
    SshTransport {
        host: host.to_owned(),
        port,
        // Like ssh, which prefers an option over what stands before the `@`.
        user: user.or_else(|| prefix.map(str::to_owned)),
        key_file: settings.text(&KEY_FILE),
        arguments,
    }
}

/// Whether arguments for ssh set an option: `-p 22`, `-p22`, `-o Port=22`, `-oport 22`.
fn names_option(arguments: &[String], option: &str, letter: &str) -> bool {
    let mut after_o = false;
    arguments.iter().any(|word| {
        let assignment = if after_o {
            Some(word.as_str())
        } else {
            word.strip_prefix("-o")
        };
        after_o = !after_o && word == "-o";
        let named = assignment.is_some_and(|text| {
            let text = text.trim_start().to_ascii_lowercase();
            text.strip_prefix(option)
                .is_some_and(|rest| rest.starts_with(['=', ' ', '\t']))
        });
        named || word.starts_with(letter)
    })
}

fn refuse_both(settings: &mut Settings<'_>, key: &str, what: &str) {
    let reason = format!("`{key}` and another variable both name a {what}");
    settings.unusable(key, reason, "name it in one of the two");
}

/// Variables that change how Ansible logs in, and that Upshift has no equal for.
fn refuse_what_is_not_followed(settings: &mut Settings<'_>) {
    if let Some(program) = settings.text(&["ansible_ssh_executable"])
        && !["ssh", "/usr/bin/ssh"].contains(&program.as_str())
    {
        settings.unusable(
            "ansible_ssh_executable",
            format!("`ansible_ssh_executable` is `{program}`, and Upshift runs the ssh of the PATH"),
            "put that program into the PATH as `ssh`, or write its whole command into `upshift_command`",
        );
    }
    for key in PRIVATE_KEYS {
        if settings.is_set(key) {
            let reason = format!("`{key}` holds a private key, and Upshift gives ssh only files");
            settings.unusable(
                key,
                reason,
                "load the key into ssh-agent, or name its file in `ansible_ssh_private_key_file`",
            );
        }
    }
    if settings.is_set("ansible_ssh_pkcs11_provider") {
        settings.unusable(
            "ansible_ssh_pkcs11_provider",
            "`ansible_ssh_pkcs11_provider` is not followed",
            "set `PKCS11Provider` in your ssh configuration and take the variable out",
        );
    }
}

fn port(settings: &mut Settings<'_>) -> Option<u16> {
    let (key, value) = settings.value(&PORT)?;
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
    let only = [
        (&["ansible_become_method"][..], "sudo"),
        (&["ansible_sudo_user", "ansible_become_user"], "root"),
    ];
    for (keys, value) in only {
        let Some(set) = settings.text(keys) else { continue };
        let other = set.strip_prefix("ansible.builtin.").unwrap_or(&set);
        if other != value {
            let key = strongest(settings, keys);
            let reason = format!("`{key}` is `{other}`, and Upshift becomes root with sudo and nothing else");
            settings.unusable(key, reason, SUDO_REMEDY);
        }
    }
    let programs = ["ansible_sudo_exe", "ansible_become_exe"];
    if let Some(program) = settings.text(&programs)
        && !["sudo", "/usr/bin/sudo"].contains(&program.as_str())
    {
        let key = strongest(settings, &programs);
        let reason = format!("`{key}` is `{program}`, and Upshift runs the sudo of the PATH");
        settings.unusable(key, reason, SUDO_REMEDY);
    }
    let flags = ["ansible_sudo_flags", "ansible_become_flags"];
    if let Some(line) = settings.text(&flags) {
        // These change nothing for an agent that asks nothing and needs no home.
        let harmless = |word: &str| {
            word.strip_prefix('-')
                .is_some_and(|letters| !letters.is_empty() && letters.chars().all(|c| "HSn".contains(c)))
        };
        if let Some(other) = line.split_whitespace().find(|word| !harmless(word)) {
            let key = strongest(settings, &flags);
            let reason = format!("`{key}` has `{other}`, and Upshift gives sudo no such option");
            settings.unusable(key, reason, SUDO_REMEDY);
        }
    }
    true
}

const SUDO_REMEDY: &str = "set `upshift_sudo` to say whether the agent shall run under sudo";

/// The first of several names that is set.
fn strongest(settings: &Settings<'_>, keys: &[&'static str]) -> &'static str {
    let set = keys.iter().find(|key| settings.is_set(key));
    set.or(keys.first()).copied().unwrap_or_default()
}
