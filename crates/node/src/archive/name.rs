//! Names inside archives: made safe, or refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{ArchiveError, shown};

/// The path of an entry below the directory that is unpacked into, with `strip` leading directories dropped. Nothing for an
/// entry that is dropped whole.
///
/// # Errors
/// Where the name leads out.
pub fn clean(raw: &[u8], strip: u32) -> Result<Option<PathBuf>, ArchiveError> {
    let refused = || ArchiveError::Name(shown(raw));
    if raw.contains(&0) {
        return Err(refused());
    }
    let mut parts = Vec::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    let kept = parts.get(strip as usize..).unwrap_or_default();
    Ok((!kept.is_empty()).then(|| kept.iter().collect()))
}

/// Whether a link at `link` (a cleaned path) to `target` stays inside, whatever other such links there are.
///
/// Only leading `..` are allowed, no more than `link` has directories above it: those are real directories, because nothing is
/// unpacked through a link. Every further component either is a real one or another such link, so that by induction no
/// chain of links leads out.
pub fn stays_inside(link: &Path, target: &[u8]) -> bool {
    let depth = link.components().count().saturating_sub(1);
    let mut ups = 0;
    let mut downs = 0;
    for component in Path::new(OsStr::from_bytes(target)).components() {
        match component {
            Component::ParentDir if downs == 0 => ups += 1,
            Component::Normal(_) => downs += 1,
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    ups <= depth && !target.is_empty() && !target.contains(&0)
}

/// A link of a system package whose target is absolute, seen from the package's own root: the relative target that means the
/// same after unpacking; nothing where it is dropped by `strip`.
pub fn relative_target(link: &Path, target: &[u8], strip: u32) -> Option<PathBuf> {
    let inside = target.strip_prefix(b"/")?;
    let inside = clean(inside, strip).ok().flatten()?;
    let ups = link.components().count().saturating_sub(1);
    let mut relative: PathBuf = std::iter::repeat_n("..", ups).collect();
    relative.push(inside);
    Some(relative)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        let cleaned = |name: &str, strip| {
            clean(name.as_bytes(), strip)
                .ok()
                .flatten()
                .map(PathBuf::into_os_string)
        };
        assert_eq!(cleaned("./a//b/./c", 0), Some("a/b/c".into()));
        assert_eq!(cleaned("product-1.0/bin/x", 1), Some("bin/x".into()));
        assert_eq!(cleaned("product-1.0/", 1), None);
        for name in ["../x", "a/../../x", "/etc/passwd", "a/..", "a\0b"] {
            assert!(clean(name.as_bytes(), 0).is_err(), "{name:?}");
            assert!(clean(name.as_bytes(), 1).is_err(), "{name:?}");
        }
    }

    #[test]
    fn links_stay_inside_or_are_refused() {
        for (link, target, inside) in [
            ("lib/a.so", "a.so.1", true),
            ("lib/a.so", "../lib64/a.so", true),
            ("lib/a.so", "../../etc/passwd", false),
            ("a", "/etc/passwd", false),
            ("a", "b/../../x", false),
            ("y", "x/..", false),
            ("a", "", false),
            ("a", ".", true),
        ] {
            assert_eq!(
                stays_inside(Path::new(link), target.as_bytes()),
                inside,
                "{link} -> {target}"
            );
        }
    }

    #[test]
    fn absolute_links_of_system_packages_are_seen_from_their_root() {
        let relative =
            |link: &str, target: &str, strip| relative_target(Path::new(link), target.as_bytes(), strip);
        assert_eq!(
            relative("usr/bin/x", "/usr/lib/x/x", 0),
            Some("../../usr/lib/x/x".into())
        );
        assert_eq!(relative("bin/x", "/usr/lib/x", 1), Some("../lib/x".into()));
        assert_eq!(relative("bin/x", "/usr", 1), None);
        assert_eq!(relative("bin/x", "/usr/../../etc", 0), None);
    }

    proptest! {
        #[test]
        fn no_name_leads_out(raw in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), Just(b'a'), any::<u8>()], 0..24), strip in 0u32..3) {
            if let Ok(Some(path)) = clean(&raw, strip) {
                prop_assert!(path.is_relative());
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
            }
        }

        #[test]
        fn no_link_leads_out(target in "[./ab]{0,16}", depth in 0usize..4) {
            let link: PathBuf = std::iter::repeat_n("d", depth).chain(["l"]).collect();
            if stays_inside(&link, target.as_bytes()) {
                let mut level = depth as i64;
                for component in Path::new(&target).components() {
                    level += match component { Component::ParentDir => -1, Component::Normal(_) => 1, _ => 0 };
                    prop_assert!(level >= 0);
                }
            }
        }
    }
}
