//! Versions and ranges that profiles use.

use super::*;

fn vendor(text: &str) -> Version {
    Version::parse(Scheme::Vendor, text).unwrap_or_else(|error| panic!("{error}"))
}

/// Asserts that each version comes before all that follow it.
fn assert_ascending(scheme: Scheme, texts: &[&str]) {
    let versions: Vec<_> = texts
        .iter()
        .map(|text| Version::parse(scheme, text).expect(text))
        .collect();
    for (index, first) in versions.iter().enumerate() {
        for second in &versions[index + 1..] {
            assert!(
                first.precedence(second).is_lt(),
                "{first} does not come before {second}"
            );
            assert!(first < second);
        }
    }
}

#[test]
fn semantic_versions_order_as_their_specification_says() {
    let ascending = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.2.3-rc.1",
        "1.2.3",
        "1.2.10",
        "3.5.9",
        "3.5.30",
        "3.6.0-rc.0",
    ];
    assert_ascending(Scheme::Semver, &ascending);
}

#[test]
fn vendors_versions_order_by_numbers_then_by_suffix() {
    assert_ascending(
        Scheme::Vendor,
        &["15.4", "15.10", "16beta1", "16rc1", "16", "16.1"],
    );
    assert_ascending(
        Scheme::Vendor,
        &[
            "8.0.0~git1",
            "8.0.0.dev3",
            "8.0.0-alpha1",
            "8.0.0-M1",
            "8.0.0-rc.1",
            "8.0.0",
        ],
    );
    assert_ascending(
        Scheme::Vendor,
        &["2.4.0-rc2", "2.4.0-SNAPSHOT", "2.4.0", "2.4.0.1"],
    );
    let emqx = [
        "4.3.22",
        "4.4.0",
        "4.4.1",
        "4.4.10",
        "4.4.16-rc.1",
        "4.4.16",
        "4.4.16-otp24.1.5-3",
        "4.4.16-otp24.3.4.2-1",
        "4.4.16-otp24.3.4.2-2",
        "e4.4.17",
    ];
    assert_ascending(Scheme::Vendor, &emqx);
    assert_ascending(
        Scheme::Vendor,
        &[
            "3.4.23",
            "4.2.8.312-6a24a3",
            "4.2.10",
            "4.4.2.157",
            "4.4.2.157-k8s.2",
        ],
    );
    // OpenSSL's letters are patches, and commits are builds, whatever letter they begin with.
    assert_ascending(Scheme::Vendor, &["1.1.1", "1.1.1b", "1.1.2"]);
    assert_ascending(Scheme::Vendor, &["1.1.1", "1.1.1-a1b2c3d"]);
}

#[test]
fn timestamps_order_by_time() {
    let ascending = [
        "RELEASE.2023-12-31T23-59-59Z",
        "RELEASE.2024-01-11T07-46-16Z",
        "RELEASE.2024-01-11T07-46-16Z.hotfix.1",
        "RELEASE.2024-01-11T07-46-17Z",
        "2024-02-01",
    ];
    assert_ascending(Scheme::Timestamp, &ascending);
    let version = Version::parse(Scheme::Timestamp, ascending[1]).unwrap();
    assert_eq!(
        (version.prefix(), version.major(), version.minor()),
        ("RELEASE", 2024, 1)
    );
}

#[test]
fn texts_that_mean_the_same_are_still_two_versions() {
    let (short, long) = (vendor("12"), vendor("12.0"));
    assert!(short.precedence(&long).is_eq());
    assert!(short != long && short < long);
    assert!(short.same_minor(&long));
    let semver = |text| Version::parse(Scheme::Semver, text).unwrap();
    assert!(semver("1.2.3+b1").precedence(&semver("1.2.3+b2")).is_eq());
    assert_ne!(semver("1.2.3"), Version::parse(Scheme::Vendor, "1.2.3").unwrap());
}

#[test]
fn numbers_are_counted_from_the_front() {
    let version = vendor("e4.4.17-otp24.3.4.2-1");
    assert_eq!(
        (
            version.prefix(),
            version.major(),
            version.minor(),
            version.number(2)
        ),
        ("e", 4, 4, 17)
    );
    assert!(version.same_minor(&vendor("4.4")));
    assert!(!version.same_minor(&vendor("4.40.17")));
    assert!(!version.same_minor(&vendor("3.4.17")));
    assert_eq!(vendor("15").minor(), 0);
}

/// The texts that `range` contains.
fn within<'a>(scheme: Scheme, range: &str, texts: &[&'a str]) -> Vec<&'a str> {
    let range = Range::parse(scheme, range).unwrap_or_else(|error| panic!("{error}"));
    texts
        .iter()
        .copied()
        .filter(|text| range.contains(&Version::parse(scheme, text).expect(text)))
        .collect()
}

#[test]
fn ranges_that_profiles_use() {
    let etcd = |range| {
        let versions = [
            "3.2.9", "3.3.0", "3.3.25", "3.4.0", "3.4.30", "3.5.0", "3.5.2", "3.5.3", "3.5.16", "3.6.0",
        ];
        within(Scheme::Semver, range, &versions)
    };
    assert_eq!(etcd(">=3.3.0 <3.4.0"), ["3.3.0", "3.3.25"]);
    assert_eq!(etcd("3.4.x"), ["3.4.0", "3.4.30"]);
    assert_eq!(etcd("3.4.*, >3.4.0"), ["3.4.30"]);
    assert_eq!(etcd("=3.5.16"), ["3.5.16"]);
    assert_eq!(etcd("3.5.16"), ["3.5.16"]);
    assert_eq!(etcd(">=3.5.0 <3.5.3 || =3.6.0"), ["3.5.0", "3.5.2", "3.6.0"]);
    assert_eq!(etcd("> 3.4"), ["3.5.0", "3.5.2", "3.5.3", "3.5.16", "3.6.0"]);
    assert_eq!(etcd("<=3.3"), ["3.2.9", "3.3.0", "3.3.25"]);
    assert_eq!(etcd("*").len(), 10);
}

#[test]
fn comparators_look_no_further_than_they_are_written() {
    let weka = |range| {
        within(
            Scheme::Vendor,
            range,
            &["4.2.8.312-6a24a3", "4.2.10", "4.2.10.312-6a24a3", "4.2.11"],
        )
    };
    assert_eq!(
        weka("<=4.2.10"),
        ["4.2.8.312-6a24a3", "4.2.10", "4.2.10.312-6a24a3"]
    );
    assert_eq!(weka("=4.2.10"), ["4.2.10", "4.2.10.312-6a24a3"]);
    assert_eq!(weka(">4.2.10"), ["4.2.11"]);
    assert_eq!(weka("<4.2.10"), ["4.2.8.312-6a24a3"]);
    assert_eq!(weka(">=4.2.10 <4.2.10.312"), ["4.2.10"]);
    assert_eq!(weka("=4.2.8.312-6a24a3"), ["4.2.8.312-6a24a3"]);
    assert_eq!(
        within(Scheme::Vendor, "=12.0", &["12", "12.0", "12.1", "12.0.0-p1"]),
        ["12", "12.0", "12.0.0-p1"]
    );
}

#[test]
fn pre_releases_are_in_a_range_only_where_it_names_one() {
    let etcd = |range| {
        within(
            Scheme::Semver,
            range,
            &["3.5.9", "3.6.0-rc.0", "3.6.0-rc.1", "3.6.0", "3.7.0-rc.0"],
        )
    };
    assert_eq!(etcd(">=3.5.0 <3.6.0"), ["3.5.9"]);
    assert_eq!(etcd(">=3.6.0 <3.7.0"), ["3.6.0"]);
    assert_eq!(etcd("3.6.x"), ["3.6.0"]);
    assert_eq!(etcd(">=3.6.0-rc.1 <3.7.0"), ["3.6.0-rc.1", "3.6.0"]);
    assert_eq!(etcd("<3.6.0-rc.1"), ["3.5.9", "3.6.0-rc.0"]);
    assert_eq!(etcd("*").len(), 5);
    assert_eq!(
        within(Scheme::Vendor, "3.4.x", &["3.4.0-rc1", "3.4.0"]),
        ["3.4.0"]
    );
}

#[test]
fn a_word_before_the_numbers_narrows_only_where_it_is_written() {
    let emqx = |range| within(Scheme::Vendor, range, &["4.4.16", "e4.4.17", "4.4.18", "e4.5.0"]);
    assert_eq!(emqx(">=4.4.0 <4.5.0"), ["4.4.16", "e4.4.17", "4.4.18"]);
    assert_eq!(emqx(">=e4.4.0"), ["e4.4.17", "e4.5.0"]);
    let minio = |range| {
        within(
            Scheme::Timestamp,
            range,
            &[
                "RELEASE.2023-12-31T23-59-59Z",
                "RELEASE.2024-01-11T07-46-16Z",
                "2024-02-01",
            ],
        )
    };
    assert_eq!(
        minio(">=RELEASE.2024-01-01T00-00-00Z"),
        ["RELEASE.2024-01-11T07-46-16Z"]
    );
    assert_eq!(
        minio(">=2024-01-01"),
        ["RELEASE.2024-01-11T07-46-16Z", "2024-02-01"]
    );
}

#[test]
fn a_version_of_another_scheme_is_in_no_range() {
    let range = Range::parse(Scheme::Semver, "*").unwrap();
    assert!(!range.contains(&vendor("3.5.16")));
}

#[test]
fn version_errors_say_where_and_what_to_write() {
    let texts = [
        (
            Scheme::Semver,
            vec![
                "",
                "3.4",
                "v3.5.16",
                "3.05.1",
                "3.5.1-",
                "3.5.1-rc.01",
                "3.5.1+",
                "1.2.3.4",
                "3.5.x",
            ],
        ),
        (
            Scheme::Vendor,
            vec![
                "",
                "otp",
                "4.4.16 ",
                "4..4",
                "4.4-",
                "4.4/5",
                "4.4-ö",
                "99999999999999999999.1",
            ],
        ),
        (
            Scheme::Timestamp,
            vec![
                "",
                "RELEASE2024",
                "2024-13-01",
                "2024-1-1",
                "RELEASE.2024-01-11T07-46",
                "2024-01-01Z",
            ],
        ),
    ];
    let errors: Vec<_> = texts
        .iter()
        .flat_map(|(scheme, texts)| {
            texts
                .iter()
                .map(|text| Version::parse(*scheme, text).unwrap_err().to_string())
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn range_errors_say_where_and_what_to_write() {
    let texts = [
        "",
        ">=3.3.0 <",
        ">=3.3.0 <3.4.y",
        "^3.4.0",
        "~3.4.0",
        ">=3.4.x",
        "=3.5.0 || ",
        "|| =3.5.0",
        "3.4.0 * ",
        "x.4",
        ">=3.5.0 <3.4.0",
        "=3.5.0 =3.5.1",
        "=>3.5.0",
        "3.3.0 - 3.4.0",
        "v3.3.x",
        "3.3.0-rc.1.x.",
        "3.4.0 || >=3.5.0 | <3.6.0",
    ];
    let errors: Vec<_> = texts
        .iter()
        .map(|text| Range::parse(Scheme::Semver, text).unwrap_err().to_string())
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}
