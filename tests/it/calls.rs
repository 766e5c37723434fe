//! The calls that it costs: none that writes for a plan, and as many reads for fifty bastions as for one.

use crate::support::{self, Bastion, Calls, Lab};

/// Plans in a folder of their own.
fn folder(lab: &Lab<'_>, count: usize) -> String {
    for n in 0..count {
        lab.gangplank.write(&Bastion::new(&format!("bastion-{n:02}"), &lab.seed));
    }
    lab.gangplank.home().to_str().expect("a temporary folder's name").to_owned()
}

#[test]
fn reading_costs_the_same_for_any_number_of_bastions() {
    let Some(moto) = support::moto_or_skip() else { return };
    let costs = |count: usize| -> (Calls, Calls, usize) {
        let lab = Lab::new(moto);
        let plans = folder(&lab, count);
        let (run, nothing_exists) = lab.command(&["plan", &plans, "--detailed-exitcode"]);
        run.expect(2);
        lab.command(&["apply", &plans, "--yes", "--no-verify"]).0.expect(0);
        let (run, all_exist) = lab.command(&["plan", &plans, "--detailed-exitcode"]);
        run.expect(0);
        (nothing_exists, all_exist, lab.ours().ours("instances").len())
    };
    let (nothing, all, instances) = costs(1);
    assert_eq!((nothing.writes(), all.writes(), instances), (0, 0, 1));
    for count in [10, 50] {
        let (nothing_exists, all_exist, instances) = costs(count);
        assert_eq!(instances, count);
        assert_eq!(nothing_exists.by_action(), nothing.by_action(), "{count} plans, nothing exists");
        assert_eq!(all_exist.by_action(), all.by_action(), "{count} plans, all exist");
    }
}

#[test]
fn looking_writes_nothing() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let mut bastion = lab.bastion();
    let look = |bastion: &Bastion| {
        for (verb, options) in [
            ("plan", &[][..]),
            ("plan", &["--output", "json"]),
            ("plan", &["--output", "markdown"]),
            ("status", &[]),
            ("status", &["--output", "json"]),
            ("render", &[]),
            ("validate", &[]),
        ] {
            let (run, calls) = lab.run(verb, bastion, options);
            let run = run.expect(0);
            assert_eq!(calls.writes(), 0, "{verb} {options:?}\n{calls}");
            if options.contains(&"json") {
                run.json();
            }
        }
    };
    look(&bastion);
    lab.ours().assert_nothing_of_ours();
    lab.apply(&bastion);
    let before = lab.ours();
    look(&bastion);
    bastion.allow_from = vec!["203.0.113.0/28".to_owned()];
    look(&bastion);
    assert_eq!(lab.ours(), before);
}
