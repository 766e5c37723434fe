//! What helps to write a plan: the JSON Schema for editors, and starters.

/// The clouds by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudKind {
    Aws,
    Azure,
}

/// The plan language as a JSON Schema (2020-12), for editors. [`super::read()`] checks more.
pub fn schema() -> &'static str {
    include_str!("schema.json")
}

/// A commented plan to begin with. It reads, and its ids are obviously nobody's.
pub fn starter(cloud: CloudKind) -> &'static str {
    match cloud {
        CloudKind::Aws => include_str!("../../templates/starter-aws.yaml"),
        CloudKind::Azure => include_str!("../../templates/starter-azure.yaml"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::plan::{ImageAlias, KeyUpdates, Protocol, aws, azure, catalogue, fields::Shape, read, tunnel, vendor};

    fn schema_value() -> Value {
        serde_json::from_str(schema()).unwrap()
    }

    #[test]
    fn the_reader_and_the_schema_know_the_same_fields() {
        let schema = schema_value();
        let shapes: [(&str, &Shape); 15] = [
            ("", &read::PLAN),
            ("/$defs/ssh", &read::SSH),
            ("/$defs/aws", &aws::AWS),
            ("/$defs/subnet", &aws::SUBNET),
            ("/$defs/database_access", &aws::DATABASE_ACCESS),
            ("/$defs/azure", &azure::AZURE),
            ("/$defs/resource_group", &azure::RESOURCE_GROUP),
            ("/$defs/network", &azure::NETWORK),
            ("/$defs/edge", &azure::EDGE),
            ("/$defs/firewall", &azure::FIREWALL),
            ("/$defs/tunnel", &tunnel::TUNNEL),
            ("/$defs/target", &tunnel::TARGET),
            ("/$defs/login_attempt", &tunnel::LOGIN_ATTEMPT),
            ("/$defs/operator", &tunnel::OPERATOR),
            ("/$defs/vendor", &vendor::VENDOR),
        ];
        for (pointer, shape) in shapes {
            let properties = schema.pointer(&format!("{pointer}/properties")).unwrap().as_object().unwrap();
            let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(described, shape.fields.iter().copied().collect(), "{pointer}");
        }
        let closed = schema["$defs"].as_object().unwrap().values().filter(|def| def["additionalProperties"] == false);
        assert_eq!(closed.count() + 1, shapes.len(), "every closed block of the schema has a reader");
    }

    #[test]
    fn every_field_is_described() {
        let schema = schema_value();
        let blocks = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for (name, field) in blocks.filter_map(|block| block["properties"].as_object()).flatten() {
            let referred = field["$ref"].as_str().and_then(|r| schema.pointer(r.trim_start_matches('#')));
            let described = |value: &Value| value["description"].is_string();
            assert!(described(field) || referred.is_some_and(described), "{name}");
        }
    }

    #[test]
    fn the_reader_and_the_schema_know_the_same_words() {
        let schema = schema_value();
        let words = |pointer: &str| -> BTreeSet<String> {
            let words = schema.pointer(pointer).unwrap().as_array().unwrap();
            words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let known = |words: &[&str]| -> BTreeSet<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        assert_eq!(words("/$defs/image/enum"), known(&ImageAlias::ALL.map(|(name, _)| name)));
        assert_eq!(words("/$defs/target/properties/speaks/enum"), known(&Protocol::ALL.map(|(name, _)| name)));
        assert_eq!(words("/$defs/firewall/properties/sku/enum"), known(&azure::SKUS.map(|(name, _)| name)));
        assert_eq!(words("/properties/key_updates/enum"), known(&KeyUpdates::ALL.map(|(name, _)| name)));
        let vendors: BTreeSet<String> = catalogue().iter().flat_map(|vendor| vendor.ids()).collect();
        assert_eq!(words("/$defs/tunnel/properties/vendor/oneOf/0/enum"), vendors);
    }
}
