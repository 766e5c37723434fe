//! Plans for the seeded world.

use std::fmt::Write;

use super::moto::Seed;

/// Made for these tests; nobody has their private halves.
pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU vendor";
const OPERATOR_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb ana";
pub const ROTATED_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG5CZlIlbo34T3AdCxWo+Dpw4o0Fooo4cNkjT5C74JYd rotated";

/// A bastion's plan, as far as the tests vary it.
#[derive(Clone, Debug)]
pub struct Bastion {
    pub name: String,
    pub subnet: String,
    /// Security group and port.
    pub databases: Vec<(String, u16)>,
    /// `elastic`, or an allocation id.
    pub address: String,
    pub allow_from: Vec<String>,
    pub keys: Vec<String>,
    /// Name, host and port.
    pub targets: Vec<(String, String, u16)>,
    pub tags: Vec<(String, String)>,
    pub expires: Option<String>,
    pub lifetime: Option<&'static str>,
    pub rules_per_group: Option<usize>,
    /// The sources of an operator, where there is one.
    pub operator: Vec<String>,
}

impl Bastion {
    /// A bastion in the public subnet, for one source and one target with its database's group.
    pub fn new(name: &str, seed: &Seed) -> Self {
        Self {
            name: name.to_owned(),
            subnet: seed.public_subnet.clone(),
            databases: vec![(seed.warehouse_group.clone(), 5432)],
            address: "elastic".to_owned(),
            allow_from: vec!["198.51.100.7/32".to_owned()],
            keys: vec![KEY.to_owned()],
            targets: vec![("warehouse".to_owned(), "10.20.2.10".to_owned(), 5432)],
            tags: vec![("team".to_owned(), "data-platform".to_owned())],
            expires: None,
            lifetime: None,
            rules_per_group: None,
            operator: Vec::new(),
        }
    }

    pub fn to_yaml(&self) -> String {
        let mut yaml = format!("version: 1\nname: {}\ntags:\n", self.name);
        let mut line = |text: String| writeln!(yaml, "{text}").expect("memory");
        for (key, value) in &self.tags {
            line(format!("  {key}: {value:?}"));
        }
        if let Some(end) = &self.expires {
            line(format!("expires: {end}"));
        }
        if let Some(lifetime) = self.lifetime {
            line(format!("lifetime: {lifetime}"));
        }
        line("aws:\n  region: us-east-1".to_owned());
        line(format!("  subnet: {}\n  address: {}", self.subnet, self.address));
        if let Some(rules) = self.rules_per_group {
            line(format!("  rules_per_group: {rules}"));
        }
        line("  image: debian-13\n  instance_type: t4g.nano\n  database_access:".to_owned());
        for (group, port) in &self.databases {
            line(format!("    - {{security_group: {group}, port: {port}}}"));
        }
        line("tunnels:\n  - user: secoda\n    allow_from:".to_owned());
        for source in &self.allow_from {
            line(format!("      - {source}"));
        }
        line("    keys:".to_owned());
        for key in &self.keys {
            line(format!("      - {key}"));
        }
        line("    targets:".to_owned());
        for (name, host, port) in &self.targets {
            line(format!("      - {{name: {name}, host: {host}, port: {port}, speaks: tcp}}"));
        }
        if !self.operator.is_empty() {
            let sources = self.operator.join(", ");
            line(format!("operators:\n  - {{name: ana, allow_from: [{sources}], keys: [{OPERATOR_KEY}]}}"));
        }
        yaml
    }
}
