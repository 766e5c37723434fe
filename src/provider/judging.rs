//! What the judges of the control planes share.

use crate::verify::{Check, Part, Vantage, Verdict};

/// What was read, or why it could not be: a sentence for the reader.
pub type Known<T> = Result<T, String>;

pub fn check(id: &'static str, part: Part, proves: impl Into<String>) -> Check {
    Check::new(Vantage::ControlPlane, id, part, proves)
}

/// Judges as far as the evidence goes: what is missing makes the check unknown.
pub fn judged(check: Check, judge: impl FnOnce(&mut Check) -> Known<Verdict>) -> Check {
    let mut check = check;
    let verdict = judge(&mut check).unwrap_or_else(|reason| Verdict::Unknown { reason });
    Check { verdict, ..check }
}

pub fn fail(cause: impl Into<String>, fix: impl Into<String>) -> Verdict {
    Verdict::Fail { cause: cause.into(), fix: fix.into() }
}

/// One verdict for several parts that must all pass.
pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let (mut causes, mut fixes, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for verdict in verdicts {
        match verdict {
            Verdict::Pass => {}
            Verdict::Fail { cause, fix } => {
                push_new(&mut causes, cause);
                push_new(&mut fixes, fix);
            }
            Verdict::Unknown { reason } => push_new(&mut reasons, reason),
        }
    }
    if !causes.is_empty() {
        fail(causes.join("; "), fixes.join("; "))
    } else if !reasons.is_empty() {
        Verdict::Unknown { reason: reasons.join("; ") }
    } else {
        Verdict::Pass
    }
}

fn push_new(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

pub fn listed(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
