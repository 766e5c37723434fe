//! AWS and Azure plans in one run: their order is kept, and what fails in one cloud hides nothing of the other.

use std::process::Command;

use serde_json::Value;

use super::{
    Cloud, Lab, Wish,
    aws::Aws,
    azure::{Azure, CLASSIC},
};
use crate::{
    arm::fault::{Fault, Which},
    support::{Fault as Ec2Fault, Proxy, Scope, program::Run},
};

/// A company in both clouds, and a plan for each.
struct Desk {
    aws: Lab<Aws>,
    azure: Lab<Azure<CLASSIC>>,
    proxy: Proxy,
    /// Azure's, AWS's, Azure's: an order that is neither cloud's.
    plans: [String; 3],
}

const NAMES: [&str; 3] = ["reports", "warehouse", "ledger"];

impl Desk {
    fn new() -> Option<Self> {
        let (aws, azure) = (Lab::<Aws>::new()?, Lab::<Azure<CLASSIC>>::new()?);
        let text = |path: std::path::PathBuf| path.to_str().expect("a temporary folder's name").to_owned();
        let [first, second, third] = NAMES.map(Wish::new);
        let plans = [text(azure.cloud.write(&first)), text(aws.cloud.write(&second)), text(azure.cloud.write(&third))];
        let proxy = aws.cloud.proxy();
        Some(Self { aws, azure, proxy, plans })
    }

    fn run(&self, verb: &str, options: &[&str]) -> Run {
        let mut command: Command = self.aws.cloud.command(&self.proxy);
        command.env("AZURE_RESOURCE_MANAGER_ENDPOINT", self.azure.cloud.endpoint());
        let run = self.proxy.run(command.arg(verb).args(&self.plans).args(options));
        assert!(!run.stderr.contains("panicked"), "{run}");
        run
    }

    fn apply(&self) -> Run {
        self.run("apply", &["--yes", "--no-verify"])
    }

    fn azure_fails(&self, code: &'static str) {
        self.azure.cloud.world().fault(Which::Any, 0..usize::MAX, Fault::answer(403, code));
    }

    fn aws_fails(&self) {
        self.proxy.fault(Scope::Any, 0..usize::MAX, Ec2Fault::DENIED);
    }

    fn heal(&self) {
        self.azure.cloud.world().heal();
        self.proxy.heal();
    }

    fn is_clean(&self) -> [bool; 2] {
        [self.aws.ours().is_clean(), self.azure.ours().is_clean()]
    }
}

fn names(document: &Value) -> Vec<&str> {
    let all = document["bastions"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    all.iter().filter_map(|bastion| bastion["bastion"].as_str().or(bastion["name"].as_str())).collect()
}

#[track_caller]
fn assert_in_order(text: &str) {
    let at = NAMES.map(|name| text.find(&format!("{name} ")).unwrap_or_else(|| panic!("{name} is missing\n{text}")));
    assert!(at.is_sorted(), "{NAMES:?} at {at:?}\n{text}");
}

#[test]
fn plans_of_both_clouds_live_in_one_run() {
    let Some(desk) = Desk::new() else { return };
    let plan = desk.run("plan", &["--output", "json", "--detailed-exitcode"]).expect(2);
    assert_eq!(names(&plan.json()), NAMES);
    assert_in_order(&desk.run("plan", &[]).expect(0).stdout);
    desk.apply().expect(0);
    assert_eq!(desk.is_clean(), [false, false]);
    desk.run("plan", &["--detailed-exitcode"]).expect(0);
    let status = desk.run("status", &["--output", "json"]).expect(0).json();
    assert_eq!(names(&status), NAMES);
    assert!(status["bastions"].as_array().expect("a list").iter().all(|b| b["state"] == "up"), "{status:#}");
    assert_in_order(&desk.run("status", &[]).expect(0).stdout);
    let verified = desk.run("verify", &["--no-network", "--output", "json"]).expect(4).json();
    assert_eq!(names(&verified), NAMES);
    desk.run("destroy", &["--yes"]).expect(0);
    assert_eq!(desk.is_clean(), [true, true]);
}

#[test]
fn both_clouds_refusals_are_told_before_anything_is_written() {
    let Some(desk) = Desk::new() else { return };
    desk.azure_fails("AuthorizationFailed");
    desk.aws_fails();
    for (verb, options) in [("plan", &[][..]), ("apply", &["--yes"]), ("destroy", &["--yes"]), ("status", &[])] {
        let run = desk.run(verb, options).expect(1);
        assert!(!run.stdout.contains("No changes"), "nobody has said so\n{run}");
        for code in ["AuthorizationFailed", "UnauthorizedOperation"] {
            assert!(run.stderr.contains(code), "{code} of {verb}\n{run}");
        }
    }
    desk.heal();
    assert_eq!(desk.is_clean(), [true, true]);
}

/// Whether a bastion has a heading.
fn heads(run: &Run, bastion: &str) -> bool {
    run.stdout.lines().any(|line| line.split(' ').next() == Some(bastion))
}

#[test]
fn one_clouds_silence_hides_nothing_of_the_other() {
    let Some(desk) = Desk::new() else { return };
    desk.apply().expect(0);
    let looks = [("plan", &[][..]), ("status", &[]), ("verify", &["--no-network"])];
    desk.azure_fails("AuthorizationFailed");
    for (verb, options) in looks {
        let run = desk.run(verb, options).expect(1);
        assert!(heads(&run, "warehouse"), "{run}");
        assert_eq!(run.stdout.matches("not readable: ").count(), 2, "{run}");
        assert!(!run.stdout.contains("the cloud matches"), "one of two clouds has said so\n{run}");
        assert_eq!(run.stderr.matches("AuthorizationFailed").count(), 1, "a reason is told once\n{run}");
        let told = desk.run(verb, &[options, &["--output", "json"]].concat()).expect(1).json();
        assert_eq!(names(&told), ["warehouse"]);
        let left_out = told["left_out"].as_array().unwrap_or_else(|| panic!("{told:#}"));
        assert!(left_out.iter().all(|one| one["condition"] == "unreadable"), "{told:#}");
        assert_eq!(left_out.len(), 2, "{told:#}");
    }
    desk.heal();
    desk.aws_fails();
    for (verb, options) in looks {
        let run = desk.run(verb, options).expect(1);
        assert!(heads(&run, "ledger") && heads(&run, "reports"), "{run}");
        assert_eq!(run.stdout.matches("not readable: ").count(), 1, "{run}");
        assert!(run.stderr.contains("UnauthorizedOperation"), "{run}");
    }
    // Nothing is removed while one of them does not even tell whose account it is.
    desk.run("destroy", &["--yes"]).expect(1);
    desk.heal();
    desk.run("plan", &["--detailed-exitcode"]).expect(0);
    desk.run("destroy", &["--yes"]).expect(0);
}

#[test]
fn a_write_that_fails_in_one_cloud_leaves_the_other_done() {
    let Some(desk) = Desk::new() else { return };
    desk.azure.cloud.world().fault(Which::Writes, 0..usize::MAX, Fault::answer(403, "AuthorizationFailed"));
    let run = desk.apply().expect(1);
    assert!(run.stderr.contains("AuthorizationFailed") && run.stderr.contains("instance gangplank-warehouse"), "{run}");
    desk.heal();
    assert_eq!(desk.is_clean(), [false, true]);
    desk.apply().expect(0);
    desk.run("plan", &["--detailed-exitcode"]).expect(0);

    desk.proxy.fault(Scope::Writes, 0..usize::MAX, Ec2Fault::DENIED);
    let run = desk.run("destroy", &["--yes"]).expect(1);
    assert!(run.stderr.contains("UnauthorizedOperation"), "{run}");
    desk.heal();
    assert_eq!(desk.is_clean(), [false, true]);
    desk.run("destroy", &["--yes"]).expect(0);
    assert_eq!(desk.is_clean(), [true, true]);
}

/// The last look fails in one cloud: what the other has become is told all the same.
#[test]
fn what_is_done_is_told_where_the_last_look_fails() {
    let Some(desk) = Desk::new() else { return };
    let lists =
        || Which::To("GET", "/00000000-0000-0000-0000-000000000000/providers/Microsoft.Network/virtualNetworks");
    let refused = Fault::answer(403, "AuthorizationFailed");
    desk.azure.cloud.world().fault(lists(), 1..usize::MAX, refused.clone());
    let run = desk.apply().expect(1);
    assert!(run.stderr.contains("the cloud matches the plan of warehouse"), "{run}");
    assert!(run.stderr.contains("AuthorizationFailed"), "{run}");
    desk.heal();
    desk.azure.cloud.world().fault(lists(), 1..usize::MAX, refused);
    let run = desk.run("destroy", &["--yes"]).expect(1);
    assert!(run.stderr.contains("nothing is left of warehouse"), "{run}");
    assert!(run.stderr.contains("AuthorizationFailed"), "{run}");
    desk.heal();
    assert_eq!(desk.is_clean(), [true, true]);
}
