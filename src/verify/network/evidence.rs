//! Everything that connections from here showed, before anybody judges it.

use std::net::IpAddr;

use super::{
    ask::Account,
    dial::NoConnection,
    identity::Identity,
    inside::Inside,
    link::Unread,
    packets::Packets,
    session::{HostKey, Stop},
    wire::{Greeting, KexInit},
};

#[derive(Clone, Debug)]
pub struct Evidence {
    pub edge: Edge,
    pub transport: Transport,
    /// One a user of the plan, in its order; empty where no session came about.
    pub accounts: Vec<Account>,
    /// Why nothing could be asked, if so.
    pub stopped: Option<String>,
    /// Whose identity was to be used.
    pub identity: Option<Identified>,
    /// What it found; or why it was not used.
    pub inside: Result<Inside, String>,
    /// Of all connections to the bastion; `None` where nobody counts them.
    pub packets: Option<Packets>,
    pub startups: Result<Startups, String>,
}

#[derive(Clone, Debug)]
pub struct Identified {
    pub user: String,
    pub fingerprint: String,
}

impl From<&Identity> for Identified {
    fn from(identity: &Identity) -> Self {
        Self { user: identity.user.to_string(), fingerprint: identity.fingerprint.clone() }
    }
}

/// The way to the port.
#[derive(Clone, Debug)]
pub struct Edge {
    /// `192.0.2.4 port 22`
    pub to: String,
    /// The bastion's address, once it is known.
    pub address: Option<IpAddr>,
    /// The source that was asked for.
    pub bound: Option<IpAddr>,
    /// The source that this machine uses, as it sees it.
    pub source: Option<IpAddr>,
    /// `None`: connected.
    pub failure: Option<NoConnection>,
}

/// What the first connection said in the clear, and its host key.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    pub greeting: Option<Result<Greeting, Unread>>,
    pub kexinit: Option<Result<KexInit, Unread>>,
    pub host_key: Option<HostKey>,
    pub stop: Option<Stop>,
    /// Whether the key exchange, which got stuck, goes on in segments that every path carries; `None`: not tried.
    pub small: Option<bool>,
    /// The host keys of all connections that showed one, this one's first.
    pub shown: Vec<HostKey>,
}

/// Connections that were open at once, none of them authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startups {
    pub asked: usize,
    pub greeted: usize,
    pub first_failure: Option<NotGreeted>,
    /// A single connection right after them was greeted.
    pub after: bool,
}

/// Why a connection that began with others was not greeted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGreeted {
    NoConnection(NoConnection),
    Unread(Unread),
}
