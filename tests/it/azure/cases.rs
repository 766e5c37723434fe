//! Single situations, each with the decision that it needs.

use gangplank::{
    changeset::{Changeset, Impact, Op},
    provider::azure::{
        action::{Action, Call},
        extend::extend,
        id::Kind,
        tags::{BASTION, EXPIRES},
    },
    provider::extend::{End, Which, Wish},
};
use serde_json::{Value, json};

use super::{
    converge::{changes, hours, removal, standing, start, step, steps_after},
    drift::{Drift, disturb, is_ours, ours},
    plans::{CLASSIC, HUB, KEYS, PUBLIC, STANDARD, Spec, group, subscription},
    world::{Chance, World, kind, list, text},
};

fn names(set: &Changeset<Action>) -> Vec<&str> {
    set.steps.iter().map(|s| s.id.0.rsplit('/').next().expect("a name")).collect()
}

fn waits(set: &Changeset<Action>, what: &str, others: &[&str]) {
    let step = step(set, what).unwrap_or_else(|| panic!("no {what}: {:?}", names(set)));
    for other in others {
        let end = format!("/{other}");
        assert!(step.after.iter().any(|id| id.0.ends_with(&end)), "{what} does not wait for {other}: {:?}", step.after);
    }
}

fn apply(world: &mut World, spec: &Spec) {
    let set = changes(world, &spec.read().want(), hours(1)).expect("a changeset");
    world.execute(&set, Chance(3), usize::MAX, |_, _| {});
}

/// What does not depend on each other is made at once; a way in is opened last of all but the firewall.
#[test]
fn steps_wait_only_for_what_they_need() {
    let set = changes(&subscription(), &Spec::default().read().want(), start()).expect("a changeset");
    assert_eq!(
        names(&set),
        ["group", "network", "security-group", "address", "policy", "interface", "rules", "firewall", "machine"]
    );
    for what in ["network", "security-group", "address", "policy"] {
        assert_eq!(step(&set, what).expect("a step").after.len(), 1, "{what} waits for the group only");
    }
    waits(&set, "interface", &["network", "security-group"]);
    waits(&set, "rules", &["policy", "address", "interface"]);
    waits(&set, "firewall", &["rules", "network", "interface"]);
    let machine = step(&set, "machine").expect("a machine");
    assert!(!machine.after.iter().any(|id| id.0.ends_with("/firewall")), "ten minutes in which it can boot");
}

#[test]
fn an_end_is_moved_in_the_tags_and_in_the_user_data_and_stays() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    let written = spec.read();
    let before = ours(&mut world, Kind::Machine).expect("one").clone();
    let wish = Wish { which: Which::Extend, end: End::By(jiff::SignedDuration::from_hours(1)) };
    let set = extend(&written.plan, written.azure(), &world.look(), wish, hours(1)).expect("a changeset");
    let first = &set.steps[0];
    assert!(
        matches!(&first.action.call, Call::Patch { body, .. } if body["properties"]["userData"].is_string()),
        "{first:?}"
    );
    assert!(set.steps[1..].iter().all(|step| matches!(step.action.call, Call::Tag { .. })), "{:?}", names(&set));
    // Cut short, and completed by apply, which then has nothing more to do.
    world.execute(&set, Chance(3), 2, |_, _| {});
    world.execute(&set, Chance(3), usize::MAX, |_, _| {});
    apply(&mut world, &spec);
    assert_eq!(changes(&world, &spec.read().want(), hours(2)).expect("a changeset").steps, []);
    let after = ours(&mut world, Kind::Machine).expect("one").clone();
    let end = |machine: &Value| {
        machine["tags"][EXPIRES].as_str().and_then(|end| end.parse::<jiff::Timestamp>().ok()).expect("an end")
    };
    assert_eq!(end(&after).as_second() - end(&before).as_second(), 3600);
    assert_ne!(after["properties"]["userData"], before["properties"]["userData"]);
}

#[test]
fn a_replaced_machine_keeps_its_address_and_its_rules() {
    let have = Spec::default();
    let mut world = standing(&have);
    let private = |world: &mut World| {
        ours(world, Kind::Interface).expect("one")["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"].clone()
    };
    let before = private(&mut world);
    let want = Spec { size: 1, ..have };
    let set = changes(&world, &want.read().want(), hours(1)).expect("a changeset");
    assert_eq!(names(&set), ["delete-machine", "machine"]);
    waits(&set, "machine", &["delete-machine"]);
    assert_eq!(set.steps[1].impact, Impact::Replacement);
    apply(&mut world, &want);
    assert_eq!(private(&mut world), before);
    let Call::Put { body, .. } = &set.steps[1].action.call else { panic!("{set:?}") };
    assert_eq!(
        body.pointer("/properties/storageProfile/imageReference/sku"),
        Some(&json!("13-arm64")),
        "the size is an Arm one"
    );
}

/// Rotating a key touches nothing but the user data.
#[test]
fn a_changed_key_is_a_live_change() {
    let have = Spec::default();
    let set = steps_after(&have, &Spec { keys: [2].into(), ..have.clone() }, |_| {}).expect("a changeset");
    let [step] = set.steps.as_slice() else { panic!("{:?}", names(&set)) };
    assert_eq!((step.impact, step.op), (Impact::Live, Op::Update));
    let Call::Patch { body, .. } = &step.action.call else { panic!("{step:?}") };
    let properties = body["properties"].as_object().expect("properties");
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["userData"]);
    // What a plan sees of it next time goes in the same call.
    assert_eq!(body["tags"].as_object().expect("tags").keys().collect::<Vec<_>>(), ["gangplank:keys"]);
    let details: Vec<_> = step.details.iter().map(|d| (d.before.is_some(), d.after.is_some())).collect();
    assert_eq!(details, [(true, false), (false, true)], "the one that goes and the one that comes: {step:#?}");
}

#[test]
fn the_document_of_live_keys_holds_none() {
    let set = changes(&subscription(), &Spec::default().read().want(), start()).expect("a changeset");
    let Call::Put { body, .. } = &step(&set, "machine").expect("a machine").action.call else { panic!("{set:?}") };
    let decoded = |pointer: &str| {
        use base64ct::{Base64, Encoding};
        Base64::decode_vec(text(body, pointer)).expect("base64")
    };
    let mut document = String::new();
    let compressed = decoded("/properties/osProfile/customData");
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(compressed.as_slice()), &mut document)
        .expect("gzip");
    let key = KEYS[0].split(' ').nth(1).expect("a key");
    assert!(document.contains("#cloud-config") && !document.contains(key));
    assert!(String::from_utf8(decoded("/properties/userData")).expect("text").contains(key));
    assert_eq!(
        body.pointer("/properties/networkProfile/networkInterfaces/0/properties/deleteOption"),
        Some(&json!("Detach"))
    );
}

/// A firewall with classic rules and the policy of another: nothing of theirs, and nothing of a neighbour whose name begins with ours.
#[test]
fn only_our_rules_leave() {
    for edge in [HUB, CLASSIC] {
        let spec = Spec::edge(edge);
        let mut world = standing(&spec);
        let untouched = subscription();
        let set = removal(&world, &spec.read());
        world.execute(&set, Chance(5), usize::MAX, |_, _| {});
        for (id, raw) in &untouched.all {
            assert_eq!(world.all.get(id), Some(raw));
        }
        assert_eq!(world.all.len(), untouched.all.len());
    }
}

#[test]
fn a_priority_that_somebody_took_is_given_up_for_a_free_one() {
    let spec = Spec::edge(CLASSIC);
    let mut world = standing(&spec);
    let firewall = group("rg-hub").resource(Kind::Firewall, "fw-old");
    let priorities = |world: &World| -> Vec<Value> {
        let all = list(&world.all[&firewall], "/properties/natRuleCollections");
        all.iter().map(|c| c["properties"]["priority"].clone()).collect()
    };
    assert_eq!(priorities(&world), [json!(1000), json!(1001)]);
    let theirs = json!({"name": "new", "properties": {"priority": 1001, "rules": []}});
    let all = world
        .all
        .get_mut(&firewall)
        .and_then(|f| f.pointer_mut("/properties/natRuleCollections"))
        .expect("collections");
    all.as_array_mut().expect("collections").push(theirs);
    apply(&mut world, &spec);
    assert_eq!(priorities(&world), [json!(1000), json!(1002), json!(1001)]);
}

/// The address moves from the firewall to the machine and back: the vendor's form stays as it is.
#[test]
fn the_address_outlives_a_change_of_edge() {
    let firewall = Spec { edge: STANDARD, ..Spec::default() };
    let public = Spec { edge: PUBLIC, ..Spec::default() };
    let mut world = standing(&firewall);
    let ip = |world: &mut World| ours(world, Kind::Address).expect("an address")["properties"]["ipAddress"].clone();
    let before = ip(&mut world);
    let set = changes(&world, &public.read().want(), hours(1)).expect("a changeset");
    waits(&set, "interface", &["delete-firewall", "security-group"]);
    apply(&mut world, &public);
    let set = changes(&world, &firewall.read().want(), hours(1)).expect("a changeset");
    waits(&set, "firewall", &["interface"]);
    apply(&mut world, &firewall);
    assert_eq!(ip(&mut world), before);
}

#[test]
fn what_azure_is_still_at_is_waited_for_and_not_begun_again() {
    let spec = Spec::default();
    let set = steps_after(&spec, &spec, |world| disturb(world, Drift::Busy)).expect("a changeset");
    assert!(set.steps.iter().all(|s| matches!(s.action.call, Call::Wait { .. })), "{:?}", set.steps);
    assert_eq!(names(&set), ["network", "firewall", "machine"]);
}

#[test]
fn tags_of_others_survive_a_put() {
    let have = Spec::default();
    let mut world = standing(&have);
    disturb(&mut world, Drift::ForeignTag);
    apply(&mut world, &Spec { ports: [3306].into(), ..have });
    assert_eq!(ours(&mut world, Kind::SecurityGroup).expect("one")["tags"]["cost-centre"], "42");
}

/// A resource group that was the bastion's own and is now named as existing must outlive the bastion.
#[test]
fn a_group_that_the_plan_comes_to_call_existing_survives() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    let text = spec.text().replace("resource_group: rg-bastion", "resource_group: {existing: rg-bastion}");
    let written = super::plans::Written::read(&text);
    let set = changes(&world, &written.want(), hours(1)).expect("a changeset");
    assert_eq!(names(&set), ["give-back-resource-group"]);
    world.execute(&set, Chance(1), usize::MAX, |_, _| {});
    let group = group("rg-bastion");
    assert!(world.all[&group]["tags"].get(BASTION).is_none() && world.all[&group]["tags"].get(EXPIRES).is_none());
    let set = removal(&world, &written);
    world.execute(&set, Chance(1), usize::MAX, |_, _| {});
    assert!(world.all.contains_key(&group));
    assert!(
        !world
            .all
            .values()
            .any(|r| is_ours(r) || kind(r) == Some(Kind::Machine) && text_of(r) == "gangplank-warehouse")
    );
}

fn text_of(raw: &Value) -> &str {
    text(raw, "/name")
}

#[test]
fn name_servers_of_the_network_can_be_asked() {
    let mut world = subscription();
    let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
    world.all.get_mut(&vnet).expect("a network")["properties"]["dhcpOptions"] = json!({"dnsServers": ["10.9.0.53"]});
    let set = changes(&world, &Spec::edge(HUB).read().want(), start()).expect("a changeset");
    let security = step(&set, "security-group").expect("a step");
    assert!(
        security.details.iter().any(|d| d.name == "egress any 53" && d.after.as_deref() == Some("to 10.9.0.53/32")),
        "{security:#?}"
    );
}
