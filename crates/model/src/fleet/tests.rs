//! Our own fleet files, names with ranges, and what must hold for every text.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Fleet {
    Fleet::from_text("fleet.yaml", text, &InventoryFiles::none())
        .unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn errors(text: &str) -> String {
    shown(&Fleet::from_text("fleet.yaml", text, &InventoryFiles::none()).unwrap_err())
}

/// What an operator reads.
pub(super) fn shown(errors: &[FleetError]) -> String {
    errors
        .iter()
        .map(|error| error.to_string())
        .collect::<Vec<_>>()
        .join("\n\n")
}

const EXAMPLE: &str = r#"
name: production
defaults:
  transport:
    ssh: { user: admin, key_file: ~/.ssh/production, port: 22022 }
  vars: { data_directory: /var/lib/etcd, quota: 8 }
  labels: { site: berlin }
  state_directory: /srv/upshift
  sudo: true
products:
  etcd:
    hosts: ["node[1:3]"]
    vars: { quota: 16 }
  emqx:
    hosts: [node3]
groups:
  hall_b:
    hosts: [node3]
    vars: { proxy: proxy-b }
hosts:
  node1: { address: 10.0.0.1, labels: { rack: 7 } }
  node2:
    transport: { ssh: { port: 22, arguments: ["-J", "jump"] } }
    vars: { quota: 32 }
    sudo: false
  node3: { transport: local, roles: [server, client], state_directory: /tmp/u }
  spare[08:09]: { groups: [hall_b] }
  container: { transport: { command: [docker, exec, -i, c1, sh] } }
"#;

#[test]
fn defaults_groups_and_hosts_override_each_other_in_this_order() {
    let fleet = read(EXAMPLE);
    assert_eq!(fleet.name, "production");
    let names: Vec<_> = fleet.hosts.keys().collect();
    assert_eq!(
        names,
        ["container", "node1", "node2", "node3", "spare08", "spare09"]
    );
    let quota = |name: &str| fleet.hosts[name].variables["quota"].clone();
    assert_eq!(
        [quota("spare08"), quota("node1"), quota("node2")],
        [json!(8), json!(16), json!(32)]
    );
    let node1 = &fleet.hosts["node1"];
    assert_eq!(
        node1.labels,
        BTreeMap::from([("rack", "7"), ("site", "berlin")].map(|(k, v)| (k.into(), v.into())))
    );
    assert_eq!(node1.variables["address"], "10.0.0.1");
    assert_eq!((node1.sudo, fleet.hosts["node2"].sudo), (true, false));
    assert_eq!(node1.state_directory.as_deref(), Some("/srv/upshift"));
    assert_eq!(fleet.hosts["node3"].state_directory.as_deref(), Some("/tmp/u"));
    assert_eq!(fleet.hosts["node3"].variables["proxy"], "proxy-b");
    assert_eq!(
        fleet.hosts["node3"].roles,
        ["client".to_owned(), "server".to_owned()].into()
    );
}

#[test]
fn a_host_is_reached_by_its_own_options_then_the_defaults_then_the_users_ssh() {
    let fleet = read(EXAMPLE);
    let ssh = |host: &str, port, arguments: &[&str]| {
        Transport::Ssh(SshTransport {
            host: host.to_owned(),
            port: Some(port),
            user: Some("admin".to_owned()),
            key_file: Some("~/.ssh/production".to_owned()),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        })
    };
    assert_eq!(fleet.hosts["node1"].transport, ssh("10.0.0.1", 22022, &[]));
    assert_eq!(fleet.hosts["node2"].transport, ssh("node2", 22, &["-J", "jump"]));
    assert_eq!(fleet.hosts["node3"].transport, Transport::Local);
    let command = ["docker", "exec", "-i", "c1", "sh"].map(str::to_owned).to_vec();
    assert_eq!(fleet.hosts["container"].transport, Transport::Command(command));
    let plain = read("name: a\nhosts:\n  n1: {}\n");
    let expected = SshTransport {
        host: "n1".to_owned(),
        ..SshTransport::default()
    };
    assert_eq!(plain.hosts["n1"].transport, Transport::Ssh(expected));
}

#[test]
fn a_host_in_no_group_of_the_product_is_never_a_server() {
    let fleet = read(EXAMPLE);
    let servers = |group: &str| {
        fleet
            .servers(group)
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(servers("etcd"), ["node1", "node2", "node3"]);
    assert_eq!(servers("emqx"), ["node3"]);
    assert!(servers("kafka").is_empty());
    for nobody in ["", "all", "ungrouped", "*"] {
        assert!(servers(nobody).is_empty(), "{nobody}");
    }
    let client = read("name: a\nproducts:\n  etcd: { hosts: [n1] }\nhosts:\n  n1: { roles: [client] }\n");
    assert_eq!(client.servers("etcd").count(), 0);
}

#[test]
fn unknown_keys_are_reported_with_the_nearest_known_one_and_all_at_once() {
    insta::assert_snapshot!(errors(
        "name: production\nproduct:\n  etcd: {}\nhosts:\n  n1:\n    adress: 10.0.0.1\n    sudo: yes\n    roles: [sever]\n    \
         transport:\n      ssh: { user: a, prot: 22 }\n"
    ));
}

#[test]
fn what_does_not_fit_together_is_reported_with_its_place() {
    insta::assert_snapshot!(errors(
        r#"
name: my fleet
defaults: { state_directory: var/lib }
products:
  etcd: { hosts: [nod1, "node[3:1]", "node[1:2", n 1], vars: { quota: 1 } }
groups:
  etcd: { hosts: [node1] }
  other: { hosts: [node1], vars: { quota: 2 } }
hosts:
  node1: { address: 10.0.0.1, groups: [ectd, nothing], transport: { command: [] } }
  "node[1:2]": { address: -oProxyCommand=x, state_directory: /a/../b }
"#
    ));
}

#[test]
fn two_names_for_one_agent_are_refused() {
    insta::assert_snapshot!(errors(
        "name: lab\nproducts:\n  etcd: { hosts: [\"n[1:7]\"] }\nhosts:\n  n1: { address: 10.0.0.1 }\n  n2: { address: 10.0.0.1, state_directory: /srv/2 }\n  \
         n3: { address: 10.0.0.1 }\n  n4: { transport: local }\n  n5: { transport: local }\n  n6: { transport: local, state_directory: /srv/6 }\n  \
         n7: { address: 10.0.0.1, transport: { ssh: { port: 2222 } } }\n"
    ));
}

#[test]
fn a_key_that_is_there_twice_and_broken_yaml_are_reported() {
    insta::assert_snapshot!(
        [
            errors("name: a\nhosts:\n  n1: {}\n  n1: {}\n"),
            errors("name: a\nhosts:\n  n1: {address: 'x\n"),
            errors(""),
            errors("name: a\n"),
            errors("- a\n- b\n"),
        ]
        .join("\n\n")
    );
}

#[test]
fn secrets_are_masked_in_the_lines_that_are_shown() {
    let text = "name: a\nhosts:\n  n1: { vras: { db_password: hunter2 }, x: 1 }\n";
    let shown = errors(text);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("vras"), "{shown}");
}

#[test]
fn the_schema_of_a_fleet_file_names_every_key() {
    let schema = schema();
    let properties: Vec<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        properties,
        [
            "accept",
            "defaults",
            "groups",
            "hosts",
            "name",
            "package_keys",
            "products"
        ]
    );
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn ranges_stand_for_names() {
    let expand = |pattern| names::expand(pattern).unwrap();
    assert_eq!(expand("node1"), ["node1"]);
    assert_eq!(expand("node[1:3]"), ["node1", "node2", "node3"]);
    assert_eq!(
        expand("node[08:11].example"),
        [
            "node08.example",
            "node09.example",
            "node10.example",
            "node11.example"
        ]
    );
    assert_eq!(expand("db-[a:c]"), ["db-a", "db-b", "db-c"]);
    assert_eq!(expand("db-[y:B]"), ["db-y", "db-z", "db-A", "db-B"]);
    assert_eq!(expand("n[1:9:4]"), ["n1", "n5", "n9"]);
    assert_eq!(expand("n[a:e:2]"), ["na", "nc", "ne"]);
    assert_eq!(expand("n[:2]"), ["n0", "n1", "n2"]);
    assert_eq!(expand("r[1:2]-[a:b]"), ["r1-a", "r1-b", "r2-a", "r2-b"]);
}

#[test]
fn ranges_that_cannot_be_meant_are_refused() {
    let patterns = [
        "n[1:",
        "n[1]",
        "n[1:2:3:4]",
        "n[3:1]",
        "n[c:a]",
        "n[01:100]",
        "n[1:x]",
        "n[1:3:0]",
        "n[1:]",
        "n[0:999999999]",
        "n[1:999][1:999]",
        "",
        "a b",
        "n]",
        "n/1",
        "n[-1:2]",
    ];
    let errors = patterns.map(|pattern| {
        let error = names::expand(pattern).unwrap_err();
        format!("{}: {}", error.message, error.fix)
    });
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn only_files_that_ansible_reads_are_wanted() {
    let wanted = [
        "group_vars/web",
        "group_vars/web.yml",
        "host_vars/a.example.com",
        "group_vars/web/deep/x.yaml",
        "host_vars/n/x.json",
    ];
    let not = [
        "group_vars",
        "web.yml",
        "group_vars/.git",
        "group_vars/web.yml~",
        "group_vars/web/.x.yml",
        "group_vars/web/x.txt",
    ];
    assert!(wanted.iter().all(|path| InventoryFiles::wants(path)));
    assert!(not.iter().all(|path| !InventoryFiles::wants(path)), "{not:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn numeric_ranges_expand_to_the_stated_count(first in 0u32..200, count in 1usize..120, step in 1usize..7, padded: bool) {
        let last = first as usize + (count - 1) * step;
        let pattern = match padded {
            true => format!("n[{first:04}:{last:04}:{step}]"),
            false => format!("n[{first}:{last}:{step}]"),
        };
        let names = names::expand(&pattern).unwrap();
        prop_assert_eq!(names.len(), count);
        prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), count);
        let padding = if padded { 4 } else { 0 };
        prop_assert_eq!(&names[count - 1], &format!("n{last:0padding$}"));
    }

    #[test]
    fn no_pattern_makes_expanding_panic(pattern in "[a-cn0-9:\\[\\]é .-]{0,16}") {
        if let Ok(names) = names::expand(&pattern) {
            prop_assert!(!names.is_empty());
        }
    }

    #[test]
    fn no_text_makes_reading_panic(text in "(name: a\nhosts:\n)?(\\PC|\n|  ){0,60}", file in "(fleet.yaml|hosts|a/b.ini|x)") {
        let _ = Fleet::from_text(&file, &text, &InventoryFiles::none()).map_err(|errors| shown(&errors));
    }

    #[test]
    fn masking_keeps_every_line_where_it_was(text in "(\\PC|\n|password: |token=|\\$ANSIBLE_VAULT;){0,40}") {
        let masked = secrets::mask(&text);
        prop_assert_eq!(masked.len(), text.len());
        let ends = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
        prop_assert_eq!(ends(&masked), ends(&text));
    }
}
