//! What a changeset means to the plan's vendors, said once beside its steps. Pure.

use std::collections::BTreeSet;

use crate::{
    changeset::{Changeset, Detail, Impact, Op},
    drift::by_catalogue,
    plan::{Plan, Vendor, catalogue::HostKeyHabit},
};

pub fn notes<A>(plan: &Plan, set: &Changeset<A>) -> Vec<String> {
    let vendors = || plan.tunnels.iter().filter_map(|tunnel| tunnel.vendor.as_ref());
    let mut notes = Vec::new();
    if set.steps.iter().any(|step| step.impact == Impact::Replacement) {
        let known = vendors().filter_map(|vendor| vendor.known);
        let keeps = known.filter(|known| known.host_key == HostKeyHabit::Pinned).map(|known| known.name.as_str());
        notes.extend(keeps.collect::<BTreeSet<_>>().into_iter().map(|name| {
            format!(
                "{name} keeps the bastion's host key: it will not connect to the new machine until its new key is approved there"
            )
        }));
    }
    let legacy = plan.tunnels.iter().filter(|tunnel| tunnel.legacy_rsa_sha1 == Some(true));
    notes.extend(legacy.map(|tunnel| {
        format!(
            "risk: sshd accepts SHA-1 signatures of {}'s RSA keys (legacy_rsa_sha1: true). SHA-1 is broken: write false once the vendor signs with SHA-2",
            tunnel.user
        )
    }));
    // A group that is yet to be made has no rules that could be older than the catalogue.
    let steps = set.steps.iter().filter(|step| step.op != Op::Create);
    let details: Vec<&Detail> = steps.flat_map(|step| &step.details).collect();
    let other: BTreeSet<String> = vendors().filter_map(|vendor| other_addresses(vendor, &details)).collect();
    notes.extend(other);
    notes
}

/// The catalogue has other addresses of a vendor than the rules that an earlier release made for it.
fn other_addresses(vendor: &Vendor, details: &[&Detail]) -> Option<String> {
    let (known, region) = (vendor.known?, vendor.id.split_once('/')?.1);
    let (source, as_of) = known.source_of(known.regions.get(region)?);
    let of_vendor = || details.iter().filter(|detail| by_catalogue(vendor, detail));
    let words = |text: &Option<String>| text.as_deref().map(|text| text.trim_start_matches("from ").to_owned());
    let added: BTreeSet<String> = of_vendor().filter_map(|detail| words(&detail.after)).collect();
    let gone: BTreeSet<String> = of_vendor().filter_map(|detail| words(&detail.before)).collect();
    // The plan names it only now.
    let is_new = gone.is_empty() && added.len() == vendor.sources.len();
    if is_new || added.is_empty() && gone.is_empty() {
        return None;
    }
    let list =
        |sign: &str, nets: BTreeSet<String>| nets.into_iter().map(|net| format!("{sign}{net}")).collect::<Vec<_>>();
    let changed = [list("+", added), list("-", gone)].concat().join(", ");
    Some(format!(
        "the catalogue's addresses of {} differ from those that the rules admit: {changed} (source: {source}, {as_of}); new ones are opened before old ones are closed",
        vendor.id
    ))
}
