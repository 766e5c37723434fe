//! An Azure Resource Manager in memory: ours, and only as true as the recorded traffic that it is compared with shows. It keeps
//! resources, refuses what Azure refuses, and takes its time, which is whatever it is told.
//!
//! Codes and shapes are those of recorded traffic or of Microsoft's documentation; a code that was seen in neither says "a guess"
//! beside it. What gangplank never calls is refused as an unknown type.

mod addresses;
mod checks;
#[cfg(feature = "azure")]
pub mod client;
mod company;
mod groups;
mod kinds;
mod locks;
mod log;
mod operations;
mod pace;
mod peerings;
mod power;
mod read;
mod remove;
mod reply;
mod route;
mod security;
mod shutdown;
mod state;
mod survey;
mod way;
mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{
    groups::show_group,
    reply::Call,
    state::{Group, Operation, Resource},
};
pub use self::{pace::Pace, power::Power, state::Failure, survey::refuse};
use super::http::{Ask, Reply};

pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
const TENANT: &str = "00000000-0000-0000-0000-0000000000aa";

/// A subscription, and others of the same tenant that the caller may or may not read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World {
    /// Its id.
    pub subscription: String,
    /// Others that there are, by their ids.
    #[serde(default)]
    pub others: Vec<String>,
    /// Of the others, those in which the caller has no role.
    #[serde(default)]
    pub closed: Vec<String>,
    /// `Enabled`, or `Disabled`: then it can only be read.
    pub subscription_state: String,
    /// Namespaces that the subscription may use.
    pub registered: Vec<String>,
    /// Where there are machines, and of which sizes.
    pub sizes: BTreeMap<String, Vec<String>>,
    /// Resources on one page of a list.
    pub page: usize,
    pub pace: Pace,
    /// Operations that begin from now on end only by [`World::finish`].
    pub by_hand: bool,
    /// Answers name no `Retry-After`: for a program whose clock is real.
    pub prompt: bool,
    /// How the next operations on certain resources will end.
    pub failing: Vec<Failure>,
    groups: BTreeMap<String, Group>,
    /// By id in lower case, as everything here.
    resources: BTreeMap<String, Resource>,
    operations: BTreeMap<String, Operation>,
    /// Of the operations, in the order in which they began.
    under_way: Vec<String>,
    serial: u64,
    /// What is gone, and since when: lists of `Microsoft.Resources` go on showing it for a while.
    #[serde(default)]
    departed: Vec<(Timestamp, Resource)>,
    /// Oldest first.
    #[serde(default)]
    log: Vec<log::Entry>,
    #[serde(default)]
    locks: Vec<locks::Lock>,
}

impl Default for World {
    /// An empty subscription.
    fn default() -> Self {
        let sizes = [
            "Standard_B1s",
            "Standard_B1ls",
            "Standard_B2s",
            "Standard_B2ats_v2",
            "Standard_B2pts_v2",
            "Standard_D2s_v5",
        ];
        let sizes: Vec<String> = sizes.map(str::to_owned).into();
        let locations = ["westeurope", "westus2", "westus", "eastus", "northeurope"];
        Self {
            subscription: SUBSCRIPTION.to_owned(),
            others: Vec::new(),
            closed: Vec::new(),
            subscription_state: "Enabled".to_owned(),
            registered: ["Microsoft.Network", "Microsoft.Compute", "Microsoft.DevTestLab"].map(str::to_owned).into(),
            sizes: locations.map(|location| (location.to_owned(), sizes.clone())).into(),
            page: 100,
            pace: Pace::default(),
            by_hand: false,
            prompt: false,
            failing: Vec::new(),
            groups: BTreeMap::new(),
            resources: BTreeMap::new(),
            operations: BTreeMap::new(),
            under_way: Vec::new(),
            serial: 0,
            departed: Vec::new(),
            log: Vec::new(),
            locks: Vec::new(),
        }
    }
}

impl World {
    /// What Azure Resource Manager answers at this time, or the storage that holds consoles. A read changes nothing but what time
    /// has brought.
    pub fn answer(&mut self, now: Timestamp, ask: &Ask) -> Reply {
        self.advance(now);
        let mut reply = match Call::read(ask, now) {
            Ok(call) => self.route(&call),
            Err(refusal) => refusal,
        };
        self.remember(now, ask, reply.status);
        if self.prompt {
            reply.headers.retain(|(name, _)| name != "Retry-After");
        }
        reply.with("x-ms-request-id", &request_id(now, ask))
    }

    /// Every group's and resource's id, for a look without a call. Sorted, in lower case.
    pub fn ids(&self) -> Vec<String> {
        self.groups.keys().chain(self.resources.keys()).cloned().collect()
    }

    /// A group or a resource as a GET would answer it, user data included.
    pub fn resource(&self, id: &str) -> Option<Value> {
        let key = id.to_lowercase();
        if let Some(group) = self.groups.get(&key) {
            return Some(show_group(group));
        }
        Some(self.show(self.resources.get(&key)?, true))
    }

    /// The tags of a group or a resource by its id in lower case, an object where there are any.
    pub fn tags_of(&self, id: &str) -> Option<&Value> {
        match self.groups.get(id) {
            Some(group) => group.tags.as_ref(),
            None => self.resources.get(id)?.body().get("tags"),
        }
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

/// The same request at the same time has the same: so a read needs to remember nothing. FNV-1a.
fn request_id(now: Timestamp, ask: &Ask) -> String {
    let time = now.as_nanosecond().to_le_bytes();
    let bytes = time.iter().chain(ask.method.as_bytes()).chain(ask.path.as_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    kinds::guid(hash)
}
