//! The calls that it costs: none that writes for a plan, and as many reads for fifty bastions as for one.

use super::{Call, Calls, Cloud, Lab, Wish};

pub fn reading_costs_the_same_for_any_number_of_bastions<C: Cloud>() {
    let costs = |count: usize| -> Option<[Calls; 3]> {
        let lab = Lab::<C>::new()?;
        for n in 0..count {
            lab.cloud.write(&Wish::new(&format!("bastion-{n:02}")));
        }
        let plans = lab.cloud.home();
        let run = |arguments: &[&str], code| {
            let (run, calls) = lab.cloud.execute(arguments, &[]);
            run.expect(code);
            calls
        };
        let nothing_exists = run(&["plan", &plans, "--detailed-exitcode"], 2);
        run(&["apply", &plans, "--yes", "--no-verify"], 0);
        let all_exist = run(&["plan", &plans, "--detailed-exitcode"], 0);
        let status = run(&["status", &plans], 0);
        Some([nothing_exists, all_exist, status])
    };
    let Some(one) = costs(1) else { return };
    for calls in &one {
        assert_eq!(calls.writes(), 0, "{calls}");
        assert_identity_first::<C>(calls);
    }
    for count in [10, 50] {
        let many = costs(count).expect("there was one before");
        for ((one, many), when) in one.iter().zip(&many).zip(["nothing exists", "all exist", "status"]) {
            let own = if when == "nothing exists" { 0 } else { C::reads_of_its_own() };
            let reads = one.0.len() + own * (count - 1);
            // A page has a hundred resources or more; a bastion has up to eight.
            let pages = if when == "nothing exists" { 0 } else { count * 8 / 100 };
            assert!((reads..=reads + pages).contains(&many.0.len()), "{count} plans, {when}: not {reads}\n{many}");
            assert!(
                many.0.len() > one.0.len() || many.sorted() == one.sorted(),
                "{count} plans, {when}\n{one}\n{many}"
            );
        }
    }
}

/// Whose account it is costs one read, and nothing else is asked before.
#[track_caller]
fn assert_identity_first<C: Cloud>(calls: &Calls) {
    let asks = |call: &Call| call.operation == C::IDENTITY;
    assert_eq!(calls.0.iter().position(asks), Some(0), "{calls}");
    assert_eq!(calls.0.iter().filter(|call| asks(call)).count(), 1, "{calls}");
}

pub fn looking_writes_nothing<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    let mut wish = Wish::warehouse();
    let look = |wish: &Wish| {
        for (verb, options) in [
            ("plan", &[][..]),
            ("plan", &["--output", "json"]),
            ("plan", &["--output", "markdown"]),
            ("status", &[]),
            ("status", &["--output", "json"]),
            ("render", &[]),
            ("validate", &[]),
        ] {
            let (run, calls) = lab.run(verb, wish, options);
            let run = run.expect(0);
            assert_eq!(calls.writes(), 0, "{verb} {options:?}\n{calls}");
            if options.contains(&"json") {
                run.json();
            }
        }
        let (_, calls) = lab.run("verify", wish, &["--no-network"]);
        assert_eq!(calls.writes(), 0, "verify\n{calls}");
    };
    look(&wish);
    assert!(lab.ours().is_clean());
    lab.apply(&wish);
    let before = lab.ours();
    look(&wish);
    wish.sources = vec!["203.0.113.0/28"];
    look(&wish);
    assert_eq!(lab.ours(), before);
}
