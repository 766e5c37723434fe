//! What a database says to a login that the plan consents to: a real PostgreSQL, and MySQL's packets.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use super::{bastion::Machine, *};

/// A PostgreSQL of the machine that runs the tests, on loopback, with a cluster of its own.
struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Postgres {
    /// `None`, said aloud, where there is none. The settings come after those that it needs.
    fn start(hba: &str, settings: &str) -> Option<Self> {
        let programs = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let Some(programs) =
            programs.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max()
        else {
            crate::support::skip("no PostgreSQL here");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("install").args(["-d", "-o", "postgres", "-m", "700"]).arg(folder.path().join("data")));
        run(Command::new("chmod").arg("755").arg(folder.path()));
        let data = folder.path().join("data");
        let as_postgres = |program: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"]);
            command.arg(programs.join(program)).arg("-D").arg(&data).current_dir("/").stdout(Stdio::null());
            command
        };
        run(as_postgres("initdb").args(["-A", "trust", "--no-sync"]));
        let port = super::targets::closed();
        let name = |name: &str| data.join(name).display().to_string();
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"])
            .args(["-keyout", &name("server.key"), "-out", &name("server.crt")]));
        run(Command::new("chown").args(["postgres:", &name("server.key"), &name("server.crt")]));
        run(Command::new("chmod").args(["600", &name("server.key")]));
        let all = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n{settings}\n"
        );
        fs::write(data.join("postgresql.auto.conf"), all).unwrap();
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let server = as_postgres("postgres").stderr(log).process_group(0).spawn().unwrap();
        let database = Self { folder, port, server };
        let began = Instant::now();
        // It listens before it takes anybody.
        while !database.log().contains("ready to accept connections") {
            assert!(began.elapsed() < Duration::from_secs(90), "PostgreSQL does not start: {}", database.log());
            thread::sleep(Duration::from_millis(50));
        }
        Some(database)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, with its children.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let done = command.stderr(Stdio::piped()).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Verifies with this consent, and gives the check of the target's forward or, where all is well with that, of its login.
fn asked(postgres: u16, mysql: u16, name: &str, attempt: Option<LoginAttempt>) -> Option<Check> {
    let mut machine = Machine::with_targets(postgres, mysql)?;
    let mut targets = machine.plan.tunnels.iter_mut().flat_map(|tunnel| &mut tunnel.targets);
    targets.find(|target| target.name == name).unwrap().login_attempt = attempt;
    let running = machine.start();
    let checks = super::run(&machine.plan, &machine.reach());
    let failed: Vec<_> = checks.iter().filter(|check| check.verdict.is_fail()).collect();
    let (forward, login) = (format!("network.forward[{name}]"), format!("network.target-login[{name}]"));
    assert!(
        failed.iter().all(|check| check.name() == forward || check.name() == login),
        "{failed:#?} {}",
        running.log()
    );
    assert!(failed.len() < 2, "{failed:#?}");
    Some(named(&checks, if failed.iter().any(|check| check.name() == forward) { &forward } else { &login }).clone())
}

fn vendor() -> Option<LoginAttempt> {
    Some(LoginAttempt::As { user: "vendor".to_owned(), database: "warehouse".to_owned() })
}

fn says(check: &Check, words: &str) {
    assert!(check.evidence.iter().any(|line| line.contains(words)), "{words:?}: {check:#?}");
}

const EVERYBODY: &str = "host all all 127.0.0.1/32 scram-sha-256\n";

#[test]
fn a_postgres_that_admits_the_bastion_passes_where_it_is_asked() {
    for settings in ["", "ssl = on"] {
        let Some(database) = Postgres::start(EVERYBODY, settings) else { return };
        let mysql = targets::says(targets::MYSQL);
        let Some(unasked) = asked(database.port, mysql, "warehouse", None) else { return };
        assert!(reason(&unasked).starts_with("not asked, "), "{unasked:#?} {}", database.log());
        for attempt in [Some(LoginAttempt::Nobody), vendor()] {
            let Some(found) = asked(database.port, targets::says(targets::MYSQL), "warehouse", attempt) else {
                return;
            };
            assert_eq!(found.verdict, Verdict::Pass, "{found:#?} {}", database.log());
            says(&found, "it asks for a password");
            says(&found, "larger packets pass between machine and target");
        }
    }
}

#[test]
fn a_postgres_without_a_line_for_the_bastion_is_named() {
    let Some(database) = Postgres::start("host all all 192.0.2.1/32 scram-sha-256\n", "") else { return };
    let mysql = || targets::says(targets::MYSQL);
    let Some(named) = asked(database.port, mysql(), "warehouse", vendor()) else { return };
    assert!(cause(&named).contains("does not admit this user from the bastion's address"), "{named:#?}");
    // A line that names the vendor would do, and is not asked about.
    let Some(nobody) = asked(database.port, mysql(), "warehouse", Some(LoginAttempt::Nobody)) else { return };
    assert!(reason(&nobody).contains("pg_hba.conf"), "{nobody:#?}");
}

#[test]
fn a_postgres_without_a_connection_left_for_others_than_superusers_is_named() {
    let settings = "max_connections = 8\nmax_wal_senders = 0";
    let Some(database) = Postgres::start(EVERYBODY, settings) else { return };
    // Five that wait for a password: three remain, for superusers.
    let startup = b"\0\0\0\x15\0\x03\0\0user\0vendor\0\0";
    let held: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", database.port)).unwrap();
            stream.write_all(startup).unwrap();
            stream.read_exact(&mut [0; 9]).unwrap();
            stream
        })
        .collect();
    let mysql = targets::says(targets::MYSQL);
    let Some(full) = asked(database.port, mysql, "warehouse", Some(LoginAttempt::Nobody)) else { return };
    assert!(cause(&full).contains("has no connection left"), "{full:#?} {}", database.log());
    drop(held);
}

#[test]
fn a_postgres_that_refuses_before_any_login_does_not_speak() {
    let starting = b"E\0\0\0\x36SFATAL\0C57P03\0Mthe database system is starting up\0\0";
    let Some(check) = asked(targets::postgres(starting), targets::says(targets::MYSQL), "warehouse", None) else {
        return;
    };
    assert!(cause(&check).contains("is starting, recovering or shutting down"), "{check:#?}");
}

/// MySQL's greeting with its capabilities, and an answer to each login; the second of two at once may be turned away.
fn mysql(answer: &'static [u8], second: Option<&'static [u8]>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, mut stream) in listener.incoming().flatten().enumerate() {
            if let (1, Some(words)) = (number, second) {
                let _ = stream.write_all(words);
                continue;
            }
            thread::spawn(move || {
                let mut greeting = b"\x0a8.0.36\0\x01\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
                greeting.extend([0; 10]);
                greeting.extend(b"abcdefghijkl\0caching_sha2_password\0");
                let _ = stream.write_all(&[&[u8::try_from(greeting.len()).unwrap(), 0, 0, 0], &greeting[..]].concat());
                let mut header = [0; 4];
                if stream.read_exact(&mut header).is_ok() {
                    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
                    let _ = stream.read_exact(&mut vec![0; length]);
                    let _ = stream.write_all(answer);
                }
                targets::drain(stream);
            });
        }
    });
    port
}

#[test]
fn a_mysql_tells_a_wrong_password_from_a_refusal() {
    const DENIED: &[u8] = b"\x0f\0\0\x02\xff\x15\x04#28000denied";
    const FULL: &[u8] = b"\x0c\0\0\0\xff\x10\x04too many!";
    let attempt = || Some(LoginAttempt::Nobody);
    let sql = |port| asked(targets::postgres(b"N"), port, "orders", attempt());
    let mut denied = Vec::new();
    for (port, red) in [(mysql(DENIED, None), None), (mysql(DENIED, Some(FULL)), Some("has no connection left"))] {
        let Some(check) = sql(port) else { return };
        match red {
            Some(words) => assert!(cause(&check).contains(words), "{check:#?}"),
            None => denied.push(check),
        }
    }
    assert_eq!(denied[0].verdict, Verdict::Pass, "{denied:#?}");
    says(&denied[0], "error 1045");
}
