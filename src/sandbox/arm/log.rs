//! The activity log: who wrote what to which resource, told a while later ("Activity Logs - List" of Azure Monitor's REST
//! reference; "Azure Monitor activity log").

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    World, kinds,
    reply::{Call, answered, refused},
};
use crate::{
    sandbox::http::{Ask, Reply},
    tags::REQUEST_ID,
};

const MEMORY: SignedDuration = SignedDuration::from_hours(90 * 24);
/// "Activity log data ... typically takes about 3 to 20 minutes".
const DELAY: SignedDuration = SignedDuration::from_mins(20);
/// Older ones are forgotten first: a sandbox is small.
const MOST: usize = 500;

/// A call that changed something, or began to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    at: Timestamp,
    resource: String,
    operation: String,
    method: String,
    /// The client's own id of the request.
    request: String,
}

impl World {
    pub(super) fn remember(&mut self, now: Timestamp, ask: &Ask, status: u16) {
        let reads = ask.method == "GET" || ask.path.to_lowercase().ends_with("/retrievebootdiagnosticsdata");
        if reads || !(200..300).contains(&status) {
            return;
        }
        let (resource, operation) = operation(&ask.method, ask.path.trim_end_matches('/'));
        self.log.push(Entry {
            at: now,
            resource,
            operation,
            method: ask.method.clone(),
            request: ask.header("x-ms-client-request-id").unwrap_or_default().to_owned(),
        });
        let over = self.log.len().saturating_sub(MOST);
        self.log.drain(..over);
    }

    pub(super) fn activity(&self, call: &Call<'_>) -> Reply {
        let filter = call.query("$filter").unwrap_or_default();
        let value = |name: &str| {
            let rest = filter.split(name).nth(1)?;
            rest.split('\'').nth(1).map(str::to_owned)
        };
        let time = |name: &str| value(name).and_then(|text| text.parse::<Timestamp>().ok());
        let Some(from) = time("eventTimestamp ge") else {
            return refused(400, "BadRequest", "The filter must have eventTimestamp ge.");
        };
        let oldest = call.now.checked_sub(MEMORY).unwrap_or(Timestamp::MIN);
        if from < oldest {
            return refused(400, "BadRequest", "The start time cannot be more than 90 days in the past.");
        }
        let until = time("eventTimestamp le").unwrap_or(Timestamp::MAX);
        let newest = call.now.checked_sub(DELAY).unwrap_or(Timestamp::MIN).min(until);
        let (resource, group) = (value("resourceUri eq"), value("resourceGroupName eq"));
        let fits = |e: &&Entry| {
            let own = e.resource.split('/').nth(4).unwrap_or_default();
            resource.as_ref().is_none_or(|id| id.eq_ignore_ascii_case(&e.resource))
                && group.as_ref().is_none_or(|group| group.eq_ignore_ascii_case(own))
                && from <= e.at
                && e.at <= newest
        };
        let entries: Vec<Value> = self.log.iter().rev().filter(fits).map(shown).collect();
        answered(200, &json!({"value": entries}))
    }
}

fn shown(entry: &Entry) -> Value {
    let (caller, address) = if entry.request.eq_ignore_ascii_case(REQUEST_ID) {
        ("operator@example.com", "198.51.100.20")
    } else {
        ("somebody@example.com", "203.0.113.99")
    };
    let named = |text: &str| json!({"value": text, "localizedValue": text});
    json!({
        "caller": caller, "eventTimestamp": entry.at.to_string(), "resourceId": entry.resource,
        "operationName": named(&entry.operation), "status": named("Succeeded"),
        "httpRequest": {"clientRequestId": entry.request, "clientIpAddress": address, "method": entry.method},
    })
}

/// The resource that a call is about, and `Microsoft.Network/networkSecurityGroups/write`.
fn operation(method: &str, path: &str) -> (String, String) {
    let act = if method == "DELETE" { "delete" } else { "write" };
    let Some((group, rest)) = path.rsplit_once("/providers/") else {
        return (path.to_owned(), format!("Microsoft.Resources/subscriptions/resourceGroups/{act}"));
    };
    let parts: Vec<&str> = rest.split('/').collect();
    // The namespace, then type and name by turns; a verb at the end of a POST.
    let types: Vec<&str> = parts.iter().enumerate().filter(|(i, _)| *i == 0 || i % 2 == 1).map(|(_, p)| *p).collect();
    let types = types.join("/");
    let types = kinds::find(&types).map_or(types.as_str(), |kind| kind.named);
    match (method, parts.len() % 2) {
        ("POST", 0) => {
            let resource = parts[..parts.len() - 1].join("/");
            (format!("{group}/providers/{resource}"), format!("{types}/action"))
        }
        _ => (path.to_owned(), format!("{types}/{act}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_as_azure_names_it() {
        let group = "/subscriptions/s/resourceGroups/g";
        let net = format!("{group}/providers/Microsoft.Network/networkSecurityGroups/a");
        let vm = format!("{group}/providers/Microsoft.Compute/virtualMachines/v");
        for (method, path, resource, name) in [
            ("PUT", &net, &net, "Microsoft.Network/networkSecurityGroups/write"),
            ("PATCH", &net, &net, "Microsoft.Network/networkSecurityGroups/write"),
            ("DELETE", &vm, &vm, "Microsoft.Compute/virtualMachines/delete"),
            ("POST", &format!("{vm}/start"), &vm, "Microsoft.Compute/virtualMachines/start/action"),
            ("PUT", &group.to_owned(), &group.to_owned(), "Microsoft.Resources/subscriptions/resourceGroups/write"),
        ] {
            assert_eq!(operation(method, path), (resource.clone(), name.to_owned()), "{method} {path}");
        }
        operation("POST", "/providers/");
    }
}
