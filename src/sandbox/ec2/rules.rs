//! Rules of security groups: authorised, revoked, described.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{GroupRule, Opens, Peer, Region},
    refusal::{Outcome, bad_value, missing_parameter, refuse},
    tags::{self, Specified, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

/// As a caller states a rule.
struct Stated {
    opens: Opens,
    description: Option<String>,
}

impl Region {
    pub(super) fn authorize_ingress(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.authorize(context, form, false)
    }

    pub(super) fn authorize_egress(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.authorize(context, form, true)
    }

    pub(super) fn revoke_ingress(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.revoke(context, form, false)
    }

    pub(super) fn revoke_egress(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.revoke(context, form, true)
    }

    fn authorize(&mut self, context: &mut Context<'_>, mut form: Form, egress: bool) -> Outcome<Xml> {
        let id = form.need("GroupId")?;
        let stated = stated(&mut form, egress)?;
        let specified = Specified::take(&mut form, &[Kind::GroupRule])?;
        form.done()?;
        let vpc = self.changeable_group(&id, context)?.vpc.clone();
        if stated.is_empty() {
            return Err(missing_parameter("IpPermissions"));
        }
        let mut made: Vec<(String, GroupRule)> = Vec::new();
        for Stated { opens, description } in stated {
            // "Update your security groups to reference peer security groups"; EC2's words: ansible/ansible#28876.
            if let Peer::Group(peer) = &opens.peer
                && let other = &self.settled_group(peer, context)?.vpc
                && *other != vpc
                && !self.is_peered(&vpc, other)
            {
                return refuse(
                    "InvalidGroup.NotFound",
                    format!("You have specified two resources that belong to different networks: {id}, {peer}"),
                );
            }
            if let Peer::PrefixList(list) = &opens.peer {
                self.prefix_list(list)?;
            }
            if let Peer::ForeignGroup(owner, peer) = &opens.peer
                && self.peering_of(&vpc, |side| side.owner == *owner).is_none()
            {
                return Err(Kind::Group.missing(peer));
            }
            let known = self.groups.get(&id).is_some_and(|g| g.rules.values().any(|r| r.opens == opens));
            if known || made.iter().any(|(_, rule)| rule.opens == opens) {
                return refuse(
                    "InvalidPermission.Duplicate",
                    format!("the specified rule \"{}\" already exists", spoken(&opens)),
                );
            }
            let rule = GroupRule { opens, description, tags: specified.of(Kind::GroupRule) };
            made.push((context.mint.id(Kind::GroupRule), rule));
        }
        let mut xml = done();
        xml.items("securityGroupRuleSet", &made, |xml, (rule_id, rule)| self.write_rule(xml, &id, rule_id, rule));
        if let Some(group) = self.groups.get_mut(&id) {
            group.rules.extend(made);
        }
        let rules = self.groups.get(&id).into_iter().flat_map(|group| group.rules.values());
        let of_direction: Vec<&Opens> = rules.map(|rule| &rule.opens).filter(|opens| opens.egress == egress).collect();
        for v6 in [false, true] {
            let count: usize = of_direction.iter().map(|opens| self.weight(opens, v6)).sum();
            if count > context.quotas.rules_per_group {
                return refuse(
                    "RulesPerSecurityGroupLimitExceeded",
                    "The maximum number of rules per security group has been reached.",
                );
            }
        }
        Ok(xml)
    }

    /// In a network that is not a default one, a rule that is not there refuses the whole call ("RevokeSecurityGroupIngress").
    fn revoke(&mut self, context: &Context<'_>, mut form: Form, egress: bool) -> Outcome<Xml> {
        let id = form.need("GroupId")?;
        let by_id = form.texts("SecurityGroupRuleId")?;
        let stated = stated(&mut form, egress)?;
        form.done()?;
        self.changeable_group(&id, context)?;
        if by_id.is_empty() == stated.is_empty() {
            return refuse("InvalidParameterCombination", "Give either rules or their ids");
        }
        let Some(group) = self.groups.get_mut(&id) else { return Err(Kind::Group.missing(&id)) };
        let mut revoked: Vec<(String, GroupRule)> = Vec::new();
        for rule in by_id {
            Kind::GroupRule.check(&rule)?;
            match group.rules.remove(&rule) {
                Some(found) if found.opens.egress == egress => revoked.push((rule, found)),
                _ => return Err(Kind::GroupRule.missing(&rule)),
            }
        }
        for Stated { opens, description } in stated {
            let is = |r: &GroupRule| r.opens == opens && (description.is_none() || r.description == description);
            let Some(rule) = group.rules.iter().find(|(_, r)| is(r)).map(|(rule, _)| rule.clone()) else {
                return refuse(
                    "InvalidPermission.NotFound",
                    "The specified rule does not exist in this security group.",
                );
            };
            revoked.extend(group.rules.remove_entry(&rule));
        }
        let mut xml = done();
        xml.items("revokedSecurityGroupRuleSet", &revoked, |xml, (rule_id, rule)| {
            xml.leaf("groupId", &id);
            xml.leaf("securityGroupRuleId", rule_id);
            write_opens(xml, &rule.opens, rule.description.as_deref(), false);
        });
        Ok(xml)
    }

    pub(super) fn describe_security_group_rules(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = ["group-id", "security-group-rule-id", "tag"];
        let listing = Listing::take(form, "SecurityGroupRuleId", &filters, Some(USUAL))?;
        let rules =
            self.groups.iter().flat_map(|(group, g)| g.rules.iter().map(move |(id, r)| (id.clone(), (group, r))));
        let rules: BTreeMap<String, (&String, &GroupRule)> = rules.collect();
        let field = |id: &str, (group, _): &(&String, &GroupRule), name: &str| {
            vec![if name == "group-id" { (*group).clone() } else { id.to_owned() }]
        };
        let (shown, next) = listing.of(Kind::GroupRule, &rules, |(_, r)| &r.tags, field)?;
        let mut xml = Xml::default();
        xml.items("securityGroupRuleSet", shown, |xml, (id, (group, rule))| self.write_rule(xml, group, id, rule));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_rule(&self, xml: &mut Xml, group: &str, id: &str, rule: &GroupRule) {
        xml.leaf("groupId", group);
        xml.leaf("groupOwnerId", ACCOUNT);
        xml.leaf("securityGroupRuleId", id);
        write_opens(xml, &rule.opens, rule.description.as_deref(), true);
        tags::write(xml, &rule.tags);
    }
}

fn write_opens(xml: &mut Xml, opens: &Opens, description: Option<&str>, nested: bool) {
    xml.flag("isEgress", opens.egress);
    xml.leaf("ipProtocol", &opens.protocol);
    let (from, to) = opens.range.unwrap_or((-1, -1));
    xml.number("fromPort", from);
    xml.number("toPort", to);
    match &opens.peer {
        Peer::Net(IpNet::V4(net)) => xml.leaf("cidrIpv4", net.to_string()),
        Peer::Net(IpNet::V6(net)) => xml.leaf("cidrIpv6", net.to_string()),
        Peer::Group(id) if nested => xml.node("referencedGroupInfo", |xml| {
            xml.leaf("groupId", id);
            xml.leaf("userId", ACCOUNT);
        }),
        Peer::ForeignGroup(owner, id) if nested => xml.node("referencedGroupInfo", |xml| {
            xml.leaf("groupId", id);
            xml.leaf("userId", owner);
        }),
        Peer::ForeignGroup(_, id) => xml.leaf("referencedGroupId", id),
        Peer::Group(id) => xml.leaf("referencedGroupId", id),
        Peer::PrefixList(id) => xml.leaf("prefixListId", id),
    }
    xml.maybe("description", description);
}

pub fn write_permission(xml: &mut Xml, protocol: &str, range: Option<(i32, i32)>, rules: &[&GroupRule]) {
    xml.leaf("ipProtocol", protocol);
    if let Some((from, to)) = range {
        xml.number("fromPort", from);
        xml.number("toPort", to);
    }
    let peers = |of: fn(&Peer) -> Option<String>| {
        rules.iter().filter_map(move |r| Some((of(&r.opens.peer)?, r.description.as_deref()))).collect::<Vec<_>>()
    };
    let groups = rules.iter().filter_map(|rule| match &rule.opens.peer {
        Peer::Group(id) => Some((ACCOUNT, id, &rule.description)),
        Peer::ForeignGroup(owner, id) => Some((owner.as_str(), id, &rule.description)),
        Peer::Net(_) | Peer::PrefixList(_) => None,
    });
    xml.items("groups", groups, |xml, (owner, id, description)| {
        xml.leaf("userId", owner);
        xml.leaf("groupId", id);
        xml.maybe("description", description.as_ref());
    });
    let v4 = peers(|peer| if let Peer::Net(IpNet::V4(net)) = peer { Some(net.to_string()) } else { None });
    let v6 = peers(|peer| if let Peer::Net(IpNet::V6(net)) = peer { Some(net.to_string()) } else { None });
    let lists = peers(|peer| if let Peer::PrefixList(id) = peer { Some(id.clone()) } else { None });
    for (list, leaf, peers) in
        [("ipRanges", "cidrIp", v4), ("ipv6Ranges", "cidrIpv6", v6), ("prefixListIds", "prefixListId", lists)]
    {
        xml.items(list, peers, |xml, (peer, description)| {
            xml.leaf(leaf, peer);
            xml.maybe("description", description);
        });
    }
}

/// The rules that a call states: one for each peer of each permission.
fn stated(form: &mut Form, egress: bool) -> Outcome<Vec<Stated>> {
    let mut all = Vec::new();
    for mut permission in form.list("IpPermissions")? {
        let protocol = permission.need("IpProtocol")?;
        let ports = (permission.number("FromPort")?, permission.number("ToPort")?);
        let (protocol, range) = traffic(&protocol, ports)?;
        let mut peers = Vec::new();
        for (list, leaf, v6) in [("IpRanges", "CidrIp", false), ("Ipv6Ranges", "CidrIpv6", true)] {
            for mut one in permission.list(list)? {
                let net = net(&one.need(leaf)?, v6)?;
                peers.push((Peer::Net(net), one.text("Description")));
                one.done()?;
            }
        }
        for mut one in permission.list("Groups")? {
            // What is in another account can't be looked at: its groups are taken for those of its peered network.
            let owner = one.text("UserId").filter(|owner| owner != ACCOUNT);
            let id = one.need("GroupId")?;
            Kind::Group.check(&id)?;
            let peer = match owner {
                Some(owner) => Peer::ForeignGroup(owner, id),
                None => Peer::Group(id),
            };
            peers.push((peer, one.text("Description")));
            one.done()?;
        }
        for mut one in permission.list("PrefixListIds")? {
            let id = one.need("PrefixListId")?;
            Kind::PrefixList.check(&id)?;
            peers.push((Peer::PrefixList(id), one.text("Description")));
            one.done()?;
        }
        permission.done()?;
        if peers.is_empty() {
            return refuse(
                "MissingParameter",
                "Source or destination of a rule is missing: a range, a group or a prefix list",
            );
        }
        for (peer, description) in peers {
            let description = described(description)?;
            all.push(Stated { opens: Opens { egress, protocol: protocol.clone(), range, peer }, description });
        }
    }
    // The old form, for one rule.
    if let Some(protocol) = form.text("IpProtocol") {
        let ports = (form.number("FromPort")?, form.number("ToPort")?);
        let (protocol, range) = traffic(&protocol, ports)?;
        let peer = Peer::Net(net(&form.need("CidrIp")?, false)?);
        all.push(Stated { opens: Opens { egress, protocol, range, peer }, description: None });
    }
    Ok(all)
}

type Range = Option<(i32, i32)>;

fn traffic(protocol: &str, (from, to): (Option<i64>, Option<i64>)) -> Outcome<(String, Range)> {
    let name = match protocol.to_ascii_lowercase().as_str() {
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "1" => "icmp".to_owned(),
        "58" => "icmpv6".to_owned(),
        name @ ("tcp" | "udp" | "icmp" | "icmpv6" | "-1") => name.to_owned(),
        number if number.parse::<u8>().is_ok() => number.to_owned(),
        _ => return refuse("InvalidPermission.Malformed", format!("Unsupported IP protocol \"{protocol}\"")),
    };
    let range = match (name.as_str(), from, to) {
        // Ports of these are not told apart.
        ("-1", ..) => None,
        ("tcp" | "udp", Some(from), Some(to)) => match (u16::try_from(from), u16::try_from(to)) {
            (Ok(from), Ok(to)) if from <= to => Some((i32::from(from), i32::from(to))),
            _ => {
                return refuse(
                    "InvalidParameterValue",
                    format!("Invalid {} port range ({from}:{to})", name.to_uppercase()),
                );
            }
        },
        ("tcp" | "udp", ..) => {
            return refuse(
                "MissingParameter",
                "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
            );
        }
        ("icmp" | "icmpv6", from, to) => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            match (i32::try_from(kind), i32::try_from(code)) {
                (Ok(kind @ -1..=255), Ok(code @ -1..=255)) => Some((kind, code)),
                _ => return refuse("InvalidParameterValue", format!("Invalid ICMP type or code ({kind}:{code})")),
            }
        }
        _ => None,
    };
    Ok((name, range))
}

fn net(text: &str, v6: bool) -> Outcome<IpNet> {
    let parsed = text.parse::<IpNet>().ok().filter(|net| matches!(net, IpNet::V6(_)) == v6 && *net == net.trunc());
    parsed.ok_or_else(|| {
        bad_value(if v6 { "cidrIpv6" } else { "cidrIp" }, text, &format!("CIDR block {text} is malformed"))
    })
}

fn described(text: Option<String>) -> Outcome<Option<String>> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > 255 || !text.chars().all(is_describing) => refuse(
            "InvalidParameterValue",
            format!(
                "Invalid rule description '{text}'. Valid descriptions are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
            ),
        ),
        text => Ok(text),
    }
}

/// "IpRange" in the Amazon EC2 API Reference.
pub fn is_describing(c: char) -> bool {
    c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c)
}

fn spoken(opens: &Opens) -> String {
    let peer = match &opens.peer {
        Peer::Net(net) => net.to_string(),
        Peer::Group(id) | Peer::ForeignGroup(_, id) | Peer::PrefixList(id) => id.clone(),
    };
    let ports = opens.range.map_or_else(String::new, |(from, to)| format!(", from port: {from}, to port: {to}"));
    format!("peer: {peer}, {}{ports}, ALLOW", if opens.protocol == "-1" { "ALL" } else { &opens.protocol })
}
