//! What the shipped profiles say: ways, known troubles, rules for clients, checks, against facts as the real systems give them.

use serde_json::{Value, json};
use upshift_model::expr::{Scope, holds, value};
use upshift_model::profile::{self, Profile, Strategy};
use upshift_model::version::{Range, Version};

struct Product {
    profile: Profile,
    facts: Value,
}

fn product(name: &str, facts: &str) -> Product {
    let file = format!("{name}.yaml");
    let (_, text) = profile::shipped()
        .iter()
        .find(|(shipped, _)| *shipped == file)
        .unwrap();
    Product {
        profile: profile::parse(&file, text).unwrap(),
        facts: serde_json::from_str(facts).unwrap(),
    }
}

fn weka() -> Product {
    product("weka", include_str!("facts/weka.json"))
}

fn emqx() -> Product {
    product("emqx", include_str!("facts/emqx.json"))
}

fn alluxio() -> Product {
    product("alluxio", include_str!("facts/alluxio.json"))
}

fn kyligence() -> Product {
    product("kyligence", include_str!("facts/kyligence.json"))
}

impl Product {
    fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.facts.pointer_mut(parent).unwrap()[key] = value;
        self
    }

    fn without(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.facts
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        self
    }

    fn within(&self, range: &str, version: &str) -> bool {
        let scheme = self.profile.versions.scheme;
        Range::parse(scheme, range)
            .unwrap()
            .contains(&Version::parse(scheme, version).unwrap())
    }

    fn within_optional(&self, range: Option<&String>, version: &str) -> bool {
        range.is_none_or(|range| self.within(range, version))
    }

    fn scope(&self, from: &str, to: &str) -> Scope {
        let mut scope = Scope::from_value(self.profile.versions.scheme, self.facts.clone());
        scope.set("from", json!(from)).set("to", json!(to));
        scope
    }

    /// Strategies of the ways from one version to another whose conditions hold, in one hop.
    fn ways(&self, from: &str, to: &str) -> Vec<Strategy> {
        let scope = self.scope(from, to);
        let fitting = self
            .profile
            .paths
            .iter()
            .filter(|path| self.within(&path.from, from) && self.within(&path.to, to));
        let mut ways: Vec<Strategy> = fitting
            .filter(|path| {
                path.when
                    .iter()
                    .all(|condition| holds(&condition.expect, &scope).unwrap())
            })
            .map(|path| path.strategy)
            .collect();
        ways.sort();
        ways.dedup();
        ways
    }

    /// Names of the troubles on a way.
    fn blocked(&self, from: &str, to: &str, strategy: Strategy) -> Vec<&str> {
        let scope = self.scope(from, to);
        self.profile
            .blocked
            .iter()
            .filter(|edge| {
                self.within_optional(edge.from.as_ref(), from) && self.within_optional(edge.to.as_ref(), to)
            })
            .filter(|edge| edge.strategies.is_empty() || edge.strategies.contains(&strategy))
            .filter(|edge| {
                edge.when
                    .iter()
                    .all(|condition| holds(condition, &scope).unwrap())
            })
            .map(|edge| edge.name.as_str())
            .collect()
    }

    /// Names of the checks of a hop that do not hold.
    fn failing(&self, from: &str, to: &str, strategy: Strategy) -> Vec<&str> {
        let mut scope = self.scope(from, to);
        scope.set("nodes", json!([self.facts]));
        self.profile
            .checks
            .iter()
            .filter(|check| {
                self.within_optional(check.from.as_ref(), from) && self.within_optional(check.to.as_ref(), to)
            })
            .filter(|check| check.strategies.is_empty() || check.strategies.contains(&strategy))
            // Advised about on healthy systems, too.
            .filter(|check| check.name != "autoclean-while-watched")
            .filter(|check| {
                !holds(&check.expect, &scope).unwrap_or_else(|error| panic!("{}: {error}", check.name))
            })
            .map(|check| check.name.as_str())
            .collect()
    }

    fn client_works(&self, client: &str, server: &str) -> bool {
        let mut scope = Scope::new(self.profile.versions.scheme);
        scope.set("client", json!(client)).set("server", json!(server));
        holds(&self.profile.skew.clients.as_ref().unwrap().expect, &scope).unwrap()
    }

    /// Every check holds on healthy facts, whatever hop it is for: each expression names what the real system gives.
    fn every_check_holds(&self) {
        let mut scope = self.scope(
            self.facts["version"].as_str().unwrap(),
            self.facts["target"]["version"].as_str().unwrap(),
        );
        scope.set("nodes", json!([self.facts]));
        for check in &self.profile.checks {
            let held = holds(&check.expect, &scope);
            // What the vendor's own default is advised about is seen on healthy systems, too.
            let expected = check.name != "autoclean-while-watched";
            assert_eq!(held, Ok(expected), "{}", check.name);
        }
    }
}

#[test]
fn healthy_systems_pass_every_check() {
    for product in [weka(), emqx(), alluxio(), kyligence()] {
        product.every_check_holds();
    }
}

#[test]
fn weka_goes_one_release_line_at_a_time_up_to_4_0() {
    let weka = weka();
    for (from, to) in [
        ("3.10.0", "3.11.0"),
        ("3.11.0", "3.12.0"),
        ("3.12.1", "3.13.0"),
        ("3.13.1", "3.14.0"),
        ("3.14.1", "4.0.1"),
        ("3.12.0", "3.12.4"),
    ] {
        assert_eq!(weka.ways(from, to), [Strategy::Switch], "{from} -> {to}");
    }
    for (from, to) in [
        ("3.9.4", "3.10.0"),
        ("3.9.4", "3.11.0"),
        ("3.10.0", "3.12.0"),
        ("3.12.0", "3.13.0"),
        ("3.13.0", "3.14.0"),
        ("3.14.0", "4.0.1"),
        ("3.14.1", "4.1.0"),
        ("4.0.1", "4.1.0"),
    ] {
        assert!(weka.ways(from, to).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn weka_has_greatest_sources_from_4_3_on() {
    let weka = weka();
    for (from, to) in [
        ("4.0.2", "4.1.0"),
        ("4.1.2.36", "4.2.11"),
        ("4.2.18.34", "4.3.0"),
        ("4.2.10", "4.3.1"),
        ("4.3.0", "4.3.1"),
        ("4.2.11", "4.3.3"),
        ("4.2.11", "4.3.4"),
        ("4.2.12.92", "4.3.5"),
        ("4.3.4", "4.3.5"),
        ("4.2.1", "4.4.22"),
        ("4.4.6.122", "5.0.3.19"),
        ("5.0.2.119", "5.0.3.19"),
        ("4.4.26", "5.1.25"),
        ("5.0.4.401", "5.1.25"),
    ] {
        assert_eq!(weka.ways(from, to), [Strategy::Rolling], "{from} -> {to}");
    }
    for (from, to) in [
        ("4.1.1", "4.2.11"),
        ("4.2.11", "4.3.1"),
        ("4.2.12.87", "4.3.3"),
        ("4.2.18.34", "4.3.5"),
        ("4.3.4", "4.3.4"),
        ("4.1.2.36", "4.4.22"),
        ("4.4.5", "5.0.3.19"),
        ("4.4.6.123", "5.0.3.19"),
        ("4.4.30", "5.1.25"),
        ("4.4.20.116", "5.1.25"),
    ] {
        assert!(weka.ways(from, to).is_empty(), "{from} -> {to}");
    }
    let one_container = self::weka().with(
        "/probes/local_containers/value",
        json!([{"name": "default", "type": "weka"}]),
    );
    assert!(one_container.ways("4.0.2", "4.1.0").is_empty());
}

#[test]
fn weka_troubles_depend_on_what_the_cluster_serves() {
    let to = |weka: Product, to: &str| {
        let names = weka.blocked("4.4.5", to, Strategy::Rolling);
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(to(weka(), "4.4.10.100"), ["WEKAPP-562429"]);
    assert!(to(weka(), "4.4.10.171").is_empty());
    assert_eq!(to(weka(), "4.4.25"), ["WEKAPP-626440"]);
    assert!(to(weka(), "4.4.32").is_empty());
    let old_client = weka().with("/probes/containers/value/2/sw_version", json!("4.2.9.28"));
    assert_eq!(to(old_client, "4.4.20.116"), ["WEKAPP-604059"]);
    let smb = weka().with("/probes/smb/value", json!({"sambaHosts": [1]}));
    assert_eq!(to(smb, "4.4.21.2"), ["WEKAPP-450389"]);
}

#[test]
fn weka_clients_lag_one_release_line_at_most() {
    let weka = weka();
    for (client, server) in [
        ("3.10.2", "3.11.0"),
        ("3.14.1", "4.0.1"),
        ("4.0.2", "4.1.0"),
        ("4.2.5", "4.4.22"),
        ("4.4.26", "5.1.25"),
        ("4.1.0", "4.1.2.36"),
        ("4.1.0", "4.0.4"),
    ] {
        assert!(weka.client_works(client, server), "{client} on {server}");
    }
    for (client, server) in [
        ("3.10.2", "3.12.0"),
        ("3.13.1", "4.0.1"),
        ("4.0.2", "4.2.5"),
        ("4.1.2.36", "4.4.22"),
        ("4.3.5", "5.0.4.384"),
    ] {
        assert!(!weka.client_works(client, server), "{client} on {server}");
    }
    let mut scope = Scope::new(weka.profile.versions.scheme);
    scope.set("value", weka.facts["probes"]["containers"].clone());
    let observed = weka
        .profile
        .skew
        .clients
        .as_ref()
        .unwrap()
        .observed
        .as_ref()
        .unwrap();
    let hostname = &weka.facts["probes"]["containers"]["value"][2]["hostname"];
    let listed = json!([{"name": hostname, "version": "4.4.22"}]);
    assert_eq!(value(&observed.expression, &scope), Ok(listed));
    // The version that clients follow is that of the backends, as long as they agree.
    let wanted = &weka.profile.clients.as_ref().unwrap().version.expression;
    assert_eq!(value(wanted, &scope), Ok(json!("4.4.22")));
    let mut mixed = weka.facts["probes"]["containers"].clone();
    mixed["value"][0]["sw_version"] = json!("4.4.21.2");
    scope.set("value", mixed);
    assert_eq!(value(wanted, &scope), Ok(json!("")));
}

#[test]
fn weka_checks_find_what_stands_in_the_way() {
    let fails = |weka: Product, from: &str, to: &str| {
        let names = weka.failing(from, to, Strategy::Rolling);
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(fails(weka(), "4.4.22", "5.1.25").is_empty());
    let task = |state: &str| weka().with("/probes/status/value/block_upgrade_task/state", json!(state));
    assert_eq!(
        fails(task("RUNNING"), "4.4.22", "4.4.26"),
        ["data-upgrade-finished"]
    );
    // The status of a cluster that misses a backend is still OK.
    let missing = weka().with("/probes/status/value/hosts/backends/active", json!(7));
    assert_eq!(fails(missing, "4.4.22", "4.4.26"), ["everything-active"]);
    let alert = || weka().with("/probes/alerts/value", json!([{"type": "DataIntegrity"}]));
    assert_eq!(fails(alert(), "4.4.22", "4.4.26"), ["no-alerts"]);
    assert_eq!(
        fails(alert(), "4.4.22", "5.1.25"),
        ["no-alerts", "data-integrity"]
    );
    let overrides = |value: Value| weka().with("/probes/overrides/value", value);
    assert!(fails(overrides(json!([])), "4.2.11", "4.4.22").is_empty());
    let disabled = || overrides(json!([{"key": "rpc.exception.version", "value": 1, "enabled": false}]));
    assert_eq!(fails(disabled(), "4.2.11", "4.4.22"), ["overrides-listed"]);
    assert!(fails(disabled(), "4.4.22", "4.4.26").is_empty());
    let unlisted = weka().with("/probes/overrides/exit", json!(1));
    assert_eq!(fails(unlisted, "4.2.11", "4.4.22"), ["overrides-listed"]);
    let cores = |value: Value| weka().with("/probes/containers/value/1/cores_ids", value);
    assert_eq!(fails(cores(json!([2, 3])), "4.4.22", "4.4.26"), ["core-ids"]);
    assert_eq!(
        fails(cores(json!([4_294_967_295_u64])), "4.4.22", "4.4.26"),
        ["core-ids"]
    );
    assert!(fails(cores(json!([3, 4])), "4.4.22", "4.4.26").is_empty());
    let secret = weka().with("/probes/join_secrets/value/1/digest", json!("ffffffff"));
    assert_eq!(fails(secret, "4.4.22", "4.4.26"), ["join-secrets"]);
    let unread = weka().with("/probes/join_secrets/exit", json!(4));
    assert_eq!(fails(unread, "4.4.22", "4.4.26"), ["join-secrets"]);
    // A setting that the release does not know is told from one that cannot be read.
    let unread = weka().with("/probes/accepted_versions/stderr", json!("connection refused"));
    assert_eq!(fails(unread, "4.4.22", "5.1.31"), ["no-mixed-containers"]);
    let old_check = weka().with("/probes/fsck/value/startTime/__unaligned_value/usecs", json!(5));
    assert_eq!(fails(old_check, "4.4.22", "5.1.25"), ["clean-fsck"]);
    // What is on no list of the vendor's is not known to be harmless.
    let task = |kind: &str| weka().with("/probes/tasks/value/0/type", json!(kind));
    for kind in ["STOW_UPLOAD", "CATALOG_INDEX", "SOMETHING_NEW"] {
        assert_eq!(
            fails(task(kind), "4.4.22", "4.4.26"),
            ["no-blocking-tasks"],
            "{kind}"
        );
    }
    let unprotected = weka().with("/probes/status/value/rebuild/protectionState/1/percent", json!(3));
    assert_eq!(fails(unprotected, "4.4.22", "4.4.26"), ["fully-protected"]);
    // The larger of 4 GiB and one and a half times the data.
    let data = |bytes: u64| weka().with("/probes/data/bytes", json!(bytes));
    assert!(fails(data(42_000_000_000), "4.4.22", "4.4.26").is_empty());
    assert_eq!(fails(data(43_000_000_000), "4.4.22", "4.4.26"), ["space"]);
    let little = weka()
        .with("/probes/space/free", json!(4_294_967_295_u64))
        .with("/probes/data/bytes", json!(1));
    assert_eq!(fails(little, "4.4.22", "4.4.26"), ["space"]);
    let old_word = |word: &str| weka().with("/node", json!({"name": "w1", "weka_members": word}));
    assert_eq!(
        fails(old_word("host"), "4.4.22", "4.4.26"),
        ["same-word-for-members"]
    );
    assert!(fails(old_word("container"), "4.4.22", "4.4.26").is_empty());
    let token = weka().with(
        "/node",
        json!({"name": "w1", "weka_from": "https://secret@get.example.org"}),
    );
    assert_eq!(fails(token, "4.4.22", "4.4.26"), ["no-token-in-the-fleet"]);
    let tar = || weka().with("/node", json!({"name": "w1", "weka_download": "tar"}));
    assert_eq!(fails(tar(), "4.4.22", "4.4.26"), ["tar-at-hand"]);
    assert!(
        fails(
            tar().with("/target", json!({"version": "4.4.26", "size": 5})),
            "4.4.22",
            "4.4.26"
        )
        .is_empty()
    );
    let mixed = weka().with("/probes/containers/value/1/sw_version", json!("4.4.21.2"));
    assert_eq!(fails(mixed, "4.4.22", "4.4.26"), ["one-version"]);
}

#[test]
fn emqx_is_upgraded_hot_only_into_the_same_build() {
    use Strategy::{Hot, Rolling};
    assert_eq!(emqx().ways("4.4.16", "4.4.19"), [Hot, Rolling]);
    for (pointer, value) in [
        ("/target/otp", "25.1.2-3"),
        ("/target/os", "el8"),
        ("/target/arch", "arm64"),
        ("/target/relup", "4.4.19,4.4.160"),
        ("/target/relup_restarts", "4.4.16"),
        ("/target/os", "macos11"),
    ] {
        assert_eq!(
            emqx().with(pointer, json!(value)).ways("4.4.16", "4.4.19"),
            [Rolling],
            "{pointer}"
        );
    }
    assert_eq!(
        emqx().without("/target/relup").ways("4.4.16", "4.4.19"),
        [Rolling]
    );
    assert_eq!(emqx().without("/variant/otp").ways("4.4.16", "4.4.19"), [Rolling]);
    assert!(
        emqx()
            .with("/target/edition", json!("ee"))
            .ways("4.4.16", "4.4.19")
            .is_empty()
    );
    assert_eq!(emqx().ways("4.3.22", "4.4.19"), [Rolling]);
    assert_eq!(emqx().ways("4.4.16", "4.5.0"), [Hot]);
    for (from, to) in [
        ("4.4.12", "4.5.0"),
        ("4.4.7", "4.5.0"),
        ("4.2.14", "4.3.0"),
        ("4.4.19", "5.0.0"),
    ] {
        assert!(emqx().ways(from, to).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn emqx_is_rolled_with_packages_of_what_installed_it_and_with_a_rollback() {
    use Strategy::Rolling;
    let ways = |manager: &str, format: Option<&str>| {
        let emqx = emqx().with("/places/package_manager", json!(manager));
        let emqx = match format {
            Some(format) => emqx.with("/target/format", json!(format)),
            None => emqx,
        };
        emqx.ways("4.3.22", "4.4.19")
    };
    assert_eq!(ways("store", None), [Rolling]);
    assert_eq!(ways("dpkg", Some("deb")), [Rolling]);
    assert_eq!(ways("rpm", Some("rpm")), [Rolling]);
    for (manager, format) in [("dpkg", None), ("dpkg", Some("rpm")), ("store", Some("deb"))] {
        assert!(ways(manager, format).is_empty(), "{manager} {format:?}");
    }
    let fails = |emqx: Product| {
        let failing = emqx.failing("4.4.16", "4.4.19", Rolling);
        failing.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(fails(emqx()).is_empty());
    assert_eq!(
        fails(emqx().with("/host/releases", json!({}))),
        ["rollback-at-hand"]
    );
    let deaf = || emqx().with("/probes/dashboard/status", json!(503));
    assert_eq!(fails(deaf()), ["dashboard-answers"]);
    for (place, value) in [
        ("/places/dashboard", json!("")),
        ("/probes/state/value/plugins", json!(["emqx_management"])),
    ] {
        assert!(fails(deaf().with(place, value)).is_empty(), "{place}");
    }
    // The copy and three times the package are more than there is free.
    assert_eq!(
        fails(emqx().with("/probes/to_save/bytes", json!(8_589_934_592_u64))),
        ["room-for-the-copy", "autoclean-leaves-time"]
    );
    assert_eq!(
        fails(emqx().with("/probes/process/release", json!(null))),
        ["runs-from-the-store"]
    );
    assert_eq!(
        fails(emqx().with("/probes/database", json!({"exists": false}))),
        ["database-found"]
    );
    // A session lives on its node; the enterprise edition moves it from 4.4.12 on.
    let away = || emqx().with("/probes/state/value/sessions", json!(4));
    assert_eq!(fails(away()), ["sessions-of-clients-that-are-away"]);
    assert!(away().failing("4.4.16", "4.4.19", Strategy::Hot).is_empty());
    assert!(fails(away().with("/places/package", json!("emqx-ee"))).is_empty());
}

#[test]
fn emqx_troubles_stand_on_the_strategies_that_they_are_about() {
    use Strategy::{Hot, Rolling};
    let enterprise = || emqx().with("/variant/edition", json!("ee"));
    assert_eq!(
        enterprise().blocked("4.3.22", "4.4.16", Rolling),
        ["enterprise-4.3-to-early-4.4"]
    );
    assert!(enterprise().blocked("4.3.22", "4.4.17", Rolling).is_empty());
    assert!(emqx().blocked("4.3.22", "4.4.16", Rolling).is_empty());
    for (from, to) in [("4.3.22", "4.4.1"), ("4.3.22", "4.4.0")] {
        assert_eq!(emqx().blocked(from, to, Rolling), ["sessions-4.3-to-early-4.4"]);
    }
    assert!(emqx().blocked("4.3.22", "4.4.2", Rolling).is_empty());
    assert_eq!(
        emqx().blocked("4.4.1", "4.4.16", Rolling),
        ["sessions-early-4.4-to-4.4"]
    );
    assert!(emqx().blocked("4.4.2", "4.4.16", Rolling).is_empty());
    assert_eq!(emqx().blocked("4.4.9", "4.4.10", Rolling), ["emqx-9161"]);
    assert_eq!(
        emqx().blocked("4.4.3", "4.4.5", Hot),
        ["hot-uninstall-4.4", "hot-new-tls-connections"]
    );
    assert!(emqx().blocked("4.4.3", "4.4.5", Rolling).is_empty());
    assert_eq!(emqx().blocked("4.4.12", "4.5.0", Hot), ["relup-4.5.0"]);
    assert!(emqx().blocked("4.4.13", "4.5.0", Hot).is_empty());
    assert_eq!(emqx().blocked("4.4.16", "4.4.17", Hot), ["hot-retainer"]);
    assert!(emqx().blocked("4.4.16", "4.4.19", Hot).is_empty());
    assert_eq!(enterprise().blocked("4.4.17", "4.4.19", Hot), ["hot-rabbitmq"]);
    assert!(enterprise().blocked("4.4.17", "4.4.22", Hot).is_empty());
    assert_eq!(emqx().blocked("4.4.2", "4.4.16", Hot), ["hot-retry-4.4"]);
    assert_eq!(emqx().blocked("4.2.14", "4.3.0", Rolling), ["before-4.3"]);
    assert_eq!(emqx().blocked("4.4.19", "5.0.0", Rolling), ["to-5"]);
}

#[test]
fn emqx_in_a_container_is_refused_by_name_with_what_to_do_instead() {
    let named = |emqx: &Product| {
        let scope = emqx.scope("4.4.16", "4.4.19");
        let mut absent = emqx.profile.versions.absent.iter();
        let found = absent.find(|absent| holds(&absent.holds, &scope).unwrap());
        found.map(|absent| {
            let names = json!({ "node": { "name": "n1" }, "probes": emqx.facts["probes"] });
            let message = upshift_model::template::render_text(&absent.message, &names).unwrap();
            (message, absent.remedy.clone())
        })
    };
    assert_eq!(named(&emqx()), None);
    let contained = emqx().with("/probes/containers/value", json!(["4711", "4712"]));
    let (message, remedy) = named(&contained).unwrap();
    assert_eq!(
        message,
        "EMQX on n1 runs in a container (process 4711, 4712), which Upshift does not upgrade"
    );
    assert!(
        remedy.contains("new image") && remedy.contains("volume"),
        "{remedy}"
    );
}

#[test]
fn emqx_checks_find_what_a_hot_upgrade_trips_over() {
    use Strategy::{Hot, Rolling};
    let fails = |emqx: Product| {
        emqx.failing("4.4.16", "4.4.19", Hot)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(fails(emqx()).is_empty());
    let current = json!([["4.4.16", "current"], ["4.4.1", "permanent"]]);
    assert_eq!(
        fails(emqx().with("/probes/state/value/releases", current)),
        ["running-release-is-permanent"]
    );
    let left_over = json!([["4.4.19", "unpacked"], ["4.4.16", "permanent"]]);
    // Cleaned, but for versions whose own tool cannot do that.
    let left_over = || emqx().with("/probes/state/value/releases", left_over.clone());
    assert!(fails(left_over()).is_empty());
    assert!(
        left_over()
            .failing("4.4.5", "4.4.19", Hot)
            .contains(&"target-not-left-over")
    );
    assert_eq!(
        fails(emqx().without("/target/relup_back")),
        ["rollback-by-restart"]
    );
    let zip = || {
        emqx().with(
            "/probes/release_files/value",
            json!(["/usr/lib/emqx/releases/emqx-4.4.19-otp24-el7-amd64.zip"]),
        )
    };
    assert_eq!(fails(zip()), ["no-other-packages"]);
    assert!(zip().failing("4.4.16", "4.4.19", Rolling).is_empty());
    assert_eq!(
        fails(emqx().with("/probes/state/value/stopped_nodes", json!(["b@h"]))),
        ["nobody-stopped"]
    );
    for (probe, check) in [
        ("/probes/temporary_space/free", "temporary-space"),
        ("/probes/root_space/free", "release-space"),
    ] {
        // Three times the package is needed.
        assert_eq!(fails(emqx().with(probe, json!(3 * 52_428_800 - 1))), [check]);
        assert!(fails(emqx().with(probe, json!(3 * 52_428_800))).is_empty());
    }
    assert_eq!(
        fails(emqx().with("/probes/release_owner/value", json!("root"))),
        ["releases-writable"]
    );
}

#[test]
fn alluxio_is_rebuilt_where_the_journal_cannot_be_read() {
    use Strategy::{Rebuild, Switch};
    let ufs = || alluxio().with("/places/journal_type", json!("UFS"));
    let unknown = || alluxio().without("/places/journal_type");
    for (from, to, embedded, in_ufs) in [
        ("1.8.1", "2.3.0", Rebuild, Rebuild),
        ("1.8.1", "2.9.0", Rebuild, Rebuild),
        ("2.1.0", "2.3.0", Switch, Switch),
        ("2.3.0", "2.4.0", Rebuild, Switch),
        ("2.3.0", "2.9.3", Rebuild, Switch),
        ("2.4.0", "2.9.3", Switch, Switch),
        ("1.7.0", "1.8.1", Switch, Switch),
    ] {
        assert_eq!(alluxio().ways(from, to), [embedded], "{from} -> {to}");
        assert_eq!(ufs().ways(from, to), [in_ufs], "{from} -> {to}");
        assert_eq!(unknown().ways(from, to), [embedded], "{from} -> {to}");
    }
    assert!(alluxio().ways("1.7.0", "2.3.0").is_empty());
    assert_eq!(
        alluxio().blocked("1.7.0", "2.3.0", Rebuild),
        ["no-backup-before-1.8.1"]
    );
    assert_eq!(alluxio().blocked("1.8.2", "2.6.0", Rebuild), ["alluxio-13877"]);
    assert!(alluxio().client_works("2.1.0", "2.9.3") && alluxio().client_works("1.8.1", "1.8.2"));
    assert!(!alluxio().client_works("1.8.1", "2.1.0") && !alluxio().client_works("2.1.0", "1.8.1"));
}

#[test]
fn alluxio_checks_java_and_the_kind_of_journal() {
    let fails = |alluxio: Product, from: &str, to: &str| {
        alluxio
            .failing(from, to, Strategy::Switch)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let java = |version: &str| {
        alluxio().with(
            "/probes/java/stderr",
            json!(format!("openjdk version \"{version}\"")),
        )
    };
    assert_eq!(fails(java("11.0.22"), "2.1.0", "2.3.0"), ["java-8"]);
    assert!(fails(java("11.0.22"), "2.3.0", "2.4.0").is_empty());
    assert_eq!(fails(java("17.0.10"), "2.3.0", "2.4.0"), ["java-8-or-11"]);
    for (from, to) in [("1.8.1", "2.1.0"), ("2.3.0", "2.4.0"), ("2.4.0", "2.9.3")] {
        let unknown = alluxio().without("/places/journal_type");
        assert!(
            fails(unknown, from, to).contains(&"journal-type-known".to_owned()),
            "{from} -> {to}"
        );
    }
    let odd = alluxio().with("/places/journal_type", json!("NOOP"));
    assert_eq!(fails(odd, "2.3.0", "2.4.0"), ["journal-type-known"]);
    let missing = alluxio().with("/probes/quorum/value", json!(["UNAVAILABLE\t m2:19200"]));
    assert_eq!(fails(missing, "2.3.0", "2.4.0"), ["quorum-available"]);
}

#[test]
fn alluxio_is_not_stopped_where_something_would_be_lost() {
    let fails = |alluxio: Product| {
        alluxio
            .failing("2.3.0", "2.4.0", Strategy::Rebuild)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let one = |pointer: &str, value: Value| fails(alluxio().with(pointer, value));
    assert_eq!(
        one("/probes/unpersisted/value", json!("2")),
        ["nothing-is-only-in-alluxio"]
    );
    // A listing that failed is not one without such files, nor one with some.
    let failed = alluxio().with(
        "/probes/unpersisted",
        json!({"exit": 1, "stderr": "", "value": "0"}),
    );
    let mut checks = failed.profile.checks.iter();
    let check = checks
        .find(|check| check.name == "nothing-is-only-in-alluxio")
        .unwrap();
    assert!(holds(&check.expect, &failed.scope("2.3.0", "2.4.0")).is_err());
    assert_eq!(
        one("/places/journal_argument", json!("/srv/journal")),
        ["journal-named-in-the-file"]
    );
    assert_eq!(
        one("/probes/process/release", Value::Null),
        ["runs-from-the-store"]
    );
    assert_eq!(
        one("/probes/journal_files/exists", json!(false)),
        ["journal-there"]
    );
    assert_eq!(
        one("/places/conf_dir", json!("/opt/alluxio/conf")),
        ["configuration-outside-of-the-release"]
    );
    // The file says the one kind, and what lies there is of the other.
    assert_eq!(
        one("/probes/journal_parts/exists", json!(true)),
        ["journal-of-its-kind"]
    );
    assert_eq!(one("/places/journal_type", json!("UFS")), ["journal-of-its-kind"]);
    let doctor = |text: &str| one("/probes/doctor/value", json!(text));
    assert!(
        doctor("Server-side configuration warnings (those properties are recommended to be identical):")
            .is_empty()
    );
    for text in [
        "Server-side configuration errors (those properties are required to be identical): ",
        "odd",
    ] {
        assert_eq!(doctor(text), ["configuration-consistent"]);
    }
}

#[test]
fn kyligence_stays_within_its_major_version() {
    use Strategy::Switch;
    assert_eq!(kyligence().ways("3.0.1", "3.4.5.2046"), [Switch]);
    for (from, to, name) in [
        ("3.4.5", "4.0.0", "kylin-3-to-4"),
        ("4.0.1", "5.0.0", "kylin-4-to-5"),
        ("3.4.5", "5.0.0", "kylin-4-to-5"),
        ("5.0.0", "5.0.1", "kylin-5"),
    ] {
        assert!(kyligence().ways(from, to).is_empty(), "{from} -> {to}");
        assert_eq!(kyligence().blocked(from, to, Switch), [name], "{from} -> {to}");
    }
    let linked = kyligence().with("/probes/real_home/value", json!("/data/kylin-3.4.5"));
    assert_eq!(linked.failing("3.4.5", "3.4.6", Switch), ["home-is-a-directory"]);
    // Tomcat answers, the application does not.
    let undeployed = kyligence().with("/probes/web/status", json!(404));
    assert_eq!(undeployed.failing("3.4.5", "3.4.6", Switch), ["instance-serves"]);
    let ldap = || kyligence().with("/places/ldap_password", json!("x9f2"));
    assert_eq!(ldap().failing("3.0.1", "3.1.0", Switch), ["ldap-password"]);
    assert_eq!(
        ldap().failing("3.1.0", "3.1.3", Switch),
        ["cipher-initial-vector"]
    );
    assert!(ldap().failing("3.4.5", "3.4.6", Switch).is_empty());
    let hbase = kyligence().with("/places/metadata", json!("kylin_metadata@hbase"));
    assert_eq!(hbase.failing("3.0.1", "3.0.2", Switch), ["coprocessors"]);
}

#[test]
fn what_an_emqx_node_lacks_while_it_is_watched_is_named() {
    let product = emqx();
    let waiting = &product.profile.soak.watch[0].waiting;
    let said = |value: Value| {
        let before =
            json!({"value": {"plugins": ["emqx_dashboard"], "rules": ["rule:1"], "alarms": ["old"]}});
        let names = json!({"node": {"name": "n1"}, "to": "4.4.16", "strategy": "hot", "before": before, "value": value});
        upshift_model::template::render_text(waiting, &names).unwrap()
    };
    let seen = |change: Value| {
        let mut value = json!({"version": "4.4.16", "stopped_nodes": [], "plugins": ["emqx_dashboard"], "rules": ["rule:1"], "alarms": ["old"]});
        value
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        said(json!({"exit": 0, "stderr": "", "value": value}))
    };
    assert_eq!(
        seen(json!({"alarms": ["old", "high_cpu_usage", "conn_congestion/c1", "broker_degraded"]})),
        "n1 is not as it was: the alarm broker_degraded is on;"
    );
    assert_eq!(
        seen(json!({"version": "4.4.15", "plugins": [], "rules": []})),
        "n1 is not as it was: it runs 4.4.15 instead of 4.4.16; the plugin emqx_dashboard is not active; rule:1 is not enabled;"
    );
    assert_eq!(
        seen(json!({"stopped_nodes": ["a@h", "b@h"]})),
        "n1 is not as it was: it knows of the stopped nodes a@h, b@h;"
    );
    assert_eq!(
        said(json!({"exit": 1, "stderr": "Node is not running!", "value": null})),
        "n1 is not as it was: it does not answer: Node is not running!"
    );
}

#[test]
fn etcd_authentication_is_on_off_or_cannot_be_told() {
    let etcd = product("etcd", "{}");
    let mut checks = etcd.profile.checks.iter();
    let check = checks.find(|check| check.name == "no-authentication").unwrap();
    let judged = |exit: i64, stderr: &str| {
        let scope = Scope::from_value(
            etcd.profile.versions.scheme,
            json!({"probes": {"stranger": {"exit": exit, "stderr": stderr, "value": null}}}),
        );
        holds(&check.expect, &scope)
    };
    assert_eq!(judged(0, ""), Ok(true));
    assert_eq!(
        judged(
            2,
            "Error: etcdserver: authentication failed, invalid user ID or password"
        ),
        Ok(false)
    );
    // It did not answer, or not to us: that is neither.
    assert!(judged(2, "Error: context deadline exceeded").is_err());
    assert!(judged(1, "Error: etcdserver: permission denied").is_err());
}
