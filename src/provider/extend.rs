//! `gangplank extend` and `gangplank shorten`: another end than the plan's, decided about a bastion that stands. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::{
    diagnostic::Diagnostic,
    plan::{Deadline, Plan, time::LONGEST},
    tags::deadline::{Remembered, ResolvedDeadline, deadline},
};

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub which: Which,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Extend,
    Shorten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// From the end that counts now.
    By(SignedDuration),
    Until(Timestamp),
}

/// The end that the bastion is to have; `remembered` is `None` where nothing of it exists.
///
/// An end that is asked for as a time is the same when it is asked for again, so an interrupted run is completed by the same
/// command; so is an interrupted extension by a span, since the earlier end still counts. The plan's own end takes a decision back.
/// Where two resources tell ends that differ, a time settles it, earlier or later: one of the two ends, or another one.
///
/// # Errors
/// Why that can't be, at the plan's line.
pub fn decide(
    plan: &Plan,
    remembered: Option<Remembered>,
    wish: Wish,
    now: Timestamp,
) -> Result<ResolvedDeadline, Diagnostic> {
    let field = match plan.deadline {
        Some(Deadline::Lifetime(_)) => "lifetime",
        Some(Deadline::Expires(_)) => "expires",
        None => "name",
    };
    let problem = |summary: &str, label: String| plan.origin.problem(field, summary, label);
    let Some(remembered) = remembered else {
        return Err(plan
            .origin
            .problem("name", "there is no such bastion", format!("nothing of {} exists", plan.name))
            .fix("its deadline counts from `gangplank apply` on: change it in the plan"));
    };
    let Some(current) = deadline(plan.deadline, &remembered, now) else {
        return Err(problem("the bastion has no deadline", "there is nothing to move".to_owned())
            .fix("give the plan a `lifetime` or `expires`, and apply it"));
    };
    let disputed = remembered.disputed(plan.deadline, now);
    if disputed.is_none() && !remembered.tells_own(&current) {
        return Err(problem("the plan's deadline is not applied yet", format!("it is {}", current.own()))
            .because("what is moved is the end that the plan gives, and the bastion still has another")
            .fix("run `gangplank apply` first"));
    }
    let current = match (disputed, wish.end) {
        (None, _) => current,
        (Some(both), End::Until(time)) => settled_by(both, time, now),
        (Some([machine, other]), End::By(_)) => {
            return Err(problem(
                "two resources tell its end, and differ",
                format!("its machine says {}, the other {}", machine.expires, other.expires),
            )
            .because("nothing tells which is right, so there is no end to count from")
            .fix("name the end with --until"));
        }
    };
    let is_over = |end: &ResolvedDeadline| end.expires <= now;
    if disputed.as_ref().map_or(is_over(&current), |both| both.iter().all(is_over)) {
        return Err(problem("the bastion's time is up", format!("it ended at {}", current.expires))
            .because("its machine admits nobody any more and shuts down; it can't be called back")
            .fix("run `gangplank destroy`, then apply the plan with a later end"));
    }
    let seconds = match (wish.end, wish.which) {
        (End::Until(time), _) => Some(time.as_second()),
        (End::By(span), Which::Extend) => current.expires.as_second().checked_add(span.as_secs()),
        (End::By(span), Which::Shorten) => current.expires.as_second().checked_sub(span.as_secs()),
    };
    let longest = now.as_second().saturating_add(LONGEST.as_secs());
    let to = seconds.filter(|second| *second <= longest).and_then(|second| Timestamp::from_second(second).ok());
    let Some(to) = to else {
        return Err(problem("an end too far away", "this would be more than ten years from now".to_owned()));
    };
    if to <= now {
        return Err(problem("an end in the past", format!("this would be {to}"))
            .fix("run `gangplank destroy` to end it at once, or choose a later time"));
    }
    let (wrong, other) = match wish.which {
        Which::Extend => (to < current.expires, "shorten"),
        Which::Shorten => (to > current.expires, "extend"),
    };
    if wrong && disputed.is_none() {
        return Err(problem("the other way round", format!("it ends at {}, this is {to}", current.expires))
            .fix(format!("run `gangplank {other}`")));
    }
    if to == current.expires {
        return Ok(current);
    }
    if to == current.own() {
        return Ok(ResolvedDeadline { expires: to, moved: None, ..current });
    }
    let on = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Ok(current.moved(to, on))
}

/// Of two ends that differ the one that is asked for. Where it is neither: the one whose own end is to come, or else the earlier,
/// is moved.
fn settled_by(both: [ResolvedDeadline; 2], to: Timestamp, now: Timestamp) -> ResolvedDeadline {
    let [one, other] = both;
    let rank = |end: &ResolvedDeadline| (end.expires != to, end.own() <= now, end.own());
    if rank(&other) < rank(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{diagnostic::Source, plan};

    const BORN: i64 = 1_794_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn read(deadline: &str) -> Plan {
        let text = format!(
            "version: 1\nname: warehouse\n{deadline}\naws: {{region: us-east-1, subnet: subnet-0a1b2c3d4e5f60718, image: debian-13, \
             instance_type: t4g.nano}}\ntunnels:\n  - user: secoda\n    allow_from: [198.51.100.7]\n    targets: [{{name: warehouse, \
             host: 10.20.2.10, port: 5432, speaks: postgres}}]\n"
        );
        plan::read(Arc::new(Source { path: "warehouse.yaml".to_owned(), text })).unwrap()
    }

    /// A bastion that was applied at `BORN`.
    fn applied(plan: &Plan) -> ResolvedDeadline {
        deadline(plan.deadline, &Remembered::default(), at(BORN)).unwrap()
    }

    fn remembers(has: ResolvedDeadline) -> Remembered {
        Remembered::agreed(&has)
    }

    fn wish(
        which: Which,
        end: End,
        plan: &Plan,
        has: ResolvedDeadline,
        now: Timestamp,
    ) -> Result<ResolvedDeadline, String> {
        decide(plan, Some(remembers(has)), Wish { which, end }, now).map_err(|problem| problem.summary)
    }

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    #[test]
    fn what_cannot_be_is_refused() {
        let plan = read("lifetime: 1d");
        let has = applied(&plan);
        let (now, end) = (at(BORN + 60), has.expires);
        let refused = |which, end, now| wish(which, end, &plan, has, now).unwrap_err();
        assert_eq!(refused(Which::Shorten, End::Until(at(BORN)), now), "an end in the past");
        assert_eq!(refused(Which::Shorten, End::By(HOUR * 24), now), "an end in the past");
        assert_eq!(refused(Which::Extend, End::Until(now), now), "an end in the past");
        assert_eq!(refused(Which::Extend, End::Until(end - HOUR), now), "the other way round");
        assert_eq!(refused(Which::Shorten, End::Until(end + HOUR), now), "the other way round");
        assert_eq!(refused(Which::Extend, End::By(LONGEST), now), "an end too far away");
        assert_eq!(refused(Which::Extend, End::By(HOUR), end), "the bastion's time is up");
        let none = decide(&plan, None, Wish { which: Which::Extend, end: End::By(HOUR) }, now).unwrap_err();
        assert_eq!(none.summary, "there is no such bastion");
        assert_eq!(wish(Which::Extend, End::By(HOUR), &read(""), has, now).unwrap_err(), "the bastion has no deadline");
        let other = read("lifetime: 2d");
        assert_eq!(
            wish(Which::Extend, End::By(HOUR), &other, has, now).unwrap_err(),
            "the plan's deadline is not applied yet"
        );
    }

    /// What one of two resources claims: a time settles it, in either direction, and a span has nothing to count from.
    #[test]
    fn a_dispute_is_settled_by_a_time() {
        let plan = read("lifetime: 30d");
        let own = applied(&plan);
        let now = at(BORN + 7200);
        let forged = ResolvedDeadline { expires: at(BORN + 3600), ..own };
        let tagged = |end: &ResolvedDeadline| crate::tags::common(&plan.name, &crate::tags::Tags::new(), Some(end));
        for tags in [[tagged(&forged), tagged(&own)], [tagged(&own), tagged(&forged)]] {
            let remembered = || Some(Remembered::of(&tags).launched(Some(at(BORN))));
            let decide = |which, end| decide(&plan, remembered(), Wish { which, end }, now);
            for which in [Which::Extend, Which::Shorten] {
                assert_eq!(decide(which, End::Until(own.expires)), Ok(own));
                for until in [own.expires + HOUR, own.expires - HOUR] {
                    assert_eq!(decide(which, End::Until(until)), Ok(own.moved(until, now)));
                }
                let refused = decide(which, End::By(HOUR)).unwrap_err();
                assert_eq!(refused.summary, "two resources tell its end, and differ");
                assert_eq!(decide(which, End::Until(at(BORN))).unwrap_err().summary, "an end in the past");
            }
        }
    }

    /// Whatever the calendar of the offset that the plan has written says of days.
    #[test]
    fn a_day_more_is_a_day_of_seconds_over_clock_changes_and_leap_days() {
        for (expires, until) in [
            // Central Europe's clocks go forward and back in between.
            ("2027-03-27T13:00:00+01:00", "2027-03-28T14:00:00+02:00"),
            ("2027-10-30T13:00:00+02:00", "2027-10-31T12:00:00+01:00"),
            ("2028-02-28T23:30:00-05:00", "2028-02-29T23:30:00-05:00"),
            ("2028-02-29T23:30:00+05:30", "2028-03-01T23:30:00+05:30"),
            ("2027-02-28T23:30:00+14:00", "2027-03-01T23:30:00+14:00"),
        ] {
            let plan = read(&format!("expires: {expires}"));
            let until: Timestamp = until.parse().unwrap();
            let moved = wish(Which::Extend, End::By(HOUR * 24), &plan, applied(&plan), at(BORN)).unwrap();
            assert_eq!(moved.expires, until, "{expires} and a day");
            assert_eq!(
                wish(Which::Shorten, End::By(HOUR * 24), &plan, moved, at(BORN)),
                Ok(applied(&plan)),
                "{expires}"
            );
        }
    }

    #[test]
    fn an_end_that_the_plan_names_can_be_moved_and_outlived() {
        let plan = read("expires: 2027-02-28T23:30:00-05:00");
        let has = applied(&plan);
        let until = at(has.expires.as_second() + 3600);
        let moved = wish(Which::Extend, End::By(HOUR), &plan, has, at(BORN)).unwrap();
        assert_eq!((moved.expires, moved.own()), (until, has.expires));
        // The plan's own end passes, and the plan is applied again.
        let later = at(has.expires.as_second() + 60);
        assert_eq!(deadline(plan.deadline, &remembers(moved), later), Some(moved));
        // Taken back before that.
        assert_eq!(wish(Which::Shorten, End::Until(has.expires), &plan, moved, at(BORN)), Ok(has));
    }

    proptest! {
        /// Whatever is asked for, in whatever order: an end is never in the past, never the wrong way, and the plan's own is not lost.
        #[test]
        fn decisions_add_up(wishes in prop::collection::vec((any::<bool>(), 60..30 * 86400_i64, any::<bool>(), 0..3600_i64), 0..12)) {
            let plan = read("lifetime: 30d");
            let mut has = applied(&plan);
            let own = has.expires;
            let mut now = BORN;
            for (longer, seconds, by, later) in wishes {
                now += later;
                let which = if longer { Which::Extend } else { Which::Shorten };
                let to = has.expires.as_second() + if longer { seconds } else { -seconds };
                let end = if by { End::By(SignedDuration::from_secs(seconds)) } else { End::Until(at(to)) };
                match wish(which, end, &plan, has, at(now)) {
                    Ok(next) => {
                        prop_assert_eq!(next.expires, at(to));
                        prop_assert!(next.expires > at(now));
                        prop_assert_eq!(next.own(), own);
                        prop_assert_eq!(next.start(), Some(BORN));
                        // Asked for again as a time, nothing changes.
                        let again = wish(which, End::Until(next.expires), &plan, next, at(now + 1));
                        prop_assert_eq!(again, Ok(next));
                        has = next;
                    }
                    Err(why) => prop_assert!(to <= now || has.expires <= at(now), "{}", why),
                }
            }
        }
    }
}
