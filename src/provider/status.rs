//! What exists of a bastion now, for people and for scripts.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    location::Location,
    plan::Plan,
    tags::deadline::Moved,
};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub bastion: String,
    #[serde(flatten)]
    pub location: Location,
    pub plan: String,
    pub state: State,
    /// Where the vendor connects to.
    pub address: Option<String>,
    pub port: u16,
    pub instances: Vec<Machine>,
    pub security_groups: Vec<String>,
    /// `tcp 22 from 35.175.75.15/32`, as the cloud has them.
    pub ingress: Vec<String>,
    pub expires: Option<String>,
    /// Until the deadline; below zero when it has passed.
    pub seconds_left: Option<i64>,
    /// Ends that its plan or some of its resources tell, other than that one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_ends: Vec<Timestamp>,
    /// What may be its machine and is not proven to be: it lacks a mark.
    pub doubts: Vec<String>,
    /// The decision that made another end of the plan's.
    pub moved: Option<Moved>,
}

impl Status {
    /// Its deadline has passed.
    pub fn has_ended(&self) -> bool {
        self.seconds_left.is_some_and(|left| left < 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing of it exists.
    Absent,
    /// Some of it exists: a run was interrupted, or something was removed.
    Partial,
    /// Machine, group and address are there and connected. Whether they match the plan, `plan` tells.
    Up,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    pub id: String,
    pub state: &'static str,
    pub instance_type: String,
    pub image: String,
    pub private_address: Option<String>,
    pub launched: Option<String>,
}

/// What may be a bastion's machine and is not proven to be: it lacks a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    pub what: String,
    pub remedy: String,
}

impl Doubt {
    /// Why a bastion is not destroyed that has no machine but these: what leads to one would go, and it would run on.
    ///
    /// # Errors
    /// Each of them, at the plan's name.
    pub fn refuse_destroy(all: Vec<Self>, plan: &Plan) -> Result<(), Diagnostics> {
        let refusal = |doubt: Self| -> Diagnostic {
            plan.origin
                .problem("name", "what may be the bastion's machine is not proven to be", doubt.what)
                .because(
                    "it may be this bastion's machine all the same: what leads to it would be removed, and it would run on",
                )
                .fix(doubt.remedy)
        };
        if all.is_empty() { Ok(()) } else { Err(Diagnostics(all.into_iter().map(refusal).collect())) }
    }
}

/// What there is of a bastion after it was destroyed.
#[derive(Clone, Debug)]
pub struct Remains {
    pub bastion: String,
    /// What is its own, a line each.
    pub own: Vec<String>,
    pub doubts: Vec<Doubt>,
}
