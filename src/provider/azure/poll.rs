//! Long operations of Azure Resource Manager, as a state machine without I/O: each answer goes in, what to do next comes out.
//!
//! Azure says in three ways how a write goes on (learn.microsoft.com/azure/azure-resource-manager/management/async-operations):
//! `Azure-AsyncOperation` names a status to ask for, `Location` answers 202 until it is done, and without either the resource's own
//! `provisioningState` tells. Nothing needs to be remembered between runs: the third way always works.

use std::time::Duration;

use serde_json::Value;

use super::{
    error::Refusal,
    request::{Answer, Method, provisioning_state, short},
};

/// Where Azure names no time, looks become rarer up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Azure asks for up to half a minute; more would only be a mistake of somebody's.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Ask {
        place: Place,
        after: Duration,
    },
    /// It has ended well, and the result is there.
    Done(Outcome),
    Failed(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address that Azure gave.
    Url(String),
    /// The resource itself.
    Resource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The resource, as the last answer has it.
    Here,
    /// To be read from there.
    At(Place),
    /// The resource is gone.
    Gone,
}

/// Follows one operation.
#[derive(Clone, Debug)]
pub struct Poller {
    method: Method,
    way: Way,
    /// Where the operation's result will be.
    result: Option<String>,
    /// The shortest pause.
    floor: Duration,
    looks: u32,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The answer to the write itself comes next.
    Accepted,
    Operation(String),
    Location(String),
    Resource,
}

impl Poller {
    /// For a write: the first answer that goes in is the one to the write.
    pub fn new(method: Method, floor: Duration) -> Self {
        Self { method, way: Way::Accepted, result: None, floor, looks: 0, state: String::new() }
    }

    /// For a resource that somebody, perhaps an earlier run, has set in motion: until it is at rest, well or not. The answers are
    /// those of the resource.
    pub fn settling(floor: Duration) -> Self {
        Self { way: Way::Resource, ..Self::new(Method::Get, floor) }
    }

    /// What Azure last called the state: `InProgress`, `Updating`. Empty before the first.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// `retry_after` is the answer's, already read. Answers that are errors of the asking itself (429, 5xx) do not belong here.
    pub fn next(&mut self, answer: &Answer, retry_after: Option<Duration>) -> Next {
        let place = match &self.way {
            Way::Accepted => self.accepted(answer),
            Way::Operation(url) => {
                let url = url.clone();
                self.operation(url, answer)
            }
            Way::Location(url) => {
                let url = answer.headers.location.clone().unwrap_or_else(|| url.clone());
                self.location(url, answer)
            }
            Way::Resource => self.resource(answer),
        };
        let place = match place {
            Ok(place) => place,
            Err(end) => return end,
        };
        let after = self.pause(retry_after);
        self.looks = self.looks.saturating_add(1);
        Next::Ask { place, after }
    }

    fn accepted(&mut self, answer: &Answer) -> Result<Place, Next> {
        self.result = answer.headers.location.clone();
        self.state = provisioning_state(&answer.body).to_owned();
        if answer.status == 204 {
            return Err(self.done(Outcome::Here));
        }
        if let Some(url) = &answer.headers.operation {
            self.way = Way::Operation(url.clone());
            return Ok(Place::Url(url.clone()));
        }
        match (answer.status, &answer.headers.location) {
            (202, Some(url)) => {
                self.way = Way::Location(url.clone());
                Ok(Place::Url(url.clone()))
            }
            (202, None) if self.method == Method::Post => Err(Next::Failed(Refusal {
                status: Some(202),
                message: "Azure accepted it and does not say where to ask for the result".to_owned(),
                request_id: answer.headers.request_id.clone(),
                code: None,
            })),
            (202, None) => {
                self.way = Way::Resource;
                Ok(Place::Resource)
            }
            _ if self.method == Method::Delete || self.method == Method::Post => Err(self.done(Outcome::Here)),
            _ => {
                self.way = Way::Resource;
                self.resource(answer)
            }
        }
    }

    fn operation(&mut self, url: String, answer: &Answer) -> Result<Place, Next> {
        let status = answer.body.get("status").and_then(Value::as_str);
        match status {
            Some(status) => self.state = status.to_owned(),
            // Azure forgets operations after a while, and sends addresses that answer with something else.
            None => {
                self.way = Way::Resource;
                return Ok(Place::Resource);
            }
        }
        match End::of(&self.state) {
            Some(End::Well) => Err(self.done(Outcome::Here)),
            Some(End::Badly) => Err(self.failed(answer)),
            None => Ok(Place::Url(url)),
        }
    }

    fn location(&mut self, url: String, answer: &Answer) -> Result<Place, Next> {
        match answer.status {
            202 => {
                self.way = Way::Location(url.clone());
                Ok(Place::Url(url))
            }
            404 if self.method == Method::Post => Err(self.failed(answer)),
            // Forgotten: the resource knows.
            404 => {
                self.way = Way::Resource;
                Ok(Place::Resource)
            }
            _ => {
                self.result = None;
                Err(self.done(Outcome::Here))
            }
        }
    }

    fn resource(&mut self, answer: &Answer) -> Result<Place, Next> {
        if answer.status == 404 {
            return match self.method {
                Method::Delete | Method::Get => Err(Next::Done(Outcome::Gone)),
                // Made a moment ago, and not visible everywhere yet.
                _ => Ok(Place::Resource),
            };
        }
        self.state = provisioning_state(&answer.body).to_owned();
        match (self.method, End::of(&self.state)) {
            // What was there stays visible for a while.
            (Method::Delete, Some(End::Badly)) => Err(self.failed(answer)),
            (Method::Delete, _) => Ok(Place::Resource),
            // Types without a state are what they say at once.
            (_, None) if self.state.is_empty() => Err(Next::Done(Outcome::Here)),
            (_, None) => Ok(Place::Resource),
            (Method::Get, Some(_)) | (_, Some(End::Well)) => Err(Next::Done(Outcome::Here)),
            (_, Some(End::Badly)) => Err(self.failed(answer)),
        }
    }

    fn done(&self, here: Outcome) -> Next {
        let polled = self.way != Way::Accepted;
        Next::Done(match self.method {
            Method::Delete => Outcome::Gone,
            Method::Put | Method::Patch if polled => Outcome::At(Place::Resource),
            Method::Post if polled => match &self.result {
                Some(url) => Outcome::At(Place::Url(url.clone())),
                None => here,
            },
            _ => here,
        })
    }

    fn failed(&self, answer: &Answer) -> Next {
        let mut refusal = Refusal::in_body(&answer.body);
        refusal.request_id = answer.headers.request_id.clone();
        if refusal.code.is_none() {
            refusal.code = Some(self.state.clone()).filter(|s| !s.is_empty());
        }
        if refusal.message.is_empty() {
            let state = if self.state.is_empty() { "failed" } else { &self.state };
            refusal.message = format!("Azure ended it as {state} and gave no reason");
        }
        Next::Failed(refusal)
    }

    fn pause(&self, retry_after: Option<Duration>) -> Duration {
        match retry_after.filter(|asked| !asked.is_zero()) {
            Some(asked) => asked.clamp(self.floor, LONGEST_ASKED.max(self.floor)),
            None => self.floor.saturating_mul(1 + self.looks / 2).min(LONGEST_PAUSE.max(self.floor)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Badly,
}

impl End {
    /// `Succeeded`, `Failed` and `Canceled` end an operation; every other word means that it goes on.
    fn of(state: &str) -> Option<Self> {
        match state.to_ascii_lowercase().as_str() {
            "succeeded" => Some(Self::Well),
            "failed" | "canceled" | "cancelled" => Some(Self::Badly),
            _ => None,
        }
    }
}

/// Whether Azure is at work on a resource, so that nothing else may be written to it yet.
pub fn is_in_motion(resource: &Value) -> bool {
    let state = provisioning_state(resource);
    !state.is_empty() && End::of(state).is_none()
}

/// How long a write to a resource, or its removal, may take; beyond this something is wrong.
pub fn limit(path: &str, method: Method) -> Duration {
    let minutes = match kind(path).as_str() {
        "azurefirewalls" => 45,
        "firewallpolicies" | "rulecollectiongroups" => 30,
        "virtualmachines" => 20,
        "resourcegroups" if method == Method::Delete => 60,
        _ => 10,
    };
    Duration::from_secs(minutes * 60)
}

/// What a person may expect, where it is worth a word.
pub fn usual(path: &str, method: Method) -> Option<&'static str> {
    match (kind(path).as_str(), method) {
        ("azurefirewalls", _) => Some("usually about 10 minutes"),
        ("rulecollectiongroups" | "firewallpolicies", _) => Some("usually 1 to 5 minutes"),
        ("resourcegroups", Method::Delete) => Some("usually some minutes"),
        _ => None,
    }
}

/// The last type in a resource's path, in lower case.
fn kind(path: &str) -> String {
    let name = short(path);
    let parts: Vec<&str> = name.split('/').collect();
    // `Microsoft.Network/azureFirewalls/fw`, `resourceGroups/rg`: the type stands before the last name.
    parts.iter().rev().nth(1).map(|t| t.to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::azure::request::Headers;

    const FLOOR: Duration = Duration::from_secs(2);

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, headers: Headers::default(), body }
    }

    fn accepted(operation: Option<&str>, location: Option<&str>) -> Answer {
        let headers = Headers {
            operation: operation.map(str::to_owned),
            location: location.map(str::to_owned),
            ..Headers::default()
        };
        Answer { status: 202, headers, body: Value::Null }
    }

    fn ask(place: Place, seconds: u64) -> Next {
        Next::Ask { place, after: Duration::from_secs(seconds) }
    }

    fn state(state: &str) -> Answer {
        answer(200, json!({"properties": {"provisioningState": state}}))
    }

    #[test]
    fn a_status_is_asked_for_until_it_ends_and_the_resource_is_read() {
        let mut poller = Poller::new(Method::Put, FLOOR);
        let url = Place::Url("https://a/op".to_owned());
        assert_eq!(
            poller.next(&accepted(Some("https://a/op"), None), Some(Duration::from_secs(10))),
            ask(url.clone(), 10)
        );
        assert_eq!(poller.next(&answer(200, json!({"status": "InProgress"})), None), ask(url, 2));
        assert_eq!(
            poller.next(&answer(200, json!({"status": "Succeeded"})), None),
            Next::Done(Outcome::At(Place::Resource))
        );
    }

    #[test]
    fn a_failed_operation_keeps_azures_code_and_words() {
        let mut poller = Poller::new(Method::Put, FLOOR);
        poller.next(&accepted(Some("https://a/op"), None), None);
        let failed = json!({"status": "Failed", "error": {"code": "AllocationFailed", "message": "None left.",
            "details": [{"code": "Inner", "message": "Zone 2."}]}});
        let Next::Failed(refusal) = poller.next(&answer(200, failed), None) else { panic!("not failed") };
        assert_eq!(refusal.code.as_deref(), Some("AllocationFailed"));
        assert_eq!(refusal.message, "None left.\n  Inner: Zone 2.");
    }

    #[test]
    fn a_failure_without_a_reason_says_that() {
        let mut poller = Poller::new(Method::Put, FLOOR);
        let Next::Failed(refusal) = poller.next(&state("Failed"), None) else { panic!("not failed") };
        assert_eq!(refusal.code.as_deref(), Some("Failed"));
        assert_eq!(refusal.message, "Azure ended it as Failed and gave no reason");
    }

    #[test]
    fn an_answer_without_headers_is_followed_by_the_resources_own_state() {
        let mut poller = Poller::new(Method::Patch, FLOOR);
        assert_eq!(poller.next(&state("Updating"), None), ask(Place::Resource, 2));
        assert_eq!(poller.next(&state("Succeeded"), None), Next::Done(Outcome::Here));
        let mut poller = Poller::new(Method::Put, FLOOR);
        assert_eq!(poller.next(&answer(200, json!({"tags": {}})), None), Next::Done(Outcome::Here));
    }

    #[test]
    fn a_removal_by_location_ends_when_it_stops_answering_202() {
        let mut poller = Poller::new(Method::Delete, FLOOR);
        let url = Place::Url("https://a/l".to_owned());
        assert_eq!(poller.next(&accepted(None, Some("https://a/l")), Some(Duration::from_secs(15))), ask(url, 15));
        assert_eq!(
            poller.next(&accepted(None, Some("https://a/m")), None),
            ask(Place::Url("https://a/m".to_owned()), 2)
        );
        assert_eq!(poller.next(&answer(200, Value::Null), None), Next::Done(Outcome::Gone));
    }

    #[test]
    fn a_removal_without_a_word_ends_when_the_resource_is_gone() {
        let mut poller = Poller::new(Method::Delete, FLOOR);
        assert_eq!(poller.next(&accepted(None, None), None), ask(Place::Resource, 2));
        assert_eq!(poller.next(&state("Succeeded"), None), ask(Place::Resource, 2));
        assert_eq!(poller.next(&answer(404, Value::Null), None), Next::Done(Outcome::Gone));
        assert_eq!(Poller::new(Method::Delete, FLOOR).next(&answer(204, Value::Null), None), Next::Done(Outcome::Gone));
    }

    #[test]
    fn a_forgotten_operation_is_followed_by_the_resource() {
        let mut poller = Poller::new(Method::Put, FLOOR);
        poller.next(&accepted(Some("https://a/op"), None), None);
        assert_eq!(poller.next(&answer(404, json!({"error": {"code": "NotFound"}})), None), ask(Place::Resource, 2));
        assert_eq!(poller.next(&state("Succeeded"), None), Next::Done(Outcome::Here));
    }

    #[test]
    fn a_request_answers_at_its_location() {
        let mut poller = Poller::new(Method::Post, FLOOR);
        poller.next(&accepted(Some("https://a/op"), Some("https://a/result")), None);
        let next = poller.next(&answer(200, json!({"status": "Succeeded"})), None);
        assert_eq!(next, Next::Done(Outcome::At(Place::Url("https://a/result".to_owned()))));
        assert!(matches!(Poller::new(Method::Post, FLOOR).next(&accepted(None, None), None), Next::Failed(_)));
    }

    #[test]
    fn what_an_earlier_run_began_is_awaited_and_its_failure_is_only_a_state() {
        let mut poller = Poller::settling(FLOOR);
        assert_eq!(poller.next(&state("Updating"), None), ask(Place::Resource, 2));
        assert_eq!(poller.next(&state("Failed"), None), Next::Done(Outcome::Here));
        assert_eq!(poller.state(), "Failed");
        assert_eq!(Poller::settling(FLOOR).next(&answer(404, Value::Null), None), Next::Done(Outcome::Gone));
    }

    #[test]
    fn no_answer_makes_a_busy_loop_and_none_stops_the_looking() {
        let mut poller = Poller::new(Method::Put, FLOOR);
        let busy = answer(200, json!({"status": "InProgress"}));
        let mut pauses = Vec::new();
        poller.next(&accepted(Some("https://a/op"), None), None);
        for asked in [0, 0, 1, 35, 100_000] {
            let Next::Ask { after, .. } = poller.next(&busy, Some(Duration::from_secs(asked))) else { panic!("ended") };
            pauses.push(after.as_secs());
        }
        assert_eq!(pauses, [2, 4, 2, 35, 60]);
        for _ in 0..100 {
            let Next::Ask { after, .. } = poller.next(&busy, None) else { panic!("ended") };
            assert!(after >= FLOOR && after <= LONGEST_PAUSE);
        }
    }

    #[test]
    fn limits_are_by_the_innermost_type() {
        let net = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network";
        let minutes = |path: &str| limit(path, Method::Delete).as_secs() / 60;
        assert_eq!(minutes(&format!("{net}/azureFirewalls/fw")), 45);
        assert_eq!(minutes(&format!("{net}/firewallPolicies/p/ruleCollectionGroups/r")), 30);
        assert_eq!(minutes(&format!("{net}/virtualNetworks/v/subnets/s")), 10);
        assert_eq!(minutes("/subscriptions/s/resourceGroups/g"), 60);
    }
}
