//! What an SSH server says in the clear, before any key is agreed: its identification (RFC 4253 section 4.2) and its
//! KEXINIT (section 7.1). Pure, bounded readers: the peer may be anything.

use std::fmt;

/// RFC 4253 section 4.2: with carriage return and line feed.
const LONGEST_IDENTIFICATION: usize = 255;
/// Lines before the identification, together. The RFC sets no bound; OpenSSH's client reads more than anybody needs.
const MOST_BEFORE: usize = 8 * 1024;
/// RFC 4253 section 6.1: what everybody must be able to read.
const LARGEST_PACKET: usize = 35_000;
/// Packets that may stand before KEXINIT (ignore, debug).
const MOST_PACKETS: usize = 8;
/// RFC 4251 section 6: names of at most 64 characters.
const LONGEST_NAME: usize = 64;

const DISCONNECT: u8 = 1;
const IGNORE: u8 = 2;
const UNIMPLEMENTED: u8 = 3;
const DEBUG: u8 = 4;
const KEXINIT: u8 = 20;

/// The first thing that a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Lines before the identification, which clients ignore.
    pub before: Vec<String>,
    /// `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3`, without its line's end.
    pub identification: String,
}

/// The algorithms that a server offers, each list in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KexInit {
    /// Without the pseudo names that announce extensions.
    pub kex: Vec<String>,
    pub host_key: Vec<String>,
    pub cipher_in: Vec<String>,
    pub cipher_out: Vec<String>,
    pub mac_in: Vec<String>,
    pub mac_out: Vec<String>,
    /// `kex-strict-s-v00@openssh.com` is offered: the counter-measure to the Terrapin attack (CVE-2023-48795).
    pub strict: bool,
}

/// Why this is no SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The identification or a line before it has no end.
    TooLong,
    /// The bytes are no text. A beginning of them.
    NotText(String),
    /// The identification is of another protocol version.
    Version(String),
    /// A packet with an impossible length.
    PacketLength(u64),
    /// A packet that has no place before KEXINIT; its message number.
    UnexpectedMessage(u8),
    /// A KEXINIT whose lists do not fill it.
    Lists,
    /// The server ended the connection, and said why.
    Disconnect(String),
    Endless,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::TooLong => write!(f, "text without an SSH identification in it"),
            Malformed::NotText(start) => write!(f, "bytes that are no SSH identification: {start}"),
            Malformed::Version(line) => write!(f, "an identification of another protocol version: {line}"),
            Malformed::PacketLength(length) => write!(f, "a first packet of {length} bytes, which no SSH server sends"),
            Malformed::UnexpectedMessage(number) => write!(f, "message {number} before its algorithms"),
            Malformed::Lists => write!(f, "a broken list of algorithms"),
            Malformed::Disconnect(why) => write!(f, "a disconnect: {why}"),
            Malformed::Endless => write!(f, "packets without an end before its algorithms"),
        }
    }
}

/// Reads the greeting, and how many bytes it takes; `None` while it is not complete.
///
/// # Errors
///
/// If no further byte can make an identification of these.
pub fn greeting(bytes: &[u8]) -> Result<Option<(Greeting, usize)>, Malformed> {
    let mut before = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let is_identification = rest.starts_with(b"SSH-");
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            if (is_identification && rest.len() > LONGEST_IDENTIFICATION) || at + rest.len() > MOST_BEFORE {
                return Err(Malformed::TooLong);
            }
            if let Some(bad) = rest.iter().position(|byte| !printable(*byte) && *byte != b'\r') {
                return Err(Malformed::NotText(excerpt(rest.get(..=bad.saturating_add(16)).unwrap_or(rest))));
            }
            return Ok(None);
        };
        let line = rest.get(..end).unwrap_or_default();
        at += end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if is_identification {
            if end + 1 > LONGEST_IDENTIFICATION {
                return Err(Malformed::TooLong);
            }
            if !line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
                return Err(Malformed::NotText(excerpt(line)));
            }
            let text = String::from_utf8_lossy(line).into_owned();
            if text.strip_prefix("SSH-2.0-").is_none_or(str::is_empty) {
                return Err(Malformed::Version(text));
            }
            return Ok(Some((Greeting { before, identification: text }, at)));
        }
        if at > MOST_BEFORE {
            return Err(Malformed::TooLong);
        }
        if !line.iter().all(|byte| printable(*byte)) {
            return Err(Malformed::NotText(excerpt(line)));
        }
        before.push(excerpt(line));
    }
    Ok(None)
}

/// The whole lines that came before the connection ended without an identification: OpenSSH says so why it turns a
/// client away.
pub fn last_words(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(256)).unwrap_or_default()).into_owned();
    let line = text.lines().next()?.trim();
    let plain = !line.is_empty() && line.chars().all(|c| !c.is_control() && c != char::REPLACEMENT_CHARACTER);
    plain.then(|| line.to_owned())
}

/// OpenSSH's words for a client that may come later: MaxStartups and, since 9.8, PerSourcePenalties (`drop_connection` in
/// its sshd.c, before and since then).
pub fn turned_away(line: &str) -> bool {
    line.starts_with("Exceeded MaxStartups") || line.starts_with("Not allowed at this time")
}

/// Reads the server's KEXINIT from what follows its identification; `None` while it is not complete.
///
/// # Errors
///
/// If no further byte can make a KEXINIT of these.
pub fn kexinit(bytes: &[u8]) -> Result<Option<KexInit>, Malformed> {
    let mut rest = bytes;
    for _ in 0..MOST_PACKETS {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        // A packet is its padding's length, at least one byte of payload and at least four of padding.
        if !(6..=LARGEST_PACKET).contains(&length) {
            return Err(Malformed::PacketLength(length as u64));
        }
        let Some(packet) = after.get(..length) else { return Ok(None) };
        let padding = packet.first().copied().map_or(0, usize::from);
        let payload = length.checked_sub(padding).and_then(|end| packet.get(1..end)).unwrap_or_default();
        let Some((number, body)) = payload.split_first() else { return Err(Malformed::PacketLength(length as u64)) };
        match *number {
            KEXINIT => return lists(body).map(Some).ok_or(Malformed::Lists),
            DISCONNECT => {
                let why = body.get(4..).and_then(string).map_or_else(String::new, |(why, _)| excerpt(why));
                return Err(Malformed::Disconnect(why));
            }
            IGNORE | UNIMPLEMENTED | DEBUG => rest = after.get(length..).unwrap_or_default(),
            number => return Err(Malformed::UnexpectedMessage(number)),
        }
    }
    Err(Malformed::Endless)
}

/// RFC 4253 section 7.1: a cookie, ten lists, whether a guess follows, and a reserved number.
fn lists(body: &[u8]) -> Option<KexInit> {
    let mut rest = body.get(16..)?;
    let mut lists = Vec::with_capacity(10);
    for _ in 0..10 {
        let (list, after) = string(rest)?;
        lists.push(names(list)?);
        rest = after;
    }
    if rest.len() != 5 {
        return None;
    }
    let mut lists = lists.into_iter();
    let mut next = || lists.next().unwrap_or_default();
    let (mut kex, host_key, cipher_in, cipher_out, mac_in, mac_out) = (next(), next(), next(), next(), next(), next());
    let strict = kex.iter().any(|name| name == "kex-strict-s-v00@openssh.com");
    kex.retain(|name| !name.starts_with("kex-strict-") && !name.starts_with("ext-info-"));
    Some(KexInit { kex, host_key, cipher_in, cipher_out, mac_in, mac_out, strict })
}

/// A string of RFC 4251 section 5, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn names(list: &[u8]) -> Option<Vec<String>> {
    if list.is_empty() {
        return Some(Vec::new());
    }
    let name = |name: &[u8]| {
        let ok = (1..=LONGEST_NAME).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
        ok.then(|| String::from_utf8_lossy(name).into_owned())
    };
    list.split(|byte| *byte == b',').map(name).collect()
}

/// Lines before the identification may be UTF-8.
fn printable(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}

/// The beginning of what a peer sent.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    crate::text::excerpt_of_bytes(bytes, 120)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let padding = 8 - (payload.len() + 5) % 8 + 8;
        let length = u32::try_from(payload.len() + padding + 1).unwrap();
        let mut packet = length.to_be_bytes().to_vec();
        packet.push(u8::try_from(padding).unwrap());
        packet.extend(payload);
        packet.extend(vec![0; padding]);
        packet
    }

    fn offer(lists: [&str; 10]) -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([7; 16]);
        for list in lists {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 5]);
        packet(&payload)
    }

    const OFFER: [&str; 10] = [
        "curve25519-sha256,ext-info-s,kex-strict-s-v00@openssh.com",
        "ssh-ed25519",
        "aes256-gcm@openssh.com",
        "aes256-ctr",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "none",
        "none",
        "",
        "",
    ];

    #[test]
    fn a_greeting_may_follow_other_lines() {
        let bytes = b"Authorised use only\r\n\nSSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\0\0\x04\x00";
        let (found, taken) = greeting(bytes).unwrap().unwrap();
        assert_eq!(found.identification, "SSH-2.0-OpenSSH_9.2p1 Debian-2");
        assert_eq!(found.before, ["Authorised use only", ""]);
        assert_eq!(&bytes[taken..], b"\0\0\x04\x00");
    }

    #[test]
    fn a_greeting_is_bounded() {
        assert_eq!(greeting(b"SSH-2.0-Open"), Ok(None));
        assert_eq!(greeting(&[b"SSH-2.0-".as_slice(), &[b'a'; 300]].concat()), Err(Malformed::TooLong));
        assert_eq!(greeting(&b"and on\n".repeat(2000)), Err(Malformed::TooLong));
        assert_eq!(greeting(&[b'a'; 9000]), Err(Malformed::TooLong));
        assert!(matches!(greeting(b"SSH-1.99-OpenSSH_3\n"), Err(Malformed::Version(_))));
        assert!(matches!(greeting(b"SSH-2.0-\n"), Err(Malformed::Version(_))));
        assert!(matches!(greeting(b"SSH-2.0-\x1b[2J\n"), Err(Malformed::NotText(_))));
        assert!(matches!(greeting(b"\x16\x03\x01\x02"), Err(Malformed::NotText(_))));
    }

    #[test]
    fn an_offer_is_read_after_what_may_stand_before_it() {
        let bytes = [packet(&[IGNORE, 0, 0, 0, 0]), offer(OFFER)].concat();
        let found = kexinit(&bytes).unwrap().unwrap();
        assert_eq!(found.kex, ["curve25519-sha256"]);
        assert_eq!(
            (found.cipher_in[0].as_str(), found.mac_out[0].as_str()),
            ("aes256-gcm@openssh.com", "hmac-sha2-512")
        );
        assert!(found.strict);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(kexinit(&bytes[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn an_offer_is_bounded() {
        assert_eq!(kexinit(&[0xff; 64]), Err(Malformed::PacketLength(0xffff_ffff)));
        assert_eq!(kexinit(&[0; 64]), Err(Malformed::PacketLength(0)));
        assert_eq!(kexinit(&packet(&[DEBUG, 0]).repeat(100)), Err(Malformed::Endless));
        assert_eq!(kexinit(&packet(&[50])), Err(Malformed::UnexpectedMessage(50)));
        assert_eq!(kexinit(&packet(&[KEXINIT; 40])), Err(Malformed::Lists));
        let said = [&[DISCONNECT, 0, 0, 0, 2, 0, 0, 0, 3][..], b"no!"].concat();
        assert_eq!(kexinit(&packet(&said)), Err(Malformed::Disconnect("no!".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), flip in 0_usize..200, with: u8) {
            let _ = (greeting(&bytes), kexinit(&bytes), last_words(&bytes));
            let mut damaged = offer(OFFER);
            if let Some(byte) = damaged.get_mut(flip) {
                *byte = with;
            }
            let _ = kexinit(&damaged);
        }
    }
}
