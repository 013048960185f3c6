//! Wrong usage: exit status 2, and words that say what to type instead.

mod common;

use common::upshift;

macro_rules! snapshot {
    ($name:literal, $($argument:literal),*) => {{
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let ran = upshift(scratch.path(), &[$($argument),*]);
        insta::assert_snapshot!($name, ran.transcript(scratch.path()));
        ran
    }};
}

#[test]
fn help_is_a_result_and_names_the_exit_statuses() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    for arguments in [
        &["--help"][..],
        &["upgrade", "--help"],
        &["profile", "lint", "--help"],
        &["help"],
        &["help", "profile", "lint"],
    ] {
        let ran = upshift(scratch.path(), arguments);
        assert_eq!(ran.status, 0, "{arguments:?}");
        assert!(
            ran.stdout
                .contains("3  refused, or not well: this command changed nothing"),
            "{arguments:?}"
        );
        assert!(ran.stdout.contains("Examples:"), "{arguments:?}");
    }
}

#[test]
fn a_slip_in_a_command_is_understood() {
    assert_eq!(snapshot!("unknown-command", "upgarde").status, 2);
}

#[test]
fn an_upgrade_needs_a_version_or_a_plan() {
    assert_eq!(snapshot!("upgrade-without-target", "upgrade").status, 2);
}

#[test]
fn an_unknown_product_names_the_nearest_known_one() {
    assert_eq!(snapshot!("unknown-product", "profile", "show", "etc").status, 2);
}

#[test]
fn forms_that_a_command_does_not_have_are_refused() {
    assert_eq!(
        snapshot!("no-such-form", "profile", "ls", "--output", "svg").status,
        2
    );
}

#[test]
fn a_profile_that_cannot_be_read_is_named() {
    assert_eq!(
        snapshot!("profile-not-there", "profile", "lint", "absent.yaml").status,
        2
    );
}

/// A fleet of the lab server with one package, and what lies beside it. Nothing of it is ever reached.
fn with_package(scratch: &std::path::Path, keys: &str, beside: &[(&str, &str)]) {
    let fleet = format!(
        "name: lab\n{keys}products:\n  lab: {{ hosts: [n1] }}\nhosts:\n  n1: {{ address: 127.0.0.1 }}\n"
    );
    std::fs::write(scratch.join("fleet.yaml"), fleet).expect("a fleet");
    let packages = scratch.join("packages");
    std::fs::create_dir(&packages).expect("a directory");
    std::fs::write(packages.join("lab-1.0.1.tar.gz"), "no archive").expect("a package");
    for (name, text) in beside {
        std::fs::write(packages.join(name), text).expect("a file");
    }
}

#[test]
fn packages_that_are_not_what_they_should_be_are_refused() {
    const KEY: &str = "package_keys:\n  - RWQBAgMEBQYHCAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\n";
    let other = format!("{}  lab-1.0.1.tar.gz\n", "a".repeat(64));
    for (name, keys, beside, status) in [
        ("package-differs", "", &[("SHA256SUMS", other.as_str())][..], 3),
        ("package-unsigned", KEY, &[], 3),
        ("package-key-unreadable", "package_keys: [RWQ]\n", &[], 2),
    ] {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        with_package(scratch.path(), keys, beside);
        let ran = upshift(scratch.path(), &["plan", "--to", "1.0.1"]);
        insta::assert_snapshot!(name, ran.transcript(scratch.path()));
        assert_eq!(ran.status, status, "{name}");
    }
}
