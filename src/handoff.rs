//! What is handed over once a bastion stands: the vendor's form filled in, the host key, a way to try it, what to do next.
//!
//! Pure: a plan × what is known → [`HandOff`], which [`text`], [`json`] and [`html`] show.

pub mod html;
pub mod json;
mod next;
pub mod ssh;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

pub use self::{
    next::{Kind, Next},
    ssh::{ByHand, HostKey, Trial},
};
use crate::{
    location::Location,
    plan::{self, Cloud, Deadline, Edge, FormContent, FormValue, Plan},
    tags::deadline::{ResolvedDeadline, other_ends_note, span, time_left},
    verify::{Check, Part, Verdict, Verification},
};

/// What is known beside the plan.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    pub location: Location,
    /// Where the vendor connects to, once there is such an address.
    pub address: Option<String>,
    pub port: u16,
    /// OpenSSH public keys, from the boot report or the pin; empty while nobody knows them. What is no key is left out.
    pub host_keys: Vec<String>,
    /// The deadline that the cloud's tags tell.
    pub deadline: Option<ResolvedDeadline>,
    /// Ends that its plan or some of its resources tell, other than that one.
    pub other_ends: Vec<Timestamp>,
    pub now: Timestamp,
    /// The ranges of the prefix lists that the plan names, by their ids, as far as they are known.
    pub prefix_lists: BTreeMap<String, Vec<IpNet>>,
    pub verification: Option<&'a Verification>,
}

/// The hand-off of one bastion. Its texts are as the plan, the cloud and the machine wrote them: what shows them makes them
/// harmless for its place. Only what is to be copied into a file (`known_hosts`, `ssh_config`) is checked here already.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HandOff {
    pub bastion: String,
    #[serde(flatten)]
    pub location: Location,
    /// The plan's file.
    pub plan: String,
    /// The moment that everything else is as of.
    pub made: Timestamp,
    pub address: Option<String>,
    pub port: u16,
    pub ends: Ends,
    /// What to do, in this order; never empty.
    pub next: Vec<Next>,
    pub path: Path,
    pub tunnels: Vec<Tunnel>,
    pub host_keys: Vec<HostKey>,
    /// Who may try the tunnels from an own machine.
    pub operators: Vec<String>,
    /// `None` while there is no address, or where the plan has no operator.
    pub by_hand: Option<ByHand>,
    /// What was left out and why, and a decision that moved its end.
    pub notes: Vec<String>,
    pub verification: Option<Verification>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ends {
    Never,
    /// It exists no longer than this after its creation, which is still to come.
    AfterCreation {
        seconds: i64,
    },
    /// `seconds_left` is below zero when the moment has passed.
    At {
        time: Timestamp,
        seconds_left: i64,
    },
}

/// What the checks of one part of the path say together: the worst of them, and unknown where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Light {
    Pass,
    Unknown,
    Fail,
}

impl Light {
    fn of<'a>(checks: impl Iterator<Item = &'a Check>) -> Self {
        let lights = checks.map(|check| match check.verdict {
            Verdict::Pass => Light::Pass,
            Verdict::Unknown { .. } => Light::Unknown,
            Verdict::Fail { .. } => Light::Fail,
        });
        lights.max().unwrap_or(Light::Unknown)
    }

    pub fn sign(self) -> &'static str {
        match self {
            Light::Pass => "✓",
            Light::Unknown => "?",
            Light::Fail => "✗",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Light::Pass => "passed",
            Light::Unknown => "unknown",
            Light::Fail => "failed",
        }
    }
}

/// The parts that all tunnels share; each target has its own light.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// What stands before the bastion: `security group`, `firewall`.
    pub edge_is: &'static str,
    pub edge: Light,
    pub bastion: Light,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    pub user: String,
    /// The vendor's id or name.
    pub vendor: Option<String>,
    /// Where the vendor's form is.
    pub form: Option<String>,
    pub documentation: Option<String>,
    /// The form's fields in the form's order.
    pub fields: Vec<Field>,
    pub sources: Vec<Source>,
    pub targets: Vec<Target>,
    /// The vendor's keys that the plan admits; none: the tunnel admits nobody.
    pub keys: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Exactly as the form has it.
    pub label: String,
    /// `None` while there is no address.
    pub value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    pub network: String,
    /// The vendor's id, `allow_from`, or the prefix list that it stands in.
    pub why: String,
}

/// What goes into the data source's own form at the vendor: host and port as the bastion sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub speaks: &'static str,
    pub light: Light,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    pub algorithm: String,
    pub fingerprint: String,
    pub comment: String,
}

/// Never fails: what is not known yet is said to be so, with what makes it known.
pub fn handoff(plan: &Plan, known: &Known<'_>) -> HandOff {
    let mut notes = Vec::new();
    let address = known.address.clone().filter(|address| {
        let usable = ssh::is_host(address);
        if !usable {
            notes.push(format!("the bastion's address `{address}` is none, so nothing was made of it"));
        }
        usable
    });
    let host_keys = ssh::host_keys(&known.host_keys, address.as_deref(), known.port, &mut notes);
    let by_hand = address.as_deref().and_then(|address| {
        ssh::by_hand(plan, address, known.port, host_keys.first().is_some_and(|k| k.known_hosts.is_some()), &mut notes)
    });
    let checks = || known.verification.iter().flat_map(|verification| &verification.checks);
    let tunnels = plan.tunnels.iter().map(|one| tunnel(plan, one, address.as_deref(), known)).collect();
    notes.extend(vendor_notes(plan));
    let moved = known.deadline.and_then(|deadline| deadline.moved);
    notes.extend(moved.map(|m| format!("its end was {} on {}; the plan's own end is {}", m.word(), m.on, m.from)));
    notes.extend(other_ends_note(&known.other_ends));
    let ends = match (known.deadline.map(|deadline| deadline.expires), plan.deadline) {
        (Some(time), _) | (None, Some(Deadline::Expires(time))) => {
            Ends::At { time, seconds_left: time.as_second() - known.now.as_second() }
        }
        (None, Some(Deadline::Lifetime(lifetime))) => Ends::AfterCreation { seconds: lifetime.as_secs() },
        (None, None) => Ends::Never,
    };
    let mut handoff = HandOff {
        bastion: plan.name.to_string(),
        location: known.location.clone(),
        plan: plan.origin.source.path.clone(),
        // Nobody reads fractions of a second.
        made: Timestamp::from_second(known.now.as_second()).unwrap_or(known.now),
        address,
        port: known.port,
        ends,
        next: Vec::new(),
        path: Path {
            edge_is: edge(&plan.cloud),
            edge: Light::of(checks().filter(|check| check.part == Part::Edge)),
            bastion: Light::of(checks().filter(|check| check.part == Part::Bastion)),
        },
        tunnels,
        host_keys,
        operators: plan.operators.iter().map(|operator| operator.name.to_string()).collect(),
        by_hand,
        notes,
        verification: known.verification.cloned(),
    };
    handoff.next = next::steps(&handoff, plan);
    handoff
}

fn tunnel(plan: &Plan, tunnel: &plan::Tunnel, address: Option<&str>, known: &Known<'_>) -> Tunnel {
    let known_form = tunnel.vendor.as_ref().and_then(|vendor| vendor.known).map(|known| known.form.as_slice());
    let usual = [("User", FormValue::User), ("Host", FormValue::Host), ("Port", FormValue::Port)];
    let fields: Vec<Field> = match known_form.filter(|form| !form.is_empty()) {
        Some(form) => {
            form.iter().map(|field| filled(&field.label, &field.content, tunnel, address, known.port)).collect()
        }
        None => {
            let value = |(label, value)| filled(label, &FormContent::Value(value), tunnel, address, known.port);
            usual.map(value).into()
        }
    };
    let target = |target: &plan::Target| {
        let checks = known.verification.iter().flat_map(|verification| &verification.checks);
        Target {
            name: target.name.clone(),
            host: target.host.to_string(),
            port: target.port,
            speaks: target.speaks.as_str(),
            light: Light::of(checks.filter(|check| matches!(&check.part, Part::Target(name) if *name == target.name))),
        }
    };
    let key = |key: &plan::PublicKey| Key {
        algorithm: key.algorithm.clone(),
        fingerprint: key.fingerprint.clone(),
        comment: key.comment.clone(),
    };
    Tunnel {
        user: tunnel.user.to_string(),
        vendor: tunnel.vendor.as_ref().map(|vendor| vendor.id.clone()),
        form: tunnel.vendor.as_ref().and_then(|vendor| vendor.form.clone()),
        documentation: tunnel.vendor.as_ref().and_then(|vendor| vendor.documentation.clone()),
        fields,
        sources: sources(plan, tunnel, known),
        targets: tunnel.targets.iter().map(target).collect(),
        keys: tunnel.keys.iter().map(key).collect(),
    }
}

/// What the catalogue says of the plan's vendors, each once.
fn vendor_notes(plan: &Plan) -> Vec<String> {
    let mut told = BTreeSet::new();
    let known = plan.tunnels.iter().filter_map(|tunnel| tunnel.vendor.as_ref()?.known);
    let known = known.filter(|known| told.insert(&known.id));
    let of = |name: &str, note: &str| {
        let first = name.split(' ').next().unwrap_or(name);
        if note.contains(first) { note.to_owned() } else { format!("{name}: {note}") }
    };
    known.flat_map(|known| known.notes.iter().map(move |note| of(&known.name, note))).collect()
}

/// A field of the vendor's form with what belongs in it.
fn filled(label: &str, content: &FormContent, tunnel: &plan::Tunnel, address: Option<&str>, port: u16) -> Field {
    // The form has room for one, and which one is the vendor's question.
    let target = |value: fn(&plan::Target) -> String| match tunnel.targets.as_slice() {
        [one] => Some(value(one)),
        _ => None,
    };
    let value = match content {
        FormContent::Text(text) => Some(text.clone()),
        FormContent::Value(value) => match value {
            FormValue::User => Some(tunnel.user.to_string()),
            FormValue::Host => address.map(str::to_owned),
            FormValue::Port => Some(port.to_string()),
            FormValue::HostAndPort => address.map(|address| format!("{address}:{port}")),
            FormValue::Endpoint => address.map(|address| format!("ssh://{}@{address}:{port}", tunnel.user)),
            FormValue::PrivateKey => Some(PRIVATE_KEY.to_owned()),
            FormValue::TargetHost => target(|target| target.host.to_string()),
            FormValue::TargetPort => target(|target| target.port.to_string()),
        },
    };
    Field { label: label.to_owned(), value }
}

/// No private key is ever in a hand-off.
const PRIVATE_KEY: &str = "the private half of the key pair, from its file";

fn sources(plan: &Plan, tunnel: &plan::Tunnel, known: &Known<'_>) -> Vec<Source> {
    let own = tunnel.sources().map(|(network, why)| Source { network: network.to_string(), why: why.to_owned() });
    let listed = plan.prefix_lists_of(&tunnel.user).flat_map(|list| match known.prefix_lists.get(&list.id) {
        Some(entries) => {
            entries.iter().map(|net| Source { network: net.to_string(), why: list.id.clone() }).collect::<Vec<_>>()
        }
        None => vec![Source { network: list.id.clone(), why: "allow_from".to_owned() }],
    });
    own.chain(listed).collect()
}

fn edge(cloud: &Cloud) -> &'static str {
    match cloud {
        Cloud::Aws(_) => "security group",
        Cloud::Azure(azure) => match azure.edge {
            Edge::PublicAddress => "network security group",
            Edge::Firewall(_) | Edge::ExistingFirewall(_) | Edge::ExistingPolicy(_) => "firewall",
        },
    }
}

impl HandOff {
    /// How it ends, in words.
    fn ending(&self) -> String {
        match self.ends {
            Ends::Never => "never: it has no deadline".to_owned(),
            Ends::AfterCreation { seconds } => format!("{} after its creation", span(seconds)),
            Ends::At { time, seconds_left } => format!("{time}, {}", time_left(seconds_left)),
        }
    }
}
