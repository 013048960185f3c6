//! What must hold for every version and every range.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Range, Scheme, Version};

/// Texts that are versions, or nearly so, of any scheme; few different ones, so that equal keys are common.
fn text() -> impl Strategy<Value = (Scheme, String)> {
    let semver = "(0|1|10|2)\\.(0|1|9|10)\\.(0|1|10)(-(rc|alpha|0|1|x-y)(\\.(0|1|10|a))?)?(\\+(b|1))?";
    let vendor = "(e|v|Release)?[0-2](\\.(0|00|1|10)){0,3}([-.~+_]?(rc|M|b|otp|k8s|SNAPSHOT|6a24a3)([.-]?(0|1|02|10))?){0,2}";
    let timestamp = "(RELEASE\\.)?202[34]-(01|12)-(01|31)(T(00|23)[-:](00|59)-(00|60)Z)?(\\.hotfix\\.[12])?";
    prop_oneof![
        semver.prop_map(|text| (Scheme::Semver, text)),
        vendor.prop_map(|text| (Scheme::Vendor, text)),
        timestamp.prop_map(|text| (Scheme::Timestamp, text)),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    text().prop_filter_map("not a version", |(scheme, text)| {
        Version::parse(scheme, &text).ok()
    })
}

/// Versions of one scheme.
fn versions(count: usize) -> impl Strategy<Value = Vec<Version>> {
    proptest::collection::vec(version(), count).prop_map(|mut versions| {
        let scheme = versions[0].scheme();
        versions.retain(|version| version.scheme() == scheme);
        versions
    })
}

fn any_scheme() -> impl Strategy<Value = Scheme> {
    prop_oneof![
        Just(Scheme::Semver),
        Just(Scheme::Vendor),
        Just(Scheme::Timestamp)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn printing_gives_back_what_was_parsed((scheme, text) in text()) {
        if let Ok(version) = Version::parse(scheme, &text) {
            prop_assert_eq!(version.to_string(), text);
            prop_assert_eq!(Version::parse(scheme, version.as_str()), Ok(version));
        }
    }

    #[test]
    fn order_is_antisymmetric_and_agrees_with_equality(a in version(), b in version()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        prop_assert_eq!(a.partial_cmp(&b), Some(a.cmp(&b)));
        prop_assert_eq!(a.precedence(&b), b.precedence(&a).reverse());
        if a.scheme() == b.scheme() && a.precedence(&b).is_ne() {
            prop_assert_eq!(a.cmp(&b), a.precedence(&b));
        }
    }

    #[test]
    fn order_is_transitive(a in version(), b in version(), c in version()) {
        let mut sorted = [a, b, c];
        sorted.sort();
        let [a, b, c] = sorted;
        prop_assert!(a <= b && b <= c && a <= c);
        if a.scheme() == b.scheme() && b.scheme() == c.scheme() && a.precedence(&c).is_eq() {
            prop_assert!(a.precedence(&b).is_eq() && b.precedence(&c).is_eq());
        }
    }

    #[test]
    fn every_operator_splits_the_order_once(versions in versions(12)) {
        let releases: BTreeSet<_> = versions.iter().filter(|v| !v.is_pre_release()).collect();
        let bound = &versions[0];
        let contains = |operator: &str, version: &Version| {
            Range::parse(bound.scheme(), &format!("{operator}{bound}")).unwrap().contains(version)
        };
        for version in releases.iter().filter(|version| version.prefix() == bound.prefix()) {
            let below = contains("<", version);
            let same = contains("=", version);
            let above = contains(">", version);
            prop_assert_eq!([below, same, above].iter().filter(|yes| **yes).count(), 1);
            prop_assert_eq!(contains("<=", version), below || same);
            prop_assert_eq!(contains(">=", version), above || same);
            match version.precedence(bound) {
                Ordering::Less => prop_assert!(!above),
                Ordering::Equal => prop_assert!(same),
                Ordering::Greater => prop_assert!(!below),
            }
            for later in releases.iter().filter(|later| later.prefix() == bound.prefix() && later >= &version) {
                prop_assert!(below || !contains("<", later));
                prop_assert!(!above || contains(">", later));
            }
        }
    }

    #[test]
    fn a_version_is_in_the_range_of_itself(version in version()) {
        for operator in ["", "=", ">=", "<="] {
            let range = Range::parse(version.scheme(), &format!("{operator}{version}")).unwrap();
            prop_assert!(range.contains(&version), "{} does not contain {}", range, version);
            prop_assert_eq!(range.as_str(), format!("{operator}{version}"));
        }
        prop_assert!(Range::parse(version.scheme(), "*").unwrap().contains(&version));
    }

    #[test]
    fn alternatives_are_the_union(versions in versions(6)) {
        let parse = |text: &str| Range::parse(versions[0].scheme(), text).unwrap();
        let (a, b) = (&versions[0], &versions[versions.len() - 1]);
        let (first, second) = (parse(&format!("<{a}")), parse(&format!(">={b}")));
        let both = parse(&format!("<{a} || >={b}"));
        for version in &versions {
            prop_assert_eq!(both.contains(version), first.contains(version) || second.contains(version));
        }
    }

    #[test]
    fn no_text_makes_parsing_panic(scheme in any_scheme(), text in "\\PC{0,24}", dense in "[0-9a-zA-Z.*|<>=,~+T:Zé -]{0,24}") {
        for text in [text, dense] {
            if let Err(error) = Version::parse(scheme, &text) {
                prop_assert!(error.offset <= text.chars().count());
            }
            if let Err(error) = Range::parse(scheme, &text) {
                prop_assert!(error.offset <= text.chars().count());
            }
        }
    }
}
