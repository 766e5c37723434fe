//! A sandbox in a folder, between commands: one file that is replaced whole, a lock, and the log of calls.

mod own;

use std::{
    fmt,
    fs::{self, File, TryLockError},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::text::shell_word;

const STATE: &str = "sandbox.json";
const LOCK: &str = "lock";
const CALLS: &str = "calls.jsonl";
/// What the name of a file ends with that is still being written.
const NEXT: &str = ".next";

/// Why a sandbox cannot be used, and what to do.
#[derive(Debug)]
pub struct Trouble {
    what: String,
    fix: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.what, self.fix)
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// The folder, locked for this process as long as this lives. It may lie in a repository that somebody else made: no symbolic
/// link in it is followed.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    calls: File,
    _lock: File,
}

impl Folder {
    /// Opens or makes it, and reads what is kept there; `None` in a new one.
    ///
    /// # Errors
    /// A folder that cannot be written, that another process uses or another user owns, or whose file is no sandbox's.
    /// Nothing is changed then.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Option<T>), Trouble> {
        let new = own::folder(path).map_err(|error| unusable(path, "making the folder", &error))?;
        if new {
            // It may lie beside plans that are kept in git. That it cannot be written is told by what must be.
            let _ = own::create(&path.join(".gitignore")).and_then(|mut file| file.write_all(b"*\n"));
        }
        let lock = lock(path)?;
        let state = match own::read(&path.join(STATE)) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| corrupt(path, &error))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(path, "reading its state", &error)),
        };
        let calls = own::append(&path.join(CALLS)).map_err(|error| unusable(path, "opening its log", &error))?;
        Ok((Self { path: path.to_owned(), calls, _lock: lock }, state))
    }

    /// Whether there is a sandbox in a folder.
    ///
    /// # Errors
    /// There is none.
    pub fn exists(path: &Path) -> Result<(), Trouble> {
        if path.join(LOCK).symlink_metadata().is_ok_and(|lock| lock.is_file()) {
            return Ok(());
        }
        Err(Trouble::new(
            format!("there is no sandbox in {}", path.display()),
            "name the folder that the other commands were given: --sandbox=FOLDER",
        ))
    }

    /// Replaces what is kept, whole or not at all.
    ///
    /// # Errors
    /// What the operating system says; what was kept before is still there.
    pub fn save(&self, state: &impl Serialize) -> io::Result<()> {
        // Nobody can have put a link under a name that is new each time.
        let random = RandomState::new().build_hasher().finish();
        let next = self.path.join(format!("{STATE}.{random:016x}{NEXT}"));
        let result = (|| {
            let mut file = own::create(&next)?;
            file.write_all(&serde_json::to_vec(state)?)?;
            file.sync_all()?;
            fs::rename(&next, self.path.join(STATE))
        })();
        if result.is_err() {
            let _ = fs::remove_file(&next);
        }
        result
    }

    /// Adds a line to the log of calls. It is for people: that it cannot be written stops nothing.
    pub fn log(&mut self, line: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(line) {
            let _ = writeln!(self.calls, "{text}");
        }
    }

    /// Forgets everything that is kept in a folder, whether it can be read or not.
    ///
    /// # Errors
    /// A folder that another process uses or that cannot be changed.
    pub fn reset(path: &Path) -> Result<(), Trouble> {
        Self::exists(path)?;
        own::folder(path).map_err(|error| unusable(path, "opening the folder", &error))?;
        // The lock's file stays: whoever waits for it must not be left with another one.
        let _lock = lock(path)?;
        for name in [STATE, CALLS] {
            match fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Trouble::new(
                        format!("{} cannot be removed: {error}", path.join(name).display()),
                        "remove the folder yourself",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Takes the lock, and removes what a killed process was writing.
fn lock(path: &Path) -> Result<File, Trouble> {
    let lock = own::append(&path.join(LOCK)).map_err(|error| unusable(path, "making its lock", &error))?;
    match lock.try_lock() {
        Ok(()) => {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| name.starts_with(STATE) && name.ends_with(NEXT)) {
                    let _ = fs::remove_file(entry.path());
                }
            }
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => Err(Trouble::new(
            format!("another gangplank is using the sandbox in {}", path.display()),
            "wait for it to end, or use another folder: --sandbox=FOLDER",
        )),
        Err(TryLockError::Error(error)) => Err(unusable(path, "locking it", &error)),
    }
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Trouble {
    Trouble::new(
        format!("the sandbox in {} cannot be used: {what}: {error}", path.display()),
        "name a folder that you may write: --sandbox=FOLDER",
    )
}

fn corrupt(path: &Path, error: &serde_json::Error) -> Trouble {
    Trouble::new(
        format!("{} is not what a sandbox keeps, or not this version's: {error}", path.join(STATE).display()),
        format!("begin anew: gangplank sandbox reset --sandbox={}", shell_word(&path.display().to_string())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back_and_locked_meanwhile() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/sandbox");
        let (folder, state) = Folder::open::<Vec<u8>>(&path).unwrap();
        assert_eq!(state, None);
        folder.save(&vec![1, 2, 3]).unwrap();
        let text = Folder::open::<Vec<u8>>(&path).unwrap_err().to_string();
        assert!(text.contains("another gangplank is using"), "{text}");
        drop(folder);
        assert_eq!(Folder::open::<Vec<u8>>(&path).unwrap().1, Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_kept_until_it_is_reset() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(STATE), "{\"half\":").unwrap();
        let text = Folder::open::<Vec<u8>>(home.path()).unwrap_err().to_string();
        assert!(text.contains("is not what a sandbox keeps") && text.contains("sandbox reset"), "{text}");
        assert_eq!(fs::read_to_string(home.path().join(STATE)).unwrap(), "{\"half\":");
        Folder::reset(home.path()).unwrap();
        assert_eq!(Folder::open::<Vec<u8>>(home.path()).unwrap().1, None);
    }

    /// Writing it fails halfway.
    struct Endless;

    impl Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no end"))
        }
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let home = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::open::<Vec<u8>>(home.path()).unwrap();
        folder.save(&vec![1]).unwrap();
        assert!(folder.save(&Endless).is_err());
        drop(folder);
        // As a killed process leaves it.
        fs::write(home.path().join("sandbox.json.0123.next"), "[").unwrap();
        assert_eq!(Folder::open::<Vec<u8>>(home.path()).unwrap().1, Some(vec![1]));
        let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    /// Other people's files, where a repository's links would lead to.
    #[cfg(unix)]
    #[test]
    fn no_link_is_followed() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        fs::write(&victim, "mine\n").unwrap();
        for name in [STATE, CALLS, LOCK] {
            let path = home.path().join(format!("box-{name}"));
            fs::create_dir(&path).unwrap();
            symlink(&victim, path.join(name)).unwrap();
            let text = Folder::open::<Vec<u8>>(&path).unwrap_err().to_string();
            assert!(text.contains("cannot be used"), "{name}: {text}");
        }
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, home.path().join("link")).unwrap();
        let text = Folder::open::<Vec<u8>>(&home.path().join("link")).unwrap_err().to_string();
        assert!(text.contains("symbolic link"), "{text}");
        let text = Folder::open::<Vec<u8>>(&home.path().join("link/")).unwrap_err().to_string();
        assert!(text.contains("symbolic link"), "with a slash at its end: {text}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine\n");
    }

    /// Only root can give a folder away, and so make this one.
    #[cfg(unix)]
    #[test]
    fn another_users_folder_is_refused() {
        let home = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(home.path(), Some(12_345), None).is_err() {
            return;
        }
        let text = Folder::open::<Vec<u8>>(home.path()).unwrap_err().to_string();
        assert!(text.contains("it belongs to another user"), "{text}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("box");
        fs::create_dir(&path).unwrap();
        fs::write(path.join(CALLS), "").unwrap();
        for open in [&path, &path.join(CALLS)] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let (folder, _) = Folder::open::<Vec<u8>>(&path).unwrap();
        folder.save(&vec![1]).unwrap();
        let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for name in [STATE, CALLS, LOCK] {
            assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn somebody_elses_folder_is_not_reset() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(CALLS), "mine").unwrap();
        assert!(Folder::reset(home.path()).is_err());
        assert!(home.path().join(CALLS).exists());
    }
}
