//! Plans that a run leaves out: the state of one bastion, or of one file, is no reason to do nothing about the others.

use serde::Serialize;

use crate::{
    cloud_error::{CloudError, Refused},
    diagnostic::{Diagnostic, Diagnostics},
    location::Location,
    plan::{BrokenFile, Plan},
    provider::status::Status,
};

/// One plan that is left out, and why.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// `None` where the file does not even tell a name.
    pub bastion: Option<String>,
    /// `None` where it is not known.
    pub location: Option<Location>,
    /// The plan's file.
    pub plan: String,
    pub reason: Reason,
}

#[derive(Clone, Debug)]
pub enum Reason {
    /// The file holds no plan.
    Broken(Diagnostics),
    /// The bastion's deadline has passed.
    Ended { seconds_ago: i64, problems: Diagnostics },
    /// The plan can't be fulfilled as things are.
    Unfulfillable(Diagnostics),
    /// The cloud did not tell what there is.
    Unreadable(CloudError),
}

/// What programs read of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    Broken,
    Ended,
    Unfulfillable,
    Unreadable,
}

impl LeftOut {
    pub fn broken(file: BrokenFile) -> Self {
        Self { bastion: None, location: None, plan: file.path, reason: Reason::Broken(file.problems) }
    }

    /// `status` is what the cloud has told, where it has.
    pub fn refused(plan: &Plan, status: Option<&Status>, why: Refused) -> Self {
        let ended = status.and_then(|status| status.seconds_left).filter(|left| *left < 0);
        let reason = match (why, ended) {
            (Refused::Cloud(error), _) => Reason::Unreadable(error),
            // Beside other problems the end is not what matters.
            (Refused::Plan(problems), Some(left)) if problems.0.len() == 1 => {
                Reason::Ended { seconds_ago: left.saturating_neg(), problems }
            }
            (Refused::Plan(problems), _) => Reason::Unfulfillable(problems),
        };
        Self {
            bastion: Some(plan.name.to_string()),
            location: status.map(|status| status.location.clone()),
            plan: plan.origin.source.path.clone(),
            reason,
        }
    }

    pub fn condition(&self) -> Condition {
        match self.reason {
            Reason::Broken(_) => Condition::Broken,
            Reason::Ended { .. } => Condition::Ended,
            Reason::Unfulfillable(_) => Condition::Unfulfillable,
            Reason::Unreadable(_) => Condition::Unreadable,
        }
    }

    /// The plan's problems, where it is the plan that has some.
    pub fn problems(&self) -> &[Diagnostic] {
        match &self.reason {
            Reason::Broken(Diagnostics(problems))
            | Reason::Ended { problems: Diagnostics(problems), .. }
            | Reason::Unfulfillable(Diagnostics(problems)) => problems,
            Reason::Unreadable(_) => &[],
        }
    }

    /// The reasons of all, each once, for whoever reports them.
    pub fn reasons(all: &[Self]) -> Vec<Refused> {
        Refused::distinct(all.iter().map(|one| match &one.reason {
            Reason::Unreadable(error) => Refused::Cloud(error.clone()),
            _ => Refused::Plan(Diagnostics(one.problems().to_vec())),
        }))
    }
}
