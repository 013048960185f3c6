//! Archives as vendors make them, and as attackers would.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use tar::{EntryType, Header};

use super::*;

/// One entry: name, kind, mode, contents or target.
type Entry<'a> = (&'a str, EntryType, u32, &'a [u8]);

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD_LINK: EntryType = EntryType::Link;

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, mode, contents) in entries {
        let mut header = Header::new_gnu();
        // Names are written raw: the library itself refuses to write bad ones.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let is_file = *kind == FILE;
        if !is_file {
            header.as_mut_bytes()[157..157 + contents.len()].copy_from_slice(contents);
        }
        let data = if is_file { *contents } else { &[] };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Unpacked {
    directory: tempfile::TempDir,
    result: Result<Totals, ArchiveError>,
}

impl Unpacked {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        self.path(name).symlink_metadata().unwrap().mode() & 0o7777
    }

    /// The words of the refusal. Nothing may have got out of the directory.
    fn refusal(&self) -> String {
        let outside: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(
            outside.len(),
            2,
            "only the package and its directory: {outside:?}"
        );
        self.result.as_ref().unwrap_err().to_string()
    }
}

fn unpack_as(file_name: &str, bytes: &[u8], strip: u32, limits: Limits) -> Unpacked {
    let directory = tempfile::tempdir().unwrap();
    let package = directory.path().join("package");
    fs::write(&package, bytes).unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut tree = Tree::new(&root, strip, limits);
    let result = unpack(&package, file_name, "1.0", &mut tree).and_then(|()| tree.finish(None));
    Unpacked { directory, result }
}

fn unpacked(bytes: &[u8], strip: u32) -> Unpacked {
    unpack_as(
        "product-1.0.tar.gz",
        bytes,
        strip,
        Limits::for_package(bytes.len() as u64),
    )
}

fn good() -> Vec<Entry<'static>> {
    vec![
        ("p-1.0/", DIRECTORY, 0o755, b""),
        ("p-1.0/bin/server", FILE, 0o4755, b"#!/bin/sh\n"),
        ("p-1.0/bin/same", HARD_LINK, 0o644, b"p-1.0/bin/server"),
        ("p-1.0/lib/", DIRECTORY, 0o700, b""),
        ("p-1.0/lib/x.so", LINK, 0o777, b"../lib/x.so.1"),
        ("p-1.0/lib/x.so.1", FILE, 0o666, b"library"),
    ]
}

fn check_good(unpacked: &Unpacked) {
    let totals = unpacked.result.as_ref().unwrap();
    assert_eq!((totals.bytes, totals.entries), (17, 6));
    assert_eq!(unpacked.text("bin/same"), "#!/bin/sh\n");
    assert_eq!(unpacked.text("lib/x.so"), "library");
    assert_eq!(unpacked.mode("bin/server"), 0o755, "set-user bits are dropped");
    assert_eq!(unpacked.mode("lib/x.so.1"), 0o664, "not for everybody to write");
    assert_eq!(unpacked.mode("lib"), 0o700);
    assert_eq!(unpacked.mode(""), 0o755);
}

#[test]
fn tar_archives_are_unpacked_whatever_their_compression() {
    let plain = tar(&good());
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    for bytes in [
        gzip(&plain),
        zstd::encode_all(&plain[..], 1).unwrap(),
        xz.finish().unwrap(),
        plain,
    ] {
        check_good(&unpacked(&bytes, 1));
    }
}

#[test]
fn an_archive_is_cut_off_or_damaged() {
    let whole = gzip(&tar(&good()));
    for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 4]] {
        assert!(unpacked(bytes, 1).refusal().starts_with("it is damaged"));
    }
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    assert!(
        unpacked(&flipped, 1).refusal().starts_with("it is damaged"),
        "checksums are compared"
    );
    assert!(unpacked(b"what is this?", 0).refusal().contains("neither"));
    assert!(unpacked(b"", 0).refusal().contains("neither"));
}

#[test]
fn nothing_leads_out() {
    let cases: &[(&[Entry<'_>], &str)] = &[
        (&[("../evil", FILE, 0o644, b"x")], "leads out"),
        (&[("a/../../evil", FILE, 0o644, b"x")], "leads out"),
        (&[("/tmp/upshift-evil", FILE, 0o644, b"x")], "leads out"),
        (&[("l", LINK, 0o777, b"/etc/passwd")], "leads out"),
        (&[("l", LINK, 0o777, b"../package")], "leads out"),
        (&[("d/l", LINK, 0o777, b"../../package")], "leads out"),
        (
            &[("x", LINK, 0o777, b"."), ("y", LINK, 0o777, b"x/../package")],
            "leads out",
        ),
        (
            &[("l", LINK, 0o777, b".."), ("l/evil", FILE, 0o644, b"x")],
            "leads out",
        ),
        (
            &[("d", LINK, 0o777, b"e"), ("d/evil", FILE, 0o644, b"x")],
            "behind a link",
        ),
        (
            &[("d/f", FILE, 0o644, b"x"), ("d", LINK, 0o777, b"e")],
            "behind a link",
        ),
        (
            &[("d", LINK, 0o777, b"e"), ("d/l", LINK, 0o777, b"../x")],
            "behind a link",
        ),
        (&[("h", HARD_LINK, 0o644, b"/etc/passwd")], "leads out"),
        (&[("h", HARD_LINK, 0o644, b"../package")], "leads out"),
        (&[("h", HARD_LINK, 0o644, b"not-there")], "leads out"),
        (
            &[("d/", DIRECTORY, 0o755, b""), ("h", HARD_LINK, 0o644, b"d")],
            "leads out",
        ),
        (&[("n", EntryType::Char, 0o666, b"")], "device"),
        (&[("n", EntryType::Block, 0o666, b"")], "device"),
        (&[("n", EntryType::Fifo, 0o666, b"")], "device"),
    ];
    for (entries, word) in cases {
        let refusal = unpacked(&gzip(&tar(entries)), 0).refusal();
        assert!(refusal.contains(word), "{entries:?}: {refusal}");
    }
    assert!(!std::path::Path::new("/tmp/upshift-evil").exists());
}

#[test]
fn stripping_does_not_hide_a_bad_name() {
    for name in ["../../evil", "a/../evil", "/evil/x"] {
        assert!(
            unpacked(&gzip(&tar(&[(name, FILE, 0o644, b"x")])), 1)
                .refusal()
                .contains("leads out"),
            "{name}"
        );
    }
}

#[test]
fn bombs_are_bounded() {
    let zeros = vec![0; 4 << 20];
    let bomb = gzip(&tar(&[("zeros", FILE, 0o644, &zeros)]));
    let limits = Limits {
        bytes: 1 << 20,
        entries: 10,
    };
    let refused = unpack_as("bomb", &bomb, 0, limits);
    assert!(refused.refusal().contains("bomb"));
    assert!(refused.path("zeros").metadata().unwrap().len() <= 1 << 20);
    let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let many: Vec<Entry<'_>> = names
        .iter()
        .map(|name| (name.as_str(), FILE, 0o644, &b""[..]))
        .collect();
    assert!(
        unpack_as("bomb", &tar(&many), 0, limits)
            .refusal()
            .contains("entries")
    );
    assert!(Limits::for_package(1000).bytes < 100 << 20);
}

#[test]
fn a_tree_that_only_counts_counts_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let package = directory.path().join("package");
    let bytes = gzip(&tar(&good()));
    fs::write(&package, &bytes).unwrap();
    let mut tree = Tree::counting(1, Limits::for_package(bytes.len() as u64));
    unpack(&package, "p.tar.gz", "1.0", &mut tree).unwrap();
    assert_eq!(
        tree.finish(None).unwrap(),
        Totals {
            bytes: 17,
            entries: 6
        }
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

fn zip(entries: &[(&str, Option<u32>, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, contents) in entries {
        let mut options = zip::write::SimpleFileOptions::default();
        if let Some(mode) = mode {
            options = options.unix_permissions(*mode);
        }
        writer.start_file(*name, options).unwrap();
        writer.write_all(contents).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn zip_files_are_unpacked() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer
        .start_file("emqx/bin/emqx", options.unix_permissions(0o755))
        .unwrap();
    writer.write_all(b"#!").unwrap();
    writer.start_file("emqx/etc/x", options).unwrap();
    writer.write_all(b"a=1").unwrap();
    writer.add_symlink("emqx/bin/ctl", "emqx", options).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let result = unpacked(&bytes, 1);
    assert_eq!(result.result.as_ref().unwrap().entries, 3);
    assert_eq!(
        (result.mode("bin/emqx"), result.text("etc/x").as_str()),
        (0o755, "a=1")
    );
    assert_eq!(
        fs::read_link(result.path("bin/ctl")).unwrap(),
        PathBuf::from("emqx")
    );
}

#[test]
fn zip_files_with_bad_names_and_links_are_refused() {
    for name in ["../evil", "a/../../evil", "/evil"] {
        assert!(
            unpacked(&zip(&[(name, None, b"x")]), 0)
                .refusal()
                .contains("leads out"),
            "{name}"
        );
    }
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .add_symlink("l", "../package", zip::write::SimpleFileOptions::default())
        .unwrap();
    assert!(
        unpacked(&writer.finish().unwrap().into_inner(), 0)
            .refusal()
            .contains("leads out")
    );
    let bytes = zip(&[("a", None, b"x")]);
    assert!(
        unpacked(&bytes[..bytes.len() - 10], 0)
            .refusal()
            .contains("damaged")
    );
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, contents) in members {
        bytes.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                contents.len()
            )
            .bytes(),
        );
        bytes.extend_from_slice(contents);
        if contents.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[test]
fn debian_packages_are_unpacked_and_their_absolute_links_stay_inside() {
    let data = tar(&[
        ("./", DIRECTORY, 0o755, b""),
        ("./usr/bin/etcd", FILE, 0o755, b"\x7fELF"),
        ("./usr/bin/short", LINK, 0o777, b"/usr/bin/etcd"),
        (
            "./usr/share/doc/etcd/changelog",
            LINK,
            0o777,
            b"/var/lib/elsewhere",
        ),
    ]);
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&data).unwrap();
    let bytes = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz/", b"odd"),
        ("data.tar.xz", &xz.finish().unwrap()),
    ]);
    let result = unpacked(&bytes, 1);
    result.result.as_ref().unwrap();
    assert_eq!(result.text("bin/short"), "\x7fELF");
    assert_eq!(
        fs::read_link(result.path("bin/short")).unwrap(),
        PathBuf::from("../bin/etcd")
    );
    let truncated = unpacked(&bytes[..bytes.len() - 30], 1);
    assert!(truncated.refusal().contains("damaged"));
    assert!(
        unpacked(&ar(&[("debian-binary", b"2.0\n")]), 0)
            .refusal()
            .contains("no member data.tar")
    );
}

#[test]
fn a_package_made_by_dpkg_is_unpacked() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::create_dir_all(source.join("DEBIAN")).unwrap();
    fs::create_dir_all(source.join("usr/bin")).unwrap();
    fs::write(source.join("usr/bin/tool"), "tool").unwrap();
    let control = "Package: tool\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a tool\n";
    fs::write(source.join("DEBIAN/control"), control).unwrap();
    for path in ["DEBIAN", "usr", "usr/bin", ""] {
        fs::set_permissions(source.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let package = directory.path().join("tool.deb");
    let built = std::process::Command::new("dpkg-deb")
        .arg("--build")
        .arg(&source)
        .arg(&package)
        .output();
    let Ok(built) = built else {
        eprintln!("skipped: dpkg-deb is not installed");
        return;
    };
    assert!(built.status.success(), "{built:?}");
    let result = unpacked(&fs::read(package).unwrap(), 2);
    result.result.as_ref().unwrap();
    assert_eq!(result.text("tool"), "tool");
}

/// Name, mode, inode, links, contents.
type CpioEntry<'a> = (&'a str, u32, u32, u32, &'a [u8]);

fn cpio(entries: &[CpioEntry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end: CpioEntry<'_> = ("TRAILER!!!", 0, 0, 1, b"");
    for (name, mode, inode, links, contents) in entries.iter().chain([&end]) {
        let fields = [
            *inode,
            *mode,
            0,
            0,
            *links,
            0,
            contents.len() as u32,
            8,
            1,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        bytes.extend_from_slice(b"070701");
        fields
            .iter()
            .for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn rpm(payload: &[u8]) -> Vec<u8> {
    let header = |entries: u32, store: &[u8]| {
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        bytes.extend(entries.to_be_bytes());
        bytes.extend((store.len() as u32).to_be_bytes());
        bytes.extend(vec![7; entries as usize * 16]);
        bytes.extend_from_slice(store);
        bytes
    };
    let mut bytes = vec![0xed, 0xab, 0xee, 0xdb];
    bytes.resize(96, 0);
    bytes.extend(header(1, b"abc"));
    // The signature is padded to eight bytes.
    bytes.resize(96 + 16 + 24, 0);
    bytes.extend(header(2, b"12345"));
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn rpm_packages_are_unpacked() {
    let payload = cpio(&[
        ("./usr/bin", 0o040_755, 1, 2, b""),
        ("./usr/bin/one", 0o100_755, 2, 2, b""),
        ("./usr/bin/two", 0o100_755, 2, 2, b"twin"),
        ("./usr/bin/link", 0o120_777, 3, 1, b"/usr/bin/two"),
        ("./usr/empty", 0o100_644, 4, 1, b""),
    ]);
    let plain = rpm(&payload);
    for bytes in [
        rpm(&gzip(&payload)),
        rpm(&zstd::encode_all(&payload[..], 1).unwrap()),
        plain.clone(),
    ] {
        let result = unpacked(&bytes, 1);
        assert_eq!(result.result.as_ref().unwrap().bytes, 4);
        assert_eq!(
            (result.text("bin/one"), result.text("bin/link")),
            ("twin".to_owned(), "twin".to_owned())
        );
        assert_eq!(result.text("empty"), "");
    }
    assert!(
        unpacked(&plain[..plain.len() - 200], 1)
            .refusal()
            .contains("damaged")
    );
    let evil = rpm(&cpio(&[("./../../evil", 0o100_644, 1, 1, b"x")]));
    assert!(unpacked(&evil, 0).refusal().contains("leads out"));
    let device = rpm(&cpio(&[("dev/null", 0o020_666, 1, 1, b"")]));
    assert!(unpacked(&device, 0).refusal().contains("device"));
}

#[test]
fn a_program_alone_is_a_release() {
    let result = unpack_as(
        "server-v1.0-linux-amd64",
        b"\x7fELF...",
        1,
        Limits::for_package(7),
    );
    result.result.as_ref().unwrap();
    assert_eq!(
        (result.text("server").as_str(), result.mode("server")),
        ("\x7fELF...", 0o755)
    );
}

/// An entry with an extended header in front of it.
fn with_extensions(records: &[(&str, &str)], name: &str, packed: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
    builder.append_pax_extensions(records).unwrap();
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_size(packed.len() as u64);
    header.set_cksum();
    builder.append(&header, packed).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn sparse_files_of_all_formats_are_unpacked_whole() {
    let whole = [
        vec![0; 1000],
        b"first".to_vec(),
        vec![0; 995],
        b"second".to_vec(),
        vec![0; 94],
    ]
    .concat();
    let size = whole.len().to_string();
    let parts = [
        ("offset", "1000"),
        ("numbytes", "5"),
        ("offset", "2000"),
        ("numbytes", "6"),
    ];
    let parts = parts.map(|(key, value)| (format!("GNU.sparse.{key}"), value));
    let mut first: Vec<(&str, &str)> = vec![("GNU.sparse.size", &size), ("GNU.sparse.numblocks", "2")];
    first.extend(parts.iter().map(|(key, value)| (key.as_str(), *value)));
    let second = [
        ("GNU.sparse.size", size.as_str()),
        ("GNU.sparse.map", "1000,5,2000,6"),
        ("GNU.sparse.name", "real/name"),
    ];
    let third = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "real/name"),
        ("GNU.sparse.realsize", size.as_str()),
    ];
    let mut mapped = b"2\n1000\n5\n2000\n6\n".to_vec();
    mapped.resize(512, 0);
    mapped.extend_from_slice(b"firstsecond");
    for (bytes, name) in [
        (with_extensions(&first, "own/name", b"firstsecond"), "own/name"),
        (
            with_extensions(&second, "GNUSparseFile.1/name", b"firstsecond"),
            "real/name",
        ),
        (
            with_extensions(&third, "GNUSparseFile.1/name", &mapped),
            "real/name",
        ),
    ] {
        let unpacked = unpacked(&bytes, 0);
        unpacked.result.as_ref().unwrap();
        assert_eq!(fs::read(unpacked.path(name)).unwrap(), whole);
        assert!(!unpacked.path("GNUSparseFile.1").exists());
    }
    let tail = [("GNU.sparse.size", "10"), ("GNU.sparse.map", "0,5,4,6")];
    let unknown = [
        ("GNU.sparse.major", "2"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "9"),
    ];
    let foreign = [("GNU.sparse.what", "2")];
    for records in [&tail[..], &unknown, &foreign] {
        let refusal = unpacked(&with_extensions(records, "x", b"firstsecond"), 0).refusal();
        assert!(refusal.contains("it is damaged"), "{refusal}");
    }
    // A part of it is missing, or has no place.
    for packed in [&b"firstsec"[..], b"firstsecond, third"] {
        let refusal = unpacked(&with_extensions(&second, "x", packed), 0).refusal();
        assert!(refusal.contains("it is damaged"), "{refusal}");
    }
}

#[test]
fn sparse_files_that_gnu_tar_writes_are_unpacked_whole() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("data")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"here", 300_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"there", 900_000).unwrap();
    file.set_len(1_500_000).unwrap();
    let whole = fs::read(directory.path().join("data")).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix"],
    ] {
        let archive = directory.path().join("archive.tar");
        let tar = std::process::Command::new("tar")
            .args(format)
            .args(["--sparse", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(directory.path())
            .arg("data")
            .status();
        assert!(tar.is_ok_and(|status| status.success()), "{format:?}");
        let limits = Limits {
            bytes: 2_000_000,
            entries: 10,
        };
        let unpacked = unpack_as("data.tar", &fs::read(&archive).unwrap(), 0, limits);
        unpacked.result.as_ref().unwrap();
        assert!(fs::read(unpacked.path("data")).unwrap() == whole, "{format:?}");
    }
}

#[test]
fn a_name_without_end_is_refused_before_it_is_in_memory() {
    // A gigabyte of zeros is a megabyte of gzip; it must not be read to its end.
    struct Endless(Cursor<Vec<u8>>, u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(buffer)?;
            let count = if count == 0 { buffer.len() } else { count };
            self.1 += count as u64;
            assert!(self.1 < 4 << 20, "read on and on");
            Ok(count)
        }
    }
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 33);
        header.set_cksum();
        let stream = Endless(Cursor::new(header.as_bytes().to_vec()), 0);
        let mut tree = Tree::counting(0, Limits::for_package(100));
        let refusal = tarball::unpack(stream, &mut tree).unwrap_err().to_string();
        assert!(refusal.contains("larger than the"), "{refusal}");
    }
}

#[test]
fn names_are_shown_cut_off_and_without_what_steers_a_terminal() {
    let name = format!("../\u{1b}]0;x\u{7}{}", "n".repeat(70));
    let refusal = unpacked(&tar(&[(&name, FILE, 0o644, b"")]), 0).refusal();
    assert!(
        !refusal.contains('\u{1b}') && !refusal.contains('\u{7}'),
        "{refusal:?}"
    );
    assert_eq!(shown(&[b'n'; 5000]).chars().count(), SHOWN + 1);
}
