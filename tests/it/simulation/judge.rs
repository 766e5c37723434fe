//! The invariants, judged on the worlds and not by anything that gangplank says.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::{
    provider::tags::BASTION,
    sandbox::{call::Call, cloud::State, ec2::model::Peer, http::Ask},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Whom somebody lets in by hand: no plan's.
const MEDDLER: &str = "203.0.113.66/32";
const REGION: &str = "us-east-1";

/// What one of the invariants says, and how it was broken.
pub struct Judge {
    /// Whom the plans that were applied so far admit.
    admitted: BTreeSet<String>,
    /// What was there before, and is nobody's of ours.
    foreign: BTreeMap<String, Value>,
    /// The first that was broken.
    pub broken: Option<String>,
}

impl Judge {
    pub fn new(worlds: &State) -> Self {
        Self { admitted: BTreeSet::new(), foreign: foreign(worlds), broken: None }
    }

    pub fn admit(&mut self, sources: &BTreeSet<String>) {
        self.admitted.extend(sources.iter().cloned());
    }

    pub fn breaks(&mut self, invariant: &str, how: impl Into<String>) {
        let how = how.into();
        self.broken.get_or_insert_with(|| format!("{invariant}: {how}"));
    }

    /// After each write: nobody is let in whom no plan lists.
    pub fn look(&mut self, worlds: &State, call: &Call) {
        for source in exposed(worlds) {
            if source != MEDDLER && !self.admitted.contains(&source) {
                self.breaks("least exposure", format!("{} lets {source} in", call.operation));
            }
        }
    }

    /// Nothing is there twice.
    pub fn nothing_twice(&mut self, worlds: &State, bastion: &str) {
        let Some(region) = worlds.ec2.regions.get(REGION) else { return };
        let ours = |tags: &BTreeMap<String, String>| tags.get(BASTION).is_some_and(|owner| owner == bastion);
        let counts = [
            ("group", region.groups.values().filter(|g| ours(&g.tags)).count()),
            ("address", region.addresses.values().filter(|a| ours(&a.tags)).count()),
            (
                "instance",
                region.instances.values().filter(|i| ours(&i.tags) && !i.state(Timestamp::MAX).ends()).count(),
            ),
        ];
        for (what, count) in counts {
            if count != 1 {
                self.breaks("no duplicate", format!("{count} of {bastion}'s {what}"));
            }
        }
    }

    /// What was there before is as it was, but for what somebody did to it.
    pub fn nothing_foreign_is_touched(&mut self, worlds: &State) {
        let now = foreign(worlds);
        for (id, was) in &self.foreign {
            match now.get(id) {
                Some(is) if is == was => {}
                Some(is) => return self.breaks("only its own", format!("{id} was {was} and is {is}")),
                None => return self.breaks("only its own", format!("{id} is gone")),
            }
        }
    }

    pub fn nothing_is_left(&mut self, worlds: &State) {
        let now = foreign(worlds);
        if let Some(id) = now.keys().find(|id| !self.foreign.contains_key(*id)) {
            self.breaks("destroy leaves nothing", id.as_str());
        }
    }

    /// Somebody changes something of a bastion by hand. Whether there was something to change.
    pub fn meddle(&mut self, worlds: &mut State, rng: &mut fastrand::Rng, now: Timestamp) -> bool {
        let Some(region) = worlds.ec2.regions.get(REGION) else { return false };
        let ours = |tags: &BTreeMap<String, String>| tags.contains_key(BASTION);
        let group = region.groups.iter().find(|(_, g)| ours(&g.tags)).map(|(id, _)| id.clone());
        let instance =
            region.instances.iter().find(|(_, i)| ours(&i.tags) && !i.state(now).ends()).map(|(id, _)| id.clone());
        let association =
            region.addresses.values().filter(|a| ours(&a.tags)).find_map(|a| Some(a.association.as_ref()?.id.clone()));
        let fields: Vec<(&str, String)> = match (rng.u8(..5), group, instance, association) {
            (0, Some(group), ..) => vec![
                ("Action", "AuthorizeSecurityGroupIngress".to_owned()),
                ("GroupId", group),
                ("IpPermissions.1.IpProtocol", "tcp".to_owned()),
                ("IpPermissions.1.FromPort", "22".to_owned()),
                ("IpPermissions.1.ToPort", "22".to_owned()),
                ("IpPermissions.1.IpRanges.1.CidrIp", MEDDLER.to_owned()),
            ],
            (1, _, Some(instance), _) => {
                vec![("Action", "TerminateInstances".to_owned()), ("InstanceId.1", instance)]
            }
            (2, _, Some(instance), _) => vec![("Action", "StopInstances".to_owned()), ("InstanceId.1", instance)],
            (3, _, _, Some(association)) => {
                vec![("Action", "DisassociateAddress".to_owned()), ("AssociationId", association)]
            }
            (4, _, Some(instance), _) => vec![
                ("Action", "CreateTags".to_owned()),
                ("ResourceId.1", instance),
                ("Tag.1.Key", "cost-centre".to_owned()),
                ("Tag.1.Value", "42".to_owned()),
            ],
            _ => return false,
        };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Version", "2016-11-15").extend_pairs(fields);
        let ask =
            Ask { method: "POST".to_owned(), path: "/".to_owned(), body: form.finish().into_bytes(), ..Ask::default() };
        worlds.ec2.answer(now, &ask).status == 200
    }
}

/// Every source that anything of ours admits.
fn exposed(worlds: &State) -> BTreeSet<String> {
    let mut sources = BTreeSet::new();
    let groups = worlds.ec2.regions.values().flat_map(|region| region.groups.values());
    for group in groups.filter(|group| group.name.starts_with("gangplank-")) {
        sources.extend(group.rules.values().filter(|rule| !rule.opens.egress).filter_map(
            |rule| match &rule.opens.peer {
                Peer::Net(net) => Some(net.to_string()),
                Peer::Group(_) | Peer::PrefixList(_) => None,
            },
        ));
    }
    for id in worlds
        .arm
        .ids()
        .into_iter()
        .filter(|id| id.contains("/rulecollectiongroups/gangplank-") || id.contains("/azurefirewalls/"))
    {
        let Some(resource) = worlds.arm.resource(&id) else { continue };
        let collections = ["/properties/ruleCollections", "/properties/natRuleCollections"];
        let collections =
            collections.iter().filter_map(|at| resource.pointer(at)).filter_map(Value::as_array).flatten();
        let ours = collections.filter(|c| {
            id.contains("/rulecollectiongroups/")
                || c["name"].as_str().is_some_and(|name| name.starts_with("gangplank-"))
        });
        let rules =
            ours.flat_map(|c| c.pointer("/properties/rules").or_else(|| c.get("rules")).and_then(Value::as_array));
        for source in
            rules.flatten().filter_map(|rule| rule["sourceAddresses"].as_array()).flatten().filter_map(Value::as_str)
        {
            sources.insert(if source.contains('/') { source.to_owned() } else { format!("{source}/32") });
        }
    }
    sources
}

/// Everything that carries no tag of ours and is no rule or collection of ours, by id, without what changes by itself.
fn foreign(worlds: &State) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for region in worlds.ec2.regions.values() {
        let ours = |tags: &BTreeMap<String, String>| tags.contains_key(BASTION);
        let own_groups: BTreeSet<&String> =
            region.groups.iter().filter(|(_, g)| ours(&g.tags)).map(|(id, _)| id).collect();
        for (id, group) in region.groups.iter().filter(|(_, g)| !ours(&g.tags)) {
            let mut group = group.clone();
            group.rules.retain(|_, rule| !matches!(&rule.opens.peer, Peer::Group(peer) if own_groups.contains(peer)));
            all.insert(id.clone(), json(&group));
        }
        all.extend(region.addresses.iter().filter(|(_, a)| !ours(&a.tags)).map(|(id, a)| (id.clone(), json(a))));
        let others = region.instances.iter().filter(|(_, i)| !ours(&i.tags));
        all.extend(others.map(|(id, i)| (id.clone(), Value::from(i.state(Timestamp::MAX).name()))));
        all.extend(region.subnets.iter().map(|(id, s)| (id.clone(), json(s))));
    }
    for id in worlds.arm.ids() {
        let Some(mut resource) = worlds.arm.resource(&id) else { continue };
        let tagged = resource.pointer("/tags").and_then(|tags| tags.get(BASTION)).is_some();
        let child = id.contains("/rulecollectiongroups/gangplank-") || id.contains("/schedules/");
        if tagged || child || id.contains("rg-bastion-") {
            continue;
        }
        settle(&mut resource);
        all.insert(id, resource);
    }
    all
}

/// Without what Azure itself changes: etags, states, and who refers to it; and without collections of ours.
fn settle(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["etag", "provisioningState", "ipConfigurations", "ruleCollectionGroups", "networkInterfaces"] {
                map.remove(name);
            }
            if let Some(collections) = map.get_mut("natRuleCollections").and_then(Value::as_array_mut) {
                collections.retain(|c| !c["name"].as_str().is_some_and(|name| name.starts_with("gangplank-")));
            }
            map.values_mut().for_each(settle);
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        _ => {}
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}
