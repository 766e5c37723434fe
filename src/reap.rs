//! Which bastions have had their time, or lost their machine, and why. Pure: what was found × a policy → a verdict for each.
//!
//! What was found carries the ownership tag; no plan is asked. A doubt is never a reason to destroy: it is told.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    cost::Item,
    location::{Location, PriceRegion},
    tags::{
        EXPIRES, LIFETIME, Tags,
        agreement::without_lone,
        deadline::{ResolvedDeadline, is_after_launch, is_over_before_launch},
    },
};

/// A bastion that was made so short a time ago may still be in the making: on Azure a firewall takes a quarter of an hour.
const SETTLING: SignedDuration = SignedDuration::from_mins(30);

/// Everything that carries one bastion's tag in one region or subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    pub bastion: String,
    #[serde(flatten)]
    pub location: Location,
    pub priced_at: PriceRegion,
    pub expires: Expires,
    /// Other ends that its tags tell, and that do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_ends: Vec<Timestamp>,
    /// There is a machine, running or not, that is not on its way out.
    pub has_machine: bool,
    /// What uses its security group, its interface or its address and is not proven to be its own, a line each: looked for where it has
    /// no machine, so that nothing is taken from one that serves and has lost a tag.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<String>,
    /// What else is in its security group or its network, and reaches what it reaches, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<String>,
    /// The cloud is at work on something of it.
    pub busy: bool,
    /// When it was made, as far as its machine or its lifetime tells.
    pub made: Option<Timestamp>,
    pub parts: Vec<Part>,
    /// What stays when it is destroyed, and why.
    pub notes: Vec<String>,
    /// What of it the cloud refuses to delete while it is protected, a line each: `virtual machine X: the lock keep`. A machine's
    /// termination protection is in its [`MachineFacts`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protected: Vec<String>,
}

/// One resource, as people call it, and what is paid for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub what: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
    /// What people recognise it by; `None` for what is no machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineFacts>,
}

/// What people recognise a machine by: ids tell them nothing. What the cloud does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MachineFacts {
    /// `i-...`, or its resource id.
    pub id: String,
    /// The tag `Name` on AWS, the resource's name on Azure.
    pub name: Option<String>,
    /// `t4g.nano`, `Standard_B1s`
    pub machine_type: String,
    pub launched: Option<Timestamp>,
    /// The principal that launched it, as the cloud names it.
    pub launched_by: Option<String>,
    /// Whether the cloud refuses to delete it: termination protection on AWS, a lock on Azure.
    pub protected: Option<bool>,
}

/// What the tags of a bastion's resources together say about its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expires {
    Never,
    At(Timestamp),
    /// Only two resources tell an end, and they differ: the earlier and the later one.
    Disputed(Timestamp, Timestamp),
    /// The tags say nothing that can be relied on: why.
    Unclear(String),
}

impl Expires {
    /// The latest of what the resources say, so that an extension that was interrupted postpones the end; but not what one says
    /// alone against two or more that agree, since a single changed tag decides nothing. Of two that differ nothing tells which is
    /// right.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Tags>) -> Self {
        let (mut ends, mut without) = (Vec::new(), 0_usize);
        for tags in all {
            let Some(text) = tags.get(EXPIRES) else {
                without += 1;
                continue;
            };
            match text.parse::<Timestamp>() {
                Ok(time) => ends.push(time),
                Err(_) => return Self::Unclear(format!("its tag {EXPIRES} can't be read: {text:?}")),
            }
        }
        if let ([one, other], 0) = (&ends[..], without)
            && one != other
        {
            return Self::Disputed(*one.min(other), *one.max(other));
        }
        match (without_lone(&ends).into_iter().max(), without) {
            (None, _) => Self::Never,
            (Some(time), 0) => Self::At(time),
            (Some(time), _) => {
                Self::Unclear(format!("a part of it has the deadline {time}, and another has no tag {EXPIRES}"))
            }
        }
    }
}

/// Without the tags whose lifetime would have begun after the machine's launch, or whose end was over before it, which gangplank writes
/// nowhere, unless all are such.
pub fn written_before<'t>(dated: &[&'t Tags], launched: Option<Timestamp>) -> Vec<&'t Tags> {
    let can_be = |tags: &&&Tags| {
        let end = ResolvedDeadline::from_tags(tags);
        let is_late = end.and_then(|end| end.start()).is_some_and(|start| is_after_launch(start, launched));
        !is_late && !end.is_some_and(|end| is_over_before_launch(end.expires, launched))
    };
    let believed: Vec<&Tags> = dated.iter().filter(can_be).copied().collect();
    if believed.is_empty() { dated.to_vec() } else { believed }
}

/// Other ends than the one that counts, which some of the tags tell.
pub fn other_ends<'a>(expires: &Expires, all: impl IntoIterator<Item = &'a Tags>) -> Vec<Timestamp> {
    let Expires::At(end) = expires else { return Vec::new() };
    let told = all.into_iter().filter_map(|tags| tags.get(EXPIRES)?.parse().ok());
    let other: BTreeSet<Timestamp> = told.filter(|told| told != end).collect();
    other.into_iter().collect()
}

/// When the lifetime of what carries `tags` began.
pub fn began(tags: &Tags) -> Option<Timestamp> {
    let expires: Timestamp = tags.get(EXPIRES)?.parse().ok()?;
    let lifetime: i64 = tags.get(LIFETIME)?.parse().ok()?;
    Timestamp::from_second(expires.as_second().checked_sub(lifetime)?).ok()
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Policy {
    pub now: Timestamp,
    /// So long after its deadline a bastion is left alone.
    pub grace: SignedDuration,
    /// Only bastions of these names; all where there is none.
    pub only: Vec<String>,
    /// Only bastions that are known to be at least so old.
    pub older_than: Option<SignedDuration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Reap {
        why: Why,
    },
    /// Somebody must look at it; it is not touched.
    Report {
        problem: String,
    },
    Keep {
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its deadline has passed, and the grace.
    Expired,
    /// It has no machine: what is left leads nowhere.
    Orphaned,
}

impl Verdict {
    pub fn why(&self) -> Option<Why> {
        match self {
            Verdict::Reap { why } => Some(*why),
            Verdict::Report { .. } | Verdict::Keep { .. } => None,
        }
    }

    pub fn is_reported(&self) -> bool {
        matches!(self, Verdict::Report { .. })
    }
}

/// What is to be done with a bastion. One without a deadline is reaped only where its machine is gone.
pub fn judge(found: &Found, policy: &Policy) -> Verdict {
    let keep = |reason: String| Verdict::Keep { reason };
    if !policy.only.is_empty() && !policy.only.contains(&found.bastion) {
        return keep("it was not asked for".to_owned());
    }
    if let Expires::Unclear(problem) = &found.expires {
        return Verdict::Report { problem: problem.clone() };
    }
    if let Some(least) = policy.older_than {
        match found.made {
            None => return keep("its age is not known".to_owned()),
            Some(made) if policy.now.duration_since(made) < least => return keep(format!("it was made at {made}")),
            Some(_) => {}
        }
    }
    let reap = |why: Why| match protection(found) {
        None => Verdict::Reap { why },
        Some(problem) => Verdict::Report { problem },
    };
    if let Expires::At(expires) | Expires::Disputed(_, expires) = found.expires {
        let passed = policy.now.duration_since(expires);
        if passed >= SignedDuration::ZERO && passed >= policy.grace {
            return reap(Why::Expired);
        }
    }
    if let Expires::Disputed(earlier, later) = found.expires {
        let problem = format!(
            "two resources tell its end, and differ ({earlier} and {later}): `gangplank extend` or `gangplank shorten` with --until settles it"
        );
        return Verdict::Report { problem };
    }
    if !found.has_machine && !found.in_use.is_empty() {
        return Verdict::Report { problem: in_use(found) };
    }
    if let Expires::At(expires) = found.expires
        && policy.now >= expires
    {
        return keep(format!("it ended at {expires}, and has its grace"));
    }
    if !found.has_machine {
        let young = found.made.is_some_and(|made| policy.now.duration_since(made) < SETTLING);
        return match (found.busy, young) {
            (true, _) => keep("it has no machine, and the cloud is at work on it".to_owned()),
            (_, true) => keep("it has no machine yet".to_owned()),
            (false, false) => reap(Why::Orphaned),
        };
    }
    keep(match found.expires {
        Expires::At(expires) => format!("it ends at {expires}"),
        _ => "it has no deadline".to_owned(),
    })
}

/// A machine may have lost the tag that made it the bastion's own, and serve all the same.
fn in_use(found: &Found) -> String {
    format!(
        "it has no machine that is proven to be its own, and what is left of it is in use: {}; if that is its machine, give it back its \
         tags, otherwise end it",
        found.in_use.join("; ")
    )
}

/// What the cloud refuses to delete: somebody has protected it on purpose, so nothing of the bastion is touched.
fn protection(found: &Found) -> Option<String> {
    let is_protected = |part: &&Part| part.machine.as_ref().is_some_and(|machine| machine.protected == Some(true));
    let machines = found.parts.iter().filter(is_protected).map(|part| format!("{}: termination protection", part.what));
    let all: Vec<String> = found.protected.iter().cloned().chain(machines).collect();
    (!all.is_empty())
        .then(|| format!("it is due, and protected from deletion ({}); reap takes no protection off", all.join("; ")))
}

/// Whether what was seen twice is the same: what changes meanwhile is in somebody's hands. Who launched a machine is asked once.
pub fn unchanged(before: &Found, after: &Found) -> bool {
    let part = |(before, after): (&Part, &Part)| {
        let launched =
            |part: &Part| part.machine.as_ref().map(|machine| (machine.machine_type.clone(), machine.launched));
        (&before.what, &before.items, launched(before)) == (&after.what, &after.items, launched(after))
    };
    (&before.bastion, &before.location, &before.expires, before.has_machine, before.parts.len())
        == (&after.bastion, &after.location, &after.expires, after.has_machine, after.parts.len())
        && before.parts.iter().zip(&after.parts).all(part)
}

/// Something that looks like gangplank's and is not: it is told and left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stranger {
    #[serde(flatten)]
    pub location: Location,
    pub priced_at: PriceRegion,
    pub what: String,
    /// Its name: `gangplank-warehouse`.
    pub called: String,
    pub why: String,
    /// The bastion that its tag names; `None` where it carries none, and only its name is like ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tagged: Option<String>,
    pub items: Vec<Item>,
    /// What people recognise it by; `None` for what is no machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineFacts>,
}

/// Whether a tag's value is a bastion's name but for case and blanks: no plan can have it, and a reader takes it for the same.
pub fn is_alike(tag: &str, bastion: &str) -> bool {
    tag.trim().eq_ignore_ascii_case(bastion)
}

/// Whether a tag's value can be a bastion's name: what no plan can have made is not ours.
pub fn is_name(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn tags(expires: Option<&str>) -> Tags {
        expires.map(|e| (EXPIRES.to_owned(), e.to_owned())).into_iter().collect()
    }

    fn found(expires: Expires) -> Found {
        Found {
            bastion: "warehouse".to_owned(),
            location: Location::aws("us-east-1"),
            priced_at: Location::aws("us-east-1").price_region(),
            expires,
            other_ends: Vec::new(),
            has_machine: true,
            in_use: Vec::new(),
            guests: Vec::new(),
            busy: false,
            made: None,
            parts: Vec::new(),
            notes: Vec::new(),
            protected: Vec::new(),
        }
    }

    fn policy(now: &str) -> Policy {
        Policy { now: at(now), grace: SignedDuration::ZERO, only: Vec::new(), older_than: None }
    }

    fn why(found: &Found, policy: &Policy) -> Option<Why> {
        judge(found, policy).why()
    }

    #[test]
    fn the_end_is_a_moment_whatever_the_offset_or_the_calendar_says() {
        for (expires, before, after) in [
            ("2028-02-29T23:59:59Z", "2028-02-29T23:59:58Z", "2028-02-29T23:59:59Z"),
            // The hour that is skipped, and the one that comes twice, where clocks change.
            ("2027-03-28T02:30:00+01:00", "2027-03-28T01:29:59Z", "2027-03-28T01:30:00Z"),
            ("2026-10-25T02:30:00+02:00", "2026-10-25T02:29:59+02:00", "2026-10-25T02:30:00+02:00"),
            ("2027-01-01T00:00:00+14:00", "2026-12-31T09:59:59Z", "2026-12-31T10:00:00Z"),
        ] {
            let bastion = found(Expires::of([&tags(Some(expires))]));
            assert_eq!(why(&bastion, &policy(before)), None, "{expires}");
            assert_eq!(why(&bastion, &policy(after)), Some(Why::Expired), "{expires}");
        }
    }

    #[test]
    fn grace_age_and_names_only_narrow() {
        let mut bastion = found(Expires::At(at("2027-01-01T00:00:00Z")));
        let mut asked = policy("2027-01-02T00:00:00Z");
        asked.grace = SignedDuration::from_hours(24);
        assert_eq!(why(&bastion, &asked), Some(Why::Expired));
        asked.grace = SignedDuration::from_hours(25);
        assert_eq!(why(&bastion, &asked), None);
        asked.grace = SignedDuration::ZERO;
        asked.older_than = Some(SignedDuration::from_hours(48));
        assert_eq!(why(&bastion, &asked), None, "an unknown age is not old");
        bastion.made = Some(at("2026-12-31T00:00:00Z"));
        assert_eq!(why(&bastion, &asked), Some(Why::Expired));
        asked.only = vec!["reports".to_owned()];
        assert_eq!(why(&bastion, &asked), None);
    }

    #[test]
    fn no_machine_was_launched_for_a_bastion_that_was_over() {
        let launched = Some(at("2026-11-30T12:00:00Z"));
        let [own, over, due] =
            [Some("2026-12-30T12:00:00Z"), Some("2026-11-29T00:00:00Z"), Some("2026-11-30T13:00:00Z")].map(tags);
        let end = |dated: &[&Tags]| Expires::of(written_before(dated, launched));
        assert_eq!(end(&[&own, &over, &over]), Expires::At(at("2026-12-30T12:00:00Z")));
        assert_eq!(end(&[&own, &due, &due]), Expires::At(at("2026-11-30T13:00:00Z")), "it can have been");
        assert_eq!(end(&[&over, &over]), Expires::At(at("2026-11-29T00:00:00Z")), "nothing else is told");
    }

    /// A machine ends itself at its deadline: the grace is for what is left of it as well.
    #[test]
    fn grace_counts_where_the_machine_has_ended_itself() {
        let mut bastion = found(Expires::At(at("2027-01-01T00:00:00Z")));
        bastion.has_machine = false;
        let mut asked = policy("2027-01-01T01:00:00Z");
        assert_eq!(why(&bastion, &asked), Some(Why::Expired));
        asked.grace = SignedDuration::from_hours(10);
        assert!(matches!(judge(&bastion, &asked), Verdict::Keep { .. }));
        asked.now = at("2027-01-01T10:00:00Z");
        assert_eq!(why(&bastion, &asked), Some(Why::Expired));
        asked.now = at("2026-12-31T00:00:00Z");
        assert_eq!(why(&bastion, &asked), Some(Why::Orphaned), "it lost its machine before its end");
    }

    #[test]
    fn without_a_deadline_only_an_orphan_goes() {
        let mut bastion = found(Expires::Never);
        let now = policy("2030-01-01T00:00:00Z");
        assert_eq!(why(&bastion, &now), None);
        bastion.has_machine = false;
        assert_eq!(why(&bastion, &now), Some(Why::Orphaned));
        bastion.busy = true;
        assert_eq!(why(&bastion, &now), None);
        bastion.busy = false;
        bastion.made = Some(at("2029-12-31T23:45:00Z"));
        assert_eq!(why(&bastion, &now), None, "it is being made");
        bastion.made = None;
        bastion.in_use = vec!["instance i-1 is in its security group".to_owned()];
        assert!(judge(&bastion, &now).is_reported());
        bastion.made = Some(at("2029-12-31T23:45:00Z"));
        bastion.busy = true;
        assert!(judge(&bastion, &now).is_reported(), "however young it is");
        bastion.has_machine = true;
        assert!(!judge(&bastion, &now).is_reported());
    }

    #[test]
    fn a_doubt_is_told_and_never_acted_upon() {
        for all in [vec![tags(Some("tomorrow"))], vec![tags(Some("2020-01-01T00:00:00Z")), tags(None)]] {
            let mut bastion = found(Expires::of(&all));
            bastion.has_machine = false;
            assert!(judge(&bastion, &policy("2030-01-01T00:00:00Z")).is_reported(), "{all:?}");
        }
    }

    #[test]
    fn what_is_protected_is_told_and_left_whole() {
        let now = policy("2030-01-01T00:00:00Z");
        let machine = |protected| MachineFacts {
            id: "i-1".to_owned(),
            name: None,
            machine_type: "t4g.nano".to_owned(),
            launched: None,
            launched_by: None,
            protected,
        };
        let mut bastion = found(Expires::At(at("2027-01-01T00:00:00Z")));
        for (protected, goes) in [(None, true), (Some(false), true), (Some(true), false)] {
            let what = "instance i-1".to_owned();
            bastion.parts = vec![Part { what, items: Vec::new(), machine: Some(machine(protected)) }];
            assert_eq!(why(&bastion, &now).is_some(), goes, "{protected:?}");
            assert_eq!(judge(&bastion, &now).is_reported(), !goes, "{protected:?}");
        }
        bastion.parts.clear();
        bastion.protected = vec!["resource group rg: the lock keep".to_owned()];
        assert!(judge(&bastion, &now).is_reported());
        bastion.expires = Expires::Never;
        assert!(!judge(&bastion, &now).is_reported(), "it is not due");
    }

    #[test]
    fn who_launched_a_machine_is_no_change_of_it() {
        let machine = |by: Option<&str>| MachineFacts {
            id: "i-1".to_owned(),
            name: None,
            machine_type: "t4g.nano".to_owned(),
            launched: Some(at("2027-01-01T00:00:00Z")),
            launched_by: by.map(str::to_owned),
            protected: None,
        };
        let bastion = |facts: MachineFacts| Found {
            parts: vec![Part { what: "instance i-1".to_owned(), items: Vec::new(), machine: Some(facts) }],
            ..found(Expires::Never)
        };
        assert!(unchanged(&bastion(machine(Some("ana"))), &bastion(machine(None))));
        let later = MachineFacts { launched: Some(at("2027-01-02T00:00:00Z")), ..machine(None) };
        assert!(!unchanged(&bastion(machine(None)), &bastion(later)), "it is another machine");
    }

    #[test]
    fn an_extension_that_was_interrupted_counts_but_no_end_that_one_tag_tells_alone() {
        let [own, other] = ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"];
        for (told, end) in [(&[own, other, other][..], other), (&[own, other, own], own), (&[other, other], other)] {
            let all: Vec<Tags> = told.iter().map(|end| tags(Some(end))).collect();
            assert_eq!(Expires::of(&all), Expires::At(at(end)), "{told:?}");
        }
    }

    #[test]
    fn of_two_that_differ_both_must_be_past() {
        let all = [tags(Some("2028-01-01T00:00:00Z")), tags(Some("2027-01-01T00:00:00Z"))];
        let bastion = found(Expires::of(&all));
        for now in ["2026-12-31T00:00:00Z", "2027-06-01T00:00:00Z"] {
            assert!(judge(&bastion, &policy(now)).is_reported(), "{now}");
        }
        assert_eq!(why(&bastion, &policy("2028-01-01T00:00:00Z")), Some(Why::Expired));
    }

    #[test]
    fn what_no_plan_can_be_called_is_nobodys() {
        assert!(is_name("warehouse") && is_name("a-1") && is_name("007"));
        for odd in ["", "ab", "Warehouse", "a b c", "-abc", "abc-", "ünicode", &"a".repeat(33)] {
            assert!(!is_name(odd), "{odd}");
        }
    }

    proptest! {
        /// Whatever the tags and the clock say, what has a machine and no deadline that has passed stays.
        #[test]
        fn nothing_goes_before_its_time(
            expires in proptest::option::of(0_i64..4_000_000_000),
            now in 0_i64..4_000_000_000,
            grace in 0_i64..10_000_000,
        ) {
            let time = |s| Timestamp::from_second(s).expect("in range");
            let bastion = found(expires.map_or(Expires::Never, |s| Expires::At(time(s))));
            let asked = Policy { now: time(now), grace: SignedDuration::from_secs(grace), only: Vec::new(), older_than: None };
            let goes = why(&bastion, &asked).is_some();
            prop_assert_eq!(goes, expires.is_some_and(|e| now >= e + grace));
        }

        #[test]
        fn any_tags_are_read(expires in ".{0,40}", lifetime in ".{0,24}") {
            let all = Tags::from([(EXPIRES.to_owned(), expires), (LIFETIME.to_owned(), lifetime)]);
            let _ = (Expires::of([&all]), began(&all));
        }
    }
}
