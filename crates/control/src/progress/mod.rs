//! What people and programs see of a run while it is carried.
//!
//! Three ways to show it: [`terminal::Terminal`] for people at a terminal, [`lines::Lines`] for logs, and [`json::Json`] for
//! programs. All three are told the same.

pub mod changes;
pub mod json;
pub mod lines;
pub mod terminal;

use std::io::IsTerminal;

use upshift_model::Millis;
use upshift_run::{Event, State, View};
use upshift_wire::session::LinkState;

use crate::runner::Ended;

/// Somebody who looks on. Must not block: the run waits meanwhile.
pub trait Progress: Send {
    /// An event is in the journal, and the engine is about to see it.
    fn event(&mut self, _event: &Event) {}

    /// The run as it is now. Told after every event in small fleets, and several times a second in large ones.
    fn view(&mut self, _view: &View, _state: &State) {}

    /// Time passes while nothing happens; told several times a second.
    fn tick(&mut self, _now: Millis) {}

    /// A host has so many bytes of a file that is being sent to it.
    fn transfer(&mut self, _host: &str, _received: u64, _size: u64) {}

    /// The connection to a host has come or gone.
    fn link(&mut self, _host: &str, _state: &LinkState) {}

    /// The run is not carried any more.
    fn ended(&mut self, _ended: &Ended, _state: &State) {}
}

/// Nobody looks on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Lines that move on a terminal, plain lines otherwise; both on standard error.
pub fn for_people() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(terminal::Terminal::new())
    } else {
        Box::new(lines::Lines::new(std::io::stderr()))
    }
}

/// A time as people read it: `0.4s`, `12.3s`, `4m05s`, `2h10m`.
pub fn readable(time: Millis) -> String {
    let (tenths, seconds) = (time.0 / 100, time.0 / 1000);
    match seconds {
        0..=59 => format!("{}.{}s", tenths / 10, tenths % 10),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_people_need() {
        let texts: Vec<String> = [0, 449, 12_345, 59_999, 60_000, 245_000, 7_800_000]
            .map(|time| readable(Millis(time)))
            .to_vec();
        assert_eq!(
            texts,
            ["0.0s", "0.4s", "12.3s", "59.9s", "1m00s", "4m05s", "2h10m"]
        );
    }
}
