//! From a plan to a bastion, through its changes and through drift, back to nothing, and nothing foreign touched on the way.

use super::{Cloud, Lab, Wish, fresh};

pub fn a_bastion_comes_and_goes<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    let wish = Wish::warehouse();

    lab.assert_differs(&wish, "nothing is there");
    assert!(lab.ours().is_clean());

    lab.apply(&wish);
    assert!(!lab.ours().is_clean());
    lab.assert_settled(&wish);
    let again = lab.apply(&wish);
    assert_eq!(again.writes(), 0, "{again}");
    let status = lab.run("status", &wish, &["--output", "json"]).0.expect(0).json();
    assert_eq!(status["bastions"][0]["state"], "up", "{status:#}");

    lab.destroy(&wish);
    let (again, calls) = lab.run("destroy", &wish, &["--yes"]);
    again.expect(0);
    assert_eq!(calls.writes(), 0, "{calls}");
}

pub fn nothing_is_written_without_consent<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    // Nobody can be asked: standard input is empty.
    let (run, calls) = lab.run("apply", &Wish::warehouse(), &[]);
    assert_ne!(run.code(), Some(0), "{run}");
    assert_eq!(calls.writes(), 0, "{calls}");
    assert!(lab.ours().is_clean());
}

/// A changed plan, applied to what is there, gives what it would have given in the first place.
pub fn changes_end_where_a_fresh_start_would<C: Cloud>() {
    for (what, change) in Wish::changes() {
        let Some(lab) = Lab::<C>::new() else { return };
        let mut wish = Wish::warehouse();
        lab.apply(&wish);
        change(&mut wish);
        lab.assert_differs(&wish, what);
        lab.apply(&wish);
        lab.assert_settled(&wish);
        lab.ours().assert_ours(&fresh::<C>(&wish), what);
    }
}

pub fn who_may_come_changes_without_a_new_machine<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    let mut wish = Wish::warehouse();
    lab.apply(&wish);
    let machine = lab.cloud.machine();
    assert!(!machine.is_null());
    for (what, change) in Wish::changes() {
        if ["a source more", "another source", "another key", "another tag"].contains(&what) {
            change(&mut wish);
            lab.apply(&wish);
            assert_eq!(lab.cloud.machine(), machine, "{what}");
        }
    }
}

/// Somebody changes things by hand; the plan sees it, and applying repairs it.
pub fn drift_is_seen_and_repaired<C: Cloud>() {
    for (what, drift) in C::drifts() {
        let Some(lab) = Lab::<C>::new() else { return };
        let wish = Wish::warehouse();
        lab.apply(&wish);
        let before = lab.ours();
        drift(&lab.cloud);
        assert_ne!(lab.cloud.look(), before, "{what}: the test did nothing");
        lab.assert_differs(&wish, what);
        lab.apply(&wish);
        lab.ours().assert_ours(&before.ours, what);
        lab.assert_settled(&wish);
    }
}

/// What stands under our name and is not ours stops the run before it writes.
pub fn a_lookalike_stops_the_run<C: Cloud>() {
    for (what, make) in C::lookalikes() {
        let Some(lab) = Lab::<C>::new() else { return };
        make(&lab.cloud);
        let before = lab.cloud.look();
        for (verb, options) in [("plan", &["--detailed-exitcode"][..]), ("apply", &["--yes"])] {
            let (run, calls) = lab.run(verb, &Wish::warehouse(), options);
            assert_eq!(run.code(), Some(3), "{what}\n{run}");
            assert!(run.stderr.contains("gangplank-warehouse"), "{what}\n{run}");
            assert_eq!(calls.writes(), 0, "{what}\n{calls}");
        }
        // Nothing of ours is there to destroy.
        let (run, calls) = lab.run("destroy", &Wish::warehouse(), &["--yes"]);
        run.expect(0);
        assert_eq!(calls.writes(), 0, "{what}\n{calls}");
        assert_eq!(lab.cloud.look(), before, "{what}");
    }
}

pub fn a_saved_changeset_is_applied_as_it_was_shown<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    let mut wish = Wish::warehouse();
    let saved = format!("{}/saved.json", lab.cloud.home());
    lab.run("plan", &wish, &["--out", &saved]).0.expect(0);
    // What the plan's file says now is of no concern.
    wish.sources.push("198.51.100.8/32");
    lab.cloud.write(&wish);
    lab.cloud.execute(&["apply", &saved, "--yes", "--no-verify"], &[]).0.expect(0);
    lab.ours().assert_ours(&fresh::<C>(&Wish::warehouse()), "the saved changeset applied");
}

pub fn a_saved_changeset_is_refused_when_the_cloud_has_changed<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    let mut wish = Wish::warehouse();
    lab.apply(&wish);
    wish.sources.push("198.51.100.8/32");
    let saved = format!("{}/saved.json", lab.cloud.home());
    lab.run("plan", &wish, &["--out", &saved]).0.expect(0);
    lab.apply(&wish);
    let before = lab.ours();
    let (run, calls) = lab.cloud.execute(&["apply", &saved, "--yes", "--no-verify"], &[]);
    let run = run.expect(3);
    assert!(run.stderr.contains("The cloud changed since this changeset was saved"), "{run}");
    assert_eq!(calls.writes(), 0, "{calls}");
    assert_eq!(lab.ours(), before);
}

/// Two bastions in one run, and one of them goes.
pub fn bastions_do_not_touch_each_other<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    // One's name begins with the other's.
    let (one, two) = (Wish::warehouse(), Wish::new("warehouse-2"));
    let paths = [lab.cloud.write(&one), lab.cloud.write(&two)];
    let paths: Vec<&str> = paths.iter().map(|p| p.to_str().expect("a temporary folder's name")).collect();
    lab.cloud.execute(&[&["apply", "--yes", "--no-verify"], &paths[..]].concat(), &[]).0.expect(0);
    lab.assert_settled(&one);
    lab.assert_settled(&two);
    lab.run("destroy", &two, &["--yes"]).0.expect(0);
    lab.ours().assert_ours(&fresh::<C>(&one), "one of two destroyed");
    lab.assert_settled(&one);
}
