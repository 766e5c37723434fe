//! What exists of a bastion now.

use jiff::Timestamp;

use super::{
    deadline::{Remembered, ResolvedDeadline},
    observed::Observed,
    region as regions,
    rule::Direction,
};
use crate::{
    plan::{Aws, AwsAddress, Plan},
    provider::status::{Machine, State, Status},
};

impl Status {
    pub fn of(plan: &Plan, aws: &Aws, region: &str, seen: &Observed, now: Timestamp) -> Self {
        let name = plan.name.as_str();
        let instances: Vec<_> = seen.instances_of(name).collect();
        let groups: Vec<_> = seen.groups_of(name).collect();
        let address = match &aws.address {
            // An interrupted run may have left a second one, which leads nowhere.
            AwsAddress::Elastic => seen
                .addresses_of(name)
                .min_by_key(|a| !instances.iter().any(|i| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)))),
            AwsAddress::Existing(id) => seen.addresses.iter().find(|a| a.allocation == *id),
        };
        let owns_address = aws.address == AwsAddress::Elastic && address.is_some();
        let points_here = |id: &str| address.and_then(|a| a.attached.as_ref()).is_some_and(|at| at.is_instance(id));
        let running =
            instances.iter().any(|i| i.state == super::observed::InstanceState::Running && points_here(&i.id));
        let state = match (instances.is_empty() && groups.is_empty() && !owns_address, running && !groups.is_empty()) {
            (true, _) => State::Absent,
            (false, true) => State::Up,
            (false, false) => State::Partial,
        };
        let tags = instances.iter().map(|i| &i.tags).chain(groups.iter().map(|g| &g.tags));
        let remembered = Remembered::of(tags.clone());
        let deadline = tags.into_iter().find_map(ResolvedDeadline::from_tags);
        let ingress = groups.iter().flat_map(|g| g.ingress.keys());
        Self {
            bastion: name.to_owned(),
            location: regions::location(region),
            plan: plan.origin.source.path.clone(),
            state,
            address: address.and_then(|a| a.ip).map(|ip| ip.to_string()),
            port: plan.ssh.port,
            instances: instances
                .iter()
                .map(|i| Machine {
                    id: i.id.clone(),
                    state: i.state.as_str(),
                    instance_type: i.instance_type.clone(),
                    image: i.image.clone(),
                    private_address: i.private_ip.clone(),
                    launched: i.launched.map(|t| t.to_string()),
                })
                .collect(),
            security_groups: groups.iter().map(|g| g.id.clone()).collect(),
            ingress: ingress
                .map(|r| format!("{} {} {}", r.protocol, Direction::Ingress.preposition(), r.peer))
                .collect(),
            expires: deadline.map(|d| d.expires.to_string()),
            seconds_left: deadline.map(|d| d.expires.as_second() - now.as_second()),
            other_ends: seen.other_ends(plan, deadline.map(|d| d.expires), now),
            doubts: Vec::new(),
            moved: remembered.agreed_decision(now),
        }
    }
}
