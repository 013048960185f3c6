//! Whether a package is what its vendor made, as far as that can be told: by a signature, or by a list of checksums.

use serde::{Deserialize, Serialize};

/// By what a package file was verified on the operator's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// By a signature of this key (minisign, base64).
    Signature(String),
    /// By a checksum that stands in this file. It shows that the file arrived whole, not who made it.
    Checksum(String),
}

impl Verified {
    /// It in words, after "verified by".
    pub fn words(&self) -> String {
        match self {
            Verified::Signature(key) => format!("a signature of the key {key}"),
            Verified::Checksum(file) => format!("the checksum in {file}"),
        }
    }
}

/// Why a package is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The checksum in a file is another one.
    #[error("{file} names the checksum {wanted}, and the file has {found}")]
    Differs {
        /// Where the checksum stands.
        file: String,
        /// The checksum there.
        wanted: String,
        /// The file's own.
        found: String,
    },
    /// A checksum file that belongs to this package alone has none in it.
    #[error("{file} holds no SHA-256 checksum")]
    NoChecksum {
        /// The file.
        file: String,
    },
    /// Keys are named, and the package has no signature.
    #[error("it has no signature {file}, and keys are named that packages must be signed with")]
    NoSignature {
        /// The file that the signature would be in.
        file: String,
    },
    /// No named key has made the signature, or it cannot be read.
    #[error("the signature in {file} does not hold: {reason}")]
    BadSignature {
        /// The signature.
        file: String,
        /// Why, by the last key that was tried.
        reason: String,
    },
}

/// What lies beside a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Text files with checksums: the name, the text, and whether it is of this package alone.
    pub checksums: Vec<(String, String, bool)>,
    /// The name of the file that a signature is looked for in; what came of it for each key that was tried; nothing where there is no such file.
    pub signature: (String, Option<Result<String, String>>),
    /// Whether keys are named.
    pub keys: bool,
}

/// Judges a package by what lies beside it. Nothing where nothing tells anything.
///
/// # Errors
/// Where something tells that it is not what it should be, or where keys are named and none has signed it.
pub fn judge(name: &str, sha256: &str, beside: &Beside) -> Result<Option<Verified>, NotVerified> {
    let mut verified = None;
    for (file, text, own) in &beside.checksums {
        match checksum_of(text, name) {
            Some(wanted) if wanted.eq_ignore_ascii_case(sha256) => {
                verified.get_or_insert_with(|| Verified::Checksum(file.clone()));
            }
            Some(wanted) => {
                return Err(NotVerified::Differs {
                    file: file.clone(),
                    wanted: wanted.to_owned(),
                    found: sha256.to_owned(),
                });
            }
            None if *own => return Err(NotVerified::NoChecksum { file: file.clone() }),
            None => {}
        }
    }
    let (file, outcome) = &beside.signature;
    match outcome {
        _ if !beside.keys => Ok(verified),
        Some(Ok(key)) => Ok(Some(Verified::Signature(key.clone()))),
        Some(Err(reason)) => Err(NotVerified::BadSignature {
            file: file.clone(),
            reason: reason.clone(),
        }),
        None => Err(NotVerified::NoSignature { file: file.clone() }),
    }
}

/// The SHA-256 of a file in a text as `sha256sum` (`DIGEST  NAME`, `DIGEST *NAME`) and BSD's tools (`SHA256 (NAME) = DIGEST`) write it, or a
/// text that is the digest alone.
pub fn checksum_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let same = |path: &str| path.rsplit('/').next() == Some(name);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if let (Some(alone), None) = (lines.clone().next(), lines.clone().nth(1))
        && is_digest(alone)
    {
        return Some(alone);
    }
    lines.find_map(|line| {
        if let Some((digest, path)) = line.split_once(char::is_whitespace)
            && is_digest(digest)
        {
            let path = path.trim_start();
            return same(path.strip_prefix('*').unwrap_or(path)).then_some(digest);
        }
        let (path, digest) = line.strip_prefix("SHA256 (")?.split_once(") = ")?;
        (same(path) && is_digest(digest)).then_some(digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const OTHER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn checksums_are_read_as_the_common_tools_write_them() {
        for (text, found) in [
            (format!("{OTHER}  y.zip\n{ONE}  x.zip\n"), Some(ONE)),
            (format!("{ONE} *./out/x.zip"), Some(ONE)),
            (
                format!("SHA256 (y.zip) = {OTHER}\nSHA256 (x.zip) = {ONE}\n"),
                Some(ONE),
            ),
            (format!("{ONE}\n"), Some(ONE)),
            (format!("{ONE}\n{OTHER}\n"), None),
            (format!("{OTHER}  xx.zip\n"), None),
            // Of another kind.
            ("0123456789abcdef0123456789abcdef  x.zip\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(checksum_of(&text, "x.zip"), found, "{text}");
        }
    }

    #[test]
    fn a_package_is_judged_by_all_that_lies_beside_it() {
        let list = |digest: &str, own| ("SUMS".to_owned(), format!("{digest}  x.zip\n"), own);
        let beside = |checksums, signature, keys| Beside {
            checksums,
            signature: ("x.zip.minisig".to_owned(), signature),
            keys,
        };
        let judged = |beside: Beside| judge("x.zip", ONE, &beside);
        assert_eq!(judged(beside(vec![], None, false)), Ok(None));
        let by_list = Ok(Some(Verified::Checksum("SUMS".to_owned())));
        assert_eq!(judged(beside(vec![list(ONE, false)], None, false)), by_list);
        let key = || Some(Ok("KEY".to_owned()));
        let signed = Ok(Some(Verified::Signature("KEY".to_owned())));
        assert_eq!(judged(beside(vec![list(ONE, true)], key(), true)), signed);
        // A good signature does not make up for a wrong checksum, nor a checksum for a signature that is missing or bad.
        assert!(matches!(
            judged(beside(vec![list(OTHER, false)], key(), true)),
            Err(NotVerified::Differs { .. })
        ));
        assert!(matches!(
            judged(beside(vec![list(ONE, false)], None, true)),
            Err(NotVerified::NoSignature { .. })
        ));
        assert!(matches!(
            judged(beside(vec![], Some(Err("other key".to_owned())), true)),
            Err(NotVerified::BadSignature { .. })
        ));
        // Another package's line says nothing; a file of this package's own must say something.
        let foreign = |own| ("x.zip.sha256".to_owned(), format!("{OTHER}  y.zip\n"), own);
        assert_eq!(judged(beside(vec![foreign(false)], None, false)), Ok(None));
        assert!(matches!(
            judged(beside(vec![foreign(true)], None, false)),
            Err(NotVerified::NoChecksum { .. })
        ));
    }
}
