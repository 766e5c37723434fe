//! The world on a loopback port, for a program that is run as people run it.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use gangplank::sandbox::{
    arm::Pace,
    http::{Ask, Reply},
};

use super::{fault::Served, world::World};
use crate::support::program::{Run, Victim, run};

/// Longer than any test holds a connection.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    world: Mutex<World>,
    victim: Victim,
    /// Nothing passes any more: the caller is dead.
    closed: AtomicBool,
    /// The server goes.
    ending: AtomicBool,
}

impl Server {
    /// The clock is real, so nothing takes time.
    pub fn start(mut world: World) -> Self {
        world.pace = Pace::none();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            victim: Victim::default(),
            closed: AtomicBool::default(),
            ending: AtomicBool::default(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for connection in listener.incoming() {
                    if shared.ending.load(Ordering::SeqCst) {
                        break;
                    }
                    let (Ok(connection), shared) = (connection, Arc::clone(&shared)) else { continue };
                    // A caller that goes away in the middle is what tests are about.
                    thread::spawn(move || shared.serve(&connection, address));
                }
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// What `AZURE_RESOURCE_MANAGER_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Runs a command whose calls come here, and which a fault may kill. One at a time.
    #[track_caller]
    pub fn run(&self, command: &mut std::process::Command) -> Run {
        self.shared.closed.store(false, Ordering::SeqCst);
        run(command.env("AZURE_RESOURCE_MANAGER_ENDPOINT", self.endpoint()), &self.shared.victim)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.ending.store(true, Ordering::SeqCst);
        if thread::panicking() {
            for call in &self.world().calls {
                eprintln!(
                    "{:>4} {} {}",
                    call.status.map_or_else(|| "-".to_owned(), |s| s.to_string()),
                    call.method,
                    call.path
                );
            }
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, until either side closes it.
    fn serve(&self, caller: &TcpStream, address: SocketAddr) -> io::Result<()> {
        caller.set_read_timeout(Some(PATIENCE))?;
        caller.set_nodelay(true)?;
        let mut from = BufReader::new(caller);
        while let Some(ask) = read(&mut from, address)? {
            // The flag is looked at under the lock: what a dead caller sent has no effect any more.
            let mut world = self.world();
            if self.closed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let served = world.serve(&ask);
            if matches!(served, Served::Kill) {
                self.closed.store(true, Ordering::SeqCst);
            }
            drop(world);
            match served {
                Served::Reply(reply) => write(caller, &reply)?,
                Served::Garbage => {
                    (&*caller).write_all(b"\x16\x03\x01 this is not HTTP \xff\r\n\r\n")?;
                    return caller.shutdown(Shutdown::Both);
                }
                Served::Lost => return caller.shutdown(Shutdown::Both),
                Served::Kill => {
                    self.victim.kill();
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn read(from: &mut impl BufRead, address: SocketAddr) -> io::Result<Option<Ask>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(ask(&method, &target, headers, &body, format!("http://{address}"))))
}

/// A request in the world's terms. `target` is a path with its query.
pub fn ask(method: &str, target: &str, headers: BTreeMap<String, String>, body: &[u8], origin: String) -> Ask {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ask {
        method: method.to_owned(),
        path: unescape(path),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers,
        body: body.to_vec(),
        origin,
    }
}

/// A path's `%20`; a plus is a plus there.
fn unescape(path: &str) -> String {
    let escaped = format!("p={}", path.replace('+', "%2B"));
    form_urlencoded::parse(escaped.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn write(mut caller: &TcpStream, reply: &Reply) -> io::Result<()> {
    let mut bytes = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", reply.status, reply.body.len()).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&reply.body);
    // One write: a second small one would wait for the first one's ACK.
    caller.write_all(&bytes)
}
