//! A cloud that refuses, stumbles, or answers into the void: a clear end, and a next run that finishes the work.

use serde_json::Value;

use super::{Calls, Cloud, Kind, Lab, To, Trouble, Wish};
use crate::support::Moment;

/// Runs again without trouble: the world is as it would have been, nothing twice, and it goes away whole.
#[track_caller]
fn assert_converges<C: Cloud>(lab: &Lab<C>, undisturbed: &Value, what: &str) {
    let wish = Wish::warehouse();
    lab.apply(&wish);
    lab.ours().assert_ours(undisturbed, what);
    lab.assert_settled(&wish);
    lab.destroy(&wish);
}

/// The calls of a creation, and what it gives.
fn undisturbed<C: Cloud>() -> Option<(Calls, Value)> {
    let lab = Lab::<C>::new()?;
    Some((lab.apply(&Wish::warehouse()), lab.ours().ours))
}

pub fn throttling_is_waited_out<C: Cloud>() {
    let Some((calls, expected)) = undisturbed::<C>() else { return };
    for kind in [Kind::Throttled, Kind::Fault] {
        let lab = Lab::<C>::new().expect("there was one before");
        let trouble = [Trouble::new(To::Any, 0..5, kind), Trouble::new(To::Writes, 0..3, kind)];
        let (run, more) = lab.troubled("apply", &Wish::warehouse(), &["--yes"], &trouble);
        let run = run.expect(0);
        assert!(more.0.len() > calls.0.len(), "{more}");
        let words = if matches!(kind, Kind::Throttled) { "throttling" } else { "failed for now" };
        assert!(run.stderr.contains(words), "{run}");
        lab.ours().assert_ours(&expected, &format!("{kind:?}"));
    }
}

pub fn a_refusal_names_the_operation_the_code_and_what_to_do<C: Cloud>() {
    let Some((calls, expected)) = undisturbed::<C>() else { return };
    let writes: Vec<_> = calls.0.iter().filter(|call| call.writes).map(|call| Some(call.operation.as_str())).collect();
    let times = |of: &[&str], operation: &str| of.iter().filter(|one| **one == operation).count();
    let undisturbed: Vec<&str> = writes.iter().flatten().copied().collect();
    // None: the first look is refused.
    for (n, known) in std::iter::once((0, None)).chain(writes.iter().copied().enumerate()) {
        let lab = Lab::<C>::new().expect("there was one before");
        let to = if known.is_some() { To::Writes } else { To::Any };
        // All from there on: somebody without the permission.
        let trouble = [Trouble::new(to, n..usize::MAX, Kind::Denied)];
        let (run, calls) = lab.troubled("apply", &Wish::warehouse(), &["--yes"], &trouble);
        let run = run.expect(1);
        let refused: Vec<_> = calls.0.iter().filter(|c| known.is_none() || c.writes).skip(n).collect();
        assert!(refused.iter().any(|call| run.stderr.contains(&call.operation)), "which operation?\n{run}");
        for expected in [C::DENIED, "exists now", "to do"] {
            assert!(run.stderr.contains(expected), "expected {expected:?}\n{run}");
        }
        let operations: Vec<&str> = refused.iter().filter(|c| c.writes).map(|c| c.operation.as_str()).collect();
        let once = operations.iter().filter(|one| !C::OF_JUST_MADE.contains(one));
        let again = once.into_iter().find(|one| times(&operations, one) > times(&undisturbed, one));
        assert_eq!(again, None, "a refusal is not repeated\n{calls}");
        assert_converges(&lab, &expected, &format!("refused from write {n} on"));
    }
}

/// Whose account it is is the first call of all. Refused, it ends what writes, and what reads goes on without it.
pub fn nothing_is_written_into_an_unknown_account<C: Cloud>() {
    let Some(lab) = Lab::<C>::new() else { return };
    let wish = Wish::warehouse();
    let refused = [Trouble::new(To::Any, 0..1, Kind::Denied)];
    for verb in ["apply", "destroy"] {
        let (run, calls) = lab.troubled(verb, &wish, &["--yes"], &refused);
        let run = run.expect(1);
        assert!(run.stderr.contains("nothing is written into an unknown account"), "{run}");
        assert!(run.stderr.contains(C::DENIED), "{run}");
        assert_eq!(calls.0.iter().map(|call| call.operation.as_str()).collect::<Vec<_>>(), [C::IDENTITY], "{run}");
    }
    let (run, calls) = lab.troubled("plan", &wish, &[], &refused);
    run.expect(0);
    assert_eq!(calls.writes(), 0, "{calls}");
}

/// Each write in turn meets a connection that closes without an answer.
fn lose_each_answer<C: Cloud>(verb: &'static str, moment: Moment) {
    let Some((_, expected)) = undisturbed::<C>() else { return };
    let lab = Lab::<C>::new().expect("there was one before");
    let wish = Wish::warehouse();
    for n in 0.. {
        if verb == "destroy" {
            lab.apply(&wish);
        }
        let trouble = [Trouble::new(To::Writes, n..n + 1, Kind::Lost(moment))];
        let (run, calls) = lab.troubled(verb, &wish, &["--yes"], &trouble);
        let what = format!("write {n} of {verb} lost {moment:?} its effect\n{run}\n{calls}");
        // It may look and go on by itself, or leave that to the next run.
        assert!(matches!(run.code(), Some(0 | 1)), "{what}");
        if verb == "apply" {
            if run.code() == Some(0) {
                lab.ours().assert_ours(&expected, &what);
            }
            assert_converges(&lab, &expected, &what);
        } else {
            assert!(run.code() != Some(0) || lab.ours().is_clean(), "{what}");
            lab.destroy(&wish);
        }
        if n + 1 >= calls.writes() {
            break;
        }
    }
}

pub fn answers_lost_after_the_effect_duplicate_nothing<C: Cloud>() {
    lose_each_answer::<C>("apply", Moment::After);
}

pub fn calls_lost_before_the_effect_are_made_up_for<C: Cloud>() {
    lose_each_answer::<C>("apply", Moment::Before);
}

pub fn removals_whose_answers_are_lost_leave_nothing<C: Cloud>() {
    lose_each_answer::<C>("destroy", Moment::After);
}

pub fn garbage_is_an_error_and_no_panic<C: Cloud>() {
    let Some((_, expected)) = undisturbed::<C>() else { return };
    for to in [To::Any, To::Writes] {
        let lab = Lab::<C>::new().expect("there was one before");
        let trouble = [Trouble::new(to, 0..usize::MAX, Kind::Garbage)];
        let (run, _) = lab.troubled("apply", &Wish::warehouse(), &["--yes"], &trouble);
        let run = run.expect(1);
        assert!(!run.stderr.contains("panicked"), "{run}");
        assert_converges(&lab, &expected, &format!("garbage for {to:?}"));
    }
}
