//! Resource groups.

use serde_json::{Value, json};

use super::{
    World,
    kinds::{Kind, Work},
    reply::{Call, answered, gone, refused},
    state::{Effect, Group},
};
use crate::sandbox::http::Reply;

/// The id of the resource group that something is in, or is, in lower case.
pub(super) fn group_of(id: &str) -> String {
    id.to_lowercase().splitn(6, '/').take(5).collect::<Vec<_>>().join("/")
}

/// `/subscriptions/ID/` of an id, in lower case.
pub(super) fn subscription_of(id: &str) -> String {
    let id = id.to_lowercase();
    id.splitn(4, '/').take(3).map(|part| format!("{part}/")).collect()
}

impl World {
    pub(super) fn group_list(&self, call: &Call<'_>) -> Reply {
        let filter = call.query("$filter").unwrap_or_default();
        let quoted: Vec<&str> = filter.split('\'').skip(1).step_by(2).collect();
        let has = |group: &&Group| {
            quoted.first().is_none_or(|name| {
                let tag = group.tags.as_ref().and_then(|t| t.get(*name)).and_then(Value::as_str);
                tag.is_some() && quoted.get(1).is_none_or(|value| tag == Some(value))
            })
        };
        let here = subscription_of(&call.key);
        let groups = self.groups.iter().filter(|(key, _)| key.starts_with(&here)).map(|(_, group)| group);
        let groups: Vec<&Group> = groups.filter(has).collect();
        self.paged(call, &groups, |group| show_group(group))
    }

    pub(super) fn group(&mut self, call: &Call<'_>, name: &str) -> Reply {
        match (call.method.as_str(), self.groups.get_mut(&call.key)) {
            ("GET", Some(group)) => answered(200, &show_group(group)),
            ("PUT", Some(group)) if group.going.is_some() => being_deleted(name),
            ("PUT", _) => self.put_group(call, name),
            ("PATCH", Some(group)) => {
                if let Some(tags) = call.body.as_ref().and_then(|b| b.get("tags")) {
                    group.tags = Some(tags.clone());
                }
                answered(200, &show_group(group))
            }
            ("DELETE", Some(_)) => self.delete_group(call),
            _ => self.no_group(name),
        }
    }

    fn put_group(&mut self, call: &Call<'_>, name: &str) -> Reply {
        let body = call.body.clone().unwrap_or_default();
        let Some(location) = body["location"].as_str() else {
            return refused(400, "LocationRequired", "The location property is required for this definition.");
        };
        let known = self.groups.get(&call.key);
        if let Some(known) = known.filter(|known| known.location != location) {
            let message = format!(
                "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                known.location
            );
            return refused(409, "InvalidResourceGroupLocation", &message);
        }
        let status = if known.is_some() { 200 } else { 201 };
        let group = Group {
            name: name.to_owned(),
            id: format!("{}resourceGroups/{name}", subscription_of(&call.key)),
            location: location.to_owned(),
            tags: body.get("tags").cloned(),
            going: None,
        };
        let reply = answered(status, &show_group(&group));
        self.groups.insert(call.key.clone(), group);
        reply
    }

    fn delete_group(&mut self, call: &Call<'_>) -> Reply {
        let going = self.groups.get(&call.key).and_then(|group| group.going.clone());
        let id = going.unwrap_or_else(|| {
            let work = Work { retry_after: 15, under: "" };
            self.start(&call.key, Effect::RemoveGroup, work, self.pace.group_deletion, call.now)
        });
        if let Some(group) = self.groups.get_mut(&call.key) {
            group.going = Some(id.clone());
        }
        let to =
            format!("{}/subscriptions/{}/operationresults/{id}?api-version=2021-04-01", call.origin, self.subscription);
        Reply::empty(202).with("Location", &to).with("Retry-After", "15")
    }

    pub(super) fn no_group(&self, name: &str) -> Reply {
        gone(404, "ResourceGroupNotFound", &format!("Resource group '{name}' could not be found."))
    }

    pub(super) fn no_resource(&self, kind: &Kind, segments: &[&str]) -> Reply {
        let group = segments.get(3).copied().unwrap_or_default();
        let names = segments.iter().skip(7).step_by(2).copied().collect::<Vec<_>>().join("/");
        let message = format!(
            "The Resource '{}/{names}' under resource group '{group}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix",
            kind.path
        );
        gone(404, "ResourceNotFound", &message)
    }
}

pub(super) fn show_group(group: &Group) -> Value {
    let state = if group.going.is_some() { "Deleting" } else { "Succeeded" };
    let mut shown = json!({"id": group.id, "name": group.name, "type": "Microsoft.Resources/resourceGroups",
                           "location": group.location});
    if let Some(tags) = &group.tags {
        shown["tags"] = tags.clone();
    }
    shown["properties"] = json!({"provisioningState": state});
    shown
}

pub(super) fn being_deleted(name: &str) -> Reply {
    let message = format!("The resource group '{name}' is in deprovisioning state and cannot perform this operation.");
    refused(409, "ResourceGroupBeingDeleted", &message)
}
