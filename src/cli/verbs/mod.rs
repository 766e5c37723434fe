//! One file a verb, and what they share.

#[cfg(feature = "aws")]
pub mod apply;
#[cfg(feature = "aws")]
pub mod destroy;
#[cfg(feature = "aws")]
pub mod handoff;
pub mod offline;
#[cfg(feature = "aws")]
mod online;
#[cfg(feature = "aws")]
pub mod plan;
#[cfg(feature = "aws")]
mod run;
#[cfg(feature = "aws")]
pub mod status;
#[cfg(feature = "aws")]
mod vantages;
#[cfg(feature = "aws")]
pub mod verify;

use std::path::PathBuf;

use jiff::Timestamp;

use super::exit::Error;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    plan::{Plan, check_deadline, check_together, load},
};

/// Plans that shall come into being, so their deadlines must lie ahead.
pub fn load_current(paths: &[PathBuf], now: Timestamp) -> Result<Vec<Plan>, Error> {
    let plans = load(paths)?;
    check_current(&plans, now)?;
    Ok(plans)
}

pub fn check_current(plans: &[Plan], now: Timestamp) -> Result<(), Error> {
    let expired = plans.iter().filter_map(|plan| check_deadline(plan, now));
    let twins = check_together(plans).map(|Diagnostics(found)| found).unwrap_or_default();
    let problems: Vec<Diagnostic> = expired.chain(twins).collect();
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems).into()) }
}
