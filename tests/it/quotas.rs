//! An account's limits, told before anything is written: against the sandbox, which has EC2's own numbers.

use gangplank::sandbox::ec2::{Pace, Quotas, World};
use serde_json::Value;

use crate::support::{self, Bastion, Fault, Lab, Scope, listening::Listening};

/// An account with room for so many addresses beside those that are there.
fn with_room(room: usize, test: impl Fn(&Lab<'static>)) {
    let Some(moto) = support::moto_or_skip() else { return };
    let mut world = World::seeded(1);
    world.pace = Pace::instant();
    let probe = Listening::start(world.clone());
    let account = moto.account().at(probe.address);
    account.seed();
    let there = account.boto("result = len(ec2.describe_addresses()['Addresses'])", Value::Null);
    drop(probe);
    let there = usize::try_from(there.as_u64().expect("a number")).expect("few");
    world.quotas = Quotas { addresses: there + room, ..Quotas::default() };
    let sandbox = Listening::start(world);
    test(&Lab::of(moto.account().at(sandbox.address)));
}

#[test]
fn an_address_that_has_no_room_is_refused_before_anything_is_written() {
    with_room(0, |lab| {
        for (verb, options) in [("plan", &[][..]), ("apply", &["--yes"])] {
            let (run, calls) = lab.run(verb, &lab.bastion(), options);
            let run = run.expect(3);
            for text in
                ["no elastic IP address is left", " elastic IP addresses of us-east-1 are allocated", "L-0263D0A3"]
            {
                assert!(run.stderr.contains(text), "{text}\n{run}");
            }
            assert_eq!(calls.writes(), 0, "{calls}");
            assert_eq!(calls.of("DescribeAccountAttributes"), 1, "{calls}");
        }
        // One that exists takes no room.
        let existing = Bastion { address: lab.seed.address.clone(), ..lab.bastion() };
        let calls = lab.apply(&existing);
        assert_eq!(calls.of("DescribeAccountAttributes"), 0, "{calls}");
        lab.assert_settled(&existing);
    });
}

/// The last one is the first plan's.
#[test]
fn plans_of_one_run_share_what_is_left() {
    with_room(1, |lab| {
        for name in ["first", "second"] {
            lab.gangplank.write(&Bastion { name: name.to_owned(), ..lab.bastion() });
        }
        let home = lab.gangplank.home().to_str().expect("a temporary folder's name");
        let (run, calls) = lab.command(&["plan", home]);
        assert!(run.stderr.contains("and plans before this one take 1"), "{run}");
        assert!(run.stderr.contains("second.yaml") && !run.stderr.contains("first.yaml"), "{run}");
        assert_eq!(calls.of("DescribeAccountAttributes"), 1, "{calls}");
    });
}

/// Without the permission EC2's own refusal tells it.
#[test]
fn a_quota_that_may_not_be_asked_stops_nothing() {
    with_room(1, |lab| {
        let path = lab.gangplank.write(&lab.bastion());
        let path = path.to_str().expect("a temporary folder's name");
        let proxy = lab.proxy();
        proxy.fault(Scope::Action("DescribeAccountAttributes"), 0..usize::MAX, Fault::DENIED);
        let mut command = lab.gangplank.command(proxy.address());
        proxy.run(command.args(["apply", path, "--yes", "--no-verify"])).expect(0);
        drop(proxy);
        lab.assert_settled(&lab.bastion());
    });
}
