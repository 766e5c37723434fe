//! What the plans' bastions cost, for `plan` and `status`.

use jiff::Timestamp;

use crate::{
    cost::{Bill, Item, Parts, bill, parts},
    plan::{Cloud, Deadline, Plan},
    provider::status::Status,
};

/// Of everything that the plans ask for, in their order.
pub fn bills_of_plans<'a>(each: impl Iterator<Item = (&'a Plan, &'a Status)>, now: Timestamp) -> Vec<Bill> {
    each.map(|(plan, status)| of(plan, status, &parts(plan).all(), now)).collect()
}

/// Of what exists, at what the plan asks for.
pub fn bill_of_status(plan: &Plan, status: &Status, now: Timestamp) -> Bill {
    of(plan, status, &existing(plan, status), now)
}

fn of(plan: &Plan, status: &Status, items: &[Item], now: Timestamp) -> Bill {
    bill(&status.location.price_region(), items, seconds_left(plan, status, now))
}

fn existing(plan: &Plan, status: &Status) -> Vec<Item> {
    let Parts { machine, disk, edge } = parts(plan);
    // A machine that has stopped itself is still paid for on Azure, until it is deallocated.
    let free = match plan.cloud {
        Cloud::Aws(_) => "stopped",
        Cloud::Azure(_) => "deallocated",
    };
    let exists = !status.instances.is_empty();
    let runs = status.instances.iter().any(|machine| machine.state != free);
    let there = [(runs, machine), (exists, disk), (status.address.is_some(), edge)];
    there.into_iter().filter(|(is_there, _)| *is_there).flat_map(|(_, items)| items).collect()
}

/// Until the end that the plan asks for. A lifetime counts from where the bastion began, where there is one.
fn seconds_left(plan: &Plan, status: &Status, now: Timestamp) -> Option<i64> {
    match plan.deadline? {
        Deadline::Expires(expires) => Some(expires.as_second() - now.as_second()),
        Deadline::Lifetime(lifetime) => Some(status.seconds_left.unwrap_or(lifetime.as_secs())),
    }
}
