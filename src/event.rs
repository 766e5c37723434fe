//! Everything that a run can tell its watcher. One console draws it: bars on a terminal, lines elsewhere, JSON on request.

use std::time::Duration;

use serde::Serialize;

use crate::{
    changeset::{Op, StepId},
    cloud_error::{CloudError, ErrorKind, no_answer::NoAnswer},
    stop::Stop,
};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    RunStarted {
        steps: usize,
    },
    /// `resource` is for people: `security group gangplank-warehouse`.
    StepStarted {
        step: StepId,
        op: Op,
        resource: String,
    },
    /// The step waits for the cloud: `for_what` is `i-0abc to run`.
    StepWaiting {
        step: StepId,
        for_what: String,
    },
    /// The cloud asked to slow down or failed for a moment; the call is repeated after `delay`.
    StepRetrying {
        step: StepId,
        operation: String,
        /// Throttled, or why else the call is worth repeating.
        kind: ErrorKind,
        code: String,
        /// Where nobody answered, whom it was that did not.
        #[serde(skip_serializing_if = "Option::is_none")]
        no_answer: Option<NoAnswer>,
        attempt: u32,
        #[serde(rename = "delay_s", serialize_with = "seconds")]
        delay: Duration,
    },
    StepDone {
        step: StepId,
        #[serde(rename = "elapsed_s", serialize_with = "seconds")]
        elapsed: Duration,
        /// What exists now, where the cloud gave it a name: `sg-0abc`.
        #[serde(skip_serializing_if = "Option::is_none")]
        made: Option<String>,
    },
    StepFailed {
        step: StepId,
        error: CloudError,
    },
    /// Never started, because `because` failed or the run was interrupted.
    StepSkipped {
        step: StepId,
        because: String,
    },
    /// Begun, and not awaited to its end: the run was stopped. The cloud may still be at work on it.
    StepAbandoned {
        step: StepId,
        because: String,
    },
    /// Comes every ten seconds while steps take longer than that: nothing is stuck unnoticed.
    StillRunning {
        /// In the order in which they were started.
        steps: Vec<RunningStep>,
    },
    /// The person asked to stop: nothing new starts, no wait goes on, and the calls of `running` steps get a moment to be answered.
    Interrupted {
        running: usize,
    },
    RunFinished {
        done: usize,
        failed: usize,
        skipped: usize,
        #[serde(skip_serializing_if = "is_zero")]
        abandoned: usize,
        #[serde(rename = "elapsed_s", serialize_with = "seconds")]
        elapsed: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunningStep {
    pub step: StepId,
    #[serde(rename = "elapsed_s", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Takes a run's events as they happen. Called from one thread, must not block.
pub trait Watcher {
    fn event(&self, event: Event);

    /// What ends the waits of the run, where it can be stopped.
    fn stop(&self) -> Option<&Stop> {
        None
    }
}
