//! Inventories: some written after the patterns of public ones, the others made by the test.

/// An inventory: its name, and its files. The first is the one that is given to both, or `""` for the whole directory.
type Written = (&'static str, &'static [(&'static str, &'static str)]);

/// Patterns as they are found in public repositories: kubespray's, those of vendors' collections, those of examples.
pub const PUBLIC: &[Written] = &[
    (
        "kubespray",
        &[
            (
                "inventory.ini",
                "# ## Configure 'ip' variable to bind kubernetes services on a\n# ## different ip than the default iface\n\
                 [kube_control_plane]\nnode1 ansible_host=95.54.0.12 ip=10.3.0.1 etcd_member_name=etcd1\n\
                 node2 ansible_host=95.54.0.13 ip=10.3.0.2 etcd_member_name=etcd2\n\
                 node3 ansible_host=95.54.0.14 ip=10.3.0.3 etcd_member_name=etcd3\n\n[etcd:children]\nkube_control_plane\n\n\
                 [kube_node]\nnode4 ansible_host=95.54.0.15 ip=10.3.0.4\n# node5 ansible_host=95.54.0.16  # ip=10.3.0.5\n\n\
                 [k8s_cluster:children]\nkube_control_plane\nkube_node\n\n[k8s_cluster:vars]\nansible_user=ubuntu\nansible_become=yes\n",
            ),
            (
                "group_vars/all/all.yml",
                "---\n## Directory where the binaries will be installed\nbin_dir: /usr/local/bin\nno_proxy_exclude_workers: false\n\
                 loadbalancer_apiserver_port: 6443\nntp_servers:\n  - \"0.pool.ntp.org iburst\"\n  - \"1.pool.ntp.org iburst\"\n",
            ),
            (
                "group_vars/all/etcd.yml",
                "---\netcd_data_dir: /var/lib/etcd\ncontainer_manager: containerd\netcd_deployment_type: host\n",
            ),
            (
                "group_vars/k8s_cluster/k8s-cluster.yml",
                "---\nkube_config_dir: /etc/kubernetes\nkube_script_dir: \"{{ bin_dir }}/kubernetes-scripts\"\n\
                 kube_cert_dir: \"{{ kube_config_dir }}/ssl\"\nkube_users_dir: \"{{ kube_config_dir }}/users\"\n\
                 kube_api_anonymous_auth: true\ncluster_name: cluster.local\n\
                 kube_oidc_url: \"https://oidc.{{ cluster_name | default('x') }}\"\n",
            ),
        ],
    ),
    (
        "bastion",
        &[(
            "hosts.ini",
            "[bastion]\nbastion ansible_host=203.0.113.5 ansible_user=jump\n\n[db]\ndb[01:03].internal\n\n[db:vars]\n\
             ansible_user=admin\nansible_ssh_common_args='-o ProxyJump=jump@203.0.113.5 -o ServerAliveInterval=30'\n\
             ansible_ssh_private_key_file=~/.ssh/id_ed25519\n",
        )],
    ),
    (
        "older-names",
        &[(
            "hosts",
            "[cassandra]\nc1 ansible_ssh_host=192.0.2.11 ansible_ssh_port=2201 ansible_ssh_user=vagrant\n\
             c2 ansible_ssh_host=192.0.2.12 ansible_ssh_port=2202 ansible_ssh_user=vagrant ansible_host=198.51.100.1 ansible_user=root\n\
             vagrant@192.0.2.13\nc4 ansible_host=core@192.0.2.14\n",
        )],
    ),
    (
        "yaml-anchors",
        &[(
            "hosts.yml",
            "x-common:\n  vars: &common\n    ansible_user: ops\n    ansible_port: 2222\n    site: &site berlin\n\
             all:\n  vars:\n    domain: example.net\n  children:\n    kafka:\n      vars:\n        <<: *common\n        heap: 4g\n\
             \n      hosts:\n        k1: {ansible_host: \"k1.{{ domain }}\"}\n        k2: &k2\n          ansible_host: 10.0.0.2\n          rack: 2\n\
             \n        k3:\n          <<: *k2\n          ansible_host: 10.0.0.3\n    zookeeper:\n      hosts:\n        k[1:3]:\n        z1:2022:\n\
             \n      vars:\n        <<: [{heap: 1g, gc: g1}, {heap: 2g, log: warn}]\n        name: \"zk-{{ inventory_hostname_short }}-{{ site | default('nowhere') }}\"\n",
        )],
    ),
    (
        "directory",
        &[
            ("", ""),
            (
                "01-static.ini",
                "[web]\nw1 ansible_host=10.2.0.1 tier=one\nw2\n[web:vars]\nansible_user=deploy\n",
            ),
            (
                "02-more.yml",
                "web:\n  hosts:\n    w3:\n      ansible_port: 2022\n  vars:\n    colour: green\n    ansible_user: later\n",
            ),
            ("03-children", "[edge:children]\nweb\n[edge]\nw1 tier=two\n"),
            ("README.md", "Not an inventory.\n"),
            ("ansible.cfg", "[defaults]\n"),
            ("old.ini.bak", "[web]\nw9\n"),
            (
                "nested/hosts",
                "[db]\nd1 ansible_host=\"{{ base }}.7\" base=10.3.0\n",
            ),
            ("group_vars/web.yml", "port: 80\n"),
            (
                "group_vars/web/main.yml",
                "port: 8080\nlisten: \"0.0.0.0:{{ port }}\"\n",
            ),
            ("group_vars/all.yml", ""),
            ("host_vars/w1.yml", "--- # nothing yet\n"),
            ("host_vars/w2.yaml", "ansible_host: 10.2.0.2\n"),
        ],
    ),
    (
        "ranges-and-ports",
        &[(
            "hosts",
            "mail.example.com\n[web]\nwww[01:12:4].example.com\n[fe80::1]:2201\n2001:db8::5\nbadwolf.example.com:5309\n\
             badwolf.example.com:5310 x=1\njumper ansible_port=5555 ansible_host=192.0.2.50\nonce:22 ansible_port=23\n\
             db-[a:c]-[1:2].example.com\n",
        )],
    ),
    (
        "computed",
        &[
            (
                "hosts.yml",
                "all:\n  children:\n    nodes:\n      hosts:\n        n1: {octet: 11}\n        n2: {octet: 12, vpn_ip: 172.16.0.2}\n      vars:\n\
                 \n        net: {prefix: 10.9.0, length: 24}\n        lan_ip: \"{{ net.prefix }}.{{ octet }}\"\n\
                 \n        ansible_host: \"{{ vpn_ip | default(lan_ip) }}\"\n        ansible_port: \"{{ ssh_port }}\"\n        ssh_port: 22022\n\
                 \n        ansible_become: \"{{ with_sudo }}\"\n        with_sudo: true\n",
            ),
            (
                "group_vars/nodes.yml",
                "ansible_user: \"{{ login }}\"\nlogin: core\n",
            ),
        ],
    ),
];

/// A small generator of numbers: the same seed gives the same inventory everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % sides as u64) as usize
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }
}

const NAMES: [&str; 20] = [
    "vpn_net",
    "octet",
    "vpn_ip",
    "base",
    "alias",
    "ansible_host",
    "ansible_host",
    "ansible_ssh_host",
    "ansible_port",
    "ansible_ssh_port",
    "ansible_user",
    "ansible_ssh_user",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_args",
    "ansible_ssh_extra_args",
    "flag",
    "fraction",
    "nothing",
];

/// Values for a name: plain ones, and expressions over other names, which may be set, encrypted, or not set at all.
fn value(dice: &mut Dice, name: &str) -> String {
    let choices: &[&str] = match name {
        "octet" => &["7", "12", "{{ base }}", "{{ missing }}", "03"],
        "ansible_port" | "ansible_ssh_port" => &["2201", "2202", "{{ octet }}", "22{{ octet }}"],
        "ansible_user" | "ansible_ssh_user" => &["ops", "{{ alias }}", "{{ alias | default('core') }}"],
        "ansible_ssh_private_key_file" | "ansible_private_key_file" => &["~/.ssh/one", "/keys/{{ alias }}"],
        "ansible_ssh_common_args" => &["-o ServerAliveInterval=5", "-J {{ alias }}@jump"],
        "ansible_ssh_args" => &["-C", "-o Compression={{ flag }}", "-o Port=77"],
        "ansible_ssh_extra_args" => &["-v"],
        "flag" => &["true", "no", "{{ other_flag | default(true) }}"],
        "fraction" => &["1.5", "1e3", "{{ flag }}-{{ octet }}"],
        "nothing" => &["", "null", "{{ none }}", "{{ base | default(none) }}"],
        "alias" => &[
            "anna",
            "{{ vpn_net }}",
            "{{ missing | default('bert') }}",
            "x-{{ flag }}",
        ],
        _ => &[
            "10.0.0.1",
            "10.0.{{ octet }}.4",
            "{{ vpn_net }}.{{ octet }}",
            "{{ vpn_ip | default(inventory_hostname) }}",
            "{{ vpn_ip | default(vpn_net) }}",
            "{{ missing | default('10.1.1.1') }}",
            "{{ alias }}",
            "{{ base | default('10.2.2.2') }}",
            "{{ ansible_default_ipv4 | default('10.3.3.3') }}",
            "{{ hostvars | default('10.3.3.4') }}",
            "{{ lookup('env', 'NOWHERE') | default('10.3.3.5', true) }}",
            "{{ inventory_hostname_short }}.{{ missing }}",
            "ops@10.4.4.4",
            "{{ nothing | default('10.5.5.5') }}",
            "{{ vpn_net.first | default('10.6.6.6') }}",
            "{% if flag %}10.7.7.7{% else %}10.7.7.8{% endif %}",
            "{{ fraction }}",
            "{# no #}10.8.8.8",
        ],
    };
    dice.pick(choices).to_owned()
}

const VAULT: &str = "!vault |\n        $ANSIBLE_VAULT;1.1;AES256\n        3164\n";

/// Variables as lines of YAML.
fn variables(dice: &mut Dice, indent: &str, most: usize) -> String {
    let mut names: Vec<&str> = (0..dice.roll(most + 1)).map(|_| dice.pick(&NAMES)).collect();
    names.sort_unstable();
    names.dedup();
    let mut lines = String::new();
    for name in names {
        if dice.roll(12) == 0 {
            lines += &format!("{indent}{name}: {VAULT}");
            continue;
        }
        let value = value(dice, name);
        let quoted = value.contains(['{', '#']) || dice.roll(4) == 0;
        lines += &match quoted {
            true => format!("{indent}{name}: \"{value}\"\n"),
            false => format!("{indent}{name}: {value}\n"),
        };
    }
    lines
}

/// Variables as words of an INI line.
fn assignments(dice: &mut Dice, most: usize) -> String {
    (0..dice.roll(most + 1))
        .map(|_| {
            let name = dice.pick(&NAMES);
            format!(" {name}=\"{}\"", value(dice, name))
        })
        .collect()
}

/// Makes an inventory with its files of variables.
pub fn generate(seed: u64) -> Vec<(String, String)> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let mut files = Vec::new();
    let groups = ["web", "db", "site"];
    if dice.roll(2) == 0 {
        let mut text = String::new();
        for group in &groups[..2] {
            text += &format!("[{group}]\n");
            for host in ["h1", "h2.example.com", "h[3:4]", "ops@h5", "h6:2022"] {
                if dice.roll(2) == 0 {
                    text += &format!("{host}{}\n", assignments(&mut dice, 4));
                }
            }
        }
        text += &format!("[lone]\nh9{}\n", assignments(&mut dice, 6));
        text += "[site:children]\nweb\ndb\n";
        for group in ["all", "site", "web"] {
            text += &format!("[{group}:vars]\n");
            for _ in 0..dice.roll(4) {
                let name = dice.pick(&NAMES);
                text += &format!("{name}={}\n", value(&mut dice, name));
            }
        }
        files.push(("hosts.ini".to_owned(), text));
    } else {
        let mut text =
            String::from("all:\n  children:\n    site:\n      children:\n        web:\n        db:\n");
        for group in &groups[..2] {
            text += &format!("    {group}:\n      hosts:\n        h1:\n");
            for host in ["h2.example.com", "h[3:4]", "h6:2022"] {
                if dice.roll(2) == 0 {
                    text += &format!("        {host}:\n{}", variables(&mut dice, "          ", 4));
                }
            }
            let inner = variables(&mut dice, "        ", 4);
            if !inner.is_empty() {
                text += &format!("      vars:\n{inner}");
            }
        }
        files.push(("hosts.yml".to_owned(), text));
    }
    for path in [
        "group_vars/all.yml",
        "group_vars/web/main.yml",
        "group_vars/db.yml",
        "host_vars/h1.yml",
    ] {
        if dice.roll(3) == 0 {
            files.push((path.to_owned(), variables(&mut dice, "", 5)));
        }
    }
    files
}
