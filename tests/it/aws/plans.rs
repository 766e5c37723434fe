//! Plans of one bastion, written out and read back, and the account that they are for.

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use gangplank::{
    cloudinit::{self, UserData},
    diagnostic::Source,
    plan::{self, Cloud, Plan},
    provider::aws::{
        desire::Desired,
        name_servers::{NameServers, NetworkDns},
        network::{Destination, Route, RouteTable, Subnet},
        observed::{
            Attachment, ElasticIp, Group, Image, Instance, InstanceState, InstanceType, MetadataOptions, Observed,
            Surroundings,
        },
        rule::{ANY_V4, Peer, Rule, Rules},
    },
    tags::{BASTION, Tags},
};
use proptest::{collection::btree_set, prelude::*};

use super::world::World;

pub const BASTION_NAME: &str = "warehouse";
/// Another bastion of the account, whose name is a prefix of ours.
pub const NEIGHBOUR: &str = "ware";
pub const MARK: &str = "gangplank:warehouse ";

/// Id, network, tag Name. The last one is private.
const SUBNETS: [(&str, &str, &str); 4] = [
    ("subnet-000000a1", "vpc-1", "public-a"),
    ("subnet-000000a2", "vpc-1", "public-b"),
    ("subnet-000000a3", "vpc-2", "public-c"),
    ("subnet-000000a4", "vpc-1", "private"),
];
/// Id, network.
const DATABASES: [(&str, &str); 4] =
    [("sg-000000d1", "vpc-1"), ("sg-000000d2", "vpc-1"), ("sg-000000d3", "vpc-2"), ("sg-000000d4", "vpc-2")];
const PORTS: [u16; 2] = [5432, 3306];
const SOURCES: [&str; 4] = ["198.51.100.20/32", "192.0.2.0/28", "2001:db8:1::/64", "35.175.75.15/32"];
const TYPES: [&str; 3] = ["t4g.nano", "t4g.small", "t3.nano"];
/// The published images that plans name by id, by instance type.
const IMAGES: [&str; 3] = ["ami-000000c1", "ami-000000c1", "ami-000000c2"];
/// Addresses that belong to the account, not to a bastion.
pub const EXISTING: [&str; 2] = ["eipalloc-000000e1", "eipalloc-000000e2"];
const KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1wwnsJ9HuEUP/JMewhaHQeQWr+IlteeNLQzJ2z9Njo",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG5CZlIlbo34T3AdCxWo+Dpw4o0Fooo4cNkjT5C74JYd",
];
const OPERATOR_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQw0RMvT3lBbAtTuKXyWlSiaRbsGRcAQ6W6fYbo4Fp4";

/// A plan by its choices; numbers are positions in the lists above.
#[derive(Clone, Debug)]
pub struct Spec {
    pub subnet: usize,
    pub subnet_by_tag: bool,
    pub image: &'static str,
    pub image_update: bool,
    pub instance_type: usize,
    /// `None`: an address of the bastion's own.
    pub address: Option<usize>,
    /// Group (0 or 1 of the subnet's network) and port.
    pub databases: BTreeSet<(usize, usize)>,
    /// A line of the plan.
    pub deadline: &'static str,
    pub port: u16,
    pub vendor: bool,
    pub sources: BTreeSet<usize>,
    pub keys: BTreeSet<usize>,
    pub operator: bool,
    pub ipv6_target: bool,
    pub tags: BTreeSet<&'static str>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            subnet: 0,
            subnet_by_tag: false,
            image: "debian-13",
            image_update: false,
            instance_type: 0,
            address: None,
            databases: [(0, 0)].into(),
            deadline: "lifetime: 90d",
            port: 22,
            vendor: true,
            sources: BTreeSet::new(),
            keys: [0].into(),
            operator: true,
            ipv6_target: false,
            tags: ["team"].into(),
        }
    }
}

impl Spec {
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        self.write(&mut out).expect("a string");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (subnet, network, name) = SUBNETS[self.subnet];
        writeln!(out, "version: 1\nname: {BASTION_NAME}\n{}", self.deadline)?;
        let tags: Vec<String> = self.tags.iter().map(|key| format!("{key}: data")).collect();
        writeln!(out, "tags: {{{}}}\n\naws:\n  region: us-east-1", tags.join(", "))?;
        match self.subnet_by_tag {
            true => writeln!(out, "  subnet: {{tag: {{Name: {name}}}}}")?,
            false => writeln!(out, "  subnet: {subnet}")?,
        }
        match self.image {
            "ami" => writeln!(out, "  image: {}", IMAGES[self.instance_type])?,
            alias => writeln!(out, "  image: {alias}\n  image_update: {}", self.image_update)?,
        }
        writeln!(out, "  instance_type: {}", TYPES[self.instance_type])?;
        writeln!(out, "  address: {}", self.address.map_or("elastic", |i| EXISTING[i]))?;
        let groups: Vec<&str> = DATABASES.iter().filter(|(_, vpc)| *vpc == network).map(|(id, _)| *id).collect();
        let access =
            self.databases.iter().map(|(g, p)| format!("{{security_group: {}, port: {}}}", groups[*g], PORTS[*p]));
        writeln!(out, "  database_access: [{}]", access.collect::<Vec<_>>().join(", "))?;
        writeln!(out, "\nssh: {{port: {}}}\n\ntunnels:\n  - user: secoda", self.port)?;
        if self.vendor || self.sources.is_empty() {
            writeln!(out, "    vendor: secoda/north-america")?;
        }
        let list = |items: Vec<&str>| items.join(", ");
        writeln!(out, "    allow_from: [{}]", list(self.sources.iter().map(|i| SOURCES[*i]).collect()))?;
        writeln!(out, "    keys: [{}]\n    targets:", list(self.keys.iter().map(|i| KEYS[*i]).collect()))?;
        let ports: BTreeSet<u16> = self.databases.iter().map(|(_, p)| PORTS[*p]).collect();
        for port in &ports {
            writeln!(out, "      - {{name: db-{port}, host: db.internal, port: {port}}}")?;
        }
        if ports.is_empty() {
            writeln!(
                out,
                "      - {{name: far, host: far.internal, port: 443, networks: [10.0.4.0/24, 10.0.6.0/24]}}"
            )?;
        }
        if self.ipv6_target {
            writeln!(out, "      - {{name: six, host: \"fd12:3456::5\", port: 5432}}")?;
        }
        if self.operator {
            writeln!(out, "\noperators:\n  - {{name: ana, allow_from: [203.0.113.200], keys: [\"{OPERATOR_KEY}\"]}}")?;
        }
        Ok(())
    }

    pub fn read(&self) -> Written {
        Written::read(&self.text())
    }
}

pub fn specs() -> impl Strategy<Value = Spec> {
    let place =
        (0usize..3, any::<bool>(), prop::sample::select(vec!["debian-13", "ubuntu-24.04", "ami"]), any::<bool>());
    let machine = (
        0usize..3,
        prop::option::weighted(0.3, 0usize..2),
        btree_set((0usize..2, 0usize..2), 0..4),
        prop::sample::select(vec!["", "lifetime: 90d", "lifetime: 30d", "expires: 2031-01-31T00:00:00Z"]),
    );
    let people = (any::<bool>(), btree_set(0usize..3, 0..3), btree_set(0usize..3, 0..3), any::<bool>());
    let rest = (
        prop::sample::select(vec![22u16, 22, 2222]),
        any::<bool>(),
        btree_set(prop::sample::select(vec!["team", "cost"]), 0..3),
    );
    (place, machine, people, rest).prop_map(|(place, machine, people, rest)| {
        let (subnet, subnet_by_tag, image, image_update) = place;
        let (instance_type, address, databases, deadline) = machine;
        let (vendor, sources, keys, operator) = people;
        let (port, ipv6_target, tags) = rest;
        Spec {
            subnet,
            subnet_by_tag,
            image,
            image_update,
            instance_type,
            address,
            databases,
            deadline,
            port,
            vendor,
            sources,
            keys,
            operator,
            ipv6_target,
            tags,
        }
    })
}

/// A plan as it was read, with its document.
pub struct Written {
    pub plan: Plan,
    pub user_data: UserData,
}

impl Written {
    pub fn read(text: &str) -> Self {
        let source = Source { path: "plans/warehouse.yaml".to_owned(), text: text.to_owned() };
        let plan = plan::read(Arc::new(source)).unwrap_or_else(|problems| {
            panic!("{text}\n{}", gangplank::diagnostic::render(&problems, false));
        });
        let user_data = cloudinit::render(&plan).expect("a document");
        Self { plan, user_data }
    }

    pub fn want(&self) -> Desired<'_> {
        let Cloud::Aws(aws) = &self.plan.cloud else { panic!("a plan for AWS") };
        Desired::new(&self.plan, aws, &self.user_data)
    }
}

/// An account with two networks, databases, addresses, and a neighbour bastion; nothing of ours.
pub fn account() -> World {
    let tags = |key: &str, value: &str| Tags::from([(key.to_owned(), value.to_owned())]);
    let neighbours = || tags(BASTION, NEIGHBOUR);
    let address = |allocation: &str, ip: &str, attached: Option<Attachment>, tags: Tags| ElasticIp {
        counts: true,
        border_group: None,
        allocation: allocation.to_owned(),
        ip: ip.parse().ok(),
        attached,
        tags,
    };
    let group = |id: &str, name: &str, vpc: &str, ingress: Rules, tags: Tags| Group {
        id: id.to_owned(),
        name: name.to_owned(),
        description: String::new(),
        vpc: vpc.to_owned(),
        ingress,
        egress: Rules::new(),
        tags,
    };
    let from_neighbour = |port| {
        let rule = Rule::tcp(port, Peer::Group("sg-000000f1".to_owned()));
        (rule, format!("gangplank:{NEIGHBOUR} port {port}"))
    };
    let from_office = || (Rule::tcp(5432, Peer::Net("10.9.0.0/16".parse().expect("a network"))), "office".to_owned());
    let mut groups = vec![
        group("sg-000000f1", "gangplank-ware", "vpc-1", Rules::from([from_office()]), neighbours()),
        // Our name, but in a network that no plan names.
        group("sg-000000f2", "gangplank-warehouse", "vpc-3", Rules::from([from_office()]), Tags::new()),
    ];
    groups.extend(DATABASES.map(|(id, vpc)| {
        let neighbour = (vpc == "vpc-1").then(|| from_neighbour(5432));
        group(id, "database", vpc, neighbour.into_iter().chain([from_office()]).collect(), tags("team", "dba"))
    }));
    let neighbour = Instance {
        id: "i-000000f1".to_owned(),
        state: InstanceState::Running,
        instance_type: "t4g.nano".to_owned(),
        image: "ami-000000c1".to_owned(),
        subnet: "subnet-000000a1".to_owned(),
        vpc: "vpc-1".to_owned(),
        groups: vec!["sg-000000f1".to_owned()],
        metadata: MetadataOptions { enabled: true, tokens_required: false, hop_limit: 2, tags: false },
        private_ip: None,
        public_ip: None,
        launched: None,
        parts: Vec::new(),
        interfaces: Vec::new(),
        profile: None,
        key_pair: None,
        tags: neighbours(),
    };
    let all = Observed {
        instances: vec![neighbour],
        addresses: vec![
            address(EXISTING[0], "203.0.113.251", None, tags("team", "network")),
            address(EXISTING[1], "203.0.113.252", None, Tags::new()),
            address(
                "eipalloc-000000f1",
                "203.0.113.253",
                Some(Attachment::Instance("i-000000f1".to_owned())),
                neighbours(),
            ),
            address(
                "eipalloc-000000f2",
                "203.0.113.254",
                Some(Attachment::Interface("eni-000000f2".to_owned())),
                Tags::new(),
            ),
        ],
        groups,
        name_servers: own_name_servers(&["vpc-1", "vpc-2"]),
        ..Observed::default()
    };
    World::new(all, surroundings())
}

/// Networks that ask EC2's own servers.
pub fn own_name_servers(networks: &[&str]) -> NameServers {
    let network = |vpc: &&str| NetworkDns { vpc: (*vpc).to_owned(), range: None, dhcp_options: "default".to_owned() };
    NameServers { networks: networks.iter().map(network).collect(), ..NameServers::default() }
}

fn surroundings() -> Surroundings {
    let name = |name: &str| Tags::from([("Name".to_owned(), name.to_owned())]);
    let table = |id: &str, vpc: &str, main: bool, subnets: &[&str], internet: bool| RouteTable {
        id: id.to_owned(),
        vpc: vpc.to_owned(),
        main,
        subnets: subnets.iter().map(|s| (*s).to_owned()).collect(),
        routes: vec![Route {
            to: Destination::Net(ANY_V4),
            via: if internet { "igw-1" } else { "nat-1" }.to_owned(),
            active: true,
        }],
    };
    let image = |id: &str, name: &str, owner: &str, architecture: &str| Image {
        id: id.to_owned(),
        name: name.to_owned(),
        owner: owner.to_owned(),
        architecture: architecture.to_owned(),
        root_device: "/dev/xvda".to_owned(),
        root_size: 8,
        created: "2026-08-11T10:00:00.000Z".to_owned(),
        deprecation: None,
    };
    let (debian, ubuntu) = ("136693071363", "099720109477");
    let ubuntu_name = |arch: &str| format!("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{arch}-server-20260801");
    Surroundings {
        most_addresses: None,
        subnets: SUBNETS
            .map(|(id, vpc, tag)| Subnet {
                id: id.to_owned(),
                vpc: vpc.to_owned(),
                zone: "us-east-1a".to_owned(),
                ipv6: vpc == "vpc-2",
                nets: Vec::new(),
                tags: name(tag),
            })
            .to_vec(),
        route_tables: vec![
            table("rtb-1", "vpc-1", true, &[], false),
            table("rtb-2", "vpc-1", false, &["subnet-000000a1", "subnet-000000a2"], true),
            table("rtb-3", "vpc-2", true, &[], true),
        ],
        images: vec![
            image("ami-000000b1", "debian-13-arm64-20260811-2566", debian, "arm64"),
            image("ami-000000b2", "debian-13-amd64-20260811-2566", debian, "x86_64"),
            image("ami-000000b3", &ubuntu_name("arm64"), ubuntu, "arm64"),
            image("ami-000000b4", &ubuntu_name("amd64"), ubuntu, "x86_64"),
            image("ami-000000c1", "own", "123456789012", "arm64"),
            image("ami-000000c2", "own", "123456789012", "x86_64"),
        ],
        instance_types: [("t4g.nano", "arm64"), ("t4g.small", "arm64"), ("t3.nano", "x86_64")]
            .map(|(name, architecture)| InstanceType {
                name: name.to_owned(),
                architectures: vec![architecture.to_owned()],
                nitro: true,
                memory: Some(512),
            })
            .to_vec(),
        public_access: None,
    }
}

/// A newer build of every published image appears.
pub fn publish(world: &mut World) {
    let newer = world.around.images.iter().filter(|i| i.id.starts_with("ami-000000b")).map(|i| Image {
        id: i.id.replace("ami-000000b", "ami-000001b"),
        created: "2026-11-01T10:00:00.000Z".to_owned(),
        ..i.clone()
    });
    let newer: Vec<Image> = newer.collect();
    world.around.images.retain(|i| !i.id.starts_with("ami-000001b"));
    world.around.images.extend(newer);
}
