//! An EC2 in memory. It applies actions as the performer would and refuses what EC2 would refuse; a step that is refused here
//! is a mistake of the diff that made it.

use std::collections::BTreeMap;

use gangplank::{
    changeset::{Changeset, Step},
    provider::aws::{
        action::{Action, Call, DescribedRule, Launch, Ref},
        desire::Desired,
        machine::{self, Needs},
        network::Subnet,
        observed::{Attachment, ElasticIp, Group, Instance, InstanceState, MetadataOptions, Observed, Surroundings},
        ownership,
        rule::{Direction, Peer, Rule, Rules, description},
    },
    tags::{BASTION, Tags},
};

/// What a run has made so far, as the performer remembers it.
#[derive(Clone, Debug, Default)]
pub struct Made {
    group: Option<String>,
    address: Option<String>,
    instance: Option<String>,
}

#[derive(Clone, Debug)]
pub struct World {
    /// Everything, also what an observation would leave out.
    pub all: Observed,
    pub around: Surroundings,
    /// Every launch with its group, and the instance that it made: EC2's client tokens.
    launches: Vec<(Launch, String, String)>,
    /// By instance.
    pub terminates_on_shutdown: BTreeMap<String, bool>,
    ids: u32,
}

impl World {
    pub fn new(all: Observed, around: Surroundings) -> Self {
        Self { all, around, launches: Vec::new(), terminates_on_shutdown: BTreeMap::new(), ids: 0 }
    }

    /// New ids come in no order, as EC2's do.
    pub fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}-{:08x}", self.ids.wrapping_mul(2_654_435_761))
    }

    /// What an observation for one plan shows; `None` where only the bastion's name is known.
    pub fn look(&self, want: Option<&Desired<'_>>) -> Observed {
        let mut seen = self.all.clone();
        seen.instances.retain(|i| i.tags.contains_key(BASTION));
        seen.instances.sort_by(|a, b| a.id.cmp(&b.id));
        seen.addresses.sort_by(|a, b| a.allocation.cmp(&b.allocation));
        seen.groups.sort_by(|a, b| a.id.cmp(&b.id));
        let named = |g: &Group| want.is_some_and(|w| w.database.contains_key(g.id.as_str()));
        for group in &mut seen.groups {
            if !group.tags.contains_key(BASTION) && !named(group) {
                group.ingress.retain(|rule, _| matches!(rule.peer, Peer::Group(_)));
                group.egress.retain(|rule, _| matches!(rule.peer, Peer::Group(_)));
                group.tags.clear();
            }
        }
        seen
    }

    /// Only what the plan's needs ask for, as the fleet reads it.
    pub fn surroundings(&self, want: &Desired<'_>, seen: &Observed) -> Surroundings {
        let mut needs = Needs::default();
        needs.add(want, seen);
        let mut around = self.around.clone();
        if !needs.network {
            around.subnets.clear();
            around.route_tables.clear();
        }
        around.instance_types.retain(|t| needs.instance_types.contains(&t.name));
        let owners: Vec<&str> = needs.aliases.iter().map(|alias| machine::publisher(*alias).0).collect();
        around.images.retain(|i| needs.image_ids.contains(&i.id) || owners.contains(&i.owner.as_str()));
        around
    }

    /// Carries out at most `limit` steps, in an order that `after` allows and `chance` chooses. `check` sees the world after
    /// each. Returns how many were done.
    pub fn execute(
        &mut self,
        set: &Changeset<Action>,
        mut chance: Chance,
        limit: usize,
        mut check: impl FnMut(&World, &Step<Action>),
    ) -> usize {
        let mut made = Made::default();
        let mut left: Vec<&Step<Action>> = set.steps.iter().collect();
        let mut done = Vec::new();
        while !left.is_empty() && done.len() < limit {
            let ready: Vec<usize> =
                (0..left.len()).filter(|&i| left[i].after.iter().all(|id| done.contains(&id))).collect();
            assert!(!ready.is_empty(), "nothing can start: {left:?}");
            let step = left.remove(ready[chance.below(ready.len())]);
            if let Err(refusal) = self.perform(&step.action, &mut made) {
                panic!("EC2 refuses {}: {refusal}\n{step:#?}\n{self:#?}", step.id);
            }
            done.push(&step.id);
            check(self, step);
        }
        done.len()
    }

    fn perform(&mut self, action: &Action, made: &mut Made) -> Result<(), String> {
        match &action.call {
            Call::CreateGroup { vpc, name, description, tags } => {
                made.group = Some(self.create_group(&action.bastion, vpc, (name, description), tags)?);
            }
            Call::ChangeRules { group, direction, add, remove, tags, .. } => {
                check_tags(tags)?;
                let group = id(group, made.group.as_ref())?;
                self.change_rules(&group, *direction, add, remove, made)?;
            }
            Call::AllocateAddress { tags } => {
                check_tags(tags)?;
                let allocation = self.id("eipalloc");
                let ip = format!("203.0.113.{}", self.ids % 250 + 1).parse().ok();
                self.all.addresses.push(ElasticIp {
                    counts: true,
                    border_group: None,
                    allocation: allocation.clone(),
                    ip,
                    attached: None,
                    tags: tags.clone(),
                });
                made.address = Some(allocation);
            }
            Call::RunInstance(launch) => made.instance = Some(self.run(launch, made)?),
            Call::Associate { address, instance, .. } => {
                let (address, instance) = (id(address, made.address.as_ref())?, id(instance, made.instance.as_ref())?);
                self.instance_in(&instance, &[InstanceState::Running, InstanceState::Stopped])?;
                self.address(&address)?;
                self.disassociate(&instance);
                self.address(&address)?.attached = Some(Attachment::Instance(instance));
            }
            Call::StartInstance { instance } => {
                self.instance_in(instance, &[InstanceState::Stopped])?.state = InstanceState::Running;
            }
            Call::SetMetadataOptions { instance, tags } => {
                self.instance_in(instance, &[InstanceState::Running, InstanceState::Stopped])?.metadata =
                    MetadataOptions::wanted(*tags);
            }
            Call::SetGroups { instance, groups, .. } => {
                let groups =
                    groups.iter().map(|g| id(g, made.group.as_ref())).collect::<Result<Vec<String>, String>>()?;
                let vpc = self.instance_in(instance, &[InstanceState::Running, InstanceState::Stopped])?.vpc.clone();
                for group in &groups {
                    same_network(&self.group(group)?.vpc, &vpc)?;
                }
                self.instance_in(instance, &[InstanceState::Running, InstanceState::Stopped])?.groups = groups;
            }
            Call::SetShutdownBehavior { instance, terminate } => {
                self.instance_in(instance, &[InstanceState::Running, InstanceState::Stopped])?;
                self.terminates_on_shutdown.insert(instance.clone(), *terminate);
            }
            Call::Tag { resources, set, remove } => {
                for resource in resources {
                    let tags = self.tags_of(resource)?;
                    tags.retain(|key, _| !remove.contains(key));
                    tags.extend(set.clone());
                    check_tags(tags)?;
                }
            }
            Call::MarkAddress { group, address, ip, tags } => {
                check_tags(tags)?;
                let (group, allocation) = (id(group, made.group.as_ref())?, id(address, made.address.as_ref())?);
                let known = self.address(&allocation)?.ip.ok_or("no address")?;
                if ip.is_some_and(|ip| ip != known) {
                    return Err(format!("{allocation} is {known}"));
                }
                let (rule, text) = ownership::address_mark(&action.bastion, &allocation, known);
                self.group(&group)?.egress.insert(rule, text);
            }
            Call::TerminateInstance { instance, within, displaced } => {
                let bastion = &action.bastion;
                let holds =
                    self.all.addresses.iter().find(|a| a.attached.as_ref().is_some_and(|at| at.is_instance(instance)));
                let holds = holds.and_then(|a| a.ip).map(|ip| ip.to_string());
                let found =
                    self.all.instances.iter_mut().find(|i| i.id == *instance).ok_or("InvalidInstanceID.NotFound")?;
                found.public_ip = holds;
                let is_there = found.state.is_there();
                if let Some(changed) =
                    ownership::changed(found, bastion, within, displaced.as_ref()).filter(|_| is_there)
                {
                    return Err(format!("{instance}: {changed}"));
                }
                self.terminate(instance)?;
            }
            Call::ReleaseAddress { allocation } => {
                // EC2 lets go of a terminated instance's address in a while, and the performer waits.
                let attached = self.address(allocation)?.attached.clone();
                let gone =
                    |at: &Attachment| self.all.instances.iter().any(|i| at.is_instance(&i.id) && !i.state.is_there());
                if attached.is_some_and(|at| !gone(&at)) {
                    return Err("InvalidIPAddress.InUse".to_owned());
                }
                self.all.addresses.retain(|a| a.allocation != *allocation);
            }
            Call::DeleteGroup { group } => self.delete_group(group)?,
            Call::DeleteVolume { volume } => return Err(format!("no plan deletes volumes: {volume}")),
        }
        Ok(())
    }

    fn create_group(
        &mut self,
        bastion: &str,
        vpc: &str,
        (name, description): (&str, &str),
        tags: &Tags,
    ) -> Result<String, String> {
        check_tags(tags)?;
        if let Some(twin) = self.all.groups.iter().find(|g| g.vpc == vpc && g.name == name) {
            let ours = twin.tags.get(BASTION).is_some_and(|owner| owner == bastion);
            return if ours { Ok(twin.id.clone()) } else { Err("InvalidGroup.Duplicate".to_owned()) };
        }
        let id = self.id("sg");
        let ipv6 = self.around.subnets.iter().any(|s| s.vpc == vpc && s.ipv6);
        self.all.groups.push(Group {
            id: id.clone(),
            name: name.to_owned(),
            description: description.to_owned(),
            vpc: vpc.to_owned(),
            ingress: Rules::new(),
            egress: Rule::default_egress(ipv6).into_iter().map(|rule| (rule, String::new())).collect(),
            tags: tags.clone(),
        });
        Ok(id)
    }

    fn change_rules(
        &mut self,
        group: &str,
        direction: Direction,
        add: &[DescribedRule],
        remove: &[DescribedRule],
        made: &Made,
    ) -> Result<(), String> {
        let vpc = self.group(group)?.vpc.clone();
        let resolve = |rule: &Rule| match rule.peer {
            Peer::Bastion => {
                let own = made.group.clone().ok_or("the group is not made yet")?;
                Ok::<Rule, String>(Rule { protocol: rule.protocol.clone(), peer: Peer::Group(own) })
            }
            _ => Ok(rule.clone()),
        };
        for DescribedRule { rule, .. } in remove {
            let rule = resolve(rule)?;
            self.rules(group, direction)?.remove(&rule).ok_or("InvalidPermission.NotFound")?;
        }
        for DescribedRule { rule, description: text } in add {
            let rule = resolve(rule)?;
            if description(text) != *text {
                return Err(format!("InvalidParameterValue: the description {text:?}"));
            }
            if let Peer::Group(peer) = &rule.peer {
                same_network(&self.group(peer)?.vpc, &vpc)?;
            }
            if self.rules(group, direction)?.insert(rule, text.clone()).is_some() {
                return Err("InvalidPermission.Duplicate".to_owned());
            }
        }
        if self.rules(group, direction)?.len() > 60 {
            return Err("RulesPerSecurityGroupLimitExceeded".to_owned());
        }
        Ok(())
    }

    fn run(&mut self, launch: &Launch, made: &Made) -> Result<String, String> {
        check_tags(&launch.tags)?;
        check_tags(&launch.part_tags)?;
        let group = id(&launch.group, made.group.as_ref())?;
        if let Some((_, _, known)) = self.launches.iter().find(|(l, g, _)| l == launch && *g == group) {
            let known = known.clone();
            self.instance_in(&known, &[InstanceState::Running])?;
            return Ok(known);
        }
        let subnet: Subnet =
            self.around.subnets.iter().find(|s| s.id == launch.subnet).cloned().ok_or("InvalidSubnetID.NotFound")?;
        same_network(&self.group(&group)?.vpc, &subnet.vpc)?;
        let image = self.around.images.iter().find(|i| i.id == launch.image).ok_or("InvalidAMIID.NotFound")?;
        let kind = self.around.instance_types.iter().find(|t| t.name == launch.instance_type);
        if !kind.ok_or("InvalidInstanceType")?.architectures.contains(&image.architecture) {
            return Err("InvalidParameterValue: architecture".to_owned());
        }
        let id = self.id("i");
        self.launches.push((launch.clone(), group.clone(), id.clone()));
        self.terminates_on_shutdown.insert(id.clone(), launch.terminate_on_shutdown);
        self.all.instances.push(Instance {
            id: id.clone(),
            state: InstanceState::Running,
            instance_type: launch.instance_type.clone(),
            image: launch.image.clone(),
            subnet: launch.subnet.clone(),
            vpc: subnet.vpc,
            groups: vec![group],
            metadata: MetadataOptions::wanted(launch.metadata_tags),
            private_ip: None,
            public_ip: None,
            launched: None,
            parts: Vec::new(),
            interfaces: Vec::new(),
            profile: None,
            key_pair: None,
            tags: launch.tags.clone(),
        });
        Ok(id)
    }

    /// Ends an instance, whoever asks. Its interface goes with it.
    pub fn terminate(&mut self, instance: &str) -> Result<(), String> {
        let found = self.all.instances.iter_mut().find(|i| i.id == instance).ok_or("InvalidInstanceID.NotFound")?;
        found.state = InstanceState::Terminated;
        found.groups.clear();
        self.disassociate(instance);
        Ok(())
    }

    pub fn disassociate(&mut self, instance: &str) {
        for address in &mut self.all.addresses {
            if address.attached.as_ref().is_some_and(|at| at.is_instance(instance)) {
                address.attached = None;
            }
        }
    }

    fn delete_group(&mut self, group: &str) -> Result<(), String> {
        self.group(group)?;
        let used = self.all.instances.iter().find(|i| i.state.is_there() && i.groups.iter().any(|g| g == group));
        if let Some(user) = used {
            return Err(format!("DependencyViolation: {} uses it", user.id));
        }
        let refers = |rules: &Rules| rules.keys().any(|rule| rule.peer == Peer::Group(group.to_owned()));
        let other = self.all.groups.iter().find(|g| g.id != group && (refers(&g.ingress) || refers(&g.egress)));
        if let Some(other) = other {
            return Err(format!("DependencyViolation: {} refers to it", other.id));
        }
        self.all.groups.retain(|g| g.id != group);
        Ok(())
    }

    fn instance_in(&mut self, id: &str, states: &[InstanceState]) -> Result<&mut Instance, String> {
        let found = self.all.instances.iter_mut().find(|i| i.id == id).ok_or("InvalidInstanceID.NotFound")?;
        if states.contains(&found.state) {
            Ok(found)
        } else {
            Err(format!("IncorrectInstanceState: {:?}", found.state))
        }
    }

    fn address(&mut self, id: &str) -> Result<&mut ElasticIp, String> {
        let found = self.all.addresses.iter_mut().find(|a| a.allocation == id);
        found.ok_or_else(|| "InvalidAllocationID.NotFound".to_owned())
    }

    fn group(&mut self, id: &str) -> Result<&mut Group, String> {
        self.all.groups.iter_mut().find(|g| g.id == id).ok_or_else(|| format!("InvalidGroup.NotFound: {id}"))
    }

    fn rules(&mut self, group: &str, direction: Direction) -> Result<&mut Rules, String> {
        let group = self.group(group)?;
        Ok(match direction {
            Direction::Ingress => &mut group.ingress,
            Direction::Egress => &mut group.egress,
        })
    }

    fn tags_of(&mut self, id: &str) -> Result<&mut Tags, String> {
        let instances = self.all.instances.iter_mut().map(|i| (i.id.as_str(), &mut i.tags));
        let addresses = self.all.addresses.iter_mut().map(|a| (a.allocation.as_str(), &mut a.tags));
        let groups = self.all.groups.iter_mut().map(|g| (g.id.as_str(), &mut g.tags));
        let found = instances.chain(addresses).chain(groups).find(|(known, _)| *known == id);
        found.map(|(_, tags)| tags).ok_or_else(|| format!("InvalidID: {id}"))
    }
}

fn id(reference: &Ref, made: Option<&String>) -> Result<String, String> {
    match reference {
        Ref::Id(id) => Ok(id.clone()),
        Ref::Made => made.cloned().ok_or_else(|| "needed before it is made".to_owned()),
    }
}

fn same_network(one: &str, other: &str) -> Result<(), String> {
    if one == other { Ok(()) } else { Err(format!("InvalidGroup.NotFound: in {one}, not in {other}")) }
}

fn check_tags(tags: &Tags) -> Result<(), String> {
    if tags.len() > 50 {
        return Err(format!("TagLimitExceeded: {} tags", tags.len()));
    }
    match tags.iter().find(|(key, value)| key.chars().count() > 128 || value.chars().count() > 256) {
        Some((key, _)) => Err(format!("InvalidParameterValue: the tag {key} is too long")),
        None => Ok(()),
    }
}

/// A deterministic source of choices.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: usize) -> usize {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}
