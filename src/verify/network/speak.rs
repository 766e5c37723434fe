//! The first words of the protocols that targets speak: what to send, and whether the answer is the protocol's. Pure and
//! bounded; the target may be anything.

use super::{
    login::{PostgresError, Refusal, mysql_message, mysql_refusal},
    tds,
    wire::excerpt,
};
use crate::plan::Protocol;

/// More than any first answer needs.
pub const LONGEST_ANSWER: usize = 16 * 1024;

/// What bytes from a target are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not yet enough.
    More,
    /// The protocol; what it said.
    Speaks(String),
    /// The protocol, refusing the bastion before any login.
    Refuses { refusal: Refusal, said: String },
    /// Something else; what it looks like.
    Other(String),
}

/// The client's first words; `None` where the server speaks first, or nobody does.
pub fn request(speaks: Protocol) -> Option<Vec<u8>> {
    match speaks {
        // PostgreSQL's documentation, "Message Formats", SSLRequest.
        Protocol::Postgres => Some(vec![0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]),
        Protocol::Sqlserver => Some(tds::PRELOGIN.to_vec()),
        Protocol::Tls | Protocol::Mysql | Protocol::Tcp => None,
    }
}

/// Judges what has come; `ended`: nothing more will.
pub fn read(speaks: Protocol, bytes: &[u8], ended: bool) -> Reading {
    let reading = match speaks {
        Protocol::Postgres => postgres(bytes),
        Protocol::Mysql => mysql(bytes),
        Protocol::Sqlserver => sqlserver(bytes),
        // What is TLS tells its handshake.
        Protocol::Tls => return Reading::Speaks("TLS".to_owned()),
        Protocol::Tcp => return Reading::Speaks("it accepts connections".to_owned()),
    };
    match reading {
        Reading::More if ended && bytes.is_empty() => {
            Reading::Other("it closed the connection without a word".to_owned())
        }
        Reading::More if ended || bytes.len() > LONGEST_ANSWER => {
            Reading::Other(format!("it said: {}", excerpt(bytes)))
        }
        reading => reading,
    }
}

fn other(bytes: &[u8]) -> Reading {
    Reading::Other(format!("it said: {}", excerpt(bytes)))
}

/// One byte, or an ErrorResponse: a server that is too old to know the request, or that cannot serve anybody now. SSH servers
/// begin with an `S`, too: whether TLS follows it is another question.
fn postgres(bytes: &[u8]) -> Reading {
    match bytes {
        [] => Reading::More,
        b"N" => Reading::Speaks("N: it takes connections without TLS only".to_owned()),
        b"S" => Reading::Speaks("S: it offers TLS".to_owned()),
        [b'E', rest @ ..] => {
            let Some((length, fields)) = rest.split_first_chunk::<4>() else { return Reading::More };
            let length = u32::from_be_bytes(*length) as usize;
            if !(5..=LONGEST_ANSWER).contains(&length) {
                return old_postgres(rest).unwrap_or_else(|| other(bytes));
            }
            let Some(fields) = fields.get(..length - 4) else { return Reading::More };
            let error = PostgresError::read(fields);
            Reading::Refuses { refusal: error.refusal().unwrap_or(Refusal::Other), said: error.said() }
        }
        bytes => other(bytes),
    }
}

/// The error of the protocol before 3.0, which a server sends that cannot even fork (`report_fork_failure_to_client` in
/// its postmaster.c): text up to a zero.
fn old_postgres(text: &[u8]) -> Option<Reading> {
    let text = text.strip_suffix(b"\0")?;
    let plain = text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    plain.then(|| Reading::Refuses { refusal: Refusal::NoConnectionLeft, said: excerpt(text.trim_ascii()) })
}

/// MySQL's "Protocol::HandshakeV10", or an error packet in its place.
fn mysql(bytes: &[u8]) -> Reading {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Reading::More };
    let [low, middle, high, sequence] = *header;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    if sequence != 0 || !(3..=LONGEST_ANSWER).contains(&length) {
        return other(bytes);
    }
    let Some(packet) = rest.get(..length) else {
        return if matches!(rest.first(), None | Some(10 | 0xff)) { Reading::More } else { other(bytes) };
    };
    match packet {
        [10, body @ ..] => {
            let version = body.split(|byte| *byte == 0).next().unwrap_or_default();
            // The version ends in a zero, and more follows it.
            if version.len() == body.len() || version.is_empty() {
                return other(bytes);
            }
            Reading::Speaks(format!("the greeting of {}", excerpt(version)))
        }
        [0xff, low, high, message @ ..] => {
            let code = u16::from_le_bytes([*low, *high]);
            let said = format!("error {code}: {}", excerpt(mysql_message(message)));
            Reading::Refuses { refusal: mysql_refusal(code).unwrap_or(Refusal::Other), said }
        }
        _ => other(bytes),
    }
}

/// The answer is a packet of type 4 whose first option is the version.
fn sqlserver(bytes: &[u8]) -> Reading {
    let Some((header, rest)) = bytes.split_first_chunk::<8>() else {
        return if matches!(bytes.first(), None | Some(4)) { Reading::More } else { other(bytes) };
    };
    let [kind, status, high, low, ..] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != 4 || status != 1 || !(14..=4096).contains(&length) {
        return other(bytes);
    }
    let Some(options) = rest.get(..length - 8) else { return Reading::More };
    match tds::option(options, tds::VERSION) {
        Some([major, minor, build_high, build_low, ..]) => {
            let build = u16::from_be_bytes([*build_high, *build_low]);
            Reading::Speaks(format!("SQL Server {major}.{minor}.{build}"))
        }
        _ => other(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn speaks(protocol: Protocol, bytes: &[u8]) -> String {
        match read(protocol, bytes, false) {
            Reading::Speaks(what) => what,
            other => panic!("{other:?}"),
        }
    }

    fn is_other(protocol: Protocol, bytes: &[u8]) -> bool {
        matches!(read(protocol, bytes, true), Reading::Other(_))
    }

    const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1\r\n";
    const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n";

    #[test]
    fn postgres_answers_with_one_letter() {
        assert_eq!(speaks(Protocol::Postgres, b"N"), "N: it takes connections without TLS only");
        assert_eq!(speaks(Protocol::Postgres, b"S"), "S: it offers TLS");
        let refusal = |bytes: &[u8]| match read(Protocol::Postgres, bytes, true) {
            Reading::Refuses { refusal, said } => (refusal, said),
            other => panic!("{other:?}"),
        };
        let starting = b"E\0\0\0\x17SFATAL\0C57P03\0Mno\0\0";
        assert_eq!(refusal(starting), (Refusal::NotReady, "error 57P03: no".to_owned()));
        assert_eq!(refusal(b"E\0\0\0\x10SFATAL\0Mno\0\0"), (Refusal::Other, "no".to_owned()));
        let fork = b"Ecould not fork new process for connection: out of memory\n\0";
        assert_eq!(refusal(fork).0, Refusal::NoConnectionLeft);
        for bytes in [SSH, HTTP, b"NOTICE hello\r\n", b"EHLO".as_slice()] {
            assert!(is_other(Protocol::Postgres, bytes), "{bytes:?}");
        }
    }

    #[test]
    fn mysql_greets_or_refuses() {
        let mut greeting = b"\x0d\0\0\0\x0a8.0.36\0\0\0\0\0\0".to_vec();
        assert_eq!(speaks(Protocol::Mysql, &greeting), "the greeting of 8.0.36");
        greeting.truncate(9);
        assert_eq!(read(Protocol::Mysql, &greeting, false), Reading::More);
        let refused = read(Protocol::Mysql, b"\x0b\0\0\0\xff\x69\x04blocked!", true);
        assert!(matches!(refused, Reading::Refuses { ref said, .. } if said == "error 1129: blocked!"), "{refused:?}");
        assert!(is_other(Protocol::Mysql, SSH) && is_other(Protocol::Mysql, HTTP) && is_other(Protocol::Mysql, b""));
    }

    #[test]
    fn sqlserver_answers_the_prelogin() {
        let answer = b"\x04\x01\0\x1a\0\0\x01\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x0f\xa0\0\0\x02";
        assert_eq!(speaks(Protocol::Sqlserver, answer), "SQL Server 16.0.4000");
        assert!(is_other(Protocol::Sqlserver, SSH) && is_other(Protocol::Sqlserver, b"\x04\x01\0\x0a"));
    }

    proptest! {
        #[test]
        fn any_answer_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..64), start in 0_usize..8, ended: bool) {
            let starts: [&[u8]; 8] = [b"", b"S", b"E\0\0\0", b"\x0a\0\0\0\x0a", b"\x0a\0\0\0\xff", b"\x04\x01\0\x1a\0\0\0\0\0", b"\x16\x03\x03\0", b"\x15\x03\x03\0\x02"];
            let bytes = [starts[start], &bytes].concat();
            for (_, protocol) in Protocol::ALL {
                prop_assert!(!ended || read(protocol, &bytes, ended) != Reading::More);
            }
        }
    }
}
