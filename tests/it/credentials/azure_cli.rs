//! The Azure CLI is asked for each subscription's own token: it may be logged in to several tenants.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use super::{Desk, azure_plan};
use crate::support::{
    self, program,
    program::Victim,
    recorder::{Asked, Recorder},
    tls::TlsFront,
};

/// Writes its arguments down, and gives each subscription a token of its own.
const AZ: &str = r#"#!/bin/sh
echo "$*" >> "$HOME/az.log"
subscription=default
while [ $# -gt 0 ]; do
  case "$1" in --subscription) subscription=$2 ;; esac
  shift
done
echo "{\"accessToken\": \"token-$subscription\", \"expires_on\": 4102444800, \"tokenType\": \"Bearer\"}"
"#;

/// Puts a CLI on the path of a desk; returns the environment that finds it first.
pub fn fake(desk: &Desk) -> Vec<(&'static str, &'static str)> {
    desk.write("bin/az", AZ);
    let path = desk.home.path().join("bin/az");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of our own");
    let folder = path.parent().and_then(|folder| folder.to_str()).expect("text");
    // The test ends with the process.
    let path: &'static str = Box::leak(format!("{folder}:/usr/bin:/bin").into_boxed_str());
    // What would be asked before the CLI is not there.
    vec![
        ("PATH", path),
        ("IMDS_ENDPOINT", "http://127.0.0.1:1"),
        ("AZURE_TENANT_ID", "11111111-1111-1111-1111-111111111111"),
    ]
}

#[test]
fn two_subscriptions_of_two_tenants_have_their_own_tokens() {
    let Some(python) = support::python() else { return support::skip("no Python with cryptography here") };
    let recorder = Recorder::start("{\"value\": []}");
    let front = TlsFront::start(&python, recorder.address);
    let desk = Desk::new();
    let subscriptions = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"];
    for (name, subscription) in ["sales", "people"].iter().zip(subscriptions) {
        desk.write(&format!("plans/{name}.yaml"), &azure_plan(name, subscription));
    }
    let (endpoint, authority) = (front.endpoint(), front.authority());
    let mut environment = fake(&desk);
    environment.push(("AZURE_RESOURCE_MANAGER_ENDPOINT", &endpoint));
    environment.push(("SSL_CERT_FILE", authority.to_str().expect("text")));
    program::run(&mut desk.gangplank(&["status", "plans"], &environment), &Victim::default()).expect(0);

    let asked = recorder.asked();
    for subscription in subscriptions {
        let about = |asked: &&Asked| asked.path.contains(subscription);
        let signed: BTreeSet<&str> = asked.iter().filter(about).map(|asked| asked.authorization.as_str()).collect();
        assert_eq!(signed, BTreeSet::from([format!("Bearer token-{subscription}").as_str()]), "{asked:?}");
    }
    let log = fs::read_to_string(desk.home.path().join("az.log")).expect("the CLI was asked");
    assert_eq!(log.lines().count(), 2, "once for each subscription\n{log}");
    for subscription in subscriptions {
        assert!(log.contains(&format!("--subscription {subscription}")), "{log}");
    }
    assert!(!log.contains("--tenant"), "the CLI refuses both\n{log}");
}
