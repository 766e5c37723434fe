//! The hand-off and the verification as they are read: on a terminal, by a program, by CI, in a browser.
//!
//! `GANGPLANK_TEST_PAGES=FOLDER` keeps the pages, to look at.

use std::{env, fs, path::PathBuf, process::Command, sync::Arc};

use anstream::adapter::strip_str;
use gangplank::{
    cli::{show::verification, style::Palette},
    diagnostic::Source,
    handoff::{self, HandOff, Known},
    plan::{self, Host, Plan},
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

fn known(verification: Option<&Verification>) -> Known<'_> {
    Known {
        location: "aws us-east-1".to_owned(),
        address: Some("203.0.113.10".to_owned()),
        port: 22,
        host_keys: vec![HOST_KEY.to_owned()],
        expires: Some("2027-02-20T12:00:00Z".parse().expect("a time")),
        now: now(),
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
        location: "aws us-east-1".to_owned(),
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

#[test]
fn without_an_address_the_only_step_is_to_apply() {
    let plan = warehouse();
    let none = Known { address: None, host_keys: vec![], expires: None, ..known(None) };
    assert_snapshot!(plain(&[handoff::handoff(&plan, &none)]), @r#"
    warehouse  aws us-east-1  plans/aws-warehouse.yaml

      address          not known yet: apply the plan
      ends             90 days after its creation
      checks           nothing was checked

    Next
      1. Apply the plan: there is no address yet that the vendor's form could be filled in with.
           gangplank apply plans/aws-warehouse.yaml

    Tunnel secoda  secoda/north-america
      SSH Username     secoda
      SSH Hostname     not known yet: apply the plan
      Port             22
      the form         https://app.secoda.co/tunnels/
      documentation    https://docs.secoda.co/integrations/security/connecting-via-ssh-tunnel
      admits           35.175.75.15/32  secoda/north-america
      keys             none yet: it admits nobody
      In the data source's own form, exactly so:
        ? warehouse  host warehouse.internal  port 5432  postgres, unknown

    Host key, as known_hosts has it
      not known yet: the machine writes it to its console at the end of its boot, and the hand-off has it from there a few minutes later; trust no key before
    "#);
}

#[test]
fn without_a_key_the_hand_off_points_at_the_line_where_it_belongs() {
    let verified = no_report();
    let plan = warehouse();
    let handoff = handoff::handoff(&plan, &Known { host_keys: vec![], ..known(Some(&verified)) });
    page("no-key", std::slice::from_ref(&handoff));
    assert_snapshot!(handoff::text::fields(std::slice::from_ref(&handoff)).trim(), @r#"
    warehouse tunnel secoda  https://app.secoda.co/tunnels/
      SSH Username     secoda
      SSH Hostname     203.0.113.10
      Port             22
      Next: Fill in the vendor's form with the fields of tunnel secoda. Paste the public key that it shows then under `keys` of tunnel secoda in plans/aws-warehouse.yaml, line 21, and apply again: the machine takes it while it runs.
    "#);
    assert_snapshot!(plain(&[handoff]), @r#"
    warehouse  aws us-east-1  plans/aws-warehouse.yaml

      address          203.0.113.10 port 22
      ends             2027-02-20T12:00:00Z, in 90 days
      checks           10 unknown

    Next
      1. Verify it again: 10 checks have no answer yet, and say what would give one.
           gangplank verify plans/aws-warehouse.yaml
      2. Fill in the vendor's form with the fields of tunnel secoda. Paste the public key that it shows then under `keys` of tunnel secoda in plans/aws-warehouse.yaml, line 21, and apply again: the machine takes it while it runs.
           https://app.secoda.co/tunnels/
           gangplank apply plans/aws-warehouse.yaml

    Tunnel secoda  secoda/north-america
      SSH Username     secoda
      SSH Hostname     203.0.113.10
      Port             22
      the form         https://app.secoda.co/tunnels/
      documentation    https://docs.secoda.co/integrations/security/connecting-via-ssh-tunnel
      admits           35.175.75.15/32  secoda/north-america
      keys             none yet: it admits nobody
      In the data source's own form, exactly so:
        ? warehouse  host warehouse.internal  port 5432  postgres, unknown

    Host key, as known_hosts has it
      not known yet: the machine writes it to its console at the end of its boot, and the hand-off has it from there a few minutes later; trust no key before

    Try it by hand as ana, with this in ~/.ssh/config
      Host gangplank-warehouse
        HostName 203.0.113.10
        Port 22
        User ana
        IdentityFile ~/.ssh/id_ed25519
        IdentitiesOnly yes
        UserKnownHostsFile ~/.ssh/gangplank-warehouse.known_hosts
        StrictHostKeyChecking ask
        IgnoreUnknown SessionType
        SessionType none
        RequestTTY no
        ExitOnForwardFailure yes
        LocalForward 127.0.0.1:15432 warehouse.internal:5432
      the host key's lines belong in ~/.ssh/gangplank-warehouse.known_hosts

      ssh -N gangplank-warehouse
      psql -h 127.0.0.1 -p 15432 -U USER DATABASE  warehouse
    "#);
}

#[test]
fn with_everything_green_the_vendor_tests_the_connection() {
    let verified = all_pass();
    let plan = with_key();
    let handoff = handoff::handoff(&plan, &known(Some(&verified)));
    page("green", std::slice::from_ref(&handoff));
    assert_snapshot!(plain(&[handoff]), @r#"
    warehouse  aws us-east-1  plans/aws-warehouse.yaml

      address          203.0.113.10 port 22
      ends             2027-02-20T12:00:00Z, in 90 days
      checks           10 passed

    Next
      1. At secoda/north-america, choose tunnel secoda in the data source's integration, with its target's host and port exactly as written here, and click Test Connection.
           https://app.secoda.co/tunnels/

    Tunnel secoda  secoda/north-america
      SSH Username     secoda
      SSH Hostname     203.0.113.10
      Port             22
      the form         https://app.secoda.co/tunnels/
      documentation    https://docs.secoda.co/integrations/security/connecting-via-ssh-tunnel
      admits           35.175.75.15/32  secoda/north-america
      keys             ssh-ed25519 SHA256:2FD+mdbvDsf35kAUURke4r23RsMH72SpcaDQyGWraEY  secoda@example.com
      In the data source's own form, exactly so:
        ✓ warehouse  host warehouse.internal  port 5432  postgres, passed

    Host key, as known_hosts has it
      203.0.113.10 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb
        SHA256:5ZZy1D8eVgcMc3zNoP1aZdexyQG8tXDjqrFVVx08kG4

    Try it by hand as ana, with this in ~/.ssh/config
      Host gangplank-warehouse
        HostName 203.0.113.10
        Port 22
        User ana
        IdentityFile ~/.ssh/id_ed25519
        IdentitiesOnly yes
        UserKnownHostsFile ~/.ssh/gangplank-warehouse.known_hosts
        StrictHostKeyChecking yes
        IgnoreUnknown SessionType
        SessionType none
        RequestTTY no
        ExitOnForwardFailure yes
        LocalForward 127.0.0.1:15432 warehouse.internal:5432
      the host key's lines belong in ~/.ssh/gangplank-warehouse.known_hosts

      ssh -N gangplank-warehouse
      psql -h 127.0.0.1 -p 15432 -U USER DATABASE  warehouse
    "#);
}

#[test]
fn what_is_red_comes_first() {
    let verified = one_red();
    let plan = with_key();
    let handoff = handoff::handoff(&plan, &known(Some(&verified)));
    page("red", std::slice::from_ref(&handoff));
    assert_snapshot!(handoff.next.iter().map(|n| format!("{:?}: {}", n.kind, n.text)).collect::<Vec<_>>().join("\n"), @r#"
    Repair: First repair what is red. control.database-group[warehouse]: security group sg-0db has no rule that lets the bastion in on tcp 5432. To do: run `gangplank apply`, or list sg-0db under aws.database_access.
    Test: At secoda/north-america, choose tunnel secoda in the data source's integration, with its target's host and port exactly as written here, and click Test Connection.
    "#);
}

#[test]
fn another_port_two_vendors_and_two_operators() {
    let plan = analytics();
    let soon = Known { port: 2222, expires: Some("2026-11-25T12:00:00Z".parse().expect("a time")), ..known(None) };
    assert_snapshot!(plain(&[handoff::handoff(&plan, &soon)]), @r#"
    analytics  aws us-east-1  plans/aws-two-vendors.yaml

      address          203.0.113.10 port 2222
      ends             2026-11-25T12:00:00Z, in 3 days
      checks           nothing was checked

    Next
      1. Verify it: nothing was looked at for this hand-off.
           gangplank verify plans/aws-two-vendors.yaml
      2. At secoda/eu, choose tunnel secoda in the data source's integration, with its target's host and port exactly as written here, and click Test Connection.
           https://eu.secoda.co/tunnels/
      3. At Example Reporting, choose tunnel reporting in the data source's integration, with its target's host and port exactly as written here, and click Test Connection.
      4. It ends in 3 days, at 2026-11-25T12:00:00Z. If it is needed longer, `gangplank extend` moves that; or give the plan a later deadline and apply it.
           gangplank apply plans/aws-two-vendors.yaml

    Tunnel secoda  secoda/eu
      SSH Username     secoda
      SSH Hostname     203.0.113.10
      Port             2222
      the form         https://eu.secoda.co/tunnels/
      documentation    https://docs.secoda.co/integrations/security/connecting-via-ssh-tunnel
      admits           3.122.13.89/32  secoda/eu
      keys             ssh-ed25519 SHA256:2FD+mdbvDsf35kAUURke4r23RsMH72SpcaDQyGWraEY  secoda@example.com
      In the data source's own form, exactly so:
        ? warehouse  host warehouse.cluster-abc.eu-central-1.rds.amazonaws.com  port 5432  postgres, unknown

    Tunnel reporting  Example Reporting
      User             reporting
      Host             203.0.113.10
      Port             2222
      documentation    https://docs.example.com/ssh-tunnel
      admits           203.0.113.16/28  Example Reporting
                       2001:db8:12::/64  Example Reporting
                       198.51.100.77/32  allow_from
      keys             ssh-rsa SHA256:S+ERAFeTGDPT8vYvih4gVSy25sAtIBwcKQL82OPa7es  vendor@example.com
      In the data source's own form, exactly so:
        ? orders  host 10.20.4.17  port 3306  mysql, unknown
        ? ledger  host ledger.internal  port 1433  sqlserver, unknown

    Host key, as known_hosts has it
      [203.0.113.10]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb
        SHA256:5ZZy1D8eVgcMc3zNoP1aZdexyQG8tXDjqrFVVx08kG4

    Try it by hand as ana, with this in ~/.ssh/config
      Host gangplank-analytics
        HostName 203.0.113.10
        Port 2222
        User ana
        IdentityFile ~/.ssh/id_ed25519
        IdentitiesOnly yes
        UserKnownHostsFile ~/.ssh/gangplank-analytics.known_hosts
        StrictHostKeyChecking yes
        IgnoreUnknown SessionType
        SessionType none
        RequestTTY no
        ExitOnForwardFailure yes
        LocalForward 127.0.0.1:15432 warehouse.cluster-abc.eu-central-1.rds.amazonaws.com:5432
        LocalForward 127.0.0.1:13306 10.20.4.17:3306
        LocalForward 127.0.0.1:11433 ledger.internal:1433
      the host key's lines belong in ~/.ssh/gangplank-analytics.known_hosts
      with another User and IdentityFile also for eve

      ssh -N gangplank-analytics
      psql -h 127.0.0.1 -p 15432 -U USER DATABASE                     warehouse
      mysql --protocol=TCP -h 127.0.0.1 -P 13306 -u USER -p DATABASE  orders
      sqlcmd -S tcp:127.0.0.1,11433 -U USER -d DATABASE               ledger
    "#);
}

#[test]
fn what_has_ended_is_to_be_destroyed() {
    let mut plan = warehouse();
    plan.origin.source = Arc::new(Source { path: "our plans/it's.yaml".to_owned(), text: String::new() });
    let over = Known { expires: Some("2026-11-22T09:00:00Z".parse().expect("a time")), ..known(None) };
    let handoff = handoff::handoff(&plan, &over);
    assert_eq!(
        json!(handoff.next[0]),
        json!({
            "kind": "destroy",
            "text": "Its deadline, 2026-11-22T09:00:00Z, has passed (3 hours ago). Destroy it, or give the plan a later one \
                     and apply that.",
            "command": r"gangplank destroy 'our plans/it'\''s.yaml'",
        })
    );
}

#[test]
fn a_part_is_as_bad_as_the_worst_of_its_checks_and_unknown_without_one() {
    let (verified, green) = (one_red(), all_pass());
    let elsewhere = verification(vec![check(Vantage::Network, "network.tcp", Part::Edge, "it answers").pass()]);
    let plan = with_key();
    let of = |verification| {
        let handoff = handoff::handoff(&plan, &known(verification));
        json!([handoff.path.edge, handoff.path.bastion, handoff.tunnels[0].targets[0].light])
    };
    assert_eq!(of(Some(&verified)), json!(["unknown", "unknown", "fail"]));
    assert_eq!(of(Some(&green)), json!(["pass", "pass", "pass"]));
    assert_eq!(of(None), json!(["unknown", "unknown", "unknown"]));
    assert_eq!(of(Some(&elsewhere)), json!(["pass", "unknown", "unknown"]));
}

#[test]
fn openssh_reads_the_snippet_and_the_host_keys() {
    let Ok(version) = Command::new("ssh").arg("-V").output() else { return support::skip("no ssh here") };
    assert!(version.status.success());
    let folder = tempfile::tempdir().expect("a folder");
    for (plan, address, port, pattern) in [
        (analytics(), "203.0.113.10", 22, "203.0.113.10"),
        (analytics(), "203.0.113.10", 2222, "[203.0.113.10]:2222"),
        (warehouse(), "2001:db8::10", 22, "2001:db8::10"),
        (warehouse(), "2001:db8::10", 2222, "[2001:db8::10]:2222"),
    ] {
        let handoff = handoff::handoff(&plan, &Known { address: Some(address.to_owned()), port, ..known(None) });
        let by_hand = handoff.by_hand.as_ref().expect("the plan has an operator");
        let (config, hosts) = (folder.path().join("config"), folder.path().join("known_hosts"));
        fs::write(&config, &by_hand.ssh_config).expect("a file");
        let out = Command::new("ssh").arg("-G").arg("-F").arg(&config).arg(format!("gangplank-{}", plan.name)).output();
        let out = out.expect("ssh");
        assert!(out.status.success(), "{}\n{}", by_hand.ssh_config, String::from_utf8_lossy(&out.stderr));
        let settings = String::from_utf8_lossy(&out.stdout).into_owned();
        let has = |line: &str| assert!(settings.lines().any(|l| l == line), "{line}\n{settings}");
        has(&format!("hostname {address}"));
        has(&format!("port {port}"));
        has("user ana");
        has("identitiesonly yes");
        has("exitonforwardfailure yes");
        has("stricthostkeychecking true");
        for target in plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets) {
            let trial = by_hand.trials.iter().find(|trial| trial.target == target.name).expect("a trial");
            has(&format!("localforward [127.0.0.1]:{} [{}]:{}", trial.local_port, target.host, target.port));
        }

        let line = handoff.host_keys[0].known_hosts.as_deref().expect("there is an address");
        fs::write(&hosts, format!("{line}\n")).expect("a file");
        let found = Command::new("ssh-keygen").arg("-l").arg("-F").arg(pattern).arg("-f").arg(&hosts).output();
        let found = String::from_utf8_lossy(&found.expect("ssh-keygen").stdout).into_owned();
        assert!(found.contains(&handoff.host_keys[0].fingerprint), "{pattern}: {found}");
    }
}

#[test]
fn a_host_key_that_is_none_gets_nowhere() {
    let plan = warehouse();
    let forged = format!("{HOST_KEY}\n* ssh-ed25519 AAAA");
    let keys =
        vec!["ssh-ed25519 AAAA".to_owned(), forged, "* evil".to_owned(), HOST_KEY.to_owned(), HOST_KEY.to_owned()];
    let handoff = handoff::handoff(&plan, &Known { host_keys: keys, ..known(None) });
    let lines: Vec<_> = handoff.host_keys.iter().filter_map(|key| key.known_hosts.as_deref()).collect();
    assert!(lines.iter().all(|line| line.split(' ').count() == 3 && !line.contains(['\n', '*'])), "{lines:?}");
    assert_eq!(handoff.host_keys.len(), 1);
    assert_eq!(handoff.host_keys[0].fingerprint, FINGERPRINT);
    assert!(handoff.notes.iter().any(|note| note.contains("could not be read")), "{:?}", handoff.notes);
}

#[test]
fn an_address_that_is_none_gets_nowhere() {
    let plan = warehouse();
    for address in ["203.0.113.10\n  ProxyCommand evil", "-oProxyCommand=evil", "a b", "", "*", "203.0.113.10,*"] {
        let handoff = handoff::handoff(&plan, &Known { address: Some(address.to_owned()), ..known(None) });
        assert_eq!(handoff.address, None);
        assert!(handoff.by_hand.is_none() && handoff.host_keys.iter().all(|key| key.known_hosts.is_none()));
        assert_eq!(handoff.notes.len(), 1);
    }
}

#[test]
fn two_targets_of_one_port_get_forwards_of_their_own() {
    let mut plan = warehouse();
    let first = plan.tunnels[0].targets[0].clone();
    for (name, host, port) in [("second", "10.0.0.9", 5432), ("six", "fd12::5", 5432), ("high", "10.0.0.9", 65535)] {
        let host = host.parse().map(Host::Address).expect("an address");
        plan.tunnels[0].targets.push(plan::Target { name: name.to_owned(), host, port, ..first.clone() });
    }
    plan.tunnels[0].targets.push(plan::Target { name: "again".to_owned(), ..first });
    let handoff = handoff::handoff(&plan, &known(None));
    let by_hand = handoff.by_hand.expect("the plan has an operator");
    let ports: Vec<_> = by_hand.trials.iter().map(|trial| trial.local_port).collect();
    assert_eq!(ports, [15432, 15433, 15434, 65535]);
    assert!(by_hand.ssh_config.contains("LocalForward 127.0.0.1:15434 [fd12::5]:5432\n"), "{}", by_hand.ssh_config);
}

#[test]
fn a_program_reads_the_hand_off() {
    let verified = one_red();
    let plan = warehouse();
    let text = handoff::json::json(&[handoff::handoff(&plan, &known(Some(&verified)))]);
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    let bastion = value["bastions"][0].as_object_mut().expect("a bastion");
    let checks = bastion.remove("verification").expect("a verification")["checks"].as_array().map(Vec::len);
    assert_eq!(checks, Some(10));
    let by_hand = bastion.remove("by_hand").expect("an operator");
    assert_eq!(by_hand["trials"][0]["local_port"], 15432);
    assert_snapshot!(format!("{value:#}"), @r#"
    {
      "format_version": 1,
      "bastions": [
        {
          "bastion": "warehouse",
          "location": "aws us-east-1",
          "plan": "plans/aws-warehouse.yaml",
          "made": "2026-11-22T12:00:00Z",
          "address": "203.0.113.10",
          "port": 22,
          "ends": {
            "kind": "at",
            "time": "2027-02-20T12:00:00Z",
            "seconds_left": 7776000
          },
          "next": [
            {
              "kind": "repair",
              "text": "First repair what is red. control.database-group[warehouse]: security group sg-0db has no rule that lets the bastion in on tcp 5432. To do: run `gangplank apply`, or list sg-0db under aws.database_access.",
              "command": "gangplank verify plans/aws-warehouse.yaml"
            },
            {
              "kind": "add-key",
              "tunnel": "secoda",
              "text": "Fill in the vendor's form with the fields of tunnel secoda. Paste the public key that it shows then under `keys` of tunnel secoda in plans/aws-warehouse.yaml, line 21, and apply again: the machine takes it while it runs.",
              "url": "https://app.secoda.co/tunnels/",
              "command": "gangplank apply plans/aws-warehouse.yaml"
            }
          ],
          "path": {
            "edge_is": "security group",
            "edge": "unknown",
            "bastion": "unknown"
          },
          "tunnels": [
            {
              "user": "secoda",
              "vendor": "secoda/north-america",
              "form": "https://app.secoda.co/tunnels/",
              "documentation": "https://docs.secoda.co/integrations/security/connecting-via-ssh-tunnel",
              "fields": [
                {
                  "label": "SSH Username",
                  "value": "secoda"
                },
                {
                  "label": "SSH Hostname",
                  "value": "203.0.113.10"
                },
                {
                  "label": "Port",
                  "value": "22"
                }
              ],
              "sources": [
                {
                  "network": "35.175.75.15/32",
                  "why": "secoda/north-america"
                }
              ],
              "targets": [
                {
                  "name": "warehouse",
                  "host": "warehouse.internal",
                  "port": 5432,
                  "speaks": "postgres",
                  "light": "fail"
                }
              ],
              "keys": []
            }
          ],
          "host_keys": [
            {
              "algorithm": "ssh-ed25519",
              "fingerprint": "SHA256:5ZZy1D8eVgcMc3zNoP1aZdexyQG8tXDjqrFVVx08kG4",
              "known_hosts": "203.0.113.10 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb"
            }
          ],
          "operators": [
            "ana"
          ],
          "notes": []
        }
      ]
    }
    "#);
}

// --- the page

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
        if let Some(form) = &mut vendor.form {
            form.url = "javascript:alert(1)".to_owned();
            form.fields[0].label = format!("label {EVIL}");
        }
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

/// What every page must be, whatever it shows.
fn assert_sound(page: &str) {
    let document = xml(page);
    let elements = || document.descendants().filter(roxmltree::Node::is_element);
    let count = |name: &str| elements().filter(|e| e.tag_name().name() == name).count();
    let in_head = document.descendants().find(|e| e.tag_name().name() == "head").expect("a head");
    assert_eq!(in_head.children().filter(|e| e.tag_name().name() == "title").count(), 1);
    assert_eq!((count("script"), count("style"), count("main")), (1, 1, 1));
    for loads in ["link", "img", "image", "iframe", "object", "embed", "base", "form", "use", "foreignObject"] {
        assert_eq!(count(loads), 0, "{loads}");
    }
    let mut ids = Vec::new();
    for element in elements() {
        for attribute in element.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on") && !["src", "style", "srcset", "action"].contains(&name), "{name}");
            if name == "href" {
                assert_eq!(element.tag_name().name(), "a");
                assert!(attribute.value().starts_with("https://"), "{}", attribute.value());
                assert_eq!(element.attribute("rel"), Some("noopener noreferrer"));
            }
            if name == "id" {
                assert!(!ids.contains(&attribute.value()), "id {} twice", attribute.value());
                ids.push(attribute.value());
            }
        }
    }
    for element in elements() {
        for id in element.attribute("aria-labelledby").into_iter().flat_map(str::split_whitespace) {
            assert!(ids.contains(&id), "nothing has the id {id}");
        }
    }
    let policy = elements().find(|e| e.attribute("http-equiv") == Some("Content-Security-Policy")).expect("a policy");
    let policy = policy.attribute("content").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let css = elements().find(|e| e.tag_name().name() == "style").and_then(|e| e.text()).expect("a style");
    assert!(!css.contains("url(") && !css.contains("@import"));
}

#[test]
fn no_value_gets_out_of_its_place_on_the_page() {
    let (plan, verified) = hostile();
    let mut handoff = handoff::handoff(&plan, &known(Some(&verified)));
    handoff.bastion.clone_from(&verified.bastion);
    let page = page("hostile", &[handoff.clone(), handoff]);
    assert_sound(&page);
    assert!(!page.contains("<script>alert") && !page.contains('\u{1b}') && !page.contains('\u{202e}'));
    let document = xml(&page);
    let text: String = document.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
    for what in
        ["target", "host", "comment", "vendor", "label", "proves", "evidence", "cause", "fix", "reason", "bastion"]
    {
        let shown = format!(
            "{what} <script>alert(1)</script>\"'{{{{plan}}}}{{{{{{x}}}}}}&amp;<!-- ]]>\\u{{1b}}[2J\\u{{202e}}\u{fffd}"
        );
        assert!(text.contains(&shown), "{what}");
    }
}

#[test]
fn only_the_style_and_the_script_are_written_as_they_are() {
    let text =
        concat!(include_str!("../../templates/handoff.html.hbs"), include_str!("../../templates/picture.svg.hbs"));
    let raw: Vec<_> = text.split("{{{").skip(1).filter_map(|rest| rest.split("}}}").next()).collect();
    assert_eq!(raw, ["style", "script"]);
    assert!(!text.contains("{{&"));
}

#[test]
fn no_value_acts_on_a_terminal() {
    let (plan, verified) = hostile();
    let handoff = [handoff::handoff(&plan, &known(Some(&verified)))];
    let acts = |text: String| text.contains(['\u{1b}', '\u{202e}']);
    assert!(!acts(handoff::text::text(&handoff, &Palette::PLAIN)) && !acts(handoff::text::fields(&handoff)));
    assert!(!acts(verification::human(&[verified], &Palette::PLAIN, true)));
}

#[test]
fn the_page_tells_the_path_in_words_and_signs_too() {
    let verified = one_red();
    let plan = with_key();
    let page = page("path", &[handoff::handoff(&plan, &known(Some(&verified)))]);
    assert_sound(&page);
    let document = xml(&page);
    let pictures: Vec<_> = document.descendants().filter(|n| n.attribute("role") == Some("img")).collect();
    assert_eq!(pictures.len(), 2);
    for picture in pictures {
        let words =
            picture.descendants().find(|n| n.tag_name().name() == "desc").and_then(|n| n.text()).expect("words");
        assert_eq!(
            words,
            "From secoda/north-america, through the security group (unknown), to the bastion (unknown), to the targets: \
             warehouse failed."
        );
        let signs: Vec<_> = picture
            .descendants()
            .filter(|n| n.attribute("class") == Some("verdict"))
            .filter_map(|n| n.text())
            .collect();
        assert_eq!(signs, ["? unknown", "? unknown", "✗ failed"]);
    }
}

#[test]
fn many_vendors_and_targets_still_make_a_picture() {
    let mut plan = analytics();
    let tunnel = plan.tunnels[1].clone();
    for i in 0..12 {
        let mut more = tunnel.clone();
        more.user = plan::UserName::new(&format!("vendor{i}")).expect("a name");
        plan.tunnels.push(more);
    }
    let handoff = handoff::handoff(&plan, &known(None));
    let page = page("many", &[handoff]);
    assert_sound(&page);
    assert!(page.contains("5 more vendors") && page.contains("18 more targets"), "{page}");
}

#[test]
fn two_vendors_and_four_targets_share_a_page() {
    let mut plan = analytics();
    let first = plan.tunnels[0].targets[0].clone();
    plan.tunnels[0].targets.push(plan::Target { name: "lake".to_owned(), ..first });
    let at = |name: &str| Part::Target(name.to_owned());
    let network =
        |id, part| check(Vantage::Network, id, part, "a forward leads to a server that speaks the right protocol");
    let verified = verification(vec![
        check(Vantage::ControlPlane, "control.ingress", Part::Edge, "exactly the listed addresses may connect").pass(),
        check(Vantage::Machine, "machine.daemon", Part::Bastion, "the running daemon has the plan's settings").pass(),
        network("network.forward", at("warehouse")).about("warehouse").pass(),
        network("network.forward", at("lake")).about("lake").pass(),
        network("network.forward", at("orders")).about("orders").fail("10.20.4.17:3306 refused", "start the database"),
    ]);
    let handoff = handoff::handoff(&plan, &Known { port: 2222, ..known(Some(&verified)) });
    assert_sound(&page("two", &[handoff]));
}

// --- the verification

#[test]
fn a_person_reads_a_verification() {
    let verified = [one_red()];
    let text = verification::human(&verified, &Palette::PLAIN, false);
    assert_eq!(strip_str(&verification::human(&verified, &Palette::COLORED, false)).to_string(), text);
    assert_snapshot!(text, @r#"
    warehouse  aws us-east-1  203.0.113.10 port 22

      control plane
      ✓ control.ingress                    exactly the listed addresses may connect
      ✓ control.address                    the address leads to the machine
      ✗ control.database-group[warehouse]  the database's group lets the bastion in
          cause  security group sg-0db has no rule that lets the bastion in on tcp 5432
          fix    run `gangplank apply`, or list sg-0db under aws.database_access
          seen   sg-0db: tcp 5432 from the bastion's group

      machine
      ✓ machine.cloud-init                 the machine was set up without an error
      ✓ machine.authorized-keys[secoda]    sshd accepts the file with the user's keys
      ? machine.target[warehouse]          the machine reaches the target
          unknown: the boot report is older than the plan's targets: it comes again within a minute

      network
      ? network.tcp                        a connection reaches the daemon
      ? network.host-key                   the host key is the pinned one
      ? network.forward[warehouse]         a forward leads to a server that speaks postgres
      ? network.refuses-shell              nobody gets a shell
          unknown: this machine's address, 192.0.2.77, is not in the allow list: run it from an operator's machine

      4 passed, 1 failed, 5 unknown
    "#);
    assert_snapshot!(verification::human(&[all_pass(), no_report()], &Palette::PLAIN, true), @r#"
    warehouse  aws us-east-1  203.0.113.10 port 22

      control plane
      ✓ control.ingress                    exactly the listed addresses may connect
          seen   tcp 22 from 35.175.75.15/32
          seen   tcp 22 from 198.51.100.20/32
      ✓ control.address                    the address leads to the machine
          seen   203.0.113.10 is associated with i-0123456789abcdef0
      ✓ control.database-group[warehouse]  the database's group lets the bastion in
          seen   sg-0db: tcp 5432 from the bastion's group

      machine
      ✓ machine.cloud-init                 the machine was set up without an error
      ✓ machine.authorized-keys[secoda]    sshd accepts the file with the user's keys
          seen   /home/secoda/.ssh/authorized_keys 0600 secoda:secoda
      ✓ machine.target[warehouse]          the machine reaches the target

      network
      ✓ network.tcp                        a connection reaches the daemon
      ✓ network.host-key                   the host key is the pinned one
      ✓ network.forward[warehouse]         a forward leads to a server that speaks postgres
          seen   SSLRequest answered with S in 3 ms
      ✓ network.refuses-shell              nobody gets a shell

      10 passed

    warehouse  aws us-east-1  203.0.113.10 port 22

      control plane
      ? control.ingress                    exactly the listed addresses may connect
      ? control.address                    the address leads to the machine
      ? control.database-group[warehouse]  the database's group lets the bastion in
          unknown: the instance is still pending: wait a minute

      machine
      ? machine.cloud-init                 the machine was set up without an error
      ? machine.authorized-keys[secoda]    sshd accepts the file with the user's keys
      ? machine.target[warehouse]          the machine reaches the target
          unknown: no boot report yet: EC2 shows the console about five minutes after the boot

      network
      ? network.tcp                        a connection reaches the daemon
      ? network.host-key                   the host key is the pinned one
      ? network.forward[warehouse]         a forward leads to a server that speaks postgres
      ? network.refuses-shell              nobody gets a shell
          unknown: this machine's address, 192.0.2.77, is not in the allow list

      10 unknown

    together: 10 passed, 10 unknown
    "#);
}

#[test]
fn one_reason_for_many_checks_is_told_once() {
    let many = (0..20).map(|i| {
        check(Vantage::Network, "network.forward", target(), "it speaks")
            .about(format!("t{i}"))
            .unknown("not from here")
    });
    let text = verification::human(&[verification(many.collect())], &Palette::PLAIN, false);
    assert_snapshot!(text, @r#"
    warehouse  aws us-east-1  203.0.113.10 port 22

      network
      ? 20 checks, network.forward[t0] to network.forward[t19]  --details lists them
          unknown: not from here

      20 unknown
    "#);
}

#[test]
fn a_program_reads_a_verification() {
    let mut value: Value = serde_json::from_str(&verification::json(&[one_red(), all_pass()])).expect("JSON");
    let checks = value["bastions"][0]["checks"].take();
    assert_eq!(
        json!([checks[2], checks[5]["verdict"], checks[5]["part"]]),
        json!([
            {
                "id": "control.database-group",
                "subject": "warehouse",
                "vantage": "control-plane",
                "part": {"target": "warehouse"},
                "proves": "the database's group lets the bastion in",
                "evidence": ["sg-0db: tcp 5432 from the bastion's group"],
                "verdict": "fail",
                "cause": "security group sg-0db has no rule that lets the bastion in on tcp 5432",
                "fix": "run `gangplank apply`, or list sg-0db under aws.database_access",
            },
            "unknown",
            {"target": "warehouse"},
        ])
    );
    value["bastions"][1]["checks"].take();
    assert_eq!(
        value,
        json!({
            "format_version": 1, "passed": 14, "failed": 1, "unknown": 5,
            "bastions": [
                {"passed": 4, "failed": 1, "unknown": 5, "bastion": "warehouse", "location": "aws us-east-1",
                 "address": "203.0.113.10", "port": 22, "checks": null},
                {"passed": 10, "failed": 0, "unknown": 0, "bastion": "warehouse", "location": "aws us-east-1",
                 "address": "203.0.113.10", "port": 22, "checks": null},
            ],
        })
    );
}

#[test]
fn ci_reads_a_verification() {
    let (_, hostile) = hostile();
    let text = verification::junit(&[one_red(), hostile]);
    let document = xml(&text);
    let suites: Vec<_> = document.descendants().filter(|n| n.tag_name().name() == "testsuite").collect();
    let counts = |n: &roxmltree::Node<'_, '_>| {
        ["tests", "failures", "errors", "skipped"].map(|a| n.attribute(a).unwrap_or("").to_owned())
    };
    assert_eq!(counts(&document.root_element()), ["13", "2", "0", "6"]);
    assert_eq!(suites.iter().map(counts).collect::<Vec<_>>(), [["10", "1", "0", "5"], ["3", "1", "0", "1"]]);
    for suite in &suites {
        let cases = || suite.children().filter(|n| n.tag_name().name() == "testcase");
        let having =
            |name: &str| cases().filter(|c| c.children().any(|n| n.tag_name().name() == name)).count().to_string();
        assert_eq!(
            [cases().count().to_string(), having("failure"), having("skipped")].as_slice(),
            &[
                suite.attribute("tests").unwrap_or(""),
                suite.attribute("failures").unwrap_or(""),
                suite.attribute("skipped").unwrap_or(""),
            ]
        );
    }
    let failure = suites[1].descendants().find(|n| n.tag_name().name() == "failure").expect("a failure");
    let shown = "<script>alert(1)</script>\"'{{plan}}{{{x}}}&amp;<!-- ]]>\\u{1b}[2J\\u{202e}\u{fffd}";
    assert_eq!(failure.attribute("message"), Some(format!("cause {shown}").as_str()));
    let body = failure.text().expect("a text");
    assert_eq!(body, format!("cause: cause {shown}\nfix: fix {shown}\nproves: proves {shown}\nseen: evidence {shown}"));
    assert_snapshot!(verification::junit(&[verification(one_red().checks.drain(2..4).collect())]), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="gangplank" tests="2" failures="1" errors="0" skipped="0">
      <testsuite name="warehouse" tests="2" failures="1" errors="0" skipped="0">
        <testcase classname="control plane" name="control.database-group[warehouse]">
          <failure type="fail" message="security group sg-0db has no rule that lets the bastion in on tcp 5432">cause: security group sg-0db has no rule that lets the bastion in on tcp 5432
    fix: run `gangplank apply`, or list sg-0db under aws.database_access
    proves: the database&#39;s group lets the bastion in
    seen: sg-0db: tcp 5432 from the bastion&#39;s group</failure>
        </testcase>
        <testcase classname="machine" name="machine.cloud-init">
          <system-out>proves: the machine was set up without an error</system-out>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}
