//! When a bastion ends, as its tags say it.

use jiff::Timestamp;

use super::tags::{EXPIRES, LIFETIME, Tags};
use crate::plan::Deadline;

/// A deadline as a moment, and the lifetime (seconds) that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedDeadline {
    pub expires: Timestamp,
    pub lifetime: Option<i64>,
}

impl ResolvedDeadline {
    /// Reads back what [`super::tags::common`] wrote; `None` where there is no readable deadline.
    pub fn from_tags(tags: &Tags) -> Option<Self> {
        let expires = tags.get(EXPIRES)?.parse().ok()?;
        Some(Self { expires, lifetime: tags.get(LIFETIME).and_then(|s| s.parse().ok()) })
    }

    /// The second that the lifetime counts from; `None` where the deadline came from no lifetime.
    pub fn start(&self) -> Option<i64> {
        self.expires.as_second().checked_sub(self.lifetime?)
    }
}

/// The moment at which a bastion ends. A lifetime counts from the start that `existing` remembers; from `now` where it
/// remembers none, or one that is still to come (somebody has changed a tag).
pub fn deadline(
    plan: Option<Deadline>,
    existing: Option<ResolvedDeadline>,
    now: Timestamp,
) -> Option<ResolvedDeadline> {
    match plan? {
        Deadline::Expires(expires) => Some(ResolvedDeadline { expires, lifetime: None }),
        Deadline::Lifetime(lifetime) => {
            let seconds = lifetime.as_secs();
            let now = now.as_second();
            let start = existing.and_then(|e| e.start()).filter(|start| *start <= now).unwrap_or(now);
            // A lifetime has at most ten years; the sum stays inside what a timestamp can hold.
            let expires = Timestamp::from_second(start.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
            Some(ResolvedDeadline { expires, lifetime: Some(seconds) })
        }
    }
}
