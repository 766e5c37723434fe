//! What exists of a bastion now, for people and for scripts.

use jiff::Timestamp;

use super::{
    check,
    doubts::{self, Use},
    id::Kind,
    observed::{Observed, Resource},
    rules::{nat_lines, security_lines},
    teardown::{address, rules_elsewhere},
    views::{Interface, Machine as View},
};
use crate::{
    location::Location,
    plan::{Azure, Edge, Plan},
    provider::status::{Machine, State, Status},
    tags::deadline::{Remembered, ResolvedDeadline},
};

/// `ingress` is what lets vendors in: the DNAT rules, or the network security group's where the machine has its own address.
pub fn of(plan: &Plan, azure: &Azure, seen: &Observed, now: Timestamp) -> Status {
    let name = plan.name.as_str();
    let owned: Vec<&Resource> = seen.owned(name).collect();
    let of_kind = |kind: Kind| owned.iter().filter(move |r| r.kind == kind).copied();
    let own_groups = seen
        .of_kind(Kind::RuleGroup)
        .filter(|g| seen.get(&g.id.parent()).is_some_and(|policy| policy.is_owned(name)))
        .map(|g| g.raw.clone());
    let rules: Vec<_> = own_groups.chain(rules_elsewhere(seen, name).into_iter().map(|r| r.of)).collect();
    let machines: Vec<Machine> = of_kind(Kind::Machine).map(|m| machine(m, seen)).collect();
    let ingress: Vec<String> = if azure.edge == Edge::PublicAddress {
        let groups = of_kind(Kind::SecurityGroup).flat_map(|g| security_lines(g.list("/properties/securityRules")));
        groups.filter(|((way, _), _)| way.starts_with("ingress")).map(|((way, from), _)| line(&way, &from)).collect()
    } else {
        rules.iter().flat_map(nat_lines).map(|((way, from), _)| line(&way, &from)).collect()
    };
    let address = address(seen, name);
    let running = machines.iter().any(|m| m.state == "running");
    let state = if owned.is_empty() && rules.is_empty() {
        State::Absent
    } else if running && address.is_some() && !ingress.is_empty() {
        State::Up
    } else {
        State::Partial
    };
    let deadline = owned.iter().find_map(|r| ResolvedDeadline::from_tags(&r.tags));
    Status {
        bastion: name.to_owned(),
        location: Location::azure(&azure.subscription, &azure.location),
        plan: plan.origin.source.path.clone(),
        state,
        address,
        port: plan.ssh.port,
        instances: machines,
        security_groups: of_kind(Kind::SecurityGroup).map(|g| g.name().to_owned()).collect(),
        ingress,
        expires: deadline.map(|d| d.expires.to_string()),
        seconds_left: deadline.map(|d| d.expires.as_second() - now.as_second()),
        other_ends: check::other_ends(plan, deadline.map(|d| d.expires), seen, now),
        doubts: doubts::in_use(name, seen).iter().map(Use::words).collect(),
        moved: Remembered::of(owned.iter().map(|r| &r.tags)).agreed_decision(now),
    }
}

fn line(way: &str, from: &str) -> String {
    format!("{} {from}", way.trim_start_matches("ingress "))
}

fn machine(machine: &Resource, seen: &Observed) -> Machine {
    let view = View(machine);
    let private = view.interfaces().iter().find_map(|id| Interface(seen.get(id)?).private_address().map(str::to_owned));
    let state = ["running", "starting", "stopping", "stopped", "deallocating", "deallocated"];
    let image = ["offer", "exactVersion"]
        .map(|part| machine.text(&format!("/properties/storageProfile/imageReference/{part}")));
    Machine {
        id: machine.name().to_owned(),
        state: state.into_iter().find(|s| *s == view.power()).unwrap_or("unknown"),
        instance_type: view.size().to_owned(),
        image: image.join(" ").trim_end().to_owned(),
        private_address: private,
        launched: Some(machine.text("/properties/timeCreated").to_owned()).filter(|text| !text.is_empty()),
    }
}
