//! A NAT rule collection of ours in a firewall with classic rules that is somebody else's. The whole firewall is written back,
//! so nothing in it may change but what is ours: patched as JSON, since types drop what they do not know.

use serde_json::{Value, json};

use super::{
    observed::{list, text},
    tags::is_marked,
};

const COLLECTIONS: &str = "natRuleCollections";

/// Whose a collection of our name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Nobodys,
    Ours,
    /// Our name, but no rule in it says that it is the bastion's.
    Foreign,
}

/// Looks at a firewall for the collection `name` of `bastion`.
pub fn whose(firewall: &Value, name: &str, bastion: &str) -> Whose {
    match list(firewall, "/properties/natRuleCollections").iter().find(|c| is_called(c, name)) {
        None => Whose::Nobodys,
        Some(collection) if has_marked_rule(list(collection, "/properties/rules"), bastion) => Whose::Ours,
        Some(_) => Whose::Foreign,
    }
}

/// A list of rules is a bastion's if one of them says so: somebody may have added to it.
pub fn has_marked_rule(rules: &[Value], bastion: &str) -> bool {
    rules.iter().any(|rule| is_marked(text(rule, "/description"), bastion))
}

/// The firewall with `collection` in the place of its namesake, or after all others. Everything else stays as it is.
#[must_use]
pub fn with_our_collection(firewall: &Value, collection: &Value) -> Value {
    let mut out = firewall.clone();
    let name = text(collection, "/name").to_owned();
    if let Some(properties) = properties(&mut out) {
        match properties.get_mut(COLLECTIONS).and_then(Value::as_array_mut) {
            Some(all) => match all.iter_mut().find(|c| is_called(c, &name)) {
                Some(ours) => *ours = collection.clone(),
                None => all.push(collection.clone()),
            },
            None => properties[COLLECTIONS] = json!([collection]),
        }
    }
    out
}

/// The firewall without the collection `name`.
#[must_use]
pub fn without_our_collection(firewall: &Value, name: &str) -> Value {
    let mut out = firewall.clone();
    let all = properties(&mut out).and_then(|p| p.get_mut(COLLECTIONS)).and_then(Value::as_array_mut);
    if let Some(all) = all {
        all.retain(|c| !is_called(c, name));
    }
    out
}

fn properties(firewall: &mut Value) -> Option<&mut Value> {
    firewall.get_mut("properties").filter(|p| p.is_object())
}

fn is_called(collection: &Value, name: &str) -> bool {
    text(collection, "/name").eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "gangplank-warehouse";

    fn collection(name: String, priority: u32, description: String) -> Value {
        json!({"name": name, "unknown": {"to": ["us"]}, "properties": {
            "priority": priority, "rules": [{"name": "r", "description": description, "sourceAddresses": ["*"]}]}})
    }

    fn firewalls() -> impl Strategy<Value = Value> {
        let names = prop::collection::btree_set(
            prop_oneof![3 => "[a-z]{1,6}", 1 => Just(NAME.to_uppercase()), 1 => Just("gangplank-warehouse-2".to_owned())],
            0..5,
        );
        let all = (names, any::<u32>(), ".{0,8}").prop_map(|(names, seed, text)| {
            names.into_iter().map(|n| collection(n, seed % 65000, text.clone())).collect::<Vec<Value>>()
        });
        (all, prop::option::of(".{0,6}"), 0..4).prop_map(|(all, extra, shape)| {
            let mut firewall = json!({"id": "/f", "etag": "W/\"1\"", "zones": ["1"], "properties": {
                "threatIntelMode": "Alert", "networkRuleCollections": [{"name": NAME}], "natRuleCollections": all}});
            if let Some(extra) = extra {
                firewall["properties"]["new"] = json!({"in": extra, "the": [1.5, null]});
            }
            match shape {
                0 => _ = firewall["properties"].as_object_mut().unwrap().shift_remove(COLLECTIONS),
                1 => firewall["properties"][COLLECTIONS] = Value::Null,
                _ => {}
            }
            firewall
        })
    }

    /// Everything but what is ours, as text: the order of keys and of collections counts.
    fn others(firewall: &Value) -> String {
        let mut rest = firewall.clone();
        let all: Vec<Value> =
            list(firewall, "/properties/natRuleCollections").iter().filter(|c| !is_called(c, NAME)).cloned().collect();
        let properties = rest["properties"].as_object_mut().unwrap();
        properties.shift_remove(COLLECTIONS);
        format!("{rest} {}", Value::from(all))
    }

    proptest! {
        #[test]
        fn nobody_elses_byte_changes(firewall in firewalls(), priority in 100u32..65000) {
            let ours = collection(NAME.to_owned(), priority, "gangplank:warehouse".to_owned());
            let with = with_our_collection(&firewall, &ours);
            let without = without_our_collection(&with, NAME);
            prop_assert_eq!(others(&with), others(&firewall));
            prop_assert_eq!(others(&without), others(&firewall));
            let found: Vec<&Value> = list(&with, "/properties/natRuleCollections").iter().filter(|c| is_called(c, NAME)).collect();
            prop_assert_eq!(found, [&ours]);
            prop_assert_eq!(whose(&with, NAME, "warehouse"), Whose::Ours);
            prop_assert_eq!(whose(&without, NAME, "warehouse"), Whose::Nobodys);
            prop_assert_eq!(with_our_collection(&with, &ours), with.clone());
            prop_assert_eq!(without_our_collection(&without, NAME), without);
        }
    }

    #[test]
    fn a_name_alone_makes_nothing_ours() {
        let at = |description: &str| json!({"properties": {"natRuleCollections": [collection(NAME.to_owned(), 100, description.to_owned())]}});
        assert_eq!(whose(&at("by hand"), NAME, "warehouse"), Whose::Foreign);
        assert_eq!(whose(&at("gangplank:warehouse-2"), NAME, "warehouse"), Whose::Foreign);
        assert_eq!(whose(&at("gangplank:warehouse"), NAME, "warehouse"), Whose::Ours);
        assert_eq!(whose(&json!([]), NAME, "warehouse"), Whose::Nobodys);
        assert_eq!(
            with_our_collection(&json!({"id": "x"}), &json!({"name": NAME})),
            json!({"id": "x"}),
            "no firewall at all"
        );
    }
}
