//! Who has written to a resource lately: CloudTrail's event history. Pure; the call is the fleet's.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    action::{Action, Call, Ref},
    region,
};
use crate::{
    cloud_error::{CloudError, ErrorKind},
    drift::{Act, Who, told},
};

/// What the user agent of gangplank's own calls has in it: the SDK writes an application's name so.
const OURS: &str = "app/gangplank";

/// The resource that the history is asked about; `None` where what is gone has no name any more: then only the kind of call that
/// removed it is known, and that would blame whoever removed anything of that kind.
pub fn resource(action: &Action) -> Option<String> {
    let (key, value) = attribute(&action.call);
    (key == RESOURCE && !value.is_empty()).then_some(value)
}

/// What happened, of the events as CloudTrail records them ("CloudTrail record contents"): what was only read, or was refused, is
/// left out. `caller` is the ARN of the principal that asks.
pub fn read<'e>(events: impl IntoIterator<Item = &'e str>, caller: Option<&str>) -> Vec<Act> {
    told(events.into_iter().filter_map(|event| act(&serde_json::from_str(event).ok()?, caller)).collect())
}

/// The removal of a bastion's security group, of which only its name is known: its creation tells the id, its removal names that
/// ("CloudTrail record contents", `requestParameters` and `responseElements`; the elements are EC2's CreateSecurityGroup and
/// DeleteSecurityGroup).
pub fn removal(group_name: &str, created: &[String], deleted: &[String]) -> Option<Act> {
    let parse = |events: &[String]| -> Vec<Value> {
        events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect()
    };
    let text = |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let ids: Vec<String> = parse(created)
        .iter()
        .filter(|event| text(event, "/requestParameters/groupName").as_deref() == Some(group_name))
        .filter_map(|event| text(event, "/responseElements/groupId"))
        .collect();
    let removals = parse(deleted).into_iter();
    let of_it = |event: &Value| text(event, "/requestParameters/groupId").is_some_and(|id| ids.contains(&id));
    removals.filter(of_it).filter_map(|event| act(&event, None)).max_by(|a, b| a.at.cmp(&b.at))
}

/// Who launched a machine, of the events that name it.
pub fn launcher<'e>(events: impl IntoIterator<Item = &'e str>) -> Option<String> {
    let acts = events.into_iter().filter_map(|event| act(&serde_json::from_str(event).ok()?, None));
    acts.filter(|act| act.what == "RunInstances").map(|act| act.by()).next()
}

fn act(event: &Value, caller: Option<&str>) -> Option<Act> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let is_read = event.get("readOnly").is_some_and(|r| r == &Value::Bool(true) || r == "true");
    if is_read || !text("/errorCode").is_empty() || text("/eventName").is_empty() {
        return None;
    }
    let who = identity(event.get("userIdentity").unwrap_or(&Value::Null));
    let who = match text("/sourceIPAddress") {
        "" => who,
        from => format!("{who} from {from}"),
    };
    let ours = text("/userAgent").split([' ', '[', ']']).any(|word| word == OURS);
    let by_caller = caller.is_some_and(|caller| principal(caller) == principal(text("/userIdentity/arn")));
    Some(Act { at: text("/eventTime").to_owned(), who, what: text("/eventName").to_owned(), ours, by_caller })
}

/// An ARN without the name of its session, which is another one in each run: `arn:aws:sts::111122223333:assumed-role/ROLE/SESSION`.
fn principal(arn: &str) -> &str {
    match arn.rsplit_once('/') {
        Some((role, _)) if arn.contains(":assumed-role/") => role,
        _ => arn,
    }
}

/// "CloudTrail userIdentity element".
fn identity(of: &Value) -> String {
    let text = |pointer: &str| of.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let first = |all: &[&'static str]| all.iter().map(|pointer| text(pointer)).find(|t| !t.is_empty()).unwrap_or("");
    let last = text("/arn").rsplit(':').next().unwrap_or_default();
    match text("/type") {
        "Root" => format!("the root of account {}", text("/accountId")),
        "IAMUser" => format!("user {}", first(&["/userName", "/arn", "/principalId"])),
        // arn:aws:sts::123456789012:assumed-role/ROLE/SESSION
        "AssumedRole" => match last.split('/').collect::<Vec<_>>().as_slice() {
            ["assumed-role", role, session] => format!("role {role}, session {session}"),
            _ => format!("role {}", first(&["/sessionContext/sessionIssuer/userName", "/arn", "/principalId"])),
        },
        "AWSService" => format!("service {}", text("/invokedBy")),
        "AWSAccount" => format!("account {}", text("/accountId")),
        _ => match first(&["/userName", "/arn", "/principalId", "/onBehalfOf/userId", "/invokedBy"]) {
            "" => "somebody whom the log does not name".to_owned(),
            name => name.to_owned(),
        },
    }
}

/// Why the history did not tell: without the permission that is no failure, only less to know.
pub fn refusal(error: &CloudError) -> String {
    match error.kind {
        ErrorKind::Permission => format!("CloudTrail may not be asked (cloudtrail:LookupEvents): {}", error.message),
        _ => format!("CloudTrail did not tell: {}", error.message),
    }
}

/// Where the history was not asked, or did not answer: the command that asks.
///
/// Attribute keys: AWS CloudTrail API Reference, "LookupEvents". The history has the management events of 90 days.
pub fn unasked(action: &Action, since: Timestamp, now: Timestamp, reason: &str) -> Who {
    let (key, value) = attribute(&action.call);
    let (key, value) = (format!("AttributeKey={key}"), format!("AttributeValue={value}"));
    Who::Unknown {
        reason: reason.to_owned(),
        ask: format!(
            "{} cloudtrail lookup-events --lookup-attributes {key},{value} --start-time {since} --end-time {}",
            region::cli(&action.region),
            crate::drift::second(now),
        ),
    }
}

const RESOURCE: &str = "ResourceName";

/// What the history is asked about, as text.
pub fn subject(action: &Action) -> String {
    let (key, value) = attribute(&action.call);
    format!("{} {key} {value}", action.region)
}

/// By the resource's id where it exists; what is missing was removed by a call of that name.
fn attribute(call: &Call) -> (&'static str, String) {
    let resource = |id: &str| (RESOURCE, id.to_owned());
    let event = |name: &str| ("EventName", name.to_owned());
    match call {
        Call::CreateGroup { .. } => event("DeleteSecurityGroup"),
        Call::ChangeRules { group: Ref::Id(id), .. } | Call::MarkAddress { group: Ref::Id(id), .. } => resource(id),
        Call::ChangeRules { group: Ref::Made, .. } | Call::MarkAddress { group: Ref::Made, .. } => {
            event("DeleteSecurityGroup")
        }
        Call::AllocateAddress { .. } => event("ReleaseAddress"),
        Call::RunInstance(launch) => match launch.history.last() {
            Some(instance) => resource(instance),
            None => event("TerminateInstances"),
        },
        Call::Associate { .. } => event("DisassociateAddress"),
        Call::StartInstance { instance }
        | Call::SetMetadataOptions { instance, .. }
        | Call::SetGroups { instance, .. }
        | Call::SetShutdownBehavior { instance, .. }
        | Call::TerminateInstance { instance, .. } => resource(instance),
        Call::Tag { resources, .. } => resource(resources.first().map_or("", String::as_str)),
        Call::ReleaseAddress { allocation } => resource(allocation),
        Call::DeleteVolume { volume } => resource(volume),
        Call::DeleteGroup { group } => resource(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_resource_and_the_time() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let ask = |call| {
            let action = Action { region: "prod@us-east-1".to_owned(), bastion: "warehouse".to_owned(), call };
            match unasked(&action, at("2026-11-01T00:00:00Z"), at("2026-11-20T12:00:00.9Z"), "it may not be asked") {
                Who::Unknown { ask, .. } => ask,
                other @ Who::Log { .. } => panic!("{other:?}"),
            }
        };
        assert_eq!(
            ask(Call::DeleteGroup { group: "sg-1".to_owned() }),
            "aws --profile prod --region us-east-1 cloudtrail lookup-events --lookup-attributes \
             AttributeKey=ResourceName,AttributeValue=sg-1 --start-time 2026-11-01T00:00:00Z --end-time 2026-11-20T12:00:00Z"
        );
        let gone = ask(Call::AllocateAddress { tags: super::super::tags::Tags::new() });
        assert!(gone.contains("AttributeKey=EventName,AttributeValue=ReleaseAddress"), "{gone}");
    }

    /// The records of "CloudTrail log file examples" (IAM, an assumed role), shortened, with EC2's calls in them.
    #[test]
    fn a_record_tells_who_did_what() {
        let record = |identity: &str, more: &str| {
            format!(
                r#"{{"eventVersion": "1.08", "userIdentity": {identity}, "eventTime": "2023-07-19T21:17:28Z",
                "eventSource": "ec2.amazonaws.com", "eventName": "AuthorizeSecurityGroupIngress", "awsRegion": "us-east-1",
                "sourceIPAddress": "192.0.2.0", "userAgent": "aws-cli/2.13.5 Python/3.11.4 Linux/4.14.255", "readOnly": false
                {more}}}"#
            )
        };
        let user = r#"{"type": "IAMUser", "principalId": "EXAMPLE6E4XEGITWATV6R", "accountId": "123456789012",
            "arn": "arn:aws:iam::123456789012:user/Mary_Major", "userName": "Mary_Major", "sessionContext": {}}"#;
        let role = r#"{"type": "AssumedRole", "principalId": "AIDACKCEVSQ6C2EXAMPLE:Role-Session-Name", "accountId": "111122223333",
            "arn": "arn:aws:sts::111122223333:assumed-role/RoleToBeAssumed/Role-Session-Name"}"#;
        let who = |identity: &str| {
            let acts = read([record(identity, "").as_str()], None);
            assert_eq!(
                (acts[0].at.as_str(), acts[0].what.as_str()),
                ("2023-07-19T21:17:28Z", "AuthorizeSecurityGroupIngress")
            );
            assert!(!acts[0].ours);
            acts[0].by()
        };
        assert_eq!(who(user), "user Mary_Major from 192.0.2.0");
        assert_eq!(who(role), "role RoleToBeAssumed, session Role-Session-Name from 192.0.2.0");
        assert_eq!(
            who(r#"{"type": "Root", "accountId": "123456789012"}"#),
            "the root of account 123456789012 from 192.0.2.0"
        );
        let service = r#"{"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"}"#;
        assert_eq!(who(service), "service autoscaling.amazonaws.com from 192.0.2.0");
        assert_eq!(who("{}"), "somebody whom the log does not name from 192.0.2.0");
        for more in [r#", "errorCode": "Client.UnauthorizedOperation""#, r#", "readOnly": true"#] {
            assert_eq!(read([record(user, more).as_str()], None), [], "{more}");
        }
    }

    #[test]
    fn what_gangplank_did_itself_blames_nobody() {
        let record = |name: &str, agent: &str, at: &str| {
            format!(
                r#"{{"userIdentity": {{"type": "IAMUser", "userName": "{name}"}}, "eventName": "CreateTags", "eventTime": "{at}",
                "userAgent": "{agent}"}}"#
            )
        };
        let agent = "aws-sdk-rust/1.3.9 ua/2.1 api/ec2/1.274.0 os/linux lang/rust/1.94.1 app/gangplank m/E";
        let own = record("ci", agent, "2026-11-03T00:00:00Z");
        let theirs = record("ana", "app/gangplanks", "2026-11-02T00:00:00Z");
        assert_eq!(read([own.as_str()], None).iter().map(Act::by).collect::<Vec<_>>(), ["gangplank, as user ci"]);
        assert_eq!(read([own.as_str(), theirs.as_str()], None).iter().map(Act::by).collect::<Vec<_>>(), ["user ana"]);
    }

    #[test]
    fn gangplanks_name_is_a_claim_of_who_is_not_the_caller() {
        let record = |arn: &str| {
            format!(
                r#"{{"userIdentity": {{"type": "AssumedRole", "arn": "{arn}"}}, "eventName": "CreateTags", "eventTime": "2026-11-03",
                "userAgent": "app/gangplank"}}"#
            )
        };
        let role = |name: &str, session: &str| format!("arn:aws:sts::111122223333:assumed-role/{name}/{session}");
        let (own, other) = (record(&role("deploy", "run-1")), record(&role("mallory", "run-1")));
        let caller = role("deploy", "run-2");
        let acts = |events: &[&String]| read(events.iter().map(|e| e.as_str()), Some(&caller));
        assert!(acts(&[&own])[0].by_caller);
        let claimed = acts(&[&own, &other]);
        assert_eq!(claimed.len(), 1);
        assert!(!claimed[0].by_caller && claimed[0].by().contains("role mallory"), "{claimed:?}");
        assert!(!read([own.as_str()], None)[0].by_caller, "it is not known who asks");
    }

    #[test]
    fn a_group_that_is_gone_is_found_by_its_name() {
        let made = |name: &str, id: &str| {
            format!(
                r#"{{"eventName": "CreateSecurityGroup", "requestParameters": {{"groupName": "{name}", "vpcId": "vpc-1"}},
                "responseElements": {{"_return": true, "groupId": "{id}"}}}}"#
            )
        };
        let gone = |id: &str, at: &str| {
            format!(
                r#"{{"eventName": "DeleteSecurityGroup", "eventTime": "{at}", "requestParameters": {{"groupId": "{id}"}},
                "userIdentity": {{"type": "IAMUser", "userName": "ci"}}, "userAgent": "app/gangplank"}}"#
            )
        };
        let created =
            [made("gangplank-a", "sg-1"), made("gangplank-b", "sg-2"), made("gangplank-a", "sg-3"), "[".into()];
        let deleted = [gone("sg-2", "2026-11-05"), gone("sg-3", "2026-11-04"), gone("sg-1", "2026-11-02")];
        let act = removal("gangplank-a", &created, &deleted).expect("a removal");
        assert_eq!((act.at.as_str(), act.ours), ("2026-11-04", true));
        assert_eq!(removal("gangplank-c", &created, &deleted), None);
    }

    #[test]
    fn any_record_is_read() {
        let odd = [
            "",
            "null",
            "[]",
            "3",
            r#"{"eventName": 3}"#,
            r#"{"eventName": "A", "userIdentity": [], "eventTime": {}}"#,
        ];
        assert_eq!(read(odd, None).len(), 1);
    }
}
