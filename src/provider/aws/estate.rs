//! All that gangplank has in an account, by its tags and without a plan. Seven calls a region, however many bastions there are (pages
//! aside), one more where some have no machine, and one for the list of regions.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, VolumeState};
use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::time::timeout;

use super::{
    action::Action,
    api::{Ec2, NotConnected},
    convert, doubts,
    fleet::{BETWEEN_LOOKUPS, FleetPerformer, PATIENCE, identified},
    history, identity, inspect,
    network::Interface,
    observe::{self, PAGE, known, pages},
    observed::{ElasticIp, Instance, InstanceState, Observed},
    ownership::{self, Doubt, Tagged, other_service},
    region,
    retry::Repeat,
    tags::{self, Tags},
    teardown::{self, LeftVolume, TaggedRule},
};
use crate::{
    changeset::{Changeset, StepId},
    cloud_error::CloudError,
    cost::{Item, bill},
    event::Watcher,
    location::Location,
    provider::{Progress, clouds::Clouds, identity::IdentifiedAccount},
    reap::{Expires, Found, MachineFacts, Part, Stranger, began, is_name, other_ends, written_before},
};

/// Where the list of regions is asked for when nothing names one: no account is without it.
const ANY_REGION: &str = "us-east-1";

/// So many strangers' launchers are asked for in a region: CloudTrail takes two lookups a second.
const MOST_LOOKUPS: usize = 5;

/// Regions of one account, as one identity.
pub struct Estate {
    /// Where what is of no region is asked for.
    first: Ec2,
    profile: Option<String>,
    /// By key: `us-east-1`, or `profile@us-east-1`.
    regions: Vec<(String, Ec2)>,
    /// Allocations that plans name as existing ones.
    addresses: BTreeSet<String>,
}

/// What a region has of gangplank's, or of what looks like it.
#[derive(Debug, Default)]
pub struct Sight {
    /// Each with what removes it.
    pub found: Vec<(Found, Changeset<Action>)>,
    pub strangers: Vec<Stranger>,
}

struct Volume {
    id: String,
    gib: u32,
    /// The instance that it is attached to.
    attached: Option<String>,
    left: Left,
    tags: Tags,
}

/// Who has to take a volume away.
enum Left {
    /// It would stay when this instance ends: somebody has changed what becomes of it.
    After(String),
    /// It goes with its instance, or EC2 is at work on it.
    Never,
}

impl Volume {
    /// The bastion's own machine that it would outlive. One that is attached to nothing has only its tags to say whose it is: that
    /// is told, and not enough to delete it.
    fn left_of(&self, bastion: &str, seen: &Observed) -> Option<LeftVolume<'_>> {
        let Left::After(machine) = &self.left else { return None };
        let own = seen.instances_of(bastion).any(|i| i.id == *machine);
        (own && tags::owns(&self.tags, bastion)).then_some(LeftVolume { id: &self.id, gib: self.gib, after: machine })
    }

    /// Whether it is attached to a machine of the bastion's own.
    fn is_of(&self, bastion: &str, seen: &Observed) -> bool {
        let own = |id: &String| teardown::instances(bastion, seen).any(|i| i.id == *id);
        tags::owns(&self.tags, bastion) && self.attached.as_ref().is_some_and(own)
    }
}

impl Estate {
    /// As one identity, with no region yet. Nobody is asked.
    ///
    /// # Errors
    /// What has to be corrected before anybody can be called.
    pub async fn open(
        profile: Option<&str>,
        regions: &[String],
        addresses: &BTreeSet<String>,
        clouds: &Clouds,
    ) -> Result<Self, CloudError> {
        let first = match clouds.ec2(profile, regions.first().map(String::as_str)).await {
            Ok(ec2) => ec2,
            Err(NotConnected::NoRegion) => {
                clouds.ec2(profile, Some(ANY_REGION)).await.map_err(NotConnected::into_error)?
            }
            Err(other) => return Err(other.into_error()),
        };
        Ok(Self { first, profile: profile.map(str::to_owned), regions: Vec::new(), addresses: addresses.clone() })
    }

    /// Whose account it is.
    pub async fn identify(&self, watcher: &dyn Watcher) -> IdentifiedAccount {
        let step = StepId("aws/identity".to_owned());
        let told = identity::caller(&self.first, &Progress { step: &step, watcher }).await;
        identified(self.first.profile.clone(), told)
    }

    /// These regions; every one that the account has enabled where none is named.
    ///
    /// # Errors
    /// EC2 does not tell its regions.
    pub async fn choose_regions(&mut self, regions: &[String], watcher: &dyn Watcher) -> Result<(), CloudError> {
        let names: BTreeSet<String> =
            if regions.is_empty() { enabled(&self.first, watcher).await? } else { regions.iter().cloned().collect() };
        let key = |name: &str| match &self.profile {
            Some(profile) => format!("{profile}@{name}"),
            None => name.to_owned(),
        };
        self.regions = names.iter().map(|name| (key(name), self.first.in_region(name))).collect();
        Ok(())
    }

    /// What of the environment is not used, each once.
    pub fn notes(&self) -> BTreeSet<&str> {
        self.first.note.as_deref().into_iter().collect()
    }

    /// Looks at every region at once. Writes nothing. A region that can't be read is told by itself.
    pub async fn look(&self, watcher: &dyn Watcher) -> Vec<(Location, Result<Sight, CloudError>)> {
        let each = self
            .regions
            .iter()
            .map(async |(key, ec2)| (region::location(key), look(key, ec2, &self.addresses, watcher).await));
        join_all(each).await
    }

    /// Of the regions of all these accounts.
    pub fn performer<'a>(all: impl Iterator<Item = &'a Self>) -> FleetPerformer<'a> {
        FleetPerformer::of(all.flat_map(|estate| &estate.regions).map(|(key, ec2)| (key.as_str(), ec2)))
    }
}

/// The regions that the account may use.
async fn enabled(ec2: &Ec2, watcher: &dyn Watcher) -> Result<BTreeSet<String>, CloudError> {
    let step = StepId("aws/regions".to_owned());
    let progress = Progress { step: &step, watcher };
    let answer = ec2.call("DescribeRegions", Repeat::SAFE, &progress, || ec2.client.describe_regions().send()).await?;
    Ok(answer.regions().iter().filter_map(|region| region.region_name().map(str::to_owned)).collect())
}

async fn look(key: &str, ec2: &Ec2, existing: &BTreeSet<String>, watcher: &dyn Watcher) -> Result<Sight, CloudError> {
    let step = StepId(format!("{key}/observe"));
    let progress = Progress { step: &step, watcher };
    let (seen, alike, rules, volumes) = tokio::try_join!(
        observe::observe_to_remove(ec2, &progress),
        observe::instances_named_alike(ec2, &progress),
        tagged_rules(ec2, &progress),
        volumes(ec2, &progress),
    )?;
    let (users, members) = tokio::join!(users(ec2, &seen, &rules, &progress), members(ec2, &seen, &progress));
    let (users, seen) = (users?, Observed { members: Some(known(members)), ..seen });
    let mut sight = sight(key, &seen, &alike, &rules, &volumes, &users, existing);
    launchers(ec2, &mut sight.strangers).await;
    Ok(sight)
}

/// What is in the groups of bastions that have no machine of their own: a machine that has lost a tag is found by nothing else.
async fn users(
    ec2: &Ec2,
    seen: &Observed,
    rules: &[TaggedRule],
    progress: &Progress<'_>,
) -> Result<Vec<Instance>, CloudError> {
    let names = owners(seen, rules);
    let without = names.iter().filter(|name| seen.instances_of(name).next().is_none());
    let groups: BTreeSet<String> = without.flat_map(|name| groups_of(name, seen, rules)).collect();
    if groups.is_empty() { Ok(Vec::new()) } else { observe::instances_in_groups(ec2, &groups, progress).await }
}

/// What is in the groups that are called as bastions' are.
async fn members(ec2: &Ec2, seen: &Observed, progress: &Progress<'_>) -> Result<Vec<Interface>, CloudError> {
    let called = seen.groups.iter().filter(|group| group.name.starts_with(ownership::PREFIX));
    inspect::interfaces(ec2, &called.map(|group| group.id.clone()).collect(), progress).await
}

/// The groups that a bastion has, or had before somebody changed a tag: its own, those of its name, and those that its rules let in.
fn groups_of(name: &str, seen: &Observed, rules: &[TaggedRule]) -> BTreeSet<String> {
    let let_in = rules.iter().filter(|rule| rule.bastion == name).map(|rule| rule.peer.clone());
    doubts::groups_called(name, seen).into_iter().chain(let_in).collect()
}

/// The names in the tags of machines, addresses, groups and rules, and of the groups that are called as bastions' are.
fn owners(seen: &Observed, rules: &[TaggedRule]) -> BTreeSet<String> {
    let instances = seen.instances.iter().filter(|i| i.state != InstanceState::Terminated).map(|i| &i.tags);
    let tags = instances.chain(seen.addresses.iter().map(|a| &a.tags)).chain(seen.groups.iter().map(|g| &g.tags));
    let tagged = tags.filter_map(|tags| tags.get(tags::BASTION).cloned());
    // A group's name is what no tag changes.
    let called = seen.groups.iter().filter_map(|group| group.name.strip_prefix(ownership::PREFIX).map(str::to_owned));
    let called = called.filter(|name| is_name(name));
    tagged.chain(rules.iter().map(|rule| rule.bastion.clone())).chain(called).collect()
}

/// Asks CloudTrail who launched the first machines among what carries a bastion's tag and is not its own.
async fn launchers(ec2: &Ec2, strangers: &mut [Stranger]) {
    let tagged = strangers.iter_mut().filter(|stranger| stranger.tagged.is_some());
    let machines = tagged.filter_map(|stranger| {
        let machine = stranger.machine.as_ref()?;
        Some((machine.id.clone(), machine.launched?, stranger))
    });
    for (i, (id, launched, stranger)) in machines.take(MOST_LOOKUPS).enumerate() {
        if i > 0 {
            tokio::time::sleep(BETWEEN_LOOKUPS).await;
        }
        let (since, until) = (launched - SignedDuration::from_mins(10), launched + SignedDuration::from_mins(10));
        let answer = match timeout(PATIENCE, ec2.events(&id, since, until)).await {
            Ok(Ok(events)) => history::launcher(events.iter().map(String::as_str))
                .ok_or_else(|| "CloudTrail has no RunInstances of it".to_owned()),
            Ok(Err(error)) => Err(history::refusal(&error)),
            Err(_) => Err("CloudTrail did not answer in time".to_owned()),
        };
        match (answer, &mut stranger.machine) {
            (Ok(who), Some(machine)) => machine.launched_by = Some(who),
            (Err(reason), _) => stranger.why = format!("{}; who launched it is not known: {reason}", stranger.why),
            (Ok(_), None) => {}
        }
    }
}

async fn tagged_rules(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<TaggedRule>, CloudError> {
    let filter = Filter::builder().name("tag-key").values(tags::BASTION).build();
    let request = ec2.client.describe_security_group_rules().filters(filter);
    let convert = |rule: &aws_sdk_ec2::types::SecurityGroupRule| {
        Some(TaggedRule {
            bastion: convert::tags(rule.tags()).get(tags::BASTION)?.clone(),
            group: rule.group_id()?.to_owned(),
            peer: rule.referenced_group_info()?.group_id()?.to_owned(),
        })
    };
    Ok(pages!(ec2, progress, "DescribeSecurityGroupRules", request, PAGE, security_group_rules, convert))
}

/// Those with our tag, or called as ours are.
async fn volumes(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<Volume>, CloudError> {
    let filter = Filter::builder().name("tag:Name").values("gangplank-*").build();
    let request = ec2.client.describe_volumes().filters(filter);
    let convert = |volume: &aws_sdk_ec2::types::Volume| {
        Some(Volume {
            id: volume.volume_id()?.to_owned(),
            gib: volume.size().and_then(|size| u32::try_from(size).ok()).unwrap_or_default(),
            attached: volume.attachments().iter().find_map(|a| a.instance_id().map(str::to_owned)),
            left: left(volume),
            tags: convert::tags(volume.tags()),
        })
    };
    Ok(pages!(ec2, progress, "DescribeVolumes", request, PAGE, volumes, convert))
}

fn left(volume: &aws_sdk_ec2::types::Volume) -> Left {
    match (volume.state(), volume.attachments()) {
        (Some(VolumeState::InUse), [only]) if only.delete_on_termination() == Some(false) => {
            only.instance_id().map_or(Left::Never, |id| Left::After(id.to_owned()))
        }
        _ => Left::Never,
    }
}

fn sight(
    key: &str,
    seen: &Observed,
    alike: &[Instance],
    rules: &[TaggedRule],
    volumes: &[Volume],
    users: &[Instance],
    existing: &BTreeSet<String>,
) -> Sight {
    let location = region::location(key);
    let mut names = owners(seen, rules);
    // A volume is no bastion by itself: it goes with its machine, or after it; but one that is attached to nothing, or to a machine of
    // somebody's, is told.
    names.extend(volumes.iter().filter_map(|v| v.tags.get(tags::BASTION).cloned()));
    let mut sight = Sight { found: Vec::new(), strangers: strangers(key, seen, alike, volumes) };
    for name in &names {
        if !is_name(name) {
            let why = format!("it carries the tag {} with {name:?}, and no plan can have that name", tags::BASTION);
            // What has every other mark of ours is named with the tag alone.
            let mut told = tagged_strangers(name, &location, seen, volumes);
            if told.is_empty() {
                told.push(Stranger {
                    location: location.clone(),
                    priced_at: location.price_region(),
                    what: format!("what carries the tag {} with {name:?}", tags::BASTION),
                    called: name.clone(),
                    why: String::new(),
                    tagged: Some(name.clone()),
                    items: Vec::new(),
                    machine: None,
                });
            }
            sight.strangers.extend(told.into_iter().map(|stranger| Stranger { why: why.clone(), ..stranger }));
            continue;
        }
        let mut set = teardown::teardown(name, "", key, seen);
        let stays = |a: &ElasticIp| match existing.contains(&a.allocation) {
            true => Some(teardown::NAMED_BY_PLAN),
            false => ownership::keeps_address(a, seen, name),
        };
        let kept = teardown::keep_addresses(&mut set, seen, stays);
        set.notes.extend(kept.iter().map(|(address, why)| {
            let cost = bill(&location.price_region(), &[Item::one("public IPv4")], None);
            format!("{}; it costs {}", teardown::kept_note(address, why), cost.monthly_words())
        }));
        teardown::keep_groups(&mut set, key, seen);
        let kept: Vec<&str> = kept.iter().map(|(address, _)| address.allocation.as_str()).collect();
        set.steps.extend(teardown::stray_rules(name, key, seen, rules));
        sight.strangers.extend(tagged_strangers(name, &location, seen, volumes));
        let left: Vec<LeftVolume<'_>> = volumes.iter().filter_map(|v| v.left_of(name, seen)).collect();
        set.steps.extend(teardown::volumes(name, key, &left));
        let mut found = found(name, &location, seen, volumes, &set, &kept);
        if !found.has_machine {
            let groups = groups_of(name, seen, rules);
            let uses = doubts::in_use(name, seen, &groups, users);
            let used = uses.iter().filter(|one| one.is_more_than_tagged(name, &groups, seen));
            found.in_use = used.map(ToString::to_string).collect();
        }
        // A rule that goes with its group, which is here, too, is no bastion by itself; nor is one that is not ours by its words.
        if !found.parts.is_empty() || !found.in_use.is_empty() {
            sight.found.push((found, set));
        }
    }
    sight
}

fn found(
    name: &str,
    location: &Location,
    seen: &Observed,
    volumes: &[Volume],
    set: &Changeset<Action>,
    kept: &[&str],
) -> Found {
    let machines: Vec<&Instance> = seen.instances_of(name).collect();
    let instances = teardown::instances(name, seen).map(|i| Part {
        what: format!("instance {} ({})", i.id, i.state.as_str()),
        // A stopped one costs its volume only.
        items: match i.state {
            InstanceState::Pending | InstanceState::Running => vec![Item::one(format!("instance {}", i.instance_type))],
            _ => Vec::new(),
        },
        machine: Some(facts(i)),
    });
    let goes = |a: &&ElasticIp| !kept.contains(&a.allocation.as_str());
    let addresses = seen.addresses_of(name).filter(goes).map(|a| Part {
        what: format!("elastic IP {}", a.ip.map_or_else(|| a.allocation.clone(), |ip| ip.to_string())),
        items: vec![Item::one("public IPv4")],
        machine: None,
    });
    let volumes = volumes.iter().filter(|v| v.is_of(name, seen)).map(|v| Part {
        what: format!("volume {}", v.id),
        items: vec![Item::gp3(v.gib)],
        machine: None,
    });
    let plain = |what: String| Part { what, items: Vec::new(), machine: None };
    let groups = seen.groups_of(name).map(|g| plain(format!("security group {}", g.id)));
    let rules = set.steps.iter().filter(|step| step.resource.starts_with("rules for "));
    let rules = rules.map(|step| plain(step.resource.clone()));
    let parts: Vec<Part> = instances.chain(addresses).chain(volumes).chain(groups).chain(rules).collect();
    let dated: Vec<&Tags> = machines
        .iter()
        .map(|i| &i.tags)
        .chain(seen.addresses_of(name).map(|a| &a.tags))
        .chain(seen.groups_of(name).map(|g| &g.tags))
        .collect();
    let launched = machines.iter().filter_map(|i| i.launched).min();
    let expires = Expires::of(written_before(&dated, launched));
    Found {
        bastion: name.to_owned(),
        location: location.clone(),
        priced_at: location.price_region(),
        other_ends: other_ends(&expires, dated.iter().copied()),
        expires,
        has_machine: !machines.is_empty(),
        in_use: Vec::new(),
        guests: doubts::guests(name, seen).iter().map(ToString::to_string).collect(),
        busy: false,
        made: dated.iter().filter_map(|tags| began(tags)).chain(launched).min(),
        parts,
        notes: set.notes.clone(),
        protected: Vec::new(),
    }
}

fn facts(instance: &Instance) -> MachineFacts {
    MachineFacts {
        id: instance.id.clone(),
        name: instance.tags.get(tags::NAME).cloned(),
        machine_type: instance.instance_type.clone(),
        launched: instance.launched,
        launched_by: None,
        protected: None,
    }
}

/// What carries a bastion's tag and is not its own.
fn tagged_strangers(bastion: &str, location: &Location, seen: &Observed, volumes: &[Volume]) -> Vec<Stranger> {
    let called = |tags: &Tags| tags.get(tags::NAME).cloned().unwrap_or_default();
    let stranger =
        |what: String, called: String, doubt: &Doubt, items: Vec<Item>, machine: Option<MachineFacts>| Stranger {
            location: location.clone(),
            priced_at: location.price_region(),
            what,
            called,
            why: format!("it carries the tag {}={bastion} and is not gangplank's: {doubt}", tags::BASTION),
            tagged: Some(bastion.to_owned()),
            items,
            machine,
        };
    let tagged = ownership::strangers(seen, bastion).into_iter().map(|s| match s.resource {
        Tagged::Instance(i) => {
            let items = vec![Item::one(format!("instance {}", i.instance_type))];
            stranger(format!("instance {}", i.id), called(&i.tags), &s.doubt, items, Some(facts(i)))
        }
        Tagged::Address(a) => {
            let ip = a.ip.map_or_else(String::new, |ip| format!(" ({ip})"));
            let items = vec![Item::one("public IPv4")];
            stranger(format!("elastic IP {}{ip}", a.allocation), called(&a.tags), &s.doubt, items, None)
        }
        Tagged::Group(g) => {
            stranger(format!("security group {} ({})", g.id, g.name), g.name.clone(), &s.doubt, Vec::new(), None)
        }
    });
    let left = volumes.iter().filter(|v| tags::owns(&v.tags, bastion) && !v.is_of(bastion, seen)).map(|v| {
        let doubt = other_service(&v.tags).err().unwrap_or(Doubt::UnattachedVolume);
        stranger(format!("volume {}", v.id), called(&v.tags), &doubt, vec![Item::gp3(v.gib)], None)
    });
    tagged.chain(left).collect()
}

/// What is called as ours are and does not carry the tag.
fn strangers(key: &str, seen: &Observed, alike: &[Instance], volumes: &[Volume]) -> Vec<Stranger> {
    let location = region::location(key);
    let named = |tags: &Tags| tags.get(tags::NAME).is_some_and(|name| name.starts_with("gangplank-"));
    let untagged = |tags: &Tags| !tags.contains_key(tags::BASTION);
    let stranger = |what: String, called: &str, items: Vec<Item>, machine: Option<MachineFacts>| Stranger {
        location: location.clone(),
        priced_at: location.price_region(),
        what,
        called: called.to_owned(),
        why: format!("it is called as gangplank's own are and has no tag {}", tags::BASTION),
        tagged: None,
        items,
        machine,
    };
    let name = |tags: &Tags| tags.get(tags::NAME).cloned().unwrap_or_default();
    let instances = alike.iter().filter(|i| i.state.is_there() && untagged(&i.tags)).map(|i| {
        let item = Item::one(format!("instance {}", i.instance_type));
        stranger(format!("instance {}", i.id), &name(&i.tags), vec![item], Some(facts(i)))
    });
    let addresses = seen.addresses.iter().filter(|a| named(&a.tags) && untagged(&a.tags)).map(|a| {
        stranger(format!("elastic IP {}", a.allocation), &name(&a.tags), vec![Item::one("public IPv4")], None)
    });
    let groups = seen.groups.iter().filter(|g| g.name.starts_with("gangplank-") && untagged(&g.tags));
    let groups = groups.map(|g| stranger(format!("security group {} ({})", g.id, g.name), &g.name, Vec::new(), None));
    let volumes = volumes.iter().filter(|v| untagged(&v.tags));
    let volumes = volumes.map(|v| stranger(format!("volume {}", v.id), &name(&v.tags), vec![Item::gp3(v.gib)], None));
    instances.chain(addresses).chain(groups).chain(volumes).collect()
}
