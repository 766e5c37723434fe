//! Resource ids, and what each kind of resource is called. Ids and names differ in more than case ("Naming rules and
//! restrictions for Azure resources").

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use crate::{plan::Name, text::shell_word};

/// `/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/azureFirewalls/NAME`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    ResourceGroup,
    Network,
    Subnet,
    /// A network's, to another one ([`super::peering`]).
    Peering,
    SecurityGroup,
    Address,
    Policy,
    /// A policy's rule collection group.
    RuleGroup,
    Interface,
    Firewall,
    Machine,
    /// A schedule of DevTest Labs ([`super::auto_shutdown`]).
    AutoShutdown,
    /// A machine's; Azure makes it, with the machine's tags.
    Disk,
    /// Only ever somebody else's, as are IP groups: they are read, and never made.
    RouteTable,
    IpGroup,
}

impl Kind {
    const ALL: [(Kind, &'static str); 14] = [
        (Kind::Network, "Microsoft.Network/virtualNetworks"),
        (Kind::Subnet, "Microsoft.Network/virtualNetworks/subnets"),
        (Kind::Peering, "Microsoft.Network/virtualNetworks/virtualNetworkPeerings"),
        (Kind::SecurityGroup, "Microsoft.Network/networkSecurityGroups"),
        (Kind::Address, "Microsoft.Network/publicIPAddresses"),
        (Kind::Policy, "Microsoft.Network/firewallPolicies"),
        (Kind::RuleGroup, "Microsoft.Network/firewallPolicies/ruleCollectionGroups"),
        (Kind::Interface, "Microsoft.Network/networkInterfaces"),
        (Kind::Firewall, "Microsoft.Network/azureFirewalls"),
        (Kind::Machine, "Microsoft.Compute/virtualMachines"),
        (Kind::AutoShutdown, "Microsoft.DevTestLab/schedules"),
        (Kind::Disk, "Microsoft.Compute/disks"),
        (Kind::RouteTable, "Microsoft.Network/routeTables"),
        (Kind::IpGroup, "Microsoft.Network/ipGroups"),
    ];

    /// `Microsoft.Network/virtualNetworks`
    pub fn type_name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("Microsoft.Resources/resourceGroups", |(_, name)| name)
    }

    pub fn api_version(self) -> &'static str {
        match self {
            Kind::ResourceGroup => "2021-04-01",
            Kind::Machine => "2024-07-01",
            Kind::AutoShutdown => "2018-09-15",
            Kind::Disk => "2024-03-02",
            _ => "2024-03-01",
        }
    }

    /// What people call it.
    pub fn words(self) -> &'static str {
        match self {
            Kind::ResourceGroup => "resource group",
            Kind::Network => "virtual network",
            Kind::Subnet => "subnet",
            Kind::Peering => "peering",
            Kind::SecurityGroup => "network security group",
            Kind::Address => "public address",
            Kind::Policy => "firewall policy",
            Kind::RuleGroup => "rule collection group",
            Kind::Interface => "network interface",
            Kind::Firewall => "firewall",
            Kind::Machine => "virtual machine",
            Kind::AutoShutdown => "auto-shutdown",
            Kind::Disk => "disk",
            Kind::RouteTable => "route table",
            Kind::IpGroup => "IP group",
        }
    }
}

impl Id {
    /// As an argument of a command that a reader may type: a resource group's name may have parentheses.
    pub fn argument(&self) -> Cow<'_, str> {
        shell_word(&self.0)
    }

    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn group(subscription: &str, group: &str) -> Self {
        Self(format!("/subscriptions/{subscription}/resourceGroups/{group}"))
    }

    /// What is in a resource group.
    #[must_use]
    pub fn resource(&self, kind: Kind, name: &str) -> Self {
        Self(format!("{}/providers/{}/{name}", self.0, kind.type_name()))
    }

    /// What is in a network or a policy.
    #[must_use]
    pub fn child(&self, kind: Kind, name: &str) -> Self {
        let folder = kind.type_name().rsplit('/').next().unwrap_or_default();
        Self(format!("{}/{folder}/{name}", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The id of the resource group that it is in, or is.
    pub fn group_id(&self) -> Id {
        Self(self.0.splitn(6, '/').take(5).collect::<Vec<_>>().join("/"))
    }

    /// The id that this is a child of: a subnet's network, an address configuration's interface.
    pub fn parent(&self) -> Id {
        Self(self.0.rsplitn(3, '/').nth(2).unwrap_or_default().to_owned())
    }

    pub fn is_in(&self, subscription: &str) -> bool {
        self.0.split('/').nth(2).is_some_and(|own| own.eq_ignore_ascii_case(subscription))
    }

    /// Whether this is `other` or something inside of it.
    pub fn is_within(&self, other: &Id) -> bool {
        let (own, other) = (self.0.to_ascii_lowercase(), other.0.to_ascii_lowercase());
        own.strip_prefix(&other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// `None` where it is of a kind that gangplank does not handle.
    pub fn kind(&self) -> Option<Kind> {
        if self.provided().is_none() {
            return (self.0.split('/').count() == 5).then_some(Kind::ResourceGroup);
        }
        let found = self.type_name();
        Kind::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(&found)).map(|(kind, _)| *kind)
    }

    /// What follows `/providers/`, which an id may spell as it likes.
    fn provided(&self) -> Option<&str> {
        const MARK: &str = "/providers/";
        let at = self.0.to_ascii_lowercase().find(MARK)?;
        self.0.get(at + MARK.len()..)
    }

    /// `Microsoft.Network/virtualNetworks/subnets`, as the id spells it; "" where it names no provider.
    pub fn type_name(&self) -> String {
        let Some(path) = self.provided() else { return String::new() };
        // The provider, then type and name by turns.
        let types = path.split('/').enumerate().filter(|(i, _)| *i == 0 || i % 2 == 1).map(|(_, part)| part);
        types.collect::<Vec<_>>().join("/")
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.to_ascii_lowercase().cmp(&other.0.to_ascii_lowercase())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The ids of everything that a bastion can have of its own. They are known before anything exists.
///
/// A bastion's name has at most 32 characters, so every name is within what Azure allows: firewalls 56, networks and machines 64,
/// schedules 260, all others 80.
#[derive(Clone, Debug)]
pub struct Names {
    pub group: Id,
    pub network: Id,
    pub bastion_subnet: Id,
    pub security_group: Id,
    pub address: Id,
    pub management_address: Id,
    pub policy: Id,
    pub interface: Id,
    pub firewall: Id,
    pub machine: Id,
    pub auto_shutdown: Id,
    /// What rule collection groups and rule collections are called.
    pub rules: String,
}

/// Azure decides about these names ("Azure Firewall FAQ").
pub const FIREWALL_SUBNET: &str = "AzureFirewallSubnet";
pub const MANAGEMENT_SUBNET: &str = "AzureFirewallManagementSubnet";

impl Names {
    pub fn new(subscription: &str, group: &str, bastion: &Name) -> Self {
        let name = super::tags::resource_name(bastion);
        let group = Id::group(subscription, group);
        let own = |kind| group.resource(kind, &name);
        let network = own(Kind::Network);
        Self {
            bastion_subnet: network.child(Kind::Subnet, "bastion"),
            network,
            security_group: own(Kind::SecurityGroup),
            address: own(Kind::Address),
            management_address: group.resource(Kind::Address, &format!("{name}-management")),
            policy: own(Kind::Policy),
            interface: own(Kind::Interface),
            firewall: own(Kind::Firewall),
            auto_shutdown: super::auto_shutdown::id_of(&own(Kind::Machine)),
            machine: own(Kind::Machine),
            group,
            rules: name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_in_every_spelling() {
        let group = Id::group("s", "rg");
        let network = group.resource(Kind::Network, "vnet");
        let subnet = network.child(Kind::Subnet, "bastion");
        assert_eq!(
            subnet.as_str(),
            "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet/subnets/bastion"
        );
        assert_eq!(Id::new(subnet.as_str().to_uppercase()), subnet);
        assert_eq!(
            (subnet.kind(), network.kind(), group.kind()),
            (Some(Kind::Subnet), Some(Kind::Network), Some(Kind::ResourceGroup))
        );
        assert_eq!(
            (subnet.parent(), subnet.group_id(), group.group_id()),
            (network.clone(), group.clone(), group.clone())
        );
        assert!(
            subnet.is_within(&network)
                && network.is_within(&group)
                && !group.resource(Kind::Network, "vnet2").is_within(&network)
        );
        assert_eq!(Id::new("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Sql/servers/x").kind(), None);
        for broken in ["", "/", "x", "/subscriptions", "/subscriptions/s/resourceGroups"] {
            let id = Id::new(broken);
            let _ = (id.name(), id.group_id(), id.parent(), id.kind());
        }
    }

    /// "Naming rules and restrictions for Azure resources": the shortest of the limits is a firewall's.
    #[test]
    fn the_longest_name_is_one_that_azure_takes() {
        let bastion = Name::new(&"a".repeat(32)).unwrap();
        let names = Names::new("s", "rg", &bastion);
        let (all, firewall) =
            ([&names.address, &names.management_address, &names.network, &names.machine], names.firewall.name());
        assert!(firewall.len() <= 56);
        for name in all.map(Id::name).into_iter().chain([firewall]) {
            assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
            assert!(
                name.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && name.ends_with(|c: char| c.is_ascii_alphanumeric())
            );
        }
    }
}
