//! The first words of those who listen in a machine's network: enough for a client to know them by, and what databases say
//! to a login without a password.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::around::Speech;

/// PostgreSQL's documentation, "Message Formats", SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// RFC 8446 section 6: a fatal handshake_failure.
const ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x28";
/// PostgreSQL takes no longer startup packet (`MAX_STARTUP_PACKET_LENGTH` of its pqcomm.h).
const LONGEST_STARTUP: usize = 10_000;
/// "Message Formats", AuthenticationSASL: PostgreSQL 14 and later ask so for a password, also of a user that does not exist.
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
/// MySQL's "Protocol::HandshakeV10" of an 8.0 with its usual capabilities.
const MYSQL: &[u8] = b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0caching_sha2_password\0";
/// "Protocol::AuthSwitchRequest" to the method that 8.0 has for a user that does not exist.
const MYSQL_SWITCH: &[u8] = b"\x2c\0\0\x02\xfecaching_sha2_password\0abcdefghabcdefghijkl\0";
/// ER_ACCESS_DENIED_ERROR.
const MYSQL_DENIED: &[u8] = b"\x16\0\0\x04\xff\x15\x04#28000Access denied";
/// MySQL's ER_HOST_IS_BLOCKED.
const MYSQL_BLOCKED: &[u8] = b"\x0b\0\0\0\xff\x69\x04blocked!";
/// MS-TDS 2.2.6.5: the answer to a PRELOGIN, of version 16.0.4000, from a server without TLS.
const PRELOGIN: &[u8] = b"\x04\x01\0\x1a\0\0\x01\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x0f\xa0\0\0\x02";
/// 2.2.7.10: error 18456, of which a client is told no more than "Login failed"; and that this is all.
const TDS_DENIED: &[u8] = b"\x04\x01\0\x42\0\0\x01\0\xaa\x2a\0\x18\x48\0\0\x01\x0e\x0d\0L\0o\0g\0i\0n\0 \0f\0a\0i\0l\0e\0d\0.\0\x01s\0\0\x01\0\0\0\xfd\x02\0\0\0\0\0\0\0\0\0\0\0";

/// Speaks until the client has gone.
pub async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, speech: Speech) {
    // Whoever goes in between has heard enough.
    let _ = words(&mut stream, speech).await;
    let mut chunk = [0; 4096];
    while stream.read(&mut chunk).await.is_ok_and(|length| length > 0) {}
}

async fn words(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), speech: Speech) -> std::io::Result<()> {
    match speech {
        Speech::Nothing => Ok(()),
        Speech::Says(text) => stream.write_all(text.as_bytes()).await,
        Speech::Mysql => {
            stream.write_all(MYSQL).await?;
            packet(stream).await?;
            stream.write_all(MYSQL_SWITCH).await?;
            packet(stream).await?;
            stream.write_all(MYSQL_DENIED).await
        }
        Speech::MysqlBlocked => stream.write_all(MYSQL_BLOCKED).await,
        Speech::Postgres { tls } => {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await?;
            match (request == SSL_REQUEST, tls) {
                (false, _) => Ok(()),
                (true, false) => {
                    stream.write_all(b"N").await?;
                    startup(stream).await
                }
                (true, true) => {
                    stream.write_all(b"S").await?;
                    hello(stream).await
                }
            }
        }
        Speech::Tls => hello(stream).await,
        Speech::Sqlserver => {
            if tds_packet(stream).await? == 0x12 {
                stream.write_all(PRELOGIN).await?;
            }
            if tds_packet(stream).await? == 0x10 { stream.write_all(TDS_DENIED).await } else { Ok(()) }
        }
    }
}

/// Asks for a password, and tells back the protocol options that it does not know (NegotiateProtocolVersion).
async fn startup(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if !(8..=LONGEST_STARTUP).contains(&length) {
        return Ok(());
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    let texts = body.get(4..).unwrap_or_default().split(|byte| *byte == 0);
    let unknown: Vec<&[u8]> = texts.step_by(2).filter(|name| name.starts_with(b"_pq_.")).collect();
    let mut answer = Vec::new();
    if !unknown.is_empty() {
        let options: Vec<u8> = unknown.iter().flat_map(|name| [name, b"\0".as_slice()].concat()).collect();
        let number = |number: usize| u32::try_from(number).unwrap_or_default().to_be_bytes();
        answer.push(b'v');
        answer.extend([number(12 + options.len()), number(0), number(unknown.len())].concat());
        answer.extend(options);
    }
    answer.extend(SCRAM);
    stream.write_all(&answer).await
}

/// Reads one of MySQL's packets.
async fn packet(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let [low, middle, high, _] = header;
    let length = u64::from(u32::from_le_bytes([low, middle, high, 0]));
    tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await.map(|_| ())
}

/// Reads one of TDS's packets, and tells its type.
async fn tds_packet(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<u8> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).await?;
    let [kind, _, high, low, ..] = header;
    let length = u64::from(u16::from_be_bytes([high, low])).saturating_sub(8);
    tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await.map(|_| kind)
}

/// Answers a client's TLS with an alert: here is TLS, and nothing to log in to.
async fn hello(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut record = [0; 5];
    stream.read_exact(&mut record).await?;
    if record.starts_with(&[0x16, 3]) { stream.write_all(ALERT).await } else { Ok(()) }
}
