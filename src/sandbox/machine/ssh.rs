//! A machine's SSH daemon: connections come in as streams, and find what sshd would answer.
//!
//! The transport is the SSH library's; what is offered, refused and granted follows from the machine's settings and keys. Unlike
//! sshd it offers only those of the algorithms that the library knows, and has a refusal go ahead of the disconnect at the
//! last of `MaxAuthTries`.

mod session;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use russh::{
    MethodKind, MethodSet, Preferred, SshId, cipher, kex,
    keys::Algorithm,
    mac,
    server::{self, Handle},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, copy_bidirectional},
    sync::{Notify, watch},
    time::sleep,
};

use self::session::Client;
use super::{
    Around, Machine,
    config::{IDENTIFICATION, Settings},
    hostkey, permit,
};

/// What a connection within this process holds before its reader takes it.
const BUFFER: usize = 64 * 1024;

/// The listener of one machine, for as long as it is up. Connections of one machine share it.
#[derive(Debug, Default)]
pub struct Daemon {
    /// Connections that have not entered yet.
    startups: AtomicUsize,
    /// Connections so far.
    count: AtomicUsize,
    /// The machine has ended.
    over: watch::Sender<bool>,
}

/// One connection's part of the count of those that have not entered.
struct Startup(Arc<Daemon>);

impl Drop for Startup {
    fn drop(&mut self) {
        self.0.startups.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a connection comes with.
#[derive(Clone)]
pub struct Visit {
    /// The machine as it is now.
    pub machine: Arc<Machine>,
    pub around: Arc<dyn Around>,
    /// As the machine sees it.
    pub source: IpAddr,
    pub now: Timestamp,
}

impl Daemon {
    /// Opens a connection from within this process; it is served until one side ends it, or the machine does. Whether the
    /// machine listens on the port ([`Machine::listens`]) and whether anything lets the connection through is the caller's to know.
    pub fn open(self: &Arc<Self>, visit: Visit) -> DuplexStream {
        let (near, mut outside) = tokio::io::duplex(BUFFER);
        let (mut inside, far) = tokio::io::duplex(BUFFER);
        let mut over = self.over.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                // Either side may end it as it likes.
                _ = copy_bidirectional(&mut outside, &mut inside) => {}
                _ = over.wait_for(|over| *over) => {}
            }
        });
        let daemon = Arc::clone(self);
        tokio::spawn(async move { daemon.serve(far, visit).await });
        near
    }

    /// The machine has ended, and every connection with it.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    /// Serves one connection to its end.
    pub async fn serve<S>(self: &Arc<Self>, mut stream: S, visit: Visit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = visit.machine.settings("", None);
        let Some(startup) = self.admit(&settings, &visit.machine) else {
            // Whoever is turned away may be gone already.
            let _ = stream.write_all(b"Exceeded MaxStartups\r\n").await;
            let _ = stream.shutdown().await;
            return;
        };
        let entered = Arc::new(Entered { startup: Mutex::new(Some(startup)), notify: Notify::new() });
        let handle: Arc<Mutex<Option<Handle>>> = Arc::default();
        let config = Arc::new(config(&settings, &visit.machine));
        let client = Client::new(visit, Arc::clone(&entered), Arc::clone(&handle));
        let grace = match settings.number("logingracetime") {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds as u64),
        };
        let served = async {
            if let Ok(running) = server::run_stream(config, stream, client).await {
                *handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.handle());
                let _ = running.await;
            }
        };
        tokio::pin!(served);
        tokio::select! {
            () = &mut served => {}
            () = entered.notify.notified() => served.await,
            () = sleep(grace) => {
                entered.tell();
                let handle = handle.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(handle) = handle {
                    let _ = handle.disconnect(russh::Disconnect::ByApplication, String::new(), String::new()).await;
                }
            }
        }
    }

    /// MaxStartups of sshd_config(5). The dice are the machine's own, so that a run can be repeated.
    fn admit(self: &Arc<Self>, settings: &Settings, machine: &Machine) -> Option<Startup> {
        let (start, rate, full) = settings.startups();
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        let waiting = self.startups.fetch_add(1, Ordering::SeqCst);
        let startup = Startup(Arc::clone(self));
        let percent = match waiting {
            _ if waiting >= full => 100,
            _ if waiting < start => 0,
            _ => rate + (100 - rate.min(100)) * (waiting - start) / (full - start).max(1),
        };
        let [dice, ..] = hostkey::derived(&machine.secret(), "startups", count as u64);
        (usize::from(dice) * 100 / 256 >= percent).then_some(startup)
    }
}

/// Tells that a connection has entered, once.
pub(super) struct Entered {
    startup: Mutex<Option<Startup>>,
    notify: Notify,
}

impl Entered {
    fn tell(&self) {
        self.startup.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.notify.notify_one();
    }
}

fn config(settings: &Settings, machine: &Machine) -> server::Config {
    let keys = hostkey::private(&machine.secret());
    let mut methods = MethodSet::empty();
    for kind in kinds(&permit::methods(settings)) {
        methods.push(kind);
    }
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed(IDENTIFICATION)),
        methods,
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        preferred: preferred(settings),
        // Counted by the session itself, in sshd's way.
        max_auth_attempts: 0,
        inactivity_timeout: None,
        ..server::Config::default()
    }
}

fn kinds(methods: &[&str]) -> Vec<MethodKind> {
    let known = [MethodKind::PublicKey, MethodKind::Password, MethodKind::KeyboardInteractive];
    known.into_iter().filter(|kind| methods.contains(&<&str>::from(kind))).collect()
}

/// Those of the settings' algorithms that the library knows.
fn preferred(settings: &Settings) -> Preferred {
    let extensions = [kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];
    let kex: Vec<kex::Name> =
        settings.algorithms("kexalgorithms").filter_map(|name| kex::Name::try_from(name).ok()).collect();
    let cipher: Vec<cipher::Name> =
        settings.algorithms("ciphers").filter_map(|name| cipher::Name::try_from(name).ok()).collect();
    let mac: Vec<mac::Name> = settings.algorithms("macs").filter_map(|name| mac::Name::try_from(name).ok()).collect();
    let key: Vec<Algorithm> =
        settings.algorithms("hostkeyalgorithms").filter_map(|name| Algorithm::new(name).ok()).collect();
    Preferred {
        kex: kex.into_iter().chain(extensions).collect::<Vec<_>>().into(),
        key: key.into(),
        cipher: cipher.into(),
        mac: mac.into(),
        compression: Cow::Owned(vec![russh::compression::NONE]),
        ..Preferred::DEFAULT
    }
}
