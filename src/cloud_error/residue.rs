//! What a failed step left in the cloud, as facts. The sentence about it is made where it is shown.

use std::fmt;

use serde::Serialize;

/// What a failed call, and the calls of its step before it, may have left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Residue {
    /// The cloud refused, and no call of the step before it changed anything.
    Nothing,
    /// No answer came: the change may have happened. The next run observes and continues.
    Unknown,
    /// The cloud began and did not finish: it may be there and not work. The next run observes and continues.
    Unfinished,
    /// What the step did before the call that failed is known.
    Known(StepEffect),
}

/// What a step did before it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepEffect {
    #[serde(flatten)]
    pub done: EffectDone,
    /// Whether the call that failed may have taken effect too: its answer was lost.
    pub last_call_unknown: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum EffectDone {
    Rules(RuleProgress),
    Tags {
        set: Vec<String>,
        removed: Vec<String>,
    },
    /// It exists, and is not what it shall be yet.
    Made {
        resource: String,
    },
    /// It is there, and not proven to be the bastion's.
    Unproven {
        resource: String,
    },
    /// It was told to start.
    Started {
        resource: String,
    },
    /// It was told to end.
    Ending {
        resource: String,
    },
}

/// How many of a step's rules were opened and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RuleProgress {
    pub kind: RuleKind,
    pub opened: usize,
    pub to_open: usize,
    pub closed: usize,
    pub to_close: usize,
    /// Of the old ones that are open: closed to make room for new ones, and opened again when those were refused.
    pub reopened: usize,
}

/// What the rules of a step are to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// Each admits one range of addresses.
    Sources,
    Rules,
}

impl RuleKind {
    pub fn noun(self, count: usize) -> &'static str {
        match (self, count) {
            (RuleKind::Sources, 1) => "address",
            (RuleKind::Sources, _) => "addresses",
            (RuleKind::Rules, 1) => "rule",
            (RuleKind::Rules, _) => "rules",
        }
    }
}

impl fmt::Display for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Residue::Nothing => f.write_str("this call changed nothing"),
            Residue::Unknown => f.write_str("unknown, no answer came; the next run looks before it acts"),
            Residue::Unfinished => f.write_str("perhaps a part of it; the next run looks before it acts"),
            Residue::Known(effect) => effect.fmt(f),
        }
    }
}

impl fmt::Display for StepEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.done.fmt(f)?;
        if self.last_call_unknown {
            f.write_str("; no answer came to the last call, and it may have taken effect")?;
        }
        Ok(())
    }
}

impl fmt::Display for EffectDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EffectDone::Rules(progress) => progress.fmt(f),
            EffectDone::Tags { set, removed } => {
                let parts = [("set", set), ("removed", removed)];
                let told: Vec<String> = parts
                    .iter()
                    .filter(|(_, keys)| !keys.is_empty())
                    .map(|(word, keys)| format!("{word} {}", keys.join(", ")))
                    .collect();
                write!(f, "some of the tags are changed: {}", told.join("; "))
            }
            EffectDone::Made { resource } => write!(f, "{resource}, which is not ready yet"),
            EffectDone::Unproven { resource } => write!(f, "{resource}, which is not proven to be the bastion's"),
            EffectDone::Started { resource } => write!(f, "{resource}, which was told to start"),
            EffectDone::Ending { resource } => write!(f, "{resource}, which was told to end"),
        }
    }
}

impl fmt::Display for RuleProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, opened, to_open, closed, to_close, reopened } = *self;
        let left = to_close.saturating_sub(closed);
        let are = |count: usize| if count == 1 { "is" } else { "are" };
        if to_open > 0 {
            write!(f, "{opened} of {to_open} new {} {} open", kind.noun(to_open), are(to_open))?;
        }
        if to_close > 0 {
            let comma = if to_open > 0 { ", " } else { "" };
            write!(f, "{comma}{left} of {to_close} old {} {} still open", kind.noun(to_close), are(to_close))?;
        }
        if reopened > 0 {
            let was = if reopened == 1 { "was" } else { "were" };
            write!(f, " ({reopened} of them {was} closed to make room, and opened again)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(opened: usize, to_open: usize, closed: usize, to_close: usize) -> String {
        let progress = RuleProgress { kind: RuleKind::Sources, opened, to_open, closed, to_close, reopened: 0 };
        let effect = StepEffect { done: EffectDone::Rules(progress), last_call_unknown: false };
        Residue::Known(effect).to_string()
    }

    #[test]
    fn what_exists_is_told_from_what_was_done() {
        assert_eq!(told(40, 40, 0, 12), "40 of 40 new addresses are open, 12 of 12 old addresses are still open");
        assert_eq!(told(0, 1, 0, 1), "0 of 1 new address is open, 1 of 1 old address is still open");
        assert_eq!(told(0, 0, 1, 3), "2 of 3 old addresses are still open");
        let lost = StepEffect {
            done: EffectDone::Tags { set: Vec::new(), removed: vec!["team".to_owned()] },
            last_call_unknown: true,
        };
        assert_eq!(
            lost.to_string(),
            "some of the tags are changed: removed team; no answer came to the last call, and it may have taken effect"
        );
    }

    /// Programs tell the cases apart by the value's form.
    #[test]
    fn programs_read_the_same_facts() {
        let json = |residue: &Residue| serde_json::to_string(residue).unwrap();
        assert_eq!(json(&Residue::Nothing), r#""nothing""#);
        let made = EffectDone::Made { resource: "instance i-1".to_owned() };
        assert_eq!(
            json(&Residue::Known(StepEffect { done: made, last_call_unknown: false })),
            r#"{"known":{"what":"made","resource":"instance i-1","last_call_unknown":false}}"#
        );
    }
}
