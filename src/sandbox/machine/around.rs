//! What a machine finds around it: names, and what answers at an address.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The network as a machine sees it.
pub trait Around: Send + Sync {
    /// The addresses of a name, or what the machine's resolver says instead.
    ///
    /// # Errors
    /// The resolver's words, such as [`UNKNOWN_NAME`].
    fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String>;

    /// What a TCP connection from the machine to this place finds.
    fn connect(&self, to: SocketAddr) -> Answer;
}

/// glibc's words for a name that nobody knows (getaddrinfo(3), EAI_NONAME).
pub const UNKNOWN_NAME: &str = "Name or service not known";
/// Likewise where no DNS server answers (EAI_AGAIN).
pub const NO_ANSWER: &str = "Temporary failure in name resolution";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepts(Speech),
    /// The host is there, and nothing listens.
    Refused,
    /// Nothing answers: no such host, or something drops the packets.
    Silent,
}

/// What a listener says first, or to a client's first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speech {
    /// With TLS: it takes an SSLRequest, and answers the TLS that follows with an alert. Without: it asks a login for a password.
    Postgres {
        tls: bool,
    },
    Mysql,
    /// A MySQL that turns this host away before any login.
    MysqlBlocked,
    Sqlserver,
    Tls,
    /// Takes connections and says nothing.
    Nothing,
    /// Says this, whatever the client says.
    Says(String),
}

/// A listener in the machine's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What it is called in the network's DNS; empty where it has no name.
    #[serde(default)]
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    pub speaks: Speech,
}

/// A network of these listeners, with nothing in between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hosts(pub Vec<Host>);

impl Around for Hosts {
    fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let mut found: Vec<IpAddr> =
            self.0.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.address).collect();
        found.dedup();
        if found.is_empty() { Err(UNKNOWN_NAME.to_owned()) } else { Ok(found) }
    }

    fn connect(&self, to: SocketAddr) -> Answer {
        let mut here = self.0.iter().filter(|host| host.address == to.ip()).peekable();
        if here.peek().is_none() {
            return Answer::Silent;
        }
        here.find(|host| host.port == to.port()).map_or(Answer::Refused, |host| Answer::Accepts(host.speaks.clone()))
    }
}
