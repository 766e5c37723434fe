//! How a run ended: what was done, what failed, what was never begun.

use std::time::Duration;

use crate::{
    changeset::{Op, Step, StepId},
    cloud_error::CloudError,
    event::{Event, Watcher},
};

/// How a run ended. Only `Completed` is success; every other end leaves work for a further run.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a run may have been interrupted or have failed"]
pub enum Outcome {
    /// Every step was done.
    Completed(Vec<Done>),
    /// The stop kept at least one step from starting, or from being awaited. Steps that ran then may have failed.
    Interrupted(Report),
    /// At least one step failed, and nothing but failures kept others from starting.
    Failed(Report),
}

/// What became of each step of a run that did not complete, in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub done: Vec<Done>,
    pub failed: Vec<Failed>,
    pub skipped: Vec<Skipped>,
    pub abandoned: Vec<Abandoned>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    pub step: StepId,
    pub op: Op,
    pub resource: String,
    /// What exists now, where the cloud gave it a name: `sg-0abc`.
    pub made: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    pub step: StepId,
    pub op: Op,
    pub resource: String,
    pub error: CloudError,
}

/// A step that was begun and not awaited to its end: what it asked for may be there, or come yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Abandoned {
    pub step: StepId,
    pub op: Op,
    pub resource: String,
    /// What was under way: `stopped while waiting for i-0abc to be running`.
    pub because: String,
}

/// A step that was never begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    pub step: StepId,
    pub op: Op,
    pub resource: String,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It needs, directly or not, this step, which failed.
    Needs(StepId),
    Interrupted,
}

/// Tells the watcher and keeps the report, so that the two cannot differ.
pub(super) struct Recorder<'a, A> {
    steps: &'a [&'a Step<A>],
    watcher: &'a dyn Watcher,
    report: Report,
}

impl<'a, A> Recorder<'a, A> {
    pub fn new(steps: &'a [&'a Step<A>], watcher: &'a dyn Watcher) -> Self {
        Self { steps, watcher, report: Report::default() }
    }

    pub fn started(&self, i: usize) {
        let Step { id, op, resource, .. } = self.steps[i];
        self.watcher.event(Event::StepStarted { step: id.clone(), op: *op, resource: resource.clone() });
    }

    pub fn done(&mut self, i: usize, elapsed: Duration, made: Option<String>) {
        let Step { id, op, resource, .. } = self.steps[i];
        self.watcher.event(Event::StepDone { step: id.clone(), elapsed, made: made.clone() });
        self.report.done.push(Done { step: id.clone(), op: *op, resource: resource.clone(), made });
    }

    pub fn failed(&mut self, i: usize, error: CloudError) {
        let Step { id, op, resource, .. } = self.steps[i];
        self.watcher.event(Event::StepFailed { step: id.clone(), error: error.clone() });
        self.report.failed.push(Failed { step: id.clone(), op: *op, resource: resource.clone(), error });
    }

    pub fn skipped(&mut self, i: usize, why: Why) {
        let Step { id, op, resource, .. } = self.steps[i];
        let because = match &why {
            Why::Needs(failed) => format!("{failed} failed"),
            Why::Interrupted => "the run was interrupted".to_owned(),
        };
        self.watcher.event(Event::StepSkipped { step: id.clone(), because });
        self.report.skipped.push(Skipped { step: id.clone(), op: *op, resource: resource.clone(), why });
    }

    pub fn abandoned(&mut self, i: usize, because: String) {
        let Step { id, op, resource, .. } = self.steps[i];
        self.watcher.event(Event::StepAbandoned { step: id.clone(), because: because.clone() });
        self.report.abandoned.push(Abandoned { step: id.clone(), op: *op, resource: resource.clone(), because });
    }

    pub fn finish(self, elapsed: Duration) -> Outcome {
        let report = self.report;
        self.watcher.event(Event::RunFinished {
            done: report.done.len(),
            failed: report.failed.len(),
            skipped: report.skipped.len(),
            abandoned: report.abandoned.len(),
            elapsed,
        });
        let interrupted = |skipped: &Skipped| skipped.why == Why::Interrupted;
        if report.skipped.iter().any(interrupted) || !report.abandoned.is_empty() {
            Outcome::Interrupted(report)
        } else if report.failed.is_empty() {
            Outcome::Completed(report.done)
        } else {
            Outcome::Failed(report)
        }
    }
}
