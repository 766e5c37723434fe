//! The hand-off and the verification as they are read: on a terminal, by a program, by CI, in a browser.
//!
//! `GANGPLANK_TEST_PAGES=FOLDER` keeps the pages, to look at.

mod page;
mod program;
mod ssh;
mod text;
mod verdicts;

use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command, sync::Arc};

use anstream::adapter::strip_str;
use gangplank::{
    cli::show::verification,
    diagnostic::Source,
    handoff::{self, HandOff, Known},
    plan::{self, Host, Plan},
    style::Palette,
    tags::deadline::ResolvedDeadline,
    verify::{Check, Part, Vantage, Verification},
};
use insta::assert_snapshot;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support;

const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb root@bastion";
const FINGERPRINT: &str = "SHA256:5ZZy1D8eVgcMc3zNoP1aZdexyQG8tXDjqrFVVx08kG4";

fn read(path: &str, text: &str) -> Plan {
    plan::read(Arc::new(Source { path: path.to_owned(), text: text.to_owned() })).expect("a plan")
}

/// One vendor, one target, one operator, no key yet.
fn warehouse() -> Plan {
    read("plans/aws-warehouse.yaml", include_str!("../../plans/aws-warehouse.yaml"))
}

fn with_key() -> Plan {
    let mut plan = warehouse();
    plan.tunnels[0].keys = analytics().tunnels[0].keys.clone();
    plan
}

/// Two vendors, three targets, two operators, port 2222.
fn analytics() -> Plan {
    read("plans/aws-two-vendors.yaml", include_str!("../../plans/aws-two-vendors.yaml"))
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("a time")
}

/// An end that nobody has moved.
fn ends(at: &str) -> Option<ResolvedDeadline> {
    Some(ResolvedDeadline { expires: at.parse().expect("a time"), lifetime: None, moved: None })
}

fn known(verification: Option<&Verification>) -> Known<'_> {
    Known {
        location: support::location(),
        address: Some("203.0.113.10".to_owned()),
        port: 22,
        host_keys: vec![HOST_KEY.to_owned()],
        deadline: ends("2027-02-20T12:00:00Z"),
        other_ends: Vec::new(),
        now: now(),
        prefix_lists: BTreeMap::new(),
        verification,
    }
}

fn check(vantage: Vantage, id: &'static str, part: Part, proves: &str) -> Check {
    Check::new(vantage, id, part, proves)
}

fn target() -> Part {
    Part::Target("warehouse".to_owned())
}

fn verification(checks: Vec<Check>) -> Verification {
    Verification {
        bastion: "warehouse".to_owned(),
        location: support::location(),
        address: Some("203.0.113.10".to_owned()),
        port: 22,
        checks,
    }
}

fn questions() -> Vec<Check> {
    use Vantage::{ControlPlane, Machine, Network};
    vec![
        check(ControlPlane, "control.ingress", Part::Edge, "exactly the listed addresses may connect")
            .seen("tcp 22 from 35.175.75.15/32")
            .seen("tcp 22 from 198.51.100.20/32"),
        check(ControlPlane, "control.address", Part::Edge, "the address leads to the machine")
            .seen("203.0.113.10 is associated with i-0123456789abcdef0"),
        check(ControlPlane, "control.database-group", target(), "the database's group lets the bastion in")
            .about("warehouse")
            .seen("sg-0db: tcp 5432 from the bastion's group"),
        check(Machine, "machine.cloud-init", Part::Bastion, "the machine was set up without an error"),
        check(Machine, "machine.authorized-keys", Part::Bastion, "sshd accepts the file with the user's keys")
            .about("secoda")
            .seen("/home/secoda/.ssh/authorized_keys 0600 secoda:secoda"),
        check(Machine, "machine.target", target(), "the machine reaches the target").about("warehouse"),
        check(Network, "network.tcp", Part::Edge, "a connection reaches the daemon"),
        check(Network, "network.host-key", Part::Bastion, "the host key is the pinned one"),
        check(Network, "network.forward", target(), "a forward leads to a server that speaks postgres")
            .about("warehouse")
            .seen("SSLRequest answered with S in 3 ms"),
        check(Network, "network.refuses-shell", Part::Bastion, "nobody gets a shell"),
    ]
}

fn all_pass() -> Verification {
    verification(questions().into_iter().map(Check::pass).collect())
}

/// The database's group is closed: seen by two vantages; the third does not look from here.
fn one_red() -> Verification {
    let judged = questions().into_iter().map(|check| match check.id {
        "control.database-group" => check.fail(
            "security group sg-0db has no rule that lets the bastion in on tcp 5432",
            "run `gangplank apply`, or list sg-0db under aws.database_access",
        ),
        "machine.target" => {
            check.unknown("the boot report is older than the plan's targets: it comes again within a minute")
        }
        _ if check.vantage == Vantage::Network => check
            .unknown("this machine's address, 192.0.2.77, is not in the allow list: run it from an operator's machine"),
        _ => check.pass(),
    });
    verification(judged.collect())
}

fn no_report() -> Verification {
    let judged = questions().into_iter().map(|mut check| {
        check.evidence.clear();
        match check.vantage {
            Vantage::ControlPlane => check.unknown("the instance is still pending: wait a minute"),
            Vantage::Machine => {
                check.unknown("no boot report yet: EC2 shows the console about five minutes after the boot")
            }
            Vantage::Network => check.unknown("this machine's address, 192.0.2.77, is not in the allow list"),
        }
    });
    verification(judged.collect())
}

fn page(name: &str, handoffs: &[HandOff]) -> String {
    let page = handoff::html::html(handoffs).expect("a page");
    if let Some(folder) = env::var_os("GANGPLANK_TEST_PAGES") {
        fs::write(PathBuf::from(folder).join(format!("{name}.html")), &page).expect("a folder to write to");
    }
    page
}

fn xml(text: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(text, options).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn plain(handoffs: &[HandOff]) -> String {
    let colored = handoff::text::text(handoffs, &Palette::COLORED);
    let text = handoff::text::text(handoffs, &Palette::PLAIN);
    assert_eq!(strip_str(&colored).to_string(), text, "colour changes no word");
    text
}

/// Whatever the page shows that is not its own: each must stand in the text of an element, as it is.
fn hostile() -> (Plan, Verification) {
    const EVIL: &str = "<script>alert(1)</script>\"'{{plan}}{{{x}}}&amp;<!-- ]]>\u{1b}[2J\u{202e}\u{ffff}";
    let mut plan = analytics();
    let text = plan.origin.source.text.clone();
    plan.origin.source = Arc::new(Source { path: format!("plans/{EVIL}.yaml"), text });
    for tunnel in &mut plan.tunnels {
        for target in &mut tunnel.targets {
            target.name = format!("target {EVIL}");
            target.host = Host::Name(format!("host {EVIL}"));
        }
        for key in &mut tunnel.keys {
            key.comment = format!("comment {EVIL}");
        }
        let vendor = tunnel.vendor.as_mut().expect("both have one");
        vendor.id = format!("vendor {EVIL}");
        vendor.documentation = Some(format!("https://docs.example.com/{EVIL}"));
        vendor.form = vendor.form.as_ref().map(|_| "javascript:alert(1)".to_owned());
        vendor.known = vendor.known.map(|known| {
            let mut known = known.clone();
            known.form.iter_mut().take(1).for_each(|field| field.label = format!("label {EVIL}"));
            &*Box::leak(Box::new(known))
        });
    }
    let check = |id| {
        check(Vantage::Network, id, Part::Target(format!("target {EVIL}")), &format!("proves {EVIL}"))
            .about(EVIL)
            .seen(format!("evidence {EVIL}"))
    };
    let mut verified = verification(vec![
        check("network.a").pass(),
        check("network.b").fail(format!("cause {EVIL}"), format!("fix {EVIL}")),
        check("network.c").unknown(format!("reason {EVIL}")),
    ]);
    verified.bastion = format!("bastion {EVIL}");
    (plan, verified)
}
