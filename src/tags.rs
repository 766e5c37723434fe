//! Ownership: the tags that every resource carries from its create call on, and that say everything gangplank needs to
//! remember. Both clouds limit a value to 256 characters.

pub mod agreement;
pub mod deadline;

use std::collections::BTreeMap;

use self::deadline::ResolvedDeadline;
use crate::plan::Name;

pub type Tags = BTreeMap<String, String>;

/// Whose it is: the bastion's name. What lacks this tag is not ours.
pub const BASTION: &str = "gangplank:bastion";
/// When the bastion ends, RFC 3339 in UTC.
pub const EXPIRES: &str = "gangplank:expires";
/// The plan's lifetime in seconds that [`EXPIRES`] was reckoned with, so that a changed lifetime counts from the same start.
pub const LIFETIME: &str = "gangplank:lifetime";
/// Where somebody decided about another end than the plan's: see [`deadline::Moved`]. [`EXPIRES`] is that end then.
pub const EXTENDED: &str = "gangplank:extended";
/// On the instance: what the plan called its image and its subnet, so that both stay pinned while the plan says the same.
pub const IMAGE: &str = "gangplank:image";
pub const SUBNET: &str = "gangplank:subnet";
/// On the instance: digests of its cloud-init document and of the document's parts.
pub const BOOT: &str = "gangplank:boot";
/// On the instance: the digest of the accepted keys, 32 hexadecimal digits of SHA-256 over the sorted lines `user algorithm base64`.
/// On EC2 the keys are tags beside it; on Azure they are the user data, which no list shows.
pub const KEYS: &str = "gangplank:keys";
/// On the instance: its pinned host key, which no plan says.
pub const HOST_KEY: &str = "gangplank:host-key";
/// What the console shows.
pub const NAME: &str = "Name";

/// The id of all of gangplank's requests to Azure (`x-ms-client-request-id`): the activity log shows it with each of them, and so drift
/// knows what gangplank did itself.
pub const REQUEST_ID: &str = "67616e67-706c-4616-8e6b-000000000001";

/// The digest of the document that a machine was given, from its tag [`BOOT`].
pub fn document(tags: &Tags) -> Option<&str> {
    tags.get(BOOT)?.split_whitespace().find_map(|part| part.strip_prefix("document="))
}

/// Whether a tag is gangplank's to set and to remove. `Name` is shared with people: it is set, never removed.
pub fn is_ours(key: &str) -> bool {
    key.starts_with("gangplank:")
}

/// The name of everything that belongs to a bastion and can carry one.
pub fn resource_name(bastion: &Name) -> String {
    format!("gangplank-{bastion}")
}

/// What of a resource's tags is about its end.
pub fn about_the_end(tags: &Tags) -> Tags {
    let ours = [EXPIRES, LIFETIME, EXTENDED];
    tags.iter().filter(|(key, _)| ours.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Whether what carries `tags` is this bastion's.
pub fn owns(tags: &Tags, bastion: &str) -> bool {
    tags.get(BASTION).is_some_and(|owner| owner == bastion)
}

/// The tags of every resource of a bastion.
pub fn common(bastion: &Name, user: &Tags, deadline: Option<&ResolvedDeadline>) -> Tags {
    let mut tags = user.clone();
    tags.insert(NAME.to_owned(), resource_name(bastion));
    tags.insert(BASTION.to_owned(), bastion.to_string());
    if let Some(deadline) = deadline {
        tags.insert(EXPIRES.to_owned(), deadline.expires.to_string());
        if let Some(seconds) = deadline.lifetime {
            tags.insert(LIFETIME.to_owned(), seconds.to_string());
        }
        if let Some(moved) = deadline.moved {
            tags.insert(EXTENDED.to_owned(), moved.to_string());
        }
    }
    tags
}

/// What must change for `have` to carry `want`. Tags that others added are theirs and stay; a tag of ours that is no longer
/// wanted goes, but for the host key: that is what the machine said, not what a plan wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagChange {
    pub set: Tags,
    pub remove: Vec<String>,
}

impl TagChange {
    pub fn between(want: &Tags, have: &Tags) -> Self {
        let set = want.iter().filter(|(k, v)| have.get(*k) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let stale = |key: &&String| is_ours(key) && *key != HOST_KEY && !want.contains_key(*key);
        Self { set, remove: have.keys().filter(stale).cloned().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_host_key_is_no_stale_tag() {
        let want = Tags::from([(BASTION.to_owned(), "warehouse".to_owned())]);
        let mut have = want.clone();
        have.insert(HOST_KEY.to_owned(), "ssh-ed25519 AAAA".to_owned());
        assert!(TagChange::between(&want, &have).is_empty());
        have.insert(EXPIRES.to_owned(), "2027-01-31T00:00:00Z".to_owned());
        assert_eq!(TagChange::between(&want, &have).remove, [EXPIRES]);
    }
}
