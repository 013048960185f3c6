//! Removing keys from, or commenting them out in, a line-oriented configuration file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use serde_json::{Value, json};
use upshift_model::action::EditConfig;

use crate::durable;
use crate::error::{Context, NodeError, Result};

/// Edits the file; every other byte stays as it is. A link is followed, and stays a link.
pub fn edit(order: &EditConfig) -> Result<Value> {
    let path = fs::canonicalize(&order.file).context(|| format!("cannot open {}", order.file))?;
    let contents = fs::read(&path).context(|| format!("cannot read {}", path.display()))?;
    let yaml = path
        .extension()
        .is_some_and(|extension| extension == "yml" || extension == "yaml");
    if yaml && !order.set.is_empty() {
        return Err(NodeError::refused(format!(
            "values can be set in files of `key=value` lines, and {} is YAML",
            path.display()
        )));
    }
    let edited = edited(&contents, order, yaml);
    let with_values = order.set.iter().fold(edited.contents, |contents, (key, value)| {
        with_value(&contents, key, value)
    });
    if with_values != contents {
        replace(&path, &with_values).context(|| format!("cannot write {}", path.display()))?;
        durable::sync_parent(&path)?;
    }
    let set: Vec<&String> = order.set.keys().collect();
    Ok(json!({ "dropped": edited.dropped, "commented": edited.commented, "set": set }))
}

/// The contents with one line that sets the key: in the place of the last one that does, or at the end.
fn with_value(contents: &[u8], key: &str, value: &str) -> Vec<u8> {
    let alone = |keys: Vec<String>| EditConfig {
        file: String::new(),
        drop: keys,
        comment: Vec::new(),
        set: BTreeMap::new(),
        reason: String::new(),
    };
    let ending: &[u8] = if contents.windows(2).any(|two| two == b"\r\n") {
        b"\r\n"
    } else {
        b"\n"
    };
    let line = [key.as_bytes(), b"=", value.as_bytes(), ending].concat();
    // Cut where the last line that sets the key begins; what else sets it goes away on both sides.
    let drop = alone(vec![key.to_owned()]);
    let mut at = contents.len();
    let mut position = 0;
    for piece in contents.split_inclusive(|byte| *byte == b'\n') {
        if has_key(piece, key, false) {
            at = position;
        }
        position += piece.len();
    }
    let (head, tail) = contents.split_at(at);
    let mut result = edited(head, &drop, false).contents;
    if !result.is_empty() && !result.ends_with(b"\n") {
        result.extend_from_slice(ending);
    }
    result.extend(line);
    result.extend(edited(tail, &drop, false).contents);
    result
}

struct Edited {
    contents: Vec<u8>,
    dropped: Vec<String>,
    commented: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Keep,
    Drop,
    Comment,
}

fn edited(contents: &[u8], order: &EditConfig, yaml: bool) -> Edited {
    let mut result = Edited {
        contents: Vec::with_capacity(contents.len() + 64),
        dropped: Vec::new(),
        commented: Vec::new(),
    };
    let mut going_on: Option<(What, Continued)> = None;
    for line in contents.split_inclusive(|byte| *byte == b'\n') {
        let belongs = going_on
            .as_mut()
            .and_then(|(what, continued)| continued.takes(line).then_some(*what));
        let found = match belongs {
            Some(what) => what,
            None => {
                let (what, key) = decide(line, order, yaml);
                match what {
                    What::Keep => {}
                    What::Drop => result.dropped.extend(key.map(str::to_owned)),
                    What::Comment => result.commented.extend(key.map(str::to_owned)),
                }
                going_on = (what != What::Keep).then(|| (what, Continued::after(line, yaml)));
                what
            }
        };
        match found {
            What::Keep => result.contents.extend_from_slice(line),
            What::Drop => {}
            What::Comment => {
                if belongs.is_none() && !order.reason.is_empty() {
                    let reason = order.reason.replace('\n', " ");
                    result
                        .contents
                        .extend_from_slice(format!("# {reason}\n").as_bytes());
                }
                result.contents.extend_from_slice(b"# ");
                result.contents.extend_from_slice(line);
            }
        }
    }
    result
}

fn decide<'a>(line: &[u8], order: &'a EditConfig, yaml: bool) -> (What, Option<&'a str>) {
    let named = |keys: &'a [String]| {
        keys.iter()
            .map(String::as_str)
            .find(|key| has_key(line, key, yaml))
    };
    if let Some(key) = named(&order.drop) {
        return (What::Drop, Some(key));
    }
    match named(&order.comment) {
        Some(key) => (What::Comment, Some(key)),
        None => (What::Keep, None),
    }
}

/// Whether a line sets the key: `key = value`, `key: value`, `key=value`, also with quotes around the key. In YAML, an indented
/// key is another one, further down.
fn has_key(line: &[u8], key: &str, yaml: bool) -> bool {
    let line = if yaml { line } else { line.trim_ascii_start() };
    let quoted = |quote: &[u8]| {
        line.strip_prefix(quote)?
            .strip_prefix(key.as_bytes())?
            .strip_prefix(quote)
    };
    let rest = [&b""[..], b"\"", b"'"].into_iter().find_map(quoted);
    rest.is_some_and(|rest| matches!(rest.trim_ascii_start().first(), Some(b'=' | b':')))
}

/// The lines after a key's line that belong to it.
struct Continued {
    /// The last line ended with a backslash.
    backslash: bool,
    /// The value is a block of YAML below.
    block: bool,
}

impl Continued {
    fn after(line: &[u8], yaml: bool) -> Self {
        Continued {
            backslash: ends_with_backslash(line),
            block: yaml,
        }
    }

    fn takes(&mut self, line: &[u8]) -> bool {
        if self.backslash {
            self.backslash = ends_with_backslash(line);
            return true;
        }
        // Entries of a list may stand as far left as their key.
        let blank = line.trim_ascii().is_empty();
        self.block = self.block
            && !blank
            && (line.starts_with(b" ") || line.starts_with(b"\t") || line.starts_with(b"- "));
        self.block
    }
}

fn ends_with_backslash(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Replaces a file in one step, with the same owner and mode.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let temporary = durable::temporary_beside(path);
    let written = || -> io::Result<()> {
        let mut file = File::create_new(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(contents)?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
            lchown(&temporary, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    written().inspect_err(|_| {
        // Best effort: the name is never used again.
        let _ = fs::remove_file(&temporary);
    })
}

/// Fails where the file is not there, before anything is tried; for the operator's sake.
pub fn check(order: &EditConfig) -> Result<()> {
    match Path::new(&order.file).is_absolute() {
        true => Ok(()),
        false => Err(NodeError::refused(format!(
            "`{}` is not an absolute path",
            order.file
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(text: &str, drop: &[&str], comment: &[&str], yaml: bool) -> String {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let order = EditConfig {
            file: String::new(),
            drop: owned(drop),
            comment: owned(comment),
            set: BTreeMap::new(),
            reason: String::new(),
        };
        String::from_utf8(edited(text.as_bytes(), &order, yaml).contents).unwrap()
    }

    #[test]
    fn keys_are_dropped_and_commented_and_the_rest_stays() {
        let text = "# head\r\na=1\r\n  b : 2\r\nbc = 3\nlong = x \\\n  y \\\n  z\n#a=1\nlast=\u{e9}";
        assert_eq!(
            run(text, &["b", "long"], &["a"], false),
            "# head\r\n# a=1\r\nbc = 3\n#a=1\nlast=\u{e9}"
        );
        assert_eq!(
            run(text, &["last"], &[], false),
            text.strip_suffix("last=\u{e9}").unwrap()
        );
    }

    #[test]
    fn a_value_takes_the_place_of_the_last_line_that_sets_its_key() {
        let set = |text: &str| String::from_utf8(with_value(text.as_bytes(), "j.folder", "/new")).unwrap();
        assert_eq!(set("a=1\nj.folder = /old\nz=2\n"), "a=1\nj.folder=/new\nz=2\n");
        assert_eq!(
            set("j.folder=/1\n# j.folder=/2\nj.folder=/3 \\\n  more\nj.folder.x=1\n"),
            "# j.folder=/2\nj.folder=/new\nj.folder.x=1\n"
        );
        assert_eq!(set("a=1"), "a=1\nj.folder=/new\n");
        assert_eq!(set("a=1\r\n"), "a=1\r\nj.folder=/new\r\n");
        let once = set("j.folder=/old\nb=1\n");
        assert_eq!(set(&once), once);
    }

    #[test]
    fn a_yaml_block_goes_with_its_key() {
        let text = "name: n1\nold:\n  - a\n  name: x\nlist:\n- 1\n- 2\n\"quoted\": 1\nend: 1\n";
        assert_eq!(
            run(text, &["old", "quoted"], &["list"], true),
            "name: n1\n# list:\n# - 1\n# - 2\nend: 1\n"
        );
        assert_eq!(run(text, &["name"], &[], true), &text[9..]);
    }

    #[test]
    fn a_file_keeps_its_mode_and_editing_twice_is_editing_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("real.conf");
        fs::write(&file, "a=1\nb=2\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link.conf");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let order = EditConfig {
            file: link.to_str().unwrap().to_owned(),
            drop: vec!["a".to_owned()],
            comment: vec!["b".to_owned()],
            set: BTreeMap::from([("c".to_owned(), "3".to_owned())]),
            reason: "because\nof that".to_owned(),
        };
        assert_eq!(
            edit(&order).unwrap(),
            json!({"dropped": ["a"], "commented": ["b"], "set": ["c"]})
        );
        assert_eq!(
            edit(&order).unwrap(),
            json!({"dropped": [], "commented": [], "set": ["c"]})
        );
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "# because of that\n# b=2\nc=3\n"
        );
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
    }

    proptest! {
        #[test]
        fn without_matching_keys_every_byte_stays(contents in prop::collection::vec(any::<u8>(), 0..200)) {
            let order = EditConfig { file: String::new(), drop: vec!["no.such.key".to_owned()], comment: Vec::new(), set: BTreeMap::new(), reason: String::new() };
            prop_assert_eq!(edited(&contents, &order, true).contents, contents.clone());
            prop_assert_eq!(edited(&contents, &order, false).contents, contents);
        }
    }
}
