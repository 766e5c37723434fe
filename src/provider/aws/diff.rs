//! Desired × observed → changeset, for one bastion. Pure: whatever it says was decided from its arguments alone.

use jiff::Timestamp;

use super::{
    action::{Action, Call, DescribedRule, Launch, Ref},
    check,
    desire::{Desired, database_mark, rule_added, rule_removed},
    keys, machine,
    observed::{
        Attachment, ElasticIp, Group, Image, Instance, InstanceState, MetadataOptions, Observed, Subnet, Surroundings,
    },
    rule::{Direction, Peer, Rule, RuleChange, Rules},
    tags::{self, ResolvedDeadline, TagChange, Tags},
    teardown,
};
use crate::{
    changeset::{Changeset, Detail, Impact, Op, Step, StepId},
    diagnostic::{Diagnostic, Diagnostics},
    plan::AwsAddress,
};

/// What a diff is made against.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The region as a step's action names it, and as people read it.
    pub region: &'a str,
    pub seen: &'a Observed,
    pub around: &'a Surroundings,
    pub now: Timestamp,
}

/// The changes that make the cloud match the plan, or every reason why that can't be.
pub fn diff(want: &Desired<'_>, world: World<'_>) -> Result<Changeset<Action>, Diagnostics> {
    let current = Current::of(want, world);
    let mut problems = Vec::new();
    let placed = place(want, world, &current, &mut problems);
    let deadline = check::deadline(want, world, &mut problems);
    check::address(want, world, &current, &mut problems);
    check::databases(want, world, placed.map(|(vpc, _)| vpc), &mut problems);
    if let Some(kept) = current.kept() {
        problems.extend(keys::check_room(want.plan, &want.instance_tags(deadline.as_ref()), &kept.tags));
    }
    let Some((vpc, launch)) = placed else { return Err(Diagnostics(problems)) };
    let group = own_group(want, world, vpc);
    check::group_name(want, world, vpc, group, &mut problems);
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }

    let mut plan = Differ::new(want.bastion(), world.region);
    let made = Made { group: group.map_or(Ref::Made, |g| Ref::Id(g.id.clone())), deadline, vpc };
    plan.group(want, world, &made, group);
    plan.databases(want, world, &made);
    plan.address(want, &made, &current);
    plan.instance(want, world, &made, &current, launch);
    plan.association(want, world, &current);
    plan.leftovers(want, world, &current, vpc, group);

    Ok(Changeset {
        bastion: want.bastion().to_owned(),
        location: format!("aws {}", world.region),
        plan: want.plan.origin.source.path.clone(),
        steps: plan.steps,
        exposure: want.exposure(&current.public_address()),
        notes: notes(want, world, &current, deadline.as_ref()),
    })
}

/// What exists of a bastion, chosen among what may be several.
pub(super) struct Current<'a> {
    instance: Option<&'a Instance>,
    reasons: Vec<Detail>,
    pub address: Option<&'a ElasticIp>,
    /// Owned addresses that the plan has no use for.
    pub spare_addresses: Vec<&'a ElasticIp>,
}

impl<'a> Current<'a> {
    fn of(want: &Desired<'_>, world: World<'a>) -> Self {
        let seen: &'a Observed = world.seen;
        let newest = if want.aws.image_update { machine::image(want, world.around, world.region).ok() } else { None };
        let owned: Vec<&ElasticIp> =
            seen.addresses.iter().filter(|a| teardown::owns(&a.tags, want.bastion())).collect();
        let all: Vec<&Instance> =
            seen.instances.iter().filter(|i| teardown::owns(&i.tags, want.bastion()) && i.state.is_there()).collect();
        let instance = machine::choose(want, &all, &owned, newest);
        let reasons = instance.map(|i| machine::replacement_reasons(want, i, newest)).unwrap_or_default();
        let points_here =
            |a: &ElasticIp| instance.is_some_and(|i| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
        let address = match &want.aws.address {
            AwsAddress::Elastic => owned.iter().copied().min_by_key(|a| (!points_here(a), a.allocation.clone())),
            AwsAddress::Existing(id) => seen.addresses.iter().find(|a| a.allocation == *id),
        };
        let used = |a: &&ElasticIp| address.is_none_or(|chosen| chosen.allocation != a.allocation);
        let spare_addresses = owned.into_iter().filter(used).collect();
        Self { instance, reasons, address, spare_addresses }
    }

    /// The instance, where it may stay.
    fn kept(&self) -> Option<&'a Instance> {
        self.instance.filter(|_| self.reasons.is_empty())
    }

    /// Where the bastion is reached now, if that is not the address that it is to have.
    fn other_address(&self, seen: &Observed) -> Option<String> {
        let instance = self.instance?;
        let leads_here = |a: &&ElasticIp| a.attached.as_ref().is_some_and(|at| at.is_instance(&instance.id));
        let now = seen.addresses.iter().find(leads_here)?;
        let stays = self.address.is_some_and(|a| a.allocation == now.allocation);
        (!stays).then(|| now.ip.map_or_else(|| now.allocation.clone(), |ip| ip.to_string()))
    }

    fn public_address(&self) -> String {
        self.address.and_then(|a| a.ip).map_or_else(|| "the new address".to_owned(), |ip| ip.to_string())
    }
}

/// What later steps refer to.
struct Made<'a> {
    group: Ref,
    deadline: Option<ResolvedDeadline>,
    vpc: &'a str,
}

/// The bastion's group in its network. Should several carry its tag, the one of the usual name is chosen.
fn own_group<'a>(want: &Desired<'_>, world: World<'a>, vpc: &str) -> Option<&'a Group> {
    let name = tags::resource_name(&want.plan.name);
    let ours = world.seen.groups.iter().filter(|g| g.vpc == vpc && teardown::owns(&g.tags, want.bastion()));
    ours.min_by_key(|g| (g.name != name, g.id.clone()))
}

/// The network that the bastion stands in, and what a new instance is made from where one is needed.
fn place<'a>(
    want: &Desired<'_>,
    world: World<'a>,
    current: &Current<'a>,
    problems: &mut Vec<Diagnostic>,
) -> Option<(&'a str, Option<(&'a Subnet, &'a Image)>)> {
    if let Some(kept) = current.kept() {
        return Some((kept.vpc.as_str(), None));
    }
    let subnet = machine::subnet(want, world.around, world.region).map_err(|p| problems.push(p)).ok();
    let image = machine::image(want, world.around, world.region).map_err(|p| problems.push(p)).ok();
    let (subnet, image) = (subnet?, image?);
    Some((subnet.vpc.as_str(), Some((subnet, image))))
}

fn notes(
    want: &Desired<'_>,
    world: World<'_>,
    current: &Current<'_>,
    deadline: Option<&ResolvedDeadline>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(before) = current.other_address(world.seen) {
        let after = current.public_address();
        notes.push(format!(
            "the bastion's address changes from {before} to {after}: the vendor's form must name the new one"
        ));
    }
    for tunnel in want.plan.tunnels.iter().filter(|t| t.keys.is_empty()) {
        notes.push(format!("tunnel {} has no key yet: it admits nobody until the plan has one", tunnel.user));
    }
    match deadline {
        Some(deadline) => notes.push(format!("the bastion ends at {}", deadline.expires)),
        None => notes.push("the bastion has no deadline: it stays until it is destroyed".to_owned()),
    }
    notes.extend(teardown::foreign_references(want.bastion(), world.seen).into_iter().map(|r| r.note()));
    notes
}

/// What the rule is that EC2 puts into a new group.
const EC2_DEFAULT: &str = "EC2 opens this in every new group";

/// Collects a bastion's steps.
pub(super) struct Differ<'a> {
    bastion: &'a str,
    region: &'a str,
    pub steps: Vec<Step<Action>>,
}

/// A step without what the collector adds.
pub(super) struct Draft {
    pub op: Op,
    pub resource: String,
    pub details: Vec<Detail>,
    pub reason: String,
    pub impact: Impact,
    pub after: Vec<StepId>,
}

impl Draft {
    pub fn new(op: Op, resource: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            op,
            resource: resource.into(),
            details: Vec::new(),
            reason: reason.into(),
            impact: Impact::Live,
            after: Vec::new(),
        }
    }
}

impl<'a> Differ<'a> {
    pub fn new(bastion: &'a str, region: &'a str) -> Self {
        Self { bastion, region, steps: Vec::new() }
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

    fn group(&mut self, want: &Desired<'_>, world: World<'_>, made: &Made<'_>, have: Option<&Group>) {
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
                (group.ingress.clone(), group.egress.clone())
            }
            None => {
                let mut draft = Draft::new(Op::Create, format!("security group {name}"), "the bastion's own firewall");
                draft.details = vec![Detail::added("network", made.vpc), tags_detail(&wanted_tags)];
                self.push(
                    "security-group",
                    draft,
                    Call::CreateGroup { vpc: made.vpc.to_owned(), name: name.clone(), tags: wanted_tags },
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
            let op = if have.is_some() { Op::Update } else { Op::Create };
            let reason = if have.is_some() { rules_reason(&change) } else { "exactly what the plan lists".to_owned() };
            let draft = Draft {
                after: after.iter().cloned().collect(),
                ..Draft::new(op, format!("{} rules of {name}", direction.as_str()), reason)
            };
            self.rules(direction.as_str(), draft, made, made.group.clone(), direction, change);
        }
    }

    /// Rules that let the bastion into the databases' own groups, and those of ours there that are no longer wanted.
    fn databases(&mut self, want: &Desired<'_>, world: World<'_>, made: &Made<'_>) {
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
            self.rules(
                &format!("database-{}", group.id),
                draft,
                made,
                Ref::Id(group.id.clone()),
                Direction::Ingress,
                change,
            );
        }
    }

    fn rules(
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
        self.push(what, draft, Call::ChangeRules { group, direction, add, remove, tags });
    }

    fn address(&mut self, want: &Desired<'_>, made: &Made<'_>, current: &Current<'_>) {
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
            (AwsAddress::Existing(_), Some(address)) if teardown::owns(&address.tags, self.bastion) => {
                self.give_back(address);
            }
            (AwsAddress::Existing(_), _) => {}
        }
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

    fn instance(
        &mut self,
        want: &Desired<'_>,
        world: World<'_>,
        made: &Made<'_>,
        current: &Current<'_>,
        launch: Option<(&Subnet, &Image)>,
    ) {
        let tags = want.instance_tags(made.deadline.as_ref());
        let terminate = made.deadline.is_some();
        if let Some(kept) = current.kept() {
            return self.kept_instance(want, kept, made, &tags);
        }
        let Some((subnet, image)) = launch else { return };
        let aws = want.aws;
        let mut draft = match current.instance {
            None => {
                let resource = format!("instance {}", tags::resource_name(&want.plan.name));
                Draft::new(Op::Create, resource, "the bastion itself")
            }
            Some(old) => Draft {
                impact: Impact::Replacement,
                details: current.reasons.clone(),
                ..Draft::new(Op::Replace, format!("instance {}", old.id), replacement_reason(&current.reasons))
            },
        };
        let metadata = MetadataOptions::wanted(want.plan.keys_are_live());
        let machine = [
            Detail::added("instance type", &aws.instance_type),
            Detail::added("image", format!("{} ({})", image.id, image.name)),
            Detail::added("subnet", &subnet.id),
            Detail::added("metadata service", metadata_text(metadata)),
            Detail::added("root volume", format!("{} GiB gp3, encrypted", image.root_size)),
            Detail::added("on shutdown", if terminate { "terminate" } else { "stop" }),
            Detail::added("cloud-init", format!("{} bytes", want.user_data.text.len())),
        ];
        // What a reason says already is not said again.
        let said = |detail: &Detail| current.reasons.iter().any(|r| r.name == detail.name && r.after == detail.after);
        draft.details.extend(machine.into_iter().filter(|detail| !said(detail)));
        draft.details.extend(keys::details(want.plan));
        if current.instance.is_none() {
            draft.details.push(tags_detail(&keys::split(&tags).1));
        }
        draft.after = self.if_planned("security-group").into_iter().collect();
        let launch = Launch {
            image: image.id.clone(),
            root_device: image.root_device.clone(),
            root_size: image.root_size,
            instance_type: aws.instance_type.clone(),
            subnet: subnet.id.clone(),
            group: made.group.clone(),
            user_data: want.user_data.text.clone(),
            terminate_on_shutdown: terminate,
            tags,
            metadata_tags: metadata.tags,
            part_tags: want.tags(None),
            history: world.seen.instance_history(want.bastion()),
        };
        self.push("instance", draft, Call::RunInstance(Box::new(launch)));
    }

    /// What can be put right on a running instance.
    fn kept_instance(&mut self, want: &Desired<'_>, kept: &Instance, made: &Made<'_>, wanted_tags: &Tags) {
        let id = kept.id.clone();
        let resource = format!("instance {id}");
        let one = |detail: Detail, reason: &str, impact| Draft {
            details: vec![detail],
            impact,
            ..Draft::new(Op::Update, resource.clone(), reason)
        };
        if matches!(kept.state, InstanceState::Stopped | InstanceState::Stopping) {
            let draft =
                one(Detail::changed("state", kept.state.as_str(), "running"), "somebody stopped it", Impact::Live);
            self.push("instance-start", draft, Call::StartInstance { instance: id.clone() });
        }
        // EC2 changes neither an instance that is just stopping nor one that is just starting.
        let started = self.if_planned("instance-start");
        let metadata = MetadataOptions::wanted(want.plan.keys_are_live());
        if kept.metadata != metadata {
            let detail = Detail::changed("metadata service", metadata_text(kept.metadata), metadata_text(metadata));
            let reason = if kept.metadata.tags == metadata.tags {
                "nothing behind the machine may read its metadata"
            } else if metadata.tags {
                "the machine takes its keys from its tags"
            } else {
                "the machine does not need its tags"
            };
            let call = Call::SetMetadataOptions { instance: id.clone(), tags: metadata.tags };
            let mut draft = one(detail, reason, Impact::Live);
            draft.after = started.iter().cloned().collect();
            self.push("instance-metadata", draft, call);
        }
        if let Some(change) = keys::change(want.plan, &kept.tags) {
            let draft = Draft {
                details: change.details,
                ..Draft::new(Op::Update, format!("keys of {resource}"), change.reason)
            };
            let TagChange { set, remove } = change.tags;
            self.push("instance-keys", draft, Call::Tag { resources: vec![id.clone()], set, remove });
        }
        let only_ours = matches!(&made.group, Ref::Id(group) if kept.groups == [group.clone()]);
        if !only_ours {
            let after = match &made.group {
                Ref::Id(group) => group.clone(),
                Ref::Made => "the new group".to_owned(),
            };
            let mut draft = one(
                Detail::changed("security groups", kept.groups.join(", "), after),
                "only the bastion's own group may decide who gets in",
                Impact::Live,
            );
            draft.after = self.if_planned("security-group").into_iter().chain(started.clone()).collect();
            self.push(
                "instance-groups",
                draft,
                Call::SetGroups { instance: id.clone(), groups: vec![made.group.clone()] },
            );
        }
        let terminate = made.deadline.is_some();
        let terminates = kept.tags.contains_key(tags::EXPIRES);
        if terminate != terminates {
            let text = |terminate| if terminate { "terminate" } else { "stop" };
            let reason = if terminate {
                "a bastion with a deadline ends for good"
            } else {
                "a bastion without a deadline may be stopped and started again"
            };
            let mut draft =
                one(Detail::changed("on shutdown", text(terminates), text(terminate)), reason, Impact::Live);
            draft.after = started.iter().cloned().collect();
            self.push("instance-shutdown", draft, Call::SetShutdownBehavior { instance: id.clone(), terminate });
        }
        self.part_tags(kept, &want.tags(None));
        // The tags say how it shuts down and what its parts are called, so they change after those.
        let after = ["instance-shutdown", "part-tags"].iter().filter_map(|what| self.if_planned(what)).collect();
        let ((_, wanted), (_, have)) = (keys::split(wanted_tags), keys::split(&kept.tags));
        self.tags("instance-tags", &resource, &id, &wanted, &have, after);
    }

    /// Volumes and interfaces follow when the instance's own tags change; they are not looked at by themselves.
    fn part_tags(&mut self, kept: &Instance, wanted: &Tags) {
        let set = TagChange::between(wanted, &kept.tags).set;
        if set.is_empty() || kept.parts.is_empty() {
            return;
        }
        let mut draft = Draft::new(
            Op::Update,
            format!("tags of the volumes and interfaces of {}", kept.id),
            "the tags are not the plan's",
        );
        draft.details = set.iter().map(|(key, value)| Detail::added(format!("tag {key}"), value)).collect();
        self.push("part-tags", draft, Call::Tag { resources: kept.parts.clone(), set, remove: Vec::new() });
    }

    fn association(&mut self, want: &Desired<'_>, world: World<'_>, current: &Current<'_>) {
        let already = match (current.kept(), current.address) {
            (Some(kept), Some(address)) => address.attached.as_ref().is_some_and(|at| at.is_instance(&kept.id)),
            _ => false,
        };
        if already {
            return;
        }
        let address = match (&want.aws.address, current.address) {
            (AwsAddress::Existing(id), _) => Ref::Id(id.clone()),
            (AwsAddress::Elastic, Some(address)) => Ref::Id(address.allocation.clone()),
            (AwsAddress::Elastic, None) => Ref::Made,
        };
        let instance = current.kept().map_or(Ref::Made, |kept| Ref::Id(kept.id.clone()));
        let before = current.other_address(world.seen);
        let (op, reason) = match (current.address.and_then(|a| a.attached.as_ref()), &before) {
            (_, Some(_)) => (Op::Update, "the plan names another address"),
            (Some(Attachment::Instance(_)), None) => (Op::Update, "the address moves to the new instance"),
            _ => (Op::Create, "the address must lead to the instance"),
        };
        let mut draft = Draft::new(op, format!("address association of {}", want.bastion()), reason);
        let after = current.public_address();
        draft.details = vec![match before {
            Some(before) => Detail::changed("address", before, after),
            None => Detail::added("address", after),
        }];
        draft.after =
            ["address", "instance", "instance-start"].iter().filter_map(|what| self.if_planned(what)).collect();
        self.push("association", draft, Call::Associate { address, instance });
    }

    /// What is ours and of no use any more: the replaced instance, and what an interrupted run left twice.
    fn leftovers(
        &mut self,
        want: &Desired<'_>,
        world: World<'_>,
        current: &Current<'_>,
        vpc: &str,
        group: Option<&Group>,
    ) {
        let kept = current.kept().map(|k| k.id.as_str());
        let replaced = current.instance.map(|i| i.id.as_str());
        let association = self.if_planned("association");
        for instance in world.seen.instances_of(want.bastion()).filter(|i| Some(i.id.as_str()) != kept) {
            let is_replaced = Some(instance.id.as_str()) == replaced;
            let reason =
                if is_replaced { "the new instance has its place" } else { "a second instance of the same bastion" };
            let mut draft = Draft::new(Op::Delete, format!("instance {}", instance.id), reason);
            // Any of them may be the one that serves until the address leads elsewhere.
            draft.after = association.iter().cloned().collect();
            self.push(
                &format!("instance-{}", instance.id),
                draft,
                Call::TerminateInstance { instance: instance.id.clone() },
            );
        }
        let gone: Vec<StepId> = self
            .steps
            .iter()
            .filter(|s| matches!(s.action.call, Call::TerminateInstance { .. }))
            .map(|s| s.id.clone())
            .collect();
        let mut after: Vec<StepId> = gone.into_iter().chain(association).collect();
        for address in &current.spare_addresses {
            let resource =
                format!("elastic IP {}", address.ip.map_or_else(|| address.allocation.clone(), |ip| ip.to_string()));
            let draft = Draft {
                after: after.clone(),
                details: vec![teardown::released(address)],
                ..Draft::new(Op::Delete, resource, "the bastion uses another address")
            };
            self.push(
                &format!("address-{}", address.allocation),
                draft,
                Call::ReleaseAddress { allocation: address.allocation.clone() },
            );
        }
        after.extend(self.if_planned("instance-groups"));
        let own = group.map(|g| g.id.as_str());
        for other in world.seen.groups_of(want.bastion()).filter(|g| Some(g.id.as_str()) != own) {
            let reason = if other.vpc == vpc {
                "a second security group of the same bastion"
            } else {
                "the bastion moves to another network"
            };
            teardown::delete_group(self, want.bastion(), world.seen, other, reason, &after, &after);
        }
    }

    fn tags(&mut self, what: &str, resource: &str, id: &str, want: &Tags, have: &Tags, after: Vec<StepId>) {
        let change = TagChange::between(want, have);
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

fn metadata_text(options: MetadataOptions) -> String {
    format!(
        "session tokens {}, hop limit {}, tags {}",
        if options.tokens_required { "required" } else { "optional" },
        options.hop_limit,
        if options.tags { "readable" } else { "hidden" },
    )
}

/// The tags of something new, on one line: they are the same on everything that a bastion has. What gangplank notes there for
/// itself is of no use to a reader.
fn tags_detail(tags: &Tags) -> Detail {
    let pairs = tags.iter().filter(|(key, _)| !tags::is_ours(key) || *key == tags::BASTION);
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    Detail::added("tags", pairs.join(" ")).note("and gangplank's notes")
}

fn rules_reason(change: &RuleChange) -> String {
    match (change.add.is_empty(), change.remove.is_empty()) {
        (false, true) => "the plan lists what is not open".to_owned(),
        (true, false) => "something is open that the plan does not list".to_owned(),
        _ => "the open rules are not the plan's".to_owned(),
    }
}

fn replacement_reason(reasons: &[Detail]) -> String {
    let mut names: Vec<&str> = reasons.iter().map(|d| d.name.as_str()).collect();
    names.dedup();
    format!("{} can't be changed on a running machine", names.join(", "))
}
