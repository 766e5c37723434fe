//! The ownership tags: the same as on AWS.
//!
//! Azure allows 50 tags a resource, keys of 512 characters without `<>%&\?/`, which differ in more than case, and values of 256
//! ("Use tags to organize your Azure resources and management hierarchy"). So a key may come back in another spelling.

use serde_json::{Map, Value};

pub use crate::tags::{
    BASTION, BOOT, EXPIRES, EXTENDED, HOST_KEY, KEYS, LIFETIME, NAME, TagChange, Tags, common, document, is_ours, owns,
    resource_name,
};

/// How the description of a rule begins that is this bastion's: rules carry no tags.
pub fn mark(bastion: &str) -> String {
    format!("gangplank:{bastion}")
}

/// Whether a rule's description is one of this bastion's; another bastion's name may begin with ours.
pub fn is_marked(description: &str, bastion: &str) -> bool {
    description.strip_prefix(&mark(bastion)).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Tags as they were read, in our spelling of what is ours.
pub fn read(raw: &Value) -> Tags {
    let tags = raw.get("tags").and_then(Value::as_object).into_iter().flatten();
    let ours = |key: &str| match key.to_ascii_lowercase() {
        lower if is_ours(&lower) => lower,
        lower if lower.eq_ignore_ascii_case(NAME) => NAME.to_owned(),
        _ => key.to_owned(),
    };
    tags.filter_map(|(key, value)| Some((ours(key), value.as_str()?.to_owned()))).collect()
}

/// `have` with the keys of `want` spelled as there.
pub fn spelled_as(want: &Tags, have: &Tags) -> Tags {
    let spelled = |key: &String| want.keys().find(|wanted| wanted.eq_ignore_ascii_case(key)).unwrap_or(key).clone();
    have.iter().map(|(key, value)| (spelled(key), value.clone())).collect()
}

/// What must change for `have` to carry `want`.
pub fn change(want: &Tags, have: &Tags) -> TagChange {
    TagChange::between(want, &spelled_as(want, have))
}

/// Sets tags among those of a body and removes others, whatever the spelling there.
pub fn merge(into: &mut Map<String, Value>, set: &Tags, remove: &[String]) {
    let named = |key: &str| set.keys().chain(remove).any(|other| other.eq_ignore_ascii_case(key));
    into.retain(|key, _| !named(key));
    into.extend(set.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_in_another_spelling_is_the_same() {
        let raw = json!({"tags": {"name": "gangplank-a", "Gangplank:Bastion": "a", "TEAM": "data", "x": "1"}});
        let have = read(&raw);
        assert!(owns(&have, "a"));
        let tags = |pairs: &[(&str, &str)]| -> Tags {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let mut want = tags(&[(NAME, "gangplank-a"), (BASTION, "a"), ("team", "data")]);
        assert!(change(&want, &have).is_empty());
        want.insert("team".to_owned(), "web".to_owned());
        assert_eq!(change(&want, &have).set, tags(&[("team", "web")]));
        let mut body = raw["tags"].as_object().cloned().unwrap_or_default();
        merge(&mut body, &tags(&[("team", "web")]), &["X".to_owned()]);
        assert_eq!(Value::Object(body), json!({"name": "gangplank-a", "Gangplank:Bastion": "a", "team": "web"}));
    }
}
