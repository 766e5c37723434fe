//! Who has written to a resource lately: Azure's activity log. Pure; the call is the fleet's.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    action::Action,
    id::{Id, Kind},
    observed::text,
    request::Request,
};
use crate::{
    drift::{Act, REMEMBERED, Who, moment, second, told},
    tags::REQUEST_ID,
};

const VERSION: &str = "2015-04-01";

/// Asks for one page of entries: "Activity Logs - List" in Azure Monitor's REST reference, whose filter allows exactly these two forms.
/// What is written to a part of a resource is the part's entry (a rule of a security group), so where there are parts the whole
/// resource group is asked about.
pub fn request(action: &Action, since: Timestamp, now: Timestamp) -> Request {
    let id = action.call.id();
    let about = match id.kind() {
        Some(Kind::SecurityGroup | Kind::Network | Kind::Policy) => {
            format!("resourceGroupName eq '{}'", id.group_id().name())
        }
        _ => format!("resourceUri eq '{id}'"),
    };
    let filter = format!("eventTimestamp ge '{since}' and eventTimestamp le '{}' and {about}", second(now));
    // What stands in another subscription is in that one's log.
    let path = format!("{}/providers/Microsoft.Insights/eventtypes/management/values", id.group_id().parent());
    Request::get(path, VERSION)
        .with_query("$filter", filter)
        .with_query("$select", "caller,eventTimestamp,operationName,status,httpRequest,resourceId")
}

/// Azure ends what makes a machine within minutes of its beginning; the log has both moments.
const MAKING: SignedDuration = SignedDuration::from_mins(30);

/// Asks who made what is there since `created`; `None` where that is longer ago than the log remembers.
pub fn creation_request(id: &Id, created: Timestamp, now: Timestamp) -> Option<Request> {
    (now.duration_since(created) < REMEMBERED).then(|| {
        let (from, until) = (created.saturating_sub(MAKING), created.saturating_add(MAKING));
        let oldest = now.saturating_sub(REMEMBERED).unwrap_or(created);
        let (from, until) = (from.unwrap_or(created).max(oldest), until.unwrap_or(created).min(now));
        let filter = format!(
            "eventTimestamp ge '{}' and eventTimestamp le '{}' and resourceUri eq '{id}'",
            second(from),
            second(until)
        );
        let subscription = id.group_id().parent();
        let path = format!("{subscription}/providers/Microsoft.Insights/eventtypes/management/values");
        Request::get(path, VERSION)
            .with_query("$filter", filter)
            .with_query("$select", "caller,eventTimestamp,operationName,status,httpRequest,resourceId")
    })
}

/// Who made a resource: whoever wrote to it first around its creation.
pub fn creator(answer: &Value, id: &Id) -> Option<String> {
    let entries = super::observed::list(answer, "/value").iter();
    let writes = entries.filter(|entry| Id::new(text(entry, "/resourceId")) == *id && has_changed(entry));
    let writes = writes.filter(|e| text(e, "/operationName/value").to_ascii_lowercase().ends_with("/write"));
    let first =
        writes.filter(|entry| !text(entry, "/caller").is_empty()).min_by_key(|e| moment(text(e, "/eventTimestamp")));
    first.map(|entry| text(entry, "/caller").to_owned())
}

/// Whether a step makes a bastion's machine, which a log names even when it is gone.
pub fn is_of_machine(action: &Action) -> bool {
    action.call.id().kind() == Some(Kind::Machine)
}

/// The log's answer: what was done to a resource and by whom. What was only read, or did not succeed, is left out.
pub fn read(answer: &Value, id: &Id) -> Vec<Act> {
    let entries = super::observed::list(answer, "/value").iter();
    let about = entries.filter(|entry| Id::new(text(entry, "/resourceId")).is_within(id));
    told(about.filter(|entry| has_changed(entry)).map(act).collect())
}

fn has_changed(entry: &Value) -> bool {
    let what = text(entry, "/operationName/value").to_ascii_lowercase();
    let done = text(entry, "/status/value");
    (what.ends_with("/write") || what.ends_with("/delete") || what.ends_with("/action"))
        && (done.eq_ignore_ascii_case("succeeded") || done.eq_ignore_ascii_case("accepted"))
}

fn act(entry: &Value) -> Act {
    let from = text(entry, "/httpRequest/clientIpAddress");
    let who = match (text(entry, "/caller"), from) {
        ("", "") => "somebody whom the log does not name".to_owned(),
        ("", from) => format!("somebody at {from}"),
        (who, "") => who.to_owned(),
        (who, from) => format!("{who} from {from}"),
    };
    let (at, what) = (text(entry, "/eventTimestamp").to_owned(), text(entry, "/operationName/value").to_owned());
    let ours = text(entry, "/httpRequest/clientRequestId").eq_ignore_ascii_case(REQUEST_ID);
    // Azure tells the caller's name, and not whose it would be here.
    Act { at, who, what, ours, by_caller: false }
}

/// Where the log was not asked, or did not answer.
pub fn unasked(action: &Action, since: Timestamp, now: Timestamp, reason: &str) -> Who {
    let id: &Id = action.call.id();
    let ask = format!(
        "az monitor activity-log list --resource-id {} --start-time {since} --end-time {}",
        id.argument(),
        second(now)
    );
    Who::Unknown { reason: reason.to_owned(), ask }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Entries as "Azure Monitor activity log event schema" shows them, shortened.
    #[test]
    fn writes_that_took_effect_are_told_newest_first() {
        let group = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/a";
        let entry = |at: &str, what: &str, status: &str, request: &str| {
            json!({"caller": "ana@example.com", "eventTimestamp": at, "operationName": {"value": what}, "status": {"value": status},
                "resourceId": group.to_uppercase(),
                "httpRequest": {"clientRequestId": request, "clientIpAddress": "198.51.100.20", "method": "PUT"}})
        };
        let rule = "Microsoft.Network/networkSecurityGroups/write";
        let mut part = entry(
            "2026-11-04T10:00:00Z",
            "Microsoft.Network/networkSecurityGroups/securityRules/write",
            "Succeeded",
            "",
        );
        part["resourceId"] = json!(format!("{group}/securityRules/open"));
        let mut other = part.clone();
        other["resourceId"] = json!(format!("{group}b"));
        let theirs = [
            entry("2026-11-01T10:00:00Z", rule, "Succeeded", ""),
            entry("2026-11-01T11:00:00Z", rule, "Failed", ""),
            entry("2026-11-01T10:00:00.25Z", rule, "Succeeded", ""),
            entry("2026-11-02T10:00:00Z", rule, "Succeeded", ""),
            entry("2026-11-02T10:00:00Z", rule, "Accepted", ""),
            entry("2026-11-03T10:00:00Z", "Microsoft.Network/networkSecurityGroups/read", "Succeeded", ""),
            part,
            other,
        ];
        let own = entry("2026-11-05T10:00:00Z", rule, "Succeeded", &REQUEST_ID.to_uppercase());
        let id = Id::new(group);
        let acts = read(&json!({"value": theirs.iter().chain([&own]).collect::<Vec<_>>()}), &id);
        let times: Vec<&str> = acts.iter().map(|a| a.at.as_str()).collect();
        assert_eq!(
            times,
            ["2026-11-04T10:00:00Z", "2026-11-02T10:00:00Z", "2026-11-01T10:00:00.25Z", "2026-11-01T10:00:00Z"]
        );
        assert_eq!(acts[0].by(), "ana@example.com from 198.51.100.20");
        let own = read(&json!({"value": [own]}), &id);
        assert_eq!(own[0].by(), "gangplank, as ana@example.com from 198.51.100.20");
    }

    #[test]
    fn who_wrote_first_made_it() {
        let id = Id::new("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/a");
        let entry = |at: &str, who: &str, what: &str| {
            json!({"caller": who, "eventTimestamp": at, "operationName": {"value": what}, "status": {"value": "Succeeded"},
                "resourceId": id.as_str()})
        };
        let write = "Microsoft.Compute/virtualMachines/write";
        let answer = json!({"value": [
            entry("2026-11-04T10:03:00Z", "ben@example.com", write),
            entry("2026-11-04T10:00:00Z", "ana@example.com", write),
            entry("2026-11-04T09:59:00Z", "eve@example.com", "Microsoft.Compute/virtualMachines/start/action"),
        ]});
        assert_eq!(creator(&answer, &id).as_deref(), Some("ana@example.com"));
        assert_eq!(creator(&answer, &Id::new("/x")), None);
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let asked =
            creation_request(&id, at("2026-11-04T10:00:00Z"), at("2026-11-05T10:00:00Z")).expect("it is recent");
        assert_eq!(asked.path, "/subscriptions/s/providers/Microsoft.Insights/eventtypes/management/values");
        assert!(creation_request(&id, at("2026-01-01T10:00:00Z"), at("2026-11-05T10:00:00Z")).is_none());
    }

    #[test]
    fn any_answer_is_read() {
        for odd in [json!(null), json!([]), json!({"value": 3}), json!({"value": [null, 3, {"status": []}]})] {
            assert_eq!(read(&odd, &Id::new("/x")), []);
        }
    }
}
