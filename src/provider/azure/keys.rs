//! The accepted keys as the machine's user data, which the running machine reads in its metadata (`templates/keys.py`): "User
//! data can be updated from outside the VM, without stopping or rebooting" ("User Data for Azure Virtual Machine").
//!
//! A digest, and below it a line `user algorithm base64` for each key, sorted, and the deadline as the line of a user whom no plan
//! can have. It is set in one call, so it is whole or the one before; the digest is what the machine also asks of EC2's tags.
//! Whoever may write the machine decides who gets in, and until when.
//!
//! No list shows user data, so the same call sets the tag [`tags::KEYS`], by which a plan sees what is there: the digest, the
//! deadline, and behind it how each key's fingerprint begins, where there is room. Who writes one without the other is found by a
//! verification, which reads the user data itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    changeset::Detail,
    diagnostic::Diagnostic,
    plan::{LONGEST_TAG_VALUE, Plan},
    provider::keys::details,
    tags::{self, EXPIRES, Tags},
};

/// Azure takes 64 KiB of base64.
const MOST_BYTES: usize = 48 * 1024;
/// Characters of a fingerprint in the tag: enough to tell a company's keys apart, for people.
const PREFIX: usize = 8;
/// How the deadline begins in the tag.
const END: &str = "ends=";

type Keys = BTreeSet<(String, String)>;

/// The user data of a plan's machine that ends at `expires`, before base64; `None` where the machine needs none.
pub fn user_data(plan: &Plan, expires: Option<Timestamp>) -> Option<String> {
    lines(plan, expires).as_ref().map(write)
}

fn lines(plan: &Plan, expires: Option<Timestamp>) -> Option<Keys> {
    (plan.keys_are_live() || expires.is_some()).then(|| {
        let live = plan.accounts().filter(|_| plan.keys_are_live());
        let keys = live.flat_map(|(user, keys)| keys.iter().map(|key| (user.to_string(), key.text())));
        keys.chain(expires.map(|end| (EXPIRES.to_owned(), end.to_string()))).collect()
    })
}

/// The same user data with another deadline, and what the tag says of it; `None` where the machine would not take what there is.
pub fn with_deadline(have: &str, expires: Timestamp) -> Option<(String, String)> {
    let mut lines = read(have)?;
    lines.retain(|(user, _)| user != EXPIRES);
    lines.insert((EXPIRES.to_owned(), expires.to_string()));
    Some((write(&lines), tag_of(&lines)))
}

fn write(keys: &Keys) -> String {
    let lines: String = keys.iter().map(|(user, text)| format!("{user} {text}\n")).collect();
    let digest: String = Sha256::digest(&lines).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}\n{lines}")
}

fn digest(lines: &Keys) -> String {
    write(lines).lines().next().unwrap_or_default().to_owned()
}

/// What the machine's tag [`tags::KEYS`] says of its user data; `None` where it has none.
pub fn tag(plan: &Plan, expires: Option<Timestamp>) -> Option<String> {
    lines(plan, expires).as_ref().map(tag_of)
}

fn tag_of(lines: &Keys) -> String {
    let (ends, keys): (Vec<_>, Vec<_>) = lines.iter().partition(|(user, _)| user == EXPIRES);
    let told = ends.iter().fold(digest(lines), |tag, (_, end)| format!("{tag} {END}{end}"));
    let prefixes: BTreeSet<String> = keys.iter().filter_map(|(_, text)| fingerprint(text)).collect();
    let full = prefixes.iter().fold(told.clone(), |tag, fingerprint| format!("{tag} {}", prefix(fingerprint)));
    if full.len() <= LONGEST_TAG_VALUE { full } else { told }
}

fn fingerprint(text: &str) -> Option<String> {
    let key = ssh_key::PublicKey::from_openssh(text).ok()?;
    Some(key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
}

/// `SHA256:AbCdEfGh...` without what is the same in all.
fn prefix(fingerprint: &str) -> &str {
    let hash = fingerprint.strip_prefix("SHA256:").unwrap_or(fingerprint);
    hash.get(..PREFIX).unwrap_or(hash)
}

/// What a tag says, as [`tag_of`] wrote it.
struct Told<'t> {
    digest: &'t str,
    end: Option<&'t str>,
    prefixes: BTreeSet<&'t str>,
}

impl<'t> Told<'t> {
    fn read(tag: &'t str) -> Self {
        let mut words = tag.split(' ');
        let digest = words.next().unwrap_or_default();
        let (ends, prefixes): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with(END));
        let end = ends.first().and_then(|end| end.strip_prefix(END));
        Self { digest, end, prefixes: prefixes.into_iter().collect() }
    }
}

/// What must change on a machine that stays.
pub struct KeyChange {
    pub user_data: String,
    /// Beside the machine's other tags.
    pub tags: Tags,
    pub details: Vec<Detail>,
    /// Keys, the deadline, or both.
    pub what: &'static str,
    pub reason: &'static str,
}

/// The way from what the machine's tags say of its user data to the plan's keys and the deadline; `None` where it has them.
pub fn change(plan: &Plan, expires: Option<Timestamp>, have: &Tags) -> Option<KeyChange> {
    // Without either there is nothing of ours in the user data.
    let lines = lines(plan, expires)?;
    let wanted = tag_of(&lines);
    let have = have.get(tags::KEYS);
    if have == Some(&wanted) {
        return None;
    }
    let end = expires.map(|end| end.to_string());
    let (keys, ends, reason) = match have.map(|tag| Told::read(tag)) {
        Some(told) => {
            let ends = match (told.end, end) {
                (Some(before), Some(after)) if before == after => None,
                (Some(before), Some(after)) => Some(Detail::changed("deadline", before, after)),
                (None, Some(after)) => Some(Detail::added("deadline", after)),
                (before, None) => before.map(|before| Detail::removed("deadline", before)),
            };
            let reason = match ends {
                None => "the machine takes them within a minute",
                Some(_) => "the machine takes this within a minute",
            };
            (differences(plan, &told, &digest(&lines)), ends, reason)
        }
        None => {
            let reason = "its tags do not say which user data the machine has; it takes this within a minute";
            (details(plan), end.map(|after| Detail::added("deadline", after)), reason)
        }
    };
    let what = match (keys.is_empty(), ends.is_none()) {
        (true, false) => "deadline",
        (false, false) => "keys and deadline",
        _ => "keys",
    };
    let details = keys.into_iter().chain(ends).collect();
    let tags = Tags::from([(tags::KEYS.to_owned(), wanted)]);
    Some(KeyChange { user_data: write(&lines), tags, details, what, reason })
}

/// Which keys go and which come, where the machine's tag tells them.
fn differences(plan: &Plan, have: &Told<'_>, wanted: &str) -> Vec<Detail> {
    let before = |lines: Option<Keys>| {
        let mut lines = lines.unwrap_or_default();
        lines.extend(have.end.map(|end| (EXPIRES.to_owned(), end.to_owned())));
        digest(&lines)
    };
    if have.digest == before(lines(plan, None)) {
        return Vec::new();
    }
    // Too many to be told one by one, or the same ones for other users.
    let untold = || vec![Detail::changed("keys", have.digest, wanted)];
    let mut known = have.prefixes.clone();
    if known.is_empty() && have.digest != before(None) {
        return untold();
    }
    let live = plan.accounts().filter(|_| plan.keys_are_live());
    let planned: Vec<&str> = live.flat_map(|(_, keys)| keys.iter().map(|key| prefix(&key.fingerprint))).collect();
    let come = details(plan).into_iter().zip(&planned).filter(|(_, prefix)| !known.contains(*prefix));
    let come: Vec<Detail> = come.map(|(detail, _)| detail).collect();
    known.retain(|prefix| !planned.contains(prefix));
    let all: Vec<Detail> =
        known.into_iter().map(|gone| Detail::removed("key", format!("SHA256:{gone}..."))).chain(come).collect();
    if all.is_empty() { untold() } else { all }
}

/// What a machine's user data, decoded, is to a plan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserData {
    /// What the plan says, or none where it says none.
    Planned,
    /// A whole set of keys, and not the plan's.
    OtherKeys,
    /// The plan's keys, and another deadline.
    OtherEnd,
    /// Nothing that the machine would take.
    Broken,
    /// None, and the plan says some.
    Missing,
    /// Some, and the plan says none.
    Surplus,
}

pub fn judge(plan: &Plan, expires: Option<Timestamp>, have: &[u8]) -> UserData {
    let Some(want) = lines(plan, expires) else {
        return if have.is_empty() { UserData::Planned } else { UserData::Surplus };
    };
    if write(&want).as_bytes() == have {
        return UserData::Planned;
    }
    if have.is_empty() {
        return UserData::Missing;
    }
    let keys = |lines: &Keys| lines.iter().filter(|(user, _)| user != EXPIRES).cloned().collect::<Keys>();
    match std::str::from_utf8(have).ok().and_then(read) {
        Some(found) if keys(&found) == keys(&want) => UserData::OtherEnd,
        Some(_) => UserData::OtherKeys,
        None => UserData::Broken,
    }
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
    let bytes = user_data(plan, plan.deadline.map(|_| Timestamp::MAX))?.len();
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
