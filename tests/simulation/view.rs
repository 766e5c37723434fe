//! The worlds as a judge sees them: who is let in by what, what belongs to whom, and what belongs to nobody of ours.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::{
    sandbox::{
        call::Cloud,
        cloud::State,
        ec2::{
            self,
            model::{Peer, Tags},
        },
    },
    tags::{BASTION, EXPIRES, EXTENDED},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    hand::{last, owner, region, tags, whole},
    provenance::ResourceProvenance,
};

/// Of the firewalls' subnets, from which a machine behind one is reached.
const INSIDE: [&str; 3] = ["10.60.0.0/26", "10.8.3.0/26", "10.7.3.0/26"];

/// Every source that anything of a bastion's admits in a cloud, with the bastion.
pub fn exposed(worlds: &State, cloud: Cloud, made: &ResourceProvenance) -> BTreeSet<(String, String)> {
    match cloud {
        Cloud::Aws => exposed_on_aws(worlds, made),
        Cloud::Azure => exposed_on_azure(worlds, made),
    }
}

fn exposed_on_aws(worlds: &State, made: &ResourceProvenance) -> BTreeSet<(String, String)> {
    let mut sources = BTreeSet::new();
    let groups = worlds.ec2.regions.values().flat_map(|region| &region.groups);
    for (_, group) in groups.filter(|(id, _)| made.is_own(id)) {
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
fn exposed_on_azure(worlds: &State, made: &ResourceProvenance) -> BTreeSet<(String, String)> {
    let mut sources = BTreeSet::new();
    let mut admit = |bastion: &str, source: &str| {
        let source = if source.contains('/') { source.to_owned() } else { format!("{source}/32") };
        sources.insert((bastion.to_owned(), source));
    };
    for id in worlds.arm.ids() {
        let rules = id.contains("/rulecollectiongroups/gangplank-");
        let opens = id.contains("/securityrules/") && whole(&id).contains("/networksecuritygroups/gangplank-");
        let firewall = id.contains("/azurefirewalls/") && whole(&id) == id;
        if !(rules || opens || firewall) || opens && !made.is_own(whole(&id)) {
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
pub fn counts(worlds: &State, bastion: &str, on_aws: bool, made: &ResourceProvenance) -> Vec<(&'static str, usize)> {
    let ours = |id: &str, tags: &Tags| made.is_own(id) && tags.get(BASTION).is_some_and(|owner| owner == bastion);
    if on_aws {
        let Some(region) = region(worlds) else { return Vec::new() };
        let stays = region.instances.iter().filter(|(id, i)| ours(id, &i.tags) && !i.state(Timestamp::MAX).ends());
        return vec![
            ("group", region.groups.iter().filter(|(id, g)| ours(id, &g.tags)).count()),
            (
                "address",
                region.addresses.iter().filter(|(id, a)| ours(id, &a.tags) && !made.is_stray_address(id)).count(),
            ),
            ("instance", stays.count()),
        ];
    }
    let is_owned = |id: &String| whole(id) == id && made.is_own(id) && owner(&worlds.arm, id) == Some(bastion);
    let owned: Vec<String> = worlds.arm.ids().into_iter().filter(is_owned).collect();
    let kinds = [
        ("machine", "/virtualmachines/"),
        ("interface", "/networkinterfaces/"),
        ("security group", "/networksecuritygroups/"),
    ];
    kinds.map(|(what, kind)| (what, owned.iter().filter(|id| id.contains(kind)).count())).into()
}

/// The bastions' addresses with where each leads and whether a rule names it, for whoever reads of a broken invariant.
pub fn addresses(worlds: &State) -> String {
    let Some(region) = region(worlds) else { return String::new() };
    let tell = |(id, address): (&String, &ec2::model::Address)| {
        let interface = address.association.as_ref().and_then(|to| region.interfaces.get(&to.interface));
        let machine = interface.and_then(|i| i.attachment.as_ref()).map_or("nothing", |to| to.instance.as_str());
        let mut rules = region.groups.values().flat_map(|group| group.rules.values());
        let named = rules.any(|rule| rule.description.as_ref().is_some_and(|text| text.contains(id.as_str())));
        format!("{id} leads to {machine}{}", if named { " and is named by a rule" } else { "" })
    };
    let own = region.addresses.iter().filter(|(_, address)| address.tags.contains_key(BASTION));
    own.map(tell).collect::<Vec<_>>().join(", ")
}

/// Whether a bastion has a machine of gangplank's making that runs.
pub fn runs(worlds: &State, bastion: &str, cloud: Cloud, made: &ResourceProvenance, now: Timestamp) -> bool {
    match cloud {
        Cloud::Aws => {
            let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| owner == bastion);
            let own = |id: &str| region(worlds)?.instances.get(id).map(|instance| ours(&instance.tags));
            worlds.ec2.machines(now).iter().any(|vm| vm.running && made.is_own(&vm.id) && own(&vm.id) == Some(true))
        }
        Cloud::Azure => {
            let all = worlds.arm.machines(now);
            all.iter().any(|vm| vm.running && made.is_own(&vm.id) && owner(&worlds.arm, &vm.id) == Some(bastion))
        }
    }
}

/// The machine to which a bastion's own address leads, where that is none of gangplank's making, with the address.
pub fn led_astray(worlds: &State, cloud: Cloud, made: &ResourceProvenance) -> Option<(String, String)> {
    match cloud {
        Cloud::Aws => {
            let region = region(worlds)?;
            let own = region.addresses.iter().filter(|(id, a)| made.is_own(id) && a.tags.contains_key(BASTION));
            let led = own.filter_map(|(id, a)| {
                let interface = region.interfaces.get(&a.association.as_ref()?.interface)?;
                Some((id.clone(), interface.attachment.as_ref()?.instance.clone()))
            });
            led.into_iter().find(|(_, instance)| !made.is_own(instance))
        }
        Cloud::Azure => worlds.arm.ids().into_iter().find_map(|id| {
            let is_own = id.contains("/networkinterfaces/gangplank-") && made.is_own(&id);
            let interface = is_own.then(|| worlds.arm.resource(&id)).flatten()?;
            let machine = interface.pointer("/properties/virtualMachine/id")?.as_str()?.to_lowercase();
            (!made.is_own(&machine)).then_some((id, machine))
        }),
    }
}

/// The instance of gangplank's making to which each of the bastions' own addresses leads, by the address.
pub fn holders(worlds: &State, made: &ResourceProvenance) -> BTreeMap<String, String> {
    let Some(region) = region(worlds) else { return BTreeMap::new() };
    let own = region.addresses.iter().filter(|(id, a)| made.is_own(id) && a.tags.contains_key(BASTION));
    let led = own.filter_map(|(id, a)| {
        let interface = region.interfaces.get(&a.association.as_ref()?.interface)?;
        let instance = &interface.attachment.as_ref()?.instance;
        let stays = !region.instances.get(instance)?.state(Timestamp::MAX).ends();
        (stays && made.is_own(instance)).then(|| (id.clone(), instance.clone()))
    });
    led.collect()
}

/// What of the bastions' has an end outside these bounds, or one that was moved, though nobody moved it.
pub fn undecided_end(
    worlds: &State,
    made: &ResourceProvenance,
    bounds: std::ops::RangeInclusive<Timestamp>,
) -> Option<(String, String)> {
    let wrong = |id: &str, tags: &Tags| -> Option<(String, String)> {
        if !made.is_own(id) || made.is_stray_address(id) || made.is_forged(id) || !tags.contains_key(BASTION) {
            return None;
        }
        if let Some(moved) = tags.get(EXTENDED) {
            return Some((id.to_owned(), moved.clone()));
        }
        let end = tags.get(EXPIRES)?;
        let decided = end.parse::<Timestamp>().is_ok_and(|end| bounds.contains(&end));
        (!decided).then(|| (id.to_owned(), end.clone()))
    };
    for region in worlds.ec2.regions.values() {
        let groups = region.groups.iter().map(|(id, g)| (id, &g.tags));
        let addresses = region.addresses.iter().map(|(id, a)| (id, &a.tags));
        let instances = region.instances.iter().filter(|(_, i)| !i.state(Timestamp::MAX).ends());
        let mut all = groups.chain(addresses).chain(instances.map(|(id, i)| (id, &i.tags)));
        if let Some(found) = all.find_map(|(id, tags)| wrong(id, tags)) {
            return Some(found);
        }
    }
    // A disk keeps the tags that its machine was made with.
    let ids = worlds.arm.ids().into_iter().filter(|id| whole(id) == id && !id.contains("/disks/"));
    ids.filter(|id| worlds.arm.tags_of(id).is_some()).find_map(|id| wrong(&id, &tags(&worlds.arm, &id)))
}

/// Everything in these clouds that is not one of these bastions', by id, without what changes by itself. What carries their tags and
/// was made by people is not theirs.
pub fn beside(
    worlds: &State,
    clouds: &[Cloud],
    made: &ResourceProvenance,
    is_one: &dyn Fn(&str) -> bool,
) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    // What carries both marks may go.
    let may_go = |id: &str| !made.is_own(id) && !made.is_untouchable(id);
    for region in worlds.ec2.regions.values().filter(|_| clouds.contains(&Cloud::Aws)) {
        let ours = |id: &str, tags: &Tags| {
            may_go(id) || made.is_own(id) && tags.get(BASTION).is_some_and(|owner| is_one(owner))
        };
        let own: BTreeSet<&String> =
            region.groups.iter().filter(|(id, g)| ours(id, &g.tags)).map(|(id, _)| id).collect();
        for (id, group) in region.groups.iter().filter(|(id, g)| !ours(id, &g.tags)) {
            let mut group = group.clone();
            group.rules.retain(|_, rule| !matches!(&rule.opens.peer, Peer::Group(peer) if own.contains(peer)));
            without_tagged(made, id, &mut group.tags);
            all.insert(id.clone(), json(&group));
        }
        for (id, address) in region.addresses.iter().filter(|(id, a)| !ours(id, &a.tags)) {
            let mut address = address.clone();
            without_tagged(made, id, &mut address.tags);
            all.insert(id.clone(), json(&address));
        }
        // EC2 forgets what has ended.
        let others = region.instances.iter().filter(|(id, i)| !ours(id, &i.tags) && !i.state(Timestamp::MAX).ends());
        for (id, instance) in others {
            let mut tags = instance.tags.clone();
            without_tagged(made, id, &mut tags);
            let groups = region.main_interface(id).map(|(_, interface)| &interface.groups);
            all.insert(id.clone(), json(&(instance.state(Timestamp::MAX).name(), tags, groups)));
        }
        for (id, volume) in region.volumes.iter().filter(|(id, v)| !ours(id, &v.tags)) {
            let mut tags = volume.tags.clone();
            without_tagged(made, id, &mut tags);
            all.insert(id.clone(), json(&tags));
        }
        all.extend(region.subnets.iter().map(|(id, s)| (id.clone(), json(s))));
    }
    for id in worlds.arm.ids().into_iter().filter(|_| clouds.contains(&Cloud::Azure)) {
        if may_go(&id) || made.is_own(&id) && owner_on_azure(worlds, &id, made).is_some_and(is_one) {
            continue;
        }
        let Some(mut resource) = worlds.arm.resource(&id) else { continue };
        settle(&mut resource, is_one);
        if let (Some(keys), Some(tags)) = (made.tagged_keys(&id), resource["tags"].as_object_mut()) {
            tags.retain(|key, _| !keys.contains(key));
        }
        all.insert(id, resource);
    }
    all
}

/// What somebody tagged is looked at without those tags: whoever may remove them is not asked.
fn without_tagged(made: &ResourceProvenance, id: &str, tags: &mut Tags) {
    if let Some(keys) = made.tagged_keys(id) {
        tags.retain(|key, _| !keys.contains(key));
    }
}

/// Whose a thing on Azure is: by its tag or its parent's, by its resource group's name, or as our rules and disks are called.
fn owner_on_azure<'a>(worlds: &'a State, id: &'a str, made: &ResourceProvenance) -> Option<&'a str> {
    let tagged = owner(&worlds.arm, whole(id)).filter(|_| made.is_own(whole(id)));
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
pub fn all_of(worlds: &State, bastion: &str, made: &ResourceProvenance, now: Timestamp) -> BTreeSet<String> {
    let ours = |id: &str, tags: &Tags| made.is_own(id) && tags.get(BASTION).is_some_and(|owner| owner == bastion);
    let mut all = BTreeSet::new();
    for region in worlds.ec2.regions.values() {
        all.extend(region.groups.iter().filter(|(id, g)| ours(id, &g.tags)).map(|(id, _)| id.clone()));
        let rules = region.groups.values().flat_map(|group| &group.rules);
        all.extend(rules.filter(|(id, rule)| ours(id, &rule.tags)).map(|(id, _)| id.clone()));
        let addresses = region.addresses.iter().filter(|(id, a)| ours(id, &a.tags) && !made.is_stray_address(id));
        all.extend(addresses.map(|(id, _)| id.clone()));
        let instances = region.instances.iter().filter(|(id, i)| ours(id, &i.tags) && !i.state(now).ends());
        all.extend(instances.map(|(id, _)| id.clone()));
        all.extend(region.volumes.iter().filter(|(id, v)| ours(id, &v.tags)).map(|(id, _)| id.clone()));
    }
    let own = |id: &String| made.is_own(id) && owner_on_azure(worlds, id, made).is_some_and(|owner| owner == bastion);
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

/// What a reaper has to do with a bastion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReapExpectation {
    MustGo,
    MustStay,
    /// Its time is up, and a tag that somebody wrote says otherwise: a doubt.
    MayGo,
}

/// Whether a bastion's time is up, or its machine gone, as its own resources say; a doubt lets it stay. What somebody wrote on one of
/// them makes nothing go before its time.
pub fn reap_expectation(
    worlds: &State,
    bastion: &str,
    on_aws: bool,
    made: &ResourceProvenance,
    now: Timestamp,
) -> ReapExpectation {
    // What an interrupted run left says nothing of the bastion's end.
    let ours = |id: &str, tags: &Tags| {
        made.is_own(id) && !made.is_stray_address(id) && tags.get(BASTION).is_some_and(|owner| owner == bastion)
    };
    let mut dated: Vec<(String, Tags)> = Vec::new();
    let mut has_machine = false;
    if on_aws {
        let Some(region) = region(worlds) else { return ReapExpectation::MustStay };
        let instances = region.instances.iter().filter(|(id, i)| ours(id, &i.tags) && !i.state(now).ends());
        dated.extend(instances.map(|(id, i)| (id.clone(), i.tags.clone())));
        has_machine = !dated.is_empty();
        let addresses = region.addresses.iter().map(|(id, a)| (id, &a.tags));
        let all = addresses.chain(region.groups.iter().map(|(id, g)| (id, &g.tags)));
        dated.extend(all.filter(|(id, tags)| ours(id, tags)).map(|(id, tags)| (id.clone(), tags.clone())));
    } else {
        // A disk keeps the tags that its machine was made with.
        for id in worlds.arm.ids().into_iter().filter(|id| whole(id) == id && !id.contains("/disks/")) {
            let tags = tags(&worlds.arm, &id);
            if ours(&id, &tags) {
                has_machine |= id.contains("/virtualmachines/");
                dated.push((id, tags));
            }
        }
    }
    // A resource group that a plan names has a name of the user's: alone it proves nothing, and is named as a stranger.
    let nothing_but_groups =
        !dated.is_empty() && dated.iter().all(|(id, _)| id.rsplit('/').nth(1) == Some("resourcegroups"));
    let end = |tags: &Tags| tags.get(EXPIRES).cloned();
    let genuine: Vec<Option<String>> =
        dated.iter().filter(|(id, _)| !made.is_forged(id)).map(|(_, tags)| end(tags)).collect();
    // Where only two tell an end, and differ, nothing tells which is right.
    let disputed = matches!(genuine.iter().flatten().collect::<Vec<_>>()[..], [one, other] if one != other);
    let is_doubtful = disputed || genuine.len() < dated.len();
    match (is_over(&genuine, has_machine, now), is_doubtful || nothing_but_groups) {
        (true, false) => ReapExpectation::MustGo,
        (true, true) => ReapExpectation::MayGo,
        (false, _) if genuine.is_empty() && is_doubtful => ReapExpectation::MayGo,
        (false, _) => ReapExpectation::MustStay,
    }
}

fn is_over(ends: &[Option<String>], has_machine: bool, now: Timestamp) -> bool {
    match ends.iter().flatten().count() {
        0 => !has_machine,
        some if some < ends.len() => false,
        _ => {
            // What one resource tells alone, against two or more that agree, does not count.
            let count = |end: &Option<String>| ends.iter().filter(|other| *other == end).count();
            let agreed = ends.iter().any(|end| count(end) > 1);
            let counting = ends.iter().filter(|end| !agreed || count(end) > 1);
            let last = counting.flatten().filter_map(|text| text.parse::<Timestamp>().ok()).max();
            last.is_some_and(|last| last <= now) || !has_machine
        }
    }
}
