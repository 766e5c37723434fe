//! The worlds as a judge sees them: who is let in by what, what belongs to whom, and what belongs to nobody of ours.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::{
    provider::tags::{BASTION, EXPIRES},
    sandbox::{
        call::Cloud,
        cloud::State,
        ec2::model::{Peer, Tags},
    },
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::hand::{last, owner, region, tags, whole};

/// Of the firewalls' subnets, from which a machine behind one is reached.
const INSIDE: [&str; 3] = ["10.60.0.0/26", "10.8.3.0/26", "10.7.3.0/26"];

/// Every source that anything of a bastion's admits in a cloud, with the bastion.
pub fn exposed(worlds: &State, cloud: Cloud) -> BTreeSet<(String, String)> {
    match cloud {
        Cloud::Aws => exposed_on_aws(worlds),
        Cloud::Azure => exposed_on_azure(worlds),
    }
}

fn exposed_on_aws(worlds: &State) -> BTreeSet<(String, String)> {
    let mut sources = BTreeSet::new();
    for group in worlds.ec2.regions.values().flat_map(|region| region.groups.values()) {
        let Some(owner) = group.tags.get(BASTION) else { continue };
        for rule in group.rules.values().filter(|rule| !rule.opens.egress) {
            if let Peer::Net(net) = &rule.opens.peer {
                sources.insert((owner.clone(), net.to_string()));
            }
        }
    }
    sources
}

/// In rule collection groups and classic collections that are called as ours are, and in security groups.
fn exposed_on_azure(worlds: &State) -> BTreeSet<(String, String)> {
    let mut sources = BTreeSet::new();
    let mut admit = |bastion: &str, source: &str| {
        let source = if source.contains('/') { source.to_owned() } else { format!("{source}/32") };
        sources.insert((bastion.to_owned(), source));
    };
    for id in worlds.arm.ids() {
        let rules = id.contains("/rulecollectiongroups/gangplank-");
        let opens = id.contains("/securityrules/") && whole(&id).contains("/networksecuritygroups/gangplank-");
        let firewall = id.contains("/azurefirewalls/") && whole(&id) == id;
        if !(rules || opens || firewall) {
            continue;
        }
        let Some(resource) = worlds.arm.resource(&id) else { continue };
        if opens {
            let bastion = last(whole(&id)).trim_start_matches("gangplank-");
            let of = |name: &str| resource.pointer(&format!("/properties/{name}"));
            let says = |name: &str, word: &str| {
                of(name).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(word))
            };
            if says("direction", "inbound") && says("access", "allow") {
                let many = of("sourceAddressPrefixes").and_then(Value::as_array).into_iter().flatten();
                let all = many.chain(of("sourceAddressPrefix")).filter_map(Value::as_str);
                all.filter(|source| !INSIDE.contains(source)).for_each(|source| admit(bastion, source));
            }
            continue;
        }
        let at = if rules { "/properties/ruleCollections" } else { "/properties/natRuleCollections" };
        for collection in resource.pointer(at).and_then(Value::as_array).into_iter().flatten() {
            let name = if rules { last(&id) } else { collection["name"].as_str().unwrap_or_default() };
            let Some(bastion) = name.strip_prefix("gangplank-").filter(|bastion| *bastion != "lookalike") else {
                continue;
            };
            let all = collection.pointer("/properties/rules").or_else(|| collection.get("rules"));
            for rule in all.and_then(Value::as_array).into_iter().flatten() {
                let from = rule["sourceAddresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
                from.for_each(|source| admit(bastion, source));
            }
        }
    }
    sources
}

/// How many of each thing of a bastion's there are in the clouds; where it is to stand, there is one of each.
pub fn counts(worlds: &State, bastion: &str, on_aws: bool) -> Vec<(&'static str, usize)> {
    let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| owner == bastion);
    if on_aws {
        let Some(region) = region(worlds) else { return Vec::new() };
        let stays = region.instances.values().filter(|i| ours(&i.tags) && !i.state(Timestamp::MAX).ends());
        return vec![
            ("group", region.groups.values().filter(|g| ours(&g.tags)).count()),
            ("address", region.addresses.values().filter(|a| ours(&a.tags)).count()),
            ("instance", stays.count()),
        ];
    }
    let owned: Vec<String> =
        worlds.arm.ids().into_iter().filter(|id| whole(id) == id && owner(&worlds.arm, id) == Some(bastion)).collect();
    let kinds = [
        ("machine", "/virtualmachines/"),
        ("interface", "/networkinterfaces/"),
        ("security group", "/networksecuritygroups/"),
    ];
    kinds.map(|(what, kind)| (what, owned.iter().filter(|id| id.contains(kind)).count())).into()
}

/// Whether a bastion has a machine that runs.
pub fn runs(worlds: &State, bastion: &str, cloud: Cloud, now: Timestamp) -> bool {
    match cloud {
        Cloud::Aws => {
            let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| owner == bastion);
            let own = |id: &str| region(worlds)?.instances.get(id).map(|instance| ours(&instance.tags));
            worlds.ec2.machines(now).iter().any(|vm| vm.running && own(&vm.id) == Some(true))
        }
        Cloud::Azure => {
            let all = worlds.arm.machines(now);
            all.iter().any(|vm| vm.running && owner(&worlds.arm, &vm.id) == Some(bastion))
        }
    }
}

/// Everything in these clouds that is not one of these bastions', by id, without what changes by itself.
pub fn beside(worlds: &State, clouds: &[Cloud], is_one: &dyn Fn(&str) -> bool) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for region in worlds.ec2.regions.values().filter(|_| clouds.contains(&Cloud::Aws)) {
        let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| is_one(owner));
        let own: BTreeSet<&String> = region.groups.iter().filter(|(_, g)| ours(&g.tags)).map(|(id, _)| id).collect();
        for (id, group) in region.groups.iter().filter(|(_, g)| !ours(&g.tags)) {
            let mut group = group.clone();
            group.rules.retain(|_, rule| !matches!(&rule.opens.peer, Peer::Group(peer) if own.contains(peer)));
            all.insert(id.clone(), json(&group));
        }
        all.extend(region.addresses.iter().filter(|(_, a)| !ours(&a.tags)).map(|(id, a)| (id.clone(), json(a))));
        // EC2 forgets what has ended.
        let others = region.instances.iter().filter(|(_, i)| !ours(&i.tags) && !i.state(Timestamp::MAX).ends());
        all.extend(others.map(|(id, i)| (id.clone(), json(&(i.state(Timestamp::MAX).name(), &i.tags)))));
        all.extend(region.volumes.iter().filter(|(_, v)| !ours(&v.tags)).map(|(id, v)| (id.clone(), json(&v.tags))));
        all.extend(region.subnets.iter().map(|(id, s)| (id.clone(), json(s))));
    }
    for id in worlds.arm.ids().into_iter().filter(|_| clouds.contains(&Cloud::Azure)) {
        if owner_on_azure(worlds, &id).is_some_and(is_one) {
            continue;
        }
        let Some(mut resource) = worlds.arm.resource(&id) else { continue };
        settle(&mut resource, is_one);
        all.insert(id, resource);
    }
    all
}

/// Whose a thing on Azure is: by its tag or its parent's, by its resource group's name, or as our rules and disks are called.
fn owner_on_azure<'a>(worlds: &'a State, id: &'a str) -> Option<&'a str> {
    let tagged = owner(&worlds.arm, whole(id));
    // No bastion stands in the hub's group; a lookalike's disk does.
    let child = id.contains("/rulecollectiongroups/") || id.contains("/disks/") && !id.contains("/rg-hub/");
    let name = || last(id).strip_prefix("gangplank-")?.split("_osdisk_").next();
    let named = || name().filter(|_| child);
    let within = || id.split_once("/rg-bastion-").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    tagged.or_else(named).or_else(within)
}

/// Without what Azure itself changes: etags, states, and who refers to it; and without collections of the bastions.
fn settle(value: &mut Value, is_one: &dyn Fn(&str) -> bool) {
    match value {
        Value::Object(map) => {
            for name in ["etag", "provisioningState", "ipConfigurations", "ruleCollectionGroups", "networkInterfaces"] {
                map.remove(name);
            }
            if let Some(collections) = map.get_mut("natRuleCollections").and_then(Value::as_array_mut) {
                let owner = |c: &Value| c["name"].as_str()?.strip_prefix("gangplank-").map(is_one);
                collections.retain(|c| owner(c) != Some(true));
            }
            map.values_mut().for_each(|value| settle(value, is_one));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| settle(value, is_one)),
        _ => {}
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}

/// Everything that is a bastion's, by id: in both clouds, rules in other people's firewalls and groups too.
pub fn all_of(worlds: &State, bastion: &str, now: Timestamp) -> BTreeSet<String> {
    let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| owner == bastion);
    let mut all = BTreeSet::new();
    for region in worlds.ec2.regions.values() {
        all.extend(region.groups.iter().filter(|(_, g)| ours(&g.tags)).map(|(id, _)| id.clone()));
        let rules = region.groups.values().flat_map(|group| &group.rules);
        all.extend(rules.filter(|(_, rule)| ours(&rule.tags)).map(|(id, _)| id.clone()));
        all.extend(region.addresses.iter().filter(|(_, a)| ours(&a.tags)).map(|(id, _)| id.clone()));
        let instances = region.instances.iter().filter(|(_, i)| ours(&i.tags) && !i.state(now).ends());
        all.extend(instances.map(|(id, _)| id.clone()));
        all.extend(region.volumes.iter().filter(|(_, v)| ours(&v.tags)).map(|(id, _)| id.clone()));
    }
    let own = |id: &String| owner_on_azure(worlds, id).is_some_and(|owner| owner == bastion);
    all.extend(worlds.arm.ids().into_iter().filter(own));
    let name = format!("gangplank-{bastion}");
    for id in worlds.arm.ids().into_iter().filter(|id| id.contains("/azurefirewalls/") && whole(id) == id) {
        let firewall = worlds.arm.resource(&id).unwrap_or_default();
        let collections = firewall.pointer("/properties/natRuleCollections").and_then(Value::as_array);
        if collections.into_iter().flatten().any(|c| c["name"] == name.as_str()) {
            all.insert(format!("{id}/{name}"));
        }
    }
    all
}

/// Whether a bastion's time is up, or its machine gone, as its own resources say; a doubt lets it stay.
pub fn is_due(worlds: &State, bastion: &str, on_aws: bool, now: Timestamp) -> bool {
    let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| owner == bastion);
    let mut dated: Vec<Tags> = Vec::new();
    let mut has_machine = false;
    if on_aws {
        let Some(region) = region(worlds) else { return false };
        let instances: Vec<_> = region.instances.values().filter(|i| ours(&i.tags) && !i.state(now).ends()).collect();
        has_machine = !instances.is_empty();
        dated.extend(instances.iter().map(|i| i.tags.clone()));
        dated.extend(region.addresses.values().map(|a| &a.tags).filter(|tags| ours(tags)).cloned());
        dated.extend(region.groups.values().map(|g| &g.tags).filter(|tags| ours(tags)).cloned());
    } else {
        // A disk keeps the tags that its machine was made with.
        for id in worlds.arm.ids().into_iter().filter(|id| whole(id) == id && !id.contains("/disks/")) {
            let tags = tags(&worlds.arm, &id);
            if ours(&tags) {
                has_machine |= id.contains("/virtualmachines/");
                dated.push(tags);
            }
        }
    }
    let ends: Vec<Option<&String>> = dated.iter().map(|tags| tags.get(EXPIRES)).collect();
    match ends.iter().flatten().count() {
        0 => !has_machine,
        some if some < ends.len() => false,
        _ => {
            let last = ends.iter().flatten().filter_map(|text| text.parse::<Timestamp>().ok()).max();
            last.is_some_and(|last| last <= now) || !has_machine
        }
    }
}
