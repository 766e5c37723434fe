//! How changesets show accepted keys.

use crate::{
    changeset::Detail,
    plan::{Plan, PublicKey},
};

/// A line for each key of a plan whose keys are live: `key of secoda`, its fingerprint, and its comment.
pub fn details(plan: &Plan) -> Vec<Detail> {
    if !plan.keys_are_live() {
        return Vec::new();
    }
    let line = |user: &str, key: &PublicKey| {
        let detail = Detail::added(name(user), &key.fingerprint);
        if key.comment.is_empty() { detail } else { detail.note(&key.comment) }
    };
    plan.accounts().flat_map(|(user, keys)| keys.iter().map(move |key| line(user.as_str(), key))).collect()
}

/// What a changeset calls a key of a user.
pub fn name(user: &str) -> String {
    format!("key of {user}")
}
