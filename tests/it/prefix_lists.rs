//! Managed prefix lists among a plan's sources, against moto and the sandbox: what stands in a list is what is admitted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    rule_order::on_both,
    support::{Account, Lab},
};

/// A new list of these ranges.
fn list(account: &Account<'_>, most: usize, entries: &[&str]) -> String {
    let made = account.boto(
        "
entries = [{'Cidr': cidr} for cidr in input['entries']]
made = ec2.create_managed_prefix_list(PrefixListName='office', AddressFamily='IPv4', MaxEntries=input['most'], Entries=entries)
result = made['PrefixList']['PrefixListId']",
        json!({"entries": entries, "most": most}),
    );
    made.as_str().expect("an id").to_owned()
}

/// The lists that the bastion's group admits.
fn admitted(account: &Account<'_>) -> Value {
    account.boto(
        "
groups = ec2.describe_security_groups(Filters=[{'Name': 'group-name', 'Values': ['gangplank-warehouse']}])['SecurityGroups']
result = [l['PrefixListId'] for g in groups for p in g['IpPermissions'] for l in p['PrefixListIds']]",
        Value::Null,
    )
}

fn refused(lab: &Lab<'static>, sources: &[String], expected: &[&str]) {
    let mut bastion = lab.bastion();
    bastion.allow_from = sources.to_vec();
    let (run, calls) = lab.run("plan", &bastion, &[]);
    let run = run.expect(3);
    assert_eq!(calls.writes(), 0, "{calls}");
    let text = run.to_string();
    for part in expected {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_list_is_named_in_its_rule_and_shown_with_its_entries() {
    on_both(Duration::ZERO, |lab| {
        let id = list(&lab.account, 10, &["203.0.113.0/28", "198.51.100.7/32"]);
        let mut bastion = lab.bastion();
        bastion.allow_from = vec![id.clone()];
        let (run, calls) = lab.run("plan", &bastion, &[]);
        let text = run.expect(0).to_string();
        assert!(text.contains(&format!("{id} (office: 198.51.100.7/32, 203.0.113.0/28)")), "{text}");
        for operation in ["DescribeManagedPrefixLists", "GetManagedPrefixListEntries"] {
            assert_eq!(calls.0.iter().filter(|call| call.action == operation).count(), 1, "{calls}");
        }
        lab.apply(&bastion);
        assert_eq!(admitted(&lab.account), json!([id]));
        lab.assert_settled(&bastion);
        // Beside an address, and away again.
        bastion.allow_from = vec!["192.0.2.1/32".to_owned(), id];
        lab.apply(&bastion);
        lab.assert_settled(&bastion);
        bastion.allow_from.pop();
        lab.apply(&bastion);
        assert_eq!(admitted(&lab.account), json!([]));
        lab.assert_settled(&bastion);
    });
}

/// In the quota a list counts for as many rules as it may have entries.
#[test]
fn a_list_gets_the_room_that_it_may_need() {
    on_both(Duration::ZERO, |lab| {
        let mut bastion = lab.bastion();
        bastion.allow_from = (1..56).map(|n| format!("203.0.113.{n}/32")).collect();
        lab.apply(&bastion);
        let small = list(&lab.account, 20, &["198.51.100.7/32"]);
        bastion.allow_from = vec![small.clone()];
        let plan = lab.run("plan", &bastion, &[]).0.expect(0);
        assert!(plan.stdout.contains("closes 15 old ones before it opens the last 1 new ones"), "{plan}");
        lab.apply(&bastion);
        assert_eq!(admitted(&lab.account), json!([small]));
        lab.assert_settled(&bastion);
        let large = list(&lab.account, 70, &["198.51.100.7/32"]);
        refused(lab, &[large], &["70 ingress rules in gangplank-warehouse, and the quota is 60"]);
    });
}

#[test]
fn a_list_that_is_not_there_is_an_error_at_its_line() {
    on_both(Duration::ZERO, |lab| {
        let nobodys = "pl-0a1b2c3d4e5f60718".to_owned();
        refused(
            lab,
            &[nobodys],
            &["the prefix list is not known", "us-east-1 has no pl-0a1b2c3d4e5f60718", "warehouse.yaml:16"],
        );
    });
}

#[test]
fn a_list_that_admits_too_much_is_refused() {
    on_both(Duration::ZERO, |lab| {
        let world = list(&lab.account, 10, &["0.0.0.0/1", "128.0.0.0/1"]);
        refused(lab, &[world], &["a prefix list that admits too much", "0.0.0.0/0"]);
        // Only together with the plan's own.
        let half = list(&lab.account, 10, &["10.1.0.0/16"]);
        refused(lab, &["10.0.0.0/16".to_owned(), half], &["a prefix list that admits too much", "10.0.0.0/15"]);
    });
}
