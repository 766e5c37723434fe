//! The accepted keys as the machine's user data, which the running machine reads in its metadata (`templates/keys.py`): "User
//! data can be updated from outside the VM, without stopping or rebooting" ("User Data for Azure Virtual Machine").
//!
//! A digest, and below it a line `user algorithm base64` for each key, sorted, and the deadline as the line of a user whom no plan
//! can have. It is set in one call, so it is whole or the one before; the digest is what the machine also asks of EC2's tags.
//! Whoever may write the machine decides who gets in, and until when.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::tags::EXPIRES;
use crate::{changeset::Detail, diagnostic::Diagnostic, plan::Plan, provider::keys::details};

/// Azure takes 64 KiB of base64.
const MOST_BYTES: usize = 48 * 1024;

type Keys = BTreeSet<(String, String)>;

/// The user data of a plan's machine that ends at `expires`, before base64; `None` where the machine needs none.
pub fn user_data(plan: &Plan, expires: Option<Timestamp>) -> Option<String> {
    (plan.keys_are_live() || expires.is_some()).then(|| write(&keys(plan, expires)))
}

fn keys(plan: &Plan, expires: Option<Timestamp>) -> Keys {
    let live = plan.accounts().filter(|_| plan.keys_are_live());
    let keys = live.flat_map(|(user, keys)| keys.iter().map(|key| (user.to_string(), key.text())));
    keys.chain(expires.map(|end| (EXPIRES.to_owned(), end.to_string()))).collect()
}

/// The same user data with another deadline; `None` where the machine would not take what there is.
pub fn with_deadline(have: &str, expires: Timestamp) -> Option<String> {
    let mut lines = read(have)?;
    lines.retain(|(user, _)| user != EXPIRES);
    lines.insert((EXPIRES.to_owned(), expires.to_string()));
    Some(write(&lines))
}

fn write(keys: &Keys) -> String {
    let lines: String = keys.iter().map(|(user, text)| format!("{user} {text}\n")).collect();
    let digest: String = Sha256::digest(&lines).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}\n{lines}")
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

/// What must change on a machine that stays.
pub struct KeyChange {
    pub user_data: String,
    pub details: Vec<Detail>,
    pub reason: &'static str,
}

/// The way from the machine's user data, decoded, to the plan's keys and its deadline; `None` where it has them.
pub fn change(plan: &Plan, expires: Option<Timestamp>, have: &str) -> Option<KeyChange> {
    // Without either there is nothing of ours in it.
    let wanted = user_data(plan, expires)?;
    if wanted == have {
        return None;
    }
    let found = read(have);
    let (mut want, mut before) = (keys(plan, expires), found.clone().unwrap_or_default());
    let (end, ended) = (take_deadline(&mut want), take_deadline(&mut before));
    let removed =
        before.difference(&want).map(|(user, text)| Detail::removed(format!("key of {user}"), fingerprint(text)));
    let planned = plan.accounts().flat_map(|(user, keys)| keys.iter().map(move |key| (user.to_string(), key.text())));
    let added =
        details(plan).into_iter().zip(planned).filter(|(_, key)| !before.contains(key)).map(|(detail, _)| detail);
    let mut details: Vec<Detail> = removed.chain(added).collect();
    details.extend(match (ended, end) {
        (before, after) if before == after => None,
        (Some(before), Some(after)) => Some(Detail::changed("deadline", before, after)),
        (None, Some(after)) => Some(Detail::added("deadline", after)),
        (before, None) => before.map(|before| Detail::removed("deadline", before)),
    });
    if details.is_empty() {
        details.push(Detail::changed("keys", "unreadable", "none"));
    }
    let reason = match found {
        Some(_) => "the machine takes them within a minute",
        None => "the user data is not one whole set, so the machine keeps what it has; it takes these within a minute",
    };
    Some(KeyChange { user_data: wanted, details, reason })
}

/// Takes the deadline's line out.
fn take_deadline(lines: &mut Keys) -> Option<String> {
    let found = lines.iter().find(|(user, _)| user == EXPIRES).cloned()?;
    lines.remove(&found);
    Some(found.1)
}

fn fingerprint(text: &str) -> String {
    let key = ssh_key::PublicKey::from_openssh(text);
    key.map_or_else(|_| "unreadable".to_owned(), |key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
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
