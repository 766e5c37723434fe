//! Shows changesets before they are carried out: to people, in a pull request, to programs. Pure text from plain data.

pub mod drift;
mod human;
mod json;
pub mod left_out;
mod markdown;
pub mod places;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod reap;
pub mod verification;

use serde::Serialize;

pub use self::{
    human::{human, human_of_some, human_of_tags},
    json::{json, json_with},
    markdown::{markdown, markdown_with},
};
use super::words::Totals;
use crate::{
    changeset::{Changeset, Direction, Exposure, Impact, Step},
    saved::FileDigest,
};

/// The file that a changeset was saved to.
#[derive(Debug, Serialize)]
pub struct SavedFile {
    pub path: String,
    pub digest: FileDigest,
}

fn totals<A>(set: &Changeset<A>) -> Totals {
    Totals::of(set.steps.iter().map(|s| s.op))
}

fn totals_of_all<A>(sets: &[Changeset<A>]) -> Totals {
    Totals::of(sets.iter().flat_map(|set| &set.steps).map(|s| s.op))
}

fn no_changes(bastions: usize) -> &'static str {
    if bastions > 1 { "No changes: the cloud matches the plans." } else { "No changes: the cloud matches the plan." }
}

/// What an impact means for those who use the tunnels; `None` where they notice nothing.
fn impact(impact: Impact) -> Option<&'static str> {
    match impact {
        Impact::Live => None,
        Impact::Replacement => {
            Some("replaces the machine: connections are cut, the host key changes, the address stays")
        }
        Impact::Interruption => {
            Some("closes the way in until another one stands: connections are cut, the host key stays")
        }
        Impact::Teardown => Some("the bastion goes away, and its tunnels with it"),
    }
}

/// What is said once about a whole bastion because it holds for each of its steps.
struct Common<'a> {
    reason: Option<&'a str>,
    teardown: bool,
}

impl<'a> Common<'a> {
    fn of<A>(set: &'a Changeset<A>) -> Self {
        let reason = match set.steps.as_slice() {
            [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|s| s.reason == first.reason) => {
                Some(first.reason.as_str())
            }
            _ => None,
        };
        Self { reason, teardown: set.steps.iter().any(|s| s.impact == Impact::Teardown) }
    }
}

/// The steps, each with the impact to show at it: an impact that several steps share is shown at the first of them, a
/// teardown at none, for it is said of the whole bastion.
fn steps_with_impact<A>(set: &Changeset<A>) -> impl Iterator<Item = (&Step<A>, Option<&'static str>)> {
    let mut seen = Vec::new();
    set.steps.iter().map(move |step| {
        let new = step.impact != Impact::Teardown && !seen.contains(&step.impact);
        seen.push(step.impact);
        (step, if new { impact(step.impact) } else { None })
    })
}

/// The impact that matters most, in words.
fn strongest_impact<A>(set: &Changeset<A>) -> Option<&'static str> {
    let order = [Impact::Teardown, Impact::Replacement, Impact::Interruption];
    order.into_iter().find(|i| set.steps.iter().any(|s| s.impact == *i)).and_then(impact)
}

/// The exposure in a reader's order: each direction that occurs, with its name.
fn directions(exposure: &[Exposure]) -> impl Iterator<Item = (&'static str, Vec<&Exposure>)> {
    let all =
        [(Direction::Inbound, "inbound"), (Direction::Tunnel, "through tunnels"), (Direction::Outbound, "outbound")];
    all.into_iter()
        .map(|(direction, name)| (name, exposure.iter().filter(|e| e.direction == direction).collect::<Vec<_>>()))
        .filter(|(_, ways)| !ways.is_empty())
}
