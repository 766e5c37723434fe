//! A folder and files that are this user's alone: mode 0700 and 0600, and no symbolic link is followed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Makes the folder, or takes an existing one of this user; `true` where it is new.
pub fn folder(path: &Path) -> io::Result<bool> {
    // With a slash at its end, the name of a link stands for what it leads to.
    let path = &path.components().collect::<PathBuf>();
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match private_folder().create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => take(path).map(|()| false),
        Err(error) => Err(error),
    }
}

fn private_folder() -> DirBuilder {
    #[allow(unused_mut)]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Whether a folder that is there is this user's. It is closed to others, if it was open to them.
fn take(path: &Path) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    if !metadata.is_dir() {
        return Err(io::Error::other("it is no folder"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        // What this process makes is its user's: nothing else in the standard library tells who that is.
        let probe = path.join(format!("owner.{}", std::process::id()));
        let _ = fs::remove_file(&probe);
        let user = create(&probe)?.metadata()?.uid();
        fs::remove_file(&probe)?;
        if metadata.uid() != user {
            return Err(io::Error::other("it belongs to another user"));
        }
        if metadata.permissions().mode() & 0o777 != 0o700 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

/// A new file; what is there already, a link among it, is refused.
pub fn create(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().write(true).create_new(true)).open(path)
}

pub fn append(path: &Path) -> io::Result<File> {
    plain(private(OpenOptions::new().append(true).create(true)).open(path)?)
}

pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    plain(private(OpenOptions::new().read(true)).open(path)?)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Without O_NONBLOCK a pipe would be waited for.
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options
}

/// The file, if it is one; closed to others, if it was open to them.
fn plain(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o777 != 0o600 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(file)
}
