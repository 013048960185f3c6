//! Records of guards, as files; what becomes of them is decided by [`upshift_host::guard`].

use std::fs;
use std::path::PathBuf;

use upshift_host::guard::{self, Effect, Event, Key, Record};

use crate::clock;
use crate::durable::Lock;
use crate::error::{Context, Result};
use crate::in_place;
use crate::layout::{Layout, component};

/// The name of a guard's files and units.
pub fn name(key: &Key) -> Result<String> {
    Ok(format!("{}.{}", component(&key.run)?, key.hop))
}

fn path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(layout.guards().join(format!("{}.guard", name(key)?)))
}

/// The lock that a guard's process holds for as long as it lives.
pub fn life_path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(layout.guards().join(format!("{}.life", name(key)?)))
}

/// What a guard's process says of its doings.
pub fn log_path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(layout.guards().join(format!("{}.log", name(key)?)))
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

/// Lets an event change a record, with nobody else in between. The record afterwards, and what is to be done then.
pub fn decide(layout: &Layout, key: &Key, event: &Event<'_>) -> Result<(Option<Record>, Effect)> {
    let _lock = Lock::take(&layout.records_lock())?;
    let before = read(layout, key)?;
    let decided = guard::decide(before.as_ref(), key, event, &clock::now())?;
    if let Some(after) = &decided.record {
        in_place::write(&path(layout, key)?, after)?;
    }
    Ok((decided.record.or(before), decided.effect))
}
