//! The vendor's own session, as a vendor has it: OpenSSH's client from the vendor's address, and PostgreSQL's through its
//! forward. Whatever the verifier says, this is whether the tunnel works.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Identity, Lab,
    boots::Keys,
    lab::{DATABASE_NAME, VENDOR},
};
use crate::support::program::{Run, Victim, run};

/// What hangs is cut after so many seconds.
const PATIENCE: u64 = 5;
/// How long a vendor's connection has nothing to say.
pub const IDLE: Duration = Duration::from_millis(1300);
const QUERIES: usize = 30;
const CONNECTIONS: u16 = 8;
/// Where the forwards listen, on the vendor's side.
const PORT: u16 = 15432;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    Works,
    Broken { at: Stage, said: String },
}

/// In the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Login,
    FirstQuery,
    LargeResult,
    QueriesAtOnce,
    ConnectionsAtOnce,
    /// The vendor's older client has an RSA key.
    RsaLogin,
    QueryAfterIdling,
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Truth::Works => f.write_str("works"),
            Truth::Broken { at, said } => write!(f, "{at:?}: {said}"),
        }
    }
}

/// Tries all that a vendor does; the first thing that does not work is told.
pub fn of_the_vendor(lab: &Lab, keys: &Keys) -> Truth {
    match attempt(lab, keys) {
        Ok(()) => Truth::Works,
        Err((at, said)) => Truth::Broken { at, said },
    }
}

fn attempt(lab: &Lab, keys: &Keys) -> Result<(), (Stage, String)> {
    thread::scope(|scope| {
        let rsa = scope.spawn(|| Tunnel::open(lab, &keys.rsa, PORT + 1));
        let first = Tunnel::open(lab, &keys.vendor, PORT).map_err(|said| (Stage::Login, said))?;
        let rsa = rsa.join().expect("no panic").map_err(|said| (Stage::RsaLogin, said))?;
        let idle_since = Instant::now();
        first.query("select 1", "1").map_err(|said| (Stage::FirstQuery, said))?;
        let (large, result) = ("select repeat('x', 300000)", "x".repeat(300_000));
        first.query(large, &result).map_err(|said| (Stage::LargeResult, said))?;

        let others: Vec<_> = (0..CONNECTIONS)
            .map(|number| scope.spawn(move || Tunnel::open(lab, &keys.vendor, PORT + 2 + number)?.slow_query()))
            .collect();
        let queries = first.queries_at_once();
        let others: Vec<_> = others.into_iter().map(|other| other.join().expect("no panic")).collect();
        queries.map_err(|said| (Stage::QueriesAtOnce, said))?;
        others.into_iter().collect::<Result<(), _>>().map_err(|said| (Stage::ConnectionsAtOnce, said))?;

        thread::sleep(IDLE.saturating_sub(idle_since.elapsed()));
        rsa.query("select 1", "1").map_err(|said| (Stage::QueryAfterIdling, said))
    })
}

/// `ssh -N -L`, until it is dropped.
struct Tunnel<'a> {
    lab: &'a Lab,
    ssh: Child,
    port: u16,
}

impl<'a> Tunnel<'a> {
    /// Waits until the client is in and listens; or what it says.
    fn open(lab: &'a Lab, identity: &Identity, port: u16) -> Result<Self, String> {
        let mut ssh = lab.ssh(VENDOR, identity, "secoda");
        ssh.args(["-N", "-L", &format!("127.0.0.1:{port}:{DATABASE_NAME}:5432")]);
        for option in ["ExitOnForwardFailure=yes", "PermitLocalCommand=yes", "LocalCommand=echo in"] {
            ssh.args(["-o", option]);
        }
        let ssh = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("coreutils");
        let mut tunnel = Self { lab, ssh, port };
        let stdout = tunnel.ssh.stdout.take().expect("piped");
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(BufReader::new(stdout).lines().next().is_some()));
        match receive.recv_timeout(Duration::from_secs(PATIENCE)) {
            Ok(true) => Ok(tunnel),
            ended => {
                tunnel.end();
                let mut said = String::new();
                let _ = tunnel.ssh.stderr.take().expect("piped").read_to_string(&mut said);
                let hangs = if ended.is_err() { "it hangs" } else { "" };
                Err([last_line(&said), hangs]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("; "))
            }
        }
    }

    /// `psql` with this at the end of the shell's line.
    fn psql(&self, script: &str) -> Run {
        let mut shell = self.lab.internet.command("sh");
        let psql = format!(
            "psql() {{ timeout {PATIENCE} {} -XAtq -h 127.0.0.1 -p {} -U postgres -d postgres \"$@\"; }}",
            self.lab.database.psql().display(),
            self.port
        );
        run(shell.args(["-c", &format!("{psql}\n{script}")]).current_dir("/"), &Victim::default())
    }

    fn query(&self, sql: &str, expected: &str) -> Result<(), String> {
        let ended = self.psql(&format!("psql -c \"{sql}\""));
        if ended.stdout.trim() == expected { Ok(()) } else { Err(complaint(&ended)) }
    }

    /// Nothing passes while the database works.
    fn slow_query(&self) -> Result<(), String> {
        self.query("select 1 from pg_sleep(1.2)", "1")
    }

    /// Each is open while the others are.
    fn queries_at_once(&self) -> Result<(), String> {
        let one = "psql -c 'select pg_sleep(0.5)' -c 'select 1'";
        let ended = self.psql(&format!("for i in $(seq {QUERIES}); do {one} & done; wait"));
        match ended.stdout.matches('1').count() {
            QUERIES => Ok(()),
            answered => Err(format!("{answered} of {QUERIES} are answered; {}", complaint(&ended))),
        }
    }

    fn end(&mut self) {
        let pid = libc::pid_t::try_from(self.ssh.id()).expect("a process id");
        // SAFETY: a child that has not been waited for; `timeout` ends ssh with itself.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let _ = self.ssh.wait();
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn complaint(ended: &Run) -> String {
    match ended.stderr.trim().lines().next().unwrap_or_default() {
        "" if ended.code() == Some(124) => "it hangs".to_owned(),
        "" => format!("{}, {} bytes", ended.status, ended.stdout.len()),
        said => said.to_owned(),
    }
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default().trim()
}
