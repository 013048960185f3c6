use super::*;

fn clean(base: &str, theirs: &str, new: &str, format: Format) -> String {
    let merged = merged(base, theirs, new, format, &Answers::new());
    assert!(merged.conflicts.is_empty(), "{merged:?}");
    merged.text
}

fn conflicts(base: &str, theirs: &str, new: &str, format: Format) -> String {
    let merged = merged(base, theirs, new, format, &Answers::new());
    assert!(!merged.conflicts.is_empty(), "{}", merged.text);
    assert_eq!(
        merged.text, theirs,
        "nothing is merged where a person has to decide"
    );
    merged.conflicts.join("\n")
}

#[test]
fn comments_and_order_of_properties_survive() {
    let base =
        "# Kylin\nkylin.a=1\n# the metastore\nkylin.url=kylin@hbase\nkylin.b=2\nkylin.c=3\nkylin.d=4\n";
    let theirs = "# Kylin, ours\nkylin.a=1\n# the metastore\nkylin.url=kylin@jdbc\nkylin.b=2\nkylin.c=3\nkylin.d=4\nkylin.own=yes\n";
    let new =
        "# Kylin\nkylin.a=1\n# the metastore\nkylin.url=kylin@hbase\nkylin.b=2\nkylin.c=30\nkylin.d=4\n";
    assert_eq!(
        clean(base, theirs, new, Format::Lines),
        "# Kylin, ours\nkylin.a=1\n# the metastore\nkylin.url=kylin@jdbc\nkylin.b=2\nkylin.c=30\nkylin.d=4\nkylin.own=yes\n"
    );
    let merged = merged(base, theirs, new, Format::Lines, &Answers::new());
    assert!(merged.diff.contains("-kylin.c=3\n+kylin.c=30"), "{}", merged.diff);
    // Merged again, it is what it was.
    assert_eq!(clean(base, &merged.text, new, Format::Lines), merged.text);
}

#[test]
fn xml_toml_yaml_and_ini_survive() {
    let xml = |a: &str, b: &str| {
        format!(
            "<configuration>\n  <!-- first -->\n  <property>\n    <name>a</name>\n    <value>{a}</value>\n  </property>\n  \
             <property>\n    <name>keep</name>\n    <value>k</value>\n  </property>\n  <property>\n    <name>b</name>\n    <value>{b}</value>\n  </property>\n</configuration>\n"
        )
    };
    assert_eq!(
        clean(&xml("1", "2"), &xml("mine", "2"), &xml("1", "20"), Format::Xml),
        xml("mine", "20")
    );
    let ini =
        |a: &str, b: &str| format!("; head\n[one]\nkey = {a}\nmore = x\n\n[two]\nother = y\nkey = {b}\n");
    assert_eq!(
        clean(&ini("1", "2"), &ini("mine", "2"), &ini("1", "20"), Format::Lines),
        ini("mine", "20")
    );
    let yaml = |a: &str, b: &str| {
        format!(
            "# head\nserver:\n  port: {a}\n  hosts:\n    - h1\n    - h2\nclient:\n  host: c\n  port: {b}\n"
        )
    };
    assert_eq!(
        clean(&yaml("1", "2"), &yaml("9", "2"), &yaml("1", "3"), Format::Yaml),
        yaml("9", "3")
    );
    let toml = |a: &str, b: &str| {
        format!("# head\n[server]\nport = {a}\nname = \"n\"\n[client]\nretry = true\nport = {b}\n")
    };
    assert_eq!(
        clean(&toml("1", "2"), &toml("9", "2"), &toml("1", "3"), Format::Lines),
        toml("9", "3")
    );
}

#[test]
fn what_both_changed_is_for_a_person_to_decide() {
    let said = conflicts("a=1\nb=1\n", "a=2\nb=1\n", "a=3\nb=1\n", Format::Lines);
    assert!(said.contains("`a=2`") && said.contains("`a=3`"), "{said}");
}

/// The same key, added by both sides at different places: as text that merges, and the key is there twice.
#[test]
fn a_key_that_both_added_elsewhere_is_not_set_twice_in_silence() {
    let base = "a=1\nb=1\nc=1\nd=1\ne=1\n";
    let said = conflicts(
        base,
        "own=mine\na=1\nb=1\nc=1\nd=1\ne=1\n",
        "a=1\nb=1\nc=1\nd=1\ne=1\nown=default\n",
        Format::Lines,
    );
    assert!(said.contains("`own`"), "{said}");
}

/// The new default moved a key that the operator changed: as text the old line is gone or a conflict, or both are there.
#[test]
fn a_key_that_was_moved_keeps_the_operators_value_or_is_a_conflict() {
    let base = "k=1\na=1\nb=1\nc=1\nd=1\n";
    conflicts(
        base,
        "k=mine\na=1\nb=1\nc=1\nd=1\n",
        "a=1\nb=1\nc=1\nd=1\nk=1\n",
        Format::Lines,
    );
}

/// A deletion of one side beside an insertion of the other, which a version of the library merged wrongly in silence.
#[test]
fn a_deletion_beside_an_insertion_is_not_merged_wrongly() {
    let base = "a=1\nb=1\nc=1\n";
    let merged = merged(
        base,
        "a=1\nc=1\n",
        "a=1\nb=1\nx=1\nc=1\n",
        Format::Lines,
        &Answers::new(),
    );
    let right = merged.conflicts.is_empty()
        && keys(&merged.text, Format::Lines) == keys("a=1\nx=1\nc=1\n", Format::Lines);
    assert!(right || merged.text == "a=1\nc=1\n", "{merged:?}");
}

/// The same lines in two sections: a change meant for one must not land in the other.
#[test]
fn a_change_stays_in_its_section() {
    let base = "[one]\nport=1\nname=x\n[two]\nport=1\nname=x\n";
    let new = "[zero]\nport=1\nname=x\n[one]\nport=1\nname=x\n[two]\nport=1\nname=x\n";
    let theirs = "[one]\nport=1\nname=x\n[two]\nport=2\nname=x\n";
    let merged = merged(base, theirs, new, Format::Lines, &Answers::new());
    if merged.conflicts.is_empty() {
        assert_eq!(keys(&merged.text, Format::Lines)["[two] port"], ["2"]);
        assert_eq!(keys(&merged.text, Format::Lines)["[one] port"], ["1"]);
    }
}

#[test]
fn a_file_is_merged_once_and_keeps_its_mode_and_a_missing_default_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("base"), "a=1\nb=1\nc=1\nd=1\n").unwrap();
    fs::write(path("k.properties"), "a=mine\nb=1\nc=1\nd=1\n").unwrap();
    fs::write(path("new"), "a=1\nb=1\nc=1\nd=2\n").unwrap();
    fs::set_permissions(path("k.properties"), fs::Permissions::from_mode(0o640)).unwrap();
    let order = MergeConfig {
        file: path("k.properties"),
        base: path("base"),
        new: path("new"),
        new_text: None,
        answers: String::new(),
    };
    assert_eq!(probe(&order).unwrap()["clean"], true);
    for _ in 0..2 {
        merge(&order).unwrap();
        assert_eq!(
            fs::read_to_string(path("k.properties")).unwrap(),
            "a=mine\nb=1\nc=1\nd=2\n"
        );
    }
    assert_eq!(
        fs::metadata(path("k.properties")).unwrap().permissions().mode() & 0o777,
        0o640
    );
    fs::write(path("new"), "a=3\nb=1\nc=1\nd=2\n").unwrap();
    assert_eq!(probe(&order).unwrap()["clean"], false);
    assert!(merge(&order).unwrap_err().to_string().contains("a=mine"));
    // Decided, it is merged; and where the new default is not there yet, its text says what would come of it.
    let decided = MergeConfig {
        answers: "{\"a\": \"yours\"}".to_owned(),
        ..order.clone()
    };
    assert_eq!(probe(&decided).unwrap()["clean"], true);
    fs::write(path("k.properties"), "a=mine\nb=1\nc=1\nd=1\n").unwrap();
    let ahead = MergeConfig {
        new: path("nothing"),
        new_text: Some("a=1\nb=1\nc=1\nd=3\n".to_owned()),
        ..order.clone()
    };
    assert!(probe(&ahead).unwrap()["diff"].as_str().unwrap().contains("+d=3"));
    let missing = MergeConfig {
        base: path("nothing"),
        ..order
    };
    assert!(
        look(&missing)
            .unwrap_err()
            .to_string()
            .contains("which the merge of")
    );
}

fn decided(base: &str, theirs: &str, new: &str, answer: &str) -> Merged {
    let answers = answers::parse(&format!("{{\"b\": \"{answer}\"}}")).unwrap();
    let first = merged(base, theirs, new, Format::Lines, &answers);
    if first.conflicts.is_empty() {
        // Merged once more with the same answer, it stays what it is.
        let again = merged(base, &first.text, new, Format::Lines, &answers);
        assert_eq!(
            (again.text.as_str(), again.diff.as_str()),
            (first.text.as_str(), "")
        );
    }
    first
}

#[test]
fn what_the_operator_has_decided_is_no_conflict() {
    let base = "a=1\nb=1\nc=1\n";
    for (theirs, new, answer, text) in [
        ("a=1\nb=2\nc=1\n", "a=1\nb=3\nc=1\n", "yours", "a=1\nb=2\nc=1\n"),
        ("a=1\nb=2\nc=1\n", "a=1\nb=3\nc=1\n", "new", "a=1\nb=3\nc=1\n"),
        // Taken out by one side, changed by the other.
        ("a=1\nc=1\n", "a=1\nb=3\nc=1\n", "new", "a=1\nb=3\nc=1\n"),
        ("a=1\nb=2\nc=1\n", "a=1\nc=1\n", "yours", "a=1\nb=2\nc=1\n"),
        ("a=1\nc=1\n", "a=1\nb=3\nc=1\n", "yours", "a=1\nc=1\n"),
        ("a=1\nb=2\nc=1\n", "a=1\nc=1\n", "new", "a=1\nc=1\n"),
    ] {
        let merged = decided(base, theirs, new, answer);
        assert!(merged.conflicts.is_empty(), "{merged:?}");
        assert_eq!(merged.text, text, "{theirs:?} {new:?} {answer}");
    }
    // Added by both, at different places.
    let (base, theirs, new) = ("a=1\nc=1\nd=1\n", "b=2\na=1\nc=1\nd=1\n", "a=1\nc=1\nd=1\nb=3\n");
    assert_eq!(decided(base, theirs, new, "yours").text, theirs);
    assert_eq!(decided(base, theirs, new, "new").text, new);
    // An answer about another key decides nothing.
    let other = answers::parse("{\"z\": \"yours\"}").unwrap();
    let open = merged("b=1\n", "b=2\n", "b=3\n", Format::Lines, &other);
    assert!(!open.conflicts.is_empty());
}

#[test]
fn an_answer_that_is_none_is_said() {
    assert!(answers::parse("").unwrap().is_empty());
    let error = answers::parse("{\"kylin.env\": \"mine\"}").unwrap_err();
    assert!(
        error.contains("`kylin.env`") && error.contains("`yours` or `new`"),
        "{error}"
    );
    assert!(answers::parse("[1]").is_err());
}

#[test]
fn no_secret_is_in_what_is_shown() {
    let base = "a=1\nkylin.ldap.connection-password=old\nb=1\n";
    let theirs = base.replace("password=old", "password=hunter2");
    let new = base.replace("b=1", "b=2");
    let shown = merged(base, &theirs, &new, Format::Lines, &Answers::new());
    assert!(
        shown.text.contains("hunter2") && !shown.diff.contains("hunter2"),
        "{}",
        shown.diff
    );
    let new = base.replace("password=old", "password=fresh");
    let shown = merged(base, &theirs, &new, Format::Lines, &Answers::new());
    let said = shown.conflicts.join(" ");
    assert!(!said.contains("hunter2") && !said.contains("fresh"), "{said}");
}
