//! What stands in a company's clouds beside the bastions and must never be touched: things that are called as gangplank's are and
//! carry no tag, the tag with a value that is nobody's name, and a bastion of somebody's whose time has not come.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use gangplank::{
    sandbox::{call::Cloud, cloud::State, ec2},
    tags::{BASTION, EXPIRES},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::hand::{arm, collection, ec2, net, region, rewrite, rule_group};

const FAR: &str = "2999-01-01T00:00:00Z";
const PAST: &str = "2020-02-29T23:59:59Z";

type Look = &'static [(&'static str, &'static str)];

/// Tags by whose they look like.
const LOOKS: [Look; 4] = [
    &[("Name", "gangplank-warehouse"), ("gangplank-bastion", "warehouse"), (EXPIRES, PAST)],
    &[("Name", "gangplank-lookalike"), (BASTION, "Somebody Else's"), (EXPIRES, PAST)],
    &[("Name", "gangplank-reports"), (BASTION, "reports"), (EXPIRES, FAR)],
    &[("Name", "gangplank-odd"), (BASTION, "odd"), (EXPIRES, "next week")],
];

type Companies = BTreeMap<([bool; 2], usize), State>;

/// How many companies there are: the first lookalike is in each of them, and one of the others.
pub const COMPANIES: usize = LOOKS.len() - 1;

/// One of them, with lookalikes in these clouds.
pub fn company(clouds: &[Cloud], which: usize) -> State {
    static MADE: LazyLock<Mutex<Companies>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let [aws, azure] = [Cloud::Aws, Cloud::Azure].map(|cloud| clouds.contains(&cloud));
    let company = made.entry(([aws, azure], which)).or_insert_with(|| {
        let mut worlds = State::company();
        // Room for the bastions' beside them.
        worlds.ec2.quotas.addresses = 20;
        let looks = [LOOKS[0], LOOKS[1 + which]];
        if aws {
            on_aws(&mut worlds, looks);
        }
        if azure {
            on_azure(&mut worlds, looks);
        }
        worlds
    });
    company.clone()
}

/// What a reaper that does not look at tags would take for its own: a name says so.
pub fn address(worlds: &State) -> Option<String> {
    let looks = |tags: &ec2::model::Tags| tags.get("Name").is_some_and(|name| name.starts_with("gangplank-"));
    let all = &region(worlds)?.addresses;
    all.iter().find(|(_, a)| looks(&a.tags) && !a.tags.contains_key(BASTION)).map(|(id, _)| id.clone())
}

fn on_aws(worlds: &mut State, looks: [Look; 2]) {
    let now = Timestamp::UNIX_EPOCH;
    let vpc = worlds.ec2.regions["us-east-1"].groups[ec2::DATABASE_GROUP].vpc.clone();
    let images = ec2(
        worlds,
        now,
        &[("Action", "DescribeImages"), ("Filter.1.Name", "name"), ("Filter.1.Value.1", "debian-13-arm64-*")],
    );
    let images = String::from_utf8(images.body).expect("text");
    let image = images.split("<imageId>").nth(1).and_then(|rest| rest.split('<').next()).expect("an image").to_owned();
    for (number, tags) in looks.iter().enumerate() {
        let mut make = |kind: &str, more: &[(&str, &str)]| {
            let mut fields: Vec<(String, String)> =
                more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            fields.push(("TagSpecification.1.ResourceType".to_owned(), kind.to_owned()));
            for (at, (key, value)) in tags.iter().enumerate() {
                fields.push((format!("TagSpecification.1.Tag.{}.Key", at + 1), (*key).to_owned()));
                fields.push((format!("TagSpecification.1.Tag.{}.Value", at + 1), (*value).to_owned()));
            }
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let reply = ec2(worlds, now, &fields);
            assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        };
        let name = format!("gangplank-look-{number}");
        let group = [("Action", "CreateSecurityGroup"), ("GroupName", name.as_str()), ("GroupDescription", "theirs")];
        make("security-group", &[&group[..], &[("VpcId", vpc.as_str())]].concat());
        make("elastic-ip", &[("Action", "AllocateAddress"), ("Domain", "vpc")]);
        let machine = [("Action", "RunInstances"), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t4g.nano")];
        make("instance", &[&machine[..], &[("ImageId", image.as_str()), ("SubnetId", ec2::SUBNET)]].concat());
    }
}

fn on_azure(worlds: &mut State, looks: [Look; 2]) {
    let now = Timestamp::UNIX_EPOCH;
    let put = |worlds: &mut State, id: &str, body: &Value| {
        let reply = arm(worlds, now, "PUT", id, Some(body));
        assert!(reply.status < 300, "{id}: {}", String::from_utf8_lossy(&reply.body));
        worlds.arm.finish(now);
    };
    for (number, tags) in looks.iter().enumerate() {
        let tags: Value =
            tags.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into();
        let name = if number == 0 { "gangplank-warehouse".to_owned() } else { format!("gangplank-look-{number}") };
        let plain = json!({"location": "westeurope", "tags": tags});
        put(worlds, &net("rg-hub", &format!("networkSecurityGroups/{name}")), &plain);
        let mut address = plain.clone();
        address["sku"] = json!({"name": "Standard"});
        address["properties"] = json!({"publicIPAllocationMethod": "Static"});
        put(worlds, &net("rg-hub", &format!("publicIPAddresses/{name}")), &address);
        let mut interface = plain.clone();
        let subnet = net("rg-shared", "virtualNetworks/vnet-data/subnets/snet-a");
        interface["properties"] =
            json!({"ipConfigurations": [{"name": "one", "properties": {"subnet": {"id": subnet}}}]});
        let id = net("rg-hub", &format!("networkInterfaces/{name}"));
        put(worlds, &id, &interface);
        let mut machine = plain.clone();
        machine["properties"] = json!({"hardwareProfile": {"vmSize": "Standard_B1s"},
            "storageProfile": {"imageReference": {"publisher": "Debian", "offer": "debian-13", "sku": "13-gen2", "version": "latest"},
                "osDisk": {"createOption": "FromImage"}},
            "osProfile": {"computerName": "theirs", "adminUsername": "somebody", "adminPassword": "Not-4-secret!"},
            "networkProfile": {"networkInterfaces": [{"id": id}]}});
        put(worlds, &id.replace("Microsoft.Network/networkInterfaces", "Microsoft.Compute/virtualMachines"), &machine);
    }
    let rules = net("rg-hub", "firewallPolicies/fwp-hub/ruleCollectionGroups/gangplank-lookalike");
    put(worlds, &rules, &rule_group(3000));
    let status = rewrite(worlds, now, &net("rg-hub", "azureFirewalls/fw-old"), |firewall| {
        let all = firewall.pointer_mut("/properties/natRuleCollections")?.as_array_mut()?;
        all.push(collection("gangplank-lookalike", 3000));
        Some(())
    });
    assert!(status.is_some_and(|status| status < 300), "{status:?}");
    worlds.arm.finish(now);
}
