//! The kinds of things that have ids, and how EC2 complains of an id.

use super::refusal::{Outcome, Refusal, refusal, refuse};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vpc,
    Subnet,
    Gateway,
    RouteTable,
    Acl,
    Group,
    GroupRule,
    Address,
    Instance,
    Interface,
    Volume,
    Image,
    PrefixList,
    DhcpOptions,
    Peering,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::Vpc,
        Self::Subnet,
        Self::Gateway,
        Self::RouteTable,
        Self::Acl,
        Self::Group,
        Self::GroupRule,
        Self::Address,
        Self::Instance,
        Self::Interface,
        Self::Volume,
        Self::Image,
        Self::PrefixList,
        Self::DhcpOptions,
        Self::Peering,
    ];

    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::Subnet => "subnet",
            Self::Gateway => "igw",
            Self::RouteTable => "rtb",
            Self::Acl => "acl",
            Self::Group => "sg",
            Self::GroupRule => "sgr",
            Self::Address => "eipalloc",
            Self::Instance => "i",
            Self::Interface => "eni",
            Self::Volume => "vol",
            Self::Image => "ami",
            Self::PrefixList => "pl",
            Self::DhcpOptions => "dopt",
            Self::Peering => "pcx",
        }
    }

    /// As `TagSpecification.N.ResourceType` and `DescribeTags` have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::Subnet => "subnet",
            Self::Gateway => "internet-gateway",
            Self::RouteTable => "route-table",
            Self::Acl => "network-acl",
            Self::Group => "security-group",
            Self::GroupRule => "security-group-rule",
            Self::Address => "elastic-ip",
            Self::Instance => "instance",
            Self::Interface => "network-interface",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::PrefixList => "prefix-list",
            Self::DhcpOptions => "dhcp-options",
            Self::Peering => "vpc-peering-connection",
        }
    }

    pub const fn not_found(self) -> &'static str {
        match self {
            Self::Vpc => "InvalidVpcID.NotFound",
            Self::Subnet => "InvalidSubnetID.NotFound",
            Self::Gateway => "InvalidInternetGatewayID.NotFound",
            Self::RouteTable => "InvalidRouteTableID.NotFound",
            Self::Acl => "InvalidNetworkAclID.NotFound",
            Self::Group => "InvalidGroup.NotFound",
            Self::GroupRule => "InvalidSecurityGroupRuleId.NotFound",
            Self::Address => "InvalidAllocationID.NotFound",
            Self::Instance => "InvalidInstanceID.NotFound",
            Self::Interface => "InvalidNetworkInterfaceID.NotFound",
            Self::Volume => "InvalidVolume.NotFound",
            Self::Image => "InvalidAMIID.NotFound",
            Self::PrefixList => "InvalidPrefixListID.NotFound",
            Self::DhcpOptions => "InvalidDhcpOptionID.NotFound",
            Self::Peering => "InvalidVpcPeeringConnectionID.NotFound",
        }
    }

    const fn malformed(self) -> &'static str {
        match self {
            Self::Vpc => "InvalidVpcID.Malformed",
            Self::Subnet => "InvalidSubnetID.Malformed",
            Self::Gateway => "InvalidInternetGatewayId.Malformed",
            Self::RouteTable => "InvalidRouteTableId.Malformed",
            Self::Acl => "InvalidNetworkAclId.Malformed",
            Self::Group => "InvalidGroupId.Malformed",
            Self::GroupRule => "InvalidSecurityGroupRuleId.Malformed",
            Self::Address => "InvalidAllocationID.Malformed",
            Self::Instance => "InvalidInstanceID.Malformed",
            Self::Interface => "InvalidNetworkInterfaceId.Malformed",
            Self::Volume => "InvalidVolumeID.Malformed",
            Self::Image => "InvalidAMIID.Malformed",
            Self::PrefixList => "InvalidPrefixListId.Malformed",
            Self::DhcpOptions => "InvalidDhcpOptionsId.Malformed",
            Self::Peering => "InvalidVpcPeeringConnectionId.Malformed",
        }
    }

    /// The kind that an id says it is of.
    pub fn of(id: &str) -> Option<Self> {
        let (prefix, _) = id.split_once('-')?;
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }

    /// An id is its prefix and 8 or 17 hexadecimal digits.
    pub fn check(self, id: &str) -> Outcome<()> {
        let digits = id.strip_prefix(self.prefix()).and_then(|rest| rest.strip_prefix('-'));
        let well = digits.is_some_and(|d| [8, 17].contains(&d.len()) && d.bytes().all(|b| b.is_ascii_hexdigit()));
        if well {
            return Ok(());
        }
        refuse(self.malformed(), format!("Invalid id: \"{id}\" (expecting \"{}-...\")", self.prefix()))
    }

    pub fn missing(self, id: &str) -> Refusal {
        refusal(self.not_found(), format!("The {} '{id}' does not exist", self.name()))
    }
}
