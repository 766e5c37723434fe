//! Carries out the steps of one or several changesets as one graph: what is independent runs at once.
//!
//! Nothing is decided here about the cloud. `schedule` decides which step starts next, the [`Provider`] does what the
//! step's action says, the [`Watcher`] hears of it.

mod outcome;
mod schedule;

use std::{pin::pin, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use self::{outcome::Recorder, schedule::Schedule};
pub use self::{
    outcome::{Abandoned, Done, Failed, Outcome, Report, Skipped, Why},
    schedule::GraphError,
};
use crate::{
    changeset::Step,
    cloud_error::ErrorKind,
    event::{Event, RunningStep, Watcher},
    provider::{Progress, Provider},
    stop::Stop,
};

/// How many steps of one place ([`Provider::place`]) run at once. A step is mostly waiting, so this many hide the
/// latency of a call; many more would only be throttled, since EC2 gives an account a bucket of calls per kind and region (EC2 developer guide, "Request throttling").
pub const IN_FLIGHT: usize = 32;

/// How often the watcher hears of steps that take longer than this.
const STILL_EVERY: Duration = Duration::from_secs(10);

/// What the calls under way get to be answered once a stop is requested: a call that made something tells its name then.
pub const GRACE: Duration = Duration::from_secs(2);

/// A watcher whose steps end their waits when a stop is requested.
struct Stoppable<'a> {
    watcher: &'a dyn Watcher,
    stop: &'a Stop,
}

impl Watcher for Stoppable<'_> {
    fn event(&self, event: Event) {
        self.watcher.event(event);
    }

    fn stop(&self) -> Option<&Stop> {
        Some(self.stop)
    }
}

/// Carries out `steps`, each after those that it names, and returns when nothing runs any more.
///
/// A failed step skips what depends on it, directly or not; everything else goes on. Once `stop` is requested nothing new
/// starts, waits end at once, and calls under way are awaited for [`GRACE`]. Dropping the future abandons the calls that run.
///
/// # Errors
/// [`GraphError`] where the steps cannot be put in an order. Nothing was started and no event was sent.
pub async fn run<P: Provider>(
    provider: &P,
    steps: &[&Step<P::Action>],
    stop: Stop,
    watcher: &dyn Watcher,
) -> Result<Outcome, GraphError> {
    let nodes = steps.iter().map(|s| (&s.id, s.after.as_slice(), provider.place(&s.action)));
    let mut schedule = Schedule::new(nodes, IN_FLIGHT)?;
    let mut recorder = Recorder::new(steps, watcher);
    let begin = Instant::now();
    let mut still = interval_at(begin + STILL_EVERY, STILL_EVERY);
    still.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop_requested = pin!(stop.requested());
    let stoppable = Stoppable { watcher, stop: &stop };
    let mut give_up = begin;
    let mut calls = FuturesUnordered::new();
    // Positions of the steps that run, in the order in which they were started.
    let mut running: Vec<(usize, Instant)> = Vec::new();

    watcher.event(Event::RunStarted { steps: steps.len() });
    loop {
        if stop.is_requested() && !schedule.is_stopped() {
            watcher.event(Event::Interrupted { running: schedule.running() });
            for skipped in schedule.stop() {
                recorder.skipped(skipped, Why::Interrupted);
            }
            give_up = Instant::now() + GRACE;
        }
        while let Some(i) = schedule.start() {
            recorder.started(i);
            let started = Instant::now();
            running.push((i, started));
            let (step, progress) = (steps[i], Progress { step: &steps[i].id, watcher: &stoppable });
            calls.push(async move { (i, started, provider.perform(step, &progress).await) });
        }
        if calls.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = &mut stop_requested, if !schedule.is_stopped() => {}
            Some((i, started, result)) = calls.next() => {
                running.retain(|(j, _)| *j != i);
                match result {
                    Ok(made) => {
                        schedule.done(i);
                        recorder.done(i, started.elapsed(), made);
                    }
                    Err(error) if error.kind == ErrorKind::Interrupted => {
                        // Whatever needs it was skipped when the stop was requested.
                        schedule.failed(i);
                        recorder.abandoned(i, error.message);
                    }
                    Err(error) => {
                        recorder.failed(i, error);
                        for skipped in schedule.failed(i) {
                            recorder.skipped(skipped, Why::Needs(steps[i].id.clone()));
                        }
                    }
                }
            }
            () = sleep_until(give_up), if schedule.is_stopped() => {
                for (i, _) in &running {
                    recorder.abandoned(*i, "no answer came in time after the stop".to_owned());
                }
                break;
            }
            _ = still.tick() => {
                let long = running.iter().map(|(i, started)| (i, started.elapsed())).filter(|(_, e)| *e >= STILL_EVERY);
                let long: Vec<_> =
                    long.map(|(i, elapsed)| RunningStep { step: steps[*i].id.clone(), elapsed }).collect();
                if !long.is_empty() {
                    watcher.event(Event::StillRunning { steps: long });
                }
            }
        }
    }
    Ok(recorder.finish(begin.elapsed()))
}
