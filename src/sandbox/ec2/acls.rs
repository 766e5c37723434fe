//! Network ACLs.

use ipnet::IpNet;

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{Acl, AclEntry, Region},
    refusal::{Outcome, bad_value, missing_parameter, refuse},
    tags::{self, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

/// The number that EC2 shows of the entries which deny what no other entry decides; they can't be changed.
const LAST: i64 = 32767;

impl Region {
    pub(super) fn describe_network_acls(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = ["association.subnet-id", "default", "network-acl-id", "owner-id", "vpc-id", "tag"];
        let listing = Listing::take(form, "NetworkAclId", &filters, Some(USUAL))?;
        let field = |id: &str, acl: &Acl, name: &str| match name {
            "association.subnet-id" => acl.subnets.values().cloned().collect(),
            "default" => vec![acl.default.to_string()],
            "owner-id" => vec![ACCOUNT.to_owned()],
            "vpc-id" => vec![acl.vpc.clone()],
            _ => vec![id.to_owned()],
        };
        let (shown, next) = listing.of(Kind::Acl, &self.acls, |a| &a.tags, field)?;
        let mut xml = Xml::default();
        xml.items("networkAclSet", shown, |xml, (id, acl)| {
            xml.leaf("networkAclId", id);
            xml.leaf("vpcId", &acl.vpc);
            xml.leaf("ownerId", ACCOUNT);
            xml.flag("default", acl.default);
            let last = |egress| AclEntry {
                number: LAST,
                egress,
                allow: false,
                protocol: "-1".to_owned(),
                ports: None,
                net: IpNet::V4(ipnet::Ipv4Net::default()),
            };
            let mut entries = acl.entries.clone();
            entries.extend([last(true), last(false)]);
            entries.sort_by_key(|e| (!e.egress, e.number));
            xml.items("entrySet", &entries, write_entry);
            xml.items("associationSet", &acl.subnets, |xml, (association, subnet)| {
                xml.leaf("networkAclAssociationId", association);
                xml.leaf("networkAclId", id);
                xml.leaf("subnetId", subnet);
            });
            tags::write(xml, &acl.tags);
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    pub(super) fn create_network_acl_entry(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("NetworkAclId")?;
        let number = number(&mut form)?;
        let egress = form.flag("Egress")?.ok_or_else(|| missing_parameter("Egress"))?;
        let action = form.need("RuleAction")?;
        let protocol = form.need("Protocol")?;
        let (v4, v6) = (form.text("CidrBlock"), form.text("Ipv6CidrBlock"));
        let mut range = form.part("PortRange");
        let ports = (range.number("From")?, range.number("To")?);
        range.done()?;
        form.done()?;
        let allow = match action.as_str() {
            "allow" => true,
            "deny" => false,
            _ => return Err(bad_value("ruleAction", &action, "Expected allow or deny.")),
        };
        if protocol != "-1" && protocol.parse::<u8>().is_err() {
            return Err(bad_value("protocol", &protocol, "Expected a protocol's number."));
        }
        let text = v4.or(v6).ok_or_else(|| missing_parameter("CidrBlock"))?;
        let net =
            text.parse::<IpNet>().map_err(|_| bad_value("cidrBlock", &text, "This is not a valid CIDR block."))?;
        let ports = match ports {
            (Some(from), Some(to)) => match (u16::try_from(from), u16::try_from(to)) {
                (Ok(from), Ok(to)) if from <= to => Some((from, to)),
                _ => return refuse("InvalidParameterValue", format!("Invalid port range ({from}:{to})")),
            },
            (None, None) if matches!(protocol.as_str(), "6" | "17") => return Err(missing_parameter("PortRange")),
            (None, None) => None,
            _ => return Err(missing_parameter("PortRange")),
        };
        let entries = &mut self.acl(&id)?.entries;
        if entries.iter().any(|e| e.number == number && e.egress == egress) {
            return refuse(
                "NetworkAclEntryAlreadyExists",
                format!("The network acl entry identified by {number} already exists."),
            );
        }
        entries.push(AclEntry { number, egress, allow, protocol, ports, net: net.trunc() });
        Ok(done())
    }

    pub(super) fn delete_network_acl_entry(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("NetworkAclId")?;
        let number = number(&mut form)?;
        let egress = form.flag("Egress")?.ok_or_else(|| missing_parameter("Egress"))?;
        form.done()?;
        let entries = &mut self.acl(&id)?.entries;
        let before = entries.len();
        entries.retain(|e| e.number != number || e.egress != egress);
        if entries.len() == before {
            return refuse(
                "InvalidNetworkAclEntry.NotFound",
                format!("The network acl entry identified by {number} does not exist."),
            );
        }
        Ok(done())
    }

    fn acl(&mut self, id: &str) -> Outcome<&mut Acl> {
        Kind::Acl.check(id)?;
        self.acls.get_mut(id).ok_or_else(|| Kind::Acl.missing(id))
    }
}

fn number(form: &mut Form) -> Outcome<i64> {
    let number = form.number("RuleNumber")?.ok_or_else(|| missing_parameter("RuleNumber"))?;
    if (1..LAST).contains(&number) {
        return Ok(number);
    }
    Err(bad_value("ruleNumber", &number.to_string(), "Expected a number from 1 to 32766."))
}

fn write_entry(xml: &mut Xml, entry: &AclEntry) {
    xml.number("ruleNumber", entry.number);
    xml.leaf("protocol", &entry.protocol);
    xml.leaf("ruleAction", if entry.allow { "allow" } else { "deny" });
    xml.flag("egress", entry.egress);
    let name = if matches!(entry.net, IpNet::V4(_)) { "cidrBlock" } else { "ipv6CidrBlock" };
    xml.leaf(name, entry.net.to_string());
    if let Some((from, to)) = entry.ports {
        xml.node("portRange", |xml| {
            xml.number("from", from);
            xml.number("to", to);
        });
    }
}
