//! Evidence → checks. Pure: what a plan expects against what was seen.

mod accounts;
mod algorithms;
mod edge;
mod inside;

use super::{clock::Clock, evidence::Evidence, session::Pinned};
use crate::{
    plan::Plan,
    verify::{Check, Part, Vantage},
};

/// What the judges know beside the evidence.
pub struct Case<'a> {
    pub plan: &'a Plan,
    pub host_keys: &'a Pinned,
    pub clock: &'a Clock,
    pub concurrent: usize,
    pub evidence: &'a Evidence,
}

/// All checks of this vantage, whatever was seen.
pub fn judge(case: &Case<'_>) -> Vec<Check> {
    let mut checks = edge::checks(case);
    checks.extend(accounts::checks(case));
    checks.extend(inside::checks(case));
    checks
}

impl Case<'_> {
    /// Why nothing could be asked about users, if so.
    fn stopped(&self) -> Option<&str> {
        self.evidence.stopped.as_deref()
    }
}

fn check(id: &'static str, part: Part, proves: impl Into<String>) -> Check {
    Check::new(Vantage::Network, id, part, proves)
}
