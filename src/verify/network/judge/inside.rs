//! What somebody who has entered can do: open the targets, and nothing else.

use super::{Case, check, edge, loss, target};
use std::time::Duration;

use crate::{
    plan::{Target, Tunnel},
    verify::{
        Check, Part, Verdict,
        network::{
            clock::seconds,
            inside::{Concurrent, Forward, Granted, Inside, Opened},
            session::Answer,
            transfer::{SLOW, Stuck, Transfer},
        },
    },
};

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    let [loss, target_loss] = loss::checks(case);
    let mut checks = vec![login(case), session(case), loss, target_loss];
    for tunnel in &case.plan.tunnels {
        for target in &tunnel.targets {
            let forward = forward(case, tunnel, target);
            let login = target::database(target).map(|_| target_login(case, &forward, target));
            checks.push(forward);
            checks.extend(login);
        }
    }
    checks.push(concurrent(case));
    checks.extend(refusals(case));
    checks
}

/// What was found by somebody who has entered; or why nobody has.
pub fn entered<'a>(case: &'a Case<'_>) -> Result<&'a Inside, String> {
    match &case.evidence.inside {
        Err(why) => Err(why.clone()),
        Ok(inside) if inside.entered == Answer::Yes => Ok(inside),
        Ok(_) => Err("the identity did not enter (see network.login)".to_owned()),
    }
}

fn login(case: &Case<'_>) -> Check {
    let identity = case.evidence.identity.as_ref();
    let base = check("network.login", Part::Bastion, "the identity's key enters, and the session goes on");
    let base = match identity {
        Some(identity) => base.about(identity.user.clone()),
        None => base
            .seen("not asked: whether account and PAM let a session begin (an expired account, /etc/nologin, limits)"),
    };
    let inside = match &case.evidence.inside {
        Err(why) => return base.unknown(why.clone()),
        Ok(inside) => inside,
    };
    match &inside.entered {
        Answer::Yes => base.seen("entered").pass(),
        Answer::No(methods) => base.seen(format!("refused; methods: {}", methods.join(", "))).fail(
            "the daemon refuses the identity's key",
            "look at network.key of this user; if that passes, the server did not take the signature",
        ),
        Answer::Ended(said) => ended(case, base, said.as_deref()),
        Answer::Asks => base.unknown("the server asks for more than the key"),
        Answer::None(why) => base.unknown(why.clone()),
        Answer::Late => base.unknown(case.clock.late()),
    }
}

/// OpenSSH answers whether a key would do before it asks the account; a login ends after its signature.
fn ended(case: &Case<'_>, base: Check, said: Option<&str>) -> Check {
    let base = base.seen("the server ended the session after the signature, or did not answer any more");
    let accepted = case.evidence.identity.as_ref().is_some_and(|identity| {
        let accounts = case.evidence.accounts.iter().filter(|account| account.user.as_str() == identity.user);
        let mut keys = accounts.flat_map(|account| &account.keys).filter(|key| key.fingerprint == identity.fingerprint);
        keys.any(|key| key.answers.iter().any(|(_, answer)| *answer == Answer::Yes))
    });
    if !accepted {
        return base.unknown("the server ended the connection, and did not accept the key before (see network.key)");
    }
    let said = said.map(|said| format!(" (it says: {said})")).unwrap_or_default();
    base.fail(
        format!("the key is accepted and the session ends, or does not begin{said}: the machine's account or PAM refuses the user"),
        "look at the machine's checks of this user's account, and at sshd's log on the machine, which has the reason: an expired \
         account or password, /etc/nologin, PAM's rules, limits of processes or logins",
    )
}

fn session(case: &Case<'_>) -> Check {
    let base = check(
        "network.session",
        Part::Bastion,
        "a session carries packets of the full size both ways, and answers after a rest",
    );
    let inside = match entered(case) {
        Ok(inside) => inside,
        Err(why) => return base.unknown(why),
    };
    let transfer = &inside.transfer;
    let base = base.seen(format!(
        "{} bytes there and {} bytes back in {} ms",
        transfer.sent,
        transfer.heard,
        transfer.took.as_millis()
    ));
    let stuck = match &transfer.stuck {
        None => return carried(case, base, transfer),
        Some(Stuck::NoSession(why)) => return base.unknown(why.clone()),
        Some(stuck) => stuck,
    };
    let step = seconds(case.clock.step);
    let base = base.seen(match stuck {
        Stuck::Sending => format!("no answer to a large packet within {step}"),
        _ => format!("a large answer did not come within {step}"),
    });
    edge::stuck(base, transfer.small, "the session hangs as soon as more than one packet's worth is sent")
}

fn carried(case: &Case<'_>, base: Check, transfer: &Transfer) -> Check {
    let round_trip = case.evidence.packets.map_or(Duration::ZERO, |packets| packets.round_trip);
    let base = rested(case, base, transfer.rest, transfer.heard);
    if base.verdict != Verdict::Pass || transfer.took < SLOW.max(round_trip * MANY_ROUND_TRIPS) {
        return base;
    }
    let rate = (transfer.sent + transfer.heard) as u128 / transfer.took.as_millis().max(1);
    base.unknown(format!(
        "the tunnel works, but carries only {rate} kilobytes a second: something on the way or on the machine holds it up; large \
         results may take too long for a vendor"
    ))
}

/// What is carried needs some round trips, and no more than this on any path that is of use.
const MANY_ROUND_TRIPS: u32 = 30;

fn rested(case: &Case<'_>, base: Check, rest: Option<(Duration, bool)>, heard: usize) -> Check {
    let base =
        if heard == 0 { base.seen("the server proves no host keys: no large packet came from it") } else { base };
    let Some((rest, answered)) = rest else { return base.pass() };
    let base = base.seen(format!("rested for {} ms", rest.as_millis()));
    if answered {
        return base.seen("answered after it").pass();
    }
    base.fail(
        format!("a session that rests for {} ms does not answer within {} any more: something on the way forgets it", rest.as_millis(), seconds(case.clock.step)),
        "look at idle timeouts and connection limits of firewalls, load balancers and NAT on the way, and at sshd's log",
    )
}

/// A target's name is its tunnel's own; where two tunnels use one, the user tells them apart.
fn subject(case: &Case<'_>, tunnel: &Tunnel, target: &Target) -> String {
    let shared = case.plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets).filter(|other| other.name == target.name);
    if shared.count() > 1 { format!("{}/{}", tunnel.user, target.name) } else { target.name.clone() }
}

fn forward(case: &Case<'_>, tunnel: &Tunnel, target: &Target) -> Check {
    let word = target.speaks.as_str();
    let proves = format!("{} port {} answers through the tunnel, and speaks {word}", target.host, target.port);
    let base = check("network.forward", Part::Target(target.name.clone()), proves).about(subject(case, tunnel, target));
    let inside = match entered(case) {
        Ok(inside) => inside,
        Err(why) => return base.unknown(why),
    };
    match inside.forwards.iter().find(|(found, _)| found == target) {
        Some((_, forward)) => judge_forward(case, base, target, forward, inside),
        None => base.unknown(NOT_THIS_IDENTITY),
    }
}

/// What a database says to a client at the bastion, beyond its first words.
fn target_login(case: &Case<'_>, forward: &Check, target: &Target) -> Check {
    let proves =
        format!("{} port {} admits logins from the bastion, and has a connection left", target.host, target.port);
    let base =
        Check { subject: forward.subject.clone(), ..check("network.target-login", forward.part.clone(), proves) };
    let inside = match entered(case) {
        Ok(inside) => inside,
        Err(why) => return base.unknown(why),
    };
    match inside.forwards.iter().find(|(found, _)| found == target) {
        Some((_, found)) => target::login(case, base, target, (forward, found)),
        None => base.unknown(NOT_THIS_IDENTITY),
    }
}

const NOT_THIS_IDENTITY: &str = "this identity may not open this target; needs an operator's, or the tunnel's own";

fn judge_forward(case: &Case<'_>, base: Check, target: &Target, forward: &Forward, inside: &Inside) -> Check {
    let place = format!("{} port {}", target.host, target.port);
    if let Some(base) = not_opened(&base, &place, &forward.opened) {
        return base;
    }
    let base = base.seen(format!("open and answered after {} ms", forward.took.as_millis()));
    if forward.reading.is_none() && inside.transfer.stuck.is_some() {
        return base
            .unknown("no answer came, and the session itself does not carry large packets (see network.session)");
    }
    let judged = target::judge(case, base, target, forward);
    if judged.verdict != Verdict::Pass || forward.took < LATE {
        return judged;
    }
    judged.unknown(format!(
        "the tunnel works, but {place} answers only after {}: a resolver of the machine's does not answer, packets are lost on the way, or \
         the target is slow",
        seconds(forward.took)
    ))
}

/// A database that is asked for its first words answers at once.
const LATE: Duration = Duration::from_secs(3);

/// The verdict on a channel that should have opened and did not.
fn not_opened(base: &Check, place: &str, opened: &Opened) -> Option<Check> {
    let base = base.clone();
    Some(match opened {
        Opened::Open => return None,
        Opened::Prohibited => base.seen("administratively prohibited").fail(
            format!("sshd does not let this user open {place}: PermitOpen or permitopen name other places, AllowTcpForwarding is \
                     off (also for this address alone), or PAM restricts the session (an expired password, a session that cannot begin)"),
            "look at the machine's checks of the running sshd's settings, of the user's authorized_keys and of its account; restart \
             sshd if its files are right; after a changed plan, apply it",
        ),
        Opened::Failed(why) => base.seen(why.clone()).fail(
            format!(
                "the bastion cannot reach {place}: the database is down, refuses the connection, its name does not resolve \
                 there, or a security group, network ACL or route is in the way"
            ),
            "look at the machine's checks of this target (DNS answer, TCP connect) and at the control plane's of the path",
        ),
        Opened::Trying => base.seen("sshd is still trying to connect").fail(
            format!("packets from the bastion to {place} are dropped: a security group, network ACL or route is in the way"),
            "look at the control plane's checks of the path to this target: egress, the database group's rule, routes",
        ),
        Opened::Unseen(why) => base.unknown(why.clone()),
    })
}

fn concurrent(case: &Case<'_>) -> Check {
    let base = |count: usize| {
        check("network.concurrent", Part::Bastion, format!("{count} forwards are open at once on one connection"))
    };
    let inside = match entered(case) {
        Ok(inside) => inside,
        Err(why) => return base(case.concurrent).unknown(why),
    };
    let Some(found) = &inside.concurrent else {
        return base(case.concurrent).unknown("no target could be opened even once (see network.forward)");
    };
    let Concurrent { target, asked, opened, first_failure, took, fewer, .. } = found;
    let seen = format!("{opened} of {asked} open at once to {target} after {} ms", took.as_millis());
    let mut base = base(*asked).seen(seen);
    if let Some(fewer) = fewer {
        base = base.seen(fewer.clone());
    }
    if opened >= asked {
        return base.pass();
    }
    let why = match first_failure {
        Some(Opened::Failed(why)) => why.clone(),
        Some(Opened::Prohibited) => "administratively prohibited".to_owned(),
        Some(Opened::Unseen(why)) => return base.unknown(why.clone()),
        Some(Opened::Trying | Opened::Open) | None => "no answer in time".to_owned(),
    };
    base.seen(format!("the first that failed: {why}")).fail(
        format!("only {opened} of {asked} forwards to {target} are open at once: the machine's or the target's limit is reached"),
        "look at the machine's checks of limits (open files of the sshd unit and of the user), and at the database's \
         connection limit",
    )
}

fn refusals(case: &Case<'_>) -> Vec<Check> {
    let inside = entered(case);
    let opened = |id, proves: &str, pick: &dyn Fn(&Inside) -> Vec<(String, Opened)>| {
        let base = check(id, Part::Bastion, proves);
        match &inside {
            Err(why) => base.unknown(why.clone()),
            Ok(inside) => judge_unlisted(base, &pick(inside)),
        }
    };
    let granted = |id, proves: &str, what: &str, setting: &str, pick: &dyn Fn(&Inside) -> &Granted| {
        let base = check(id, Part::Bastion, proves);
        match &inside {
            Err(why) => base.unknown(why.clone()),
            Ok(inside) => judge_granted(base, what, setting, pick(inside)),
        }
    };
    let mut remote = granted(
        "network.refuses-remote-forward",
        "nobody can make the machine listen",
        "a remote forward",
        "AllowTcpForwarding local, AllowStreamLocalForwarding no",
        &|inside| &inside.remote,
    );
    // One answer for two requests: the worse of them.
    let socket = granted(
        "network.refuses-remote-forward",
        "nobody can make the machine listen",
        "a remote forward to a socket",
        "AllowStreamLocalForwarding no",
        &|inside| &inside.remote_socket,
    );
    if inside.is_ok() {
        let evidence: Vec<_> = [("port", &remote), ("socket", &socket)]
            .into_iter()
            .flat_map(|(kind, check)| check.evidence.iter().map(move |line| format!("{kind}: {line}")))
            .collect();
        if !remote.verdict.is_fail() && socket.verdict != Verdict::Pass {
            remote = socket;
        }
        remote.evidence = evidence;
    }
    vec![
        granted(
            "network.refuses-shell",
            "nobody gets a shell",
            "a shell",
            "ForceCommand /usr/sbin/nologin, and the user's own shell",
            &|inside| &inside.shell,
        ),
        granted(
            "network.refuses-exec",
            "nobody runs a command",
            "a command",
            "ForceCommand /usr/sbin/nologin, and the user's own shell",
            &|inside| &inside.exec,
        ),
        granted("network.refuses-pty", "nobody gets a terminal", "a terminal", "PermitTTY no", &|inside| &inside.pty),
        remote,
        granted(
            "network.refuses-agent",
            "nobody's agent is forwarded",
            "agent forwarding",
            "AllowAgentForwarding no",
            &|inside| &inside.agent,
        ),
        granted("network.refuses-x11", "X11 is not forwarded", "X11 forwarding", "X11Forwarding no", &|inside| {
            &inside.x11
        }),
        opened("network.refuses-unlisted", "nothing else than the targets can be opened", &|inside| {
            let name = |place: &crate::verify::network::inside::Place| format!("{} port {}", place.host, place.port);
            inside.unlisted.iter().map(|(place, opened)| (name(place), opened.clone())).collect()
        }),
        opened("network.refuses-metadata", "the cloud's metadata service cannot be opened", &|inside| {
            vec![("169.254.169.254 port 80".to_owned(), inside.metadata.clone())]
        }),
    ]
}

/// A daemon that could not connect has tried: it was allowed to.
fn judge_unlisted(base: Check, places: &[(String, Opened)]) -> Check {
    let mut base = base;
    let mut bad = Vec::new();
    let mut unseen = None;
    for (place, opened) in places {
        let seen = match opened {
            Opened::Prohibited => "prohibited".to_owned(),
            Opened::Open => "open".to_owned(),
            Opened::Failed(why) => format!("sshd tried to connect ({why})"),
            Opened::Trying => "sshd is still trying to connect".to_owned(),
            Opened::Unseen(why) => why.clone(),
        };
        base = base.seen(format!("{place}: {seen}"));
        match opened {
            Opened::Prohibited => {}
            Opened::Unseen(why) => unseen = Some(why),
            _ => bad.push(place.as_str()),
        }
    }
    if !bad.is_empty() {
        return base.fail(
            format!("sshd opens what the plan does not list: {}", bad.join(", ")),
            "look at the machine's checks of PermitOpen (the running sshd's) and permitopen (authorized_keys); restart sshd if \
             its files are right",
        );
    }
    match unseen {
        Some(why) => base.unknown(why.clone()),
        None => base.pass(),
    }
}

fn judge_granted(base: Check, what: &str, setting: &str, granted: &Granted) -> Check {
    match granted {
        Granted::No(how) => base.seen(how.clone()).pass(),
        Granted::Unseen(why) => base.unknown(why.clone()),
        Granted::Yes(how) => base.seen(how.clone()).fail(
            format!("sshd grants {what}"),
            format!("the running sshd must have: {setting}; look at the machine's checks of its settings, and restart it if its files are right"),
        ),
    }
}
