//! What a world tells about its machines and its network, and what a machine learns of the world around it.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

/// A machine as its cloud knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Unique among the machines of all worlds: `i-…`, or the id of an Azure resource in lower case.
    pub id: String,
    /// What the metadata service tells the machine that it is.
    pub instance: String,
    pub launched: Timestamp,
    pub running: bool,
    /// The document as the cloud was given it, decoded from its base64; maybe compressed.
    pub document: Vec<u8>,
    pub channel: Channel,
    pub address: IpAddr,
}

/// What the metadata service shows the machine of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// EC2's instance tags; `None` where the instance's options hide them.
    Tags(Option<BTreeMap<String, String>>),
    /// Azure's user data, decoded from its base64; `None` where there is none.
    UserData(Option<Vec<u8>>),
}

/// Where a connection that somebody opens ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// At a port of a machine, which sees it come from `source`: a firewall may put its own address there.
    Machine { vm: String, port: u16, source: IpAddr },
    /// Dropped: no rule lets it through, or nothing is there.
    Silent,
}
