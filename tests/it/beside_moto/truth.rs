//! The same calls to moto and to the world: the same answers, codes and statuses, and in the end the same things.

use serde_json::{Value, json};

use super::play::{Step, compare, step};

pub fn rule(group: &str, cidr: &str) -> Value {
    let ranges = json!([{"CidrIp": cidr, "Description": "who"}]);
    json!({"GroupId": group, "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}]})
}

/// A machine in a group, as gangplank asks for it; its volume may outlive it.
pub fn launch(token: &str, group: &str, stays: bool) -> Value {
    json!({
        "ImageId": "$image", "InstanceType": "t4g.nano", "MinCount": 1, "MaxCount": 1, "ClientToken": token,
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3", "VolumeSize": 8, "Encrypted": true, "DeleteOnTermination": !stays}}],
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "$public_subnet", "Groups": [group], "AssociatePublicIpAddress": false, "DeleteOnTermination": true}],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "n", "Value": token}]},
            {"ResourceType": "volume", "Tags": [{"Key": "n", "Value": token}]},
        ],
    })
}

pub fn create(name: &str) -> Value {
    json!({"GroupName": name, "Description": name, "VpcId": "$vpc",
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": [{"Key": "n", "Value": name}]}]})
}

pub fn group(name: &str) -> Step {
    step("a group", "create_security_group", create(name)).saved(name, json!(["GroupId"]))
}

pub fn machine(alias: &str, group: &str, stays: bool) -> Step {
    let token = format!("{alias}-{group}-{stays}");
    step("a machine", "run_instances", launch(&token, group, stays)).saved(alias, json!(["Instances", 0, "InstanceId"]))
}

#[test]
fn a_bastion_comes_and_goes_as_with_moto() {
    let ids = json!({"InstanceIds": ["$i"]});
    let protect = |on: bool| json!({"InstanceId": "$i", "DisableApiTermination": {"Value": on}});
    let everything = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let peer = json!([{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": "$a", "Description": "d"}]}]);
    let database = json!({"GroupId": "$warehouse_group", "IpPermissions": peer});
    let ingress = |name: &str, arguments| step(name, "authorize_security_group_ingress", arguments);
    let no_egress =
        |name: &str| step(name, "revoke_security_group_egress", json!({"GroupId": "$a", "IpPermissions": everything}));
    let release = |name: &str| step(name, "release_address", json!({"AllocationId": "$address"}));
    let delete = |name: &str| step(name, "delete_security_group", json!({"GroupId": "$a"}));
    let steps = [
        group("a"),
        step("its twin", "create_security_group", create("a")),
        ingress("a rule", rule("$a", "198.51.100.7/32")),
        ingress("the rule again", rule("$a", "198.51.100.7/32")),
        no_egress("nothing out"),
        no_egress("nothing out again"),
        step("no such rule", "revoke_security_group_ingress", rule("$a", "198.51.100.8/32")),
        ingress("no such group", rule("sg-0123456789abcdef0", "198.51.100.8/32")),
        ingress("the database", database.clone()),
        machine("i", "$a", false),
        machine("i", "$a", false),
        step("an address", "associate_address", json!({"AllocationId": "$address", "InstanceId": "$i"})),
        release("a used address"),
        delete("a used group"),
        step("tags", "create_tags", json!({"Resources": ["$i", "$a"], "Tags": [{"Key": "k", "Value": "v"}]})),
        step("no tags", "delete_tags", json!({"Resources": ["$a"], "Tags": [{"Key": "k"}]})),
        step(
            "options",
            "modify_instance_metadata_options",
            json!({"InstanceId": "$i", "InstanceMetadataTags": "disabled"}),
        ),
        step("other groups", "modify_instance_attribute", json!({"InstanceId": "$i", "Groups": ["$orders_group"]})),
        step("the groups back", "modify_instance_attribute", json!({"InstanceId": "$i", "Groups": ["$a"]})),
        step(
            "its volume",
            "describe_volumes",
            json!({"Filters": [{"Name": "attachment.instance-id", "Values": ["$i"]}]}),
        )
        .saved("v", json!(["Volumes", 0, "VolumeId"])),
        step("a used volume", "delete_volume", json!({"VolumeId": "$v"})),
        step("protection", "modify_instance_attribute", protect(true)),
        step("a protected one ends", "terminate_instances", ids.clone()),
        step("no protection", "modify_instance_attribute", protect(false)),
        step("the end", "terminate_instances", ids.clone()),
        step("a volume that went with it", "delete_volume", json!({"VolumeId": "$v"})),
        release("a free address"),
        release("a gone address"),
        delete("a group that is named"),
        step("its name gone", "revoke_security_group_ingress", database),
        delete("a free group"),
        delete("a gone group"),
        step("a missing id", "describe_instances", json!({"InstanceIds": ["i-0123456789abcdef0"]})),
        machine("j", "$orders_group", true),
        step(
            "its volume",
            "describe_volumes",
            json!({"Filters": [{"Name": "attachment.instance-id", "Values": ["$j"]}]}),
        )
        .saved("w", json!(["Volumes", 0, "VolumeId"])),
        step("its end", "terminate_instances", json!({"InstanceIds": ["$j"]})),
        step("a volume that is left", "delete_volume", json!({"VolumeId": "$w"})),
        step("a gone volume", "delete_volume", json!({"VolumeId": "$w"})),
    ];
    let Some(compared) = compare(&steps, "a bastion's life") else { return };
    compared.unwrap_or_else(|differ| panic!("{differ}"));
}
