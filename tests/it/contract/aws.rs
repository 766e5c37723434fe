//! EC2: moto's, and the sandbox's.

use std::{path::PathBuf, process::Command};

use gangplank::sandbox::ec2::{Pace, Quotas, World};
use serde_json::{Value, json};

use super::{Act, Call, Calls, Cloud, Kind, Look, To, Trouble, Wish};
use crate::support::{self, Bastion, Fault, Lab, Proxy, Scope, listening::Listening, program::Run};

/// Which EC2.
pub const MOTO: usize = 0;
pub const SANDBOX: usize = 1;

/// What a test does has an account of its own. The sandbox, which has one account, is one for each.
pub struct Aws<const EC2: usize = MOTO> {
    lab: Lab<'static>,
    /// Held only to end with this.
    _sandbox: Option<Listening>,
}

impl<const EC2: usize> Aws<EC2> {
    fn bastion(&self, wish: &Wish) -> Bastion {
        let seed = &self.lab.seed;
        let (name, host, port) = wish.target;
        let mut bastion = Bastion {
            allow_from: wish.sources.iter().map(|s| (*s).to_owned()).collect(),
            keys: wish.keys.iter().map(|k| (*k).to_owned()).collect(),
            targets: vec![(name.to_owned(), host.to_owned(), port)],
            tags: vec![("team".to_owned(), wish.team.to_owned())],
            expires: wish.expires.map(str::to_owned),
            ..Bastion::new(&wish.name, seed)
        };
        if wish.other {
            bastion.databases = vec![(seed.orders_group.clone(), 3306)];
        }
        bastion
    }

    /// In front of the cloud: one for each run, or one for several.
    pub fn proxy(&self) -> Proxy {
        self.lab.proxy()
    }

    pub fn command(&self, through: &Proxy) -> Command {
        self.lab.gangplank.command(through.address())
    }

    fn boto(&self, script: &str) -> Value {
        const OWN: &str = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
live = own + [{'Name': 'instance-state-name', 'Values': ['pending', 'running']}]
groups = ec2.describe_security_groups(Filters=own)['SecurityGroups']
group = groups[0]['GroupId'] if groups else None
machines = [i for r in ec2.describe_instances(Filters=live)['Reservations'] for i in r['Instances']]
machine = machines[0]['InstanceId'] if machines else None
def rules(group, **match):
    found = ec2.describe_security_group_rules(Filters=[{'Name': 'group-id', 'Values': [group]}])
    return [r for r in found['SecurityGroupRules'] if all(r.get(k) == v for k, v in match.items())]
def everybody(protocol, **more):
    return [{'IpProtocol': protocol, 'IpRanges': [{'CidrIp': '0.0.0.0/0'}], **more}]
";
        let input = json!({"warehouse_group": self.lab.seed.warehouse_group, "vpc": self.lab.seed.vpc});
        self.lab.account.boto(&format!("{OWN}{script}"), input)
    }
}

impl<const EC2: usize> Cloud for Aws<EC2> {
    const DENIED: &'static str = "UnauthorizedOperation";
    const OF_JUST_MADE: &'static [&'static str] = &[
        "AssociateAddress",
        "AuthorizeSecurityGroupEgress",
        "AuthorizeSecurityGroupIngress",
        "RevokeSecurityGroupEgress",
        "RunInstances",
    ];
    const IDENTITY: &'static str = "GetCallerIdentity";

    fn company() -> Option<Self> {
        let account = support::moto_or_skip()?.account();
        if EC2 == MOTO {
            return Some(Self { lab: Lab::of(account), _sandbox: None });
        }
        // As moto: nothing takes time, and fifty bastions are no matter.
        let quotas = Quotas { addresses: 100, ..Quotas::default() };
        let mut world = World::seeded(1);
        (world.pace, world.quotas) = (Pace::instant(), quotas);
        let sandbox = Listening::start(world);
        Some(Self { lab: Lab::of(account.at(sandbox.address)), _sandbox: Some(sandbox) })
    }

    fn write(&self, wish: &Wish) -> PathBuf {
        self.lab.gangplank.write(&self.bastion(wish))
    }

    fn home(&self) -> String {
        self.lab.gangplank.home().to_str().expect("a temporary folder's name").to_owned()
    }

    fn execute(&self, arguments: &[&str], troubles: &[Trouble]) -> (Run, Calls) {
        let proxy = self.proxy();
        for trouble in troubles {
            let scope = match trouble.to {
                To::Any => Scope::Any,
                To::Writes => Scope::Writes,
            };
            let fault = match trouble.kind {
                Kind::Throttled => Fault::THROTTLED,
                Kind::Fault => Fault::INTERNAL,
                Kind::Denied => Fault::DENIED,
                Kind::Garbage => Fault::Garbage,
                Kind::Lost(moment) => Fault::Drop(moment),
                Kind::Kill(moment) => Fault::Kill(moment),
            };
            proxy.fault(scope, trouble.window.0..trouble.window.1, fault);
        }
        let run = proxy.run(self.command(&proxy).args(arguments));
        let calls = proxy.take_calls().0.into_iter();
        let calls = calls.map(|call| Call { writes: call.is_write(), operation: call.action });
        (run, Calls(calls.collect()))
    }

    fn look(&self) -> Look {
        let world = self.lab.account.world();
        Look { ours: world.ours, foreign: world.foreign }
    }

    fn machine(&self) -> Value {
        self.boto("result = machine")
    }

    fn drifts() -> Vec<Act<Self>> {
        vec![
            ("opened to everybody", |aws| {
                aws.boto(
                    "ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=everybody('tcp', FromPort=22, ToPort=22))",
                );
            }),
            ("all ports opened to one", |aws| {
                aws.boto(
                    "ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
    {'IpProtocol': '-1', 'IpRanges': [{'CidrIp': '192.0.2.9/32'}]}])",
                );
            }),
            ("lets everything out", |aws| {
                aws.boto("ec2.authorize_security_group_egress(GroupId=group, IpPermissions=everybody('-1'))");
            }),
            ("a source closed", |aws| {
                aws.boto(
                    "[rule] = rules(group, IsEgress=False)
ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule['SecurityGroupRuleId']])",
                );
            }),
            ("the way to the database closed", |aws| {
                aws.boto(
                    "
[rule] = [r for r in rules(input['warehouse_group'], IsEgress=False) if 'ReferencedGroupInfo' in r]
ec2.revoke_security_group_ingress(GroupId=input['warehouse_group'], SecurityGroupRuleIds=[rule['SecurityGroupRuleId']])",
                );
            }),
            ("the machine terminated", |aws| {
                aws.boto("ec2.terminate_instances(InstanceIds=[machine])");
            }),
            ("the address moved off", |aws| {
                aws.boto(
                    "
[address] = ec2.describe_addresses(Filters=own)['Addresses']
ec2.disassociate_address(AssociationId=address['AssociationId'])",
                );
            }),
            ("the machine's tag removed", |aws| {
                aws.boto("ec2.delete_tags(Resources=[machine], Tags=[{'Key': 'team'}])");
            }),
            ("the group's tag changed", |aws| {
                aws.boto("ec2.create_tags(Resources=[group], Tags=[{'Key': 'team', 'Value': 'nobody'}])");
            }),
            ("the keys' tag removed", |aws| {
                aws.boto("ec2.delete_tags(Resources=[machine], Tags=[{'Key': 'gangplank:keys'}])");
            }),
        ]
    }

    fn lookalikes() -> Vec<Act<Self>> {
        vec![("a security group", |aws| {
            aws.boto(
                "ec2.create_security_group(GroupName='gangplank-warehouse', Description='somebody else', VpcId=input['vpc'])",
            );
        })]
    }
}
