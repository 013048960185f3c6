//! Names that vendors use, and what must hold for every pattern.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::profile::PackageRule;
use crate::version::{Scheme, Version};

const EMQX: &str = "emqx[-{edition}]-{version}-otp{otp}-{os}-{arch}.zip";
const EMQX_43: &str = "emqx[-{edition}]-{os}-{version}-{arch}.zip";

/// `version part=value …`, or `-` where the name does not match.
fn read(scheme: Scheme, pattern: &str, name: &str) -> String {
    let pattern = PackagePattern::parse(pattern).unwrap();
    match pattern.matches(scheme, name) {
        None => "-".to_owned(),
        Some(package) => {
            assert_eq!(
                pattern.print(package.version.as_str(), &package.parts).unwrap(),
                name
            );
            let parts = package
                .parts
                .iter()
                .map(|(part, value)| format!(" {part}={value}"));
            package.version.to_string() + &parts.collect::<String>()
        }
    }
}

#[test]
fn names_that_vendors_use() {
    let vendor = |pattern, name| read(Scheme::Vendor, pattern, name);
    assert_eq!(
        vendor(EMQX, "emqx-4.4.16-otp24.3.4.2-1-ubuntu20.04-amd64.zip"),
        "4.4.16 arch=amd64 os=ubuntu20.04 otp=24.3.4.2-1"
    );
    assert_eq!(
        vendor(EMQX, "emqx-ee-4.4.16-otp24.3.4.2-1-ubuntu20.04-amd64.zip"),
        "4.4.16 arch=amd64 edition=ee os=ubuntu20.04 otp=24.3.4.2-1"
    );
    assert_eq!(
        vendor(EMQX, "emqx-4.4.17-rc.1-otp24.3.4.2-1-el8-arm64.zip"),
        "4.4.17-rc.1 arch=arm64 os=el8 otp=24.3.4.2-1"
    );
    assert_eq!(
        vendor(EMQX, "emqx-4.4.16-otp24.3.4.2-1-el8-amd64.zip.sha256"),
        "-"
    );
    assert_eq!(vendor(EMQX, "emqx-centos8-4.3.8-amd64.zip"), "-");
    assert_eq!(
        vendor("emqx-{os}-{version}-{arch}.zip", "emqx-centos8-4.3.8-amd64.zip"),
        "4.3.8 arch=amd64 os=centos8"
    );
    assert_eq!(
        vendor(EMQX_43, "emqx-ee-centos8-4.3.8-amd64.zip"),
        "4.3.8 arch=amd64 edition=ee os=centos8"
    );
    assert_eq!(
        vendor(EMQX_43, "emqx-windows-4.3.8-rc.1-amd64.zip"),
        "4.3.8-rc.1 arch=amd64 os=windows"
    );
    assert_eq!(
        vendor("alluxio-{version}-bin.tar.gz", "alluxio-2.4.0-bin.tar.gz"),
        "2.4.0"
    );
    assert_eq!(
        vendor("alluxio-{version}-bin.tar.gz", "alluxio-2.4.1-1-bin.tar.gz"),
        "2.4.1-1"
    );
}

#[test]
fn a_dash_between_version_and_environment_splits_the_same_way_always() {
    for pattern in [
        "Kyligence-Enterprise-{version-env}.tar.gz",
        "Kyligence-Enterprise-{version}-{env}.tar.gz",
    ] {
        let read = |name| read(Scheme::Vendor, pattern, name);
        assert_eq!(
            read("Kyligence-Enterprise-3.4.5.2123-hadoop3.tar.gz"),
            "3.4.5.2123 env=hadoop3"
        );
        assert_eq!(
            read("Kyligence-Enterprise-3.4.5.2123-GA-hbase1.x.tar.gz"),
            "3.4.5.2123 env=GA-hbase1.x"
        );
        assert_eq!(
            read("Kyligence-Enterprise-3.4.0-rc1-hadoop3.tar.gz"),
            "3.4.0-rc1 env=hadoop3"
        );
        assert_eq!(read("Kyligence-Enterprise-3.4.5.tar.gz"), "-");
    }
}

#[test]
fn semantic_versions_keep_their_pre_release() {
    let read = |name| read(Scheme::Semver, "etcd-v{version}-linux-{arch}.tar.gz", name);
    assert_eq!(read("etcd-v3.5.16-linux-amd64.tar.gz"), "3.5.16 arch=amd64");
    assert_eq!(
        read("etcd-v3.6.0-rc.0-linux-arm64.tar.gz"),
        "3.6.0-rc.0 arch=arm64"
    );
    assert_eq!(read("etcd-v3.5-linux-amd64.tar.gz"), "-");
    assert_eq!(read("etcd-v3.5.16-darwin-amd64.tar.gz"), "-");
}

fn rules() -> PackageRules {
    let rule = |pattern: &str, versions: &str| -> PackageRule {
        let rule =
            serde_json::json!({ "pattern": pattern, "versions": versions, "defaults": { "edition": "ce" } });
        serde_json::from_value(rule).unwrap()
    };
    PackageRules::parse(Scheme::Vendor, &[rule(EMQX, ">=4.4"), rule(EMQX_43, "4.3.x")]).unwrap()
}

fn pick(names: &[&str], version: &str, wanted: &[(&str, &str)]) -> Result<String, String> {
    let wanted = wanted
        .iter()
        .map(|(part, value)| ((*part).to_owned(), (*value).to_owned()))
        .collect();
    let version = Version::parse(Scheme::Vendor, version).unwrap();
    rules()
        .pick(names.iter().copied(), &version, &wanted)
        .map(|picked| format!("{} by rule {}", picked.file_name, picked.rule))
        .map_err(|error| error.to_string())
}

#[test]
fn one_release_is_never_taken_for_another_that_its_name_begins() {
    let names: Vec<String> = (0..20)
        .map(|patch| format!("emqx-4.4.{patch}-otp24.3.4.2-1-el8-amd64.zip"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(
        pick(&names, "4.4.1", &[]).unwrap(),
        "emqx-4.4.1-otp24.3.4.2-1-el8-amd64.zip by rule 0"
    );
    assert_eq!(
        pick(&names, "4.4.10", &[]).unwrap(),
        "emqx-4.4.10-otp24.3.4.2-1-el8-amd64.zip by rule 0"
    );
    assert!(pick(&names[10..], "4.4.1", &[]).is_err());
}

#[test]
fn the_variant_decides_and_an_absent_edition_is_the_default_one() {
    let names = [
        "emqx-4.4.16-otp24.3.4.2-1-el8-amd64.zip",
        "emqx-ee-4.4.16-otp24.3.4.2-1-el8-amd64.zip",
        "emqx-4.4.16-otp24.3.4.2-1-el8-arm64.zip",
        "emqx-centos8-4.3.8-amd64.zip",
        "notes.txt",
    ];
    let ce = pick(
        &names,
        "4.4.16",
        &[("edition", "ce"), ("arch", "x86_64"), ("otp", "24.3.4.2-1")],
    );
    assert_eq!(ce.unwrap(), "emqx-4.4.16-otp24.3.4.2-1-el8-amd64.zip by rule 0");
    let ee = pick(&names, "4.4.16", &[("edition", "ee")]);
    assert_eq!(
        ee.unwrap(),
        "emqx-ee-4.4.16-otp24.3.4.2-1-el8-amd64.zip by rule 0"
    );
    let without_otp = pick(&names, "4.3.8", &[("edition", "ce"), ("otp", "23.2.7.2-2")]);
    assert_eq!(without_otp.unwrap(), "emqx-centos8-4.3.8-amd64.zip by rule 1");
}

#[test]
fn what_cannot_be_picked_is_told_with_what_there_is() {
    let names = [
        "emqx-4.4.16-otp24.3.4.2-1-el8-amd64.zip",
        "emqx-4.4.16-otp25.3.2-1-el8-amd64.zip",
        "emqx-4.4.10-otp24.1.5-3-el8-amd64.zip",
    ];
    let errors = [
        pick(&[], "4.4.16", &[]),
        pick(&["readme.md"], "4.4.16", &[]),
        pick(&names, "4.4.1", &[]),
        pick(&names, "4.4.16", &[("arch", "arm64"), ("os", "el8")]),
        pick(&names, "4.4.16", &[("arch", "amd64")]),
        pick(
            &[
                "emqx-4.4.16-otp24-el8-amd64.zip",
                "emqx-4.4.16.0-otp24-el8-amd64.zip",
            ],
            "4.4.16",
            &[],
        ),
    ];
    insta::assert_snapshot!(errors.map(Result::unwrap_err).join("\n"));
}

#[test]
fn pattern_errors_say_where_and_what_to_write() {
    let patterns = [
        "etcd.tar.gz",
        "etcd-{version",
        "etcd-[{version}].zip",
        "etcd-{version}[-{os}.zip",
        "etcd-{version}[-beta].zip",
        "etcd-{version}{os}.zip",
        "etcd-{version}[{env}].zip",
        "etcd-{version}-{version}.zip",
        "etcd-{version}-{OS}.zip",
        "etcd-{version}-{}.zip",
        "etcd-*-{version}.zip",
        "ä-{version}].zip",
        "etcd-[-{a}[-{b}]]-{version}.zip",
    ];
    let errors = patterns.map(|pattern| PackagePattern::parse(pattern).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn printing_needs_parts_that_the_pattern_can_carry() {
    let pattern = PackagePattern::parse(EMQX).unwrap();
    let parts = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(part, value)| ((*part).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let errors = [
        parts(&[("otp", "24"), ("os", "el8")]),
        parts(&[("otp", "24"), ("os", "el8"), ("arch", "amd64"), ("site", "b")]),
        parts(&[("otp", "24"), ("os", "../el8"), ("arch", "amd64")]),
    ]
    .map(|parts| pattern.print("4.4.16", &parts).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"));
}

/// Parts that no reader could confuse with their neighbours.
fn parts() -> impl Strategy<Value = (String, BTreeMap<String, String>)> {
    let version = "[1-9]\\.[0-9]{1,2}\\.[0-9]{1,2}(-rc\\.[1-9])?";
    let otp = "2[0-9](\\.[0-9]){0,3}(-[1-9])?";
    let os = "(el|ubuntu|debian|amzn)[0-9]{1,2}(\\.04)?";
    (
        version,
        otp,
        os,
        "(amd64|arm64|x86_64)",
        proptest::option::of("(ee|edge)"),
    )
        .prop_map(|(version, otp, os, arch, edition)| {
            let mut parts = BTreeMap::from([("otp", otp), ("os", os), ("arch", arch)]);
            parts.extend(edition.map(|edition| ("edition", edition)));
            (
                version,
                parts
                    .into_iter()
                    .map(|(part, value)| (part.to_owned(), value))
                    .collect(),
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back((version, parts) in parts()) {
        let pattern = PackagePattern::parse(EMQX).unwrap();
        let name = pattern.print(&version, &parts).unwrap();
        let package = pattern.matches(Scheme::Vendor, &name).expect("printed by this pattern");
        prop_assert_eq!(package.version.as_str(), version);
        prop_assert_eq!(package.parts, parts);
    }

    #[test]
    fn what_is_read_prints_back(name in "a(-[0-9a-c.]{1,4}){1,6}(-rc1)?(\\.x)?") {
        for pattern in ["a-{version-env}", "a[-{env}]-{version}", "a-{env}-{version}[-{site}].x", "a-{version}[-{os}]"] {
            let pattern = PackagePattern::parse(pattern).unwrap();
            if let Some(package) = pattern.matches(Scheme::Vendor, &name) {
                prop_assert_eq!(pattern.print(package.version.as_str(), &package.parts).unwrap(), name.clone());
            }
        }
    }

    #[test]
    fn no_text_makes_reading_panic(pattern in "[a-z{}\\[\\]é./*-]{0,20}", name in "\\PC{0,30}", long in "-{250,255}") {
        if let Ok(pattern) = PackagePattern::parse(&pattern) {
            pattern.matches(Scheme::Vendor, &name);
            pattern.matches(Scheme::Vendor, &long);
        }
    }
}
