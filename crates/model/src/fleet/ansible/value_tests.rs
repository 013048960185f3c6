//! How single values and lines are read.

use proptest::prelude::*;
use serde_json::json;

use super::{literal, scalar, words};

#[test]
fn ini_values_are_python_literals_or_texts() {
    let cases = [
        ("8", json!(8)),
        ("-1", json!(-1)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1e3", json!(1000.0)),
        ("0x1f", json!(31)),
        ("-0b11", json!(-3)),
        ("1_000", json!(1000)),
        ("1__0", json!("1__0")),
        ("00", json!(0)),
        ("1.2.3", json!("1.2.3")),
        ("u'a'", json!("a")),
        ("99999999999999999999", json!("99999999999999999999")),
        ("01", json!("01")),
        ("True", json!(true)),
        ("true", json!("true")),
        ("None", json!(null)),
        ("'a'", json!("a")),
        ("\"a 'b'\"", json!("a 'b'")),
        ("['a', 1, [True]]", json!(["a", 1, [true]])),
        ("(1, 2,)", json!([1, 2])),
        ("{'a': {'b': 1}, 2: 'c'}", json!({ "a": { "b": 1 }, "2": "c" })),
        ("[a, b]", json!("[a, b]")),
        ("[1, 2", json!("[1, 2")),
        ("10.0.0.1", json!("10.0.0.1")),
        ("1 # one", json!(1)),
        ("", json!("")),
    ];
    for (text, expected) in cases {
        assert_eq!(literal::value(text), expected, "{text}");
    }
}

#[test]
fn yaml_values_are_those_of_yaml_1_1() {
    let cases = [
        ("0644", json!(420)),
        ("08", json!("08")),
        ("0x1f", json!(31)),
        ("0b11", json!(3)),
        ("0o7", json!("0o7")),
        ("1_000", json!(1000)),
        ("_1", json!("_1")),
        ("-3", json!(-3)),
        ("1:30", json!(90)),
        ("1:75", json!("1:75")),
        ("01:30", json!("01:30")),
        ("1.5", json!(1.5)),
        ("3.", json!(3.0)),
        ("-.5", json!(-0.5)),
        ("1e3", json!("1e3")),
        ("1.5e3", json!("1.5e3")),
        ("1.5e+3", json!(1500.0)),
        ("y", json!("y")),
        ("2001-01-01", json!("2001-01-01")),
    ];
    for (text, expected) in cases {
        assert_eq!(scalar::value(text), expected, "{text}");
    }
}

#[test]
fn words_are_split_as_a_shell_splits_them() {
    let split = |text| {
        words::split(text, true).map(|words| words.into_iter().map(|word| word.text).collect::<Vec<_>>())
    };
    assert_eq!(
        split(r#"a 'b c' d"e f"g h\ i # j"#).unwrap(),
        ["a", "b c", "de fg", "h i"]
    );
    assert_eq!(split(r#"a="x\"y" b='\n' ''"#).unwrap(), [r#"a=x"y"#, r"b=\n", ""]);
    assert_eq!(split("a 'b"), Err(2));
    let ranges: Vec<_> = words::split("ab 'c d'e", false)
        .unwrap()
        .into_iter()
        .map(|word| word.range)
        .collect();
    assert_eq!(ranges, [0..2, 3..9]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_value_makes_reading_panic(text in "[\\[\\](){}'\",:0-9a-zé\\\\ .#]{0,30}") {
        literal::value(&text);
        scalar::value(&text);
        let _ = words::split(&text, true);
    }
}
