//! Very many bastions at once, in the sandbox's worlds: what it costs to find them and to take them away is counted. Time is
//! virtual.

mod aws;
mod azure;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use gangplank::{
    changeset::{Changeset, in_waves},
    event::{Event, Watcher},
    execute::{self, Outcome},
    provider::{
        clouds::Clouds,
        estate::{Estate, Places, Sight},
        fleet::Action,
    },
    reap::{Found, Policy, Verdict, judge},
    sandbox::{
        call::{Call, Fate, Fates},
        cloud::{Sandbox, State},
        http::Reply,
    },
    stop::Stop,
};
use jiff::{SignedDuration, Timestamp};

const NOW: &str = "2026-11-22T12:00:00Z";
const PAST: &str = "2026-11-01T12:00:00Z";
const FUTURE: &str = "2027-11-01T12:00:00Z";

struct Nobody;

impl Watcher for Nobody {
    fn event(&self, _: Event) {}
}

/// Calls that were answered, by place and operation, and how many were told to slow down.
#[derive(Clone, Debug, Default)]
struct Tally {
    calls: BTreeMap<(String, String), usize>,
    throttled: usize,
}

impl Tally {
    fn of(&self, place: &str, operation: &str) -> usize {
        self.calls.get(&(place.to_owned(), operation.to_owned())).copied().unwrap_or_default()
    }

    fn all(&self) -> usize {
        self.calls.values().sum()
    }

    /// Whatever the place.
    fn by_operation(&self) -> BTreeMap<&str, usize> {
        let mut sums = BTreeMap::new();
        for ((_, operation), count) in &self.calls {
            *sums.entry(operation.as_str()).or_default() += count;
        }
        sums
    }
}

/// When a call is refused, and how.
type Refuses = Box<dyn FnMut(&Call) -> Option<Reply> + Send>;

/// Counts calls.
struct Meter {
    tally: Arc<Mutex<Tally>>,
    /// What an operation is counted as.
    name: fn(&str) -> String,
    refuses: Refuses,
}

impl Fates for Meter {
    fn of(&mut self, call: &Call, _: &mut State) -> Fate {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reply) = (self.refuses)(call) {
            tally.throttled += 1;
            return Fate::Refused(reply);
        }
        *tally.calls.entry((call.place.clone(), (self.name)(&call.operation))).or_default() += 1;
        Fate::Answered
    }

    fn after(&mut self, _: &Call, _: &State) {}
}

/// Somebody with an estate that stands in a sandbox.
struct Reaper {
    sandbox: Sandbox,
    tally: Arc<Mutex<Tally>>,
    estate: Estate,
}

impl Reaper {
    async fn new(worlds: State, places: Places, name: fn(&str) -> String, refuses: Refuses) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let meter = Meter { tally: Arc::clone(&tally), name, refuses };
        let sandbox = Sandbox::at_the_mercy_of(Box::new(meter), worlds, now());
        let estate = Estate::connect(&places, &Clouds::Sandbox(sandbox.clone()), &Nobody).await.expect("a sandbox");
        Self { sandbox, tally, estate }
    }

    /// What was counted since the last time.
    fn counted(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look(&self) -> Sight {
        let sight = self.estate.look(&Nobody).await;
        assert!(sight.unread.is_empty(), "{:?}", sight.unread);
        sight
    }

    /// What `gangplank reap --yes` would take away.
    fn due(&self, sight: &Sight) -> Vec<Changeset<Action>> {
        let policy =
            Policy { now: self.sandbox.now(), grace: SignedDuration::ZERO, only: Vec::new(), older_than: None };
        let goes = |(found, set): &(Found, Changeset<Action>)| {
            matches!(judge(found, &policy), Verdict::Reap { .. }).then(|| set.clone())
        };
        sight.found.iter().filter_map(goes).collect()
    }

    async fn destroy(&self, sets: &[Changeset<Action>]) {
        let steps = in_waves(&sets.iter().flat_map(|set| &set.steps).collect::<Vec<_>>());
        let outcome = execute::run(&self.estate.performer(), &steps, Stop::new(), &Nobody).await.expect("an order");
        let Outcome::Completed(done) = outcome else { panic!("{outcome:#?}") };
        assert_eq!(done.len(), steps.len());
    }
}

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}
