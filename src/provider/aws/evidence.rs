//! What a verification of one bastion has to go by: the region as EC2 tells it, and what the machine has printed.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    judging::Known,
    network::{Acl, Interface, RouteTable, Subnet, Volume},
    observed::{Attachment, ElasticIp, Instance, InstanceState, Observed},
    public_access::PublicAccess,
    region, tags,
};
use crate::{
    location::Location,
    plan::{Aws, AwsAddress},
};

/// Everything that was read about one bastion, at one time. The region's part is shared by all bastions of it.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub bastion: String,
    /// Which of the run's regions: see [`region`].
    pub region: String,
    pub at: Timestamp,
    /// All of the region's groups are whole here, with every rule.
    pub seen: Arc<Observed>,
    pub network: Arc<Network>,
    pub console: Known<Console>,
}

/// What leads to and from the machines of a region.
#[derive(Clone, Debug)]
pub struct Network {
    pub subnets: Known<Vec<Subnet>>,
    pub route_tables: Known<Vec<RouteTable>>,
    pub acls: Known<Vec<Acl>>,
    pub public_access: Known<PublicAccess>,
    /// Every interface that carries a group which a plan of the run names in `database_access`.
    pub database_interfaces: Known<Vec<Interface>>,
    /// Those attached to instances of the run's bastions.
    pub volumes: Known<Vec<Volume>>,
}

/// What a machine has written to its serial console, the newest 64 KiB of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    pub bytes: Vec<u8>,
    /// When EC2 took it.
    pub at: Option<Timestamp>,
}

impl Evidence {
    /// The machine that the vendor would meet: the one that the bastion's address leads to, else a running one, else the
    /// lowest id. `control.instance` says when there are several.
    pub fn instance(&self) -> Option<&Instance> {
        main_instance(&self.seen, &self.bastion)
    }

    /// The fixed public address: the bastion's own, preferring one that leads to its machine, or the one that the plan names.
    pub fn address(&self, aws: &Aws) -> Option<&ElasticIp> {
        let leads_here = |a: &ElasticIp| {
            self.instance().is_some_and(|i| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)))
        };
        match &aws.address {
            AwsAddress::Elastic => {
                self.seen.addresses_of(&self.bastion).min_by_key(|a| (!leads_here(a), a.allocation.clone()))
            }
            AwsAddress::Existing(id) => self.seen.addresses.iter().find(|a| a.allocation == *id),
        }
    }

    /// The pinned host key of the machine: see [`crate::provider::pin`].
    pub fn host_key(&self) -> Option<&str> {
        self.instance()?.tags.get(tags::HOST_KEY).map(String::as_str)
    }

    pub fn location(&self) -> Location {
        region::location(&self.region)
    }
}

pub(super) fn main_instance<'a>(seen: &'a Observed, bastion: &str) -> Option<&'a Instance> {
    let addressed = |i: &Instance| {
        let here = |a: &ElasticIp| matches!(&a.attached, Some(Attachment::Instance(id)) if *id == i.id);
        seen.addresses.iter().any(here)
    };
    seen.instances_of(bastion).min_by_key(|i| (!addressed(i), i.state != InstanceState::Running, i.id.clone()))
}
