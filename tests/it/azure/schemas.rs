//! Every body that is put, against Microsoft's own request schemas, where they are: in the folder that `GANGPLANK_TEST_AZURE`
//! names, or beside the repository.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{LazyLock, Mutex},
};

use gangplank::provider::azure::id::{Id, Kind};
use jsonschema::Validator;
use serde_json::Value;

fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("GANGPLANK_TEST_AZURE").map(PathBuf::from);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = ["../shared/azure", "../../shared/azure"].map(|path| root.join(path));
    named.into_iter().chain(beside).map(|path| path.join("schemas")).find(|path| path.is_dir())
}

type Validators = HashMap<&'static str, Option<Validator>>;

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(folder);
static VALIDATORS: LazyLock<Mutex<Validators>> = LazyLock::new(Mutex::default);
/// What has been found valid: the same bodies come again and again.
static KNOWN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

fn load(name: &'static str) -> Option<Validator> {
    let text = std::fs::read_to_string(FOLDER.as_ref()?.join(format!("strict-{name}.json"))).ok()?;
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    // These are for templates: a request names its type in its path.
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| name == "properties");
    }
    without_references(&mut schema);
    // Microsoft's list of sizes ends in 2020, and is no closed one (`modelAsString` in its specification).
    if let Some(size) =
        schema.pointer_mut("/definitions/HardwareProfile/properties/vmSize").and_then(Value::as_object_mut)
    {
        size.clear();
    }
    Some(jsonschema::validator_for(&schema).expect("a schema"))
}

/// Templates may nest extensions, whose schema is elsewhere; requests don't.
fn without_references(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("$ref").and_then(Value::as_str).is_some_and(|uri| uri.starts_with("http")) {
                map.clear();
            }
            map.values_mut().for_each(without_references);
        }
        Value::Array(items) => items.iter_mut().for_each(without_references),
        _ => {}
    }
}

/// Panics with what Azure would say about the body.
pub fn check(id: &Id, body: &Value) {
    let name = match id.kind() {
        Some(Kind::Network) => "virtualnetworks-2024-03-01",
        Some(Kind::Subnet) => "virtualnetworks_subnets-2024-03-01",
        Some(Kind::SecurityGroup) => "networksecuritygroups-2024-03-01",
        Some(Kind::Address) => "publicipaddresses-2024-03-01",
        Some(Kind::Policy) => "firewallpolicies-2024-03-01",
        Some(Kind::RuleGroup) => "firewallpolicies_rulecollectiongroups-2024-03-01",
        Some(Kind::Interface) => "networkinterfaces-2024-03-01",
        Some(Kind::Firewall) => "azurefirewalls-2024-03-01",
        Some(Kind::Machine) => "virtualmachines-2024-07-01",
        _ => return,
    };
    if !KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(format!("{name}{body}")) {
        return;
    }
    let mut validators = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let validator = validators.entry(name).or_insert_with(|| load(name));
    if let Some(validator) = validator {
        let errors: Vec<String> = validator.iter_errors(body).map(|e| format!("{} {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{id}: {errors:#?}\n{body:#}");
    }
}

#[test]
fn the_schemas_refuse_what_azure_refuses() {
    let Some(folder) = FOLDER.as_ref() else {
        return crate::support::skip("no folder with Microsoft's schemas: set GANGPLANK_TEST_AZURE");
    };
    assert!(folder.join("strict-virtualmachines-2024-07-01.json").is_file());
    let validator = load("publicipaddresses-2024-03-01").expect("a schema");
    assert!(
        !validator.is_valid(&serde_json::json!({"location": "westeurope", "properties": {"allocation": "Static"}}))
    );
    assert!(validator.is_valid(
        &serde_json::json!({"location": "westeurope", "properties": {"publicIPAllocationMethod": "Static"}})
    ));
}
