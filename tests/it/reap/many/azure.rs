//! A hundred bastions in a subscription: behind a policy and a firewall that others use too, and with addresses of their own.

use std::{collections::BTreeMap, sync::Arc};

use gangplank::{
    diagnostic::Source,
    execute::{self, Outcome},
    plan::{self, Plan},
    provider::{clouds::Clouds, estate::Places, fleet::Fleet},
    sandbox::{
        arm::{self, Pace},
        call::Call,
        cloud::State,
    },
    stop::Stop,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Nobody, Reaper};
use crate::arm::http::ask;

const POLICY: usize = 40;
const CLASSIC: usize = 30;
const ALONE: usize = 30;
/// Of a look at a subscription.
const LISTS: usize = 14;

fn plan(n: usize) -> Plan {
    let shared = "{existing: rg-shared}\n  network: {existing: vnet-data, subnet: snet-a}";
    let own = format!("rg-alone-{n}\n  network:\n    address_space: 10.60.0.0/16\n    bastion_subnet: 10.60.1.0/27");
    let (place, edge) = match n {
        _ if n < POLICY => (shared, "{firewall: {existing: fw-hub}}"),
        _ if n < POLICY + CLASSIC => (shared, "{firewall: {existing: fw-old}}"),
        _ => (own.as_str(), "public_address"),
    };
    // The last is not due.
    let lifetime = if n == POLICY + CLASSIC + ALONE { "90d" } else { "1d" };
    let text = format!(
        "version: 1\nname: due-{n:03}\nlifetime: {lifetime}\nssh: {{port: {}}}\nazure:\n  subscription: {}\n  location: \
         westeurope\n  resource_group: {place}\n  edge: {edge}\n  size: Standard_B1s\n  image: debian-13\ntunnels:\n  - user: \
         secoda\n    allow_from: [198.51.100.7/32]\n    keys: [{}]\n    targets:\n      - {{name: db, host: 10.20.2.10, port: 5432, \
         speaks: tcp}}\n",
        2200 + n,
        arm::SUBSCRIPTION,
        crate::support::plans::KEY,
    );
    let source = Source { path: format!("due-{n:03}.yaml"), text: text.clone() };
    plan::read(Arc::new(source))
        .unwrap_or_else(|problems| panic!("{text}\n{}", gangplank::diagnostic::render(&problems, false)))
}

/// `DELETE networkinterfaces`: of a call to a resource its method and kind.
fn name(operation: &str) -> String {
    let (method, path) = operation.split_once(' ').unwrap_or_default();
    let path = path.to_lowercase();
    if path.contains("/operations/") || path.contains("/operationresults/") || path.contains("/nfvoperations/") {
        return "poll".to_owned();
    }
    let parts: Vec<&str> = path.split('/').collect();
    let kind = if parts.len() % 2 == 1 { parts.len().checked_sub(2) } else { parts.len().checked_sub(1) };
    format!("{method} {}", kind.and_then(|at| parts.get(at)).unwrap_or(&""))
}

async fn apply(reaper: &Reaper, plans: &[Plan]) {
    let clouds = Clouds::Sandbox(reaper.sandbox.clone());
    let fleet = Fleet::connect(plans, &clouds).await.unwrap_or_else(|_| panic!("a sandbox"));
    let outlook = fleet.changes(clouds.now(), &Nobody).await.whole().unwrap_or_else(|refused| panic!("{refused:#?}"));
    let steps: Vec<_> = outlook.changesets.iter().flat_map(|set| &set.steps).collect();
    let outcome = execute::run(&fleet.performer(), &steps, Stop::new(), &Nobody).await.expect("an order");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:#?}");
}

/// What is nobody's of gangplank's in a world, as it is.
fn foreign(world: &arm::World) -> Vec<String> {
    let text = serde_json::to_value(world).expect("JSON");
    let resources = text["resources"].as_object().expect("resources");
    let ours = |raw: &Value| raw.to_string().contains("gangplank");
    resources.iter().filter(|(id, raw)| !id.contains("gangplank") && !ours(raw)).map(|(id, _)| id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_bastions_go_in_a_bounded_number_of_calls() {
    let began = std::time::Instant::now();
    let mut worlds = State::company();
    worlds.arm.pace = Pace::none();
    let subscriptions = vec![arm::SUBSCRIPTION.to_owned()];
    let places = Places { subscriptions, ..Places::default() };
    let reaper = Reaper::new(worlds, places, name, Box::new(|_: &Call| None)).await;
    let before = reaper.sandbox.change(|worlds, _| foreign(&worlds.arm));
    let all = POLICY + CLASSIC + ALONE;
    apply(&reaper, &(0..=all).map(plan).collect::<Vec<_>>()).await;
    reaper.sandbox.advance(SignedDuration::from_hours(48)).expect("in memory");
    reaper.sandbox.change(|worlds, _| worlds.arm.pace = Pace::default());
    let built = began.elapsed();
    reaper.counted();

    let sight = reaper.look().await;
    let looked = reaper.counted();
    // One more for the policy of somebody else with rules of ours. A page has a hundred resources.
    let pages = all * 6 / 100 + 1;
    assert!((LISTS + 1..=LISTS + 1 + 2 * pages).contains(&looked.all()), "{looked:#?}");
    let due = reaper.due(&sight);
    assert_eq!((due.len(), sight.found.len()), (all, all + 1));

    let (began, virtually) = (std::time::Instant::now(), Instant::now());
    reaper.destroy(&due).await;
    let (virtually, really) = (virtually.elapsed(), began.elapsed());
    let calls = reaper.counted();
    println!(
        "{all} bastions: built in {built:.1?}, found with {} calls, taken away in {really:.1?}, {} s of the \
         cloud's, {} calls: {:#?}",
        looked.all(),
        virtually.as_secs(),
        calls.all(),
        calls.by_operation(),
    );
    let deleted = |kind: &str| calls.of(arm::SUBSCRIPTION, &format!("DELETE {kind}"));
    for kind in ["virtualmachines", "networkinterfaces", "networksecuritygroups"] {
        assert_eq!(deleted(kind), all, "{kind}: {calls:#?}");
    }
    for kind in ["publicipaddresses", "resourcegroups"] {
        assert_eq!(deleted(kind), ALONE, "{kind}: {calls:#?}");
    }
    // It goes with its group: what makes that a bastion's own stands in it to the last.
    assert_eq!(deleted("virtualnetworks"), 0, "{calls:#?}");
    // A policy takes one change at a time, and each bastion has a group of rules there.
    assert_eq!(deleted("rulecollectiongroups"), POLICY, "{calls:#?}");
    // A firewall's rules are written together: all that wait for their turn go in one write.
    let writes = calls.of(arm::SUBSCRIPTION, "PUT azurefirewalls");
    assert!(writes <= CLASSIC / 3, "{writes} writes: {calls:#?}");

    let left = reaper.look().await;
    let names: Vec<&str> = left.found.iter().map(|(found, _)| found.bastion.as_str()).collect();
    assert_eq!(names, [format!("due-{all:03}")]);
    assert_eq!(reaper.sandbox.change(|worlds, _| foreign(&worlds.arm)), before);
}

/// Between the question and the removal somebody makes a machine another's: it is looked at again inside the step, and stays.
#[tokio::test(start_paused = true)]
async fn what_is_tagged_otherwise_after_the_question_stays() {
    let mut worlds = State::company();
    worlds.arm.pace = Pace::none();
    let places = Places { subscriptions: vec![arm::SUBSCRIPTION.to_owned()], ..Places::default() };
    let reaper = Reaper::new(worlds, places, name, Box::new(|_: &Call| None)).await;
    apply(&reaper, &[plan(0)]).await;
    reaper.sandbox.advance(SignedDuration::from_hours(48)).expect("in memory");
    let sets = reaper.due(&reaper.look().await);
    assert_eq!(sets.len(), 1);

    let machine = format!(
        "/subscriptions/{}/resourceGroups/rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-due-000",
        arm::SUBSCRIPTION
    );
    let merge = json!({"operation": "Merge", "properties": {"tags": {"gangplank:bastion": "payments"}}});
    let tags = format!("{machine}/providers/Microsoft.Resources/tags/default?api-version=2021-04-01");
    let ask = ask("PATCH", &tags, BTreeMap::new(), merge.to_string().as_bytes(), "http://127.0.0.1".to_owned());
    let reply = reaper.sandbox.change(|worlds, now| worlds.arm.answer(now, &ask));
    assert!(reply.status < 300, "{}", String::from_utf8_lossy(&reply.body));
    let steps: Vec<_> = sets.iter().flat_map(|set| &set.steps).collect();
    let outcome = execute::run(&reaper.estate.performer(), &steps, Stop::new(), &Nobody).await.expect("an order");
    let Outcome::Failed(told) = outcome else { panic!("{outcome:#?}") };
    assert!(format!("{told:?}").contains("not due-000's by now"), "{told:#?}");
    assert!(reaper.sandbox.change(|worlds, _| worlds.arm.resource(&machine)).is_some());
}
