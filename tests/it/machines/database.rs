//! A PostgreSQL server of the machine that runs the tests, with a cluster of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Namespace, eventually};
use crate::support::program::{Victim, run};

pub struct Database {
    pub namespace: Namespace,
    address: Ipv4Addr,
    programs: PathBuf,
    folder: PathBuf,
    server: Option<Child>,
    /// Clients that keep connections busy.
    busy: Vec<Child>,
}

impl Database {
    /// Listens on this address only, and trusts one client.
    pub fn start(namespace: Namespace, address: Ipv4Addr, client: Ipv4Addr, folder: &Path) -> Self {
        let programs = fs::read_dir("/usr/lib/postgresql").expect("tests/tools/machines.sh installs PostgreSQL");
        let programs = programs.map(|entry| entry.expect("readable").path().join("bin"));
        let programs = programs.filter(|bin| bin.join("initdb").exists()).max().expect("a version of PostgreSQL");
        let folder = folder.join("database");
        let mut database = Self { namespace, address, programs, folder, server: None, busy: Vec::new() };
        database.make(client);
        database.resume();
        database
    }

    fn make(&self, client: Ipv4Addr) {
        let at = self.folder.to_str().expect("a temporary folder's name");
        let as_postgres = |program: &str| {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", program]).current_dir("/");
            command
        };
        let mut install = Command::new("install");
        run(install.args(["-d", "-o", "postgres", "-m", "700", at]), &Victim::default()).expect(0);
        let initdb = self.programs.join("initdb").display().to_string();
        let mut initdb = as_postgres(&initdb);
        run(initdb.args(["-D", at, "-A", "trust", "--no-sync"]), &Victim::default()).expect(0);
        let settings = format!("listen_addresses = '{}'\nunix_socket_directories = ''\nfsync = off\n", self.address);
        fs::write(self.folder.join("postgresql.auto.conf"), settings).expect("the cluster's folder");
        self.admit(&trusted(client));
    }

    /// Whom it trusts, in pg_hba.conf's words; itself always. A running server reads it after [`Database::reload`].
    pub fn admit(&self, rules: &str) {
        let own = self.address;
        let text = format!("host all all {own}/32 trust\n{rules}\n");
        fs::write(self.folder.join("pg_hba.conf"), text).expect("the cluster's folder");
    }

    pub fn reload(&self) {
        self.signal(libc::SIGHUP);
    }

    pub fn signal(&self, signal: libc::c_int) {
        let server = self.server.as_ref().expect("it runs");
        let pid = libc::pid_t::try_from(server.id()).expect("a process id");
        // SAFETY: a child that has not been waited for.
        unsafe { libc::kill(pid, signal) };
    }

    /// A file in the cluster's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// PostgreSQL's client, as it is behind Debian's wrapper.
    pub fn psql(&self) -> PathBuf {
        self.programs.join("psql")
    }

    /// Has clients of its own host keep so many of its connections busy, until it stops.
    pub fn keep_busy(&mut self, connections: usize) {
        let client = |sql: &str| {
            let mut psql = self.namespace.command("setpriv");
            psql.arg("--pdeathsig=KILL").arg(self.psql());
            psql.args(["-XAtqh", &self.address.to_string(), "-U", "postgres", "-d", "postgres", "-c", sql]);
            psql.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            psql
        };
        let answers = || client("select 1").status().expect("psql").success();
        eventually("PostgreSQL answers", || answers().then_some(()));
        let busy = (0..connections).map(|_| client("select pg_sleep(600)").spawn().expect("psql")).collect();
        let all_in = || {
            let mut count = client("select count(*) from pg_stat_activity where query like 'select pg_sleep%'");
            let said = count.stdout(Stdio::piped()).output().expect("psql");
            // It does not get in either where none is left.
            !said.status.success() || String::from_utf8_lossy(&said.stdout).trim() == connections.to_string()
        };
        eventually("PostgreSQL's clients are in", || all_in().then_some(()));
        self.busy = busy;
    }

    /// Starts it with more settings than its own; they are gone when it is started without.
    pub fn restart(&mut self, settings: &[&str]) {
        self.stop();
        self.start_with(settings);
    }

    pub fn resume(&mut self) {
        self.start_with(&[]);
    }

    fn start_with(&mut self, settings: &[&str]) {
        // It ends with whoever started it, however that ends.
        let mut command = self.namespace.command("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT"])
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(&self.folder)
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.with_extension("log")).expect("a writable folder"));
        self.server = Some(command.spawn().expect("setpriv"));
        let address = SocketAddr::new(self.address.into(), 5432);
        eventually("PostgreSQL listens", || {
            let open = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
            self.namespace.enter(open)
        });
    }

    /// The end of its log. A server that has ended by itself is said to, and started again.
    pub fn log(&mut self) -> String {
        let said = fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        let Some(status) = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten()) else { return end };
        self.server = None;
        self.resume();
        format!("{end}\nPostgreSQL ended by itself: {status}")
    }

    pub fn stop(&mut self) {
        if self.server.is_some() {
            // Without recovery at the next start. A stopped process ends when it goes on.
            self.signal(libc::SIGINT);
            self.signal(libc::SIGCONT);
            let _ = self.server.take().map(|mut server| server.wait());
            self.busy.drain(..).for_each(|mut client| drop(client.wait()));
        }
    }
}

/// The rules of pg_hba.conf for a client that comes in as anybody, and for one that asks as [`PROBE`] and has no password.
pub fn trusted(client: Ipv4Addr) -> String {
    format!("host all {PROBE} {client}/32 scram-sha-256\nhost all all {client}/32 trust")
}

/// A user of a login that is only begun.
pub const PROBE: &str = "probe";

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}
