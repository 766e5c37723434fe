//! What the world knows of each type of resource. What is not here is refused as an unknown type.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::State;

/// How a type behaves. Facts without a remark were seen in recorded traffic.
#[derive(Debug)]
pub(super) struct Kind {
    /// As requests write it; compared without case.
    pub path: &'static str,
    /// As answers write it.
    pub named: &'static str,
    /// How a create or update goes on; none where it is done with the answer.
    pub write: Option<Work>,
    /// How a removal goes on; none where the answer is 200 and it is gone.
    pub delete: Option<Work>,
    pub while_creating: State,
    pub etag: Etag,
    /// Pointers that a PUT must have.
    pub required: &'static [&'static str],
    /// Has `location` and `tags`, and is in lists of resources.
    pub tracked: bool,
}

/// A long operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// In seconds; 0 where Azure names none.
    pub retry_after: u32,
    /// `operations` or `nfvOperations`.
    pub under: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Etag {
    /// `W/"guid"` in the body and the header; a new one when the operation ends.
    Weak,
    /// `guid` in the body, `"guid"` in the header; stays while an operation ends.
    Plain,
    /// None at all.
    Absent,
}

const fn work(retry_after: u32) -> Option<Work> {
    Some(Work { retry_after, under: "operations" })
}

const NFV: Option<Work> = Some(Work { retry_after: 10, under: "nfvOperations" });

const NETWORK: Kind = Kind {
    path: "",
    named: "",
    write: work(3),
    delete: work(10),
    while_creating: State::Updating,
    etag: Etag::Weak,
    required: &["/location"],
    tracked: true,
};

pub(super) const NETWORKS: &str = "Microsoft.Network/virtualNetworks";
pub(super) const PEERINGS: &str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings";

const KINDS: &[Kind] = &[
    Kind {
        path: "Microsoft.Network/virtualNetworks",
        named: "Microsoft.Network/virtualNetworks",
        required: &["/location", "/properties/addressSpace/addressPrefixes"],
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/virtualNetworks/subnets",
        named: "Microsoft.Network/virtualNetworks/subnets",
        required: &["/properties/addressPrefix"],
        tracked: false,
        ..NETWORK
    },
    Kind {
        path: PEERINGS,
        named: PEERINGS,
        required: &["/properties/remoteVirtualNetwork/id"],
        tracked: false,
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/publicIPAddresses",
        named: "Microsoft.Network/publicIPAddresses",
        write: work(1),
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/networkSecurityGroups",
        named: "Microsoft.Network/networkSecurityGroups",
        ..NETWORK
    },
    Kind { path: "Microsoft.Network/routeTables", named: "Microsoft.Network/routeTables", ..NETWORK },
    Kind { path: "Microsoft.Network/ipGroups", named: "Microsoft.Network/ipGroups", ..NETWORK },
    Kind {
        path: "Microsoft.Network/networkSecurityGroups/securityRules",
        named: "Microsoft.Network/networkSecurityGroups/securityRules",
        required: &["/properties/protocol", "/properties/access", "/properties/direction", "/properties/priority"],
        tracked: false,
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/networkInterfaces",
        named: "Microsoft.Network/networkInterfaces",
        write: None,
        required: &["/location", "/properties/ipConfigurations/0/properties/subnet/id"],
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/azureFirewalls",
        named: "Microsoft.Network/azureFirewalls",
        write: work(10),
        delete: work(10),
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/firewallPolicies",
        named: "Microsoft.Network/FirewallPolicies",
        write: NFV,
        delete: None,
        etag: Etag::Plain,
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Network/firewallPolicies/ruleCollectionGroups",
        named: "Microsoft.Network/FirewallPolicies/RuleCollectionGroups",
        write: NFV,
        delete: NFV,
        etag: Etag::Plain,
        required: &["/properties/priority"],
        tracked: false,
        ..NETWORK
    },
    // Auto-shutdown of a machine ("Schedules", DevTest Labs REST API 2018-09-15): done with the answer, as documented.
    Kind {
        path: "Microsoft.DevTestLab/schedules",
        named: "Microsoft.DevTestLab/schedules",
        write: None,
        delete: None,
        while_creating: State::Creating,
        etag: Etag::Absent,
        required: &["/location", "/properties/taskType", "/properties/targetResourceId"],
        tracked: true,
    },
    // Stands for whoever else uses subnets and addresses.
    Kind {
        path: "Microsoft.Network/applicationGateways",
        named: "Microsoft.Network/applicationGateways",
        write: work(5),
        delete: work(10),
        ..NETWORK
    },
    Kind {
        path: "Microsoft.Compute/virtualMachines",
        named: "Microsoft.Compute/virtualMachines",
        write: work(10),
        delete: work(10),
        while_creating: State::Creating,
        etag: Etag::Absent,
        required: &["/location", "/properties/networkProfile/networkInterfaces/0/id"],
        tracked: true,
    },
    Kind {
        path: "Microsoft.Compute/disks",
        named: "Microsoft.Compute/disks",
        write: work(1),
        delete: work(1),
        while_creating: State::Updating,
        etag: Etag::Absent,
        required: &["/location", "/properties/creationData"],
        tracked: true,
    },
];

/// In a file a kind is its name.
pub(super) mod by_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Kind, find};

    pub fn serialize<S: Serializer>(kind: &'static Kind, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.path)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static Kind, D::Error> {
        let name = String::deserialize(from)?;
        find(&name).ok_or_else(|| D::Error::custom(format!("no such type of resource: {name}")))
    }
}

/// By the type in a path, without case.
pub(super) fn find(path: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.path.eq_ignore_ascii_case(path))
}

/// What Azure adds to what was put, once and for good. `unique` is another number for each resource.
pub(super) fn complete(kind: &Kind, id: &str, name: &str, body: &mut Value, unique: u64, now: Timestamp) {
    let guid = |salt: u64| guid(unique.wrapping_mul(31).wrapping_add(salt));
    let properties = object(body, "properties");
    match kind.path {
        "Microsoft.Network/virtualNetworks" => {
            default(properties, "resourceGuid", json!(guid(1)));
            default(properties, "enableDdosProtection", json!(false));
            default(properties, "privateEndpointVNetPolicies", json!("Disabled"));
        }
        "Microsoft.Network/virtualNetworks/subnets" => {
            default(properties, "delegations", json!([]));
            default(properties, "privateEndpointNetworkPolicies", json!("Disabled"));
            default(properties, "privateLinkServiceNetworkPolicies", json!("Enabled"));
        }
        // The defaults of "Virtual Network Peerings - Create Or Update".
        PEERINGS => {
            default(properties, "resourceGuid", json!(guid(1)));
            default(properties, "allowVirtualNetworkAccess", json!(true));
            default(properties, "peerCompleteVnets", json!(true));
            for name in
                ["allowForwardedTraffic", "allowGatewayTransit", "useRemoteGateways", "doNotVerifyRemoteGateways"]
            {
                default(properties, name, json!(false));
            }
        }
        "Microsoft.Network/publicIPAddresses" => {
            default(properties, "resourceGuid", json!(guid(1)));
            default(properties, "publicIPAddressVersion", json!("IPv4"));
            default(properties, "publicIPAllocationMethod", json!("Dynamic"));
            default(properties, "idleTimeoutInMinutes", json!(4));
            default(properties, "ipTags", json!([]));
            default(properties, "ddosSettings", json!({"protectionMode": "VirtualNetworkInherited"}));
            let sku = object(body, "sku");
            default(sku, "name", json!("Basic"));
            default(sku, "tier", json!("Regional"));
        }
        "Microsoft.Network/networkSecurityGroups" => {
            default(properties, "resourceGuid", json!(guid(1)));
        }
        "Microsoft.Network/networkSecurityGroups/securityRules" => {
            // A list of one may come back as the single value (azure-cli#9993, where the client may have done it).
            for (many, one) in [
                ("sourceAddressPrefixes", "sourceAddressPrefix"),
                ("destinationAddressPrefixes", "destinationAddressPrefix"),
            ] {
                if let Some([single]) = properties.get(many).and_then(Value::as_array).map(Vec::as_slice) {
                    properties[one] = single.clone();
                    properties[many] = json!([]);
                }
            }
            for name in
                ["destinationAddressPrefixes", "destinationPortRanges", "sourceAddressPrefixes", "sourcePortRanges"]
            {
                default(properties, name, json!([]));
            }
        }
        "Microsoft.Network/networkInterfaces" => {
            default(properties, "resourceGuid", json!(guid(1)));
            default(properties, "dnsSettings", json!({"dnsServers": [], "appliedDnsServers": []}));
            for (name, value) in [
                ("enableAcceleratedNetworking", json!(false)),
                ("vnetEncryptionSupported", json!(false)),
                ("enableIPForwarding", json!(false)),
                ("hostedWorkloads", json!([])),
                ("tapConfigurations", json!([])),
                ("nicType", json!("Standard")),
            ] {
                default(properties, name, value);
            }
            for (index, part) in parts(properties, "ipConfigurations").enumerate() {
                let part = object(part, "properties");
                default(part, "privateIPAllocationMethod", json!("Dynamic"));
                default(part, "primary", json!(index == 0));
                default(part, "privateIPAddressVersion", json!("IPv4"));
            }
        }
        "Microsoft.Network/azureFirewalls" => {
            default(properties, "sku", json!({"name": "AZFW_VNet", "tier": "Standard"}));
            default(properties, "threatIntelMode", json!("Alert"));
            default(properties, "additionalProperties", json!({}));
            for name in ["networkRuleCollections", "applicationRuleCollections", "natRuleCollections"] {
                default(properties, name, json!([]));
                for part in parts(properties, name) {
                    let own = format!("{id}/{name}/{}", part["name"].as_str().unwrap_or_default());
                    default(part, "id", json!(own));
                    dnat(part.pointer_mut("/properties/action/type"));
                }
            }
            for part in parts(properties, "ipConfigurations") {
                default(object(part, "properties"), "privateIPAllocationMethod", json!("Dynamic"));
            }
        }
        "Microsoft.Network/firewallPolicies" => {
            default(properties, "sku", json!({"tier": "Standard"}));
            default(properties, "threatIntelMode", json!("Alert"));
            default(properties, "size", json!("0.001167297 MB"));
            default(properties, "childPolicies", json!([]));
        }
        "Microsoft.Network/firewallPolicies/ruleCollectionGroups" => {
            default(properties, "size", json!("0.001382828 MB"));
            default(properties, "ruleCollections", json!([]));
            for collection in parts(properties, "ruleCollections") {
                dnat(collection.pointer_mut("/action/type"));
                default(collection, "rules", json!([]));
                for rule in parts(collection, "rules") {
                    default(rule, "sourceAddresses", json!([]));
                    default(rule, "sourceIpGroups", json!([]));
                }
            }
        }
        "Microsoft.Compute/virtualMachines" => {
            default(properties, "vmId", json!(guid(1)));
            default(properties, "timeCreated", json!(moment(now)));
            let storage = object(properties, "storageProfile");
            default(storage, "dataDisks", json!([]));
            if let Some(image) = storage.get_mut("imageReference")
                && image.get("version").is_some_and(|v| v == "latest")
            {
                default(image, "exactVersion", json!("0.20261101.1"));
            }
            let disk = object(storage, "osDisk");
            default(disk, "osType", json!("Linux"));
            default(disk, "createOption", json!("FromImage"));
            default(disk, "caching", json!("ReadWrite"));
            default(disk, "deleteOption", json!("Detach"));
            default(disk, "diskSizeGB", json!(30));
            default(disk, "name", json!(format!("{name}_OsDisk_1_{:032x}", unique)));
            let disk_id = format!(
                "{}/providers/Microsoft.Compute/disks/{}",
                id.split("/providers/").next().unwrap_or_default(),
                disk["name"].as_str().unwrap_or_default()
            );
            let managed = object(disk, "managedDisk");
            default(managed, "storageAccountType", json!("Standard_LRS"));
            default(managed, "id", json!(disk_id));
            if let Some(os) = properties.get_mut("osProfile").and_then(Value::as_object_mut) {
                // Secrets go in and never come out.
                os.remove("adminPassword");
                os.remove("customData");
                os.entry("secrets").or_insert_with(|| json!([]));
                os.entry("allowExtensionOperations").or_insert(json!(true));
                os.entry("requireGuestProvisionSignal").or_insert(json!(true));
            }
        }
        "Microsoft.DevTestLab/schedules" => {
            default(properties, "createdDate", json!(moment(now)));
            default(properties, "uniqueIdentifier", json!(guid(1)));
            default(properties, "status", json!("Enabled"));
            default(properties, "notificationSettings", json!({"status": "Disabled", "timeInMinutes": 30}));
        }
        _ => {}
    }
    if let Some(location) = body.get("location").and_then(Value::as_str) {
        // "West US" comes back as "westus".
        body["location"] = json!(location.to_lowercase().replace(' ', ""));
    }
}

/// `DNAT` comes back as `Dnat`.
fn dnat(action: Option<&mut Value>) {
    if let Some(action) = action
        && action.as_str().is_some_and(|a| a.eq_ignore_ascii_case("dnat"))
    {
        *action = json!("Dnat");
    }
}

/// The parts that have addresses and identities of their own: where they stand, and what their ids call that.
pub(super) const CONFIGURATIONS: &[(&str, &str, &str)] = &[
    ("Microsoft.Network/networkInterfaces", "ipConfigurations", "ipConfigurations"),
    ("Microsoft.Network/applicationGateways", "gatewayIPConfigurations", "gatewayIPConfigurations"),
    ("Microsoft.Network/applicationGateways", "frontendIPConfigurations", "frontendIPConfigurations"),
    ("Microsoft.Network/azureFirewalls", "ipConfigurations", "azureFirewallIpConfigurations"),
    ("Microsoft.Network/azureFirewalls", "managementIpConfiguration", "azureFirewallIpConfigurations"),
];

pub(super) fn object<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    if !value[name].is_object() {
        value[name] = json!({});
    }
    &mut value[name]
}

/// The elements of an array, or a single object in its place.
pub(super) fn parts<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    let (many, one) = match value.get_mut(name) {
        Some(Value::Array(items)) => (Some(items), None),
        Some(item @ Value::Object(_)) => (None, Some(item)),
        _ => (None, None),
    };
    many.into_iter().flatten().chain(one).filter(|part| part.is_object())
}

/// The same, only to look at.
pub(super) fn parts_of<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let (many, one) = match value.get(name) {
        Some(Value::Array(items)) => (Some(items), None),
        Some(item @ Value::Object(_)) => (None, Some(item)),
        _ => (None, None),
    };
    many.into_iter().flatten().chain(one).filter(|part| part.is_object())
}

/// As Azure writes times: `2026-11-02T10:50:00.0000000+00:00`.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.0000000+00:00").to_string()
}

fn default(value: &mut Value, name: &str, fallback: Value) {
    if value.is_object() && value.get(name).is_none_or(Value::is_null) {
        value[name] = fallback;
    }
}

pub(super) fn guid(number: u64) -> String {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-4000-8000-{:012x}", spread >> 32, (spread >> 16) & 0xffff, number & 0xffff_ffff_ffff)
}
