//! What people read of the typical changes.

use gangplank::{changeset::Changeset, cli::show::human, provider::azure::action::Action, style::Palette};

use super::{
    converge::{changes, removal, standing, start, steps_after},
    drift::{Drift, disturb},
    plans::{BASIC, CLASSIC, HUB, POLICY, PUBLIC, STANDARD, Spec, subscription},
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

fn new(edge: usize) -> String {
    let spec = Spec { keys: [].into(), ..Spec::edge(edge) };
    read(&changes(&subscription(), &spec.read().want(), start()).expect("a changeset"))
}

/// From one plan to another, without what stays open.
fn change(have: &Spec, want: &Spec) -> String {
    short(&read(&steps_after(have, want, |_| {}).expect("a changeset")))
}

/// The same plan, after something has happened.
fn repair(spec: &Spec, what: impl FnOnce(&mut World)) -> String {
    short(&read(&steps_after(spec, spec, what).expect("a changeset")))
}

fn short(text: &str) -> String {
    text.split("\nAfter this").next().unwrap_or_default().to_owned()
}

#[test]
fn a_new_bastion_behind_a_basic_firewall() {
    insta::assert_snapshot!(new(BASIC));
}

#[test]
fn a_new_bastion_behind_a_firewall_with_a_policy() {
    insta::assert_snapshot!(new(HUB));
}

#[test]
fn a_new_bastion_behind_a_firewall_with_classic_rules() {
    insta::assert_snapshot!(new(CLASSIC));
}

#[test]
fn a_new_bastion_behind_a_policy() {
    insta::assert_snapshot!(short(&new(POLICY)));
}

#[test]
fn a_new_bastion_with_an_address_of_its_own() {
    insta::assert_snapshot!(new(PUBLIC));
}

#[test]
fn a_source_more() {
    let have = Spec::default();
    insta::assert_snapshot!(change(&have, &Spec { sources: [0, 1].into(), ..have.clone() }));
}

#[test]
fn a_source_more_without_a_firewall() {
    let have = Spec::edge(PUBLIC);
    insta::assert_snapshot!(change(&have, &Spec { sources: [0, 1].into(), ..have.clone() }));
}

#[test]
fn a_source_more_in_a_classic_firewall() {
    let have = Spec::edge(CLASSIC);
    insta::assert_snapshot!(change(&have, &Spec { sources: [0, 1].into(), ..have.clone() }));
}

#[test]
fn another_key() {
    let have = Spec::default();
    insta::assert_snapshot!(change(&have, &Spec { keys: [1].into(), ..have.clone() }));
}

#[test]
fn another_size_and_port() {
    let have = Spec::default();
    insta::assert_snapshot!(change(&have, &Spec { size: 1, port: 2222, ..have.clone() }));
}

#[test]
fn from_a_firewall_to_an_address_of_its_own() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec::edge(PUBLIC)));
}

#[test]
fn from_its_own_firewall_to_the_companys() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec::edge(HUB)));
}

#[test]
fn a_better_firewall() {
    insta::assert_snapshot!(change(&Spec::default(), &Spec { edge: STANDARD + 1, ..Spec::default() }));
}

#[test]
fn what_somebody_opened() {
    insta::assert_snapshot!(repair(&Spec::default(), |world| {
        disturb(world, Drift::OpenToTheWorld);
        disturb(world, Drift::AnotherNatSource);
    }));
}

#[test]
fn what_somebody_stopped_and_what_azure_has_not_finished() {
    insta::assert_snapshot!(repair(&Spec::default(), |world| {
        disturb(world, Drift::Stop);
        disturb(world, Drift::Busy);
        disturb(world, Drift::DropUserTag);
    }));
}

#[test]
fn no_change() {
    insta::assert_snapshot!(repair(&Spec::default(), |_| {}));
}

#[test]
fn nothing_is_left() {
    let spec = Spec::default();
    insta::assert_snapshot!(read(&removal(&standing(&spec), &spec.read())));
}

#[test]
fn what_others_use_stays() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    disturb(&mut world, Drift::ForeignInTheGroup);
    disturb(&mut world, Drift::ForeignSubnet);
    insta::assert_snapshot!(read(&removal(&world, &spec.read())));
}

#[test]
fn only_the_rule_leaves_a_shared_firewall() {
    let spec = Spec::edge(CLASSIC);
    insta::assert_snapshot!(read(&removal(&standing(&spec), &spec.read())));
}
