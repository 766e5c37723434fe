//! The programs that read the document on the machine, asked here. What is not installed is said to be skipped.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::{busy, embedded, file, live, parse, starter, text};

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

#[test]
fn shells_accept_the_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let settings = file(&parse(&text(&busy())), "/etc/gangplank/settings");
    for shell in ["sh", "dash", "bash"] {
        let Some(shell) = installed(shell) else {
            crate::support::skip(&format!("no {shell} here"));
            continue;
        };
        for source in [embedded("boot.sh"), embedded("updates.sh"), settings.clone()] {
            fs::write(&script, source).unwrap();
            let checked = run(Command::new(&shell).arg("-n").arg(&script));
            assert!(checked.status.success(), "{checked:?}");
        }
        let read = run(Command::new(&shell).arg("-c").arg(r#". "$0"; printf '%s|' $users "$open_files""#).arg(&script));
        assert_eq!(String::from_utf8(read.stdout).unwrap(), "ana|bo|fivetran|secoda|4096|");
    }
}

/// The real sshd, asked what it would grant. It runs as nobody where the tests run as root: root's sshd wants /run/sshd.
struct Sshd {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Sshd {
    /// The image's own settings disagree with ours on everything that matters, before and after.
    fn with_drop_in(drop_in: &str) -> Option<Self> {
        let Some(program) = installed("sshd") else {
            crate::support::skip("no sshd here");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let made = run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at("host_key")]));
        assert!(made.status.success(), "{made:?}");
        fs::create_dir(at("sshd_config.d")).unwrap();
        fs::write(at("sshd_config.d/00-gangplank.conf"), drop_in).unwrap();
        let image = "PasswordAuthentication yes\nMaxSessions 10\nAllowTcpForwarding yes\nPermitOpen any\nPermitTTY yes\n\
                     PermitRootLogin yes\nMatch User secoda\n  PermitOpen any\n  ForceCommand none\n";
        fs::write(at("sshd_config.d/50-cloud-init.conf"), image).unwrap();
        fs::write(at("sshd_config"), format!("Include {}\nX11Forwarding yes\nUsePAM no\n", at("sshd_config.d/*.conf")))
            .unwrap();
        for open in [".", "sshd_config.d", "host_key", "sshd_config"] {
            let mode = if Path::new(&at(open)).is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(at(open), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        Some(Self { program, folder })
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        let at = |name: &str| self.folder.path().join(name);
        command.args(arguments).arg("-h").arg(at("host_key")).arg("-f").arg(at("sshd_config"));
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(65534).gid(65534);
        } else {
            let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(at("host_key"), own).unwrap();
        }
        run(&mut command)
    }

    fn effective(&self, user: &str) -> Vec<String> {
        let answer = self.ask(&["-T", "-C", &format!("user={user},host=client.example,addr=203.0.113.9")]);
        assert!(answer.status.success(), "{answer:?}");
        String::from_utf8(answer.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

#[test]
fn sshd_grants_local_forwarding_to_the_targets_and_nothing_else() {
    let drop_in = file(&parse(&text(&busy())), "/etc/gangplank/sshd.conf");
    let Some(sshd) = Sshd::with_drop_in(&drop_in) else { return };
    let tested = sshd.ask(&["-t"]);
    assert!(tested.status.success() && tested.stderr.is_empty(), "{tested:?}");

    let everybody = [
        "port 2222",
        "maxsessions 7",
        "maxstartups 5:60:20",
        "usepam yes",
        "permitrootlogin no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "pubkeyauthentication yes",
        "authenticationmethods publickey",
        "strictmodes yes",
        "authorizedkeysfile .ssh/authorized_keys .ssh/gangplank_test",
        "authorizedkeyscommand none",
        "allowtcpforwarding local",
        "permitlisten none",
        "gatewayports no",
        "allowstreamlocalforwarding no",
        "allowagentforwarding no",
        "x11forwarding no",
        "permittunnel no",
        "permittty no",
        "permituserrc no",
        "permituserenvironment no",
        "forcecommand /usr/sbin/nologin",
        "logingracetime 30",
        "clientaliveinterval 60",
        "clientalivecountmax 3",
        "allowusers ana",
        "allowusers bo",
        "allowusers fivetran",
        "allowusers secoda",
    ];
    for (user, opens) in [
        ("secoda", "permitopen [2001:db8::5]:5433 warehouse.internal:5432"),
        ("fivetran", "permitopen 10.0.2.7:3306"),
        ("ana", "permitopen 10.0.2.7:3306 [2001:db8::5]:5433 warehouse.internal:5432"),
        ("admin", "permitopen none"),
    ] {
        let effective = sshd.effective(user);
        for line in everybody.iter().chain([&opens]) {
            assert!(effective.iter().any(|found| found == line), "{user}: no {line:?} in {effective:#?}");
        }
        let allowed = effective.iter().filter(|line| line.starts_with("allowusers ") || line.starts_with("port "));
        assert_eq!(allowed.count(), 5, "{user}: {effective:#?}");
    }
}

#[test]
fn sshd_notices_a_broken_drop_in() {
    let drop_in = file(&parse(&text(&starter())), "/etc/gangplank/sshd.conf");
    let Some(sshd) = Sshd::with_drop_in(&(drop_in + "MaxSessionz 1\n")) else { return };
    assert!(!sshd.ask(&["-t"]).status.success());
}

/// Asks cloud-init itself. `GANGPLANK_TEST_CLOUD_INIT` names a program that takes a document and answers with its exit code
/// (`tests/tools/cloud-init-schema.sh` makes one).
fn schema_accepts(document: &str) -> Option<bool> {
    let Some(checker) = std::env::var_os("GANGPLANK_TEST_CLOUD_INIT") else {
        crate::support::skip("GANGPLANK_TEST_CLOUD_INIT names no checker (tests/tools/cloud-init-schema.sh makes one)");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("user-data");
    fs::write(&path, document).unwrap();
    let answer = run(Command::new(checker).arg(&path));
    let said = String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr);
    println!("{said}");
    assert!(said.contains("chema"), "the checker did not run: {answer:?}");
    Some(answer.status.success())
}

#[test]
fn cloud_init_accepts_the_documents() {
    for plan in [starter(), busy(), live(starter())] {
        let Some(accepted) = schema_accepts(&text(&plan)) else { return };
        assert!(accepted, "{}", text(&plan));
    }
}

/// cloud-init 22 accepts unknown keys; a checker that cannot refuse proves nothing.
#[test]
fn cloud_init_refuses_what_it_does_not_know() {
    let document = text(&starter());
    for broken in [document.clone() + "gangplanks: 1\n", document.replace("lock_passwd: true", "lock_passwd: maybe")] {
        let Some(accepted) = schema_accepts(&broken) else { return };
        assert!(!accepted, "{broken}");
    }
}
