//! What is refused before the first write: bad input that only the cloud can tell, and a body that Azure's model does not know.

use gangplank::{
    changeset::StepId,
    cloud_error::{CloudError, ErrorKind, Refused, Residue},
    diagnostic,
    event::{Event, Watcher},
    plan::Plan,
    provider::{
        Progress,
        azure::{
            action::{Action, Call},
            fleet::Fleet,
            id::{Id, Kind},
            perform::Performer,
        },
    },
};
use serde_json::{Value, json};

use super::{
    direct::Direct,
    fault::{Fault, Which},
    world::{SUBSCRIPTION, World},
};
use crate::azure::plans::{PUBLIC, Spec};

struct Silent;

impl Watcher for Silent {
    fn event(&self, _: Event) {}
}

async fn refused(plan: Plan, world: World) -> (Refused, usize) {
    let direct = Direct::new(world);
    let plans = [plan];
    let fleet = Fleet::new(&plans, direct.arm()).expect("a fleet");
    let mut plans = fleet.changes("2026-11-20T12:00:00Z".parse().expect("a time"), &Silent).await;
    let refused = plans.remove(0).changes.expect_err("a refusal");
    let writes = direct.world().calls.iter().filter(|call| call.is_write()).count();
    (refused, writes)
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_gone_is_told_at_its_line() {
    let mut world = World::default();
    world.subscription = "11111111-1111-1111-1111-111111111111".to_owned();
    let (refused, writes) = refused(Spec::edge(PUBLIC).read().plan, world).await;
    let Refused::Plan(problems) = refused else { panic!("{refused:?}") };
    assert_eq!(writes, 0);
    insta::assert_snapshot!(diagnostic::render(&problems, false), @"
    error: no such subscription
     --> plans/warehouse.yaml:7:17
      |
    7 |   subscription: 00000000-0000-0000-0000-000000000000
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ The subscription '00000000-0000-0000-0000-000000000000' could not be found.
      |
      = note: It does not exist, was deleted, or is not these credentials' to see.
      = help: `az account list --output table` shows those that can be seen
    ");
}

#[tokio::test(start_paused = true)]
async fn no_permission_to_look_is_told_before_anything_is_written() {
    let mut world = World::default();
    world.fault(Which::Any, 0..99, Fault::answer(403, "AuthorizationFailed"));
    let (refused, writes) = refused(Spec::edge(PUBLIC).read().plan, world).await;
    let Refused::Cloud(error) = refused else { panic!("{refused:?}") };
    assert_eq!((error.kind, writes), (ErrorKind::Permission, 0));
    assert!(error.remedy.is_some_and(|text| text.contains("docs/azure.md")));
}

async fn put(kind: Kind, body: Value) -> (Result<Option<String>, CloudError>, usize) {
    let direct = Direct::new(World::default());
    let arm = direct.arm();
    let id = Id::group(SUBSCRIPTION, "rg-a").resource(kind, "gangplank-warehouse");
    let call = Call::Put { id, body, fill: Vec::new() };
    let action = Action { subscription: SUBSCRIPTION.to_owned(), bastion: "warehouse".to_owned(), call };
    let step = StepId("step".to_owned());
    let done = Performer::new(&arm).perform(&action, &Progress { step: &step, watcher: &Silent }).await;
    let writes = direct.world().calls.iter().filter(|call| call.is_write()).count();
    (done, writes)
}

/// A changeset that another version saved, or that somebody edited.
#[tokio::test(start_paused = true)]
async fn a_member_that_azure_does_not_know_is_never_sent() {
    let body = json!({"location": "westeurope", "tags": {"gangplank:bastion": "warehouse"}, "properties": {
        "securityRules": [{"name": "ssh", "properties": {"access": "Allow", "direction": "Inbound", "priority": 100,
            "protocol": "Tcp", "sourceAdressPrefix": "192.0.2.1", "destinationAddressPrefix": "*"}}]}});
    let (done, writes) = put(Kind::SecurityGroup, body).await;
    let error = done.expect_err("a refusal");
    assert_eq!((error.kind, error.residue.clone(), writes), (ErrorKind::Invalid, Residue::Nothing, 0));
    insta::assert_snapshot!(error, @"
    PUT Microsoft.Network/networkSecurityGroups/gangplank-warehouse failed: not sent: by Azure's model of it, properties.securityRules[0].properties.sourceAdressPrefix is not known
      exists now: this call changed nothing
      to do: if it came from a saved changeset, make that again with `gangplank plan --out`; otherwise it is a mistake in gangplank
    ");
    let (done, writes) = put(Kind::Address, json!({"location": "westeurope", "zone": "1"})).await;
    assert!(done.is_err_and(|error| error.message.contains("zone is not known")));
    assert_eq!(writes, 0);
}
