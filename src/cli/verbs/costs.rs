//! What the plans' bastions cost, for `plan` and `status`.

use jiff::Timestamp;

use crate::{
    cost::{Bill, bill, items, place},
    plan::{Deadline, Plan},
    provider::status::Status,
};

/// In the order of the plans, as are the statuses.
pub fn bills<'p>(plans: impl IntoIterator<Item = &'p Plan>, statuses: &[Status], now: Timestamp) -> Vec<Bill> {
    let each = plans.into_iter().zip(statuses);
    each.map(|(plan, status)| bill(&place(&status.location), &items(plan), seconds_left(plan, status, now))).collect()
}

/// Until the end that the plan asks for. A lifetime counts from where the bastion began, where there is one.
fn seconds_left(plan: &Plan, status: &Status, now: Timestamp) -> Option<i64> {
    match plan.deadline? {
        Deadline::Expires(expires) => Some(expires.as_second() - now.as_second()),
        Deadline::Lifetime(lifetime) => Some(status.seconds_left.unwrap_or(lifetime.as_secs())),
    }
}
