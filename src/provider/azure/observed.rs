//! What a subscription has, as far as gangplank's plans are concerned. Resources stay the JSON that Azure answered with, since
//! shared ones are written back; what decisions need is read leniently: what is missing is empty, never an error.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    auto_shutdown::Service,
    id::{Id, Kind},
    ownership::{self, ForeignReason, GroupClaim},
    tags::{self, Tags},
};
use crate::cloud_error::CloudError;

/// One look at a subscription.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// All of the subscription's of each [`Kind`] but subnets, and disks only where no plan is asked; peerings out of their networks; of rule
    /// collection groups those of the policies that a plan names or that refer to one of our name. In the order of their ids.
    pub resources: Vec<Resource>,
    /// Everything in the subscription, of any type, where a resource group carries our tag; nothing otherwise.
    pub contents: Vec<Content>,
    pub auto_shutdown: Service,
    /// What plans lead to in other subscriptions, and this account may not read.
    pub unread: Unread,
    /// Only where no plan is asked, and this account may see them.
    pub locks: Option<Vec<Lock>>,
}

/// A management lock: of a resource, a resource group or the whole subscription, and of everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub name: String,
    pub scope: Id,
    /// Else it only forbids to delete (`CanNotDelete`).
    pub read_only: bool,
}

/// Why something was not read, by its id.
pub type Unread = BTreeMap<Id, CloudError>;

const PEERINGS: &str = "/properties/virtualNetworkPeerings";

/// Whether a plan names something by its id.
pub(super) fn is_id(name: &str) -> bool {
    name.starts_with('/')
}

#[derive(Clone, Debug)]
pub struct Resource {
    pub id: Id,
    pub kind: Kind,
    /// Without spaces and in lower case; `westeurope`.
    pub location: String,
    pub tags: Tags,
    pub state: State,
    /// Of another subscription: read because a plan leads to it.
    pub elsewhere: bool,
    /// Of a resource group: its second mark.
    pub claim: GroupClaim,
    /// Of a machine with `properties/instanceView` from a list of its own, and for a verification with `properties/userData`.
    pub raw: Value,
}

/// `properties/provisioningState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    /// Azure is still at it, begun by somebody.
    Busy,
    Deleting,
    /// The last operation did not succeed.
    Failed,
}

/// A line of a resource group's list.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub id: Id,
    pub tags: Tags,
    /// A disk's machine.
    pub managed_by: Option<Id>,
}

impl Observed {
    /// Answers of any order; what is no resource of a known kind is left out.
    pub fn new<'a>(
        resources: impl IntoIterator<Item = &'a Value>,
        contents: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let read = |raw| Resource::read(raw).into_iter().chain(list(raw, PEERINGS).iter().filter_map(Resource::read));
        let mut resources: Vec<Resource> = resources.into_iter().flat_map(read).collect();
        resources.sort_by(|a, b| a.id.cmp(&b.id));
        resources.dedup_by(|a, b| a.id == b.id);
        ownership::claim_groups(&mut resources);
        let contents = contents.into_iter().filter_map(Content::read).collect();
        Self { resources, contents, auto_shutdown: Service::default(), unread: Unread::new(), locks: None }
    }

    /// What is not on its way out.
    pub fn get(&self, id: &Id) -> Option<&Resource> {
        self.resources.iter().find(|r| r.id == *id && r.state != State::Deleting)
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |r| r.kind == kind && r.state != State::Deleting)
    }

    /// As plans write it: by a name in the subscription itself, or by an id.
    pub fn named<'a>(&'a self, kind: Kind, name: &str) -> Vec<&'a Resource> {
        if is_id(name) {
            return self.of_kind(kind).filter(|r| r.id == Id::new(name)).collect();
        }
        self.of_kind(kind).filter(|r| !r.elsewhere && r.id.name().eq_ignore_ascii_case(name)).collect()
    }

    /// What is of another subscription is no bastion's of this one, whatever it carries.
    pub fn mark_elsewhere(&mut self, subscription: &str) {
        for resource in self.resources.iter_mut().filter(|r| !r.id.is_in(subscription)) {
            resource.elsewhere = true;
            resource.tags.clear();
        }
    }

    /// What was read of a machine on its own.
    pub fn add_user_data(&mut self, machine: &Id, user_data: String) {
        let machine = self.resources.iter_mut().find(|r| r.id == *machine);
        let properties = machine.and_then(|m| m.raw.get_mut("properties")).and_then(Value::as_object_mut);
        if let Some(properties) = properties {
            properties.insert("userData".to_owned(), Value::String(user_data));
        }
    }

    /// Everything that is a bastion's own.
    pub fn owned<'a>(&'a self, bastion: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |r| r.is_owned(bastion) && r.state != State::Deleting)
    }
}

impl Resource {
    /// `None` where it is no resource of a known kind.
    pub fn read(raw: &Value) -> Option<Self> {
        let id = Id::new(raw.get("id")?.as_str()?);
        let kind = id.kind()?;
        let state = match raw.pointer("/properties/provisioningState").and_then(Value::as_str) {
            None | Some("Succeeded") => State::Ready,
            Some("Deleting") => State::Deleting,
            Some("Failed" | "Canceled") => State::Failed,
            Some(_) => State::Busy,
        };
        let location = raw.get("location").and_then(Value::as_str).unwrap_or_default();
        let location = location.chars().filter(|c| *c != ' ').collect::<String>().to_lowercase();
        Some(Self {
            id,
            kind,
            location,
            tags: tags::read(raw),
            state,
            elsewhere: false,
            claim: GroupClaim::None,
            raw: raw.clone(),
        })
    }

    pub fn name(&self) -> &str {
        self.id.name()
    }

    /// By both marks: see [`super::ownership`].
    pub fn is_owned(&self, bastion: &str) -> bool {
        tags::owns(&self.tags, bastion) && self.foreign_reason(bastion).is_none()
    }

    /// Whose it is by both marks.
    pub fn owner(&self) -> Option<&str> {
        self.tags.get(tags::BASTION).map(String::as_str).filter(|bastion| self.foreign_reason(bastion).is_none())
    }

    /// Why what carries a bastion's tag is not its own.
    pub fn foreign_reason(&self, bastion: &str) -> Option<ForeignReason> {
        ownership::foreign_reason(&self.id, &self.tags, self.managed_by().as_ref(), self.claim, bastion)
    }

    /// The resource that manages it: a disk's machine, a machine's scale set. Azure writes "" where there is none.
    pub fn managed_by(&self) -> Option<Id> {
        let mut all =
            ["/managedBy", "/properties/virtualMachineScaleSet/id"].into_iter().filter_map(|at| self.id_at(at));
        all.find(|id| !id.as_str().is_empty())
    }

    /// `firewall fw-hub`
    pub fn words(&self) -> String {
        format!("{} {}", self.kind.words(), self.name())
    }

    /// Text at a JSON pointer, or "".
    pub fn text(&self, pointer: &str) -> &str {
        text(&self.raw, pointer)
    }

    pub fn list(&self, pointer: &str) -> &[Value] {
        list(&self.raw, pointer)
    }

    /// The id at a JSON pointer.
    pub fn id_at(&self, pointer: &str) -> Option<Id> {
        id_at(&self.raw, pointer)
    }
}

impl Lock {
    /// "Management Locks - List At Subscription Level"; `None` where it is no lock of the subscription or of what is in it.
    pub fn read(raw: &Value) -> Option<Self> {
        const TYPE: &str = "/providers/microsoft.authorization/locks/";
        let id = raw.get("id")?.as_str()?;
        let at = id.to_ascii_lowercase().rfind(TYPE)?;
        let scope = id.get(..at).filter(|scope| !scope.is_empty())?;
        Some(Self {
            name: id.get(at + TYPE.len()..)?.to_owned(),
            scope: Id::new(scope),
            read_only: text(raw, "/properties/level").eq_ignore_ascii_case("ReadOnly"),
        })
    }
}

impl Content {
    fn read(raw: &Value) -> Option<Self> {
        let id = Id::new(raw.get("id")?.as_str()?);
        Some(Self {
            id,
            tags: tags::read(raw),
            managed_by: id_at(raw, "/managedBy").filter(|id| !id.as_str().is_empty()),
        })
    }
}

pub(super) fn text<'a>(raw: &'a Value, pointer: &str) -> &'a str {
    raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(raw: &'a Value, pointer: &str) -> &'a [Value] {
    raw.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn id_at(raw: &Value, pointer: &str) -> Option<Id> {
    raw.pointer(pointer).and_then(Value::as_str).map(Id::new)
}

/// What a new machine can be made from: read only where one is to be made.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The location's sizes of virtual machines (`Microsoft.Compute/skus`).
    pub sizes: Vec<Size>,
    /// What the subscription may have of each family of sizes in the location; empty where that can't be read.
    pub quotas: Vec<Quota>,
}

/// A line of `Microsoft.Compute/locations/LOCATION/usages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `cores` for all families together, or a family: `standardBSFamily`.
    pub name: String,
    /// `Total Regional vCPUs`
    pub said: String,
    pub used: u64,
    pub limit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    pub name: String,
    pub arm64: bool,
    /// Boots images of the second generation.
    pub second_generation: bool,
    /// Azure's reason for not giving it to this subscription.
    pub restricted: Option<String>,
    /// What its processors count as.
    pub family: String,
    /// 0 where Azure does not say.
    pub cores: u64,
}

impl Quota {
    pub fn read(raw: &Value) -> Option<Self> {
        let number = |name: &str| raw.get(name).and_then(Value::as_u64);
        Some(Self {
            name: raw.pointer("/name/value")?.as_str()?.to_owned(),
            said: text(raw, "/name/localizedValue").to_owned(),
            used: number("currentValue")?,
            limit: number("limit")?,
        })
    }
}

impl Size {
    /// A line of the list of resource SKUs; `None` where it is another resource's.
    pub fn read(raw: &Value) -> Option<Self> {
        if raw.get("resourceType").and_then(Value::as_str) != Some("virtualMachines") {
            return None;
        }
        let capability = |name: &str| {
            let all = list(raw, "/capabilities");
            all.iter().find(|c| text(c, "/name") == name).map_or("", |c| text(c, "/value"))
        };
        // A restriction of type Zone leaves the location's other zones.
        let restriction = list(raw, "/restrictions").iter().find(|r| text(r, "/type") == "Location");
        Some(Self {
            name: raw.get("name")?.as_str()?.to_owned(),
            arm64: capability("CpuArchitectureType").eq_ignore_ascii_case("arm64"),
            second_generation: capability("HyperVGenerations").contains("V2"),
            restricted: restriction.map(|r| text(r, "/reasonCode").to_owned()),
            family: text(raw, "/family").to_owned(),
            cores: capability("vCPUs").parse().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_size_is_read_with_what_it_can_boot() {
        let raw = json!({
            "resourceType": "virtualMachines", "name": "Standard_B2pts_v2", "locations": ["westeurope"],
            "family": "standardBpsv2Family", "capabilities": [{"name": "vCPUs", "value": "2"}, {"name": "CpuArchitectureType", "value": "Arm64"}, {"name": "HyperVGenerations", "value": "V2"}],
            "restrictions": [{"type": "Zone", "reasonCode": "NotAvailableForSubscription"}],
        });
        let size = Size {
            name: "Standard_B2pts_v2".into(),
            arm64: true,
            second_generation: true,
            restricted: None,
            family: "standardBpsv2Family".into(),
            cores: 2,
        };
        assert_eq!(Size::read(&raw), Some(size));
        assert_eq!(Size::read(&json!({"resourceType": "disks", "name": "Standard_LRS"})), None);
    }

    /// Any JSON at all, with the words that are looked for more often than by chance.
    fn anything() -> impl Strategy<Value = Value> {
        let id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/azureFirewalls/f";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            Just(json!(id)),
            Just(json!("10.0.0.0/8")),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            let words = vec![
                "id",
                "properties",
                "tags",
                "ipConfigurations",
                "subnets",
                "rules",
                "name",
                "natRuleCollections",
                "sku",
            ];
            let key = prop_oneof![4 => prop::sample::select(words).prop_map(str::to_owned), 1 => "[a-z]{1,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read(raw in anything()) {
            let _ = (Size::read(&raw), Quota::read(&raw), Lock::read(&raw));
            let seen = Observed::new([&raw], [&raw]);
            for resource in &seen.resources {
                super::super::views::read_everything(resource);
            }
        }
    }
}
