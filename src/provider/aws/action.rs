//! What a step does, with nothing left to choose: a saved changeset holds these.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    rule::{Direction, Rule},
    tags::Tags,
};

/// One step's work, in one region, for one bastion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Which of the run's regions (`us-east-1`, or `profile@us-east-1`).
    pub region: String,
    pub bastion: String,
    pub call: Call,
}

/// A resource that exists, or the one that an earlier step of the same bastion makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ref {
    Id(String),
    Made,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Call {
    CreateGroup {
        vpc: String,
        name: String,
        description: String,
        tags: Tags,
    },
    /// `tags` go onto the added rules.
    ChangeRules {
        group: Ref,
        direction: Direction,
        add: Vec<DescribedRule>,
        remove: Vec<DescribedRule>,
        /// Where the quota leaves no other order, the last rule of an owner goes before its next one comes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        closes_first: bool,
        tags: Tags,
    },
    AllocateAddress {
        tags: Tags,
    },
    /// Adds the rule that says that an address is the bastion's own. `ip` is the address where it exists; `tags` go onto the rule.
    MarkAddress {
        group: Ref,
        address: Ref,
        ip: Option<IpAddr>,
        tags: Tags,
    },
    RunInstance(Box<Launch>),
    Associate {
        address: Ref,
        instance: Ref,
        /// The instance's first interface, where it has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
    },
    StartInstance {
        instance: String,
    },
    SetMetadataOptions {
        instance: String,
        /// Whether the machine may read its own tags.
        tags: bool,
    },
    SetGroups {
        instance: String,
        /// The instance's first interface, where it has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
        groups: Vec<Ref>,
    },
    SetShutdownBehavior {
        instance: String,
        terminate: bool,
    },
    /// Removes, then sets: old and new tags together may be more than EC2 allows.
    Tag {
        resources: Vec<String>,
        set: Tags,
        remove: Vec<String>,
    },
    /// Only where it is still the bastion's own when the step comes.
    TerminateInstance {
        instance: String,
        /// The bastion's own groups that it is in.
        within: Vec<String>,
        /// Another machine has its place: it may hold no public address then but this one, which is not the bastion's.
        displaced: Option<Displaced>,
    },
    ReleaseAddress {
        allocation: String,
    },
    DeleteGroup {
        group: String,
    },
    DeleteVolume {
        volume: String,
    },
}

impl Call {
    /// The machine, or the first of its parts, that the call writes to while it goes on existing.
    pub fn written_machine(&self) -> Option<&str> {
        match self {
            Call::Associate { instance: Ref::Id(instance), .. }
            | Call::StartInstance { instance }
            | Call::SetMetadataOptions { instance, .. }
            | Call::SetGroups { instance, .. }
            | Call::SetShutdownBehavior { instance, .. } => Some(instance),
            Call::Tag { resources, .. } => resources.first().map(String::as_str),
            Call::Associate { instance: Ref::Made, .. }
            | Call::CreateGroup { .. }
            | Call::ChangeRules { .. }
            | Call::AllocateAddress { .. }
            | Call::MarkAddress { .. }
            | Call::RunInstance(_)
            | Call::TerminateInstance { .. }
            | Call::ReleaseAddress { .. }
            | Call::DeleteGroup { .. }
            | Call::DeleteVolume { .. } => None,
        }
    }
}

/// What a machine that another one has displaced may still hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Displaced {
    pub holds: Option<String>,
}

/// A rule with its description. For a rule in somebody else's group, `peer` is the bastion's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribedRule {
    pub rule: Rule,
    pub description: String,
}

/// Everything that RunInstances is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub image: String,
    pub root_device: String,
    /// GiB.
    pub root_size: i32,
    pub instance_type: String,
    pub subnet: String,
    pub group: Ref,
    /// The document's text; it is sent compressed.
    pub user_data: String,
    pub terminate_on_shutdown: bool,
    pub tags: Tags,
    /// The machine may read its own tags.
    pub metadata_tags: bool,
    /// The tags of its volume and network interface.
    pub part_tags: Tags,
    /// Every instance that the bastion has had: with it the client token differs from theirs.
    pub history: Vec<String>,
}
