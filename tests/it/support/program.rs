//! Runs a program to its end, or to the end that a [`Proxy`](super::proxy::Proxy) brings it.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{moto::Account, plans::Bastion};

/// No run of any test takes this long; a program that hangs is a failure with its output, not a lost machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A process that somebody else may kill.
#[derive(Clone, Default)]
pub struct Victim(Arc<Mutex<Option<Child>>>);

impl Victim {
    /// Kills it with SIGKILL and returns when it is gone.
    pub fn kill(&self) {
        if let Some(child) = self.lock().as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Run {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// `None` when it was killed.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, status, stdout, stderr } = self;
        write!(f, "{command}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs a command with nothing on its standard input.
#[track_caller]
pub fn run(command: &mut Command, victim: &Victim) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Whoever kills it waits for this lock, and so never misses it.
    let mut slot = victim.lock();
    let child = slot.insert(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")));
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    drop(slot);

    let output = stdout.recv_timeout(PATIENCE);
    if output.is_err() {
        victim.kill();
    }
    let errors = stderr.recv().unwrap_or_default();
    let output = output.unwrap_or_else(|_| panic!("{command:?} hangs\n--- stderr\n{errors}"));
    let status = victim.lock().as_mut().expect("started above").wait().expect("a child can be awaited");
    Run { command: format!("{command:?}"), status, stdout: output, stderr: errors }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    let mut pipe = pipe.expect("piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        send.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receive
}

/// The program under test, as somebody in one account would run it: an empty home, an environment without anything else.
pub struct Gangplank<'a> {
    pub account: Account<'a>,
    home: TempDir,
}

impl<'a> Gangplank<'a> {
    pub fn new(account: &Account<'a>) -> Self {
        Self { account: account.clone(), home: TempDir::new().expect("a temporary folder") }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a plan under its bastion's name.
    pub fn write(&self, bastion: &Bastion) -> PathBuf {
        let path = self.home().join(format!("{}.yaml", bastion.name));
        fs::File::create(&path).and_then(|mut f| f.write_all(bastion.to_yaml().as_bytes())).expect("a writable folder");
        path
    }

    /// The binary with the standard environment of somebody who uses AWS.
    pub fn command(&self, endpoint: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command
            .current_dir(self.home())
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TZ", "UTC")
            .env("AWS_ENDPOINT_URL", format!("http://{endpoint}"))
            .env("AWS_ACCESS_KEY_ID", &self.account.access_key)
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", self.account.region)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }
}
