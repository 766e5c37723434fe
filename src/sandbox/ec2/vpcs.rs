//! Networks and their subnets.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    dhcp,
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{Acl, AclEntry, Group, GroupRule, Opens, Peer, Region, RouteTable, Subnet, Tags, Vpc},
    refusal::{Outcome, refuse},
    tags::{self, Specified, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

/// Ranges of networks and subnets are between these ("VPC CIDR blocks" in the Amazon VPC User Guide).
const WIDEST: u8 = 16;
const NARROWEST: u8 = 28;

impl Region {
    pub(super) fn create_vpc(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let text = form.need("CidrBlock")?;
        let with_ipv6 = form.flag("AmazonProvidedIpv6CidrBlock")?.unwrap_or(false);
        let specified = Specified::take(&mut form, &[Kind::Vpc])?;
        form.done()?;
        let cidr = range(&text, "InvalidVpc.Range")?;
        if self.vpcs.len() >= context.quotas.vpcs {
            return refuse("VpcLimitExceeded", "The maximum number of VPCs has been reached.");
        }
        let id = context.mint.id(Kind::Vpc);
        // One /56 of the block that the documentation's examples use, told apart by the number of the network.
        let ipv6 = with_ipv6.then(|| ipv6_block(self.vpcs.len()));
        self.add_vpc(context, &id, Vpc { cidr, ipv6, dhcp_options: None, tags: specified.of(Kind::Vpc) });
        let mut xml = Xml::default();
        xml.node("vpc", |xml| self.write_vpc(xml, &id, context.region));
        Ok(xml)
    }

    /// A network as it is born: with a default group, a main route table and a default network ACL.
    pub(super) fn add_vpc(&mut self, context: &mut Context<'_>, id: &str, vpc: Vpc) {
        let with_ipv6 = vpc.ipv6.is_some();
        self.vpcs.insert(id.to_owned(), vpc);
        let group = context.mint.id(Kind::Group);
        let inside = Opens { egress: false, protocol: "-1".to_owned(), range: None, peer: Peer::Group(group.clone()) };
        let opens = std::iter::once(inside).chain(default_egress(with_ipv6));
        let rule =
            |opens| (context.mint.id(Kind::GroupRule), GroupRule { opens, description: None, tags: Tags::new() });
        let rules = opens.map(rule).collect();
        let description = "default VPC security group".to_owned();
        let vpc = id.to_owned();
        self.groups.insert(
            group,
            Group { name: "default".to_owned(), description, vpc, rules, tags: Tags::new(), made: None },
        );
        let table = RouteTable {
            vpc: id.to_owned(),
            main: Some(context.mint.id_with("rtbassoc")),
            subnets: [].into(),
            routes: Vec::new(),
            tags: Tags::new(),
        };
        self.route_tables.insert(context.mint.id(Kind::RouteTable), table);
        let entries = [false, true].map(|egress| AclEntry {
            number: 100,
            egress,
            allow: true,
            protocol: "-1".to_owned(),
            ports: None,
            net: IpNet::V4(Ipv4Net::default()),
        });
        let acl =
            Acl { vpc: id.to_owned(), default: true, subnets: [].into(), entries: entries.to_vec(), tags: Tags::new() };
        self.acls.insert(context.mint.id(Kind::Acl), acl);
    }

    pub(super) fn delete_vpc(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("VpcId")?;
        form.done()?;
        self.vpc(&id)?;
        let used = self.subnets.values().any(|s| s.vpc == id)
            || self.gateways.values().any(|g| g.vpc.as_deref() == Some(&id))
            || self.groups.values().any(|g| g.vpc == id && g.name != "default")
            || self.route_tables.values().any(|t| t.vpc == id && t.main.is_none())
            || self.acls.values().any(|a| a.vpc == id && !a.default);
        if used {
            return refuse("DependencyViolation", format!("The vpc '{id}' has dependencies and cannot be deleted."));
        }
        self.vpcs.remove(&id);
        self.groups.retain(|_, g| g.vpc != id);
        self.route_tables.retain(|_, t| t.vpc != id);
        self.acls.retain(|_, a| a.vpc != id);
        Ok(done())
    }

    pub(super) fn describe_vpcs(&self, context: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = ["cidr", "dhcp-options-id", "is-default", "owner-id", "state", "vpc-id", "tag"];
        let listing = Listing::take(form, "VpcId", &filters, Some(USUAL))?;
        let field = |id: &str, vpc: &Vpc, name: &str| {
            vec![match name {
                "cidr" => vpc.cidr.to_string(),
                "dhcp-options-id" => dhcp::options_of(vpc, context.region),
                "is-default" => "false".to_owned(),
                "owner-id" => ACCOUNT.to_owned(),
                "state" => "available".to_owned(),
                _ => id.to_owned(),
            }]
        };
        let (shown, next) = listing.of(Kind::Vpc, &self.vpcs, |v| &v.tags, field)?;
        let mut xml = Xml::default();
        xml.items("vpcSet", shown, |xml, (id, _)| self.write_vpc(xml, id, context.region));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_vpc(&self, xml: &mut Xml, id: &str, region: &str) {
        let Some(vpc) = self.vpcs.get(id) else { return };
        xml.leaf("vpcId", id);
        xml.leaf("ownerId", ACCOUNT);
        xml.leaf("state", "available");
        xml.leaf("cidrBlock", vpc.cidr.to_string());
        xml.items("cidrBlockAssociationSet", [vpc.cidr], |xml, cidr| {
            xml.leaf("cidrBlock", cidr.to_string());
            xml.leaf("associationId", format!("vpc-cidr-assoc{}", id.trim_start_matches("vpc")));
            xml.node("cidrBlockState", |xml| xml.leaf("state", "associated"));
        });
        xml.items("ipv6CidrBlockAssociationSet", vpc.ipv6, |xml, cidr| {
            xml.leaf("ipv6CidrBlock", cidr.to_string());
            xml.leaf("associationId", format!("vpc-cidr-assoc6{}", id.trim_start_matches("vpc")));
            xml.node("ipv6CidrBlockState", |xml| xml.leaf("state", "associated"));
        });
        xml.leaf("dhcpOptionsId", dhcp::options_of(vpc, region));
        xml.leaf("instanceTenancy", "default");
        xml.flag("isDefault", false);
        tags::write(xml, &vpc.tags);
    }

    pub(super) fn vpc(&self, id: &str) -> Outcome<&Vpc> {
        Kind::Vpc.check(id)?;
        self.vpcs.get(id).ok_or_else(|| Kind::Vpc.missing(id))
    }

    pub(super) fn create_subnet(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let vpc = form.need("VpcId")?;
        let text = form.need("CidrBlock")?;
        let ipv6 = form.text("Ipv6CidrBlock");
        let zone = form.text("AvailabilityZone").unwrap_or_else(|| format!("{}a", context.region));
        let specified = Specified::take(&mut form, &[Kind::Subnet])?;
        form.done()?;
        let network = self.vpc(&vpc)?;
        let cidr = range(&text, "InvalidSubnet.Range")?;
        if !network.cidr.contains(&cidr) {
            return refuse("InvalidSubnet.Range", format!("The CIDR '{text}' is invalid."));
        }
        if !zones(context.region).contains(&zone) && zone != local_zone(context.region) {
            return refuse(
                "InvalidParameterValue",
                format!("Value ({zone}) for parameter availabilityZone is invalid."),
            );
        }
        let ipv6 = match ipv6 {
            None => None,
            Some(text) => match (text.parse::<Ipv6Net>(), network.ipv6) {
                (Ok(net), Some(all)) if net == net.trunc() && net.prefix_len() == 64 && all.contains(&net) => Some(net),
                _ => return refuse("InvalidSubnet.Range", format!("The CIDR '{text}' is invalid.")),
            },
        };
        let mut others = self.subnets.values().filter(|s| s.vpc == vpc);
        if others.any(|s| overlap(s.cidr, cidr) || (ipv6.is_some() && s.ipv6 == ipv6)) {
            return refuse("InvalidSubnet.Conflict", format!("The CIDR '{text}' conflicts with another subnet"));
        }
        let id = context.mint.id(Kind::Subnet);
        self.add_subnet(context, &id, Subnet { vpc, cidr, ipv6, zone, tags: specified.of(Kind::Subnet) });
        let mut xml = Xml::default();
        xml.node("subnet", |xml| self.write_subnet(xml, &id));
        Ok(xml)
    }

    /// A new subnet is its network's default ACL's.
    pub(super) fn add_subnet(&mut self, context: &mut Context<'_>, id: &str, subnet: Subnet) {
        if let Some(acl) = self.acls.values_mut().find(|acl| acl.default && acl.vpc == subnet.vpc) {
            acl.subnets.insert(context.mint.id_with("aclassoc"), id.to_owned());
        }
        self.subnets.insert(id.to_owned(), subnet);
    }

    pub(super) fn delete_subnet(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("SubnetId")?;
        form.done()?;
        self.subnet(&id)?;
        if self.interfaces.values().any(|i| i.subnet == id) {
            return refuse("DependencyViolation", format!("The subnet '{id}' has dependencies and cannot be deleted."));
        }
        self.subnets.remove(&id);
        self.route_tables.values_mut().for_each(|t| t.subnets.retain(|_, s| *s != id));
        self.acls.values_mut().for_each(|a| a.subnets.retain(|_, s| *s != id));
        Ok(done())
    }

    pub(super) fn describe_subnets(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters =
            ["availability-zone", "cidr-block", "default-for-az", "owner-id", "state", "subnet-id", "vpc-id", "tag"];
        let listing = Listing::take(form, "SubnetId", &filters, Some(USUAL))?;
        let field = |id: &str, subnet: &Subnet, name: &str| {
            vec![match name {
                "availability-zone" => subnet.zone.clone(),
                "cidr-block" => subnet.cidr.to_string(),
                "default-for-az" => "false".to_owned(),
                "owner-id" => ACCOUNT.to_owned(),
                "state" => "available".to_owned(),
                "vpc-id" => subnet.vpc.clone(),
                _ => id.to_owned(),
            }]
        };
        let (shown, next) = listing.of(Kind::Subnet, &self.subnets, |s| &s.tags, field)?;
        let mut xml = Xml::default();
        xml.items("subnetSet", shown, |xml, (id, _)| self.write_subnet(xml, id));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_subnet(&self, xml: &mut Xml, id: &str) {
        let Some(subnet) = self.subnets.get(id) else { return };
        xml.leaf("subnetId", id);
        xml.leaf(
            "subnetArn",
            format!("arn:aws:ec2:{}:{ACCOUNT}:subnet/{id}", subnet.zone.trim_end_matches(char::is_alphabetic)),
        );
        xml.leaf("state", "available");
        xml.leaf("ownerId", ACCOUNT);
        xml.leaf("vpcId", &subnet.vpc);
        xml.leaf("cidrBlock", subnet.cidr.to_string());
        xml.items("ipv6CidrBlockAssociationSet", subnet.ipv6, |xml, cidr| {
            xml.leaf("ipv6CidrBlock", cidr.to_string());
            xml.leaf("associationId", format!("subnet-cidr-assoc{}", id.trim_start_matches("subnet")));
            xml.node("ipv6CidrBlockState", |xml| xml.leaf("state", "associated"));
        });
        xml.number("availableIpAddressCount", self.free(id, subnet));
        xml.leaf("availabilityZone", &subnet.zone);
        xml.flag("defaultForAz", false);
        xml.flag("mapPublicIpOnLaunch", false);
        xml.flag("assignIpv6AddressOnCreation", false);
        tags::write(xml, &subnet.tags);
    }

    /// EC2 keeps the first four addresses of a subnet and the last for itself.
    fn free(&self, id: &str, subnet: &Subnet) -> i64 {
        let taken = self.interfaces.values().filter(|i| i.subnet == id).count();
        let all = 1_i64 << (32 - subnet.cidr.prefix_len());
        all - 5 - i64::try_from(taken).unwrap_or(i64::MAX)
    }

    pub(super) fn subnet(&self, id: &str) -> Outcome<&Subnet> {
        Kind::Subnet.check(id)?;
        self.subnets.get(id).ok_or_else(|| Kind::Subnet.missing(id))
    }

    /// A free address of a subnet: the wanted one, or the lowest.
    pub(super) fn free_address(&self, id: &str, wanted: Option<&str>) -> Outcome<Ipv4Addr> {
        let subnet = self.subnet(id)?;
        let taken = |ip: Ipv4Addr| self.interfaces.values().any(|i| i.subnet == id && i.ip == ip);
        let (first, last) = (u32::from(subnet.cidr.network()) + 4, u32::from(subnet.cidr.broadcast()) - 1);
        if let Some(text) = wanted {
            let fits = |ip: &Ipv4Addr| (first..=last).contains(&u32::from(*ip));
            let Some(ip) = text.parse::<Ipv4Addr>().ok().filter(fits) else {
                return refuse(
                    "InvalidParameterValue",
                    format!("Address {text} does not fall within the subnet's address range"),
                );
            };
            if taken(ip) {
                return refuse("InvalidIPAddress.InUse", format!("Address {text} is in use."));
            }
            return Ok(ip);
        }
        match (first..=last).map(Ipv4Addr::from).find(|ip| !taken(*ip)) {
            Some(ip) => Ok(ip),
            None => refuse(
                "InsufficientFreeAddressesInSubnet",
                format!("There are not enough free addresses in subnet '{id}' to satisfy the request."),
            ),
        }
    }

    /// The interface of a network that has this address.
    pub fn interface_at(&self, vpc: &str, ip: IpAddr) -> Option<(&String, &super::model::Interface)> {
        let here = |i: &super::model::Interface| {
            Self::is_at(i, ip) && self.subnets.get(&i.subnet).is_some_and(|s| s.vpc == vpc)
        };
        self.interfaces.iter().find(|(_, i)| here(i))
    }
}

/// What EC2 adds to every new group: everything to everywhere.
pub fn default_egress(ipv6: bool) -> impl Iterator<Item = Opens> {
    let v6 = ipv6.then(|| IpNet::V6(Ipv6Net::default()));
    std::iter::once(IpNet::V4(Ipv4Net::default())).chain(v6).map(|net| Opens {
        egress: true,
        protocol: "-1".to_owned(),
        range: None,
        peer: Peer::Net(net),
    })
}

/// `us-east-1a` and so on. How many a region has differs; three is what most have.
pub fn zones(region: &str) -> [String; 3] {
    ["a", "b", "c"].map(|letter| format!("{region}{letter}"))
}

/// "us-west-2-lax-1a": one, of this form, in each region (Local Zones, in the Amazon EC2 User Guide).
fn local_zone(region: &str) -> String {
    format!("{region}-lax-1a")
}

fn ipv6_block(number: usize) -> Ipv6Net {
    let [.., high, low] = number.to_be_bytes();
    let ip = [0x2600, 0x1f18, u16::from(high), u16::from(low) << 8, 0, 0, 0, 0];
    Ipv6Net::new(ip.into(), 56).unwrap_or_default()
}

fn range(text: &str, code: &str) -> Outcome<Ipv4Net> {
    let Ok(net) = text.parse::<Ipv4Net>() else {
        return refuse(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."),
        );
    };
    if net != net.trunc() || !(WIDEST..=NARROWEST).contains(&net.prefix_len()) {
        return refuse(code, format!("The CIDR '{text}' is invalid."));
    }
    Ok(net)
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}
