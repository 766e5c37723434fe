//! Opening and closing: rules of a security group, in as few calls as EC2 allows.

use std::net::IpAddr;

use aws_sdk_ec2::types::{IpPermission, ResourceType};

use super::{Performer, gone, is};
use crate::provider::{
    CloudError, Progress,
    aws::{
        action::{DescribedRule, Ref},
        convert::{permission, tag_specification},
        ownership,
        retry::Repeat,
        rule::{Direction, Peer},
        tags::Tags,
    },
};

impl Performer<'_> {
    #[expect(clippy::too_many_arguments, reason = "the fields of one action")]
    pub(super) async fn change_rules(
        &self,
        bastion: &str,
        group: &Ref,
        direction: Direction,
        add: &[DescribedRule],
        remove: &[DescribedRule],
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let group = self.group(bastion, group)?;
        let own = if add.iter().any(|a| a.rule.peer == Peer::Bastion) {
            self.group(bastion, &Ref::Made)?
        } else {
            String::new()
        };
        let add: Vec<IpPermission> = add.iter().map(|a| permission(a, &own)).collect();
        // EC2 knows a rule by what it opens. A description that is given must be the rule's own, and ours may be a note for the
        // reader of the changeset.
        let bare = |r: &DescribedRule| DescribedRule { rule: r.rule.clone(), description: String::new() };
        let remove: Vec<IpPermission> = remove.iter().map(|r| permission(&bare(r), &own)).collect();
        // Closing does not wait for opening.
        let (closed, opened) = tokio::join!(
            self.revoke(&group, direction, &remove, progress),
            self.authorize(&group, direction, &add, tags, progress)
        );
        closed.and(opened)
    }

    /// The rule that says that an address is the bastion's own. Where another one opens the same, it is put in its place.
    pub(super) async fn mark_address(
        &self,
        bastion: &str,
        group: &Ref,
        address: &Ref,
        ip: Option<IpAddr>,
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let group = self.group(bastion, group)?;
        let allocation = self.address(bastion, address)?;
        let ip = match ip {
            Some(ip) => ip,
            None => {
                let made = self.made(bastion, "address", |m| m.ip.clone())?;
                made.parse()
                    .map_err(|_| CloudError::mistake(format!("{allocation} has no readable address: {made}")))?
            }
        };
        let (rule, description) = ownership::address_mark(bastion, &allocation, ip);
        let marked = [permission(&DescribedRule { rule: rule.clone(), description }, "")];
        match self.authorize_once(&group, Direction::Egress, &marked, tags, progress).await {
            Err(error) if is(&error, "InvalidPermission.Duplicate") => {
                let bare = [permission(&DescribedRule { rule, description: String::new() }, "")];
                gone(self.revoke_once(&group, Direction::Egress, &bare, progress).await)?;
                self.authorize_once(&group, Direction::Egress, &marked, tags, progress).await
            }
            other => other,
        }
    }

    /// All rules in one call. Where EC2 says that one of them exists, each is tried alone.
    async fn authorize(
        &self,
        group: &str,
        direction: Direction,
        rules: &[IpPermission],
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        if rules.is_empty() {
            return Ok(());
        }
        match self.authorize_once(group, direction, rules, tags, progress).await {
            Err(error) if is(&error, "InvalidPermission.Duplicate") && rules.len() > 1 => {
                for rule in rules {
                    match self.authorize_once(group, direction, std::slice::from_ref(rule), tags, progress).await {
                        Err(error) if !is(&error, "InvalidPermission.Duplicate") => return Err(error),
                        _ => {}
                    }
                }
                Ok(())
            }
            Err(error) if is(&error, "InvalidPermission.Duplicate") => Ok(()),
            other => other,
        }
    }

    async fn authorize_once(
        &self,
        group: &str,
        direction: Direction,
        rules: &[IpPermission],
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let client = &self.ec2.client;
        let rules = Some(rules.to_vec());
        let tags = tag_specification(ResourceType::SecurityGroupRule, tags);
        match direction {
            Direction::Ingress => {
                let request = client
                    .authorize_security_group_ingress()
                    .group_id(group)
                    .set_ip_permissions(rules)
                    .tag_specifications(tags);
                self.ec2
                    .call("AuthorizeSecurityGroupIngress", Repeat::SETTLING, progress, || request.clone().send())
                    .await
                    .map(drop)
            }
            Direction::Egress => {
                let request = client
                    .authorize_security_group_egress()
                    .group_id(group)
                    .set_ip_permissions(rules)
                    .tag_specifications(tags);
                self.ec2
                    .call("AuthorizeSecurityGroupEgress", Repeat::SETTLING, progress, || request.clone().send())
                    .await
                    .map(drop)
            }
        }
    }

    /// All rules in one call. Where EC2 says that one of them is gone, each is tried alone.
    async fn revoke(
        &self,
        group: &str,
        direction: Direction,
        rules: &[IpPermission],
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        if rules.is_empty() {
            return Ok(());
        }
        match self.revoke_once(group, direction, rules, progress).await {
            Err(error) if is(&error, "InvalidPermission.NotFound") && rules.len() > 1 => {
                for rule in rules {
                    gone(self.revoke_once(group, direction, std::slice::from_ref(rule), progress).await)?;
                }
                Ok(())
            }
            other => gone(other),
        }
    }

    async fn revoke_once(
        &self,
        group: &str,
        direction: Direction,
        rules: &[IpPermission],
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let client = &self.ec2.client;
        let rules = Some(rules.to_vec());
        match direction {
            Direction::Ingress => {
                let request = client.revoke_security_group_ingress().group_id(group).set_ip_permissions(rules);
                self.ec2
                    .call("RevokeSecurityGroupIngress", Repeat::SAFE, progress, || request.clone().send())
                    .await
                    .map(drop)
            }
            Direction::Egress => {
                let request = client.revoke_security_group_egress().group_id(group).set_ip_permissions(rules);
                self.ec2
                    .call("RevokeSecurityGroupEgress", Repeat::SAFE, progress, || request.clone().send())
                    .await
                    .map(drop)
            }
        }
    }
}
