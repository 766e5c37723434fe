//! One cause turns one check red: what follows from it, seen from any vantage, is unknown with that check's name. Pure.

use super::{Check, Vantage, Verdict};

/// How the subjects of effect and cause (a user, a target) must agree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The cause concerns every user and target.
    All,
    /// Both are about the same user or target.
    Same,
}

use About::{All, Same};

/// A check whose failure can explain another's.
type Cause = (&'static str, About);

/// The machine cannot let anybody in, or not as it should.
const DAEMON: [Cause; 5] = [
    ("machine.cloud-init", All),
    ("machine.deadline", All),
    ("machine.daemon", All),
    ("machine.port", All),
    ("machine.daemon-current", All),
];

/// sshd turns a user away.
const ENTRY: [Cause; 10] = [
    ("machine.deadline", All),
    ("machine.authentication", All),
    ("machine.algorithms", All),
    ("machine.account", Same),
    ("machine.home", Same),
    ("machine.ssh-folder", Same),
    ("machine.authorized-keys", Same),
    ("machine.keys", Same),
    ("machine.key-options", Same),
    ("machine.self-test", Same),
];

/// The cloud lets nothing pass to a target. Checks that are red for too much as well as for too little do not stand here.
const WAY: [Cause; 5] = [
    ("control.target-group", Same),
    ("control.target-egress", Same),
    ("control.target-acl", Same),
    ("control.target-route", Same),
    ("control.peering", All),
];

/// A forward leads to no target.
const FORWARD: [Cause; 5] = [
    ("machine.target-dns", Same),
    ("machine.target", Same),
    ("machine.permitopen", All),
    ("machine.self-test", All),
    ("network.session", All),
];

/// Nothing answers at the address.
const EDGE: [Cause; 5] = [
    ("control.instance", All),
    ("control.address", All),
    ("control.admits", All),
    ("control.acl", All),
    ("control.route", All),
];

/// Packets are lost on the way, or the machine turns this address away.
const PATH: [Cause; 2] = [("machine.sources", All), ("network.loss", All)];

/// On the two halves of the way to a target.
const LOSS: [Cause; 2] = [("network.target-loss", All), ("network.loss", All)];

const LIMITS: [Cause; 2] = [("machine.concurrency", All), ("machine.self-test", All)];
const CONFINEMENT: [Cause; 2] = [("machine.confinement", All), ("machine.account", All)];

/// What can explain a failure of this check, the nearest cause first.
fn causes(effect: &str) -> Vec<Cause> {
    match effect {
        "network.tcp" => [&EDGE[..], &DAEMON, &PATH].concat(),
        "network.banner" | "network.algorithms" => [&DAEMON[..], &PATH].concat(),
        "machine.daemon" => vec![("machine.daemon-current", All)],
        "network.host-key" => vec![("machine.host-keys", All), ("network.algorithms", All), ("network.loss", All)],
        "machine.self-test" => vec![("network.algorithms", All)],
        "network.key" | "network.login" => ENTRY.to_vec(),
        "network.startups" | "network.session" => [&LIMITS[..], &PATH].concat(),
        "network.concurrent" => [&LIMITS[..], &WAY, &FORWARD, &LOSS].concat(),
        "network.forward" => [&WAY[..], &FORWARD, &LOSS].concat(),
        "network.target-login" => [&[("network.session", All)][..], &LOSS].concat(),
        "machine.target" => [&WAY[..], &[("network.target-loss", All)]].concat(),
        // Red for too much, too; but where no group admits the bastion either, it is for too little.
        "control.target-group" => vec![("control.database-group", All)],
        "network.refuses-none" | "network.refuses-password" | "network.refuses-unknown-key" => {
            vec![("machine.authentication", All)]
        }
        "network.refuses-exec"
        | "network.refuses-shell"
        | "network.refuses-pty"
        | "network.refuses-agent"
        | "network.refuses-remote-forward" => CONFINEMENT.to_vec(),
        "network.refuses-unlisted" | "network.refuses-metadata" => {
            vec![("machine.permitopen", All), ("machine.key-options", All)]
        }
        _ => Vec::new(),
    }
}

/// The user or target: of a key's check the user stands first.
fn about(check: &Check) -> Option<&str> {
    check.subject.as_deref().and_then(|subject| subject.split(' ').next())
}

/// The failure that explains this one best.
fn explanation<'a>(check: &Check, red: &'a [Check]) -> Option<&'a Check> {
    let known = causes(check.id);
    let rank = |cause: &Check| {
        // What the machine says of itself may explain it; nothing that is met on the way.
        if check.is_proof && cause.vantage == Vantage::Network {
            return None;
        }
        let (at, (_, scope)) = known.iter().enumerate().find(|(_, (id, _))| *id == cause.id)?;
        (*scope == All || cause.subject.is_none() || about(cause) == about(check)).then_some(at)
    };
    red.iter().filter_map(|cause| Some((rank(cause)?, cause))).min_by_key(|(rank, _)| *rank).map(|(_, cause)| cause)
}

/// The first failure that says the same of another user or key.
fn twin<'a>(check: &Check, red: &'a [Check]) -> Option<&'a Check> {
    let before = red.iter().take_while(|other| other.name() != check.name());
    before.filter(|other| other.id == check.id).find(|other| says_the_same(other, check))
}

/// Folds each failure that another one explains, and each that says the same of another user or key, under the one that
/// stays red. One always does.
pub fn fold(checks: &mut [Check]) {
    let red: Vec<Check> = checks.iter().filter(|check| check.verdict.is_fail()).cloned().collect();
    for check in checks {
        let Verdict::Fail { cause, .. } = &check.verdict else { continue };
        let see = match (explanation(check, &red), twin(check, &red)) {
            (Some(mut first), _) => {
                while let Some(further) = explanation(first, &red).or_else(|| twin(first, &red)) {
                    first = further;
                }
                format!("mend {} first, which can be its cause", first.name())
            }
            (None, Some(twin)) => format!("the same as {}", twin.name()),
            (None, None) => continue,
        };
        check.verdict = Verdict::Unknown { reason: format!("{cause}; {see}") };
    }
}

/// The causes differ in nothing but whom they name.
fn says_the_same(one: &Check, other: &Check) -> bool {
    let plain = |check: &Check| match &check.verdict {
        Verdict::Fail { cause, .. } => {
            let words = cause.split(|c: char| c.is_whitespace() || ",;:@'\"()/".contains(c));
            let name = about(check).unwrap_or_default();
            let general = words.map(|word| if word.trim_end_matches("'s") == name { "" } else { word });
            Some(general.map(str::to_owned).collect::<Vec<_>>())
        }
        _ => None,
    };
    plain(one).is_some_and(|words| Some(words) == plain(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Part, Vantage};

    fn red(id: &'static str, subject: Option<&str>, cause: &str) -> Check {
        let check = Check::new(Vantage::Machine, id, Part::Bastion, "it is right");
        match subject {
            Some(subject) => check.about(subject),
            None => check,
        }
        .fail(cause, "mend it")
    }

    fn folded(mut checks: Vec<Check>) -> Vec<String> {
        fold(&mut checks);
        checks
            .iter()
            .map(|check| match &check.verdict {
                Verdict::Unknown { reason } => format!("{}: {reason}", check.name()),
                _ => check.name(),
            })
            .collect()
    }

    #[test]
    fn what_follows_from_a_cause_is_not_red_beside_it() {
        let checks = vec![
            red("machine.daemon", None, "no sshd waits for connections"),
            red("network.tcp", None, "nothing listens"),
            red("machine.home", Some("secoda"), "home belongs to root"),
            red("network.key", Some("secoda SHA256:abc"), "the daemon refuses it"),
            red("network.key", Some("ana SHA256:def"), "the daemon refuses ana"),
        ];
        let expected = [
            "machine.daemon",
            "network.tcp: nothing listens; mend machine.daemon first, which can be its cause",
            "machine.home[secoda]",
            "network.key[secoda SHA256:abc]: the daemon refuses it; mend machine.home[secoda] first, which can be its cause",
            "network.key[ana SHA256:def]",
        ];
        assert_eq!(folded(checks), expected);
    }

    /// Lost packets and odd algorithms forge no key.
    #[test]
    fn what_proves_itself_follows_from_nothing_on_the_way() {
        let foreign = red("network.host-key", None, "another host key").proven();
        let on_the_way = |check: Check| Check { vantage: Vantage::Network, ..check };
        let [lost, odd] = [("network.loss", "lost"), ("network.algorithms", "none sound")]
            .map(|(id, cause)| on_the_way(red(id, None, cause)));
        let checks = vec![lost, odd, foreign];
        let algorithms = "network.algorithms: none sound; mend network.loss first, which can be its cause";
        assert_eq!(folded(checks), ["network.loss", algorithms, "network.host-key"]);
    }

    /// What is lost behind the machine holds up no session with it.
    #[test]
    fn a_loss_explains_what_goes_its_way() {
        let effects = [
            red("network.startups", None, "2 of 10"),
            red("network.session", None, "hangs"),
            red("network.concurrent", None, "40 of 50"),
            red("machine.target", Some("warehouse"), "no answer"),
        ];
        for (loss, still) in [
            ("network.target-loss", &["network.startups", "network.session"][..]),
            ("network.loss", &["machine.target[warehouse]"]),
        ] {
            let folded = folded([&[red(loss, None, "lost")][..], &effects].concat());
            let red: Vec<_> = folded[1..].iter().filter(|line| !line.contains("; ")).collect();
            assert_eq!(red, still, "{loss}");
        }
    }

    #[test]
    fn the_one_that_is_named_stays_red() {
        let checks = vec![
            red("control.database-group", Some("sg-1 5432"), "no rule"),
            red("control.target-group", Some("warehouse"), "no group admits the bastion"),
            red("machine.target", Some("warehouse"), "no answer"),
            red("network.forward", Some("warehouse"), "dropped"),
        ];
        for line in &folded(checks)[1..] {
            assert!(line.ends_with("mend control.database-group[sg-1 5432] first, which can be its cause"), "{line}");
        }
    }

    #[test]
    fn the_same_of_another_user_is_said_once() {
        let checks = vec![
            red("machine.self-test", Some("secoda"), "a session of secoda may open 24 files"),
            red("machine.self-test", Some("ana"), "a session of ana may open 24 files"),
            red("machine.self-test", Some("eve"), "a session of eve may open 25 files"),
        ];
        let expected = [
            "machine.self-test[secoda]",
            "machine.self-test[ana]: a session of ana may open 24 files; the same as machine.self-test[secoda]",
            "machine.self-test[eve]",
        ];
        assert_eq!(folded(checks), expected);
    }

    /// Whatever fails, something stays red: no cause is an effect of its own effects.
    #[test]
    fn a_cause_never_follows_from_its_effect() {
        let reaches = |from: &'static str| {
            let (mut all, mut next) = (Vec::new(), vec![from]);
            while let Some(id) = next.pop() {
                for (cause, _) in causes(id) {
                    if !all.contains(&cause) {
                        all.push(cause);
                        next.push(cause);
                    }
                }
            }
            all
        };
        let tables = [&DAEMON[..], &ENTRY, &WAY, &FORWARD, &EDGE, &LIMITS, &PATH, &CONFINEMENT].concat();
        let effects = [
            "network.tcp",
            "network.forward",
            "network.key",
            "network.concurrent",
            "control.target-group",
            "network.startups",
        ];
        for id in tables.iter().map(|(id, _)| *id).chain(effects) {
            assert!(!reaches(id).contains(&id), "{id} follows from itself");
        }
    }
}
