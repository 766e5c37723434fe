//! A request as it reaches a world, and what the world answers: HTTP without a connection.

use std::{collections::BTreeMap, fmt::Debug};

#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// `http://127.0.0.1:4000`: what the addresses in answers begin with.
    pub origin: String,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Who answers requests: a world behind its lock, or what puts faults and a log in front of one.
pub trait Serve: Send + Sync + Debug {
    /// Takes no time and blocks on nothing but a lock. A fault that takes time is the caller's to sleep.
    fn serve(&self, ask: Ask) -> Served;
}

/// What becomes of a request, as its sender sees it.
#[derive(Clone, Debug)]
pub enum Served {
    Reply(Reply),
    /// The connection closes without an answer. The request may have had its effect.
    Lost,
    /// The sender is dead: its future never resolves.
    Never,
}

impl Ask {
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Reply {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn text(status: u16, body: String) -> Self {
        Self { body: body.into_bytes(), ..Self::empty(status) }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
