//! Writing: what is refused, what is kept, and what begins.

use serde_json::{Value, json};

use super::super::{
    kinds::{Kind, Work, complete, find, object},
    reply::{Ask, Reply, gone, refused},
};
use super::{Effect, Resource, World, being_deleted, references, type_of};

impl World {
    pub(super) fn put(&mut self, ask: &Ask, key: &str, kind: &'static Kind) -> Reply {
        let body = ask.body.clone().unwrap_or_default();
        if let Some(reply) = self.may_write(ask, key, kind, &body) {
            return reply;
        }
        let old = self.resources.get(key).cloned();
        let id = old.as_ref().map_or_else(|| ask.path.clone(), |old| old.id.clone());
        let name = old
            .as_ref()
            .map_or_else(|| ask.path.rsplit('/').next().unwrap_or_default().to_owned(), |old| old.name.clone());
        let unique = old.as_ref().map_or_else(|| self.number(), |old| old.unique);
        let mut body = body;
        if let Some(map) = body.as_object_mut() {
            for name in ["id", "name", "type", "etag"] {
                map.remove(name);
            }
        }
        if kind.path.ends_with("ruleCollectionGroups") {
            let parent = key.rsplit("/rulecollectiongroups").nth(1).and_then(|parent| self.resources.get(parent));
            body["location"] = parent.map(|p| p.body["location"].clone()).unwrap_or_default();
        }
        complete(kind, &id, &name, &mut body, unique);
        if let Some(refusal) = self.put_children(key, kind, &mut body) {
            return refusal;
        }
        self.keep_addresses(old.as_ref(), &mut body);
        let slow = self.slow_interfaces && kind.path == "Microsoft.Network/networkInterfaces" && old.is_none();
        let write = if slow { Some(Work { looks: 2, retry_after: 0, under: "operations" }) } else { kind.write };
        let state = match (write, &old) {
            (None, _) => "Succeeded",
            (Some(_), Some(_)) => "Updating",
            (Some(_), None) => kind.while_creating,
        };
        let etag = self.number();
        let born = old.as_ref().map_or(self.calls.len() as u64, |old| old.born);
        let resource = Resource { id, name, kind, body, state: state.to_owned(), etag, unique, born, operation: None };
        let location = self.location_of(&resource);
        self.resources.insert(key.to_owned(), resource);
        let operation = write.map(|work| (work, self.start(key, Effect::Settle, work)));
        if let Some((_, id)) = &operation {
            self.resources.get_mut(key).expect("just put").operation = Some(id.clone());
        } else {
            self.assign(key);
        }
        let reply = Reply::json(if old.is_some() { 200 } else { 201 }, self.show(key, false));
        match operation {
            Some((work, id)) => self.long(ask, reply, kind, work, &id, &location, false),
            None => reply,
        }
    }

    /// Why a body is refused before anything happens.
    pub(super) fn may_write(&mut self, ask: &Ask, key: &str, kind: &'static Kind, body: &Value) -> Option<Reply> {
        let namespace = kind.path.split('/').next().unwrap_or_default();
        if !self.registered.contains(&namespace) {
            let message = format!(
                "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register subscriptions."
            );
            return Some(refused(409, "MissingSubscriptionRegistration", &message));
        }
        let group = self.groups.get(&self.group_key(key.split('/').nth(4).unwrap_or_default()))?;
        if group.going.is_some() {
            return Some(being_deleted(&group.name));
        }
        if let Some((parent, _)) = key.rsplit_once('/').and_then(|(front, _)| front.rsplit_once('/'))
            && kind.path.matches('/').count() > 1
            && !self.resources.contains_key(parent)
        {
            let message = format!(
                "Can not perform requested operation on nested resource. Parent resource '{}' not found.",
                parent.rsplit('/').next().unwrap_or_default()
            );
            return Some(refused(404, "ParentResourceNotFound", &message));
        }
        if let Some(reply) = self.unconditional(ask, key) {
            return Some(reply);
        }
        for pointer in kind.required {
            let alternative = pointer.replace("addressPrefix", "addressPrefixes");
            if body.pointer(pointer).is_none() && body.pointer(&alternative).is_none() {
                let message = format!(
                    "Cannot parse the request: {} is missing.",
                    pointer.trim_start_matches('/').replace('/', ".")
                );
                return Some(refused(400, "InvalidRequestFormat", &message));
            }
        }
        let mut judged = body.clone();
        if ask.header("if-match").is_some() {
            // What was read is written back: Azure passes over what is its own to say.
            unread(&mut judged);
        }
        if let Err(why) =
            super::super::schema::validate(kind.path, ask.query("api-version").unwrap_or_default(), &judged)
        {
            self.mistakes.push(format!("{} {}: {why}", ask.method, ask.path));
            return Some(refused(400, "InvalidRequestContent", &why));
        }
        if let Some(old) = self.resources.get(key)
            && let (Some(new), Some(old)) = (body["location"].as_str(), old.body["location"].as_str())
            && !new.replace(' ', "").eq_ignore_ascii_case(old)
        {
            let message = format!(
                "The resource already exists in location '{old}'. A resource with the same name cannot be created in location '{new}'."
            );
            return Some(refused(409, "InvalidResourceLocation", &message));
        }
        for reference in references(body) {
            let target = reference.to_lowercase();
            // A part of a resource, or of this one, is inside its parent's body.
            let known = self.resources.contains_key(&target) || target.starts_with(key);
            let is_resource = find(&type_of(&target)).is_some();
            if !known && is_resource {
                let message = format!(
                    "Resource {reference} referenced by resource {} was not found. Please make sure that the referenced \
                     resource exists, and that both resources are in the same region.",
                    ask.path
                );
                return Some(refused(400, "InvalidResourceReference", &message));
            }
        }
        if let Some(reply) = self.busy(ask, key, body) {
            return Some(reply);
        }
        let refusal = super::super::checks::refuse(self, key, kind, body);
        if refusal.as_ref().is_some_and(|r| r.status == 429) {
            // Who is told to wait for a resource looks at it by coming back.
            for reference in references(body) {
                if let Some(id) = self.resources.get(&reference.to_lowercase()).and_then(|r| r.operation.clone()) {
                    self.look(&id);
                }
            }
        }
        refusal
    }

    /// `If-Match` and `If-None-Match`.
    pub(super) fn unconditional(&self, ask: &Ask, key: &str) -> Option<Reply> {
        let resource = self.resources.get(key);
        let failed = match (ask.header("if-match"), ask.header("if-none-match")) {
            (Some("*"), _) => resource.is_none(),
            (Some(etag), _) => {
                let plain = |e: &str| e.trim_start_matches("W/").trim_matches('"').to_owned();
                resource.and_then(|r| self.etag(r)).is_none_or(|own| plain(&own) != plain(etag))
            }
            (None, Some("*")) => resource.is_some(),
            _ => false,
        };
        failed.then(|| {
            let etag = ask.header("if-match").unwrap_or("*");
            let body = json!({"error": {"code": "PreconditionFailed", "message": "Precondition failed.", "details": [
                {"code": "PreconditionFailedEtagMismatch",
                 "message": format!("Etag provided in if-match header {etag} does not match etag of resource {} in NRP data store.", ask.path)}]}});
            Reply::json(412, body)
        })
    }

    /// Another operation on this or a dependent resource; waiting for it counts as a look at it.
    pub(super) fn busy(&mut self, ask: &Ask, key: &str, body: &Value) -> Option<Reply> {
        let family = |key: &str| key.split('/').take(9).collect::<Vec<_>>().join("/");
        let mut families = vec![family(key)];
        let own = self.resources.get(key).map(|r| r.body.clone()).unwrap_or_default();
        for value in [body, &own] {
            if let Some(policy) = value.pointer("/properties/firewallPolicy/id").and_then(Value::as_str) {
                families.push(family(&policy.to_lowercase()));
            }
        }
        let policy = key.contains("/firewallpolicies/").then(|| family(key));
        let blocking = self.operations.iter().find(|(_, operation)| {
            let target = &operation.target;
            let serves_policy = policy.as_ref().is_some_and(|policy| {
                self.resources.get(target).is_some_and(|r| {
                    r.body
                        .pointer("/properties/firewallPolicy/id")
                        .and_then(Value::as_str)
                        .is_some_and(|p| p.to_lowercase() == *policy)
                })
            });
            let whole = operation.effect != Effect::RemoveGroup;
            !operation.ended && whole && (families.contains(&family(target)) || serves_policy)
        });
        let id = blocking.map(|(id, _)| id.clone())?;
        self.look(&id);
        let message = format!(
            "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: \
             {}/subscriptions/{}/providers/Microsoft.Network/locations/westeurope/operations/{id}?api-version=2020-05-01.",
            ask.origin, self.subscription
        );
        Some(refused(409, "AnotherOperationInProgress", &message))
    }

    /// A network's subnets and a group's rules are resources of their own: those of a body replace all that there are.
    pub(super) fn put_children(&mut self, key: &str, kind: &Kind, body: &mut Value) -> Option<Reply> {
        let (field, child) = match kind.path {
            "Microsoft.Network/virtualNetworks" => ("subnets", "Microsoft.Network/virtualNetworks/subnets"),
            "Microsoft.Network/networkSecurityGroups" => {
                ("securityRules", "Microsoft.Network/networkSecurityGroups/securityRules")
            }
            _ => return None,
        };
        let child = find(child).expect("in the table");
        let wanted = body["properties"].as_object_mut().and_then(|p| p.remove(field));
        let wanted: Vec<Value> = wanted.and_then(|w| w.as_array().cloned()).unwrap_or_default();
        let named = |item: &Value| {
            format!("{key}/{}/{}", field.to_lowercase(), item["name"].as_str().unwrap_or_default().to_lowercase())
        };
        let kept: Vec<String> = wanted.iter().map(named).collect();
        let lost: Vec<String> =
            self.children(key).filter(|k| !kept.iter().any(|x| x == k)).map(str::to_owned).collect();
        for lost in &lost {
            if let Some(reply) = self.in_use(lost) {
                return Some(reply);
            }
        }
        self.resources.retain(|k, _| !lost.contains(k));
        for item in wanted {
            let key = named(&item);
            let name = item["name"].as_str().unwrap_or_default().to_owned();
            let id = format!(
                "{}/{field}/{name}",
                self.resources.get(&key).map_or_else(|| self.parent_id(&key), |_| self.parent_id(&key))
            );
            let mut body = json!({"properties": item.get("properties").cloned().unwrap_or_default()});
            complete(child, &id, &name, &mut body, 0);
            let (etag, unique, born) = (self.number(), self.number(), self.calls.len() as u64);
            let state = "Succeeded".to_owned();
            self.resources
                .insert(key, Resource { id, name, kind: child, body, state, etag, unique, born, operation: None });
        }
        None
    }

    pub(super) fn parent_id(&self, key: &str) -> String {
        let parent: String = key.split('/').take(9).collect::<Vec<_>>().join("/");
        self.resources.get(&parent).map_or(parent, |p| p.id.clone())
    }

    pub(super) fn patch(&mut self, ask: &Ask, key: &str, kind: &'static Kind, segments: &[&str]) -> Reply {
        if !self.resources.contains_key(key) {
            return self.no_resource(kind, segments);
        }
        let patch = ask.body.clone().unwrap_or_default();
        if let Some(reply) = self.unconditional(ask, key).or_else(|| self.busy(ask, key, &Value::Null)) {
            return reply;
        }
        let etag = self.number();
        let compute = kind.path.starts_with("Microsoft.Compute/");
        let resource = self.resources.get_mut(key).expect("found above");
        // The tags of a patch replace all of them; properties are merged.
        if let Some(tags) = patch.get("tags") {
            resource.body["tags"] = tags.clone();
        }
        if let Some(properties) = patch.get("properties") {
            if !compute {
                return refused(400, "InvalidRequestContent", "Only tags can be patched.");
            }
            merge(&mut resource.body["properties"], properties);
        }
        resource.etag = etag;
        let firewall = kind.path == "Microsoft.Network/azureFirewalls";
        if !(compute || firewall) {
            return Reply::json(200, self.show(key, false));
        }
        resource.state = "Updating".to_owned();
        let location = self.location_of(&self.resources[key].clone());
        let work = Work { looks: 1, retry_after: 0, under: "operations" };
        let id = self.start(key, Effect::Settle, work);
        self.resources.get_mut(key).expect("found above").operation = Some(id.clone());
        let reply = Reply::json(200, self.show(key, false));
        // A firewall's tags are patched without a word on where to ask.
        if compute { self.long(ask, reply, kind, work, &id, &location, false) } else { reply }
    }

    /// `Microsoft.Resources/tags/default` of a resource or a group: Merge, Replace, Delete.
    pub(super) fn tags(&mut self, ask: &Ask) -> Reply {
        let lower = ask.path.to_lowercase();
        let key = lower.trim_end_matches("/providers/microsoft.resources/tags/default");
        if self.groups.get(key).is_some_and(|g| g.going.is_some()) {
            return being_deleted(key);
        }
        let tags = match (self.resources.get_mut(key), self.groups.get_mut(key)) {
            (Some(resource), _) => object(&mut resource.body, "tags"),
            (None, Some(group)) => group.tags.get_or_insert_with(|| json!({})),
            (None, None) => return gone(404, "ResourceNotFound", "The Resource was not found."),
        };
        if let Some(body) = &ask.body {
            let named = body.pointer("/properties/tags").cloned().unwrap_or_default();
            let named = named.as_object().cloned().unwrap_or_default();
            match (ask.method.as_str(), body["operation"].as_str()) {
                ("PUT", _) | ("PATCH", Some("Replace")) => *tags = json!(named),
                ("PATCH", Some("Merge")) => named.iter().for_each(|(name, value)| tags[name.as_str()] = value.clone()),
                ("PATCH", Some("Delete")) => {
                    // A name goes where it has that value.
                    let map = tags.as_object_mut().expect("made above");
                    map.retain(|name, value| named.get(name) != Some(value));
                }
                _ => return refused(400, "InvalidRequestContent", "The operation must be Merge, Replace or Delete."),
            }
            if tags.as_object().is_some_and(|t| t.len() > 50) {
                return refused(400, "TagsLimitExceeded", "A resource has at most 50 tags.");
            }
        }
        let id = format!(
            "{}/providers/Microsoft.Resources/tags/default",
            ask.path.split("/providers/Microsoft.Resources/").next().unwrap_or_default()
        );
        Reply::json(
            200,
            json!({"id": id, "name": "default", "type": "Microsoft.Resources/tags", "properties": {"tags": tags}}),
        )
    }
}

/// Without what only Azure writes.
fn unread(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["provisioningState", "resourceGuid", "privateIPAddress", "privateIPAllocationMethod"] {
                map.remove(name);
            }
            if map.contains_key("properties") && map.contains_key("etag") && !map.contains_key("location") {
                map.remove("type");
                map.remove("etag");
            }
            map.values_mut().for_each(unread);
        }
        Value::Array(items) => items.iter_mut().for_each(unread),
        _ => {}
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.remove(name);
                } else {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}
