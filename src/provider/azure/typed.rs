//! The last look at a body of the bastion's own before it is sent: it is read into the type that azure_mgmt_network has for such a
//! resource, and what that type writes back must say the same. A member that Azure's model does not know (in a changeset that was
//! saved by another version, or that somebody edited) would be ignored by Azure, or set something else than the plan says; here
//! it is named instead.
//!
//! Only what is the bastion's own comes through here. What is shared is patched raw ([`super::shared`]), since these types drop
//! what they do not know, and its body is Azure's own answer.
//!
//! Where a type is wrong itself: a firewall's `additionalProperties`, a map of texts, has no members there. No body of ours has it.
//!
//! What the types do not show: their sets of words are open (`UnknownValue`), so a misspelt value of a known member passes, but
//! for `ruleCollectionType` and `ruleType`, whose sets are closed.

use azure_mgmt_network::package_2024_03::models;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::id::Kind;

/// What of a body Azure's model of this kind would not take as it is said: a line each, with the member's place. Empty where it
/// takes all of it, for kinds that azure_mgmt_network has no type for (a resource group, a virtual machine and an auto-shutdown), and for those that
/// are never made.
pub fn unknown(kind: Kind, body: &Value) -> Vec<String> {
    match kind {
        Kind::Network => lost::<models::VirtualNetwork>(body),
        Kind::Subnet => lost::<models::Subnet>(body),
        Kind::Peering => lost::<models::VirtualNetworkPeering>(body),
        Kind::SecurityGroup => lost::<models::NetworkSecurityGroup>(body),
        Kind::Address => lost::<models::PublicIpAddress>(body),
        Kind::Policy => lost::<models::FirewallPolicy>(body),
        Kind::RuleGroup => lost::<models::FirewallPolicyRuleCollectionGroup>(body),
        Kind::Interface => lost::<models::NetworkInterface>(body),
        Kind::Firewall => lost::<models::AzureFirewall>(body),
        Kind::ResourceGroup | Kind::Machine | Kind::AutoShutdown | Kind::Disk | Kind::RouteTable | Kind::IpGroup => {
            Vec::new()
        }
    }
}

/// The same of a classic firewall's NAT rule collection.
pub fn unknown_in_collection(collection: &Value) -> Vec<String> {
    lost::<models::AzureFirewallNatRuleCollection>(collection)
}

fn lost<T: Serialize + DeserializeOwned>(body: &Value) -> Vec<String> {
    let read = T::deserialize(body).and_then(|typed| serde_json::to_value(typed));
    match read {
        Ok(back) => {
            let mut lines = Vec::new();
            compare("", body, &back, &mut lines);
            lines
        }
        Err(error) => vec![error.to_string()],
    }
}

fn compare(at: &str, said: &Value, back: &Value, lines: &mut Vec<String>) {
    match (said, back) {
        (Value::Object(said), Value::Object(back)) => {
            for (name, value) in said {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match back.get(name) {
                    Some(back) => compare(&at, value, back, lines),
                    // The types leave out what is empty; Azure takes that for the same.
                    None if is_empty(value) => {}
                    None => lines.push(format!("{at} is not known")),
                }
            }
        }
        (Value::Array(said), Value::Array(back)) if said.len() == back.len() => {
            for (i, (said, back)) in said.iter().zip(back).enumerate() {
                compare(&format!("{at}[{i}]"), said, back, lines);
            }
        }
        _ if said == back => {}
        _ => lines.push(format!("{at} is {said}, and would be {back}")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}
