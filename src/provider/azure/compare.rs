//! Whether what is there is what we want: every value that we set must be there; what Azure adds does not matter.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::views::range;
use crate::changeset::Detail;

/// What differs, by the last words of its path; empty where nothing does.
///
/// Texts differ in more than case (`Dnat` comes back as `DNAT`, ids in any spelling), an address is a range of one, and lists of
/// texts have no order. Objects of a list are matched by `name`; one that we do not want is a difference. A null that we want
/// is not known yet, so it differs from anything. Descriptions are for people.
pub fn differences(want: &Value, have: &Value) -> Vec<Detail> {
    let mut found = Vec::new();
    compare("", want, have, &mut found);
    found
}

fn compare(path: &str, want: &Value, have: &Value, found: &mut Vec<Detail>) {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => compare_objects(path, want, have, found),
        (Value::Array(want), Value::Array(have)) if is_named(want) && is_named(have) => {
            compare_named(path, want, have, found);
        }
        (Value::Array(want), Value::Array(have)) if is_plain(want) && is_plain(have) => {
            let set = |list: &[Value]| list.iter().map(plain).collect::<BTreeSet<String>>();
            if set(want) != set(have) {
                found.push(Detail::changed(path, join(have), join(want)));
            }
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            for (want, have) in want.iter().zip(have) {
                compare(path, want, have, found);
            }
        }
        (Value::Null, _) => found.push(Detail::changed(path, shown(have), "of what is made now")),
        _ if plain(want) == plain(have) => {}
        // Azure leaves out what is empty.
        (Value::Array(list), Value::Null) if list.is_empty() => {}
        (_, Value::Null) => found.push(Detail::added(path, shown(want))),
        _ => found.push(Detail::changed(path, shown(have), shown(want))),
    }
}

fn compare_objects(path: &str, want: &Map<String, Value>, have: &Map<String, Value>, found: &mut Vec<Detail>) {
    for (key, value) in want.iter().filter(|(key, _)| *key != "description") {
        let path = match key.as_str() {
            "properties" | "id" => path.to_owned(),
            _ if path.is_empty() => key.clone(),
            _ => format!("{path}.{key}"),
        };
        compare(&path, value, have.get(key).unwrap_or(&Value::Null), found);
    }
}

fn compare_named(path: &str, want: &[Value], have: &[Value], found: &mut Vec<Detail>) {
    fn by_name(list: &[Value]) -> BTreeMap<String, &Value> {
        list.iter().map(|v| (plain(&v["name"]), v)).collect()
    }
    let (want, have) = (by_name(want), by_name(have));
    for (name, value) in &want {
        let path = format!("{path}.{name}");
        match have.get(name) {
            Some(have) => compare(&path, value, have, found),
            None => found.push(Detail::added(path, "")),
        }
    }
    found.extend(
        have.keys().filter(|name| !want.contains_key(*name)).map(|name| Detail::removed(format!("{path}.{name}"), "")),
    );
}

fn is_named(list: &[Value]) -> bool {
    list.iter().all(|v| v.get("name").is_some_and(Value::is_string))
}

fn is_plain(list: &[Value]) -> bool {
    !list.iter().any(|v| v.is_object() || v.is_array() || v.is_null())
}

/// A value as it is compared.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => range(text).map_or_else(|| text.to_lowercase(), |net| net.to_string()),
        other => other.to_string(),
    }
}

/// A value as people read it: an id by its name.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with("/subscriptions/") => {
            super::id::Id::new(text.as_str()).name().to_owned()
        }
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Object(map) if map.len() == 1 => map.values().next().map(shown).unwrap_or_default(),
        Value::Array(list) if is_plain(list) => join(list),
        Value::Object(_) | Value::Array(_) => "something else".to_owned(),
        other => other.to_string(),
    }
}

fn join(list: &[Value]) -> String {
    list.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_azure_adds_or_spells_otherwise_is_no_difference() {
        let want = json!({"location": "westeurope", "properties": {
            "rules": [{"name": "ssh", "action": "Dnat", "from": ["10.0.0.1/32", "10.0.0.0/24"], "description": "a"}],
            "subnet": {"id": "/subscriptions/s/a"}, "nothing": [],
        }});
        let have = json!({"location": "westeurope", "etag": "1", "properties": {
            "rules": [{"name": "ssh", "action": "DNAT", "from": ["10.0.0.0/24", "10.0.0.1"], "description": "b", "more": 1}],
            "subnet": {"id": "/SUBSCRIPTIONS/s/A"}, "provisioningState": "Succeeded",
        }});
        assert_eq!(differences(&want, &have), []);
    }

    #[test]
    fn every_value_that_we_set_is_looked_at() {
        let want = json!({"sku": {"tier": "Basic"}, "properties": {"rules": [{"name": "a", "port": 1}, {"name": "b"}], "to": null}});
        let have = json!({"sku": {"tier": "Standard"}, "properties": {"rules": [{"name": "a", "port": 2}, {"name": "c"}], "to": "x"}});
        let found: Vec<(String, Option<String>, Option<String>)> =
            differences(&want, &have).into_iter().map(|d| (d.name, d.before, d.after)).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            [
                ("sku.tier".to_owned(), text("Standard"), text("Basic")),
                ("rules.a.port".to_owned(), text("2"), text("1")),
                ("rules.b".to_owned(), None, text("")),
                ("rules.c".to_owned(), text(""), None),
                ("to".to_owned(), text("x"), text("of what is made now")),
            ]
        );
    }
}
