//! When a bastion ends: what its plan says, what its tags say, and a decision that came between (`gangplank extend` and
//! `gangplank shorten`).
//!
//! A plan's end is its `expires`, or its lifetime from the bastion's creation on, which the tags remember. A decision moves that
//! end, and holds as long as the plan gives the end that was moved: applying the plan again does not undo it. A plan that comes
//! to give another end has been decided about later, and wins.
//!
//! A decision is believed only as it can have been written, and not where one resource tells it alone against two or more that
//! tell the plan's own end. Of what remains the earliest end counts: so no tag alone moves an end, an extension that was
//! interrupted is undone, and a shortening is completed once two resources tell it. A lifetime that began after the machine's launch
//! is believed only where all say so. Where only two resources tell an end, one that was over before the machine's launch is not believed,
//! and of two that differ in the lifetime alone the one that tells the plan's is; where they differ otherwise, neither is written: see
//! [`Remembered::disputed`].

use std::{collections::BTreeSet, fmt};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{EXPIRES, EXTENDED, LIFETIME, Tags, about_the_end, agreement::without_lone};
use crate::plan::{Deadline, time::LONGEST};

/// By so much the clock of whoever decided may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A lifetime begins when its bastion is planned, before the machine's launch. By so much the clocks of the two may differ: AWS refuses
/// what is signed by a clock that is further off.
const LAUNCH_SLACK: SignedDuration = SignedDuration::from_mins(15);

/// A deadline as a moment, the lifetime (seconds) that it came from, and the decision that moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedDeadline {
    pub expires: Timestamp,
    pub lifetime: Option<i64>,
    pub moved: Option<Moved>,
}

/// A decision to move a deadline, as the tag [`EXTENDED`] notes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub to: Timestamp,
    /// The end that the plan gave when it was decided.
    pub from: Timestamp,
    pub on: Timestamp,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {} from {} on {}", self.to, self.from, self.on)
    }
}

impl Moved {
    /// Reads back what [`fmt::Display`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["to", to, "from", from, "on", on] => {
                Some(Self { to: to.parse().ok()?, from: from.parse().ok()?, on: on.parse().ok()? })
            }
            _ => None,
        }
    }

    /// Why nobody can have written this.
    fn implausible(&self, now: Timestamp) -> Option<Disbelief> {
        if self.on.duration_since(now) > CLOCK_SKEW {
            Some(Disbelief::Future)
        } else if self.to <= self.on {
            Some(Disbelief::Past)
        } else if self.to.as_second().saturating_sub(self.on.as_second()) > LONGEST.as_secs() {
            Some(Disbelief::TooFar)
        } else {
            None
        }
    }

    /// `extended` or `shortened`.
    pub fn word(&self) -> &'static str {
        if self.to < self.from { "shortened" } else { "extended" }
    }
}

impl ResolvedDeadline {
    /// Reads back what [`super::common`] wrote; `None` where there is no readable deadline.
    pub fn from_tags(tags: &Tags) -> Option<Self> {
        let expires = tags.get(EXPIRES)?.parse().ok()?;
        let moved = tags.get(EXTENDED).and_then(|text| Moved::read(text));
        Some(Self { expires, lifetime: tags.get(LIFETIME).and_then(|s| s.parse().ok()), moved })
    }

    /// The end that the plan gave.
    pub fn own(&self) -> Timestamp {
        self.moved.map_or(self.expires, |moved| moved.from)
    }

    /// The second that the lifetime counts from; `None` where the deadline came from no lifetime.
    pub fn start(&self) -> Option<i64> {
        self.own().as_second().checked_sub(self.lifetime?)
    }

    /// The same, moved.
    #[must_use]
    pub fn moved(self, to: Timestamp, on: Timestamp) -> Self {
        Self { expires: to, moved: Some(Moved { to, from: self.own(), on }), ..self }
    }
}

/// What the resources of a bastion remember of its deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// By resource that tells an end.
    decisions: Vec<ToldDecision>,
    /// The ends of the resources, the machine's first.
    ends: Vec<ResolvedDeadline>,
    /// When the cloud launched the machine: tags can't move that.
    launched: Option<Timestamp>,
}

/// What one resource tells of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ToldDecision {
    /// None: the plan's own end counts.
    Own,
    Moved(Moved),
    /// Something that gangplank does not write.
    Unreadable(String),
}

/// Why a decision that a tag tells does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disbelief {
    Unreadable,
    Future,
    Past,
    TooFar,
    /// It moves another end than the one that the plan gives.
    OtherEnd(Timestamp),
    /// Another resource tells this end, which is earlier.
    Later(Timestamp),
    /// No other resource tells it, and the others agree on this end.
    Lone(Timestamp),
}

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disbelief::Unreadable => f.write_str("gangplank does not write such a tag"),
            Disbelief::Future => f.write_str("it says that it was decided in the future"),
            Disbelief::Past => f.write_str("its end is before the decision"),
            Disbelief::TooFar => f.write_str("its end is more than ten years after the decision"),
            Disbelief::OtherEnd(own) => write!(f, "the plan's own end is {own}"),
            Disbelief::Later(earlier) => write!(
                f,
                "another resource tells the earlier end {earlier}; if `gangplank extend` was interrupted, run it again"
            ),
            Disbelief::Lone(end) => write!(
                f,
                "no other resource tells it, and the end is {end}; if `gangplank shorten` was interrupted, run it again"
            ),
        }
    }
}

/// What the decisions come to, where the plan gives an end of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct JudgedDecisions {
    counts: Option<Moved>,
    /// Not every resource tells the decision that counts.
    is_partial: bool,
    /// What tags say and does not count, each text once, with how many resources carry it.
    disbelieved: Vec<(String, usize, Disbelief)>,
}

impl Remembered {
    /// From the tags of everything that a bastion has.
    pub fn of<'t>(tags: impl IntoIterator<Item = &'t Tags>) -> Self {
        let told = |tags: &'t Tags| Some((ResolvedDeadline::from_tags(tags)?, tags.get(EXTENDED)));
        let all: Vec<_> = tags.into_iter().filter_map(told).collect();
        let decision = |(deadline, text): &(ResolvedDeadline, Option<&String>)| match (deadline.moved, text) {
            (Some(moved), _) => ToldDecision::Moved(moved),
            (None, Some(text)) => ToldDecision::Unreadable((*text).clone()),
            (None, None) => ToldDecision::Own,
        };
        Self {
            decisions: all.iter().map(decision).collect(),
            ends: all.iter().map(|(deadline, _)| *deadline).collect(),
            launched: None,
        }
    }

    /// The same of a bastion whose machine was launched then. The machine's tags came first.
    #[must_use]
    pub fn launched(self, launched: Option<Timestamp>) -> Self {
        Self { launched, ..self }
    }

    /// What resources remember that all tell this end.
    pub fn agreed(end: &ResolvedDeadline) -> Self {
        Self {
            decisions: vec![end.moved.map_or(ToldDecision::Own, ToldDecision::Moved)],
            ends: vec![*end],
            launched: None,
        }
    }

    /// The second that a lifetime of so many seconds counts from: the earliest, but for one that a resource tells alone.
    fn start(&self, seconds: i64, now: Timestamp) -> Option<i64> {
        let believed = self.believed(seconds, now);
        let starts: Vec<i64> = believed.iter().filter_map(|told| told.start()).collect();
        without_lone(&starts).into_iter().min()
    }

    /// The ends whose start can have been written. Gangplank writes none that is still to come, or later than the machine's launch;
    /// where all are later, the clock that they were written by was ahead.
    fn believed(&self, seconds: i64, now: Timestamp) -> Vec<&ResolvedDeadline> {
        let begun = |told: &&ResolvedDeadline| told.start().is_some_and(|start| start <= now.as_second());
        let mut believed: Vec<_> = self.ends.iter().filter(begun).collect();
        let after_launch =
            |told: &ResolvedDeadline| told.start().is_some_and(|start| is_after_launch(start, self.launched));
        keep_if_any(&mut believed, |told| !after_launch(told));
        if let [one, other] = &self.ends[..] {
            keep_if_any(&mut believed, |told| !is_over_before_launch(told.expires, self.launched));
            if one.expires == other.expires && self.decisions[0] == self.decisions[1] {
                keep_if_any(&mut believed, |told| told.lifetime == Some(seconds));
            }
        }
        believed
    }

    /// The end as the machine tells it and as the other one does, where only these two tell one that can have been written, and
    /// differ: then nothing tells which is right. The lifetime is the plan's.
    pub fn disputed(&self, plan: Option<Deadline>, now: Timestamp) -> Option<[ResolvedDeadline; 2]> {
        let [machine, other] = &self.ends[..] else { return None };
        self.launched?;
        if let Deadline::Lifetime(lifetime) = plan? {
            let believed = self.believed(lifetime.as_secs(), now);
            let can_be =
                |told: &&ResolvedDeadline| told.start().is_some_and(|start| !is_after_launch(start, self.launched));
            if believed.len() < 2 || !believed.iter().all(can_be) {
                return None;
            }
        }
        let end = |told: &ResolvedDeadline, decision: &ToldDecision| {
            let own = match plan? {
                Deadline::Expires(expires) => ResolvedDeadline { expires, lifetime: None, moved: None },
                Deadline::Lifetime(lifetime) => from_start(told.start()?, lifetime.as_secs()),
            };
            Some(match decision {
                ToldDecision::Moved(moved) if moved.from == own.expires && moved.implausible(now).is_none() => {
                    ResolvedDeadline { expires: moved.to, moved: Some(*moved), ..own }
                }
                _ => own,
            })
        };
        let both = [end(machine, &self.decisions[0])?, end(other, &self.decisions[1])?];
        (both[0].expires != both[1].expires).then_some(both)
    }

    /// Whether a resource tells the end that the plan gives, and the plan's lifetime.
    pub fn tells_own(&self, end: &ResolvedDeadline) -> bool {
        self.ends.iter().any(|told| told.own() == end.own() && told.lifetime == end.lifetime)
    }

    /// The decision that all resources tell alike, if somebody can have made it.
    pub fn agreed_decision(&self, now: Timestamp) -> Option<Moved> {
        let Some(ToldDecision::Moved(moved)) = self.decisions.first() else { return None };
        let agree = self.decisions.iter().all(|told| *told == ToldDecision::Moved(*moved));
        (agree && moved.implausible(now).is_none()).then_some(*moved)
    }

    /// Which decision counts, where the plan's own end is `own`: the one with the earliest end, but for what one resource tells
    /// alone.
    fn judge(&self, own: Timestamp, now: Timestamp) -> JudgedDecisions {
        let read = |told: &ToldDecision| match told {
            ToldDecision::Own => Ok(None),
            ToldDecision::Unreadable(text) => Err((text.clone(), Disbelief::Unreadable)),
            ToldDecision::Moved(moved) => {
                let other = (moved.from != own).then_some(Disbelief::OtherEnd(own));
                moved.implausible(now).or(other).map_or(Ok(Some(*moved)), |why| Err((moved.to_string(), why)))
            }
        };
        let read: Vec<_> = self.decisions.iter().map(read).collect();
        let believed = |told: &Result<Option<Moved>, _>| told.as_ref().ok().copied().flatten();
        // What is not believed leaves the plan's own end. Of the same end, the latest decision is told.
        let told: Vec<Option<Moved>> = read.iter().map(believed).collect();
        let own_is_agreed = told.iter().filter(|moved| moved.is_none()).count() > 1;
        let counting = if own_is_agreed { without_lone(&told) } else { told };
        let earliest = counting.into_iter().min_by_key(|moved| {
            let end = moved.map_or(own, |moved| moved.to);
            (end, moved.map(|moved| std::cmp::Reverse(moved.on)))
        });
        let counts = earliest.flatten();
        let end = counts.map_or(own, |moved| moved.to);
        let mut judged = JudgedDecisions { counts, ..JudgedDecisions::default() };
        for told in &read {
            let disbelieved = match told {
                Err(disbelieved) => disbelieved.clone(),
                Ok(Some(moved)) if moved.to > end => (moved.to_string(), Disbelief::Later(end)),
                Ok(Some(moved)) if moved.to < end => (moved.to_string(), Disbelief::Lone(end)),
                Ok(moved) => {
                    judged.is_partial |= *moved != counts;
                    continue;
                }
            };
            judged.is_partial |= counts.is_some();
            match judged.disbelieved.iter_mut().find(|(text, _, why)| (text, why) == (&disbelieved.0, &disbelieved.1)) {
                Some((_, count, _)) => *count += 1,
                None => judged.disbelieved.push((disbelieved.0, 1, disbelieved.1)),
            }
        }
        judged
    }
}

/// Without what is not so, unless nothing is.
fn keep_if_any<T>(values: &mut Vec<T>, is_so: impl Fn(&T) -> bool) {
    if values.iter().any(&is_so) {
        values.retain(is_so);
    }
}

/// A lifetime has at most ten years; the sum stays inside what a timestamp can hold.
fn from_start(start: i64, seconds: i64) -> ResolvedDeadline {
    let expires = Timestamp::from_second(start.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
    ResolvedDeadline { expires, lifetime: Some(seconds), moved: None }
}

/// No machine is launched for a bastion that is over.
pub fn is_over_before_launch(expires: Timestamp, launched: Option<Timestamp>) -> bool {
    launched.is_some_and(|launched| launched.duration_since(expires) > LAUNCH_SLACK)
}

/// Whether a lifetime that began then is one that gangplank cannot have written for the machine that was launched then.
pub fn is_after_launch(start: i64, launched: Option<Timestamp>) -> bool {
    launched.is_some_and(|launched| start.saturating_sub(launched.as_second()) > LAUNCH_SLACK.as_secs())
}

/// The moment at which a bastion ends. A lifetime counts from the start that is remembered; where none is that can have been written,
/// from `now`. Where two resources tell an end and disagree, the machine's stays.
pub fn deadline(plan: Option<Deadline>, remembered: &Remembered, now: Timestamp) -> Option<ResolvedDeadline> {
    if let Some([machine, _]) = remembered.disputed(plan, now) {
        return Some(machine);
    }
    let own = match plan? {
        Deadline::Expires(expires) => ResolvedDeadline { expires, lifetime: None, moved: None },
        Deadline::Lifetime(lifetime) => {
            let seconds = lifetime.as_secs();
            from_start(remembered.start(seconds, now).unwrap_or(now.as_second()), seconds)
        }
    };
    Some(match remembered.judge(own.expires, now).counts {
        Some(moved) => ResolvedDeadline { expires: moved.to, moved: Some(moved), ..own },
        None => own,
    })
}

/// What a changeset says of a bastion's end.
pub fn notes(
    plan: Option<Deadline>,
    deadline: Option<&ResolvedDeadline>,
    remembered: &Remembered,
    now: Timestamp,
) -> Vec<String> {
    let Some(deadline) = deadline else {
        let mut notes = vec!["the bastion has no deadline: it stays until it is destroyed".to_owned()];
        notes.extend(remembered.agreed_decision(now).map(|moved| overruled(&moved)));
        return notes;
    };
    let left = time_left(deadline.expires.as_second() - now.as_second());
    let end = format!("the bastion ends at {}, {left}", deadline.expires);
    let mut notes = vec![match deadline.moved {
        Some(moved) => {
            format!("{end}: it was {} on {}; the plan's own end is {}", moved.word(), moved.on, moved.from)
        }
        None => end,
    }];
    if let Some([machine, other]) = remembered.disputed(plan, now) {
        notes.push(format!(
            "⚠ its machine's tags tell the end {}, and those of the only other resource that tells one {}: nothing tells which is right, \
             and apply leaves both; `gangplank extend` or `gangplank shorten` with --until settles it",
            machine.expires, other.expires
        ));
        return notes;
    }
    let judged = remembered.judge(deadline.own(), now);
    let of = remembered.decisions.len();
    for (text, count, why) in &judged.disbelieved {
        // The plan has come to give another end since: nothing is wrong with the tags.
        if let (Disbelief::OtherEnd(_), Some(moved)) = (why, remembered.agreed_decision(now)) {
            notes.push(overruled(&moved));
        } else {
            notes.push(format!(
                "⚠ the tag {EXTENDED} on {count} of {of} resources does not count, and apply removes it: {text:?} ({why})"
            ));
        }
    }
    if judged.is_partial {
        notes.push(format!("not every resource tells this end yet ({EXTENDED}): apply completes it"));
    }
    notes
}

/// Ends that the plan or some of a bastion's resources (`all`) tell, other than the one that is shown.
pub fn other_ends<'t>(
    shown: Option<Timestamp>,
    plan: Option<Deadline>,
    remembered: &Remembered,
    all: impl IntoIterator<Item = &'t Tags>,
    now: Timestamp,
) -> Vec<Timestamp> {
    let Some(shown) = shown else { return Vec::new() };
    let plans = deadline(plan, remembered, now).map(|end| end.expires);
    let told = all.into_iter().filter_map(|tags| Some(ResolvedDeadline::from_tags(tags)?.expires));
    let other: BTreeSet<Timestamp> = told.chain(plans).filter(|end| *end != shown).collect();
    other.into_iter().collect()
}

/// What is told beside an end that is not the only one.
pub fn other_ends_note(other: &[Timestamp]) -> Option<String> {
    let ends: Vec<String> = other.iter().map(Timestamp::to_string).collect();
    (!ends.is_empty()).then(|| {
        format!(
            "⚠ its plan or another of its resources tells another end, {}: `gangplank plan` says which counts",
            ends.join(" and ")
        )
    })
}

/// Each resource that tells an end with the tags that it tells it by, where they tell different ends.
pub fn who_tells<'t>(all: impl IntoIterator<Item = (String, &'t Tags)>) -> Option<String> {
    let dated = all
        .into_iter()
        .filter_map(|(what, tags)| Some((what, ResolvedDeadline::from_tags(tags)?, about_the_end(tags))));
    let dated: Vec<_> = dated.collect();
    let words = |tags: &Tags| tags.iter().map(|(key, value)| format!("{key} {value:?}")).collect::<Vec<_>>().join(", ");
    let differ = dated.windows(2).any(|pair| pair[0].1.expires != pair[1].1.expires);
    let each =
        || dated.iter().map(|(what, _, tags)| format!("{what} with {}", words(tags))).collect::<Vec<_>>().join("; ");
    differ.then(each)
}

/// How a dispute is ended by who knows which end is right, for the plan at `path`.
pub fn settlement(disputed: &[ResolvedDeadline; 2], path: &str, now: Timestamp) -> String {
    let to_come: Vec<Timestamp> = disputed.iter().map(|end| end.expires).filter(|end| *end > now).collect();
    match to_come[..] {
        [] => format!("run `gangplank destroy {path}`"),
        [end] => format!(
            "run `gangplank extend {path} --until {end}`, or with another time, or `gangplank destroy {path}` if its time is up"
        ),
        [end, other, ..] => {
            format!(
                "run `gangplank extend {path} --until {end}` or `--until {other}`, whichever is right: apply writes neither"
            )
        }
    }
}

/// Whether a resource's tags tell this end, the decision behind it included.
pub fn tells(tags: &Tags, want: Option<&ResolvedDeadline>) -> bool {
    let text = want.and_then(|want| want.moved).map(|moved| moved.to_string());
    ResolvedDeadline::from_tags(tags).as_ref() == want && tags.get(EXTENDED) == text.as_ref()
}

/// What a resource's tags tell of the end, for a reader.
pub fn told(tags: &Tags) -> String {
    let expires = ResolvedDeadline::from_tags(tags).map_or_else(|| "none".to_owned(), |told| told.expires.to_string());
    match tags.get(EXTENDED) {
        Some(text) => format!("{expires} ({EXTENDED}: {text:?})"),
        None => expires,
    }
}

fn overruled(moved: &Moved) -> String {
    format!(
        "its end was {} to {} on {}, and the plan's deadline has changed since: the plan's counts",
        moved.word(),
        moved.to,
        moved.on
    )
}

/// `in 90 days`, `3 hours ago`.
pub fn time_left(seconds: i64) -> String {
    if seconds >= 0 { format!("in {}", span(seconds)) } else { format!("{} ago", span(seconds.saturating_neg())) }
}

/// `90 days`, `36 hours`, `12 minutes`: the largest unit of which there are two or more.
pub fn span(seconds: i64) -> String {
    let count = |n: i64, unit: &str| if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") };
    match seconds {
        s if s >= 2 * 86400 => count(s / 86400, "day"),
        s if s >= 2 * 3600 => count(s / 3600, "hour"),
        s => count(s / 60, "minute"),
    }
}

#[cfg(test)]
mod tests;
