//! The operator's files.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::exit::{Failure, Problem};

/// The text of a file that the operator named; `kind` says what it is to be.
pub fn read_text(path: &Path, kind: &str) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, kind, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Failure::Usage(
            Problem::new(format!("the {kind} is not a text file"))
                .at(path.display())
                .because(format!("byte {byte} is not UTF-8"))
                .next(format!("give the name of a {kind}")),
        )
    })
}

fn unreadable(path: &Path, kind: &str, error: &std::io::Error) -> Failure {
    Failure::Usage(
        Problem::new(format!("cannot read the {kind}"))
            .at(path.display())
            .because(error)
            .next("check the name and its permissions"),
    )
}

/// Writes a file for its owner alone: plans say much of a cluster.
///
/// # Errors
/// Where it cannot be written.
pub fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.write_all(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_its_owners_alone_also_where_it_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plan");
        std::fs::write(&path, "something longer").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"plan").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"plan");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        write_private(Path::new("/dev/null"), b"plan").unwrap();
    }
}
