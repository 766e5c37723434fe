//! What a failure of a cloud says: what was asked, who refused it and how, what exists now, what to do.

pub mod no_answer;
pub mod residue;

use std::fmt;

use serde::Serialize;

pub use self::residue::Residue;
use self::{
    no_answer::NoAnswer,
    residue::{EffectDone, StepEffect},
};
use crate::{diagnostic::Diagnostics, secret};

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

/// What to do about a mistake in gangplank.
pub const REPORT: &str = "report it, with `gangplank --version`, the plan and what the same command logs with `--debug`; take \
                          addresses and names out of both first. Running it again may help";

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
    /// A mistake in gangplank.
    Internal,
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
            kind: ErrorKind::Internal,
            code: None,
            request_id: None,
            message: format!("{message}: a mistake in gangplank"),
            residue: Residue::Nothing,
            remedy: Some(REPORT.to_owned()),
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
