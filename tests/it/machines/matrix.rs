//! Everything is green where it is right; each fault turns exactly its checks red, with the cause named.

use std::{collections::BTreeSet, time::Instant};

use gangplank::{
    provider::azure,
    verify::{Check, Verdict},
};
use jiff::SignedDuration;

use super::{
    Blueprint, Claims, Lab,
    boots::{Keys, azure_plan, plan},
    eventually,
    faults::{self, Fault},
    lab::{Form, OPERATOR, STRANGER, VENDOR},
    look::{Watch, name, red},
};

#[test]
fn each_fault_turns_exactly_its_checks_red() {
    let keys = Keys::new();
    let plan = plan(&keys, &[&keys.vendor, &keys.rsa]);
    let Some(mut lab) = Lab::up(&plan, &Blueprint::default()) else { return };
    let watch = Watch::new(&lab, &plan, OPERATOR, Some(&keys.operator));
    let mut claims = Claims::default();
    faults::prepare(&lab);

    let look = |lab: &Lab, ahead| [watch.machine(lab, ahead), watch.network(lab)].concat();
    green("as it was made", &look(&lab, SignedDuration::ZERO), &mut claims);
    for fault in faults::ALL {
        let began = Instant::now();
        (fault.inject)(&mut lab);
        let ahead = if fault.name.contains("clock") { faults::AHEAD } else { SignedDuration::ZERO };
        judge(fault, &look(&lab, ahead), &mut claims);
        (fault.undo)(&mut lab);
        println!("{}: {:.1} s", fault.name, began.elapsed().as_secs_f64());
    }
    green("after all faults were undone", &look(&lab, SignedDuration::ZERO), &mut claims);

    let stranger = Watch { from: STRANGER, identity: None, host_keys: watch.host_keys.clone(), ..watch };
    let seen = stranger.network(&lab);
    let refused = seen.iter().find(|check| check.id == "network.source-refused").expect("a stranger asks it");
    claims.that(refused.verdict == Verdict::Pass, format_args!("a stranger is refused: {refused:?}"));
    claims.that(red(&seen).is_empty(), format_args!("a stranger cannot tell that anything is wrong: {:?}", red(&seen)));
    (faults::ANYBODY.inject)(&mut lab);
    judge(&faults::ANYBODY, &stranger.network(&lab), &mut claims);
    (faults::ANYBODY.undo)(&mut lab);
    println!("all in {:.1} s", lab.machine.age().as_secs_f64());
    claims.end(|| format!("--- console\n{}", lab.machine.console()));
}

#[test]
fn behind_a_firewall_that_hides_its_clients_all_is_green_and_keys_come_with_user_data() {
    let keys = Keys::new();
    let plan = azure_plan(&keys, &[&keys.vendor]);
    let blueprint = Blueprint { form: Form::Azure, ..Blueprint::default() };
    let Some(lab) = Lab::up(&plan, &blueprint) else { return };
    let watch = Watch::new(&lab, &plan, OPERATOR, Some(&keys.operator));
    let mut claims = Claims::default();
    let seen = [watch.machine(&lab, SignedDuration::ZERO), watch.network(&lab)].concat();
    green("behind DNAT and SNAT", &seen, &mut claims);

    let user_data = |vendor| azure::keys::user_data(&azure_plan(&keys, vendor), None).expect("live keys");
    let comes_in = |key| lab.admits(VENDOR, key, "secoda");
    let (both, first, second, none) = ([&keys.vendor, &keys.next], [&keys.vendor], [&keys.next], []);
    for (what, accepted, refused) in [
        ("added", &both[..], &none[..]),
        ("rotated", &second, &first),
        ("revoked", &none, &both),
        ("restored", &first, &second),
    ] {
        let began = Instant::now();
        lab.metadata.show_user_data(&user_data(accepted));
        eventually(format_args!("a key is {what}"), || {
            let holds = accepted.iter().all(|key| comes_in(key)) && refused.iter().all(|key| !comes_in(key));
            holds.then_some(())
        });
        println!("{what} through user data: {:.1} s", began.elapsed().as_secs_f64());
    }
    let told = |console: &str| console.matches("the keys stay as they are").count();
    let before = told(&lab.machine.console());
    let whole = user_data(&second);
    lab.metadata.show_user_data(&whole[..whole.len() - 10]);
    eventually("the machine refuses a set that is not whole, on its console", || {
        (told(&lab.machine.console()) > before).then_some(())
    });
    claims.that(comes_in(&keys.vendor) && !comes_in(&keys.next), "a malformed set changes nothing");
    claims.end(|| format!("--- console\n{}", lab.machine.console()));
}

#[test]
fn a_boot_that_fails_half_way_says_so() {
    let keys = Keys::new();
    let plan = plan(&keys, &[&keys.vendor]);
    // sshd does not start with this, and refuses our settings along with it.
    let image = "echo 'Nonsense yes' >etc/ssh/sshd_config.d/99-image.conf";
    let Some(lab) = Lab::up(&plan, &Blueprint { image, ..Blueprint::default() }) else { return };
    let watch = Watch::blind(&lab, &plan, OPERATOR);
    let mut claims = Claims::default();
    let seen = [watch.machine(&lab, SignedDuration::ZERO), watch.network(&lab)].concat();
    let fault = Fault {
        name: "cloud-init failed half way",
        inject: |_| {},
        undo: |_| {},
        red: &["machine.cloud-init", "network.tcp"],
        says: "sshd refuses /etc/gangplank/sshd.conf",
    };
    judge(&fault, &seen, &mut claims);
    claims.end(|| format!("--- console\n{}", lab.machine.console()));
}

/// Nothing is red, and nothing is unknown.
fn green(when: &str, checks: &[Check], claims: &mut Claims) {
    for check in checks {
        claims.that(check.verdict == Verdict::Pass, format_args!("{when}: {check:#?}"));
    }
    let vantages: BTreeSet<&str> = checks.iter().map(|check| check.vantage.as_str()).collect();
    claims.same(vantages, BTreeSet::from(["machine", "network"]), format_args!("{when}: vantages"));
}

fn judge(fault: &Fault, checks: &[Check], claims: &mut Claims) {
    let expected: BTreeSet<String> = fault.red.iter().map(|name| (*name).to_owned()).collect();
    let found = red(checks);
    let causes = checks.iter().filter_map(|check| match &check.verdict {
        Verdict::Fail { cause, .. } => Some(format!("{}: {cause}", name(check))),
        _ => None,
    });
    let told = causes.collect::<Vec<_>>().join("\n    ");
    claims.that(found == expected, format_args!("{}: red {found:?} instead of {expected:?}\n    {told}", fault.name));
    claims.that(told.contains(fault.says), format_args!("{}: no cause says {:?}\n    {told}", fault.name, fault.says));
}
