//! Work on a host: the small steps of actions, done one after the other, for the agent and for the guard.

use serde_json::Value;
use upshift_model::action::{Command, ExitMeaning, Relink, Report};
use upshift_model::facts::ReleaseStatus;

use crate::data::DataDirectory;
use crate::disk::{File, Saved};
use crate::host::{Job, Worker};
use crate::ops::{Op, duration_of};
use crate::product;
use crate::world::{Happening, World};

/// How a small step ended.
pub enum Ended {
    /// Done; the next one follows.
    Done,
    /// Not yet: it is looked at again after so many milliseconds.
    NotYet(u64),
    /// It did not work.
    Failed(Report),
}

/// Something that may work later.
pub fn transient(reason: impl Into<String>) -> Ended {
    Ended::Failed(Report::Transient {
        reason: reason.into(),
    })
}

fn failed(reason: impl Into<String>) -> Ended {
    Ended::Failed(Report::Failed {
        reason: reason.into(),
    })
}

impl World {
    /// Begins a job; the host does nothing else until it is over.
    pub fn begin_job(&mut self, host: usize, worker: Worker, mut ops: std::collections::VecDeque<Op>) {
        if self.hosts[host].lies > 0 {
            self.hosts[host].lies -= 1;
            let what = ops.front().map_or("nothing", word);
            self.tell(host, || format!("exits 0 without having done it: {what}"));
            ops.clear();
        }
        let id = self.number();
        let delay = ops.front().map_or(1, |op| duration_of(op, &mut self.rng));
        self.hosts[host].job = Some(Job {
            id,
            worker,
            ops,
            output: Value::Null,
        });
        self.after(delay, Happening::Work { host, job: id });
    }

    /// The job's next small step is due.
    pub fn work(&mut self, host: usize, id: u64) {
        let Some(mut job) = self.hosts[host].job.take_if(|job| job.id == id) else {
            return;
        };
        let ended = match job.ops.pop_front() {
            None => Ended::Done,
            Some(mut op) => {
                let ended = self.perform(host, &job.worker, &mut op, &mut job.output);
                if matches!(ended, Ended::NotYet(_)) {
                    job.ops.push_front(op);
                }
                ended
            }
        };
        self.note_truth(host);
        match ended {
            Ended::Failed(report) => self.job_over(host, job.worker, report),
            Ended::Done if job.ops.is_empty() => {
                self.job_over(host, job.worker, Report::Done { output: job.output });
            }
            Ended::Done => {
                let delay = job.ops.front().map_or(1, |op| duration_of(op, &mut self.rng));
                self.hosts[host].job = Some(job);
                self.after(delay, Happening::Work { host, job: id });
            }
            Ended::NotYet(delay) => {
                self.hosts[host].job = Some(job);
                self.after(delay, Happening::Work { host, job: id });
            }
        }
    }

    fn job_over(&mut self, host: usize, worker: Worker, report: Report) {
        match worker {
            Worker::Agent {
                controller,
                order,
                run,
            } => self.order_over(host, controller, &run, &order, report),
            Worker::Guard { key } => self.guard_action_over(host, &key, &report),
        }
        self.pump(host);
    }

    fn perform(&mut self, host: usize, worker: &Worker, op: &mut Op, output: &mut Value) -> Ended {
        let run = match worker {
            Worker::Agent { run, .. } => run.clone(),
            Worker::Guard { key } => key.run.clone(),
        };
        let full = self.hosts[host].disk.full;
        match op {
            Op::AddPackage(_) | Op::AddRelease(_) | Op::CopyAside { .. } if full => {
                return transient("no space left on device");
            }
            Op::AskToEnd => {
                self.note_taken_down(host, worker);
                self.ask_server_to_end(host);
                if self.planted.stop_two {
                    let next = (host + 1) % self.hosts.len();
                    self.note_taken_down(next, worker);
                    self.ask_server_to_end(next);
                }
            }
            Op::AwaitEnd { kill_at, patience } => return self.await_end(host, kill_at, *patience),
            Op::StartServer => self.start_server(host),
            Op::Run(command) => return self.run_command(host, command, output),
            Op::Arm(recipe) => return self.arm_guard(host, worker, recipe),
            Op::Disarm => return self.disarm_on_order(host, worker),
            _ => return self.perform_on_disk(host, &run, op),
        }
        Ended::Done
    }

    fn perform_on_disk(&mut self, host: usize, run: &str, op: &Op) -> Ended {
        let lose_release = self.planted.unpack_nothing;
        let disk = &mut self.hosts[host].disk;
        match op {
            Op::AddRelease(_) if lose_release => {}
            Op::AddPackage(artifact) => {
                disk.packages
                    .insert(artifact.sha256.clone(), artifact.file_name.clone());
            }
            Op::AddRelease(artifact) => {
                if !disk.packages.contains_key(&artifact.sha256) {
                    return failed(format!("{} is not in the cache", artifact.file_name));
                }
                disk.releases
                    .entry(artifact.version.clone())
                    .or_insert(ReleaseStatus::Unpacked);
            }
            Op::SetCurrent(release) => {
                if !disk.releases.contains_key(release) {
                    return failed(format!("release {release} is not unpacked"));
                }
                disk.current.clone_from(release);
                for (version, status) in &mut disk.releases {
                    *status = if version == release {
                        ReleaseStatus::Permanent
                    } else {
                        ReleaseStatus::Old
                    };
                }
            }
            Op::CopyAside { name, path } => {
                let file = disk.files.get(path).cloned();
                let saved = disk.saved.entry((run.to_owned(), name.clone())).or_default();
                // A finished copy is kept: a late second attempt must not replace it by what is already changed.
                if !saved.finished {
                    saved.files.insert(path.clone(), file);
                }
            }
            Op::FinishSave(name) => {
                disk.saved
                    .entry((run.to_owned(), name.clone()))
                    .or_default()
                    .finished = true;
            }
            Op::PutBack(name) => {
                // What was never saved was never changed: a guard that fires early has nothing to put back.
                let saved = disk
                    .saved
                    .get(&(run.to_owned(), name.clone()))
                    .filter(|saved| saved.finished);
                let files = saved.map(|Saved { files, .. }| files.clone()).unwrap_or_default();
                for (path, file) in files {
                    match file {
                        Some(file) => disk.files.insert(path, file),
                        None => disk.files.remove(&path),
                    };
                }
            }
            Op::Edit(edit) => {
                let Some(text) = disk.text(&edit.file) else {
                    return failed(format!("{} does not exist", edit.file));
                };
                let edited = edit_text(text, &edit.drop, &edit.comment);
                disk.files.insert(edit.file.clone(), File::Text(edited));
            }
            Op::Link(relink) => return point_link(disk, relink),
            Op::RemoveRelease(release) => {
                if disk.current == *release {
                    return failed("the current release is never removed");
                }
                disk.releases.remove(release);
            }
            Op::RemoveSaved(name) => {
                disk.saved.remove(&(run.to_owned(), name.clone()));
            }
            _ => {}
        }
        Ended::Done
    }

    fn await_end(&mut self, host: usize, kill_at: &mut Option<u64>, patience: u64) -> Ended {
        if self.hosts[host].process.is_none() {
            return Ended::Done;
        }
        let due = *kill_at.get_or_insert(self.now + patience);
        if self.now < due {
            return Ended::NotYet(100);
        }
        self.hosts[host].process = None;
        self.hosts[host].ended = true;
        self.tell(host, || {
            "the server is killed: it did not end when asked".to_owned()
        });
        Ended::Done
    }

    fn run_command(&mut self, host: usize, command: &Command, output: &mut Value) -> Ended {
        let result = self.tool(host, &command.argv);
        let meaning = match command.exit.get(&result.exit) {
            Some(meaning) => meaning.clone(),
            None if result.exit == 0 => ExitMeaning::Done,
            None => ExitMeaning::Failed(format!(
                "{} exits {}: {}",
                command.argv.join(" "),
                result.exit,
                result.error
            )),
        };
        match meaning {
            ExitMeaning::Done => {
                *output = result.output;
                Ended::Done
            }
            ExitMeaning::Transient(reason) => transient(reason),
            ExitMeaning::Failed(reason) => failed(reason),
        }
    }
}

fn point_link(disk: &mut crate::disk::Disk, relink: &Relink) -> Ended {
    if relink.create_empty {
        match disk.files.get(&relink.target) {
            Some(File::Data(data)) if data.format == 0 && data.entries.count() == 0 => {}
            Some(_) => return failed(format!("{} exists and is not empty", relink.target)),
            None => {
                disk.files
                    .insert(relink.target.clone(), File::Data(DataDirectory::default()));
            }
        }
    } else if !disk.files.contains_key(&relink.target) {
        return failed(format!("{} does not exist", relink.target));
    }
    disk.files
        .insert(relink.link.clone(), File::Link(relink.target.clone()));
    Ended::Done
}

fn edit_text(text: &str, drop: &[String], comment: &[String]) -> String {
    let names = |keys: &[String], line: &str| keys.iter().any(|key| product::is_line_of(line, key));
    let kept = text.lines().filter(|line| !names(drop, line));
    kept.map(|line| {
        if names(comment, line) {
            format!("# {line}\n")
        } else {
            format!("{line}\n")
        }
    })
    .collect()
}

/// A short word for a small step.
pub fn word(op: &Op) -> &'static str {
    match op {
        Op::AddPackage(_) => "distribute",
        Op::AddRelease(_) => "unpack",
        Op::SetCurrent(_) => "switch",
        Op::AskToEnd | Op::AwaitEnd { .. } => "stop",
        Op::StartServer => "start",
        Op::CopyAside { .. } | Op::FinishSave(_) => "save",
        Op::PutBack(_) => "restore",
        Op::Edit(_) => "edit config",
        Op::Link(_) => "relink",
        Op::Run(_) => "command",
        Op::RemoveRelease(_) => "remove release",
        Op::RemoveSaved(_) => "remove saved files",
        Op::Arm(_) => "arm guard",
        Op::Disarm => "disarm guard",
    }
}
