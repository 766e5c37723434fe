//! The bodies of what a bastion has of its own, as Azure Resource Manager takes them (Microsoft.Network 2024-03-01,
//! Microsoft.Compute 2024-07-01, Microsoft.Resources 2021-04-01).

use base64ct::{Base64, Encoding};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    id::{FIREWALL_SUBNET, Id, MANAGEMENT_SUBNET},
    keys,
    machine::Image,
    tags::Tags,
};
use crate::{
    cloudinit,
    plan::{AzureNetwork, FirewallSku, Plan},
    provider::azure::desire::Desired,
};

/// Nobody can log in with it: Azure wants an administrator with a key, and its images' cloud-init would create that account, but
/// the machine's document lists its own users and not the default one. The point of the key is the SHA-256 of a sentence
/// (in the test below), so that nobody has its private half.
const ADMINISTRATOR: &str = "gangplank";
const NOBODYS_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID1ey1nGmjBo9m1vBBhr8QikEIyw6MFmlB4XjtQH0FHs";

pub fn sku_name(sku: FirewallSku) -> &'static str {
    match sku {
        FirewallSku::Basic => "Basic",
        FirewallSku::Standard => "Standard",
        FirewallSku::Premium => "Premium",
    }
}

fn with_tags(location: &str, tags: &Tags, mut rest: Value) -> Value {
    rest["location"] = json!(location);
    rest["tags"] = json!(tags);
    rest
}

fn reference(id: &Id) -> Value {
    json!({"id": id.as_str()})
}

impl Desired<'_> {
    pub(super) fn group_body(&self, tags: &Tags) -> Value {
        with_tags(&self.azure.location, tags, json!({}))
    }

    /// The network with all its subnets. It is put once: a later PUT would take away subnets that others have added.
    ///
    /// The bastion's subnet has no route of its own: Azure Firewall translates the source of what a DNAT rule matches to one of its
    /// own addresses ("Azure Firewall NAT Behaviors", DNAT Rules), so answers find back to it without a route. The machine's own
    /// connections, for updates, leave by Azure's default; later API versions switch that off where nothing says otherwise.
    pub(super) fn network_body(&self, tags: &Tags) -> Option<Value> {
        let AzureNetwork::Created { address_space, .. } = &self.azure.network else { return None };
        let subnets: Vec<Value> = self
            .subnets()
            .into_iter()
            .map(|(name, body)| {
                let mut body = body;
                body["name"] = json!(name);
                body
            })
            .collect();
        Some(with_tags(
            &self.azure.location,
            tags,
            json!({"properties": {
                "addressSpace": {"addressPrefixes": [address_space.to_string()]},
                "subnets": subnets,
            }}),
        ))
    }

    /// The subnets of a network that is created, by name.
    pub(super) fn subnets(&self) -> Vec<(String, Value)> {
        let AzureNetwork::Created { bastion_subnet, firewall_subnet, management_subnet, .. } = &self.azure.network
        else {
            return Vec::new();
        };
        let bastion =
            json!({"properties": {"addressPrefix": bastion_subnet.to_string(), "defaultOutboundAccess": true}});
        let own = [(FIREWALL_SUBNET, firewall_subnet), (MANAGEMENT_SUBNET, management_subnet)].into_iter().filter_map(
            |(name, net)| Some((name.to_owned(), json!({"properties": {"addressPrefix": (*net)?.to_string()}}))),
        );
        std::iter::once((self.names.bastion_subnet.name().to_owned(), bastion)).chain(own).collect()
    }

    pub(super) fn security_group_body(&self, tags: &Tags, rules: Vec<Value>) -> Value {
        with_tags(&self.azure.location, tags, json!({"properties": {"securityRules": rules}}))
    }

    /// Of the Standard kind: Azure Firewall takes no other, and without a network security group it admits nobody.
    pub(super) fn address_body(&self, tags: &Tags) -> Value {
        with_tags(
            &self.azure.location,
            tags,
            json!({
                "sku": {"name": "Standard", "tier": "Regional"},
                "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
            }),
        )
    }

    pub(super) fn policy_body(&self, tags: &Tags, sku: FirewallSku) -> Value {
        // Basic only tells about threats, and all of them can tell ("Azure Firewall features by SKU").
        with_tags(
            &self.azure.location,
            tags,
            json!({
                "properties": {"sku": {"tier": sku_name(sku)}, "threatIntelMode": "Alert"},
            }),
        )
    }

    /// `subnet` is AzureFirewallSubnet; a Basic firewall has another, with an address, for its management.
    pub(super) fn firewall_body(&self, tags: &Tags, sku: FirewallSku, subnet: &Id) -> Value {
        let front = |name: &str, subnet: &Id, address: &Id| json!({"name": name, "properties": {"subnet": reference(subnet), "publicIPAddress": reference(address)}});
        let mut properties = json!({
            "sku": {"name": "AZFW_VNet", "tier": sku_name(sku)},
            "firewallPolicy": reference(&self.names.policy),
            "ipConfigurations": [front("front", subnet, &self.names.address)],
        });
        if sku == FirewallSku::Basic {
            let subnet = subnet.parent().child(super::id::Kind::Subnet, MANAGEMENT_SUBNET);
            properties["managementIpConfiguration"] = front("management", &subnet, &self.names.management_address);
        }
        with_tags(&self.azure.location, tags, json!({"properties": properties}))
    }

    /// The interface outlives machines: it keeps its address ("Private IP addresses": a dynamic one is released when the interface is
    /// deleted), so a new machine has the old one's and no rule changes. The network security group is on it, never on the subnet.
    pub(super) fn interface_body(&self, tags: &Tags, subnet: &Id, public: bool) -> Value {
        let mut configuration =
            json!({"privateIPAllocationMethod": "Dynamic", "subnet": reference(subnet), "primary": true});
        if public {
            configuration["publicIPAddress"] = reference(&self.names.address);
        }
        with_tags(
            &self.azure.location,
            tags,
            json!({"properties": {
                "ipConfigurations": [{"name": "bastion", "properties": configuration}],
                "networkSecurityGroup": reference(&self.names.security_group),
            }}),
        )
    }

    /// No extension may run on the machine: one would be another way in. Boot diagnostics go to storage that Azure manages.
    pub(super) fn machine_body(&self, tags: &Tags, image: &Image, expires: Option<Timestamp>) -> Value {
        let plan: &Plan = self.plan;
        let name = self.names.machine.name();
        let mut properties = json!({
            "hardwareProfile": {"vmSize": self.azure.size},
            "storageProfile": {
                "imageReference": {
                    "publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": "latest",
                },
                "osDisk": {
                    "createOption": "FromImage", "caching": "ReadWrite", "deleteOption": "Delete",
                    "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
                },
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": ADMINISTRATOR,
                "customData": Base64::encode_string(&cloudinit::compressed(&self.user_data.text)),
                "linuxConfiguration": {
                    "disablePasswordAuthentication": true,
                    "ssh": {"publicKeys": [{
                        "path": format!("/home/{ADMINISTRATOR}/.ssh/authorized_keys"), "keyData": NOBODYS_KEY,
                    }]},
                },
                "allowExtensionOperations": false,
            },
            "networkProfile": {"networkInterfaces": [{
                "id": self.names.interface.as_str(), "properties": {"primary": true, "deleteOption": "Detach"},
            }]},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": true}},
        });
        if let Some(keys) = keys::user_data(plan, expires) {
            properties["userData"] = json!(Base64::encode_string(keys.as_bytes()));
        }
        with_tags(&self.azure.location, tags, json!({"properties": properties}))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn nobody_has_the_administrators_key() {
        let key = ssh_key::PublicKey::from_openssh(NOBODYS_KEY).unwrap();
        let point = key.key_data().ed25519().unwrap().0;
        assert_eq!(point[..], Sha256::digest("gangplank: nobody has the private half of this key, 0")[..]);
    }
}
