//! What every cloud offers to the executor, and what its failures say. A cloud is one folder here.

pub mod agreement;
pub mod aws;
pub mod azure;
pub mod boot;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod clouds;
pub mod deadline;
// Each cloud uses a part of it.
#[cfg_attr(not(all(feature = "aws", feature = "azure")), allow(dead_code))]
mod endpoint_setting;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod estate;
pub mod extend;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod fleet;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod identity;
mod judging;
pub mod keys;
pub mod no_answer;
pub mod pin;
pub mod residue;
mod space;
pub mod status;
pub mod tags;
#[cfg(any(feature = "aws", feature = "azure"))]
mod vendor_notes;

use std::{fmt, time::Duration};

use serde::Serialize;

pub use self::residue::Residue;
use self::{
    no_answer::NoAnswer,
    residue::{EffectDone, StepEffect},
};
use crate::{
    changeset::{Step, StepId},
    diagnostic::Diagnostics,
    event::{Event, Watcher},
    secret,
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
        self.watcher.event(Event::StepWaiting { step: self.step.clone(), for_what: for_what.into() });
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
        self.watcher.event(Event::StepRetrying {
            step: self.step.clone(),
            operation: operation.to_owned(),
            kind,
            code: code.to_owned(),
            no_answer: None,
            attempt,
            delay,
        });
    }

    /// The same, where it may be known who did not answer.
    pub fn retrying_after(&self, failure: &Failure, attempt: u32, delay: Duration) {
        let Failure { error, no_answer } = failure;
        self.watcher.event(Event::StepRetrying {
            step: self.step.clone(),
            operation: error.operation.clone(),
            kind: error.kind,
            code: error.code.clone().unwrap_or_default(),
            no_answer: no_answer.clone(),
            attempt,
            delay,
        });
    }
}

/// The run was stopped while a step waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// A cloud said no, or said nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CloudError {
    /// The API's own name: `RunInstances`.
    pub operation: String,
    pub kind: ErrorKind,
    /// The API's own code: `UnauthorizedOperation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// As the cloud, the SDK or a program wrote it. It may quote a proxy's or an endpoint's password: it is shown without.
    #[serde(serialize_with = "without_secrets")]
    pub message: String,
    /// What exists because of this call and those of its step before it.
    pub residue: Residue,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A failed call, while it is open whether it is made again.
#[derive(Clone, Debug)]
pub struct Failure {
    pub error: CloudError,
    /// Where nobody answered, whom it was that did not.
    pub no_answer: Option<NoAnswer>,
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Self {
        Self { error, no_answer: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// No credentials, or the cloud does not accept them.
    Credentials,
    /// Credentials are fine, the permission is missing.
    Permission,
    Quota,
    /// Asked to slow down for longer than we wait.
    Throttled,
    /// No answer, or an answer that cannot be read.
    Unreachable,
    NotFound,
    /// Something is there that is not ours, or is in use.
    Conflict,
    /// The cloud refuses the request itself.
    Invalid,
    /// The cloud failed.
    Fault,
    /// The run was stopped while the step waited: neither success nor failure is known.
    Interrupted,
}

impl CloudError {
    /// The same failure, told with what its step had done before.
    #[must_use]
    pub fn after(mut self, done: EffectDone) -> Self {
        let last_call_unknown = match &self.residue {
            Residue::Nothing => false,
            Residue::Unknown | Residue::Unfinished => true,
            Residue::Known(effect) => effect.last_call_unknown,
        };
        self.residue = Residue::Known(StepEffect { done, last_call_unknown });
        self
    }

    /// For what the types can't rule out and the graph does: reported like a cloud's failure instead of a panic.
    pub fn mistake(message: String) -> Self {
        Self {
            operation: "gangplank".to_owned(),
            kind: ErrorKind::Fault,
            code: None,
            request_id: None,
            message: format!("{message}: a mistake in gangplank"),
            residue: Residue::Nothing,
            remedy: Some("report it, with the plan; running the command again may help".to_owned()),
        }
    }
}

fn without_secrets<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&secret::redact(text))
}

impl CloudError {
    /// The run was stopped while a step waited for something.
    pub fn interrupted(operation: &str, waited_for: impl fmt::Display, residue: Residue) -> Self {
        Self {
            operation: operation.to_owned(),
            kind: ErrorKind::Interrupted,
            code: None,
            request_id: None,
            message: format!("stopped while waiting for {waited_for}"),
            residue,
            remedy: None,
        }
    }

    /// The run was stopped before a failed call could be repeated.
    #[must_use]
    pub fn not_repeated(self) -> Self {
        let message = format!("{}; stopped before it was repeated", self.message);
        Self { kind: ErrorKind::Interrupted, code: None, message, remedy: None, ..self }
    }
}

/// Why there is no changeset: the plan can't be fulfilled in this cloud, or the cloud didn't answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Plan(Diagnostics),
    Cloud(CloudError),
}

impl Refused {
    /// Each reason once, the plans' together: what a cloud did not tell it told of none of its bastions.
    pub fn distinct(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let (mut problems, mut clouds) = (Vec::new(), Vec::new());
        for refused in all {
            match refused {
                Refused::Plan(Diagnostics(found)) => problems.extend(found),
                Refused::Cloud(error) if !clouds.contains(&error) => clouds.push(error),
                Refused::Cloud(_) => {}
            }
        }
        let plans = (!problems.is_empty()).then_some(Refused::Plan(Diagnostics(problems)));
        plans.into_iter().chain(clouds.into_iter().map(Refused::Cloud)).collect()
    }
}

impl From<Diagnostics> for Refused {
    fn from(problems: Diagnostics) -> Self {
        Refused::Plan(problems)
    }
}

impl From<CloudError> for Refused {
    fn from(error: CloudError) -> Self {
        Refused::Cloud(error)
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation, secret::redact(&self.message))?;
        if let Some(code) = &self.code {
            write!(f, "\n  code: {code}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, "\n  request id: {id}")?;
        }
        write!(f, "\n  exists now: {}", self.residue)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  to do: {}", secret::redact(remedy))?;
        }
        Ok(())
    }
}

impl std::error::Error for CloudError {}
