//! Between the SDK's types and ours.

use std::{collections::BTreeSet, net::IpAddr, str::FromStr};

use aws_sdk_ec2::types as ec2;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    action::DescribedRule,
    name_servers::{DhcpOptions, NetworkDns},
    network::{Acl, AclEntry, Destination, Interface, Route, RouteTable, Subnet, Volume},
    observed::{Attachment, ElasticIp, Group, Image, Instance, InstanceState, InstanceType, MetadataOptions},
    peering::{Peering, PeeringSide},
    prefix_list::PrefixList,
    rule::{ANY_V4, Direction, Peer, Protocol, Rule, Rules},
    tags::Tags,
};

pub fn tags(tags: &[ec2::Tag]) -> Tags {
    tags.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned()))).collect()
}

pub fn sdk_tags(tags: &Tags) -> Vec<ec2::Tag> {
    tags.iter().map(|(key, value)| ec2::Tag::builder().key(key).value(value).build()).collect()
}

pub fn tag_specification(kind: ec2::ResourceType, tags: &Tags) -> ec2::TagSpecification {
    ec2::TagSpecification::builder().resource_type(kind).set_tags(Some(sdk_tags(tags))).build()
}

pub fn state(name: Option<&ec2::InstanceStateName>) -> InstanceState {
    match name {
        Some(ec2::InstanceStateName::Running) => InstanceState::Running,
        Some(ec2::InstanceStateName::Stopping) => InstanceState::Stopping,
        Some(ec2::InstanceStateName::Stopped) => InstanceState::Stopped,
        Some(ec2::InstanceStateName::ShuttingDown) => InstanceState::ShuttingDown,
        Some(ec2::InstanceStateName::Terminated) => InstanceState::Terminated,
        _ => InstanceState::Pending,
    }
}

pub fn instance(from: &ec2::Instance) -> Option<Instance> {
    let metadata = from.metadata_options();
    let interfaces = own_interfaces(from);
    Some(Instance {
        id: from.instance_id()?.to_owned(),
        state: state(from.state().and_then(|s| s.name())),
        instance_type: from.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
        image: text(from.image_id()),
        subnet: text(from.subnet_id()),
        vpc: text(from.vpc_id()),
        groups: first_interface_groups(from, &interfaces),
        metadata: MetadataOptions {
            enabled: metadata.and_then(|m| m.http_endpoint()) != Some(&ec2::InstanceMetadataEndpointState::Disabled),
            tokens_required: metadata.and_then(|m| m.http_tokens()) == Some(&ec2::HttpTokensState::Required),
            hop_limit: metadata.and_then(|m| m.http_put_response_hop_limit()).unwrap_or_default(),
            tags: metadata.and_then(|m| m.instance_metadata_tags()) == Some(&ec2::InstanceMetadataTagsState::Enabled),
        },
        private_ip: from.private_ip_address().map(str::to_owned),
        public_ip: from.public_ip_address().map(str::to_owned),
        launched: from.launch_time().and_then(|t| Timestamp::from_second(t.secs()).ok()),
        parts: parts(from),
        interfaces,
        profile: from.iam_instance_profile().and_then(|p| p.arn()).map(str::to_owned),
        key_pair: from.key_name().map(str::to_owned),
        tags: tags(from.tags()),
    })
}

/// EC2 repeats the groups of an instance's first interface at the instance itself. moto names those that RunInstances gives to an
/// interface at the interface only.
fn first_interface_groups(from: &ec2::Instance, interfaces: &[Interface]) -> Vec<String> {
    let repeated: Vec<String> = from.security_groups().iter().filter_map(|g| g.group_id().map(str::to_owned)).collect();
    match interfaces.first() {
        Some(first) if repeated.is_empty() => first.groups.clone(),
        _ => repeated,
    }
}

fn parts(from: &ec2::Instance) -> Vec<String> {
    let volumes = from.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.volume_id());
    let interfaces = from.network_interfaces().iter().filter_map(|interface| interface.network_interface_id());
    volumes.chain(interfaces).map(str::to_owned).collect()
}

pub fn address(from: &ec2::Address) -> Option<ElasticIp> {
    let id = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let attached = match (id(from.instance_id()), id(from.network_interface_id()), id(from.association_id())) {
        (Some(instance), _, _) => Some(Attachment::Instance(instance)),
        (None, Some(interface), _) => Some(Attachment::Interface(interface)),
        (None, None, Some(association)) => Some(Attachment::Interface(association)),
        (None, None, None) => None,
    };
    Some(ElasticIp {
        allocation: from.allocation_id()?.to_owned(),
        ip: from.public_ip().and_then(|ip| ip.parse::<IpAddr>().ok()),
        border_group: id(from.network_border_group()),
        attached,
        counts: matches!(from.public_ipv4_pool(), None | Some("" | "amazon")) && from.service_managed().is_none(),
        tags: tags(from.tags()),
    })
}

pub fn group(from: &ec2::SecurityGroup) -> Option<Group> {
    Some(Group {
        id: from.group_id()?.to_owned(),
        name: text(from.group_name()),
        description: text(from.description()),
        vpc: text(from.vpc_id()),
        ingress: rules(from.ip_permissions(), from.owner_id()),
        egress: rules(from.ip_permissions_egress(), from.owner_id()),
        tags: tags(from.tags()),
    })
}

/// EC2 folds rules of the same ports into one permission; here each peer is a rule again. `owner` is the account of the group.
pub fn rules(permissions: &[ec2::IpPermission], owner: Option<&str>) -> Rules {
    let mut rules = Rules::new();
    for permission in permissions {
        let protocol = protocol(permission);
        let v4 = permission.ip_ranges().iter().filter_map(|r| Some((net(r.cidr_ip()?)?, r.description())));
        let v6 = permission.ipv6_ranges().iter().filter_map(|r| Some((net(r.cidr_ipv6()?)?, r.description())));
        let groups =
            permission.user_id_group_pairs().iter().filter_map(|p| Some((group_peer(p, owner)?, p.description())));
        let lists = permission
            .prefix_list_ids()
            .iter()
            .filter_map(|p| Some((Peer::PrefixList(p.prefix_list_id()?.to_owned()), p.description())));
        for (peer, description) in v4.chain(v6).chain(groups).chain(lists) {
            rules.insert(Rule { protocol: protocol.clone(), peer }, text(description));
        }
    }
    rules
}

fn group_peer(pair: &ec2::UserIdGroupPair, owner: Option<&str>) -> Option<Peer> {
    let group = pair.group_id()?.to_owned();
    let foreign = pair.user_id().filter(|account| owner.is_some_and(|owner| owner != *account));
    Some(match foreign {
        Some(account) => Peer::ForeignGroup { account: account.to_owned(), group },
        None => Peer::Group(group),
    })
}

/// Something that is no network can't come from EC2; should it, it is shown and treated as the widest there is.
fn net(text: &str) -> Option<Peer> {
    Some(Peer::Net(text.parse::<IpNet>().map_or(ANY_V4, |net| net)))
}

fn protocol(permission: &ec2::IpPermission) -> Protocol {
    let port = |port: Option<i32>| port.and_then(|p| u16::try_from(p).ok());
    match (permission.ip_protocol(), port(permission.from_port()), port(permission.to_port())) {
        (Some("tcp" | "6"), Some(from), Some(to)) => Protocol::Tcp { from, to },
        (Some("-1"), _, _) => Protocol::All,
        (name, _, _) => Protocol::Other { name: text(name), from: permission.from_port(), to: permission.to_port() },
    }
}

/// One permission for one rule; `own` stands for [`Peer::Bastion`].
pub fn permission(DescribedRule { rule, description }: &DescribedRule, own: &str) -> ec2::IpPermission {
    let description = Some(description.clone()).filter(|text| !text.is_empty());
    let permission = match &rule.protocol {
        Protocol::Tcp { from, to } => {
            ec2::IpPermission::builder().ip_protocol("tcp").from_port((*from).into()).to_port((*to).into())
        }
        Protocol::All => ec2::IpPermission::builder().ip_protocol("-1"),
        Protocol::Other { name, from, to } => {
            ec2::IpPermission::builder().ip_protocol(name).set_from_port(*from).set_to_port(*to)
        }
    };
    let pair = |group: &str| ec2::UserIdGroupPair::builder().group_id(group).set_description(description.clone());
    match &rule.peer {
        Peer::Net(net @ IpNet::V4(_)) => {
            permission.ip_ranges(ec2::IpRange::builder().cidr_ip(net.to_string()).set_description(description).build())
        }
        Peer::Net(net @ IpNet::V6(_)) => permission
            .ipv6_ranges(ec2::Ipv6Range::builder().cidr_ipv6(net.to_string()).set_description(description).build()),
        Peer::Group(group) => permission.user_id_group_pairs(pair(group).build()),
        Peer::ForeignGroup { account, group } => permission.user_id_group_pairs(pair(group).user_id(account).build()),
        Peer::Bastion => permission.user_id_group_pairs(pair(own).build()),
        Peer::PrefixList(list) => permission
            .prefix_list_ids(ec2::PrefixListId::builder().prefix_list_id(list).set_description(description).build()),
    }
    .build()
}

/// Without its entries.
pub fn prefix_list(from: &ec2::ManagedPrefixList) -> Option<PrefixList> {
    Some(PrefixList {
        id: from.prefix_list_id()?.to_owned(),
        name: text(from.prefix_list_name()),
        most: from.max_entries().and_then(|most| usize::try_from(most).ok()),
        entries: Vec::new(),
    })
}

/// Something that is no network can't come from EC2; should it, it is treated as the widest there is.
pub fn prefix_list_entry(from: &ec2::PrefixListEntry) -> Option<IpNet> {
    Some(from.cidr()?.parse().unwrap_or(ANY_V4))
}

pub fn network_dns(from: &ec2::Vpc) -> Option<NetworkDns> {
    Some(NetworkDns {
        vpc: from.vpc_id()?.to_owned(),
        range: from.cidr_block().and_then(|range| range.parse().ok()),
        dhcp_options: text(from.dhcp_options_id()),
    })
}

pub fn dhcp_options(from: &ec2::DhcpOptions) -> Option<DhcpOptions> {
    let servers = from.dhcp_configurations().iter().filter(|option| option.key() == Some("domain-name-servers"));
    let values = servers.flat_map(|option| option.values()).filter_map(|value| value.value());
    Some(DhcpOptions { id: from.dhcp_options_id()?.to_owned(), name_servers: values.map(str::to_owned).collect() })
}

/// An exclusion that is in effect, and in both directions.
pub fn excluded(from: &ec2::VpcBlockPublicAccessExclusion) -> Option<String> {
    use ec2::VpcBlockPublicAccessExclusionState::{CreateComplete, UpdateComplete};
    let in_effect = matches!(from.state(), Some(CreateComplete | UpdateComplete));
    let both_ways =
        from.internet_gateway_exclusion_mode() == Some(&ec2::InternetGatewayExclusionMode::AllowBidirectional);
    from.resource_arn().filter(|_| in_effect && both_ways).map(str::to_owned)
}

/// `None` where it is not active, or leads to another region, where no rule can refer to its groups.
pub fn peering(from: &ec2::VpcPeeringConnection) -> Option<Peering> {
    let (requester, accepter) = (from.requester_vpc_info()?, from.accepter_vpc_info()?);
    let active = from.status()?.code() == Some(&ec2::VpcPeeringConnectionStateReasonCode::Active);
    let side = |from: &ec2::VpcPeeringConnectionVpcInfo| {
        Some(PeeringSide { vpc: from.vpc_id()?.to_owned(), account: text(from.owner_id()) })
    };
    let sides = [side(requester)?, side(accepter)?];
    let here = active && requester.region() == accepter.region();
    here.then(|| Peering { id: text(from.vpc_peering_connection_id()), sides })
}

pub fn subnet(from: &ec2::Subnet) -> Option<Subnet> {
    let v6 = from.ipv6_cidr_block_association_set();
    let nets = from.cidr_block().into_iter().chain(v6.iter().filter_map(|a| a.ipv6_cidr_block()));
    Some(Subnet {
        id: from.subnet_id()?.to_owned(),
        vpc: text(from.vpc_id()),
        zone: text(from.availability_zone()),
        ipv6: !v6.is_empty(),
        nets: nets.filter_map(|net| net.parse().ok()).collect(),
        tags: tags(from.tags()),
    })
}

pub fn route_table(from: &ec2::RouteTable) -> Option<RouteTable> {
    Some(RouteTable {
        id: from.route_table_id()?.to_owned(),
        vpc: text(from.vpc_id()),
        main: from.associations().iter().any(|a| a.main() == Some(true)),
        subnets: from.associations().iter().filter_map(|a| a.subnet_id().map(str::to_owned)).collect(),
        routes: from.routes().iter().filter_map(route).collect(),
    })
}

fn route(from: &ec2::Route) -> Option<Route> {
    let net = from.destination_cidr_block().or(from.destination_ipv6_cidr_block());
    let to = match (net, from.destination_prefix_list_id()) {
        (Some(net), _) => Destination::Net(net.parse().ok()?),
        (None, Some(list)) => Destination::PrefixList(list.to_owned()),
        (None, None) => return None,
    };
    let via = [
        from.gateway_id(),
        from.nat_gateway_id(),
        from.transit_gateway_id(),
        from.vpc_peering_connection_id(),
        from.egress_only_internet_gateway_id(),
        // An instance's own interface is named beside it: that is where packets go.
        from.network_interface_id(),
        from.instance_id(),
        from.local_gateway_id(),
        from.carrier_gateway_id(),
        from.core_network_arn(),
    ];
    let via = via.into_iter().flatten().find(|id| !id.is_empty()).unwrap_or("a next hop that EC2 does not name");
    Some(Route { to, via: via.to_owned(), active: from.state() != Some(&ec2::RouteState::Blackhole) })
}

pub fn acl(from: &ec2::NetworkAcl) -> Option<Acl> {
    let mut entries: Vec<AclEntry> = from.entries().iter().filter_map(acl_entry).collect();
    entries.sort_by_key(|entry| entry.number);
    Some(Acl {
        id: from.network_acl_id()?.to_owned(),
        vpc: text(from.vpc_id()),
        subnets: from.associations().iter().filter_map(|a| a.subnet_id().map(str::to_owned)).collect(),
        entries,
    })
}

fn acl_entry(from: &ec2::NetworkAclEntry) -> Option<AclEntry> {
    let ports = from.port_range();
    let port = |port: Option<i32>, none: u16| port.map_or(Some(none), |p| u16::try_from(p).ok());
    let (first, last) = (port(ports.and_then(|p| p.from()), 0)?, port(ports.and_then(|p| p.to()), u16::MAX)?);
    let protocol = match from.protocol()? {
        "-1" => Protocol::All,
        "6" | "tcp" => Protocol::Tcp { from: first, to: last },
        other => Protocol::Other { name: other.to_owned(), from: Some(first.into()), to: Some(last.into()) },
    };
    Some(AclEntry {
        number: from.rule_number()?,
        direction: if from.egress()? { Direction::Egress } else { Direction::Ingress },
        allow: from.rule_action() == Some(&ec2::RuleAction::Allow),
        protocol,
        net: from.cidr_block().or(from.ipv6_cidr_block())?.parse().ok()?,
    })
}

fn own_interfaces(from: &ec2::Instance) -> Vec<Interface> {
    let mut all: Vec<_> = from.network_interfaces().iter().collect();
    all.sort_by_key(|i| i.attachment().and_then(|a| a.device_index()));
    let convert = |from: &&ec2::InstanceNetworkInterface| {
        let private = from.private_ip_addresses();
        let v4 = private.iter().filter_map(|a| a.private_ip_address()).chain(from.private_ip_address());
        let v6 = from.ipv6_addresses().iter().filter_map(|a| a.ipv6_address());
        let public = private.iter().filter_map(|a| a.association()?.public_ip());
        let public = public.chain(from.association().and_then(|a| a.public_ip()));
        Some(Interface {
            id: from.network_interface_id()?.to_owned(),
            subnet: text(from.subnet_id()),
            groups: from.groups().iter().filter_map(|g| g.group_id().map(str::to_owned)).collect(),
            addresses: parsed(v4.chain(v6)),
            prefixes: Vec::new(),
            public: parsed(public),
            instance: None,
            description: text(from.description()),
        })
    };
    all.iter().filter_map(convert).collect()
}

pub fn interface(from: &ec2::NetworkInterface) -> Option<Interface> {
    let private = from.private_ip_addresses();
    let v4 = private.iter().filter_map(|a| a.private_ip_address()).chain(from.private_ip_address());
    let v6 = from.ipv6_addresses().iter().filter_map(|a| a.ipv6_address());
    let prefixes = from.ipv4_prefixes().iter().filter_map(|p| p.ipv4_prefix());
    let prefixes = prefixes.chain(from.ipv6_prefixes().iter().filter_map(|p| p.ipv6_prefix()));
    Some(Interface {
        id: from.network_interface_id()?.to_owned(),
        subnet: text(from.subnet_id()),
        groups: from.groups().iter().filter_map(|g| g.group_id().map(str::to_owned)).collect(),
        addresses: parsed(v4.chain(v6)),
        prefixes: parsed(prefixes),
        public: parsed(private.iter().filter_map(|a| a.association()?.public_ip())),
        instance: from.attachment().and_then(|a| a.instance_id()).map(str::to_owned),
        description: text(from.description()),
    })
}

/// Sorted and each once: EC2 says an interface's first address in two places.
fn parsed<'a, T: FromStr + Ord>(texts: impl Iterator<Item = &'a str>) -> Vec<T> {
    texts.filter_map(|text| text.parse().ok()).collect::<BTreeSet<T>>().into_iter().collect()
}

pub fn volume(from: &ec2::Volume) -> Option<Volume> {
    Some(Volume {
        id: from.volume_id()?.to_owned(),
        encrypted: from.encrypted() == Some(true),
        instances: from.attachments().iter().filter_map(|a| a.instance_id().map(str::to_owned)).collect(),
    })
}

/// GiB: what the supported images have, for an image that does not say.
const USUAL_ROOT_SIZE: i32 = 8;

pub fn image(from: &ec2::Image) -> Option<Image> {
    let root_device = from.root_device_name().unwrap_or("/dev/xvda");
    let root = from.block_device_mappings().iter().find(|m| m.device_name() == Some(root_device));
    Some(Image {
        id: from.image_id()?.to_owned(),
        name: text(from.name()),
        owner: text(from.owner_id()),
        architecture: from.architecture().map(|a| a.as_str().to_owned()).unwrap_or_default(),
        root_device: root_device.to_owned(),
        root_size: root.and_then(|m| m.ebs()?.volume_size()).unwrap_or(USUAL_ROOT_SIZE),
        created: text(from.creation_date()),
        deprecation: from.deprecation_time().and_then(|at| at.parse().ok()),
    })
}

pub fn instance_type(from: &ec2::InstanceTypeInfo) -> Option<InstanceType> {
    let architectures = from.processor_info().map(|p| p.supported_architectures()).unwrap_or_default();
    Some(InstanceType {
        name: from.instance_type()?.as_str().to_owned(),
        // i386 runs on what x86_64 runs on, and no image that we know is made for it.
        architectures: architectures.iter().map(|a| a.as_str().to_owned()).filter(|a| a != "i386").collect(),
        nitro: from.hypervisor() != Some(&ec2::InstanceTypeHypervisor::Xen),
        memory: from.memory_info().and_then(|memory| memory.size_in_mib()),
    })
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
