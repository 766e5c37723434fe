//! Why a plan can't be fulfilled, as people read it.

use gangplank::{
    diagnostic,
    provider::aws::{
        diff::{self, World as Against},
        observed::{Attachment, Group, Surroundings},
        rule::Rules,
    },
    tags::{BASTION, Tags},
};
use jiff::SignedDuration;

use super::{
    converge::{changes, standing, start},
    plans::{BASTION_NAME, EXISTING, Spec, Written, account},
    world::World,
};

/// The problems of a plan that differs from the usual one in one place.
fn problems(world: &World, replace: &str, with: &str) -> String {
    let text = Spec::default().text();
    assert!(text.contains(replace), "{text}");
    refused(world, &text.replace(replace, with))
}

fn refused(world: &World, text: &str) -> String {
    changes(world, &Written::read(text).want(), start()).expect_err("a problem")
}

fn renamed(world: &mut World, id: &str, name: &str) {
    world.all.groups.iter_mut().filter(|g| g.id == id).for_each(|g| g.name = name.to_owned());
}

#[test]
fn no_such_subnet() {
    insta::assert_snapshot!(problems(&account(), "subnet-000000a1", "subnet-0000dead"));
}

#[test]
fn no_subnet_of_this_tag() {
    insta::assert_snapshot!(problems(&account(), "subnet: subnet-000000a1", "subnet: {tag: {Name: nowhere}}"));
}

#[test]
fn an_ambiguous_tag() {
    let mut world = account();
    for subnet in &mut world.around.subnets {
        subnet.tags.insert("tier".to_owned(), "public".to_owned());
    }
    insta::assert_snapshot!(problems(&world, "subnet: subnet-000000a1", "subnet: {tag: {tier: public}}"));
}

#[test]
fn a_private_subnet() {
    insta::assert_snapshot!(problems(&account(), "subnet-000000a1", "subnet-000000a4"));
}

/// EC2 keeps new tags and the console of a Xen machine back while it runs.
#[test]
fn a_xen_type() {
    let mut world = account();
    world.around.instance_types.iter_mut().filter(|t| t.name == "t4g.nano").for_each(|t| t.nitro = false);
    insta::assert_snapshot!(refused(&world, &Spec::default().text()));
}

#[test]
fn too_little_memory_for_amazon_linux() {
    insta::assert_snapshot!(problems(&account(), "image: debian-13", "image: amazon-linux-2023"));
}

#[test]
fn a_deprecated_image_is_noted() {
    let mut world = account();
    let deprecated = Some("2026-01-01T00:00:00Z".parse().expect("a time"));
    world.around.images.iter_mut().for_each(|image| image.deprecation = deprecated);
    let set = changes(&world, &Written::read(&Spec::default().text()).want(), start()).expect("no problem");
    assert!(set.notes.iter().any(|note| note.contains("is deprecated")), "{:?}", set.notes);
}

#[test]
fn an_ipv6_target_is_noted() {
    let spec = Spec { ipv6_target: true, ..Spec::default() };
    let set = changes(&account(), &Written::read(&spec.text()).want(), start()).expect("no problem");
    assert!(set.notes.iter().any(|note| note.contains("target six has an IPv6 address")), "{:?}", set.notes);
}

#[test]
fn no_such_database_group() {
    insta::assert_snapshot!(problems(&account(), "sg-000000d1", "sg-0000dead"));
}

#[test]
fn a_database_in_another_network() {
    insta::assert_snapshot!(problems(&account(), "sg-000000d1", "sg-000000d3"));
}

#[test]
fn a_bastions_group_as_a_database() {
    insta::assert_snapshot!(problems(&account(), "sg-000000d1", "sg-000000f1"));
}

#[test]
fn a_foreign_group_of_our_name() {
    let mut world = account();
    renamed(&mut world, "sg-000000d2", "gangplank-warehouse");
    insta::assert_snapshot!(refused(&world, &Spec::default().text()));
}

#[test]
fn an_address_that_leads_elsewhere() {
    let mut world = account();
    world.all.addresses[0].attached = Some(Attachment::Interface("eni-000000f3".to_owned()));
    insta::assert_snapshot!(problems(&world, "address: elastic", "address: eipalloc-000000e1"));
}

#[test]
fn an_address_of_ours_that_leads_elsewhere() {
    let mut world = standing(&Spec::default());
    let ours = |tags: &Tags| tags.get(BASTION).is_some_and(|owner| owner == BASTION_NAME);
    for address in world.all.addresses.iter_mut().filter(|a| ours(&a.tags)) {
        address.attached = Some(Attachment::Instance("i-0000dead".to_owned()));
    }
    insta::assert_snapshot!(refused(&world, &Spec::default().text()));
}

#[test]
fn an_address_of_another_bastion() {
    let mut world = account();
    for address in world.all.addresses.iter_mut().filter(|a| a.allocation == EXISTING[0]) {
        address.tags.insert(BASTION.to_owned(), "ware".to_owned());
    }
    insta::assert_snapshot!(problems(&world, "address: elastic", "address: eipalloc-000000e1"));
}

#[test]
fn no_such_address() {
    insta::assert_snapshot!(problems(&account(), "address: elastic", "address: eipalloc-0000dead"));
}

#[test]
fn no_such_instance_type() {
    insta::assert_snapshot!(problems(&account(), "t4g.nano", "t9z.nano"));
}

#[test]
fn no_such_image() {
    insta::assert_snapshot!(problems(&account(), "image: debian-13\n  image_update: false", "image: ami-0000dead"));
}

#[test]
fn no_image_for_the_alias() {
    insta::assert_snapshot!(problems(&account(), "debian-13", "ubuntu-26.04"));
}

#[test]
fn an_image_of_another_architecture() {
    insta::assert_snapshot!(problems(&account(), "image: debian-13\n  image_update: false", "image: ami-000000c2"));
}

#[test]
fn a_life_that_is_over() {
    let written = Spec::default().read();
    let later = start() + SignedDuration::from_hours(91 * 24);
    insta::assert_snapshot!(changes(&standing(&Spec::default()), &written.want(), later).expect_err("a problem"));
}

#[test]
fn an_end_that_has_passed() {
    insta::assert_snapshot!(problems(&account(), "lifetime: 90d", "expires: 2026-01-31T00:00:00Z"));
}

#[test]
fn everything_at_once() {
    let mut world = account();
    renamed(&mut world, "sg-000000d2", "gangplank-warehouse");
    let text = Spec { databases: [(0, 0), (1, 1)].into(), ..Spec::default() }.text();
    let text = text.replace("subnet-000000a1", "subnet-000000a4").replace("sg-000000d1", "sg-0000dead");
    let text = text.replace("lifetime: 90d", "expires: 2026-01-31T00:00:00Z").replace("t4g.nano", "t9z.nano");
    insta::assert_snapshot!(refused(&world, &text));
}

/// What the reader is told to run must be a command: the region's key may name a profile.
#[test]
fn commands_name_region_and_profile() {
    let written = Spec { subnet_by_tag: true, ..Spec::default() }.read();
    let want = written.want();
    let mut world = account();
    let group = Group {
        id: "sg-0000dead".to_owned(),
        name: "gangplank-warehouse".to_owned(),
        description: String::new(),
        vpc: "vpc-1".to_owned(),
        ingress: Rules::new(),
        egress: Rules::new(),
        tags: Tags::new(),
    };
    world.all.groups.push(group);
    let seen = world.look(Some(&want));
    let told = |around: &Surroundings| {
        let against = Against { region: "prod@us-east-1", seen: &seen, around, now: start(), claimed: 0 };
        diagnostic::render(&diff::diff(&want, against).expect_err("a problem"), false)
    };
    let nowhere = told(&Surroundings::default());
    assert!(nowhere.contains("`aws --profile prod --region us-east-1 ec2 describe-subnets`"), "{nowhere}");
    assert!(nowhere.contains("us-east-1 has no subnet Name=public-a"), "{nowhere}");
    let taken = told(&world.around);
    assert!(taken.contains("`aws --profile prod --region us-east-1 ec2 create-tags"), "{taken}");
    assert!(!taken.contains("prod@"), "{taken}");
}
