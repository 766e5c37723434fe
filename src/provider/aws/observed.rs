//! What an account has in one region, as far as gangplank's plans are concerned. Plain data: no SDK type gets past here.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

use super::{
    deadline::{self, Remembered, ResolvedDeadline},
    judging::Known,
    name_servers::NameServers,
    network::{Interface, RouteTable, Subnet},
    ownership,
    peering::Peering,
    prefix_list::PrefixLists,
    public_access::PublicAccess,
    rule::Rules,
    tags::{Tags, owns},
};
use crate::plan::Plan;

/// One look at a region: every instance that carries our tag or that of a document, every address, every group that matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    pub instances: Vec<Instance>,
    /// All of the region's: a plan may name an address that is not ours.
    pub addresses: Vec<ElasticIp>,
    /// All of the region's; of those that are neither ours nor named by a plan, only the rules that refer to groups.
    pub groups: Vec<Group>,
    /// Every machine in the groups that are called as bastions' are, whoever's it is: read only where a bastion has no machine of its own.
    pub users: Vec<Instance>,
    /// Every network interface in those groups: read only where plans are compared, verified or destroyed, and by `reap`.
    pub members: Option<Known<Vec<Interface>>>,
    /// What machines were made from, by their ids: read only of those that something is written to, and of those verified.
    pub origins: BTreeMap<String, MachineOrigin>,
    pub prefix_lists: PrefixLists,
    /// Read only where a plan is compared or verified.
    pub name_servers: NameServers,
    /// Read only where a plan's database may be on the other side of one.
    pub peerings: Option<Known<Vec<Peering>>>,
}

impl Observed {
    /// A bastion's own instances that are not gone, in the order of their ids. What is its own: see [`ownership`].
    pub fn instances_of<'a>(&'a self, bastion: &str) -> impl Iterator<Item = &'a Instance> {
        let tagged = self.instances.iter().filter(move |i| owns(&i.tags, bastion) && i.state.is_there());
        tagged.filter(move |i| ownership::instance(i, self, bastion).is_ok())
    }

    /// A bastion's instances that EC2 is ending. Their tags are all that is left of what made them its own.
    pub fn ending_instances_of<'a>(&'a self, bastion: &str) -> impl Iterator<Item = &'a Instance> {
        let ending = self.instances.iter().filter(|i| i.state == InstanceState::ShuttingDown);
        ending.filter(move |i| owns(&i.tags, bastion) && ownership::made_by_us(i).is_ok())
    }

    /// Ids of every instance that a bastion ever had, as far as EC2 remembers and tags tell: a client token must differ from theirs.
    pub fn instance_history(&self, bastion: &str) -> Vec<String> {
        self.instances.iter().filter(|i| owns(&i.tags, bastion)).map(|i| i.id.clone()).collect()
    }

    /// A bastion's own addresses.
    pub fn addresses_of<'a>(&'a self, bastion: &str) -> impl Iterator<Item = &'a ElasticIp> {
        let tagged = self.addresses.iter().filter(move |a| owns(&a.tags, bastion));
        tagged.filter(move |a| ownership::address(a, self, bastion).is_ok())
    }

    /// A bastion's own security groups.
    pub fn groups_of<'a>(&'a self, bastion: &str) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |g| owns(&g.tags, bastion) && ownership::group(g, bastion).is_ok())
    }

    /// Ends that the plan or some of its bastion's resources tell, other than the one that is shown.
    pub fn other_ends(&self, plan: &Plan, shown: Option<Timestamp>, now: Timestamp) -> Vec<Timestamp> {
        let name = plan.name.as_str();
        let instances = self.instances_of(name).map(|i| &i.tags);
        let addresses = self.addresses_of(name).map(|a| &a.tags);
        let all = instances.chain(addresses).chain(self.groups_of(name).map(|g| &g.tags));
        deadline::other_ends(shown, plan.deadline, &self.deadline_of(name), all, now)
    }

    /// What a bastion's resources remember of its deadline.
    pub fn deadline_of(&self, bastion: &str) -> Remembered {
        let instances = self.instances_of(bastion).map(|i| &i.tags);
        let addresses = self.addresses_of(bastion).map(|a| &a.tags);
        let groups = self.groups_of(bastion).map(|g| &g.tags);
        let launched = self.instances_of(bastion).filter_map(|i| i.launched).min();
        Remembered::of(instances.chain(addresses).chain(groups)).launched(launched)
    }

    /// Whether all that a bastion has tells the same end.
    pub fn ends_agree(&self, bastion: &str) -> bool {
        let instances = self.instances_of(bastion).map(|i| &i.tags);
        let addresses = self.addresses_of(bastion).map(|a| &a.tags);
        let groups = self.groups_of(bastion).map(|g| &g.tags);
        let ends: Vec<_> = instances.chain(addresses).chain(groups).map(ResolvedDeadline::from_tags).collect();
        ends.windows(2).all(|pair| pair[0] == pair[1])
    }

    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.id == id)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub id: String,
    pub state: InstanceState,
    pub instance_type: String,
    pub image: String,
    pub subnet: String,
    pub vpc: String,
    pub groups: Vec<String>,
    pub metadata: MetadataOptions,
    pub private_ip: Option<String>,
    pub public_ip: Option<String>,
    pub launched: Option<Timestamp>,
    /// Ids of its volumes and network interfaces.
    pub parts: Vec<String>,
    /// In the order of their device index: the first is the one that came with it.
    pub interfaces: Vec<Interface>,
    /// The ARN of its instance profile: what the machine may do in the account.
    pub profile: Option<String>,
    /// The name of the key pair that it was launched with.
    pub key_pair: Option<String>,
    pub tags: Tags,
}

impl Instance {
    /// Its first interface where it has several: calls that mean an interface then refuse the instance's own id ("AssociateAddress").
    pub fn first_of_several(&self) -> Option<&str> {
        match self.interfaces.as_slice() {
            [first, _, ..] => Some(&first.id),
            _ => None,
        }
    }
}

/// What a machine was made from, as far as EC2 tells.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineOrigin {
    /// SHA-256 of its user data in hexadecimal digits, uncompressed; `None` where it has none.
    pub user_data: Known<Option<String>>,
    /// `None` where EC2 does not know the image any more, or shows it to this account no more.
    pub image: Known<Option<Image>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl InstanceState {
    /// Not on its way out. EC2 shows terminated instances for about an hour.
    pub fn is_there(self) -> bool {
        !matches!(self, InstanceState::ShuttingDown | InstanceState::Terminated)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
        }
    }
}

/// The instance metadata service as gangplank wants it: session tokens only, and a hop limit of 1, so that a token does not reach
/// what lies behind the machine, a container among it. A forwarded connection is made by the machine itself and is no hop: only
/// sshd's PermitOpen keeps it from the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataOptions {
    /// It answers at all.
    pub enabled: bool,
    pub tokens_required: bool,
    pub hop_limit: i32,
    /// The machine may read its own tags.
    pub tags: bool,
}

impl MetadataOptions {
    pub const HOP_LIMIT: i32 = 1;

    pub fn wanted(tags: bool) -> Self {
        Self { enabled: true, tokens_required: true, hop_limit: Self::HOP_LIMIT, tags }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ElasticIp {
    pub allocation: String,
    pub ip: Option<IpAddr>,
    /// From where AWS advertises it: the region, or a Local Zone.
    pub border_group: Option<String>,
    pub attached: Option<Attachment>,
    /// It takes one of the account's quota: one of the account's own ranges, or of another service, does not.
    pub counts: bool,
    pub tags: Tags,
}

/// What an address points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    Instance(String),
    /// A network interface without an instance (a NAT gateway, a load balancer).
    Interface(String),
}

impl Attachment {
    pub fn is_instance(&self, id: &str) -> bool {
        matches!(self, Attachment::Instance(instance) if instance == id)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub id: String,
    pub name: String,
    /// EC2 never changes it.
    pub description: String,
    pub vpc: String,
    pub ingress: Rules,
    pub egress: Rules,
    pub tags: Tags,
}

/// What the cloud knows beside the bastions themselves, read only when a machine is to be created.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    pub subnets: Vec<Subnet>,
    pub route_tables: Vec<RouteTable>,
    pub images: Vec<Image>,
    pub instance_types: Vec<InstanceType>,
    /// How many elastic addresses the account may have in the region, where that was asked and answered.
    pub most_addresses: Option<usize>,
    /// `None` where it was not told.
    pub public_access: Option<PublicAccess>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub id: String,
    pub name: String,
    pub owner: String,
    pub architecture: String,
    pub root_device: String,
    /// GiB of its root volume; EC2 refuses a smaller one.
    pub root_size: i32,
    /// ISO 8601, as EC2 gives it: sorts as text.
    pub created: String,
    /// From then on EC2 lists it to those only who ask for deprecated images; it launches it all the same.
    pub deprecation: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InstanceType {
    pub name: String,
    pub architectures: Vec<String>,
    /// What runs its machines: Nitro, or bare metal, which has none.
    pub nitro: bool,
    /// MiB; `None` where EC2 does not say.
    pub memory: Option<i64>,
}

impl Surroundings {
    /// Whether a subnet's packets find the internet: by its own route table, or its network's main one.
    pub fn reaches_internet(&self, subnet: &Subnet) -> bool {
        RouteTable::of(&self.route_tables, subnet).is_some_and(RouteTable::reaches_internet)
    }
}
