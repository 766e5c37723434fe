//! A user's `authorized_keys`: which keys enter, and what each of them may do (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").

use std::net::IpAddr;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use russh::keys::PublicKey;
use sha2::{Digest, Sha256};

use super::config;

/// A line that is neither empty nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Key(Box<Key>),
    /// Something that sshd passes over.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub key: PublicKey,
    /// What stands before it, as it is written.
    pub text: String,
    pub options: Options,
}

/// What a key's options leave of what the daemon grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub port_forwarding: bool,
    pub agent_forwarding: bool,
    pub x11_forwarding: bool,
    pub pty: bool,
    /// `host:port`; any where there is none.
    pub permit_open: Vec<String>,
    pub permit_listen: Vec<String>,
    pub command: Option<String>,
    from: Option<String>,
    expires: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port_forwarding: true,
            agent_forwarding: true,
            x11_forwarding: true,
            pty: true,
            permit_open: Vec::new(),
            permit_listen: Vec::new(),
            command: None,
            from: None,
            expires: None,
        }
    }
}

impl Options {
    /// Whether a key with these options enters from this address at this time.
    pub fn admit(&self, source: IpAddr, now: Timestamp) -> bool {
        self.from.as_ref().is_none_or(|patterns| config::from(patterns, source))
            && self.expires.as_ref().is_none_or(|time| expiry(time).is_some_and(|end| now < end))
    }

    /// `None` where sshd would refuse the line.
    fn read(text: &str) -> Option<Self> {
        let mut options = Self::default();
        for option in split(text) {
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let value = match value {
                Some(value) => Some(value.strip_prefix('"')?.strip_suffix('"')?.replace("\\\"", "\"")),
                None => None,
            };
            match (name.to_lowercase().as_str(), value) {
                ("restrict", None) => {
                    options.port_forwarding = false;
                    options.agent_forwarding = false;
                    options.x11_forwarding = false;
                    options.pty = false;
                }
                ("port-forwarding", None) => options.port_forwarding = true,
                ("no-port-forwarding", None) => options.port_forwarding = false,
                ("agent-forwarding", None) => options.agent_forwarding = true,
                ("no-agent-forwarding", None) => options.agent_forwarding = false,
                ("x11-forwarding", None) => options.x11_forwarding = true,
                ("no-x11-forwarding", None) => options.x11_forwarding = false,
                ("pty", None) => options.pty = true,
                ("no-pty", None) => options.pty = false,
                ("user-rc" | "no-user-rc" | "no-touch-required" | "verify-required", None) => {}
                ("permitopen", Some(place)) => options.permit_open.push(place),
                ("permitlisten", Some(place)) => options.permit_listen.push(place),
                ("command", Some(command)) => options.command = Some(command),
                ("from", Some(patterns)) => options.from = Some(patterns),
                ("expiry-time", Some(time)) => {
                    expiry(&time)?;
                    options.expires = Some(time);
                }
                ("environment" | "principals" | "tunnel", Some(_)) => {}
                _ => return None,
            }
        }
        Some(options)
    }
}

/// `YYYYMMDD[HHMM[SS]]`, in UTC with a `Z` and in the machine's own time, UTC too, without.
fn expiry(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    if !digits.is_ascii() || !matches!(digits.len(), 8 | 12 | 14) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| digits.get(range).map_or(Some(0), |part| part.parse::<i8>().ok());
    let year = digits.get(..4)?.parse().ok()?;
    let time = DateTime::new(year, number(4..6)?, number(6..8)?, number(8..10)?, number(10..12)?, number(12..14)?, 0);
    Some(time.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Commas outside of quotes part options.
fn split(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                found.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    found.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    found
}

/// A file's lines.
pub fn read(text: &str) -> Vec<Line> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| key(line).map_or(Line::Other, |key| Line::Key(Box::new(key)))).collect()
}

fn key(line: &str) -> Option<Key> {
    if let Ok(key) = PublicKey::from_openssh(line) {
        return Some(Key { key, text: String::new(), options: Options::default() });
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = line.char_indices().find_map(|(at, c)| {
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        (c.is_ascii_whitespace() && !quoted).then_some(at)
    })?;
    let (text, rest) = (line.get(..end)?, line.get(end..)?.trim_start());
    let key = PublicKey::from_openssh(rest).ok()?;
    Some(Key { key, text: text.to_owned(), options: Options::read(text)? })
}

impl Key {
    /// What the report tells of what stands before it.
    pub fn options_digest(&self) -> String {
        Sha256::digest(&self.text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU vendor";

    fn options(text: &str) -> Options {
        match read(&format!("{text} {KEY}")).as_slice() {
            [Line::Key(key)] => key.options.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_take_and_give() {
        let ours = options(r#"restrict,port-forwarding,permitopen="10.0.0.1:5432",permitopen="[2001:db8::1]:1""#);
        assert!(ours.port_forwarding && !ours.pty && !ours.agent_forwarding && !ours.x11_forwarding);
        assert_eq!(ours.permit_open, ["10.0.0.1:5432", "[2001:db8::1]:1"]);
        assert_eq!(options(r#"command="a, \"b\" c",no-pty"#).command.as_deref(), Some(r#"a, "b" c"#));
        assert!(matches!(read(KEY).as_slice(), [Line::Key(key)] if key.options == Options::default()));
    }

    #[test]
    fn a_key_enters_from_its_sources_and_until_its_end() {
        let (now, inside) = ("2026-05-01T12:00:00Z".parse().unwrap(), "192.0.2.7".parse().unwrap());
        let outside = "198.51.100.7".parse().unwrap();
        let from = options(r#"from="192.0.2.0/24""#);
        assert!(from.admit(inside, now) && !from.admit(outside, now));
        assert!(options(r#"expiry-time="20260501120001Z""#).admit(inside, now));
        assert!(!options(r#"expiry-time="202605011200""#).admit(inside, now));
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        for line in
            ["nonsense", "fnord ssh-ed25519 AAAA", &format!("fnord {KEY}"), &format!("expiry-time=\"soon\" {KEY}")]
        {
            assert_eq!(read(line), [Line::Other], "{line}");
        }
        assert_eq!(read("# comment\n\n"), []);
    }

    proptest! {
        #[test]
        fn any_file_is_read(text in "((restrict|permitopen=|from=|expiry-time=|[\"\\\\,= \n#]|ssh-ed25519|[0-9]{8}|\\PC){0,3} ?){0,20}") {
            let _ = read(&text);
            let _ = read(&format!("{text} {KEY}"));
            let _ = expiry(&text);
        }
    }
}
