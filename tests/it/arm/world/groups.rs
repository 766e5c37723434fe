//! Resource groups.

use serde_json::{Value, json};

use super::super::{
    kinds::{Kind, Work},
    reply::{Ask, Reply, gone, refused},
};
use super::{Effect, GROUP_LOOKS, Group, World, being_deleted};

impl World {
    pub(super) fn group_key(&self, name: &str) -> String {
        format!("/subscriptions/{}/resourcegroups/{}", self.subscription, name.to_lowercase())
    }

    pub(super) fn group_list(&self, ask: &Ask) -> Reply {
        let filter = ask.query("$filter").unwrap_or_default();
        let quoted: Vec<&str> = filter.split('\'').skip(1).step_by(2).collect();
        let has = |group: &Group| {
            quoted.first().is_none_or(|name| {
                let tag = group.tags.as_ref().and_then(|t| t.get(*name)).and_then(Value::as_str);
                tag.is_some() && quoted.get(1).is_none_or(|value| tag == Some(value))
            })
        };
        self.paged(ask, self.groups.values().filter(|g| has(g)).map(show_group).collect())
    }

    pub(super) fn group(&mut self, ask: &Ask, lower: &str, name: &str) -> Reply {
        let key = self.group_key(lower);
        if let Some(operation) = self.groups.get(&key).and_then(|g| g.going.clone()) {
            self.look(&operation);
        }
        let known = self.groups.get(&key).cloned();
        match (ask.method.as_str(), known) {
            ("GET", Some(group)) => Reply::json(200, show_group(&group)),
            ("PUT", Some(group)) if group.going.is_some() => being_deleted(name),
            ("PUT", known) => {
                let body = ask.body.clone().unwrap_or_default();
                let Some(location) = body["location"].as_str() else {
                    return refused(400, "LocationRequired", "The location property is required for this definition.");
                };
                if let Some(known) = &known
                    && known.location != location
                {
                    let message = format!(
                        "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                        known.location
                    );
                    return refused(409, "InvalidResourceGroupLocation", &message);
                }
                let group = Group {
                    name: name.to_owned(),
                    id: format!("/subscriptions/{}/resourceGroups/{name}", self.subscription),
                    location: location.to_owned(),
                    tags: body.get("tags").cloned(),
                    going: None,
                };
                let status = if known.is_some() { 200 } else { 201 };
                let reply = Reply::json(status, show_group(&group));
                self.groups.insert(key, group);
                reply
            }
            ("PATCH", Some(_)) => {
                let group = self.groups.get_mut(&key).expect("found above");
                if let Some(tags) = ask.body.as_ref().and_then(|b| b.get("tags")) {
                    group.tags = Some(tags.clone());
                }
                Reply::json(200, show_group(group))
            }
            ("DELETE", Some(group)) => {
                let id = match &group.going {
                    Some(id) => id.clone(),
                    None => {
                        let id = self.start(
                            &key,
                            Effect::RemoveGroup,
                            Work { looks: GROUP_LOOKS, retry_after: 15, under: "" },
                        );
                        self.groups.get_mut(&key).expect("found above").going = Some(id.clone());
                        id
                    }
                };
                let to = format!(
                    "{}/subscriptions/{}/operationresults/{id}?api-version=2021-04-01",
                    ask.origin, self.subscription
                );
                Reply::empty(202).with("Location", &to).with("Retry-After", "15")
            }
            _ => self.no_group(name),
        }
    }

    pub(super) fn no_group(&self, name: &str) -> Reply {
        gone(404, "ResourceGroupNotFound", &format!("Resource group '{name}' could not be found."))
    }

    pub(super) fn no_resource(&self, kind: &Kind, segments: &[&str]) -> Reply {
        let (group, names) =
            (segments[3], segments[6..].iter().skip(1).step_by(2).copied().collect::<Vec<_>>().join("/"));
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
