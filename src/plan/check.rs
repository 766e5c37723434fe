//! What one text alone cannot say: whether a plan's time is up, and whether plans name the same bastion.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Cloud, Deadline, Plan};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// A problem where the plan's `expires` has passed. Not a part of reading, because an expired bastion can still be shown and
/// destroyed.
pub fn check_deadline(plan: &Plan, now: Timestamp) -> Option<Diagnostic> {
    match plan.deadline {
        Some(Deadline::Expires(end)) if end <= now => {
            let problem =
                plan.origin.problem("expires", "a deadline in the past", format!("this was {}", since(end, now)));
            Some(problem.fix("choose a later time, or remove the bastion with `gangplank destroy`"))
        }
        _ => None,
    }
}

fn since(end: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(end).as_mins();
    let (number, unit) = match minutes {
        0 => return "just now".to_owned(),
        1..60 => (minutes, "minute"),
        60..1440 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    format!("{number} {unit}{} ago", if number == 1 { "" } else { "s" })
}

/// Every plan that names the bastion of an earlier one: the same name in the same cloud, region and account.
pub fn check_together(plans: &[Plan]) -> Option<Diagnostics> {
    let mut first: HashMap<(&str, &str, &str, &str), &Plan> = HashMap::new();
    let mut problems = Vec::new();
    for plan in plans {
        let name = plan.name.as_str();
        let identity = match &plan.cloud {
            Cloud::Aws(aws) => {
                ("aws", aws.profile.as_deref().unwrap_or_default(), aws.region.as_deref().unwrap_or_default(), name)
            }
            Cloud::Azure(azure) => ("azure", azure.subscription.as_str(), "", name),
        };
        let Some(other) = first.get(&identity) else {
            first.insert(identity, plan);
            continue;
        };
        problems.push(two_for_one(
            plan,
            other,
            "A name is a bastion's identity within its account and region: the plans would undo each other.",
            "give one of them another name",
        ));
    }
    (!problems.is_empty()).then_some(Diagnostics(problems))
}

/// A plan for the bastion of another one: why it is the same, and what to do.
pub fn two_for_one(plan: &Plan, other: &Plan, because: impl Into<String>, fix: impl Into<String>) -> Diagnostic {
    let place = other.origin.place("name");
    let (line, column) = place.line_column();
    let label = format!("{}:{line}:{column} describes a bastion of this name", place.source.path);
    plan.origin.problem("name", "two plans for one bastion", label).because(because).fix(fix)
}
