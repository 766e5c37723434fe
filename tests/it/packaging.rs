//! packaging/build makes packages of the built program; each is installed where nothing else is, and shows the demonstration.

use std::{env, fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::support;

/// Runs a command in an environment without anything of the caller's, and returns what it printed.
fn printed(command: &mut Command, home: &Path) -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let run = command.env_clear().env("PATH", path).env("HOME", home).output().expect("it starts");
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|run| run.status.success())
}

fn demonstrates(program: &Path, home: &Path) {
    let told = printed(Command::new(program).args(["demo", "--quiet"]), home);
    assert!(told.contains("Every step ended as it should"), "{program:?}: {told}");
}

/// The package whose name ends so.
fn made(out: &Path, ending: &str) -> std::path::PathBuf {
    let mut entries = fs::read_dir(out).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.find(|path| path.to_string_lossy().ends_with(ending)).unwrap_or_else(|| panic!("no package {ending}"))
}

#[test]
fn packages_install_and_show_the_demonstration() {
    let Some(python) = support::python() else { return support::skip("no Python here (tests/run installs it)") };
    if !is_there("dpkg-deb") {
        return support::cannot("no dpkg-deb here");
    }
    let home = TempDir::new().expect("a temporary folder");
    let home = home.path();
    let out = home.join("out");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build");
    let program = env!("CARGO_BIN_EXE_gangplank");
    printed(Command::new(&python).arg(script).args(["--level", "0", program]).arg(&out), home);
    printed(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&out), home);

    let tarball = made(&out, ".tar.gz");
    printed(Command::new("tar").arg("-xzf").arg(&tarball).arg("--strip-components=1").current_dir(home), home);
    fs::remove_file(tarball).expect("it goes");
    let version = printed(Command::new(home.join("gangplank")).arg("--version"), home);
    assert_eq!(version.trim(), concat!("gangplank ", env!("CARGO_PKG_VERSION")));
    assert!(home.join("LICENSE-MIT").exists());

    let (deb, root) = (made(&out, ".deb"), home.join("root"));
    let depends = printed(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Depends"), home);
    assert!(depends.starts_with("libc6 (>= 2."), "{depends}");
    printed(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&root), home);
    fs::remove_file(deb).expect("it goes");
    demonstrates(&root.join("usr/bin/gangplank"), home);
    for verb in ["drift", "reap"] {
        for kind in ["service", "timer"] {
            assert!(root.join(format!("usr/lib/systemd/system/gangplank-{verb}.{kind}")).exists());
        }
    }
    // A link in a folder `*.wants` would enable a timer.
    assert!(!root.join("etc/systemd").exists());
    fs::remove_dir_all(root).expect("it goes");

    let (wheel, venv) = (made(&out, ".whl"), home.join("venv"));
    printed(Command::new(&python).args(["-m", "venv", "--without-pip"]).arg(&venv), home);
    let pip = ["-m", "pip", "--disable-pip-version-check", "--python"];
    let install = ["install", "--quiet", "--no-index", "--no-cache-dir"];
    printed(Command::new(&python).args(pip).arg(&venv).args(install).arg(&wheel), home);
    demonstrates(&venv.join("bin/gangplank"), home);
}
