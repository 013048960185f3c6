//! Moments that survive a reboot.

use serde::{Deserialize, Serialize};
use upshift_model::Millis;

/// The clocks of a host at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Which boot this is: the kernel's boot id.
    pub boot: String,
    /// Milliseconds since that boot, on a clock that goes on while the host sleeps and that cannot be set.
    pub since_boot: u64,
    /// Wall time, in milliseconds since 1970. It can be set, forward and back.
    pub wall: u64,
}

/// A moment in the future of a host.
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
    /// So long after a moment.
    pub fn after(time: Millis, now: &Clocks) -> Self {
        Deadline {
            boot: now.boot.clone(),
            since_boot: now.since_boot.saturating_add(time.0),
            wall: now.wall.saturating_add(time.0),
            longest: time,
        }
    }

    /// Time until then; zero where it has passed.
    pub fn remaining(&self, now: &Clocks) -> Millis {
        let remaining = match now.boot == self.boot {
            true => Millis(self.since_boot).minus(Millis(now.since_boot)),
            false => Millis(self.wall).minus(Millis(now.wall)),
        };
        remaining.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, since_boot: u64, wall: u64) -> Clocks {
        Clocks {
            boot: boot.to_owned(),
            since_boot,
            wall,
        }
    }

    #[test]
    fn a_deadline_survives_a_reboot_in_wall_time() {
        let deadline = Deadline::after(Millis(5000), &at("a", 5_000, 995_000));
        assert_eq!(deadline.remaining(&at("a", 7_000, 0)), Millis(3000));
        assert_eq!(deadline.remaining(&at("a", 11_000, 0)), Millis::ZERO);
        assert_eq!(deadline.remaining(&at("b", 7_000, 999_000)), Millis(1000));
        assert_eq!(deadline.remaining(&at("b", 7_000, 2_000_000)), Millis::ZERO);
        let set_back = at("b", 7_000, 1_000);
        assert_eq!(
            deadline.remaining(&set_back),
            Millis(5000),
            "a clock that was set back"
        );
    }
}
