//! The accepted keys as the machine's user data, which the running machine reads in its metadata (`templates/keys.py`): "User
//! data can be updated from outside the VM, without stopping or rebooting" ("User Data for Azure Virtual Machine").
//!
//! A digest, and below it a line `user algorithm base64` for each key, sorted. It is set in one call, so it is whole or the one
//! before; the digest is what the machine also asks of EC2's tags. Whoever may write the machine decides who gets in.
//!
//! No list shows user data, so the same call sets the tag [`tags::KEYS`], by which a plan sees what is there: the digest, and
//! behind it how each key's fingerprint begins, where there is room. Who writes one without the other is found by a
//! verification, which reads the user data itself.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::{
    changeset::Detail,
    diagnostic::Diagnostic,
    plan::{LONGEST_TAG_VALUE, Plan},
    provider::{
        keys::details,
        tags::{self, Tags},
    },
};

/// Azure takes 64 KiB of base64.
const MOST_BYTES: usize = 48 * 1024;
/// Characters of a fingerprint in the tag: enough to tell a company's keys apart, for people.
const PREFIX: usize = 8;

type Keys = BTreeSet<(String, String)>;

/// The user data of a plan's machine, before base64; `None` where the keys are a part of the machine's document.
pub fn user_data(plan: &Plan) -> Option<String> {
    plan.keys_are_live().then(|| write(&keys(plan)))
}

fn keys(plan: &Plan) -> Keys {
    plan.accounts().flat_map(|(user, keys)| keys.iter().map(|key| (user.to_string(), key.text()))).collect()
}

fn write(keys: &Keys) -> String {
    let lines: String = keys.iter().map(|(user, text)| format!("{user} {text}\n")).collect();
    let digest: String = Sha256::digest(&lines).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}\n{lines}")
}

/// What the machine's tag [`tags::KEYS`] says of a plan's keys; `None` where they are a part of the machine's document.
pub fn tag(plan: &Plan) -> Option<String> {
    let user_data = user_data(plan)?;
    let digest = user_data.lines().next().unwrap_or_default();
    let prefixes = plan.accounts().flat_map(|(_, keys)| keys.iter().map(|key| prefix(&key.fingerprint)));
    let prefixes: BTreeSet<&str> = prefixes.collect();
    let full = prefixes.into_iter().fold(digest.to_owned(), |tag, prefix| format!("{tag} {prefix}"));
    Some(if full.len() <= LONGEST_TAG_VALUE { full } else { digest.to_owned() })
}

/// `SHA256:AbCdEfGh...` without what is the same in all.
fn prefix(fingerprint: &str) -> &str {
    let hash = fingerprint.strip_prefix("SHA256:").unwrap_or(fingerprint);
    hash.get(..PREFIX).unwrap_or(hash)
}

/// What must change on a machine that stays.
pub struct KeyChange {
    pub user_data: String,
    /// Beside the machine's other tags.
    pub tags: Tags,
    pub details: Vec<Detail>,
    pub reason: &'static str,
}

/// The way from what the machine's tags say of its keys to the plan's; `None` where it has them.
pub fn change(plan: &Plan, have: &Tags) -> Option<KeyChange> {
    // Without live keys there is nothing of ours in the user data.
    let (user_data, wanted) = (user_data(plan)?, tag(plan)?);
    let have = have.get(tags::KEYS);
    if have == Some(&wanted) {
        return None;
    }
    let (mut details, reason) = match have {
        Some(have) => (differences(plan, have), "the machine takes them within a minute"),
        None => {
            let reason = "its tags do not say which keys the machine has; it takes these within a minute";
            (self::details(plan), reason)
        }
    };
    if details.is_empty() {
        // Too many to be told one by one, or the same ones for other users.
        let digest = |tag: &str| tag.split(' ').next().unwrap_or_default().to_owned();
        let before = have.map_or_else(|| "unknown".to_owned(), |tag| digest(tag));
        details.push(Detail::changed("keys", before, digest(&wanted)));
    }
    Some(KeyChange { user_data, tags: Tags::from([(tags::KEYS.to_owned(), wanted)]), details, reason })
}

/// Which keys go and which come, where the machine's tag tells them.
fn differences(plan: &Plan, have: &str) -> Vec<Detail> {
    let none = write(&Keys::new());
    let mut known: BTreeSet<&str> = have.split(' ').skip(1).collect();
    if known.is_empty() && none.lines().next() != Some(have) {
        return Vec::new();
    }
    let planned = plan.accounts().flat_map(|(_, keys)| keys.iter().map(|key| prefix(&key.fingerprint)));
    let planned: Vec<&str> = planned.collect();
    let come = details(plan).into_iter().zip(&planned).filter(|(_, prefix)| !known.contains(*prefix));
    let come: Vec<Detail> = come.map(|(detail, _)| detail).collect();
    known.retain(|prefix| !planned.contains(prefix));
    known.into_iter().map(|gone| Detail::removed("key", format!("SHA256:{gone}..."))).chain(come).collect()
}

/// What a machine's user data, decoded, is to a plan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserData {
    /// What the plan says, or none where it says none.
    Planned,
    /// A whole set of keys, and not the plan's.
    OtherKeys,
    /// Nothing that the machine would take.
    Broken,
    /// None, and the plan says some.
    Missing,
    /// Some, and the plan says none.
    Surplus,
}

pub fn judge(plan: &Plan, have: &[u8]) -> UserData {
    match user_data(plan) {
        None if have.is_empty() => UserData::Planned,
        None => UserData::Surplus,
        Some(want) if want.as_bytes() == have => UserData::Planned,
        Some(_) if have.is_empty() => UserData::Missing,
        Some(_) if std::str::from_utf8(have).is_ok_and(is_whole) => UserData::OtherKeys,
        Some(_) => UserData::Broken,
    }
}

/// Whether the machine would take it.
fn is_whole(user_data: &str) -> bool {
    read(user_data).is_some()
}

/// What the machine would find in user data; `None` where it would not take it.
fn read(user_data: &str) -> Option<Keys> {
    let keys: Keys = user_data
        .lines()
        .skip(1)
        .map(|line| line.split_once(' ').map(|(user, text)| (user.to_owned(), text.to_owned())))
        .collect::<Option<_>>()?;
    (write(&keys) == user_data).then_some(keys)
}

pub fn check_room(plan: &Plan) -> Option<Diagnostic> {
    let bytes = user_data(plan)?.len();
    (bytes > MOST_BYTES).then(|| {
        plan.origin
            .problem("tunnels", "more keys than the machine's user data can hold", format!("they are {bytes} bytes"))
            .because(format!(
                "The running machine reads its keys from its user data, and Azure takes {MOST_BYTES} bytes."
            ))
            .fix("remove keys that are no longer used, or ask for ed25519 keys")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_survives_its_way_and_a_changed_one_is_none(
            keys in prop::collection::btree_set(("[a-z_][a-z0-9_-]{0,31}", "ssh-ed25519 [A-Za-z0-9+/]{8,80}"), 0..9),
            at in any::<prop::sample::Index>(),
        ) {
            let text = write(&keys);
            prop_assert_eq!(read(&text), Some(keys));
            let at = at.index(text.len());
            let (head, tail) = (&text[..at], &text[at..]);
            prop_assert_eq!(read(&format!("{head}x{tail}")), None);
            prop_assert_eq!(read(head), None);
        }

        #[test]
        fn any_user_data_is_read(text in ".{0,40}(\n.{0,20}){0,3}") {
            let _ = read(&text);
        }
    }
}
