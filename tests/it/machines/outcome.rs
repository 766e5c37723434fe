//! What a fault came to: the vendor's truth beside the verdict, and whether they agree.

use std::{collections::BTreeSet, fmt, time::Duration};

use gangplank::verify::{Check, Verdict};

use super::{
    Claims,
    faults::{Expected, Fault},
    look::{name, red},
    truth::Truth,
};

pub struct Outcome {
    fault: &'static Fault,
    truth: Truth,
    checks: Vec<Check>,
    looked: Duration,
    took: Duration,
}

/// Truth and verdict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agreement {
    BrokenAndNamed,
    BrokenAndUnknown,
    BrokenAndGreen,
    WorksAndGreen,
    /// Something else is wrong, and the fault says what.
    WorksAndNamed,
    WorksAndRed,
}

impl Outcome {
    pub fn new(fault: &'static Fault, truth: Truth, checks: &[Check], looked: Duration, took: Duration) -> Self {
        Self { fault, truth, checks: checks.to_vec(), looked, took }
    }

    fn agreement(&self) -> Agreement {
        let works = self.truth == Truth::Works;
        let unseen =
            matches!(self.fault.expected, Expected::Unseen(check, why) if is_unknown(&self.checks, check, why));
        match (works, red(&self.checks).is_empty()) {
            (false, false) => Agreement::BrokenAndNamed,
            (false, true) if unseen => Agreement::BrokenAndUnknown,
            (false, true) => Agreement::BrokenAndGreen,
            (true, true) => Agreement::WorksAndGreen,
            (true, false) if matches!(self.fault.expected, Expected::WorksBut(..)) => Agreement::WorksAndNamed,
            (true, false) => Agreement::WorksAndRed,
        }
    }

    /// The one thing that no second look makes good.
    pub fn is_false_green(&self) -> bool {
        self.agreement() == Agreement::BrokenAndGreen
    }

    pub fn judge(&self, claims: &mut Claims) {
        let Fault { name, ref expected, .. } = *self.fault;
        let works = self.truth == Truth::Works;
        let expects_works = matches!(expected, Expected::WorksBut(..) | Expected::Harmless);
        claims.that(works == expects_works, format_args!("{name}: the vendor meets another thing: {}", self.truth));
        match *expected {
            Expected::Named(red, says) | Expected::WorksBut(red, says) => names(claims, name, &self.checks, red, says),
            Expected::Unseen(check, reason) => {
                names(claims, name, &self.checks, &[], "");
                let unknown = is_unknown(&self.checks, check, reason);
                claims.that(unknown, format_args!("{name}: {check} is not unknown with {reason:?}"));
            }
            Expected::Harmless => names(claims, name, &self.checks, &[], ""),
        }
    }
}

/// Exactly these checks fail, and one of the causes has these words.
pub fn names(claims: &mut Claims, fault: &str, checks: &[Check], expected: &[&str], says: &str) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    let found = red(checks);
    let causes = checks.iter().filter_map(|check| match &check.verdict {
        Verdict::Fail { cause, .. } => Some(format!("{}: {cause}", name(check))),
        _ => None,
    });
    let told = causes.collect::<Vec<_>>().join("\n    ");
    claims.that(found == expected, format_args!("{fault}: red {found:?} instead of {expected:?}\n    {told}"));
    claims.that(told.contains(says), format_args!("{fault}: no cause says {says:?}\n    {told}"));
}

fn is_unknown(checks: &[Check], wanted: &str, words: &str) -> bool {
    checks.iter().any(|check| {
        name(check) == wanted && matches!(&check.verdict, Verdict::Unknown { reason } if reason.contains(words))
    })
}

/// A line of the table: fault, truth, red checks with their causes, unknown checks with their reasons.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |wanted: fn(&Verdict) -> Option<&str>| {
            let told =
                self.checks.iter().filter_map(|check| Some((name(check), wanted(&check.verdict)?.replace('\n', " "))));
            let told: Vec<_> = told.map(|(name, why)| format!("{name} ({why})")).collect();
            if told.is_empty() { "-".to_owned() } else { told.join("; ") }
        };
        let red = list(|verdict| match verdict {
            Verdict::Fail { cause, .. } => Some(cause),
            _ => None,
        });
        let unknown = list(|verdict| match verdict {
            Verdict::Unknown { reason } => Some(reason),
            _ => None,
        });
        let Self { fault, truth, looked, took, .. } = self;
        let (looked, took) = (looked.as_secs_f64(), took.as_secs_f64());
        write!(f, "| {} | {truth} | {red} | {unknown} | {looked:.1} of {took:.1} s |", fault.name)
    }
}

/// All outcomes, and how often each agreement came about.
#[derive(Default)]
pub struct Tally(Vec<Outcome>);

impl Tally {
    pub fn add(&mut self, outcomes: Vec<Outcome>) {
        self.0.extend(outcomes);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (agreement, words) in [
            (Agreement::BrokenAndNamed, "broken and named"),
            (Agreement::BrokenAndUnknown, "broken and unknown with a reason"),
            (Agreement::BrokenAndGreen, "broken and green"),
            (Agreement::WorksAndRed, "healthy and red"),
            (Agreement::WorksAndNamed, "healthy, and something else named"),
            (Agreement::WorksAndGreen, "healthy and green"),
        ] {
            let of: Vec<_> = self.0.iter().filter(|outcome| outcome.agreement() == agreement).collect();
            writeln!(f, "{words}: {}", of.len())?;
            if matches!(agreement, Agreement::BrokenAndGreen | Agreement::WorksAndRed) {
                of.iter().try_for_each(|outcome| writeln!(f, "    {}: {}", outcome.fault.name, outcome.truth))?;
            }
        }
        Ok(())
    }
}
