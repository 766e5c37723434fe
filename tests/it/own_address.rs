//! An address that the plan brings stays, whoever has tagged it: no verb releases it, on moto and on the sandbox's EC2.

use serde_json::json;

use crate::{ownership::on_both, support::Bastion};

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
