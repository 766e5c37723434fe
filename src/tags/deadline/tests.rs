use std::iter;

use jiff::{ToSpan, civil::date, tz::TimeZone};
use proptest::prelude::*;

use crate::{
    plan::Name,
    tags::{self, deadline::*},
};

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
        prop_assert_eq!(notes(plan, found.as_ref(), &Remembered::of(&tags), now).len(), 1);
        // Moving it once more starts from the plan's end again.
        prop_assert_eq!(decided.moved(born, now).own(), first.expires);
        // Another lifetime wins, and counts from the bastion's creation.
        let after = deadline(lifetime(seconds + 60), &Remembered::of(&tags), now).unwrap();
        prop_assert_eq!((after.moved, after.expires.as_second()), (None, born.as_second() + seconds + 60));
        let told = notes(lifetime(seconds + 60), Some(&after), &Remembered::of(&tags), now);
        prop_assert!(told.len() == 2 && !told[1].contains('⚠'), "{:?}", told);
    }

    /// A decision that was interrupted: some resources tell it, others the end before. The earlier end counts, unless one resource
    /// tells it alone against the plan's own, and applying or deciding it again makes all of them agree.
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
        let is_lone = done == 1 && before.is_none();
        let end = if is_lone { earlier.expires } else { decided.expires.min(earlier.expires) };
        prop_assert_eq!(found.expires, end);
        prop_assert!(found == decided || found == earlier);
        let applied: Vec<Tags> = tags.iter().map(|_| tagged(&found)).collect();
        prop_assert_eq!(deadline(plan, &Remembered::of(&applied), now), Some(found));
    }

    /// Whatever one tag says, it does not move the end, and apply takes it away.
    #[test]
    fn no_tag_alone_moves_an_end(
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
        prop_assert_eq!(found, own);
        prop_assert!(!tells(&tags[1], Some(&found)));
        // Nor do two of three postpone it.
        let two = [&tags[0], &tags[1], &tags[1]];
        prop_assert!(deadline(plan, &Remembered::of(two), now).unwrap().expires <= own.expires);
        let told = notes(plan, Some(&found), &remembered, now);
        let is_same_end = moved.to == own.expires;
        prop_assert!(is_same_end || told.iter().any(|note| note.starts_with('⚠')), "{:?}", told);
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

    /// One `expires` that was changed to any time, past or to come, moves neither the end nor its start.
    #[test]
    fn no_expires_alone_moves_an_end(born in moments(), seconds in spans(), forged in moments(), later in 0..10 * 86400_i64) {
        let plan = lifetime(seconds);
        let own = deadline(plan, &Remembered::default(), born).unwrap();
        let mut changed = tagged(&own);
        changed.insert(EXPIRES.to_owned(), forged.to_string());
        let now = Timestamp::from_second(born.as_second() + later).unwrap();
        for tags in [[&changed, &tagged(&own), &tagged(&own)], [&tagged(&own), &tagged(&own), &changed]] {
            prop_assert_eq!(deadline(plan, &Remembered::of(tags), now), Some(own));
        }
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
    assert_eq!(notes(None, None, &remembered, now).len(), 2);
}

#[test]
fn a_lifetime_that_began_after_the_launch_counts_only_where_all_say_it() {
    let plan = lifetime(30 * 86400);
    let born: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let now = born + SignedDuration::from_hours(25 * 24);
    let own = deadline(plan, &Remembered::default(), born).unwrap();
    let mut later = tagged(&own);
    later.insert(EXPIRES.to_owned(), (own.expires + SignedDuration::from_hours(24 * 24)).to_string());
    let launched = Some(born + SignedDuration::from_mins(2));
    for tags in [vec![tagged(&own), later.clone(), later.clone()], vec![tagged(&own), later.clone()]] {
        let remembered = Remembered::of(&tags).launched(launched);
        assert_eq!(deadline(plan, &remembered, now), Some(own));
        assert_eq!(remembered.disputed(plan, now), None);
    }
    // Where all say it, the clock that they were written by was ahead of the cloud's: an apply ends by finding what it wrote.
    let all = [later.clone(), later.clone(), later];
    let found = deadline(plan, &Remembered::of(&all).launched(launched), now + SignedDuration::from_hours(48)).unwrap();
    assert_eq!(found.expires, own.expires + SignedDuration::from_hours(24 * 24));
}

#[test]
fn of_two_that_differ_neither_is_believed() {
    let plan = lifetime(30 * 86400);
    let born: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let now = born + SignedDuration::from_hours(24);
    let own = deadline(plan, &Remembered::default(), born).unwrap();
    let mut sooner = tagged(&own);
    sooner.insert(EXPIRES.to_owned(), (now + SignedDuration::from_hours(1)).to_string());
    let shortened = tagged(&own.moved(now + SignedDuration::from_hours(1), now));
    for other in [sooner, shortened] {
        let remembered = Remembered::of(&[tagged(&own), other]).launched(Some(born));
        assert!(remembered.disputed(plan, now).is_some());
        let end = deadline(plan, &remembered, now);
        assert_eq!(end, Some(own), "the machine's stays");
        let told = notes(plan, end.as_ref(), &remembered, now);
        assert!(told.iter().any(|note| note.contains("nothing tells which is right")), "{told:?}");
    }
}

/// One of two tells the same end and another lifetime: the plan's counts, and nothing of it is a dispute.
#[test]
fn of_two_equal_ends_the_plans_lifetime_counts() {
    let plan = lifetime(30 * 86400);
    let born: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let now = born + SignedDuration::from_hours(24);
    let own = deadline(plan, &Remembered::default(), born).unwrap();
    for end in [own, own.moved(own.expires + SignedDuration::from_hours(24), born)] {
        for seconds in ["7776000", "1000000000", "3600", "2592001"] {
            let mut forged = tagged(&end);
            forged.insert(LIFETIME.to_owned(), seconds.to_owned());
            for tags in [[&forged, &tagged(&end)], [&tagged(&end), &forged]] {
                let remembered = Remembered::of(tags).launched(Some(born));
                assert_eq!(remembered.disputed(plan, now), None, "{seconds}");
                assert_eq!(deadline(plan, &remembered, now), Some(end), "{seconds}");
                assert!(remembered.tells_own(&end));
            }
        }
    }
}

#[test]
fn of_two_ends_one_before_the_launch_does_not_count() {
    let plan = lifetime(30 * 86400);
    let born: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let now = born + SignedDuration::from_hours(24);
    let own = deadline(plan, &Remembered::default(), born).unwrap();
    let forged = |hours| {
        let mut forged = tagged(&own);
        forged.insert(EXPIRES.to_owned(), (born + SignedDuration::from_hours(hours)).to_string());
        forged
    };
    let before = Remembered::of(&[forged(-1), tagged(&own)]).launched(Some(born));
    assert_eq!((before.disputed(plan, now), deadline(plan, &before, now)), (None, Some(own)));
    let after = Remembered::of(&[forged(1), tagged(&own)]).launched(Some(born));
    let both = after.disputed(plan, now).unwrap();
    assert!(both[0].expires < now && both[1] == own, "{both:?}");
    assert!(settlement(&both, "p.yaml", now).contains(&format!("extend p.yaml --until {}`", own.expires)));
    assert!(settlement(&both, "p.yaml", own.expires).contains("destroy"));
}

proptest! {
    /// With two that tell an end, whatever one tag says: the end is never later than the plan's lifetime from the launch on.
    #[test]
    fn no_tag_of_two_lengthens_a_life(
        born in moments(), seconds in spans(), key in prop::sample::select(vec![EXPIRES, LIFETIME]), to in moments(), other in spans(),
        later in 0..10 * 86400_i64, is_machine in any::<bool>(),
    ) {
        let plan = lifetime(seconds);
        let own = deadline(plan, &Remembered::default(), born).unwrap();
        let now = Timestamp::from_second(born.as_second() + later).unwrap();
        let mut forged = tagged(&own);
        forged.insert(key.to_owned(), if key == EXPIRES { to.to_string() } else { other.to_string() });
        let tags = if is_machine { [forged, tagged(&own)] } else { [tagged(&own), forged] };
        let found = deadline(plan, &Remembered::of(&tags).launched(Some(born)), now).unwrap();
        prop_assert!(found.expires.as_second() <= own.expires.as_second() + LAUNCH_SLACK.as_secs(), "{:?}", found);
        prop_assert_eq!(found.lifetime, Some(seconds));
        if key == LIFETIME {
            prop_assert_eq!(found, own);
        }
    }
}
