//! The document that a machine was given, as cloud-init reads it: users, files, and what runs (cloud-init's documentation,
//! "Module reference": Users and Groups, Write Files, Runcmd).

use std::{collections::BTreeMap, fmt, io::Read};

use base64ct::{Base64, Encoding};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The report reads no more either.
const LARGEST: u64 = 1 << 20;

/// What cloud-init does with a document, as far as it matters to a bastion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// In its order.
    pub users: Vec<User>,
    /// By path.
    pub files: BTreeMap<String, File>,
    /// The commands of `runcmd`, in words; one that is a text is a shell's.
    pub runs: Vec<Vec<String>>,
    /// `ssh_pwauth`: what cloud-init writes into sshd's settings about passwords; `None`: nothing.
    pub passwords: Option<bool>,
    /// [`crate::cloudinit::UserData::digest`] of its text.
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub shell: String,
    /// No password is accepted.
    pub locked: bool,
    pub sudo: bool,
    /// Beside the one of its own name.
    pub groups: Vec<String>,
    /// OpenSSH lines that cloud-init puts into its authorized_keys.
    pub keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    pub owner: String,
}

/// Why cloud-init could make nothing of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Deserialize)]
struct Written {
    users: Option<Vec<Value>>,
    #[serde(default)]
    write_files: Vec<WrittenFile>,
    #[serde(default)]
    runcmd: Vec<Value>,
    ssh_pwauth: Option<bool>,
}

#[derive(Deserialize)]
struct WrittenFile {
    path: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    permissions: Option<String>,
    #[serde(default)]
    owner: Option<String>,
}

/// Reads a document as a machine gets it, compressed or not.
///
/// # Errors
/// Bytes that cannot be decompressed, a text that is no `#cloud-config`, or one that is not what cloud-init's schema says.
pub fn read(bytes: &[u8]) -> Result<Document, Unreadable> {
    let text = match bytes {
        [0x1f, 0x8b, ..] => inflated(bytes)?,
        _ => bytes.to_vec(),
    };
    let digest = Sha256::digest(&text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8(text).map_err(|_| Unreadable("it is not UTF-8".to_owned()))?;
    if text.lines().next().map(str::trim_end) != Some("#cloud-config") {
        return Err(Unreadable("it does not begin with #cloud-config".to_owned()));
    }
    let written: Written = serde_yaml::from_str(&text).map_err(|error| Unreadable(error.to_string()))?;
    let files = written.write_files.into_iter().map(file).collect::<Result<_, _>>()?;
    let runs = written.runcmd.iter().map(words).collect();
    Ok(Document { users: users(written.users)?, files, runs, passwords: written.ssh_pwauth, digest })
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut text = Vec::new();
    let read = GzDecoder::new(bytes).take(LARGEST).read_to_end(&mut text);
    read.map_err(|error| Unreadable(format!("it cannot be decompressed: {error}")))?;
    Ok(text)
}

/// Without `users` the image's own administrator is created, with the keys that the cloud hands out; the sandbox hands out none.
fn users(written: Option<Vec<Value>>) -> Result<Vec<User>, Unreadable> {
    let administrator = || User {
        name: "admin".to_owned(),
        shell: "/bin/bash".to_owned(),
        locked: true,
        sudo: true,
        groups: Vec::new(),
        keys: Vec::new(),
    };
    let Some(written) = written else { return Ok(vec![administrator()]) };
    written
        .iter()
        .map(|entry| match entry {
            Value::String(name) if name == "default" => Ok(administrator()),
            Value::String(name) => Ok(plain(name)),
            entry => {
                let name = entry.get("name").and_then(Value::as_str);
                let name = name.ok_or_else(|| Unreadable("a user has no name".to_owned()))?;
                let text = |field: &str| entry.get(field).and_then(Value::as_str);
                let list = |field: &str| match entry.get(field) {
                    Some(Value::String(text)) => text.split(',').map(|one| one.trim().to_owned()).collect(),
                    Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                    _ => Vec::new(),
                };
                Ok(User {
                    shell: text("shell").unwrap_or("/bin/sh").to_owned(),
                    locked: entry.get("lock_passwd").and_then(Value::as_bool).unwrap_or(true),
                    sudo: entry.get("sudo").is_some_and(|sudo| *sudo != Value::Bool(false) && !sudo.is_null()),
                    groups: list("groups"),
                    keys: list("ssh_authorized_keys"),
                    ..plain(name)
                })
            }
        })
        .collect()
}

fn plain(name: &str) -> User {
    User {
        name: name.to_owned(),
        shell: "/bin/sh".to_owned(),
        locked: true,
        sudo: false,
        groups: Vec::new(),
        keys: Vec::new(),
    }
}

fn file(written: WrittenFile) -> Result<(String, File), Unreadable> {
    let path = written.path;
    let bad = |what: &str| Unreadable(format!("the {what} of {path} cannot be read"));
    let base64 = |text: &str| {
        let text: String = text.split_ascii_whitespace().collect();
        Base64::decode_vec(&text).map_err(|_| bad("base64"))
    };
    let content = match written.encoding.to_lowercase().as_str() {
        "" | "text/plain" => written.content.into_bytes(),
        "b64" | "base64" => base64(&written.content)?,
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => inflated(&base64(&written.content)?)?,
        _ => return Err(bad("encoding")),
    };
    let mode = written.permissions.as_deref().unwrap_or("0644");
    let mode = u32::from_str_radix(mode, 8).map_err(|_| bad("permissions"))?;
    let owner = written.owner.unwrap_or_else(|| "root:root".to_owned());
    let owner = owner.split(':').next().unwrap_or_default().to_owned();
    Ok((path, File { content, mode, owner }))
}

fn words(command: &Value) -> Vec<String> {
    match command {
        Value::Array(words) => words.iter().map(|w| w.as_str().map_or_else(|| w.to_string(), str::to_owned)).collect(),
        Value::String(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
        _ => Vec::new(),
    }
}

impl Document {
    /// A file's text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(|file| std::str::from_utf8(&file.content).ok())
    }

    /// Whether this path is a program with exactly this text.
    pub fn has_program(&self, path: &str, text: &str) -> bool {
        self.text(path) == Some(text) && self.files.get(path).is_some_and(|file| file.mode & 0o111 != 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str) -> Document {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn users_are_the_documents_own() {
        let read = document(
            "#cloud-config\nusers:\n- {name: ana, shell: /usr/sbin/nologin}\n- {name: bob, sudo: ALL, groups: [a, b], lock_passwd: false}\n",
        );
        assert_eq!(read.users[0], User { shell: "/usr/sbin/nologin".to_owned(), ..plain("ana") });
        assert!(read.users[1].sudo && !read.users[1].locked && read.users[1].groups == ["a", "b"]);
        assert_eq!(document("#cloud-config\n{}\n").users[0].name, "admin");
        assert_eq!(document("#cloud-config\nusers: []\n").users, []);
    }

    #[test]
    fn files_have_encodings_modes_and_owners() {
        let read = document(
            "#cloud-config\nwrite_files:\n- {path: /a, content: aGk=, encoding: b64, permissions: '0600', owner: 'ana:ana'}\n- {path: /b, content: hi}\n",
        );
        assert_eq!(read.files["/a"], File { content: b"hi".to_vec(), mode: 0o600, owner: "ana".to_owned() });
        assert_eq!(read.files["/b"], File { content: b"hi".to_vec(), mode: 0o644, owner: "root".to_owned() });
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"#cloud-config\n[", b"\x1f\x8b", b"#cloud-config\nusers: [{}]\n"] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            start in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\0", b"#cloud-config\n", b"#cloud-config\nusers: [", b"#cloud-config\nwrite_files: [{path: a, "]),
        ) {
            let _ = read(&[start, &bytes].concat());
        }
    }
}
