//! The first words of the protocols that targets speak: what to send, and whether the answer is the protocol's. Pure and
//! bounded; the target may be anything.

use super::wire::excerpt;
use crate::plan::{Host, Protocol};

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
    Refuses { said: String, fix: String },
    /// Something else; what it looks like.
    Other(String),
}

/// The client's first words; `None` where the server speaks first, or nobody does.
pub fn request(speaks: Protocol, host: &Host) -> Option<Vec<u8>> {
    match speaks {
        // PostgreSQL's documentation, "Message Formats", SSLRequest.
        Protocol::Postgres => Some(vec![0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]),
        Protocol::Sqlserver => Some(prelogin()),
        Protocol::Tls => Some(client_hello(host)),
        Protocol::Mysql | Protocol::Tcp => None,
    }
}

/// What to answer to complete words, where that tells the protocol from another that begins alike.
pub fn follow_up(speaks: Protocol, answer: &[u8], host: &Host) -> Option<Vec<u8>> {
    (speaks == Protocol::Postgres && answer == b"S").then(|| client_hello(host))
}

/// Judges what has come; `ended`: nothing more will.
pub fn read(speaks: Protocol, bytes: &[u8], ended: bool) -> Reading {
    let reading = match speaks {
        Protocol::Postgres => postgres(bytes),
        Protocol::Mysql => mysql(bytes),
        Protocol::Sqlserver => sqlserver(bytes),
        Protocol::Tls => tls(bytes),
        Protocol::Tcp => return Reading::Speaks("it accepts connections".to_owned()),
    };
    match reading {
        // A PostgreSQL that closes after its `S` has answered all the same.
        Reading::More if ended && speaks == Protocol::Postgres && bytes == b"S" => {
            Reading::Speaks("S: it offers TLS".to_owned())
        }
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

/// One byte, or an ErrorResponse. An `S` is followed by TLS and by nothing else: SSH servers begin with that letter, too.
fn postgres(bytes: &[u8]) -> Reading {
    match bytes {
        [] | b"S" => Reading::More,
        b"N" => Reading::Speaks("N: it takes connections without TLS only".to_owned()),
        [b'S', rest @ ..] => match tls(rest) {
            Reading::Speaks(_) => Reading::Speaks("S: it offers TLS".to_owned()),
            Reading::More => Reading::More,
            _ => other(bytes),
        },
        [b'E', rest @ ..] => {
            let Some((length, fields)) = rest.split_first_chunk::<4>() else { return Reading::More };
            let length = u32::from_be_bytes(*length) as usize;
            if !(5..=LONGEST_ANSWER).contains(&length) {
                return other(bytes);
            }
            let Some(fields) = fields.get(..length - 4) else { return Reading::More };
            let message = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"M"));
            Reading::Speaks(format!("an error: {}", excerpt(message.unwrap_or_default())))
        }
        bytes => other(bytes),
    }
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
            let said = format!("error {code}: {}", excerpt(message));
            let fix = match code {
                1129 => "run FLUSH HOSTS (or TRUNCATE performance_schema.host_cache) on the database",
                1130 => "give the database's user a host pattern that matches the bastion's private address",
                1040 => "raise the database's max_connections, or close connections",
                _ => "look at the database's error log",
            };
            Reading::Refuses { said, fix: fix.to_owned() }
        }
        _ => other(bytes),
    }
}

/// MS-TDS 2.2.6.5: a PRELOGIN with a version and no encryption.
fn prelogin() -> Vec<u8> {
    // Token, offset and length of each option; the options' data.
    let options: [u8; 11] = [0x00, 0, 11, 0, 6, 0x01, 0, 17, 0, 1, 0xff];
    let data: [u8; 7] = [0, 0, 0, 0, 0, 0, 0x02];
    let mut packet = vec![0x12, 0x01, 0, 26, 0, 0, 0, 0];
    packet.extend(options);
    packet.extend(data);
    packet
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
    let [0, high, low, 0, 6, ..] = options else { return other(bytes) };
    let at = usize::from(u16::from_be_bytes([*high, *low]));
    match options.get(at..) {
        Some([major, minor, build_high, build_low, ..]) => {
            let build = u16::from_be_bytes([*build_high, *build_low]);
            Reading::Speaks(format!("SQL Server {major}.{minor}.{build}"))
        }
        _ => other(bytes),
    }
}

/// RFC 8446 section 4.1.2, the least that TLS 1.2 and 1.3 servers answer: without a key share, which a server of 1.3 asks
/// for by its HelloRetryRequest.
fn client_hello(host: &Host) -> Vec<u8> {
    fn vector16(content: &[u8]) -> Vec<u8> {
        [&u16::try_from(content.len()).unwrap_or_default().to_be_bytes(), content].concat()
    }
    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().as_slice(), &vector16(content)].concat()
    }
    let mut extensions = Vec::new();
    if let Host::Name(name) = host {
        let entry = [&[0], vector16(name.as_bytes()).as_slice()].concat();
        extensions.extend(extension(0, &vector16(&entry)));
    }
    // x25519, secp256r1, secp384r1
    extensions.extend(extension(10, &vector16(&[0x00, 0x1d, 0x00, 0x17, 0x00, 0x18])));
    extensions.extend(extension(11, &[1, 0]));
    // ECDSA and RSA with SHA-256, 384, 512; PSS
    let signatures = [4, 3, 5, 3, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1];
    extensions.extend(extension(13, &vector16(&signatures)));
    extensions.extend(extension(43, &[4, 3, 4, 3, 3]));
    extensions.extend(extension(51, &vector16(&[])));

    let ciphers = [
        0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2b, 0xc0, 0x2c, 0xc0, 0x2f, 0xc0, 0x30, 0xcc, 0xa8, 0xcc, 0xa9,
        0x00, 0x9c, 0x00, 0x9d, 0x00, 0x2f, 0x00, 0x35,
    ];
    let mut hello = vec![3, 3];
    // The client's random: no secret follows from it here.
    hello.extend([0x67; 32]);
    hello.push(0);
    hello.extend(vector16(&ciphers));
    hello.extend([1, 0]);
    hello.extend(vector16(&extensions));
    let length = u32::try_from(hello.len()).unwrap_or_default().to_be_bytes();
    let handshake = [&[1], length.get(1..).unwrap_or_default(), &hello].concat();
    [&[0x16, 3, 1], vector16(&handshake).as_slice()].concat()
}

/// A ServerHello or an alert, in a record of any version.
fn tls(bytes: &[u8]) -> Reading {
    let alert = |code: u8| Reading::Speaks(format!("TLS, with alert {code}"));
    match bytes {
        [] | [0x15 | 0x16] | [0x15 | 0x16, 3] | [0x15 | 0x16, 3, _] | [0x15 | 0x16, 3, _, _] => Reading::More,
        [0x16, 3, 0..=4, high, low, rest @ ..] if u16::from_be_bytes([*high, *low]) >= 4 => match rest {
            [] => Reading::More,
            [2, ..] => Reading::Speaks("TLS".to_owned()),
            _ => other(bytes),
        },
        [0x15, 3, 0..=4, 0, 2, rest @ ..] => match rest {
            [] | [1 | 2] => Reading::More,
            [1 | 2, code, ..] => alert(*code),
            _ => other(bytes),
        },
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
        assert_eq!(read(Protocol::Postgres, b"S", false), Reading::More);
        assert_eq!(speaks(Protocol::Postgres, b"S\x15\x03\x01\x00\x02\x02\x28"), "S: it offers TLS");
        assert_eq!(speaks(Protocol::Postgres, b"E\0\0\0\x10SFATAL\0Mno\0\0"), "an error: no");
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
        let request = prelogin();
        assert_eq!(usize::from(request[3]), request.len());
    }

    #[test]
    fn tls_answers_with_a_hello_or_an_alert() {
        assert_eq!(speaks(Protocol::Tls, b"\x16\x03\x03\0\x7a\x02\0"), "TLS");
        assert_eq!(speaks(Protocol::Tls, b"\x15\x03\x01\0\x02\x02\x46"), "TLS, with alert 70");
        assert!(is_other(Protocol::Tls, SSH) && is_other(Protocol::Tls, HTTP));
        let hello = client_hello(&Host::Name("warehouse.internal".into()));
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
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
