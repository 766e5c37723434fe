//! The third vantage: what a connection from here finds.
//!
//! The modules in the order in which data passes through them: [`dial`] opens connections, `link` reads what a server says in the clear (parsed by
//! `wire`), `session` does the rest of SSH, `ask` puts questions about users, `inside` looks around with an identity
//! (`transfer` what a session carries, `converse`, `speak`, `tls` and `login` the targets' protocols), and `judge`, pure, turns the evidence into checks.
//!
//! No private key leaves its place, and none is used at all unless the server's host key is the known one. Questions about
//! the plan's keys need their public halves only.

mod ask;
mod clock;
mod converse;
pub mod dial;
mod evidence;
mod framed;
mod identity;
mod inside;
mod judge;
mod link;
mod login;
pub mod packets;
mod session;
pub mod speak;
mod tds;
mod tls;
mod transfer;
mod watched;
pub mod wire;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::net::lookup_host;

use self::{
    ask::{Asker, why},
    clock::Clock,
    dial::{Dialed, Dialer, NoConnection, Tcp},
    evidence::{Edge, Evidence, Identified, NotGreeted, Startups, Transport},
    inside::{Inside, Visitor},
    judge::{Case, judge},
    link::Unread,
    session::{Attempt, Pinned, Question, Route, Shown, Stop},
};
use super::Check;
use crate::plan::{Host, Plan};

pub use identity::Identity;

const NEEDS_IDENTITY: &str = "needs the key of an operator or a tunnel: --identity FILE";

/// How many connections begin at once; those that an identity can then end in peace, and those that it cannot: OpenSSH
/// since 9.8 counts each against this address (`PerSourcePenalties`).
const STARTUPS: usize = 10;
const STARTUPS_WITHOUT_IDENTITY: usize = 5;

/// Connections after one that showed a foreign host key.
const MORE_AT_AN_IMPOSTOR: usize = 3;

/// How to reach a bastion, and how much to ask of it.
#[derive(Clone, Debug)]
pub struct Reach {
    pub address: Host,
    pub port: u16,
    pub host_keys: HostKeys,
    /// The source address to connect from; the system's choice otherwise.
    pub from: Option<IpAddr>,
    /// With whose key to enter.
    pub identity: Option<Arc<Identity>>,
    /// What each step may take.
    pub step: Duration,
    /// Forwards to hold open at once.
    pub concurrent: usize,
    /// How long a session rests before it is asked again.
    pub rest: Duration,
    /// Places beside the usual that nobody may open.
    pub unlisted: Vec<(String, u16)>,
    /// How connections are opened.
    pub dialer: Arc<dyn Dialer>,
    /// The ranges of the prefix lists that the plan names, or why they are not known.
    pub prefix_lists: Result<Vec<IpNet>, String>,
}

impl Reach {
    /// The defaults: over this machine's network, ten seconds a step, 50 forwards at once.
    pub fn new(address: Host, port: u16, host_keys: HostKeys) -> Self {
        let (step, concurrent, rest) = (Duration::from_secs(10), 50, Duration::from_secs(3));
        let (unlisted, dialer) = (Vec::new(), Arc::new(Tcp::default()));
        let prefix_lists = Ok(Vec::new());
        Self {
            address,
            port,
            host_keys,
            from: None,
            identity: None,
            step,
            concurrent,
            rest,
            unlisted,
            dialer,
            prefix_lists,
        }
    }
}

/// What is known about the bastion's host keys, from a source that this connection cannot forge.
#[derive(Clone, Debug)]
pub enum HostKeys {
    /// OpenSSH public keys, a line each.
    Known(Vec<String>),
    Unknown {
        reason: String,
    },
}

/// Looks at a bastion from here. Takes at most twenty steps' time, and gives every check of this vantage.
pub async fn verify(plan: &Plan, reach: &Reach) -> Vec<Check> {
    let clock = Clock::new(reach.step);
    let host_keys = Pinned::new(&reach.host_keys);
    let evidence = gather(plan, reach, &host_keys, clock).await;
    judge(&Case {
        plan,
        prefix_lists: &reach.prefix_lists,
        host_keys: &host_keys,
        clock: &clock,
        concurrent: reach.concurrent,
        evidence: &evidence,
    })
}

/// Every check of this vantage where nothing was looked at; `why` is a sentence without a full stop.
pub fn unseen(plan: &Plan, concurrent: usize, why: &str) -> Vec<Check> {
    let edge = Edge { to: "the bastion".to_owned(), address: None, bound: None, source: None, failure: None };
    let evidence = Evidence {
        edge,
        transport: Transport::default(),
        accounts: Vec::new(),
        stopped: Some(why.to_owned()),
        identity: None,
        inside: Err(why.to_owned()),
        packets: None,
        startups: Err(why.to_owned()),
    };
    let (host_keys, clock) = (Pinned::new(&HostKeys::Unknown { reason: why.to_owned() }), Clock::new(Duration::ZERO));
    let prefix_lists = Err(why.to_owned());
    let case = Case {
        plan,
        prefix_lists: &prefix_lists,
        host_keys: &host_keys,
        clock: &clock,
        concurrent,
        evidence: &evidence,
    };
    judge(&case).into_iter().map(|check| Check { evidence: Vec::new(), ..check }.unknown(why)).collect()
}

async fn gather(plan: &Plan, reach: &Reach, host_keys: &Pinned, clock: Clock) -> Evidence {
    let identity = reach.identity.as_ref();
    let mut edge = Edge {
        to: format!("{} port {}", reach.address, reach.port),
        address: None,
        bound: reach.from,
        source: None,
        failure: None,
    };
    let nothing = |edge: Edge, transport: Transport, why: String| Evidence {
        packets: edge.address.and_then(|address| reach.dialer.packets(SocketAddr::new(address, reach.port))),
        edge,
        transport,
        accounts: Vec::new(),
        stopped: Some(why.clone()),
        identity: identity.map(|identity| Identified::from(&**identity)),
        inside: Err(if identity.is_some() { why.clone() } else { NEEDS_IDENTITY.to_owned() }),
        startups: Err(why),
    };
    let to = match resolve(reach, &clock).await {
        Ok(to) => to,
        Err(why) => {
            edge.failure = Some(NoConnection::Here(why));
            return nothing(edge, Transport::default(), "no TCP connection (see network.tcp)".to_owned());
        }
    };
    edge.address = Some(to.ip());
    edge.source = match reach.from {
        Some(from) => Some(from),
        None => reach.dialer.source(to).await,
    };

    let (dialer, host_keys_known) = (Arc::clone(&reach.dialer), host_keys.clone());
    let shown = Shown::default();
    let route = Route { to, from: reach.from, dialer, host_keys: host_keys_known, clock, small: false, shown };
    let first = route.attempt().await;
    edge.source = first.source.or(edge.source);
    let stop = first.session.as_ref().err().cloned();
    let mut transport = Transport {
        greeting: first.greeting,
        kexinit: first.kexinit,
        host_key: first.host_key,
        stop: stop.clone(),
        small: None,
        shown: Vec::new(),
    };
    let session = match (first.session, stop) {
        (Ok(session), _) => session,
        (Err(_), stop) => {
            let stop = stop.unwrap_or(Stop::Late);
            if let Stop::NoConnection(none) = &stop {
                edge.failure = Some(none.clone());
            }
            if matches!(stop, Stop::Late) || matches!(transport.kexinit, Some(Err(Unread::Silent))) {
                let Attempt { greeting, session, .. } = route.small().attempt().await;
                // Where not even a greeting comes, small segments could not be tried.
                transport.small =
                    matches!(greeting, Some(Ok(_))).then_some(!matches!(session, Err(Stop::Late | Stop::Unread(_))));
            }
            if matches!(stop, Stop::Impostor) {
                // Several machines may answer in turn.
                for _ in 0..MORE_AT_AN_IMPOSTOR {
                    route.attempt().await;
                }
            }
            transport.shown = route.shown.all();
            return nothing(edge, transport, why(&stop));
        }
    };

    let mut accounts = Vec::new();
    let mut session = Some(session);
    for (user, keys) in plan.accounts() {
        let mut asker = Asker::new(&route, user.as_str(), session.take());
        accounts.push(asker.about(user, keys).await);
    }
    let pinned = matches!(host_keys, Pinned::Keys(_));
    let inside = match identity {
        None => Err(NEEDS_IDENTITY.to_owned()),
        Some(_) if !pinned => {
            Err("the bastion's host key is not known, so no identity is used (see network.host-key)".to_owned())
        }
        Some(identity) => {
            Ok(Visitor::new(&route, identity).look(plan, reach.concurrent, &reach.unlisted, reach.rest).await)
        }
    };
    let startups = startups(plan, &route, &inside, identity).await;
    transport.shown = route.shown.all();
    Evidence {
        edge,
        transport,
        accounts,
        stopped: None,
        identity: identity.map(|identity| Identified::from(&**identity)),
        inside,
        packets: reach.dialer.packets(to),
        startups: Ok(startups),
    }
}

/// The bastion's address, of the family of the source if one was asked for.
async fn resolve(reach: &Reach, clock: &Clock) -> Result<SocketAddr, String> {
    let suits = |address: IpAddr| reach.from.is_none_or(|from| from.is_ipv4() == address.is_ipv4());
    match &reach.address {
        Host::Address(address) if suits(*address) => Ok(SocketAddr::new(*address, reach.port)),
        Host::Address(address) => Err(format!("{address} and the source are of different families")),
        Host::Name(name) => {
            let found = clock.within(lookup_host((name.as_str(), reach.port))).await;
            let found = found.map_err(|_| format!("{name} was not resolved in time"))?;
            let mut found = found.map_err(|error| format!("{name} does not resolve: {error}"))?;
            found.find(|to| suits(to.ip())).ok_or_else(|| format!("{name} has no address of the source's family"))
        }
    }
}

/// Begins several connections and holds them until each was greeted or turned away.
async fn startups(
    plan: &Plan,
    route: &Route,
    inside: &Result<Inside, String>,
    identity: Option<&Arc<Identity>>,
) -> Startups {
    let enters = inside.as_ref().is_ok_and(|inside| inside.entered == session::Answer::Yes);
    let most = if enters { STARTUPS } else { STARTUPS_WITHOUT_IDENTITY };
    let asked = most.min(plan.ssh.max_startups.start as usize).max(1);
    let begin = || async {
        let Dialed { stream, .. } = route.dial().await.map_err(NotGreeted::NoConnection)?;
        let greeted = link::greet(stream, &route.clock).await;
        match &greeted.greeting {
            Ok(_) => Ok(greeted),
            Err(unread) => Err(NotGreeted::Unread(unread.clone())),
        }
    };
    let begun = join_all((0..asked).map(|_| begin())).await;
    let mut held = Vec::new();
    let mut first_failure = None;
    for result in begun {
        match result {
            Ok(greeted) => held.push(greeted),
            Err(why) => first_failure = first_failure.or(Some(why)),
        }
    }
    let greeted = held.len();
    // Each shows its host key; those that can enter end in peace.
    for one in held.drain(..) {
        if let (Ok(mut session), true, Some(identity)) = (route.handshake(one).await.session, enters, identity) {
            session.ask(identity.user.as_str(), Question::Identity(Arc::clone(identity)), &route.clock).await;
        }
    }
    let after = greeted < asked && matches!(route.attempt().await.greeting, Some(Ok(_)));
    Startups { asked, greeted, first_failure, after }
}
