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
        network::{AclEntry, Destination, Route, Volume},
        observed::{Attachment, ElasticIp, InstanceState, MetadataOptions, Observed},
        rule::{ANY_V4, Direction, Peer, Protocol, Rule, Rules},
        tags::{self, Tags},
    },
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
            name: id.to_owned(),
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
            description: String::new(),
        };
        let subnet = |id: &str, range: &str| Subnet {
            id: id.to_owned(),
            vpc: "vpc-1".to_owned(),
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
        let seen = Observed {
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
                tags: want.instance_tags(deadline.as_ref()),
            }],
            addresses: vec![ElasticIp {
                allocation: "eipalloc-00000001".to_owned(),
                ip: Some(address("192.0.2.4")),
                attached: Some(Attachment::Instance("i-00000001".to_owned())),
                tags: want.tags(deadline.as_ref()),
            }],
            groups: vec![
                group("sg-00000001", want.ingress.clone(), want.egress.clone(), want.tags(deadline.as_ref())),
                group("sg-000000db", database, Rules::new(), Tags::new()),
                group(
                    "sg-000000ff",
                    Rules::from([(Rule::tcp(22, net("10.0.0.0/8")), "office".to_owned())]),
                    Rules::new(),
                    Tags::new(),
                ),
            ],
        };
        let network = Network {
            subnets: Ok(vec![subnet("subnet-00000001", "10.20.1.0/24"), subnet("subnet-00000002", "10.20.2.0/24")]),
            route_tables: Ok(vec![
                table("rtb-00000001", &["subnet-00000001"], &[("10.20.0.0/16", "local"), ("0.0.0.0/0", "igw-1")]),
                table("rtb-00000002", &[], &[("10.20.0.0/16", "local")]),
            ]),
            acls: Ok(vec![open_acl("acl-00000001", "subnet-00000001"), open_acl("acl-00000002", "subnet-00000002")]),
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

fn desire(plan: &Plan, now: Timestamp) -> Option<tags::ResolvedDeadline> {
    crate::provider::aws::desire::deadline(plan.deadline, None, now)
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
    insta::assert_snapshot!(names.concat(), @"");
    let evidence: Vec<String> =
        checks.iter().flat_map(|c| c.evidence.iter().map(|line| format!("{}: {line}\n", c.name()))).collect();
    insta::assert_snapshot!(evidence.concat(), @"");
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
    insta::assert_snapshot!(with(|r| r.instance().state = InstanceState::Terminated), @"");
    insta::assert_snapshot!(with(|r| r.instance().state = InstanceState::Stopped), @"");
    insta::assert_snapshot!(with(|r| r.instance().state = InstanceState::Pending), @"");
    insta::assert_snapshot!(with(|r| {
        let twin = Instance { id: "i-00000002".to_owned(), ..r.instance().clone() };
        r.seen.instances.push(twin);
    }), @"");
    insta::assert_snapshot!(with(|r| r.instance().metadata.hop_limit = 2), @"");
    insta::assert_snapshot!(with(|r| r.instance().metadata.tokens_required = false), @"");
    insta::assert_snapshot!(with(|r| r.instance().metadata.tags = false), @"");
    insta::assert_snapshot!(with(|r| r.network.volumes.as_mut().unwrap()[0].encrypted = false), @"");
    insta::assert_snapshot!(with(|r| r.network.volumes = Ok(Vec::new())), @"");
    insta::assert_snapshot!(with(|r| r.instance().profile = Some("arn:aws:iam::1:instance-profile/admin".to_owned())), @"");
    insta::assert_snapshot!(with(|r| {
        r.instance().tags.insert(tags::EXPIRES.to_owned(), "2030-01-01T00:00:00Z".to_owned());
        r.instance().tags.remove(tags::LIFETIME);
    }), @"");
    insta::assert_snapshot!(with(|r| {
        let past = "2026-11-20T00:00:00Z".to_owned();
        for tags in [&mut r.seen.instances[0].tags, &mut r.seen.addresses[0].tags, &mut r.seen.groups[0].tags] {
            tags.insert(tags::EXPIRES.to_owned(), past.clone());
        }
    }), @"");
}

#[test]
fn the_address() {
    insta::assert_snapshot!(with(|r| r.seen.addresses.clear()), @"");
    insta::assert_snapshot!(with(|r| r.seen.addresses[0].attached = None), @"");
    insta::assert_snapshot!(
        with(|r| r.seen.addresses[0].attached = Some(Attachment::Instance("i-000000ff".to_owned()))), @"");
    insta::assert_snapshot!(
        with(|r| r.seen.addresses[0].attached = Some(Attachment::Interface("eni-000000ff".to_owned()))), @"");
    insta::assert_snapshot!(with(|r| {
        let first = &mut r.instance().interfaces[0];
        let second = Interface { id: "eni-00000002".to_owned(), ..first.clone() };
        first.public.clear();
        r.instance().interfaces.push(second);
    }), @"");
}

#[test]
fn who_may_come() {
    let vendor = Rule::tcp(22, net("198.51.100.7/32"));
    insta::assert_snapshot!(with(|r| _ = r.group().ingress.remove(&vendor)), @"");
    let admit = |protocol, peer| with(move |r| _ = r.group().ingress.insert(Rule { protocol, peer }, String::new()));
    let ssh = Protocol::Tcp { from: 22, to: 22 };
    insta::assert_snapshot!(admit(ssh.clone(), Peer::Net(ANY_V4)), @"");
    insta::assert_snapshot!(admit(ssh.clone(), net("::/0")), @"");
    insta::assert_snapshot!(admit(ssh.clone(), net("198.51.100.0/24")), @"");
    insta::assert_snapshot!(admit(Protocol::Tcp { from: 20, to: 30 }, net("198.51.100.7/32")), @"");
    insta::assert_snapshot!(admit(Protocol::All, net("198.51.100.7/32")), @"");
    insta::assert_snapshot!(admit(ssh.clone(), Peer::Group("sg-000000ff".to_owned())), @"");
    insta::assert_snapshot!(admit(ssh.clone(), Peer::PrefixList("pl-1".to_owned())), @"");
    insta::assert_snapshot!(
        admit(Protocol::Other { name: "udp".to_owned(), from: Some(53), to: Some(53) }, net("192.0.2.0/24")), @"");
    // A part of what is admitted anyway.
    insta::assert_snapshot!(admit(ssh, net("203.0.113.1/32")), @"");
    insta::assert_snapshot!(with(|r| r.instance().groups.push("sg-000000ff".to_owned())), @"");
    insta::assert_snapshot!(with(|r| {
        let first = r.instance().interfaces[0].clone();
        let second = Interface { id: "eni-00000002".to_owned(), groups: vec!["sg-000000ff".to_owned()], ..first };
        r.instance().interfaces.push(second);
    }), @"");
}

#[test]
fn where_the_machine_may_go() {
    let allow = |protocol, peer| with(move |r| _ = r.group().egress.insert(Rule { protocol, peer }, String::new()));
    insta::assert_snapshot!(allow(Protocol::All, Peer::Net(ANY_V4)), @"");
    insta::assert_snapshot!(allow(Protocol::Tcp { from: 5432, to: 5432 }, net("10.20.0.0/16")), @"");
    let close = |rule: Rule| with(move |r| assert!(r.group().egress.remove(&rule).is_some()));
    insta::assert_snapshot!(close(Rule::tcp(443, Peer::Net(ANY_V4))), @"");
    insta::assert_snapshot!(close(Rule::tcp(5432, Peer::Group("sg-000000db".to_owned()))), @"");
    insta::assert_snapshot!(close(Rule::tcp(3306, net("10.20.2.11/32"))), @"");
}

#[test]
fn the_way_to_the_vendor() {
    insta::assert_snapshot!(with(|r| _ = r.routes().pop()), @"");
    insta::assert_snapshot!(with(|r| r.routes()[1].active = false), @"");
    insta::assert_snapshot!(with(|r| r.routes()[1].via = "nat-1".to_owned()), @"");
    insta::assert_snapshot!(with(|r| {
        let to = Destination::Net("198.51.100.0/24".parse().unwrap());
        r.routes().push(Route { to, via: "tgw-1".to_owned(), active: true });
    }), @"");
    let ssh = Protocol::Tcp { from: 22, to: 22 };
    let deny = |number, direction, protocol, range: &'static str| {
        with(move |r| r.acl(0).push(entry(number, direction, false, protocol, range)))
    };
    insta::assert_snapshot!(deny(90, Direction::Ingress, ssh.clone(), "0.0.0.0/0"), @"");
    // After what allows it.
    insta::assert_snapshot!(deny(110, Direction::Ingress, ssh, "0.0.0.0/0"), @"");
    let high = Protocol::Tcp { from: 1024, to: 65535 };
    insta::assert_snapshot!(deny(90, Direction::Egress, high, "198.51.100.0/24"), @"");
    insta::assert_snapshot!(with(|r| {
        r.acl(0).retain(|e| e.direction == Direction::Ingress);
        let linux = Protocol::Tcp { from: 32768, to: 65535 };
        r.acl(0).push(entry(100, Direction::Egress, true, linux, "0.0.0.0/0"));
        r.acl(0).push(entry(110, Direction::Egress, true, Protocol::All, "10.20.0.0/16"));
    }), @"");
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
    insta::assert_snapshot!(elsewhere("pcx-1", false), @"");
    insta::assert_snapshot!(with(|r| _ = r.routes().remove(0)), @"");
    insta::assert_snapshot!(with(|r| {
        r.routes()[0].to = Destination::PrefixList("pl-1".to_owned());
        r.routes()[0].via = "tgw-1".to_owned();
    }), @"");
    let postgres = Protocol::Tcp { from: 5432, to: 5432 };
    let deny = |which, direction, protocol, range: &'static str| {
        with(move |r| r.acl(which).push(entry(90, direction, false, protocol, range)))
    };
    insta::assert_snapshot!(deny(0, Direction::Egress, postgres.clone(), "10.20.2.0/24"), @"");
    insta::assert_snapshot!(deny(1, Direction::Ingress, postgres, "10.20.1.0/24"), @"");
    let high = Protocol::Tcp { from: 32768, to: 60999 };
    insta::assert_snapshot!(deny(0, Direction::Ingress, high.clone(), "10.20.2.10/32"), @"");
    insta::assert_snapshot!(deny(1, Direction::Egress, high, "10.20.1.9/32"), @"");
}

#[test]
fn the_databases_group() {
    let bastion = || Rule::tcp(5432, Peer::Group("sg-00000001".to_owned()));
    insta::assert_snapshot!(with(|r| _ = r.database().ingress.remove(&bastion())), @"");
    let admit = |rule: Rule, text: &'static str| with(move |r| _ = r.database().ingress.insert(rule, text.to_owned()));
    insta::assert_snapshot!(admit(Rule::tcp(5432, Peer::Net(ANY_V4)), ""), @"");
    insta::assert_snapshot!(admit(Rule::tcp(5432, net("192.0.2.9/32")), "a partner"), @"");
    insta::assert_snapshot!(admit(Rule::tcp(22, Peer::Group("sg-00000001".to_owned())), ""), @"");
    insta::assert_snapshot!(admit(Rule::tcp(5432, net("10.20.1.0/24")), "gangplank:warehouse port 5432"), @"");
    insta::assert_snapshot!(with(|r| _ = r.seen.groups.remove(1)), @"");
    insta::assert_snapshot!(with(|r| r.network.database_interfaces = Ok(Vec::new())), @"");
    insta::assert_snapshot!(
        with(|r| _ = r.resolved.insert("warehouse.internal".to_owned(), vec![address("10.20.2.99")])), @"");
    insta::assert_snapshot!(
        with(|r| _ = r.resolved.insert("warehouse.internal".to_owned(), vec![address("10.99.2.10")])), @"");
    insta::assert_snapshot!(with(|r| r.resolved.clear()), @"");
}
