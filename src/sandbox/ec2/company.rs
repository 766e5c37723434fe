//! A company's network, as the example plans name it.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;

use super::{
    kind::Kind,
    model::{Address, Gateway, Group, GroupRule, Interface, Opens, Peer, Region, Route, RouteTable, Subnet, Tags, Vpc},
    refusal::Outcome,
    vpcs::default_egress,
    world::{Context, World},
};

/// The public subnet, the database's group and a reserved address: the ids of the plans in `plans/`.
pub const SUBNET: &str = "subnet-0a1b2c3d4e5f60718";
pub const DATABASE_GROUP: &str = "sg-0a1b2c3d4e5f60718";
pub const RESERVED_ADDRESS: &str = "eipalloc-0a1b2c3d4e5f60718";
/// Where the database listens.
pub const DATABASE: Ipv4Addr = Ipv4Addr::new(10, 20, 2, 10);

const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 0);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 0);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 20, 2, 0);

impl World {
    /// An account with a network in one region: a public and a private subnet, a database that only the application's group
    /// may reach, and an address kept for later.
    pub fn company(region: &str) -> Self {
        let mut world = Self::default();
        world.settle_company(region);
        world
    }

    /// The same in another region of an account.
    pub fn settle_company(&mut self, region: &str) {
        // What it makes can't be refused: the region is new and its quotas are not asked.
        let _: Outcome<()> = self.change(region, Timestamp::UNIX_EPOCH, |region, context| {
            build(region, context);
            Ok(())
        });
    }
}

fn build(region: &mut Region, context: &mut Context<'_>) {
    let vpc = context.mint.id(Kind::Vpc);
    let cidr = net(NETWORK, 16);
    region.add_vpc(context, &vpc, Vpc { cidr, ipv6: None, dhcp_options: None, tags: named("data") });
    let zone = format!("{}a", context.region);
    let subnet = |block, name| Subnet {
        vpc: vpc.clone(),
        cidr: net(block, 24),
        ipv6: None,
        zone: zone.clone(),
        tags: named(name),
    };
    let private = context.mint.id(Kind::Subnet);
    region.add_subnet(context, SUBNET, subnet(PUBLIC, "public-a"));
    region.add_subnet(context, &private, subnet(PRIVATE, "private-a"));

    let gateway = context.mint.id(Kind::Gateway);
    region.gateways.insert(gateway.clone(), Gateway { vpc: Some(vpc.clone()), tags: named("data") });
    let table = RouteTable {
        vpc: vpc.clone(),
        main: None,
        subnets: [(context.mint.id_with("rtbassoc"), SUBNET.to_owned())].into(),
        routes: vec![Route { to: everywhere(), gateway }],
        tags: named("data-public"),
    };
    region.route_tables.insert(context.mint.id(Kind::RouteTable), table);

    let application = context.mint.id(Kind::Group);
    let mut group = |name: &str, inward: Option<(Opens, &str)>| {
        let outward = default_egress(false).map(|opens| (opens, None));
        let inward = inward.map(|(opens, text)| (opens, Some(text.to_owned())));
        let rule = |(opens, description)| {
            (context.mint.id(Kind::GroupRule), GroupRule { opens, description, tags: Tags::new() })
        };
        Group {
            name: name.to_owned(),
            description: name.to_owned(),
            vpc: vpc.clone(),
            rules: outward.chain(inward).map(rule).collect(),
            tags: named(name),
            made: None,
        }
    };
    let from_application = Opens {
        egress: false,
        protocol: "tcp".to_owned(),
        range: Some((5432, 5432)),
        peer: Peer::Group(application.clone()),
    };
    region.groups.insert(DATABASE_GROUP.to_owned(), group("warehouse-db", Some((from_application, "the application"))));
    region.groups.insert(application.clone(), group("application", None));
    let interface = |ip, group: &str, description: &str| Interface {
        subnet: private.clone(),
        ip,
        ipv6: Vec::new(),
        groups: vec![group.to_owned()],
        description: description.to_owned(),
        attachment: None,
        tags: Tags::new(),
    };
    let database = interface(DATABASE, DATABASE_GROUP, "RDSNetworkInterface");
    region.interfaces.insert(context.mint.id(Kind::Interface), database);
    let application = interface(Ipv4Addr::new(10, 20, 2, 20), &application, "the application");
    region.interfaces.insert(context.mint.id(Kind::Interface), application);

    let address = Address { ip: context.mint.address(), association: None, tags: named("reserved") };
    region.addresses.insert(RESERVED_ADDRESS.to_owned(), address);
}

fn named(name: &str) -> Tags {
    [("Name".to_owned(), name.to_owned())].into()
}

fn net(block: Ipv4Addr, length: u8) -> Ipv4Net {
    Ipv4Net::new(block, length).unwrap_or_default()
}

fn everywhere() -> IpNet {
    IpNet::V4(Ipv4Net::default())
}
