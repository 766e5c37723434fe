//! Which request is for what.

use serde_json::json;

use super::{
    TENANT, World,
    groups::group_of,
    kinds::find,
    reply::{Call, answered, gone, refused},
};
use crate::sandbox::http::Reply;

impl World {
    pub(super) fn route(&mut self, call: &Call<'_>) -> Reply {
        let segments: Vec<&str> = call.path.split('/').filter(|s| !s.is_empty()).collect();
        let words: Vec<&str> = call.key.split('/').filter(|s| !s.is_empty()).collect();
        let get = call.method == "GET";
        if let (["console", ..], true) = (&words[..], get) {
            return self.console(call);
        }
        if let Some(refusal) = self.turned_away(call, &words) {
            return refusal;
        }
        if let Some(reply) = self.locked(call) {
            return reply;
        }
        match words[..] {
            // "Subscriptions - List": those that the caller can see.
            ["subscriptions"] if get => answered(
                200,
                &json!({"value": [{
                    "id": format!("/subscriptions/{}", self.subscription), "subscriptionId": self.subscription,
                    "tenantId": TENANT, "displayName": "Sandbox", "state": self.subscription_state,
                }]}),
            ),
            // The sample response of "Subscriptions - Get", Azure Resource Manager's REST API, 2022-12-01.
            ["subscriptions", id] if get => answered(
                200,
                &json!({"id": format!("/subscriptions/{id}"), "authorizationSource": "RoleBased", "managedByTenants": [],
                        "subscriptionId": id, "tenantId": TENANT, "displayName": "Sandbox",
                        "state": self.subscription_state,
                        "subscriptionPolicies": {"locationPlacementId": "Internal_2014-09-01",
                                                 "quotaId": "Internal_2014-09-01", "spendingLimit": "Off"}}),
            ),
            ["subscriptions", _, "locations"] if get => {
                let list = self.sizes.keys().map(|l| json!({"name": l, "displayName": l, "type": "Region"}));
                answered(200, &json!({"value": list.collect::<Vec<_>>()}))
            }
            ["subscriptions", _, "resources"] if get => self.by_tag(call, None),
            ["subscriptions", _, "resourcegroups"] if get => self.group_list(call),
            ["subscriptions", _, "resourcegroups", _] => self.group(call, segments[3]),
            ["subscriptions", _, "resourcegroups", group, "resources"] if get => {
                if !self.groups.contains_key(&group_of(&call.key)) {
                    return self.no_group(segments[3]);
                }
                self.by_tag(call, Some(group))
            }
            ["subscriptions", _, "resourcegroups", _, "providers", "microsoft.resources", "tags", "default"] => {
                self.tags(call)
            }
            ["subscriptions", _, "operationresults", id] if get => self.location(call, id),
            ["subscriptions", _, "providers", "microsoft.insights", "eventtypes", "management", "values"] if get => {
                self.activity(call)
            }
            ["subscriptions", _, "providers", namespace] if get => self.provider(namespace),
            ["subscriptions", _, "providers", "microsoft.compute", "skus"] if get => self.skus(call),
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.compute",
                "locations",
                location,
                "publishers",
                _,
                "artifacttypes",
                "vmimage",
                "offers",
                _,
                "skus",
                _,
                "versions",
            ] if get => {
                let id = &call.path;
                let versions = ["0.20261001.1", "0.20261101.1"]
                    .map(|v| json!({"name": v, "id": format!("{id}/{v}"), "location": location}));
                answered(200, &json!(versions))
            }
            ["subscriptions", _, "providers", _, "locations", _, "operations" | "nfvoperations", id] if get => {
                if call.query("monitor").is_some() { self.location(call, id) } else { self.operation(id) }
            }
            ["subscriptions", _, "providers", _, "locations", _, "operationresults" | "nfvoperationresults", id]
                if get =>
            {
                self.location(call, id)
            }
            ["subscriptions", _, "providers", namespace, kind] if get => {
                self.list(call, &format!("{namespace}/{kind}"), "")
            }
            ["subscriptions", _, "resourcegroups", _, "providers", namespace, ref rest @ ..] if !rest.is_empty() => {
                if !self.groups.contains_key(&group_of(&call.key)) {
                    return self.no_group(segments[3]);
                }
                self.in_group(call, namespace, rest, &segments)
            }
            _ => unknown(&call.path),
        }
    }

    /// What is refused whatever it is about.
    fn turned_away(&self, call: &Call<'_>, words: &[&str]) -> Option<Reply> {
        if call.query("api-version").is_none() {
            let message = "The api-version query parameter (?api-version=) is required for all requests.";
            return Some(refused(400, "MissingApiVersionParameter", message));
        }
        match words {
            ["subscriptions", subscription, ..] if is_among(&self.closed, subscription) => {
                let message = format!(
                    "The client 'operator@example.com' does not have authorization to perform action over scope '{}' or the scope is \
                     invalid.",
                    call.path
                );
                Some(refused(403, "AuthorizationFailed", &message))
            }
            ["subscriptions", subscription, ..]
                if !subscription.eq_ignore_ascii_case(&self.subscription) && !is_among(&self.others, subscription) =>
            {
                let message = format!("The subscription '{subscription}' could not be found.");
                Some(refused(404, "SubscriptionNotFound", &message))
            }
            _ if self.subscription_state != "Enabled" && call.method != "GET" => {
                let message = format!(
                    "The subscription '{}' is disabled and therefore marked as read only. You cannot perform any write \
                     actions on this subscription until it is re-enabled.",
                    self.subscription
                );
                Some(refused(409, "ReadOnlyDisabledSubscription", &message))
            }
            _ if call.body.as_ref().is_some_and(|body| !body.is_object()) => {
                Some(gone(400, "InvalidRequestContent", "The request content must be a JSON object."))
            }
            _ => None,
        }
    }

    fn in_group(&mut self, call: &Call<'_>, namespace: &str, rest: &[&str], segments: &[&str]) -> Reply {
        if let [.., "providers", "microsoft.resources", "tags", "default"] = rest {
            return self.tags(call);
        }
        let types: Vec<&str> = rest.iter().step_by(2).copied().collect();
        let path = format!("{namespace}/{}", types.join("/"));
        let key = call.key.as_str();
        match (rest.len() % 2, call.method.as_str()) {
            // A list ends in a type, an action in a verb.
            (1, "GET") if find(&path).is_some() => {
                self.list(call, &path, key.rsplit_once('/').map_or(key, |(under, _)| under))
            }
            (1, _) => match key.rsplit_once('/') {
                Some((owner, verb)) => self.action(call, owner, verb),
                None => gone(404, "NotFound", "There is no such thing."),
            },
            _ => match (find(&path), call.method.as_str()) {
                (None, _) => unknown(&path),
                (Some(kind), "GET") => self.read(call, kind, segments),
                (Some(kind), "PUT") => self.put(call, kind),
                (Some(kind), "PATCH") => self.patch(call, kind, segments),
                (Some(kind), "DELETE") => self.delete(call, kind, segments),
                _ => refused(405, "MethodNotAllowed", "This method is not for this."),
            },
        }
    }
}

fn is_among(all: &[String], one: &str) -> bool {
    all.iter().any(|other| other.eq_ignore_ascii_case(one))
}

pub(super) fn unknown(path: &str) -> Reply {
    let message = format!("The sandbox does not know the resource type '{path}': it answers what gangplank asks.");
    refused(404, "InvalidResourceType", &message)
}
