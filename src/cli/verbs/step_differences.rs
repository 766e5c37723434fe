//! How steps that are needed now differ from those that were saved.

use serde_json::Value;

use crate::{
    changeset::{Changeset, Step},
    provider::fleet::Action,
    text::excerpt,
};

/// So many differences of a step are named, and so much of each value.
const MOST: usize = 3;
const LONGEST: usize = 80;

/// Names the steps that come out otherwise, and what of them differs.
pub fn differences(then: &[Changeset<Action>], now: &[Changeset<Action>]) -> String {
    let steps = |sets: &[Changeset<Action>]| sets.iter().flat_map(|s| s.steps.clone()).collect::<Vec<_>>();
    let (then, now) = (steps(then), steps(now));
    let named = |of: &[Step<Action>], beside: &[Step<Action>]| {
        let new = of.iter().filter(|s| !beside.iter().any(|b| b.id == s.id)).map(|s| s.id.to_string());
        new.collect::<Vec<_>>().join(", ")
    };
    let changed = then.iter().filter_map(|before| {
        let after = now.iter().find(|s| s.id == before.id && *s != before)?;
        Some(format!("{}: {}", before.id, fields(before, after)))
    });
    let (gone, new) = (named(&then, &now), named(&now, &then));
    let mut told = Vec::new();
    told.extend((!gone.is_empty()).then(|| format!("no longer needed: {gone}")));
    told.extend((!new.is_empty()).then(|| format!("needed beside it: {new}")));
    told.extend(changed);
    if told.is_empty() { "what it says about the result is no longer so".to_owned() } else { told.join("; ") }
}

/// `details[0].after: saved "a", needed "b"`, for the first few.
fn fields(before: &Step<Action>, after: &Step<Action>) -> String {
    let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) else {
        return "it comes out otherwise".to_owned();
    };
    let mut found = Vec::new();
    compare("", &before, &after, &mut found);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", found.join(", "))
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
            for key in keys {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&at, &of(one), &of(other), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (i, (before, after)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{i}]"), before, after, found);
            }
        }
        _ => {
            let words = |value: &Value| excerpt(&value.to_string(), LONGEST);
            found.push(format!("{path} was saved as {} and is needed as {}", words(before), words(after)));
        }
    }
}
