//! The accepted keys and the deadline as the metadata service shows them, and whether the machine takes them: what
//! `templates/keys.py` does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use russh::keys::{HashAlg, PublicKey};
use sha2::{Digest, Sha256};

use crate::{
    sandbox::vm::Channel,
    tags::{BASTION, EXPIRES, KEYS},
};

/// How the names of a key's parts begin.
const KEY: &str = "gangplank:key.";

/// User and text of each key, sorted.
pub type Keys = Vec<(String, String)>;

/// What there is to see.
pub struct Look {
    /// The deadline's text, or that there is none; `None` where that cannot be known.
    pub end: Option<Option<String>>,
    /// One whole set, or why it is none.
    pub keys: Result<Keys, String>,
}

/// # Errors
/// Why nothing can be seen, in the script's words where they are its own.
pub fn look(channel: &Channel) -> Result<Look, String> {
    match channel {
        Channel::Tags(None) => Err("meta-data/tags/instance/: HTTP Error 404: Not Found".to_owned()),
        Channel::Tags(Some(tags)) => {
            let ours = |name: &str| name == EXPIRES || name == KEYS || name == BASTION || name.starts_with(KEY);
            // Tags of which none is ours say nothing: somebody has swept them away.
            let end = tags.keys().any(|name| ours(name)).then(|| tags.get(EXPIRES).cloned());
            let keys = assemble(tags).and_then(|keys| whole("tags are", tags.get(KEYS).map(String::as_str), keys));
            Ok(Look { end, keys })
        }
        Channel::UserData(data) => {
            let (digest, lines) = lines(data.as_deref().unwrap_or_default())?;
            let keys = whole("user data is", digest.as_deref(), lines)?;
            let end = keys.iter().find(|(user, _)| user == EXPIRES).map(|(_, text)| text.clone());
            Ok(Look { end: Some(end), keys: Ok(keys) })
        }
    }
}

fn whole(what: &str, digest: Option<&str>, keys: Keys) -> Result<Keys, String> {
    let whole: String = keys.iter().map(|(user, key)| format!("{user} {key}\n")).collect();
    let own: String = Sha256::digest(whole).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    if digest == Some(own.as_str()) {
        Ok(keys)
    } else {
        Err(format!("the {what} not one whole set; they may be changing"))
    }
}

/// A deadline's second.
///
/// # Errors
/// The script's words about what is no time.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let shape = |(at, c): (usize, char)| match at {
        4 | 7 => c == '-',
        10 => c == 'T',
        13 | 16 => c == ':',
        0..=18 => c.is_ascii_digit(),
        _ => c.is_ascii_digit() || c == '.' || c == 'Z',
    };
    let time = Some(text).filter(|text| text.ends_with('Z') && text.chars().enumerate().all(shape));
    let second = time.and_then(|text| text.parse::<Timestamp>().ok()).map(|time| time.as_second());
    let found = second.and_then(|second| Timestamp::from_second(second).ok());
    found.ok_or_else(|| format!("'{}' is no time", text.chars().take(80).collect::<String>()))
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
    for (name, value) in tags.iter().filter(|(name, _)| name.starts_with(KEY)) {
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
