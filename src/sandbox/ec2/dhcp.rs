//! DHCP options: which DNS servers a network's machines ask.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{DhcpOptions, Region, Vpc},
    refusal::{Outcome, bad_value, missing_parameter, refuse},
    tags::{self, Specified, done},
    world::{Context, World, mixed},
    xml::Xml,
};

const NAME_SERVERS: &str = "domain-name-servers";
/// EC2's own servers, by the name that options give them ("CreateDhcpOptions").
const OWN: &str = "AmazonProvidedDNS";
/// What EC2 calls the options of a network that has none.
const NONE: &str = "default";
const KEYS: [&str; 6] = [
    "domain-name",
    NAME_SERVERS,
    "ipv6-address-preferred-lease-time",
    "netbios-name-servers",
    "netbios-node-type",
    "ntp-servers",
];

/// The id of a network's options.
pub fn options_of(vpc: &Vpc, region: &str) -> String {
    vpc.dhcp_options.clone().unwrap_or_else(|| default_id(region))
}

fn default_id(region: &str) -> String {
    let place = region.bytes().fold(0_u64, |hash, byte| mixed(hash, u64::from(byte)));
    format!("dopt-0{:016x}", mixed(place, 53))
}

/// "Each Region has a default DHCP option set" (DHCP option set concepts, in the Amazon VPC User Guide).
fn default_options(region: &str) -> DhcpOptions {
    let domain = if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") };
    let options = vec![("domain-name".to_owned(), vec![domain]), (NAME_SERVERS.to_owned(), vec![OWN.to_owned()])];
    DhcpOptions { options, ..DhcpOptions::default() }
}

impl Region {
    pub(super) fn create_dhcp_options(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let mut options = Vec::new();
        for mut one in form.list("DhcpConfiguration")? {
            let (key, values) = (one.need("Key")?, one.texts("Value")?);
            one.done()?;
            if !KEYS.contains(&key.as_str()) {
                return Err(bad_value("DhcpConfiguration", &key, "There is no such option."));
            }
            let is_server = |value: &String| value.parse::<IpAddr>().is_ok() || value == OWN;
            if key == NAME_SERVERS && (values.len() > 4 || !values.iter().all(is_server)) {
                return Err(bad_value(&key, &values.join(","), "Expected up to four addresses, or AmazonProvidedDNS."));
            }
            options.push((key, values));
        }
        let specified = Specified::take(&mut form, &[Kind::DhcpOptions])?;
        form.done()?;
        if options.is_empty() {
            return Err(missing_parameter("DhcpConfiguration"));
        }
        let id = context.mint.id(Kind::DhcpOptions);
        let made = DhcpOptions { options, tags: specified.of(Kind::DhcpOptions) };
        let mut xml = Xml::default();
        xml.node("dhcpOptions", |xml| write(xml, &id, &made));
        self.dhcp_options.insert(id, made);
        Ok(xml)
    }

    pub(super) fn associate_dhcp_options(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (id, vpc) = (form.need("DhcpOptionsId")?, form.need("VpcId")?);
        form.done()?;
        self.vpc(&vpc)?;
        let chosen = if id == default_id(context.region) { None } else { Some(id) };
        if let Some(id) = chosen.as_ref().filter(|id| *id != NONE) {
            Kind::DhcpOptions.check(id)?;
            if !self.dhcp_options.contains_key(id) {
                return Err(Kind::DhcpOptions.missing(id));
            }
        }
        if let Some(vpc) = self.vpcs.get_mut(&vpc) {
            vpc.dhcp_options = chosen;
        }
        Ok(done())
    }

    pub(super) fn delete_dhcp_options(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("DhcpOptionsId")?;
        form.done()?;
        Kind::DhcpOptions.check(&id)?;
        if self.vpcs.values().any(|vpc| vpc.dhcp_options.as_ref() == Some(&id)) {
            return refuse(
                "DependencyViolation",
                format!("The dhcpOptions '{id}' has dependencies and cannot be deleted."),
            );
        }
        self.dhcp_options.remove(&id).map(|_| done()).ok_or_else(|| Kind::DhcpOptions.missing(&id))
    }

    pub(super) fn describe_dhcp_options(&self, context: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = ["dhcp-options-id", "key", "value", "tag"];
        let listing = Listing::take(form, "DhcpOptionsId", &filters, Some(USUAL))?;
        let default = (default_id(context.region), default_options(context.region));
        let all: BTreeMap<String, DhcpOptions> = self.dhcp_options.clone().into_iter().chain([default]).collect();
        let field = |id: &str, options: &DhcpOptions, name: &str| match name {
            "key" => options.options.iter().map(|(key, _)| key.clone()).collect(),
            "value" => options.options.iter().flat_map(|(_, values)| values.clone()).collect(),
            _ => vec![id.to_owned()],
        };
        let (shown, next) = listing.of(Kind::DhcpOptions, &all, |options| &options.tags, field)?;
        let mut xml = Xml::default();
        xml.items("dhcpOptionsSet", shown, |xml, (id, options)| write(xml, id, options));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    /// The servers of a network that are ordinary hosts; none where it asks EC2's own as well.
    fn foreign_name_servers(&self, vpc: &Vpc) -> Vec<IpAddr> {
        let options = vpc.dhcp_options.as_ref().and_then(|id| self.dhcp_options.get(id));
        let servers = options.into_iter().flat_map(|o| &o.options).filter(|(key, _)| key == NAME_SERVERS);
        let servers: Vec<&String> = servers.flat_map(|(_, values)| values).collect();
        let own = |server: &&String| {
            let second = u32::from(vpc.cidr.network()) + 2;
            let addresses =
                [OWN.to_owned(), "169.254.169.253".to_owned(), std::net::Ipv4Addr::from(second).to_string()];
            addresses.contains(server)
        };
        if servers.iter().any(own) { Vec::new() } else { servers.iter().filter_map(|s| s.parse().ok()).collect() }
    }
}

impl World {
    /// Whether a machine's questions for names are answered. EC2's own servers pass no security group ("Control traffic to your AWS
    /// resources using security groups", in the Amazon VPC User Guide); other ones are hosts like any, and are taken to answer.
    pub fn answers_names(&self, vm: &str) -> bool {
        let found = self.regions.values().find_map(|region| Some((region, region.main_interface(vm)?.1)));
        let Some((region, interface)) = found else { return false };
        let vpc = region.subnets.get(&interface.subnet).and_then(|subnet| region.vpcs.get_key_value(&subnet.vpc));
        let Some((vpc, network)) = vpc else { return false };
        let servers = region.foreign_name_servers(network);
        servers.is_empty() || servers.iter().any(|server| region.asks(interface, vpc, *server))
    }
}

fn write(xml: &mut Xml, id: &str, options: &DhcpOptions) {
    xml.leaf("dhcpOptionsId", id);
    xml.leaf("ownerId", super::ACCOUNT);
    xml.items("dhcpConfigurationSet", &options.options, |xml, (key, values)| {
        xml.leaf("key", key);
        xml.items("valueSet", values, |xml, value| xml.leaf("value", value));
    });
    tags::write(xml, &options.tags);
}
