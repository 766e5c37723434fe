//! Evidence → checks. Pure: what a plan expects against what was seen.

mod accounts;
mod algorithms;
mod edge;
mod inside;
mod loss;
mod target;

use ipnet::IpNet;

use super::{clock::Clock, evidence::Evidence, session::Pinned};
use crate::{
    plan::Plan,
    verify::{Check, Part, Vantage},
};

/// What the judges know beside the evidence.
pub struct Case<'a> {
    pub plan: &'a Plan,
    /// The ranges of the prefix lists that the plan names, or why they are not known.
    pub prefix_lists: &'a Result<Vec<IpNet>, String>,
    pub host_keys: &'a Pinned,
    pub clock: &'a Clock,
    pub concurrent: usize,
    pub evidence: &'a Evidence,
}

/// All checks of this vantage, whatever was seen.
pub fn judge(case: &Case<'_>) -> Vec<Check> {
    let mut checks = edge::checks(case);
    checks.extend(accounts::checks(case));
    checks.extend(inside::checks(case));
    // Firewalls, Match blocks and databases tell sources apart: what passes, passes for this one.
    let seen_from = edge::seen_from(case);
    for check in checks.iter_mut().filter(|check| !SAYS_ITS_SOURCE.contains(&check.id)) {
        check.proves.push_str(&seen_from);
    }
    checks
}

const SAYS_ITS_SOURCE: [&str; 2] = ["network.tcp", "network.source-refused"];

impl Case<'_> {
    /// Why nothing could be asked about users, if so.
    fn stopped(&self) -> Option<&str> {
        self.evidence.stopped.as_deref()
    }
}

fn check(id: &'static str, part: Part, proves: impl Into<String>) -> Check {
    Check::new(Vantage::Network, id, part, proves)
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc, time::Duration};

    use russh::keys::{Algorithm, PrivateKey, key::safe_rng};

    use super::*;
    use crate::{
        diagnostic::Source,
        plan,
        verify::{
            Verdict,
            network::{
                dial::NoConnection,
                evidence::{Edge, NotGreeted, Startups, Transport},
                link::Unread,
                session::{HostKey, Stop},
            },
        },
    };

    fn example() -> Plan {
        let text = include_str!("../../../plans/aws-two-vendors.yaml");
        plan::read(Arc::new(Source { path: "plan.yaml".into(), text: text.into() })).unwrap()
    }

    fn edge(bound: Option<&str>, source: &str, failure: Option<NoConnection>) -> Edge {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let address = Some(parse("192.0.2.4"));
        Edge {
            to: "192.0.2.4 port 2222".into(),
            address,
            bound: bound.map(parse),
            source: Some(parse(source)),
            failure,
        }
    }

    fn evidence(edge: Edge, transport: Transport) -> Evidence {
        let why = || "not asked".to_owned();
        Evidence {
            edge,
            transport,
            accounts: Vec::new(),
            stopped: Some(why()),
            identity: None,
            inside: Err(why()),
            packets: None,
            startups: Err(why()),
        }
    }

    fn judged(evidence: &Evidence, host_keys: &Pinned) -> Vec<Check> {
        let clock = Clock { step: Duration::from_secs(10), end: tokio::time::Instant::now() };
        let plan = example();
        judge(&Case { plan: &plan, prefix_lists: &Ok(Vec::new()), host_keys, clock: &clock, concurrent: 50, evidence })
    }

    fn verdict(checks: &[Check], id: &str) -> Verdict {
        checks.iter().find(|check| check.id == id).unwrap().verdict.clone()
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Pass => "pass",
            Verdict::Fail { .. } => "fail",
            Verdict::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn what_a_failed_connection_says_depends_on_its_source() {
        let (listed, other, private) = ("198.51.100.77", "192.0.2.200", "10.1.2.3");
        let (silent, refused) = (Some(NoConnection::Silent), Some(NoConnection::Refused));
        let here = Some(NoConnection::Here("no such address".into()));
        for (bound, source, failure, tcp, source_refused) in [
            (None, listed, &None, "pass", ""),
            (None, listed, &silent, "fail", ""),
            (None, listed, &refused, "fail", ""),
            (None, other, &silent, "unknown", ""),
            (None, private, &silent, "unknown", ""),
            (None, listed, &here, "unknown", ""),
            (Some(listed), listed, &silent, "fail", ""),
            (Some(other), other, &None, "pass", "fail"),
            (Some(other), other, &silent, "unknown", "pass"),
            (Some(other), other, &refused, "unknown", "pass"),
            (Some(other), other, &here, "unknown", "unknown"),
            (Some(private), private, &None, "pass", "unknown"),
            (Some(private), private, &silent, "unknown", "unknown"),
        ] {
            let evidence = evidence(edge(bound, source, failure.clone()), Transport::default());
            let checks = judged(&evidence, &Pinned::Unknown("no report".into()));
            let refused = checks.iter().find(|check| check.id == "network.source-refused");
            let refused = refused.map_or("", |check| word(&check.verdict));
            assert_eq!(
                (word(&verdict(&checks, "network.tcp")), refused),
                (tcp, source_refused),
                "{bound:?} {source} {failure:?}"
            );
        }
    }

    #[test]
    fn only_a_known_host_key_passes() {
        let key = || PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap().public_key().clone();
        let (ours, theirs) = (key(), key());
        let transport = |shown, stop| Transport { host_key: Some(HostKey::of(shown)), stop, ..Transport::default() };
        let known = Pinned::Keys(vec![ours.clone()]);
        let unknown = Pinned::Unknown("no report".into());
        for (pinned, shown, stop, expected) in [
            (&known, &ours, None, "pass"),
            (&known, &theirs, Some(Stop::Impostor), "fail"),
            (&known, &ours, Some(Stop::Handshake("Wrong server signature".into())), "fail"),
            (&known, &ours, Some(Stop::Late), "unknown"),
            (&unknown, &theirs, None, "unknown"),
        ] {
            let evidence = evidence(edge(None, "198.51.100.77", None), transport(shown, stop.clone()));
            assert_eq!(word(&verdict(&judged(&evidence, pinned), "network.host-key")), expected, "{stop:?}");
        }
    }

    #[test]
    fn connections_turned_away_are_a_failure_only_where_a_single_one_is_not() {
        for (greeted, after, expected) in
            [(10, true, "pass"), (1, true, "fail"), (1, false, "unknown"), (0, false, "unknown")]
        {
            let mut evidence = evidence(edge(None, "198.51.100.77", None), Transport::default());
            evidence.startups = Ok(Startups { asked: 10, greeted, first_failure: None, after });
            let checks = judged(&evidence, &Pinned::Unknown("no report".into()));
            assert_eq!(word(&verdict(&checks, "network.startups")), expected);
        }
    }

    #[test]
    fn a_limit_on_the_way_is_not_called_sshds() {
        let closed = |line: Option<&str>| NotGreeted::Unread(Unread::Closed(line.map(str::to_owned)));
        for (failure, says) in [
            (NotGreeted::NoConnection(NoConnection::Silent), "a limit on the way"),
            (NotGreeted::NoConnection(NoConnection::Refused), "a limit on the way"),
            (closed(None), "sshd does not say that it is its own"),
            (closed(Some("Exceeded MaxStartups")), "its MaxStartups is smaller than the plan's"),
        ] {
            let mut evidence = evidence(edge(None, "198.51.100.77", None), Transport::default());
            let first_failure = Some(failure.clone());
            evidence.startups = Ok(Startups { asked: 10, greeted: 4, first_failure, after: true });
            let verdict = verdict(&judged(&evidence, &Pinned::Unknown("no report".into())), "network.startups");
            assert!(
                matches!(&verdict, Verdict::Fail { cause, .. } if cause.contains(says)),
                "{failure:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn machines_that_take_turns_are_one_failure() {
        let key = || PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap().public_key().clone();
        let (ours, theirs) = (key(), key());
        let [own, foreign] = [HostKey::of(&ours), HostKey::of(&theirs)];
        for (pinned, shown) in [
            (Pinned::Keys(vec![ours.clone()]), [own.clone(), foreign.clone(), own.clone()]),
            (Pinned::Keys(vec![ours.clone()]), [foreign.clone(), own.clone(), foreign.clone()]),
            (Pinned::Unknown("no report".into()), [own.clone(), foreign.clone(), own.clone()]),
        ] {
            let [first, ..] = &shown;
            let stop = (*first == foreign).then_some(Stop::Impostor);
            let (host_key, shown) = (Some(first.clone()), shown.to_vec());
            let transport = Transport { host_key, stop, shown, ..Transport::default() };
            let verdict =
                verdict(&judged(&evidence(edge(None, "198.51.100.77", None), transport), &pinned), "network.host-key");
            assert!(matches!(&verdict, Verdict::Fail { cause, .. } if cause.contains("in turn")), "{verdict:?}");
        }
    }

    #[test]
    fn a_key_exchange_that_needs_small_packets_names_the_path() {
        let small = |small| Transport {
            kexinit: None,
            stop: Some(Stop::Late),
            greeting: Some(Err(Unread::Silent)),
            small,
            ..Transport::default()
        };
        for (tried, says) in [(Some(true), "a path MTU"), (Some(false), "load"), (None, "path MTU")] {
            let evidence = evidence(edge(None, "198.51.100.77", None), small(tried));
            let verdict = verdict(&judged(&evidence, &Pinned::Unknown("no report".into())), "network.host-key");
            let Verdict::Fail { cause, fix } = &verdict else { panic!("{verdict:?}") };
            assert!(format!("{cause} {fix}").contains(says), "{tried:?}: {verdict:?}");
        }
    }

    #[test]
    fn what_was_not_asked_is_unknown() {
        let evidence = evidence(edge(None, "192.0.2.200", Some(NoConnection::Silent)), Transport::default());
        let checks = judged(&evidence, &Pinned::Unknown("no report".into()));
        assert!(checks.iter().all(|check| check.verdict.is_unknown()), "{checks:#?}");
        let mut names: Vec<_> = checks.iter().map(Check::name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "no two checks of one name");
    }
}
