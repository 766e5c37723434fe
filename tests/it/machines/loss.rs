//! Paths that lose packets of any size: the tunnel works, slowly, or it does not.

use gangplank::verify::{Check, Verdict};

use super::{
    Blueprint, Lab, Namespace,
    boots::{Keys, plan_with_login},
    lab::{DATABASE, OPERATOR},
    look::{Watch, red},
};

/// Few are lost one after so many, or a run could happen to lose none that matter; many at random.
fn lose(namespace: &Namespace, which: &str, percent: u32) {
    let lost = if percent > 10 {
        format!("numgen random mod 100 < {percent}")
    } else {
        format!("numgen inc mod {} < 1", 100 / percent)
    };
    namespace.nft(&format!(
        "table ip lossy {{ chain pass {{ type filter hook forward priority -200; {which} {lost} drop; }}; }}"
    ));
}

fn again(namespace: &Namespace) {
    namespace.nft("delete table ip lossy");
}

fn loss<'a>(checks: &'a [Check], id: &str) -> &'a Check {
    checks.iter().find(|check| check.id == id).expect("always there")
}

/// On the way to the machine, and between it and the database.
const OUTSIDE: &str = "network.loss";
const INSIDE: &str = "network.target-loss";

#[test]
fn a_path_that_loses_packets_is_named() {
    let keys = Keys::new();
    let plan = plan_with_login(&keys, &[&keys.vendor]);
    let Some(lab) = Lab::up(&plan, &Blueprint::default()) else { return };
    let watch = Watch::new(&lab, &plan, OPERATOR, Some(&keys.operator));
    let whole = |lab: &Lab| {
        let seen = watch.network(lab);
        for id in [OUTSIDE, INSIDE] {
            assert_eq!(loss(&seen, id).verdict, Verdict::Pass, "{:#?}", loss(&seen, id));
        }
    };
    whole(&lab);
    let (inside, outside) = (format!("ip daddr {DATABASE}"), String::new());
    let first = format!("{inside} tcp flags & (syn | ack) == syn");
    for (namespace, which, percent, id, says) in [
        (&*lab.router.namespace, &first, 10, INSIDE, "between the machine and the target"),
        (&*lab.router.namespace, &inside, 30, INSIDE, "between the machine and the target"),
        (&lab.edge.namespace, &outside, 5, OUTSIDE, "between here and the machine"),
        (&lab.edge.namespace, &outside, 30, OUTSIDE, ""),
    ] {
        lose(namespace, which, percent);
        let seen = watch.network(&lab);
        again(namespace);
        let check = loss(&seen, id);
        println!("{percent} % at {which:?}: {:?}\n{:#?}", red(&seen), check);
        let told = match &check.verdict {
            Verdict::Pass => "",
            Verdict::Unknown { reason } => reason,
            Verdict::Fail { cause, .. } => cause,
        };
        // Of 30 %, what cannot begin is red for itself.
        let named = check.verdict != Verdict::Pass && told.contains(says);
        assert!(named || percent == 30 && !red(&seen).is_empty(), "{percent} % at {which:?}: {seen:#?}");
        assert!(percent <= 10 || !red(&seen).is_empty(), "{percent} % at {which:?}: {seen:#?}");
    }
    whole(&lab);
}
