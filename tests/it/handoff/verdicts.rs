//! A verification, for people, for programs and for CI.

use super::*;

#[test]
fn a_person_reads_a_verification() {
    let verified = [one_red()];
    let text = verification::human(&verified, &Palette::PLAIN, false);
    assert_eq!(strip_str(&verification::human(&verified, &Palette::COLORED, false)).to_string(), text);
    assert_snapshot!(text, @r#"
    warehouse  aws 111122223333 us-east-1  203.0.113.10 port 22

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
    warehouse  aws 111122223333 us-east-1  203.0.113.10 port 22

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

    warehouse  aws 111122223333 us-east-1  203.0.113.10 port 22

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
    warehouse  aws 111122223333 us-east-1  203.0.113.10 port 22

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
                 "region": "us-east-1", "account": {"cloud": "aws", "id": "111122223333", "profile": null},
                 "address": "203.0.113.10", "port": 22, "checks": null},
                {"passed": 10, "failed": 0, "unknown": 0, "bastion": "warehouse", "location": "aws us-east-1",
                 "region": "us-east-1", "account": {"cloud": "aws", "id": "111122223333", "profile": null},
                 "address": "203.0.113.10", "port": 22, "checks": null},
            ],
        })
    );
}

#[test]
fn ci_reads_a_verification() {
    let (_, hostile) = hostile();
    let text = verification::junit(&[one_red(), hostile], &[]);
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
    let shown = "<script>alert(1)</script>\"'{{plan}}{{{x}}}&amp;<!-- ]]>\\u{1b}[2J\\u{202e}\\u{ffff}";
    assert_eq!(failure.attribute("message"), Some(format!("cause {shown}").as_str()));
    let body = failure.text().expect("a text");
    assert_eq!(body, format!("cause: cause {shown}\nfix: fix {shown}\nproves: proves {shown}\nseen: evidence {shown}"));
    assert_snapshot!(verification::junit(&[verification(one_red().checks.drain(2..4).collect())], &[]), @r#"
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
