//! A cloud that refuses, stumbles, or answers into the void: a clear end, and a next run that finishes the work.

use std::{fs, process::Command};

use crate::support::{self, Calls, Fault, Lab, Moment, Proxy, Run, Scope};

/// Applies while the proxy makes trouble.
fn troubled(lab: &Lab<'_>, trouble: impl FnOnce(&Proxy)) -> (Run, Calls) {
    let proxy = lab.proxy();
    trouble(&proxy);
    let path = lab.gangplank.write(&lab.bastion());
    let run = proxy.run(lab.gangplank.command(proxy.address()).arg("apply").arg(path).args(["--yes", "--no-verify"]));
    (run, proxy.take_calls())
}

/// Runs again without trouble: the world is as it would have been, nothing twice, and it goes away whole.
#[track_caller]
fn assert_converges(lab: &Lab<'_>, undisturbed: &serde_json::Value, what: &str) {
    lab.apply(&lab.bastion());
    lab.ours().assert_ours(undisturbed, what);
    lab.assert_settled(&lab.bastion());
    lab.run("destroy", &lab.bastion(), &["--yes"]).0.expect(0);
    lab.ours().assert_nothing_of_ours();
}

/// The calls of a creation, and what it gives.
fn undisturbed(lab: &Lab<'_>) -> (Calls, serde_json::Value) {
    (lab.apply(&lab.bastion()), lab.ours().ours)
}

#[test]
fn throttling_is_waited_out() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (_, expected) = undisturbed(&Lab::new(moto));
    for fault in [Fault::THROTTLED, Fault::INTERNAL] {
        let lab = Lab::new(moto);
        let (run, calls) = troubled(&lab, |proxy| proxy.fault(Scope::EachAction, 0..2, fault.clone()));
        run.expect(0);
        assert!(calls.by_action().values().all(|count| *count > 2), "{calls}");
        lab.ours().assert_ours(&expected, &format!("{fault:?}"));
    }
}

#[test]
fn a_refusal_names_the_operation_the_code_and_what_to_do() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (_, expected) = undisturbed(&Lab::new(moto));
    for (action, fault, code) in [
        ("DescribeSecurityGroups", Fault::DENIED, "UnauthorizedOperation"),
        ("CreateSecurityGroup", Fault::DENIED, "UnauthorizedOperation"),
        ("AllocateAddress", Fault::quota("AddressLimitExceeded"), "AddressLimitExceeded"),
        ("RunInstances", Fault::quota("VcpuLimitExceeded"), "VcpuLimitExceeded"),
        ("RunInstances", Fault::quota("InstanceLimitExceeded"), "InstanceLimitExceeded"),
        ("RunInstances", Fault::DENIED, "UnauthorizedOperation"),
        ("AssociateAddress", Fault::DENIED, "UnauthorizedOperation"),
    ] {
        let lab = Lab::new(moto);
        let (run, calls) = troubled(&lab, |proxy| proxy.fault(Scope::Action(action), 0..usize::MAX, fault.clone()));
        let run = run.expect(1);
        assert_eq!(calls.of(action), 1, "a refusal is not repeated\n{calls}");
        for expected in [action, code, "exists now", "to do"] {
            assert!(run.stderr.contains(expected), "{action} refused with {code}: expected {expected:?}\n{run}");
        }
        assert_converges(&lab, &expected, &format!("{action} refused with {code}"));
    }
}

/// Each write in turn meets a connection that closes without an answer.
fn lose_each_answer(moment: Moment) {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let (calls, expected) = undisturbed(&lab);
    for n in 0..calls.writes() {
        lab.run("destroy", &lab.bastion(), &["--yes"]).0.expect(0);
        let (run, calls) = troubled(&lab, |proxy| proxy.fault(Scope::Writes, n..n + 1, Fault::Drop(moment)));
        let what = format!("write {n} lost {moment:?} its effect\n{run}\n{calls}");
        // It may look and go on by itself, or leave that to the next run.
        assert!(matches!(run.code(), Some(0 | 1)), "{what}");
        if run.code() == Some(0) {
            lab.ours().assert_ours(&expected, &what);
        }
        assert_converges(&lab, &expected, &what);
    }
}

#[test]
fn answers_lost_after_the_effect_duplicate_nothing() {
    lose_each_answer(Moment::After);
}

#[test]
fn calls_lost_before_the_effect_are_made_up_for() {
    lose_each_answer(Moment::Before);
}

#[test]
fn garbage_is_an_error_and_no_panic() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (_, expected) = undisturbed(&Lab::new(moto));
    for scope in [Scope::Any, Scope::Writes] {
        let lab = Lab::new(moto);
        let (run, _) = troubled(&lab, |proxy| proxy.fault(scope, 0..usize::MAX, Fault::Garbage));
        let run = run.expect(1);
        assert!(!run.stderr.contains("panicked"), "{run}");
        assert_converges(&lab, &expected, &format!("garbage for {scope:?}"));
    }
}

#[test]
fn without_credentials_or_the_right_region_it_says_what_to_do() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let proxy = lab.proxy();
    let path = lab.gangplank.write(&lab.bastion());
    let plan = |change: &dyn Fn(&mut Command)| {
        let mut command = lab.gangplank.command(proxy.address());
        change(command.arg("plan").arg(&path));
        proxy.run(&mut command)
    };
    let write = |region: &str| {
        let text = lab.bastion().to_yaml().replace("  region: us-east-1\n", region);
        fs::write(&path, text).expect("a writable folder");
    };
    let expect = |run: Run, code: i32, texts: &[&str]| {
        let run = run.expect(code);
        for text in texts {
            assert!(run.stderr.contains(text), "expected {text:?}\n{run}");
        }
    };

    let nobody = plan(&|command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    });
    expect(nobody, 1, &["there are no AWS credentials", "Environment", "aws sso login"]);
    write("  region: eu-west-1\n");
    expect(plan(&|_| {}), 3, &["no such subnet", "eu-west-1", "warehouse.yaml:"]);
    write("");
    let nowhere = plan(&|command| {
        command.env_remove("AWS_REGION");
    });
    expect(nowhere, 3, &["the bastion's region is not known", "AWS_REGION"]);
    assert_eq!(proxy.take_calls().writes(), 0);
}
