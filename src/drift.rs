//! What of a bastion is not as its plan says: what `plan` would change, what the vendor's catalogue has come to say otherwise,
//! and what the control plane and the machine's own report show. Pure, and plain data.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    changeset::{Changeset, Detail, Op},
    location::Location,
    plan::{Plan, Vendor},
    text::shell_word,
    verify::{Check, Vantage, Verdict},
};

/// CloudTrail's event history and Azure's activity log both go back 90 days ("Viewing events with CloudTrail event history";
/// "Activity log in Azure Monitor"), and what is asked for is refused where it is older by a second. A run asks some time after it
/// has reckoned from when: an hour less leaves it that time.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24 - 1);

/// One bastion compared.
#[derive(Clone, Debug, Serialize)]
pub struct Drift {
    pub bastion: String,
    #[serde(flatten)]
    pub location: Location,
    /// The plan's file.
    pub plan: String,
    /// Nothing of the bastion is there: that is the one difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<Absent>,
    pub differences: Vec<Difference>,
    /// What could not be compared: no difference, and no proof that there is none.
    pub unseen: Vec<Unseen>,
}

/// Nothing of a bastion is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Absent {
    /// Who removed it, where the cloud's log tells; gangplank's own `destroy` among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Act>,
}

/// Where a difference comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody changed something in the cloud.
    Cloud,
    /// One of the two: neither the tags nor the cloud's log tell which.
    Undetermined,
    /// It is in the plan, and not applied yet.
    Plan,
}

impl Cause {
    /// `planned`: the tags record another plan. `opens`: something is there that the plan does not list, which is never taken for
    /// the plan's without a proof: a log tells of what was done up to 20 minutes later.
    fn of(planned: bool, opens: bool, who: Option<&Who>) -> Self {
        match who {
            _ if planned => Cause::Plan,
            Some(Who::Log { acts }) if acts.iter().any(|act| !act.ours) => Cause::Cloud,
            Some(Who::Log { acts }) if !acts.is_empty() && !opens && acts.iter().all(|act| act.by_caller) => {
                Cause::Plan
            }
            _ => Cause::Undetermined,
        }
    }
}

/// One thing that is not as the plan says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub kind: Kind,
    /// Of a resource in the cloud; a check tells none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// `ingress rules of gangplank-warehouse`, or a check's name: `machine.keys secoda`.
    pub what: String,
    pub why: String,
    /// What the cloud has (`before`) and what the plan says (`after`); of a check, what was seen.
    pub details: Vec<Detail>,
    pub seen: Vec<String>,
    /// What to do about it.
    pub repair: String,
    /// Who changed it, where the cloud was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
}

/// Where a difference was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A resource in the cloud: `apply` has a step for it.
    Cloud,
    /// The catalogue's addresses of a vendor are not those that the live rules admit.
    Catalogue,
    /// A check of what the cloud's API says.
    ControlPlane,
    /// A check of what the machine reports.
    Machine,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Cloud => "cloud",
            Kind::Catalogue => "catalogue",
            Kind::ControlPlane => "control plane",
            Kind::Machine => "machine",
        }
    }
}

/// Who has written to a resource lately, as the cloud's own log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "known", rename_all = "kebab-case")]
pub enum Who {
    /// Newest first; empty where the log has nothing.
    Log { acts: Vec<Act> },
    /// Not known from here: why, and the command that asks.
    Unknown { reason: String, ask: String },
}

/// One entry of a cloud's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Act {
    pub at: String,
    pub who: String,
    /// The cloud's own name of the operation.
    pub what: String,
    /// The caller's program says that it is gangplank: a claim that any client can make.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ours: bool,
    /// The principal is known to be the one that asks now: who claims to be gangplank under another name may be anybody.
    #[serde(skip)]
    pub by_caller: bool,
}

impl Act {
    /// Who it was, for people.
    pub fn by(&self) -> String {
        if self.ours { format!("gangplank, as {}", self.who) } else { self.who.clone() }
    }
}

/// Why a log's answer names nobody, for people; `None` where it does. What a log has not told yet is nobody's absence.
pub fn names_nobody(acts: &[Act]) -> Option<String> {
    const LATE: &str = "it tells of a change up to 20 minutes later";
    match acts.first() {
        None => Some(format!("the cloud's log has no write to it: {LATE}")),
        Some(last) if acts.iter().all(|act| act.ours) => {
            Some(format!("the cloud's log has nobody but {}, last {} at {}: {LATE}", last.by(), last.what, last.at))
        }
        Some(_) => None,
    }
}

/// As many entries as a reader wants of one resource.
const ENTRIES: usize = 5;

/// A log writes as many digits of a second as it likes: `10:00:30.5Z` is later than `10:00:30Z`, and no text says so.
pub fn moment(at: &str) -> Option<Timestamp> {
    at.parse().ok()
}

/// What of a resource's entries is told: the newest first, and what gangplank did only where nobody else did anything, of this
/// principal's only where no other one claims to be gangplank.
pub fn told(mut acts: Vec<Act>) -> Vec<Act> {
    acts.sort_by_key(|act| std::cmp::Reverse(moment(&act.at)));
    // A long operation is told when it begins and when it ends.
    acts.dedup();
    if acts.iter().any(|act| !act.ours) {
        acts.retain(|act| !act.ours);
    } else if acts.iter().any(|act| !act.by_caller) {
        acts.retain(|act| !act.by_caller);
    }
    acts.truncate(ENTRIES);
    acts
}

/// Checks that share the reason why they could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    pub reason: String,
    pub checks: Vec<String>,
}

impl Drift {
    /// Of a bastion of which nothing is there.
    pub fn absent<A>(set: &Changeset<A>, removed: Option<Act>) -> Self {
        Self {
            bastion: set.bastion.clone(),
            location: set.location.clone(),
            plan: set.plan.clone(),
            absent: Some(Absent { removed }),
            differences: Vec::new(),
            unseen: Vec::new(),
        }
    }

    /// Compares one bastion. `checks` are those of the control plane and the machine. `who` tells about the step of that index.
    /// `edited`: the machine's tags record another document than the plan's.
    pub fn of<A>(
        plan: &Plan,
        set: &Changeset<A>,
        checks: &[Check],
        edited: bool,
        mut who: impl FnMut(usize) -> Option<Who>,
    ) -> Self {
        let vendors: Vec<&Vendor> = plan.tunnels.iter().filter_map(|tunnel| tunnel.vendor.as_ref()).collect();
        let mut differences = Vec::new();
        for (i, step) in set.steps.iter().enumerate() {
            let (theirs, others): (Vec<Detail>, Vec<Detail>) = step
                .details
                .iter()
                .cloned()
                .partition(|detail| vendors.iter().any(|vendor| by_catalogue(vendor, detail)));
            let who = who(i);
            let opens = |details: &[Detail]| details.iter().any(|d| d.before.is_some() && d.after.is_none());
            let cause =
                |details: &[Detail]| Some(Cause::of(edited && step.op == Op::Replace, opens(details), who.as_ref()));
            let apply = format!("`gangplank apply {}` repairs it", shell_word(&set.plan));
            // A group that is yet to be made has no rules that could be older than the catalogue.
            if !theirs.is_empty() && step.op != Op::Create {
                differences.push(Difference {
                    kind: Kind::Catalogue,
                    cause: cause(&theirs),
                    what: step.resource.clone(),
                    why: "the vendor's addresses in the catalogue are not those that the rules admit: the catalogue has changed \
                          since the rules were made, or somebody has changed the rules"
                        .to_owned(),
                    details: theirs,
                    seen: Vec::new(),
                    repair: apply.clone(),
                    who: who.clone(),
                });
                if others.is_empty() {
                    continue;
                }
            }
            let details = if step.op == Op::Create { step.details.clone() } else { others };
            let why = match step.op {
                Op::Create => format!("it is not there: {}", step.reason),
                _ => step.reason.clone(),
            };
            let (what, kind, seen, cause) = (step.resource.clone(), Kind::Cloud, Vec::new(), cause(&details));
            differences.push(Difference { kind, cause, what, why, details, seen, repair: apply, who });
        }
        differences.extend(checks.iter().filter_map(failed));
        differences.sort_by_key(|d| (d.cause.is_none(), d.cause, d.kind));
        let (bastion, location, plan) = (set.bastion.clone(), set.location.clone(), set.plan.clone());
        Self { bastion, location, plan, absent: None, differences, unseen: unseen(checks) }
    }

    pub fn is_drifted(&self) -> bool {
        self.absent.is_some() || !self.differences.is_empty()
    }
}

fn failed(check: &Check) -> Option<Difference> {
    let Verdict::Fail { cause, fix } = &check.verdict else { return None };
    let kind = match check.vantage {
        Vantage::Machine => Kind::Machine,
        Vantage::ControlPlane | Vantage::Network => Kind::ControlPlane,
    };
    let (what, why, repair) = (check.name(), cause.clone(), fix.clone());
    Some(Difference {
        kind,
        cause: None,
        what,
        why,
        details: Vec::new(),
        seen: check.evidence.clone(),
        repair,
        who: None,
    })
}

fn unseen(checks: &[Check]) -> Vec<Unseen> {
    let mut all: Vec<Unseen> = Vec::new();
    for check in checks {
        let Verdict::Unknown { reason } = &check.verdict else { continue };
        match all.iter_mut().find(|u| u.reason == *reason) {
            Some(known) => known.checks.push(check.name()),
            None => all.push(Unseen { reason: reason.clone(), checks: vec![check.name()] }),
        }
    }
    all
}

/// Whether a rule is, or was, there for a vendor of the catalogue: its words name the vendor (`tunnel secoda
/// (secoda/eu)`), which gangplank writes beside each rule. A rule that is to come is of an address that the catalogue has; one that
/// is to go is not.
pub(crate) fn by_catalogue(vendor: &Vendor, detail: &Detail) -> bool {
    let source = detail.after.as_deref().or(detail.before.as_deref()).and_then(source);
    let (Some(_), Some(note), Some(source)) = (vendor.known, &detail.note, source) else { return false };
    note.contains(&format!("({})", vendor.id)) && vendor.sources.contains(&source) == detail.after.is_some()
}

/// `from 35.175.75.15/32` as a range.
fn source(words: &str) -> Option<IpNet> {
    let text = words.strip_prefix("from ")?;
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Since when a log is asked: since the machine was made, and no longer than logs remember.
pub fn since(launched: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let oldest = now.checked_sub(REMEMBERED).unwrap_or(Timestamp::UNIX_EPOCH);
    let from = launched.map_or(oldest, |launched| launched.clamp(oldest, now.max(oldest)));
    second(from)
}

/// To the second, as commands are read.
pub fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        changeset::{Impact, Step, StepId},
        diagnostic::Source,
        plan,
        verify::Part,
    };

    const PLAN: &str = include_str!("../plans/aws-warehouse.yaml");

    fn step(op: Op, details: Vec<Detail>) -> Step<()> {
        Step {
            id: StepId("a/b".to_owned()),
            op,
            resource: "ingress rules of gangplank-warehouse".to_owned(),
            details,
            reason: "the open rules are not the plan's".to_owned(),
            impact: Impact::Live,
            after: Vec::new(),
            action: (),
        }
    }

    fn drift(steps: Vec<Step<()>>, checks: &[Check]) -> Drift {
        let source = Source { path: "warehouse.yaml".to_owned(), text: PLAN.to_owned() };
        let plan = plan::read(Arc::new(source)).expect("an example");
        let set = Changeset {
            bastion: "warehouse".to_owned(),
            location: Location::aws("us-east-1"),
            plan: "warehouse.yaml".to_owned(),
            steps,
            exposure: Vec::new(),
            notes: Vec::new(),
        };
        Drift::of(&plan, &set, checks, false, |_| None)
    }

    #[test]
    fn what_the_catalogue_changed_is_told_apart_from_what_somebody_did() {
        let note = "tunnel secoda (secoda/north-america)";
        let found = drift(
            vec![step(
                Op::Update,
                vec![
                    Detail::removed("ingress tcp 22", "from 34.230.160.245/32").note(note),
                    Detail::added("ingress tcp 22", "from 35.175.75.15/32").note(note),
                    Detail::removed("ingress tcp 22", "from 0.0.0.0/0"),
                ],
            )],
            &[],
        );
        let kinds: Vec<(Kind, usize)> = found.differences.iter().map(|d| (d.kind, d.details.len())).collect();
        assert_eq!(kinds, [(Kind::Cloud, 1), (Kind::Catalogue, 2)]);
    }

    #[test]
    fn a_rule_of_an_address_that_the_catalogue_still_has_is_not_the_catalogues_doing() {
        // Somebody opened another port with our words beside it.
        let note = "tunnel secoda (secoda/north-america)";
        let details = vec![Detail::removed("ingress tcp 2222", "from 35.175.75.15/32").note(note)];
        let found = drift(vec![step(Op::Update, details)], &[]);
        assert_eq!(found.differences.iter().map(|d| d.kind).collect::<Vec<_>>(), [Kind::Cloud]);
    }

    #[test]
    fn what_is_not_there_is_one_difference() {
        let note = "tunnel secoda (secoda/north-america)";
        let details = vec![Detail::added("ingress tcp 22", "from 35.175.75.15/32").note(note)];
        let found = drift(vec![step(Op::Create, details)], &[]);
        assert_eq!(found.differences.len(), 1);
        assert!(found.differences[0].why.starts_with("it is not there"), "{found:?}");
    }

    #[test]
    fn what_somebody_did_is_told_apart_from_what_is_not_applied_yet() {
        let act =
            |ours| Act { at: "2026-11-01".into(), who: "ana".into(), what: "CreateTags".into(), ours, by_caller: ours };
        let claimed = Act { by_caller: false, ..act(true) };
        let log = |acts: &[Act]| Some(Who::Log { acts: acts.to_vec() });
        let unknown = Some(Who::Unknown { reason: "it may not be asked".into(), ask: "aws".into() });
        for (planned, opens, who, cause) in [
            (true, false, log(&[act(false)]), Cause::Plan),
            (false, false, log(&[act(true), act(false)]), Cause::Cloud),
            (false, true, log(&[act(false)]), Cause::Cloud),
            (false, false, log(&[act(true)]), Cause::Plan),
            // A user agent is a claim.
            (false, false, log(&[act(true), claimed]), Cause::Undetermined),
            // It may have been opened a minute ago.
            (false, true, log(&[act(true)]), Cause::Undetermined),
            (false, false, log(&[]), Cause::Undetermined),
            (false, false, unknown, Cause::Undetermined),
            (false, false, None, Cause::Undetermined),
        ] {
            assert_eq!(Cause::of(planned, opens, who.as_ref()), cause, "{planned} {opens} {who:?}");
        }
    }

    #[test]
    fn a_failed_check_is_a_difference_and_an_unknown_one_is_told() {
        let check = |id| Check::new(Vantage::Machine, id, Part::Bastion, "something");
        let checks = [
            check("machine.keys").seen("no key").fail("no key is there", "apply it"),
            check("machine.clock").unknown("it is silent"),
            check("machine.users").unknown("it is silent"),
            check("machine.sshd").pass(),
        ];
        let found = drift(Vec::new(), &checks);
        assert!(found.is_drifted());
        assert_eq!(found.differences.len(), 1);
        assert_eq!((found.differences[0].kind, found.differences[0].repair.as_str()), (Kind::Machine, "apply it"));
        assert_eq!(found.unseen.len(), 1);
        assert_eq!(found.unseen[0].checks.len(), 2);
        assert!(!drift(Vec::new(), &checks[1..]).is_drifted());
    }

    #[test]
    fn a_log_is_asked_no_further_back_than_it_remembers() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-20T12:00:00.5Z");
        assert_eq!(since(None, now), at("2026-08-22T13:00:00Z"));
        assert_eq!(since(Some(at("2026-11-01T00:00:00Z")), now), at("2026-11-01T00:00:00Z"));
        assert_eq!(since(Some(at("2020-11-01T00:00:00Z")), now), at("2026-08-22T13:00:00Z"));
        assert_eq!(since(Some(at("2030-11-01T00:00:00Z")), now), at("2026-11-20T12:00:00Z"));
    }
}
