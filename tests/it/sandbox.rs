//! The program in its own sandbox, as people use it: one folder over many commands, other programs beside it, and what goes
//! wrong with folders, ports and disks.

mod claims;
mod demo;
mod ends;
mod folder;
mod front;
mod hostile;
mod listen;
mod log;
mod networks;
#[cfg(feature = "azure")]
mod peering;
mod reads;
mod saved;
#[cfg(unix)]
mod second_look;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod terminal;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use gangplank::sandbox::{
    cloud::{Sandbox, State},
    company,
};
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use tempfile::TempDir;

use crate::support::program::{Run, Victim, run};

/// The folder that `--sandbox` without a value means.
const FOLDER: &str = ".gangplank-sandbox";

/// Somebody's folder with two plans, an operator's key, and nothing else.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let [ana, vendor] =
            ["ana", "secoda"].map(|_| PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).expect("a key"));
        let public = |key: &PrivateKey| key.public_key().to_openssh().expect("a public key");
        fs::create_dir(home.path().join("plans")).expect("a folder");
        for (name, text) in company::plans(&public(&ana), &format!("\"{}\"", public(&vendor))) {
            fs::write(home.path().join("plans").join(name), text).expect("a plan");
        }
        let text = ana.to_openssh(LineEnding::LF).expect("a private key");
        let key = home.path().join("ana");
        fs::write(&key, text.as_bytes()).expect("a key's file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a key that nobody else reads");
        }
        Self(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program, with no more of an environment than it needs.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TZ", "UTC")
            .args(args);
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Run {
        run(&mut self.command(args), &Victim::default())
    }

    /// Runs a verb in the sandbox of [`FOLDER`].
    #[track_caller]
    fn play(&self, args: &[&str]) -> Run {
        self.run(&[args, &["--sandbox"]].concat())
    }

    fn state(&self) -> PathBuf {
        self.path(FOLDER).join("sandbox.json")
    }

    /// Every resource that the worlds know.
    fn inventory(&self) -> Vec<String> {
        let sandbox = Sandbox::open(&self.path(FOLDER), State::company).expect("a sandbox that nobody uses");
        sandbox.change(|state, now| state.inventory(now))
    }
}

/// What a folder holds, byte for byte.
fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect()
}
