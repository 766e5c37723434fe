//! When a failed call is repeated, and after how long. Pure: time and spread are arguments.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};

use super::error::{ends_in_passing, is_in_use};
use crate::cloud_error::{CloudError, ErrorKind, Residue};

/// Throttling and faults are waited out for so long. Azure counts requests in windows of up to five minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// A firewall takes that long to take a change in, and refuses others meanwhile.
const BUSY_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// What used it goes away a little later than Azure says; an interface stays reserved for 180 s for the machine that failed to
/// come up on it.
const RELEASE_PATIENCE: Duration = Duration::from_secs(300);
/// No answer at all: a name that does not resolve or a closed port seldom heals, a lost connection does at once.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(15);
/// While something long is awaited, a network that is away for a while costs nothing but time.
const AWAITING_PATIENCE: Duration = Duration::from_secs(300);
/// What was made a moment ago may not be visible to the next call everywhere.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Repeating it after an unknown outcome does no harm.
    pub idempotent: bool,
    /// It names something that this run has just made, so "not found" means "not yet".
    pub settling: bool,
    /// It removes something whose users are just going away, so "in use" means "still".
    pub releasing: bool,
    /// It asks after something long.
    pub awaiting: bool,
}

impl Repeat {
    pub const SAFE: Self = Self { idempotent: true, settling: false, releasing: false, awaiting: false };
    pub const SETTLING: Self = Self { settling: true, ..Self::SAFE };
    pub const RELEASING: Self = Self { releasing: true, ..Self::SAFE };
    pub const AWAITING: Self = Self { awaiting: true, ..Self::SAFE };
    pub const ONCE: Self = Self { idempotent: false, ..Self::SAFE };
}

/// A failed call.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub error: &'a CloudError,
    /// Azure's own word on when to come back.
    pub retry_after: Option<Duration>,
    /// Counted from 1.
    pub number: u32,
    /// Since the first attempt began.
    pub waited: Duration,
}

/// The pause before the next attempt, or `None` where the error stands. `first` is the first pause where Azure names none;
/// `spread` tells concurrent callers apart so that they don't come back together.
pub fn delay(attempt: Attempt<'_>, repeat: Repeat, first: Duration, spread: impl Hash) -> Option<Duration> {
    let Attempt { error, retry_after, number, waited } = attempt;
    if error.residue == Residue::Unknown && !repeat.idempotent {
        return None;
    }
    let code = error.code.as_deref().unwrap_or_default();
    let patience = match error.kind {
        ErrorKind::Throttled | ErrorKind::Fault => PATIENCE,
        ErrorKind::Unreachable if repeat.awaiting => AWAITING_PATIENCE,
        ErrorKind::Unreachable => UNREACHABLE_PATIENCE,
        ErrorKind::NotFound if repeat.settling => SETTLE_PATIENCE,
        ErrorKind::Conflict if ends_in_passing(code) => BUSY_PATIENCE,
        ErrorKind::Conflict if repeat.releasing && is_in_use(code) => RELEASE_PATIENCE,
        _ => return None,
    };
    let full = first.saturating_mul(2u32.saturating_pow(number.saturating_sub(1))).min(LONGEST_DELAY);
    let mut hasher = DefaultHasher::new();
    (spread, number).hash(&mut hasher);
    let half = full / 2;
    let share = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    // Between a half and the whole of the step; never earlier than Azure says.
    let pause = retry_after.unwrap_or_default().max(half + half * share / 1000);
    // To come back after patience has ended is to give up now, and to say so now.
    (waited.saturating_add(pause) <= patience).then_some(pause)
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);

    fn error(kind: ErrorKind, code: &str) -> CloudError {
        CloudError {
            operation: "PUT x".to_owned(),
            kind,
            code: Some(code.to_owned()),
            request_id: None,
            message: String::new(),
            residue: if kind == ErrorKind::Unreachable { Residue::Unknown } else { Residue::Nothing },
            remedy: None,
        }
    }

    fn pause(error: &CloudError, repeat: Repeat, waited: u64, retry_after: Option<u64>) -> Option<Duration> {
        let retry_after = retry_after.map(Duration::from_secs);
        let attempt = Attempt { error, retry_after, number: 1, waited: Duration::from_secs(waited) };
        delay(attempt, repeat, FIRST, "")
    }

    #[test]
    fn azure_says_when_to_come_back() {
        let throttled = error(ErrorKind::Throttled, "SubscriptionRequestsThrottled");
        assert_eq!(pause(&throttled, Repeat::ONCE, 0, Some(37)), Some(Duration::from_secs(37)));
        assert!(pause(&throttled, Repeat::ONCE, 0, Some(0)).is_some_and(|p| p >= FIRST / 2), "no busy loop");
        assert!(pause(&throttled, Repeat::ONCE, 0, None).is_some_and(|p| p >= FIRST / 2));
    }

    #[test]
    fn what_is_longer_than_our_patience_is_said_at_once() {
        let throttled = error(ErrorKind::Throttled, "SubscriptionRequestsThrottled");
        assert_eq!(pause(&throttled, Repeat::SAFE, 0, Some(3600)), None);
        assert_eq!(pause(&throttled, Repeat::SAFE, 600, None), None);
    }

    #[test]
    fn a_busy_firewall_is_waited_for_longer_than_a_fault() {
        let busy = error(ErrorKind::Conflict, "AnotherOperationInProgress");
        assert!(pause(&busy, Repeat::SAFE, 20 * 60, None).is_some());
        assert_eq!(pause(&busy, Repeat::SAFE, 30 * 60, None), None);
        assert_eq!(pause(&error(ErrorKind::Fault, "InternalServerError"), Repeat::SAFE, 20 * 60, None), None);
    }

    #[test]
    fn other_conflicts_stand() {
        assert_eq!(pause(&error(ErrorKind::Conflict, "PreconditionFailed"), Repeat::RELEASING, 0, None), None);
        let in_use = error(ErrorKind::Conflict, "InUseSubnetCannotBeDeleted");
        assert_eq!(pause(&in_use, Repeat::SAFE, 0, None), None);
        assert!(pause(&in_use, Repeat::RELEASING, 200, None).is_some());
    }

    #[test]
    fn an_unknown_outcome_is_repeated_only_where_that_does_no_harm() {
        let lost = error(ErrorKind::Unreachable, "");
        assert_eq!(pause(&lost, Repeat::ONCE, 0, None), None);
        assert!(pause(&lost, Repeat::SAFE, 0, None).is_some());
        assert!(pause(&lost, Repeat::AWAITING, 200, None).is_some(), "a laptop that slept continues to wait");
    }

    #[test]
    fn a_permission_never_heals() {
        assert_eq!(pause(&error(ErrorKind::Permission, "AuthorizationFailed"), Repeat::SETTLING, 0, None), None);
    }

    #[test]
    fn retry_after_comes_in_seconds_or_as_a_date() {
        let now: Timestamp = "2026-11-02T10:50:00Z".parse().expect("a time");
        assert_eq!(retry_after("10", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Mon, 02 Nov 2026 10:50:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 02 Nov 2026 10:49:00 GMT", now), Some(Duration::ZERO), "past already");
        assert_eq!(retry_after("soon", now), None);
    }
}
