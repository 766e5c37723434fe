//! Thousands of disasters, each made from a number and replayable from it: plans, a company's clouds with lookalikes in them, crashes
//! before and after any call, lost answers, throttling, faults, stale reads, slow operations, somebody who meddles, a second gangplank
//! at the same time, deadlines that pass, and reapers. After each of them the invariants hold, judged on the worlds themselves. Time is
//! virtual: nothing waits.
//!
//! Each ends as somebody wanted it last, brought about in peace: as the plans say, or with nothing left; what stands is then destroyed.
//!
//! `GANGPLANK_TEST_STORIES=N` runs so many; `GANGPLANK_TEST_SEED=N` replays one and tells its calls.

mod bugs;
mod external_writers;
mod hand;
mod judge;
mod lookalikes;
mod meddler;
mod plans;
mod provenance;
mod reapers;
mod source_watch;
mod story;
mod view;
mod weather;

use std::{
    collections::BTreeMap,
    env, panic,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use self::{
    bugs::Bug,
    story::{Tally, tell},
};

/// A fifth of the time goes with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seconds on two cores without optimisation; `GANGPLANK_TEST_STORIES` asks for more.
const SEEDS: u64 = 200;

#[test]
fn the_invariants_hold_whatever_happens() {
    if let Some(seed) = number("GANGPLANK_TEST_SEED") {
        let tally = tell(seed, None, true).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        println!("seed {seed}: {tally:?}");
        return;
    }
    let seeds = number("GANGPLANK_TEST_STORIES").unwrap_or(SEEDS);
    let (broken, tally) = sweep(0..seeds, None, usize::MAX);
    println!("{seeds} seeds: {tally:?}");
    let told: Vec<String> = broken.iter().take(10).map(|(seed, what)| format!("seed {seed}: {what}")).collect();
    assert!(broken.is_empty(), "{} of {seeds} seeds break an invariant:\n{}", broken.len(), told.join("\n"));
    // A simulation in which nothing happens proves nothing.
    if seeds >= SEEDS {
        for (what, times) in [
            ("crashes", tally.crashes),
            ("lost answers", tally.lost),
            ("refusals", tally.refused),
            ("somebody's changes on AWS", tally.meddled),
            ("somebody's changes on Azure", tally.meddled_on_azure),
            ("commands in another account", tally.other_accounts),
            ("runs at the same time", tally.together),
            ("runs that failed", tally.failed),
            ("reapers at the same time", tally.reapers_together),
            ("bastions that were reaped", tally.reaped),
            ("bastions that were not yet due", tally.spared),
        ] {
            assert!(times >= seeds / 50, "{what}: {times}");
        }
        let written = [
            ("tags on other people's resources", tally.tagged),
            ("forged ends", tally.forged),
            ("impostors", tally.impostors),
        ];
        for (what, times) in written {
            assert!(times >= seeds / 100, "{what}: {times}");
        }
    }
}

/// For each invariant a program that breaks it: the simulation finds it out, and says which.
#[test]
fn planted_bugs_are_caught() {
    for bug in Bug::ALL {
        let (broken, _) = sweep(0..400, Some(bug), 1);
        let Some((seed, what)) = broken.first_key_value() else { panic!("400 seeds do not notice {bug:?}") };
        println!("{bug:?}: seed {seed}: {what}");
        let known = bug.breaks().iter().any(|invariant| what.starts_with(invariant));
        assert!(known, "{bug:?} is taken for something else: seed {seed}: {what}");
    }
}

/// The same seed tells the same story.
#[test]
fn a_seed_is_a_story() {
    for seed in [7, 8, 9, 10] {
        let (one, two) = (tell(seed, None, false), tell(seed, None, false));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What went wrong by seed, until there are `enough`, and what happened in all.
fn sweep(seeds: std::ops::Range<u64>, bug: Option<Bug>, enough: usize) -> (BTreeMap<u64, String>, Tally) {
    let next = AtomicU64::new(seeds.start);
    let result = Mutex::new((BTreeMap::new(), Tally::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || result.lock().expect("no panic").0.len() >= enough {
                        return;
                    }
                    let told = panic::catch_unwind(|| tell(seed, bug, false))
                        .unwrap_or_else(|_| Err("no panic: one is above".to_owned()));
                    if let (Err(broken), None) = (&told, bug) {
                        println!("seed {seed}: {broken}");
                    }
                    let mut result = result.lock().expect("no panic");
                    match told {
                        Ok(tally) => result.1.add(&tally),
                        Err(broken) => _ = result.0.insert(seed, broken),
                    }
                }
            });
        }
    });
    result.into_inner().expect("no panic")
}
