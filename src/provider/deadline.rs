//! When a bastion ends: what its plan says, what its tags say, and a decision that came between (`gangplank extend` and
//! `gangplank shorten`).
//!
//! A plan's end is its `expires`, or its lifetime from the bastion's creation on, which the tags remember. A decision moves that
//! end, and holds as long as the plan gives the end that was moved: applying the plan again does not undo it. A plan that comes
//! to give another end has been decided about later, and wins.
//!
//! A decision is believed only as it can have been written, and the earliest end that any resource tells counts: so no tag alone
//! postpones an end, an extension that was interrupted is undone, and a shortening that was interrupted is completed.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::tags::{EXPIRES, EXTENDED, LIFETIME, Tags};
use crate::plan::{Deadline, time::LONGEST};

/// By so much the clock of whoever decided may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

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
    /// Reads back what [`super::tags::common`] wrote; `None` where there is no readable deadline.
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
    /// The second that a lifetime counts from. The earliest counts: an interrupted run, or a changed tag, then postpones nothing.
    pub start: Option<i64>,
    /// By resource that tells an end.
    decisions: Vec<ToldDecision>,
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
            Disbelief::Lone(earlier) => write!(
                f,
                "another resource tells the earlier end {earlier}; if `gangplank extend` was interrupted, run it again"
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
            start: all.iter().filter_map(|(deadline, _)| deadline.start()).min(),
            decisions: all.iter().map(decision).collect(),
        }
    }

    /// What resources remember that all tell this end.
    pub fn agreed(end: &ResolvedDeadline) -> Self {
        Self { start: end.start(), decisions: vec![end.moved.map_or(ToldDecision::Own, ToldDecision::Moved)] }
    }

    /// The decision that all resources tell alike, if somebody can have made it.
    pub fn agreed_decision(&self, now: Timestamp) -> Option<Moved> {
        let Some(ToldDecision::Moved(moved)) = self.decisions.first() else { return None };
        let agree = self.decisions.iter().all(|told| *told == ToldDecision::Moved(*moved));
        (agree && moved.implausible(now).is_none()).then_some(*moved)
    }

    /// Which decision counts, where the plan's own end is `own`: the one with the earliest end of all that resources tell.
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
        let earliest = read.iter().map(believed).min_by_key(|moved| {
            let end = moved.map_or(own, |moved| moved.to);
            (end, moved.map(|moved| std::cmp::Reverse(moved.on)))
        });
        let counts = earliest.flatten();
        let end = counts.map_or(own, |moved| moved.to);
        let mut judged = JudgedDecisions { counts, ..JudgedDecisions::default() };
        for told in &read {
            let disbelieved = match told {
                Err(disbelieved) => disbelieved.clone(),
                Ok(Some(moved)) if moved.to > end => (moved.to_string(), Disbelief::Lone(end)),
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

/// The moment at which a bastion ends. A lifetime counts from the start that is remembered; from `now` where none is, or one
/// that is still to come (somebody has changed a tag).
pub fn deadline(plan: Option<Deadline>, remembered: &Remembered, now: Timestamp) -> Option<ResolvedDeadline> {
    let own = match plan? {
        Deadline::Expires(expires) => ResolvedDeadline { expires, lifetime: None, moved: None },
        Deadline::Lifetime(lifetime) => {
            let seconds = lifetime.as_secs();
            let second = now.as_second();
            let start = remembered.start.filter(|start| *start <= second).unwrap_or(second);
            // A lifetime has at most ten years; the sum stays inside what a timestamp can hold.
            let expires = Timestamp::from_second(start.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
            ResolvedDeadline { expires, lifetime: Some(seconds), moved: None }
        }
    };
    Some(match remembered.judge(own.expires, now).counts {
        Some(moved) => ResolvedDeadline { expires: moved.to, moved: Some(moved), ..own },
        None => own,
    })
}

/// What a changeset says of a bastion's end.
pub fn notes(deadline: Option<&ResolvedDeadline>, remembered: &Remembered, now: Timestamp) -> Vec<String> {
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
mod tests {
    use std::iter;

    use jiff::{ToSpan, civil::date, tz::TimeZone};
    use proptest::prelude::*;

    use super::*;
    use crate::{plan::Name, provider::tags};

    fn tagged(deadline: &ResolvedDeadline) -> Tags {
        tags::common(&Name::new("warehouse").unwrap(), &Tags::new(), Some(deadline))
    }

    fn lifetime(seconds: i64) -> Option<Deadline> {
        Some(Deadline::Lifetime(SignedDuration::from_secs(seconds)))
    }

    /// Any second from 1990 to 2100: leap days, leap seconds and both changes of every zone's clocks are among them.
    fn moments() -> impl Strategy<Value = Timestamp> {
        (631_152_000_i64..4_102_444_800).prop_map(|second| Timestamp::from_second(second).unwrap())
    }

    fn spans() -> impl Strategy<Value = i64> {
        600..=3650 * 86400_i64
    }

    proptest! {
        #[test]
        fn tags_tell_a_deadline_again(expires in moments(), seconds in prop::option::of(spans()), moved in prop::option::of((moments(), moments()))) {
            let own = ResolvedDeadline { expires, lifetime: seconds, moved: None };
            let deadline = moved.map_or(own, |(to, on)| own.moved(to, on));
            let tags = tagged(&deadline);
            prop_assert_eq!(ResolvedDeadline::from_tags(&tags), Some(deadline));
            prop_assert!(tags.values().all(|value| value.len() <= 256 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b" +-=._:/@".contains(&b))));
            prop_assert_eq!(deadline.start(), own.start(), "a decision does not move the start");
        }

        #[test]
        fn any_text_is_read(text in ".{0,60}") {
            let _ = Moved::read(&text);
        }

        /// Whoever applies the unchanged plan afterwards, whenever, finds the decided end.
        #[test]
        fn a_decision_holds_while_the_plan_says_the_same(
            born in moments(), seconds in spans(), ahead in spans(), decided in 0..86400_i64, later in 0..10 * 86400_i64,
        ) {
            let plan = lifetime(seconds);
            let first = deadline(plan, &Remembered::default(), born).unwrap();
            let on = Timestamp::from_second(born.as_second() + decided).unwrap();
            let to = Timestamp::from_second(on.as_second() + ahead).unwrap();
            let decided = first.moved(to, on);
            let now = Timestamp::from_second(on.as_second() + later).unwrap();
            let tags = [tagged(&decided), tagged(&decided)];
            let found = deadline(plan, &Remembered::of(&tags), now);
            prop_assert_eq!(found, Some(decided));
            prop_assert_eq!(notes(found.as_ref(), &Remembered::of(&tags), now).len(), 1);
            // Moving it once more starts from the plan's end again.
            prop_assert_eq!(decided.moved(born, now).own(), first.expires);
            // Another lifetime wins, and counts from the bastion's creation.
            let after = deadline(lifetime(seconds + 60), &Remembered::of(&tags), now).unwrap();
            prop_assert_eq!((after.moved, after.expires.as_second()), (None, born.as_second() + seconds + 60));
            let told = notes(Some(&after), &Remembered::of(&tags), now);
            prop_assert!(told.len() == 2 && !told[1].contains('⚠'), "{:?}", told);
        }

        /// A decision that was interrupted: some resources tell it, others the end before. The earlier end counts, whichever it is, and
        /// applying or deciding it again makes all of them agree.
        #[test]
        fn of_an_interrupted_decision_the_earlier_end_counts(
            born in moments(), seconds in spans(), before in prop::option::of(spans()), ahead in spans(), done in 1..4_usize,
        ) {
            let plan = lifetime(seconds);
            let own = deadline(plan, &Remembered::default(), born).unwrap();
            let at = |second: i64| Timestamp::from_second(second).unwrap();
            let earlier = before.map_or(own, |before| own.moved(at(born.as_second() + before), born));
            let on = at(born.as_second() + 60);
            let decided = earlier.moved(at(on.as_second() + ahead), on);
            let tags: Vec<Tags> = (0..4).map(|n| tagged(if n < done { &decided } else { &earlier })).collect();
            let now = at(on.as_second() + 60);
            let found = deadline(plan, &Remembered::of(&tags), now).unwrap();
            prop_assert_eq!(found.expires, decided.expires.min(earlier.expires));
            prop_assert!(found == decided || found == earlier);
            let applied: Vec<Tags> = tags.iter().map(|_| tagged(&found)).collect();
            prop_assert_eq!(deadline(plan, &Remembered::of(&applied), now), Some(found));
        }

        /// Whatever one tag says, the end is not later for it, and apply takes it away.
        #[test]
        fn no_tag_alone_postpones_an_end(
            born in moments(), seconds in spans(), to in moments(), on in moments(), from in prop::option::of(moments()),
            noise in prop::option::of(".{0,40}"), later in 0..10 * 86400_i64,
        ) {
            let plan = lifetime(seconds);
            let own = deadline(plan, &Remembered::default(), born).unwrap();
            let now = Timestamp::from_second(born.as_second() + later).unwrap();
            let moved = Moved { to, from: from.unwrap_or(own.expires), on };
            let mut forged = tagged(&own);
            forged.insert(EXTENDED.to_owned(), noise.unwrap_or_else(|| moved.to_string()));
            let tags = [tagged(&own), forged, tagged(&own)];
            let remembered = Remembered::of(&tags);
            let found = deadline(plan, &remembered, now).unwrap();
            prop_assert!(found.expires <= own.expires);
            if found.moved.is_none() && found == own {
                prop_assert!(!tells(&tags[1], Some(&found)));
                let told = notes(Some(&found), &remembered, now);
                prop_assert!(told.iter().any(|note| note.starts_with('⚠')), "{:?}", told);
            }
        }

        /// Also where every resource says it, an end counts only as somebody can have decided it.
        #[test]
        fn an_end_that_nobody_can_have_decided_does_not_count(
            born in moments(), seconds in spans(), beyond in 1..1000 * 86400_i64, skew in 301..86400_i64, ahead in spans(),
        ) {
            let plan = lifetime(seconds);
            let own = deadline(plan, &Remembered::default(), born).unwrap();
            let at = |second: i64| Timestamp::from_second(second).unwrap();
            let ten_years = born.as_second() + LONGEST.as_secs();
            let unbelievable = [
                own.moved(at(ten_years + beyond), born),
                own.moved(at(born.as_second() + skew + ahead), at(born.as_second() + skew)),
                own.moved(at(born.as_second() - beyond), born),
            ];
            for forged in unbelievable {
                let tags = [tagged(&forged), tagged(&forged)];
                prop_assert_eq!(deadline(plan, &Remembered::of(&tags), born), Some(own), "{:?}", forged);
                prop_assert_eq!(Remembered::of(&tags).agreed_decision(born), None);
            }
            let last = own.moved(at(ten_years), born);
            let tags = [tagged(&last), tagged(&last)];
            prop_assert_eq!(deadline(plan, &Remembered::of(&tags), born), Some(last));
        }

        /// A time is the same moment in whatever zone it is written, on both sides of a clock change, and a lifetime is so many
        /// seconds, however many days a calendar makes of them.
        #[test]
        fn zones_and_calendars_move_nothing(moment in moments(), seconds in spans(), zone in prop::sample::select(vec![
            // New York, Berlin, Kolkata, Lord Howe Island, Chatham, St. John's, in the form of POSIX: no database is needed.
            "EST5EDT,M3.2.0,M11.1.0", "CET-1CEST,M3.5.0,M10.5.0/3", "IST-5:30", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
            "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45", "NST3:30NDT,M3.2.0,M11.1.0",
        ])) {
            let zone = TimeZone::posix(zone).unwrap();
            let local = moment.to_zoned(zone.clone());
            let text = local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            // Zones had offsets with seconds long ago, never since 1990.
            let read: Timestamp = text.parse().unwrap();
            prop_assert_eq!(read, moment);
            let end = deadline(lifetime(seconds), &Remembered::default(), moment).unwrap().expires;
            prop_assert_eq!(end.as_second() - moment.as_second(), seconds);
            prop_assert_eq!(end.to_zoned(zone).timestamp(), end);
        }

        /// The same tags in any order, some of them missing or without sense, give the same or an earlier start.
        #[test]
        fn broken_tags_never_postpone(born in moments(), seconds in spans(), ahead in 1..3650 * 86400_i64, noise in ".{0,24}") {
            let plan = lifetime(seconds);
            let first = deadline(plan, &Remembered::default(), born).unwrap();
            let (good, mut later, mut broken) = (tagged(&first), tagged(&first), tagged(&first));
            later.insert(EXPIRES.to_owned(), Timestamp::from_second(first.expires.as_second() + ahead).unwrap().to_string());
            broken.insert(EXPIRES.to_owned(), noise.clone());
            broken.insert(EXTENDED.to_owned(), noise);
            let now = Timestamp::from_second(born.as_second() + 60).unwrap();
            for tags in [[&good, &later, &broken], [&broken, &later, &good]] {
                let found = deadline(plan, &Remembered::of(tags), now).unwrap();
                prop_assert_eq!(found.expires, first.expires);
            }
        }
    }

    #[test]
    fn a_lifetime_over_a_leap_day_and_over_clock_changes_is_so_many_seconds() {
        for (from, days, until) in [
            ("2028-02-28T12:00:00Z", 1, "2028-02-29T12:00:00Z"),
            ("2028-02-28T12:00:00Z", 2, "2028-03-01T12:00:00Z"),
            ("2027-02-28T12:00:00Z", 1, "2027-03-01T12:00:00Z"),
            ("2028-02-29T00:00:00Z", 366, "2029-03-01T00:00:00Z"),
            // Central Europe's clocks go forward in between: the moment's local time differs, the seconds do not.
            ("2027-03-27T13:00:00+01:00", 1, "2027-03-28T14:00:00+02:00"),
            ("2027-10-30T13:00:00+02:00", 1, "2027-10-31T12:00:00+01:00"),
        ] {
            let now: Timestamp = from.parse().unwrap();
            let end = deadline(lifetime(days * 86400), &Remembered::default(), now).unwrap();
            assert_eq!(end.expires, until.parse().unwrap(), "{days} days from {from}");
        }
        // What a calendar of a zone calls a day later is another thing.
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let eve = date(2027, 3, 27).at(13, 0, 0, 0).to_zoned(berlin).unwrap();
        assert_eq!(eve.checked_add(1.day()).unwrap().timestamp().as_second() - eve.timestamp().as_second(), 23 * 3600);
    }

    #[test]
    fn a_plan_without_a_deadline_has_none_whatever_was_decided() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let own = deadline(lifetime(86400), &Remembered::default(), now).unwrap();
        let decided = own.moved(now + SignedDuration::from_hours(1), now);
        let remembered = Remembered::of(iter::once(&tagged(&decided)));
        assert_eq!(deadline(None, &remembered, now), None);
        assert_eq!(notes(None, &remembered, now).len(), 2);
    }
}
