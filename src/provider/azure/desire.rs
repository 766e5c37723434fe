//! A plan as Azure resources: what must be there, without looking at what is.

use std::collections::BTreeMap;

use super::{
    id::Names,
    keys,
    rules::{self, Sources, Way},
    tags::{self, Tags},
};
use crate::{
    changeset::{Direction, Exposure},
    cloudinit::UserData,
    plan::{Azure, Plan, ResourceGroup},
    provider::boot::boot_text,
    tags::deadline::ResolvedDeadline,
};

/// One bastion as its plan wants it.
#[derive(Clone, Debug)]
pub struct Desired<'a> {
    pub plan: &'a Plan,
    pub azure: &'a Azure,
    pub user_data: &'a UserData,
    pub names: Names,
    pub sources: Sources,
}

impl<'a> Desired<'a> {
    pub fn new(plan: &'a Plan, azure: &'a Azure, user_data: &'a UserData) -> Self {
        let names = Names::new(&azure.subscription, group_name(azure), &plan.name);
        Self { plan, azure, user_data, names, sources: rules::sources(plan) }
    }

    pub fn bastion(&self) -> &'a str {
        self.plan.name.as_str()
    }

    pub fn tags(&self, deadline: Option<&ResolvedDeadline>) -> Tags {
        tags::common(&self.plan.name, &self.plan.tags, deadline)
    }

    /// The machine's tags: the common ones, and what keeps its document and its user data recognisable, which Azure does not show.
    pub fn machine_tags(&self, deadline: Option<&ResolvedDeadline>) -> Tags {
        let mut tags = self.tags(deadline);
        tags.insert(tags::BOOT.to_owned(), boot_text(self.user_data));
        tags.extend(keys::tag(self.plan, deadline.map(|d| d.expires)).map(|keys| (tags::KEYS.to_owned(), keys)));
        tags
    }

    /// Who reaches what when the plan is fulfilled. `address` is the bastion's, as far as it is known.
    pub(super) fn exposure(&self, address: &str, egress: &BTreeMap<Way, String>) -> Vec<Exposure> {
        let port = self.plan.ssh.port;
        let inbound = self.sources.iter().map(|(source, why)| Exposure {
            direction: Direction::Inbound,
            from: source.to_string(),
            to: format!("tcp {port} on {address}"),
            why: why.clone(),
        });
        let tunnels = self.plan.tunnels.iter().flat_map(|tunnel| {
            tunnel.targets.iter().map(|target| Exposure {
                direction: Direction::Tunnel,
                from: format!("user {}", tunnel.user),
                to: format!("{}:{}", target.host, target.port),
                why: match tunnel.keys.len() {
                    0 => format!("target {}; closed until the tunnel has a key", target.name),
                    1 => format!("target {}, 1 key", target.name),
                    n => format!("target {}, {n} keys", target.name),
                },
            })
        });
        let operators = self.plan.operators.iter().map(|operator| Exposure {
            direction: Direction::Tunnel,
            from: format!("user {}", operator.name),
            to: "every target above".to_owned(),
            why: "operator".to_owned(),
        });
        let outbound = egress.iter().map(|(way, why)| Exposure {
            direction: Direction::Outbound,
            from: "the machine".to_owned(),
            to: way.words(),
            why: why.clone(),
        });
        inbound.chain(tunnels).chain(operators).chain(outbound).collect()
    }
}

pub fn group_name(azure: &Azure) -> &str {
    match &azure.resource_group {
        ResourceGroup::Owned(name) | ResourceGroup::Existing(name) => name,
    }
}
