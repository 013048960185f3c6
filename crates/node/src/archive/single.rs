//! A release that is one program.

use std::io::Read;

use super::{ArchiveError, Tree};

/// The program gets the name that the file has before its version: `minio.RELEASE.2024-01-11T07-46-16Z` becomes `minio`.
pub fn unpack(
    reader: &mut impl Read,
    file_name: &str,
    version: &str,
    tree: &mut Tree,
) -> Result<(), ArchiveError> {
    // There is no directory that could be dropped.
    tree.keep_all();
    tree.file(program_name(file_name, version).as_bytes(), 0o755, reader)
}

fn program_name<'a>(file_name: &'a str, version: &str) -> &'a str {
    let before = file_name
        .find(version)
        .map_or(file_name, |begin| &file_name[..begin]);
    let before = before
        .strip_suffix('v')
        .filter(|rest| rest.ends_with(['-', '_', '.']))
        .unwrap_or(before);
    let name = before.trim_end_matches(['-', '_', '.']);
    if name.is_empty() { file_name } else { name }
}

#[cfg(test)]
mod tests {
    use super::program_name;

    #[test]
    fn programs_are_named_without_their_version() {
        for (file, version, name) in [
            (
                "minio.RELEASE.2024-01-11T07-46-16Z",
                "RELEASE.2024-01-11T07-46-16Z",
                "minio",
            ),
            ("lab-1.2.0", "1.2.0", "lab"),
            ("lab-v1.2.0-linux-amd64", "1.2.0", "lab"),
            ("serv-1.0", "1.0", "serv"),
            ("1.0", "1.0", "1.0"),
            ("tool", "9", "tool"),
        ] {
            assert_eq!(program_name(file, version), name);
        }
    }
}
