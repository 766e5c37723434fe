//! A bastion's steps, collected: its group, its rules in other groups, its address, its tags. The machine's are in
//! `machine_steps`.

use super::{
    action::{Action, Call, DescribedRule, Ref},
    desire::{Desired, database_mark, rule_added, rule_removed},
    diff::{Current, Made, World},
    observed::{ElasticIp, Group},
    ownership::{self, AddressOrigin},
    rule::{Direction, Peer, Rule, RuleChange, Rules},
    rule_quota::{QuotaForecast, forecast},
    tags::{self, TagChange, Tags},
};
use crate::{
    changeset::{Detail, Draft, Op, Step, StepId},
    diagnostic::Diagnostic,
    plan::AwsAddress,
};

/// Collects a bastion's steps.
pub(super) struct Differ<'a> {
    bastion: &'a str,
    region: &'a str,
    pub steps: Vec<Step<Action>>,
    /// What a reader should know of the steps and none of them says.
    pub notes: Vec<String>,
    /// Why there can be no such changeset.
    pub problems: Vec<Diagnostic>,
    /// Ways out that close once the new ones are open: see [`Self::closings`].
    closing: Vec<Closing>,
    /// Nothing tells which end is right: tags about it stay as they are.
    pub leaves_ends: bool,
}

/// Rules that go away after others have come.
struct Closing {
    what: String,
    resource: String,
    reason: String,
    group: Ref,
    direction: Direction,
    remove: Rules,
}

/// What the rule is that EC2 puts into a new group.
const EC2_DEFAULT: &str = "EC2 opens this in every new group";

impl<'a> Differ<'a> {
    pub fn new(bastion: &'a str, region: &'a str) -> Self {
        Self {
            bastion,
            region,
            steps: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            closing: Vec::new(),
            leaves_ends: false,
        }
    }

    pub fn bastion(&self) -> &'a str {
        self.bastion
    }

    pub fn id(&self, what: &str) -> StepId {
        StepId(format!("{}/{}/{what}", self.region, self.bastion))
    }

    /// The dependency on a step, where that step is part of the changeset.
    pub fn if_planned(&self, what: &str) -> Option<StepId> {
        let id = self.id(what);
        self.steps.iter().any(|s| s.id == id).then_some(id)
    }

    pub fn push(&mut self, what: &str, draft: Draft, call: Call) {
        let Draft { op, resource, details, reason, impact, after } = draft;
        let action = Action { region: self.region.to_owned(), bastion: self.bastion.to_owned(), call };
        self.steps.push(Step { id: self.id(what), op, resource, details, reason, impact, after, action });
    }

    pub fn group(&mut self, want: &Desired<'_>, world: World<'_>, made: &Made<'_>, have: Option<&Group>) {
        let name = tags::resource_name(&want.plan.name);
        let wanted_tags = want.tags(made.deadline.as_ref());
        let (ingress, egress) = match have {
            Some(group) => {
                self.tags(
                    "security-group-tags",
                    &format!("security group {name}"),
                    &group.id,
                    &wanted_tags,
                    &group.tags,
                    Vec::new(),
                );
                // The marks of addresses have steps of their own.
                let marks: Vec<&Rule> = ownership::marks(&group.egress, self.bastion).map(|(rule, _)| rule).collect();
                let kept = |rule: &Rule| !marks.contains(&rule) || want.egress.contains_key(rule);
                let egress = group.egress.iter().filter(|(rule, _)| kept(rule));
                (group.ingress.clone(), egress.map(|(rule, text)| (rule.clone(), text.clone())).collect())
            }
            None => {
                let mut draft = Draft::new(Op::Create, format!("security group {name}"), "the bastion's own firewall");
                draft.details = vec![Detail::added("network", made.vpc), tags_detail(&wanted_tags)];
                let origin = match &want.aws.address {
                    AwsAddress::Elastic => AddressOrigin::Allocated,
                    AwsAddress::Existing(_) => AddressOrigin::Plan,
                };
                self.push(
                    "security-group",
                    draft,
                    Call::CreateGroup {
                        vpc: made.vpc.to_owned(),
                        name: name.clone(),
                        description: ownership::group_description(self.bastion, origin),
                        tags: wanted_tags,
                    },
                );
                let ipv6 = world.around.subnets.iter().any(|s| s.vpc == made.vpc && s.ipv6);
                (
                    Rules::new(),
                    Rule::default_egress(ipv6).into_iter().map(|rule| (rule, EC2_DEFAULT.to_owned())).collect(),
                )
            }
        };
        let after = self.if_planned("security-group");
        for (direction, wanted, has) in
            [(Direction::Ingress, &want.ingress, ingress), (Direction::Egress, &want.egress, egress)]
        {
            let change = RuleChange::between(wanted, &has);
            let quota = forecast(&has, &change, &world.seen.prefix_lists, want.aws.rules_per_group);
            self.notes.extend(quota.note(direction, &name, want.aws.rules_per_group));
            self.problems.extend(quota.problem(direction, &name, want, "tunnels"));
            let op = if have.is_some() { Op::Update } else { Op::Create };
            let reason = if have.is_some() { rules_reason(&change) } else { "exactly what the plan lists".to_owned() };
            let draft = Draft {
                after: after.iter().cloned().collect(),
                ..Draft::new(op, format!("{} rules of {name}", direction.as_str()), reason)
            };
            // Who may come in is decided by this group alone; where the machine may go, by others beside it.
            let (now, later) = match (direction, quota, have) {
                (Direction::Egress, QuotaForecast::Fits, Some(_)) => change.split(),
                _ => (change, Rules::new()),
            };
            let resource = draft.resource.clone();
            self.rules(direction.as_str(), draft, made, made.group.clone(), direction, now);
            self.close_first(quota);
            self.close_later(direction.as_str(), resource, made.group.clone(), direction, later);
        }
    }

    /// Rules that let the bastion into the databases' own groups, and those of ours there that are no longer wanted.
    pub fn databases(&mut self, want: &Desired<'_>, world: World<'_>, made: &Made<'_>) {
        let own = match &made.group {
            Ref::Id(id) => Some(id.as_str()),
            Ref::Made => None,
        };
        let mark = database_mark(want.bastion());
        for group in &world.seen.groups {
            let wanted = want.database.get(group.id.as_str());
            // Our group stands as `Peer::Bastion` on both sides, since a new one has no id yet.
            let refers = |rule: &Rule| own.is_some_and(|own| rule.peer == Peer::Group(own.to_owned()));
            let as_bastion = |rule: &Rule| Rule { protocol: rule.protocol.clone(), peer: Peer::Bastion };
            let have: Rules =
                group.ingress.iter().filter(|(r, _)| refers(r)).map(|(r, d)| (as_bastion(r), d.clone())).collect();
            let mut change = RuleChange::between(wanted.unwrap_or(&Rules::new()), &have);
            change.remove.retain(|_, description| description.starts_with(&mark));
            let quota = forecast(&group.ingress, &change, &world.seen.prefix_lists, want.aws.rules_per_group);
            self.notes.extend(quota.note(Direction::Ingress, &group.id, want.aws.rules_per_group));
            self.problems.extend(quota.problem(Direction::Ingress, &group.id, want, "aws.database_access"));
            let op = if wanted.is_some() && have.is_empty() { Op::Create } else { Op::Update };
            let after = self.if_planned("security-group").into_iter().collect();
            let reason = if op == Op::Create {
                "the database must let the bastion in".to_owned()
            } else {
                rules_reason(&change)
            };
            let draft = Draft {
                after,
                ..Draft::new(
                    op,
                    format!("rules for {} in security group {} ({})", want.bastion(), group.name, group.id),
                    reason,
                )
            };
            let (now, later) = if quota == QuotaForecast::Fits { change.split() } else { (change, Rules::new()) };
            let (what, resource, id) =
                (format!("database-{}", group.id), draft.resource.clone(), Ref::Id(group.id.clone()));
            self.rules(&what, draft, made, id.clone(), Direction::Ingress, now);
            self.close_first(quota);
            self.close_later(&what, resource, id, Direction::Ingress, later);
        }
    }

    fn close_later(&mut self, what: &str, resource: String, group: Ref, direction: Direction, remove: Rules) {
        if !remove.is_empty() {
            let change = RuleChange { add: Rules::new(), remove };
            let opens = self.if_planned(what).is_some();
            let what = if opens { format!("{what}-closed") } else { what.to_owned() };
            let reason = rules_reason(&change);
            self.closing.push(Closing { what, resource, reason, group, direction, remove: change.remove });
        }
    }

    /// The steps that open something, and those that bring the machine behind it: what closes comes after all of them.
    fn openings(&self) -> Vec<StepId> {
        let opens = |step: &&Step<Action>| match &step.action.call {
            Call::ChangeRules { add, .. } => !add.is_empty(),
            Call::RunInstance(_) | Call::Associate { .. } | Call::SetGroups { .. } => true,
            _ => false,
        };
        self.steps.iter().filter(opens).map(|step| step.id.clone()).collect()
    }

    /// Closes the machine's old ways out, once the new ones are open and the machine that needs them is there.
    pub fn closings(&mut self, made: &Made<'_>) {
        let after = self.openings();
        for Closing { what, resource, reason, group, direction, remove } in std::mem::take(&mut self.closing) {
            let draft = Draft { after: after.clone(), ..Draft::new(Op::Update, resource, reason) };
            self.rules(&what, draft, made, group, direction, RuleChange { add: Rules::new(), remove });
        }
    }

    /// The steps that open rules: nothing leads to a machine or a group before they are done.
    pub fn rule_openings(&self) -> Vec<StepId> {
        let opens =
            |step: &&Step<Action>| matches!(&step.action.call, Call::ChangeRules { add, .. } if !add.is_empty());
        self.steps.iter().filter(opens).map(|step| step.id.clone()).collect()
    }

    pub fn rules(
        &mut self,
        what: &str,
        mut draft: Draft,
        made: &Made<'_>,
        group: Ref,
        direction: Direction,
        change: RuleChange,
    ) {
        if change.add.is_empty() && change.remove.is_empty() {
            return;
        }
        let noted = |detail: Detail, text: &str| if text.is_empty() { detail } else { detail.note(text) };
        let removed = change.remove.iter().map(|(r, d)| noted(rule_removed(direction, r), d));
        draft.details.extend(removed.chain(change.add.iter().map(|(r, d)| noted(rule_added(direction, r), d))));
        let described = |(mut rule, description): (Rule, String)| {
            if let (Peer::Bastion, Ref::Id(id)) = (&rule.peer, &made.group) {
                rule.peer = Peer::Group(id.clone());
            }
            DescribedRule { rule, description }
        };
        let add = change.add.into_iter().map(described).collect();
        let remove = change.remove.into_iter().map(described).collect();
        let tags = Tags::from([(tags::BASTION.to_owned(), self.bastion.to_owned())]);
        self.push(what, draft, Call::ChangeRules { group, direction, add, remove, closes_first: false, tags });
    }

    /// Lets the step that was planned just now close before it opens, where the quota leaves no other order.
    fn close_first(&mut self, quota: QuotaForecast) {
        if quota == QuotaForecast::ClosesFirst
            && let Some(Step { action: Action { call: Call::ChangeRules { closes_first, .. }, .. }, .. }) =
                self.steps.last_mut()
        {
            *closes_first = true;
        }
    }

    pub fn address(&mut self, want: &Desired<'_>, world: World<'_>, made: &Made<'_>, current: &Current<'_>) {
        let wanted = want.tags(made.deadline.as_ref());
        match (&want.aws.address, current.address) {
            (AwsAddress::Elastic, None) => {
                let mut draft = Draft::new(
                    Op::Create,
                    format!("elastic IP {}", tags::resource_name(&want.plan.name)),
                    "the fixed address that the vendor's form asks for",
                );
                draft.details.push(tags_detail(&wanted));
                self.push("address", draft, Call::AllocateAddress { tags: wanted });
            }
            (AwsAddress::Elastic, Some(address)) => {
                let resource = format!("elastic IP {}", current.public_address());
                self.tags("address-tags", &resource, &address.allocation, &wanted, &address.tags, Vec::new());
            }
            (AwsAddress::Existing(_), Some(address))
                if tags::owns(&address.tags, self.bastion) || current.takes_foreign_tag_away(want, world.seen) =>
            {
                self.give_back(address);
            }
            (AwsAddress::Existing(_), _) => {}
        }
    }

    /// A rule in the bastion's group that names its address: so it stays known as the bastion's own when nothing else is left.
    pub fn address_mark(&mut self, want: &Desired<'_>, made: &Made<'_>, current: &Current<'_>, group: Option<&Group>) {
        if want.aws.address != AwsAddress::Elastic {
            return;
        }
        let (address, ip, text) = match current.address {
            None => (Ref::Made, None, "the new address".to_owned()),
            Some(address) => {
                let Some(ip) = address.ip else { return };
                let (rule, _) = ownership::address_mark(self.bastion, &address.allocation, ip);
                let marked = group.is_some_and(|g| ownership::is_marked(g, address, self.bastion));
                // A plan may have a target there: then the rule is the target's.
                if marked || want.egress.contains_key(&rule) {
                    return;
                }
                (Ref::Id(address.allocation.clone()), Some(ip), ip.to_string())
            }
        };
        let name = tags::resource_name(&want.plan.name);
        let mut draft = Draft::new(
            Op::Create,
            format!("mark of the address in {name}"),
            "a rule that opens nothing more tells later that the address is the bastion's own",
        );
        draft.details = vec![Detail::added("egress tcp 443", format!("to {text}"))];
        draft.after = ["security-group", "address"].iter().filter_map(|what| self.if_planned(what)).collect();
        let tags = Tags::from([(tags::BASTION.to_owned(), self.bastion.to_owned())]);
        self.push("address-mark", draft, Call::MarkAddress { group: made.group.clone(), address, ip, tags });
    }

    /// Marks of addresses that the bastion uses no more, each once its address is released or given back.
    pub fn stale_marks(&mut self, want: &Desired<'_>, world: World<'_>, current: &Current<'_>, group: &Group) {
        let used = current.address.filter(|_| want.aws.address == AwsAddress::Elastic);
        // Another run may have allocated and marked an address that this one does not see yet.
        let is_spare = |allocation: &str| current.spare_addresses.iter().any(|a| a.allocation == allocation);
        // It is there, and the bastion's no more: it has lost its tag and leads elsewhere.
        let is_lost = |allocation: &str| {
            current.address.is_none() && world.seen.addresses.iter().any(|a| a.allocation == allocation)
        };
        let stale = |(rule, allocation): &(&Rule, &str)| {
            let own = used.and_then(|a| Some(ownership::address_mark(self.bastion, &a.allocation, a.ip?)));
            let is_unused = used.is_some()
                || is_spare(allocation)
                || is_lost(allocation)
                || want.aws.address != AwsAddress::Elastic;
            is_unused && own.is_none_or(|(own, _)| own != **rule) && !want.egress.contains_key(rule)
        };
        let stale: Vec<(&Rule, &str)> = ownership::marks(&group.egress, self.bastion).filter(stale).collect();
        if stale.is_empty() {
            return;
        }
        let remove = stale.iter().map(|(rule, _)| (*rule).clone());
        let remove: Vec<DescribedRule> =
            remove.map(|rule| DescribedRule { description: group.egress[&rule].clone(), rule }).collect();
        let mut draft = Draft::new(
            Op::Update,
            format!("marks of addresses in {}", group.name),
            "the bastion uses these addresses no more",
        );
        draft.details = remove.iter().map(|r| rule_removed(Direction::Egress, &r.rule)).collect();
        let released = stale.iter().filter_map(|(_, allocation)| self.if_planned(&format!("address-{allocation}")));
        draft.after = released.chain(self.if_planned("address-tags")).collect();
        let call = Call::ChangeRules {
            group: Ref::Id(group.id.clone()),
            direction: Direction::Egress,
            add: Vec::new(),
            remove,
            closes_first: false,
            tags: Tags::new(),
        };
        self.push("address-marks", draft, call);
    }

    /// An address of the bastion's own that its plan has come to call existing: it must outlive the bastion, so it loses our tags.
    fn give_back(&mut self, address: &ElasticIp) {
        let ours = |(key, _): &(&String, &String)| tags::is_ours(key);
        let mut draft = Draft::new(
            Op::Update,
            format!("tags of elastic IP {}", address.allocation),
            "the plan names the address as an existing one: it is yours, and stays when the bastion goes",
        );
        let removed = address.tags.iter().filter(ours);
        draft.details = removed.clone().map(|(key, value)| Detail::removed(format!("tag {key}"), value)).collect();
        let remove = removed.map(|(key, _)| key.clone()).collect();
        let call = Call::Tag { resources: vec![address.allocation.clone()], set: Tags::new(), remove };
        self.push("address-tags", draft, call);
    }

    pub fn tags(&mut self, what: &str, resource: &str, id: &str, want: &Tags, have: &Tags, after: Vec<StepId>) {
        let mut change = TagChange::between(want, have);
        if self.leaves_ends {
            change.set.retain(|key, _| !is_end(key));
            change.remove.retain(|key| !is_end(key));
        }
        if change.is_empty() {
            return;
        }
        let deadline = change.set.contains_key(tags::EXPIRES) || change.remove.iter().any(|key| key == tags::EXPIRES);
        let reason = if deadline { "the deadline is not the plan's" } else { "the tags are not the plan's" };
        let mut draft = Draft::new(Op::Update, format!("tags of {resource}"), reason);
        draft.after = after;
        draft.details.extend(change.set.iter().map(|(key, value)| match have.get(key) {
            Some(before) => Detail::changed(format!("tag {key}"), before, value),
            None => Detail::added(format!("tag {key}"), value),
        }));
        draft.details.extend(
            change
                .remove
                .iter()
                .map(|key| Detail::removed(format!("tag {key}"), have.get(key).cloned().unwrap_or_default())),
        );
        self.push(what, draft, Call::Tag { resources: vec![id.to_owned()], set: change.set, remove: change.remove });
    }
}

/// The tags of something new, on one line: they are the same on everything that a bastion has. What gangplank notes there for
/// itself is of no use to a reader.
pub(super) fn tags_detail(tags: &Tags) -> Detail {
    let pairs = tags.iter().filter(|(key, _)| !tags::is_ours(key) || *key == tags::BASTION);
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    Detail::added("tags", pairs.join(" ")).note("and gangplank's notes")
}

/// Whether the tag tells the bastion's end.
fn is_end(key: &str) -> bool {
    [tags::EXPIRES, tags::LIFETIME, tags::EXTENDED].contains(&key)
}

fn rules_reason(change: &RuleChange) -> String {
    match (change.add.is_empty(), change.remove.is_empty()) {
        (false, true) => "the plan lists what is not open".to_owned(),
        (true, false) => "something is open that the plan does not list".to_owned(),
        _ => "the open rules are not the plan's".to_owned(),
    }
}
