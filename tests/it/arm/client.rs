//! The client against the world: what it repeats, what it waits for, and what it says.

use std::{cell::RefCell, time::Duration};

use gangplank::{
    changeset::StepId,
    cloud_error::{CloudError, ErrorKind, Residue},
    event::{Event, Watcher},
    provider::{
        Progress,
        azure::{
            arm::{Arm, Tokens},
            request::{Condition, Request},
            retry::Repeat,
        },
    },
    sandbox::arm::Failure,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    direct::Direct,
    fault::{Fault, Which},
    http::Server,
    schema,
    world::{SUBSCRIPTION, World},
};
use crate::support::Moment;

const NET: &str = "2024-03-01";
const COMPUTE: &str = "2024-07-01";

#[derive(Default)]
struct Told(RefCell<Vec<String>>);

impl Watcher for Told {
    fn event(&self, event: Event) {
        match event {
            Event::StepWaiting { for_what, .. } => self.0.borrow_mut().push(format!("waiting for {for_what}")),
            Event::StepRetrying { operation, code, attempt, delay, .. } => {
                self.0.borrow_mut().push(format!("{operation} {code} {attempt}, again after {} s", delay.as_secs()));
            }
            _ => {}
        }
    }
}

/// A client, its world, and what it says.
struct Desk {
    direct: Direct,
    arm: Arm,
    told: Told,
    step: StepId,
}

impl Desk {
    fn new() -> Self {
        let direct = Direct::new(World::default());
        Self { arm: direct.arm(), direct, told: Told::default(), step: StepId("warehouse/firewall".to_owned()) }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.direct.world()
    }

    fn progress(&self) -> Progress<'_> {
        Progress { step: &self.step, watcher: &self.told }
    }

    async fn write(&self, request: &Request) -> Result<Option<Value>, CloudError> {
        self.arm.write(request, Repeat::SAFE, &self.progress()).await
    }

    #[track_caller]
    fn told(&self) -> String {
        self.told.0.borrow().join("\n")
    }

    /// A network with a firewall's subnet, an address, a policy and the firewall.
    async fn firewall(&self) -> Value {
        for request in [group(), network(), subnet("AzureFirewallSubnet", "10.0.0.0/26"), address("pip"), policy()] {
            self.write(&request).await.expect("made");
        }
        self.write(&firewall()).await.expect("made").expect("there")
    }
}

fn id(rest: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-a{rest}")
}

fn net(rest: &str) -> String {
    id(&format!("/providers/Microsoft.Network/{rest}"))
}

fn group() -> Request {
    Request::put(id(""), "2021-04-01", json!({"location": "westeurope", "tags": {"gangplank": "warehouse"}}))
}

fn network() -> Request {
    let body = json!({"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}});
    Request::put(net("virtualNetworks/vnet"), NET, body)
}

fn subnet(name: &str, prefix: &str) -> Request {
    Request::put(
        net(&format!("virtualNetworks/vnet/subnets/{name}")),
        NET,
        json!({"properties": {"addressPrefix": prefix}}),
    )
}

fn address(name: &str) -> Request {
    let body = json!({"location": "westeurope", "sku": {"name": "Standard"}, "tags": {"gangplank": "warehouse"},
                      "properties": {"publicIPAllocationMethod": "Static"}});
    Request::put(net(&format!("publicIPAddresses/{name}")), NET, body)
}

fn policy() -> Request {
    let body = json!({"location": "westeurope", "properties": {"sku": {"tier": "Standard"}}});
    Request::put(net("firewallPolicies/fwp"), NET, body)
}

fn firewall() -> Request {
    let body = json!({"location": "westeurope", "properties": {
        "sku": {"name": "AZFW_VNet", "tier": "Standard"},
        "firewallPolicy": {"id": net("firewallPolicies/fwp")},
        "ipConfigurations": [{"name": "edge", "properties": {
            "subnet": {"id": net("virtualNetworks/vnet/subnets/AzureFirewallSubnet")},
            "publicIPAddress": {"id": net("publicIPAddresses/pip")}}}]}});
    Request::put(net("azureFirewalls/fw"), NET, body)
}

fn rules(sources: &[&str]) -> Request {
    let body = json!({"properties": {"priority": 200, "ruleCollections": [{
        "ruleCollectionType": "FirewallPolicyNatRuleCollection", "name": "ssh", "priority": 100,
        "action": {"type": "DNAT"},
        "rules": [{"ruleType": "NatRule", "name": "secoda", "ipProtocols": ["TCP"], "sourceAddresses": sources,
                   "destinationAddresses": ["20.61.0.9"], "destinationPorts": ["22"],
                   "translatedAddress": "10.0.1.4", "translatedPort": "22"}]}]}});
    Request::put(net("firewallPolicies/fwp/ruleCollectionGroups/gangplank-warehouse"), NET, body)
}

fn interface(subnet: &str) -> Request {
    let body = json!({"location": "westeurope", "properties": {"ipConfigurations": [{"name": "main", "properties": {
        "subnet": {"id": net(&format!("virtualNetworks/vnet/subnets/{subnet}"))}}}]}});
    Request::put(net("networkInterfaces/nic"), NET, body)
}

fn machine() -> Request {
    let body = json!({"location": "westeurope", "tags": {"gangplank": "warehouse"}, "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {
            "imageReference": {"publisher": "Debian", "offer": "debian-13", "sku": "13-gen2", "version": "latest"},
            "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"}},
        "osProfile": {"computerName": "warehouse", "adminUsername": "nobody", "customData": "Y29uZmlk"},
        "userData": "a2V5cw==",
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": true}},
        "networkProfile": {"networkInterfaces": [{"id": net("networkInterfaces/nic"), "properties": {"deleteOption": "Delete"}}]}}});
    Request::put(id("/providers/Microsoft.Compute/virtualMachines/vm"), COMPUTE, body)
}

#[tokio::test(start_paused = true)]
async fn a_firewall_is_awaited_and_what_is_awaited_is_said() {
    let desk = Desk::new();
    let made = desk.firewall().await;
    assert_eq!(made["properties"]["provisioningState"], "Succeeded");
    assert_eq!(made["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"], "10.0.0.4");
    insta::assert_snapshot!(desk.told(), @r"
    waiting for Microsoft.Network/virtualNetworks/vnet to be ready (Azure says Updating)
    waiting for Microsoft.Network/virtualNetworks/vnet/subnets/AzureFirewallSubnet to be ready (Azure says Updating)
    waiting for Microsoft.Network/publicIPAddresses/pip to be ready (Azure says Updating)
    waiting for Microsoft.Network/firewallPolicies/fwp to be ready (Azure says Updating, usually 1 to 5 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says Updating, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 1 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 2 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 3 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 4 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 5 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 6 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 7 min so far, usually about 10 minutes)
    waiting for Microsoft.Network/azureFirewalls/fw to be ready (Azure says InProgress, 8 min so far, usually about 10 minutes)
    ");
    assert_eq!(desk.world().mistakes, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_killed_while_it_waited_is_continued_by_looking() {
    let desk = Desk::new();
    desk.firewall().await;
    // Somebody began, and is gone.
    desk.arm.call(&rules(&["192.0.2.1"]), Repeat::SAFE, &desk.progress()).await.expect("accepted");
    let get = Request::get(rules(&[]).path, NET);
    let before = desk.arm.get(&get, &desk.progress()).await.expect("read").expect("there");
    assert_eq!(before["properties"]["provisioningState"], "Updating");
    let settled = desk.arm.settle(&get, &desk.progress()).await.expect("awaited").expect("there");
    assert_eq!(settled["properties"]["provisioningState"], "Succeeded");
    assert_eq!(settled["properties"]["ruleCollections"][0]["action"]["type"], "Dnat", "Azure's spelling");
    let nothing = Request::get(net("azureFirewalls/other"), NET);
    assert_eq!(desk.arm.settle(&nothing, &desk.progress()).await.expect("read"), None);
}

#[tokio::test(start_paused = true)]
async fn a_firewall_whose_policy_changes_is_busy_and_that_is_waited_out() {
    let desk = Desk::new();
    desk.firewall().await;
    desk.arm.call(&rules(&["192.0.2.1"]), Repeat::SAFE, &desk.progress()).await.expect("accepted");
    desk.told.0.borrow_mut().clear();
    desk.write(&firewall()).await.expect("in the end");
    assert!(
        desk.told().contains("PUT Microsoft.Network/azureFirewalls/fw AnotherOperationInProgress 1"),
        "{}",
        desk.told()
    );
}

#[tokio::test(start_paused = true)]
async fn throttling_is_waited_out_for_as_long_as_azure_says() {
    let desk = Desk::new();
    desk.world().fault(Which::Any, 0..2, Fault::throttled("37"));
    let started = Instant::now();
    desk.write(&group()).await.expect("in the end");
    assert_eq!(started.elapsed().as_secs(), 74);
    insta::assert_snapshot!(desk.told(), @r"
    PUT resourceGroups/rg-a SubscriptionRequestsThrottled 1, again after 37 s
    PUT resourceGroups/rg-a SubscriptionRequestsThrottled 2, again after 37 s
    ");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_heal_is_said_with_everything_that_helps() {
    let desk = Desk::new();
    desk.world().fault(Which::Any, 0..1, Fault::answer(403, "AuthorizationFailed"));
    let error = desk.write(&network()).await.expect_err("forbidden");
    insta::assert_snapshot!(error, @r"
    PUT Microsoft.Network/virtualNetworks/vnet failed: Said by a test.
      code: AuthorizationFailed
      request id: request-0
      exists now: this call changed nothing
      to do: give this identity the action that the message names (docs/azure.md lists all of them), wait a few minutes, then run the command again
    ");
    desk.world().fault(Which::Any, 0..99, Fault::throttled("3600"));
    let error = desk.write(&network()).await.expect_err("an hour is too long");
    assert_eq!(error.kind, ErrorKind::Throttled);
    assert!(error.message.ends_with("(Azure asks to come back after 3600 s)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_a_lost_connection_does_not_end_a_wait() {
    let desk = Desk::new();
    desk.world().fault(Which::Writes, 0..1, Fault::Drop(Moment::After));
    desk.write(&group()).await.expect("repeated");
    desk.write(&network()).await.expect("made");
    let polls = Which::To("GET", "/operations/");
    desk.world().fault(polls, 0..3, Fault::Drop(Moment::Before));
    desk.world().fault(Which::To("GET", "/operations/"), 3..5, Fault::answer(503, "ServerTimeout"));
    let made = desk.write(&address("pip")).await.expect("awaited").expect("there");
    assert_eq!(made["properties"]["provisioningState"], "Succeeded");
    assert!(made["properties"]["ipAddress"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_repeatable_is_sent_once() {
    let desk = Desk::new();
    desk.world().fault(Which::Any, 0..1, Fault::Drop(Moment::Before));
    let restart = Request::post(id("/providers/Microsoft.Compute/virtualMachines/vm/restart"), COMPUTE, None);
    let error = desk.write(&restart).await.expect_err("lost");
    assert_eq!((error.kind, error.residue.clone()), (ErrorKind::Unreachable, Residue::Unknown));
    assert_eq!(desk.world().calls.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_fails_keeps_azures_reason_and_says_what_may_be_there() {
    let desk = Desk::new();
    for request in [group(), network(), subnet("bastion", "10.0.1.0/27"), interface("bastion")] {
        desk.write(&request).await.expect("made");
    }
    desk.world().failing.push(Failure {
        on: "virtualMachines/vm".to_owned(),
        code: "AllocationFailed".to_owned(),
        message: "Allocation failed. Try later.".to_owned(),
    });
    let error = desk.write(&machine()).await.expect_err("no room");
    insta::assert_snapshot!(error, @r"
    PUT Microsoft.Compute/virtualMachines/vm failed: Allocation failed. Try later.
      code: AllocationFailed
      request id: request-13
      exists now: perhaps a part of it; the next run looks before it acts
      to do: the location has none of this size left: try later, or change `azure.size`
    ");
    let get = Request::get(machine().path, COMPUTE);
    let left = desk.arm.settle(&get, &desk.progress()).await.expect("read").expect("there");
    assert_eq!(left["properties"]["provisioningState"], "Failed");
    desk.write(&machine()).await.expect("the next attempt");
}

#[tokio::test(start_paused = true)]
async fn what_was_just_made_may_be_missing_for_a_moment() {
    let desk = Desk::new();
    desk.write(&group()).await.expect("made");
    desk.world().fault(Which::To("GET", "/virtualNetworks/vnet"), 0..2, Fault::answer(404, "ResourceNotFound"));
    assert!(desk.write(&network()).await.expect("made").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_is_given_up_in_time() {
    let desk = Desk::new();
    desk.write(&group()).await.expect("made");
    desk.world().by_hand = true;
    let started = Instant::now();
    let error = desk.write(&network()).await.expect_err("endless");
    assert!(started.elapsed() <= Duration::from_secs(600), "{:?}", started.elapsed());
    insta::assert_snapshot!(error, @r"
    PUT Microsoft.Network/virtualNetworks/vnet failed: not finished after 10 minutes; Azure last said InProgress
      exists now: perhaps a part of it; the next run looks before it acts
      to do: see the resource in the portal; run the command again, it continues to wait
    ");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_change_between_look_and_write_is_noticed() {
    let desk = Desk::new();
    desk.firewall().await;
    let made = desk.write(&rules(&["192.0.2.1"])).await.expect("made").expect("there");
    let etag = made["etag"].as_str().expect("an etag").to_owned();
    desk.write(&rules(&["192.0.2.2"])).await.expect("changed by somebody");
    let error = desk.write(&rules(&["192.0.2.3"]).only_if(Condition::Unchanged(etag))).await.expect_err("moved");
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Conflict, Some("PreconditionFailed")));
    let error = desk.write(&rules(&[]).only_if(Condition::Absent)).await.expect_err("there");
    assert_eq!(error.code.as_deref(), Some("PreconditionFailed"));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_waited_for_only_where_its_user_is_going() {
    let desk = Desk::new();
    desk.firewall().await;
    let remove = Request::delete(address("pip").path, NET);
    let error = desk.write(&remove).await.expect_err("in use");
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Conflict, Some("PublicIPAddressCannotBeDeleted")));
    let gone = desk.write(&Request::delete(firewall().path, NET)).await.expect("removed");
    assert_eq!(gone, None);
    assert_eq!(desk.write(&remove).await.expect("free now"), None);
    assert_eq!(desk.write(&remove).await.expect("gone already"), None);
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_with_everything_in_it() {
    let desk = Desk::new();
    desk.firewall().await;
    let remove = Request::delete(id(""), "2021-04-01");
    assert_eq!(desk.write(&remove).await.expect("removed"), None);
    assert_eq!(desk.world().ids(), Vec::<String>::new());
    assert_eq!(desk.write(&remove).await.expect("gone already"), None);
    assert_eq!(desk.write(&Request::delete(firewall().path, NET)).await.expect("gone with it"), None);
}

#[tokio::test(start_paused = true)]
async fn every_page_of_a_list_is_read_and_none_from_elsewhere() {
    let desk = Desk::new();
    desk.world().page = 2;
    desk.world().pace.index = Duration::ZERO;
    desk.write(&group()).await.expect("made");
    for n in 0..5 {
        desk.write(&address(&format!("pip-{n}"))).await.expect("made");
    }
    let tagged = Request::get(format!("/subscriptions/{SUBSCRIPTION}/resources"), "2021-04-01")
        .with_query("$filter", "tagName eq 'gangplank' and tagValue eq 'warehouse'");
    let before = desk.world().calls.len();
    assert_eq!(desk.arm.list(&tagged, &desk.progress()).await.expect("listed").len(), 5);
    assert_eq!(desk.world().calls.len() - before, 3);
    let error = desk.arm.list(&Request::get(address("pip-0").path, NET), &desk.progress()).await.expect_err("no list");
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn something_else_that_answers_is_not_azure() {
    let desk = Desk::new();
    desk.world().fault(Which::Any, 0..99, Fault::Garbage);
    let error = desk.arm.get(&Request::get(id(""), "2021-04-01"), &desk.progress()).await.expect_err("garbage");
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("proxy"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_takes_keys_in_place_and_shows_its_console() {
    let desk = Desk::new();
    for request in [group(), network(), subnet("bastion", "10.0.1.0/27"), interface("bastion"), machine()] {
        desk.write(&request).await.expect("made");
    }
    let path = machine().path;
    let keys = json!({"properties": {"userData": "bmV3"}});
    desk.write(&Request::patch(path.clone(), COMPUTE, keys)).await.expect("patched");
    let get = Request::get(path.clone(), COMPUTE);
    let plain = desk.arm.get(&get, &desk.progress()).await.expect("read").expect("there");
    assert!(plain["properties"].get("userData").is_none(), "it is shown on request only");
    assert!(plain["properties"]["osProfile"].get("customData").is_none(), "it is never shown");
    let full =
        desk.arm.get(&get.with_query("$expand", "userData"), &desk.progress()).await.expect("read").expect("there");
    assert_eq!(full["properties"]["userData"], "bmV3");
    desk.world().print(&path, "gangplank-report: {}\n");
    let ask = Request::post(format!("{path}/retrieveBootDiagnosticsData"), COMPUTE, None);
    let at = desk.write(&ask).await.expect("answered").expect("addresses");
    let log = at["serialConsoleLogBlobUri"].as_str().expect("an address");
    assert_eq!(desk.arm.blob("read the console", log, &desk.progress()).await.expect("read"), "gangplank-report: {}\n");
    desk.world().fault(Which::To("GET", "/console/"), 0..99, Fault::Drop(Moment::Before));
    let error = desk.arm.blob("read the console", log, &desk.progress()).await.expect_err("away");
    assert!(!error.to_string().contains("sig="), "{error}");
    assert_eq!(desk.world().mistakes, Vec::<String>::new());
    // The disk and the interface go with it.
    desk.world().heal();
    desk.write(&Request::delete(path, COMPUTE)).await.expect("removed");
    assert!(desk.world().ids().iter().all(|id| !id.contains("/disks/") && !id.contains("/networkinterfaces/")));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_microsofts_schema_refuses_is_refused_here() {
    if schema::folder().is_none() {
        return crate::support::cannot("no schemas of Azure here (GANGPLANK_TEST_AZURE)");
    }
    let desk = Desk::new();
    desk.firewall().await;
    let mut wrong = rules(&["192.0.2.1"]);
    wrong.body.as_mut().expect("a body")["properties"]["ruleCollections"][0]["rules"][0]["translatedPort"] = json!(22);
    let error = desk.write(&wrong).await.expect_err("a port is text");
    assert_eq!(error.code.as_deref(), Some("InvalidRequestContent"));
    assert_eq!(desk.world().mistakes.len(), 1);
}

#[tokio::test]
async fn the_same_client_works_over_a_real_connection() {
    let server = Server::start(World::default());
    let endpoint = server.endpoint();
    let arm =
        Arm::connect(&|name| (name == "AZURE_RESOURCE_MANAGER_ENDPOINT").then(|| endpoint.clone())).expect("loopback");
    let (told, step) = (Told::default(), StepId("x".to_owned()));
    let progress = Progress { step: &step, watcher: &told };
    server.world().fault(Which::Writes, 0..1, Fault::Drop(Moment::After));
    server.world().fault(Which::To("GET", "/operations/"), 0..1, Fault::Drop(Moment::Before));
    for request in [group(), network(), address("pip")] {
        arm.write(&request, Repeat::SAFE, &progress).await.expect("made");
    }
    assert_eq!(server.world().ids().len(), 3);
    // Nothing listens there: nothing happened, whatever was asked.
    let nowhere =
        Arm::connect(&|name| (name == "AZURE_RESOURCE_MANAGER_ENDPOINT").then(|| "http://127.0.0.1:1".to_owned()));
    let error =
        nowhere.expect("loopback").paced(Duration::from_secs(20)).write(&group(), Repeat::ONCE, &progress).await;
    let error = error.expect_err("nobody there");
    assert_eq!((error.kind, error.residue.clone()), (ErrorKind::Unreachable, Residue::Nothing));
    assert!(!error.message.contains("/subscriptions/"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_shared_firewall_is_written_back_as_it_was_read() {
    let desk = Desk::new();
    desk.firewall().await;
    let mut seen =
        desk.arm.get(&Request::get(firewall().path, NET), &desk.progress()).await.expect("read").expect("there");
    let etag = seen["etag"].as_str().expect("an etag").to_owned();
    seen["properties"]["natRuleCollections"] = json!([{"name": "gangplank-warehouse", "properties": {
        "priority": 300, "action": {"type": "Dnat"}, "rules": [{"name": "secoda", "description": "gangplank:warehouse",
            "protocols": ["TCP"], "sourceAddresses": ["192.0.2.1"], "destinationAddresses": ["20.61.0.9"],
            "destinationPorts": ["22"], "translatedAddress": "10.0.1.4", "translatedPort": "22"}]}}]);
    let back = Request::put(firewall().path, NET, seen).only_if(Condition::Unchanged(etag));
    let made = desk.write(&back).await.expect("written").expect("there");
    assert_eq!(made["properties"]["natRuleCollections"][0]["name"], "gangplank-warehouse");
    assert_eq!(made["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"], "10.0.0.4");
    assert_eq!(desk.world().mistakes, Vec::<String>::new());
    let error = desk.write(&back).await.expect_err("the etag is another by now");
    assert_eq!(error.code.as_deref(), Some("PreconditionFailed"));
}

#[tokio::test(start_paused = true)]
async fn tags_are_merged_and_taken_away_one_by_one() {
    let desk = Desk::new();
    desk.write(&group()).await.expect("made");
    desk.write(&address("pip")).await.expect("made");
    for (path, own) in
        [(id(""), json!({"gangplank": "warehouse"})), (address("pip").path, json!({"gangplank": "warehouse"}))]
    {
        let change = |operation: &str, tags: Value| {
            let body = json!({"operation": operation, "properties": {"tags": tags}});
            Request::patch(format!("{path}/providers/Microsoft.Resources/tags/default"), "2021-04-01", body)
        };
        desk.write(&change("Merge", json!({"team": "data"}))).await.expect("merged");
        let made = desk.write(&change("Delete", json!({"team": "data", "gangplank": "other"}))).await.expect("deleted");
        assert_eq!(made.expect("tags")["properties"]["tags"], own);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_waits_for_its_interface() {
    let desk = Desk::new();
    desk.world().pace.interface = Duration::from_secs(20);
    for request in [group(), network(), subnet("bastion", "10.0.1.0/27")] {
        desk.write(&request).await.expect("made");
    }
    desk.arm.call(&interface("bastion"), Repeat::SAFE, &desk.progress()).await.expect("accepted");
    desk.told.0.borrow_mut().clear();
    desk.write(&machine()).await.expect("in the end");
    assert!(desk.told().starts_with("PUT Microsoft.Compute/virtualMachines/vm RetryableError 1"), "{}", desk.told());
    let get = Request::get(machine().path, COMPUTE).with_query("$expand", "instanceView");
    let seen = desk.arm.get(&get, &desk.progress()).await.expect("read").expect("there");
    assert_eq!(seen["properties"]["instanceView"]["statuses"][1]["code"], "PowerState/running");
}

#[test]
fn a_caller_is_killed_after_the_effect_and_nothing_of_it_comes_later() {
    let server = Server::start(World::default());
    server.world().fault(Which::Writes, 0..1, Fault::Kill(Moment::After));
    let put = |name: &str| {
        let body = r#"{"location": "westeurope"}"#;
        format!(
            "PUT /subscriptions/{SUBSCRIPTION}/resourceGroups/{name}?api-version=2021-04-01 HTTP/1.1\\r\\nContent-Length: {}\\r\\n\\r\\n{body}",
            body.len()
        )
    };
    let port = server.endpoint().rsplit(':').next().expect("a port").to_owned();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{}' >&3; read -r line <&3; printf '{}' >&3; read -r line <&3; sleep 60",
        put("rg-a"),
        put("rg-b")
    );
    let run = server.run(std::process::Command::new("bash").args(["-c", &script]));
    assert_eq!(run.code(), None, "{run}");
    assert_eq!(server.world().ids(), [id("").to_lowercase()]);
}

#[tokio::test(start_paused = true)]
async fn without_credentials_nothing_is_sent() {
    let desk = Desk::new();
    let tokens = Tokens::new("scope".to_owned(), Vec::new());
    let http = gangplank::sandbox::arm::client::client(std::sync::Arc::new(desk.direct.clone()));
    let arm = Arm::new("https://management.azure.com".parse().expect("an address"), http, Some(tokens));
    let error = arm.write(&group(), Repeat::SAFE, &desk.progress()).await.expect_err("nobody");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert_eq!(desk.world().calls.len(), 0);
}
