//! Killed at any call, run again: the world is as if nothing had happened, and goes away without a trace.

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use super::{Cloud, Kind, Lab, To, Trouble, Wish};
use crate::support::Moment;

/// A command that is killed, and the state in which it starts.
struct Story {
    verb: &'static str,
    /// Applied before; nothing exists where there is none.
    from: Option<Wish>,
    to: Wish,
}

impl Story {
    fn start<C: Cloud>(&self, lab: &Lab<C>) {
        if let Some(from) = &self.from {
            lab.apply(from);
        }
    }

    /// Kills the command, runs it again, and clears up. False where it ended before that call.
    fn interrupted<C: Cloud>(&self, lab: &Lab<C>, kill: Trouble, expected: &Value) -> bool {
        let at = format!("{} met {kill:?}", self.verb);
        self.start(lab);
        let (killed, calls) = lab.troubled(self.verb, &self.to, &["--yes"], &[kill]);
        assert!(killed.code().is_none_or(|code| code == 0), "{at}\n{killed}");

        let (again, _) = lab.run(self.verb, &self.to, &["--yes"]);
        assert_eq!(again.code(), Some(0), "{at}, then run again\n{calls}\n{again}");
        lab.ours().assert_ours(expected, &format!("{at}, then run again\n{calls}"));
        if self.verb == "apply" {
            lab.assert_settled(&self.to);
            let (gone, _) = lab.run("destroy", &self.to, &["--yes"]);
            assert_eq!(gone.code(), Some(0), "{at}, then run again and destroyed\n{calls}\n{gone}");
        }
        assert!(lab.ours().is_clean(), "{at}\n{calls}\n{:#}", lab.ours().ours);
        killed.code().is_none()
    }

    fn tell<C: Cloud>(&self) {
        let Some(lab) = Lab::<C>::new() else { return };
        self.start(&lab);
        let (run, calls) = lab.run(self.verb, &self.to, &["--yes"]);
        run.expect(0);
        let expected = lab.ours().ours;
        assert!(calls.writes() > 0, "nothing to interrupt");
        // Before a call is after the answer to the one before it; only writes differ between effect and answer.
        let kill = |to, n, moment| Trouble::new(to, n..n + 1, Kind::Kill(moment));
        let before = (0..calls.0.len()).map(|n| kill(To::Any, n, Moment::Before));
        let after = (0..calls.writes()).map(|n| kill(To::Writes, n, Moment::After));
        let kills: Vec<_> = before.chain(after).collect();
        let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                scope.spawn(|| {
                    // One world after the other's end: its history is part of the test.
                    let lab = Lab::<C>::new().expect("there was one before");
                    while let Some(kill) = kills.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let hit = self.interrupted(&lab, *kill, &expected);
                        killed.fetch_add(usize::from(hit), Ordering::Relaxed);
                    }
                });
            }
        });
        // Steps run at once and a wait may ask once more or less, so the last calls may be missed, but no more.
        let (killed, kills) = (killed.into_inner(), kills.len());
        assert!(killed + 4 >= kills, "only {killed} of {kills} runs were killed");
    }
}

pub fn killed_while_creating<C: Cloud>() {
    Story { verb: "apply", from: None, to: Wish::warehouse() }.tell::<C>();
}

pub fn killed_while_changing<C: Cloud>() {
    Story { verb: "apply", from: Some(Wish::warehouse()), to: Wish::changed() }.tell::<C>();
}

pub fn killed_while_destroying<C: Cloud>() {
    Story { verb: "destroy", from: Some(Wish::warehouse()), to: Wish::warehouse() }.tell::<C>();
}
