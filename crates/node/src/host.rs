//! The host itself: its directories, and the facts about it.

use std::collections::BTreeMap;
use std::fs;

use upshift_model::facts::HostFacts;

use crate::error::Result;
use crate::layout::Layout;
use crate::process::systemd;
use crate::{filesystem, packages, snapshots, store};

/// Version of the agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A host, as one agent sees it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its directories.
    pub layout: Layout,
}

/// The facts about the host.
pub fn facts(host: &Host) -> Result<HostFacts> {
    let layout = &host.layout;
    let space = filesystem::space(layout.root())?;
    Ok(HostFacts {
        os: fs::read_to_string("/etc/os-release")
            .map(|text| operating_system(&text))
            .unwrap_or_default(),
        arch: architecture(std::env::consts::ARCH).to_owned(),
        state_directory: layout.root().to_string_lossy().into_owned(),
        disk_free: space.free,
        disk_total: space.total,
        memory_available: fs::read_to_string("/proc/meminfo")
            .map(|text| available_memory(&text))
            .unwrap_or(0),
        clock_offset_ms: 0,
        systemd: systemd::runs(),
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        releases: store::statuses(layout)?,
        cached: packages::list(layout)?,
        agent: VERSION.to_owned(),
        restic: snapshots::find_restic(layout)
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
    })
}

/// `debian12`, `ubuntu22.04`, `el8`: as packages name what they are for.
fn operating_system(os_release: &str) -> String {
    let fields: BTreeMap<&str, &str> = os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches(['"', '\''])))
        .collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    let (id, version) = (field("ID"), field("VERSION_ID"));
    let red_hat = ["rhel", "centos", "rocky", "almalinux", "ol"];
    if red_hat.contains(&id) || field("ID_LIKE").split(' ').any(|like| like == "rhel") {
        return format!("el{}", version.split('.').next().unwrap_or_default());
    }
    format!("{id}{version}")
}

fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn available_memory(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok());
    kibibytes.unwrap_or(0u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operating_systems_are_named_as_packages_name_them() {
        for (text, name) in [
            (
                "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n",
                "debian12",
            ),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n", "ubuntu22.04"),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"8.9\"\n",
                "el8",
            ),
            ("ID=\"centos\"\nVERSION_ID=\"7\"\n", "el7"),
        ] {
            assert_eq!(operating_system(text), name);
        }
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(
            available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"),
            2 << 20
        );
        assert_eq!(available_memory(""), 0);
    }

    #[test]
    fn facts_of_this_host_are_plausible() {
        let state = tempfile::tempdir().unwrap();
        let facts = facts(&Host {
            layout: Layout::open(state.path()).unwrap(),
        })
        .unwrap();
        assert!(facts.disk_free > 0 && facts.disk_free <= facts.disk_total);
        assert!(facts.memory_available > 0 && !facts.os.is_empty() && !facts.arch.is_empty());
    }
}
