//! Tags and impostors: what somebody who may only tag, or only launch, brings about.

use gangplank::{
    changeset::{Changeset, Op},
    cloudinit,
    provider::aws::{
        action::{Action, Call},
        observed::{Attachment, ElasticIp, Image, Instance, InstanceState, MachineOrigin},
        ownership, teardown,
    },
    tags::{BASTION, BOOT, HOST_KEY, NAME},
};

use super::{
    converge::{changes, removal, standing, start, step},
    drift::{Drift, disturb},
    plans::{BASTION_NAME, Spec, account},
    world::{Chance, World},
};

fn own(world: &World) -> Instance {
    world.all.instances_of(BASTION_NAME).next().expect("the bastion's machine").clone()
}

fn with_machine(world: &mut World, change: impl FnOnce(&mut Instance)) {
    let id = own(world).id;
    change(world.all.instances.iter_mut().find(|i| i.id == id).expect("it is there"));
}

/// What somebody launches who may launch and tag, and knows everything that DescribeInstances shows.
fn impostor(world: &mut World, group: &str) -> String {
    let id = world.id("i");
    let mut twin = own(world);
    (twin.id, twin.groups) = (id.clone(), vec![group.to_owned()]);
    twin.tags.remove(HOST_KEY);
    world.all.instances.push(twin);
    id
}

fn origin(user_data: &str, name: &str, owner: &str) -> MachineOrigin {
    let image = Image {
        id: "ami-000000b1".to_owned(),
        name: name.to_owned(),
        owner: owner.to_owned(),
        architecture: "arm64".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        root_size: 8,
        created: "2026-08-11T10:00:00.000Z".to_owned(),
        deprecation: None,
    };
    MachineOrigin { user_data: Ok(Some(cloudinit::digest(user_data))), image: Ok(Some(image)) }
}

const DEBIAN: (&str, &str) = ("debian-13-arm64-20260811-2566", "136693071363");

fn towards(world: &World, spec: &Spec) -> Result<Changeset<Action>, String> {
    changes(world, &spec.read().want(), start())
}

fn touches(set: &Changeset<Action>, id: &str) -> bool {
    // A launch names all that there was, so that its token differs from theirs.
    let mut steps = set.steps.iter().filter(|step| !matches!(step.action.call, Call::RunInstance(_)));
    steps.any(|step| serde_json::to_string(&step.action).expect("an action").contains(id))
}

fn ended(set: &Changeset<Action>) -> Vec<&str> {
    let mut ids = Vec::new();
    for step in &set.steps {
        if let Call::TerminateInstance { instance, .. } = &step.action.call {
            ids.push(instance.as_str());
        }
    }
    ids
}

/// The database's group keeps its rule, and the plan its database.
#[test]
fn a_tag_on_the_databases_group_makes_it_no_bastions_own() {
    let mut world = standing(&Spec::default());
    let databases = world.all.groups.iter_mut().filter(|group| group.name == "database");
    databases.for_each(|group| _ = group.tags.insert(BASTION.to_owned(), BASTION_NAME.to_owned()));
    let set = towards(&world, &Spec::default()).expect("a changeset");
    assert_eq!(set.steps, []);
}

type Change = fn(&mut Instance);

/// Its tags are the real one's, and the real one's boot tag is changed so that it has to be replaced.
#[test]
fn an_impostor_beside_the_bastion_is_left_alone_and_gets_nothing() {
    let mut world = standing(&Spec::default());
    let real = own(&world).id;
    let impostor = impostor(&mut world, "sg-000000d2");
    with_machine(&mut world, |i| _ = i.tags.insert(BOOT.to_owned(), "document=000000000000".to_owned()));
    let set = towards(&world, &Spec::default()).expect("a changeset");
    assert!(!touches(&set, &impostor), "{set:#?}");
    assert!(set.notes.iter().any(|note| note.contains(&impostor) && note.contains("left alone")), "{:?}", set.notes);
    assert_eq!(ended(&set), [real.as_str()]);
    assert_eq!(step(&set, "instance").map(|step| step.op), Some(Op::Replace), "this run makes the new one");
    world.execute(&set, Chance(3), usize::MAX, |_, _| {});
    let machine = own(&world);
    assert!(machine.id != real && machine.id != impostor);
    assert!(world.all.instances.iter().any(|i| i.id == impostor && i.state == InstanceState::Running));
}

/// Somebody who may launch into the bastion's group makes both marks. The holder of the address stays what it is.
#[test]
fn a_machine_in_the_group_never_displaces_the_one_that_holds_the_address() {
    for changed in [false, true] {
        let mut world = standing(&Spec::default());
        let real = own(&world);
        let twin = impostor(&mut world, &real.groups[0]);
        if changed {
            with_machine(&mut world, |i| _ = i.tags.insert(BOOT.to_owned(), "document=000000000000".to_owned()));
        }
        let set = towards(&world, &Spec::default()).expect("a changeset");
        assert!(ended(&set).contains(&twin.as_str()), "{set:#?}");
        assert_eq!(ended(&set).contains(&real.id.as_str()), changed);
        world.execute(&set, Chance(3), usize::MAX, |_, _| {});
        let machine = own(&world).id;
        assert!(machine != twin && (machine == real.id) != changed);
    }
}

/// Somebody has launched into the bastion's group with its tags, and has moved the address.
#[test]
fn nothing_is_ended_for_a_holder_that_gangplank_did_not_make() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    let real = own(&world);
    let twin = impostor(&mut world, &real.groups[0]);
    for address in world.all.addresses.iter_mut().filter(|a| a.attached == Some(Attachment::Instance(real.id.clone())))
    {
        address.attached = Some(Attachment::Instance(twin.clone()));
    }
    let right = origin(&spec.read().user_data.text, DEBIAN.0, DEBIAN.1);
    let unread = MachineOrigin { user_data: Err("DescribeInstanceAttribute failed".to_owned()), ..right.clone() };
    let evil = origin("#cloud-config\nruncmd: [evil]\n", DEBIAN.0, DEBIAN.1);
    let published = origin(&spec.read().user_data.text, DEBIAN.0, "666666666666");
    for (refused, origin) in [(true, evil), (true, published), (true, unread), (false, right)] {
        world.all.origins = [(twin.clone(), origin)].into();
        match towards(&world, &spec) {
            Ok(set) => assert!(!refused && ended(&set) == [real.id.as_str()], "{set:#?}"),
            Err(problems) => {
                for told in [real.id.as_str(), &twin, "associate-address", "terminate-instances"] {
                    assert!(refused && problems.contains(told), "{told}: {problems}");
                }
            }
        }
    }
}

#[test]
fn a_machine_that_lacks_a_mark_and_holds_the_address_stops_the_run() {
    let cases: [(&str, Change); 3] = [
        ("create-tags", |i| _ = i.tags.remove(BOOT)),
        ("modify-instance-attribute", |i| i.groups = vec!["sg-000000d2".to_owned()]),
        ("aws:autoscaling:groupName", |i| _ = i.tags.insert("aws:autoscaling:groupName".to_owned(), "web".to_owned())),
    ];
    for (told, change) in cases {
        let mut world = standing(&Spec::default());
        let real = own(&world).id;
        with_machine(&mut world, change);
        let problems = towards(&world, &Spec::default()).expect_err("refused");
        assert!(problems.contains(&real) && problems.contains(told), "{told}: {problems}");
        // Nor is it destroyed.
        assert_eq!(ended(&removal(&world)), [""; 0]);
    }
}

#[test]
fn several_machines_without_an_address_are_named_and_none_is_chosen() {
    let mut world = standing(&Spec::default());
    let real = own(&world);
    let twin = impostor(&mut world, &real.groups[0]);
    world.disassociate(&real.id);
    let problems = towards(&world, &Spec::default()).expect_err("refused");
    for told in [real.id.as_str(), twin.as_str(), "terminate-instances", "associate-address"] {
        assert!(problems.contains(told), "{told}: {problems}");
    }
}

/// Nothing leads to it: an interrupted run has left it, or somebody has put it there.
#[test]
fn a_machine_that_nothing_leads_to_is_taken_over_only_where_all_of_it_is_right() {
    let spec = Spec::default();
    let text = spec.read().user_data.text;
    let right = origin(&text, DEBIAN.0, DEBIAN.1);
    let unread = || Err("DescribeInstanceAttribute failed".to_owned());
    let cases: [(bool, MachineOrigin, Change); 7] = [
        (true, right.clone(), |_| {}),
        (false, origin("#cloud-config\n# another\n", DEBIAN.0, DEBIAN.1), |_| {}),
        (false, origin(&text, "debian-13-arm64-20260811-2566", "666666666666"), |_| {}),
        (false, origin(&text, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-1", "099720109477"), |_| {}),
        (false, MachineOrigin { user_data: unread(), ..right.clone() }, |_| {}),
        (false, right.clone(), |i| i.key_pair = Some("ana".to_owned())),
        (false, right, |i| i.profile = Some("arn:aws:iam::123456789012:instance-profile/admin".to_owned())),
    ];
    for (kept, origin, change) in cases {
        let mut world = standing(&spec);
        let left = own(&world).id;
        world.disassociate(&left);
        world.all.origins.insert(left.clone(), origin.clone());
        with_machine(&mut world, change);
        let set = towards(&world, &spec).expect("a changeset");
        assert_eq!(ended(&set).is_empty(), kept, "{origin:?} {set:#?}");
        assert_eq!(step(&set, "instance").is_none(), kept);
        if let Some(made) = step(&set, "instance") {
            // Never two of which nothing tells which one serves.
            assert!(made.after.iter().any(|id| id.0.ends_with(&format!("/instance-{left}"))), "{made:?}");
        }
        world.execute(&set, Chance(3), usize::MAX, |_, _| {});
        assert!(towards(&world, &spec).expect("a changeset").is_empty());
    }
}

/// What serves with another document is displaced by a machine that this run makes, and nothing is written to it before.
#[test]
fn nothing_is_written_to_a_machine_with_another_document() {
    let (spec, other) = (Spec::default(), Spec { keys: [1].into(), ..Spec::default() });
    let mut world = standing(&spec);
    let real = own(&world).id;
    let set = towards(&world, &other).expect("a changeset");
    assert!(step(&set, "instance-keys").is_some() && step(&set, "instance").is_none());
    world.all.origins.insert(real.clone(), origin("#cloud-config\n", DEBIAN.0, DEBIAN.1));
    let set = towards(&world, &other).expect("a changeset");
    let made = step(&set, "instance").expect("a new machine");
    assert_eq!(made.reason, "its user data is not the document that gangplank gave it");
    let to_it = set.steps.iter().filter(|step| step.action.call.written_machine() == Some(real.as_str()));
    assert_eq!(to_it.count(), 0);
    assert_eq!(ended(&set), [real.as_str()]);
}

#[test]
fn tags_make_nothing_go() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    let tag = |tags: &mut gangplank::tags::Tags| {
        tags.insert(BASTION.to_owned(), BASTION_NAME.to_owned());
        tags.insert(NAME.to_owned(), "gangplank-warehouse".to_owned());
    };
    let mut payments = world.all.instances[0].clone();
    (payments.id, payments.instance_type) = ("i-0000beef".to_owned(), "m5.large".to_owned());
    tag(&mut payments.tags);
    payments.groups = vec!["sg-000000d2".to_owned()];
    world.all.instances.push(payments);
    let spare = ElasticIp {
        counts: true,
        border_group: None,
        allocation: "eipalloc-0000beef".to_owned(),
        ip: "203.0.113.240".parse().ok(),
        attached: None,
        tags: [(BASTION.to_owned(), BASTION_NAME.to_owned())].into(),
    };
    world.all.addresses.push(spare);
    for group in world.all.groups.iter_mut().filter(|g| g.id == "sg-000000d4") {
        tag(&mut group.tags);
    }
    let strange = ["i-0000beef", "eipalloc-0000beef", "sg-000000d4"];
    for set in [towards(&world, &spec).expect("a changeset"), removal(&world)] {
        for id in strange {
            assert!(!touches(&set, id), "{id}: {set:#?}");
            assert!(set.notes.iter().any(|note| note.contains(id)), "{id}: {:?}", set.notes);
        }
    }
    assert_eq!(teardown::strangers(BASTION_NAME, &world.look(None)).len(), 3);
    // Nor without a bastion of that name: what carries its tag is nobody's to give away.
    let mut world = account();
    world.all.addresses.push(ElasticIp {
        counts: true,
        border_group: None,
        allocation: "eipalloc-0000beef".to_owned(),
        ip: "203.0.113.240".parse().ok(),
        attached: None,
        tags: [(BASTION.to_owned(), BASTION_NAME.to_owned()), (NAME.to_owned(), "gangplank-warehouse".to_owned())]
            .into(),
    });
    let set = towards(&world, &spec).expect("a changeset");
    assert!(!touches(&set, "eipalloc-0000beef"));
    assert!(removal(&world).is_empty());
}

/// The address is allocated and its mark is not made: the next run uses it, and marks it.
#[test]
fn an_address_of_an_interrupted_run_is_used_and_marked() {
    let spec = Spec::default();
    let mut world = account();
    let set = towards(&world, &spec).expect("a changeset");
    let only = set.steps.iter().filter(|step| matches!(step.action.call, Call::AllocateAddress { .. })).cloned();
    let only = Changeset { steps: only.collect(), ..set };
    world.execute(&only, Chance(1), usize::MAX, |_, _| {});
    let left = world.all.addresses.last().expect("the address").allocation.clone();
    assert!(removal(&world).is_empty(), "its tags alone are not enough to release it");
    let set = towards(&world, &spec).expect("a changeset");
    assert!(step(&set, "address").is_none() && step(&set, "address-mark").is_some(), "{set:#?}");
    assert!(set.notes.iter().any(|note| note.contains(&left)), "{:?}", set.notes);
    world.execute(&set, Chance(1), usize::MAX, |_, _| {});
    // By itself at its deadline: the address is known as the bastion's own all the same.
    disturb(&mut world, Drift::Terminate);
    assert_eq!(world.all.addresses_of(BASTION_NAME).count(), 1);
    let set = removal(&world);
    let release = step(&set, &format!("address-{left}")).expect("it goes");
    let group = world.all.groups_of(BASTION_NAME).next().expect("its group").id.clone();
    let delete = step(&set, &format!("security-group-{group}")).expect("the group goes");
    assert!(delete.after.contains(&release.id), "the mark stays until the address is gone");
}

/// A bastion of an earlier gangplank has no mark yet: it is kept, and gets one.
#[test]
fn a_bastion_without_a_mark_is_adopted_as_it_is() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    for group in &mut world.all.groups {
        let marks: Vec<_> = ownership::marks(&group.egress, BASTION_NAME).map(|(rule, _)| rule.clone()).collect();
        group.egress.retain(|rule, _| !marks.contains(rule));
    }
    let set = towards(&world, &spec).expect("a changeset");
    assert_eq!(set.steps.len(), 1, "{set:#?}");
    assert!(step(&set, "address-mark").is_some());
}
