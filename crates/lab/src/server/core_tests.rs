//! The protocol without threads and network: messages are carried by hand.

use super::*;

struct Lab {
    _directory: tempfile::TempDir,
    cores: BTreeMap<String, Core>,
}

impl Lab {
    fn new(version: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let members: BTreeMap<String, String> = ["a", "b", "c"]
            .iter()
            .map(|name| ((*name).to_owned(), "127.0.0.1:1".to_owned()))
            .collect();
        let cores = members
            .keys()
            .map(|name| {
                let config = Config {
                    name: name.clone(),
                    data: directory.path().join(name),
                    members: members.clone(),
                    rise_after_ms: 0,
                    keys: Vec::new(),
                };
                (
                    name.clone(),
                    Core::open(config, Manifest::plain(version)).unwrap(),
                )
            })
            .collect();
        Lab {
            _directory: directory,
            cores,
        }
    }

    fn core(&mut self, name: &str) -> &mut Core {
        self.cores.get_mut(name).unwrap()
    }

    /// Elects a member by the votes of the named others.
    fn elect(&mut self, name: &str, voters: &[&str]) -> bool {
        let request = self.core(name).stand().unwrap();
        let votes = voters
            .iter()
            .filter(|voter| self.core(voter).vote(&request).unwrap().granted)
            .count()
            + 1;
        let elected = votes >= 2;
        if elected {
            self.core(name).lead().unwrap();
        }
        elected
    }

    /// The leader speaks to the others until they have everything.
    fn carry(&mut self, leader: &str, others: &[&str]) {
        for _ in 0..6 {
            for other in others {
                let request = self.core(leader).append_request(other).unwrap();
                let answer = self.core(other).append(&request).unwrap();
                self.core(leader).appended(other, &request, &answer).unwrap();
            }
        }
    }

    fn put(&mut self, leader: &str, key: &str) -> u64 {
        let change = Change::Put {
            key: key.to_owned(),
            value: "v".to_owned(),
        };
        self.core(leader).propose(change).unwrap()
    }

    /// The same data, taken up by a release.
    fn restart(&mut self, name: &str, manifest: Manifest) -> Result<(), String> {
        let config = self.core(name).config.clone();
        self.cores.remove(name);
        self.cores.insert(name.to_owned(), Core::open(config, manifest)?);
        Ok(())
    }
}

#[test]
fn a_write_counts_when_a_majority_has_it() {
    let mut lab = Lab::new("1.0.0");
    assert!(lab.elect("a", &["b"]));
    let index = lab.put("a", "x");
    assert!(lab.core("a").commit < index);
    lab.carry("a", &["b"]);
    assert!(lab.core("a").commit >= index);
    assert_eq!(lab.core("a").revision(), 1);
    assert_eq!(lab.core("c").revision(), 0);
}

#[test]
fn a_member_that_lacks_a_counted_write_is_not_elected_and_catches_up() {
    let mut lab = Lab::new("1.0.0");
    assert!(lab.elect("a", &["b"]));
    lab.put("a", "x");
    lab.carry("a", &["b"]);
    assert!(!lab.elect("c", &["b"]));
    assert!(lab.elect("b", &["c"]));
    lab.put("b", "y");
    lab.carry("b", &["a", "c"]);
    let hashes: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| lab.core(name).hash_at(2))
        .collect();
    assert!(
        hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0]),
        "{hashes:?}"
    );
}

#[test]
fn an_entry_that_no_majority_had_gives_way() {
    let mut lab = Lab::new("1.0.0");
    assert!(lab.elect("a", &["b"]));
    lab.carry("a", &["b", "c"]);
    lab.put("a", "lost");
    assert!(lab.elect("b", &["c"]));
    lab.put("b", "kept");
    lab.carry("b", &["a", "c"]);
    assert_eq!(lab.core("a").values.keys().collect::<Vec<_>>(), ["kept"]);
    assert_eq!(lab.core("a").role, Role::Follower);
}

#[test]
fn a_restarted_member_recovers_before_it_serves() {
    let mut lab = Lab::new("1.0.0");
    assert!(lab.elect("a", &["b"]));
    lab.put("a", "x");
    lab.carry("a", &["b", "c"]);
    lab.restart("c", Manifest::plain("1.1.0")).unwrap();
    assert_eq!(lab.core("c").state(), "recovering");
    lab.carry("a", &["c"]);
    assert_eq!(lab.core("c").state(), "serving");
    assert_eq!(lab.core("c").revision(), 1);
}

#[test]
fn the_cluster_version_rises_when_all_are_new_and_then_nobody_rolls_back() {
    let mut lab = Lab::new("1.0.0");
    assert!(lab.elect("a", &["b"]));
    lab.carry("a", &["b", "c"]);
    let first = lab.core("a").due_rise().unwrap();
    lab.core("a").propose(Change::ClusterVersion(first)).unwrap();
    lab.carry("a", &["b", "c"]);
    for name in ["b", "c"] {
        lab.restart(name, Manifest::plain("2.0.0")).unwrap();
    }
    lab.carry("a", &["b", "c"]);
    assert_eq!(lab.core("a").due_rise(), None);
    lab.restart("b", Manifest::plain("1.0.0")).unwrap();
    lab.restart("b", Manifest::plain("2.0.0")).unwrap();
    lab.restart("a", Manifest::plain("2.0.0")).unwrap();
    assert!(lab.elect("b", &["c"]));
    lab.carry("b", &["a", "c"]);
    let rise = lab.core("b").due_rise().unwrap();
    assert_eq!(rise, "2.0.0");
    lab.core("b").propose(Change::ClusterVersion(rise)).unwrap();
    lab.carry("b", &["a", "c"]);
    assert_eq!(lab.core("c").format, 2);
    let refused = lab.restart("c", Manifest::plain("1.0.0")).unwrap_err();
    assert_eq!(refused, "data format 2 cannot be read by release 1.0.0");
}

#[test]
fn a_release_that_loses_data_shows_it_by_its_hash() {
    let mut lab = Lab::new("1.0.0");
    assert!(lab.elect("a", &["b"]));
    lab.put("a", "x");
    lab.carry("a", &["b", "c"]);
    let mut manifest = Manifest::plain("1.1.0");
    manifest.misbehaviour.lose_data = true;
    lab.restart("c", manifest).unwrap();
    lab.carry("a", &["c"]);
    assert_eq!(lab.core("c").state(), "serving");
    assert_ne!(lab.core("c").hash_at(1), lab.core("a").hash_at(1));
}
