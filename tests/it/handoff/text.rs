//! What a person reads on a terminal.

use super::*;

#[test]
fn without_an_address_the_only_step_is_to_apply() {
    let plan = warehouse();
    let none = Known { address: None, host_keys: vec![], deadline: None, ..known(None) };
    assert_snapshot!(plain(&[handoff::handoff(&plan, &none)]), @r#"
    warehouse  aws 111122223333 us-east-1  plans/aws-warehouse.yaml

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
    warehouse  aws 111122223333 us-east-1  plans/aws-warehouse.yaml

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
        GlobalKnownHostsFile /dev/null
        HostKeyAlias 203.0.113.10
        CheckHostIP no
        ForwardAgent no
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
    warehouse  aws 111122223333 us-east-1  plans/aws-warehouse.yaml

      address          203.0.113.10 port 22
      ends             2027-02-20T12:00:00Z, in 90 days
      checks           10 passed

    Next
      1. Test the connection at secoda/north-america: in the data source's own form choose tunnel secoda, and enter its target's host and port exactly as written here.
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
        GlobalKnownHostsFile /dev/null
        HostKeyAlias 203.0.113.10
        CheckHostIP no
        ForwardAgent no
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
    Test: Test the connection at secoda/north-america: in the data source's own form choose tunnel secoda, and enter its target's host and port exactly as written here.
    "#);
}

#[test]
fn a_moved_end_is_told_with_the_plans_own() {
    let moved =
        ends("2027-02-20T12:00:00Z").map(|end| end.moved("2027-03-20T12:00:00Z".parse().expect("a time"), now()));
    let text = plain(&[handoff::handoff(&warehouse(), &Known { deadline: moved, ..known(None) })]);
    assert!(text.contains("ends             2027-03-20T12:00:00Z, in 118 days\n"), "{text}");
    let note =
        "note             its end was extended on 2026-11-22T12:00:00Z; the plan's own end is 2027-02-20T12:00:00Z\n";
    assert!(text.contains(note), "{text}");
}

#[test]
fn another_port_two_vendors_and_two_operators() {
    let plan = analytics();
    let soon = Known { port: 2222, deadline: ends("2026-11-25T12:00:00Z"), ..known(None) };
    assert_snapshot!(plain(&[handoff::handoff(&plan, &soon)]), @"
    analytics  aws 111122223333 us-east-1  plans/aws-two-vendors.yaml

      address          203.0.113.10 port 2222
      ends             2026-11-25T12:00:00Z, in 3 days
      checks           nothing was checked

    Next
      1. Verify it: nothing was looked at for this hand-off.
           gangplank verify plans/aws-two-vendors.yaml
      2. Test the connection at secoda/eu: in the data source's own form choose tunnel secoda, and enter its target's host and port exactly as written here.
           https://eu.secoda.co/tunnels/
      3. Test the connection at Example Reporting: in the data source's own form choose tunnel reporting, and enter its target's host and port exactly as written here.
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
        GlobalKnownHostsFile /dev/null
        HostKeyAlias [203.0.113.10]:2222
        CheckHostIP no
        ForwardAgent no
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
    ");
}

#[test]
fn what_has_ended_is_to_be_destroyed() {
    let mut plan = warehouse();
    plan.origin.source = Arc::new(Source { path: "our plans/it's.yaml".to_owned(), text: String::new() });
    let over = Known { deadline: ends("2026-11-22T09:00:00Z"), ..known(None) };
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
