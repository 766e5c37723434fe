//! The plans of a story: one or two bastions, each in several versions.

use std::{collections::BTreeSet, sync::Arc};

use gangplank::{
    diagnostic::Source,
    plan::{self, Plan},
    sandbox::{arm, call::Cloud, ec2},
};

const KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1wwnsJ9HuEUP/JMewhaHQeQWr+IlteeNLQzJ2z9Njo",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG5CZlIlbo34T3AdCxWo+Dpw4o0Fooo4cNkjT5C74JYd",
];
const SOURCES: [&str; 4] = ["198.51.100.20/32", "192.0.2.0/28", "35.175.75.15/32", "203.0.113.7/32"];
const EDGES: [&str; 5] = [
    "public_address",
    "{firewall: {sku: standard}}",
    "{firewall: {existing: fw-hub}}",
    "{firewall: {existing: fw-old}}",
    "{firewall: {policy: fwp-hub}}",
];

/// What stays the same of a bastion.
#[derive(Clone, Copy, Debug)]
pub struct Bastion {
    pub name: &'static str,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Aws,
    Azure { edge: usize },
}

/// One version of the plans of all bastions of a story, and whom each admits.
#[derive(Clone, Default)]
pub struct Version {
    pub plans: Vec<Plan>,
    pub sources: Vec<BTreeSet<String>>,
}

impl Version {
    pub fn some(rng: &mut fastrand::Rng, bastions: &[Bastion]) -> Self {
        let (plans, sources) = bastions.iter().map(|bastion| bastion.plan(rng)).unzip();
        Self { plans, sources }
    }

    /// The bastions' names, and whom each admits.
    pub fn admitted(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.plans.iter().map(|plan| plan.name.as_str()).zip(&self.sources)
    }
}

impl Bastion {
    pub fn some(rng: &mut fastrand::Rng, name: &'static str) -> Self {
        let place = if rng.u8(..10) < 6 { Place::Aws } else { Place::Azure { edge: rng.usize(..EDGES.len()) } };
        Self { name, place }
    }

    pub fn is_on_aws(&self) -> bool {
        self.cloud() == Cloud::Aws
    }

    pub fn cloud(&self) -> Cloud {
        match self.place {
            Place::Aws => Cloud::Aws,
            Place::Azure { .. } => Cloud::Azure,
        }
    }

    fn plan(&self, rng: &mut fastrand::Rng) -> (Plan, BTreeSet<String>) {
        let mut sources = BTreeSet::new();
        for source in SOURCES {
            if rng.u8(..3) == 0 {
                sources.insert(source.to_owned());
            }
        }
        if sources.is_empty() {
            sources.insert(SOURCES[0].to_owned());
        }
        let keys: Vec<&str> = KEYS.into_iter().filter(|_| rng.bool()).collect();
        let deadline = ["", "lifetime: 90d\n", "lifetime: 30d\n"][rng.usize(..3)];
        let updates = if rng.u8(..5) == 0 { "replace" } else { "live" };
        let team = ["data", "platform"][rng.usize(..2)];
        // Two bastions behind one firewall share its address, and no port of it.
        let ports = if self.name == "warehouse" { [22, 2222] } else { [2022, 2223] };
        let port = ports[usize::from(rng.u8(..6) == 0)];
        let place = match self.place {
            Place::Aws => format!(
                "aws:\n  account: \"{}\"\n  region: us-east-1\n  subnet: {}\n  image: debian-13\n  instance_type: t4g.nano\n  address: elastic\n  \
                 database_access:\n    - {{security_group: {}, port: 5432}}\n",
                ec2::ACCOUNT,
                ec2::SUBNET,
                ec2::DATABASE_GROUP
            ),
            Place::Azure { edge } => {
                let own = "    address_space: 10.60.0.0/16\n    bastion_subnet: 10.60.1.0/27\n";
                let (group, network) = match edge {
                    0 => (format!("rg-bastion-{}", self.name), format!("\n{own}")),
                    1 => (format!("rg-bastion-{}", self.name), format!("\n{own}    firewall_subnet: 10.60.0.0/26\n")),
                    _ => ("{existing: rg-shared}".to_owned(), " {existing: vnet-data, subnet: snet-a}\n".to_owned()),
                };
                format!(
                    "azure:\n  subscription: {}\n  location: westeurope\n  resource_group: {group}\n  network:{network}  edge: {}\n  \
                     size: Standard_B1s\n  image: debian-13\n",
                    arm::SUBSCRIPTION,
                    EDGES[edge]
                )
            }
        };
        let text = format!(
            "version: 1\nname: {}\n{deadline}tags: {{team: {team}}}\n{place}key_updates: {updates}\nssh: {{port: {port}}}\ntunnels:\n  - user: \
             secoda\n    allow_from: [{}]\n    keys: [{}]\n    targets:\n      - {{name: db, host: db.internal, port: 5432, networks: \
             [10.20.2.0/24]}}\n",
            self.name,
            sources.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            keys.join(", ")
        );
        let source = Source { path: format!("{}.yaml", self.name), text: text.clone() };
        let plan = plan::read(Arc::new(source))
            .unwrap_or_else(|problems| panic!("{text}\n{}", gangplank::diagnostic::render(&problems, false)));
        (plan, sources)
    }
}
