//! Security groups.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{Group, GroupRule, Opens, Peer, Region, Tags},
    refusal::{Outcome, Refusal, refuse},
    rules,
    tags::{self, Specified, done},
    vpcs::default_egress,
    world::{ACCOUNT, Context, later},
    xml::Xml,
};

const LONGEST: usize = 255;

impl Region {
    pub(super) fn create_security_group(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let name = form.need("GroupName")?;
        let description = form.need("GroupDescription")?;
        let vpc = form.text("VpcId");
        let specified = Specified::take(&mut form, &[Kind::Group])?;
        form.done()?;
        let Some(vpc) = vpc else {
            return refuse("VPCIdNotSpecified", "No default VPC for this user");
        };
        let ipv6 = self.vpc(&vpc)?.ipv6.is_some();
        for (what, text) in [("groupName", &name), ("groupDescription", &description)] {
            if text.chars().count() > LONGEST || !text.chars().all(rules::is_describing) {
                return refuse(
                    "InvalidParameterValue",
                    format!(
                        "Value ({text}) for parameter {what} is invalid. Character sets beyond ASCII are not supported."
                    ),
                );
            }
        }
        if name.starts_with("sg-") {
            return refuse(
                "InvalidParameterValue",
                format!(
                    "Value ({name}) for parameter groupName is invalid. Group names may not be in the format sg-*."
                ),
            );
        }
        if name == "default" {
            return refuse("InvalidParameterValue", "Cannot use reserved security group name: default");
        }
        if self.groups.values().any(|g| g.vpc == vpc && g.name == name) {
            return refuse(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{vpc}'"),
            );
        }
        if self.groups.len() >= context.quotas.groups {
            return refuse("SecurityGroupLimitExceeded", "The maximum number of security groups has been reached.");
        }
        let id = context.mint.id(Kind::Group);
        let rule =
            |opens| (context.mint.id(Kind::GroupRule), GroupRule { opens, description: None, tags: Tags::new() });
        let rules = default_egress(ipv6).map(rule).collect();
        let tags = specified.of(Kind::Group);
        let mut xml = done();
        xml.leaf("groupId", &id);
        xml.leaf("securityGroupArn", format!("arn:aws:ec2:{}:{ACCOUNT}:security-group/{id}", context.region));
        tags::write(&mut xml, &tags);
        self.groups.insert(id, Group { name, description, vpc, rules, tags, made: Some(context.now) });
        Ok(xml)
    }

    pub(super) fn delete_security_group(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        // By name only in a default network, and there is none.
        let id = form.need("GroupId")?;
        form.done()?;
        if self.changeable_group(&id, context)?.name == "default" {
            return refuse(
                "CannotDelete",
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
            );
        }
        let used = self.interfaces.values().any(|i| i.groups.contains(&id));
        let peer = Peer::Group(id.clone());
        // "is referenced by another security group in the same VPC" (DeleteSecurityGroup).
        let vpc = &self.group(&id)?.vpc;
        let mut others = self.groups.iter().filter(|(other, g)| **other != id && g.vpc == *vpc);
        let named = others.any(|(_, g)| g.rules.values().any(|r| r.opens.peer == peer));
        if used || named {
            return refuse("DependencyViolation", format!("resource {id} has a dependent object"));
        }
        self.groups.remove(&id);
        let mut xml = done();
        xml.leaf("groupId", id);
        Ok(xml)
    }

    pub(super) fn describe_security_groups(&self, context: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        if !form.texts("GroupName")?.is_empty() {
            return refuse(
                "InvalidParameterCombination",
                "Groups are named only in a default VPC, and there is none; filter by group-name",
            );
        }
        let filters = [
            "description",
            "egress.ip-permission.group-id",
            "group-id",
            "group-name",
            "ip-permission.cidr",
            "ip-permission.from-port",
            "ip-permission.group-id",
            "ip-permission.protocol",
            "ip-permission.to-port",
            "owner-id",
            "vpc-id",
            "tag",
        ];
        let listing = Listing::take(form, "GroupId", &filters, Some(USUAL))?;
        let field = |id: &str, group: &Group, name: &str| match name {
            "description" => vec![group.description.clone()],
            "group-id" => vec![id.to_owned()],
            "group-name" => vec![group.name.clone()],
            "owner-id" => vec![ACCOUNT.to_owned()],
            "vpc-id" => vec![group.vpc.clone()],
            other => {
                let egress = other.starts_with("egress.");
                let rules = group.rules.values().map(|r| &r.opens).filter(|o| o.egress == egress);
                let what = other.trim_start_matches("egress.").trim_start_matches("ip-permission.");
                rules.filter_map(|opens| rule_field(opens, what)).collect()
            }
        };
        let (shown, next) = listing.of(Kind::Group, &self.groups, |g| &g.tags, field)?;
        let mut xml = Xml::default();
        xml.items("securityGroupInfo", shown, |xml, (id, group)| {
            xml.leaf("ownerId", ACCOUNT);
            xml.leaf("groupName", &group.name);
            xml.leaf("groupId", id);
            xml.leaf("groupDescription", &group.description);
            xml.leaf("vpcId", &group.vpc);
            xml.leaf("securityGroupArn", format!("arn:aws:ec2:{}:{ACCOUNT}:security-group/{id}", context.region));
            self.write_permissions(xml, "ipPermissions", group, false);
            self.write_permissions(xml, "ipPermissionsEgress", group, true);
            tags::write(xml, &group.tags);
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    /// EC2 folds rules of the same ports into one permission.
    fn write_permissions(&self, xml: &mut Xml, name: &str, group: &Group, egress: bool) {
        type Traffic<'a> = (&'a str, Option<(i32, i32)>);
        let mut folded: BTreeMap<Traffic<'_>, Vec<&GroupRule>> = BTreeMap::new();
        for rule in group.rules.values().filter(|r| r.opens.egress == egress) {
            folded.entry((&rule.opens.protocol, rule.opens.range)).or_default().push(rule);
        }
        xml.items(name, folded, |xml, ((protocol, range), rules)| {
            rules::write_permission(xml, protocol, range, &rules);
        });
    }

    pub(super) fn group(&self, id: &str) -> Outcome<&Group> {
        Kind::Group.check(id)?;
        self.groups.get(id).ok_or_else(|| Kind::Group.missing(id))
    }

    /// For calls that change: for a moment after its creation a group is unknown to any of them ("Eventual consistency in the Amazon
    /// EC2 API" names CreateSecurityGroup and the call after it).
    pub(super) fn settled_group(&self, id: &str, context: &Context<'_>) -> Outcome<&Group> {
        let group = self.group(id)?;
        let is_new = group.made.is_some_and(|made| context.now < later(made, context.pace.settle));
        if is_new { Err(Kind::Group.missing(id)) } else { Ok(group) }
    }

    /// The group that a call changes, which policies ask for the tags of; a group that a rule names is not asked about.
    pub(super) fn changeable_group(&self, id: &str, context: &Context<'_>) -> Outcome<&Group> {
        let group = self.settled_group(id, context)?;
        if let Some(made) = group.made {
            known_to_policies(id, made, &group.tags, context)?;
        }
        Ok(group)
    }

    /// Groups that an interface of a network can be in.
    pub(super) fn groups_in(&self, ids: &[String], vpc: &str, context: &Context<'_>) -> Outcome<()> {
        if ids.len() > context.quotas.groups_per_interface {
            return refuse(
                "SecurityGroupsPerInterfaceLimitExceeded",
                "You have exceeded the number of security groups allowed per network interface.",
            );
        }
        for id in ids {
            if self.changeable_group(id, context)?.vpc != vpc {
                return refuse(
                    "InvalidParameter",
                    format!("Security group {id} and subnet belong to different networks."),
                );
            }
        }
        Ok(())
    }

    /// A network's own group: that of what names none.
    pub(super) fn default_group(&self, vpc: &str) -> Vec<String> {
        let default = self.groups.iter().find(|(_, g)| g.vpc == vpc && g.name == "default");
        default.map(|(id, _)| id.clone()).into_iter().collect()
    }
}

/// docs/iam-policy.json allows changes of what carries gangplank's tag, and IAM does not know the tags of what was just made: users of
/// such policies meet `UnauthorizedOperation` for some seconds after a create. What has no such tag is somebody else's, who needs none.
pub(super) fn known_to_policies(id: &str, made: Timestamp, tags: &Tags, context: &Context<'_>) -> Outcome<()> {
    if !tags.contains_key("gangplank:bastion") || context.now >= later(made, context.pace.tags) {
        return Ok(());
    }
    let message = format!(
        "You are not authorized to perform this operation on {id}, because no identity-based policy allows it. Encoded authorization \
         failure message: sandbox"
    );
    Err(Refusal { status: 403, code: "UnauthorizedOperation".to_owned(), message })
}

fn rule_field(opens: &Opens, what: &str) -> Option<String> {
    match (what, &opens.peer) {
        ("cidr", Peer::Net(net)) => Some(net.to_string()),
        ("group-id", Peer::Group(id)) => Some(id.clone()),
        ("protocol", _) => Some(opens.protocol.clone()),
        ("from-port", _) => opens.range.map(|(from, _)| from.to_string()),
        ("to-port", _) => opens.range.map(|(_, to)| to.to_string()),
        _ => None,
    }
}
