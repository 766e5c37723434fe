//! A world where everything is right, and one fault at a time: exactly the checks that are about it turn red.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::{
    cloudinit,
    diagnostic::Source,
    plan::{self, Cloud},
    provider::aws::{
        desire::Desired,
        evidence::{Console, Network},
        name_servers::{DhcpOptions, NameServers, NetworkDns},
        network::{AclEntry, Destination, Route, Volume},
        observed::{Attachment, ElasticIp, Image, InstanceState, MetadataOptions, Observed},
        ownership,
        prefix_list::PrefixList,
        public_access::PublicAccess,
        rule::{ANY_V4, Direction, Peer, Protocol, Rule, Rules},
    },
    tags::{
        self, Tags,
        deadline::{self, Remembered, ResolvedDeadline},
    },
    verify::Verdict,
};

const NOW: &str = "2026-11-22T12:00:00Z";
const PLAN: &str = "version: 1
name: warehouse
lifetime: 90d
aws:
  region: us-east-1
  subnet: subnet-00000001
  image: debian-13
  instance_type: t4g.nano
  database_access:
    - {security_group: sg-000000db, port: 5432}
tunnels:
  - user: secoda
    allow_from: [198.51.100.7/32, 2001:db8:7::/64]
    keys: []
    targets:
      - {name: warehouse, host: warehouse.internal, port: 5432, speaks: postgres}
      - {name: legacy, host: 10.20.2.11, port: 3306, speaks: mysql}
operators:
  - name: ana
    allow_from: [203.0.113.0/28]
    keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU]
";

fn plan() -> Plan {
    let source = Source { path: "warehouse.yaml".to_owned(), text: PLAN.to_owned() };
    plan::read(Arc::new(source)).expect("a plan")
}

fn net(text: &str) -> Peer {
    Peer::Net(text.parse().unwrap())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn table(id: &str, subnets: &[&str], routes: &[(&str, &str)]) -> RouteTable {
    let route = |(to, via): &(&str, &str)| Route {
        to: Destination::Net(to.parse().unwrap()),
        via: (*via).to_owned(),
        active: true,
    };
    RouteTable {
        id: id.to_owned(),
        vpc: "vpc-1".to_owned(),
        main: subnets.is_empty(),
        subnets: subnets.iter().map(|s| (*s).to_owned()).collect(),
        routes: routes.iter().map(route).collect(),
    }
}

fn entry(number: i32, direction: Direction, allow: bool, protocol: Protocol, range: &str) -> AclEntry {
    AclEntry { number, direction, allow, protocol, net: range.parse().unwrap() }
}

/// What every network has at first: everything is allowed.
fn open_acl(id: &str, subnet: &str) -> Acl {
    let entries = [Direction::Ingress, Direction::Egress].into_iter().flat_map(|direction| {
        [(100, true), (32767, false)].map(|(number, allow)| entry(number, direction, allow, Protocol::All, "0.0.0.0/0"))
    });
    Acl { id: id.to_owned(), vpc: "vpc-1".to_owned(), subnets: vec![subnet.to_owned()], entries: entries.collect() }
}

/// A machine that was made from the plan's own document and a published image.
fn origin(document: &str) -> MachineOrigin {
    let image = Image {
        id: "ami-00000001".to_owned(),
        name: "debian-13-arm64-20260112-2355".to_owned(),
        owner: "136693071363".to_owned(),
        architecture: "arm64".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        root_size: 8,
        created: "2026-01-12T00:00:00.000Z".to_owned(),
        deprecation: None,
    };
    MachineOrigin { user_data: Ok(Some(cloudinit::digest(document))), image: Ok(Some(image)) }
}

fn name_servers(servers: &[&str]) -> NameServers {
    let network =
        NetworkDns { vpc: "vpc-1".to_owned(), range: "10.20.0.0/16".parse().ok(), dhcp_options: "dopt-1".to_owned() };
    let servers = servers.iter().map(|s| (*s).to_owned()).collect();
    let options = DhcpOptions { id: "dopt-1".to_owned(), name_servers: servers };
    NameServers { networks: vec![network], options: vec![options], unread: None }
}

/// A region as `apply` leaves it.
#[derive(Clone)]
struct Region {
    seen: Observed,
    network: Network,
    resolved: BTreeMap<String, Vec<IpAddr>>,
}

impl Region {
    fn new(plan: &Plan) -> Self {
        let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let user_data = cloudinit::render(plan).unwrap();
        let want = Desired::new(plan, aws, &user_data);
        let deadline = desire(plan, now);
        let group = |id: &str, ingress: Rules, egress: Rules, tags: Tags| Group {
            id: id.to_owned(),
            name: if id == "sg-00000001" { "gangplank-warehouse".to_owned() } else { id.to_owned() },
            description: String::new(),
            vpc: "vpc-1".to_owned(),
            ingress,
            egress,
            tags,
        };
        let interface = |id: &str, subnet: &str, group: &str, own: &str| Interface {
            id: id.to_owned(),
            subnet: subnet.to_owned(),
            groups: vec![group.to_owned()],
            addresses: vec![address(own)],
            prefixes: Vec::new(),
            public: Vec::new(),
            instance: None,
            description: String::new(),
        };
        let subnet = |id: &str, range: &str| Subnet {
            id: id.to_owned(),
            vpc: "vpc-1".to_owned(),
            zone: "us-east-1a".to_owned(),
            ipv6: false,
            nets: vec![range.parse().unwrap()],
            tags: Tags::new(),
        };
        let bastion = Rule::tcp(5432, Peer::Group("sg-00000001".to_owned()));
        let application = Rule::tcp(5432, net("10.20.0.0/16"));
        let database = Rules::from([
            (bastion, "gangplank:warehouse port 5432".to_owned()),
            (application, "the application".to_owned()),
        ]);
        let mark = ownership::address_mark("warehouse", "eipalloc-00000001", address("192.0.2.4"));
        let egress = want.egress.clone().into_iter().chain([mark]).collect();
        let seen = Observed {
            users: Vec::new(),
            members: Some(Ok(Vec::new())),
            instances: vec![Instance {
                id: "i-00000001".to_owned(),
                state: InstanceState::Running,
                instance_type: "t4g.nano".to_owned(),
                image: "ami-00000001".to_owned(),
                subnet: "subnet-00000001".to_owned(),
                vpc: "vpc-1".to_owned(),
                groups: vec!["sg-00000001".to_owned()],
                metadata: MetadataOptions::wanted(true),
                private_ip: Some("10.20.1.9".to_owned()),
                public_ip: Some("192.0.2.4".to_owned()),
                launched: None,
                parts: vec!["vol-00000001".to_owned(), "eni-00000001".to_owned()],
                interfaces: vec![Interface {
                    public: vec![address("192.0.2.4")],
                    ..interface("eni-00000001", "subnet-00000001", "sg-00000001", "10.20.1.9")
                }],
                profile: None,
                key_pair: None,
                tags: want.instance_tags(deadline.as_ref()),
            }],
            addresses: vec![ElasticIp {
                counts: true,
                border_group: None,
                allocation: "eipalloc-00000001".to_owned(),
                ip: Some(address("192.0.2.4")),
                attached: Some(Attachment::Instance("i-00000001".to_owned())),
                tags: want.tags(deadline.as_ref()),
            }],
            groups: vec![
                group("sg-00000001", want.ingress.clone(), egress, want.tags(deadline.as_ref())),
                group("sg-000000db", database, Rules::new(), Tags::new()),
                group(
                    "sg-000000ff",
                    Rules::from([(Rule::tcp(22, net("10.0.0.0/8")), "office".to_owned())]),
                    Rules::new(),
                    Tags::new(),
                ),
            ],
            origins: BTreeMap::from([("i-00000001".to_owned(), origin(&user_data.text))]),
            prefix_lists: PrefixLists::new(),
            name_servers: name_servers(&["AmazonProvidedDNS"]),
            peerings: None,
        };
        let network = Network {
            subnets: Ok(vec![subnet("subnet-00000001", "10.20.1.0/24"), subnet("subnet-00000002", "10.20.2.0/24")]),
            route_tables: Ok(vec![
                table("rtb-00000001", &["subnet-00000001"], &[("10.20.0.0/16", "local"), ("0.0.0.0/0", "igw-1")]),
                table("rtb-00000002", &[], &[("10.20.0.0/16", "local")]),
            ]),
            acls: Ok(vec![open_acl("acl-00000001", "subnet-00000001"), open_acl("acl-00000002", "subnet-00000002")]),
            public_access: Ok(PublicAccess::off()),
            database_interfaces: Ok(vec![interface("eni-000000db", "subnet-00000002", "sg-000000db", "10.20.2.10")]),
            volumes: Ok(vec![Volume {
                id: "vol-00000001".to_owned(),
                encrypted: true,
                instances: vec!["i-00000001".to_owned()],
            }]),
        };
        let resolved = BTreeMap::from([("warehouse.internal".to_owned(), vec![address("10.20.2.10")])]);
        Self { seen, network, resolved }
    }

    fn judge(&self, plan: &Plan) -> Vec<Check> {
        let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
        let evidence = Evidence {
            bastion: plan.name.to_string(),
            region: "us-east-1".to_owned(),
            at: NOW.parse().unwrap(),
            seen: Arc::new(self.seen.clone()),
            network: Arc::new(self.network.clone()),
            console: Ok(Console { bytes: Vec::new(), at: None }),
        };
        judge(plan, aws, &evidence, &self.resolved)
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.seen.instances[0]
    }

    fn group(&mut self) -> &mut Group {
        &mut self.seen.groups[0]
    }

    fn database(&mut self) -> &mut Group {
        &mut self.seen.groups[1]
    }

    fn routes(&mut self) -> &mut Vec<Route> {
        &mut self.network.route_tables.as_mut().unwrap()[0].routes
    }

    fn acl(&mut self, which: usize) -> &mut Vec<AclEntry> {
        &mut self.network.acls.as_mut().unwrap()[which].entries
    }
}

fn desire(plan: &Plan, now: Timestamp) -> Option<ResolvedDeadline> {
    deadline::deadline(plan.deadline, &Remembered::default(), now)
}

fn told(checks: &[Check]) -> String {
    let line = |check: &Check| match &check.verdict {
        Verdict::Pass => None,
        Verdict::Fail { cause, fix } => Some(format!("{}: {cause}\n  → {fix}\n", check.name())),
        Verdict::Unknown { reason } => Some(format!("{}? {reason}\n", check.name())),
    };
    checks.iter().filter_map(line).collect()
}

/// Breaks one thing, and tells what is no longer green.
fn with(fault: impl FnOnce(&mut Region)) -> String {
    let plan = plan();
    let mut region = Region::new(&plan);
    fault(&mut region);
    told(&region.judge(&plan))
}

#[test]
fn what_apply_leaves_is_green() {
    let plan = plan();
    let checks = Region::new(&plan).judge(&plan);
    assert_eq!(told(&checks), "");
    let names: Vec<String> = checks.iter().map(|c| format!("{} - {}\n", c.name(), c.proves)).collect();
    insta::assert_snapshot!(names.concat(), @"
    control.instance - exactly one machine of this bastion exists, and it runs
    control.address - the fixed public address leads to this machine
    control.admits[secoda] - the bastion's groups let every source of secoda in on tcp 22
    control.admits[ana] - the bastion's groups let every source of ana in on tcp 22
    control.nothing-else - no rule of any group of the machine lets in more than the plan's sources on tcp 22
    control.egress - the machine may open connections to the plan's targets, to its network's DNS servers and for its updates (tcp 80 and 443), no others
    control.route - the bastion's subnet sends what goes back to each source to an internet gateway, and VPC Block Public Access does not stop it
    control.acl - the network ACL of the bastion's subnet lets tcp 22 in from each source, and the answers out to its ports 1024-65535
    control.ownership - everything that carries the bastion's tag is its own, by a mark that tagging alone can't make
    control.document - the machine's user data is the document that its tag names, and where that is the plan's, the plan's to the last bit
    control.image - the machine's image is one of debian-13, made by its publisher
    control.metadata - the metadata service requires session tokens, which travel one hop only, and the machine may read its tags, where its keys and its deadline are
    control.encryption - every volume of the machine is encrypted
    control.profile - the machine holds no permissions in the account: it has no instance profile
    control.deadline - the machine, its group and its address carry the plan's deadline, and it has not passed
    control.target-egress[warehouse] - the bastion's groups let the machine open connections to warehouse.internal:5432
    control.target-route[warehouse] - the bastion's subnet has a working route to warehouse.internal
    control.target-acl[warehouse] - the network ACLs between the bastion and warehouse.internal:5432 let the connection and its answers (ports 32768-60999) through, as far as they are of the bastion's network
    control.target-group[warehouse] - warehouse.internal carries sg-000000db, the group that admits the bastion
    control.target-egress[legacy] - the bastion's groups let the machine open connections to 10.20.2.11:3306
    control.target-route[legacy] - the bastion's subnet has a working route to 10.20.2.11
    control.target-acl[legacy] - the network ACLs between the bastion and 10.20.2.11:3306 let the connection and its answers (ports 32768-60999) through, as far as they are of the bastion's network
    control.database-group[sg-000000db 5432] - sg-000000db lets the bastion's group in on tcp 5432, holds no other rule of this bastion, and is not open to the internet there
    ");
    let evidence: Vec<String> =
        checks.iter().flat_map(|c| c.evidence.iter().map(|line| format!("{}: {line}\n", c.name()))).collect();
    // Another template is another digest.
    let digest = cloudinit::render(&plan).unwrap().digest;
    insta::assert_snapshot!(evidence.concat().replace(&digest, "DIGEST"), @"
    control.instance: i-00000001 t4g.nano running
    control.address: 192.0.2.4 (eipalloc-00000001) → eni-00000001 of i-00000001
    control.admits[secoda]: admitted: 198.51.100.7/32, 2001:db8:7::/64
    control.admits[ana]: admitted: 203.0.113.0/28
    control.nothing-else: sg-00000001: tcp 22 from 198.51.100.7/32
    control.nothing-else: sg-00000001: tcp 22 from 203.0.113.0/28
    control.nothing-else: sg-00000001: tcp 22 from 2001:db8:7::/64
    control.egress: sg-00000001: tcp 80 to 0.0.0.0/0
    control.egress: sg-00000001: tcp 443 to 0.0.0.0/0
    control.egress: sg-00000001: tcp 443 to 192.0.2.4/32
    control.egress: sg-00000001: tcp 3306 to 10.20.2.11/32
    control.egress: sg-00000001: tcp 5432 to sg-000000db
    control.route: not judged: nothing from 2001:db8:7::/64 arrives, the bastion has no IPv6 address
    control.route: rtb-00000001: 0.0.0.0/0 → igw-1
    control.acl: not judged: nothing from 2001:db8:7::/64 arrives, the bastion has no IPv6 address
    control.acl: acl-00000001 100 allows inbound everything from 0.0.0.0/0
    control.acl: acl-00000001 32767 denies inbound everything from 0.0.0.0/0
    control.acl: acl-00000001 100 allows outbound everything to 0.0.0.0/0
    control.acl: acl-00000001 32767 denies outbound everything to 0.0.0.0/0
    control.document: i-00000001: user data DIGEST, tag DIGEST
    control.image: ami-00000001 (debian-13-arm64-20260112-2355, published by account 136693071363)
    control.metadata: session tokens required, hop limit 1, tags readable
    control.encryption: vol-00000001 encrypted
    control.deadline: i-00000001: 2027-01-30T12:00:00Z
    control.target-egress[warehouse]: open towards sg-000000db on tcp 5432
    control.target-route[warehouse]: warehouse.internal is 10.20.2.10 for the machine
    control.target-route[warehouse]: rtb-00000001: 10.20.0.0/16 → local
    control.target-acl[warehouse]: warehouse.internal is 10.20.2.10 for the machine
    control.target-acl[warehouse]: acl-00000001 at subnet-00000001
    control.target-acl[warehouse]: acl-00000002 at subnet-00000002, where 10.20.2.10 is
    control.target-group[warehouse]: eni-000000db carries it at 10.20.2.10
    control.target-egress[legacy]: open towards 10.20.2.11/32 on tcp 3306
    control.target-route[legacy]: rtb-00000001: 10.20.0.0/16 → local
    control.target-acl[legacy]: acl-00000001 at subnet-00000001
    control.target-acl[legacy]: acl-00000002 at subnet-00000002, where 10.20.2.11 is
    control.database-group[sg-000000db 5432]: tcp 5432 from 10.20.0.0/16
    control.database-group[sg-000000db 5432]: tcp 5432 from sg-00000001
    ");
}

#[test]
fn without_evidence_nothing_is_green_and_no_check_is_missing() {
    let plan = plan();
    let mut region = Region::new(&plan);
    let names = |checks: Vec<Check>| checks.iter().map(Check::name).collect::<Vec<_>>();
    let expected = names(region.judge(&plan));
    let refused = "DescribeX failed: you are not authorized (UnauthorizedOperation)";
    region.network = Network {
        subnets: Err(refused.to_owned()),
        route_tables: Err(refused.to_owned()),
        acls: Err(refused.to_owned()),
        public_access: Err(refused.to_owned()),
        database_interfaces: Err(refused.to_owned()),
        volumes: Err(refused.to_owned()),
    };
    let checks = region.judge(&plan);
    let unknown: Vec<_> = checks.iter().filter(|c| c.verdict.is_unknown()).map(Check::name).collect();
    assert_eq!(
        unknown,
        [
            "control.route",
            "control.acl",
            "control.encryption",
            "control.target-route[warehouse]",
            "control.target-acl[warehouse]",
            "control.target-group[warehouse]",
            "control.target-route[legacy]",
            "control.target-acl[legacy]",
        ]
    );
    assert!(checks.iter().all(|c| !c.verdict.is_fail()), "{}", told(&checks));
    assert_eq!(names(checks), expected);

    region.seen = Observed::default();
    let checks = region.judge(&plan);
    assert!(checks.iter().all(|c| c.verdict != Verdict::Pass), "{checks:#?}");
    assert_eq!(names(checks), expected);
}

#[test]
fn the_machine() {
    insta::assert_snapshot!(with(|r| r.instance().state = InstanceState::Terminated), @"
    control.instance: no instance is the bastion's own
      → run `gangplank apply warehouse.yaml`: it makes one, if the bastion is to exist
    control.address? warehouse has no instance: see control.instance
    control.admits[secoda]? warehouse has no instance: see control.instance
    control.admits[ana]? warehouse has no instance: see control.instance
    control.nothing-else? warehouse has no instance: see control.instance
    control.egress? warehouse has no instance: see control.instance
    control.route? warehouse has no instance: see control.instance
    control.acl? warehouse has no instance: see control.instance
    control.ownership? warehouse has no instance: see control.instance
    control.document? warehouse has no instance: see control.instance
    control.image? warehouse has no instance: see control.instance
    control.metadata? warehouse has no instance: see control.instance
    control.encryption? warehouse has no instance: see control.instance
    control.profile? warehouse has no instance: see control.instance
    control.deadline? warehouse has no instance: see control.instance
    control.target-egress[warehouse]? warehouse has no instance: see control.instance
    control.target-route[warehouse]? warehouse has no instance: see control.instance
    control.target-acl[warehouse]? warehouse has no instance: see control.instance
    control.target-egress[legacy]? warehouse has no instance: see control.instance
    control.target-route[legacy]? warehouse has no instance: see control.instance
    control.target-acl[legacy]? warehouse has no instance: see control.instance
    ");
    insta::assert_snapshot!(with(|r| r.instance().state = InstanceState::Stopped), @"
    control.instance: i-00000001 is stopped
      → run `gangplank apply warehouse.yaml`: it starts it again
    ");
    insta::assert_snapshot!(with(|r| r.instance().state = InstanceState::Pending), @"
    control.instance: i-00000001 is still starting
      → wait until it runs, then verify again
    ");
    insta::assert_snapshot!(with(|r| {
        let twin = Instance { id: "i-00000002".to_owned(), ..r.instance().clone() };
        r.seen.instances.push(twin);
    }), @"
    control.instance: there are 2 of them: i-00000001, i-00000002
      → run `gangplank apply warehouse.yaml`: it keeps the one that the address leads to and ends the others, or says what to do
    ");
    insta::assert_snapshot!(with(|r| r.instance().metadata.hop_limit = 2), @"
    control.metadata: its hop limit is 2, not 1: its tokens travel beyond the machine
      → run `gangplank apply warehouse.yaml`: it sets it right
    ");
    insta::assert_snapshot!(with(|r| r.instance().metadata.tokens_required = false), @"
    control.metadata: it answers without a session token (IMDSv1)
      → run `gangplank apply warehouse.yaml`: it sets it right
    ");
    insta::assert_snapshot!(with(|r| r.instance().metadata.tags = false), @"
    control.metadata: it hides the tags: the machine takes neither new keys nor another deadline
      → run `gangplank apply warehouse.yaml`: it sets it right
    ");
    insta::assert_snapshot!(with(|r| r.network.volumes.as_mut().unwrap()[0].encrypted = false), @"
    control.encryption: not encrypted: vol-00000001
      → detach what is not the bastion's; a root volume is encrypted only on a new machine: end i-00000001, then run `gangplank apply warehouse.yaml`: it makes another under the same address
    ");
    insta::assert_snapshot!(with(|r| r.network.volumes = Ok(Vec::new())), @"control.encryption? EC2 did not describe every volume of i-00000001: vol-00000001");
    insta::assert_snapshot!(with(|r| r.instance().profile = Some("arn:aws:iam::1:instance-profile/admin".to_owned())), @"
    control.profile: i-00000001 has the instance profile arn:aws:iam::1:instance-profile/admin
      → take it away: `aws --region us-east-1 ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values=i-00000001` names the association, `aws --region us-east-1 ec2 disassociate-iam-instance-profile --association-id ID` ends it
    ");
    insta::assert_snapshot!(with(|r| {
        r.instance().tags.insert(tags::EXPIRES.to_owned(), "2030-01-01T00:00:00Z".to_owned());
        r.instance().tags.remove(tags::LIFETIME);
    }), @"
    control.deadline: the plan's deadline is 2027-01-30T12:00:00Z; i-00000001 says 2030-01-01T00:00:00Z
      → run `gangplank apply warehouse.yaml`: it sets the tags
    ");
    insta::assert_snapshot!(with(|r| {
        let past = "2026-11-20T00:00:00Z".to_owned();
        for tags in [&mut r.seen.instances[0].tags, &mut r.seen.addresses[0].tags, &mut r.seen.groups[0].tags] {
            tags.insert(tags::EXPIRES.to_owned(), past.clone());
        }
    }), @"
    control.deadline: the bastion's time was up at 2026-11-20T00:00:00Z
      → run `gangplank destroy warehouse.yaml`, or give it more time in the plan
    ");
}

#[test]
fn the_address() {
    insta::assert_snapshot!(with(|r| r.seen.addresses.clear()), @"
    control.address: no Elastic IP is the bastion's own
      → run `gangplank apply warehouse.yaml`: it allocates one; give the vendor the new address
    ");
    insta::assert_snapshot!(with(|r| r.seen.addresses[0].attached = None), @"
    control.address: 192.0.2.4 leads nowhere: nobody reaches the bastion
      → run `gangplank apply warehouse.yaml`: it associates it again
    ");
    insta::assert_snapshot!(
        with(|r| r.seen.addresses[0].attached = Some(Attachment::Instance("i-000000ff".to_owned()))), @"
    control.address: the vendor is led elsewhere: 192.0.2.4 leads to i-000000ff, the bastion's machine is i-00000001
      → if i-000000ff has no claim to it, disassociate eipalloc-00000001 there, then run `gangplank apply warehouse.yaml`: it associates it with the bastion
    ");
    insta::assert_snapshot!(
        with(|r| r.seen.addresses[0].attached = Some(Attachment::Interface("eni-000000ff".to_owned()))), @"
    control.address: the vendor is led elsewhere: 192.0.2.4 leads to eni-000000ff, the bastion's machine is i-00000001
      → if eni-000000ff has no claim to it, disassociate eipalloc-00000001 there, then run `gangplank apply warehouse.yaml`: it associates it with the bastion
    ");
    insta::assert_snapshot!(with(|r| {
        let first = &mut r.instance().interfaces[0];
        let second = Interface { id: "eni-00000002".to_owned(), ..first.clone() };
        first.public.clear();
        r.instance().interfaces.push(second);
    }), @"
    control.address: 192.0.2.4 leads to eni-00000002, not to the machine's first interface eni-00000001
      → associate eipalloc-00000001 with eni-00000001, or detach eni-00000002
    ");
}

/// What stands in a list is what is admitted: by the plan's own list, or by another one that opens nothing more.
#[test]
fn a_prefix_list_is_judged_by_its_entries() {
    let text = PLAN.replace("[203.0.113.0/28]", "[pl-0a1b2c3d]");
    let plan = plan::read(Arc::new(Source { path: "warehouse.yaml".to_owned(), text })).expect("a plan");
    let list = |id: &str, entries: &[&str]| {
        let entries = entries.iter().map(|net| net.parse().unwrap()).collect();
        (id.to_owned(), Ok(PrefixList { id: id.to_owned(), name: "office".to_owned(), most: Some(10), entries }))
    };
    let with = |entries: &[&str], fault: &dyn Fn(&mut Region)| {
        let mut region = Region::new(&plan);
        region.seen.prefix_lists = PrefixLists::from([list("pl-0a1b2c3d", entries)]);
        fault(&mut region);
        told(&region.judge(&plan))
    };
    let own = Rule::tcp(22, Peer::PrefixList("pl-0a1b2c3d".to_owned()));
    let open =
        |peer: Peer| move |r: &mut Region| _ = r.group().ingress.insert(Rule::tcp(22, peer.clone()), String::new());
    assert_eq!(with(&["203.0.113.0/28"], &|_| {}), "");
    // Any other rule that admits the same does as well, and what stands in the list is no surplus.
    assert_eq!(with(&["203.0.113.0/28"], &open(net("203.0.113.1/32"))), "");
    insta::assert_snapshot!(with(&["203.0.113.0/28"], &|r| _ = r.group().ingress.remove(&own)), @"
    control.admits[ana]: no rule lets 203.0.113.0/28 in on tcp 22
      → run `gangplank apply warehouse.yaml`: it adds the rule
    ");
    insta::assert_snapshot!(with(&["203.0.113.0/28"], &open(net("203.0.113.0/24"))), @"
    control.nothing-else: sg-00000001 opens tcp 22 to 203.0.113.0/24 (240 addresses more than the plan)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    // Somebody has widened the list since.
    insta::assert_snapshot!(with(&["11.0.0.0/8"], &|_| {}), @"
    control.nothing-else: pl-0a1b2c3d and the plan's other sources make up 11.0.0.0/8 (16,777,216 addresses)
      → take the wide entries out of pl-0a1b2c3d, or the list out of the plan
    ");
    insta::assert_snapshot!(with(&[], &|r| {
        r.seen.prefix_lists.insert("pl-0a1b2c3d".to_owned(), Err("us-east-1 has no pl-0a1b2c3d".to_owned()));
    }), @"
    control.admits[ana]? us-east-1 has no pl-0a1b2c3d
    control.nothing-else? us-east-1 has no pl-0a1b2c3d
    control.route? us-east-1 has no pl-0a1b2c3d
    control.acl? us-east-1 has no pl-0a1b2c3d
    ");
}

#[test]
fn who_may_come() {
    let vendor = Rule::tcp(22, net("198.51.100.7/32"));
    insta::assert_snapshot!(with(|r| _ = r.group().ingress.remove(&vendor)), @"
    control.admits[secoda]: no rule lets 198.51.100.7/32 in on tcp 22
      → run `gangplank apply warehouse.yaml`: it adds the rule
    ");
    let admit = |protocol, peer| with(move |r| _ = r.group().ingress.insert(Rule { protocol, peer }, String::new()));
    let ssh = Protocol::Tcp { from: 22, to: 22 };
    insta::assert_snapshot!(admit(ssh.clone(), Peer::Net(ANY_V4)), @"
    control.nothing-else: sg-00000001 opens tcp 22 to the whole internet (0.0.0.0/0)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(admit(ssh.clone(), net("::/0")), @"
    control.nothing-else: sg-00000001 opens tcp 22 to the whole internet (::/0)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(admit(ssh.clone(), net("198.51.100.0/24")), @"
    control.nothing-else: sg-00000001 opens tcp 22 to 198.51.100.0/24 (255 addresses more than the plan)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(admit(Protocol::Tcp { from: 20, to: 30 }, net("198.51.100.7/32")), @"
    control.nothing-else: sg-00000001 opens tcp 20-21, tcp 23-30 to 198.51.100.7/32 (1 address)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(admit(Protocol::All, net("198.51.100.7/32")), @"
    control.nothing-else: sg-00000001 opens every protocol and port to 198.51.100.7/32 (1 address)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(admit(ssh.clone(), Peer::Group("sg-000000ff".to_owned())), @"
    control.nothing-else: sg-00000001 opens tcp 22 to everything that carries sg-000000ff
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(admit(ssh.clone(), Peer::PrefixList("pl-1".to_owned())), @"
    control.nothing-else: sg-00000001 opens tcp 22 to every address of the prefix list pl-1
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(
        admit(Protocol::Other { name: "udp".to_owned(), from: Some(53), to: Some(53) }, net("192.0.2.0/24")), @"
    control.nothing-else: sg-00000001 opens udp 53 to 192.0.2.0/24 (256 addresses)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    // A part of what is admitted anyway.
    insta::assert_snapshot!(admit(ssh, net("203.0.113.1/32")), @"");
    insta::assert_snapshot!(with(|r| r.instance().groups.push("sg-000000ff".to_owned())), @"
    control.nothing-else: sg-000000ff opens tcp 22 to 10.0.0.0/8 (16,777,216 addresses)
      → run `gangplank apply warehouse.yaml`: it takes sg-000000ff off the machine
    ");
    insta::assert_snapshot!(with(|r| {
        let first = r.instance().interfaces[0].clone();
        let second = Interface { id: "eni-00000002".to_owned(), groups: vec!["sg-000000ff".to_owned()], ..first };
        r.instance().interfaces.push(second);
    }), @"
    control.nothing-else: sg-000000ff opens tcp 22 to 10.0.0.0/8 (16,777,216 addresses)
      → detach eni-00000002, which carries sg-000000ff
    ");
}

#[test]
fn where_the_machine_may_go() {
    let allow = |protocol, peer| with(move |r| _ = r.group().egress.insert(Rule { protocol, peer }, String::new()));
    insta::assert_snapshot!(allow(Protocol::All, Peer::Net(ANY_V4)), @"
    control.egress: sg-00000001 lets the machine out on every protocol and port to the whole internet (0.0.0.0/0)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    insta::assert_snapshot!(allow(Protocol::Tcp { from: 5432, to: 5432 }, net("10.20.0.0/16")), @"
    control.egress: sg-00000001 lets the machine out on tcp 5432 to 10.20.0.0/16 (65,536 addresses)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    let close = |rule: Rule| with(move |r| assert!(r.group().egress.remove(&rule).is_some()));
    insta::assert_snapshot!(close(Rule::tcp(443, Peer::Net(ANY_V4))), @"
    control.egress: the machine can't fetch its security updates: no rule lets it out everywhere on tcp 443
      → run `gangplank apply warehouse.yaml`: it adds the rule
    ");
    insta::assert_snapshot!(close(Rule::tcp(5432, Peer::Group("sg-000000db".to_owned()))), @"
    control.target-egress[warehouse]: no rule lets the machine out to sg-000000db on tcp 5432
      → run `gangplank apply warehouse.yaml`: it adds the rule
    ");
    insta::assert_snapshot!(close(Rule::tcp(3306, net("10.20.2.11/32"))), @"
    control.target-egress[legacy]: no rule lets the machine out to 10.20.2.11/32 on tcp 3306
      → run `gangplank apply warehouse.yaml`: it adds the rule
    ");
}

#[test]
fn the_way_to_the_vendor() {
    insta::assert_snapshot!(with(|r| _ = r.routes().pop()), @"
    control.route: rtb-00000001 has no route: what goes back to 198.51.100.7/32, 203.0.113.0/28 is lost
      → in rtb-00000001, send 0.0.0.0/0 to the network's internet gateway; gangplank does not change route tables
    ");
    insta::assert_snapshot!(with(|r| r.routes()[1].active = false), @"
    control.route: rtb-00000001: 0.0.0.0/0 → igw-1 is a blackhole: what goes back to 198.51.100.7/32, 203.0.113.0/28 is lost
      → in rtb-00000001, send 0.0.0.0/0 to the network's internet gateway; gangplank does not change route tables
    ");
    insta::assert_snapshot!(with(|r| r.routes()[1].via = "nat-1".to_owned()), @"
    control.route: rtb-00000001: 0.0.0.0/0 → nat-1 is no internet gateway: what goes back to 198.51.100.7/32, 203.0.113.0/28 is lost
      → in rtb-00000001, send 0.0.0.0/0 to the network's internet gateway; gangplank does not change route tables
    ");
    insta::assert_snapshot!(with(|r| {
        let to = Destination::Net("198.51.100.0/24".parse().unwrap());
        r.routes().push(Route { to, via: "tgw-1".to_owned(), active: true });
    }), @"
    control.route: rtb-00000001: 198.51.100.0/24 → tgw-1 is no internet gateway: what goes back to 198.51.100.7/32 is lost
      → in rtb-00000001, send 0.0.0.0/0 to the network's internet gateway; gangplank does not change route tables
    ");
    let ssh = Protocol::Tcp { from: 22, to: 22 };
    let deny = |number, direction, protocol, range: &'static str| {
        with(move |r| r.acl(0).push(entry(number, direction, false, protocol, range)))
    };
    insta::assert_snapshot!(deny(90, Direction::Ingress, ssh.clone(), "0.0.0.0/0"), @"
    control.acl: entry 90 of acl-00000001 (deny tcp 22 from 0.0.0.0/0) stops inbound tcp 22 from 198.51.100.7/32, 203.0.113.0/28
      → in acl-00000001, allow inbound tcp 22 from 198.51.100.7/32, 203.0.113.0/28 by an entry before 90; gangplank does not change network ACLs
    ");
    // After what allows it.
    insta::assert_snapshot!(deny(110, Direction::Ingress, ssh, "0.0.0.0/0"), @"");
    let high = Protocol::Tcp { from: 1024, to: 65535 };
    insta::assert_snapshot!(deny(90, Direction::Egress, high, "198.51.100.0/24"), @"
    control.acl: entry 90 of acl-00000001 (deny tcp 1024-65535 to 198.51.100.0/24) stops outbound tcp 1024-65535 to 198.51.100.7/32
      → in acl-00000001, allow outbound tcp 1024-65535 to 198.51.100.7/32 by an entry before 90; gangplank does not change network ACLs
    ");
    insta::assert_snapshot!(with(|r| {
        r.acl(0).retain(|e| e.direction == Direction::Ingress);
        let linux = Protocol::Tcp { from: 32768, to: 65535 };
        r.acl(0).push(entry(100, Direction::Egress, true, linux, "0.0.0.0/0"));
        r.acl(0).push(entry(110, Direction::Egress, true, Protocol::All, "10.20.0.0/16"));
    }), @"
    control.acl: no entry of acl-00000001 allows outbound tcp 1024-32767 to 198.51.100.7/32, 203.0.113.0/28
      → in acl-00000001, allow outbound tcp 1024-32767 to 198.51.100.7/32, 203.0.113.0/28; gangplank does not change network ACLs
    ");
}

#[test]
fn the_way_to_the_target() {
    let elsewhere = |via: &'static str, active: bool| {
        with(move |r| {
            let to = Destination::Net("10.20.2.10/32".parse().unwrap());
            r.routes().push(Route { to, via: via.to_owned(), active });
        })
    };
    insta::assert_snapshot!(elsewhere("pcx-1", true), @"");
    insta::assert_snapshot!(elsewhere("pcx-1", false), @"
    control.target-route[warehouse]: rtb-00000001: 10.20.2.10/32 → pcx-1 is a blackhole: pcx-1 is gone or detached, and 10.20.2.10 lies behind it
      → in rtb-00000001, attach pcx-1 again or correct the route; gangplank does not change route tables
    ");
    insta::assert_snapshot!(with(|r| _ = r.routes().remove(0)), @"
    control.target-route[warehouse]: only rtb-00000001: 0.0.0.0/0 → igw-1 matches 10.20.2.10, and an internet gateway drops private addresses
      → in rtb-00000001, add a route to 10.20.2.10 (peering, transit gateway, VPN); gangplank does not change route tables
    control.target-route[legacy]: only rtb-00000001: 0.0.0.0/0 → igw-1 matches 10.20.2.11, and an internet gateway drops private addresses
      → in rtb-00000001, add a route to 10.20.2.11 (peering, transit gateway, VPN); gangplank does not change route tables
    ");
    insta::assert_snapshot!(with(|r| {
        r.routes()[0].to = Destination::PrefixList("pl-1".to_owned());
        r.routes()[0].via = "tgw-1".to_owned();
    }), @"
    control.target-route[warehouse]? rtb-00000001: pl-1 → tgw-1 may lead 10.20.2.10 elsewhere: the ranges of the prefix list are not read
    control.target-route[legacy]? rtb-00000001: pl-1 → tgw-1 may lead 10.20.2.11 elsewhere: the ranges of the prefix list are not read
    ");
    let postgres = Protocol::Tcp { from: 5432, to: 5432 };
    let deny = |which, direction, protocol, range: &'static str| {
        with(move |r| r.acl(which).push(entry(90, direction, false, protocol, range)))
    };
    insta::assert_snapshot!(deny(0, Direction::Egress, postgres.clone(), "10.20.2.0/24"), @"
    control.target-acl[warehouse]: entry 90 of acl-00000001 (deny tcp 5432 to 10.20.2.0/24) stops outbound tcp 5432 to 10.20.2.10/32
      → in acl-00000001, allow outbound tcp 5432 to 10.20.2.10/32 by an entry before 90; gangplank does not change network ACLs
    ");
    insta::assert_snapshot!(deny(1, Direction::Ingress, postgres, "10.20.1.0/24"), @"
    control.target-acl[warehouse]: entry 90 of acl-00000002 (deny tcp 5432 from 10.20.1.0/24) stops inbound tcp 5432 from 10.20.1.9/32
      → in acl-00000002, allow inbound tcp 5432 from 10.20.1.9/32 by an entry before 90; gangplank does not change network ACLs
    ");
    let high = Protocol::Tcp { from: 32768, to: 60999 };
    insta::assert_snapshot!(deny(0, Direction::Ingress, high.clone(), "10.20.2.10/32"), @"
    control.target-acl[warehouse]: entry 90 of acl-00000001 (deny tcp 32768-60999 from 10.20.2.10/32) stops inbound tcp 32768-60999 from 10.20.2.10/32
      → in acl-00000001, allow inbound tcp 32768-60999 from 10.20.2.10/32 by an entry before 90; gangplank does not change network ACLs
    ");
    insta::assert_snapshot!(deny(1, Direction::Egress, high, "10.20.1.9/32"), @"
    control.target-acl[warehouse]: entry 90 of acl-00000002 (deny tcp 32768-60999 to 10.20.1.9/32) stops outbound tcp 32768-60999 to 10.20.1.9/32
      → in acl-00000002, allow outbound tcp 32768-60999 to 10.20.1.9/32 by an entry before 90; gangplank does not change network ACLs
    control.target-acl[legacy]: entry 90 of acl-00000002 (deny tcp 32768-60999 to 10.20.1.9/32) stops outbound tcp 32768-60999 to 10.20.1.9/32
      → in acl-00000002, allow outbound tcp 32768-60999 to 10.20.1.9/32 by an entry before 90; gangplank does not change network ACLs
    ");
}

#[test]
fn the_databases_group() {
    let bastion = || Rule::tcp(5432, Peer::Group("sg-00000001".to_owned()));
    insta::assert_snapshot!(with(|r| _ = r.database().ingress.remove(&bastion())), @"
    control.database-group[sg-000000db 5432]: no rule of sg-000000db lets sg-00000001 in on tcp 5432
      → run `gangplank apply warehouse.yaml`: it adds the rule
    ");
    let admit = |rule: Rule, text: &'static str| with(move |r| _ = r.database().ingress.insert(rule, text.to_owned()));
    insta::assert_snapshot!(admit(Rule::tcp(5432, Peer::Net(ANY_V4)), ""), @"
    control.database-group[sg-000000db 5432]: sg-000000db opens tcp 5432 to 0.0.0.0/0, past the bastion
      → remove this rule from sg-000000db, or narrow it; it is not gangplank's
    ");
    insta::assert_snapshot!(admit(Rule::tcp(5432, net("192.0.2.9/32")), "a partner"), @"");
    insta::assert_snapshot!(admit(Rule::tcp(22, Peer::Group("sg-00000001".to_owned())), ""), @"
    control.database-group[sg-000000db 5432]: sg-000000db holds more than the plan: tcp 22 from sg-00000001
      → it is not gangplank's, which leaves it: `aws --region us-east-1 ec2 revoke-security-group-ingress --group-id sg-000000db --ip-permissions 'IpProtocol=tcp,FromPort=22,ToPort=22,UserIdGroupPairs=[{GroupId=sg-00000001}]'`
    ");
    insta::assert_snapshot!(admit(Rule::tcp(5432, net("10.20.1.0/24")), "gangplank:warehouse port 5432"), @"
    control.database-group[sg-000000db 5432]: sg-000000db holds more than the plan: tcp 5432 from 10.20.1.0/24
      → run `gangplank apply warehouse.yaml`: it removes what it has described as its own
    ");
    insta::assert_snapshot!(with(|r| _ = r.seen.groups.remove(1)), @"
    control.database-group[sg-000000db 5432]: the region has no security group sg-000000db
      → name the group of the database itself in `aws.database_access`
    ");
    insta::assert_snapshot!(with(|r| r.network.database_interfaces = Ok(Vec::new())), @"
    control.target-group[warehouse]: no network interface carries sg-000000db: its rule lets nobody in anywhere
      → give the database this group, or name the database's own group in `aws.database_access`
    ");
    insta::assert_snapshot!(
        with(|r| _ = r.resolved.insert("warehouse.internal".to_owned(), vec![address("10.20.2.99")])), @"
    control.target-group[warehouse]: what has 10.20.2.99 in subnet-00000002 does not carry sg-000000db
      → give the database this group, or name the database's own group in `aws.database_access`
    ");
    insta::assert_snapshot!(
        with(|r| _ = r.resolved.insert("warehouse.internal".to_owned(), vec![address("10.99.2.10")])), @"
    control.target-route[warehouse]: only rtb-00000001: 0.0.0.0/0 → igw-1 matches 10.99.2.10, and an internet gateway drops private addresses
      → in rtb-00000001, add a route to 10.99.2.10 (peering, transit gateway, VPN); gangplank does not change route tables
    control.target-group[warehouse]: 10.99.2.10 is at no interface that carries sg-000000db
      → correct the target's host, or name its `networks` in the plan in place of `aws.database_access`
    ");
    insta::assert_snapshot!(with(|r| r.resolved.clear()), @"control.target-group[warehouse]? what warehouse.internal resolves to is not known: the machine has not said it");
}

#[test]
fn the_machine_may_ask_the_dns_servers_of_its_network_and_no_others() {
    let ask = |server: &str| Rule::udp(53, net(server));
    insta::assert_snapshot!(with(|r| r.seen.name_servers = name_servers(&["10.20.2.53", "10.20.0.2"])), @"
    control.egress: the machine can't ask for names: no rule lets it out on udp and tcp 53 to 10.20.2.53/32, which the DHCP options of vpc-1 name
      → run `gangplank apply warehouse.yaml`: it adds the rules
    ");
    insta::assert_snapshot!(
        with(|r| {
            r.seen.name_servers = name_servers(&["10.20.2.53"]);
            for rule in [ask("10.20.2.53/32"), Rule::tcp(53, net("10.20.2.53/32"))] {
                r.group().egress.insert(rule, "DNS server of vpc-1".to_owned());
            }
        }),
        @""
    );
    insta::assert_snapshot!(with(|r| _ = r.group().egress.insert(ask("10.20.2.54/32"), String::new())), @"
    control.egress: sg-00000001 lets the machine out on udp 53 to 10.20.2.54/32 (1 address)
      → run `gangplank apply warehouse.yaml`: it removes what is too much
    ");
    // What is not known is not said to be right, and what an earlier run opened is not said to be wrong.
    insta::assert_snapshot!(
        with(|r| {
            r.seen.name_servers = NameServers::unread("DescribeVpcs failed".to_owned());
            r.group().egress.insert(ask("10.20.2.53/32"), "DNS server of vpc-1".to_owned());
        }),
        @"control.egress? which DNS servers the DHCP options of vpc-1 name is not known: DescribeVpcs failed"
    );
}

#[test]
fn block_public_access_stops_what_routes_let_through() {
    let blocked = |excluded: &[&str]| {
        let excluded = excluded.iter().map(|id| format!("arn:aws:ec2:us-east-1:123456789012:{id}")).collect();
        with(|r| r.network.public_access = Ok(PublicAccess { mode: "block-ingress".to_owned(), excluded }))
    };
    insta::assert_snapshot!(blocked(&["subnet/subnet-00000002", "vpc/vpc-2"]), @"
    control.route: VPC Block Public Access is block-ingress in this region, and neither subnet-00000001 nor vpc-1 is excluded: nothing from the internet arrives
      → let the subnet through: `aws --region us-east-1 ec2 create-vpc-block-public-access-exclusion --subnet-id subnet-00000001 --internet-gateway-exclusion-mode allow-bidirectional`
    ");
    assert_eq!(blocked(&["subnet/subnet-00000001"]), "");
    assert_eq!(blocked(&["vpc/vpc-1"]), "");
    // Who may not ask is told so, and no more.
    let plan = plan();
    let mut region = Region::new(&plan);
    region.network.public_access = Err("refused".to_owned());
    let checks = region.judge(&plan);
    assert_eq!(told(&checks), "");
    let route = checks.iter().find(|check| check.id == "control.route").expect("it is asked");
    assert!(route.evidence.contains(&"VPC Block Public Access was not asked: refused".to_owned()), "{route:?}");
}
