//! A bastion's parts put into the sandbox's Azure by hand, at times that a test says.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use gangplank::sandbox::{
    arm::{SUBSCRIPTION, World},
    http::{Ask, Reply},
    vm::Way,
};
use jiff::Timestamp;
use serde_json::{Value, json};

const NET: &str = "2024-03-01";
pub const COMPUTE: &str = "2024-07-01";
/// The first address of snet-a.
pub const MACHINE: &str = "10.9.1.4";

pub fn group(rest: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-shared{rest}")
}

pub fn net(rest: &str) -> String {
    group(&format!("/providers/Microsoft.Network/{rest}"))
}

pub fn hub(rest: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-hub/providers/Microsoft.Network/{rest}")
}

pub fn vm() -> String {
    group("/providers/Microsoft.Compute/virtualMachines/vm")
}

pub fn value(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

/// A world and the time in it.
pub struct Place {
    pub world: World,
    pub now: Timestamp,
}

impl Place {
    /// The company, in no hurry.
    pub fn new() -> Self {
        Self { world: World::company(), now: "2026-11-02T10:50:00Z".parse().expect("a time") }
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub fn ask(&mut self, method: &str, target: &str, body: &Value) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let version = if path.contains("Microsoft.Compute") { COMPUTE } else { NET };
        let mut query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        query.push(("api-version".to_owned(), version.to_owned()));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let ask = Ask {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            body,
            origin: "https://management.azure.com".to_owned(),
            ..Ask::default()
        };
        self.world.answer(self.now, &ask)
    }

    pub fn get(&mut self, target: &str) -> Value {
        let reply = self.ask("GET", target, &Value::Null);
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        value(&reply)
    }

    /// Begins something.
    #[track_caller]
    pub fn put(&mut self, id: &str, body: &Value) -> Reply {
        let reply = self.ask("PUT", id, body);
        assert!(reply.status < 300, "{id}: {}", value(&reply));
        reply
    }

    /// And sees it done.
    #[track_caller]
    pub fn make(&mut self, id: &str, body: &Value) {
        self.put(id, body);
        self.world.finish(self.now);
    }

    /// A machine in snet-a whose interface has a group with these rules.
    pub fn bastion(&mut self, rules: &Value) {
        self.make(&net("networkSecurityGroups/nsg"), &located(json!({"securityRules": rules})));
        self.interface(json!({}), true);
        let body = json!({
            "hardwareProfile": {"vmSize": "Standard_B1s"},
            "storageProfile": {"osDisk": {"createOption": "FromImage", "deleteOption": "Delete"}},
            "osProfile": {"computerName": "vm", "adminUsername": "nobody", "customData": "I2Nsb3VkLWNvbmZpZw=="},
            "userData": "a2V5cw==",
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": true}},
            "networkProfile": {"networkInterfaces": [{"id": net("networkInterfaces/nic")}]}});
        self.make(&vm(), &located(body));
    }

    /// The machine's interface: with what else its configuration says, and with or without the group.
    pub fn interface(&mut self, configuration: Value, guarded: bool) {
        let mut properties = json!({"subnet": {"id": net("virtualNetworks/vnet-data/subnets/snet-a")}});
        for (name, value) in configuration.as_object().into_iter().flatten() {
            properties[name.as_str()] = value.clone();
        }
        let mut body = json!({"ipConfigurations": [{"name": "main", "properties": properties}]});
        if guarded {
            body["networkSecurityGroup"] = json!({"id": net("networkSecurityGroups/nsg")});
        }
        self.make(&net("networkInterfaces/nic"), &located(body));
    }

    /// A public address by its id.
    pub fn address(&self, id: &str) -> IpAddr {
        let shown = self.world.resource(id).expect("an address");
        shown["properties"]["ipAddress"].as_str().and_then(|a| a.parse().ok()).expect("an address")
    }

    pub fn way(&self, from: &str, to: IpAddr) -> Way {
        self.world.way(self.now, from.parse().expect("an address"), SocketAddr::new(to, 22))
    }
}

pub fn located(properties: Value) -> Value {
    json!({"location": "westeurope", "properties": properties})
}

/// A rule of a network security group.
pub fn rule(priority: u32, direction: &str, access: &str, from: &str, to: &str, port: &str) -> Value {
    json!({"name": format!("r{priority}-{direction}"), "properties": {
        "priority": priority, "direction": direction, "access": access, "protocol": "Tcp", "sourcePortRange": "*",
        "sourceAddressPrefix": from, "destinationAddressPrefix": to, "destinationPortRange": port}})
}

/// A rule collection group of a policy that leads SSH from some sources to an address.
pub fn dnat(priority: u32, sources: &[&str], at: IpAddr, to: &str) -> Value {
    json!({"properties": {"priority": priority, "ruleCollections": [{
        "ruleCollectionType": "FirewallPolicyNatRuleCollection", "name": "ssh", "priority": 100,
        "action": {"type": "DNAT"},
        "rules": [{"ruleType": "NatRule", "name": "a", "ipProtocols": ["TCP"], "sourceAddresses": sources,
                   "destinationAddresses": [at.to_string()], "destinationPorts": ["22"],
                   "translatedAddress": to, "translatedPort": "22"}]}]}})
}
