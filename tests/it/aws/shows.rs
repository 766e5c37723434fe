//! What people read of the typical changes.

use gangplank::{
    changeset::Changeset,
    cli::show::human,
    provider::aws::{action::Action, observed::ElasticIp},
    style::Palette,
    tags::BASTION,
};

use super::{
    converge::{removal, standing, steps_after},
    drift::{Drift, disturb},
    plans::{BASTION_NAME, Spec, account},
    world::World,
};

fn read(set: &Changeset<Action>) -> String {
    masked(&human(std::slice::from_ref(set), &Palette::PLAIN))
}

/// Without the size and the digests of the cloud-init document, which change with its templates.
fn masked(text: &str) -> String {
    let digest = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let line = |line: &str| {
        let words = line.split(' ').map(|word| if digest(word) { "(digest)" } else { word });
        let line = words.collect::<Vec<_>>().join(" ");
        match line.strip_suffix(" bytes") {
            Some(rest) => format!("{}some bytes", rest.trim_end_matches(|c: char| c.is_ascii_digit())),
            None => line,
        }
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

/// From one plan to another.
fn change(have: &Spec, want: &Spec) -> String {
    read(&steps_after(have, want, |_| {}).expect("a changeset"))
}

/// The same plan, after something has happened.
fn repair(what: impl FnOnce(&mut World)) -> String {
    let spec = Spec::default();
    read(&steps_after(&spec, &spec, what).expect("a changeset"))
}

#[test]
fn a_new_bastion() {
    let spec = Spec { sources: [0, 2].into(), keys: [].into(), ..Spec::default() };
    let world = account();
    insta::assert_snapshot!(read(
        &super::converge::changes(&world, &spec.read().want(), super::converge::start()).expect("a changeset")
    ));
}

#[test]
fn no_change() {
    insta::assert_snapshot!(repair(|_| {}));
}

#[test]
fn another_source() {
    insta::assert_snapshot!(change(
        &Spec { sources: [0].into(), ..Spec::default() },
        &Spec { sources: [1].into(), ..Spec::default() }
    ));
}

#[test]
fn another_target() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { databases: [(0, 0), (1, 1)].into(), ..Spec::default() }));
}

#[test]
fn a_database_less() {
    insta::assert_snapshot!(change(&Spec { databases: [(0, 0), (1, 0)].into(), ..Spec::default() }, &Spec::default(),));
}

#[test]
fn another_key() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { keys: [1].into(), ..Spec::default() }));
}

#[test]
fn another_instance_type() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { instance_type: 1, ..Spec::default() }));
}

#[test]
fn another_network() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { subnet: 2, ..Spec::default() }));
}

#[test]
fn a_longer_life() {
    insta::assert_snapshot!(change(
        &Spec { deadline: "lifetime: 30d", ..Spec::default() },
        &Spec { deadline: "lifetime: 90d", ..Spec::default() }
    ));
}

#[test]
fn no_end_any_more() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { deadline: "", ..Spec::default() }));
}

#[test]
fn an_address_of_the_account() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { address: Some(0), ..Spec::default() }));
}

#[test]
fn a_rule_that_somebody_opened() {
    insta::assert_snapshot!(repair(|world| disturb(world, Drift::OpenToTheWorld)));
}

#[test]
fn a_stopped_instance() {
    insta::assert_snapshot!(repair(|world| {
        disturb(world, Drift::Stop);
        disturb(world, Drift::WeakenMetadata);
        disturb(world, Drift::Disassociate);
    }));
}

#[test]
fn a_terminated_instance() {
    insta::assert_snapshot!(repair(|world| disturb(world, Drift::Terminate)));
}

#[test]
fn an_instance_that_lost_its_tag() {
    insta::assert_snapshot!(repair(|world| disturb(world, Drift::DropTag(1))));
}

#[test]
fn what_an_interrupted_run_left() {
    insta::assert_snapshot!(repair(|world| {
        disturb(world, Drift::SecondInstance);
        disturb(world, Drift::SecondAddress);
    }));
}

#[test]
fn a_newer_image() {
    let spec = Spec { image_update: true, ..Spec::default() };
    let set = steps_after(&spec, &spec, |world| disturb(world, Drift::NewImage)).expect("a changeset");
    insta::assert_snapshot!(read(&set));
}

/// The plan once had an address of its own, and now calls the same address existing.
#[test]
fn an_address_that_is_kept() {
    let spec = Spec { address: Some(0), ..Spec::default() };
    let set = steps_after(&spec, &spec, |world| {
        let owned = |a: &mut ElasticIp| _ = a.tags.insert(BASTION.to_owned(), BASTION_NAME.to_owned());
        world.all.addresses.iter_mut().filter(|a| a.allocation == super::plans::EXISTING[0]).for_each(owned);
    });
    insta::assert_snapshot!(read(&set.expect("a changeset")));
}

#[test]
fn nothing_is_left() {
    let spec = Spec { databases: [(0, 0), (1, 1)].into(), ..Spec::default() };
    insta::assert_snapshot!(read(&removal(&standing(&spec))));
}
