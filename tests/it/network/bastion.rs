//! A real OpenSSH server on loopback with the settings and key files that the product renders, in a mount namespace of its
//! own with its own accounts. It can be spoilt in one way or another before it starts.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use gangplank::{
    cloudinit,
    plan::*,
    verify::network::{HostKeys, Identity, Reach},
};
use serde_json::Value;

use super::{Keys, operator, plan, reach, target, targets, tunnel};

/// One bastion before it starts: everything is right until a test spoils it.
pub struct Machine {
    pub keys: Keys,
    pub plan: Plan,
    /// The drop-in that the product renders.
    pub sshd_config: String,
    /// By user.
    pub authorized_keys: Vec<(String, String)>,
    pub shell: &'static str,
    /// Modes of `authorized_keys`.
    pub mode: u32,
    /// PAM's module for the account phase.
    pub account: &'static str,
}

impl Machine {
    /// Two tunnels with two databases, and an operator.
    pub fn new() -> Option<Self> {
        Self::with_targets(targets::postgres(b"N"), targets::says(targets::MYSQL))
    }

    pub fn with_targets(postgres: u16, mysql: u16) -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            crate::support::skip("sshd with accounts of its own needs root");
            return None;
        }
        if sshd().is_none() {
            crate::support::skip("no sshd here");
            return None;
        }
        let namespace = Command::new("unshare").args(["--mount", "--propagation", "private", "true"]).output();
        if !namespace.is_ok_and(|done| done.status.success()) {
            crate::support::skip("no mount namespaces here");
            return None;
        }
        let keys = Keys::new()?;
        keys.make("host");
        let secoda = tunnel(
            "secoda",
            vec![keys.make("vendor"), keys.make("vendor-rsa")],
            vec![target("warehouse", postgres, Protocol::Postgres)],
        );
        let reporting =
            tunnel("reporting", vec![keys.make("reporting")], vec![target("orders", mysql, Protocol::Mysql)]);
        let plan = plan(targets::closed(), vec![secoda, reporting], vec![operator("ana", vec![keys.make("ana")])]);
        let (sshd_config, authorized_keys) = rendered(&plan);
        Some(Self {
            keys,
            plan,
            sshd_config,
            authorized_keys,
            shell: "/usr/sbin/nologin",
            mode: 0o600,
            account: "pam_unix.so",
        })
    }

    /// Once more, after the plan was changed.
    pub fn render(&mut self) {
        (self.sshd_config, self.authorized_keys) = rendered(&self.plan);
    }

    /// Changes one of the daemon's settings; the line must be there.
    #[track_caller]
    pub fn set(&mut self, from: &str, to: &str) {
        assert!(self.sshd_config.contains(from), "no {from:?} in {}", self.sshd_config);
        self.sshd_config = self.sshd_config.replace(from, to);
    }

    pub fn pinned(&self) -> HostKeys {
        HostKeys::Known(vec![self.keys.make("host").text()])
    }

    pub fn identity(&self, name: &str) -> Identity {
        Identity::load(&self.keys.path(name), &self.plan).unwrap()
    }

    /// As the operator would verify it.
    pub fn reach(&self) -> Reach {
        reach(self.plan.ssh.port, self.pinned(), Some(self.identity("ana")))
    }

    pub fn start(&self) -> Running {
        let folder = self.keys.folder.path();
        let at = |name: &str| folder.join(name);
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
        let mut shadow = String::from("root:*:19000:0:99999:7:::\nsshd:!:19000::::::\n");
        for (number, (user, content)) in (3001..).zip(&self.authorized_keys) {
            let home = at(&format!("home-{user}"));
            let ssh = home.join(".ssh");
            fs::create_dir_all(&ssh).unwrap();
            fs::write(ssh.join("authorized_keys"), content).unwrap();
            for (path, mode) in [(&home, 0o755), (&ssh, 0o700), (&ssh.join("authorized_keys"), self.mode)] {
                chown(path, Some(number), Some(number)).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            passwd += &format!("{user}:x:{number}:{number}::{}:{}\n", home.display(), self.shell);
            shadow += &format!("{user}:!:19000:0:99999:7:::\n");
        }
        fs::write(at("passwd"), passwd).unwrap();
        fs::write(at("shadow"), shadow).unwrap();
        fs::write(
            at("pam"),
            format!("auth required pam_unix.so\naccount required {}\nsession required pam_permit.so\n", self.account),
        )
        .unwrap();
        // Before the drop-in: these cannot stand in its Match blocks.
        let around = format!("ListenAddress 127.0.0.1\nHostKey {}\nPidFile none\n", at("host").display());
        fs::write(at("sshd_config"), around + &self.sshd_config).unwrap();
        let script = format!(
            "for f in passwd shadow; do mount --bind {0}/$f /etc/$f || exit 9; done; mount --bind {0}/pam /etc/pam.d/sshd || exit 9\n\
             mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec {1} -D -e -f {0}/sshd_config",
            folder.display(),
            sshd().unwrap().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("sshd: {}", log.lock().unwrap())).unwrap();
            log.lock().unwrap().push_str(&(line.clone() + "\n"));
            if line.starts_with("Server listening") {
                break;
            }
        }
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Running { child, log }
    }
}

/// The daemon's drop-in and each user's `authorized_keys`, from the machine's document.
fn rendered(plan: &Plan) -> (String, Vec<(String, String)>) {
    let document: Value = serde_yaml::from_str(&cloudinit::render(plan).unwrap().text).unwrap();
    let file = |path: String| {
        let files = document["write_files"].as_array().unwrap();
        let file = files.iter().find(|file| file["path"] == path.as_str()).unwrap_or_else(|| panic!("no {path}"));
        file["content"].as_str().unwrap().to_owned()
    };
    let keys =
        plan.accounts().map(|(user, _)| (user.to_string(), file(format!("/etc/gangplank/keys/{user}")))).collect();
    (file("/etc/gangplank/sshd.conf".to_owned()), keys)
}

pub fn sshd() -> Option<PathBuf> {
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].map(Path::new).into_iter().find(|path| path.exists()).map(Path::to_owned)
}

pub struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("{}", self.log());
        }
    }
}
