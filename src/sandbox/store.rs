//! A sandbox in a folder, between commands: one file that is replaced whole, a lock, and the log of calls.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

const STATE: &str = "sandbox.json";
const LOCK: &str = "lock";
const CALLS: &str = "calls.jsonl";

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

/// The folder, locked for this process as long as this lives.
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
    /// A folder that cannot be written, that another process uses, or whose file is no sandbox's. Nothing is changed then.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Option<T>), Trouble> {
        let new = !path.exists();
        fs::create_dir_all(path).map_err(|error| unusable(path, "making the folder", &error))?;
        if new {
            // It may lie beside plans that are kept in git. That it cannot be written is told by what must be.
            let _ = fs::write(path.join(".gitignore"), "*\n");
        }
        let lock = lock(path)?;
        let state = match fs::read(path.join(STATE)) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| corrupt(path, &error))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(path, "reading its state", &error)),
        };
        let calls = append(path, CALLS).map_err(|error| unusable(path, "opening its log", &error))?;
        Ok((Self { path: path.to_owned(), calls, _lock: lock }, state))
    }

    /// Whether there is a sandbox in a folder.
    ///
    /// # Errors
    /// There is none.
    pub fn exists(path: &Path) -> Result<(), Trouble> {
        if path.join(LOCK).exists() {
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
        let next = self.path.join(format!("{STATE}.next"));
        let result = (|| {
            let mut file = File::create(&next)?;
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

fn append(path: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path.join(name))
}

fn lock(path: &Path) -> Result<File, Trouble> {
    let lock = append(path, LOCK).map_err(|error| unusable(path, "making its lock", &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
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
        format!("begin anew: gangplank sandbox reset --sandbox={}", path.display()),
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

    /// /dev/full stands for a full disk: every write to it fails.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_what_was_there() {
        let home = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::open::<Vec<u8>>(home.path()).unwrap();
        folder.save(&vec![1]).unwrap();
        std::os::unix::fs::symlink("/dev/full", home.path().join(format!("{STATE}.next"))).unwrap();
        assert!(folder.save(&vec![2]).is_err());
        drop(folder);
        assert_eq!(Folder::open::<Vec<u8>>(home.path()).unwrap().1, Some(vec![1]));
    }

    #[test]
    fn somebody_elses_folder_is_not_reset() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(CALLS), "mine").unwrap();
        assert!(Folder::reset(home.path()).is_err());
        assert!(home.path().join(CALLS).exists());
    }
}
