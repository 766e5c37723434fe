//! The accepted keys as tags of the instance, which the running machine reads in its metadata (`templates/keys.py`).
//!
//! `gangplank:key.<user>.<n>.<part>` holds a part of the n-th key's text, `gangplank:keys` the digest of the whole set. Tags
//! change in two calls, of which a machine (or a crash) may see one: it takes a set only when the digest is that of what it
//! found, so what is in between changes nothing. This is about wholeness, not about trust: whoever may tag the instance
//! decides who gets in.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::tags::{TagChange, Tags};
use crate::{
    changeset::Detail,
    diagnostic::Diagnostic,
    plan::{LONGEST_TAG_VALUE, Plan},
    provider::keys::{details, name},
    tags::KEYS,
};

const PART: &str = "gangplank:key.";
/// EC2's limit for one resource; keys that begin with `aws:` don't count.
const MOST_TAGS: usize = 50;

/// User and text of each key.
type Keys = BTreeSet<(String, String)>;

/// The tags that bring a plan's keys to its machine; none where they are a part of the machine's document.
pub fn tags(plan: &Plan) -> Tags {
    if plan.keys_are_live() { write(&keys(plan)) } else { Tags::new() }
}

pub fn is_key_tag(key: &str) -> bool {
    key == KEYS || key.starts_with(PART)
}

/// Splits an instance's tags into those of the keys and all others.
pub fn split(tags: &Tags) -> (Tags, Tags) {
    tags.clone().into_iter().partition(|(key, _)| is_key_tag(key))
}

fn keys(plan: &Plan) -> Keys {
    plan.accounts().flat_map(|(user, keys)| keys.iter().map(|key| (user.to_string(), key.text()))).collect()
}

fn write(keys: &Keys) -> Tags {
    let mut tags = Tags::from([(KEYS.to_owned(), digest(keys))]);
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for (user, text) in keys {
        let number = next.entry(user).or_default();
        // A key's text is ASCII: bytes are characters.
        for (part, value) in text.as_bytes().chunks(LONGEST_TAG_VALUE).enumerate() {
            tags.insert(format!("{PART}{user}.{number}.{part}"), String::from_utf8_lossy(value).into_owned());
        }
        *number += 1;
    }
    tags
}

/// What the machine would find in these tags, and whether it would take it.
fn read(tags: &Tags) -> (Keys, bool) {
    let mut parts: BTreeMap<(&str, &str), BTreeMap<u32, &str>> = BTreeMap::new();
    let mut whole = true;
    for (key, value) in tags {
        let Some(place) = key.strip_prefix(PART) else { continue };
        let mut words = place.split('.');
        match (words.next(), words.next(), words.next().map(str::parse), words.next()) {
            (Some(user), Some(number), Some(Ok(part)), None) => {
                parts.entry((user, number)).or_default().insert(part, value);
            }
            _ => whole = false,
        }
    }
    let text = |parts: BTreeMap<u32, &str>| parts.into_values().collect::<String>();
    let keys: Keys = parts.into_iter().map(|((user, _), parts)| (user.to_owned(), text(parts))).collect();
    whole &= tags.get(KEYS).is_some_and(|found| *found == digest(&keys));
    (keys, whole)
}

fn digest(keys: &Keys) -> String {
    let lines: String = keys.iter().map(|(user, text)| format!("{user} {text}\n")).collect();
    Sha256::digest(lines).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What must change on an instance that stays.
pub struct KeyChange {
    pub tags: TagChange,
    /// By user and key, with what people know a key by.
    pub details: Vec<Detail>,
    pub reason: &'static str,
}

/// The way from the tags that the instance has to the plan's keys; `None` where it has them.
pub fn change(plan: &Plan, have: &Tags) -> Option<KeyChange> {
    let (have, _) = split(have);
    let want = tags(plan);
    let tags = TagChange::between(&want, &have);
    if tags.is_empty() {
        return None;
    }
    let (wanted, (found, whole)) = (if plan.keys_are_live() { keys(plan) } else { Keys::new() }, read(&have));
    let removed = found.difference(&wanted).map(|(user, text)| Detail::removed(name(user), fingerprint(text)));
    let added = details(plan).into_iter().zip(planned(plan)).filter(|(_, key)| !found.contains(key));
    let mut details: Vec<Detail> = removed.chain(added.map(|(detail, _)| detail)).collect();
    if details.is_empty() {
        // The same keys in other tags: digits that somebody changed, or what an interrupted run left.
        let before = have.get(KEYS).map_or("none", String::as_str);
        details.push(Detail::changed("digest", before, want.get(KEYS).map_or("none", String::as_str)));
    }
    let reason = if whole {
        "the machine takes them within a minute"
    } else {
        "the tags are not one whole set, so the machine keeps what it has; it takes these within a minute"
    };
    Some(KeyChange { tags, details, reason })
}

/// User and text of each key, in the order of [`details`].
fn planned(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    plan.accounts().flat_map(|(user, keys)| keys.iter().map(move |key| (user.to_string(), key.text())))
}

fn fingerprint(text: &str) -> String {
    let key = ssh_key::PublicKey::from_openssh(text);
    key.map_or_else(|_| "unreadable".to_owned(), |key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
}

/// A problem where an instance that stays would have more tags than EC2 allows, counting what others put there. The plan
/// alone fits: its reader has checked that.
pub fn check_room(plan: &Plan, want: &Tags, have: &Tags) -> Option<Diagnostic> {
    let foreign =
        have.keys().filter(|k| !k.starts_with("gangplank:") && !k.starts_with("aws:") && !want.contains_key(*k));
    // A host key is pinned to it, or will be.
    let (foreign, ours) = (foreign.count(), want.len() + 1);
    (foreign + ours > MOST_TAGS).then(|| {
        plan.origin
            .problem("tunnels", "more keys than the instance has tags for", format!("this needs {ours} tags"))
            .because(format!("EC2 allows {MOST_TAGS} tags, and the instance has {foreign} that are not gangplank's."))
            .fix("remove keys, or tags of the instance that nobody needs; or write `key_updates: replace`")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts as long as those of real keys: ed25519 has 80 characters, RSA 4096 has 724, RSA 16384 has 2772.
    fn sets() -> impl Strategy<Value = Keys> {
        let length = prop_oneof![Just(80_usize), Just(255), Just(256), Just(257), Just(724), Just(2772), 1..3000_usize];
        let text = (length, any::<u64>()).prop_map(|(length, seed)| {
            let data: String = format!("{seed:016x}").chars().cycle().take(length).collect();
            format!("ssh-rsa {data}")
        });
        proptest::collection::btree_set(("[a-z_][a-z0-9_-]{0,31}", text), 0..14)
    }

    proptest! {
        #[test]
        fn a_set_survives_its_way_through_tags(keys in sets()) {
            let tags = write(&keys);
            prop_assert_eq!(read(&tags), (keys.clone(), true));
            let expected: usize = keys.iter().map(|(_, text)| text.len().div_ceil(256)).sum();
            prop_assert_eq!(tags.len(), expected + 1);
            for (key, value) in &tags {
                // EC2 User Guide, "View tags for your EC2 instances using instance metadata".
                prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&b)), "{key}");
                prop_assert!(key.len() <= 127 && value.len() <= 256 && !value.is_empty() && is_key_tag(key));
            }
        }

        /// Whatever stands between two sets, after some of the removed tags are gone and some of the new ones are there, is
        /// neither of them or is one of them: the machine never takes a mixture.
        #[test]
        fn nothing_between_two_sets_is_whole(before in sets(), after in sets(), cut in any::<prop::sample::Index>()) {
            let (have, want) = (write(&before), write(&after));
            let change = TagChange::between(&want, &have);
            let mut tags = have.clone();
            let edits: Vec<(&String, Option<&String>)> =
                change.remove.iter().map(|k| (k, None)).chain(change.set.iter().map(|(k, v)| (k, Some(v)))).collect();
            for (key, value) in edits.iter().take(cut.index(edits.len() + 1)) {
                match value {
                    Some(value) => tags.insert((*key).clone(), (*value).clone()),
                    None => tags.remove(*key),
                };
            }
            let (found, whole) = read(&tags);
            prop_assert!(!whole || found == before || found == after);
            // A run that was cut short is continued by the next one.
            let rest = TagChange::between(&want, &tags);
            tags.retain(|key, _| !rest.remove.contains(key));
            tags.extend(rest.set);
            prop_assert_eq!(tags, want);
        }

        #[test]
        fn any_change_breaks_the_digest(keys in sets(), victim in any::<prop::sample::Index>(), what in 0..3) {
            let mut tags = write(&keys);
            let key = tags.keys().nth(victim.index(tags.len())).cloned().unwrap();
            let value = tags.remove(&key).unwrap();
            match what {
                0 => {}
                1 => _ = tags.insert(key, value + "x"),
                _ => {
                    tags.insert(key.clone(), value);
                    tags.insert(format!("{PART}intruder.0.0"), "ssh-ed25519 AAAA".to_owned());
                }
            }
            prop_assert!(!read(&tags).1);
        }

        #[test]
        fn any_tags_are_read(tags in proptest::collection::btree_map("gangplank:key[s.]?[a-z0-9.]{0,12}", ".{0,20}", 0..6)) {
            let _ = read(&tags);
        }
    }
}
