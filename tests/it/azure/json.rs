//! Bodies as the world in memory reads them.

use std::collections::BTreeSet;

use gangplank::provider::azure::id::{Id, Kind};
use serde_json::{Map, Value, json};

pub fn power(state: &str) -> Value {
    json!({"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": format!("PowerState/{state}")}]})
}

pub fn kind(raw: &Value) -> Option<Kind> {
    Id::new(text(raw, "/id")).kind()
}

pub fn text<'a>(raw: &'a Value, pointer: &str) -> &'a str {
    raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn list<'a>(raw: &'a Value, pointer: &str) -> &'a [Value] {
    raw.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Every `id` inside of a body, but its own.
pub fn ids(body: &Value) -> Vec<Id> {
    fn walk(value: &Value, found: &mut Vec<Id>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("id").and_then(Value::as_str).map(Id::new));
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let inner = body.as_object().map(Map::values).into_iter().flatten();
    inner.for_each(|value| walk(value, &mut found));
    found
}

pub fn unique(items: &[Value], pointer: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match items.iter().map(|i| i.pointer(pointer).unwrap_or(&Value::Null).to_string()).find(|v| !seen.insert(v.clone()))
    {
        Some(twice) => Err(format!("{pointer} {twice} twice")),
        None => Ok(()),
    }
}

pub fn check_tags(raw: &Value) -> Result<(), String> {
    let Some(tags) = raw["tags"].as_object() else { return Ok(()) };
    let bad = |(key, value): &(&String, &Value)| {
        key.len() > 512
            || key.contains(['<', '>', '%', '&', '\\', '?', '/'])
            || value.as_str().is_none_or(|v| v.chars().count() > 256)
    };
    match tags.iter().find(bad) {
        Some((key, value)) => Err(format!("InvalidTag {key}={value}")),
        None if tags.len() > 50 => Err("TooManyTags".to_owned()),
        None => Ok(()),
    }
}
