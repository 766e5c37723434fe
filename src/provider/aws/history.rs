//! Where AWS keeps who changed what: CloudTrail's event history. gangplank does not ask it: that is another service, with a
//! permission of its own (`cloudtrail:LookupEvents`). It says how to.

use jiff::Timestamp;

use super::{
    action::{Action, Call, Ref},
    region,
};
use crate::drift::Who;

/// The command that asks who changed what a step is about.
///
/// Attribute keys: AWS CloudTrail API Reference, "LookupEvents". The history has the management events of 90 days.
pub fn who(action: &Action, since: Timestamp, now: Timestamp) -> Who {
    let (key, value) = attribute(&action.call);
    let (key, value) = (format!("AttributeKey={key}"), format!("AttributeValue={value}"));
    Who::Unknown {
        reason: "gangplank does not ask CloudTrail".to_owned(),
        ask: format!(
            "{} cloudtrail lookup-events --lookup-attributes {key},{value} --start-time {since} --end-time {}",
            region::cli(&action.region),
            crate::drift::second(now),
        ),
    }
}

/// What the history is asked about, as text.
pub fn subject(action: &Action) -> String {
    let (key, value) = attribute(&action.call);
    format!("{} {key} {value}", action.region)
}

/// By the resource's id where it exists; what is missing was removed by a call of that name.
fn attribute(call: &Call) -> (&'static str, String) {
    let resource = |id: &str| ("ResourceName", id.to_owned());
    let event = |name: &str| ("EventName", name.to_owned());
    match call {
        Call::CreateGroup { .. } => event("DeleteSecurityGroup"),
        Call::ChangeRules { group: Ref::Id(id), .. } => resource(id),
        Call::ChangeRules { group: Ref::Made, .. } => event("DeleteSecurityGroup"),
        Call::AllocateAddress { .. } => event("ReleaseAddress"),
        Call::RunInstance(_) => event("TerminateInstances"),
        Call::Associate { .. } => event("DisassociateAddress"),
        Call::StartInstance { instance }
        | Call::SetMetadataOptions { instance, .. }
        | Call::SetGroups { instance, .. }
        | Call::SetShutdownBehavior { instance, .. }
        | Call::TerminateInstance { instance } => resource(instance),
        Call::Tag { resources, .. } => resource(resources.first().map_or("", String::as_str)),
        Call::ReleaseAddress { allocation } => resource(allocation),
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
            match who(&action, at("2026-11-01T00:00:00Z"), at("2026-11-20T12:00:00.9Z")) {
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
}
