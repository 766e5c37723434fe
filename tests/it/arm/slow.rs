//! What Azure does later than it says, or only half: policies that are at work, tags that are not set, lists that lag, operations that
//! fail in passing.

use std::time::Duration;

use gangplank::sandbox::arm::Failure;
use serde_json::json;

use super::{
    company::{self, NET, group, net, put},
    fault::{Fault, Which},
    life::{Desk, writes},
};
use crate::{
    azure::plans::{CLASSIC, HUB, PUBLIC, STANDARD, Spec},
    support::Moment,
};

const DISTANT: Duration = Duration::from_secs(600);

fn machine() -> String {
    format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group("rg-bastion"))
}

fn failure(on: &str, code: &str) -> Failure {
    Failure { on: on.to_owned(), code: code.to_owned(), message: "Said by a test.".to_owned() }
}

/// A pipeline of the company's writes to the policy: it is at work for a while after that has ended, and so is its firewall.
#[test]
fn a_policy_at_work_is_waited_for() {
    let desk = Desk::new();
    let theirs = net("rg-hub", "firewallPolicies/fwp-hub/ruleCollectionGroups/theirs");
    let busy = |desk: &Desk| {
        let mut world = desk.server.world();
        world.pace.policy_after_rules = Duration::from_millis(500);
        let body = company::rules(&world.resource(&theirs).expect("there"));
        put(&mut world, &theirs, NET, &body);
    };
    for (verb, spec) in [
        ("apply", Spec::edge(HUB)),
        ("apply", Spec { sources: [0, 1].into(), ..Spec::edge(HUB) }),
        ("destroy", Spec::edge(HUB)),
    ] {
        busy(&desk);
        let options: &[&str] = if verb == "apply" { &["--yes", "--no-verify"] } else { &["--yes"] };
        let (run, calls) = desk.run(verb, &spec, options);
        run.expect(0);
        let refused: Vec<_> = calls.iter().filter(|call| call.is_write() && call.status == Some(400)).collect();
        assert!(refused.is_empty(), "it was not waited for: {refused:#?}");
        let policy = desk.server.world().resource(&net("rg-hub", "firewallPolicies/fwp-hub")).expect("there");
        assert_eq!(policy["properties"]["provisioningState"], "Succeeded", "what is written is in force");
    }
    desk.assert_only_foreign();
}

/// It went to work between our look and our write.
#[test]
fn a_policy_that_refuses_because_it_is_at_work_is_asked_again() {
    for (verb, method, code) in [
        ("apply", "PUT", "FirewallPolicyRuleCollectionGroupUpdateNotAllowed"),
        ("apply", "PUT", "FirewallPolicyRuleCollectionGroupUpdateNotAllowedWhenUpdatingOrDeleting"),
        ("destroy", "DELETE", "FirewallPolicyRuleCollectionGroupDeleteNotAllowedWhenUpdatingOrDeleting"),
    ] {
        let (desk, spec) = (Desk::new(), Spec::edge(HUB));
        if verb == "destroy" {
            desk.apply(&spec);
        }
        desk.server.world().fault(Which::To(method, "ruleCollectionGroups/gangplank"), 0..2, Fault::answer(400, code));
        let options: &[&str] = if verb == "apply" { &["--yes", "--no-verify"] } else { &["--yes"] };
        desk.run(verb, &spec, options).0.expect(0);
    }
}

#[test]
fn the_tags_of_a_policy_are_written_with_the_policy() {
    let desk = Desk::new();
    let spec = Spec::edge(STANDARD);
    desk.apply(&spec);
    desk.assert_settled(&spec);
    let policy = net("rg-bastion", "firewallPolicies/gangplank-warehouse");
    let read = || desk.server.world().resource(&policy).expect("there");
    // Somebody's setting and somebody's tag stay.
    company::change(&mut desk.server.world(), &policy, NET, |policy| {
        policy["tags"]["cost-centre"] = json!("42");
        policy["properties"]["dnsSettings"] = json!({"servers": ["10.60.0.4"], "enableProxy": true});
    });
    let more = Spec { tags: ["team", "cost"].into(), ..spec };
    desk.apply(&more);
    desk.assert_settled(&more);
    let found = read();
    assert_eq!((found["tags"]["cost"].as_str(), found["tags"]["cost-centre"].as_str()), (Some("data"), Some("42")));
    assert_eq!(found["properties"]["dnsSettings"]["servers"][0], "10.60.0.4");
    assert!(found["properties"]["firewalls"][0]["id"].is_string(), "{found:#}");
    let before = found["tags"]["gangplank:expires"].clone();
    desk.run("extend", &more, &["--by", "1d", "--yes"]).0.expect(0);
    assert_ne!(read()["tags"]["gangplank:expires"], before);
}

/// Azure takes the write, and its operation ends as if somebody else had been faster (Azure/azure-spring-apps-landing-zone-accelerator#115).
#[test]
fn an_operation_that_fails_in_passing_is_begun_again() {
    for code in [
        "AnotherOperationInProgress",
        "RetryableError",
        "ReferencedResourceNotProvisioned",
        "CanceledAndSupersededDueToAnotherOperation",
        "OperationPreempted",
        "InternalServerError",
    ] {
        let (desk, spec) = (Desk::new(), Spec::edge(CLASSIC));
        desk.server.world().failing = vec![failure("azureFirewalls/fw-old", code)];
        desk.apply(&spec);
        desk.assert_settled(&spec);
        desk.server.world().failing =
            vec![failure("virtualMachines/gangplank-warehouse", code), failure("azureFirewalls/fw-old", code)];
        desk.run("destroy", &spec, &["--yes"]).0.expect(0);
        desk.assert_only_foreign();
    }
}

/// The lists of `Microsoft.Resources` go on showing for minutes what is gone.
#[test]
fn what_only_a_list_still_shows_is_gone() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.server.world().pace.index_of_gone = DISTANT;
    desk.apply(&spec);
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    desk.assert_only_foreign();

    // Killed when all but the group is gone.
    desk.apply(&spec);
    desk.server.world().fault(
        Which::To("GET", "resourceGroups/rg-bastion/resources"),
        0..1,
        Fault::Kill(Moment::Before),
    );
    assert_eq!(desk.run("destroy", &spec, &["--yes"]).0.code(), None);
    desk.server.world().heal();
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    desk.assert_only_foreign();
}

/// "Failed" is what the last operation was: the machine runs, and its host key is the one that the vendor knows.
#[test]
fn a_machine_that_failed_once_is_kept() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.apply(&spec);
    let id = || desk.server.world().resource(&machine()).expect("there")["properties"]["vmId"].clone();
    let first = id();
    let rotated = Spec { keys: [1].into(), ..spec };
    desk.server.world().failing =
        vec![failure("virtualMachines/gangplank-warehouse", "VMAgentStatusCommunicationError")];
    desk.run("apply", &rotated, &["--yes", "--no-verify"]).0.expect(1);
    let steps = desk.steps(&rotated);
    assert!(steps.iter().all(|step| step["impact"] != "replacement"), "{steps:#?}");
    desk.apply(&rotated);
    desk.assert_settled(&rotated);
    assert_eq!(id(), first);

    // It stopped, and starting it found no capacity.
    company::send(&mut desk.server.world(), "POST", &format!("{}/deallocate", machine()), "2024-07-01", None);
    desk.server.world().failing = vec![failure("virtualMachines/gangplank-warehouse", "AllocationFailed")];
    desk.run("apply", &rotated, &["--yes", "--no-verify"]).0.expect(1);
    desk.apply(&rotated);
    desk.assert_settled(&rotated);
    assert_eq!(id(), first);
}

#[test]
fn a_machine_that_never_came_up_is_made_anew() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.server.world().failing = vec![failure("virtualMachines/gangplank-warehouse", "AllocationFailed")];
    desk.run("apply", &spec, &["--yes", "--no-verify"]).0.expect(1);
    let calls = desk.apply(&spec);
    assert!(calls.iter().any(|call| call.method == "DELETE" && call.path == machine()), "{calls:#?}");
    assert!(writes(&calls) >= 2);
    desk.assert_settled(&spec);
}

/// A route table at the subnet widens the service tag `VirtualNetwork`, a default route to everywhere.
#[test]
fn a_default_route_opens_no_target_to_everywhere() {
    let desk = Desk::new();
    let table = net("rg-shared", "routeTables/rt");
    let route = json!({"name": "out", "properties": {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance",
        "nextHopIpAddress": "10.8.3.4"}});
    {
        let mut world = desk.server.world();
        put(&mut world, &table, NET, &json!({"location": "westeurope", "properties": {"routes": [route]}}));
        let subnet = net("rg-shared", "virtualNetworks/vnet-data/subnets/snet-a");
        let body = json!({"properties": {"addressPrefix": "10.9.1.0/24", "routeTable": {"id": table}}});
        put(&mut world, &subnet, NET, &body);
    }
    desk.apply(&Spec::edge(HUB));
    let world = desk.server.world();
    let machine = world.machines(world.now()).into_iter().next().expect("a machine").id;
    let reaches = |to: &str| world.reaches(&machine, to.parse().expect("an address"), 5432);
    assert_eq!(
        ["10.9.2.7", "10.8.0.9", "203.0.113.9"].map(reaches),
        [true, true, false],
        "its network, a peer's, and the internet"
    );
}

#[test]
fn who_needs_mfa_is_told_so() {
    let desk = Desk::new();
    let message = "Resource 'rg-bastion' was disallowed by policy. Reasons: 'MFA is required. Please see: https://aka.ms/MFAforAzure'.";
    let fault = Fault::Answer { status: 403, code: "RequestDisallowedByPolicy", message, retry_after: None };
    desk.server.world().fault(Which::Writes, 0..100, fault);
    let run = desk.run("apply", &Spec::edge(PUBLIC), &["--yes", "--no-verify"]).0.expect(1);
    assert!(run.stderr.contains("service principal") && !run.stderr.contains("exemption"), "{run}");
}
