//! One file a verb, and what they share.

#[cfg(any(feature = "aws", feature = "azure"))]
pub mod apply;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod context;
#[cfg(any(feature = "aws", feature = "azure"))]
mod costs;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod demo;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod destroy;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod drift;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod extend;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod handoff;
mod make_key;
pub mod offline;
#[cfg(any(feature = "aws", feature = "azure"))]
mod online;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod plan;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod reap;
#[cfg(any(feature = "aws", feature = "azure"))]
mod run;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod sandbox;
#[cfg(any(feature = "aws", feature = "azure"))]
mod selection;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod status;
#[cfg(any(feature = "aws", feature = "azure"))]
mod step_differences;
#[cfg(any(feature = "aws", feature = "azure"))]
mod vantages;
#[cfg(feature = "azure")]
pub mod vendor_key;
pub mod vendors;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod verify;

use std::path::PathBuf;

use jiff::Timestamp;

use super::exit::Error;
#[cfg(any(feature = "aws", feature = "azure"))]
use crate::plan::{Loaded, load_each as load_files};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    plan::{Plan, check_deadline, check_together, load},
};

/// Plans, and the files that hold none. With no plan at all there is nothing to go on with.
#[cfg(any(feature = "aws", feature = "azure"))]
pub fn load_each(paths: &[PathBuf]) -> Result<Loaded, Error> {
    let loaded = load_files(paths);
    if loaded.plans.is_empty() {
        let problems = loaded.broken.into_iter().flat_map(|file| file.problems.0).collect();
        return Err(Diagnostics(problems).into());
    }
    Ok(loaded)
}

/// Plans that shall come into being in a cloud. Whether their deadlines lie ahead is asked there: one that has passed may have been
/// extended.
#[cfg(any(feature = "aws", feature = "azure"))]
pub fn load_together(paths: &[PathBuf]) -> Result<Loaded, Error> {
    let loaded = load_each(paths)?;
    check_together(&loaded.plans).map_or(Ok(loaded), |twins| Err(twins.into()))
}

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
