//! Somebody who changes things by hand while gangplank works: what is a bastion's, and what stands beside it.

use gangplank::{
    sandbox::{call::Cloud, cloud::State, ec2},
    tags::BASTION,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    hand::{arm, collection, ec2 as call, last, net, owner, region, rewrite, rule_group, tags, whole},
    provenance::ResourceProvenance,
};

/// Whom somebody lets in by hand: no plan's.
pub const MEDDLER: &str = "203.0.113.66/32";
/// Somebody's own interface, in whichever network.
const INTERFACE: &str = "networkInterfaces/theirs";

/// What somebody has changed.
pub enum Touched {
    /// Something of a bastion's, for an apply to put right.
    Ours,
    /// Something that is nobody's of ours: from now on it has to stay so.
    Theirs,
}

/// One change in a cloud, where there is something to change and the cloud lets it happen.
pub fn meddle(
    worlds: &mut State,
    rng: &mut fastrand::Rng,
    cloud: Cloud,
    made: &ResourceProvenance,
    now: Timestamp,
) -> Option<Touched> {
    match cloud {
        Cloud::Aws => on_aws(worlds, rng, made, now),
        Cloud::Azure => on_azure(worlds, rng, made, now),
    }
}

fn on_aws(worlds: &mut State, rng: &mut fastrand::Rng, made: &ResourceProvenance, now: Timestamp) -> Option<Touched> {
    let region = region(worlds)?;
    let group =
        || region.groups.iter().find(|(_, g)| g.name.starts_with("gangplank-warehouse")).map(|(id, _)| id.clone());
    let instance = || {
        let ours = |tags: &ec2::model::Tags| tags.get(BASTION).is_some_and(|name| name.starts_with("warehouse"));
        let is_own =
            |(id, i): &(&String, &ec2::model::Instance)| made.is_own(id) && ours(&i.tags) && !i.state(now).ends();
        region.instances.iter().find(is_own).map(|(id, _)| id.clone())
    };
    let ours = |fields: &[(&str, &str)], worlds: &mut State| {
        (call(worlds, now, fields).status == 200).then_some(Touched::Ours)
    };
    match rng.u8(..8) {
        0 => {
            let group = group()?;
            ours(&opening("AuthorizeSecurityGroupIngress", &group, MEDDLER), worlds)
        }
        1 => {
            let group = group()?;
            let rule = region.groups[&group].rules.keys().next()?.clone();
            let egress = region.groups[&group].rules[&rule].opens.egress;
            let action = if egress { "RevokeSecurityGroupEgress" } else { "RevokeSecurityGroupIngress" };
            ours(&[("Action", action), ("GroupId", &group), ("SecurityGroupRuleId.1", &rule)], worlds)
        }
        2 => {
            let instance = instance()?;
            ours(&[("Action", "TerminateInstances"), ("InstanceId.1", &instance)], worlds)
        }
        3 => {
            let instance = instance()?;
            ours(&[("Action", "StopInstances"), ("InstanceId.1", &instance)], worlds)
        }
        4 => {
            let owned = region.addresses.iter().filter(|(id, a)| made.is_own(id) && a.tags.contains_key(BASTION));
            let association = owned.filter_map(|(_, a)| a.association.as_ref()).next()?.id.clone();
            ours(&[("Action", "DisassociateAddress"), ("AssociationId", &association)], worlds)
        }
        5 => {
            let instance = instance()?;
            let tag = [("Tag.1.Key", "cost-centre"), ("Tag.1.Value", "42")];
            ours(&[&[("Action", "CreateTags"), ("ResourceId.1", instance.as_str())][..], &tag].concat(), worlds)
        }
        6 => {
            let instance = instance()?;
            let tag = ("Tag.1.Key", "team");
            ours(&[("Action", "DeleteTags"), ("ResourceId.1", &instance), tag], worlds)
        }
        _ => {
            let mut opening = opening("AuthorizeSecurityGroupIngress", ec2::DATABASE_GROUP, "10.20.9.0/24");
            let ports = [("IpPermissions.1.FromPort", "5432"), ("IpPermissions.1.ToPort", "5432")];
            opening.retain(|(name, _)| !name.ends_with("Port"));
            opening.extend(ports);
            let done = call(worlds, now, &opening).status == 200;
            done.then_some(Touched::Theirs)
        }
    }
}

fn opening<'a>(action: &'a str, group: &'a str, source: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("Action", action),
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "22"),
        ("IpPermissions.1.ToPort", "22"),
        ("IpPermissions.1.IpRanges.1.CidrIp", source),
    ]
}

fn on_azure(worlds: &mut State, rng: &mut fastrand::Rng, made: &ResourceProvenance, now: Timestamp) -> Option<Touched> {
    let ids: Vec<String> = worlds.arm.ids().into_iter().filter(|id| is_a_bastions(worlds, made, id)).collect();
    let mut one = |kind: &str| {
        let all: Vec<&String> = ids.iter().filter(|id| id.contains(kind)).collect();
        (!all.is_empty()).then(|| all[rng.usize(..all.len())].clone())
    };
    let group = one("/networksecuritygroups/").map(|id| whole(&id).to_owned());
    let rule = one("/securityrules/");
    let rules = one("/rulecollectiongroups/");
    let machine = one("/virtualmachines/");
    let tagged = one("/providers/").map(|id| whole(&id).to_owned()).filter(|id| !tags(&worlds.arm, id).is_empty());
    let subnet =
        one("/subnets/bastion").unwrap_or_else(|| net("rg-shared", "virtualNetworks/vnet-data/subnets/snet-a"));
    let priority = rng.u32(1000..1004);
    let old = net("rg-hub", "azureFirewalls/fw-old");
    let ours = |status: u16| (status < 300).then_some(Touched::Ours);
    let theirs = |status: u16| (status < 300).then_some(Touched::Theirs);
    let mut send = |method: &str, id: &str, body: Option<&Value>| arm(worlds, now, method, id, body).status;
    match rng.u8(..14) {
        0 => {
            let open = json!({"properties": {"priority": 200, "direction": "Inbound", "access": "Allow", "protocol": "*",
                "sourceAddressPrefix": MEDDLER, "sourcePortRange": "*", "destinationAddressPrefix": "*",
                "destinationPortRange": "22"}});
            ours(send("PUT", &format!("{}/securityRules/somebody", group?), Some(&open)))
        }
        1 => ours(send("DELETE", &rule?, None)),
        2 => ours(rewrite(worlds, now, &rules?, |group| {
            let sources = group.pointer_mut("/properties/ruleCollections/0/rules/0/sourceAddresses")?;
            sources.as_array_mut()?.push(json!(MEDDLER));
            Some(())
        })?),
        3 => ours(send("DELETE", &rules?, None)),
        4 => ours(rewrite(worlds, now, &old, |firewall| {
            let mine = classic(firewall)?.iter_mut().find(|c| is_ours(c))?;
            mine.pointer_mut("/properties/rules/0/sourceAddresses")?.as_array_mut()?.push(json!(MEDDLER));
            Some(())
        })?),
        5 => ours(rewrite(worlds, now, &old, |firewall| {
            let all = classic(firewall)?;
            let at = all.iter().position(is_ours)?;
            all.remove(at);
            Some(())
        })?),
        6 => {
            let status = rewrite(worlds, now, &old, |firewall| {
                let all = classic(firewall)?;
                all.retain(|c| c["name"] != "theirs-too");
                all.push(collection("theirs-too", priority));
                Some(())
            })?;
            theirs(status)
        }
        7 => {
            let id = net("rg-hub", "firewallPolicies/fwp-hub/ruleCollectionGroups/theirs-too");
            let status = send("PUT", &id, Some(&rule_group(priority)));
            theirs(status)
        }
        8 => ours(send("POST", &format!("{}/deallocate", machine?), None)),
        9 => ours(send("POST", &format!("{}/powerOff", machine?), None)),
        10 => ours(send("DELETE", &machine?, None)),
        11 | 12 => {
            let (operation, key) = if priority % 2 == 0 { ("Merge", "cost-centre") } else { ("Delete", "team") };
            let id = tagged?;
            let value = tags(&worlds.arm, &id).get(key).cloned().unwrap_or_else(|| "42".to_owned());
            let body = json!({"operation": operation, "properties": {"tags": {key: value}}});
            let id = format!("{id}/providers/Microsoft.Resources/tags/default");
            ours(arm(worlds, now, "PATCH", &id, Some(&body)).status)
        }
        _ => {
            let id = net("rg-shared", INTERFACE);
            let body = json!({"location": "westeurope", "properties": {"ipConfigurations": [
                {"name": "one", "properties": {"subnet": {"id": subnet}}}]}});
            let status = send("PUT", &id, Some(&body));
            theirs(status)
        }
    }
}

/// People take what stands in a bastion's own network away: else the network could not go.
pub fn leave(worlds: &mut State, now: Timestamp) -> bool {
    let id = net("rg-shared", INTERFACE);
    if worlds.arm.resource(&id).is_none() {
        return false;
    }
    let status = arm(worlds, now, "DELETE", &id, None).status;
    assert!(status < 300, "{id}: {status}");
    worlds.arm.finish_on(&id, now);
    true
}

/// A machine of a bastion ends by somebody's hand. Whether there was one.
pub fn end_a_machine(worlds: &mut State, bastion: &str, made: &ResourceProvenance, now: Timestamp) -> bool {
    let owned = |tags: &ec2::model::Tags| tags.get(BASTION).is_some_and(|name| name == bastion);
    let instances = region(worlds).into_iter().flat_map(|region| &region.instances);
    let instance = instances
        .filter(|(id, i)| made.is_own(id) && owned(&i.tags) && !i.state(now).ends())
        .map(|(id, _)| id.clone())
        .next();
    if let Some(instance) = instance {
        return call(worlds, now, &[("Action", "TerminateInstances"), ("InstanceId.1", &instance)]).status == 200;
    }
    let machine = format!("/virtualmachines/gangplank-{bastion}");
    let machine = worlds.arm.ids().into_iter().find(|id| id.ends_with(&machine) && is_a_bastions(worlds, made, id));
    machine.is_some_and(|id| arm(worlds, now, "DELETE", &id, None).status < 300)
}

fn classic(firewall: &mut Value) -> Option<&mut Vec<Value>> {
    firewall.pointer_mut("/properties/natRuleCollections")?.as_array_mut()
}

fn is_ours(collection: &Value) -> bool {
    collection["name"].as_str().is_some_and(|name| name.starts_with("gangplank-warehouse"))
}

/// Whether a thing on Azure is one of the story's bastions': by its tag, or its parent's, or as our rules are called.
fn is_a_bastions(worlds: &State, made: &ResourceProvenance, id: &str) -> bool {
    made.is_own(whole(id)) && owner(&worlds.arm, whole(id)).is_some_and(|name| name.starts_with("warehouse"))
        || id.contains("/rulecollectiongroups/") && last(id).starts_with("gangplank-warehouse")
}
