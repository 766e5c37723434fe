//! A bastion's life through the program, with everything real but the cloud: moto is the account, a machine boots what moto
//! was given, the operator's computer is a namespace on the internet, and what is applied in moto comes true in the lab.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gangplank::{plan, tags::Tags};
use serde_json::{Value, json};

use super::{
    Blueprint, Identity, Lab, Namespace,
    boots::{Keys, open_files},
    lab::{DATABASE, DATABASE_NAME, OPERATOR, VENDOR},
};
use crate::support::{
    self, Gangplank, Run,
    moto::Account,
    program::{Victim, run},
};

/// A network of the lab's addresses, with the database's interface in it.
const NETWORK: &str = "
vpc = ec2.create_vpc(CidrBlock='10.0.0.0/16')['Vpc']['VpcId']
subnet, private = [ec2.create_subnet(VpcId=vpc, CidrBlock=block)['Subnet']['SubnetId'] for block in ('10.0.1.0/24', '10.0.2.0/24')]
gateway = ec2.create_internet_gateway()['InternetGateway']['InternetGatewayId']
ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
table = ec2.create_route_table(VpcId=vpc)['RouteTable']['RouteTableId']
ec2.create_route(RouteTableId=table, DestinationCidrBlock='0.0.0.0/0', GatewayId=gateway)
ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
group = ec2.create_security_group(GroupName='warehouse-db', Description='the database', VpcId=vpc)['GroupId']
ec2.create_network_interface(SubnetId=private, PrivateIpAddress=input, Groups=[group])
result = {'subnet': subnet, 'group': group}
";

/// The bastion's parts, and what the metadata service tells its machine.
const MADE: &str = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=own)['Reservations']]
[address] = ec2.describe_addresses(Filters=own)['Addresses']
[group] = ec2.describe_security_groups(Filters=own)['SecurityGroups']
result = {'machine': machine['InstanceId'], 'address': address['PublicIp'], 'group': group['GroupId'],
    'tags': {tag['Key']: tag['Value'] for tag in machine['Tags']}}
";

struct Story<'a> {
    account: Account<'a>,
    gangplank: Gangplank<'a>,
    keys: Keys,
    network: Value,
}

impl<'a> Story<'a> {
    fn begin(account: Account<'a>) -> Self {
        let network = account.boto(NETWORK, json!(DATABASE));
        Self { gangplank: Gangplank::new(&account), account, keys: Keys::new(), network }
    }

    fn path(&self) -> PathBuf {
        self.gangplank.home().join("warehouse.yaml")
    }

    /// Writes the plan, with these keys of the vendor's.
    fn write(&self, vendor: &[&Identity]) {
        let vendor: Vec<String> = vendor.iter().map(|key| format!("\"{}\"", key.public)).collect();
        let text = format!(
            "version: 1
name: warehouse
aws:
  subnet: {}
  image: debian-13
  instance_type: t4g.nano
  database_access: [{{security_group: {}, port: 5432}}]
ssh: {{open_files: {}}}
tunnels:
  - user: secoda
    vendor: {{name: Secoda, addresses: [{VENDOR}]}}
    keys: [{}]
    targets: [{{name: warehouse, host: {DATABASE_NAME}, port: 5432, speaks: postgres, login_attempt: {{user: probe, database: postgres}}}}]
operators:
  - {{name: ana, allow_from: [{OPERATOR}], keys: [\"{}\"]}}
",
            self.network["subnet"].as_str().expect("an id"),
            self.network["group"].as_str().expect("an id"),
            open_files(),
            vendor.join(", "),
            self.keys.operator.public,
        );
        fs::write(self.path(), text).expect("a writable folder");
    }

    fn made(&self) -> Value {
        self.account.boto(MADE, Value::Null)
    }

    /// Runs a verb on the plan, on the operator's computer.
    fn run(&self, bridge: &Bridge<'_>, verb: &str, options: &[&str]) -> Run {
        let mut command = self.gangplank.command(bridge.address);
        command.arg(verb).arg(self.path()).args(options);
        run(bridge.inside.put(&mut command), &Victim::default())
    }

    /// The same, from the operator's address and with the operator's key.
    fn look(&self, bridge: &Bridge<'_>, verb: &str, options: &[&str]) -> Run {
        let from = OPERATOR.to_string();
        let key = self.keys.operator.private.to_str().expect("a temporary folder's name");
        self.run(bridge, verb, &[&["--from", &from, "--identity", key], options].concat())
    }

    /// Runs while the metadata service shows the machine what its instance's tags become.
    fn while_tags_come_true<T>(&self, lab: &Lab, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let tags = self.made()["tags"].clone();
                    lab.tag(&serde_json::from_value::<Tags>(tags).expect("texts"));
                    thread::sleep(Duration::from_millis(500));
                }
            });
            let result = work();
            over.store(true, Ordering::Relaxed);
            result
        })
    }
}

/// Leads from a namespace's loopback to the cloud outside.
struct Bridge<'a> {
    inside: &'a Namespace,
    address: SocketAddr,
}

impl<'a> Bridge<'a> {
    fn new(inside: &'a Namespace, cloud: SocketAddr) -> Self {
        let listener = inside.listen(Ipv4Addr::LOCALHOST, 0);
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || Self::serve(&listener, cloud));
        Self { inside, address }
    }

    /// Until somebody connects who says nothing.
    fn serve(listener: &TcpListener, cloud: SocketAddr) {
        for client in listener.incoming().flatten() {
            if client.peek(&mut [0]).unwrap_or(0) == 0 {
                return;
            }
            let Ok(server) = TcpStream::connect(cloud) else { continue };
            let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
            for (from, to) in ways {
                let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    }
}

impl Drop for Bridge<'_> {
    /// So that the listener does not keep the namespace.
    fn drop(&mut self) {
        self.inside.enter(|| drop(TcpStream::connect(self.address)));
    }
}

/// The checks of a JSON verification with this verdict.
fn having(verification: &Value, verdict: &str) -> BTreeSet<String> {
    let checks = verification["bastions"][0]["checks"].as_array().expect("checks").iter();
    let name = |check: &Value| {
        let id = check["id"].as_str().unwrap_or_default();
        check["subject"].as_str().map_or_else(|| id.to_owned(), |subject| format!("{id}[{subject}]"))
    };
    checks.filter(|check| check["verdict"] == verdict).map(name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_bastion_is_applied_proven_handed_over_rotated_and_destroyed() {
    let (Some(moto), Some(_)) = (support::moto_or_skip(), super::roots()) else { return };
    let story = Story::begin(moto.account());

    // Secoda shows its key only after its form is filled in: there is none yet.
    story.write(&[]);
    let path = story.path();
    run(story.gangplank.command(moto.address()).args(["apply", "--yes", "--no-verify"]).arg(&path), &Victim::default())
        .expect(0);
    let made = story.made();
    let plan = plan::load(&[path]).expect("a plan that was applied").remove(0);
    let public = made["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
    let instance = made["machine"].as_str().expect("an id");
    let Some(lab) = Lab::up(&plan, &Blueprint { public, instance: Some(instance), ..Blueprint::default() }) else {
        return;
    };
    let console = lab.machine.folder().join("console");
    story.account.boto(
        "ec2.create_tags(Resources=[input['machine']], Tags=[{'Key': 'test:console-file', 'Value': input['console']}])",
        json!({"machine": instance, "console": console}),
    );
    let bridge = Bridge::new(&lab.internet, moto.address());

    let first = story.look(&bridge, "apply", &["--yes", "--wait", "3"]).expect(0);
    assert!(first.stdout.contains("Paste the public key"), "{first}");
    let pin = story.made()["tags"]["gangplank:host-key"].as_str().map(str::to_owned).expect("a pinned host key");
    assert!(lab.host_keys().iter().any(|key| key.starts_with(&pin)), "{pin} is not one of {:?}", lab.host_keys());

    // The key is there now; the running machine takes it, and apply waits for that.
    story.write(&[&story.keys.vendor]);
    story.while_tags_come_true(&lab, || story.look(&bridge, "apply", &["--yes", "--wait", "3"])).expect(0);
    assert!(lab.admits(VENDOR, &story.keys.vendor, "secoda"), "the vendor gets in");

    let green = story.look(&bridge, "verify", &["--strict", "--output", "json"]);
    assert_eq!((having(&green.json(), "fail"), having(&green.json(), "unknown")), Default::default(), "{green}");
    let green = green.expect(0).json();
    let vantages: BTreeSet<_> =
        green["bastions"][0]["checks"].as_array().expect("checks").iter().map(|c| c["vantage"].as_str()).collect();
    assert_eq!(vantages, BTreeSet::from([Some("control-plane"), Some("machine"), Some("network")]));
    let page = story.look(&bridge, "handoff", &["--output", "html"]).expect(0).stdout;
    let expected = format!("{} passed", having(&green, "pass").len());
    assert!(page.contains(&expected) && page.contains(&pin), "{expected} in {page}");

    // Rotation: the next key beside the old one, then alone.
    story.write(&[&story.keys.next]);
    story.while_tags_come_true(&lab, || story.look(&bridge, "apply", &["--yes", "--wait", "3"])).expect(0);
    assert!(lab.admits(VENDOR, &story.keys.next, "secoda"), "the vendor's next key gets in");
    assert!(!lab.admits(VENDOR, &story.keys.vendor, "secoda"), "the vendor's old key is of no use");

    // Somebody changes the group by hand.
    let by_hand = [
        ("revoke_security_group_ingress", VENDOR.to_string() + "/32", "control.admits[secoda]"),
        ("authorize_security_group_ingress", "0.0.0.0/0".to_owned(), "control.nothing-else"),
    ];
    for (call, net, red) in by_hand {
        let script = format!("ec2.{call}(GroupId=input[0], IpProtocol='tcp', FromPort=22, ToPort=22, CidrIp=input[1])");
        story.account.boto(&script, json!([made["group"], net]));
        let seen = story.look(&bridge, "verify", &["--output", "json"]).expect(4);
        assert_eq!(having(&seen.json(), "fail"), set(&[red]), "{call} {net}: {seen}");
        story.look(&bridge, "apply", &["--yes"]).expect(0);
    }

    // The machine is another one than the pinned one.
    lab.machine.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh; gangplank-report asked");
    let seen = story.look(&bridge, "verify", &["--output", "json"]).expect(4);
    assert_eq!(having(&seen.json(), "fail"), set(&["machine.host-keys"]), "{seen}");

    story.run(&bridge, "destroy", &["--yes"]).expect(0);
    story.account.world().assert_nothing_of_ours();
}
