//! What carries gangplank's tag on Azure and is not gangplank's: whoever may only tag makes nothing go, by `reap`, `destroy` or `apply`.
//! And how much may go at once, what a lock protects, and where `reap` looks.

use std::process::Command;

use gangplank::provider::azure::tags::{BASTION, EXPIRES};
use serde_json::{Value, json};

use super::PAST;
use crate::{
    arm::{
        company::{self as hand, NET, group, net, put, send},
        world::SUBSCRIPTION,
    },
    contract::{
        Calls, Cloud, Wish,
        azure::{Azure, HUB, PUBLIC},
    },
    support::program::{Run, Victim, run},
};

const COMPUTE: &str = "2024-07-01";
const LOOK: [&str; 3] = ["reap", "--subscription", SUBSCRIPTION];
const REAP: [&str; 6] = ["reap", "--subscription", SUBSCRIPTION, "--yes", "--settle", "0m"];

fn company<const EDGE: usize>() -> Azure<EDGE> {
    Azure::<EDGE>::company().expect("it is in this process")
}

/// What somebody with the role Tag Contributor may do.
fn tag<const EDGE: usize>(cloud: &Azure<EDGE>, id: &str, tags: &Value) {
    for (key, value) in tags.as_object().into_iter().flatten() {
        hand::tag(&mut cloud.world(), id, key, value.as_str());
    }
}

fn due(name: &str) -> Value {
    json!({BASTION: name, EXPIRES: PAST})
}

/// Makes `warehouse` and returns its plan's path.
fn apply<const EDGE: usize>(cloud: &Azure<EDGE>) -> String {
    let path = cloud.write(&Wish::new("warehouse"));
    let path = path.to_str().expect("a temporary folder's name").to_owned();
    cloud.execute(&["apply", &path, "--yes", "--no-verify"], &[]).0.expect(0);
    path
}

/// A machine of somebody's in a group, in the company's network.
fn machine<const EDGE: usize>(cloud: &Azure<EDGE>, of: &str, name: &str, tags: &Value) -> String {
    let mut world = cloud.world();
    let subnet = net("rg-shared", "virtualNetworks/vnet-data/subnets/snet-a");
    let interface = net(of, &format!("networkInterfaces/{name}"));
    let configuration = json!([{"name": "one", "properties": {"subnet": {"id": subnet}}}]);
    let plain = json!({"location": "westeurope", "properties": {"ipConfigurations": configuration}});
    put(&mut world, &interface, NET, &plain);
    let id = format!("{}/providers/Microsoft.Compute/virtualMachines/{name}", group(of));
    let image = json!({"publisher": "Debian", "offer": "debian-13", "sku": "13-gen2", "version": "latest"});
    let body = json!({"location": "westeurope", "tags": tags, "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {"imageReference": image, "osDisk": {"createOption": "FromImage"}},
        "osProfile": {"computerName": "theirs", "adminUsername": "somebody", "adminPassword": "Not-4-secret!"},
        "networkProfile": {"networkInterfaces": [{"id": interface}]}}});
    put(&mut world, &id, COMPUTE, &body);
    id
}

fn is_there<const EDGE: usize>(cloud: &Azure<EDGE>, id: &str) -> bool {
    cloud.world().resource(id).is_some()
}

fn json_of(run: &Run) -> Value {
    let first = run.stdout.lines().next().unwrap_or_default();
    serde_json::from_str(first).unwrap_or_else(|_| panic!("no JSON\n{run}"))
}

#[test]
fn a_tag_does_not_make_the_companys_firewall_gangplanks() {
    let cloud = company::<HUB>();
    let firewall = net("rg-hub", "azureFirewalls/fw-hub");
    let all = [
        firewall.clone(),
        net("rg-hub", "virtualNetworks/vnet-hub"),
        net("rg-hub", "firewallPolicies/fwp-hub"),
        group("rg-hub"),
    ];
    for id in &all {
        tag(&cloud, id, &due("oldproject"));
    }
    let (told, calls) = cloud.execute(&REAP, &[]);
    let told = told.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
    assert!(told.stdout.contains("firewall fw-hub") && told.stdout.contains("oldproject"), "{told}");
    assert!(told.stdout.contains("gangplank-oldproject"), "{told}");
    assert!(all.iter().all(|id| is_there(&cloud, id)));

    let (told, _) = cloud.execute(&[&LOOK[..], &["--output", "json"]].concat(), &[]);
    let told = json_of(&told.expect(2));
    assert_eq!(told["bastions"], json!([]), "{told:#}");
    let strangers = told["strangers"].as_array().expect("strangers");
    let hub = strangers.iter().find(|s| s["name"] == "fw-hub").unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!(hub["tagged"], "oldproject");
    assert_eq!(strangers.len(), all.len(), "{told:#}");

    // The tag of a bastion that stands: it is told, and everything works as before.
    tag(&cloud, &firewall, &json!({BASTION: "warehouse"}));
    let path = apply(&cloud);
    let (told, _) = cloud.execute(&["plan", &path, "--detailed-exitcode"], &[]);
    assert!(told.expect(0).stdout.contains("fw-hub"));
    let told = cloud.execute(&["destroy", &path, "--yes"], &[]).0.expect(2);
    assert!(told.stdout.contains("fw-hub"), "{told}");
    assert!(is_there(&cloud, &firewall));
}

/// A policy of the subscription gives every resource the tags of its group ("Assign policy definitions for tag compliance": inherit a tag
/// from the resource group), and somebody puts a machine into a bastion's.
#[test]
fn what_inherits_the_tag_of_the_bastions_group_survives_it() {
    let cloud = company::<PUBLIC>();
    let path = apply(&cloud);
    let inherited = json!({BASTION: "warehouse"});
    let theirs = machine(&cloud, "rg-warehouse", "payments-db", &inherited);
    let look = ["verify", &path, "--no-network", "--output", "json"];
    let told = cloud.execute(&look, &[]).0.expect(4).json();
    let checks = told["bastions"][0]["checks"].as_array().expect("checks");
    let verdict = |id: &str| {
        let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id}: {told:#}"));
        (check["verdict"].as_str().expect("a verdict").to_owned(), check["cause"].to_string())
    };
    let (ownership, cause) = verdict("control.ownership");
    assert!(ownership == "fail" && cause.contains("payments-db"), "{told:#}");
    for id in ["control.instance", "control.image", "control.document"] {
        assert_eq!(verdict(id).0, "pass", "{id}: {told:#}");
    }
    let told = cloud.execute(&["drift", &path], &[]).0.expect(2);
    assert!(told.stdout.contains("payments-db"), "{told}");

    // The group is the bastion's own, and stays with what is in it.
    let told = cloud.execute(&["destroy", &path, "--yes"], &[]).0.expect(1);
    assert!(told.stdout.contains("payments-db"), "{told}");
    assert!(is_there(&cloud, &theirs) && is_there(&cloud, &group("rg-warehouse")));
    assert!(!is_there(&cloud, &net("rg-warehouse", "networkSecurityGroups/gangplank-warehouse")));
    // Who made it, how big and how old it is, for whoever has to look at it.
    let told = json_of(&cloud.execute(&[&LOOK[..], &["--output", "json"]].concat(), &[]).0.expect(2));
    let strangers = told["strangers"].as_array().expect("strangers");
    let machine = strangers.iter().find(|s| s["name"] == "payments-db").unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!(machine["machine"]["machine_type"], "Standard_B1s", "{told:#}");
    assert!(machine["machine"]["launched"].is_string() && machine["machine"]["protected"] == false, "{told:#}");
}

/// One changed tag does not make a bastion that serves one "without a machine".
fn a_machine_that_lost_its_tag<const EDGE: usize>() {
    for owner in [None, Some("other")] {
        let cloud = company::<EDGE>();
        apply(&cloud);
        let ids = cloud.world().ids();
        let machine = ids.iter().find(|id| id.ends_with("/virtualmachines/gangplank-warehouse")).expect("its machine");
        hand::tag(&mut cloud.world(), machine, BASTION, owner);
        let (told, calls) = cloud.execute(&REAP, &[]);
        let told = told.expect(2);
        assert_eq!(calls.writes(), 0, "{owner:?} {calls}\n{told}");
        assert!(told.stdout.contains("left alone, look at it"), "{told}");
        assert!(told.stdout.contains("virtual machine gangplank-warehouse is called as its own"), "{told}");
    }
}

#[test]
fn a_machine_that_lost_its_tag_is_a_doubt() {
    a_machine_that_lost_its_tag::<PUBLIC>();
    a_machine_that_lost_its_tag::<HUB>();
}

/// A machine of the bastion's name in another resource group, without its tag: `status` is in doubt, so `destroy`, which removes the rest,
/// does not say that nothing is left; nor does `reap` with the plan.
#[test]
fn a_machine_of_the_bastions_name_elsewhere_is_a_doubt() {
    let cloud = company::<PUBLIC>();
    let path = apply(&cloud);
    let theirs = machine(&cloud, "rg-shared", "gangplank-warehouse", &json!({}));
    cloud.execute(&["status", &path], &[]).0.expect(2);
    let told = cloud.execute(&["destroy", &path, "--yes"], &[]).0.expect(2);
    assert!(!told.stdout.contains("nothing is left"), "{told}");
    assert!(told.stderr.contains(&theirs) && told.stderr.contains("az vm delete --ids"), "{told}");
    let told = cloud.execute(&["destroy", &path, "--yes", "--output", "json"], &[]).0.expect(2);
    assert!(told.stdout.contains("\"event\":\"in-doubt\"") && !told.stdout.contains("\"gone\""), "{told}");
    let told = cloud.execute(&["reap", &path, "--yes", "--settle", "0m"], &[]).0.expect(2);
    assert!(
        told.stdout.contains("virtual machine gangplank-warehouse") && told.stdout.contains("look at it"),
        "{told}"
    );
    assert!(is_there(&cloud, &theirs));
}

/// A machine of others with the bastion's network security group: `plan` and `reap` name it, and a check fails on it.
#[test]
fn a_machine_of_others_with_the_bastions_security_group_is_told() {
    let cloud = company::<PUBLIC>();
    let path = apply(&cloud);
    machine(&cloud, "rg-shared", "theirs", &json!({}));
    let interface = net("rg-shared", "networkInterfaces/theirs");
    let security = net("rg-warehouse", "networkSecurityGroups/gangplank-warehouse");
    let subnet = net("rg-shared", "virtualNetworks/vnet-data/subnets/snet-a");
    let configuration = json!([{"name": "one", "properties": {"subnet": {"id": subnet}}}]);
    let body = json!({"location": "westeurope", "properties": {
        "ipConfigurations": configuration, "networkSecurityGroup": {"id": security}}});
    put(&mut cloud.world(), &interface, NET, &body);
    let told = cloud.execute(&["plan", &path, "--detailed-exitcode"], &[]).0.expect(0);
    assert!(
        told.stdout.contains("⚠ virtual machine theirs") && told.stdout.contains("az network nic update"),
        "{told}"
    );
    let told = cloud.execute(&["verify", &path, "--no-network"], &[]).0.expect(4);
    let failed = told.stdout.split("control.nothing-else").nth(1).unwrap_or_else(|| panic!("{told}"));
    assert!(failed.contains("virtual machine theirs"), "{told}");
    let told = cloud.execute(&REAP, &[]).0.expect(0);
    assert!(told.stdout.contains("virtual machine theirs"), "{told}");
}

/// Bastions that are nothing but what one is left with.
fn orphans(cloud: &Azure<PUBLIC>, count: usize) {
    for n in 0..count {
        let body = json!({"location": "westeurope", "tags": {BASTION: format!("left-{n}")}});
        let id = net("rg-shared", &format!("networkSecurityGroups/gangplank-left-{n}"));
        put(&mut cloud.world(), &id, NET, &body);
    }
}

#[test]
fn more_than_at_most_is_refused_where_nobody_is_asked() {
    let cloud = company::<PUBLIC>();
    orphans(&cloud, 6);
    let refused = |options: &[&str]| -> Calls {
        let (told, calls) = cloud.execute(&[&REAP[..], options].concat(), &[]);
        let told = told.expect(2);
        assert!(told.stdout.contains("6 to destroy") && told.stdout.contains("left-5"), "{told}");
        assert!(told.stderr.contains("--at-most 6"), "{told}");
        calls
    };
    for options in [&[][..], &["--at-most", "0"]] {
        assert_eq!(refused(options).writes(), 0, "{options:?}");
    }
    // Those that are named are fewer.
    cloud.execute(&[&REAP[..], &["--only", "left-0"]].concat(), &[]).0.expect(0);
    let (told, calls) = cloud.execute(&[&REAP[..], &["--at-most", "4"]].concat(), &[]);
    assert!(told.expect(2).stderr.contains("--at-most 5"));
    assert_eq!(calls.writes(), 0);
    cloud.execute(&[&REAP[..], &["--at-most", "5"]].concat(), &[]).0.expect(0);
}

#[test]
fn a_lock_keeps_all_of_a_bastion() {
    let cloud = company::<PUBLIC>();
    apply(&cloud);
    let machine = format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group("rg-warehouse"));
    let ids = cloud.world().ids();
    for id in ids {
        let mine = id.contains("gangplank-warehouse") || id.ends_with("/resourcegroups/rg-warehouse");
        if mine && !id.contains("/subnets/") && !id.contains("/securityrules/") {
            tag(&cloud, &id, &json!({EXPIRES: PAST}));
        }
    }
    let lock = format!("{machine}/providers/Microsoft.Authorization/locks/keep");
    let body = json!({"properties": {"level": "CanNotDelete"}});
    send(&mut cloud.world(), "PUT", &lock, "2016-09-01", Some(&body));
    let (told, calls) = cloud.execute(&REAP, &[]);
    let told = told.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
    assert!(told.stdout.contains("the lock keep"), "{told}");
    assert!(is_there(&cloud, &machine));
    send(&mut cloud.world(), "DELETE", &lock, "2016-09-01", None);
    cloud.execute(&REAP, &[]).0.expect(0);
    assert!(!is_there(&cloud, &machine) && !is_there(&cloud, &group("rg-warehouse")));
}

/// `--all` finds the subscriptions by itself; an AWS account that nobody has credentials for is told, and hides nothing.
#[test]
fn all_is_what_the_credentials_reach() {
    let cloud = company::<PUBLIC>();
    orphans(&cloud, 1);
    let home = cloud.home();
    let reap = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(&home).env_clear().env("HOME", &home).env("TZ", "UTC");
        command.env("AZURE_RESOURCE_MANAGER_ENDPOINT", cloud.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
        run(command.arg("reap").args(arguments), &Victim::default())
    };
    let told = reap(&["--all"]).expect(1);
    assert!(told.stdout.contains("left-0") && told.stdout.contains("not read:"), "{told}");
    assert!(!told.stdout.contains("Not looked at"), "{told}");

    let told = reap(&["--subscription", SUBSCRIPTION]).expect(2);
    assert!(told.stdout.contains("Not looked at: AWS"), "{told}");
    // A plan says where to look, too.
    let path = cloud.write(&Wish::new("warehouse"));
    let told = reap(&[path.to_str().expect("a temporary folder's name")]).expect(2);
    assert!(told.stdout.contains("left-0") && told.stdout.contains("Not looked at: AWS"), "{told}");
}
