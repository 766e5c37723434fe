//! What resource providers refuse for reasons of their own. Codes without a remark are documented; the others are guesses, and so is
//! the wording.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    World,
    kinds::{CONFIGURATIONS, Kind, PEERINGS, parts_of},
    power::MACHINES,
    reply::{answered, refused},
    shutdown::{self, SCHEDULES},
    state::{Resource, State, whole},
};
use crate::sandbox::http::Reply;

pub(super) fn refuse(world: &World, key: &str, kind: &Kind, body: &Value) -> Option<Reply> {
    match kind.path {
        "Microsoft.Network/virtualNetworks/subnets" => subnet(world, key, body),
        PEERINGS => world.refuse_peering(key, body),
        "Microsoft.Network/azureFirewalls" => {
            ports(body, "AzureFirewallRuleInvalidDnatPortOrRangeFormat", "AzureFirewallRule")
                .or_else(|| firewall(world, body))
                .or_else(|| addresses(world, key, kind, body))
        }
        "Microsoft.Network/networkInterfaces" => addresses(world, key, kind, body),
        "Microsoft.Network/firewallPolicies/ruleCollectionGroups" => {
            ports(body, "FirewallPolicyRuleConditionInvalidPortOrRangeFormat", "Firewall Policy Rule Condition")
                .or_else(|| rule_group(world, key, body))
        }
        "Microsoft.Network/networkSecurityGroups/securityRules" => rule(world, key, body),
        MACHINES => machine(world, key, body),
        SCHEDULES => shutdown::refuse(world, key, body),
        _ => None,
    }
}

fn subnet(world: &World, key: &str, body: &Value) -> Option<Reply> {
    let prefix = body.pointer("/properties/addressPrefix")?.as_str()?;
    let Ok(range) = prefix.parse::<IpNet>() else {
        return Some(refused(
            400,
            "InvalidAddressPrefixFormat",
            &format!("Address prefix {prefix} of resource is not formatted correctly."),
        ));
    };
    let spaces = world.stored(whole(key))?.body().pointer("/properties/addressSpace/addressPrefixes")?.as_array()?;
    let inside =
        spaces.iter().filter_map(Value::as_str).filter_map(|s| s.parse::<IpNet>().ok()).any(|s| s.contains(&range));
    if !inside {
        let message = format!("Subnet '{}' is not valid in virtual network.", key.rsplit('/').next()?);
        return Some(refused(400, "NetcfgInvalidSubnet", &message));
    }
    let overlap = world.siblings(key).find(|(_, other)| {
        let other = other
            .body()
            .pointer("/properties/addressPrefix")
            .and_then(Value::as_str)
            .and_then(|p| p.parse::<IpNet>().ok());
        other.is_some_and(|o| o.contains(&range) || range.contains(&o))
    });
    overlap.map(|(other, _)| {
        let message = format!(
            "Subnet '{}' overlaps with '{}'.",
            key.rsplit('/').next().unwrap_or_default(),
            other.rsplit('/').next().unwrap_or_default()
        );
        refused(400, "NetcfgSubnetRangesOverlap", &message)
    })
}

fn firewall(world: &World, body: &Value) -> Option<Reply> {
    let tier = body.pointer("/properties/sku/tier").and_then(Value::as_str).unwrap_or("Standard");
    let properties = &body["properties"];
    if tier == "Basic" && properties["managementIpConfiguration"].is_null() {
        return Some(refused(
            400,
            "AzureFirewallManagementIpConfigurationRequired",
            "A Basic firewall needs a management IP configuration.",
        ));
    }
    if let Some(policy) = body.pointer("/properties/firewallPolicy/id").and_then(Value::as_str) {
        let policy = world.stored(policy)?.body();
        let policy = policy.pointer("/properties/sku/tier").and_then(Value::as_str).unwrap_or("Standard");
        let rank = |tier: &str| ["Basic", "Standard", "Premium"].iter().position(|t| *t == tier);
        if rank(policy) > rank(tier) || (tier == "Basic") != (policy == "Basic") {
            let message = format!("A firewall of tier {tier} cannot have a policy of tier {policy}.");
            return Some(refused(400, "AzureFirewallPolicyTierMismatch", &message));
        }
    }
    for (field, name) in
        [("ipConfigurations", "AzureFirewallSubnet"), ("managementIpConfiguration", "AzureFirewallManagementSubnet")]
    {
        for part in parts_of(properties, field) {
            let address = part.pointer("/properties/publicIPAddress/id").and_then(Value::as_str);
            if let Some(address) = address.and_then(|a| world.stored(a)).map(Resource::body) {
                let standard = address.pointer("/sku/name") == Some(&json!("Standard"));
                let fixed = address.pointer("/properties/publicIPAllocationMethod") == Some(&json!("Static"));
                if !(standard && fixed) {
                    return Some(refused(
                        400,
                        "AzureFirewallPublicIPMustBeStandardStatic",
                        "A firewall needs a Standard, Static public address.",
                    ));
                }
            }
            let Some(subnet) = part.pointer("/properties/subnet/id").and_then(Value::as_str) else { continue };
            if !subnet.rsplit('/').next().is_some_and(|n| n.eq_ignore_ascii_case(name)) {
                return Some(refused(
                    400,
                    "AzureFirewallSubnetNameInvalid",
                    &format!("The subnet must be named {name}."),
                ));
            }
            let range = world.stored(subnet)?.body().pointer("/properties/addressPrefix")?.as_str()?;
            let range: IpNet = range.parse().ok()?;
            if range.prefix_len() > 26 {
                return Some(refused(400, "AzureFirewallSubnetTooSmall", &format!("{name} must be a /26 or larger.")));
            }
        }
    }
    None
}

/// A public address has one user.
fn addresses(world: &World, key: &str, kind: &Kind, body: &Value) -> Option<Reply> {
    let properties = &body["properties"];
    for (_, field, _) in CONFIGURATIONS.iter().filter(|(path, ..)| *path == kind.path) {
        for part in parts_of(properties, field) {
            let Some(address) = part.pointer("/properties/publicIPAddress/id").and_then(Value::as_str) else {
                continue;
            };
            let other = world
                .users(&address.to_lowercase())
                .into_iter()
                .find(|user| !user.to_lowercase().starts_with(&format!("{key}/")));
            if let Some(user) = other {
                let message = format!(
                    "Resource {key} is referencing public IP address {address} that is already allocated to resource {user}."
                );
                return Some(refused(400, "PublicIPAddressInUse", &message));
            }
        }
    }
    None
}

/// "NAT rules only support ports in the 1-63999 range" ("Azure Firewall known issues and limitations"). The codes: azure-rest-api-specs#11831
/// and terraform-provider-azurerm#18353.
fn ports(body: &Value, code: &str, what: &str) -> Option<Reply> {
    let lists = ["/properties/ruleCollections", "/properties/natRuleCollections"];
    let collections = lists.iter().filter_map(|at| body.pointer(at)?.as_array()).flatten();
    let rules =
        collections.filter_map(|c| c.get("rules").or_else(|| c.pointer("/properties/rules"))?.as_array()).flatten();
    let mut nat = rules.filter(|rule| rule.get("translatedPort").is_some());
    let high = |port: &Value| port.as_str().and_then(|text| text.parse::<u32>().ok()).is_some_and(|port| port > 63_999);
    let broken = nat.find(|rule| rule["destinationPorts"].as_array().into_iter().flatten().any(high))?;
    let name = broken["name"].as_str().unwrap_or_default();
    let message = format!("{what} {name}: Invalid port value or range. User ports must be in [1, 64000]");
    Some(refused(400, code, &message))
}

fn rule_group(world: &World, key: &str, body: &Value) -> Option<Reply> {
    let priority = body.pointer("/properties/priority")?;
    if !priority.as_u64().is_some_and(|p| (100..=65000).contains(&p)) {
        return Some(refused(
            400,
            "FirewallPolicyRuleCollectionGroupInvalidPriority",
            "The priority must be from 100 to 65000.",
        ));
    }
    let taken = world.siblings(key).find(|(_, other)| other.body().pointer("/properties/priority") == Some(priority));
    taken.map(|(other, _)| {
        let message = format!("The priority {priority} is already that of {other}.");
        refused(400, "FirewallPolicyRuleCollectionGroupPriorityConflict", &message)
    })
}

fn rule(world: &World, key: &str, body: &Value) -> Option<Reply> {
    let of =
        |body: &Value| (body.pointer("/properties/direction").cloned(), body.pointer("/properties/priority").cloned());
    let taken = world.siblings(key).find(|(_, other)| of(other.body()) == of(body));
    taken.map(|(other, _)| {
        let message = format!(
            "Security rule {} has the same Priority and Direction as {other}.",
            key.rsplit('/').next().unwrap_or_default()
        );
        // Documented.
        refused(400, "SecurityRuleConflict", &message)
    })
}

fn machine(world: &World, key: &str, body: &Value) -> Option<Reply> {
    let location = body["location"].as_str().unwrap_or_default().to_lowercase().replace(' ', "");
    let size = body.pointer("/properties/hardwareProfile/vmSize").and_then(Value::as_str).unwrap_or_default();
    let sizes = world.sizes.get(location.as_str());
    if !sizes.is_some_and(|sizes| sizes.iter().any(|s| s.eq_ignore_ascii_case(size))) {
        let message = format!(
            "The requested VM size {size} is not available in location '{location}'. Please try another size or deploy to a different location."
        );
        return Some(refused(409, "SkuNotAvailable", &message));
    }
    let interfaces = body.pointer("/properties/networkProfile/networkInterfaces").and_then(Value::as_array);
    for interface in interfaces.into_iter().flatten().filter_map(|i| i["id"].as_str()) {
        if let Some(user) = world.users(&interface.to_lowercase()).into_iter().find(|u| u.to_lowercase() != key) {
            return Some(refused(
                400,
                "NicInUse",
                &format!("Network Interface {interface} is used by existing resource {user}."),
            ));
        }
        if let Some(state) = world.stored(interface).map(|r| r.state).filter(|state| *state != State::Succeeded) {
            let state = state.word();
            let inner = format!(
                "Cannot proceed with operation because resource {interface} used by resource {key} is not in Succeeded state. Resource is in {state} state."
            );
            return Some(answered(
                429,
                &json!({"error": {"code": "RetryableError", "message": "A retryable error occurred.",
                    "details": [{"code": "ReferencedResourceNotProvisioned", "message": inner}]}}),
            ));
        }
    }
    let old = world.stored(key)?;
    let document = body.pointer("/properties/osProfile/customData").and_then(Value::as_str);
    if document.is_some_and(|new| old.machine.as_ref().is_some_and(|machine| machine.document() != new)) {
        let message = "Changing property 'osProfile.customData' is not allowed.";
        return Some(refused(409, "PropertyChangeNotAllowed", message));
    }
    let old = old.body();
    for pointer in ["/properties/osProfile/adminUsername", "/properties/storageProfile/imageReference/sku"] {
        if body.pointer(pointer).is_some() && old.pointer(pointer) != body.pointer(pointer) {
            let target = pointer.trim_start_matches("/properties/").replace('/', ".");
            let message = format!("Changing property '{target}' is not allowed.");
            return Some(refused(409, "PropertyChangeNotAllowed", &message));
        }
    }
    None
}

impl World {
    fn stored(&self, id: &str) -> Option<&Resource> {
        self.resources.get(id.to_lowercase().as_str())
    }

    /// The children of a resource's parent, without itself.
    fn siblings<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, &'a Resource)> {
        self.children(whole(key)).filter(move |(other, _)| *other != key)
    }
}
