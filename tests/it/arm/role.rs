//! The custom role of docs/azure.md has the action of every call that a test's run makes.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;

use super::world::Call;

/// What the page names beside the role, or says that Azure names no action for.
const BESIDE: [&str; 2] =
    ["microsoft.insights/eventtypes/values/read", "microsoft.network/locations/nfvoperations/read"];

static ROLE: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let page = include_str!("../../../docs/azure.md");
    let examples = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut roles = examples.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let role = roles.find(|json| json["Actions"].is_array()).expect("docs/azure.md has the role");
    let actions = role["Actions"].as_array().expect("a list").iter().filter_map(Value::as_str);
    actions.chain(BESIDE).map(str::to_lowercase).collect()
});

/// Calls that the role does not allow.
pub fn refuses(calls: &[Call]) -> BTreeSet<String> {
    let needed = calls.iter().map(action);
    needed.filter(|action| !ROLE.contains(action)).collect()
}

/// `Namespace/type/subtype/read`, `write`, `delete`, or `word/action` ("Azure resource provider operations").
fn action(call: &Call) -> String {
    let path = call.path.to_lowercase();
    let verb = match call.method.as_str() {
        "GET" => "read",
        "DELETE" => "delete",
        "POST" => "action",
        _ => "write",
    };
    // The last provider is the one that is asked: tags and locks stand behind another's resource.
    let Some((_, asked)) = path.rsplit_once("/providers/") else {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let kinds: String = parts.iter().step_by(2).map(|kind| format!("/{kind}")).collect();
        return format!("microsoft.resources{kinds}/{verb}");
    };
    let mut parts = asked.split('/');
    let namespace = parts.next().unwrap_or_default();
    let kinds: String = parts.step_by(2).map(|kind| format!("/{kind}")).collect();
    if kinds.is_empty() {
        return format!("microsoft.resources/subscriptions/providers/{verb}");
    }
    format!("{namespace}{kinds}/{verb}")
}

#[test]
fn a_call_that_the_role_lacks_is_told() {
    let call =
        |method: &str, path: &str| Call { method: method.to_owned(), path: path.to_owned(), body: None, status: None };
    let subscription = "/subscriptions/00000000-0000-0000-0000-000000000000";
    let machine = format!("{subscription}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm");
    for (method, path, expected) in [
        ("GET", subscription.to_owned(), "microsoft.resources/subscriptions/read"),
        ("PUT", format!("{subscription}/resourceGroups/rg"), "microsoft.resources/subscriptions/resourcegroups/write"),
        (
            "GET",
            format!("{subscription}/providers/Microsoft.Network"),
            "microsoft.resources/subscriptions/providers/read",
        ),
        ("POST", format!("{machine}/start"), "microsoft.compute/virtualmachines/start/action"),
        ("PATCH", format!("{machine}/providers/Microsoft.Resources/tags/default"), "microsoft.resources/tags/write"),
    ] {
        assert_eq!(action(&call(method, &path)), expected);
    }
    let calls = [call("GET", &machine), call("POST", &format!("{machine}/powerOff"))];
    assert_eq!(refuses(&calls), BTreeSet::from(["microsoft.compute/virtualmachines/poweroff/action".to_owned()]));
}
