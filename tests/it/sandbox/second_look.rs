//! What other people do to the cloud while a question waits for its answer: the "yes" is for what was shown.

use std::{io::Write, time::Duration};

use super::{
    Desk,
    listen::Listening,
    terminal::{asked, over},
};

const PLAN: &str = "plans/warehouse.yaml";
const PATIENCE: Duration = Duration::from_secs(60);

fn first(xml: &str, tag: &str) -> String {
    let rest = xml.split(&format!("<{tag}>")).nth(1).unwrap_or_else(|| panic!("no {tag} in {xml}"));
    rest.split('<').next().unwrap_or_default().to_owned()
}

/// The bastion's machine, as EC2 shows it.
fn machine(listening: &Listening) -> String {
    listening.ec2(
        "Action=DescribeInstances&Filter.1.Name=tag:gangplank:bastion&Filter.1.Value.1=warehouse&Filter.2.Name=instance-state-name&Filter.2.Value.1=running",
    )
}

fn with_a_bastion(desk: &Desk) -> Listening {
    let listening = Listening::start(desk);
    let run = over(desk, &listening.endpoint(), &["apply", "--yes", "--no-verify", PLAN]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    listening
}

/// It is taken out of the bastion's group, and so lacks the mark that a tag cannot make.
#[test]
fn a_machine_that_lost_its_mark_after_the_question_is_not_terminated() {
    let desk = Desk::new();
    let listening = with_a_bastion(&desk);
    let id = first(&machine(&listening), "instanceId");
    let vpc = first(&machine(&listening), "vpcId");
    let (mut near, running) = asked(over(&desk, &listening.endpoint(), &["destroy", PLAN]));
    let made =
        listening.ec2(&format!("Action=CreateSecurityGroup&GroupName=payments&GroupDescription=payments&VpcId={vpc}"));
    let other = first(&made, "groupId");
    // A new group is unknown for a moment.
    let mut tries = std::iter::repeat_with(|| {
        listening.ec2(&format!("Action=ModifyInstanceAttribute&InstanceId={id}&GroupId.1={other}"))
    });
    let moved = tries.find(|answer| !answer.contains("InvalidGroup.NotFound")).unwrap_or_default();
    assert!(moved.contains("<return>true</return>"), "{moved}");
    near.write_all(b"yes\n").unwrap();
    let (code, said) = running.end(PATIENCE);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&id), "{said}");
    assert_eq!(first(&machine(&listening), "instanceId"), id);
}

/// Its ownership tag names another bastion since.
#[test]
fn a_machine_that_was_given_another_tag_after_the_question_is_not_terminated() {
    let desk = Desk::new();
    let listening = with_a_bastion(&desk);
    let id = first(&machine(&listening), "instanceId");
    let (mut near, running) = asked(over(&desk, &listening.endpoint(), &["destroy", PLAN]));
    let tagged =
        listening.ec2(&format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key=gangplank:bastion&Tag.1.Value=payments"));
    assert!(tagged.contains("<return>true</return>"), "{tagged}");
    near.write_all(b"yes\n").unwrap();
    let (code, said) = running.end(PATIENCE);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&id), "{said}");
    let there = listening.ec2(&format!("Action=DescribeInstances&InstanceId.1={id}"));
    assert!(there.contains("<name>running</name>"), "{there}");
}
