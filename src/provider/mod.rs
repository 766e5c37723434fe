//! What every cloud offers to the executor. A cloud is one folder here.

pub mod aws;
pub mod azure;
pub mod boot;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod clouds;
// Each cloud uses a part of it.
#[cfg_attr(not(all(feature = "aws", feature = "azure")), allow(dead_code))]
pub(crate) mod endpoint_setting;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod estate;
pub mod extend;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod fleet;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod identity;
mod judging;
pub mod keys;
pub mod pin;
mod space;
pub mod status;
#[cfg(any(feature = "aws", feature = "azure"))]
mod vendor_notes;

use std::time::Duration;

use crate::{
    changeset::{Step, StepId},
    cloud_error::{CloudError, ErrorKind, Failure},
    event::{Event, Watcher},
};

/// Carries out steps. Deciding happened before: a provider does what the step's action says, and nothing else.
///
/// Every action may be repeated: "already exists" means adopt what is ours, "not found" on removal means done.
pub trait Provider {
    type Action;

    /// What a cloud counts calls for: EC2 a region's, Azure a subscription's.
    fn place<'a>(&self, action: &'a Self::Action) -> &'a str;

    /// Returns what exists now, where the cloud gave it a name.
    fn perform(
        &self,
        step: &Step<Self::Action>,
        progress: &Progress<'_>,
    ) -> impl Future<Output = Result<Option<String>, CloudError>>;
}

/// A step's line to the watcher.
pub struct Progress<'a> {
    pub step: &'a StepId,
    pub watcher: &'a dyn Watcher,
}

impl Progress<'_> {
    pub fn waiting(&self, for_what: impl Into<String>) {
        let for_what = for_what.into();
        tracing::debug!(step = %self.step, for_what, "waiting");
        self.watcher.event(Event::StepWaiting { step: self.step.clone(), for_what });
    }

    /// Waits for something that is no call of this step's own; where the run is stopped, no longer.
    pub async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, Stopped> {
        let Some(stop) = self.watcher.stop() else { return Ok(wait.await) };
        tokio::select! {
            biased;
            () = stop.requested() => Err(Stopped),
            out = wait => Ok(out),
        }
    }

    pub async fn pause(&self, time: Duration) -> Result<(), Stopped> {
        self.unless_stopped(tokio::time::sleep(time)).await
    }

    /// `attempt` counts the calls that failed so far, from 1.
    pub fn retrying(&self, operation: &str, kind: ErrorKind, code: &str, attempt: u32, delay: Duration) {
        let (ms, step) = (delay.as_millis(), self.step.clone());
        tracing::debug!(%step, operation, code, attempt, ms, "repeated after a pause");
        let (operation, code) = (operation.to_owned(), code.to_owned());
        self.watcher.event(Event::StepRetrying { step, operation, kind, code, no_answer: None, attempt, delay });
    }

    /// The same, where it may be known who did not answer.
    pub fn retrying_after(&self, failure: &Failure, attempt: u32, delay: Duration) {
        let Failure { error, no_answer } = failure;
        let code = error.code.clone().unwrap_or_default();
        let (ms, step, operation) = (delay.as_millis(), self.step.clone(), error.operation.clone());
        tracing::debug!(%step, operation, code, attempt, ms, "repeated after a pause");
        let (kind, no_answer) = (error.kind, no_answer.clone());
        self.watcher.event(Event::StepRetrying { step, operation, kind, code, no_answer, attempt, delay });
    }
}

/// The run was stopped while a step waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;
