//! Snapshots on a host, with the real restic: what survives, what counts, what is refused, and what a kill leaves.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use serde_json::{Value, json};
use support::{Agent, PROGRAM, Small, World, eventually, kill, probe};
use upshift_lab::fetch::{Cache, restic};
use upshift_model::action::Report;
use upshift_model::snapshot::{SnapshotAnswer, SnapshotCall, SnapshotRecord};
use upshift_wire::protocol::{Request, Response, SnapshotOrder};

/// restic, once for all tests; nothing where it cannot be had.
fn tool() -> Option<PathBuf> {
    let cache = Cache::open().unwrap();
    match restic(&cache, &|words| eprintln!("{words}")) {
        Ok(program) => Some(program),
        Err(unavailable) => {
            eprintln!("skipped: {unavailable}");
            None
        }
    }
}

struct Scene {
    world: World,
    restic: PathBuf,
}

impl Scene {
    fn new() -> Option<Self> {
        let restic = tool()?;
        let scene = Scene {
            world: World::new(),
            restic,
        };
        let data = scene.world.path("data");
        fs::create_dir_all(data.join("empty/deep")).unwrap();
        fs::write(data.join("keys"), "one\ntwo\nthree\n").unwrap();
        fs::write(data.join("format"), "3.4").unwrap();
        Some(scene)
    }

    fn agent(&self) -> Agent {
        self.failing("")
    }

    fn failing(&self, failpoint: &str) -> Agent {
        let path = format!("PATH={}:/usr/bin:/bin", self.restic.parent().unwrap().display());
        let argv = ["env".to_owned(), path, PROGRAM.to_owned()];
        Agent::start_argv(&argv, &self.world.state(), Some(failpoint))
    }

    fn data(&self, name: &str) -> PathBuf {
        self.world.path("data").join(name)
    }

    fn order(&self) -> Value {
        json!({
            "labels": {
                "name": "data", "title": "the data", "fleet": "fleet", "host": "n1", "product": "server",
                "scheme": "semver", "version": "3.4.23", "format": "3.4", "readable_by": ">=3.4.0 <3.6.0", "run": "run",
            },
            "paths": [self.world.path("data"), self.world.path("absent")],
            "repository": { "location": "", "password_file": "" },
            "within": "60s",
        })
    }

    /// restic itself, on the host's own repository.
    fn restic(&self, arguments: &[&str]) -> std::process::Output {
        let backups = self.world.state().join("backups");
        let output = Command::new(&self.restic)
            .args(arguments)
            .env("RESTIC_REPOSITORY", backups.join("repository"))
            .env("RESTIC_PASSWORD_FILE", backups.join("password"))
            .env("RESTIC_CACHE_DIR", self.world.path("cache"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }
}

fn ask(agent: &mut Agent, call: Value) -> Result<SnapshotAnswer, String> {
    let call: SnapshotCall = serde_json::from_value(call).unwrap();
    let repository = match &call {
        SnapshotCall::Take(take) => take.repository.clone(),
        _ => Default::default(),
    };
    let order = SnapshotOrder {
        call,
        repository,
        host: "n1".to_owned(),
        fleet: "fleet".to_owned(),
        token: Some(1),
    };
    match agent.call(Request::Snapshot(Box::new(order)))? {
        Response::Snapshot(answer) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

fn take(agent: &mut Agent, order: &Value) -> Result<SnapshotRecord, String> {
    ask(agent, json!({ "take": order })).map(|answer| answer.snapshots[0].clone())
}

fn list(agent: &mut Agent) -> Vec<SnapshotRecord> {
    ask(agent, json!("list")).unwrap().snapshots
}

fn restore(agent: &mut Agent, id: &str, more: Value) -> Result<Vec<String>, String> {
    let mut order = json!({ "id": id, "to": null, "move_aside": false, "version": null, "service": null });
    for (name, value) in more.as_object().unwrap() {
        order[name] = value.clone();
    }
    ask(agent, json!({ "restore": order })).map(|answer| answer.lines)
}

/// What a copy has of what there was.
fn facts(path: &Path) -> Value {
    let metadata = path.symlink_metadata().unwrap();
    let mut attribute = [0; 100];
    let length = lgetxattr(path, "user.color", &mut attribute[..]).unwrap_or(0);
    json!({
        "mode": metadata.mode(), "owner": [metadata.uid(), metadata.gid()], "size": metadata.len(), "links": metadata.nlink(),
        "changed": [metadata.mtime(), metadata.mtime_nsec()], "attribute": attribute[..length],
        "target": fs::read_link(path).ok(), "sparse": metadata.blocks() * 512 < metadata.len(),
    })
}

#[test]
fn everything_survives_and_restic_itself_reads_what_we_wrote() {
    let Some(scene) = Scene::new() else { return };
    let names = ["keys", "again", "link", "holes", "secret", "empty/deep", "color"];
    fs::hard_link(scene.data("keys"), scene.data("again")).unwrap();
    symlink("keys", scene.data("link")).unwrap();
    let holes = File::create(scene.data("holes")).unwrap();
    holes.set_len(3_000_001).unwrap();
    holes.write_all_at(b"in the middle", 1_234_567).unwrap();
    fs::write(scene.data("secret"), "s").unwrap();
    fs::set_permissions(scene.data("secret"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::write(scene.data("color"), "c").unwrap();
    lsetxattr(scene.data("color"), "user.color", b"blue", XattrFlags::empty()).unwrap();
    if rustix::process::geteuid().is_root() {
        lchown(scene.data("secret"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(scene.data("secret"), fs::Permissions::from_mode(0o4750)).unwrap();
        lchown(scene.data("link"), Some(1234), Some(4321)).unwrap();
    }
    File::options()
        .write(true)
        .open(scene.data("holes"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789))
        .unwrap();
    let before: Vec<Value> = names.iter().map(|name| facts(&scene.data(name))).collect();
    assert_eq!(before[3]["sparse"], true, "the test's own file has holes");

    let mut agent = scene.agent();
    let record = take(&mut agent, &scene.order()).unwrap();
    assert!(record.proven(), "{record:?}");
    assert_eq!(record.paths, [scene.world.text("data")]);
    let to = scene.world.path("elsewhere");
    restore(&mut agent, &record.id[..10], json!({ "to": to })).unwrap();
    let copy = |root: &Path, name: &str| {
        let data = scene.world.path("data");
        root.join(data.strip_prefix("/").unwrap()).join(name)
    };
    for (name, before) in names.iter().zip(&before) {
        assert_eq!(&facts(&copy(&to, name)), before, "{name}");
    }
    assert_eq!(
        fs::read(scene.data("holes")).unwrap(),
        fs::read(copy(&to, "holes")).unwrap()
    );
    let inode = |name: &str| copy(&to, name).metadata().unwrap().ino();
    assert_eq!(inode("keys"), inode("again"));

    // Another tool reads the same repository, and finds no fault in it.
    scene.restic(&["check", "--read-data"]);
    let theirs = scene.world.path("theirs");
    scene.restic(&["restore", &record.id, "--target", theirs.to_str().unwrap()]);
    assert_eq!(fs::read(copy(&theirs, "keys")).unwrap(), b"one\ntwo\nthree\n");
    let left: Vec<_> = ["output", "trial"]
        .iter()
        .flat_map(|name| {
            fs::read_dir(scene.world.state().join("backups").join(name))
                .into_iter()
                .flatten()
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let password = scene.world.state().join("backups/password");
    assert_eq!(password.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_restic_itself_wrote_is_read_and_proven_anew() {
    let Some(scene) = Scene::new() else { return };
    let mut agent = scene.agent();
    let ours = take(&mut agent, &scene.order()).unwrap();
    // restic writes the snapshot anew, under another id; a snapshot that is none of ours lies in the repository, too.
    scene.restic(&["tag", "--add", "keep", &ours.id]);
    scene.restic(&["backup", scene.data("keys").to_str().unwrap()]);
    let listed = list(&mut agent);
    let [theirs] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert!(theirs.id != ours.id && !theirs.proven() && theirs.sha256 == ours.sha256);
    let refused = restore(&mut agent, &theirs.id, json!({ "to": scene.world.path("to") })).unwrap_err();
    assert!(
        refused.contains("not proven to restore: nobody has tried"),
        "{refused}"
    );
    let verified = ask(&mut agent, json!({ "verify": { "id": theirs.id } }))
        .unwrap()
        .snapshots;
    assert!(verified[0].proven(), "{verified:?}");
    restore(&mut agent, &theirs.id, json!({ "to": scene.world.path("to") })).unwrap();
    ask(&mut agent, json!({ "forget": { "ids": [theirs.id] } })).unwrap();
    assert!(list(&mut agent).is_empty());
    scene.restic(&["check", "--read-data"]);
}

#[test]
fn nothing_is_overwritten_and_no_version_gets_what_it_cannot_read() {
    let Some(scene) = Scene::new() else { return };
    let mut agent = scene.agent();
    let record = take(&mut agent, &scene.order()).unwrap();
    fs::write(scene.data("keys"), "newer").unwrap();
    let mut refused = |more: Value| restore(&mut agent, &record.id, more).unwrap_err();
    for (more, words) in [
        (json!({}), "not known which version"),
        (json!({ "version": "3.6.1" }), "3.6.1 is none of them"),
        (json!({ "version": "3.5.1" }), "something lies there"),
        (json!({ "to": scene.world.path("data") }), "something lies there"),
        (json!({ "to": "relative" }), "absolute path"),
        (json!({ "to": "/" }), "absolute path"),
    ] {
        let said = refused(more);
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(fs::read(scene.data("keys")).unwrap(), b"newer");
    let lines = restore(
        &mut agent,
        &record.id,
        json!({ "version": "3.5.1", "move_aside": true }),
    )
    .unwrap();
    let aside = scene.world.path(&format!("data.before-{}", &record.id[..8]));
    assert!(lines[0].contains(aside.to_str().unwrap()), "{lines:?}");
    assert_eq!(fs::read(aside.join("keys")).unwrap(), b"newer");
    assert_eq!(fs::read(scene.data("keys")).unwrap(), b"one\ntwo\nthree\n");
    // Again: another name, and the first stays.
    restore(
        &mut agent,
        &record.id,
        json!({ "version": "3.5.1", "move_aside": true }),
    )
    .unwrap();
    assert_eq!(fs::read(aside.join("keys")).unwrap(), b"newer");
    let hidden = fs::read_dir(scene.world.path("")).unwrap().flatten();
    assert_eq!(
        hidden
            .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'))
            .count(),
        0
    );
}

/// The largest pack of the repository.
fn pack(scene: &Scene) -> PathBuf {
    let packs = scene.world.state().join("backups/repository/data");
    let folders = fs::read_dir(packs).unwrap().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    let largest = files
        .map(|entry| entry.path())
        .max_by_key(|path| path.metadata().unwrap().len());
    let largest = largest.unwrap();
    fs::set_permissions(&largest, fs::Permissions::from_mode(0o600)).unwrap();
    largest
}

/// A scene with a proven snapshot whose largest pack was damaged since.
fn damaged(damage: fn(&Path)) -> Option<(Scene, Agent, String, Vec<u8>)> {
    let scene = Scene::new()?;
    // What cannot be compressed, so that the pack is large.
    let noise = noise(400_000);
    fs::write(scene.data("noise"), &noise).unwrap();
    let mut agent = scene.agent();
    let record = take(&mut agent, &scene.order()).unwrap();
    assert!(record.proven(), "{record:?}");
    damage(&pack(&scene));
    Some((scene, agent, record.id, noise))
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; length];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    bytes
}

fn is_refused_from_now_on(agent: &mut Agent, id: &str) {
    let verified = ask(agent, json!({ "verify": { "id": id } })).unwrap().snapshots;
    assert!(
        !verified[0].proven() && !verified[0].reasons.is_empty(),
        "{verified:?}"
    );
    let refused = restore(agent, id, json!({ "version": "3.4.23", "move_aside": true })).unwrap_err();
    assert!(refused.contains("not proven"), "{refused}");
}

#[test]
fn a_flipped_bit_is_found_and_nothing_is_changed_then() {
    let flip = |pack: &Path| {
        let mut bytes = fs::read(pack).unwrap();
        bytes[100_000] ^= 1;
        fs::write(pack, bytes).unwrap();
    };
    let Some((scene, mut agent, id, noise)) = damaged(flip) else {
        return;
    };
    // It was proven once; it is looked at again before anything is put back.
    let refused = restore(
        &mut agent,
        &id,
        json!({ "version": "3.4.23", "move_aside": true }),
    )
    .unwrap_err();
    assert_eq!(fs::read(scene.data("noise")).unwrap(), noise, "{refused}");
    let names = fs::read_dir(scene.world.path("")).unwrap().flatten();
    let names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("before-") || name.starts_with('.')),
        "{names:?}"
    );
    is_refused_from_now_on(&mut agent, &id);
    assert!(ask(&mut agent, json!("check")).is_err());
}

#[test]
fn a_pack_that_is_cut_short_or_lost_is_found() {
    if std::env::var_os("UPSHIFT_E2E_EXHAUSTIVE").is_none() {
        eprintln!("left out: restic asks for a lost pack for 45 s each; set UPSHIFT_E2E_EXHAUSTIVE=1");
        return;
    }
    let cut = |pack: &Path| {
        let length = pack.metadata().unwrap().len();
        File::options()
            .write(true)
            .open(pack)
            .unwrap()
            .set_len(length / 2)
            .unwrap();
    };
    let lose = |pack: &Path| fs::remove_file(pack).unwrap();
    for damage in [cut as fn(&Path), lose] {
        let Some((_scene, mut agent, id, _)) = damaged(damage) else {
            return;
        };
        is_refused_from_now_on(&mut agent, &id);
    }
}

#[test]
fn what_the_products_own_reader_does_not_accept_does_not_count_nor_what_was_migrated_meanwhile() {
    let Some(scene) = Scene::new() else { return };
    let mut agent = scene.agent();
    let output = scene.world.state().join("backups/output/data");
    let restored = scene.world.state().join("backups/trial/data");
    let mut order = scene.order();
    order["paths"] = json!([]);
    // A backup command that exits with 0 and drops a member.
    let keys = scene.data("keys");
    let backup = |lines: usize| json!({ "argv": ["sh", "-c", format!("head -n {lines} {} > {}/dump", keys.display(), output.display())] });
    let dump = format!("{}{}/dump", restored.display(), output.display());
    order["proof"] = json!([{
        "probe": { "command": { "argv": ["sh", "-c", format!("wc -l < {dump}")] } },
        "expect": "value.exit == 0 && int(value.value) == 3",
        "otherwise": "an entry is missing",
    }]);
    order["command"] = backup(2);
    let record = take(&mut agent, &order).unwrap();
    assert_eq!(
        (record.proven(), &record.reasons[..]),
        (false, &["an entry is missing".to_owned()][..])
    );
    let refused = restore(&mut agent, &record.id, json!({ "to": scene.world.path("to") })).unwrap_err();
    assert!(refused.contains("an entry is missing") && !scene.world.path("to").exists());
    // A step of a run fails with it.
    let report = agent.order(&support::order(1, support::action(json!({ "snapshot": order }))));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("an entry is missing")),
        "{report:?}"
    );
    assert_eq!(
        agent.observe(probe(json!({ "snapshot": "data" })))["proven"],
        false
    );
    order["command"] = backup(3);
    let output = agent.done(2, support::action(json!({ "snapshot": order })));
    assert_eq!(
        (&output["proven"], &output["version"]),
        (&json!(true), &json!("3.4.23"))
    );
    assert_eq!(
        agent.observe(probe(json!({ "snapshot": "data" })))["id"],
        output["id"]
    );
    // Done again, it is the same one.
    assert_eq!(
        agent.done(3, support::action(json!({ "snapshot": order })))["id"],
        output["id"]
    );
    assert_eq!(
        agent.observe(probe(json!({ "snapshot": "other" })))["exists"],
        false
    );

    // What a command wrote has no place to go back to.
    let id = output["id"].as_str().unwrap();
    let refused = restore(&mut agent, id, json!({ "version": "3.4.23", "move_aside": true })).unwrap_err();
    assert!(
        refused.contains("restore it into a directory with --to"),
        "{refused}"
    );

    // Migrated before, and in the middle.
    let format = scene.data("format");
    order["state"] = json!([{
        "probe": { "command": { "argv": ["cat", format] } },
        "expect": "value.value == '3.4' && version == '3.4.23'",
        "otherwise": "the data was migrated",
    }]);
    order["command"] = json!({ "argv": ["sh", "-c", format!("cp {} {}/dump; printf 3.5 > {}", keys.display(), scene.world.state().join("backups/output/data").display(), format.display())] });
    let count = list(&mut agent).len();
    let refused = take(&mut agent, &order).unwrap_err();
    assert!(
        refused.contains("the data was migrated (after it was taken)"),
        "{refused}"
    );
    let refused = take(&mut agent, &order).unwrap_err();
    assert!(
        refused.contains("the data was migrated (before it was taken)"),
        "{refused}"
    );
    assert_eq!(list(&mut agent).len(), count, "nothing stays of them");
}

#[test]
fn a_kill_at_any_moment_leaves_a_repository_that_verifies() {
    let Some(scene) = Scene::new() else { return };
    let send = |agent: &mut Agent, call: Value| {
        let order = SnapshotOrder {
            call: serde_json::from_value(call).unwrap(),
            repository: Default::default(),
            host: "n1".to_owned(),
            fleet: "fleet".to_owned(),
            token: Some(1),
        };
        agent.send(Request::Snapshot(Box::new(order)), &[])
    };
    for failpoint in ["snapshot-taken", "snapshot-recorded", "snapshot-restored"] {
        let mut agent = scene.failing(&format!("{failpoint}=abort"));
        send(&mut agent, json!({ "take": scene.order() }));
        agent.died();
        scene.restic(&["check", "--read-data"]);
        let mut agent = scene.agent();
        let listed = list(&mut agent);
        let newest = listed.last().unwrap();
        assert!(!newest.proven(), "{failpoint}: {newest:?}");
        let seen = agent.observe(probe(json!({ "snapshot": "data" })));
        assert_eq!(seen["proven"], false, "{failpoint}");
        let verified = ask(&mut agent, json!({ "verify": { "id": newest.id } })).unwrap();
        assert!(verified.snapshots[0].proven(), "{failpoint}: {verified:?}");
    }
    // restic itself, in the middle of its work; its lock is left behind.
    fs::write(scene.data("noise"), noise(60_000_000)).unwrap();
    let mut agent = scene.agent();
    let before = list(&mut agent).len();
    let id = send(&mut agent, json!({ "take": scene.order() }));
    let mut killed = 0;
    eventually("restic takes the snapshot", || {
        let takes = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == b"backup")
        };
        killed = scene.world.processes().into_iter().find(takes).unwrap_or(0);
        killed != 0
    });
    kill(killed);
    let refused = agent.answer(id).unwrap().unwrap_err();
    assert!(refused.contains("taking a snapshot failed"), "{refused}");
    assert_eq!(list(&mut agent).len(), before);
    ask(&mut agent, json!("check")).unwrap();
    assert!(take(&mut agent, &scene.order()).unwrap().proven());

    // A restore that is cut short between its two renames: nothing is lost, and the next one finishes it.
    let id = list(&mut agent).last().unwrap().id.clone();
    let mut agent = scene.failing("restore-aside=abort");
    fs::write(scene.data("keys"), "newer").unwrap();
    let call = json!({ "restore": { "id": id, "to": null, "move_aside": true, "version": "3.4.23", "service": null } });
    send(&mut agent, call.clone());
    agent.died();
    let aside = scene.world.path(&format!("data.before-{}", &id[..8]));
    assert_eq!(fs::read(aside.join("keys")).unwrap(), b"newer");
    let mut agent = scene.agent();
    ask(&mut agent, call).unwrap();
    assert_eq!(fs::read(scene.data("keys")).unwrap(), b"one\ntwo\nthree\n");
    assert_eq!(fs::read(aside.join("keys")).unwrap(), b"newer");
}

#[test]
fn a_full_disk_fails_cleanly_before_and_in_the_middle() {
    let Some(scene) = Scene::new() else { return };
    let Some(small) = Small::new(&scene.world) else {
        return;
    };
    let bytes = noise(4_000_000);
    fs::write(scene.data("noise"), &bytes).unwrap();
    let mut agent = scene.agent();
    let refused = take(&mut agent, &scene.order()).unwrap_err();
    assert!(
        refused.contains("a snapshot and its trial restore needs"),
        "{refused}"
    );
    // There is room when it is looked at, and none any more when it is written.
    fs::write(scene.data("noise"), &bytes[..1_500_000]).unwrap();
    let mut agent = scene.failing("snapshot-room=delay:3000");
    let call = json!({ "take": scene.order() });
    let order = SnapshotOrder {
        call: serde_json::from_value(call).unwrap(),
        repository: Default::default(),
        host: "n1".to_owned(),
        fleet: "fleet".to_owned(),
        token: Some(1),
    };
    let id = agent.send(Request::Snapshot(Box::new(order)), &[]);
    eventually("the agent has begun", || {
        small.path.join("backups/password").exists()
    });
    // Enough for the repository's first files, and no more.
    let ballast = File::create(small.path.join("ballast")).unwrap();
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, 5_000_000).unwrap();
    let refused = agent.answer(id).unwrap().unwrap_err();
    assert!(
        refused.contains("full") || refused.contains("no space left") || refused.contains("needs"),
        "{refused}"
    );
    drop(ballast);
    fs::remove_file(small.path.join("ballast")).unwrap();
    let mut agent = scene.agent();
    assert!(list(&mut agent).iter().all(|record| !record.proven()));
    let record = take(&mut agent, &scene.order()).unwrap();
    assert!(record.proven(), "{record:?}");
    ask(&mut agent, json!("check")).unwrap();
}

#[test]
fn a_repository_elsewhere_needs_a_password_that_outlives_the_host() {
    let Some(scene) = Scene::new() else { return };
    let mut agent = scene.agent();
    let mut order = scene.order();
    order["repository"]["location"] = json!(scene.world.path("far/repository"));
    let refused = take(&mut agent, &order).unwrap_err();
    assert!(refused.contains("snapshot_password_file"), "{refused}");
    order["repository"]["password_file"] = json!(scene.world.path("password"));
    let refused = take(&mut agent, &order).unwrap_err();
    assert!(refused.contains("there is no password file"), "{refused}");
    fs::write(scene.world.path("password"), "a secret").unwrap();
    assert!(take(&mut agent, &order).unwrap().proven());
    assert!(scene.world.path("far/repository/config").exists());
    // The wrong password opens nothing, and says so.
    fs::write(scene.world.path("password"), "another").unwrap();
    let refused = take(&mut agent, &order).unwrap_err();
    assert!(refused.contains("wrong password"), "{refused}");
}
