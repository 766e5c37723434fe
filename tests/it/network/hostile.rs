//! Servers that behave as badly as they can: the verifier ends in time, says what it saw, and holds nothing for proven.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    keys::{PrivateKey, key::safe_rng, ssh_key::Algorithm},
    server::{self, Auth, Msg, Session},
};

use super::*;

const STEP: Duration = Duration::from_millis(400);
/// Everything together takes at most twenty steps; the rest is this machine's.
const WHOLE: Duration = Duration::from_secs(20);

struct Case {
    keys: Keys,
    plan: Plan,
    host: PrivateKey,
}

impl Case {
    fn new() -> Option<Self> {
        let keys = Keys::new()?;
        let targets = vec![target("warehouse", 5432, Protocol::Postgres), target("orders", 3306, Protocol::Mysql)];
        let tunnels = vec![tunnel("secoda", vec![keys.make("vendor")], targets)];
        let plan = plan(22, tunnels, vec![operator("ana", vec![keys.make("ana")])]);
        Some(Self { keys, plan, host: PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap() })
    }

    /// Verifies what listens on the port, with everything that an honest bastion would get.
    #[track_caller]
    fn verify(&self, port: u16) -> Vec<Check> {
        let pinned = HostKeys::Known(vec![self.host.public_key().to_openssh().unwrap()]);
        let identity = Identity::load(&self.keys.path("ana"), &self.plan).unwrap();
        let reach = Reach { step: STEP, ..reach(port, pinned, Some(identity)) };
        let begun = Instant::now();
        let checks = run(&self.plan, &reach);
        assert!(begun.elapsed() < WHOLE, "{:?}", begun.elapsed());
        let ids = ids(&checks, |_| true);
        assert_eq!(ids.len(), 24, "every check is there: {ids:?}");
        checks
    }
}

/// Words in the clear, and how it goes on after the client's first.
fn script(words: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + Clone + 'static) -> u16 {
    targets::serve(move |mut stream| {
        if words(&mut stream).is_ok() {
            targets::drain(stream);
        }
    })
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    [&length.to_be_bytes(), [u8::try_from(padding).unwrap()].as_slice(), payload, &vec![0; padding]].concat()
}

/// What OpenSSH offers, in short.
fn kexinit() -> Vec<u8> {
    let (cipher, mac) = ("aes256-ctr", "hmac-sha2-256");
    let lists = ["curve25519-sha256", "ssh-ed25519", cipher, cipher, mac, mac, "none", "none", "", ""];
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in lists {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    packet(&payload)
}

const BANNER: &[u8] = b"SSH-2.0-OpenSSH_9.2p1\r\n";

#[test]
fn words_that_are_no_ssh_are_a_failure_of_the_banner() {
    let Some(case) = Case::new() else { return };
    type Words = fn(&mut TcpStream) -> std::io::Result<()>;
    let scripts: [(&str, Words, &str); 9] = [
        ("silence", |_| Ok(()), "no identification came"),
        ("a closed connection", |_| Err(std::io::ErrorKind::Other.into()), "closed the connection before"),
        (
            "a flood of lines",
            |stream| loop {
                stream.write_all(&b"welcome\r\n".repeat(500))?
            },
            "no SSH 2.0 server",
        ),
        (
            "one endless line",
            |stream| loop {
                stream.write_all(&[b'a'; 5000])?
            },
            "no SSH 2.0 server",
        ),
        (
            "a long identification",
            |stream| stream.write_all(&[b"SSH-2.0-", [b'a'; 400].as_slice()].concat()),
            "no SSH 2.0 server",
        ),
        ("garbage", |stream| stream.write_all(&[0x16, 3, 1, 0, 0xff, 0, 0]), "no SSH 2.0 server"),
        ("terminal codes", |stream| stream.write_all(b"SSH-2.0-\x1b[2J\x1b]0;owned\x07\r\n"), "no SSH 2.0 server"),
        ("an old protocol", |stream| stream.write_all(b"SSH-1.99-Old\r\n"), "another protocol version"),
        (
            "another service",
            |stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").and(Err(std::io::ErrorKind::Other.into())),
            "closed the connection before",
        ),
    ];
    for (what, words, expected) in scripts {
        let checks = case.verify(script(words));
        assert_eq!((red(&checks), green(&checks)), (vec!["network.banner"], vec!["network.tcp"]), "{what}");
        let banner = named(&checks, "network.banner");
        assert!(cause(banner).contains(expected), "{what}: {banner:?}");
        assert!(banner.evidence.iter().all(|line| !line.chars().any(char::is_control)), "{banner:?}");
    }
}

#[test]
fn a_server_that_turns_us_away_for_now_is_unknown() {
    let Some(case) = Case::new() else { return };
    for words in [&b"Not allowed at this time\r\n"[..], b"Exceeded MaxStartups\r\n"] {
        let checks =
            case.verify(script(move |stream| stream.write_all(words).and(Err(std::io::ErrorKind::Other.into()))));
        assert_eq!((red(&checks), green(&checks)), (vec![], vec!["network.tcp"]));
        assert!(reason(named(&checks, "network.banner")).contains("PerSourcePenalties"));
    }
}

#[test]
fn packets_that_are_no_offer_are_a_failure_of_the_algorithms() {
    let Some(case) = Case::new() else { return };
    type Words = fn(&mut TcpStream) -> std::io::Result<()>;
    let scripts: [(&str, Words, &str); 7] = [
        ("silence", |_| Ok(()), "no list of algorithms came"),
        ("a closed connection", |_| Err(std::io::ErrorKind::Other.into()), "closed the connection before"),
        ("an enormous packet", |stream| stream.write_all(&[0xff; 64]), "4294967295 bytes"),
        ("an empty packet", |stream| stream.write_all(&[0; 64]), "0 bytes"),
        (
            "endless remarks",
            |stream| loop {
                stream.write_all(&packet(&[4, 0, 0, 0, 0, 0]))?
            },
            "packets without an end",
        ),
        ("broken lists", |stream| stream.write_all(&packet(&[20; 60])), "broken list"),
        (
            "a disconnect",
            |stream| stream.write_all(&packet(b"\x01\0\0\0\x02\0\0\0\x03no!\0\0\0\0")),
            "a disconnect: no!",
        ),
    ];
    for (what, words, expected) in scripts {
        let checks = case.verify(script(move |stream| stream.write_all(BANNER).and_then(|()| words(stream))));
        assert_eq!(red(&checks), ["network.algorithms"], "{what}");
        assert_eq!(green(&checks), ["network.banner", "network.tcp"], "{what}");
        let algorithms = named(&checks, "network.algorithms");
        assert!(cause(algorithms).contains(expected), "{what}: {algorithms:?}");
    }
}

#[test]
fn a_key_exchange_that_comes_to_nothing_is_a_failure_of_the_host_key() {
    let Some(case) = Case::new() else { return };
    type Words = fn(&mut TcpStream) -> std::io::Result<()>;
    let scripts: [(&str, Words); 6] = [
        ("silence", |_| Ok(())),
        ("a closed connection", |_| Err(std::io::ErrorKind::Other.into())),
        ("a host key that is none", |stream| {
            stream.write_all(&packet(&[&[31, 0, 0, 0, 200], [9; 90].as_slice()].concat()))
        }),
        ("offers without an end", |stream| {
            loop {
                stream.write_all(&kexinit())?
            }
        }),
        ("remarks without an end", |stream| {
            loop {
                stream.write_all(&packet(&[2, 0, 0, 0, 0]).repeat(100))?
            }
        }),
        ("an enormous packet", |stream| stream.write_all(&[0xff; 4096])),
    ];
    for (what, words) in scripts {
        let offer = |stream: &mut TcpStream| {
            stream.write_all(&[BANNER, &kexinit()].concat())?;
            // The client's identification and offer.
            stream.read_exact(&mut [0; 64])
        };
        let checks = case.verify(script(move |stream| offer(stream).and_then(|()| words(stream))));
        assert_eq!(red(&checks), ["network.host-key"], "{what}: {:?}", named(&checks, "network.host-key"));
        assert_eq!(green(&checks), ["network.algorithms", "network.banner", "network.tcp"], "{what}");
    }
}

/// How a server with a sound key exchange goes on.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Says yes to every question, and refuses every key.
    YesToQuestions,
    /// Lets everybody in with anything.
    LetsAllIn,
    /// Ends the connection at each question.
    EndsAtQuestions,
    NeverAnswersQuestions,
    /// Lets the operator in; then never answers.
    Mute,
    /// Lets the operator in; then ends the connection at each channel.
    EndsAtChannels,
    /// Opens everything and sends bytes without an end.
    Floods,
}

struct Server {
    manner: Manner,
    operator: String,
}

impl Server {
    fn start(case: &Case, manner: Manner) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let mut methods = MethodSet::empty();
        methods.push(MethodKind::PublicKey);
        let config = Arc::new(server::Config {
            keys: vec![case.host.clone()],
            methods,
            auth_rejection_time: Duration::ZERO,
            max_auth_attempts: 100,
            ..server::Config::default()
        });
        let operator = case.keys.make("ana").fingerprint;
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (config, server) = (Arc::clone(&config), Server { manner, operator: operator.clone() });
                    tokio::spawn(async move {
                        if let Ok(session) = server::run_stream(config, stream, server).await {
                            let _ = session.await;
                        }
                    });
                }
            });
        });
        port
    }

    async fn question(&self, honest: bool) -> Result<Auth, russh::Error> {
        match self.manner {
            Manner::EndsAtQuestions => Err(russh::Error::Disconnect),
            Manner::NeverAnswersQuestions => std::future::pending().await,
            Manner::LetsAllIn => Ok(Auth::Accept),
            _ if honest => Ok(Auth::Accept),
            _ => Ok(Auth::reject()),
        }
    }
}

impl server::Handler for Server {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        self.question(false).await
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        self.question(false).await
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        let operators = offer.public_key.fingerprint(HashAlg::Sha256).to_string() == self.operator;
        self.question(operators || self.manner == Manner::YesToQuestions).await
    }

    async fn auth_publickey(&mut self, _: &str, key: server::VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let operators = key.public_key.fingerprint(HashAlg::Sha256).to_string() == self.operator;
        self.question(operators && self.manner != Manner::YesToQuestions).await
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel(channel, reply).await
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel(channel, reply).await
    }

    async fn exec_request(&mut self, channel: ChannelId, _: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }
}

impl Server {
    async fn channel(&self, channel: Channel<Msg>, reply: server::ChannelOpenHandle) -> Result<(), russh::Error> {
        match self.manner {
            Manner::Mute => std::future::pending().await,
            Manner::EndsAtChannels => Err(russh::Error::Disconnect),
            Manner::Floods => {
                reply.accept().await;
                tokio::spawn(async move { while channel.data_bytes(vec![b'x'; 8192]).await.is_ok() {} });
                Ok(())
            }
            _ => {
                drop(reply);
                Ok(())
            }
        }
    }
}

/// What is seen before anybody enters, of an honest key exchange.
const OUTSIDE: [&str; 5] =
    ["network.algorithms", "network.banner", "network.host-key", "network.startups", "network.tcp"];

#[test]
fn a_server_that_says_yes_to_any_key_proves_nothing() {
    let Some(case) = Case::new() else { return };
    let checks = case.verify(Server::start(&case, Manner::YesToQuestions));
    assert_eq!(red(&checks), ["network.login", "network.refuses-unknown-key"], "{checks:#?}");
    let key = named(&checks, &format!("network.key[secoda {}]", case.keys.make("vendor").fingerprint)).clone();
    assert!(reason(&key).contains("yes to any key"));
}

#[test]
fn a_server_that_lets_everybody_in_is_found() {
    let Some(case) = Case::new() else { return };
    let checks = case.verify(Server::start(&case, Manner::LetsAllIn));
    assert_eq!(
        red(&checks),
        ["network.forward", "network.refuses-none", "network.refuses-password", "network.refuses-unknown-key"],
        "{checks:#?}"
    );
    assert!(!green(&checks).contains(&"network.key"));
}

#[test]
fn questions_without_an_answer_are_unknown() {
    let Some(case) = Case::new() else { return };
    for manner in [Manner::EndsAtQuestions, Manner::NeverAnswersQuestions] {
        let checks = case.verify(Server::start(&case, manner));
        assert_eq!(red(&checks), [""; 0], "{checks:#?}");
        assert_eq!(green(&checks), OUTSIDE);
    }
}

#[test]
fn channels_without_an_answer_are_unknown() {
    let Some(case) = Case::new() else { return };
    for manner in [Manner::Mute, Manner::EndsAtChannels] {
        let checks = case.verify(Server::start(&case, manner));
        assert_eq!(red(&checks), ["network.key"], "{checks:#?}");
        let inside =
            ["network.login", "network.refuses-none", "network.refuses-password", "network.refuses-unknown-key"];
        let known = green(&checks)
            .into_iter()
            .filter(|id| !OUTSIDE.contains(id) && !inside.contains(id) && *id != "network.key");
        let refused: Vec<_> = known.collect();
        assert!(
            refused.iter().all(|id| ["network.loss", "network.refuses-remote-forward", "network.session"].contains(id)),
            "{refused:?}"
        );
    }
}

#[test]
fn channels_that_never_end_are_not_believed() {
    let Some(case) = Case::new() else { return };
    let checks = case.verify(Server::start(&case, Manner::Floods));
    for name in ["network.forward[warehouse]", "network.refuses-unlisted", "network.refuses-metadata"] {
        assert_ne!(named(&checks, name).verdict, Verdict::Pass, "{checks:#?}");
    }
    for name in ["network.refuses-shell", "network.refuses-exec"] {
        assert!(named(&checks, name).verdict.is_unknown(), "{checks:#?}");
    }
}
