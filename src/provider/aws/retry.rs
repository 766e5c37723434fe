//! When a failed call is repeated, and after how long. Pure: time and spread are arguments.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::cloud_error::{CloudError, ErrorKind, Residue};

/// Throttling and faults of EC2 are waited out for so long; EC2's request buckets refill within seconds, its incidents that
/// pass at all within a few minutes.
const PATIENCE: Duration = Duration::from_secs(240);
/// What used a group or an address is gone for EC2 a little after it is gone for us.
const RELEASE_PATIENCE: Duration = Duration::from_secs(120);
/// No answer at all: a name that does not resolve or a closed port seldom heals, a lost connection does at once.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(15);
/// What was made a moment ago may not be visible to the next call: EC2 is eventually consistent.
pub const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
/// IAM knows the tags of what was made a moment ago after a while, too: a policy that asks for our tag refuses until then.
const PERMISSION_PATIENCE: Duration = Duration::from_secs(8);
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// Of what is still in use, which EC2 takes some seconds to let go.
const FIRST_RELEASE_DELAY: Duration = Duration::from_secs(2);
const LONGEST_DELAY: Duration = Duration::from_secs(15);

/// How a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Repeating it after an unknown outcome does no harm.
    pub idempotent: bool,
    /// It may name something that this run has just made, so "not found" means "not yet".
    pub settling: bool,
    /// It does: "not authorized" may mean "its tags are not known yet".
    pub just_made: bool,
    /// It removes something whose users are just going away, so "in use" means "still".
    pub releasing: bool,
}

impl Repeat {
    pub const SAFE: Self = Self { idempotent: true, settling: false, just_made: false, releasing: false };
    pub const SETTLING: Self = Self { settling: true, ..Self::SAFE };
    pub const RELEASING: Self = Self { releasing: true, ..Self::SAFE };
    pub const JUST_MADE: Self = Self { just_made: true, ..Self::SETTLING };
    pub const ONCE: Self = Self { idempotent: false, ..Self::SAFE };
}

/// The pause before the next attempt, or `None` where the error stands. `waited` counts from the first attempt; `spread` tells
/// concurrent callers apart so that they don't come back together.
pub fn delay(
    error: &CloudError,
    repeat: Repeat,
    attempt: u32,
    waited: Duration,
    spread: impl Hash,
) -> Option<Duration> {
    if error.residue == Residue::Unknown && !repeat.idempotent {
        return None;
    }
    let patience = match error.kind {
        ErrorKind::Throttled | ErrorKind::Fault => PATIENCE,
        ErrorKind::Unreachable => UNREACHABLE_PATIENCE,
        ErrorKind::NotFound if repeat.settling && !is_missing_rule(error) => SETTLE_PATIENCE,
        ErrorKind::Permission if repeat.just_made && is_unauthorized(error) => PERMISSION_PATIENCE,
        ErrorKind::Conflict if repeat.releasing && is_in_use(error) => RELEASE_PATIENCE,
        _ => return None,
    };
    if waited >= patience {
        return None;
    }
    let first = if error.kind == ErrorKind::Conflict { FIRST_RELEASE_DELAY } else { FIRST_DELAY };
    let full = first.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_DELAY);
    let mut hasher = DefaultHasher::new();
    (spread, attempt).hash(&mut hasher);
    // Between a half and the whole of the step: "equal jitter".
    let half = full / 2;
    let share = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    Some(half + half * share / 1000)
}

/// The rule itself is not there, whatever EC2 knows of its group: waiting brings none.
pub fn is_missing_rule(error: &CloudError) -> bool {
    error.code.as_deref() == Some("InvalidPermission.NotFound")
}

/// Not what a policy denies whatever the tags are.
fn is_unauthorized(error: &CloudError) -> bool {
    error.code.as_deref() == Some("UnauthorizedOperation") && !error.message.contains("explicit deny")
}

fn is_in_use(error: &CloudError) -> bool {
    error.code.as_deref().is_some_and(|c| c == "DependencyViolation" || c == "VolumeInUse" || c.ends_with(".InUse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, residue: Residue) -> CloudError {
        CloudError {
            operation: "RunInstances".to_owned(),
            kind,
            code: None,
            request_id: None,
            message: String::new(),
            residue,
            remedy: None,
        }
    }

    #[test]
    fn a_minute_of_throttling_is_waited_out() {
        let throttled = error(ErrorKind::Throttled, Residue::Nothing);
        let (mut waited, mut attempt) = (Duration::ZERO, 0);
        while waited < Duration::from_secs(60) {
            attempt += 1;
            let pause = delay(&throttled, Repeat::ONCE, attempt, waited, "warehouse/instance").expect("still patient");
            assert!(pause >= FIRST_DELAY / 2 && pause <= LONGEST_DELAY);
            waited += pause;
        }
        assert!(attempt < 20, "{attempt} attempts in a minute would add to the load");
    }

    #[test]
    fn patience_ends() {
        let throttled = error(ErrorKind::Throttled, Residue::Nothing);
        assert_eq!(delay(&throttled, Repeat::SAFE, 30, PATIENCE, ""), None);
    }

    #[test]
    fn an_unknown_outcome_is_repeated_only_where_that_does_no_harm() {
        let lost = error(ErrorKind::Unreachable, Residue::Unknown);
        assert_eq!(delay(&lost, Repeat::ONCE, 1, Duration::ZERO, ""), None);
        assert!(delay(&lost, Repeat::SAFE, 1, Duration::ZERO, "").is_some());
    }

    #[test]
    fn a_permission_never_heals() {
        assert_eq!(
            delay(&error(ErrorKind::Permission, Residue::Nothing), Repeat::SETTLING, 1, Duration::ZERO, ""),
            None
        );
    }

    #[test]
    fn tags_of_what_was_just_made_may_not_count_yet() {
        let mut refused = error(ErrorKind::Permission, Residue::Nothing);
        refused.code = Some("UnauthorizedOperation".to_owned());
        assert!(delay(&refused, Repeat::JUST_MADE, 1, Duration::ZERO, "").is_some());
        assert_eq!(delay(&refused, Repeat::JUST_MADE, 9, PERMISSION_PATIENCE, ""), None);
        assert_eq!(delay(&refused, Repeat::SETTLING, 1, Duration::ZERO, ""), None, "it was there before");
        refused.message = "with an explicit deny in a service control policy".to_owned();
        assert_eq!(delay(&refused, Repeat::JUST_MADE, 1, Duration::ZERO, ""), None);
    }

    #[test]
    fn callers_come_back_apart() {
        let throttled = error(ErrorKind::Throttled, Residue::Nothing);
        let pauses: std::collections::BTreeSet<_> =
            (0..50).filter_map(|n| delay(&throttled, Repeat::SAFE, 4, Duration::ZERO, n)).collect();
        assert!(pauses.len() > 25, "{pauses:?}");
    }
}
