//! Azure's auto-shutdown: written in a bastion's last hours, moved with its end, gone with it.

use gangplank::{
    changeset::{Changeset, Op},
    provider::{
        azure::{
            action::Action,
            auto_shutdown::{Offer, Service},
            diff::{self, World as Against},
            extend::extend,
            id::Kind,
            observed::{Observed, Surroundings},
        },
        extend::{End, Which, Wish},
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    converge::{changes, hours, removal, standing, start, step},
    drift::ours,
    plans::{PUBLIC, Spec, Written},
    world::{Chance, World, kind, text},
};

const STEP: &str = "auto-shutdown";

fn short() -> Spec {
    Spec { deadline: "lifetime: 12h", ..Spec::edge(PUBLIC) }
}

fn time(world: &mut World) -> Option<String> {
    let schedule = ours(world, Kind::AutoShutdown)?;
    Some(text(schedule, "/properties/dailyRecurrence/time").to_owned())
}

fn execute(world: &mut World, set: &Changeset<Action>) {
    world.execute(set, Chance(3), usize::MAX, |_, _| {});
}

/// Moves the end; the changeset, carried out.
fn moved(world: &mut World, written: &Written, which: Which, by: i64, now: Timestamp) -> Changeset<Action> {
    let wish = Wish { which, end: End::By(SignedDuration::from_hours(by)) };
    let set = extend(&written.plan, written.azure(), &with_user_data(world), wish, now);
    let set = set.unwrap_or_else(|problem| panic!("{}", problem.summary));
    execute(world, &set);
    set
}

/// As a look before a decision about the end has it.
fn with_user_data(world: &World) -> Observed {
    let mut seen = world.look();
    let machines: Vec<_> = seen.of_kind(Kind::Machine).map(|m| m.id.clone()).collect();
    for id in machines {
        let data = world.all.get(&id).map(|raw| text(raw, "/properties/userData").to_owned()).unwrap_or_default();
        seen.add_user_data(&id, data);
    }
    seen
}

fn comes_before(set: &Changeset<Action>, first: &str, then: &str) -> bool {
    let (Some(first), Some(then)) = (step(set, first), step(set, then)) else { panic!("{first}, {then}: {set:#?}") };
    then.after.contains(&first.id)
}

#[test]
fn it_is_there_from_the_start_of_a_short_life_and_goes_with_it() {
    let spec = short();
    let mut world = standing(&spec);
    assert_eq!(start(), "2026-11-20T12:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(time(&mut world).as_deref(), Some("0031"), "twelve hours and half of one");
    let machine = ours(&mut world, Kind::Machine).map(|m| text(m, "/id").to_owned());
    let schedule = ours(&mut world, Kind::AutoShutdown).cloned().unwrap();
    assert_eq!(Some(text(&schedule, "/properties/targetResourceId")), machine.as_deref());
    assert_eq!(text(&schedule, "/tags/gangplank:expires"), "2026-11-21T00:00:00Z");
    assert_eq!(text(&schedule, "/properties/timeZoneId"), "UTC");
    let set = removal(&world, &spec.read());
    execute(&mut world, &set);
    assert!(!world.all.values().any(|r| kind(r) == Some(Kind::AutoShutdown)), "{:?}", world.all.keys());
}

#[test]
fn what_somebody_changed_or_took_away_is_drift() {
    let spec = short();
    let drifted = |change: &dyn Fn(&mut World)| {
        let mut world = standing(&spec);
        change(&mut world);
        let set = changes(&world, &spec.read().want(), hours(1)).unwrap();
        assert_eq!(set.steps.len(), 1, "{set:#?}");
        execute(&mut world, &set);
        assert_eq!(time(&mut world).as_deref(), Some("0031"));
        assert!(changes(&world, &spec.read().want(), hours(2)).unwrap().is_empty());
        set.steps[0].op
    };
    let set = |pointer: &'static str, value: Value| {
        move |world: &mut World| {
            *ours(world, Kind::AutoShutdown).and_then(|s| s.pointer_mut(pointer)).unwrap() = value.clone();
        }
    };
    assert_eq!(drifted(&|world| world.all.retain(|_, r| kind(r) != Some(Kind::AutoShutdown))), Op::Create);
    assert_eq!(drifted(&set("/properties/dailyRecurrence/time", json!("1200"))), Op::Update);
    assert_eq!(drifted(&set("/properties/status", json!("Disabled"))), Op::Update);
}

#[test]
fn it_is_written_in_the_last_hours_of_a_long_life_and_not_before() {
    let spec = Spec { deadline: "lifetime: 30d", ..Spec::edge(PUBLIC) };
    let world = standing(&spec);
    let planned = |now| step(&changes(&world, &spec.read().want(), now).unwrap(), STEP).map(|step| step.op);
    assert_eq!((planned(hours(1)), planned(hours(30 * 24 - 24)), planned(hours(30 * 24 - 23))), (None, None, None));
    assert_eq!(planned(hours(30 * 24 - 22)), Some(Op::Create));
}

#[test]
fn a_later_end_takes_it_away_before_the_machine_learns_of_it() {
    let (spec, far) = (short(), Spec { deadline: "lifetime: 90d", ..short() });
    let mut world = standing(&spec);
    let set = moved(&mut world, &spec.read(), Which::Extend, 48, hours(11));
    assert_eq!(step(&set, STEP).map(|step| step.op), Some(Op::Delete));
    assert!(comes_before(&set, STEP, "end-machine"));
    assert_eq!(time(&mut world), None);
    assert!(changes(&world, &spec.read().want(), hours(11)).unwrap().is_empty());
    // The plan's own way to the same.
    let mut world = standing(&spec);
    let set = changes(&world, &far.read().want(), hours(11)).unwrap();
    assert!(comes_before(&set, STEP, "machine-keys"));
    execute(&mut world, &set);
    assert_eq!(time(&mut world), None);
}

#[test]
fn a_nearer_end_is_the_machines_first_and_a_little_later_one_the_schedules() {
    let spec = short();
    let mut world = standing(&spec);
    let set = moved(&mut world, &spec.read(), Which::Shorten, 3, hours(1));
    assert!(comes_before(&set, "end-machine", STEP));
    assert_eq!(time(&mut world).as_deref(), Some("2131"));
    let set = moved(&mut world, &spec.read(), Which::Extend, 1, hours(2));
    assert!(comes_before(&set, STEP, "end-machine"));
    assert_eq!(time(&mut world).as_deref(), Some("2231"));
    assert!(changes(&world, &spec.read().want(), hours(3)).unwrap().is_empty());
    // From far away to near.
    let spec = Spec { deadline: "lifetime: 3d", ..short() };
    let mut world = standing(&spec);
    let set = moved(&mut world, &spec.read(), Which::Shorten, 60, hours(1));
    assert_eq!(step(&set, STEP).map(|step| step.op), Some(Op::Create));
    assert!(comes_before(&set, "end-machine", STEP));
    assert_eq!(time(&mut world).as_deref(), Some("0031"));
}

#[test]
fn a_plan_that_loses_its_end_loses_the_schedule() {
    let spec = short();
    let mut world = standing(&spec);
    let set = changes(&world, &Spec { deadline: "", ..spec }.read().want(), hours(1)).unwrap();
    execute(&mut world, &set);
    assert_eq!(time(&mut world), None);
}

#[test]
fn somebody_elses_is_left_alone_and_told() {
    let spec = short();
    let mut world = standing(&spec);
    if let Some(schedule) = ours(&mut world, Kind::AutoShutdown) {
        schedule["tags"] = json!({});
        schedule["properties"]["dailyRecurrence"]["time"] = json!("1900");
    }
    let set = changes(&world, &spec.read().want(), hours(1)).unwrap();
    assert!(set.is_empty(), "{set:#?}");
    assert!(
        set.notes.iter().any(|note| note.contains("daily at 1900 UTC") && note.contains("leaves it alone")),
        "{set:#?}"
    );
}

#[test]
fn where_it_cannot_be_had_a_note_says_so_and_all_else_is_done() {
    let spec = short();
    let written = spec.read();
    let world = super::plans::subscription();
    let told = |service: Service| {
        let (mut seen, around): (Observed, Surroundings) = (world.look(), world.surroundings());
        seen.auto_shutdown = service;
        let set = diff::diff(&written.want(), Against { seen: &seen, around: &around, now: start() }).unwrap();
        assert!(step(&set, "machine").is_some());
        let notes: Vec<String> = set.notes.iter().filter(|note| note.contains("can't be set up")).cloned().collect();
        assert_eq!(notes.is_empty(), step(&set, STEP).is_some(), "{set:#?}");
        notes.join("\n")
    };
    let unregistered = Offer { registered: false, locations: Vec::new() };
    let elsewhere = Offer { registered: true, locations: vec!["eastus".to_owned()] };
    assert_eq!(told(Service::default()), "");
    insta::assert_snapshot!(
        [
            told(Service { unseen: None, offer: Some(unregistered) }),
            told(Service { unseen: None, offer: Some(elsewhere) }),
            told(Service { unseen: Some("the identity has no permission".to_owned()), offer: None }),
        ]
        .join("\n")
    );
}
