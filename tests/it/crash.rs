//! Killed at any call, run again: the world is as if nothing had happened, and goes away without a trace.

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use crate::support::{self, Bastion, Fault, Lab, Moment, Moto, Scope, unverified};

/// A command that is killed, and the state in which it starts.
struct Story {
    verb: &'static str,
    /// Applied before; nothing exists where there is none.
    from: Option<fn(&Lab<'_>) -> Bastion>,
    to: fn(&Lab<'_>) -> Bastion,
}

fn plain(lab: &Lab<'_>) -> Bastion {
    lab.bastion()
}

/// Another source, another target and a second database: rules come and go, and the machine's document changes.
fn changed(lab: &Lab<'_>) -> Bastion {
    let mut bastion = lab.bastion();
    bastion.allow_from = vec!["203.0.113.0/28".to_owned()];
    bastion.targets = vec![("orders".to_owned(), "10.20.2.12".to_owned(), 3306)];
    bastion.databases = vec![(lab.seed.orders_group.clone(), 3306)];
    bastion
}

impl Story {
    /// Brings an empty account to where the story starts, and returns the plan of its end.
    fn start(&self, lab: &Lab<'_>) -> Bastion {
        if let Some(from) = self.from {
            lab.apply(&from(lab));
        }
        (self.to)(lab)
    }

    /// How many calls and writes it takes when nothing goes wrong, and what it ends in.
    fn uninterrupted(&self, moto: &Moto) -> (usize, usize, Value) {
        let lab = Lab::new(moto);
        let bastion = self.start(&lab);
        let (run, calls) = lab.run(self.verb, &bastion, &["--yes"]);
        run.expect(0);
        (calls.0.len(), calls.writes(), lab.ours().ours)
    }

    /// Kills the command at its `n`th call in `scope`, runs it again, and clears up. False where it ended before that call.
    fn interrupted(&self, lab: &Lab<'_>, scope: Scope, n: usize, moment: Moment, expected: &Value) -> bool {
        let at = format!("{} killed {moment:?} call {n} of {scope:?}", self.verb);
        let bastion = self.start(lab);
        let path = lab.gangplank.write(&bastion);
        let proxy = lab.proxy();
        proxy.fault(scope, n..n + 1, Fault::Kill(moment));
        let killed = proxy.run(
            lab.gangplank.command(proxy.address()).arg(self.verb).arg(&path).arg("--yes").args(unverified(self.verb)),
        );
        let calls = proxy.take_calls();
        drop(proxy);
        assert!(killed.code().is_none_or(|code| code == 0), "{at}\n{killed}");

        let (again, _) = lab.run(self.verb, &bastion, &["--yes"]);
        assert_eq!(again.code(), Some(0), "{at}, then run again\n{calls}\n{again}");
        lab.ours().assert_ours(expected, &format!("{at}, then run again\n{calls}"));
        if self.verb == "apply" {
            lab.assert_settled(&bastion);
            lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
            lab.ours().assert_nothing_of_ours();
        }
        killed.code().is_none()
    }

    fn tell(&self) {
        let Some(moto) = support::moto_or_skip() else { return };
        let (calls, writes, expected) = self.uninterrupted(moto);
        assert!(writes > 0, "nothing to interrupt");
        // Before a call is after the answer to the one before it; only writes differ between effect and answer.
        let before = (0..calls).map(|n| (Scope::Any, n, Moment::Before));
        let after = (0..writes).map(|n| (Scope::Writes, n, Moment::After));
        let kills: Vec<_> = before.chain(after).collect();
        let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                scope.spawn(|| {
                    // One account after the other's end: its history of terminated machines is part of the test.
                    let lab = Lab::new(moto);
                    while let Some((calls, n, moment)) = kills.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let hit = self.interrupted(&lab, *calls, *n, *moment, &expected);
                        killed.fetch_add(usize::from(hit), Ordering::Relaxed);
                    }
                });
            }
        });
        // Steps run at once and a wait may ask once more or less, so the last call may be missed, but no more.
        let (killed, kills) = (killed.into_inner(), kills.len());
        assert!(killed + 2 >= kills, "only {killed} of {kills} runs were killed");
    }
}

#[test]
fn killed_while_creating() {
    Story { verb: "apply", from: None, to: plain }.tell();
}

#[test]
fn killed_while_changing() {
    Story { verb: "apply", from: Some(plain), to: changed }.tell();
}

#[test]
fn killed_while_destroying() {
    Story { verb: "destroy", from: Some(plain), to: plain }.tell();
}
