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
    namespace: Namespace,
    address: Ipv4Addr,
    programs: PathBuf,
    folder: PathBuf,
    server: Option<Child>,
}

impl Database {
    /// Listens on this address only, and trusts one client.
    pub fn start(namespace: Namespace, address: Ipv4Addr, client: Ipv4Addr, folder: &Path) -> Self {
        let programs = fs::read_dir("/usr/lib/postgresql").expect("tests/tools/machines.sh installs PostgreSQL");
        let programs = programs.map(|entry| entry.expect("readable").path().join("bin"));
        let programs = programs.filter(|bin| bin.join("initdb").exists()).max().expect("a version of PostgreSQL");
        let folder = folder.join("database");
        let mut database = Self { namespace, address, programs, folder, server: None };
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
        fs::write(self.folder.join("pg_hba.conf"), format!("host all all {client}/32 trust\n")).expect("its folder");
    }

    pub fn resume(&mut self) {
        // It ends with whoever started it, however that ends.
        let mut command = self.namespace.command("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT"])
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(&self.folder)
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

    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = libc::pid_t::try_from(server.id()).expect("a process id");
            // SAFETY: a child that has not been waited for.
            unsafe { libc::kill(pid, libc::SIGQUIT) };
            let _ = server.wait();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}
