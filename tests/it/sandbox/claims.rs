//! A cloud's log, in which any client can call itself gangplank.

use serde_json::Value;

use super::{Desk, listen::Listening};

const PLAN: &str = "plans/warehouse.yaml";

fn first<'x>(xml: &'x str, before: &str, tag: &str) -> &'x str {
    let rest = xml.split(before).nth(1).unwrap_or_else(|| panic!("no {before} in {xml}"));
    let rest = rest.split(&format!("<{tag}>")).nth(1).unwrap_or_else(|| panic!("no {tag} in {xml}"));
    rest.split('<').next().unwrap_or_default()
}

/// Somebody takes a source of the vendor's away, with gangplank's name in the user agent: that is not told as the plan's own.
#[test]
fn who_calls_itself_gangplank_is_not_taken_for_the_plan() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    let listening = Listening::start(&desk);
    let group =
        listening.ec2("Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=gangplank-warehouse");
    let (id, source) = (first(&group, "<securityGroupInfo>", "groupId"), first(&group, "<ipPermissions>", "cidrIp"));
    let answer = listening.ask(
        &format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\nuser-agent: aws-sdk-rust/1.3.9 \
             app/gangplank\r\nauthorization: AWS4-HMAC-SHA256 Credential=MALLORY/20261122/us-east-1/ec2/aws4_request, \
             SignedHeaders=host, Signature=00",
            listening.address
        ),
        &format!(
            "Version=2016-11-15&Action=RevokeSecurityGroupIngress&GroupId={id}&IpPermissions.1.IpProtocol=tcp&\
             IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp={source}"
        ),
    );
    assert!(answer.contains("<return>true</return>"), "{answer}");
    drop(listening);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    let drift = desk.play(&["drift", "--output", "json", PLAN]).expect(2);
    let document: Value = drift.json();
    let differences = document["bastions"][0]["differences"].as_array().expect("differences");
    let rules = differences.iter().find(|d| d["what"] == "ingress rules of gangplank-warehouse");
    let rules = rules.unwrap_or_else(|| panic!("{document:#}"));
    assert_eq!(rules["cause"], "undetermined", "{document:#}");
    let acts = rules["who"]["acts"].as_array().expect("acts");
    assert!(acts.iter().all(|act| act["who"].as_str().is_some_and(|who| who.contains("MALLORY"))), "{document:#}");
}
