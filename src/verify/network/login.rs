//! What a database says to a login that sends no password: whether it admits the bastion and has a connection left. Pure and
//! bounded but for the reading and writing of a stream that the caller gives a time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{dial::Stream, speak::LONGEST_ANSWER, wire::excerpt};
use crate::plan::LoginAttempt;

/// A user, and a database, that nobody has.
pub const NOBODY: &str = "gangplank";

/// Messages before an answer: more than any server sends.
const MOST_MESSAGES: usize = 64;

/// What a login is padded with, so that it and the answer are larger than one packet. PostgreSQL takes 10,000 bytes
/// (`MAX_STARTUP_PACKET_LENGTH` of its pqcomm.h).
const PADDING: usize = 6000;

/// Why a database turns a client away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not from this address, or not this user from it.
    NotAdmitted,
    NoConnectionLeft,
    /// It starts, recovers or ends.
    NotReady,
    /// MySQL: too many connections from this host came without a login.
    Blocked,
    /// SQL Server: it names another host and port, to go to instead.
    Redirects,
    Other,
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// It asks for a password, or does not know the user: who has both may come in.
    Admits {
        said: String,
        /// How many bytes of the padding came back.
        echoed: usize,
        /// The database keeps a connection for it.
        held: bool,
    },
    Refuses {
        refusal: Refusal,
        said: String,
    },
    /// An answer that tells neither.
    Unclear(String),
    /// No answer in time.
    Silent,
    /// Neither to a login of some kilobytes nor to a small one.
    Hangs,
    NotTried(String),
}

/// PostgreSQL's ErrorResponse, by the fields of "Error and Notice Message Fields".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresError {
    pub code: String,
    /// Where it was raised: unlike the message it is never translated.
    routine: String,
    pub message: String,
}

impl PostgresError {
    pub fn read(fields: &[u8]) -> Self {
        let field = |kind: u8| {
            let found = fields.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
            excerpt(found.and_then(|field| field.get(1..)).unwrap_or_default())
        };
        Self { code: field(b'C'), routine: field(b'R'), message: field(b'M') }
    }

    /// By "Appendix A. PostgreSQL Error Codes".
    pub fn refusal(&self) -> Option<Refusal> {
        match self.code.as_str() {
            // One code for "no pg_hba.conf entry" and for a role that does not exist. They are raised in
            // `ClientAuthentication` (auth.c) and `InitializeSessionUserId` (miscinit.c).
            "28000" if self.routine == "ClientAuthentication" || self.message.contains("pg_hba") => {
                Some(Refusal::NotAdmitted)
            }
            // too_many_connections, configuration_limit_exceeded
            "53300" | "53400" => Some(Refusal::NoConnectionLeft),
            // admin_shutdown, crash_shutdown, cannot_connect_now
            "57P01" | "57P02" | "57P03" => Some(Refusal::NotReady),
            _ => None,
        }
    }

    /// Who says this has let the client as far as its name and password.
    fn admits(&self) -> bool {
        match self.code.as_str() {
            // invalid_password, invalid_catalog_name
            "28P01" | "3D000" => true,
            "28000" => self.routine == "InitializeSessionUserId",
            _ => false,
        }
    }

    pub fn said(&self) -> String {
        if self.code.is_empty() { self.message.clone() } else { format!("error {}: {}", self.code, self.message) }
    }
}

/// By MySQL's "Server Error Message Reference" and MariaDB's "Error Codes".
pub fn mysql_refusal(code: u16) -> Option<Refusal> {
    Some(match code {
        // ER_HOST_NOT_PRIVILEGED
        1130 => Refusal::NotAdmitted,
        // ER_HOST_IS_BLOCKED
        1129 => Refusal::Blocked,
        // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS
        1040 | 1203 => Refusal::NoConnectionLeft,
        // ER_SERVER_SHUTDOWN, ER_SERVER_OFFLINE_MODE
        1053 | 3032 => Refusal::NotReady,
        _ => return None,
    })
}

/// Begins a session of PostgreSQL's and reads until it wants a password, or refuses. `padded`: with a parameter that the
/// server does not know and tells back by name (NegotiateProtocolVersion, since PostgreSQL 9.3's last releases); other
/// software that speaks the protocol may refuse it.
pub async fn postgres(stream: &mut dyn Stream, attempt: &LoginAttempt, padded: bool) -> Login {
    let ended = || Login::Unclear("it closed the connection at a login".to_owned());
    if stream.write_all(&startup(attempt, padded)).await.is_err() || stream.flush().await.is_err() {
        return ended();
    }
    let mut echoed = 0;
    let mut authenticated = false;
    for _ in 0..MOST_MESSAGES {
        let mut header = [0; 5];
        if stream.read_exact(&mut header).await.is_err() {
            return ended();
        }
        let [kind, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        if !(4..=LONGEST_ANSWER).contains(&length) {
            return Login::Unclear(format!("it said at a login: {}", excerpt(&header)));
        }
        let mut body = vec![0; length - 4];
        if stream.read_exact(&mut body).await.is_err() {
            return ended();
        }
        match (kind, body.as_slice()) {
            (b'v', body) => echoed = body.len(),
            (b'R', [0, 0, 0, 0, ..]) => authenticated = true,
            (b'R', _) => return Login::Admits { said: "it asks for a password".to_owned(), echoed, held: true },
            (b'E', fields) => return refused(&PostgresError::read(fields), echoed),
            (b'Z', _) if authenticated => {
                // Terminate.
                let _ = stream.write_all(&[b'X', 0, 0, 0, 4]).await;
                return Login::Admits { said: "it asks for no password".to_owned(), echoed, held: false };
            }
            _ => {}
        }
    }
    Login::Unclear("it sends messages without an end at a login".to_owned())
}

fn refused(error: &PostgresError, echoed: usize) -> Login {
    let said = error.said();
    match error.refusal() {
        Some(refusal) => Login::Refuses { refusal, said },
        None if error.admits() => Login::Admits { said, echoed, held: false },
        None => Login::Unclear(said),
    }
}

/// "Message Formats", StartupMessage of protocol 3.0.
fn startup(attempt: &LoginAttempt, padded: bool) -> Vec<u8> {
    let (user, database) = match attempt {
        LoginAttempt::Nobody => (NOBODY, NOBODY),
        LoginAttempt::As { user, database } => (user.as_str(), database.as_str()),
    };
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    let padding = format!("_pq_.gangplank_{}", "x".repeat(PADDING));
    let parameters = [("user", user), ("database", database), ("application_name", NOBODY)];
    for (name, value) in parameters.into_iter().chain(padded.then_some((padding.as_str(), "1"))) {
        for text in [name, value] {
            body.extend(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// Answers MySQL's greeting with a user that does not exist and an empty password, which completes the handshake: a
/// host that leaves handshakes incomplete is blocked in the end (max_connect_errors).
pub async fn mysql(stream: &mut dyn Stream, greeting: &[u8]) -> Login {
    let ended = || Login::Unclear("it closed the connection at a login".to_owned());
    let Some(capabilities) = mysql_capabilities(greeting) else {
        return Login::NotTried("its greeting is too short to answer it".to_owned());
    };
    if stream.write_all(&mysql_response(capabilities)).await.is_err() || stream.flush().await.is_err() {
        return ended();
    }
    // A switch of the method, its data, the end.
    for _ in 0..4 {
        let mut header = [0; 4];
        if stream.read_exact(&mut header).await.is_err() {
            return ended();
        }
        let [low, middle, high, sequence] = header;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        if !(1..=LONGEST_ANSWER).contains(&length) {
            return Login::Unclear(format!("it said at a login: {}", excerpt(&header)));
        }
        let mut packet = vec![0; length];
        if stream.read_exact(&mut packet).await.is_err() {
            return ended();
        }
        let admits = |said: String| Login::Admits { said, echoed: 0, held: false };
        match packet.as_slice() {
            [0, ..] => {
                // COM_QUIT.
                let _ = stream.write_all(&[1, 0, 0, 0, 1]).await;
                return admits("it lets a user in that does not exist: it has an anonymous account".to_owned());
            }
            [0xff, low, high, message @ ..] => {
                let code = u16::from_le_bytes([*low, *high]);
                let said = format!("error {code}: {}", excerpt(mysql_message(message)));
                return match (mysql_refusal(code), code) {
                    (Some(refusal), _) => Login::Refuses { refusal, said },
                    // ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_NOT_SUPPORTED_AUTH_MODE,
                    // ER_SECURE_TRANSPORT_REQUIRED
                    (None, 1045 | 1698 | 1251 | 3159) => admits(said),
                    (None, _) => Login::Unclear(said),
                };
            }
            // AuthSwitchRequest: an empty password is a zero for the methods with SHA-256, and nothing for the others.
            [0xfe, rest @ ..] => {
                let password: &[u8] = if rest.windows(4).any(|part| part == b"sha2") { &[0] } else { &[] };
                let length = u8::try_from(password.len()).unwrap_or_default();
                let answer = [&[length, 0, 0, sequence.wrapping_add(1)], password].concat();
                if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                    return ended();
                }
            }
            [1, ..] => return admits("it asks for a password".to_owned()),
            other => return Login::Unclear(format!("it said at a login: {}", excerpt(other))),
        }
    }
    Login::Unclear("it asks without an end at a login".to_owned())
}

/// "Protocol::ERR_Packet": `#` and five characters of an SQL state before the text.
pub fn mysql_message(message: &[u8]) -> &[u8] {
    if message.first() == Some(&b'#') { message.get(6..).unwrap_or_default() } else { message }
}

const CLIENT_PROTOCOL_41: u32 = 0x200;
const CLIENT_SECURE_CONNECTION: u32 = 0x8000;
const CLIENT_PLUGIN_AUTH: u32 = 0x8_0000;
const CLIENT_CONNECT_ATTRS: u32 = 0x10_0000;

/// The capabilities in a "Protocol::HandshakeV10" packet, with its header.
fn mysql_capabilities(greeting: &[u8]) -> Option<u32> {
    let body = greeting.get(5..)?;
    let version = body.iter().position(|byte| *byte == 0)?;
    // The thread's id, eight bytes of the nonce, a zero; then the lower half, character set, status, the upper half.
    let after = body.get(version + 1 + 13..)?;
    let [low, high, _, _, _, upper_low, upper_high, ..] = after else { return None };
    Some(u32::from_le_bytes([*low, *high, *upper_low, *upper_high]))
}

/// "Protocol::HandshakeResponse41", padded by a connection attribute where the server takes them.
fn mysql_response(offered: u32) -> Vec<u8> {
    let wanted = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH | CLIENT_CONNECT_ATTRS;
    let capabilities = wanted & offered | CLIENT_PROTOCOL_41;
    let mut body = capabilities.to_le_bytes().to_vec();
    body.extend(0x0100_0000_u32.to_le_bytes());
    // utf8
    body.push(33);
    body.extend([0; 23]);
    body.extend(NOBODY.as_bytes());
    // The name's end, and a password of no bytes.
    body.extend([0, 0]);
    if capabilities & CLIENT_PLUGIN_AUTH != 0 {
        body.extend(b"mysql_native_password\0");
    }
    if capabilities & CLIENT_CONNECT_ATTRS != 0 {
        // Length-encoded: 0xfc and two bytes for a length above 250.
        let long = |length: usize| {
            let [low, high] = u16::try_from(length).unwrap_or_default().to_le_bytes();
            [0xfc, low, high]
        };
        let name = b"_gangplank";
        let mut attributes = vec![u8::try_from(name.len()).unwrap_or_default()];
        attributes.extend(name);
        attributes.extend(long(PADDING));
        attributes.extend(vec![b'x'; PADDING]);
        body.extend(long(attributes.len()));
        body.extend(attributes);
    }
    let length = u32::try_from(body.len()).unwrap_or_default().to_le_bytes();
    [length.get(..3).unwrap_or_default(), &[1], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fields: &[u8]) -> PostgresError {
        PostgresError::read(fields)
    }

    #[test]
    fn one_code_of_postgres_means_two_things() {
        let host =
            error(b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for host\0Fauth.c\0L535\0RClientAuthentication\0\0");
        let role = error(b"SFATAL\0C28000\0Mrole \"gangplank\" does not exist\0RInitializeSessionUserId\0\0");
        let translated = error(b"SFATAL\0C28000\0Mkein pg_hba.conf-Eintrag\0\0");
        assert_eq!((host.refusal(), host.admits()), (Some(Refusal::NotAdmitted), false));
        assert_eq!((role.refusal(), role.admits()), (None, true));
        assert_eq!(translated.refusal(), Some(Refusal::NotAdmitted));
        assert!(matches!(refused(&error(b"C28000\0Mother words\0\0"), 0), Login::Unclear(_)));
    }

    #[test]
    fn other_codes_of_postgres_mean_one() {
        for (code, refusal) in [
            ("53300", Refusal::NoConnectionLeft),
            ("53400", Refusal::NoConnectionLeft),
            ("57P03", Refusal::NotReady),
            ("57P01", Refusal::NotReady),
        ] {
            assert_eq!(error(format!("C{code}\0Mno\0\0").as_bytes()).refusal(), Some(refusal), "{code}");
        }
        for code in ["28P01", "3D000"] {
            assert!(matches!(refused(&error(format!("C{code}\0Mno\0\0").as_bytes()), 0), Login::Admits { .. }));
        }
        assert!(matches!(refused(&error(b"C08P01\0Munsupported startup parameter\0\0"), 0), Login::Unclear(_)));
    }

    #[test]
    fn a_startup_fits_into_what_postgres_takes() {
        let nobody = startup(&LoginAttempt::Nobody, true);
        assert_eq!(nobody.len(), u32::from_be_bytes(nobody[..4].try_into().unwrap()) as usize);
        assert!((1500..10_000).contains(&nobody.len()));
        let named = LoginAttempt::As { user: "secoda".into(), database: "warehouse".into() };
        let named = startup(&named, false);
        assert!(named.windows(26).any(|part| part == b"secoda\0database\0warehouse\0"));
    }

    #[test]
    fn a_response_to_mysql_has_its_own_length() {
        let greeting = b"\x4a\0\0\0\x0a8.0.36\0\x01\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15";
        let offered = mysql_capabilities(greeting).unwrap();
        assert_eq!(offered, 0xdfff_ffff);
        let response = mysql_response(offered);
        let length = u32::from_le_bytes([response[0], response[1], response[2], 0]) as usize;
        assert_eq!((length, response[3]), (response.len() - 4, 1));
        assert!(response.len() > PADDING);
        assert!(mysql_response(CLIENT_PROTOCOL_41).len() < 100);
        assert_eq!(mysql_capabilities(b"\x0d\0\0\0\x0a8.0.36\0\0\0\0\0\0"), None);
    }
}
