//! What a SQL Server says to a login that the plan consents to. The server is made here after Microsoft's [MS-TDS], and is no
//! real one: PRELOGIN, TLS 1.2 in TDS packets until its handshake is over, LOGIN7, and tokens as the answer.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    sync::{Arc, OnceLock},
};

use rustls::{
    ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{bastion::Machine, *};

#[derive(Clone)]
enum Server {
    /// With TLS, and these tokens in answer to a login.
    Answers(Vec<u8>),
    /// The same without TLS (ENCRYPT_NOT_SUP).
    AnswersInTheClear(Vec<u8>),
    /// Answers a login with bytes that are no packet.
    Garbage,
    /// Takes a login and says nothing.
    Silent,
    /// Closes the connection instead of a handshake, as Schannel does with a version of TLS that it does not know.
    NoTls,
    /// Knows TLS 1.3 only.
    OtherTls,
}

/// A certificate for `localhost` and its key, made once.
fn certificate() -> &'static (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    static MADE: OnceLock<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let [key, certificate] = ["key", "certificate"].map(|name| folder.path().join(name));
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=SSL_Self_Signed_Fallback",
            "-days",
            "2",
        ]);
        let made = command.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        (vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap())
    })
}

fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let mut data = vec![0; length.checked_sub(8)?];
    stream.read_exact(&mut data).ok()?;
    // One packet is enough for all that a client sends.
    (header[1] == 1).then_some((header[0], data))
}

/// In packets of 512 bytes, as a client must be able to read them.
fn packets(kind: u8, message: &[u8]) -> Vec<u8> {
    let mut parts = message.chunks(504).peekable();
    let mut all = Vec::new();
    while let Some(part) = parts.next() {
        let length = u16::try_from(part.len() + 8).unwrap().to_be_bytes();
        all.extend([kind, u8::from(parts.peek().is_none()), length[0], length[1], 0, 0, 1, 0]);
        all.extend(part);
    }
    all
}

/// Who logs in must do so as the user that does not exist, with no password, and name the server.
fn assert_login(kind: u8, login: &[u8]) {
    let field = |number: usize| {
        let place: [u8; 4] = login[36 + 4 * number..][..4].try_into().unwrap();
        let [at, length] = [[place[0], place[1]], [place[2], place[3]]].map(|two| usize::from(u16::from_le_bytes(two)));
        let units = login[at..at + 2 * length].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        char::decode_utf16(units).map(Result::unwrap).collect::<String>()
    };
    assert_eq!((kind, login.len()), (0x10, u32::from_le_bytes(login[..4].try_into().unwrap()) as usize));
    assert_eq!([field(1), field(2), field(4)], ["gangplank", "", "127.0.0.1"]);
}

fn serve(mut stream: TcpStream, server: &Server) -> Option<()> {
    let (0x12, prelogin) = packet(&mut stream)? else { return None };
    // ENCRYPT_ON is what the client asks for; it gets ENCRYPT_ON or ENCRYPT_NOT_SUP.
    assert_eq!(prelogin.last(), Some(&1));
    let clear = matches!(server, Server::AnswersInTheClear(_));
    let answer = [b"\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x10\0\x0f\xa0\0\0", &[if clear { 2 } else { 1 }][..]].concat();
    stream.write_all(&packets(4, &answer)).ok()?;
    if let Server::AnswersInTheClear(tokens) = server {
        let (kind, login) = packet(&mut stream)?;
        assert_login(kind, &login);
        stream.write_all(&packets(4, tokens)).ok()?;
        targets::drain(stream);
        return None;
    }
    let (0x12, mut hello) = packet(&mut stream)? else { return None };
    if matches!(server, Server::NoTls) {
        return None;
    }
    let versions = if matches!(server, Server::OtherTls) { [&TLS13] } else { [&TLS12] };
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&versions).unwrap().with_no_client_auth();
    let (certificates, key) = certificate();
    let config = builder.with_single_cert(certificates.clone(), key.clone_key()).unwrap();
    let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
    loop {
        tls.read_tls(&mut hello.as_slice()).ok()?;
        let disagrees = tls.process_new_packets().is_err();
        let mut flight = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut flight).ok()?;
        }
        stream.write_all(&packets(0x12, &flight)).ok()?;
        if disagrees || !tls.is_handshaking() {
            break;
        }
        (_, hello) = packet(&mut stream).filter(|(kind, _)| *kind == 0x12)?;
    }
    let mut inner = stream.try_clone().ok()?;
    let mut tls = rustls::Stream::new(&mut tls, &mut inner);
    let mut header = [0; 8];
    tls.read_exact(&mut header).ok()?;
    let mut login = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 8];
    tls.read_exact(&mut login).ok()?;
    assert_login(header[0], &login);
    match server {
        Server::Answers(tokens) => tls.write_all(&packets(4, tokens)).ok()?,
        Server::Garbage => tls.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok()?,
        _ => {}
    }
    targets::drain(stream);
    None
}

fn text(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let length = u16::try_from(units.len()).unwrap().to_le_bytes();
    [&length[..], &units.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat()
}

fn token(token: u8, body: &[u8]) -> Vec<u8> {
    [&[token][..], &u16::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

/// ERROR, then DONE with its error bit. The text is the server's, with what it fills in.
fn error(number: i32, words: &str) -> Vec<u8> {
    let body = [&number.to_le_bytes()[..], &[1, 14], &text(words), b"\x01s\0\0\x01\0\0\0"].concat();
    [token(0xaa, &body).as_slice(), b"\xfd\x02\0\0\0\0\0\0\0\0\0\0\0"].concat()
}

/// LOGINACK, the way to another server, DONE.
fn redirect() -> Vec<u8> {
    let acknowledged = token(0xad, &[&b"\x01\x74\0\0\x04\x03S\0Q\0L\0"[..], b"\x10\0\x0f\xa0"].concat());
    let place = text("db7.worker.database.windows.net");
    let length = u16::try_from(place.len() + 3).unwrap().to_le_bytes();
    let route = token(0xe3, &[&[20][..], &length, b"\0\x00\x2b", &place, b"\0\0"].concat());
    [acknowledged, route, b"\xfd\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()].concat()
}

/// Verifies with or without consent, and gives the checks of the target's forward and login.
fn asked(server: Server, consent: bool, step: Duration) -> Option<[Check; 2]> {
    if Command::new("openssl").arg("version").output().is_err() {
        crate::support::skip("no openssl here");
        return None;
    }
    certificate();
    let port = targets::serve(move |stream| {
        serve(stream, &server);
    });
    let mut machine = Machine::with_targets(targets::postgres(b"N"), port)?;
    let orders = &mut machine.plan.tunnels[1].targets[0];
    orders.speaks = Protocol::Sqlserver;
    orders.login_attempt = consent.then_some(LoginAttempt::Nobody);
    let running = machine.start();
    let checks = super::run(&machine.plan, &Reach { step, ..machine.reach() });
    let red = red(&checks);
    let may = |id: &&str| ["network.forward", "network.target-login"].contains(id);
    assert!(red.iter().all(may) && red.len() < 2, "{red:?} {checks:#?} {}", running.log());
    Some(["network.forward[orders]", "network.target-login[orders]"].map(|name| named(&checks, name).clone()))
}

fn login(server: Server) -> Option<Check> {
    let [forward, login] = asked(server, true, Duration::from_secs(10))?;
    assert_eq!(forward.verdict, Verdict::Pass, "{forward:#?}");
    Some(login)
}

#[test]
fn a_sqlserver_that_knows_no_such_user_admits_the_bastion() {
    let denied = error(18456, "Login failed for user 'gangplank'.");
    for server in [Server::Answers(denied.clone()), Server::AnswersInTheClear(denied)] {
        let Some(check) = login(server) else { return };
        assert_eq!(check.verdict, Verdict::Pass, "{check:#?}");
        assert!(check.evidence.iter().any(|line| line.contains("error 18456: Login failed")), "{check:#?}");
    }
}

#[test]
fn a_sqlserver_says_why_it_turns_a_login_away() {
    for (tokens, words) in [
        (
            error(
                40615,
                "Cannot open server 'sales' requested by the login. Client with IP address '10.0.1.10' is not allowed to access the server.",
            ),
            "does not admit the bastion's address",
        ),
        (
            error(
                17809,
                "Could not connect because the maximum number of '10' user connections has already been reached.",
            ),
            "has no connection left",
        ),
        (
            error(18401, "Login failed for user 'gangplank'. Reason: Server is in script upgrade mode."),
            "is starting, recovering or shutting down",
        ),
        (
            redirect(),
            "sends its clients on to another place, where no tunnel leads: it names db7.worker.database.windows.net port 11008",
        ),
    ] {
        let Some(check) = login(Server::Answers(tokens)) else { return };
        assert!(cause(&check).contains(words), "{check:#?}");
    }
}

#[test]
fn what_a_sqlserver_does_not_say_is_unknown() {
    let untrusted = error(18452, "Login failed. The login is from an untrusted domain.");
    for (server, words) in [
        (Server::Answers(untrusted), "error 18452"),
        (Server::Garbage, "it said at a login: HTTP/1.1"),
        (Server::NoTls, "no login was tried: it closed the connection before TLS"),
        (Server::OtherTls, "no login was tried: no TLS was agreed"),
    ] {
        let Some(check) = login(server) else { return };
        assert!(reason(&check).contains(words), "{words}: {check:#?}");
    }
}

#[test]
fn a_sqlserver_that_does_not_answer_a_login_hangs() {
    let Some([forward, login]) = asked(Server::Silent, true, Duration::from_secs(3)) else { return };
    assert_eq!(forward.verdict, Verdict::Pass, "{forward:#?}");
    assert!(cause(&login).contains("does not answer even a small login"), "{login:#?}");
}

/// Nor is one asked without consent.
#[test]
fn a_sqlserver_is_asked_with_consent_only() {
    let Some([forward, login]) = asked(Server::Silent, false, Duration::from_secs(10)) else { return };
    assert_eq!(forward.verdict, Verdict::Pass, "{forward:#?}");
    assert!(reason(&login).contains("`login_attempt: true` in the plan"), "{login:#?}");
}
