//! What is a bastion's own: what carries its tag *and* has the name that gangplank gives that kind of resource. A tag alone is what
//! anybody with `Microsoft.Resources/tags/write` (the built-in role Tag Contributor) can put on anything, and what a policy that
//! inherits the tags of a resource group puts on everything in it; a name is chosen once, by whoever creates the resource.
//!
//! What carries the tag and is not the bastion's own is a [`Foreign`] resource: it is shown, and never changed.

use std::fmt;

use super::{
    id::{Id, Kind},
    observed::{Content, Observed, Resource, State},
    tags::{self, Tags},
    views::Machine,
};
use crate::reap::{MachineFacts, is_name};

/// Why a resource with a bastion's tag is not the bastion's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignReason {
    /// gangplank gives this kind of resource another name.
    OtherName(String),
    /// gangplank makes no resources of this kind.
    NeverMade,
    /// Another resource manages it: a scale set, a cluster, a managed application.
    ManagedBy(Id),
    /// It carries a tag that another service sets on what is its own.
    ServiceTag(String),
    /// No plan of this run names this resource group as its own, and nothing of the bastion's own stands in it.
    NothingInGroup,
    /// The plan names it as an existing one.
    Existing,
    /// No plan can have the name that the tag says.
    NoName,
}

impl fmt::Display for ForeignReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherName(expected) => write!(f, "gangplank's own would be called {expected}"),
            Self::NeverMade => f.write_str("gangplank makes none of this kind"),
            Self::ManagedBy(id) => write!(f, "{} manages it", id.name()),
            Self::ServiceTag(key) => write!(f, "its tag {key} is another service's"),
            Self::NothingInGroup => f.write_str("nothing of the bastion stands in it"),
            Self::Existing => f.write_str("the plan names it as an existing one"),
            Self::NoName => f.write_str("no plan can have that name"),
        }
    }
}

/// A resource that carries a bastion's tag and is not the bastion's own.
#[derive(Clone, Debug)]
pub struct Foreign<'a> {
    /// The bastion that the tag names.
    pub bastion: &'a str,
    pub id: &'a Id,
    /// `None` where it was seen only in a list of everything.
    pub resource: Option<&'a Resource>,
    pub reason: ForeignReason,
}

impl Foreign<'_> {
    /// `firewall fw-hub`, `Microsoft.Sql/servers sql-data`
    pub fn words(&self) -> String {
        match (self.resource, self.id.kind()) {
            (Some(resource), _) => resource.words(),
            (None, Some(kind)) => format!("{} {}", kind.words(), self.id.name()),
            (None, None) => format!("{} {}", self.id.type_name(), self.id.name()),
        }
    }

    /// For a note or a check: what it is, and why it is left alone.
    pub fn told(&self) -> String {
        let group = if self.id.kind() == Some(Kind::ResourceGroup) {
            String::new()
        } else {
            format!(" in {}", self.id.group_id().name())
        };
        format!("{}{group} ({})", self.words(), self.reason)
    }
}

/// A resource group has no name of gangplank's: what makes it a bastion's own beside the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupClaim {
    #[default]
    None,
    /// A plan names it as the bastion's own.
    Planned,
    /// A plan names it as an existing one: whatever stands in it, it stays.
    Existing,
    /// Something of the bastion's own stands in it.
    Contents,
    /// Azure is deleting it already: its end is waited for, and nothing is deleted.
    Going,
}

/// Tags by which other services mark what is theirs: AKS (`aks-managed-cluster-name`), and Kubernetes' cloud provider for Azure on what
/// it makes (`k8s-azure-service`: kubernetes-sigs/cloud-provider-azure).
const SERVICES: [&str; 2] = ["aks-managed-", "k8s-azure-"];

/// Why what carries the tag of `bastion` is not its own; `None` where it is. `managed_by` is the resource that manages it.
pub fn foreign_reason(
    id: &Id,
    tags: &Tags,
    managed_by: Option<&Id>,
    claim: GroupClaim,
    bastion: &str,
) -> Option<ForeignReason> {
    if let Some(key) = tags.keys().find(|key| SERVICES.iter().any(|service| key.starts_with(service))) {
        return Some(ForeignReason::ServiceTag(key.clone()));
    }
    if !is_name(bastion) {
        return Some(ForeignReason::NoName);
    }
    let own = format!("gangplank-{bastion}");
    let is = |expected: &str| id.name().eq_ignore_ascii_case(expected);
    let otherwise = |fits: bool, expected: String| (!fits).then_some(ForeignReason::OtherName(expected));
    let managed = managed_by.map(|id| ForeignReason::ManagedBy(id.clone()));
    match id.kind() {
        None | Some(Kind::RouteTable | Kind::IpGroup) => Some(ForeignReason::NeverMade),
        Some(Kind::ResourceGroup) => match claim {
            _ if managed.is_some() => managed,
            GroupClaim::Planned | GroupClaim::Contents | GroupClaim::Going => None,
            GroupClaim::Existing => Some(ForeignReason::Existing),
            GroupClaim::None => otherwise(is(&own), own).map(|_| ForeignReason::NothingInGroup),
        },
        // Azure makes it with the machine and calls it after that: `gangplank-warehouse_OsDisk_1_0123456789abcdef`.
        Some(Kind::Disk) => match managed_by {
            Some(machine) if is_machine_of(machine, &own) => None,
            Some(_) => managed,
            None => {
                let prefix = format!("{own}_").to_ascii_lowercase();
                otherwise(id.name().to_ascii_lowercase().starts_with(&prefix), format!("{own}_..."))
            }
        },
        _ if managed.is_some() => managed,
        Some(Kind::Address) => otherwise(is(&own) || is(&format!("{own}-management")), own),
        Some(Kind::AutoShutdown) => {
            let expected = format!("shutdown-computevm-{own}");
            otherwise(is(&expected), expected)
        }
        // They carry no tags of their own.
        Some(Kind::Subnet | Kind::Peering | Kind::RuleGroup) => None,
        Some(Kind::Network | Kind::SecurityGroup | Kind::Policy | Kind::Interface | Kind::Firewall | Kind::Machine) => {
            otherwise(is(&own), own)
        }
    }
}

fn is_machine_of(id: &Id, own: &str) -> bool {
    id.kind() == Some(Kind::Machine) && id.name().eq_ignore_ascii_case(own)
}

/// Decides about resource groups, whose second mark is not their own name: by what stands in them, and by the plans.
pub(super) fn claim_groups(resources: &mut [Resource]) {
    let own: Vec<(Id, String)> = resources
        .iter()
        .filter(|r| r.kind != Kind::ResourceGroup)
        .filter_map(|r| Some((r.id.group_id(), r.owner()?.to_owned())))
        .collect();
    for group in resources.iter_mut().filter(|r| r.kind == Kind::ResourceGroup) {
        let Some(bastion) = group.tags.get(tags::BASTION) else { continue };
        let inside = own.iter().any(|(id, owner)| *id == group.id && owner == bastion);
        group.claim = match group.state {
            State::Deleting => GroupClaim::Going,
            _ if inside => GroupClaim::Contents,
            _ => GroupClaim::None,
        };
    }
}

impl Observed {
    /// What a plan says about its resource group, which it names: that it is the bastion's own, or an existing one.
    pub fn plan_group(&mut self, group: &Id, bastion: &str, existing: bool) {
        let planned = self.resources.iter_mut().filter(|r| r.id == *group && r.kind == Kind::ResourceGroup);
        for group in planned.filter(|r| tags::owns(&r.tags, bastion) && r.state != State::Deleting) {
            group.claim = if existing { GroupClaim::Existing } else { GroupClaim::Planned };
        }
    }

    /// Everything that carries a bastion's tag and is not that bastion's own; of every bastion where none is named.
    pub fn foreign<'a>(&'a self, bastion: Option<&'a str>) -> Vec<Foreign<'a>> {
        let asked = |tag: &str| bastion.is_none_or(|bastion| bastion == tag);
        let read = self.resources.iter().filter(|r| r.state != State::Deleting).filter_map(|r| {
            let tag = r.tags.get(tags::BASTION).filter(|tag| asked(tag))?;
            let reason = r.foreign_reason(tag)?;
            Some(Foreign { bastion: tag, id: &r.id, resource: Some(r), reason })
        });
        let listed = self.contents.iter().filter_map(|c| {
            let tag = c.tags.get(tags::BASTION).filter(|tag| asked(tag))?;
            let reason = foreign_reason(&c.id, &c.tags, c.managed_by.as_ref(), GroupClaim::None, tag)?;
            (!self.is_covered(c, tag)).then_some(Foreign { bastion: tag, id: &c.id, resource: None, reason })
        });
        read.chain(listed).collect()
    }

    /// Whether a line of the list of everything is told with something else: it was read by itself, or stands in what is the
    /// bastion's own (a machine's extension) and goes with that.
    fn is_covered(&self, content: &Content, bastion: &str) -> bool {
        self.resources.iter().any(|r| {
            let around = r.kind != Kind::ResourceGroup && r.is_owned(bastion) && content.id.is_within(&r.id);
            r.id == content.id || around
        })
    }
}

/// What people recognise a machine by. Azure's answer about a machine has no creator in this API version; where it comes to have one
/// (`systemData`), that is taken.
pub(super) fn machine_facts(machine: &Resource) -> MachineFacts {
    let by = machine.text("/systemData/createdBy");
    MachineFacts {
        id: machine.id.to_string(),
        name: Some(machine.name().to_owned()),
        machine_type: Machine(machine).size().to_owned(),
        launched: machine.text("/properties/timeCreated").parse().ok(),
        launched_by: (!by.is_empty()).then(|| by.to_owned()),
        protected: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GROUP: &str = "/subscriptions/s/resourceGroups/rg";

    fn resource(path: &str, more: Value) -> Value {
        let mut raw = json!({"id": format!("{GROUP}{path}"), "tags": {tags::BASTION: "warehouse"}});
        if let (Some(raw), Some(more)) = (raw.as_object_mut(), more.as_object()) {
            raw.extend(more.clone());
        }
        raw
    }

    fn reason(raw: &Value) -> Option<ForeignReason> {
        Resource::read(raw).expect("a resource").foreign_reason("warehouse")
    }

    #[test]
    fn the_tag_and_the_name_of_the_kind_make_it_ours() {
        for path in [
            "/providers/Microsoft.Network/virtualNetworks/gangplank-warehouse",
            "/providers/Microsoft.Network/networkSecurityGroups/gangplank-warehouse",
            "/providers/Microsoft.Network/publicIPAddresses/gangplank-warehouse",
            "/providers/Microsoft.Network/publicIPAddresses/gangplank-warehouse-management",
            "/providers/Microsoft.Network/firewallPolicies/gangplank-warehouse",
            "/providers/Microsoft.Network/networkInterfaces/gangplank-warehouse",
            "/providers/microsoft.network/AZUREFIREWALLS/GANGPLANK-WAREHOUSE",
            "/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse",
            "/providers/Microsoft.DevTestLab/schedules/shutdown-computevm-gangplank-warehouse",
            "/providers/Microsoft.Compute/disks/gangplank-warehouse_OsDisk_1_00ff",
        ] {
            let raw = resource(path, json!({}));
            assert_eq!(reason(&raw), None, "{path}");
            assert!(Resource::read(&raw).expect("a resource").is_owned("warehouse"), "{path}");
            assert!(!Resource::read(&raw).expect("a resource").is_owned("ware"), "{path}");
            let mut untagged = raw;
            untagged["tags"] = json!({});
            assert!(!Resource::read(&untagged).expect("a resource").is_owned("warehouse"), "{path}");
        }
    }

    #[test]
    fn a_tag_alone_makes_nothing_ours() {
        for path in [
            "/providers/Microsoft.Network/azureFirewalls/fw-hub",
            "/providers/Microsoft.Compute/virtualMachines/payments-db",
            "/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse-2",
            "/providers/Microsoft.Network/publicIPAddresses/gangplank-warehouse2",
            "/providers/Microsoft.Network/networkInterfaces/gangplank-warehouse-management",
            "/providers/Microsoft.Compute/disks/gangplank-warehouse",
            "/providers/Microsoft.DevTestLab/schedules/shutdown-computevm-payments-db",
        ] {
            assert!(matches!(reason(&resource(path, json!({}))), Some(ForeignReason::OtherName(_))), "{path}");
        }
        let table = resource("/providers/Microsoft.Network/routeTables/gangplank-warehouse", json!({}));
        assert_eq!(reason(&table), Some(ForeignReason::NeverMade));
        assert_eq!(reason(&resource("", json!({}))), Some(ForeignReason::NothingInGroup));
    }

    #[test]
    fn what_another_resource_or_service_manages_is_never_ours() {
        let machine = "/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse";
        let set = format!("{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/pool");
        assert!(matches!(reason(&resource(machine, json!({"managedBy": set}))), Some(ForeignReason::ManagedBy(_))));
        let within = json!({"properties": {"virtualMachineScaleSet": {"id": set}}});
        assert!(matches!(reason(&resource(machine, within)), Some(ForeignReason::ManagedBy(_))));
        let tags = json!({"tags": {tags::BASTION: "warehouse", "aks-managed-poolName": "a"}});
        assert!(matches!(reason(&resource(machine, tags)), Some(ForeignReason::ServiceTag(_))));
        // A disk is its machine's, whatever it is called.
        let disk = "/providers/Microsoft.Compute/disks/data";
        let of = |machine: &str| resource(disk, json!({"managedBy": format!("{GROUP}{machine}")}));
        assert_eq!(reason(&of(machine)), None);
        let other = "/providers/Microsoft.Compute/virtualMachines/payments-db";
        assert!(matches!(reason(&of(other)), Some(ForeignReason::ManagedBy(_))));
    }

    #[test]
    fn a_group_is_ours_by_what_stands_in_it_or_by_its_plan() {
        let group = resource("", json!({}));
        let id = Id::new(GROUP);
        let security = resource("/providers/Microsoft.Network/networkSecurityGroups/gangplank-warehouse", json!({}));
        let inherited = resource("/providers/Microsoft.Compute/virtualMachines/payments-db", json!({}));
        let owned = |seen: &Observed| seen.get(&id).expect("the group").is_owned("warehouse");

        assert!(owned(&Observed::new([&group, &security], [])));
        let mut seen = Observed::new([&group, &inherited], []);
        assert!(!owned(&seen), "what only inherited the tag says nothing");
        assert_eq!(seen.foreign(Some("warehouse")).len(), 2);
        seen.plan_group(&id, "ware", false);
        assert!(!owned(&seen), "another bastion's plan");
        seen.plan_group(&id, "warehouse", false);
        assert!(owned(&seen));
        let foreign: Vec<String> = seen.foreign(Some("warehouse")).iter().map(Foreign::told).collect();
        assert_eq!(
            foreign,
            ["virtual machine payments-db in rg (gangplank's own would be called gangplank-warehouse)"]
        );
        let mut seen = Observed::new([&group, &security], []);
        seen.plan_group(&id, "warehouse", true);
        assert!(!owned(&seen), "the plan calls it existing");
    }

    #[test]
    fn what_is_only_listed_is_told_once() {
        let machine = resource("/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", json!({}));
        let extension =
            resource("/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse/extensions/agent", json!({}));
        let disk = resource(
            "/providers/Microsoft.Compute/disks/odd",
            json!({"managedBy": format!("{GROUP}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse")}),
        );
        let server = resource("/providers/Microsoft.Sql/servers/sql-data", json!({}));
        let seen = Observed::new([&machine], [&machine, &extension, &disk, &server]);
        let told: Vec<String> = seen.foreign(None).iter().map(Foreign::told).collect();
        assert_eq!(told, ["Microsoft.Sql/servers sql-data in rg (gangplank makes none of this kind)"]);
    }
}
