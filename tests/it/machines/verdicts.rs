//! Everything is green where it is right; each fault turns exactly its checks red, with the cause named, and the vendor's own
//! session says whether it had to.

use std::{collections::BTreeSet, net::IpAddr, thread, time::Instant};

use gangplank::{
    provider::azure,
    verify::{Check, Verdict, causes},
};
use jiff::SignedDuration;

use super::{
    Blueprint, Claims, Lab,
    boots::{self, Keys, azure_plan, plan, plan_with_login},
    eventually,
    faults::{self, Fault},
    lab::{Form, OPERATOR, STRANGER, VENDOR},
    look::{Watch, red},
    outcome::{self, Outcome, Tally},
    truth::{self, Truth},
};

/// So many labs share the faults: most of the time is waiting.
const LABS: usize = 2;
/// On a host with other work a look can take longer than the verifier waits for. So what is not as expected is looked at
/// once more; in more faults than this that is no longer the host's load.
const LOOKED_AT_TWICE: usize = 6;

#[test]
fn each_fault_is_named_as_the_vendor_meets_it() {
    let began = Instant::now();
    let (keys, mut tally, mut claims) = (&Keys::new(), Tally::default(), Claims::default());
    let shares = thread::scope(|scope| {
        let shares: Vec<_> = (0..LABS).map(|share| scope.spawn(move || through(share, keys))).collect();
        shares.into_iter().map(|share| share.join().expect("no panic")).collect::<Option<Vec<_>>>()
    });
    let Some(shares) = shares else { return };
    let mut twice = Vec::new();
    for share in shares {
        tally.add(share.outcomes);
        claims.add(share.claims);
        twice.extend(share.twice);
    }
    claims.that(twice.len() <= LOOKED_AT_TWICE, format_args!("too many faults needed a second look: {twice:?}"));
    println!("{tally}all in {:.1} s", began.elapsed().as_secs_f64());
    claims.end(String::new);
}

#[derive(Default)]
struct Share {
    outcomes: Vec<Outcome>,
    claims: Claims,
    /// What was looked at once more.
    twice: Vec<&'static str>,
}

/// Every so manieth fault, on a machine of its own; `None` where machines cannot be.
fn through(share: usize, keys: &Keys) -> Option<Share> {
    let plan = plan_with_login(keys, &[&keys.vendor, &keys.rsa]);
    let mut lab = Lab::up(&plan, &Blueprint::default())?;
    let watch = Watch::new(&lab, &plan, OPERATOR, Some(&keys.operator));
    let without_login = boots::plan(keys, &[&keys.vendor, &keys.rsa]);
    let not_asking = Watch { plan: &without_login, host_keys: watch.host_keys.clone(), ..watch };
    let mut through = Share::default();
    faults::prepare(&lab);

    through.healthy("as it was made", &lab, &watch, keys);
    for fault in faults::all().filter(|fault| chosen(fault.name)).skip(share).step_by(LABS) {
        let watch = if fault.without_login { &not_asking } else { &watch };
        let mut false_green = false;
        let outcome = through.twice_at_most(fault.name, |claims| {
            let outcome = one(fault, &mut lab, watch, keys, claims);
            outcome.judge(claims);
            false_green |= outcome.is_false_green();
            println!("{outcome}");
            if !claims.hold() {
                println!("PostgreSQL's log:\n{}", lab.database.log());
            }
            outcome
        });
        through.claims.that(!false_green, format_args!("{}: broken and green", fault.name));
        through.outcomes.push(outcome);
    }
    through.healthy("after all faults were undone", &lab, &watch, keys);
    if share == 0 {
        stranger(&lab, &watch, &mut through.claims);
    }
    Some(through)
}

impl Share {
    /// Looks, and looks again if that is not as expected.
    fn twice_at_most<T>(&mut self, what: &'static str, mut look: impl FnMut(&mut Claims) -> T) -> T {
        let mut claims = Claims::default();
        let mut seen = look(&mut claims);
        if !claims.hold() {
            println!("{what}: once more, since {claims}");
            self.twice.push(what);
            claims = Claims::default();
            seen = look(&mut claims);
        }
        self.claims.add(claims);
        seen
    }

    /// The vendor's session works, and all is green.
    fn healthy(&mut self, when: &'static str, lab: &Lab, watch: &Watch<'_>, keys: &Keys) {
        self.twice_at_most(when, |claims| {
            let seen = [watch.machine(lab, SignedDuration::ZERO), watch.network(lab)].concat();
            green(when, &seen, claims);
            claims.same(truth::of_the_vendor(lab, keys), Truth::Works, when);
        });
    }
}

fn one(fault: &'static Fault, lab: &mut Lab, watch: &Watch<'_>, keys: &Keys, claims: &mut Claims) -> Outcome {
    let began = Instant::now();
    let ahead = if fault.name.contains("clock") { faults::AHEAD } else { SignedDuration::ZERO };
    let before = fault.after_report.then(|| watch.machine_hourly(lab, ahead));
    let injected = fault.inject.make(lab);
    // What the verifier sees must not come from the vendor's own failures.
    let mut seen = before.unwrap_or_else(|| watch.machine_hourly(lab, ahead));
    seen.extend(watch.network(lab));
    causes::fold(&mut seen);
    let looked = began.elapsed();
    let truth = truth::of_the_vendor(lab, keys);
    let undone = fault.undo.make(lab);
    claims.that(injected.is_ok() && undone.is_ok(), format_args!("{}: comes and goes", fault.name));
    Outcome::new(fault, truth, &seen, looked, began.elapsed())
}

/// Who is not on the list is refused, learns nothing, and is told of if it comes in.
fn stranger(lab: &Lab, watch: &Watch<'_>, claims: &mut Claims) {
    let host_keys = watch.host_keys.clone();
    let stranger = Watch { from: STRANGER, identity: None, host_keys, deadline: None, ..*watch };
    let seen = stranger.network(lab);
    let refused = seen.iter().find(|check| check.id == "network.source-refused").expect("a stranger asks it");
    claims.that(refused.verdict == Verdict::Pass, format_args!("a stranger is refused: {refused:?}"));
    claims.that(red(&seen).is_empty(), format_args!("a stranger cannot tell that anything is wrong: {:?}", red(&seen)));
    lab.edge.admit(IpAddr::V4(STRANGER));
    let seen = stranger.network(lab);
    lab.edge.refuse(IpAddr::V4(STRANGER));
    let (red, says) = (&["network.source-refused"], "is not on the allow list and connects all the same");
    outcome::names(claims, "anybody is admitted", &seen, red, says);
}

/// All faults, or those with one of these words in their names.
fn chosen(name: &str) -> bool {
    let words = std::env::var("GANGPLANK_TEST_FAULTS").unwrap_or_default();
    words.is_empty() || words.split(',').any(|word| name.contains(word.trim()))
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
    let (red, says) = (&["machine.cloud-init", "network.tcp"], "sshd refuses /etc/gangplank/sshd.conf");
    outcome::names(&mut claims, "cloud-init failed half way", &seen, red, says);
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
