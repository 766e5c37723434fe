//! Who has written to a resource lately: Azure's activity log. Pure; the call is the fleet's.

use jiff::Timestamp;
use serde_json::Value;

use super::{action::Action, id::Id, observed::text, request::Request};
use crate::drift::{Act, Who, second};

/// As many entries as a reader wants of one resource.
const ENTRIES: usize = 5;
const VERSION: &str = "2015-04-01";

/// Asks for one page of a resource's entries: "Activity Logs - List" in Azure Monitor's REST reference, whose filter allows exactly
/// this form.
pub fn request(action: &Action, since: Timestamp, now: Timestamp) -> Request {
    let id = action.call.id();
    let filter =
        format!("eventTimestamp ge '{since}' and eventTimestamp le '{}' and resourceUri eq '{id}'", second(now));
    let path =
        format!("/subscriptions/{}/providers/Microsoft.Insights/eventtypes/management/values", action.subscription);
    Request::get(path, VERSION)
        .with_query("$filter", filter)
        .with_query("$select", "caller,eventTimestamp,operationName,status,httpRequest,resourceId")
}

/// The log's answer: what was done and by whom, newest first. What was only read, or did not succeed, is left out.
pub fn read(answer: &Value) -> Vec<Act> {
    let mut acts: Vec<Act> =
        super::observed::list(answer, "/value").iter().filter(|entry| has_changed(entry)).map(act).collect();
    acts.sort_by(|a, b| b.at.cmp(&a.at));
    // A long operation is told when it begins and when it ends.
    acts.dedup_by(|a, b| a.who == b.who && a.what == b.what && a.at == b.at);
    acts.truncate(ENTRIES);
    acts
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
    Act { at: text(entry, "/eventTimestamp").to_owned(), who, what: text(entry, "/operationName/value").to_owned() }
}

/// Where the log was not asked, or did not answer.
pub fn unasked(action: &Action, since: Timestamp, now: Timestamp, reason: &str) -> Who {
    let id: &Id = action.call.id();
    let ask =
        format!("az monitor activity-log list --resource-id {id} --start-time {since} --end-time {}", second(now));
    Who::Unknown { reason: reason.to_owned(), ask }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_that_took_effect_are_told_newest_first() {
        let entry = |at: &str, what: &str, status: &str| {
            json!({"caller": "ana@example.com", "eventTimestamp": at, "operationName": {"value": what},
                "status": {"value": status}, "httpRequest": {"clientIpAddress": "198.51.100.20"}})
        };
        let rule = "Microsoft.Network/networkSecurityGroups/write";
        let acts = read(&json!({"value": [
            entry("2026-11-01T10:00:00Z", rule, "Succeeded"),
            entry("2026-11-01T11:00:00Z", rule, "Failed"),
            entry("2026-11-02T10:00:00Z", rule, "Succeeded"),
            entry("2026-11-02T10:00:00Z", rule, "Accepted"),
            entry("2026-11-03T10:00:00Z", "Microsoft.Network/networkSecurityGroups/read", "Succeeded"),
        ]}));
        let times: Vec<&str> = acts.iter().map(|a| a.at.as_str()).collect();
        assert_eq!(times, ["2026-11-02T10:00:00Z", "2026-11-01T10:00:00Z"]);
        assert_eq!(acts[0].who, "ana@example.com from 198.51.100.20");
    }

    #[test]
    fn any_answer_is_read() {
        for odd in [json!(null), json!([]), json!({"value": 3}), json!({"value": [null, 3, {"status": []}]})] {
            assert_eq!(read(&odd), []);
        }
    }
}
