//! An address that the plan brings stays, whoever has tagged it: no verb releases it, on moto and on the sandbox's EC2.

use serde_json::json;

use crate::{
    ownership::{heed, on_both},
    support::Bastion,
};

const TAG: &str = "
ec2.create_tags(Resources=[input['address']], Tags=[{'Key': k, 'Value': v} for k, v in input['tags'].items()])
";

/// As if its end had come long ago: by the tags of all that is dated.
const END: &str = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
dated = [i['InstanceId'] for r in ec2.describe_instances(Filters=own)['Reservations'] for i in r['Instances'] if i['State']['Name'] == 'running']
dated += [g['GroupId'] for g in ec2.describe_security_groups(Filters=own)['SecurityGroups']]
ec2.create_tags(Resources=[*dated, input['address']], Tags=[{'Key': 'gangplank:expires', 'Value': '2020-01-01T00:00:00Z'}])
";

/// Whether the address is there, and how many machines run.
const LEFT: &str = "
there = [a['AllocationId'] for a in ec2.describe_addresses()['Addresses']]
running = [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances'] if i['State']['Name'] == 'running']
result = [input['address'] in there, len(running)]
";

#[test]
fn an_address_of_ones_own_is_released_by_no_verb() {
    on_both(|lab| {
        let address = lab.seed.address.clone();
        let bastion = Bastion { address: address.clone(), lifetime: Some("30d"), ..lab.bastion() };
        let plan = lab.gangplank.write(&bastion);
        let plan = plan.to_str().expect("a temporary folder's name");
        let reap = ["reap", "--yes", "--settle", "0m"];
        let by_region = [&reap[..], &["--region", "us-east-1"]].concat();
        let by_plan = [&reap[..], &[plan]].concat();
        let destroy = vec!["destroy", "--yes", plan];
        for (tags, end, verb) in [
            (json!({"gangplank:bastion": "warehouse"}), END, &by_region),
            (json!({"gangplank:bastion": "warehouse", "Name": "gangplank-warehouse"}), END, &by_region),
            (json!({"gangplank:bastion": "warehouse", "Name": "gangplank-warehouse"}), END, &by_plan),
            (json!({"gangplank:bastion": "warehouse", "Name": "gangplank-warehouse"}), "", &destroy),
        ] {
            lab.apply(&bastion);
            let input = json!({"address": address, "tags": tags});
            lab.account.boto(&format!("{TAG}{end}"), input.clone());
            let (run, calls) = lab.command(verb);
            assert!(matches!(run.code(), Some(0 | 2)), "{run}");
            assert_eq!(calls.of("ReleaseAddress"), 0, "{run}\n{calls}");
            assert_eq!(lab.account.boto(LEFT, input), json!([true, 0]), "{run}");
        }
    });
}

/// Where the address of one's own leads, and its tags.
const STATE: &str = "
[one] = ec2.describe_addresses(AllocationIds=[input['address']])['Addresses']
result = [one.get('InstanceId'), {t['Key']: t['Value'] for t in one.get('Tags', [])}.get('gangplank:bastion')]
";

/// The tag of another bastion, which no bastion bears out, stops no apply and costs no address.
#[test]
fn a_tag_of_another_bastion_costs_no_address() {
    on_both(|lab| {
        let address = lab.seed.address.clone();
        let bastion = Bastion { address: address.clone(), lifetime: Some("30d"), ..lab.bastion() };
        let input = |owner: &str| json!({"address": address, "tags": {"gangplank:bastion": owner}});
        let state = || lab.account.boto(STATE, input(""));
        lab.apply(&bastion);
        let before = state();
        for owner in ["other", "Warehouse"] {
            lab.account.boto(TAG, input(owner));
            let verify = lab.run("verify", &bastion, &["--no-network"]).0.expect(4);
            let failed = verify.stdout.split("control.ownership").nth(1).unwrap_or_else(|| panic!("{verify}"));
            assert!(failed.contains("delete-tags") && failed.contains(owner), "{verify}");
            let plan = lab.run("plan", &bastion, &["--detailed-exitcode"]).0.expect(2);
            assert!(plan.stdout.contains("- tag gangplank:bastion"), "{plan}");
            lab.run("drift", &bastion, &[]).0.expect(2);
            lab.apply(&bastion);
            assert_eq!(state(), json!([before[0], null]), "{owner}");
            lab.assert_settled(&bastion);
        }
        // One that leads nowhere, or that the other's group claims by a rule, is not taken.
        lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
        lab.account.boto(TAG, input("other"));
        let refused = lab.run("plan", &bastion, &[]).0.expect(3);
        heed(lab, &refused.stderr);
        lab.apply(&bastion);
        let other = Bastion { name: "other".to_owned(), address: "elastic".to_owned(), ..lab.bastion() };
        lab.apply(&other);
        lab.account.boto(
            "
[group] = ec2.describe_security_groups(Filters=[{'Name': 'group-name', 'Values': ['gangplank-other']}])['SecurityGroups']
[one] = ec2.describe_addresses(AllocationIds=[input['address']])['Addresses']
ec2.authorize_security_group_egress(GroupId=group['GroupId'], IpPermissions=[{'IpProtocol': 'tcp', 'FromPort': 443, 'ToPort': 443,
    'IpRanges': [{'CidrIp': one['PublicIp'] + '/32', 'Description': 'gangplank:other address ' + input['address']}]}])",
            input(""),
        );
        lab.account.boto(TAG, input("other"));
        let refused = lab.run("plan", &bastion, &[]).0.expect(3);
        assert!(refused.stderr.contains("another bastion's") && refused.stderr.contains("delete-tags"), "{refused}");
    });
}

/// The same tag on an address that gangplank allocated: it leads to the machine and its group names it, so it stays.
#[test]
fn a_tag_of_another_bastion_changes_no_allocated_address() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let address = "[one] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]\n";
        let ip = || lab.account.boto(&format!("{address}result = one['PublicIp']"), json!({}));
        let before = ip();
        let tag =
            "ec2.create_tags(Resources=[one['AllocationId']], Tags=[{'Key': 'gangplank:bastion', 'Value': 'other'}])";
        lab.account.boto(&format!("{address}{tag}"), json!({}));
        let verify = lab.run("verify", &bastion, &["--no-network"]).0.expect(4);
        assert!(verify.stdout.contains("tags it again"), "{verify}");
        lab.apply(&bastion);
        assert_eq!(ip(), before);
        lab.assert_settled(&bastion);
    });
}
