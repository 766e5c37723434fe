//! Tags about a bastion's end, changed by somebody with a right to tag: what plan, apply and reap make of them, on moto and on the
//! sandbox's EC2.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    ownership::on_both,
    support::{Bastion, Lab},
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The bastion's machine, group and address (where it is its own), by `I`, `G` and `A`.
const PARTS: &str = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
parts = {}
for r in ec2.describe_instances(Filters=own)['Reservations']:
    parts.update({'I': i for i in r['Instances'] if i['State']['Name'] == 'running'})
parts.update({'G': g for g in ec2.describe_security_groups(Filters=own)['SecurityGroups']})
parts.update({'A': a for a in ec2.describe_addresses(Filters=own)['Addresses']})
ids = {'I': 'InstanceId', 'G': 'GroupId', 'A': 'AllocationId'}
def end(part):
    return next((t['Value'] for t in parts[part]['Tags'] if t['Key'] == 'gangplank:expires'), None)
";

/// The end that each part's tags tell.
fn ends(lab: &Lab<'_>) -> Value {
    lab.account.boto(&format!("{PARTS}result = {{part: end(part) for part in parts}}"), Value::Null)
}

fn end_of(lab: &Lab<'_>, part: &str) -> Timestamp {
    ends(lab)[part].as_str().and_then(|text| text.parse().ok()).expect("an end")
}

fn forge(lab: &Lab<'_>, parts: &[&str], key: &str, value: &str) {
    lab.account.boto(
        &format!(
            "{PARTS}ec2.create_tags(Resources=[parts[p][ids[p]] for p in input['parts']], Tags=[{{'Key': input['key'], 'Value': input['value']}}])"
        ),
        json!({"parts": parts, "key": key, "value": value}),
    );
}

fn reap(lab: &Lab<'_>, code: i32) -> String {
    let (run, calls) = lab.command(&["reap", "--region", "us-east-1", "--yes", "--settle", "0m"]);
    assert_eq!(calls.writes(), 0, "{calls}\n{run}");
    run.expect(code).stdout
}

/// With an address of one's own two resources tell the end: where they differ, nothing tells which is right.
#[test]
fn of_two_that_differ_neither_is_believed() {
    on_both(|lab| {
        let bastion = Bastion { address: lab.seed.address.clone(), lifetime: Some("30d"), ..lab.bastion() };
        lab.apply(&bastion);
        let own = end_of(lab, "I");
        let (start, soon) = (own - DAY * 30, own - DAY * 29);
        let decision = format!("to {soon} from {own} on {start}");
        for (key, value) in [
            ("gangplank:expires", soon.to_string()),
            ("gangplank:expires", start.to_string()),
            ("gangplank:extended", decision),
        ] {
            forge(lab, &["G"], key, &value);
            let forged = ends(lab);
            for verb in ["plan", "apply"] {
                let options: &[&str] = if verb == "apply" { &["--yes"] } else { &[] };
                let (run, calls) = lab.run(verb, &bastion, options);
                let run = run.expect(0);
                assert!(run.stdout.contains("⚠ its machine's tags tell the end"), "{key} {value}\n{run}");
                assert_eq!(calls.writes(), 0, "{calls}");
                assert_eq!(ends(lab), forged, "{key} {value}");
            }
            if key == "gangplank:expires" {
                assert!(reap(lab, 2).contains("two resources tell its end, and differ"), "{key} {value}");
            }
            let (settled, _) = lab.run("extend", &bastion, &["--until", &own.to_string(), "--yes"]);
            settled.expect(0);
            assert_eq!((end_of(lab, "I"), end_of(lab, "G")), (own, own), "{key} {value}");
            lab.assert_settled(&bastion);
        }
        // A later end is one whose lifetime began after the machine's launch: nobody believes it, and it is put right.
        forge(lab, &["G"], "gangplank:expires", &(own + DAY * 300).to_string());
        assert!(reap(lab, 0).contains(&format!("it ends at {own}")));
        lab.apply(&bastion);
        assert_eq!((end_of(lab, "I"), end_of(lab, "G")), (own, own));
    });
}

/// The lifetime that each part's tags tell.
fn lifetimes(lab: &Lab<'_>) -> Value {
    let told = "{p: next(t['Value'] for t in parts[p]['Tags'] if t['Key'] == 'gangplank:lifetime') for p in parts}";
    lab.account.boto(&format!("{PARTS}result = {told}"), Value::Null)
}

/// Two that tell the same end, and another lifetime: the plan's is written, whatever the other tag claims.
#[test]
fn a_lifetime_that_is_not_the_plans_is_copied_nowhere() {
    on_both(|lab| {
        let bastion = Bastion { address: lab.seed.address.clone(), lifetime: Some("30d"), ..lab.bastion() };
        lab.apply(&bastion);
        let own = end_of(lab, "I");
        let until = own.to_string();
        let plans = json!({"I": "2592000", "G": "2592000"});
        for (part, seconds) in [("I", "7776000"), ("I", "1000000000"), ("I", "3600"), ("G", "7776000")] {
            for (verb, options) in [("extend", &["--until", &until, "--yes"][..]), ("apply", &["--yes"])] {
                forge(lab, &[part], "gangplank:lifetime", seconds);
                let plan = lab.run("plan", &bastion, &[]).0.expect(0);
                assert!(!plan.stdout.contains("nothing tells which is right"), "{plan}");
                lab.run(verb, &bastion, options).0.expect(0);
                assert_eq!(lifetimes(lab), plans, "{part} {seconds} {verb}");
                assert_eq!((end_of(lab, "I"), end_of(lab, "G")), (own, own));
                lab.assert_settled(&bastion);
            }
        }
    });
}

/// The machine's own tag says that it has ended: what plan and reap advise works as it is printed.
#[test]
fn an_end_that_the_machine_alone_says_has_passed_is_settled() {
    on_both(|lab| {
        let bastion = Bastion { address: lab.seed.address.clone(), lifetime: Some("30d"), ..lab.bastion() };
        lab.apply(&bastion);
        let own = end_of(lab, "I");
        // Before the launch no machine's end can have been: nobody believes it.
        for verb in ["apply", "extend"] {
            forge(lab, &["I"], "gangplank:expires", "1995-05-23T00:00:00Z");
            let until = own.to_string();
            let options: &[&str] = if verb == "apply" { &["--yes"] } else { &["--until", &until, "--yes"] };
            lab.run(verb, &bastion, options).0.expect(0);
            assert_eq!((end_of(lab, "I"), end_of(lab, "G")), (own, own), "{verb}");
            lab.assert_settled(&bastion);
        }
        for until in [own, own + DAY, own - DAY] {
            forge(lab, &["I"], "gangplank:expires", &(own - DAY * 30).to_string());
            let plan = lab.run("plan", &bastion, &[]).0.expect(3);
            let flat = plan.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in ["instance i-", "security group sg-", "gangplank:expires", "nothing tells which is right"] {
                assert!(flat.contains(part), "{part}\n{plan}");
            }
            assert!(flat.contains("gangplank extend ") && flat.contains(&format!(" --until {own}`")), "{plan}");
            assert!(reap(lab, 2).contains("two resources tell its end, and differ"));
            let (settled, _) = lab.run("extend", &bastion, &["--until", &until.to_string(), "--yes"]);
            settled.expect(0);
            assert_eq!((end_of(lab, "I"), end_of(lab, "G")), (until, until));
            lab.assert_settled(&bastion);
            lab.run("extend", &bastion, &["--by", "3d", "--yes"]).0.expect(0);
            lab.run("shorten", &bastion, &["--until", &own.to_string(), "--yes"]).0.expect(0);
        }
        assert_eq!(lifetimes(lab), json!({"I": "2592000", "G": "2592000"}));
    });
}

/// Two of three tags are many, and the machine's launch is no tag.
#[test]
fn two_of_three_postpone_nothing() {
    on_both(|lab| {
        let bastion = Bastion { lifetime: Some("30d"), ..lab.bastion() };
        lab.apply(&bastion);
        let own = end_of(lab, "I");
        forge(lab, &["G", "A"], "gangplank:expires", &(own + DAY * 24).to_string());
        let stdout = reap(lab, 0);
        assert!(stdout.contains(&format!("it ends at {own}")), "{stdout}");
        lab.apply(&bastion);
        assert_eq!(ends(lab), json!({"I": own.to_string(), "G": own.to_string(), "A": own.to_string()}));
        let later = format!("to {} from {own} on {}", own + DAY * 24, own - DAY * 30);
        forge(lab, &["G", "A"], "gangplank:extended", &later);
        lab.apply(&bastion);
        assert_eq!(ends(lab), json!({"I": own.to_string(), "G": own.to_string(), "A": own.to_string()}));
    });
}

/// An end on the machine's own tag that neither the plan nor another resource tells: who looks at the bastion is told.
#[test]
fn status_and_hand_off_show_that_another_end_is_told() {
    on_both(|lab| {
        for existing in [false, true] {
            let mut bastion = Bastion { lifetime: Some("30d"), ..lab.bastion() };
            if existing {
                bastion.address.clone_from(&lab.seed.address);
            }
            lab.apply(&bastion);
            let own = end_of(lab, "I");
            assert!(!lab.run("status", &bastion, &[]).0.expect(0).stdout.contains('⚠'));
            forge(lab, &["I"], "gangplank:expires", "2031-11-30T00:00:00Z");
            for (verb, options, code) in [("status", &[][..], 0), ("handoff", &["--no-network"], 4)] {
                let told = lab.run(verb, &bastion, options).0.expect(code);
                let flat = told.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(flat.contains("another end, ") && flat.contains(&own.to_string()), "{told}");
            }
            let status = lab.run("status", &bastion, &["--output", "json"]).0.expect(0).json();
            assert!(status["bastions"][0]["other_ends"].to_string().contains(&own.to_string()), "{status:#}");
            lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
        }
    });
}
