//! The company whose clouds a sandbox is: what its plans say, what its machines find, and a mistake that somebody makes.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::{
    arm,
    cloud::State,
    ec2,
    http::{Ask, Reply},
    machine::{Host, Hosts, Speech},
};

const REGION: &str = "us-east-1";
/// Who it is, as far as a signature tells.
pub const SOMEBODY: &str =
    "AWS4-HMAC-SHA256 Credential=bob/20261122/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=00";
/// In the subnet `snet-a` of `vnet-data`.
const SALES: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 50);
/// In Azure's `vnet-db`, which has no peering.
const WAREHOUSE: Ipv4Addr = Ipv4Addr::new(10, 12, 1, 10);

impl State {
    /// A company with an account and a subscription, databases in both, and no bastion.
    pub fn company() -> Self {
        let database = |name: &str, address: Ipv4Addr, speaks| Host {
            name: name.to_owned(),
            address: IpAddr::V4(address),
            port: 5432,
            speaks,
        };
        let postgres = Speech::Postgres { tls: false };
        let hosts = Hosts(vec![
            database("warehouse.internal", ec2::DATABASE, postgres.clone()),
            database("warehouse.internal", WAREHOUSE, postgres.clone()),
            database("sales.internal", SALES, postgres),
        ]);
        Self::new(ec2::World::company(REGION), arm::World::company(), hosts)
    }

    /// Everything that is there, by id and sorted, as the worlds themselves know it.
    pub fn inventory(&self, now: Timestamp) -> Vec<String> {
        let mut ids = self.ec2.ids();
        ids.extend(self.ec2.machines(now).into_iter().map(|machine| machine.id));
        ids.extend(self.arm.ids());
        ids.sort();
        ids
    }
}

/// The demonstration's plans by their files' names. `ana` is an operator's public key, `keys` the vendor's, quoted and separated by
/// commas.
pub fn plans(ana: &str, keys: &str) -> Vec<(&'static str, String)> {
    let aws = (
        "warehouse.yaml",
        format!(
            "version: 1
name: warehouse
lifetime: 90d
aws:
  region: {REGION}
  subnet: {subnet}
  image: debian-13
  instance_type: t4g.nano
  address: elastic
  database_access:
    - {{security_group: {group}, port: 5432}}
tunnels:
  - user: secoda
    vendor: secoda/north-america
    keys: [{keys}]
    targets:
      - {{name: warehouse, host: warehouse.internal, port: 5432, speaks: postgres, login_attempt: true}}
operators:
  - {{name: ana, allow_from: [198.51.100.20], keys: [\"{ana}\"]}}
",
            subnet = ec2::SUBNET,
            group = ec2::DATABASE_GROUP,
        ),
    );
    let azure = (
        "sales.yaml",
        format!(
            "version: 1
name: sales
lifetime: 30d
azure:
  subscription: {subscription}
  location: westeurope
  resource_group: {{existing: rg-shared}}
  network: {{existing: vnet-data, subnet: snet-a}}
  edge: {{firewall: {{existing: fw-hub}}}}
  size: Standard_B2ats_v2
  image: debian-13
tunnels:
  - user: secoda
    vendor: secoda/eu
    keys: [{keys}]
    targets:
      - {{name: sales, host: sales.internal, port: 5432, networks: [10.9.1.50/32], speaks: postgres, login_attempt: true}}
operators:
  - {{name: ana, allow_from: [198.51.100.20], keys: [\"{ana}\"]}}
",
            subscription = arm::SUBSCRIPTION,
        ),
    );
    [cfg!(feature = "aws").then_some(aws), cfg!(feature = "azure").then_some(azure)].into_iter().flatten().collect()
}

/// Somebody opens SSH of the bastion `warehouse` to the world, with the call that the AWS CLI makes. What EC2 says to it.
pub fn open_to_the_world(state: &mut State, now: Timestamp) -> Reply {
    let call = |fields: &[(&str, &str)]| Ask {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        body: form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes(),
        headers: [("authorization", SOMEBODY), ("user-agent", "aws-cli/2.31.0")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Ask::default()
    };
    let Some(group) = state.ec2.group_named(REGION, "gangplank-warehouse") else { return Reply::empty(404) };
    let opening = call(&[
        ("Action", "AuthorizeSecurityGroupIngress"),
        ("Version", "2016-11-15"),
        ("GroupId", &group),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "22"),
        ("IpPermissions.1.ToPort", "22"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ]);
    state.ec2.answer(now, &opening)
}
