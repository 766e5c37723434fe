//! The diff for programs.

use serde::Serialize;
use serde_json::Value;

use super::{SavedFile, left_out, totals, totals_of_all};
use crate::{
    changeset::{Changeset, Detail, Exposure, Impact, Op, Step, StepId},
    cli::words::Totals,
    cost::Bill,
    left_out::LeftOut,
    location::Location,
};

/// Raised when a field goes away or changes its meaning; new fields may come without it.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    changed: bool,
    totals: Totals,
    bastions: Vec<Bastion<'a>>,
    #[serde(skip_serializing_if = "Value::is_null")]
    left_out: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<&'a SavedFile>,
}

#[derive(Serialize)]
struct Bastion<'a> {
    name: &'a str,
    #[serde(flatten)]
    location: &'a Location,
    plan: &'a str,
    changed: bool,
    totals: Totals,
    steps: Vec<StepLine<'a>>,
    exposure: &'a [Exposure],
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<&'a Bill>,
}

#[derive(Serialize)]
struct StepLine<'a> {
    id: &'a StepId,
    op: Op,
    resource: &'a str,
    reason: &'a str,
    impact: Impact,
    after: &'a [StepId],
    details: &'a [Detail],
}

impl<'a, A> From<&'a Step<A>> for StepLine<'a> {
    fn from(step: &'a Step<A>) -> Self {
        let Step { id, op, resource, details, reason, impact, after, action: _ } = step;
        Self { id, op: *op, resource, reason, impact: *impact, after, details }
    }
}

/// One JSON document, ending in a newline:
///
/// - `format_version`: 1
/// - `changed`: whether any bastion has a step
/// - `totals`: how many steps `create`, `update`, `replace` and `delete`, over all bastions
/// - `bastions[]`: `name`, `location` (`aws us-east-1`) and whose (`region`, `account`, `sandbox`: see docs/automation.md),
///   `plan` (the file), `changed`, `totals`, and
///   - `steps[]`: `id`, `op` (`create`, `update`, `replace`, `delete`), `resource`, `reason`, `impact` (`live`, `restart`,
///     `replacement`, `teardown`), `after` (ids of the steps that come first), `details[]` (`name`, and where there is one
///     `before`, `after`, `note`)
///   - `exposure[]`: who can reach what afterwards: `direction` (`inbound`, `tunnel`, `outbound`), `from`, `to`, `why`
///   - `notes[]`: sentences
///   - `cost`: `place`, `currency`, `prices_of`, `lines[]` (`item`, `quantity`, `monthly` or null, `source`, `confirmed`),
///     `monthly`, `complete`, `until_deadline`
pub fn json<A>(sets: &[Changeset<A>]) -> String {
    json_with(sets, &[], &[], None)
}

/// The same with what each bastion costs, with `left_out[]` where plans are left out (see [`left_out::json`]), and with the file that
/// holds the changeset: `saved`: `path`, `digest`.
pub fn json_with<A>(sets: &[Changeset<A>], bills: &[Bill], left_out: &[LeftOut], saved: Option<&SavedFile>) -> String {
    let bastions: Vec<_> = sets
        .iter()
        .enumerate()
        .map(|(i, set)| Bastion {
            cost: bills.get(i),
            name: &set.bastion,
            location: &set.location,
            plan: &set.plan,
            changed: !set.is_empty(),
            totals: totals(set),
            steps: set.steps.iter().map(StepLine::from).collect(),
            exposure: &set.exposure,
            notes: &set.notes,
        })
        .collect();
    let changed = bastions.iter().any(|b| b.changed);
    let left_out = if left_out.is_empty() { Value::Null } else { left_out::json(left_out) };
    let totals = totals_of_all(sets);
    let document = Document { format_version: FORMAT_VERSION, changed, totals, bastions, left_out, saved };
    // Cannot fail: every map key is a string and nothing refuses to be serialised.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
