//! A loopback proxy in front of the cloud that knows EC2's calls by name: it counts them, delays them, answers them with
//! faults, and kills the caller before a call or between a call's effect and its answer.
//!
//! One request a connection in both directions (`Connection: close`), so that answers pass through as bytes.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::program::{Run, Victim, run};

/// Longer than any answer of the cloud takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to calls instead of being passed on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The cloud's own way of saying no.
    Answer { status: u16, code: &'static str, message: &'static str },
    /// Something that is not the cloud answers.
    Garbage,
    /// The connection closes without an answer.
    Drop(Moment),
    /// The caller is killed. What else it has under way is lost, unless it had reached the cloud.
    Kill(Moment),
}

impl Fault {
    pub const THROTTLED: Self =
        Self::Answer { status: 503, code: "RequestLimitExceeded", message: "Request limit exceeded." };
    pub const DENIED: Self = Self::Answer {
        status: 403,
        code: "UnauthorizedOperation",
        message: "You are not authorized to perform this operation.",
    };
    pub const INTERNAL: Self =
        Self::Answer { status: 500, code: "InternalError", message: "An internal error has occurred" };

    /// A limit of the account: `AddressLimitExceeded`, `VcpuLimitExceeded`, `InstanceLimitExceeded`.
    pub const fn quota(code: &'static str) -> Self {
        Self::Answer { status: 400, code, message: "You have reached a limit of this account." }
    }
}

/// Whether the cloud carries the call out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call never reaches the cloud.
    Before,
    /// The cloud does it, and its answer is lost.
    After,
}

/// Which calls a fault is for.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    Any,
    Writes,
    /// Each action is counted for itself.
    EachAction,
    Action(&'static str),
}

/// A call as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub action: String,
    /// Asks whether it would be allowed, and changes nothing.
    pub dry_run: bool,
}

impl Call {
    pub fn is_write(&self) -> bool {
        !self.dry_run && !["Describe", "Get", "List", "Lookup"].iter().any(|verb| self.action.starts_with(verb))
    }

    fn parse(head: &[u8], body: &[u8]) -> Self {
        let mut call = Self { action: "?".to_owned(), dry_run: false };
        // AWS's JSON protocol: `X-Amz-Target: SERVICE.Operation`.
        let head = String::from_utf8_lossy(head).to_lowercase();
        let target = head.lines().find_map(|line| line.strip_prefix("x-amz-target:")?.rsplit('.').next());
        if target == Some("lookupevents") {
            call.action = "LookupEvents".to_owned();
        }
        for (key, value) in form_urlencoded::parse(body) {
            match &*key {
                "Action" => call.action = value.into_owned(),
                "DryRun" => call.dry_run = value == "true",
                _ => {}
            }
        }
        call
    }
}

/// The calls of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(pub Vec<Call>);

impl Calls {
    pub fn reads(&self) -> usize {
        self.0.len() - self.writes()
    }

    pub fn writes(&self) -> usize {
        self.0.iter().filter(|call| call.is_write()).count()
    }

    pub fn of(&self, action: &str) -> usize {
        self.0.iter().filter(|call| call.action == action).count()
    }

    /// Action → how often.
    pub fn by_action(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for call in &self.0 {
            *counts.entry(call.action.as_str()).or_default() += 1;
        }
        counts
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_action().iter().try_for_each(|(action, count)| writeln!(f, "{count:5} {action}"))
    }
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

type Watcher = Box<dyn Fn(&Call) + Send>;

struct Shared {
    upstream: SocketAddr,
    victim: Victim,
    state: Mutex<State>,
    /// Told whenever a call has come back from the cloud.
    settled: Condvar,
    /// Looks at the cloud after each write, before its answer goes on.
    watcher: Mutex<Option<Watcher>>,
}

#[derive(Default)]
struct State {
    calls: Calls,
    rules: Vec<Rule>,
    latency: Duration,
    /// Calls that are with the cloud.
    under_way: usize,
    /// Nothing passes any more: the caller is dead, or the proxy is going.
    closed: bool,
}

struct Rule {
    scope: Scope,
    /// Of the calls in scope, counted from 0.
    window: Range<usize>,
    fault: Fault,
    /// By action where each is counted for itself, under "" otherwise.
    seen: BTreeMap<String, usize>,
}

impl Rule {
    /// Counts the call, and says whether it is this rule's turn.
    fn applies(&mut self, call: &Call) -> bool {
        let key = match self.scope {
            Scope::Any => "",
            Scope::Writes if call.is_write() => "",
            Scope::Action(action) if action == call.action => "",
            Scope::EachAction => &call.action,
            Scope::Writes | Scope::Action(_) => return false,
        };
        let seen = self.seen.entry(key.to_owned()).or_default();
        *seen += 1;
        self.window.contains(&(*seen - 1))
    }
}

impl Proxy {
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            upstream,
            victim: Victim::default(),
            state: Mutex::default(),
            settled: Condvar::new(),
            watcher: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for connection in listener.incoming() {
                    if shared.state().closed {
                        break;
                    }
                    let (Ok(connection), shared) = (connection, Arc::clone(&shared)) else { continue };
                    // A caller that goes away in the middle is what tests are about.
                    thread::spawn(move || shared.serve(&connection));
                }
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds to the time that each call takes.
    pub fn latency(&self, added: Duration) {
        self.shared.state().latency = added;
    }

    /// Of the calls in `scope`, those in `window` (from 0) meet `fault`. The rule that was made first wins.
    pub fn fault(&self, scope: Scope, window: Range<usize>, fault: Fault) {
        self.shared.state().rules.push(Rule { scope, window, fault, seen: BTreeMap::new() });
    }

    /// From here on nothing goes wrong.
    pub fn heal(&self) {
        self.shared.state().rules.clear();
    }

    /// What the cloud is like after each write that reached it is seen before anybody hears its answer.
    pub fn watch(&self, look: impl Fn(&Call) + Send + 'static) {
        *self.shared.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(look));
    }

    /// Runs a command whose calls come here, and which this may kill.
    #[track_caller]
    pub fn run(&self, command: &mut std::process::Command) -> Run {
        run(command, &self.shared.victim)
    }

    /// Every call since the last time this was asked.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.shared.state().calls)
    }
}

impl Drop for Proxy {
    /// Nothing of the caller's is with the cloud any more when this returns.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        while state.under_way > 0 {
            state = self.shared.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if thread::panicking() {
            eprintln!("calls through the proxy:\n{}", state.calls);
        }
        drop(state);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, caller: &TcpStream) -> io::Result<()> {
        caller.set_read_timeout(Some(PATIENCE))?;
        let request = Request::read(&mut BufReader::new(caller))?;
        let call = Call::parse(&request.head, &request.body);

        let mut state = self.state();
        if state.closed {
            return Ok(());
        }
        state.calls.0.push(call.clone());
        let fault = state.rules.iter_mut().fold(None, |found, rule| {
            // Each rule counts each call.
            let applies = rule.applies(&call);
            found.or_else(|| applies.then(|| rule.fault.clone()))
        });
        let reaches_cloud = matches!(fault, None | Some(Fault::Drop(Moment::After) | Fault::Kill(Moment::After)));
        if let Some(Fault::Kill(Moment::Before)) = fault {
            state.closed = true;
        }
        state.under_way += usize::from(reaches_cloud);
        let latency = state.latency;
        drop(state);

        thread::sleep(latency);
        let answer = if reaches_cloud {
            let answer = self.forward(&request);
            let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(look) = watcher.as_ref().filter(|_| call.is_write()) {
                look(&call);
            }
            drop(watcher);
            let mut state = self.state();
            if let Some(Fault::Kill(Moment::After)) = fault {
                state.closed = true;
            }
            state.under_way -= 1;
            self.settled.notify_all();
            drop(state);
            answer?
        } else {
            Vec::new()
        };
        match fault {
            None => write_all(caller, &answer),
            Some(Fault::Answer { status, code, message }) => write_all(caller, &refusal(&call, status, code, message)),
            Some(Fault::Garbage) => write_all(caller, b"\x16\x03\x01 this is not HTTP \xff\r\n\r\n"),
            Some(Fault::Drop(_)) => caller.shutdown(Shutdown::Both),
            Some(Fault::Kill(_)) => {
                self.victim.kill();
                Ok(())
            }
        }
    }

    fn forward(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut cloud = TcpStream::connect(self.upstream)?;
        cloud.set_read_timeout(Some(PATIENCE))?;
        // One write: a second small one would wait for the first one's ACK.
        cloud.write_all(&[&request.head[..], &request.body].concat())?;
        let mut answer = Vec::new();
        cloud.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn write_all(mut caller: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    caller.write_all(bytes)?;
    caller.shutdown(Shutdown::Write)
}

struct Request {
    /// As it came, except that it asks for the connection to be closed.
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut head = Vec::new();
        let mut length = 0;
        loop {
            let mut line = Vec::new();
            if from.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b"\r\n" {
                break;
            }
            let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
            match text.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", _)) => return Err(io::Error::other("EC2's clients send a length")),
                Some(("connection", _)) => continue,
                _ => {}
            }
            head.extend(line);
        }
        head.extend(b"Connection: close\r\n\r\n");
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Ok(Self { head, body })
    }
}

/// An error as EC2 words it: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
/// STS's are those of "Common Errors" in its own reference.
fn refusal(call: &Call, status: u16, code: &str, message: &str) -> Vec<u8> {
    let error = format!("<Code>{code}</Code><Message>{message}</Message>");
    let id = "ea966190-f9aa-478e-9ede-example";
    let body = if ["AssumeRole", "GetCallerIdentity"].contains(&call.action.as_str()) {
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>{error}</Error>\
             <RequestId>{id}</RequestId></ErrorResponse>"
        )
    } else {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>{error}</Error></Errors>\
             <RequestID>{id}</RequestID></Response>"
        )
    };
    format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: text/xml;charset=UTF-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
