//! What is a bastion's own: its tag, and a second mark that a right to tag cannot make. Pure.
//!
//! | Resource | The second mark | The right that makes it |
//! | --- | --- | --- |
//! | security group | its name, `gangplank-NAME`, which EC2 never changes | CreateSecurityGroup |
//! | instance | it is in such a group of the same bastion (and has a well-formed boot tag) | RunInstances, ModifyInstanceAttribute |
//! | address | it leads to such an instance, or a rule of such a group names it | AssociateAddress, AuthorizeSecurityGroupEgress |
//!
//! The description of a group, which EC2 never changes either, says where the address comes from ([`AddressOrigin`]): an address that the
//! plan brings leads to the bastion's machine, too, and a tag must not make it gangplank's.
//!
//! What carries the tag and lacks the mark, or carries a tag of another AWS service (`aws:...`, which only AWS can set), is a
//! [`Stranger`]: it is told and left alone.

use std::{fmt, net::IpAddr};

use super::{
    action::Displaced,
    observed::{Attachment, ElasticIp, Group, Instance, Observed},
    rule::{Peer, Protocol, Rule, Rules},
    tags::{self, Tags},
};
use crate::provider::boot;

/// Tags with this prefix are set by AWS alone: EC2 User Guide, "Tag restrictions".
const SERVICE_TAGS: &str = "aws:";

/// The port of the rule that marks an address: updates leave through it to everywhere, so that the rule opens nothing more.
const MARK_PORT: u16 = 443;

/// Why something that carries a bastion's tag is not its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another service of AWS has made or manages it: its tag.
    OtherService(String),
    /// The group is not called as gangplank calls the bastion's.
    GroupName { is: String, expected: String },
    /// None of the instance's groups is one of the bastion's own.
    OutsideGroup,
    /// The instance has no tag `gangplank:boot` of the form that gangplank writes.
    BootTag,
    /// No rule of the bastion's own groups names the address, and it leads to none of its machines.
    UnmarkedAddress { leads_to: Option<String> },
    /// The bastion's group says that its plan brings the address.
    BroughtByPlan,
    /// The volume is attached to no machine of the bastion.
    UnattachedVolume,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::OtherService(tag) => write!(f, "its tag {tag} says that another AWS service manages it"),
            Doubt::GroupName { is, expected } => write!(f, "its name is {is}, and gangplank's group is {expected}"),
            Doubt::OutsideGroup => f.write_str("it is in none of the bastion's own security groups"),
            Doubt::BootTag => write!(f, "it has no tag {} as gangplank writes it", tags::BOOT),
            Doubt::UnmarkedAddress { leads_to: None } => f.write_str(
                "it leads to no machine of the bastion, and no rule of the bastion's security group names it",
            ),
            Doubt::UnmarkedAddress { leads_to: Some(id) } => {
                write!(
                    f,
                    "it leads to {id}, which is not the bastion's, and no rule of the bastion's security group names it"
                )
            }
            Doubt::BroughtByPlan => f.write_str(
                "the bastion's security group says that its plan brings an address, and no rule of it names this one",
            ),
            Doubt::UnattachedVolume => {
                f.write_str("it is attached to no machine of the bastion, and a tag alone proves nothing")
            }
        }
    }
}

/// What an instance that was to be ended has become since that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Untagged,
    Doubtful(Doubt),
    /// It holds this public address, and another machine was to have its place.
    Serves(String),
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Changed::Untagged => write!(f, "it no longer carries the bastion's tag {}", tags::BASTION),
            Changed::Doubtful(doubt) => doubt.fmt(f),
            Changed::Serves(ip) => write!(f, "the public address {ip} leads to it"),
        }
    }
}

/// Whether an instance is not any more what it was when its end was decided. `within` are the bastion's own groups that it was in.
pub fn changed(
    instance: &Instance,
    bastion: &str,
    within: &[String],
    displaced: Option<&Displaced>,
) -> Option<Changed> {
    if !tags::owns(&instance.tags, bastion) {
        return Some(Changed::Untagged);
    }
    if let Err(doubt) = made_by_us(instance) {
        return Some(Changed::Doubtful(doubt));
    }
    if !groups_of_interfaces(instance).any(|id| within.contains(id)) {
        return Some(Changed::Doubtful(Doubt::OutsideGroup));
    }
    let holds = instance.public_ip.as_ref();
    let may_hold = |displaced: &Displaced| holds.is_none() || holds == displaced.holds.as_ref();
    displaced.filter(|displaced| !may_hold(displaced)).and(holds).cloned().map(Changed::Serves)
}

/// The bastion's own groups that an instance is in.
pub fn own_groups(instance: &Instance, seen: &Observed, bastion: &str) -> Vec<String> {
    let own = |id: &&String| seen.groups_of(bastion).any(|g| g.id == **id);
    let mut ids: Vec<String> = groups_of_interfaces(instance).filter(own).cloned().collect();
    ids.sort();
    ids.dedup();
    ids
}

pub(super) fn groups_of_interfaces(instance: &Instance) -> impl Iterator<Item = &String> {
    instance.groups.iter().chain(instance.interfaces.iter().flat_map(|i| &i.groups))
}

/// What the name of every bastion's own group begins with.
pub const PREFIX: &str = "gangplank-";

/// The name of a bastion's own group.
pub fn group_name(bastion: &str) -> String {
    format!("{PREFIX}{bastion}")
}

/// Where a bastion's address comes from, as its group's description tells from the group's creation on. Groups of earlier versions do
/// not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOrigin {
    /// The plan names it: it was there before, and stays.
    Plan,
    /// gangplank allocates it, and a rule of the group names it.
    Allocated,
}

impl AddressOrigin {
    fn words(self) -> &'static str {
        match self {
            Self::Plan => "; the plan brings its address",
            Self::Allocated => "; a rule here names its address",
        }
    }

    pub fn of(group: &Group) -> Option<Self> {
        [Self::Plan, Self::Allocated].into_iter().find(|origin| group.description.ends_with(origin.words()))
    }
}

/// The description of a bastion's group.
pub fn group_description(bastion: &str, origin: AddressOrigin) -> String {
    format!("SSH bastion {bastion}, managed by gangplank{}", origin.words())
}

/// Why an address of the bastion's own is not released where no plan says that it may be: nothing that only gangplank can have made
/// says that gangplank has allocated it.
pub fn keeps_address(address: &ElasticIp, seen: &Observed, bastion: &str) -> Option<&'static str> {
    let has = |origin| seen.groups_of(bastion).any(|g| AddressOrigin::of(g) == Some(origin));
    let marked = seen.groups_of(bastion).any(|g| is_marked(g, address, bastion));
    match (has(AddressOrigin::Plan), has(AddressOrigin::Allocated) && !marked) {
        (true, _) => Some("the bastion's security group says that its plan brings the address"),
        (false, true) => Some("no rule of the bastion's security group names it"),
        (false, false) => None,
    }
}

/// Whether a group with the bastion's tag is its own.
///
/// # Errors
/// Why it is not.
pub fn group(group: &Group, bastion: &str) -> Result<(), Doubt> {
    other_service(&group.tags)?;
    let expected = group_name(bastion);
    if group.name == expected { Ok(()) } else { Err(Doubt::GroupName { is: group.name.clone(), expected }) }
}

/// Whether an instance with the bastion's tag, which is not on its way out, is its own.
///
/// # Errors
/// Why it is not.
pub fn instance(instance: &Instance, seen: &Observed, bastion: &str) -> Result<(), Doubt> {
    made_by_us(instance)?;
    let mut groups = groups_of_interfaces(instance);
    if groups.any(|id| seen.groups_of(bastion).any(|g| g.id == *id)) { Ok(()) } else { Err(Doubt::OutsideGroup) }
}

/// What the tags of an instance say by themselves. Of one that is on its way out nothing else is left: EC2 takes its interfaces.
///
/// # Errors
/// Why it is not gangplank's.
pub fn made_by_us(instance: &Instance) -> Result<(), Doubt> {
    other_service(&instance.tags)?;
    let boot = instance.tags.get(tags::BOOT);
    if boot.is_some_and(|text| boot::is_well_formed(text)) { Ok(()) } else { Err(Doubt::BootTag) }
}

/// Whether an address with the bastion's tag is its own.
///
/// # Errors
/// Why it is not.
pub fn address(address: &ElasticIp, seen: &Observed, bastion: &str) -> Result<(), Doubt> {
    other_service(&address.tags)?;
    let leads_to = match &address.attached {
        Some(Attachment::Instance(id)) => {
            if seen.instances_of(bastion).any(|i| i.id == *id) {
                let brought = seen.groups_of(bastion).any(|g| AddressOrigin::of(g) == Some(AddressOrigin::Plan));
                let marked = seen.groups_of(bastion).any(|g| is_marked(g, address, bastion));
                return if brought && !marked { Err(Doubt::BroughtByPlan) } else { Ok(()) };
            }
            Some(id.clone())
        }
        Some(Attachment::Interface(id)) => Some(id.clone()),
        None => None,
    };
    if seen.groups_of(bastion).any(|g| is_marked(g, address, bastion)) {
        Ok(())
    } else {
        Err(Doubt::UnmarkedAddress { leads_to })
    }
}

/// The rule of the bastion's group that says that an address is its own, with its description.
pub fn address_mark(bastion: &str, allocation: &str, ip: IpAddr) -> (Rule, String) {
    (Rule::tcp(MARK_PORT, Peer::Net(ip.into())), format!("{}{allocation}", mark_prefix(bastion)))
}

pub fn is_marked(group: &Group, address: &ElasticIp, bastion: &str) -> bool {
    address.ip.is_some_and(|ip| {
        let (rule, description) = address_mark(bastion, &address.allocation, ip);
        group.egress.get(&rule) == Some(&description)
    })
}

/// The marks of addresses among the rules of a bastion's group, each with the allocation that it names.
pub fn marks<'a>(rules: &'a Rules, bastion: &str) -> impl Iterator<Item = (&'a Rule, &'a str)> {
    let prefix = mark_prefix(bastion);
    rules.iter().filter_map(move |(rule, description)| {
        let allocation = description.strip_prefix(prefix.as_str())?;
        let one = matches!(&rule.peer, Peer::Net(net) if net.prefix_len() == net.max_prefix_len());
        let port = rule.protocol == Protocol::Tcp { from: MARK_PORT, to: MARK_PORT };
        (one && port).then_some((rule, allocation))
    })
}

/// An address that the group of a bastion names and EC2 does not list. Where the bastion's machine has ended, an earlier removal has
/// released it.
pub fn unlisted_address(seen: &Observed) -> Option<&str> {
    let named = seen.groups.iter().filter_map(|group| {
        let bastion = group.tags.get(tags::BASTION).filter(|bastion| self::group(group, bastion).is_ok())?;
        let ended = |i: &Instance| i.tags.get(tags::BASTION) == Some(bastion) && !i.state.is_there();
        (!seen.instances.iter().any(ended)).then(|| marks(&group.egress, bastion).map(|(_, allocation)| allocation))
    });
    let listed = |allocation: &str| seen.addresses.iter().any(|address| address.allocation == allocation);
    named.flatten().find(|allocation| !listed(allocation))
}

fn mark_prefix(bastion: &str) -> String {
    format!("gangplank:{bastion} address ")
}

/// Whether an address is what an interrupted run has allocated and could not mark any more: it leads nowhere and carries exactly
/// the tags of the plan's own call, but for the end. Enough to use it, not enough to release it.
pub fn is_abandoned(address: &ElasticIp, of_the_call: &Tags) -> bool {
    let plain = |tags: &Tags| -> Tags {
        let of_the_end = [tags::EXPIRES, tags::LIFETIME, tags::EXTENDED];
        tags.iter()
            .filter(|(key, _)| !of_the_end.contains(&key.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    address.attached.is_none() && plain(&address.tags) == plain(of_the_call)
}

/// The tag of another bastion on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignTag<'a> {
    /// Nothing but the tag says so.
    Alone(&'a str),
    /// A rule of that bastion's group names the address, or it leads to that bastion's machine.
    Claimed(&'a str),
}

pub fn foreign_tag<'a>(address: &'a ElasticIp, seen: &Observed, bastion: &str) -> Option<ForeignTag<'a>> {
    let owner = address.tags.get(tags::BASTION).filter(|owner| *owner != bastion)?;
    let called = group_name(owner);
    let names_it = seen.groups.iter().any(|g| g.name == called && is_marked(g, address, owner));
    let leads_there =
        seen.instances_of(owner).any(|i| address.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
    Some(if names_it || leads_there { ForeignTag::Claimed(owner) } else { ForeignTag::Alone(owner) })
}

/// An address that has lost the bastion's tag, or has another one that nothing else bears out, while it leads to the bastion's machine and
/// a rule of its group names it: it is used, and tagged again. Without the tag it is not released.
pub fn lost_its_tag<'a>(seen: &'a Observed, bastion: &str) -> Option<&'a ElasticIp> {
    let is_free = |a: &ElasticIp| matches!(foreign_tag(a, seen, bastion), None | Some(ForeignTag::Alone(_)));
    let is_untagged = |a: &&ElasticIp| !tags::owns(&a.tags, bastion) && is_free(a) && other_service(&a.tags).is_ok();
    let leads_here = |a: &&ElasticIp| {
        let here = |id: &String| seen.instances_of(bastion).any(|i| i.id == *id);
        matches!(&a.attached, Some(Attachment::Instance(id)) if here(id))
    };
    let is_named = |a: &&ElasticIp| seen.groups_of(bastion).any(|g| is_marked(g, a, bastion));
    seen.addresses.iter().filter(is_untagged).filter(is_named).find(leads_here)
}

/// The tag of another AWS service, where there is one.
///
/// # Errors
/// That tag.
pub fn other_service(tags: &Tags) -> Result<(), Doubt> {
    match tags.keys().find(|key| key.starts_with(SERVICE_TAGS)) {
        Some(key) => Err(Doubt::OtherService(key.clone())),
        None => Ok(()),
    }
}

/// Something that carries a bastion's tag and is not its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Stranger<'a> {
    pub resource: Tagged<'a>,
    pub doubt: Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tagged<'a> {
    Instance(&'a Instance),
    Address(&'a ElasticIp),
    Group(&'a Group),
}

impl Stranger<'_> {
    pub fn id(&self) -> &str {
        match self.resource {
            Tagged::Instance(instance) => &instance.id,
            Tagged::Address(address) => &address.allocation,
            Tagged::Group(group) => &group.id,
        }
    }

    /// `instance i-0abc (prod-payments-db, m5.large, launched 2026-01-31T00:00:00Z)`
    pub fn what(&self) -> String {
        match self.resource {
            Tagged::Instance(instance) => format!("instance {}", instance_words(instance)),
            Tagged::Address(address) => {
                let name = address.tags.get(tags::NAME).map(|name| format!("{name}, ")).unwrap_or_default();
                let ip = address.ip.map_or_else(|| "no address".to_owned(), |ip| ip.to_string());
                format!("elastic IP {} ({name}{ip})", address.allocation)
            }
            Tagged::Group(group) => format!("security group {} ({})", group.id, group.name),
        }
    }

    pub fn note(&self, bastion: &str) -> String {
        format!(
            "{} carries the tag {}={bastion} and is not gangplank's: {}; it is left alone",
            self.what(),
            tags::BASTION,
            self.doubt
        )
    }
}

/// An instance as people recognise it.
pub fn instance_words(instance: &Instance) -> String {
    let name = instance.tags.get(tags::NAME).cloned();
    let launched = instance.launched.map(|at| format!("launched {at}"));
    let facts = [name, Some(instance.instance_type.clone()), launched, Some(instance.state.as_str().to_owned())];
    let facts: Vec<String> = facts.into_iter().flatten().filter(|fact| !fact.is_empty()).collect();
    format!("{} ({})", instance.id, facts.join(", "))
}

/// Everything that carries a bastion's tag and is not its own, machines first.
pub fn strangers<'a>(seen: &'a Observed, bastion: &str) -> Vec<Stranger<'a>> {
    let tagged = |tags: &Tags| tags::owns(tags, bastion);
    let there = seen.instances.iter().filter(|i| tagged(&i.tags) && i.state.is_there());
    let instances = there
        .filter_map(|i| Some(Stranger { doubt: instance(i, seen, bastion).err()?, resource: Tagged::Instance(i) }));
    let addresses = seen.addresses.iter().filter(|a| tagged(&a.tags));
    let addresses = addresses
        .filter_map(|a| Some(Stranger { doubt: address(a, seen, bastion).err()?, resource: Tagged::Address(a) }));
    let groups = seen.groups.iter().filter(|g| tagged(&g.tags));
    let groups = groups.filter_map(|g| Some(Stranger { doubt: group(g, bastion).err()?, resource: Tagged::Group(g) }));
    instances.chain(addresses).chain(groups).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::aws::observed::{InstanceState, MetadataOptions};

    const BASTION: &str = "warehouse";
    const BOOT: &str =
        "document=0123456789ab keys=live-0123456789ab tunnels=0123456789ab sshd=0123456789ab system=0123456789ab";

    fn tagged(more: &[(&str, &str)]) -> Tags {
        let own = [(tags::BASTION, BASTION)];
        own.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn machine(id: &str, group: &str, tags: Tags) -> Instance {
        Instance {
            id: id.to_owned(),
            state: InstanceState::Running,
            instance_type: "t4g.nano".to_owned(),
            image: "ami-1".to_owned(),
            subnet: "subnet-1".to_owned(),
            vpc: "vpc-1".to_owned(),
            groups: vec![group.to_owned()],
            metadata: MetadataOptions::wanted(true),
            private_ip: None,
            public_ip: None,
            launched: None,
            parts: Vec::new(),
            interfaces: Vec::new(),
            profile: None,
            key_pair: None,
            tags,
        }
    }

    fn address_of(allocation: &str, attached: Option<Attachment>, tags: Tags) -> ElasticIp {
        ElasticIp {
            border_group: None,
            allocation: allocation.to_owned(),
            ip: "203.0.113.7".parse().ok(),
            attached,
            counts: true,
            tags,
        }
    }

    fn group_of(id: &str, name: &str, tags: Tags) -> Group {
        let (id, name, vpc, description) = (id.to_owned(), name.to_owned(), "vpc-1".to_owned(), String::new());
        Group { id, name, description, vpc, ingress: Rules::new(), egress: Rules::new(), tags }
    }

    /// A bastion as gangplank makes it.
    fn standing() -> Observed {
        let mut group = group_of("sg-1", "gangplank-warehouse", tagged(&[]));
        group.egress.extend([address_mark(BASTION, "eipalloc-1", "203.0.113.7".parse().expect("an address"))]);
        Observed {
            instances: vec![machine("i-1", "sg-1", tagged(&[(tags::BOOT, BOOT)]))],
            addresses: vec![address_of("eipalloc-1", Some(Attachment::Instance("i-1".to_owned())), tagged(&[]))],
            groups: vec![group],
            ..Observed::default()
        }
    }

    fn own_ids(seen: &Observed) -> Vec<&str> {
        let instances = seen.instances_of(BASTION).map(|i| i.id.as_str());
        let addresses = seen.addresses_of(BASTION).map(|a| a.allocation.as_str());
        instances.chain(addresses).chain(seen.groups_of(BASTION).map(|g| g.id.as_str())).collect()
    }

    #[test]
    fn an_address_that_a_group_names_is_missed_while_its_machine_has_not_ended() {
        let mut seen = standing();
        assert_eq!(unlisted_address(&seen), None);
        seen.addresses.clear();
        assert_eq!(unlisted_address(&seen), Some("eipalloc-1"));
        let mut foreign = seen.clone();
        foreign.groups[0].name = "gangplank-reports".to_owned();
        assert_eq!(unlisted_address(&foreign), None, "the group of another");
        seen.instances[0].state = InstanceState::Terminated;
        assert_eq!(unlisted_address(&seen), None, "an earlier removal has released it");
    }

    #[test]
    fn what_gangplank_makes_is_its_own() {
        let seen = standing();
        assert_eq!(own_ids(&seen), ["i-1", "eipalloc-1", "sg-1"]);
        assert_eq!(strangers(&seen, BASTION), []);
        assert_eq!(strangers(&seen, "reports"), []);
    }

    #[test]
    fn tags_alone_make_nothing_its_own() {
        let mut seen = standing();
        let payments = machine("i-prod", "sg-default", tagged(&[("Name", "prod-payments-db"), (tags::BOOT, BOOT)]));
        seen.instances.push(payments);
        seen.addresses.push(address_of("eipalloc-spare", None, tagged(&[("Name", "gangplank-warehouse")])));
        seen.addresses.push(ElasticIp {
            ip: "203.0.113.8".parse().ok(),
            ..address_of("eipalloc-prod", Some(Attachment::Instance("i-prod".to_owned())), tagged(&[]))
        });
        seen.groups.push(group_of("sg-prod", "production", tagged(&[])));
        assert_eq!(own_ids(&seen), ["i-1", "eipalloc-1", "sg-1"]);
        let found = strangers(&seen, BASTION);
        assert_eq!(
            found.iter().map(Stranger::id).collect::<Vec<_>>(),
            ["i-prod", "eipalloc-spare", "eipalloc-prod", "sg-prod"]
        );
        let note = found[0].note(BASTION);
        assert!(
            note.contains("prod-payments-db") && note.contains("t4g.nano") && note.contains("left alone"),
            "{note}"
        );
    }

    #[test]
    fn a_machine_in_the_group_needs_a_boot_tag_too() {
        let mut seen = standing();
        for boot in [None, Some(""), Some("document=0123"), Some("document=0123456789ab; rm"), Some("yes")] {
            let tags = boot.map_or_else(|| tagged(&[]), |boot| tagged(&[(tags::BOOT, boot)]));
            seen.instances = vec![machine("i-2", "sg-1", tags)];
            assert_eq!(strangers(&seen, BASTION)[0].doubt, Doubt::BootTag, "{boot:?}");
        }
    }

    #[test]
    fn what_another_service_manages_is_never_its_own() {
        for key in
            ["aws:autoscaling:groupName", "aws:backup:source-resource", "aws:cloudformation:stack-name", "aws:dlm:x"]
        {
            let mut seen = standing();
            let other = |tags: &mut Tags| _ = tags.insert(key.to_owned(), "x".to_owned());
            seen.instances.iter_mut().for_each(|i| other(&mut i.tags));
            seen.addresses.iter_mut().for_each(|a| other(&mut a.tags));
            seen.groups.iter_mut().for_each(|g| other(&mut g.tags));
            assert_eq!(own_ids(&seen), [""; 0]);
            assert!(strangers(&seen, BASTION).iter().all(|s| s.doubt == Doubt::OtherService(key.to_owned())));
        }
    }

    #[test]
    fn an_address_stays_its_own_when_the_machine_is_gone() {
        let mut seen = standing();
        seen.instances.clear();
        seen.addresses[0].attached = None;
        assert_eq!(own_ids(&seen), ["eipalloc-1", "sg-1"]);
        // The mark names this allocation and this address, in this bastion's own group.
        seen.addresses[0].allocation = "eipalloc-2".to_owned();
        assert_eq!(own_ids(&seen), ["sg-1"]);
        seen = standing();
        seen.addresses[0].attached = None;
        seen.addresses[0].ip = "203.0.113.9".parse().ok();
        assert_eq!(own_ids(&seen), ["i-1", "sg-1"]);
        seen = standing();
        seen.addresses[0].attached = None;
        seen.groups[0].name = "production".to_owned();
        assert_eq!(own_ids(&seen), [""; 0]);
    }

    #[test]
    fn an_address_that_the_plan_brings_is_not_its_own_by_leading_to_its_machine() {
        let mut seen = standing();
        seen.groups[0].egress.clear();
        for (origin, own, kept) in [
            (None, true, false),
            (Some(AddressOrigin::Allocated), true, true),
            (Some(AddressOrigin::Plan), false, true),
        ] {
            let described = |origin| group_description(BASTION, origin);
            seen.groups[0].description = origin.map_or_else(String::new, described);
            assert_eq!(AddressOrigin::of(&seen.groups[0]), origin);
            assert_eq!(seen.addresses_of(BASTION).count() == 1, own, "{origin:?}");
            assert_eq!(keeps_address(&seen.addresses[0], &seen, BASTION).is_some(), kept, "{origin:?}");
        }
    }

    #[test]
    fn an_abandoned_address_has_the_tags_of_the_call_and_no_others() {
        let call =
            tagged(&[("Name", "gangplank-warehouse"), ("team", "data"), (tags::EXPIRES, "2027-01-01T00:00:00Z")]);
        let earlier =
            tagged(&[("Name", "gangplank-warehouse"), ("team", "data"), (tags::EXPIRES, "2026-12-31T00:00:00Z")]);
        assert!(is_abandoned(&address_of("eipalloc-2", None, earlier.clone()), &call));
        let here = Some(Attachment::Instance("i-9".to_owned()));
        assert!(!is_abandoned(&address_of("eipalloc-2", here, earlier.clone()), &call));
        assert!(!is_abandoned(&address_of("eipalloc-2", None, tagged(&[])), &call), "one tag is not enough");
        let mut more = earlier;
        more.insert("env".to_owned(), "production".to_owned());
        assert!(!is_abandoned(&address_of("eipalloc-2", None, more), &call), "somebody else's tag");
    }

    #[test]
    fn what_has_changed_since_the_question_is_seen() {
        let within = ["sg-1".to_owned()];
        let plain = machine("i-1", "sg-1", tagged(&[(tags::BOOT, BOOT)]));
        let after = |change: &dyn Fn(&mut Instance), displaced: Option<&Displaced>| {
            let mut instance = plain.clone();
            change(&mut instance);
            changed(&instance, BASTION, &within, displaced)
        };
        let ip = |i: &mut Instance| i.public_ip = Some("203.0.113.7".to_owned());
        assert_eq!(after(&|_| {}, None), None);
        assert_eq!(after(&|i| _ = i.tags.remove(tags::BASTION), None), Some(Changed::Untagged));
        let other = |i: &mut Instance| _ = i.tags.insert(tags::BASTION.to_owned(), "reports".to_owned());
        assert_eq!(after(&other, None), Some(Changed::Untagged));
        assert_eq!(after(&|i| i.groups.clear(), None), Some(Changed::Doubtful(Doubt::OutsideGroup)));
        let managed = |i: &mut Instance| _ = i.tags.insert("aws:autoscaling:groupName".to_owned(), "web".to_owned());
        assert!(matches!(after(&managed, None), Some(Changed::Doubtful(Doubt::OtherService(_)))));
        // What is destroyed may serve; what another machine has displaced may not.
        assert_eq!(after(&ip, None), None);
        let nothing = Displaced { holds: None };
        assert_eq!(after(&ip, Some(&nothing)), Some(Changed::Serves("203.0.113.7".to_owned())));
        assert_eq!(after(&ip, Some(&Displaced { holds: Some("203.0.113.7".to_owned()) })), None);
        assert_eq!(after(&|_| {}, Some(&nothing)), None);
    }

    proptest! {
        /// Whatever somebody who may only tag writes on what is not the bastion's, nothing of it becomes the bastion's own.
        #[test]
        fn no_tags_make_an_owner(
            forged in proptest::collection::btree_map("(gangplank:(boot|image|expires|host-key)|Name|team)", ".{0,40}", 0..5),
            well_formed: bool,
        ) {
            let mut seen = standing();
            let mut tags: Tags = forged;
            tags.insert(tags::BASTION.to_owned(), BASTION.to_owned());
            if well_formed {
                tags.insert(tags::BOOT.to_owned(), BOOT.to_owned());
            }
            seen.instances.push(machine("i-prod", "sg-default", tags.clone()));
            seen.addresses.push(ElasticIp { ip: "203.0.113.8".parse().ok(), ..address_of("eipalloc-prod", None, tags.clone()) });
            seen.groups.push(group_of("sg-prod", "production", tags));
            prop_assert_eq!(own_ids(&seen), ["i-1", "eipalloc-1", "sg-1"]);
            prop_assert_eq!(strangers(&seen, BASTION).len(), 3);
        }

        #[test]
        fn a_mark_is_found_again(allocation in "eipalloc-[0-9a-f]{17}", ip: std::net::Ipv4Addr) {
            let (rule, description) = address_mark(BASTION, &allocation, ip.into());
            prop_assert_eq!(&crate::provider::aws::rule::description(&description), &description);
            let rules = Rules::from([(rule.clone(), description)]);
            prop_assert_eq!(marks(&rules, BASTION).collect::<Vec<_>>(), [(&rule, allocation.as_str())]);
            prop_assert_eq!(marks(&rules, "ware").count(), 0);
        }
    }
}
