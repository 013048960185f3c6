//! Snapshots: which count, whom they are offered to, where they are put back, and which are kept.

use std::collections::BTreeMap;

use upshift_host::snapshot::{
    Entry, EntryKind, Found, Keep, Need, NotOffered, Occupied, counts, differences, forgotten, offer, place,
    room,
};
use upshift_model::snapshot::{Labels, SnapshotRecord};
use upshift_model::version::Scheme;

fn record(id: &str, name: &str, version: &str, taken_at: u64) -> SnapshotRecord {
    SnapshotRecord {
        id: id.to_owned(),
        tree: "t".to_owned(),
        labels: Labels {
            name: name.to_owned(),
            title: "its data".to_owned(),
            fleet: "f".to_owned(),
            host: "n1".to_owned(),
            product: "etcd".to_owned(),
            scheme: Scheme::Semver,
            version: version.to_owned(),
            format: "3.4".to_owned(),
            readable_by: ">=3.4.0 <3.6.0".to_owned(),
            run: String::new(),
        },
        taken_at,
        paths: vec!["/data".to_owned()],
        files: 1,
        bytes: 1,
        sha256: "s".to_owned(),
        proven_at: Some(taken_at),
        reasons: Vec::new(),
    }
}

fn file(path: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: EntryKind::File {
            size: 3,
            sha256: "abc".to_owned(),
            sparse: false,
        },
        mode: 0o640,
        owner: (1, 2),
        changed: (5, 6),
        attributes: BTreeMap::new(),
        linked: None,
    }
}

#[test]
fn every_difference_is_told() {
    let was = file("/data/a");
    type Change = fn(&mut Entry);
    let changes: [(Change, &str); 8] = [
        (|entry| entry.mode = 0o600, "has the mode 600, and had 640"),
        (
            |entry| entry.owner = (0, 2),
            "belongs to 0:2, and belonged to 1:2",
        ),
        (|entry| entry.changed = (5, 7), "has another time of change"),
        (
            |entry| drop(entry.attributes.insert("user.x".to_owned(), "y".to_owned())),
            "has other extended attributes",
        ),
        (
            |entry| entry.linked = Some("/data/b".to_owned()),
            "is not linked as it was",
        ),
        (
            |entry| entry.kind = EntryKind::Directory,
            "is a directory, and was a file",
        ),
        (
            |entry| {
                entry.kind = EntryKind::File {
                    size: 2,
                    sha256: "abc".to_owned(),
                    sparse: false,
                }
            },
            "has 2 bytes, and 3 were taken",
        ),
        (
            |entry| {
                entry.kind = EntryKind::File {
                    size: 3,
                    sha256: "abd".to_owned(),
                    sparse: false,
                }
            },
            "does not hold what was taken",
        ),
    ];
    for (change, words) in changes {
        let mut is = was.clone();
        change(&mut is);
        assert_eq!(
            differences(std::slice::from_ref(&was), &[is]),
            [format!("/data/a {words}")]
        );
    }
    assert!(differences(std::slice::from_ref(&was), std::slice::from_ref(&was)).is_empty());
    assert_eq!(
        differences(std::slice::from_ref(&was), &[]),
        ["/data/a is missing"]
    );
    assert_eq!(differences(&[], &[was]), ["/data/a was not taken, and is there"]);
    let many: Vec<Entry> = (0..9).map(|n| file(&format!("/data/{n}"))).collect();
    assert_eq!(differences(&many, &[]).last().unwrap(), "and 4 more");
}

#[test]
fn one_that_is_not_proven_is_never_offered_nor_one_that_the_version_cannot_read() {
    let good = record("1", "data", "3.4.23", 1);
    assert_eq!(offer(&good, Some("3.5.16")), Ok(()));
    assert_eq!(offer(&good, Some("3.4.1")), Ok(()));
    assert_eq!(offer(&good, None), Err(NotOffered::VersionUnknown));
    assert_eq!(
        offer(&good, Some("3.6.1")).unwrap_err().to_string(),
        "it holds data of 3.4.23 (format 3.4), which versions >=3.4.0 <3.6.0 read, and 3.6.1 is none of them"
    );
    let mut untried = good.clone();
    untried.proven_at = None;
    assert_eq!(
        counts(&untried).unwrap_err().to_string(),
        "it is not proven to restore: nobody has tried"
    );
    // A reason outweighs an earlier proof.
    let mut damaged = good.clone();
    damaged.reasons = vec!["/data/a is missing".to_owned()];
    assert!(offer(&damaged, Some("3.4.23")).is_err());
    let mut unclear = good;
    unclear.labels.readable_by = "nonsense".to_owned();
    assert!(matches!(
        offer(&unclear, Some("3.5.1")),
        Err(NotOffered::BadLabel(_))
    ));
}

#[test]
fn nothing_is_overwritten_and_nothing_changes_under_a_service() {
    for found in [Found::Absent, Found::Empty] {
        assert_eq!(place(found, false, false), Ok(false));
        assert_eq!(place(found, true, false), Ok(false));
    }
    assert_eq!(place(Found::Filled, false, false), Err(Occupied::Filled));
    assert_eq!(place(Found::Filled, true, false), Ok(true));
    for found in [Found::Absent, Found::Empty, Found::Filled] {
        assert_eq!(place(found, true, true), Err(Occupied::Running));
    }
}

#[test]
fn what_goes_to_one_file_system_adds_up() {
    let need = |mount: &str, bytes: u64| Need {
        mount: mount.to_owned(),
        bytes,
        free: 100,
        total: 200,
    };
    assert!(room("a snapshot", &[need("/a", 90)]).is_ok());
    assert!(room("a snapshot", &[need("/a", 45), need("/b", 90), need("/a", 45)]).is_ok());
    let words = room("a snapshot", &[need("/a", 46), need("/a", 45)])
        .unwrap_err()
        .to_string();
    assert_eq!(
        words,
        "a snapshot needs 91 bytes on the file system /a, and 100 are free, of which 10 stay free"
    );
    assert!(room("a snapshot", &[need("/a", u64::MAX), need("/a", 1)]).is_err());
}

#[test]
fn the_newest_proven_one_of_each_name_and_version_is_kept() {
    let mut records: Vec<SnapshotRecord> = (0..6)
        .map(|n| record(&format!("new{n}"), "data", "3.5.16", 100 + n))
        .collect();
    records.push(record("old", "data", "3.4.23", 1));
    records.push(record("older", "data", "3.4.23", 0));
    records.push(record("config", "config", "3.4.23", 1));
    let mut broken = record("broken", "data", "3.5.16", 200);
    broken.proven_at = None;
    records.push(broken);
    let keep = Keep { last: 2, within: 0 };
    assert_eq!(
        forgotten(&records, keep, 1000),
        ["broken", "new3", "new2", "new1", "new0", "older"]
    );
    // What is young stays, proven or not.
    let keep = Keep { last: 0, within: 899 };
    assert_eq!(forgotten(&records, keep, 1000), ["new1", "new0", "older"]);
    // The last proven one is kept even where none was asked for.
    let keep = Keep { last: 0, within: 0 };
    assert!(!forgotten(&records, keep, 1000).contains(&"config".to_owned()));
}
