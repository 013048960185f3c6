//! Where a cluster's files lie, and what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Member, Product};
use crate::package::{self, Package};
use crate::{ports, server};

/// Where a member lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the host.
    pub name: String,
    /// Address that the member listens on.
    pub address: String,
    /// What a command is preceded by to run there.
    pub enter: Vec<String>,
    /// The host's entry in the fleet file beside its variables: transport, sudo.
    pub fleet_entry: Map<String, Value>,
}

impl Place {
    /// So many members on this machine's loopback address.
    pub fn local(count: usize) -> Vec<Place> {
        (1..=count)
            .map(|number| Place {
                name: format!("n{number}"),
                address: "127.0.0.1".to_owned(),
                enter: Vec::new(),
                fleet_entry: [("transport".to_owned(), json!("local"))].into_iter().collect(),
            })
            .collect()
    }
}

/// Names directories and ports.
pub(super) fn members(product: Product, directory: &Path, places: Vec<Place>) -> io::Result<Vec<Member>> {
    let free = ports::free(places.len() * 3)?;
    Ok(places
        .into_iter()
        .zip(free.chunks(3))
        .map(|(place, free)| {
            let home = directory.join(&place.name);
            let state_directory = home.join("upshift");
            let (program, option, config) = match product {
                Product::Etcd => ("etcd", "--config-file", "etcd.conf.yml"),
                Product::Lab => ("labd", "--config", "lab.conf"),
                Product::Nats => ("nats-server", "--config", "nats.conf"),
            };
            let config_file = home.join(config);
            let argv = vec![
                state_directory
                    .join("store/current")
                    .join(program)
                    .display()
                    .to_string(),
                option.to_owned(),
                config_file.display().to_string(),
            ];
            Member {
                name: place.name,
                address: place.address,
                client_port: free[0],
                message_port: free[if product == Product::Nats { 2 } else { 0 }],
                peer_port: if product == Product::Lab { free[0] } else { free[1] },
                data_directory: home.join("data"),
                log_file: home.join("server.log"),
                state_directory,
                config_file,
                argv,
                enter: place.enter,
                fleet_entry: place.fleet_entry,
            }
        })
        .collect())
}

/// Puts a release into the store of a host that has none yet, as the current one.
///
/// # Errors
/// Where files cannot be written.
pub fn put_into_store(state_directory: &Path, package: &Package) -> io::Result<()> {
    let store = state_directory.join("store");
    let release = store.join("releases").join(&package.version);
    let staging = store.join("unpacked");
    package::unpack(&package.path, &staging)?;
    fs::create_dir_all(store.join("releases"))?;
    let inner = fs::read_dir(&staging)?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the package is empty"))??;
    fs::rename(inner.path(), &release)?;
    fs::remove_dir_all(&staging)?;
    symlink(
        Path::new("releases").join(&package.version),
        store.join("current"),
    )?;
    let manifest = json!({
        "sha256": package.sha256, "strip": 1, "bytes": package.size, "entries": 2, "used": true,
    });
    fs::create_dir_all(store.join("manifests"))?;
    fs::write(
        store.join("manifests").join(format!("{}.json", package.version)),
        manifest.to_string(),
    )
}

/// Writes a member's configuration, and puts the first release into its store.
pub(super) fn install(
    product: Product,
    members: &[Member],
    position: usize,
    package: &Package,
) -> io::Result<()> {
    let member = &members[position];
    put_into_store(&member.state_directory, package)?;
    fs::write(&member.config_file, configuration(product, members, member))
}

fn configuration(product: Product, members: &[Member], member: &Member) -> String {
    match product {
        Product::Etcd => etcd_configuration(members, member),
        Product::Nats => nats_configuration(members, member),
        Product::Lab => {
            let addresses: BTreeMap<String, String> = members
                .iter()
                .map(|member| (member.name.clone(), member.endpoint()))
                .collect();
            let config = server::Config {
                name: member.name.clone(),
                data: member.data_directory.clone(),
                members: addresses,
                rise_after_ms: 1500,
                keys: Vec::new(),
            };
            config.to_text()
        }
    }
}

fn etcd_configuration(members: &[Member], member: &Member) -> String {
    let peer = |member: &Member| format!("http://{}:{}", member.address, member.peer_port);
    let cluster: Vec<String> = members
        .iter()
        .map(|member| format!("{}={}", member.name, peer(member)))
        .collect();
    let client = format!("http://{}", member.endpoint());
    format!(
        "# Member {name} of the lab cluster\n\
         name: {name}\n\
         data-dir: {data}\n\
         listen-client-urls: {client}\n\
         advertise-client-urls: {client}\n\
         listen-peer-urls: {own}\n\
         initial-advertise-peer-urls: {own}\n\
         initial-cluster: {cluster}\n\
         initial-cluster-token: upshift-lab\n\
         initial-cluster-state: new\n\
         # 3.4 has its JSON gateway off where there is a configuration file.\n\
         enable-grpc-gateway: true\n",
        name = member.name,
        data = member.data_directory.display(),
        own = peer(member),
        cluster = cluster.join(","),
    )
}

fn nats_configuration(members: &[Member], member: &Member) -> String {
    let routes: Vec<String> = members
        .iter()
        .map(|member| format!("\"nats://{}:{}\"", member.address, member.peer_port))
        .collect();
    format!(
        "# Server {name} of the lab cluster\n\
         server_name: {name}\n\
         listen: \"{messages}\"\n\
         http: \"{monitor}\"\n\
         jetstream {{ store_dir: {data}, max_mem: 64M, max_file: 1G }}\n\
         cluster {{ name: lab, listen: \"{address}:{port}\", routes: [ {routes} ] }}\n",
        name = member.name,
        messages = member.data_endpoint(),
        monitor = member.endpoint(),
        data = json!(member.data_directory),
        address = member.address,
        port = member.peer_port,
        routes = routes.join(", "),
    )
}

/// The fleet file. JSON values are YAML, too.
pub(super) fn fleet(product: Product, name: &str, members: &[Member]) -> String {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut text = format!(
        "name: {name}\nproducts:\n  {}:\n    hosts: [{}]\nhosts:\n",
        product.name(),
        names.join(", ")
    );
    for member in members {
        text.push_str(&format!("  {}:\n", member.name));
        for (key, value) in &member.fleet_entry {
            text.push_str(&format!("    {key}: {value}\n"));
        }
        text.push_str(&format!(
            "    state_directory: {}\n",
            json!(member.state_directory)
        ));
        let variables = match product {
            Product::Etcd => json!({
                "etcd_config_file": member.config_file,
                "etcd_client_url": format!("http://{}", member.endpoint()),
            }),
            Product::Nats => json!({
                "nats_config_file": member.config_file,
                "nats_monitor_url": format!("http://{}", member.endpoint()),
            }),
            Product::Lab => json!({
                "lab_config_file": member.config_file,
                "lab_url": format!("http://{}", member.endpoint()),
            }),
        };
        text.push_str(&format!("    vars: {variables}\n"));
    }
    text
}
