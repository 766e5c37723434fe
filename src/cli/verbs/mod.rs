//! One file a verb, and what they share.

#[cfg(feature = "aws")]
pub mod apply;
#[cfg(feature = "aws")]
pub mod destroy;
pub mod offline;
#[cfg(feature = "aws")]
pub mod plan;
#[cfg(feature = "aws")]
mod run;
#[cfg(feature = "aws")]
pub mod status;

use std::{cell::Cell, path::PathBuf};

use jiff::Timestamp;

use super::{
    console,
    exit::{Error, say},
    style::{Color, Palette, clean},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    event::{Event, Watcher},
    plan::{Cloud, Plan, check_deadline, check_together, load},
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

/// Refuses plans for clouds that this gangplank can't reach.
pub fn only_reachable(plans: &[Plan]) -> Result<(), Error> {
    let azure = plans.iter().filter(|p| matches!(p.cloud, Cloud::Azure(_))).map(|plan| {
        plan.origin
            .problem("azure", "Azure plans can't be applied yet", "this version checks and renders them")
            .fix("`gangplank validate` and `gangplank render` work; leave the file out here")
    });
    let problems: Vec<Diagnostic> = azure.collect();
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems).into()) }
}

/// Watches reads: silent, unless the cloud makes us wait.
pub struct Reading {
    palette: Palette,
    said: Cell<bool>,
}

impl Reading {
    pub fn new(color: Color) -> Self {
        Self { palette: color.palette(&std::io::stderr()), said: Cell::new(false) }
    }
}

impl Watcher for Reading {
    fn event(&self, event: Event) {
        if let Event::StepRetrying { operation, kind, code, delay, .. } = event {
            let Palette { faint, .. } = self.palette;
            let what = console::retrying(&clean(&operation), kind, &clean(&code), delay);
            let opening = if self.said.replace(true) { "" } else { "Looking at the cloud takes longer than usual.\n" };
            say(&format!("{opening}{faint}  {what}{faint:#}\n"));
        }
    }
}
