//! `drift`, against moto: what is not as the plan says is found, told, and repaired by `apply`; nothing is written.

use serde_json::{Value, json};

use crate::support::{self, Bastion, Calls, Lab, Run};

/// A lab whose database has an interface of its own, so that every check of the control plane can pass.
fn lab() -> Option<Lab<'static>> {
    let lab = Lab::new(support::moto_or_skip()?);
    let input = json!({"subnet": lab.seed.private_subnet, "group": lab.seed.warehouse_group});
    lab.account.boto(
        "ec2.create_network_interface(SubnetId=input['subnet'], PrivateIpAddress='10.20.2.10', Groups=[input['group']])",
        input,
    );
    Some(lab)
}

#[track_caller]
fn drift(lab: &Lab<'_>, bastion: &Bastion, output: &str) -> (Run, Calls) {
    let (run, calls) = lab.run("drift", bastion, &["--output", output]);
    assert_eq!(calls.writes(), 0, "{calls}");
    (run, calls)
}

fn differences(run: &Run) -> Vec<Value> {
    run.json()["bastions"][0]["differences"].as_array().expect("differences").clone()
}

#[test]
fn drift_is_told_with_where_to_ask_who_did_it_and_repaired() {
    let Some(lab) = lab() else { return };
    let bastion = lab.bastion();
    lab.apply(&bastion);
    let (run, _) = drift(&lab, &bastion, "json");
    let run = run.expect(0);
    assert_eq!(differences(&run), [Value::Null; 0], "{run}");
    // moto boots no machine: what it would report is unknown, and told.
    assert!(!run.json()["bastions"][0]["unseen"].as_array().expect("unseen").is_empty(), "{run}");

    let group = lab.account.boto(
        "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[group] = ec2.describe_security_groups(Filters=own)['SecurityGroups']
ec2.authorize_security_group_ingress(GroupId=group['GroupId'], IpPermissions=[
    {'IpProtocol': 'tcp', 'FromPort': 22, 'ToPort': 22, 'IpRanges': [{'CidrIp': '0.0.0.0/0'}]}])
result = group['GroupId']",
        Value::Null,
    );
    let (run, _) = drift(&lab, &bastion, "json");
    let run = run.expect(2);
    let found = differences(&run);
    let kinds: Vec<&str> = found.iter().filter_map(|d| d["kind"].as_str()).collect();
    assert_eq!(kinds, ["cloud", "control-plane"], "{run}");
    assert_eq!(found[0]["details"][0]["before"], "from 0.0.0.0/0", "{run}");
    assert_eq!(found[0]["who"]["known"], "unknown", "{run}");
    let ask = found[0]["who"]["ask"].as_str().expect("a command");
    assert!(ask.starts_with("aws --region us-east-1 cloudtrail lookup-events"), "{ask}");
    assert!(ask.contains(group.as_str().expect("an id")), "{ask}");
    assert_eq!(found[1]["what"], "control.nothing-else", "{run}");

    for output in ["human", "markdown"] {
        let (run, _) = drift(&lab, &bastion, output);
        let run = run.expect(2);
        assert!(run.stdout.contains("from 0.0.0.0/0") && run.stdout.contains("gangplank apply"), "{run}");
    }
    lab.apply(&bastion);
    drift(&lab, &bastion, "human").0.expect(0);
}

/// The catalogue has changed since the rules were made: here the rules are changed to what an older catalogue said.
#[test]
fn addresses_of_an_older_catalogue_are_a_kind_of_their_own() {
    let Some(lab) = lab() else { return };
    let bastion = lab.bastion();
    let path = lab.gangplank.write(&bastion);
    let text = bastion.to_yaml().replace("user: secoda", "user: secoda\n    vendor: secoda/north-america");
    std::fs::write(&path, &text).expect("a writable folder");
    let path = path.to_str().expect("a temporary folder's name");
    lab.command(&["apply", path, "--yes", "--no-verify"]).0.expect(0);
    lab.account.boto(
        "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[group] = ec2.describe_security_groups(Filters=own)['SecurityGroups']
[rule, *_] = [r for p in group['IpPermissions'] for r in p['IpRanges'] if 'secoda/north-america' in r['Description']]
tcp = {'IpProtocol': 'tcp', 'FromPort': 22, 'ToPort': 22}
ec2.revoke_security_group_ingress(GroupId=group['GroupId'], IpPermissions=[{**tcp, 'IpRanges': [rule]}])
old = {'CidrIp': '34.230.160.245/32', 'Description': rule['Description']}
ec2.authorize_security_group_ingress(GroupId=group['GroupId'], IpPermissions=[{**tcp, 'IpRanges': [old]}])",
        Value::Null,
    );
    let (run, calls) = lab.command(&["drift", path, "--output", "json"]);
    let run = run.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
    let found = differences(&run);
    let catalogue: Vec<&Value> = found.iter().filter(|d| d["kind"] == "catalogue").collect();
    assert_eq!(catalogue.len(), 1, "{run}");
    assert_eq!(catalogue[0]["details"].as_array().map(Vec::len), Some(2), "{run}");
    assert!(!found.iter().any(|d| d["kind"] == "cloud"), "{run}");
    let told = lab.command(&["plan", path]).0.expect(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "the catalogue's addresses of secoda/north-america differ from those that the rules admit: +35.175.75.15/32, \
                -34.230.160.245/32 (source: https://docs.secoda.co";
    assert!(told.contains(note), "{told}");
}

#[test]
fn a_bastion_that_is_not_there_is_drift() {
    let Some(lab) = lab() else { return };
    let (run, _) = drift(&lab, &lab.bastion(), "json");
    let run = run.expect(2);
    assert_eq!(differences(&run), [Value::Null; 0], "{run}");
    assert_eq!(run.json()["bastions"][0]["absent"], json!({}), "{run}");
    let (run, _) = drift(&lab, &lab.bastion(), "human");
    assert!(run.stdout.lines().next().is_some_and(|line| line.ends_with("not there")), "{run}");
}

/// What people, pull requests and programs read of one of each kind, with hostile text in it.
#[test]
fn what_is_read_of_drift() {
    use gangplank::{
        changeset::Detail,
        cli::show::drift as show,
        drift::{Absent, Act, Cause, Difference, Drift, Kind, Unseen, Who},
        style::Palette,
    };
    let difference = |kind, cause, what: &str, who| Difference {
        kind,
        cause,
        what: what.to_owned(),
        why: "something is open that the plan does not list".to_owned(),
        details: vec![Detail::removed("ingress tcp 22", "from 0.0.0.0/0").note("\u{1b}[31mred | `ls`")],
        seen: Vec::new(),
        repair: "`gangplank apply warehouse.yaml` repairs it".to_owned(),
        who,
    };
    let act = Act {
        at: "2026-11-01T10:00:00Z".to_owned(),
        who: "ana@example.com from 198.51.100.20".to_owned(),
        what: "Microsoft.Network/networkSecurityGroups/write".to_owned(),
        ours: false,
        by_caller: false,
    };
    let own = Act { ours: true, ..act.clone() };
    let ask = "aws --region us-east-1 cloudtrail lookup-events".to_owned();
    let unknown = Who::Unknown { reason: "CloudTrail may not be asked".to_owned(), ask };
    let check = Difference {
        details: Vec::new(),
        seen: vec!["sg-1 admits 0.0.0.0/0".to_owned()],
        ..difference(Kind::ControlPlane, None, "control.nothing-else", None)
    };
    let drifted = Drift {
        bastion: "warehouse".to_owned(),
        location: support::location(),
        plan: "warehouse.yaml".to_owned(),
        absent: None,
        differences: vec![
            difference(Kind::Cloud, Some(Cause::Cloud), "ingress rules of gangplank-warehouse", Some(unknown)),
            difference(
                Kind::Catalogue,
                Some(Cause::Cloud),
                "network security group",
                Some(Who::Log { acts: vec![act, own.clone()] }),
            ),
            difference(
                Kind::Cloud,
                Some(Cause::Undetermined),
                "tags of elastic IP",
                Some(Who::Log { acts: Vec::new() }),
            ),
            difference(
                Kind::Cloud,
                Some(Cause::Plan),
                "address of warehouse",
                Some(Who::Log { acts: vec![own.clone()] }),
            ),
            check,
        ],
        unseen: vec![Unseen { reason: "the console is empty".to_owned(), checks: vec!["machine.keys".to_owned(); 3] }],
    };
    let settled =
        Drift { bastion: "reports".to_owned(), differences: Vec::new(), unseen: Vec::new(), ..drifted.clone() };
    let destroyed = Drift { absent: Some(Absent { removed: Some(own.clone()) }), ..settled.clone() };
    let gone = Drift { absent: Some(Absent { removed: None }), ..settled.clone() };
    let both = [drifted, settled.clone(), destroyed, gone];
    insta::assert_snapshot!("drift_for_people", show::human(&both, &Palette::PLAIN));
    insta::assert_snapshot!("drift_in_a_comment", show::markdown(&both));
    insta::assert_snapshot!("drift_for_programs", show::json(&both));
    insta::assert_snapshot!("no_drift_in_a_comment", show::markdown(&[settled]));
}
