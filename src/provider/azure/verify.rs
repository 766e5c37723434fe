//! The control plane's vantage: what Azure Resource Manager says, judged against the plan. Pure.
//!
//! `edge` asks who is led to the machine, `access` what its network security groups let through, `machine` about the machine,
//! `target` whether packets find their way to the targets, `way` about the routes. `firewall`, `passage`, `routes` and `security` are the rules' own
//! semantics.

mod access;
mod edge;
mod firewall;
mod front;
mod machine;
mod origin;
mod passage;
mod peering;
mod routes;
mod security;
mod target;
mod way;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use self::{
    front::{Absent, Front},
    routes::Table,
    security::{Around, Direction, Group},
};
use super::{
    desire,
    id::{Id, Kind, Names},
    observed::{Observed, Resource, id_at, list},
    views::{Interface, Machine, connected, near, peered_ranges},
};
use crate::{
    plan::{Azure, Plan},
    provider::judging::Known,
    verify::Check,
};

/// Everything that was read about a subscription at one time.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub at: Timestamp,
    pub seen: Arc<Observed>,
}

/// Every check of this vantage, the machine's path first and then each target's.
///
/// `resolved` is what targets' names mean to the machine, as far as it has said.
///
/// `document` is the digest of the document that the plan asks for.
pub fn judge(
    plan: &Plan,
    azure: &Azure,
    evidence: &Evidence,
    document: &str,
    resolved: &BTreeMap<String, Vec<IpAddr>>,
) -> Vec<Check> {
    let scene = Scene::new(plan, azure, evidence);
    let mut checks = vec![
        origin::ownership(&scene),
        machine::instance(&scene),
        origin::image(&scene),
        origin::document(&scene, document),
        machine::diagnostics(&scene),
        edge::address(&scene),
    ];
    checks.extend(edge::admits(&scene));
    checks.extend([
        edge::nothing_else(&scene),
        access::egress(&scene),
        way::route(&scene),
        machine::metadata(&scene),
        machine::encryption(&scene),
        machine::profile(&scene),
        machine::extensions(&scene),
        machine::deadline(&scene),
    ]);
    checks.extend(peering::checks(&scene));
    checks.extend(target::checks(&scene, resolved));
    checks
}

/// What every check looks at.
struct Scene<'a> {
    plan: &'a Plan,
    azure: &'a Azure,
    at: Timestamp,
    seen: &'a Observed,
    names: Names,
    machine: Option<&'a Resource>,
    /// The firewall; `None` where the machine has the public address.
    front: Result<Option<Front<'a>>, Absent>,
}

impl<'a> Scene<'a> {
    fn new(plan: &'a Plan, azure: &'a Azure, evidence: &'a Evidence) -> Self {
        let seen: &Observed = &evidence.seen;
        let names = Names::new(&azure.subscription, desire::group_name(azure), &plan.name);
        let machines = seen.owned(plan.name.as_str()).filter(|r| r.kind == Kind::Machine);
        let machine = machines.min_by_key(|m| (m.id != names.machine, m.id.clone()));
        let front = front::find(plan, azure, seen, &names);
        Self { plan, azure, at: evidence.at, seen, names, machine, front }
    }

    fn name(&self) -> &'a str {
        self.plan.name.as_str()
    }

    /// `run `gangplank apply warehouse.yaml`: it adds the rule`
    fn apply(&self, and_then: &str) -> String {
        format!("run `gangplank apply {}`: it {and_then}", self.plan.origin.argument())
    }

    /// The machine, or why nothing can be said without it.
    fn machine(&self) -> Known<&'a Resource> {
        self.machine.ok_or_else(|| format!("{} has no virtual machine: see control.instance", self.name()))
    }

    fn front(&self) -> Known<Option<&Front<'a>>> {
        match &self.front {
            Ok(front) => Ok(front.as_ref()),
            Err(_) => Err("there is nothing that leads to the machine: see control.address".to_owned()),
        }
    }

    /// All of the machine's, the first one first.
    fn interfaces(&self) -> Known<Vec<&'a Resource>> {
        let machine = self.machine()?;
        let ids = Machine(machine).interfaces();
        if ids.is_empty() {
            return Err(format!("Azure names no network interface of {}", machine.name()));
        }
        let read =
            |id: &Id| self.seen.get(id).ok_or_else(|| format!("the network interface {} is not read", id.name()));
        ids.iter().map(read).collect()
    }

    fn interface(&self) -> Known<&'a Resource> {
        let all = self.interfaces()?;
        all.first().copied().ok_or_else(|| "the machine has no network interface".to_owned())
    }

    /// The machine's own address in its network.
    fn private_address(&self) -> Known<IpAddr> {
        let interface = self.interface()?;
        let own = Interface(interface).private_address().and_then(|ip| ip.parse().ok());
        own.ok_or_else(|| format!("Azure names no private address of {}", interface.words()))
    }

    fn network(&self) -> Known<&'a Resource> {
        let id = self.subnet_id()?.parent();
        self.seen.get(&id).ok_or_else(|| format!("the virtual network {} is not read", id.name()))
    }

    fn subnet_id(&self) -> Known<Id> {
        let interface = self.interface()?;
        Interface(interface).subnet().ok_or_else(|| format!("Azure names no subnet of {}", interface.words()))
    }

    fn subnet(&self) -> Known<&'a Value> {
        self.subnet_of(&self.subnet_id()?)
    }

    /// What is stated about the ways out of the machine's subnet.
    fn table(&self) -> Known<Table> {
        Table::at(self.seen, self.subnet()?)
    }

    /// What the network's tags mean.
    fn around(&self) -> Known<Around> {
        Ok(Around::new(near(self.network()?)))
    }

    /// The network security groups that decide about the machine's packets: its subnet's and its interface's.
    fn groups(&self, direction: Direction) -> Known<Vec<Group>> {
        let (own, around) = (self.private_address()?, self.around()?);
        let of_subnet = id_at(self.subnet()?, "/properties/networkSecurityGroup/id");
        let of_interface = self.interface()?.id_at("/properties/networkSecurityGroup/id");
        let read = |id: Id| {
            let found =
                self.seen.get(&id).ok_or_else(|| format!("the network security group {} is not read", id.name()))?;
            Ok(Group::read(found, self.name(), direction, own, &around))
        };
        of_subnet.into_iter().chain(of_interface).map(read).collect()
    }
}
