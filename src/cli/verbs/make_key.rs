//! `gangplank vendors NAME --make-key FILE`: a key pair for a vendor that is given the private half. Nothing prints that half.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use russh::keys::{
    Algorithm, HashAlg, PrivateKey,
    key::safe_rng,
    ssh_key::private::{KeypairData, RsaKeypair},
};
use serde_json::json;

use crate::{
    cli::{
        args::RunOutput,
        exit::{Error, Exit, print},
    },
    plan::catalogue::{KeyMaker, KeyPair, KnownVendor, TunnelOffer},
    text::shell_word,
};

/// As ssh-keygen makes them.
const RSA_BITS: usize = 3072;

/// Both halves as texts.
struct Pair {
    private: String,
    public: String,
    fingerprint: String,
}

pub fn run(vendor: &KnownVendor, file: &Path, output: RunOutput) -> Result<Exit, Error> {
    let name = &vendor.name;
    let refused = |why: String| Err(Error::Usage(format!("no key pair was made: {why}")));
    if vendor.tunnel == TunnelOffer::None {
        return refused(format!("{name} documents no SSH tunnel"));
    }
    if vendor.key.is_some_and(|key| key.made_by == KeyMaker::Vendor) {
        return refused(format!("{name} makes its own, and shows the public half of it"));
    }
    let kind = vendor.key.and_then(|key| key.pair).unwrap_or(KeyPair::Ed25519);
    let pair = pair(kind, &vendor.id).map_err(|error| Error::Io("making a key pair".to_owned(), error))?;
    let public = with_pub(file);
    write(&[(file, &pair.private, 0o600), (&public, &format!("{}\n", pair.public), 0o644)])?;
    print(&match output {
        RunOutput::Json => {
            let files = json!({"private": file.display().to_string(), "public": public.display().to_string()});
            let document = json!({
                "format_version": 1, "vendor": vendor.id, "files": files, "public_key": pair.public, "fingerprint": pair.fingerprint,
            });
            format!("{document:#}\n")
        }
        RunOutput::Human => {
            let shown = |path: &Path| shell_word(&path.display().to_string()).into_owned();
            format!(
                "{}: the private half, for {name}'s form. It belongs in no plan and no repository.\n{}: the public half, {}\n\nIn the plan, at \
                 the tunnel:\n    keys:\n      - \"{}\"\n",
                shown(file),
                shown(&public),
                pair.fingerprint,
                pair.public
            )
        }
    })?;
    Ok(Exit::Done)
}

fn pair(kind: KeyPair, comment: &str) -> io::Result<Pair> {
    let key = match kind {
        KeyPair::Ed25519 => PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(io::Error::other)?,
        KeyPair::RsaPem => {
            let key = rsa::RsaPrivateKey::new(&mut safe_rng(), RSA_BITS).map_err(io::Error::other)?;
            let pair = RsaKeypair::try_from(key).map_err(io::Error::other)?;
            PrivateKey::new(KeypairData::from(pair), "").map_err(io::Error::other)?
        }
    };
    let private = match key.key_data() {
        KeypairData::Rsa(pair) => {
            let key = rsa::RsaPrivateKey::try_from(pair).map_err(io::Error::other)?;
            key.to_pkcs1_pem(LineEnding::LF).map_err(io::Error::other)?.to_string()
        }
        _ => key.to_openssh(LineEnding::LF).map_err(io::Error::other)?.to_string(),
    };
    let public = key.public_key().to_openssh().map_err(io::Error::other)?;
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    Ok(Pair { private, public: format!("{public} {comment}"), fingerprint })
}

fn with_pub(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".pub");
    name.into()
}

/// Writes new files, all or none: what exists already is neither overwritten nor followed where it is a link.
fn write(files: &[(&Path, &str, u32)]) -> Result<(), Error> {
    let mut made = Vec::new();
    for (path, text, mode) in files {
        let written = create(path, *mode).and_then(|mut file| {
            made.push(*path);
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = written {
            made.iter().for_each(|path| drop(fs::remove_file(path)));
            let what = match error.kind() {
                io::ErrorKind::AlreadyExists => "no key pair was made, name a new file: ",
                _ => "writing ",
            };
            return Err(Error::Io(format!("{what}{}", path.display()), error));
        }
    }
    Ok(())
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(mode).custom_flags(libc::O_NOFOLLOW);
    }
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}
