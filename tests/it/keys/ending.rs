//! The machine's script and its deadline, without a machine to switch off.

use std::{fs, os::unix::fs::PermissionsExt};

use gangplank::{
    provider::{aws::keys, azure::keys as azure_keys},
    tags::Tags,
};

use super::{
    read,
    script::{Machine, Round, SECODA, line},
    text,
};
use crate::support::plans::{KEY, ROTATED_KEY};

impl Machine {
    fn ending(&self, keys: &[&str], expires: &str) -> Round {
        let mut tags = keys::tags(&read(&text(keys)));
        tags.insert("gangplank:expires".to_owned(), expires.to_owned());
        self.metadata.show(&tags);
        self.round()
    }

    /// How often the machine was told to shut down.
    fn shutdowns(&self) -> usize {
        fs::read_to_string(self.folder.path().join("shut")).map_or(0, |said| said.lines().count())
    }

    fn known(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.folder.path().join("state/deadline")).unwrap()).unwrap()
    }

    fn with_shutdown() -> Option<Self> {
        let machine = Self::new()?;
        let (path, shut) = (machine.folder.path().join("shutdown"), machine.folder.path().join("shut"));
        fs::write(&path, format!("#!/bin/sh\necho \"$*\" >>{}\n", shut.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Some(machine)
    }
}

fn in_seconds(seconds: i64) -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap().to_string()
}

#[test]
fn the_machine_ends_at_its_deadline_and_not_before() {
    let Some(machine) = Machine::with_shutdown() else { return };
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
    assert_eq!(machine.known()["closed"], false);
    // Whatever is no time, or is not there: it keeps the end that it knows, and takes its keys.
    for odd in ["tomorrow", "2030-01-31", "2030-02-30T00:00:00Z", "1e9", "", "2030-01-31T00:00:00+01:00"] {
        let before = machine.known()["expires"].clone();
        let round = machine.ending(&[KEY, ROTATED_KEY], odd);
        assert!(!round.ok && round.said.contains("the deadline stays as it is: "), "{odd}: {round:?}");
        assert_eq!((machine.known()["expires"].clone(), machine.accepted("secoda").len()), (before, 2), "{odd}");
    }
    assert_eq!(machine.shutdowns(), 0);
    let over = machine.ending(&[KEY], &in_seconds(-1));
    assert!(!over.ok && over.said.contains("the bastion's time is up since"), "{over:?}");
    for user in ["secoda", "ana", "fivetran"] {
        assert_eq!(machine.accepted(user), [""; 0], "{user}");
    }
    assert_eq!(machine.shutdowns(), 1);
    // An extension that comes before the power is off opens it again.
    assert!(machine.ending(&[KEY], &in_seconds(600)).ok);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
}

#[test]
fn the_machine_ends_without_its_metadata_and_with_a_wrong_clock() {
    let Some(machine) = Machine::with_shutdown() else { return };
    // Another clock than the cloud's: the cloud's is a day ahead. It closes, and ends for good.
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    machine.metadata.set_clock(jiff::SignedDuration::from_hours(24));
    assert!(!machine.round().ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
    // What was seen then is put right by the cloud's clock, and by nothing else.
    machine.metadata.set_clock(jiff::SignedDuration::ZERO);
    assert!(machine.round().ok);
    assert_eq!(machine.accepted("secoda").len(), 1);
    // The cloud's clock is behind: the machine's own closes it, and it does not end for good.
    machine.metadata.set_clock(jiff::SignedDuration::from_hours(-24));
    assert!(!machine.ending(&[KEY], &in_seconds(-60)).ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
    machine.metadata.set_clock(jiff::SignedDuration::ZERO);
    assert!(machine.ending(&[KEY], &in_seconds(2)).ok);
    machine.metadata.hide_tags();
    machine.metadata.stop();
    // The memory of a day in the future, as a clock that was then set back leaves it: another boot, so nothing is counted on.
    let mut state = machine.known();
    state["seen"] = (jiff::Timestamp::now().as_second() + 86400).into();
    state["boot"] = "another".into();
    fs::write(machine.folder.path().join("state/deadline"), state.to_string()).unwrap();
    assert!(!machine.round().ok);
    assert_eq!(
        machine.accepted("secoda"),
        [""; 0],
        "what has ended stays closed after a reboot with its clock set back"
    );
    assert_eq!(machine.shutdowns(), 1, "nobody confirms the clock yet: it has a minute");
    // A machine that has lost its memory cannot know, and admits nobody.
    fs::remove_file(machine.folder.path().join("state/deadline")).unwrap();
    assert!(!machine.round().ok);
    assert_eq!(machine.accepted("secoda"), [""; 0]);
}

#[test]
fn a_deadline_goes_with_its_tag_but_not_when_all_tags_go() {
    let Some(machine) = Machine::with_shutdown() else { return };
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    machine.metadata.show(&Tags::new());
    assert!(!machine.round().ok);
    assert!(machine.known()["expires"].is_number(), "all tags are gone: that says nothing");
    assert!(machine.bring(&[KEY]).ok);
    assert!(machine.known()["expires"].is_null(), "the others are there: there is no deadline");
}

#[test]
fn a_machine_on_azure_learns_its_deadline_from_user_data() {
    let Some(machine) = Machine::with_shutdown() else { return };
    let plan = read(&text(&[KEY]));
    let show = |seconds: i64| {
        let end = in_seconds(seconds).parse().unwrap();
        machine.metadata.show_user_data(&azure_keys::user_data(&plan, Some(end)).expect("live keys"));
        machine.round()
    };
    assert!(show(3600).ok);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
    assert!(machine.known()["expires"].is_number());
    let longer = azure_keys::with_deadline(
        &azure_keys::user_data(&plan, in_seconds(60).parse().ok()).unwrap(),
        in_seconds(7200).parse().unwrap(),
    );
    machine.metadata.show_user_data(&longer.expect("a whole set").0);
    assert!(machine.round().ok);
    assert!(!show(-1).ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
}

/// A user who came to run programs on the machine can change its own home, and nothing else.
#[test]
fn no_users_home_holds_off_the_end_or_keeps_the_others_keys() {
    let Some(machine) = Machine::with_shutdown() else { return };
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    // `ana` comes first.
    let in_the_way = machine.path("ana").with_extension("new");
    fs::create_dir(&in_the_way).unwrap();
    fs::write(machine.path("ana"), b"\xff\xfe").unwrap();
    let round = machine.ending(&[ROTATED_KEY], &in_seconds(3600));
    assert!(!round.ok && round.said.contains("authorized_keys.new"), "{round:?}");
    assert_eq!(machine.accepted("secoda"), [line(SECODA, ROTATED_KEY)]);

    assert!(!machine.ending(&[KEY], &in_seconds(-1)).ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
}
