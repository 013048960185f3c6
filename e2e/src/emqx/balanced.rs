//! A real HAProxy in front of nodes.

use std::path::Path;

use serde_json::json;
use upshift_lab::balancer::Balancer;
use upshift_lab::fetch::{self, Cache, Unavailable};

/// Starts HAProxy in a directory, in front of servers (their names and addresses), and adds it to the text of a fleet as `lb1`.
///
/// # Errors
/// Where HAProxy cannot be had.
pub fn behind(
    directory: &Path,
    servers: &[(String, String)],
    fleet: &str,
) -> Result<(Balancer, String), Unavailable> {
    let failed = |error: std::io::Error| Unavailable::new("HAProxy", error);
    let haproxy = fetch::haproxy(&Cache::open().map_err(failed)?, &|text| println!("    {text}"))?;
    let balancer = Balancer::start(&haproxy, &directory.join("haproxy"), servers).map_err(failed)?;
    let names: Vec<&str> = servers.iter().map(|(name, _)| name.as_str()).collect();
    let (without, with) = (
        format!("hosts: [{}]", names.join(", ")),
        format!("hosts: [{}, lb1]", names.join(", ")),
    );
    assert!(fleet.contains(&without), "{fleet}");
    let variables = json!({ "haproxy_socket": balancer.socket(), "haproxy_patience": "1s" });
    let state = json!(directory.join("lb1"));
    let host = format!(
        "  lb1:\n    transport: local\n    roles: [load_balancer]\n    state_directory: {state}\n    vars: {variables}\n"
    );
    // Some clients of these tests come and go all the time.
    let text = fleet.replace(&without, &with).replace(
        "\"edition\":\"ce\"",
        "\"edition\":\"ce\",\"emqx_clients_kept\":50",
    );
    Ok((balancer, format!("{text}{host}")))
}
