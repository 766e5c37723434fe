//! The script itself, in a folder that stands for the machine, with a real sshd where there is one.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use gangplank::verify::report::{self, Entry, Open, Reading, Report, Why};

use super::*;
use crate::support;

/// A machine's files, with accounts that exist on this one.
struct Fake {
    folder: tempfile::TempDir,
    document: String,
    /// Tests of root ask as nobody, since root's sshd wants folders of its own.
    user: &'static str,
}

impl Fake {
    fn new(opens: &[String]) -> Option<Self> {
        if !Path::new("/usr/bin/python3").exists() {
            support::skip("no /usr/bin/python3 here");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let text = cloudinit::render(&read_plan(&plan_text("replace"))).unwrap();
        let fake = Self { folder, document: text.digest, user: "nobody" };
        fake.write("var/lib/cloud/instance/user-data.txt", cloudinit::compressed(&text.text));
        fake.write("var/lib/cloud/data/instance-id", format!("{INSTANCE}\n"));
        fake.write(
            "run/cloud-init/status.json",
            r#"{"v1": {"stage": null, "init": {"errors": [], "recoverable_errors": {"WARNING": ["odd"]}}}}"#,
        );
        fake.write("run/cloud-init/result.json", r#"{"v1": {"errors": []}}"#);
        fake.write("var/lib/gangplank/boot", "ok\n");
        fake.write(
            "var/log/cloud-init.log",
            "2026-01-01 00:00:00,000 - util.py[DEBUG]: Cloud-init v. 22.4.2 running 'init-local'\n",
        );
        fake.write("etc/shadow", "nobody:*:20000:0:99999:7:::\n");
        fake.write("etc/gangplank/settings", "users='nobody missing'\nopen_files='65535'\n");
        fake.write(
            "etc/gangplank/sshd.conf",
            format!("Port 22\nMatch User nobody\n  PermitOpen {}\nMatch all\n  PermitOpen none\n", opens.join(" ")),
        );
        fake.write("homes/nobody/.ssh/authorized_keys", "");
        fake.write("console", "");
        fake.write(
            "gangplank-report",
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/report.py")).unwrap(),
        );
        fs::create_dir(fake.at("state")).unwrap();
        fs::set_permissions(fake.at("homes/nobody/.ssh"), fs::Permissions::from_mode(0o700)).unwrap();
        fake.open();
        Some(fake)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    /// Whoever asks may read and write all of it.
    fn open(&self) {
        let change = |arguments: &[&str]| {
            assert!(
                Command::new(arguments[0]).args(&arguments[1..]).arg(self.folder.path()).status().unwrap().success()
            );
        };
        if root() {
            change(&["chown", "-R", self.user]);
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if root() {
            command.uid(65534).gid(65534);
        }
        command
    }

    fn ask(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.command("/usr/bin/python3");
        command.arg("-IS").arg(self.at("gangplank-report")).args(arguments);
        command.env("GANGPLANK_ROOT", self.folder.path()).env("GANGPLANK_HOMES", self.at("homes"));
        command.env("GANGPLANK_RUN", self.at("state")).env("GANGPLANK_CONSOLE", self.at("console"));
        command.env("GANGPLANK_METADATA", "http://127.0.0.1:9").envs(environment.iter().copied());
        command.output().unwrap()
    }

    fn reading(&self, text: &str) -> Reading {
        report::read(text, &self.document, Some(INSTANCE)).unwrap_or_else(|none| panic!("{none}\n{text}"))
    }

    fn report(&self, environment: &[(&str, &str)]) -> Report {
        let output = self.ask(&["--print"], environment);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        self.reading(&String::from_utf8(output.stdout).unwrap()).report
    }
}

fn root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

/// A server that accepts, and a port where nobody listens.
fn peers() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (listener, free)
}

#[test]
fn the_script_says_what_it_finds_and_the_reader_understands_it() {
    let (listener, free) = peers();
    let port = listener.local_addr().unwrap().port();
    let Some(fake) =
        Fake::new(&[format!("127.0.0.1:{port}"), format!("127.0.0.1:{free}"), "no.such.name.invalid:5432".into()])
    else {
        return;
    };
    let options = "restrict,port-forwarding,permitopen=\"h:1\"";
    let noise = "# a comment\n\nssh-ed25519 AAAA cut\n-----BEGIN OPENSSH PRIVATE KEY-----\n";
    fake.write("homes/nobody/.ssh/authorized_keys", format!("{options} {KEY}\n{noise}{ROTATED_KEY}\n"));
    let report = fake.report(&[]);

    assert_eq!(report.why, Why::Asked);
    assert_eq!(report.boot.as_result(), Ok(&"ok".to_owned()));
    let cloud_init = report.cloud_init.as_result().unwrap();
    assert_eq!((cloud_init.status.as_str(), cloud_init.version.as_deref()), ("done", Some("22.4.2")));
    assert_eq!(cloud_init.warnings, ["odd"]);
    assert!(report.clock.as_result().unwrap().skew.as_result().unwrap_err().contains("refused"));
    assert!(report.disk.as_result().unwrap().free > 0);

    let accounts = report.accounts.as_result().unwrap();
    assert!(!accounts["missing"].as_result().unwrap().exists);
    let nobody = accounts["nobody"].as_result().unwrap();
    assert_eq!(nobody.locked.as_result(), Ok(&true));
    let Entry::Present { kind, mode, .. } = nobody.ssh.as_result().unwrap() else { panic!("{nobody:?}") };
    assert_eq!((kind.as_str(), *mode), ("dir", 0o700));
    let keys = nobody.keys.as_result().unwrap();
    let plan = read_plan(&plan_text("replace"));
    let fingerprints: Vec<String> = plan.accounts().flat_map(|(_, keys)| keys).map(|k| k.fingerprint.clone()).collect();
    assert_eq!((&keys.accepted, keys.other_lines), (&fingerprints, 2));
    assert_eq!(keys.options.len(), 2, "{keys:?}");

    let targets = report.targets.as_result().unwrap();
    let told: Vec<(bool, Option<&str>)> = targets.iter().map(|t| (t.dns.is_some(), t.tcp.as_deref())).collect();
    let mut ports = [(port, Some("ok")), (free, Some("refused"))];
    ports.sort_by_key(|(port, _)| format!("127.0.0.1:{port}"));
    assert_eq!(told, [(false, ports[0].1), (false, ports[1].1), (true, None)]);
    assert!(targets[2].dns.as_ref().unwrap().as_result().is_err());
}

/// What the plan's keys have before them is what the machine finds before them.
#[test]
fn the_options_of_a_key_have_the_digest_of_the_plans() {
    let Some(fake) = Fake::new(&["127.0.0.1:1".into()]) else { return };
    let plan = read_plan(&plan_text("replace"));
    let document: Value = serde_yaml::from_str(&cloudinit::render(&plan).unwrap().text).unwrap();
    for access in cloudinit::access(&plan).unwrap() {
        let path = format!("/etc/gangplank/keys/{}", access.user);
        let file = document["write_files"].as_array().unwrap().iter().find(|f| f["path"] == path).unwrap();
        fake.write("homes/nobody/.ssh/authorized_keys", file["content"].as_str().unwrap());
        let report = fake.report(&[]);
        let accounts = report.accounts.as_result().unwrap();
        assert_eq!(accounts["nobody"].as_result().unwrap().keys.as_result().unwrap().options, [access.options]);
    }
}

#[test]
fn what_is_broken_on_the_machine_does_not_keep_it_from_reporting() {
    let Some(fake) = Fake::new(&["127.0.0.1:1".into()]) else { return };
    for path in ["etc", "run", "homes", "var/lib/gangplank", "var/log", "var/lib/cloud/data"] {
        fs::remove_dir_all(fake.at(path)).unwrap();
    }
    let report = fake.report(&[("GANGPLANK_METADATA", "nonsense")]);
    assert!(report.accounts.as_result().is_err() && report.cloud_init.as_result().is_err());
    assert!(report.boot.as_result().is_err() && report.targets.as_result().is_err());
    assert!(report.disk.as_result().is_ok());
    // Without its document the machine cannot seal, and says so by the seal of nothing.
    fs::remove_dir_all(fake.at("var")).unwrap();
    let said = String::from_utf8(fake.ask(&["--print"], &[]).stdout).unwrap();
    let none = report::read(&said, &fake.document, None).unwrap_err();
    assert_eq!(none.rejected[0].reason, report::Reason::OtherDocument(String::new()));
}

#[test]
fn a_key_change_is_reported_on_the_console_once_the_boot_is_over() {
    let (listener, _) = peers();
    let Some(fake) = Fake::new(&[listener.local_addr().unwrap().to_string()]) else { return };
    let console = || fs::read_to_string(fake.at("console")).unwrap();
    fs::remove_file(fake.at("run/cloud-init/result.json")).unwrap();
    assert!(fake.ask(&["keys"], &[]).status.success());
    assert_eq!(console(), "", "the report at the end of the boot is still to come");
    fake.write("run/cloud-init/result.json", r#"{"v1": {"errors": ["locale failed"]}}"#);
    assert!(fake.ask(&["keys"], &[]).status.success());
    let text = console();
    assert!(text.starts_with("\n{\"gangplank\":1,") && text.ends_with("\"}\n") && text.is_ascii(), "{text}");
    let report = fake.reading(&text).report;
    assert_eq!((report.why, report.cloud_init.as_result().unwrap().status.as_str()), (Why::Keys, "error"));

    // A target is asked each time.
    fake.write("state/booted", "");
    fake.write("console", "");
    fake.open();
    drop(listener);
    assert!(fake.ask(&[], &[]).status.success());
    let hour = fake.reading(&console()).report;
    assert_eq!((hour.why, hour.targets.as_result().unwrap()[0].tcp.as_deref()), (Why::Hour, Some("refused")));
}

/// 20 tunnels with 10 targets and 5 keys each.
#[test]
fn a_large_plan_fits_and_a_larger_one_says_what_it_leaves_out() {
    for (tunnels, fits) in [(20, true), (120, false)] {
        let Some(fake) = Fake::new(&["127.0.0.1:1".into()]) else { return };
        // Any account that exists stands for each of them.
        let conf: String = (0..tunnels)
            .map(|t| {
                let opens: Vec<String> = (0..10).map(|n| format!("127.0.{t}.{n}:5432")).collect();
                format!("Match User tunnel-{t}\n  PermitOpen {}\n", opens.join(" "))
            })
            .collect();
        fake.write("etc/gangplank/sshd.conf", conf);
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let users: Vec<&str> = passwd.lines().filter_map(|l| l.split(':').next()).take(20).collect();
        fake.write("etc/gangplank/settings", format!("users='{}'\n", users.join(" ")));
        for user in users {
            let keys: String = (0..5).map(|n| format!("permitopen=\"{n}\" {KEY}\n")).collect();
            fake.write(&format!("homes/{user}/.ssh/authorized_keys"), keys);
        }
        fake.open();
        let output = fake.ask(&["--print"], &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.len() < 25 * 1024, "{}", text.len());
        let report = fake.reading(&text).report;
        assert_eq!(report.truncated.is_empty(), fits, "{} bytes, {:?}", text.len(), report.truncated);
        assert!(fits || report.targets.as_result().is_err());
    }
}

struct Stop(Child);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_running_daemon_is_told_from_its_files() {
    let Some(fake) = Fake::new(&["127.0.0.1:1".into()]) else { return };
    if !Path::new("/usr/sbin/sshd").exists() {
        return support::skip("no /usr/sbin/sshd here");
    }
    let at = |name: &str| fake.at(name).display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at("host")]).status().unwrap();
    assert!(made.success());
    let (_, port) = peers();
    fs::create_dir(fake.at("conf.d")).unwrap();
    fake.write(
        "conf.d/own.conf",
        "MaxSessions 7\nMatch User nobody\n  PermitOpen 127.0.0.1:1 h:2\nMatch all\n  PermitTTY no\n",
    );
    fake.write(
        "sshd_config",
        format!(
            "Include {}\nHostKey {}\nPidFile {}\nUsePAM no\nAllowUsers nobody missing\n",
            at("conf.d/*.conf"),
            at("host"),
            at("sshd.pid")
        ),
    );
    fake.open();
    let mut command = fake.command("/usr/sbin/sshd");
    command.args([
        "-D",
        "-f",
        &at("sshd_config"),
        "-o",
        &format!("Port={port}"),
        "-o",
        "ListenAddress=0.0.0.0",
        "-o",
        "MaxStartups=3:40:9",
    ]);
    let sshd = Stop(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let greets = || {
        let mut banner = [0; 4];
        TcpStream::connect(("127.0.0.1", port)).and_then(|mut s| s.read_exact(&mut banner)).is_ok()
            && banner == *b"SSH-"
    };
    until("sshd does not start", greets);

    let pid = sshd.0.id().to_string();
    let ask = || fake.report(&[("GANGPLANK_SSHD_PID", &pid)]);
    let report = ask();
    let daemon = report.sshd.as_result().unwrap();
    let running = daemon.running.as_result().unwrap().as_ref().unwrap();
    assert_eq!((running.pid.to_string(), running.startups), (pid.clone(), Some((3, 9))));
    assert!(running.banner.as_result().unwrap().starts_with("SSH-2.0-OpenSSH"), "{running:?}");
    assert_eq!(running.ports.as_result(), Ok(&vec![port]));
    let changed = daemon.changed.as_result().unwrap();
    assert!(changed.time <= running.read, "{changed:?} {running:?}");
    assert_eq!(daemon.setting("nobody", "port"), Some(port.to_string().as_str()));
    assert_eq!(daemon.setting("nobody", "maxstartups"), Some("3:40:9"), "the daemon's own arguments count");
    assert_eq!(
        (daemon.setting("nobody", "maxsessions"), daemon.setting("nobody", "permittty")),
        (Some("7"), Some("no"))
    );
    assert_eq!(daemon.setting("nobody", "allowusers"), Some("nobody missing"));
    assert_eq!(daemon.permit_open["nobody"], [Open::Target(0), Open::Other("h:2".into())]);
    assert_eq!(daemon.permit_open["missing"], [Open::Other("any".into())]);
    let key = fs::read_to_string(at("host.pub")).unwrap();
    assert!(key.starts_with(&daemon.host_keys.as_result().unwrap()[0]));

    // A file more, and the daemon does not know yet.
    fake.write("conf.d/00-later.conf", "MaxSessions 3\n");
    let report = ask();
    let daemon = report.sshd.as_result().unwrap();
    let read = |daemon: &report::Daemon| daemon.running.as_result().unwrap().as_ref().unwrap().read;
    assert_eq!(daemon.setting("nobody", "maxsessions"), Some("3"));
    let changed = daemon.changed.as_result().unwrap();
    assert!(changed.time > read(daemon) && changed.path.contains("conf.d"), "{changed:?}");

    let before = fs::metadata(at("sshd.pid")).unwrap().modified().unwrap();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    until("sshd does not take up its files again", || {
        fs::metadata(at("sshd.pid")).is_ok_and(|m| m.modified().unwrap() > before)
    });
    until("sshd does not come back", greets);
    let report = ask();
    let daemon = report.sshd.as_result().unwrap();
    assert!(daemon.changed.as_result().unwrap().time <= read(daemon));

    drop(sshd);
    let gone = ask();
    let daemon = gone.sshd.as_result().unwrap();
    assert!(daemon.running.as_result().is_err(), "{daemon:?}");
}

#[test]
fn the_metadata_services_time_is_the_measure() {
    let Some(fake) = Fake::new(&["127.0.0.1:1".into()]) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let answer = "HTTP/1.1 401 Unauthorized\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let report = fake.report(&[("GANGPLANK_METADATA", &address), ("http_proxy", "http://127.0.0.1:9")]);
    server.join().unwrap();
    let skew = *report.clock.as_result().unwrap().skew.as_result().unwrap();
    assert!((report.time - skew - 1_767_225_600.0).abs() < 30.0, "{skew}");
}
