//! One SSH connection: the host key against the pinned ones, and one question of authentication at a time.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    Channel, MethodKind, Preferred, SshId,
    client::{self, AuthResult, DisconnectReason, Handle, KeyboardInteractiveAuthResponse, Msg},
    keys::{
        HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, agent::AgentIdentity, ssh_key,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    HostKeys,
    clock::{Clock, Late},
    dial::{Dialed, Dialer, NoConnection},
    identity::{Identity, NotEntered},
    link::{self, IDENTIFICATION, Unread},
    wire::{Greeting, KexInit, excerpt, turned_away},
};

/// Between attempts at a server that has no room.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the bastion is, and how it is known.
pub struct Route {
    pub to: SocketAddr,
    pub from: Option<IpAddr>,
    pub dialer: Arc<dyn Dialer>,
    pub host_keys: Pinned,
    pub clock: Clock,
    /// In segments that every path carries.
    pub small: bool,
    /// The host key of each connection that showed one.
    pub shown: Shown,
}

/// Host keys in the order in which they were seen.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<Vec<HostKey>>>);

impl Shown {
    fn add(&self, key: HostKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    pub fn all(&self) -> Vec<HostKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Host keys that the bastion may show; parsed.
#[derive(Clone, Debug)]
pub enum Pinned {
    Keys(Vec<PublicKey>),
    Unknown(String),
}

impl Pinned {
    /// Lines that are no keys pin nothing; with none left the keys are unknown.
    pub fn new(keys: &HostKeys) -> Self {
        match keys {
            HostKeys::Unknown { reason } => Pinned::Unknown(reason.clone()),
            HostKeys::Known(lines) => {
                let keys: Vec<_> = lines.iter().filter_map(|line| PublicKey::from_openssh(line.trim()).ok()).collect();
                if keys.is_empty() {
                    return Pinned::Unknown("none of the bastion's known host keys could be read".to_owned());
                }
                Pinned::Keys(keys)
            }
        }
    }

    fn admits(&self, offered: &PublicKey) -> bool {
        match self {
            Pinned::Keys(keys) => keys.iter().any(|key| key.key_data() == offered.key_data()),
            Pinned::Unknown(_) => true,
        }
    }
}

/// A host key as a person compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    pub algorithm: String,
    pub fingerprint: String,
}

impl HostKey {
    pub fn of(key: &PublicKey) -> Self {
        Self {
            algorithm: key.algorithm().as_str().to_owned(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }
}

/// What one connection showed, as far as it came.
pub struct Attempt {
    /// The source address, of a connection that came about.
    pub source: Option<IpAddr>,
    pub greeting: Option<Result<Greeting, Unread>>,
    pub kexinit: Option<Result<KexInit, Unread>>,
    pub host_key: Option<HostKey>,
    pub session: Result<Session, Stop>,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    NoConnection(NoConnection),
    Unread(Unread),
    /// The host key is not one of the pinned: nothing was asked, nothing was said.
    Impostor,
    /// The key exchange failed, as the SSH library says it.
    Handshake(String),
    Late,
}

/// What a session saw beside answers.
#[derive(Default)]
struct Seen {
    host_key: Option<PublicKey>,
    refused_host_key: bool,
    goodbye: Option<String>,
    /// RFC 4252 section 5.4: OpenSSH tells in it why PAM ends a login.
    banner: Option<String>,
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Seen>>);

impl Notes {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub struct Client {
    pinned: Pinned,
    notes: Notes,
}

/// A server opens channels to its clients for agents, X11 and remote forwards: never here. A dropped reply is a refusal.
impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else { return Ok(false) };
        let admitted = self.pinned.admits(key);
        self.notes.with(|seen| {
            seen.host_key = Some(key.clone());
            seen.refused_host_key = !admitted;
        });
        Ok(admitted)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), russh::Error> {
        self.notes.with(|seen| seen.banner = Some(excerpt(banner.trim().as_bytes())));
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let goodbye = match reason {
            DisconnectReason::ReceivedDisconnect(info) => excerpt(info.message.as_bytes()),
            DisconnectReason::Error(error) => excerpt(error.to_string().as_bytes()),
        };
        self.notes.with(|seen| seen.goodbye = Some(goodbye));
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }
}

impl Route {
    /// Opens a TCP connection.
    pub async fn dial(&self) -> Result<Dialed, NoConnection> {
        let dialed = if self.small {
            match self.dialer.dial_small(self.to, self.from) {
                Some(dialed) => dialed,
                None => return Err(NoConnection::Here("segments cannot be made small".to_owned())),
            }
        } else {
            self.dialer.dial(self.to, self.from)
        };
        self.clock.within(dialed).await.unwrap_or(Err(NoConnection::Silent))
    }

    /// The same way, in segments that every path carries.
    pub fn small(&self) -> Self {
        Self {
            to: self.to,
            from: self.from,
            dialer: Arc::clone(&self.dialer),
            host_keys: self.host_keys.clone(),
            clock: self.clock,
            small: true,
            shown: self.shown.clone(),
        }
    }

    /// Connects as far as it goes. A server that says that it has no room comes to have some: its count of connections
    /// without an entry follows with a delay.
    pub async fn attempt(&self) -> Attempt {
        let begun = Instant::now();
        loop {
            let attempt = self.attempt_once().await;
            let full = matches!(&attempt.greeting, Some(Err(Unread::Closed(Some(line)))) if turned_away(line));
            if !full || begun.elapsed() + PAUSE > self.clock.step || Instant::now() >= self.clock.end {
                return attempt;
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt_once(&self) -> Attempt {
        let stop = |session| Attempt { source: None, greeting: None, kexinit: None, host_key: None, session };
        let Dialed { stream, source } = match self.dial().await {
            Ok(dialed) => dialed,
            Err(none) => return stop(Err(Stop::NoConnection(none))),
        };
        let greeted = link::greet(stream, &self.clock).await;
        Attempt { source, ..self.handshake(greeted).await }
    }

    /// Goes on where [`link::greet`] ended.
    pub async fn handshake(&self, greeted: link::Greeted) -> Attempt {
        let link::Greeted { greeting, kexinit, link } = greeted;
        let unread = || {
            let unread = greeting.as_ref().err().or(kexinit.as_ref().and_then(|read| read.as_ref().err()));
            unread.cloned().unwrap_or(Unread::Silent)
        };
        let Some(link) = link else {
            let session = Err(Stop::Unread(unread()));
            return Attempt { source: None, greeting: Some(greeting), kexinit, host_key: None, session };
        };
        let notes = Notes::default();
        let client = Client { pinned: self.host_keys.clone(), notes: notes.clone() };
        let connected = self.clock.within(client::connect_stream(Arc::new(self.config()), link, client)).await;
        let session = match connected {
            Ok(Ok(handle)) => Ok(Session { handle, notes: notes.clone() }),
            Ok(Err(_)) if notes.with(|seen| seen.refused_host_key) => Err(Stop::Impostor),
            Ok(Err(error)) => Err(Stop::Handshake(excerpt(error.to_string().as_bytes()))),
            Err(Late) => Err(Stop::Late),
        };
        let host_key = notes.with(|seen| seen.host_key.as_ref().map(HostKey::of));
        if let Some(key) = &host_key {
            self.shown.add(key.clone());
        }
        Attempt { source: None, greeting: Some(greeting), kexinit, host_key, session }
    }

    /// Asks for host keys of the pinned kinds first, so that a server with several shows one that can be compared.
    fn config(&self) -> client::Config {
        let mut preferred = Preferred::default();
        if let Pinned::Keys(keys) = &self.host_keys {
            // An RSA key goes by several names; the others' are their keys' own.
            let same = |algorithm: &ssh_key::Algorithm| {
                keys.iter()
                    .map(PublicKey::algorithm)
                    .any(|known| known == *algorithm || (known.is_rsa() && algorithm.clone().is_rsa()))
            };
            let (first, rest): (Vec<_>, Vec<_>) = preferred.key.iter().cloned().partition(same);
            preferred.key = first.into_iter().chain(rest).collect::<Vec<_>>().into();
        }
        client::Config { client_id: SshId::Standard(IDENTIFICATION.into()), preferred, ..client::Config::default() }
    }
}

/// A question about a user that a server answers with yes or no.
#[derive(Clone)]
pub enum Question {
    /// RFC 4252 section 5.2: may one enter with nothing? Its answer tells the methods.
    Nothing,
    /// RFC 4252 section 7: would this key do, signed by this algorithm? Asked with the public half alone.
    WouldDo(PublicKey, Option<HashAlg>),
    /// Enter with this key.
    Key(Arc<PrivateKey>),
    Identity(Arc<Identity>),
    Password(String),
    /// RFC 4256, without an answer to its prompts.
    Keyboard,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// And the methods that may go on.
    No(Vec<&'static str>),
    /// The method is there and asks something back.
    Asks,
    /// No answer; why.
    None(String),
    /// No answer in time.
    Late,
    /// The server took the identity's signature and ended the connection; what it said.
    Ended(Option<String>),
}

pub struct Session {
    pub handle: Handle<Client>,
    notes: Notes,
}

impl Session {
    pub fn goodbye(&self) -> Option<String> {
        self.notes.with(|seen| seen.goodbye.clone())
    }

    pub fn banner(&self) -> Option<String> {
        self.notes.with(|seen| seen.banner.clone()).filter(|banner| !banner.is_empty())
    }

    pub fn host_key(&self) -> Option<PublicKey> {
        self.notes.with(|seen| seen.host_key.clone())
    }

    pub async fn ask(&mut self, user: &str, question: Question, clock: &Clock) -> Answer {
        let signs = matches!(question, Question::Identity(_));
        let Ok(answer) = clock.within(self.put(user, question)).await else { return Answer::Late };
        match answer {
            Ok(AuthResult::Success) => Answer::Yes,
            Ok(AuthResult::Failure { remaining_methods, .. }) if !remaining_methods.is_empty() => {
                Answer::No(remaining_methods.iter().map(<&'static str>::from).collect())
            }
            // The library's word for a connection that has ended, too.
            Ok(AuthResult::Failure { .. }) => self.ended("the connection ended", signs),
            Err(Unanswered::WouldDo) => Answer::Yes,
            Err(Unanswered::Asks) => Answer::Asks,
            Err(Unanswered::Ended) => self.ended("the connection ended", signs),
            Err(Unanswered::Failed(why)) => self.ended(&why, false),
        }
    }

    /// A server that counts tries refuses the last one by ending the connection.
    fn ended(&self, why: &str, signed: bool) -> Answer {
        match self.goodbye() {
            Some(said) if said.contains("Too many authentication failures") => Answer::No(Vec::new()),
            _ if signed => Answer::Ended(self.banner()),
            Some(said) => Answer::None(format!("the connection ended: {said}")),
            None => Answer::None(why.to_owned()),
        }
    }

    async fn put(&mut self, user: &str, question: Question) -> Result<AuthResult, Unanswered> {
        let handle = &mut self.handle;
        match question {
            Question::Nothing => Ok(handle.authenticate_none(user).await?),
            Question::WouldDo(key, hash) => handle.authenticate_publickey_with(user, key, hash, &mut NoSigner).await,
            Question::Password(password) => Ok(handle.authenticate_password(user, password).await?),
            Question::Key(key) => {
                Ok(handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, Some(HashAlg::Sha512))).await?)
            }
            Question::Identity(identity) => identity.enter(handle, user).await.map_err(|error| match error {
                NotEntered::Connection => Unanswered::Ended,
                NotEntered::Here(why) => Unanswered::Failed(excerpt(why.as_bytes())),
            }),
            Question::Keyboard => match handle.authenticate_keyboard_interactive_start(user, None).await? {
                KeyboardInteractiveAuthResponse::Success => Ok(AuthResult::Success),
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                    Ok(AuthResult::Failure { remaining_methods, partial_success })
                }
                KeyboardInteractiveAuthResponse::InfoRequest { .. } => Err(Unanswered::Asks),
            },
        }
    }
}

enum Unanswered {
    WouldDo,
    Asks,
    /// The connection ended.
    Ended,
    Failed(String),
}

impl From<russh::SendError> for Unanswered {
    fn from(_: russh::SendError) -> Self {
        Unanswered::Failed("the connection ended".to_owned())
    }
}

impl From<russh::Error> for Unanswered {
    fn from(error: russh::Error) -> Self {
        Unanswered::Failed(excerpt(error.to_string().as_bytes()))
    }
}

/// Being asked to sign is the server's yes.
struct NoSigner;

impl russh::Signer for NoSigner {
    type Error = Unanswered;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, _: Vec<u8>) -> Result<Vec<u8>, Unanswered> {
        Err(Unanswered::WouldDo)
    }
}

/// Whether the methods let a password in, in either form.
pub fn password_like(methods: &[&'static str]) -> bool {
    [MethodKind::Password, MethodKind::KeyboardInteractive].iter().any(|kind| methods.contains(&<&str>::from(kind)))
}
