//! Which files and agents are identities, and what is said about those that are not.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use super::{bastion::Machine, *};

struct Case {
    keys: Keys,
    plan: Plan,
}

impl Case {
    fn new() -> Option<Self> {
        let keys = Keys::new()?;
        let tunnels =
            vec![tunnel("secoda", vec![keys.make("vendor-rsa")], vec![target("warehouse", 5432, Protocol::Postgres)])];
        let plan = plan(22, tunnels, vec![operator("ana", vec![keys.make("ana")])]);
        Some(Self { keys, plan })
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.keys.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Why the file is no identity, in one text without its folder's name.
    #[track_caller]
    fn refused(&self, path: &Path) -> String {
        let problem = Identity::load(path, &self.plan).unwrap_err();
        let text = format!("{}\n{}\n{}", problem.summary, problem.detail.unwrap(), problem.fix.unwrap());
        text.replace(&self.keys.folder.path().display().to_string(), "FOLDER")
    }
}

#[test]
fn a_key_of_the_plan_is_its_users_identity() {
    let Some(case) = Case::new() else { return };
    for (key, user) in [("ana", "ana"), ("vendor-rsa", "secoda")] {
        let identity = Identity::load(&case.keys.path(key), &case.plan).unwrap();
        assert_eq!((identity.user.as_str(), &identity.fingerprint), (user, &case.keys.make(key).fingerprint));
        let base64 = fs::read_to_string(case.keys.path(key)).unwrap().lines().nth(1).unwrap().to_owned();
        assert!(!format!("{identity:?}").contains(&base64[..16]));
    }
}

#[test]
fn what_is_no_identity_is_explained() {
    let Some(case) = Case::new() else { return };
    insta::assert_snapshot!(case.refused(&case.keys.path("missing")), @"
    the identity file cannot be read
    FOLDER/missing: No such file or directory (os error 2).
    name the file of a private key
    ");
    insta::assert_snapshot!(case.refused(case.keys.folder.path()), @"
    the identity is no private key
    FOLDER is no file of a key's size.
    name the file of a private key
    ");
    insta::assert_snapshot!(case.refused(&case.keys.path("ana.pub")), @"
    the identity is a public key
    FOLDER/ana.pub holds the public half.
    name the private key's file (the same without .pub), or add the key to an ssh-agent and use that
    ");
    insta::assert_snapshot!(case.refused(&case.write("text", b"hello", 0o600)), @"
    the identity is no private key
    FOLDER/text holds no key that can be read.
    name the file of a private key, as ssh-keygen writes it
    ");

    let ana = fs::read(case.keys.path("ana")).unwrap();
    insta::assert_snapshot!(case.refused(&case.write("open", &ana, 0o644)), @"
    the identity may be read by others
    FOLDER/open has mode 0644.
    run: chmod 600 FOLDER/open
    ");
    insta::assert_snapshot!(case.refused(&case.write("cut", &ana[..ana.len() / 2], 0o600)), @"
    the identity is no private key
    FOLDER/cut holds no key that can be read.
    name the file of a private key, as ssh-keygen writes it
    ");

    case.keys.make("stranger");
    insta::assert_snapshot!(case.refused(&case.keys.path("stranger")), @"
    nobody's identity
    No user of the plan has the key in FOLDER/stranger.
    add its public half to an operator of the plan and apply, or use an operator's own key
    ");

    let locked = case.write("locked", &ana, 0o600);
    let made = Command::new("ssh-keygen").args(["-q", "-p", "-N", "secret", "-f"]).arg(&locked).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    insta::assert_snapshot!(case.refused(&locked), @"
    the identity has a passphrase
    FOLDER/locked is encrypted.
    run: ssh-add FOLDER/locked; then use the ssh-agent as the identity
    ");
}

#[test]
fn nothing_of_a_file_stands_in_a_refusal() {
    let Some(case) = Case::new() else { return };
    let ana = fs::read_to_string(case.keys.path("ana")).unwrap();
    let lines: Vec<&str> = ana.lines().collect();
    for damaged in [ana.replace("OPENSSH", "RSA"), ana.replacen(&lines[1][..8], "????????", 1), lines[1..].join("\n")] {
        let refused = case.refused(&case.write("damaged", damaged.as_bytes(), 0o600));
        assert!(lines.iter().all(|line| !refused.contains(&line[line.len() / 2..])), "{refused}");
    }
}

struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// An ssh-agent in the foreground, with these keys.
    fn start(keys: &Keys, names: &[&str]) -> Option<Self> {
        let socket = keys.path("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).stdin(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            crate::support::skip("no ssh-agent here");
            return None;
        };
        // It says where it listens once it does.
        let mut said = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut said).unwrap();
        for name in names {
            let added = Command::new("ssh-add").arg(keys.path(name)).env("SSH_AUTH_SOCK", &socket).output().unwrap();
            assert!(added.status.success(), "{added:?}");
        }
        Some(Self { child, socket })
    }

    fn identity(&self, plan: &Plan) -> Result<Identity, gangplank::diagnostic::Diagnostic> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Identity::from_agent(&self.socket, plan))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_agents_key_enters() {
    let Some(machine) = Machine::new() else { return };
    let Some(agent) = Agent::start(&machine.keys, &["vendor-rsa", "ana"]) else { return };
    let identity = agent.identity(&machine.plan).unwrap();
    assert_eq!(identity.user.as_str(), "ana", "operators before tunnels");
    let _running = machine.start();
    let checks = run(&machine.plan, &reach(machine.plan.ssh.port, machine.pinned(), Some(identity)));
    assert_eq!(red(&checks), [""; 0], "{checks:#?}");
    assert_eq!(named(&checks, "network.forward[warehouse]").verdict, Verdict::Pass);
}

#[test]
fn an_agent_without_a_key_of_the_plan_is_explained() {
    let Some(case) = Case::new() else { return };
    case.keys.make("stranger");
    let Some(agent) = Agent::start(&case.keys, &["stranger"]) else { return };
    assert_eq!(agent.identity(&case.plan).unwrap_err().summary, "the ssh-agent has no key of the plan");
    let gone = Agent { child: Command::new("true").spawn().unwrap(), socket: case.keys.path("nothing") };
    assert_eq!(gone.identity(&case.plan).unwrap_err().summary, "the ssh-agent does not answer");
}
