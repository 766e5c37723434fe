//! SQL Server's first words, its TLS, and what it says to a login without a password: TDS 7.4 as Microsoft's \[MS-TDS\] has it.

use rustls::version::TLS12;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    dial::Stream,
    framed::Framed,
    login::{Login, NOBODY, Refusal},
    speak::LONGEST_ANSWER,
    tls::{self, NoTls},
    wire::excerpt,
};
use crate::plan::Host;

/// 2.2.6.5: what the encryption is, and the version, in front of any login; the client wants all to be encrypted.
pub const PRELOGIN: &[u8] = b"\x12\x01\0\x1a\0\0\0\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\0\0\0\0\0\0\x01";

pub const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const ENCRYPT_NOT_SUP: u8 = 2;

/// 2.2.3.1.1 and 2.2.3.1.2: types of packets, and the last packet of a message.
const RESULT: u8 = 4;
const LOGIN7: u8 = 0x10;
pub const TLS: u8 = 0x12;
const LAST: u8 = 1;

pub const HEADER: usize = 8;
/// Before both sides agree on another size (2.2.6.4, PacketSize).
pub const PACKET: usize = 4096;

/// An option of a PRELOGIN without its header: a table of token, offset and length comes before what the options hold.
pub fn option(message: &[u8], token: u8) -> Option<&[u8]> {
    let table = message.chunks_exact(5).take_while(|entry| entry.first() != Some(&0xff));
    let [_, at_high, at_low, length_high, length_low] =
        *table.into_iter().find(|entry| entry.first() == Some(&token))?
    else {
        return None;
    };
    let at = usize::from(u16::from_be_bytes([at_high, at_low]));
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    message.get(at..at.checked_add(length)?)
}

/// By the answer to a PRELOGIN. Without TLS a login would go in the clear: it holds nothing that is secret.
pub fn offers_tls(answer: &[u8]) -> bool {
    let message = answer.get(HEADER..).unwrap_or_default();
    !matches!(option(message, ENCRYPTION), None | Some([] | [ENCRYPT_NOT_SUP, ..]))
}

/// TLS 1.2 and not 1.3, which sends messages after its handshake: by then they are in no packets.
pub async fn handshake(stream: Box<dyn Stream>, host: &Host) -> Result<Box<dyn Stream>, NoTls> {
    let mut stream = tls::handshake(Framed::new(stream), host, &[&TLS12]).await?;
    stream.get_mut().0.end();
    Ok(Box::new(stream))
}

/// Begins a session as a user that does not exist, with an empty password.
pub async fn login(stream: &mut dyn Stream, host: &Host) -> Login {
    let request = packets(LOGIN7, &login7(host));
    if stream.write_all(&request).await.is_err() || stream.flush().await.is_err() {
        return Login::Unclear("it closed the connection at a login".to_owned());
    }
    match answer(stream).await {
        Ok(tokens) => read(&tokens),
        Err(said) => Login::Unclear(said),
    }
}

/// A message from the server, without headers.
async fn answer(stream: &mut dyn Stream) -> Result<Vec<u8>, String> {
    let ended = |_| "it closed the connection at a login".to_owned();
    let mut message = Vec::new();
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await.map_err(ended)?;
        let [kind, status, high, low, ..] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != RESULT || length < HEADER || message.len() + length > LONGEST_ANSWER {
            return Err(format!("it said at a login: {}", excerpt(&header)));
        }
        let mut data = vec![0; length - HEADER];
        stream.read_exact(&mut data).await.map_err(ended)?;
        message.extend(data);
        if status & LAST != 0 {
            return Ok(message);
        }
    }
}

/// 2.2.7: tokens, of which each has its length. An error counts for more than that the login was acknowledged, and that
/// the client is to go elsewhere for more than both.
fn read(message: &[u8]) -> Login {
    let mut rest = message;
    let (mut acknowledged, mut found): (bool, Option<Login>) = (false, None);
    while let Some((token, after)) = rest.split_first() {
        let Some((body, after)) = split(*token, after) else { break };
        rest = after;
        match token {
            // LOGINACK
            0xad => acknowledged = true,
            // ENVCHANGE
            0xe3 => {
                if let Some(said) = routing(body) {
                    return Login::Refuses { refusal: Refusal::Redirects, said };
                }
            }
            // ERROR
            0xaa => {
                let login = error(body);
                if !matches!((&found, &login), (Some(_), Some(Login::Unclear(_)) | None)) {
                    found = login;
                }
            }
            _ => {}
        }
    }
    match found {
        Some(login) => login,
        None if acknowledged => Login::Admits { said: "it asks for no password".to_owned(), echoed: 0, held: false },
        None => Login::Unclear(format!("it said at a login: {}", excerpt(message))),
    }
}

/// What a token holds, and what comes after it; `None` where this is none that can follow a login.
fn split(token: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match token {
        // ERROR, INFO, LOGINACK, ENVCHANGE
        0xaa | 0xab | 0xad | 0xe3 => {
            let (length, bytes) = bytes.split_first_chunk()?;
            bytes.split_at_checked(u16::from_le_bytes(*length).into())
        }
        // DONE, DONEPROC, DONEINPROC: since TDS 7.2
        0xfd..=0xff => bytes.split_at_checked(12),
        _ => None,
    }
}

/// 2.2.7.9, type 20: protocol, port and name of another server. Azure SQL's connection policy Redirect, which is the default
/// for clients in Azure, sends it.
fn routing(body: &[u8]) -> Option<String> {
    let [20, _, _, _, low, high, rest @ ..] = body else { return None };
    let (length, name) = rest.split_first_chunk()?;
    let name = name.get(..usize::from(u16::from_le_bytes(*length)) * 2)?;
    Some(format!("it names {} port {}", utf16(name), u16::from_le_bytes([*low, *high])))
}

/// 2.2.7.10: number, state, class and text. By "Database engine events and errors" of SQL Server's documentation, and
/// "Troubleshoot connectivity issues and other errors" and "Connectivity settings" of Azure SQL's.
fn error(body: &[u8]) -> Option<Login> {
    let (number, rest) = body.split_first_chunk()?;
    let number = i32::from_le_bytes(*number);
    let [_, _, low, high, text @ ..] = rest else { return None };
    let text = text.get(..usize::from(u16::from_le_bytes([*low, *high])) * 2).unwrap_or(text);
    let said = format!("error {number}: {}", utf16(text));
    let refusal = match number {
        // Login failed; the login's database cannot be opened.
        18456 | 4060 => return Some(Login::Admits { said, echoed: 0, held: false }),
        // Azure SQL, whose firewall comes before any login: by its rules for addresses, for networks; public access is denied.
        40615 | 40914 | 47073 => Refusal::NotAdmitted,
        // `user connections`; licences; Azure SQL: sessions and workers of a database, of an elastic pool.
        17809 | 18458..=18460 | 10928 | 10929 | 10936 => Refusal::NoConnectionLeft,
        // It is paused, not ready, upgraded, for administrators only, shut down; Azure SQL: it moves.
        17142 | 17187 | 18401 | 18451 | 18461 | 6005 | 40197 | 40613 => Refusal::NotReady,
        _ => return Some(Login::Unclear(said)),
    };
    Some(Login::Refuses { refusal, said })
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|unit| unit.iter().rev().fold(0, |all, byte| all << 8 | u16::from(*byte))).collect();
    excerpt(String::from_utf16_lossy(&units).as_bytes())
}

/// 2.2.6.4. Azure SQL's gateways find the server by its name.
fn login7(host: &Host) -> Vec<u8> {
    /// Before the names.
    const FIXED: usize = 94;
    let server: String = host.to_string().chars().take(128).collect();
    // Of the client's host, the user, its password, the program, the server, nothing, the library, language, database; then
    // what single sign-on, a database's file and a new password would be.
    let names = ["", NOBODY, "", NOBODY, &server, "", NOBODY, "", "", "", "", ""];
    let (mut places, mut text): (Vec<[u8; 4]>, Vec<u8>) = (Vec::new(), Vec::new());
    for name in names {
        let units: Vec<u16> = name.encode_utf16().collect();
        let [at, length] =
            [FIXED + text.len(), units.len()].map(|number| u16::try_from(number).unwrap_or_default().to_le_bytes());
        places.push([at[0], at[1], length[0], length[1]]);
        text.extend(units.into_iter().flat_map(u16::to_le_bytes));
    }
    let (before, after) = places.split_at(9);
    let numbers: [u32; 9] = [
        u32::try_from(FIXED + text.len()).unwrap_or_default(),
        // TDS 7.4; the size of packets; the client's version and process, and the connection's number.
        0x7400_0004,
        4096,
        0,
        0,
        0,
        // fUseDB, fDatabase, fSetLang; a login of SQL Server's own.
        0xe0,
        // The time zone, and English.
        0,
        0x0409,
    ];
    // The client's own number, and no long single sign-on.
    [numbers.map(u32::to_le_bytes).as_flattened(), before.as_flattened(), &[0; 6], after.as_flattened(), &[0; 4], &text]
        .concat()
}

/// A message in packets (2.2.3): type, status, length, process, number, window.
pub fn packets(kind: u8, message: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut parts = message.chunks(PACKET - HEADER).zip(1_usize..).peekable();
    while let Some((part, number)) = parts.next() {
        let status = if parts.peek().is_none() { LAST } else { 0 };
        let [high, low] = u16::try_from(HEADER + part.len()).unwrap_or_default().to_be_bytes();
        all.extend([kind, status, high, low, 0, 0, number.to_le_bytes()[0], 0]);
        all.extend(part);
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        let units: Vec<u16> = text.encode_utf16().collect();
        let length = u16::try_from(units.len()).unwrap().to_le_bytes();
        [&length[..], units.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice()].concat()
    }

    fn token(token: u8, body: &[u8]) -> Vec<u8> {
        [&[token][..], &u16::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
    }

    /// With the server's name, no procedure, and the line.
    fn failed(number: i32) -> Vec<u8> {
        token(0xaa, &[&number.to_le_bytes()[..], &[1, 14], &text("no"), b"\x01s\0\0\x01\0\0\0"].concat())
    }

    const DONE: &[u8] = b"\xfd\x02\0\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn each_number_means_one_thing() {
        for (number, refusal) in [
            (40615, Refusal::NotAdmitted),
            (17809, Refusal::NoConnectionLeft),
            (10928, Refusal::NoConnectionLeft),
            (18401, Refusal::NotReady),
            (6005, Refusal::NotReady),
        ] {
            let said = format!("error {number}: no");
            assert_eq!(read(&[&failed(number), DONE].concat()), Login::Refuses { refusal, said });
        }
        let admits = |message: &[u8]| matches!(read(message), Login::Admits { .. });
        let acknowledged = token(0xad, b"\x01\x74\0\0\x04\0\x10\0\x0f\xa0");
        assert!(admits(&failed(18456)) && admits(&[failed(4060), failed(18456)].concat()));
        assert!(admits(&[&acknowledged, DONE].concat()) && admits(&[failed(5701), failed(18456)].concat()));
        for message in [&failed(18452), &[failed(18452), failed(5701)].concat(), DONE, b"hello", b""] {
            assert!(matches!(read(message), Login::Unclear(_)), "{message:?}");
        }
        let place = text("db7.worker.database.windows.net");
        let route = token(0xe3, &[b"\x14\x08\0\0\x00\x2b", &place[..], b"\0\0"].concat());
        let said = "it names db7.worker.database.windows.net port 11008".to_owned();
        let redirected = Login::Refuses { refusal: Refusal::Redirects, said };
        assert_eq!(read(&[&acknowledged, &route, DONE].concat()), redirected);
    }

    #[test]
    fn a_login_has_its_own_length_and_no_password() {
        let login = login7(&Host::Name("sql.example.com".into()));
        assert_eq!(login.len(), u32::from_le_bytes(login[..4].try_into().unwrap()) as usize);
        let field = |number: usize| {
            let place: [u8; 4] = login[36 + 4 * number..][..4].try_into().unwrap();
            let [at, length] =
                [[place[0], place[1]], [place[2], place[3]]].map(|two| usize::from(u16::from_le_bytes(two)));
            utf16(&login[at..at + 2 * length])
        };
        assert_eq!([field(1), field(2), field(4), field(8)], ["gangplank", "", "sql.example.com", ""]);
        let two = packets(TLS, &[7; 5000]);
        assert_eq!((&two[..8], two.len()), (&b"\x12\0\x10\0\0\0\x01\0"[..], 5016));
        assert_eq!(&two[4096..4104], b"\x12\x01\x03\x98\0\0\x02\0");
    }

    #[test]
    fn what_does_not_say_that_it_has_tls_has_none() {
        let answer = |encryption: u8| [&PRELOGIN[..25], &[encryption]].concat();
        assert_eq!([0, 1, 2, 3].map(|encryption| offers_tls(&answer(encryption))), [true, true, false, true]);
        assert_eq!(option(&PRELOGIN[8..], VERSION), Some(&[0; 6][..]));
        assert_eq!(usize::from(PRELOGIN[3]), PRELOGIN.len());
    }

    proptest! {
        #[test]
        fn any_message_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..64), start in 0_usize..6) {
            let starts = [Vec::new(), failed(18456)[..9].to_vec(), failed(1), vec![0xe3, 9, 0, 20], vec![0xad, 0, 0], DONE.to_vec()];
            let bytes = [starts[start].as_slice(), &bytes].concat();
            let _ = (read(&bytes), offers_tls(&bytes), option(&bytes, ENCRYPTION));
        }
    }
}
