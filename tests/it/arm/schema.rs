//! Microsoft's own schemas of request bodies, where the folder with them is there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use jsonschema::Validator;
use serde_json::Value;

/// The folders of this name where data of Azure may be: in `GANGPLANK_TEST_AZURE`, which `tests/run` fills with recordings, and in
/// `shared/azure` beside the repository.
pub fn folders(name: &str) -> impl Iterator<Item = PathBuf> + use<'_> {
    let named = std::env::var_os("GANGPLANK_TEST_AZURE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/azure");
    named.into_iter().chain([beside]).map(move |folder| folder.join(name)).filter(|folder| folder.is_dir())
}

/// The folder with schemas.
pub fn folder() -> Option<PathBuf> {
    folders("schemas").next()
}

/// By resource type, in lower case.
fn validators() -> &'static BTreeMap<String, Validator> {
    static COMPILED: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let Some(folder) = folder() else { return BTreeMap::new() };
        let files = fs::read_dir(folder).expect("a folder that can be read");
        files
            .filter_map(|file| {
                let path = file.ok()?.path();
                // strict-virtualnetworks_subnets-2024-03-01.json
                let name = path.file_name()?.to_str()?.strip_prefix("strict-")?;
                let kind = name.split("-20").next()?.replace('_', "/");
                let namespace =
                    if kind.starts_with("virtualmachines") { "microsoft.compute" } else { "microsoft.network" };
                let mut schema: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).expect("JSON");
                // Templates need `properties`; requests do not.
                schema.as_object_mut()?.remove("required");
                close(&mut schema);
                // Microsoft's list of sizes ends in 2020, and is no closed one (`modelAsString` in its specification).
                let size = schema.pointer_mut("/definitions/HardwareProfile/properties/vmSize");
                size.and_then(Value::as_object_mut).map(serde_json::Map::clear);
                Some((format!("{namespace}/{kind}"), jsonschema::validator_for(&schema).expect("a schema")))
            })
            .collect()
    })
}

/// Whether Microsoft's schema accepts the body of a PUT to a resource of this type. What has no schema here passes.
///
/// The schemas are of one API version each, and only bodies for that version are judged.
pub fn validate(kind: &str, version: &str, body: &Value) -> Result<(), String> {
    let judged = if kind.starts_with("Microsoft.Compute/") { "2024-07-01" } else { "2024-03-01" };
    let Some(validator) = validators().get(&kind.to_lowercase()).filter(|_| version == judged) else { return Ok(()) };
    let problems: Vec<String> = validator
        .iter_errors(body)
        .map(|error| format!("{}: {}", error.instance_path(), error.to_string().chars().take(300).collect::<String>()))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// Templates have resources inside resources, defined in other files; requests have not.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) if map.get("$ref").and_then(Value::as_str).is_some_and(|r| !r.starts_with('#')) => {
            *schema = Value::Bool(false);
        }
        Value::Object(map) => map.values_mut().for_each(close),
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn the_schemas_refuse_what_azure_would() {
    if folder().is_none() {
        return crate::support::cannot("no schemas of Azure here (GANGPLANK_TEST_AZURE)");
    }
    let rule = |change: fn(&mut Value)| {
        let mut group = serde_json::json!({"properties": {"priority": 200, "ruleCollections": [{
            "ruleCollectionType": "FirewallPolicyNatRuleCollection", "name": "ssh", "priority": 100,
            "action": {"type": "DNAT"},
            "rules": [{"ruleType": "NatRule", "name": "a", "ipProtocols": ["TCP"], "sourceAddresses": ["192.0.2.1"],
                       "destinationAddresses": ["20.61.0.9"], "destinationPorts": ["22"],
                       "translatedAddress": "10.0.1.4", "translatedPort": "22"}]}]}});
        change(&mut group);
        validate("Microsoft.Network/firewallPolicies/ruleCollectionGroups", "2024-03-01", &group)
    };
    assert_eq!(rule(|_| ()), Ok(()));
    let wrong: [fn(&mut Value); 6] = [
        |g| g["properties"]["priority"] = 50.into(),
        |g| g["properties"]["priority"] = 70_000.into(),
        |g| g["properties"]["ruleColections"] = Value::Null,
        |g| g["properties"]["ruleCollections"][0]["action"]["type"] = "Allow".into(),
        |g| g["properties"]["ruleCollections"][0]["rules"][0]["ipProtocols"] = serde_json::json!(["SSH"]),
        |g| g["properties"]["ruleCollections"][0]["rules"][0]["translatedPort"] = 22.into(),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        assert!(rule(change).is_err(), "number {number} passes");
    }
}
