//! The catalogue of vendors: every word of it makes a plan, its hand-off fits its kind, and `gangplank vendors` tells it.

use std::{fs, process::Command, sync::Arc};

use gangplank::{
    diagnostic::{Source, render},
    handoff::{self, Known},
    location::Location,
    plan::{
        self, Plan,
        catalogue::{HostKeyHabit, TunnelOffer, catalogue},
    },
};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{Run, Victim, run};

const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1wwnsJ9HuEUP/JMewhaHQeQWr+IlteeNLQzJ2z9Njo",
];

fn text_of(vendor: &str, more: &str) -> String {
    format!(
        "version: 1\nname: warehouse\naws:\n  region: us-east-1\n  subnet: subnet-0a1b2c3d4e5f60718\n  image: debian-13\n  instance_type: \
         t4g.nano\n  address: elastic\ntunnels:\n  - vendor: {vendor}\n{more}    targets:\n      - {{name: warehouse, host: 10.20.2.10, port: 5432}}\n"
    )
}

fn plan_of(vendor: &str, more: &str) -> Plan {
    let text = text_of(vendor, more);
    let source = Source { path: "plans/warehouse.yaml".to_owned(), text };
    plan::read(Arc::new(source)).unwrap_or_else(|problems| panic!("{vendor}: {}", render(&problems, false)))
}

fn gangplank(arguments: &[&str]) -> Run {
    let home = TempDir::new().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    run(command.args(arguments).env_clear().env("HOME", home.path()), &Victim::default())
}

#[test]
fn every_word_of_the_catalogue_makes_a_plan() {
    for vendor in catalogue() {
        for id in vendor.ids() {
            let user = if vendor.user.is_some() { "" } else { "    user: tunnel\n" };
            let own = if id.contains('/') { "" } else { "    allow_from: [203.0.113.9]\n" };
            let sha1 = vendor.sha1_signatures.as_ref().is_some_and(|sha1| sha1.instead.is_none());
            let sha1 = if sha1 { "    legacy_rsa_sha1: false\n" } else { "" };
            let plan = plan_of(&id, &format!("{user}{own}{sha1}"));
            let tunnel = &plan.tunnels[0];
            let usual = vendor.user.as_ref().map_or("tunnel", |user| user.name.as_str());
            assert_eq!(tunnel.user.as_str(), usual, "{id}");
            assert!(tunnel.sources().next().is_some(), "{id}");
        }
    }
}

/// What the hand-off asks for next where no key is there yet, and the fields of the form.
fn handed_over(vendor: &str, more: &str) -> String {
    let plan = plan_of(vendor, more);
    let known = Known {
        location: Location::aws("us-east-1"),
        address: Some("203.0.113.7".to_owned()),
        port: 22,
        host_keys: Vec::new(),
        deadline: None,
        now: "2026-11-22T12:00:00Z".parse().expect("a time"),
        prefix_lists: Default::default(),
        verification: None,
        other_ends: Vec::new(),
    };
    let handoff = handoff::handoff(&plan, &known);
    let fields = handoff.tunnels[0].fields.iter();
    let fields: String =
        fields.map(|field| format!("{}: {}\n", field.label, field.value.as_deref().unwrap_or("-"))).collect();
    let notes: String = handoff.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let next: String = handoff.next.iter().map(|next| format!("> {}\n", next.text)).collect();
    format!("{fields}{notes}{next}")
}

#[test]
fn a_hand_off_fits_the_vendors_kind() {
    let own = "    user: tunnel\n    allow_from: [203.0.113.9]\n";
    let kinds = [
        ("fivetran/gcp-us-east4", ""),
        ("dbt/us1-aws", ""),
        ("airbyte-cloud/eu", "    user: tunnel\n"),
        ("matillion", own),
        ("estuary", own),
        ("hightouch", "    allow_from: [203.0.113.9]\n"),
        ("materialize/aws-us-east-1", "    user: tunnel\n"),
        ("cdata-connect-ai/default", "    user: tunnel\n"),
    ];
    let told: Vec<_> = kinds.iter().map(|(vendor, more)| format!("{vendor}\n{}", handed_over(vendor, more))).collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn two_keys_are_two_keys() {
    let keys = format!("    user: tunnel\n    keys: [\"{}\", \"{}\"]\n", KEYS[0], KEYS[1]);
    assert_eq!(plan_of("materialize/aws-us-east-1", &keys).tunnels[0].keys.len(), 2);
}

#[test]
fn the_catalogue_is_listed_and_explained() {
    assert_snapshot!("vendors", gangplank(&["vendors"]).expect(0).stdout);
    assert_snapshot!("vendor", gangplank(&["vendors", "materialize"]).expect(0).stdout);
    assert_snapshot!("region", gangplank(&["vendors", "dbt/us1-aws"]).expect(0).stdout);
    let all = gangplank(&["vendors", "--output", "json"]).expect(0).json();
    assert_eq!(all["vendors"].as_array().map(Vec::len), Some(catalogue().len()));
    let one: Value = gangplank(&["vendors", "fivetran", "--output", "json"]).expect(0).json();
    assert_eq!(one["vendors"][0]["host_key"], "pinned");
    assert_eq!(one["vendors"][0]["regions"]["gcp-us-east4"]["addresses"][0], "35.234.176.144/29");
    for unknown in ["fivetrann", "fivetran/mars"] {
        assert!(gangplank(&["vendors", unknown]).expect(64).stderr.contains("gangplank vendors"));
    }
}

#[test]
fn a_vendors_own_list_is_compared() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("ips.json");
    let path = file.to_str().expect("a plain path");
    let check = |text: &str, name: &str| {
        fs::write(&file, text).expect("a writable folder");
        gangplank(&["vendors", name, "--check", path])
    };
    let same = r#"{"eu": ["3.126.102.29", "18.158.16.164/32", "18.158.251.55", "52.57.235.168"]}"#;
    let told = check(same, "stitch/europe").expect(0).stdout;
    assert!(told.contains("4 in both, 0 only in the file"), "{told}");
    let told = check(&same.replace("52.57.235.168", "203.0.113.9"), "stitch/europe").expect(2).stdout;
    assert!(told.contains("+ 203.0.113.9/32") && told.contains("- 52.57.235.168/32"), "{told}");
    assert!(check("no list\n", "stitch/europe").expect(64).stderr.contains("has no IP address in it"));
    gangplank(&["vendors", "--check", path]).expect(64);
}

/// A new machine has a new host key.
#[test]
fn a_vendor_that_keeps_the_host_key_is_told_of_before_a_new_machine() {
    let folder = TempDir::new().expect("a temporary folder");
    let (file, sandbox) =
        (folder.path().join("plan.yaml"), format!("--sandbox={}", folder.path().join("box").display()));
    let path = file.to_str().expect("a plain path");
    let plan = |vendor: &str, change: [&str; 2]| {
        fs::write(&file, text_of(vendor, "    user: tunnel\n").replace(change[0], change[1]))
            .expect("a writable folder");
    };
    let told = |vendor: &str| {
        plan(vendor, ["", ""]);
        gangplank(&[&sandbox, "apply", "--yes", "--no-verify", path]).expect(0);
        plan(vendor, ["t4g.nano", "t4g.micro"]);
        gangplank(&[&sandbox, "plan", path]).expect(0).stdout
    };
    let note = "Fivetran keeps the bastion's host key";
    let (pinned, not) = (told("fivetran/gcp-us-east4"), told("posthog/eu"));
    assert!(pinned.contains(note) && !not.contains("keeps the bastion's host key"), "{pinned}{not}");
}

#[test]
fn what_the_rest_of_the_program_relies_on_is_there() {
    let pinned = catalogue().iter().filter(|vendor| vendor.host_key == HostKeyHabit::Pinned).count();
    assert!(pinned > 0);
    assert!(catalogue().iter().any(|vendor| vendor.tunnel == TunnelOffer::None));
}
