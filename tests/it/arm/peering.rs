//! A network that gangplank creates and peers with the database's, in its subscription or in another one.

use serde_json::{Value, json};

use super::{
    company::{self, NET, group, net, put, remove, send},
    http::ask,
    life::{Desk, writes},
    world::{SUBSCRIPTION, World},
};
use crate::azure::plans::{PUBLIC, STANDARD, Spec};

/// Another subscription, and a network in it.
pub const DATA: &str = "00000000-0000-0000-0000-0000000000cc";

pub fn far() -> String {
    net("rg-far", "virtualNetworks/vnet-far").replacen(SUBSCRIPTION, DATA, 1)
}

pub fn with_far(world: &mut World) {
    world.others = vec![DATA.to_owned()];
    put(world, &group("rg-far").replacen(SUBSCRIPTION, DATA, 1), "2021-04-01", &json!({"location": "westeurope"}));
    let body = json!({"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.250.0.0/16"]},
        "subnets": [{"name": "snet-db", "properties": {"addressPrefix": "10.250.1.0/24"}}]}});
    put(world, &far(), NET, &body);
}

fn own() -> String {
    net("rg-bastion", "virtualNetworks/gangplank-warehouse")
}

fn db() -> String {
    net("rg-shared", "virtualNetworks/vnet-db")
}

fn spec(peers: &[&str]) -> Spec {
    Spec { peers: peers.iter().map(|name| (*name).to_owned()).collect(), ..Spec::edge(PUBLIC) }
}

/// By name: what a network's peering with another is at.
fn states(world: &World, network: &str) -> Vec<(String, String)> {
    let raw = world.resource(network).unwrap_or_default();
    let all = raw["properties"]["virtualNetworkPeerings"].as_array().cloned().unwrap_or_default();
    let told = |p: &Value, at: &str| p["properties"][at].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|p| {
            let remote = p["properties"]["remoteVirtualNetwork"]["id"].as_str().unwrap_or_default().to_owned();
            (remote.rsplit('/').next().unwrap_or_default().to_owned(), told(p, "peeringState"))
        })
        .collect()
}

fn state(desk: &Desk, from: &str, to: &str) -> Option<String> {
    let all = states(&desk.server.world(), from);
    all.into_iter().find(|(remote, _)| remote == to).map(|(_, state)| state)
}

fn peering(from: &str, name: &str) -> String {
    format!("{from}/virtualNetworkPeerings/{name}")
}

/// Puts it, and does not wait: the status and the code of the answer.
fn try_put(world: &mut World, id: &str, body: &Value) -> (u16, String) {
    let target = format!("{id}?api-version={NET}");
    let text = body.to_string();
    let reply = world.answer(&ask("PUT", &target, Default::default(), text.as_bytes(), "http://127.0.0.1".to_owned()));
    let raw: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    (reply.status, raw["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn towards(remote: &str) -> Value {
    json!({"properties": {"remoteVirtualNetwork": {"id": remote}}})
}

fn network(world: &mut World, name: &str, range: &str) -> String {
    let id = net("rg-shared", &format!("virtualNetworks/{name}"));
    let body =
        json!({"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": [range]}, "subnets": []}});
    put(world, &id, NET, &body);
    id
}

/// What the sandbox's Azure says to peerings, as issues show it of the real one.
#[test]
fn both_sides_connect_and_what_azure_refuses_is_refused() {
    let mut world = company::company();
    let world = &mut world;
    let (a, b) = (network(world, "a", "10.30.0.0/16"), network(world, "b", "10.31.0.0/16"));
    let (same, near) = (network(world, "same", "10.30.4.0/24"), network(world, "near", "10.31.8.0/24"));
    put(world, &peering(&a, "to-b"), NET, &towards(&b));
    assert_eq!(states(world, &a), [("b".to_owned(), "Initiated".to_owned())]);
    put(world, &peering(&b, "to-a"), NET, &towards(&a));
    let connected =
        |world: &World| [states(world, &a), states(world, &b)].concat().iter().all(|(_, s)| s == "Connected");
    assert!(connected(world));

    let refused = |world: &mut World, id: &str, to: &str| try_put(world, id, &towards(to));
    let code = |code: &str| (400, code.to_owned());
    assert_eq!(refused(world, &peering(&a, "again"), &b), code("AnotherPeeringAlreadyReferencesRemoteVnet"));
    assert_eq!(refused(world, &peering(&a, "same"), &same), code("VnetAddressSpacesOverlap"));
    assert_eq!(refused(world, &peering(&a, "near"), &near), code("VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"));
    assert_eq!(refused(world, &peering(&near, "a"), &a), code("VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"));

    // The side that is left says so, and goes first when they are to be connected again.
    remove(world, &peering(&a, "to-b"), NET);
    assert_eq!(states(world, &b), [("a".to_owned(), "Disconnected".to_owned())]);
    assert_eq!(refused(world, &peering(&a, "to-b"), &b), code("RemotePeeringIsDisconnected"));
    put(world, &peering(&b, "to-a"), NET, &towards(&a));
    assert_eq!(states(world, &b), [("a".to_owned(), "Initiated".to_owned())]);
    put(world, &peering(&a, "to-b"), NET, &towards(&b));
    assert!(connected(world));
    remove(world, &a, NET);
    assert_eq!(states(world, &b), [("a".to_owned(), "Disconnected".to_owned())]);

    // One at a time.
    let (c, d) = (network(world, "c", "10.32.0.0/16"), network(world, "d", "10.33.0.0/16"));
    world.by_hand = true;
    assert_eq!(refused(world, &peering(&c, "to-d"), &d).0, 201);
    assert_eq!(refused(world, &peering(&c, "to-b"), &b), (409, "AnotherOperationInProgress".to_owned()));
    assert_eq!(refused(world, &peering(&d, "to-c"), &c), (409, "AnotherOperationInProgress".to_owned()));
    assert_eq!(refused(world, &peering(&b, "to-c"), &c), code("ReferencedResourceNotProvisioned"));
    world.finish();
    assert_eq!(refused(world, &peering(&c, "to-far"), &far()).0, 400, "it is not there");
    with_far(world);
    world.finish();
    world.closed = vec![DATA.to_owned()];
    assert_eq!(refused(world, &peering(&c, "to-far"), &far()), (403, "LinkedAuthorizationFailed".to_owned()));
}

fn comes_and_goes(desk: &Desk, spec: &Spec, remote: &str, name: &str) {
    let before = desk.server.world().ids();
    let calls = desk.apply(spec);
    desk.assert_settled(spec);
    assert_eq!(state(desk, &own(), name).as_deref(), Some("Connected"), "{calls:#?}");
    assert_eq!(state(desk, remote, "gangplank-warehouse").as_deref(), Some("Connected"));
    desk.run("destroy", spec, &["--yes"]).0.expect(0);
    assert_eq!(desk.server.world().ids(), before);
}

#[test]
fn a_network_is_peered_by_its_name_and_by_its_id() {
    let desk = Desk::new();
    comes_and_goes(&desk, &spec(&["vnet-db"]), &db(), "vnet-db");
    with_far(&mut desk.server.world());
    comes_and_goes(&desk, &spec(&[&far()]), &far(), "vnet-far");
    comes_and_goes(&desk, &spec(&["vnet-db", &far(), "vnet-hub"]), &db(), "vnet-db");
    let firewall = Spec { peers: vec![db()], ..Spec::edge(STANDARD) };
    comes_and_goes(&desk, &firewall, &db(), "vnet-db");
}

/// Everything that can be wrong with the two is seen, and mended by one more run.
#[test]
fn a_broken_peering_is_seen_and_mended() {
    let desk = Desk::new();
    let spec = spec(&["vnet-db"]);
    desk.apply(&spec);
    let named = |from: &str| {
        let raw = desk.server.world().resource(from).expect("there");
        raw["properties"]["virtualNetworkPeerings"][0]["id"].as_str().expect("an id").to_owned()
    };
    let mends = |what: &str, count: usize| {
        let steps = desk.steps(&spec);
        assert_eq!(steps.len(), count, "{what}: {steps:#?}");
        desk.apply(&spec);
        desk.assert_settled(&spec);
        assert_eq!(state(&desk, &own(), "vnet-db").as_deref(), Some("Connected"), "{what}");
        assert_eq!(state(&desk, &db(), "gangplank-warehouse").as_deref(), Some("Connected"), "{what}");
    };
    let (ours, theirs) = (named(&own()), named(&db()));
    remove(&mut desk.server.world(), &theirs, NET);
    let (run, _) = desk.run("verify", &spec, &["--no-network", "--output", "json"]);
    assert!(
        run.stdout.contains("is Disconnected, not Connected") || run.stdout.contains("has no peering with"),
        "{run}"
    );
    mends("theirs is gone", 2);
    remove(&mut desk.server.world(), &ours, NET);
    mends("ours is gone", 2);
    let mut open = towards(&own());
    open["properties"]["allowForwardedTraffic"] = json!(true);
    put(&mut desk.server.world(), &theirs, NET, &open);
    mends("opened further", 1);
    let mut shut = towards(&db());
    shut["properties"]["allowVirtualNetworkAccess"] = json!(false);
    put(&mut desk.server.world(), &ours, NET, &shut);
    mends("closed", 1);
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    desk.assert_only_foreign();
}

/// The network itself is gone: what is left in the other one goes, and nothing of it is in the way of a new one.
#[test]
fn what_is_left_of_a_network_that_is_gone() {
    for again in [true, false] {
        let desk = Desk::new();
        with_far(&mut desk.server.world());
        let spec = spec(&["vnet-db", &far()]);
        let before = desk.server.world().ids();
        desk.apply(&spec);
        {
            let mut world = desk.server.world();
            send(&mut world, "DELETE", &group("rg-bastion"), "2021-04-01", None);
        }
        assert_eq!(state(&desk, &db(), "gangplank-warehouse").as_deref(), Some("Disconnected"));
        if again {
            desk.apply(&spec);
            desk.assert_settled(&spec);
            assert_eq!(state(&desk, &far(), "gangplank-warehouse").as_deref(), Some("Connected"));
        }
        desk.run("destroy", &spec, &["--yes"]).0.expect(0);
        assert_eq!(desk.server.world().ids(), before);
    }
}

/// The plan comes to name another network with the same ranges, and then none.
#[test]
fn another_network_takes_the_place_of_one() {
    let desk = Desk::new();
    network(&mut desk.server.world(), "vnet-copy", "10.12.0.0/16");
    let before = desk.server.world().ids();
    desk.apply(&spec(&["vnet-db"]));
    desk.apply(&spec(&["vnet-copy"]));
    desk.assert_settled(&spec(&["vnet-copy"]));
    assert_eq!(state(&desk, &db(), "gangplank-warehouse"), None);
    assert_eq!(states(&desk.server.world(), &own()), [("vnet-copy".to_owned(), "Connected".to_owned())]);
    desk.apply(&spec(&[]));
    desk.assert_settled(&spec(&[]));
    assert_eq!(states(&desk.server.world(), &own()), []);
    desk.run("destroy", &spec(&[]), &["--yes"]).0.expect(0);
    assert_eq!(desk.server.world().ids(), before);
}

/// Others have peered the two: that is used, and stays.
#[test]
fn a_peering_of_others_is_used_and_left() {
    let desk = Desk::new();
    let plain = spec(&[]);
    desk.apply(&plain);
    {
        let mut world = desk.server.world();
        put(&mut world, &peering(&own(), "by-hand"), NET, &towards(&db()));
        put(&mut world, &peering(&db(), "by-hand"), NET, &towards(&own()));
    }
    let spec = spec(&["vnet-db"]);
    let (run, calls) = desk.run("apply", &spec, &["--yes", "--no-verify"]);
    run.expect(0);
    assert!(calls.iter().filter(|c| c.is_write()).all(|c| !c.path.contains("virtualNetworkPeerings")), "{calls:#?}");
    desk.assert_settled(&spec);
    let (run, _) = desk.run("destroy", &spec, &["--yes"]);
    let run = run.expect(0);
    assert!(run.stdout.contains("the peering by-hand in vnet-db is not gangplank's and stays, disconnected"), "{run}");
    assert_eq!(state(&desk, &db(), "gangplank-warehouse").as_deref(), Some("Disconnected"));

    // And then it is in the way of a new one.
    let (run, calls) = desk.run("plan", &spec, &[]);
    let run = run.expect(3);
    assert_eq!(writes(&calls), 0);
    assert!(run.stderr.contains("a peering of others is in the way"), "{run}");
}

#[test]
fn what_can_not_be_peered_is_refused_in_the_plan() {
    let desk = Desk::new();
    {
        let mut world = desk.server.world();
        network(&mut world, "vnet-same", "10.60.128.0/24");
        let beyond = network(&mut world, "vnet-beyond", "10.60.4.0/24");
        put(&mut world, &peering(&beyond, "to-db"), NET, &towards(&db()));
        put(&mut world, &peering(&db(), "to-beyond"), NET, &towards(&beyond));
    }
    let refused = |peers: &[&str], expected: &str| {
        let (run, calls) = desk.run("plan", &spec(peers), &[]);
        let run = run.expect(3);
        assert_eq!(writes(&calls), 0);
        assert!(run.stderr.contains(expected), "{expected}\n{run}");
    };
    refused(&["vnet-same"], "vnet-same and this network both have 10.60.128.0/24");
    refused(&["vnet-db"], "vnet-beyond, with which vnet-db is peered, and this network both have 10.60.4.0/24");
    refused(&["vnet-none"], "no such virtual network");
}

/// What may not be read is neither written to nor called gone.
#[test]
fn a_network_that_may_not_be_read_stops_the_run() {
    let desk = Desk::new();
    with_far(&mut desk.server.world());
    let spec = spec(&[&far()]);
    desk.apply(&spec);
    desk.server.world().closed = vec![DATA.to_owned()];
    for (verb, options) in [("plan", [].as_slice()), ("apply", &["--yes", "--no-verify"]), ("destroy", &["--yes"])] {
        let (run, calls) = desk.run(verb, &spec, options);
        assert_eq!(writes(&calls), 0, "{run}");
        assert_ne!(run.code(), Some(0), "{run}");
        let told = format!("{}{}", run.stdout, run.stderr);
        assert!(told.contains("does not have authorization") && !told.contains("nothing is left"), "{told}");
    }
    desk.server.world().closed.clear();
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
}
