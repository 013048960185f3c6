//! Records of guards.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use upshift_model::Millis;
use upshift_model::action::GuardRecipe;

use crate::clock;
use crate::durable::Lock;
use crate::error::{Context, Result};
use crate::in_place;
use crate::layout::{Layout, component};
use crate::records::Place;

/// Which guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The run.
    pub run: String,
    /// Position of the hop.
    pub hop: u32,
}

impl Key {
    /// A name for files and units.
    pub fn name(&self) -> Result<String> {
        Ok(format!("{}.{}", component(&self.run)?, self.hop))
    }
}

/// A guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub key: Key,
    /// Name of the fleet.
    pub fleet: String,
    /// What it does; nothing where it was disarmed before the order to arm it came.
    pub recipe: Option<GuardRecipe>,
    /// The place of the order that armed it.
    #[serde(default)]
    pub armed: Place,
    /// The place of the newest word that disarmed it: an order to arm that is not newer came too late.
    pub disarmed: Option<Place>,
    /// Until when it waits.
    pub deadline: Deadline,
    /// How far it is.
    pub state: State,
    /// Whether it has ever fired in this hop: orders forward are refused from then on.
    pub fired: bool,
}

impl Record {
    /// The disarming that an order to arm at this place comes too late for.
    pub fn disarmed_since(&self, place: Place) -> Option<Place> {
        self.disarmed.filter(|disarmed| place <= *disarmed)
    }

    /// How long it waits after an arming or renewal.
    pub fn patience(&self) -> Millis {
        self.recipe
            .as_ref()
            .map_or(Millis::ZERO, |recipe| recipe.lease.plus(recipe.stagger))
    }

    /// Whether a process has to care for it.
    pub fn stands(&self) -> bool {
        matches!(self.state, State::Armed | State::Firing)
    }
}

/// How far a guard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its deadline.
    Armed,
    /// It rolls back the host.
    Firing,
    /// It has rolled back the host, and seen the proof.
    RolledBack,
    /// The point of no return had been crossed: it has changed nothing.
    StoodDown,
    /// It could not roll back the host.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was disarmed.
    Disarmed,
}

/// A moment that survives a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The boot in which it was set.
    boot: String,
    /// The moment in that boot, in milliseconds since it.
    since_boot: u64,
    /// The moment in wall time, in milliseconds since 1970: all that is left after a reboot.
    wall: u64,
    /// The longest it can be away; wall time that was set back makes it no longer.
    longest: Millis,
}

impl Deadline {
    /// So long from now.
    pub fn after(time: Millis) -> Self {
        Deadline {
            boot: clock::boot_id().to_owned(),
            since_boot: clock::since_boot().saturating_add(time.0),
            wall: clock::wall().saturating_add(time.0),
            longest: time,
        }
    }

    /// Time until then.
    pub fn remaining(&self) -> Millis {
        self.remaining_at(clock::boot_id(), clock::since_boot(), clock::wall())
    }

    fn remaining_at(&self, boot: &str, since_boot: u64, wall: u64) -> Millis {
        let remaining = match boot == self.boot {
            true => Millis(self.since_boot).minus(Millis(since_boot)),
            false => Millis(self.wall).minus(Millis(wall)),
        };
        remaining.min(self.longest)
    }
}

fn path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(layout.guards().join(format!("{}.guard", key.name()?)))
}

/// The lock that a guard's process holds for as long as it lives.
pub fn life_path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(layout.guards().join(format!("{}.life", key.name()?)))
}

/// What a guard's process says of its doings.
pub fn log_path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(layout.guards().join(format!("{}.log", key.name()?)))
}

/// Reads a record.
pub fn read(layout: &Layout, key: &Key) -> Result<Option<Record>> {
    in_place::read(&path(layout, key)?)
}

/// Reads all records.
pub fn all(layout: &Layout) -> Result<Vec<Record>> {
    let entries = fs::read_dir(layout.guards()).context(|| "cannot list the guards")?;
    let mut records = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let visible = !entry.file_name().to_string_lossy().starts_with('.');
        if visible && path.extension().is_some_and(|extension| extension == "guard") {
            records.extend(in_place::read::<Record>(&path)?);
        }
    }
    Ok(records)
}

/// Changes a record, with nobody else in between: `decide` sees it and says what it becomes, or that it stays. The record
/// afterwards.
pub fn change(
    layout: &Layout,
    key: &Key,
    decide: impl FnOnce(Option<&Record>) -> Result<Option<Record>>,
) -> Result<Option<Record>> {
    let _lock = Lock::take(&layout.records_lock())?;
    let before = read(layout, key)?;
    match decide(before.as_ref())? {
        Some(after) => {
            in_place::write(&path(layout, key)?, &after)?;
            Ok(Some(after))
        }
        None => Ok(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_survives_a_reboot_in_wall_time() {
        let deadline = Deadline {
            boot: "a".to_owned(),
            since_boot: 10_000,
            wall: 1_000_000,
            longest: Millis(5000),
        };
        assert_eq!(deadline.remaining_at("a", 7_000, 0), Millis(3000));
        assert_eq!(deadline.remaining_at("a", 11_000, 0), Millis::ZERO);
        assert_eq!(deadline.remaining_at("b", 7_000, 999_000), Millis(1000));
        assert_eq!(deadline.remaining_at("b", 7_000, 2_000_000), Millis::ZERO);
        assert_eq!(
            deadline.remaining_at("b", 7_000, 1_000),
            Millis(5000),
            "a clock that was set back"
        );
    }
}
