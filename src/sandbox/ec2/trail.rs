//! CloudTrail's event history, as far as it is asked about one attribute: `LookupEvents` of the AWS CloudTrail API Reference. It
//! has the calls that changed something, and tells of each a while later.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    kind::Kind,
    world::{ACCOUNT, World, earlier, mixed, region_of},
};
use crate::sandbox::http::{Ask, Reply};

/// "Lookup events ... occurred in the last 90 days".
const MEMORY: Duration = Duration::from_secs(90 * 24 * 3600);
/// "CloudTrail typically delivers events within an average of about 5 minutes"; the longest that its documentation has named.
const DELAY: Duration = Duration::from_secs(15 * 60);
/// Older ones are forgotten first: a sandbox is small.
const MOST: usize = 500;
/// How targets go on after the namespace, which some clients write before it.
const TARGET: &str = "CloudTrail_20131101.";
/// The key that gangplank has in a sandbox, and whose it is.
const OPERATORS: (&str, &str) = ("AKIASANDBOXSANDBOX00", "operator");

/// A call that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    at: Timestamp,
    region: String,
    action: String,
    user: String,
    from: String,
    agent: String,
    /// Whatever ids the request and its answer named.
    resources: Vec<String>,
    /// What the request called a security group that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
}

/// What is asked of CloudTrail: `LookupEvents`.
pub fn operation(ask: &Ask) -> Option<&str> {
    Some(ask.header("x-amz-target")?.rsplit_once(TARGET)?.1)
}

impl World {
    pub(super) fn remember(&mut self, now: Timestamp, ask: &Ask, action: &str, answer: &str) {
        let mut resources = ids(&String::from_utf8_lossy(&ask.body));
        resources.extend(ids(answer));
        resources.sort();
        resources.dedup();
        let (user, from) = user_of(ask);
        self.trail.push(Event {
            at: now,
            region: region_of(ask),
            action: action.to_owned(),
            user,
            from: from.to_owned(),
            agent: ask.header("user-agent").unwrap_or_default().to_owned(),
            resources,
            group_name: form_urlencoded::parse(&ask.body)
                .find(|(name, _)| name == "GroupName")
                .map(|(_, value)| value.into_owned()),
        });
        let over = self.trail.len().saturating_sub(MOST);
        self.trail.drain(..over);
    }

    /// JSON 1.1 in and out.
    pub(super) fn history(&self, now: Timestamp, ask: &Ask, operation: &str) -> Reply {
        let answer = match operation {
            "LookupEvents" => self.lookup(now, ask),
            _ => Err(("UnsupportedOperationException", format!("this sandbox does not know {operation}"))),
        };
        match answer {
            Ok(found) => json_reply(200, &found),
            Err((code, message)) => {
                json_reply(400, &json!({"__type": code, "message": message})).with("x-amzn-errortype", code)
            }
        }
    }

    fn lookup(&self, now: Timestamp, ask: &Ask) -> Result<Value, (&'static str, String)> {
        let asked: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
        let attributes = asked["LookupAttributes"].as_array().map_or(&[][..], Vec::as_slice);
        let wrong = |what: &str| Err(("InvalidLookupAttributesException", what.to_owned()));
        let (key, value) = match attributes {
            [] => ("", ""),
            [one] => match (one["AttributeKey"].as_str(), one["AttributeValue"].as_str()) {
                (Some(key @ ("ResourceName" | "EventName" | "Username")), Some(value)) => (key, value),
                _ => return wrong("this attribute is not known here"),
            },
            _ => return wrong("You can only specify one attribute"),
        };
        let most = asked["MaxResults"].as_u64().unwrap_or(50);
        if !(1..=50).contains(&most) {
            return Err(("InvalidMaxResultsException", "1 to 50".to_owned()));
        }
        let second = |name: &str| asked[name].as_f64();
        let (start, end) = (second("StartTime").unwrap_or(f64::MIN), second("EndTime").unwrap_or(f64::MAX));
        if start > end {
            return Err(("InvalidTimeRangeException", "StartTime is after EndTime".to_owned()));
        }
        let (newest, oldest) = (earlier(now, DELAY), earlier(now, MEMORY));
        let region = region_of(ask);
        let told = self.trail.iter().rev().filter(|event| {
            let at = event.at.as_duration().as_secs_f64();
            let fits = match key {
                "ResourceName" => event.resources.iter().any(|id| id == value),
                "EventName" => event.action == value,
                "Username" => event.user == value,
                _ => true,
            };
            fits && event.region == region && event.at <= newest && event.at >= oldest && start <= at && at <= end
        });
        let most = usize::try_from(most).unwrap_or(50);
        Ok(json!({"Events": told.take(most).map(|event| self.shown(event)).collect::<Vec<_>>()}))
    }

    fn shown(&self, event: &Event) -> Value {
        let at = event.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let id = format!("{:016x}", mixed(self.seed, event.at.as_second().unsigned_abs()));
        // "CloudTrail record contents": the parameters as the API names them, in lower camel case.
        let group = event.resources.iter().find(|id| id.starts_with("sg-"));
        let (parameters, elements) = match event.action.as_str() {
            "CreateSecurityGroup" => {
                let vpc = event.resources.iter().find(|id| id.starts_with("vpc-"));
                let parameters = json!({"groupName": event.group_name, "vpcId": vpc});
                (parameters, json!({"_return": true, "groupId": group}))
            }
            "DeleteSecurityGroup" => (json!({"groupId": group}), json!({"_return": true})),
            _ => (Value::Null, Value::Null),
        };
        let record = json!({
            "requestParameters": parameters, "responseElements": elements,
            "eventVersion": "1.10",
            "userIdentity": {"type": "IAMUser", "principalId": "AIDASANDBOX", "accountId": ACCOUNT,
                "arn": format!("arn:aws:iam::{ACCOUNT}:user/{}", event.user), "userName": event.user},
            "eventTime": at, "eventSource": "ec2.amazonaws.com", "eventName": event.action, "awsRegion": event.region,
            "sourceIPAddress": event.from, "userAgent": event.agent, "eventID": id, "readOnly": false,
            "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": ACCOUNT, "eventCategory": "Management",
        });
        let resources: Vec<Value> = event.resources.iter().map(|id| json!({"ResourceName": id})).collect();
        json!({
            "EventId": id, "EventName": event.action, "ReadOnly": "false", "EventTime": event.at.as_second(),
            "EventSource": "ec2.amazonaws.com", "Username": event.user, "Resources": resources,
            "CloudTrailEvent": record.to_string(),
        })
    }
}

/// Whose a request is, by its key, and where it comes from.
pub(super) fn user_of(ask: &Ask) -> (String, &'static str) {
    let key = ask.header("authorization").and_then(|text| text.split("Credential=").nth(1));
    let key = key.and_then(|scope| scope.split('/').next()).unwrap_or("somebody");
    if key == OPERATORS.0 { (OPERATORS.1.to_owned(), "198.51.100.20") } else { (key.to_owned(), "203.0.113.99") }
}

/// The words in a text that are ids of EC2's.
fn ids(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let is_id = |word: &&str| {
        word.rsplit_once('-').is_some_and(|(prefix, number)| {
            let hex = number.len() >= 8 && number.bytes().all(|b| b.is_ascii_hexdigit());
            hex && Kind::ALL.iter().any(|kind| kind.prefix() == prefix)
        })
    };
    words.filter(is_id).map(str::to_owned).collect()
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::text(status, body.to_string()).with("content-type", "application/x-amz-json-1.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_794_000_000 + second).expect("a time")
    }

    fn call(action: &str, body: &str) -> Ask {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDMARY/20261101/us-east-1/ec2/aws4_request".to_owned();
        Ask {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: [("authorization".to_owned(), authorization)].into(),
            body: format!("Action={action}&Version=2016-11-15&{body}").into_bytes(),
            ..Ask::default()
        }
    }

    fn lookup(world: &mut World, now: Timestamp, body: &Value) -> Value {
        let mut ask = Ask { body: body.to_string().into_bytes(), ..call("", "") };
        let target = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents";
        ask.headers.insert("x-amz-target".to_owned(), target.to_owned());
        let reply = world.answer(now, &ask);
        serde_json::from_slice(&reply.body).expect("JSON")
    }

    fn by(value: &str) -> Value {
        json!({"LookupAttributes": [{"AttributeKey": "ResourceName", "AttributeValue": value}], "MaxResults": 50})
    }

    #[test]
    fn what_changed_something_is_told_a_while_later() {
        let mut world = World::company("us-east-1");
        let reply = world.answer(at(0), &call("AllocateAddress", "Domain=vpc"));
        let made = ids(&String::from_utf8_lossy(&reply.body)).remove(0);
        assert!(made.starts_with("eipalloc-"), "{made}");
        world.answer(at(1), &call("DescribeAddresses", ""));
        world.answer(at(2), &call("ReleaseAddress", "AllocationId=eipalloc-00000000000000000"));
        assert_eq!(lookup(&mut world, at(60), &by(&made))["Events"], json!([]), "not yet");
        let told = lookup(&mut world, at(1000), &by(&made));
        let events = told["Events"].as_array().expect("a list");
        assert_eq!(events.len(), 1, "neither what only read nor what was refused: {told}");
        assert_eq!((&events[0]["EventName"], &events[0]["Username"]), (&json!("AllocateAddress"), &json!("AKIDMARY")));
        let record: Value = serde_json::from_str(events[0]["CloudTrailEvent"].as_str().expect("text")).expect("JSON");
        assert_eq!(record["eventTime"], json!(at(0).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        assert_eq!(lookup(&mut world, at(100 * 24 * 3600), &by(&made))["Events"], json!([]), "forgotten");
    }

    #[test]
    fn what_is_no_lookup_is_refused() {
        let mut world = World::company("us-east-1");
        let code = |world: &mut World, body: &Value| lookup(world, at(0), body)["__type"].clone();
        let one = json!({"AttributeKey": "ResourceName", "AttributeValue": "x"});
        assert_eq!(code(&mut world, &json!({"LookupAttributes": [one, one]})), "InvalidLookupAttributesException");
        let odd = json!([{"AttributeKey": "Colour", "AttributeValue": "x"}]);
        assert_eq!(code(&mut world, &json!({"LookupAttributes": odd})), "InvalidLookupAttributesException");
        assert_eq!(code(&mut world, &json!({"MaxResults": 51})), "InvalidMaxResultsException");
        assert_eq!(code(&mut world, &json!({"StartTime": 2, "EndTime": 1})), "InvalidTimeRangeException");
    }
}
