//! Ansible inventories.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fleet::tests::shown;
use crate::fleet::{Fleet, InventoryFiles, SshTransport, Transport};

fn read_with(file_name: &str, text: &str, files: &[(&str, &str)]) -> Fleet {
    let files: InventoryFiles = files.iter().copied().collect();
    Fleet::from_text(file_name, text, &files).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn ini(text: &str) -> Fleet {
    read_with("inventory.ini", text, &[])
}

fn yaml(text: &str) -> Fleet {
    read_with("inventory.yml", text, &[])
}

fn errors_with(file_name: &str, text: &str, files: &[(&str, &str)]) -> String {
    let files: InventoryFiles = files.iter().copied().collect();
    shown(&Fleet::from_text(file_name, text, &files).unwrap_err())
}

fn variable(fleet: &Fleet, host: &str, name: &str) -> Value {
    fleet.hosts[host]
        .variables
        .get(name)
        .cloned()
        .unwrap_or(Value::Null)
}

fn groups(fleet: &Fleet, host: &str) -> Vec<String> {
    fleet.hosts[host].groups.iter().cloned().collect()
}

const INI: &str = r#"
# The cluster.
bastion ansible_connection=local

[etcd]
node[01:03].example.com rack=a   # a comment
db-[a:b]:2222 ansible_user=admin ansible_ssh_common_args='-o ProxyJump="jump host"'

[etcd:vars]
data_directory = /var/lib/etcd # kept
quota=8
ansible_ssh_private_key_file=~/.ssh/etcd

[web]
[2001:db8::1]:2200 name="two words"
10.0.0.9 ansible_host=10.0.0.10 ansible_port=22 empty=

[berlin:children]
etcd
web

[all:vars]
ansible_become=yes
"#;

#[test]
fn ini_has_groups_children_ranges_and_variables() {
    let fleet = ini(INI);
    let names: Vec<_> = fleet.hosts.keys().collect();
    let nodes = ["node01.example.com", "node02.example.com", "node03.example.com"];
    assert_eq!(
        names,
        [
            "10.0.0.9",
            "2001:db8::1",
            "bastion",
            "db-a",
            "db-b",
            nodes[0],
            nodes[1],
            nodes[2]
        ]
    );
    assert_eq!(groups(&fleet, nodes[0]), ["berlin", "etcd"]);
    assert!(groups(&fleet, "bastion").is_empty());
    assert_eq!(variable(&fleet, nodes[1], "rack"), "a");
    assert_eq!(variable(&fleet, nodes[1], "quota"), 8);
    assert_eq!(
        variable(&fleet, nodes[1], "data_directory"),
        "/var/lib/etcd # kept"
    );
    assert_eq!(variable(&fleet, "2001:db8::1", "name"), "two words");
    assert_eq!(variable(&fleet, "10.0.0.9", "empty"), "");
    assert_eq!(variable(&fleet, "10.0.0.9", "address"), "10.0.0.10");
    assert!(fleet.hosts.values().all(|host| host.sudo));
}

#[test]
fn ini_says_how_hosts_are_reached() {
    let fleet = ini(INI);
    let key_file = Some("~/.ssh/etcd".to_owned());
    let expected = SshTransport {
        host: "db-a".to_owned(),
        port: Some(2222),
        user: Some("admin".to_owned()),
        key_file: key_file.clone(),
        arguments: vec!["-o".to_owned(), "ProxyJump=jump host".to_owned()],
    };
    assert_eq!(fleet.hosts["db-a"].transport, Transport::Ssh(expected));
    let plain = SshTransport {
        host: "node01.example.com".to_owned(),
        key_file,
        ..SshTransport::default()
    };
    assert_eq!(fleet.hosts["node01.example.com"].transport, Transport::Ssh(plain));
    let version_six = SshTransport {
        host: "2001:db8::1".to_owned(),
        port: Some(2200),
        ..SshTransport::default()
    };
    assert_eq!(fleet.hosts["2001:db8::1"].transport, Transport::Ssh(version_six));
    assert_eq!(fleet.hosts["bastion"].transport, Transport::Local);
}

#[test]
fn a_host_in_no_group_of_the_product_is_never_a_server() {
    let fleet = ini(INI);
    assert_eq!(fleet.servers("etcd").count(), 5);
    assert!(
        fleet
            .servers("etcd")
            .all(|(name, _)| name.starts_with("node") || name.starts_with("db-"))
    );
    for nobody in ["all", "ungrouped", "kafka"] {
        assert_eq!(fleet.servers(nobody).count(), 0, "{nobody}");
    }
}

#[test]
fn yaml_says_the_same_as_ini() {
    let fleet = yaml(
        r#"
all:
  vars: { ansible_become: "yes" }
  hosts:
    bastion: { ansible_connection: local }
  children:
    berlin:
      children:
        etcd:
          hosts:
            node[01:03].example.com: { rack: a }
            db-[a:b]:
              ansible_port: 2222
              ansible_user: admin
              ansible_ssh_common_args: -o ProxyJump="jump host"
          vars:
            data_directory: "/var/lib/etcd # kept"
            quota: 8
            ansible_ssh_private_key_file: ~/.ssh/etcd
        web:
          hosts:
            "2001:db8::1": { ansible_port: 2200, name: two words }
            10.0.0.9: { ansible_host: 10.0.0.10, ansible_port: 22, empty: "" }
"#,
    );
    assert_eq!(fleet, ini(INI));
}

#[test]
fn yaml_1_1_values_are_read_as_ansible_reads_them() {
    let text = "all:\n  hosts:\n    n1:\n      a: yes\n      b: Off\n      c: 0644\n      d: '0644'\n      e: 1.50\n      f: ~\n      \
                g: [on, {h: no}]\n      i: 10.0.0.1\n      j: !unsafe 'x'\n";
    let fleet = yaml(text);
    let value = |name| variable(&fleet, "n1", name);
    assert_eq!(
        [value("a"), value("b"), value("c")],
        [json!(true), json!(false), json!(420)]
    );
    assert_eq!(
        [value("d"), value("e"), value("f")],
        [json!("0644"), json!(1.5), json!(null)]
    );
    assert_eq!(
        [value("g"), value("i"), value("j")],
        [json!([true, { "h": false }]), json!("10.0.0.1"), json!("x")]
    );
}

#[test]
fn precedence_is_the_one_that_ansible_documents() {
    let text = "
[parent:children]
child
[child]
n1 host_inline=host_inline host_file=host_inline
[aaa]
n1
[zzz]
n1
[first]
n1
[all:vars]
all_inline=all
group_inline=all
child_wins=all
all_file=all_inline
[parent:vars]
group_inline=parent
child_wins=parent
by_name=parent
group_file=parent_inline
priority=parent
[child:vars]
child_wins=child
all_file=child_inline
host_inline=child
[first:vars]
by_name=first
[aaa:vars]
priority=aaa
ansible_group_priority=10
[zzz:vars]
by_name=zzz
priority=zzz
";
    let files = [
        ("group_vars/all.yml", "all_file: all_file\ngroup_file: all_file\n"),
        (
            "group_vars/parent.yml",
            "group_file: parent_file\ndeep: parent_file\n",
        ),
        ("group_vars/child/a.yml", "deep: child_a\nordered: a\n"),
        ("group_vars/child/b.yaml", "ordered: b\n"),
        ("group_vars/child/notes.txt", "ordered: never\n"),
        ("group_vars/stranger.yml", "ordered: never\n"),
        ("host_vars/n1", "host_file: host_file\n"),
    ];
    let fleet = read_with("inventory", text, &files);
    let value = |name| variable(&fleet, "n1", name);
    assert_eq!(value("all_inline"), "all");
    assert_eq!(value("group_inline"), "parent");
    assert_eq!(value("child_wins"), "child");
    // Groups of one depth go by name, unless one has a higher priority.
    assert_eq!(value("by_name"), "zzz");
    assert_eq!(value("priority"), "aaa");
    // Any file of group_vars overrides any group of the inventory itself.
    assert_eq!(value("all_file"), "all_file");
    assert_eq!(value("group_file"), "parent_file");
    assert_eq!(value("deep"), "child_a");
    assert_eq!(value("ordered"), "b");
    assert_eq!(value("host_inline"), "host_inline");
    assert_eq!(value("host_file"), "host_file");
}

#[test]
fn a_truth_value_that_an_expression_yields_stays_one() {
    let fleet = ini(concat!(
        "[g]\nn1\n[g:vars]\n",
        "yes={{ other | default(true) }}\nno={{ 1 == 2 }}\ntext=is {{ other | default(true) }}\nnumber={{ other | default('7') }}\n",
    ));
    assert_eq!(variable(&fleet, "n1", "yes"), true);
    assert_eq!(variable(&fleet, "n1", "no"), false);
    assert_eq!(variable(&fleet, "n1", "text"), "is True");
    assert_eq!(variable(&fleet, "n1", "number"), "7");
}

#[test]
fn a_name_that_cannot_be_computed_is_not_passed_over_for_another() {
    let fleet = ini("[g]\nn1\n[g:vars]\nansible_ssh_port=2201\nansible_port={{ octet }}\n");
    assert!(matches!(fleet.hosts["n1"].transport, Transport::Unusable(_)));
}

#[test]
fn a_deeper_group_overrides_whatever_its_name() {
    let fleet = ini("[z:children]\na\n[a]\nn1\n[z:vars]\nx=z\n[a:vars]\nx=a\n");
    assert_eq!(variable(&fleet, "n1", "x"), "a");
}

#[test]
fn variables_for_ungrouped_hosts_come_from_their_own_files() {
    let files = [
        ("group_vars/ungrouped.yml", "x: 1\n"),
        ("group_vars/all/main.yml", "---\n# nothing\n"),
    ];
    let fleet = read_with("hosts", "n1\n[web]\nn2\n", &files);
    assert_eq!(variable(&fleet, "n1", "x"), 1);
    assert_eq!(variable(&fleet, "n2", "x"), Value::Null);
    let directly_in_all = read_with("hosts", "all:\n  hosts:\n    n3:\n", &files);
    assert_eq!(variable(&directly_in_all, "n3", "x"), 1);
}

#[test]
fn expressions_are_computed_where_variables_are_all_they_need() {
    let text = "[web]\nn1.example.com ansible_host='{{ prefix }}.{{ number }}' number=7\n\
                [web:vars]\nprefix=10.0.{{ site }}\nsite=3\npassword={{ lookup('env', 'X') }}\nurl=http://{{ inventory_hostname_short }}\n";
    let fleet = ini(text);
    let host = &fleet.hosts["n1.example.com"];
    assert!(matches!(&host.transport, Transport::Ssh(ssh) if ssh.host == "10.0.3.7"));
    assert_eq!(variable(&fleet, "n1.example.com", "url"), "http://n1");
    assert_eq!(
        host.withheld["password"],
        "a Jinja expression that only Ansible can compute"
    );
    assert!(!host.variables.contains_key("password"));
}

const VAULT: &str = "$ANSIBLE_VAULT;1.1;AES256\n          62313365396662343061393464336163383764373764613633653634306231386433626436623361\n          6134333665353966363534333632666535333761666131620a663537646436643839616531643561\n";

#[test]
fn encrypted_values_are_withheld_and_never_shown() {
    let text = format!(
        "all:\n  hosts:\n    n1:\n      key: !vault |\n          {VAULT}      list: [a]\n      ansible_become_password: hunter2\n"
    );
    let files = [
        ("group_vars/all/vault.yml", VAULT),
        ("group_vars/all/main.yml", "plain: 1\n"),
    ];
    let fleet = read_with("prod/hosts.yml", &text, &files);
    let host = &fleet.hosts["n1"];
    let withheld: Vec<_> = host
        .withheld
        .iter()
        .map(|(key, reason)| format!("{key}: {reason}"))
        .collect();
    let expected = [
        "ansible_become_password: a password",
        "group_vars/all/vault.yml: encrypted with ansible-vault",
        "key: encrypted with ansible-vault",
    ];
    assert_eq!(withheld, expected);
    let everything = serde_json::to_string(&fleet).unwrap();
    assert!(
        !everything.contains("6231336539") && !everything.contains("hunter2"),
        "{everything}"
    );
    assert_eq!(variable(&fleet, "n1", "plain"), 1);

    let needed = text.replace("key: !vault", "ansible_host: !vault");
    let fleet = read_with("hosts.yml", &needed, &[]);
    assert_eq!(
        unusable(&fleet, "n1"),
        "`ansible_host` is encrypted with ansible-vault, and Upshift needs it (hosts.yml:4)"
    );
    let broken = errors_with(
        "hosts.yml",
        &(needed + "      upshift_roles: x\n      ansible_port: !vault x y\n"),
        &[],
    );
    assert!(
        !broken.contains("6231336539") && !broken.contains("AES256") && !broken.contains("hunter2"),
        "{broken}"
    );
}

fn unusable(fleet: &Fleet, host: &str) -> String {
    match &fleet.hosts[host].transport {
        Transport::Unusable(unusable) => unusable.reason.clone(),
        other => panic!("{host} is reached by {other:?}"),
    }
}

#[test]
fn a_host_that_upshift_cannot_reach_spoils_no_other() {
    let text = "[etcd]\nn1\n[switches]\ns1 ansible_connection=network_cli\n\
                [databases]\nd1 ansible_become=yes ansible_become_user=postgres\nd2 ansible_host=\"{{ lookup('dig', 'd2') }}\"\n";
    let fleet = ini(text);
    assert_eq!(fleet.servers("etcd").count(), 1);
    let reasons = ["s1", "d1", "d2"].map(|host| unusable(&fleet, host)).join("\n");
    insta::assert_snapshot!(reasons);
}

#[test]
fn upshifts_own_variables_say_what_ansible_has_no_words_for() {
    let text = "[etcd]\nn1 upshift_roles=server,client upshift_labels=\"{'rack': 'a', 'row': 3}\" upshift_state_directory=/srv/u\n\
                n2 upshift_command='ip netns exec n2 sh' upshift_sudo=no\n[etcd:vars]\nansible_become=true\n[all:vars]\nupshift_fleet=berlin\n";
    let fleet = ini(text);
    assert_eq!(fleet.name, "berlin");
    let (n1, n2) = (&fleet.hosts["n1"], &fleet.hosts["n2"]);
    assert_eq!(n1.roles.iter().collect::<Vec<_>>(), ["client", "server"]);
    assert_eq!(
        (n1.labels["rack"].as_str(), n1.labels["row"].as_str()),
        ("a", "3")
    );
    assert_eq!(n1.state_directory.as_deref(), Some("/srv/u"));
    assert_eq!((n1.sudo, n2.sudo), (true, false));
    assert_eq!(
        n2.transport,
        Transport::Command(["ip", "netns", "exec", "n2", "sh"].map(str::to_owned).to_vec())
    );
    assert!(n1.variables.keys().all(|key| !key.starts_with("upshift_")));
}

#[test]
fn a_fleet_is_named_after_its_file_or_directory() {
    for (file, name) in [
        ("production.ini", "production"),
        ("envs/staging/hosts", "staging"),
        ("envs/staging/inventory.yml", "staging"),
        ("./hosts", "hosts"),
        ("hosts.berlin.ini", "hosts"),
    ] {
        let text = if file.ends_with("yml") {
            "all:\n  hosts:\n    n1:\n"
        } else {
            "n1\n"
        };
        let expected = if file == "hosts.berlin.ini" { "hosts" } else { name };
        assert_eq!(read_with(file, text, &[]).name, expected, "{file}");
    }
}

#[test]
fn the_format_is_told_from_name_and_contents() {
    for text in [
        "---\nall:\n  hosts:\n    n1:\n",
        "web:\n  hosts:\n    n1:\n",
        "# x\nungrouped:\n  hosts: n1\n",
    ] {
        assert!(read_with("hosts", text, &[]).hosts.contains_key("n1"), "{text}");
        assert!(
            read_with("inventory.yaml", text, &[]).hosts.contains_key("n1"),
            "{text}"
        );
    }
    for text in ["n1\n", "n1:22\n", "[web]\nn1 a=b\n", "; x\nn1 a=\"b: c\"\n"] {
        assert!(read_with("hosts", text, &[]).hosts.contains_key("n1"), "{text}");
    }
    assert_eq!(
        read_with("hosts", "name: own\nhosts:\n  n1: {}\n", &[]).name,
        "own"
    );
}

#[test]
fn ini_errors_say_where_and_what_to_write() {
    insta::assert_snapshot!(errors_with(
        "inventory.ini",
        "[web\n[web:var]\nx=1\n[web:children]\nwbe two\n[nothing:vars]\ny=1\n[web]\nn1 rack\nn[3:1]\nn2 a='b\n[web:vars]\nno assignment\n=1\n[ ]\n",
        &[]
    ));
}

#[test]
fn yaml_errors_say_where_and_what_to_write() {
    insta::assert_snapshot!(errors_with(
        "inventory.yml",
        "all:\n  host:\n    n1:\n  hosts:\n    - n2\n  children:\n    web:\n      hosts:\n        n3: 10.0.0.3\n        n[3:1]:\n      vars: [a]\n    db: 7\n    app:\n      children: [x]\n      vars:\n        <<: {a: 1}\n",
        &[]
    ));
}

#[test]
fn errors_in_variables_point_into_their_file() {
    let files = [
        (
            "group_vars/web.yml",
            "ansible_port: 70000\nansible_become: true\n",
        ),
        ("host_vars/n1.yml", "upshift_role: server\n"),
        ("host_vars/n2.yml", "- a\n"),
        (
            "host_vars/n3.yml",
            "upshift_roles: [sever]\nupshift_labels: a\nupshift_state_directory: x\nansible_host: -oX\nansible_become: perhaps\n",
        ),
        (
            "host_vars/n4.yml",
            "ansible_ssh_common_args: \"'a\"\nansible_user: [a]\nupshift_command: ''\n",
        ),
        (
            "host_vars/n5.yml",
            "ansible_connection: locla\nansible_password: hunter2\n",
        ),
    ];
    let errors = errors_with("prod/hosts", "[web]\nn[1:5]\n", &files);
    assert!(!errors.contains("hunter2"));
    insta::assert_snapshot!(errors);
}

#[test]
fn groups_that_are_their_own_members_are_refused() {
    insta::assert_snapshot!(errors_with(
        "i.ini",
        "[a:children]\nb\n[b:children]\nc\n[c:children]\nb\n[c]\nn1\n",
        &[]
    ));
}

#[test]
fn inventories_that_must_be_computed_are_refused_with_the_way_out() {
    insta::assert_snapshot!(
        [
            errors_with("aws.yml", "plugin: aws_ec2\nregions: [eu]\n", &[]),
            errors_with("inventory.py", "#!/usr/bin/env python3\nprint(1)\n", &[]),
        ]
        .join("\n\n")
    );
}

#[test]
fn one_machine_under_two_names_counts_within_the_products_group_only() {
    let fleet = ini(
        "[etcd]\na ansible_host=10.0.0.1\nb ansible_host=admin@10.0.0.1 x=1\n[monitoring]\nc ansible_host=10.0.0.2\nd ansible_host=10.0.0.2\n\
         [site:children]\netcd\nmonitoring\n[kafka]\na\nc\n",
    );
    let same = fleet.same_host_twice("etcd").remove(0);
    assert_eq!((same.first.as_str(), same.second.as_str()), ("a", "b"));
    assert_eq!(same.how, "address 10.0.0.1, state directory /var/lib/upshift");
    assert_eq!(fleet.same_host_twice("monitoring").len(), 1);
    assert!(fleet.same_host_twice("kafka").is_empty());
}

#[test]
fn what_is_not_resolved_is_not_undefined() {
    let address = |variables: &str, files: &[(&str, &str)]| {
        let text = format!(
            "[web]\nn1 ansible_host=\"{{{{ vpn_ip | default(inventory_hostname) }}}}\"\n[web:vars]\n{variables}"
        );
        match &read_with("hosts", &text, files).hosts["n1"].transport {
            Transport::Ssh(ssh) => ssh.host.clone(),
            Transport::Unusable(unusable) => unusable.reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    let open =
        "`ansible_host` is a Jinja expression that only Ansible can compute, and Upshift needs it (hosts:2)";
    assert_eq!(address("", &[]), "n1");
    assert_eq!(address("vpn_ip=10.0.0.7\n", &[]), "10.0.0.7");
    assert_eq!(
        address("vpn_ip={{ vpn_net }}.{{ octet }}\nvpn_net=10.0.0\noctet=7\n", &[]),
        "10.0.0.7"
    );
    // A part of it is missing, or nobody can say what it is.
    assert_eq!(address("vpn_ip={{ vpn_net }}.7\n", &[]), open);
    assert_eq!(address("vpn_ip={{ lookup('env', 'X') }}\n", &[]), open);
    assert_eq!(address("vpn_ip={{ flag }}.1\nflag=True\n", &[]), open);
    // It is encrypted, alone or with its name.
    let sealed = [("group_vars/web/vault.yml", VAULT)];
    assert_eq!(address("", &sealed), open);
    let one = format!("vpn_ip: !vault |\n          {VAULT}");
    assert_eq!(address("", &[("group_vars/web.yml", &one)]), open);
}

#[test]
fn names_that_ansible_provides_are_never_undefined() {
    for name in ["ansible_default_ipv4", "hostvars", "groups", "inventory_dir"] {
        let fleet = ini(&format!(
            "n1 ansible_host=\"{{{{ {name} | default('10.0.0.1') }}}}\"\n"
        ));
        assert!(
            matches!(fleet.hosts["n1"].transport, Transport::Unusable(_)),
            "{name}"
        );
    }
}

#[test]
fn an_expression_alone_keeps_its_type() {
    let fleet = yaml(
        "all:\n  vars: {a: true, b: \"{{ a }}\", c: \"{{ d.e }}\", d: {e: [1, x]}, f: \"{{ d.e | join('-') }}\", g: \"{{ a }}-\"}\n  hosts:\n    n1:\n",
    );
    let value = |name| variable(&fleet, "n1", name);
    assert_eq!(
        (value("b"), value("c"), value("f")),
        (json!(true), json!([1, "x"]), json!("1-x"))
    );
    assert!(fleet.hosts["n1"].withheld.contains_key("g"));
}

fn ssh(fleet: &Fleet, host: &str) -> SshTransport {
    match &fleet.hosts[host].transport {
        Transport::Ssh(ssh) => ssh.clone(),
        other => panic!("{host} is reached by {other:?}"),
    }
}

#[test]
fn the_older_names_win_where_ansible_lets_them() {
    let fleet = ini(
        "n1 ansible_host=10.0.0.1 ansible_ssh_host=10.0.0.2 ansible_port=1 ansible_ssh_port=2 ansible_user=a ansible_ssh_user=b \
         ansible_private_key_file=/1 ansible_ssh_private_key_file=/2\n",
    );
    let expected = SshTransport {
        host: "10.0.0.2".to_owned(),
        port: Some(2),
        user: Some("b".to_owned()),
        key_file: Some("/2".to_owned()),
        arguments: Vec::new(),
    };
    assert_eq!(ssh(&fleet, "n1"), expected);
    assert_eq!(variable(&fleet, "n1", "address"), "10.0.0.2");
}

#[test]
fn users_and_ports_in_names_and_addresses_are_ssh_s() {
    let fleet = ini(
        "admin@n1\nn2 ansible_host=core@10.0.0.2\nn3 ansible_host=core@10.0.0.3 ansible_user=root\n\
         n4:2201\nn4:2202\nn5:2201 ansible_port=2203\n",
    );
    let reached = |host: &str| {
        let ssh = ssh(&fleet, host);
        (ssh.user.unwrap_or_default(), ssh.host, ssh.port.unwrap_or(0))
    };
    let expected = |user: &str, host: &str, port| (user.to_owned(), host.to_owned(), port);
    assert_eq!(reached("admin@n1"), expected("admin", "n1", 0));
    assert_eq!(variable(&fleet, "admin@n1", "address"), "n1");
    assert_eq!(reached("n2"), expected("core", "10.0.0.2", 0));
    assert_eq!(reached("n3"), expected("root", "10.0.0.3", 0));
    // The first mention of a host decides, and a variable before it.
    assert_eq!(reached("n4"), expected("", "n4", 2201));
    assert_eq!(reached("n5"), expected("", "n5", 2203));
    let fleet = yaml("web:\n  hosts:\n    n[1:2]:2222:\n");
    assert_eq!(ssh(&fleet, "n2").port, Some(2222));
}

#[test]
fn what_changes_the_login_is_followed_or_refused_by_name() {
    let fleet = ini(
        "[all:vars]\nansible_become=yes\n[web]\nn1 ansible_ssh_args='-C -o ControlMaster=no' ansible_ssh_common_args='-J jump' \
         ansible_become_exe=/usr/bin/sudo ansible_become_flags='-H -Sn' ansible_ssh_executable=ssh\n\
         n2 ansible_ssh_args='-o port=77' ansible_port=78\nn3 ansible_ssh_args='-l a' ansible_user=b\n\
         n4 ansible_ssh_executable=/opt/wrapper\nn5 ansible_become_exe=doas\nn6 ansible_sudo_flags=-E\n\
         n7 ansible_ssh_private_key=KEYSECRET\nn8 ansible_ssh_pkcs11_provider=/lib/x.so\nn9 ansible_sudo_user=postgres\n",
    );
    assert_eq!(
        ssh(&fleet, "n1").arguments,
        ["-C", "-o", "ControlMaster=no", "-J", "jump"]
    );
    let reasons = ["n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"].map(|host| unusable(&fleet, host));
    insta::assert_snapshot!(reasons.join("\n"));
    assert!(!serde_json::to_string(&fleet).unwrap().contains("KEYSECRET"));
}

#[test]
fn merge_keys_are_followed_everywhere() {
    let fleet = yaml(
        "base: &base\n  vars: &vars {a: 1, b: 1}\nall:\n  vars:\n    <<: [{x: 1, y: 1}, {y: 2, z: 2}]\n    z: 3\nweb:\n  <<: *base\n  hosts:\n    n1: &n1 {r: 1, s: {<<: *vars, b: 2}}\n    n2: {<<: *n1, r: 2}\n",
    );
    let value = |host, name| variable(&fleet, host, name);
    assert_eq!((value("n1", "a"), value("n2", "r")), (json!(1), json!(2)));
    assert_eq!(value("n2", "s"), json!({"a": 1, "b": 2}));
    assert_eq!(
        (value("n1", "x"), value("n1", "y"), value("n1", "z")),
        (json!(1), json!(2), json!(3))
    );
}

#[test]
fn what_ansible_inventory_lists_is_an_inventory() {
    let text = r#"{"_meta": {"hostvars": {"n1": {"ansible_host": "10.0.0.1", "k": {"__ansible_vault": "$ANSIBLE_VAULT;1.1"}}, "n2": {}}},
        "all": {"children": ["ungrouped", "etcd"]}, "etcd": {"hosts": ["n1"], "children": ["more"]}, "more": {"hosts": ["n2"]}}"#;
    let fleet = read_with("inventory.json", text, &[]);
    assert_eq!(ssh(&fleet, "n1").host, "10.0.0.1");
    assert_eq!(fleet.hosts["n1"].withheld["k"], "encrypted with ansible-vault");
    assert_eq!(groups(&fleet, "n2"), ["etcd", "more"]);
    assert_eq!(fleet.servers("etcd").count(), 2);
}

#[test]
fn a_directory_is_one_inventory() {
    let texts = [
        ("02.yml", "etcd:\n  vars: {a: 2, b: 2}\n"),
        ("01.ini", "[etcd]\nn1 x=1\n[etcd:vars]\na=1\n"),
        ("more/hosts", "[site:children]\netcd\n[etcd]\nn2\n"),
        ("empty", "\n"),
    ];
    let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let files: InventoryFiles = [("group_vars/etcd.yml", "b: 3\n")].into_iter().collect();
    let fleet = Fleet::from_directory("envs/prod/", &texts, &files).unwrap();
    assert_eq!(fleet.name, "prod");
    assert_eq!(groups(&fleet, "n1"), ["etcd", "site"]);
    assert_eq!(
        (variable(&fleet, "n2", "a"), variable(&fleet, "n2", "b")),
        (json!(2), json!(3))
    );
    let broken = [("a.ini".to_owned(), "[x]\nn1 y\n".to_owned())];
    let errors = Fleet::from_directory("envs/prod", &broken, &files).unwrap_err();
    assert!(shown(&errors).contains("envs/prod/a.ini:2"), "{}", shown(&errors));
    for ignored in [
        ".git",
        "group_vars",
        "README.md",
        "ansible.cfg",
        "hosts.bak",
        "hosts~",
    ] {
        assert!(!InventoryFiles::is_part(ignored), "{ignored}");
    }
}

#[test]
fn an_inventory_without_hosts_is_refused_and_empty_files_beside_it_are_not() {
    insta::assert_snapshot!(
        [
            errors_with("hosts", "", &[]),
            errors_with("hosts.ini", "[web]\n# none\n", &[])
        ]
        .join("\n\n")
    );
    let files = [
        ("group_vars/all.yml", ""),
        ("host_vars/n1.yml", "--- # nothing\n"),
        ("group_vars/web.yml", "~\n"),
    ];
    assert_eq!(read_with("hosts", "[web]\nn1\n", &files).hosts.len(), 1);
}

#[test]
fn of_a_directory_and_a_file_of_variables_ansible_reads_the_directory() {
    let files = [
        ("group_vars/web.yml", "a: 1\nb: 1\n"),
        ("group_vars/web/main.yml", "a: 2\n"),
    ];
    let fleet = read_with("hosts", "[web]\nn1\n", &files);
    assert_eq!(
        (variable(&fleet, "n1", "a"), variable(&fleet, "n1", "b")),
        (json!(2), Value::Null)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_text_makes_reading_panic(
        text in "((\\[a(:children|:vars)?\\]|a|b=1|n\\[1:3\\]|x='y|é|[ #:=\\[\\]{}-])?( |\n)?){0,12}",
        vars in "(\\PC|\n|  |a: |\\{\\{){0,30}",
    ) {
        let files: InventoryFiles = [("group_vars/all.yml", vars.as_str())].into_iter().collect();
        for name in ["i.ini", "i.yml"] {
            let _ = Fleet::from_text(name, &text, &files).map_err(|errors| shown(&errors));
        }
    }

    #[test]
    fn ranges_in_an_inventory_expand_to_the_stated_count(first in 1usize..50, count in 1usize..50) {
        let last = first + count - 1;
        let fleet = ini(&format!("[web]\nnode[{first:02}:{last:02}]\n"));
        prop_assert_eq!(fleet.servers("web").count(), count);
    }
}
