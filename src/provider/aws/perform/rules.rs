//! Opening and closing: rules of a security group. What is new is opened before anything is closed, so that whoever may still come
//! is never shut out, whichever call fails.

use std::{mem, net::IpAddr};

use aws_sdk_ec2::types::{Filter, IpPermission, ResourceType};
use tokio::time::Instant;

use super::{Performer, is};
use crate::{
    cloud_error::{
        CloudError, Residue,
        residue::{EffectDone, RuleKind, RuleProgress},
    },
    provider::{
        Progress,
        aws::{
            action::{DescribedRule, Ref},
            api::Ec2,
            convert::{group, permission, tag_specification},
            ownership,
            retry::{Repeat, SETTLE_PATIENCE, is_missing_rule},
            rule::{Direction, Family, Peer, Rule},
            rule_batches::{self, Owners},
            tags::Tags,
        },
    },
};

/// The group has as many rules as its quota allows.
pub const RULE_QUOTA: &str = "RulesPerSecurityGroupLimitExceeded";

impl Performer<'_> {
    #[expect(clippy::too_many_arguments, reason = "the fields of one action")]
    pub(super) async fn change_rules(
        &self,
        bastion: &str,
        group: &Ref,
        direction: Direction,
        add: &[DescribedRule],
        remove: &[DescribedRule],
        closes_first: bool,
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let id = self.group(bastion, group)?;
        let own = if add.iter().any(|a| a.rule.peer == Peer::Bastion) {
            self.group(bastion, &Ref::Made)?
        } else {
            String::new()
        };
        let writer = RuleWriter {
            ec2: self.ec2,
            group: id,
            is_new: *group == Ref::Made,
            closes_first,
            direction,
            tags,
            progress,
        };
        let mut work = RuleWork::new(direction, add, remove, &own);
        writer.change(&mut work).await.map_err(|error| work.explain(error))
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
        let is_new = *group == Ref::Made;
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
        let direction = Direction::Egress;
        let writer = RuleWriter { ec2: self.ec2, group, is_new, closes_first: false, direction, tags, progress };
        let (rule, description) = ownership::address_mark(bastion, &allocation, ip);
        let marked = [permission(&DescribedRule { rule: rule.clone(), description }, "")];
        match writer.authorize(&marked).await {
            Err(error) if is_duplicate(&error) => {
                let bare = [permission(&DescribedRule { rule, description: String::new() }, "")];
                match writer.revoke(&bare).await {
                    Err(error) if !is_missing_rule(&error) => return Err(error),
                    _ => {}
                }
                writer.authorize(&marked).await
            }
            other => other,
        }
    }
}

/// A rule as EC2 is told it, and the quotas in which it counts.
#[derive(Clone)]
struct StatedRule {
    permission: IpPermission,
    /// Without a description. EC2 knows a rule by what it opens: a description that is given must be the rule's own, and ours may
    /// be a note for the reader of the changeset.
    bare: IpPermission,
    family: Family,
    rule: Rule,
    owners: Owners,
}

impl StatedRule {
    /// It counts for more than one in the quota.
    fn is_list(&self) -> bool {
        matches!(self.rule.peer, Peer::PrefixList(_))
    }
}

/// What is still to be done of a change, and what was done.
struct RuleWork {
    new: Vec<StatedRule>,
    old: Vec<StatedRule>,
    done: RuleProgress,
}

impl RuleWork {
    fn new(direction: Direction, add: &[DescribedRule], remove: &[DescribedRule], own: &str) -> Self {
        let state = |r: &DescribedRule| {
            let bare = DescribedRule { rule: r.rule.clone(), description: String::new() };
            StatedRule {
                permission: permission(r, own),
                bare: permission(&bare, own),
                family: Family::of(&r.rule),
                rule: r.rule.clone(),
                owners: rule_batches::owners(&r.description),
            }
        };
        let all_sources = add.iter().chain(remove).all(|r| matches!(r.rule.peer, Peer::Net(_)));
        let kind = if direction == Direction::Ingress && all_sources { RuleKind::Sources } else { RuleKind::Rules };
        let (to_open, to_close) = (add.len(), remove.len());
        Self {
            new: add.iter().map(state).collect(),
            old: remove.iter().map(state).collect(),
            done: RuleProgress { kind, opened: 0, to_open, closed: 0, to_close, reopened: 0 },
        }
    }

    /// An error with what exists now. A step that only opens, and opened nothing, needs no more words than its error has.
    fn explain(&self, error: CloudError) -> CloudError {
        let RuleProgress { opened, closed, to_close, .. } = self.done;
        if opened + closed + to_close == 0 { error } else { error.after(EffectDone::Rules(self.done)) }
    }

    /// The part of one family, which has a quota of its own.
    fn take(&mut self, family: Family) -> Self {
        let split = |rules: &mut Vec<StatedRule>| {
            let (part, rest) = mem::take(rules).into_iter().partition(|rule: &StatedRule| rule.family == family);
            *rules = rest;
            part
        };
        Self { new: split(&mut self.new), old: split(&mut self.old), done: self.done }
    }

    /// Puts those that are opened next first.
    fn sort_new(&mut self, ways: &Owners) {
        let owners: Vec<&Owners> = self.new.iter().map(|rule| &rule.owners).collect();
        let order = rule_batches::opening_order(&owners, ways);
        self.new = order.into_iter().map(|at| self.new[at].clone()).collect();
    }

    /// Puts one first that the next new rule stands for.
    fn sort_replaced(&mut self) {
        let Some(new) = self.new.first() else { return };
        self.old.sort_by_key(|old| !rule_batches::share_an_owner(&old.owners, &new.owners));
    }

    /// Puts those that may be closed next first; how many they are.
    fn sort_old(&mut self, ways: &Owners) -> usize {
        let owners = |rules: &[StatedRule]| rules.iter().map(|rule| rule.owners.clone()).collect::<Vec<_>>();
        let (new, old) = (owners(&self.new), owners(&self.old));
        let closable = rule_batches::closable(&new.iter().collect::<Vec<_>>(), &old.iter().collect::<Vec<_>>(), ways);
        let rest = (0..self.old.len()).filter(|at| !closable.contains(at));
        self.old = closable.iter().copied().chain(rest).map(|at| self.old[at].clone()).collect();
        closable.len()
    }

    /// Takes what is left of a part back.
    fn put_back(&mut self, part: Self) {
        self.new.extend(part.new);
        self.old.extend(part.old);
        self.done = part.done;
    }
}

/// Writes the rules of one group.
struct RuleWriter<'w> {
    ec2: &'w Ec2,
    group: String,
    /// This run has made the group: EC2 may not know it everywhere yet.
    is_new: bool,
    /// The plan has told that the last way of an owner may close before its next one opens.
    closes_first: bool,
    direction: Direction,
    tags: &'w Tags,
    progress: &'w Progress<'w>,
}

impl RuleWriter<'_> {
    async fn change(&self, work: &mut RuleWork) -> Result<(), CloudError> {
        let all = work.new.len();
        match self.open(work, all).await {
            Err(error) if is(&error, RULE_QUOTA) && !work.old.is_empty() => {
                for family in [Family::V4, Family::V6] {
                    let mut part = work.take(family);
                    let size = first_try(&part, all);
                    let made = self.make_room(&mut part, size, &error).await;
                    work.put_back(part);
                    made?;
                }
            }
            opened => opened?,
        }
        let rest = work.old.len();
        self.close(work, rest).await
    }

    /// Where the quota does not hold old and new rules together: opens as many as fit, then closes no more than what makes room,
    /// opens that many, and so on. Nobody's last way in is closed for a new one, unless the
    /// plan has told it; what can't fit in the end closes nothing.
    async fn make_room(&self, work: &mut RuleWork, mut size: usize, refused: &CloudError) -> Result<(), CloudError> {
        if work.new.is_empty() {
            return Ok(());
        }
        let mut ways = self.kept_ways(work).await?;
        work.sort_new(&ways);
        // Powers of two: those that are not refused add up to all that fits.
        while size > 0 && !work.new.is_empty() {
            match self.open_ways(work, size.min(work.new.len()), &mut ways).await {
                Err(error) if !is(&error, RULE_QUOTA) => return Err(error),
                _ => {}
            }
            size /= 2;
        }
        // Closed, and nothing opened in their place yet.
        let mut closed: Vec<StatedRule> = Vec::new();
        while !work.new.is_empty() {
            work.sort_new(&ways);
            let batch = if work.new.len() > work.old.len() + closed.len() { 0 } else { self.next_old(work, &ways) };
            if batch == 0 {
                self.reopen(work, &closed, refused).await;
                return Err(refused.clone());
            }
            closed.extend(work.old.iter().take(batch).cloned());
            self.close(work, batch).await?;
            let opened_before = work.done.opened;
            let opened = self.open_ways(work, batch, &mut ways).await;
            closed.truncate(closed.len().saturating_sub(work.done.opened - opened_before));
            match opened {
                Ok(()) => {}
                // A prefix list needs the room of as many rules as it may have entries.
                Err(error) if is(&error, RULE_QUOTA) && work.new.iter().any(StatedRule::is_list) => {}
                Err(error) => {
                    self.reopen(work, &closed, &error).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Puts the old rules that make room for the next new ones first; how many they are.
    fn next_old(&self, work: &mut RuleWork, ways: &Owners) -> usize {
        match work.sort_old(ways).min(work.new.len()) {
            0 if self.closes_first && !work.old.is_empty() => {
                work.sort_replaced();
                1
            }
            batch => batch,
        }
    }

    /// Opens the next rules, and notes whose they are.
    async fn open_ways(&self, work: &mut RuleWork, count: usize, ways: &mut Owners) -> Result<(), CloudError> {
        let owners: Owners = work.new.iter().take(count).flat_map(|rule| rule.owners.clone()).collect();
        self.open(work, count).await?;
        ways.extend(owners);
        Ok(())
    }

    /// Opens again what was closed for rules that were then refused: it is still the best that is known of who may come. Where that
    /// is refused, too, the count of open rules says so. What EC2 itself has put into a new group does not come back.
    async fn reopen(&self, work: &mut RuleWork, closed: &[StatedRule], refused: &CloudError) {
        if self.is_new || closed.is_empty() || refused.residue != Residue::Nothing {
            return;
        }
        let rules: Vec<IpPermission> = closed.iter().map(|rule| rule.permission.clone()).collect();
        if self.authorize(&rules).await.is_ok() {
            work.done.closed -= closed.len();
            work.done.reopened += closed.len();
        }
    }

    /// Whose rules the group has beside those that come and go: of the same family, since a machine without IPv6 can't use IPv6's.
    async fn kept_ways(&self, work: &RuleWork) -> Result<Owners, CloudError> {
        let found = self.look().await?;
        let rules = found.map(|g| if self.direction == Direction::Ingress { g.ingress } else { g.egress });
        let changes = |rule: &Rule| work.new.iter().chain(&work.old).any(|of| of.rule == *rule);
        let family = work.new.first().map(|rule| rule.family);
        let kept = rules.unwrap_or_default();
        let kept = kept.iter().filter(|(rule, _)| Some(Family::of(rule)) == family && !changes(rule));
        Ok(kept.flat_map(|(_, description)| rule_batches::owners(description)).collect())
    }

    async fn look(&self) -> Result<Option<crate::provider::aws::observed::Group>, CloudError> {
        let filter = Filter::builder().name("group-id").values(&self.group).build();
        let send = || self.ec2.client.describe_security_groups().filters(filter.clone()).send();
        let found = self.ec2.call("DescribeSecurityGroups", Repeat::SAFE, self.progress, send).await?;
        Ok(found.security_groups().first().and_then(group))
    }

    /// Opens the next rules in one call. Where EC2 says that one of them exists, each is tried alone.
    async fn open(&self, work: &mut RuleWork, count: usize) -> Result<(), CloudError> {
        if count == 0 {
            return Ok(());
        }
        let rules: Vec<IpPermission> = work.new.iter().take(count).map(|rule| rule.permission.clone()).collect();
        let mut opened = |count: usize| {
            work.new.drain(..count);
            work.done.opened += count;
        };
        match self.authorize(&rules).await {
            Err(error) if is_duplicate(&error) && count == 1 => opened(1),
            Err(error) if is_duplicate(&error) => {
                for rule in rules {
                    match self.authorize(&[rule]).await {
                        Err(error) if !is_duplicate(&error) => return Err(error),
                        _ => opened(1),
                    }
                }
            }
            done => {
                done?;
                opened(count);
            }
        }
        Ok(())
    }

    /// Closes the next rules in one call. Where EC2 says that one of them is gone, each is tried alone.
    async fn close(&self, work: &mut RuleWork, count: usize) -> Result<(), CloudError> {
        if count == 0 {
            return Ok(());
        }
        let rules: Vec<IpPermission> = work.old.iter().take(count).map(|rule| rule.bare.clone()).collect();
        let mut closed = |count: usize| {
            work.old.drain(..count);
            work.done.closed += count;
        };
        match self.revoke(&rules).await {
            Err(error) if is_missing_rule(&error) && count == 1 => closed(1),
            Err(error) if is_missing_rule(&error) => {
                for rule in rules {
                    match self.revoke(&[rule]).await {
                        Err(error) if !is_missing_rule(&error) => return Err(error),
                        _ => closed(1),
                    }
                }
            }
            // The rules are gone with their group. Its absence is looked at: the group in question may be the rule's peer.
            Err(error) if is(&error, "InvalidGroup.NotFound") && !self.is_new && self.look().await?.is_none() => {
                closed(count);
            }
            done => {
                done?;
                closed(count);
            }
        }
        Ok(())
    }

    /// Of a call that opens: its peer may be new where the group is not.
    fn repeat(&self) -> Repeat {
        if self.is_new { Repeat::JUST_MADE } else { Repeat::SETTLING }
    }

    async fn authorize(&self, rules: &[IpPermission]) -> Result<(), CloudError> {
        let client = &self.ec2.client;
        let rules = Some(rules.to_vec());
        let tags = tag_specification(ResourceType::SecurityGroupRule, self.tags);
        match self.direction {
            Direction::Ingress => {
                let request = client
                    .authorize_security_group_ingress()
                    .group_id(&self.group)
                    .set_ip_permissions(rules)
                    .tag_specifications(tags);
                let send = || request.clone().send();
                self.ec2.call("AuthorizeSecurityGroupIngress", self.repeat(), self.progress, send).await.map(drop)
            }
            Direction::Egress => {
                let request = client
                    .authorize_security_group_egress()
                    .group_id(&self.group)
                    .set_ip_permissions(rules)
                    .tag_specifications(tags);
                let send = || request.clone().send();
                self.ec2.call("AuthorizeSecurityGroupEgress", self.repeat(), self.progress, send).await.map(drop)
            }
        }
    }

    /// In a default network EC2 refuses no rule that it does not find, but lists it in its answer ("RevokeSecurityGroupIngress" in the
    /// API reference). In a group that this run has made that means "not yet".
    async fn revoke(&self, rules: &[IpPermission]) -> Result<(), CloudError> {
        let started = Instant::now();
        let mut unknown = self.revoke_once(rules).await?;
        // What is not closed in the end is seen by the look that ends every apply.
        while !unknown.is_empty() && self.is_new && started.elapsed() < SETTLE_PATIENCE {
            self.progress.waiting(format!("EC2 to know the rules of {}", self.group));
            if self.progress.pause(super::POLL).await.is_err() {
                break;
            }
            unknown = self.revoke_once(&unknown).await?;
        }
        Ok(())
    }

    /// The rules that EC2 did not find.
    async fn revoke_once(&self, rules: &[IpPermission]) -> Result<Vec<IpPermission>, CloudError> {
        let client = &self.ec2.client;
        let rules = Some(rules.to_vec());
        let repeat = if self.is_new { Repeat::JUST_MADE } else { Repeat::SAFE };
        let unknown = match self.direction {
            Direction::Ingress => {
                let request = client.revoke_security_group_ingress().group_id(&self.group).set_ip_permissions(rules);
                let send = || request.clone().send();
                self.ec2.call("RevokeSecurityGroupIngress", repeat, self.progress, send).await?.unknown_ip_permissions
            }
            Direction::Egress => {
                let request = client.revoke_security_group_egress().group_id(&self.group).set_ip_permissions(rules);
                let send = || request.clone().send();
                self.ec2.call("RevokeSecurityGroupEgress", repeat, self.progress, send).await?.unknown_ip_permissions
            }
        };
        Ok(unknown.unwrap_or_default())
    }
}

/// The power of two to begin with, where `all` rules were refused together: what is certain to be refused again is not tried.
fn first_try(part: &RuleWork, all: usize) -> usize {
    let size = part.new.len().next_power_of_two();
    if part.new.len() == all { size / 2 } else { size }
}

fn is_duplicate(error: &CloudError) -> bool {
    is(error, "InvalidPermission.Duplicate")
}
