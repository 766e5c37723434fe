//! `extend` and `shorten`, killed at any call: no end is postponed before every resource tells it, none is forgotten that was brought
//! forward and that two resources tell, and the same command, or `apply`, makes all resources agree.

use super::{Cloud, Kind, Lab, To, Trouble, Wish};
use crate::support::Moment;

const EARLY: &str = "2030-01-31T00:00:00Z";
const LATE: &str = "2030-02-07T00:00:00Z";

impl<C: Cloud> Lab<C> {
    /// The end that `status` tells, where the plan finds nothing to do.
    #[track_caller]
    fn settled_end(&self, wish: &Wish, when: &str) -> String {
        let (plan, _) = self.run("plan", wish, &["--detailed-exitcode"]);
        assert_eq!(plan.code(), Some(0), "{when}\n{plan}");
        let (status, _) = self.run("status", wish, &["--output", "json"]);
        status.expect(0).json()["bastions"][0]["expires"].as_str().unwrap_or_default().to_owned()
    }

    fn move_end(&self, verb: &str, wish: &Wish, until: &str) {
        self.run(verb, wish, &["--yes", "--until", until]).0.expect(0);
    }
}

/// `own` is the plan's end, and `verb` moves it to `until`.
fn tell<C: Cloud>(verb: &str, own: &'static str, until: &str) {
    let Some(lab) = Lab::<C>::new() else { return };
    let wish = Wish { expires: Some(own), ..Wish::warehouse() };
    lab.apply(&wish);
    let back = if verb == "extend" { "shorten" } else { "extend" };
    let (run, calls) = lab.run(verb, &wish, &["--yes", "--until", until]);
    run.expect(0);
    assert_eq!(lab.settled_end(&wish, "uninterrupted"), until);
    assert!(calls.writes() > 1, "nothing to interrupt: {calls}");
    for write in 0..calls.writes() {
        lab.move_end(back, &wish, own);
        for (again, moment) in [(true, Moment::Before), (false, Moment::After)] {
            let when = format!("{verb} killed {moment:?} write {write}");
            let kill = Trouble::new(To::Writes, write..write + 1, Kind::Kill(moment));
            let (killed, calls) = lab.troubled(verb, &wish, &["--yes", "--until", until], &[kill]);
            assert!(killed.code().is_none(), "{when}\n{killed}");
            if again {
                lab.move_end(verb, &wish, until);
            } else {
                lab.apply(&wish);
            }
            let moved = lab.settled_end(&wish, &when);
            // Steps run at once: of the writes before and after this one any number took effect before `apply` came.
            let expected: &[&str] = if again { &[until] } else { &[own, until] };
            assert!(expected.contains(&moved.as_str()), "{when}: it ends at {moved}, not at {expected:?}\n{calls}");
            if moved == until {
                lab.move_end(back, &wish, own);
            }
        }
        lab.move_end(verb, &wish, until);
    }
}

pub fn killed_while_extending<C: Cloud>() {
    tell::<C>("extend", EARLY, LATE);
}

pub fn killed_while_shortening<C: Cloud>() {
    tell::<C>("shorten", LATE, EARLY);
}
