//! A verification in the order in which it is read: counts, and the checks of each vantage with what is unknown by its reason.

use super::{Check, Vantage, Verdict, Verification};

/// `12 passed, 1 failed, 3 unknown`, without what is zero.
pub fn summary(verification: &Verification) -> String {
    totals(verification.passed(), verification.failed(), verification.unknown())
}

pub fn totals(passed: usize, failed: usize, unknown: usize) -> String {
    let all = [(passed, "passed"), (failed, "failed"), (unknown, "unknown")];
    let some: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if some.is_empty() { "nothing was checked".to_owned() } else { some.join(", ") }
}

/// The checks of one vantage in a reader's order: what was answered, one by one; then what is unknown, by its reason.
pub struct VantageChecks<'a> {
    pub vantage: Vantage,
    pub answered: Vec<&'a Check>,
    pub unknown: Vec<(&'a str, Vec<&'a Check>)>,
}

/// The vantages that have checks, in their order.
pub fn by_vantage(verification: &Verification) -> Vec<VantageChecks<'_>> {
    let mut all: Vec<VantageChecks<'_>> = Vec::new();
    for vantage in [Vantage::ControlPlane, Vantage::Machine, Vantage::Network] {
        let mut seen = VantageChecks { vantage, answered: Vec::new(), unknown: Vec::new() };
        for check in verification.checks.iter().filter(|check| check.vantage == vantage) {
            let Verdict::Unknown { reason } = &check.verdict else {
                seen.answered.push(check);
                continue;
            };
            match seen.unknown.iter_mut().find(|(known, _)| known == reason) {
                Some((_, checks)) => checks.push(check),
                None => seen.unknown.push((reason, vec![check])),
            }
        }
        if !seen.answered.is_empty() || !seen.unknown.is_empty() {
            all.push(seen);
        }
    }
    all
}
