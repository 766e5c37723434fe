//! moto's server, and boto3 beside it, as two Python processes that end with this one.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

/// How long a Python may take for one line: importing moto takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Moto {
    address: SocketAddr,
    /// Held only to end with this.
    _server: Mutex<Python>,
    boto: Mutex<Python>,
    accounts: AtomicU64,
}

impl Moto {
    pub fn start(python: &Path) -> Self {
        let server = Python::start(python, "server.py");
        let port = server.line().parse().expect("server.py prints its port");
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _server: Mutex::new(server),
            boto: Mutex::new(Python::start(python, "boto.py")),
            accounts: AtomicU64::new(100_000_000_001),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An account that no other test sees, with nothing in it but a default network.
    pub fn account(&self) -> Account<'_> {
        let number = self.accounts.fetch_add(1, Ordering::Relaxed);
        // server.py reads the account off the key.
        Account { moto: self, endpoint: self.address, access_key: format!("AKIA0000{number}"), region: "us-east-1" }
    }

    fn boto(&self) -> MutexGuard<'_, Python> {
        self.boto.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One world of the cloud: an account, and a region in it.
#[derive(Clone)]
pub struct Account<'a> {
    moto: &'a Moto,
    endpoint: SocketAddr,
    pub access_key: String,
    pub region: &'static str,
}

impl<'a> Account<'a> {
    /// Where its cloud answers.
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// An account of another cloud than moto, of which moto's boto3 is the second pair of eyes.
    pub fn at(&self, endpoint: SocketAddr) -> Self {
        Self { endpoint, ..self.clone() }
    }

    /// The same account elsewhere.
    pub fn in_region(&self, region: &'static str) -> Self {
        Self { region, ..self.clone() }
    }

    /// Runs a Python script that finds `ec2` (a boto3 client) and `input`, and leaves its answer in `result`.
    #[track_caller]
    pub fn boto(&self, script: &str, input: Value) -> Value {
        self.boto_through(self.endpoint, script, input).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, with a proxy in between; the error is Python's.
    pub fn boto_through(&self, endpoint: SocketAddr, script: &str, input: Value) -> Result<Value, String> {
        let order = json!({
            "endpoint": format!("http://{endpoint}"),
            "access_key": self.access_key,
            "region": self.region,
            "script": script,
            "input": input,
        });
        let mut boto = self.moto.boto();
        boto.tell(&order.to_string());
        let answer = boto.line();
        drop(boto);
        let mut answer: Value = serde_json::from_str(&answer).expect("boto.py answers in JSON");
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Fills the account with a company's network.
    pub fn seed(&self) -> Seed {
        serde_json::from_value(self.boto("result = seed()", Value::Null)).expect("worlds.py names what it made")
    }

    pub fn world(&self) -> World {
        serde_json::from_value(self.boto("result = world()", Value::Null)).expect("worlds.py tells both parts")
    }
}

/// The ids of what `worlds.py` makes.
#[derive(Clone, Debug, Deserialize)]
pub struct Seed {
    pub vpc: String,
    /// In `vpc`, with a route to an internet gateway.
    pub public_subnet: String,
    /// In `vpc`, without such a route.
    pub private_subnet: String,
    /// Public, in a network without a database.
    pub other_public_subnet: String,
    /// In `vpc`; admits the application on 5432.
    pub warehouse_group: String,
    /// In `vpc`; admits the application on 3306.
    pub orders_group: String,
    /// An Elastic IP of the company's own.
    pub address: String,
}

/// Everything in an account and region. `ours` carries gangplank's tag, and names stand for ids, so that two worlds made by
/// the same steps are equal; `foreign` is told literally, so that any touch shows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct World {
    pub ours: Value,
    pub foreign: Value,
}

impl World {
    /// What is ours of one kind: `instances`, `groups`, `rules`, `addresses`, ...
    pub fn ours(&self, kind: &str) -> &[Value] {
        self.ours.get(kind).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    #[track_caller]
    pub fn assert_nothing_of_ours(&self) {
        assert_eq!(self.ours, json!({}), "something of ours is left");
    }
}

/// A script of ours in a Python process: lines in, lines out. It ends when its standard input does, and so with the process
/// that holds the other end, even when that is killed.
pub struct Python {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    script: &'static str,
}

impl Python {
    fn start(python: &Path, script: &'static str) -> Self {
        Self::start_with(python, script, &[])
    }

    pub fn start_with(python: &Path, script: &'static str, arguments: &[&OsStr]) -> Self {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "it", "support", script].iter().collect();
        let mut child = Command::new(python)
            .arg(path)
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { stdin: child.stdin.take(), child, lines, script }
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{} is gone: {error}", self.script));
    }

    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{} says nothing: {error}", self.script))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
