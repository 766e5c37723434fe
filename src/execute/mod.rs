//! Carries out the steps of one or several changesets as one graph: what is independent runs at once.
//!
//! Nothing is decided here about the cloud. `schedule` decides which step starts next, the [`Provider`] does what the
//! step's action says, the [`Watcher`] hears of it.

mod outcome;
mod schedule;
mod stop;

use std::{pin::pin, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::{outcome::Recorder, schedule::Schedule};
pub use self::{
    outcome::{Done, Failed, Outcome, Report, Skipped, Why},
    schedule::GraphError,
    stop::{EXIT_INTERRUPTED, Stop, on_signals},
};
use crate::{
    changeset::Step,
    event::{Event, RunningStep, Watcher},
    provider::{Progress, Provider},
};

/// How many steps of one place ([`Provider::place`]) run at once. A step is mostly waiting, so this many hide the
/// latency of a call; many more would only be throttled, since EC2 gives an account a bucket of calls per kind and region (EC2 developer guide, "Request throttling").
pub const IN_FLIGHT: usize = 32;

/// How often the watcher hears of steps that take longer than this.
const STILL_EVERY: Duration = Duration::from_secs(10);

/// Carries out `steps`, each after those that it names, and returns when nothing runs any more.
///
/// A failed step skips what depends on it, directly or not; everything else goes on. Once `stop` is requested nothing new
/// starts and what runs is awaited. Dropping the future abandons the calls that run.
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
        }
        while let Some(i) = schedule.start() {
            recorder.started(i);
            let started = Instant::now();
            running.push((i, started));
            let (step, progress) = (steps[i], Progress { step: &steps[i].id, watcher });
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
                    Err(error) => {
                        recorder.failed(i, error);
                        for skipped in schedule.failed(i) {
                            recorder.skipped(skipped, Why::Needs(steps[i].id.clone()));
                        }
                    }
                }
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
