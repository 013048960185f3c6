//! The time of a run: milliseconds since it began, the same for all its controllers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use upshift_model::Millis;

/// Tells the time of a run. Never goes backwards: not within a process, where it does not look at the wall clock, and not
/// from one controller to the next, because it begins no earlier than the journal's last event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunClock {
    origin: Instant,
    at_origin: Millis,
    /// How long the machine had slept by then, since it was booted.
    asleep_at_origin: Duration,
}

impl RunClock {
    /// The clock of a run that began at `created_ms` (milliseconds since 1970) and whose journal ends at `last`.
    pub(crate) fn take_up(created_ms: u64, last: Millis) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let since = u64::try_from(wall).unwrap_or(u64::MAX).saturating_sub(created_ms);
        RunClock {
            origin: Instant::now(),
            at_origin: last.max(Millis(since)),
            asleep_at_origin: asleep(),
        }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Millis {
        // Guards count the time in which this machine sleeps, and so does the run.
        let slept = asleep().saturating_sub(self.asleep_at_origin);
        let elapsed = u64::try_from((self.origin.elapsed() + slept).as_millis()).unwrap_or(u64::MAX);
        self.at_origin.plus(Millis(elapsed))
    }

    /// When a moment of the run comes, on this process's clock.
    pub(crate) fn instant(&self, at: Millis) -> Instant {
        self.origin + Duration::from_millis(at.minus(self.at_origin).0)
    }
}

/// How long the machine has slept since it was booted: the one clock counts that, the other does not.
fn asleep() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = |clock| {
        let time = clock_gettime(clock);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    };
    // Read one after the other: less than this is the time between the two.
    let awake = time(ClockId::Monotonic);
    let slept = time(ClockId::Boottime).saturating_sub(awake);
    if slept < Duration::from_millis(50) {
        Duration::ZERO
    } else {
        slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_from_the_journals_end_even_where_the_wall_clock_jumped_back() {
        let far_in_the_future = u64::MAX / 2;
        let clock = RunClock::take_up(far_in_the_future, Millis(5_000));
        assert_eq!(clock.now(), Millis(5_000));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now(), Millis(5_250));
        assert_eq!(clock.instant(Millis(5_250)), Instant::now());
        assert_eq!(
            clock.instant(Millis(0)),
            Instant::now() - Duration::from_millis(250)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_passed_without_a_controller_counts() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let clock = RunClock::take_up(wall - 60_000, Millis(5_000));
        assert!(
            clock.now() >= Millis(60_000) && clock.now() < Millis(61_000),
            "{}",
            clock.now()
        );
    }
}
