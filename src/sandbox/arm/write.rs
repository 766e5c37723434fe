//! Writing: what is refused, what is kept, and what begins.

use serde_json::{Value, json};

use super::{
    World, checks,
    groups::{being_deleted, group_of},
    kinds::{Kind, PEERINGS, Work, complete, find, object},
    operations::{Begun, POLICIES, RULE_GROUPS},
    power::{MACHINES, Machine},
    reply::{Call, answered, gone, refused},
    state::{Effect, Operation, Resource, State, references, type_of, whole},
};
use crate::sandbox::http::Reply;

impl World {
    pub(super) fn put(&mut self, call: &Call<'_>, kind: &'static Kind) -> Reply {
        let key = call.key.as_str();
        let mut body = call.body.clone().unwrap_or_else(|| json!({}));
        if let Some(reply) = self.may_write(call, kind, &body) {
            return reply;
        }
        let document = body.pointer("/properties/osProfile/customData").and_then(Value::as_str).map(str::to_owned);
        if let Some(map) = body.as_object_mut() {
            for name in ["id", "name", "type", "etag"] {
                map.remove(name);
            }
        }
        if kind.path.ends_with("/ruleCollectionGroups") {
            let location = self.resources.get(whole(key)).map(|parent| parent.body()["location"].clone());
            body["location"] = location.unwrap_or_default();
        }
        let old = self.resources.get(key).cloned();
        let (id, name, unique) = match &old {
            Some(old) => (old.id.clone(), old.name.clone(), old.unique),
            None => {
                let name = call.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                (call.path.trim_end_matches('/').to_owned(), name.to_owned(), self.number())
            }
        };
        complete(kind, &id, &name, &mut body, unique, call.now);
        if let Some(refusal) = self.put_children(call, kind, &id, &mut body) {
            return refusal;
        }
        Self::keep_addresses(old.as_ref(), &mut body);
        if kind.path == PEERINGS {
            let properties = object(&mut body, "properties");
            for told in ["peeringState", "remoteAddressSpace", "remoteVirtualNetworkAddressSpace"] {
                let known = old.as_ref().and_then(|old| old.body()["properties"].get(told));
                properties[told] = known.cloned().unwrap_or_default();
            }
        }
        let takes = self.pace.write(kind.path, old.is_none());
        // See the pace of interfaces.
        let slow = kind.path == "Microsoft.Network/networkInterfaces" && old.is_none() && !takes.is_zero();
        let write = if slow { Some(Work { retry_after: 0, under: "operations" }) } else { kind.write };
        let mut made = Resource::new(id, name, kind, body, unique, call.now);
        made.etag = self.number();
        made.state = match (write, &old) {
            (None, _) => State::Succeeded,
            (Some(_), Some(_)) => State::Updating,
            (Some(_), None) => kind.while_creating,
        };
        made.before = old.as_ref().filter(|_| write.is_some()).and_then(|old| old.in_effect().cloned());
        let status = if old.is_some() { 200 } else { 201 };
        match old {
            Some(old) => (made.born, made.machine) = (old.born, old.machine),
            None if kind.path == MACHINES => {
                made.machine = Some(Machine::new(document.as_deref().unwrap_or_default(), call.now));
            }
            None => {}
        }
        let location = self.location_of(&made);
        let operation = write.map(|work| (work, self.start(key, Effect::Settle, work, takes, call.now)));
        made.operation = operation.as_ref().map(|(_, id)| id.clone());
        if kind.path == RULE_GROUPS {
            self.occupy_policy(key, takes, call.now);
        }
        self.resources.insert(key.to_owned(), made);
        if operation.is_none() {
            self.assign(key, call.now);
        }
        let shown = self.resources.get(key).map(|made| self.show(made, false)).unwrap_or_default();
        let reply = answered(status, &shown);
        match operation {
            Some((work, id)) => self.long(call, reply, kind, &Begun { id, work, location }, false),
            None => reply,
        }
    }

    /// Why a body is refused before anything happens.
    fn may_write(&self, call: &Call<'_>, kind: &Kind, body: &Value) -> Option<Reply> {
        let key = call.key.as_str();
        if let Some(reply) = self.unregistered(kind.path) {
            return Some(reply);
        }
        let group = self.groups.get(&group_of(key))?;
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
        if let Some(reply) = self.unconditional(call) {
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
        if let Some(old) = self.resources.get(key)
            && let (Some(new), Some(old)) = (body["location"].as_str(), old.body()["location"].as_str())
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
                    call.path
                );
                return Some(refused(400, "InvalidResourceReference", &message));
            }
        }
        self.busy(call, key, body).or_else(|| checks::refuse(self, key, kind, body))
    }

    /// A subscription can neither have nor list types of a namespace that it is not registered for (vscode-azurevirtualmachines#187,
    /// azure-powershell#4084).
    pub(super) fn unregistered(&self, kind: &str) -> Option<Reply> {
        let namespace = kind.split('/').next().unwrap_or_default();
        if self.registered.iter().any(|known| known.eq_ignore_ascii_case(namespace)) {
            return None;
        }
        let message = format!(
            "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register subscriptions."
        );
        Some(refused(409, "MissingSubscriptionRegistration", &message))
    }

    /// `If-Match` and `If-None-Match`.
    pub(super) fn unconditional(&self, call: &Call<'_>) -> Option<Reply> {
        let resource = self.resources.get(&call.key);
        let failed = match (call.header("if-match"), call.header("if-none-match")) {
            (Some("*"), _) => resource.is_none(),
            (Some(asked), _) => {
                let plain = |e: &str| e.trim_start_matches("W/").trim_matches('"').to_owned();
                resource.and_then(super::read::etag).is_none_or(|own| plain(&own) != plain(asked))
            }
            (None, Some("*")) => resource.is_some(),
            _ => false,
        };
        failed.then(|| {
            let etag = call.header("if-match").unwrap_or("*");
            let body = json!({"error": {"code": "PreconditionFailed", "message": "Precondition failed.", "details": [
                {"code": "PreconditionFailedEtagMismatch",
                 "message": format!("Etag provided in if-match header {etag} does not match etag of resource {} in NRP data store.", call.path)}]}});
            answered(412, &body)
        })
    }

    /// Another operation on this or a dependent resource.
    pub(super) fn busy(&self, call: &Call<'_>, key: &str, body: &Value) -> Option<Reply> {
        let policy_of = |body: &Value| {
            let id = body.pointer("/properties/firewallPolicy/id").and_then(Value::as_str)?;
            Some(whole(&id.to_lowercase()).to_owned())
        };
        if let Some(refusal) = self.busy_networks(call, key, body) {
            return Some(refusal);
        }
        let own = self.resources.get(key).and_then(|own| policy_of(own.body()));
        let families: Vec<String> = [Some(whole(key).to_owned()), policy_of(body), own].into_iter().flatten().collect();
        let policy = key.contains("/firewallpolicies/").then(|| whole(key));
        let blocks = |operation: &Operation| {
            let target = &operation.target;
            let serves_policy = policy.is_some_and(|policy| {
                self.resources.get(target).and_then(|r| policy_of(r.body())).is_some_and(|p| p == policy)
            });
            let family = families.iter().any(|family| family == whole(target));
            operation.effect != Effect::RemoveGroup && (family || serves_policy)
        };
        let id = self.under_way.iter().find(|id| self.operations.get(*id).is_some_and(blocks))?;
        if let Some(refusal) = busy_policy(call, key) {
            return Some(refusal);
        }
        let message = format!(
            "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: \
             {}/subscriptions/{}/providers/Microsoft.Network/locations/westeurope/operations/{id}?api-version=2020-05-01.",
            call.origin, self.subscription
        );
        Some(refused(409, "AnotherOperationInProgress", &message))
    }

    /// A network's subnets and a group's rules are resources of their own: those of a body replace all that there are.
    fn put_children(&mut self, call: &Call<'_>, kind: &Kind, parent: &str, body: &mut Value) -> Option<Reply> {
        let key = call.key.as_str();
        let (field, child) = match kind.path {
            "Microsoft.Network/virtualNetworks" => ("subnets", "Microsoft.Network/virtualNetworks/subnets"),
            "Microsoft.Network/networkSecurityGroups" => {
                ("securityRules", "Microsoft.Network/networkSecurityGroups/securityRules")
            }
            _ => return None,
        };
        let child = find(child)?;
        // Peerings are written by themselves, and stay where a network's body does not name them.
        let wanted = body["properties"].as_object_mut().and_then(|p| {
            p.remove("virtualNetworkPeerings");
            p.remove(field)
        });
        let wanted: Vec<Value> = wanted.and_then(|w| w.as_array().cloned()).unwrap_or_default();
        let named = |item: &Value| item["name"].as_str().unwrap_or_default().to_owned();
        let place = |name: &str| format!("{key}/{}/{}", field.to_lowercase(), name.to_lowercase());
        let kept: Vec<String> = wanted.iter().map(|item| place(&named(item))).collect();
        let all = self.children(key).filter(|(_, child)| child.kind.path != PEERINGS).map(|(k, _)| k.to_owned());
        let lost: Vec<String> = all.filter(|k| !kept.contains(k)).collect();
        if let Some(reply) = lost.iter().find_map(|lost| self.in_use(lost)) {
            return Some(reply);
        }
        self.resources.retain(|k, _| !lost.contains(k));
        for item in wanted {
            let name = named(&item);
            let key = place(&name);
            let id = format!("{parent}/{field}/{name}");
            let mut body = json!({"properties": item.get("properties").cloned().unwrap_or_default()});
            complete(child, &id, &name, &mut body, 0, call.now);
            let number = self.number();
            self.resources.insert(key, Resource::new(id, name, child, body, number, call.now));
        }
        None
    }

    pub(super) fn patch(&mut self, call: &Call<'_>, kind: &'static Kind, segments: &[&str]) -> Reply {
        let key = call.key.as_str();
        if !self.resources.contains_key(key) {
            return self.no_resource(kind, segments);
        }
        let patch = call.body.clone().unwrap_or_default();
        if let Some(reply) = self.unconditional(call).or_else(|| self.busy(call, key, &Value::Null)) {
            return reply;
        }
        if let (true, Some(resource)) = (swallows_tags(kind), self.resources.get(key)) {
            return answered(200, &self.show(resource, false));
        }
        let compute = kind.path.starts_with("Microsoft.Compute/");
        let long = compute || kind.path == "Microsoft.Network/azureFirewalls";
        if patch.get("properties").is_some() && !compute {
            return refused(400, "InvalidRequestContent", "Only tags can be patched.");
        }
        let etag = self.number();
        let work = Work { retry_after: 0, under: "operations" };
        let pace = if compute { self.pace.machine_change } else { self.pace.firewall_change };
        let operation = long.then(|| self.start(key, Effect::Settle, work, pace, call.now));
        if let Some(resource) = self.resources.get_mut(key) {
            let before = resource.in_effect().cloned();
            // The tags of a patch replace all of them; properties are merged.
            resource.change(|body| {
                if let Some(tags) = patch.get("tags") {
                    body["tags"] = tags.clone();
                }
                if let Some(properties) = patch.get("properties") {
                    merge(object(body, "properties"), properties);
                }
            });
            resource.etag = etag;
            resource.written = call.now;
            if let Some(id) = &operation {
                resource.state = State::Updating;
                resource.before = before;
                resource.operation = Some(id.clone());
            }
        }
        let Some(resource) = self.resources.get(key) else { return self.no_resource(kind, segments) };
        let reply = answered(200, &self.show(resource, false));
        match operation {
            // A firewall's tags are patched without a word on where to ask.
            Some(id) if compute => {
                let location = self.location_of(resource);
                self.long(call, reply, kind, &Begun { id, work, location }, false)
            }
            _ => reply,
        }
    }

    /// `Microsoft.Resources/tags/default` of a resource or a group: Merge, Replace, Delete.
    pub(super) fn tags(&mut self, call: &Call<'_>) -> Reply {
        let key = call.key.trim_end_matches("/providers/microsoft.resources/tags/default");
        if self.groups.get(key).is_some_and(|g| g.going.is_some()) {
            return being_deleted(key);
        }
        let resource = self.resources.get(key).map(|resource| resource.body()["tags"].clone());
        let group = self.groups.get(key).map(|group| group.tags.clone().unwrap_or_default());
        let Some(mut tags) = resource.or(group) else {
            return gone(404, "ResourceNotFound", "The Resource was not found.");
        };
        if let Some(body) = &call.body {
            let named = body.pointer("/properties/tags").and_then(Value::as_object).cloned().unwrap_or_default();
            let mut map = tags.as_object().cloned().unwrap_or_default();
            match (call.method.as_str(), body["operation"].as_str()) {
                ("PUT", _) | ("PATCH", Some("Replace")) => map = named,
                // Names of tags differ in more than case.
                ("PATCH", Some("Merge")) => {
                    map.retain(|name, _| !named.keys().any(|other| other.eq_ignore_ascii_case(name)));
                    map.extend(named);
                }
                // A name goes where it has that value.
                ("PATCH", Some("Delete")) => map.retain(|name, value| {
                    !named.iter().any(|(other, gone)| other.eq_ignore_ascii_case(name) && gone == value)
                }),
                _ => return refused(400, "InvalidRequestContent", "The operation must be Merge, Replace or Delete."),
            }
            if map.len() > 50 {
                return refused(400, "TagsLimitExceeded", "A resource has at most 50 tags.");
            }
            tags = Value::Object(map);
            if let Some(resource) = self.resources.get_mut(key) {
                if swallows_tags(resource.kind) {
                    tags = resource.body()["tags"].clone();
                } else {
                    resource.change(|body| body["tags"] = tags.clone());
                }
            } else if let Some(group) = self.groups.get_mut(key) {
                group.tags = Some(tags.clone());
            }
        }
        let id = call.path.split("/providers/Microsoft.Resources/").next().unwrap_or_default();
        let id = format!("{id}/providers/Microsoft.Resources/tags/default");
        let body =
            json!({"id": id, "name": "default", "type": "Microsoft.Resources/tags", "properties": {"tags": tags}});
        answered(200, &body)
    }
}

/// "Azure IP Groups and Azure Firewall Policies don't support PATCH operations" ("Use tags to organize your Azure resources"): no error,
/// and nothing set (azure-powershell#15855).
fn swallows_tags(kind: &Kind) -> bool {
    [POLICIES, "Microsoft.Network/ipGroups"].contains(&kind.path)
}

/// A policy at work refuses with words and codes of its own, and with 400 (terraform-provider-azurerm#15440; the sources of two
/// providers). What a group's delete is refused with is a guess after them.
fn busy_policy(call: &Call<'_>, key: &str) -> Option<Reply> {
    let (code, what) = match (type_of(key).as_str(), call.method.as_str()) {
        (RULE_GROUPS_KEY, "DELETE") => {
            ("FirewallPolicyRuleCollectionGroupDelete", "Delete on Firewall Policy Rule Collection Group")
        }
        (RULE_GROUPS_KEY, _) => {
            ("FirewallPolicyRuleCollectionGroupUpdate", "Put on Firewall Policy Rule Collection Group")
        }
        (POLICIES_KEY, "DELETE") => ("FirewallPolicyDelete", "Delete on Firewall Policy"),
        (POLICIES_KEY, _) => ("FirewallPolicyUpdate", "Put on Firewall Policy"),
        _ => return None,
    };
    let name = key.rsplit('/').next().unwrap_or_default();
    let message =
        format!("{what} {name} Not Allowed when Firewall Policy is in Updating state from previous operation ID");
    Some(refused(400, &format!("{code}NotAllowedWhenUpdatingOrDeleting"), &message))
}

const POLICIES_KEY: &str = "microsoft.network/firewallpolicies";
const RULE_GROUPS_KEY: &str = "microsoft.network/firewallpolicies/rulecollectiongroups";

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
