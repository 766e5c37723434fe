//! The world held to the truth: the recorded requests go in, and what comes out is compared with what Azure answered.
//!
//! Recordings do not tell when an operation ended. So where the world disagrees because something is still under way in it, everything
//! under way may end, once, and must agree then.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::sandbox::http::Reply;
use serde_json::{Value, json};

use super::{
    http::ask,
    polling::{Exchange, recordings},
    world::World,
};

const ORIGIN: &str = "https://management.azure.com";

/// What gangplank never makes.
const FOREIGN: &[&str] = &[
    "applicationgatewaywebapplicationfirewallpolicies",
    "virtualwans",
    "virtualhubs",
    "/extensions",
    "/runcommand",
    "/generalize",
    "/simulateeviction",
    "/performmaintenance",
    "/converttomanageddisks",
    "/reimage",
    "/checkipaddressavailability",
];

/// Where the world answers otherwise than Azure did, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("firewall-classic-503-2020-08-01 15: ETag: Azure false, world true", "policies of 2020 had none in a header"),
    ("network-interface-2020-08-01 8: Azure-AsyncOperation", "2020 sent it for what was done already"),
    ("vm-life-2020-06-01 6: Azure-AsyncOperation", "2020 sent it for what was done already"),
    ("vm-run-command-2020-06-01 6: Azure-AsyncOperation", "2020 sent it for what was done already"),
];

/// One replay: what the world knows under which of the recorded addresses.
struct Replay {
    world: World,
    addresses: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub struct Findings {
    pub compared: usize,
    pub left_out: usize,
    pub differences: Vec<String>,
    /// What Azure says about a type and the world does not.
    unsaid: BTreeSet<String>,
}

/// How many exchanges of each recording are compared, and left out. Recordings of others are compared and not counted.
const COMPARED: &[(&str, usize, usize)] = &[
    ("firewall-classic-503-2020-08-01", 30, 14),
    ("firewall-policy-2024-03-01", 65, 0),
    ("firewall-policy-dnat-azcli", 75, 0),
    ("in-use-errors-2022-07-01", 55, 5),
    ("network-interface-2020-08-01", 15, 1),
    ("public-ip-2020-04-01", 9, 0),
    ("public-ip-2024-03-01", 15, 0),
    ("subnets-2020-04-01", 11, 0),
    ("virtual-machine-2022-03-01", 35, 11),
    ("virtual-network-2024-03-01", 22, 0),
    ("virtual-networks-2020-04-01", 8, 1),
    ("vm-life-2020-06-01", 29, 5),
    ("vm-run-command-2020-06-01", 50, 19),
];

/// What Azure says about types in these recordings and the world does not.
const UNSAID: &[&str] = &[
    "Microsoft.Network/applicationGateways backendSettingsCollection",
    "Microsoft.Network/applicationGateways listeners",
    "Microsoft.Network/applicationGateways loadDistributionPolicies",
    "Microsoft.Network/applicationGateways operationalState",
    "Microsoft.Network/applicationGateways privateEndpointConnections",
    "Microsoft.Network/applicationGateways privateLinkConfigurations",
    "Microsoft.Network/applicationGateways probes",
    "Microsoft.Network/applicationGateways redirectConfigurations",
    "Microsoft.Network/applicationGateways resourceGuid",
    "Microsoft.Network/applicationGateways rewriteRuleSets",
    "Microsoft.Network/applicationGateways routingRules",
    "Microsoft.Network/applicationGateways sslCertificates",
    "Microsoft.Network/applicationGateways sslProfiles",
    "Microsoft.Network/applicationGateways trustedClientCertificates",
    "Microsoft.Network/applicationGateways trustedRootCertificates",
    "Microsoft.Network/applicationGateways urlPathMaps",
    "Microsoft.Network/virtualNetworks enableVmProtection",
];

#[test]
fn the_world_answers_recorded_requests_as_azure_did() {
    let Some(recordings) = recordings() else { return };
    let mut unsaid = BTreeSet::new();
    let mut differences = Vec::new();
    for (name, exchanges) in &recordings {
        let mut findings = Findings::default();
        replay(World::default(), name, exchanges, &mut findings);
        if let Some((_, compared, left_out)) = COMPARED.iter().find(|(known, ..)| known == name) {
            assert_eq!((findings.compared, findings.left_out), (*compared, *left_out), "{name}");
            unsaid.extend(findings.unsaid);
        }
        differences.extend(findings.differences);
    }
    let explained = DIFFERENCES.iter().map(|(what, _)| *what);
    let explained: Vec<_> =
        explained.filter(|what| recordings.keys().any(|name| what.starts_with(&format!("{name} ")))).collect();
    assert_eq!(differences, explained);
    let unexplained: Vec<_> = unsaid.iter().filter(|what| !UNSAID.contains(&what.as_str())).collect();
    assert_eq!(unexplained, Vec::<&String>::new());
}

/// Sends the recorded requests to a world that begins as Azure did.
pub fn replay(mut world: World, name: &str, exchanges: &[Exchange], findings: &mut Findings) {
    world.by_hand = true;
    for sizes in world.sizes.values_mut() {
        sizes.extend(["Standard_D1_v2", "Standard_D2_v2"].map(str::to_owned));
    }
    let mut replay = Replay { world, addresses: BTreeMap::new() };
    replay.make_groups(exchanges);
    for (at, exchange) in exchanges.iter().enumerate() {
        let url = exchange.url.to_lowercase();
        let target = if is_status(exchange) { replay.addresses.get(&place(&exchange.url)).cloned() } else { None };
        let strange = FOREIGN.iter().any(|f| url.contains(f)) || (is_status(exchange) && target.is_none());
        // A fault is nobody's state.
        if strange || exchange.status >= 500 {
            findings.left_out += 1;
            continue;
        }
        findings.compared += 1;
        let mut reply = replay.send(exchange, target.as_deref());
        let effect = exchange.method != "GET" && reply.status < 300;
        if !effect && !differences(exchange, &reply).is_empty() {
            replay.world.finish();
            reply = replay.send(exchange, target.as_deref());
        }
        let found = differences(exchange, &reply);
        findings.differences.extend(found.iter().map(|what| format!("{name} {at}: {what}")));
        replay.remember(exchange, &reply);
        if exchange.status < 300 && !is_status(exchange) {
            unsaid(&exchange.body(), &value(&reply), &mut findings.unsaid);
        }
    }
    assert_eq!(replay.world.mistakes, Vec::<String>::new(), "what Azure took, its schema takes");
}

/// An address without its signature. Compute's two differ in one word of the query.
fn place(url: &str) -> String {
    let at = url.find("/subscriptions/").unwrap_or_default();
    let path = url[at..].split('?').next().unwrap_or_default();
    format!("{path}{}", if url.contains("monitor=true") { "?monitor" } else { "" })
}

fn is_status(exchange: &Exchange) -> bool {
    let path = exchange.path().to_lowercase();
    ["/operations/", "/nfvoperations/", "/operationresults/", "/nfvoperationresults/"].iter().any(|p| path.contains(p))
}

impl Replay {
    /// Recordings may begin in a group that was there.
    fn make_groups(&mut self, exchanges: &[Exchange]) {
        for exchange in exchanges {
            let mut parts = exchange.path().split('/');
            let Some(group) = parts.nth(4).filter(|_| exchange.path().to_lowercase().contains("/resourcegroups/"))
            else {
                continue;
            };
            let own = exchange.path().split('/').count() == 5;
            if own {
                return;
            }
            let location = exchange.sent().and_then(|body| body["location"].as_str().map(str::to_owned));
            let location = location.unwrap_or_else(|| "westus".to_owned()).to_lowercase().replace(' ', "");
            let path =
                format!("/subscriptions/{}/resourceGroups/{group}?api-version=2021-04-01", self.world.subscription);
            let body = json!({"location": location}).to_string();
            let ask = ask("PUT", &path, BTreeMap::new(), body.as_bytes(), ORIGIN.to_owned());
            self.world.answer(&ask);
            return;
        }
    }

    fn send(&mut self, exchange: &Exchange, target: Option<&str>) -> Reply {
        let url = target.unwrap_or(&exchange.url);
        let target = &url[url.find("/subscriptions/").unwrap_or_default()..];
        let body = exchange.sent().map(|body| body.to_string()).unwrap_or_default();
        self.world.answer(&ask(&exchange.method, target, BTreeMap::new(), body.as_bytes(), ORIGIN.to_owned()))
    }

    /// Which of the world's addresses stands for which of Azure's.
    fn remember(&mut self, exchange: &Exchange, reply: &Reply) {
        for header in ["azure-asyncoperation", "location"] {
            if let (Some(recorded), Some(own)) = (exchange.header(header), reply.header(header)) {
                self.addresses.insert(place(recorded), own.to_owned());
            }
        }
    }
}

fn value(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

fn differences(exchange: &Exchange, reply: &Reply) -> Vec<String> {
    let (recorded, own) = (exchange.body(), value(reply));
    let mut found = Vec::new();
    let mut compare = |what: &str, azure: String, world: String| {
        if azure != world {
            let told = if azure == "true" && world == "false" {
                what.to_owned()
            } else {
                format!("{what}: Azure {azure}, world {world}")
            };
            found.push(told);
        }
    };
    compare("status", exchange.status.to_string(), reply.status.to_string());
    for header in ["Azure-AsyncOperation", "Location", "ETag"] {
        // A finished result is found by asking for it or its status: both were recorded under one address.
        if is_status(exchange) {
            continue;
        }
        compare(header, exchange.header(header).is_some().to_string(), reply.header(header).is_some().to_string());
    }
    if exchange.header("retry-after").is_some() && !is_status(exchange) {
        compare("Retry-After", "true".to_owned(), reply.header("retry-after").is_some().to_string());
    }
    for pointer in ["/error/code", "/properties/provisioningState", "/type", "/status", "/location", "/name"] {
        let text = |body: &Value| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if pointer == "/name" && is_status(exchange) {
            continue;
        }
        compare(pointer, text(&recorded), text(&own));
    }
    found
}

/// The names of properties, by type, that only Azure's answer has.
fn unsaid(azure: &Value, world: &Value, into: &mut BTreeSet<String>) {
    let Some(kind) = azure["type"].as_str().filter(|_| world["type"].is_string()) else { return };
    for (name, value) in azure["properties"].as_object().into_iter().flatten() {
        if world["properties"].get(name).is_none() && !value.is_null() {
            into.insert(format!("{kind} {name}"));
        }
    }
}
