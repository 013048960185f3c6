//! What lies beside package files: checksums, and signatures as minisign writes them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use upshift_model::package::verified::Beside;

use crate::exit::{Failure, Problem};

/// Names of files with the checksums of all packages of a directory.
const LISTS: [&str; 4] = ["SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt", "checksums.txt"];
/// What is put after a package's name for a file with its checksum alone.
const OWN: [&str; 2] = [".sha256", ".sha256sum"];

/// A public key, and how it was written.
pub(super) struct Key {
    written: String,
    key: PublicKey,
}

/// Reads public keys.
pub(super) fn keys<'a>(written: impl Iterator<Item = &'a String>) -> Result<Vec<Key>, Failure> {
    let read = |text: &'a String| {
        let key = PublicKey::from_base64(text.trim()).map_err(|error| {
            Failure::Usage(
                Problem::new(format!("`{text}` is no public key of minisign"))
                    .because(error)
                    .next("write the second line of the `.pub` file under `package_keys`"),
            )
        })?;
        let written = text.trim().to_owned();
        Ok(Key { written, key })
    };
    written.map(read).collect()
}

/// What lies beside a package. Signatures are looked at only where there are keys.
pub(super) fn beside(package: &Path, keys: &[Key]) -> io::Result<Beside> {
    let mut checksums = Vec::new();
    let lists = LISTS.iter().map(|name| (package.with_file_name(name), false));
    let own = OWN.iter().map(|ending| (with_ending(package, ending), true));
    for (path, own) in own.chain(lists) {
        if let Some(text) = text_of(&path)? {
            checksums.push((name_of(&path), text, own));
        }
    }
    let signature = with_ending(package, ".minisig");
    let outcome = match text_of(&signature)? {
        Some(text) if !keys.is_empty() => Some(verify(package, &text, keys)?),
        _ => None,
    };
    Ok(Beside {
        checksums,
        signature: (name_of(&signature), outcome),
        keys: !keys.is_empty(),
    })
}

/// The key that has signed the package, or why none has.
fn verify(package: &Path, text: &str, keys: &[Key]) -> io::Result<Result<String, String>> {
    let signature = match Signature::decode(text) {
        Ok(signature) => signature,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut reason = String::new();
    for Key { written, key } in keys {
        // Refused where the key is another one, or the signature is of the old kind that takes the whole file into memory.
        let mut verifier = match key.verify_stream(&signature) {
            Ok(verifier) => verifier,
            Err(error) => {
                reason = error.to_string();
                continue;
            }
        };
        let mut file = fs::File::open(package)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            verifier.update(&buffer[..read]);
        }
        match verifier.finalize() {
            Ok(()) => return Ok(Ok(written.clone())),
            Err(error) => reason = error.to_string(),
        }
    }
    Ok(Err(reason))
}

/// A text file, if it is there. What is too large to be one is not read.
fn text_of(path: &Path) -> io::Result<Option<String>> {
    const LIMIT: u64 = 4 * 1024 * 1024;
    match fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(LIMIT).read_to_end(&mut bytes)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQBAgMEBQYHCAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const OTHER_KEY: &str = "RWQAAAAAAAAAAHm1Vi6P5lT5QHixEuipi6eQH4U65pW+1+DjkQutBJZk";
    const PACKAGE: &[u8] = b"a release\n";
    const SIGNATURE: &str = "untrusted comment: signature\n\
        RUQBAgMEBQYHCGNgq65xy77AB7ax3tfrPPe/5lkBuBxaR7bX65Jq7QV9wcsuL1UWmgv5VYcomMYVGG5YaBAZSnF9F9bskPdgKAc=\n\
        trusted comment: timestamp:1\n\
        NS4y0Jo4p/J8yJq7wR0I+sfs3yvzOA47MEuacx8uW5Y5pTVWkd7kyyEqbTXnH1H4RsZSP//bxWGxYolw+HGjBA==\n";

    fn found(bytes: &[u8], signature: Option<&str>, named: &[&str]) -> Beside {
        let directory = tempfile::tempdir().unwrap();
        let package = directory.path().join("x.zip");
        fs::write(&package, bytes).unwrap();
        if let Some(signature) = signature {
            fs::write(directory.path().join("x.zip.minisig"), signature).unwrap();
        }
        let named: Vec<String> = named.iter().map(|key| (*key).to_owned()).collect();
        let keys = keys(named.iter()).unwrap_or_else(|_| panic!("keys"));
        beside(&package, &keys).unwrap()
    }

    #[test]
    fn a_signature_holds_for_the_file_that_was_signed_and_the_key_that_signed_it() {
        let outcome = |bytes, signature, keys: &[&str]| found(bytes, signature, keys).signature.1;
        assert_eq!(
            outcome(PACKAGE, Some(SIGNATURE), &[OTHER_KEY, KEY]),
            Some(Ok(KEY.to_owned()))
        );
        assert!(matches!(
            outcome(b"a releasE\n", Some(SIGNATURE), &[KEY]),
            Some(Err(_))
        ));
        assert!(matches!(
            outcome(PACKAGE, Some(SIGNATURE), &[OTHER_KEY]),
            Some(Err(_))
        ));
        assert!(matches!(outcome(PACKAGE, Some("nonsense"), &[KEY]), Some(Err(_))));
        assert_eq!(outcome(PACKAGE, None, &[KEY]), None);
        // Without keys nothing can be said of a signature.
        let without = found(PACKAGE, Some(SIGNATURE), &[]);
        assert_eq!((without.signature.1, without.keys), (None, false));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(keys([&"RWQ".to_owned()].into_iter()).is_err());
    }
}
