//! The first words of those who listen in a machine's network: enough for a client to know them by, and no more.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::around::Speech;

/// PostgreSQL's documentation, "Message Formats", SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// RFC 8446 section 6: a fatal handshake_failure.
const ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x28";
/// MySQL's "Protocol::HandshakeV10", cut after what tells the version.
const MYSQL: &[u8] = b"\x0d\0\0\0\x0a8.0.36\0\0\0\0\0\0";
/// MySQL's ER_HOST_IS_BLOCKED.
const MYSQL_BLOCKED: &[u8] = b"\x0b\0\0\0\xff\x69\x04blocked!";
/// MS-TDS 2.2.6.5: the answer to a PRELOGIN, of version 16.0.4000.
const PRELOGIN: &[u8] = b"\x04\x01\0\x1a\0\0\x01\0\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x0f\xa0\0\0\x02";

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
        Speech::Mysql => stream.write_all(MYSQL).await,
        Speech::MysqlBlocked => stream.write_all(MYSQL_BLOCKED).await,
        Speech::Postgres { tls } => {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await?;
            match (request == SSL_REQUEST, tls) {
                (false, _) => Ok(()),
                (true, false) => stream.write_all(b"N").await,
                (true, true) => {
                    stream.write_all(b"S").await?;
                    hello(stream).await
                }
            }
        }
        Speech::Tls => hello(stream).await,
        Speech::Sqlserver => {
            let mut header = [0; 8];
            stream.read_exact(&mut header).await?;
            if header.starts_with(&[0x12]) { stream.write_all(PRELOGIN).await } else { Ok(()) }
        }
    }
}

/// Answers a client's TLS with an alert: here is TLS, and nothing to log in to.
async fn hello(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut record = [0; 5];
    stream.read_exact(&mut record).await?;
    if record.starts_with(&[0x16, 3]) { stream.write_all(ALERT).await } else { Ok(()) }
}
