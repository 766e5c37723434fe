//! What may be a bastion's machine and is not proven to be: `status`, `destroy` and `reap` ask the same. Pure.

use std::{collections::BTreeMap, fmt};

use super::{
    id::{Id, Kind},
    observed::{Observed, Resource, State, text},
    rules, tags, teardown,
    views::{Address, Interface},
};
use crate::provider::status::Doubt;

/// How something that is not proven to be a bastion's own has its name, or uses what it has.
#[derive(Clone, Debug)]
pub enum Use<'a> {
    /// A machine that is called as the bastion's, which no tag changes.
    Called(&'a Resource),
    Machine {
        id: Id,
        what: String,
    },
    /// Something else has its address.
    Address {
        id: Id,
        what: String,
    },
}

impl Use<'_> {
    pub fn words(&self) -> String {
        match self {
            Self::Called(machine) => format!("{} is called as its own ({})", machine.words(), machine.id),
            Self::Machine { id, what } => format!("virtual machine {} {what}", id.name()),
            Self::Address { id, what } => format!("{} {what}", id.name()),
        }
    }
}

/// A machine that is called as the bastion's, or uses its interface, its address or the address that its DNAT rules lead to, and is not its
/// own: it may be its machine all the same, without its tag, and then the bastion has not lost it.
pub fn in_use<'a>(name: &'a str, seen: &'a Observed) -> Vec<Use<'a>> {
    let is_there = |id: &Id, of: &Resource| !teardown::is_going(seen, id) && !teardown::has_gone(seen, id, of);
    let mut all: BTreeMap<String, Use<'_>> =
        called(name, seen).map(|m| (m.id.as_str().to_owned(), Use::Called(m))).collect();
    if seen.owned(name).any(|r| r.kind == Kind::Machine) {
        return all.into_values().collect();
    }
    let rules = teardown::rules_elsewhere(seen, name);
    let led_to: Vec<&str> =
        rules.iter().flat_map(|r| rules::nat_rules(&r.of)).map(|rule| text(rule, "/translatedAddress")).collect();
    for interface in seen.of_kind(Kind::Interface) {
        let Some(id) = Interface(interface).machine().filter(|id| is_there(id, interface)) else { continue };
        let ip = Interface(interface).private_address().filter(|ip| led_to.contains(ip));
        let what = match ip {
            Some(ip) => format!("has the address {ip}, which its DNAT rules lead to"),
            None if interface.is_owned(name) => format!("uses its {}", interface.words()),
            None => continue,
        };
        all.entry(id.as_str().to_owned()).or_insert(Use::Machine { id, what });
    }
    for address in seen.owned(name).filter(|r| r.kind == Kind::Address) {
        let Some(id) = Address(address).user().filter(|id| is_there(id, address)) else { continue };
        if !seen.owned(name).any(|r| id.is_within(&r.id)) {
            all.insert(id.as_str().to_owned(), Use::Address { id, what: format!("uses its {}", address.words()) });
        }
    }
    all.into_values().collect()
}

/// The machines of the bastion's name that are not its own, whatever their tags say.
pub fn called<'a>(name: &'a str, seen: &'a Observed) -> impl Iterator<Item = &'a Resource> {
    let called = tags::mark(name).replace(':', "-");
    let others = seen.of_kind(Kind::Machine).filter(move |m| m.state != State::Deleting && !m.is_owned(name));
    others.filter(move |m| m.name().eq_ignore_ascii_case(&called))
}

/// Whether a doubt is about what the bastion has, or what stands where its plan has it: a machine of its name in another resource group
/// loses nothing when the bastion goes.
pub fn is_near(one: &Use<'_>, name: &str, planned: Option<&Id>, seen: &Observed) -> bool {
    let Use::Called(machine) = one else { return true };
    let group = machine.id.group_id();
    planned == Some(&group) || seen.owned(name).any(|r| r.id.group_id() == group)
}

/// With what to do about it.
pub fn doubt(one: &Use<'_>, name: &str, seen: &Observed) -> Doubt {
    let remedy = match one {
        Use::Called(machine) => {
            let end = format!("delete it: `az vm delete --ids {}`", machine.id.argument());
            match give_back(name, machine, seen).as_slice() {
                [] => format!("see whose it is; if nobody needs it, {end}"),
                commands => format!(
                    "if it is this bastion's and lost its tag, give it back: {}; otherwise, if nobody needs it, {end}",
                    commands.join(" and ")
                ),
            }
        }
        Use::Machine { id, .. } => {
            format!(
                "see whose machine this is; give it another interface or address, or, if nobody needs it, delete it: `az vm delete --ids {}`",
                id.argument()
            )
        }
        Use::Address { .. } => "find out who attached it, and detach it there".to_owned(),
    };
    Doubt { what: one.words(), remedy }
}

/// The commands that give the bastion's tag back to a machine of its name and to what stands beside it and has a name of the bastion's, as
/// typed; empty where tags do not make the machine its own.
fn give_back(name: &str, machine: &Resource, seen: &Observed) -> Vec<String> {
    if machine.foreign_reason(name).is_some() {
        return Vec::new();
    }
    let group = machine.id.group_id();
    let taggable = |r: &&Resource| !matches!(r.kind, Kind::Subnet | Kind::Peering | Kind::RuleGroup | Kind::Disk);
    let lost = |r: &&Resource| !tags::owns(&r.tags, name) && r.foreign_reason(name).is_none();
    let here = seen.resources.iter().filter(|r| r.id.group_id() == group && r.kind != Kind::ResourceGroup);
    let command = |r: &Resource| {
        format!("`az tag update --resource-id {} --operation Merge --tags {}={name}`", r.id.argument(), tags::BASTION)
    };
    here.filter(taggable).filter(lost).map(command).collect()
}

/// A network interface of others with the bastion's own network security group, or in its own network: it reaches what the bastion reaches.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    pub interface: &'a Resource,
    /// The group, or the network.
    pub of: &'a Resource,
}

impl fmt::Display for Guest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = Interface(self.interface).machine().map(|id| format!("virtual machine {} with ", id.name()));
        let (what, of) = (self.interface.words(), self.of.words());
        write!(f, "{}{what} uses the bastion's {of} and is not the bastion's", machine.unwrap_or_default())
    }
}

impl Guest<'_> {
    pub fn remedy(&self) -> String {
        let interface = self.interface.id.argument();
        match self.of.kind {
            Kind::SecurityGroup => format!(
                "see whose it is, and take the group off: `az network nic update --ids {interface} --remove networkSecurityGroup`"
            ),
            _ => format!("see whose it is, and move it to another network: {interface}"),
        }
    }

    pub fn note(&self) -> String {
        format!("⚠ {self}: it reaches what the bastion reaches; {}", self.remedy())
    }
}

pub fn guests<'a>(name: &'a str, seen: &'a Observed) -> Vec<Guest<'a>> {
    let owned = |id: Id| seen.get(&id).filter(|r| r.is_owned(name));
    let is_own = |i: &Resource| {
        i.is_owned(name) || Interface(i).machine().and_then(owned).is_some() || i.state == State::Deleting
    };
    let others = seen.of_kind(Kind::Interface).filter(|i| !is_own(i));
    let guest = |interface: &'a Resource| {
        let group = interface.id_at("/properties/networkSecurityGroup/id").and_then(owned);
        let network = Interface(interface).subnet().map(|subnet| subnet.parent()).and_then(owned);
        Some(Guest { interface, of: group.or(network)? })
    };
    // What may be the bastion's own machine is a doubt instead.
    let doubtful: Vec<String> = in_use(name, seen)
        .iter()
        .filter_map(|one| match one {
            Use::Called(machine) => Some(machine.id.to_string()),
            Use::Machine { id, .. } => Some(id.to_string()),
            Use::Address { .. } => None,
        })
        .collect();
    let is_doubt = |i: &Resource| {
        let by_name = i.name().eq_ignore_ascii_case(&tags::mark(name).replace(':', "-"));
        by_name
            || Interface(i).machine().is_some_and(|id| doubtful.iter().any(|one| one.eq_ignore_ascii_case(id.as_str())))
    };
    others.filter(|i| !is_doubt(i)).filter_map(guest).collect()
}
