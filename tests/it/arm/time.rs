//! What the sandbox's Azure keeps, and how time passes in it.

use std::time::Duration;

use gangplank::sandbox::{arm::Pace, vm::Channel};
use serde_json::{Value, json};

use super::place::{MACHINE, Place, group, hub, located, net, value, vm};

fn state(place: &mut Place, id: &str) -> String {
    place.get(id)["properties"]["provisioningState"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_operation_ends_at_its_time_however_often_somebody_looks() {
    let mut place = Place::new();
    let id = net("publicIPAddresses/a");
    place.world.pace.public_address = Duration::from_secs(60);
    let reply = place.put(&id, &located(json!({})));
    let at = reply.header("Azure-AsyncOperation").expect("an address").replace("https://management.azure.com", "");
    for _ in 0..20 {
        assert_eq!(state(&mut place, &id), "Updating");
        assert_eq!(place.get(&at)["status"], "InProgress");
    }
    place.pass(60);
    assert_eq!(place.get(&at)["status"], "Succeeded");
    assert_eq!(state(&mut place, &id), "Succeeded");
}

#[test]
fn without_a_pace_everything_is_done_at_the_next_look() {
    let mut place = Place::new();
    place.world.pace = Pace::none();
    let id = net("publicIPAddresses/a");
    let made = value(&place.put(&id, &located(json!({}))));
    assert_eq!(made["properties"]["provisioningState"], "Updating");
    assert_eq!(state(&mut place, &id), "Succeeded");
}

#[test]
fn a_prompt_world_asks_nobody_to_wait() {
    let mut place = Place::new();
    let id = net("publicIPAddresses/a");
    assert_eq!(place.put(&id, &located(json!({}))).header("Retry-After"), Some("1"));
    place.world.prompt = true;
    assert_eq!(place.ask("DELETE", &group(""), &Value::Null).header("Retry-After"), None);
}

#[test]
fn a_read_changes_nothing_and_a_file_keeps_everything() {
    let mut place = Place::new();
    place.bastion(&json!([]));
    place.put(&net("publicIPAddresses/a"), &located(json!({})));
    let kept = |place: &Place| serde_json::to_value(&place.world).expect("plain data");
    let before = kept(&place);
    for target in [net("networkInterfaces"), vm(), hub("azureFirewalls/fw-hub"), group("/resources")] {
        place.get(&target);
    }
    place.world.machines(place.now + Duration::from_secs(3600));
    assert_eq!(kept(&place), before);

    let mut read = Place::new();
    read.world = serde_json::from_value(before).expect("what was written");
    read.pass(60);
    place.pass(60);
    for id in place.world.ids() {
        assert_eq!(read.world.resource(&id), place.world.resource(&id));
    }
    let list = net("publicIPAddresses");
    assert_eq!(read.get(&list), place.get(&list), "what was under way has ended in both");
    assert_eq!(state(&mut read, &net("publicIPAddresses/a")), "Succeeded");
}

#[test]
fn a_machine_is_told_with_what_it_was_given() {
    let mut place = Place::new();
    place.bastion(&json!([]));
    let machines = place.world.machines(place.now);
    let [machine] = machines.as_slice() else { panic!("{machines:?}") };
    assert_eq!(machine.id, vm().to_lowercase());
    assert_eq!((machine.document.as_slice(), machine.running), (b"#cloud-config".as_slice(), true));
    assert_eq!(machine.channel, Channel::UserData(Some(b"keys".to_vec())));
    assert_eq!(machine.address.to_string(), MACHINE);
    assert_eq!(machine.instance, place.get(&vm())["properties"]["vmId"]);

    let patch = json!({"properties": {"userData": "bmV3"}});
    assert_eq!(place.ask("PATCH", &vm(), &patch).status, 200);
    place.pass(10);
    let [machine] = &place.world.machines(place.now)[..] else { panic!("one") };
    assert_eq!(machine.channel, Channel::UserData(Some(b"new".to_vec())));
    let other = located(json!({"osProfile": {"customData": "b3RoZXI="}, "hardwareProfile": {"vmSize": "Standard_B1s"},
                               "networkProfile": {"networkInterfaces": [{"id": net("networkInterfaces/nic")}]}}));
    let refused = place.ask("PUT", &vm(), &other);
    assert_eq!((refused.status, value(&refused)["error"]["code"].as_str()), (409, Some("PropertyChangeNotAllowed")));
}

#[test]
fn a_machine_runs_when_it_is_made_and_stops_as_it_is_told() {
    let mut place = Place::new();
    place.bastion(&json!([]));
    let power = |place: &mut Place| {
        let all = place.get(&format!("{}?statusOnly=true", group("/providers/Microsoft.Compute/virtualMachines")));
        let view = all["value"][0]["properties"]["instanceView"].clone();
        view["statuses"][1]["displayStatus"].as_str().unwrap_or_default().to_owned()
    };
    let launched = |place: &Place| place.world.machines(place.now)[0].launched;
    assert_eq!(power(&mut place), "VM running");
    let first = launched(&place);
    place.pass(100);
    place.world.shut_down(&vm(), place.now);
    assert_eq!(power(&mut place), "VM stopped");
    for (verb, meanwhile, then) in [
        ("deallocate", "VM deallocating", "VM deallocated"),
        ("start", "VM starting", "VM running"),
        ("restart", "VM starting", "VM running"),
        ("powerOff", "VM stopping", "VM stopped"),
    ] {
        assert_eq!(place.ask("POST", &format!("{}/{verb}", vm()), &Value::Null).status, 202);
        assert_eq!(power(&mut place), meanwhile);
        place.pass(30);
        assert_eq!(power(&mut place), then);
    }
    assert_eq!(launched(&place), first + Duration::from_secs(100 + 3 * 30), "the last start");
}

#[test]
fn what_a_machine_prints_is_read_with_the_address_that_boot_diagnostics_give() {
    let mut place = Place::new();
    place.bastion(&json!([]));
    place.world.print(&vm(), "one\n", place.now);
    place.world.print(&vm().to_uppercase(), "two\n", place.now);
    let at = value(&place.ask("POST", &format!("{}/retrieveBootDiagnosticsData", vm()), &Value::Null));
    let at = at["serialConsoleLogBlobUri"].as_str().expect("an address").replace("https://management.azure.com", "");
    assert_eq!(place.ask("GET", &at, &Value::Null).body, b"one\ntwo\n");
    let unsigned = at.split('?').next().expect("a path").to_owned();
    assert_eq!(place.ask("GET", &unsigned, &Value::Null).status, 403);
    place.world.print(&vm(), &"ü".repeat(1 << 20), place.now);
    let kept = place.ask("GET", &at, &Value::Null).body;
    assert!(kept.len() <= 1 << 20 && std::str::from_utf8(&kept).is_ok());
}

#[test]
fn a_new_resource_is_in_the_index_later_than_in_its_own_list() {
    let mut place = Place::new();
    place.world.pace.index = Duration::from_secs(60);
    let listed = |place: &mut Place, target: &str| place.get(target)["value"].as_array().map_or(0, Vec::len);
    let before = listed(&mut place, &group("/resources"));
    place.make(&net("publicIPAddresses/a"), &located(json!({})));
    assert_eq!(listed(&mut place, &net("publicIPAddresses")), 1);
    assert_eq!(listed(&mut place, &group("/resources")), before);
    place.pass(60);
    assert_eq!(listed(&mut place, &group("/resources")), before + 1);
}

#[test]
fn an_auto_shutdown_is_kept_as_devtest_labs_keeps_it() {
    let mut place = Place::new();
    place.bastion(&json!([]));
    let id = group("/providers/Microsoft.DevTestLab/schedules/shutdown-computevm-vm");
    let body = located(json!({"status": "Enabled", "taskType": "ComputeVmShutdownTask", "timeZoneId": "UTC",
        "dailyRecurrence": {"time": "0330"}, "targetResourceId": vm()}));
    assert_eq!(place.ask("PUT", &id, &body).status, 201);
    assert_eq!(place.ask("PUT", &id, &body).status, 200);
    let shown = place.get(&id);
    assert_eq!(shown["properties"]["provisioningState"], "Succeeded");
    assert_eq!(shown["properties"]["dailyRecurrence"]["time"], "0330");
    assert!(shown["properties"]["uniqueIdentifier"].is_string() && shown["properties"]["createdDate"].is_string());
    let power = |place: &Place, hours: u64| {
        let machines = place.world.machines(place.now + Duration::from_secs(hours * 3600));
        machines.iter().map(|machine| machine.running).collect::<Vec<_>>()
    };
    assert_eq!((power(&place, 16), power(&place, 17)), (vec![true], vec![false]), "it is ten to eleven");
    let all = "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.DevTestLab/schedules";
    assert_eq!(place.get(all)["value"].as_array().map(Vec::len), Some(1));
    assert_eq!(place.ask("DELETE", &id, &Value::Null).status, 200);
    assert_eq!(place.ask("DELETE", &id, &Value::Null).status, 204);
}

#[test]
fn what_is_no_request_of_gangplanks_is_refused_in_words() {
    let mut place = Place::new();
    for (method, target, body) in [
        ("GET", group("/providers/Microsoft.Sql/servers"), Value::Null),
        ("PUT", net("loadBalancers/a"), located(json!({}))),
        ("PUT", net("publicIPAddresses/a"), json!([1])),
        ("PUT", net("publicIPAddresses/a"), json!("text")),
        ("PUT", net("networkInterfaces/a"), located(json!({"ipConfigurations": ["a", 1]}))),
        ("PATCH", net("publicIPAddresses/none"), json!({"tags": 1})),
        ("BREW", net("publicIPAddresses/a"), Value::Null),
        ("GET", "/".to_owned(), Value::Null),
        ("GET", "/console".to_owned(), Value::Null),
        ("DELETE", net("virtualNetworks"), Value::Null),
    ] {
        let reply = place.ask(method, &target, &body);
        assert!((400..500).contains(&reply.status), "{method} {target}: {reply:?}");
    }
    let strange = located(json!({"ipConfigurations": {"properties": []}, "natRuleCollections": [1, {"rules": 2}]}));
    place.ask("PUT", &hub("azureFirewalls/fw-old"), &strange);
    place.world.finish(place.now);
    place.get(&hub("azureFirewalls/fw-old"));
}
