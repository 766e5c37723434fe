//! What exists of a bastion now, for people and for scripts.

use serde::Serialize;

use super::deadline::Moved;
use crate::location::Location;

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
