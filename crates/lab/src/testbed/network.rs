//! Network namespaces, a bridge, and the links between them.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{LIMIT, TestHost};
use crate::processes::{self, RunError};

/// A bridge with its namespaces.
pub(super) struct Network {
    tag: String,
    bridge: String,
}

fn ip(arguments: &[&str]) -> Result<String, RunError> {
    let output = processes::run(Command::new("ip").args(arguments), LIMIT)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Network {
    /// Makes a bridge and a host for each name. Half of one is taken down again.
    pub fn new(names: &[String]) -> Result<(Self, Vec<TestHost>), RunError> {
        let mut last = None;
        // Another bed may have taken the names or the addresses.
        for attempt in 0..8 {
            let number = std::process::id().wrapping_add(attempt * 7919);
            let network = Network {
                tag: format!("up{:x}", number & 0xff_ffff),
                bridge: format!("up{:x}b", number & 0xff_ffff),
            };
            let hosts = network.hosts(names, number);
            match network.set_up(&hosts, number) {
                Ok(()) => return Ok((network, hosts)),
                Err(error) => {
                    network.take_down(&hosts);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| RunError::Missing("ip".to_owned())))
    }

    /// A word that no other bed has.
    pub fn tag(&self) -> String {
        self.tag.clone()
    }

    fn subnet(number: u32) -> String {
        format!("10.{}.{}", 100 + number / 250 % 100, 1 + number % 250)
    }

    fn hosts(&self, names: &[String], number: u32) -> Vec<TestHost> {
        names
            .iter()
            .enumerate()
            .map(|(position, name)| TestHost {
                name: name.clone(),
                address: format!("{}.{}", Network::subnet(number), position + 1),
                namespace: format!("{}-{name}", self.tag),
                link: format!("{}v{position}", self.tag),
            })
            .collect()
    }

    fn set_up(&self, hosts: &[TestHost], number: u32) -> Result<(), RunError> {
        let bridge = &self.bridge;
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&[
            "addr",
            "add",
            &format!("{}.254/24", Network::subnet(number)),
            "dev",
            bridge,
        ])?;
        ip(&["link", "set", bridge, "up"])?;
        for host in hosts {
            let (namespace, link) = (&host.namespace, &host.link);
            ip(&["netns", "add", namespace])?;
            ip(&[
                "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace,
            ])?;
            ip(&["link", "set", link, "master", bridge, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&[
                "-n",
                namespace,
                "addr",
                "add",
                &format!("{}/24", host.address),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// Ends every process in the namespaces, and removes them. What is not there is no error.
    pub fn take_down(&self, hosts: &[TestHost]) {
        let all = || {
            hosts
                .iter()
                .flat_map(|host| processes(&host.namespace))
                .collect::<Vec<_>>()
        };
        for pid in all() {
            processes::signal(pid, Signal::KILL);
        }
        processes::poll(Duration::from_secs(5), || {
            all().iter().all(|pid| !processes::runs(*pid))
        });
        for host in hosts {
            let _ = ip(&["netns", "del", &host.namespace]);
            let _ = ip(&["link", "del", &host.link]);
        }
        let _ = ip(&["link", "del", &self.bridge]);
    }
}

/// Processes in a namespace.
pub(super) fn processes(namespace: &str) -> Vec<u32> {
    ip(&["netns", "pids", namespace])
        .map(|text| text.lines().filter_map(|line| line.trim().parse().ok()).collect())
        .unwrap_or_default()
}

/// Takes a link up or down.
pub(super) fn set_link(link: &str, up: bool) -> Result<(), RunError> {
    ip(&["link", "set", link, if up { "up" } else { "down" }]).map(|_| ())
}
