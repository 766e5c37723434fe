//! A sandbox's time: it goes on from where it was left, and as fast as the run's own timers do. On a runtime whose clock is
//! paused, an operation of ten minutes takes none.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What is kept of a clock between runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The sandbox's time when it was left.
    pub sandbox: Timestamp,
    /// The world's time then.
    pub world: Timestamp,
}

/// A running clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    from: Timestamp,
    since: Instant,
}

impl Clock {
    /// Shows `from` now.
    pub fn starting(from: Timestamp) -> Self {
        Self { from, since: Instant::now() }
    }

    /// Goes on from a kept time: what has passed in the world since has passed in the sandbox. Never back.
    pub fn resumed(kept: Option<Kept>, world: Timestamp) -> Self {
        let from = kept.map_or(world, |kept| {
            let passed = world.duration_since(kept.world).max(SignedDuration::ZERO);
            kept.sandbox.saturating_add(passed).unwrap_or(kept.sandbox)
        });
        Self::starting(from)
    }

    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        self.from.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    #[must_use]
    pub fn ahead(self, by: SignedDuration) -> Self {
        Self { from: self.from.saturating_add(by).unwrap_or(Timestamp::MAX), ..self }
    }

    pub fn keep(&self, world: Timestamp) -> Kept {
        Kept { sandbox: self.now(), world }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_where_it_was_left() {
        let clock = Clock::resumed(None, at("2026-11-22T12:00:00Z"));
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
        let kept = clock.keep(at("2026-11-22T12:00:01Z"));
        assert_eq!(kept.sandbox, at("2026-11-22T12:10:00Z"));
        assert_eq!(Clock::resumed(Some(kept), at("2026-11-22T13:00:01Z")).now(), at("2026-11-22T13:10:00Z"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_goes_back() {
        let kept = Kept { sandbox: at("2026-11-22T12:10:00Z"), world: at("2026-11-22T12:00:00Z") };
        assert_eq!(Clock::resumed(Some(kept), at("2026-11-21T00:00:00Z")).now(), kept.sandbox);
        let days = SignedDuration::from_hours(24 * 90);
        assert_eq!(Clock::starting(kept.sandbox).ahead(days).now(), at("2027-02-20T12:10:00Z"));
    }
}
