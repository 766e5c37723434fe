//! Peering connections: over one within a region a security group may refer to one of the other network ("Update your security groups to
//! reference peer security groups" in the VPC Peering Guide). Pure.

use super::{
    desire::Desired,
    judging::Known,
    observed::Observed,
    region,
    rule::{Peer, Rule},
};
use crate::{diagnostic::Diagnostic, plan::DatabaseAccess};

/// An active connection between two networks of this region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    pub id: String,
    pub sides: [PeeringSide; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeeringSide {
    pub vpc: String,
    pub account: String,
}

/// Whether they must be read: a plan's group is in another network than the bastion, or in another account.
pub fn are_needed(want: &Desired<'_>, vpc: Option<&str>, seen: &Observed) -> bool {
    want.aws.database_access.iter().any(|access| {
        let elsewhere = |group: &super::observed::Group| vpc.is_some_and(|vpc| vpc != group.vpc);
        access.account.is_some() || seen.group(&access.security_group).is_some_and(elsewhere)
    })
}

impl Observed {
    /// The own and the other side of each connection of a network.
    fn peerings_of<'a>(&'a self, vpc: &'a str) -> Known<Vec<(&'a PeeringSide, &'a PeeringSide)>> {
        let all = match &self.peerings {
            Some(Ok(all)) => all,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err("EC2 was not asked for peering connections".to_owned()),
        };
        let sides = |peering: &'a Peering| {
            let [one, other] = &peering.sides;
            [(one, other), (other, one)].into_iter().find(|(own, _)| own.vpc == vpc)
        };
        Ok(all.iter().filter_map(sides).collect())
    }

    /// Whether a group of one network may refer to one of the other.
    pub fn is_peered(&self, vpc: &str, other: &str) -> Known<bool> {
        Ok(self.peerings_of(vpc)?.iter().any(|(_, side)| side.vpc == other))
    }
}

/// A group of another account can't be written to from here; only what the bastion's own group says of it is checked.
pub(super) fn check_foreign(
    want: &Desired<'_>,
    seen: &Observed,
    vpc: Option<&str>,
    (access, account): (&DatabaseAccess, &str),
    problem: impl Fn(&str, String) -> Diagnostic,
) -> Option<Diagnostic> {
    let group = &access.security_group;
    if seen.group(group).is_some() {
        let label = format!("{group} is in the bastion's own account");
        return Some(
            problem("the group is not in another account", label).fix(format!("write {group} without an account")),
        );
    }
    let peer = Peer::ForeignGroup { account: account.to_owned(), group: group.clone() };
    let vpc = vpc.filter(|_| want.egress.contains_key(&Rule::tcp(access.port, peer)))?;
    let because = match seen.peerings_of(vpc) {
        Ok(sides) if sides.iter().any(|(_, other)| other.account == account) => return None,
        Ok(_) => "a rule can refer to another account's group only over an active peering connection within the region"
            .to_owned(),
        Err(why) => format!("whether it is peered is not known: {why}"),
    };
    let label = format!("{vpc} has no peering connection with a network of account {account}");
    Some(problem("no peering leads to the database's group", label).because(because).fix(format!(
        "accept a peering connection and add its routes; or, where a transit gateway leads there, give the targets on port {} their \
         ranges in `networks`",
        access.port
    )))
}

/// What the other accounts have to do: nothing of it can be done or seen from here.
pub(super) fn notes(want: &Desired<'_>, seen: &Observed, vpc: &str, region: &str) -> Vec<String> {
    let sides = seen.peerings_of(vpc).unwrap_or_default();
    let own_account = sides.first().map_or("ACCOUNT", |(own, _)| own.account.as_str());
    let own_group = seen.groups_of(want.bastion()).find(|group| group.vpc == vpc).map(|group| group.id.as_str());
    let told = |access: &DatabaseAccess| {
        let (account, DatabaseAccess { security_group, port, .. }) = (access.account.as_ref()?, access);
        let new =
            if own_group.is_some() { "" } else { " (GROUP is the bastion's new group: a plan after apply names it)" };
        let own_group = own_group.unwrap_or("GROUP");
        Some(format!(
            "⚠ {security_group} is account {account}'s: gangplank neither sees nor changes its rules. There, let the bastion in: `aws \
             --region {} ec2 authorize-security-group-ingress --group-id {security_group} --ip-permissions \
             'IpProtocol=tcp,FromPort={port},ToPort={port},UserIdGroupPairs=[{{GroupId={own_group},UserId={own_account}}}]'`{new}; and take \
             the rule away when the bastion ends",
            region::name(region)
        ))
    };
    want.aws.database_access.iter().filter_map(told).collect()
}
