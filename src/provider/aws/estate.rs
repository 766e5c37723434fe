//! All that gangplank has in an account, by its tags and without a plan. Six calls a region, however many bastions there are (pages
//! aside), and one for the list of regions.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, VolumeState};
use futures_util::future::join_all;

use super::{
    action::Action,
    api::{Ec2, NotConnected},
    convert,
    fleet::{FleetPerformer, identified},
    identity,
    observe::{self, PAGE, pages},
    observed::{Instance, InstanceState, Observed},
    region,
    retry::Repeat,
    tags::{self, Tags},
    teardown::{self, LeftVolume, TaggedRule},
};
use crate::{
    changeset::{Changeset, StepId},
    cost::Item,
    event::Watcher,
    location::Location,
    provider::{CloudError, Progress, clouds::Clouds, identity::IdentifiedAccount},
    reap::{Expires, Found, Part, Stranger, began, is_name},
};

/// Where the list of regions is asked for when nothing names one: no account is without it.
const ANY_REGION: &str = "us-east-1";

/// Regions of one account, as one identity.
pub struct Estate {
    /// Where what is of no region is asked for.
    first: Ec2,
    profile: Option<String>,
    /// By key: `us-east-1`, or `profile@us-east-1`.
    regions: Vec<(String, Ec2)>,
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
    attached: bool,
    left: Left,
    tags: Tags,
}

/// Who has to take a volume away.
enum Left {
    /// It is attached to nothing and can be deleted.
    Now,
    /// It would stay when this instance ends: somebody has changed what becomes of it.
    After(String),
    /// It goes with its instance, or EC2 is at work on it.
    Never,
}

impl Volume {
    /// What takes it away with the bastion, where nothing else does.
    fn left_of(&self, bastion: &str, instances: &[&Instance]) -> Option<LeftVolume<'_>> {
        let after = match &self.left {
            Left::Now => None,
            Left::After(id) if instances.iter().any(|i| i.id == *id && tags::owns(&i.tags, bastion)) => {
                Some(id.as_str())
            }
            Left::After(_) | Left::Never => None?,
        };
        tags::owns(&self.tags, bastion).then_some(LeftVolume { id: &self.id, gib: self.gib, after })
    }
}

impl Estate {
    /// As one identity, with no region yet. Nobody is asked.
    ///
    /// # Errors
    /// What has to be corrected before anybody can be called.
    pub async fn open(profile: Option<&str>, regions: &[String], clouds: &Clouds) -> Result<Self, CloudError> {
        let first = match clouds.ec2(profile, regions.first().map(String::as_str)).await {
            Ok(ec2) => ec2,
            Err(NotConnected::NoRegion) => {
                clouds.ec2(profile, Some(ANY_REGION)).await.map_err(NotConnected::into_error)?
            }
            Err(other) => return Err(other.into_error()),
        };
        Ok(Self { first, profile: profile.map(str::to_owned), regions: Vec::new() })
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
        let each = self.regions.iter().map(async |(key, ec2)| (region::location(key), look(key, ec2, watcher).await));
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

async fn look(key: &str, ec2: &Ec2, watcher: &dyn Watcher) -> Result<Sight, CloudError> {
    let step = StepId(format!("{key}/observe"));
    let progress = Progress { step: &step, watcher };
    let none = BTreeSet::new();
    let (seen, alike, rules, volumes) = tokio::try_join!(
        observe::observe(ec2, &none, &progress),
        observe::instances_named_alike(ec2, &progress),
        tagged_rules(ec2, &progress),
        volumes(ec2, &progress),
    )?;
    Ok(sight(key, &seen, &alike, &rules, &volumes))
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
            attached: !volume.attachments().is_empty(),
            left: left(volume),
            tags: convert::tags(volume.tags()),
        })
    };
    Ok(pages!(ec2, progress, "DescribeVolumes", request, PAGE, volumes, convert))
}

fn left(volume: &aws_sdk_ec2::types::Volume) -> Left {
    match (volume.state(), volume.attachments()) {
        (Some(VolumeState::Available), []) => Left::Now,
        (Some(VolumeState::InUse), [only]) if only.delete_on_termination() == Some(false) => {
            only.instance_id().map_or(Left::Never, |id| Left::After(id.to_owned()))
        }
        _ => Left::Never,
    }
}

fn sight(key: &str, seen: &Observed, alike: &[Instance], rules: &[TaggedRule], volumes: &[Volume]) -> Sight {
    let location = region::location(key);
    let there = |instance: &&Instance| instance.state != InstanceState::Terminated;
    let instances: Vec<&Instance> = seen.instances.iter().filter(there).collect();
    let tags = instances.iter().map(|i| &i.tags);
    let tags = tags.chain(seen.addresses.iter().map(|a| &a.tags)).chain(seen.groups.iter().map(|g| &g.tags));
    let owners = tags.filter_map(|tags| tags.get(tags::BASTION).cloned());
    // One that is attached is no bastion by itself: it goes with its machine, or after it.
    let free =
        volumes.iter().filter(|v| matches!(v.left, Left::Now)).filter_map(|v| v.tags.get(tags::BASTION).cloned());
    let names: BTreeSet<String> = owners.chain(rules.iter().map(|rule| rule.bastion.clone())).chain(free).collect();
    let mut sight = Sight { found: Vec::new(), strangers: strangers(key, seen, alike, volumes) };
    for name in &names {
        if !is_name(name) {
            sight.strangers.push(Stranger {
                location: location.clone(),
                priced_at: location.price_region(),
                what: format!("what carries the tag {} with {name:?}", tags::BASTION),
                called: name.clone(),
                why: "no plan can have that name".to_owned(),
                tagged: Some(name.clone()),
                items: Vec::new(),
                machine: None,
            });
            continue;
        }
        let mut set = teardown::teardown(name, "", key, seen);
        set.steps.extend(teardown::stray_rules(name, key, seen, rules));
        let left: Vec<LeftVolume<'_>> = volumes.iter().filter_map(|v| v.left_of(name, &instances)).collect();
        set.steps.extend(teardown::volumes(name, key, &left));
        let found = found(name, &location, seen, &instances, volumes, &set);
        // A rule that goes with its group, which is here, too, is no bastion by itself; nor is one that is not ours by its words.
        if !found.parts.is_empty() {
            sight.found.push((found, set));
        }
    }
    sight
}

fn found(
    name: &str,
    location: &Location,
    seen: &Observed,
    instances: &[&Instance],
    volumes: &[Volume],
    set: &Changeset<Action>,
) -> Found {
    let machines: Vec<&Instance> = seen.instances_of(name).collect();
    let own = |tags: &Tags| tags::owns(tags, name);
    let instances = instances.iter().filter(|i| own(&i.tags)).map(|i| Part {
        what: format!("instance {} ({})", i.id, i.state.as_str()),
        // A stopped one costs its volume only.
        items: match i.state {
            InstanceState::Pending | InstanceState::Running => vec![Item::one(format!("instance {}", i.instance_type))],
            _ => Vec::new(),
        },
        machine: None,
    });
    let addresses = seen.addresses_of(name).map(|a| Part {
        what: format!("elastic IP {}", a.ip.map_or_else(|| a.allocation.clone(), |ip| ip.to_string())),
        items: vec![Item::one("public IPv4")],
        machine: None,
    });
    let volumes = volumes.iter().filter(|v| own(&v.tags)).map(|v| Part {
        what: format!("volume {}{}", v.id, if v.attached { "" } else { " (attached to nothing)" }),
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
    Found {
        bastion: name.to_owned(),
        location: location.clone(),
        priced_at: location.price_region(),
        expires: Expires::of(dated.iter().copied()),
        has_machine: !machines.is_empty(),
        busy: false,
        made: dated.iter().filter_map(|tags| began(tags)).chain(launched).min(),
        parts,
        notes: set.notes.clone(),
        protected: Vec::new(),
    }
}

/// What is called as ours are and does not carry the tag.
fn strangers(key: &str, seen: &Observed, alike: &[Instance], volumes: &[Volume]) -> Vec<Stranger> {
    let location = region::location(key);
    let named = |tags: &Tags| tags.get(tags::NAME).is_some_and(|name| name.starts_with("gangplank-"));
    let untagged = |tags: &Tags| !tags.contains_key(tags::BASTION);
    let stranger = |what: String, called: &str, items: Vec<Item>| Stranger {
        location: location.clone(),
        priced_at: location.price_region(),
        what,
        called: called.to_owned(),
        why: format!("it is called as gangplank's own are and has no tag {}", tags::BASTION),
        tagged: None,
        items,
        machine: None,
    };
    let name = |tags: &Tags| tags.get(tags::NAME).cloned().unwrap_or_default();
    let instances = alike.iter().filter(|i| i.state.is_there() && untagged(&i.tags)).map(|i| {
        let item = Item::one(format!("instance {}", i.instance_type));
        stranger(format!("instance {}", i.id), &name(&i.tags), vec![item])
    });
    let addresses = seen
        .addresses
        .iter()
        .filter(|a| named(&a.tags) && untagged(&a.tags))
        .map(|a| stranger(format!("elastic IP {}", a.allocation), &name(&a.tags), vec![Item::one("public IPv4")]));
    let groups = seen.groups.iter().filter(|g| g.name.starts_with("gangplank-") && untagged(&g.tags));
    let groups = groups.map(|g| stranger(format!("security group {} ({})", g.id, g.name), &g.name, Vec::new()));
    let volumes = volumes.iter().filter(|v| untagged(&v.tags));
    let volumes = volumes.map(|v| stranger(format!("volume {}", v.id), &name(&v.tags), vec![Item::gp3(v.gib)]));
    instances.chain(addresses).chain(groups).chain(volumes).collect()
}
