//! The accepted keys as the metadata service shows them, and whether the machine takes them: what `templates/keys.py` does.

use std::collections::BTreeMap;

use russh::keys::{HashAlg, PublicKey};
use sha2::{Digest, Sha256};

use crate::sandbox::vm::Channel;

/// User and text of each key, sorted.
pub type Keys = Vec<(String, String)>;

/// Reads one whole set.
///
/// # Errors
/// Why it is none, in the script's words where they are its own.
pub fn read(channel: &Channel) -> Result<Keys, String> {
    let (what, digest, keys) = match channel {
        Channel::Tags(None) => return Err("meta-data/tags/instance/: HTTP Error 404: Not Found".to_owned()),
        Channel::Tags(Some(tags)) => ("tags are", tags.get("gangplank:keys").cloned(), assemble(tags)?),
        Channel::UserData(data) => {
            let (digest, keys) = lines(data.as_deref().unwrap_or_default())?;
            ("user data is", digest, keys)
        }
    };
    let whole: String = keys.iter().map(|(user, key)| format!("{user} {key}\n")).collect();
    let own: String = Sha256::digest(whole).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    if digest.as_deref() != Some(own.as_str()) {
        return Err(format!("the {what} not one whole set; they may be changing"));
    }
    Ok(keys)
}

fn lines(data: &[u8]) -> Result<(Option<String>, Keys), String> {
    let text = std::str::from_utf8(data).ok().filter(|text| text.is_ascii());
    let text = text.ok_or("'ascii' codec can't decode the user data")?;
    let mut lines = text.lines();
    let digest = lines.next().map(str::to_owned);
    let pair = |line: &str| line.split_once(' ').map(|(user, key)| (user.to_owned(), key.to_owned()));
    let mut keys: Keys =
        lines.map(pair).collect::<Option<_>>().ok_or("not enough values to unpack (expected 2, got 1)")?;
    keys.sort();
    Ok((digest, keys))
}

fn assemble(tags: &BTreeMap<String, String>) -> Result<Keys, String> {
    let mut parts: BTreeMap<(&str, &str), BTreeMap<i64, &str>> = BTreeMap::new();
    for (name, value) in tags.iter().filter(|(name, _)| name.starts_with("gangplank:key.")) {
        let words: Vec<&str> = name.split('.').collect();
        let [_, user, number, part] = words.as_slice() else {
            return Err(format!("{name} names no part of a key (expected 4 words, got {})", words.len()));
        };
        let part = part.parse().map_err(|_| format!("invalid literal for int() with base 10: '{part}'"))?;
        parts.entry((user, number)).or_default().insert(part, value);
    }
    let mut keys: Keys = parts
        .into_iter()
        .map(|((user, _), parts)| (user.to_owned(), parts.into_values().collect::<String>()))
        .collect();
    keys.sort();
    Ok(keys)
}

/// What ssh-keygen calls keys.
///
/// # Errors
/// Where one of them is none.
pub fn fingerprints(keys: &[&str]) -> Result<String, String> {
    let found: Option<Vec<String>> = keys
        .iter()
        .map(|text| {
            let (algorithm, base64) = text.split_once(' ')?;
            let fine = |text: &str, others: &str| {
                !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
            };
            let whole = fine(algorithm, "@.-") && fine(base64, "_+/=") && !algorithm.chars().any(char::is_uppercase);
            let key = PublicKey::from_openssh(text).ok().filter(|_| whole)?;
            Some(key.fingerprint(HashAlg::Sha256).to_string())
        })
        .collect();
    found.map(|found| found.join(" ")).ok_or_else(|| format!("not all of these are keys: {keys:?}"))
}
