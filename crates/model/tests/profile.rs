//! Profiles as their authors meet them: what is told of mistakes, and what of the shipped ones.

use proptest::prelude::*;
use upshift_model::diagnostic::Diagnostic;
use upshift_model::profile::{self, Profile};

const SOUND: &str = include_str!("profiles/sound.yaml");

fn all(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|one| format!("{one}\n\n")).collect()
}

#[test]
fn a_sound_profile_is_read_and_nothing_is_found() {
    let profile: Profile =
        profile::parse("sound.yaml", SOUND).unwrap_or_else(|found| panic!("{}", all(&found)));
    assert_eq!(profile.product, "quill");
    assert_eq!(profile.blocked[0].fixed_in.as_deref(), Some("1.1.2"));
    let found = profile::lint("sound.yaml", SOUND);
    assert!(found.is_empty(), "{}", all(&found));
}

#[test]
fn all_mistakes_of_shape_are_told_at_once() {
    let text = include_str!("profiles/shape.yaml");
    let found = profile::parse("shape.yaml", text).unwrap_err();
    insta::assert_snapshot!(all(&found));
    assert_eq!(profile::lint("shape.yaml", text), found);
}

#[test]
fn all_mistakes_of_meaning_are_told_at_once() {
    let text = include_str!("profiles/meaning.yaml");
    assert!(profile::parse("meaning.yaml", text).is_ok());
    insta::assert_snapshot!(all(&profile::lint("meaning.yaml", text)));
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    for (name, text) in [
        ("template", "product: quill\ntitle: {{ name }}s\n"),
        ("tab", "product: quill\nversions:\n\tscheme: semver\n"),
        ("empty", ""),
        ("two_documents", "product: quill\n---\nproduct: ink\n"),
        ("list", "- product: quill\n"),
        ("tag", "product: !name quill\n"),
        ("alias", "product: &quill quill\ntitle: *quill\n? [a]\n: b\n"),
        ("growth", &growing()),
    ] {
        let found = profile::parse("profile.yaml", text).unwrap_err();
        insta::assert_snapshot!(format!("not_yaml_{name}"), all(&found));
    }
}

/// Aliases that double with every line.
fn growing() -> String {
    let lines = (1..40).map(|n| format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1));
    format!("a0: &a0 [x]\n{}", lines.collect::<String>())
}

#[test]
fn the_committed_schema_is_current() {
    let current = serde_json::to_string_pretty(&profile::schema()).unwrap();
    let committed = include_str!("../../../docs/schema/profile.json");
    assert!(
        committed.trim_end() == current,
        "docs/schema/profile.json is not what the types say; write it anew: \
         `cargo run -p upshift -- profile schema > docs/schema/profile.json`"
    );
}

/// One way to spoil a text.
#[derive(Clone, Debug)]
enum Spoil {
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    SwapLines(prop::sample::Index, prop::sample::Index),
    Indent(prop::sample::Index, usize),
    RepeatLine(prop::sample::Index),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let piece = prop_oneof![
        "[\\PC\\t\n]{0,6}",
        prop::sample::select(vec![
            "{{",
            "}}",
            "{%",
            ": ",
            "- ",
            "&a ",
            "*a ",
            "!x ",
            "'",
            "\"",
            "~",
            "|",
            ">",
            "ä€𝕏",
            "\n---\n"
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        (any::<prop::sample::Index>(), 0usize..40).prop_map(|(at, length)| Spoil::Remove(at, length)),
        (any::<prop::sample::Index>(), piece).prop_map(|(at, text)| Spoil::Insert(at, text)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(a, b)| Spoil::SwapLines(a, b)),
        (any::<prop::sample::Index>(), 0usize..5).prop_map(|(at, by)| Spoil::Indent(at, by)),
        any::<prop::sample::Index>().prop_map(Spoil::RepeatLine),
    ]
}

fn spoiled(text: &str, spoil: &Spoil) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match spoil {
        Spoil::Remove(at, length) if !characters.is_empty() => {
            let at = at.index(characters.len());
            characters.drain(at..(at + length).min(characters.len()));
            return characters.into_iter().collect();
        }
        Spoil::Insert(at, piece) => {
            let at = at.index(characters.len() + 1);
            characters.splice(at..at, piece.chars());
            return characters.into_iter().collect();
        }
        Spoil::SwapLines(a, b) if !lines.is_empty() => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        Spoil::Indent(at, by) if !lines.is_empty() => {
            let at = at.index(lines.len());
            lines[at].insert_str(0, &" ".repeat(*by));
        }
        Spoil::RepeatLine(at) if !lines.is_empty() => {
            let line = lines[at.index(lines.len())].clone();
            lines.push(line);
        }
        _ => {}
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is done to a profile: nothing panics, and every mistake has a place in the text.
    #[test]
    fn spoiled_profiles_are_told_apart_without_a_panic(spoils in prop::collection::vec(spoil(), 1..6)) {
        let text = spoils.iter().fold(SOUND.to_owned(), |text, spoil| spoiled(&text, spoil));
        let last = text.matches('\n').count() + 1;
        for found in profile::lint("spoiled.yaml", &text) {
            prop_assert!((1..=last).contains(&found.line), "{found}");
            prop_assert!(found.column >= 1);
            prop_assert!(found.snippet.contains(&found.message));
        }
    }
}

#[test]
fn the_shipped_profiles_have_no_mistakes() {
    for (name, text) in profile::shipped() {
        let found = profile::lint(name, text);
        assert!(found.is_empty(), "{}", all(&found));
        let product = profile::parse(name, text).unwrap().product;
        assert_eq!(*name, format!("{product}.yaml"));
    }
}
