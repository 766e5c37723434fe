//! Decides about the instance: keep it, or make a new one and why; and what a new one is made from.

use super::{
    boot::{BootDifference, boot_differences, boot_text},
    desire::{Desired, image_text, subnet_tag, subnet_text},
    network::Subnet,
    observed::{ElasticIp, Image, Instance, MachineOrigin, Observed, Surroundings},
    ownership, region, tags,
};
use crate::{
    changeset::Detail,
    cloudinit,
    diagnostic::Diagnostic,
    plan::{AwsAddress, AwsImage, ImageAlias, SubnetRef},
};

/// Why a running instance can't stay, one detail a property; empty where it can.
///
/// What an alias or a tag resolved to is pinned: while the plan says the same words, a newer image or another subnet behind
/// them replaces nothing, unless the plan has `image_update` and `newest` names a newer image. Where the tag that remembers
/// the words is gone, nobody knows what they were: that is shown and replaced, never guessed.
pub fn replacement_reasons(want: &Desired<'_>, have: &Instance, newest: Option<&Image>) -> Vec<Detail> {
    let tag = |key: &str| have.tags.get(key).map(String::as_str);
    let mut reasons = Vec::new();
    if have.instance_type != want.aws.instance_type {
        reasons.push(Detail::changed("instance type", &have.instance_type, &want.aws.instance_type));
    }
    match &want.aws.image {
        AwsImage::Id(id) if *id != have.image => reasons.push(Detail::changed("image", &have.image, id)),
        AwsImage::Id(_) => {}
        AwsImage::Alias(_) => {
            let alias = image_text(&want.aws.image);
            match (tag(tags::IMAGE), newest) {
                (None, _) => reasons.push(forgotten("image", tags::IMAGE, alias)),
                (Some(pinned), _) if pinned != alias => reasons.push(Detail::changed("image", pinned, alias)),
                (_, Some(image)) if want.aws.image_update && image.id != have.image => {
                    let after = format!("{} ({})", image.id, image.name);
                    reasons.push(Detail::changed("image", &have.image, after).note("image_update"));
                }
                _ => {}
            }
        }
    }
    match &want.aws.subnet {
        SubnetRef::Id(id) if *id != have.subnet => reasons.push(Detail::changed("subnet", &have.subnet, id)),
        SubnetRef::Id(_) => {}
        SubnetRef::Tag { .. } => {
            let text = subnet_tag(&want.aws.subnet);
            match tag(tags::SUBNET) {
                None => reasons.push(forgotten("subnet", tags::SUBNET, text)),
                Some(pinned) if pinned != text => reasons.push(Detail::changed("subnet", pinned, text)),
                Some(_) => {}
            }
        }
    }
    match tag(tags::BOOT) {
        Some(boot) => {
            let parts = boot_differences(&boot_text(want.user_data), boot);
            reasons.extend(parts.into_iter().map(|part| {
                let note = what_it_is(&part);
                Detail::changed(format!("cloud-init {}", part.name), part.before, part.after).note(note)
            }));
        }
        None => reasons.push(forgotten("cloud-init", tags::BOOT, want.user_data.digest.clone())),
    }
    reasons
}

/// Why a machine can't stay: what the plan says otherwise, and what of it is not gangplank's.
pub fn reasons(
    want: &Desired<'_>,
    seen: &Observed,
    have: &Instance,
    newest: Option<&Image>,
    serves: bool,
) -> Vec<Detail> {
    let mut reasons = replacement_reasons(want, have, newest);
    reasons.extend(foreign_origin(want, have, seen.origins.get(&have.id), serves));
    reasons
}

fn forgotten(property: &str, tag: &str, wanted: String) -> Detail {
    Detail::changed(property, "unknown", wanted).note(format!("the instance has lost its tag {tag}"))
}

/// A part of the cloud-init document in words of the plan.
fn what_it_is(part: &BootDifference) -> &'static str {
    match part.name.as_str() {
        "keys" if part.before.starts_with("live-") || part.after.starts_with("live-") => {
            "how the machine gets its keys"
        }
        "keys" => "the accepted keys",
        "tunnels" => "the users and what each may open",
        "sshd" => "the daemon's settings",
        "system" => "another version of gangplank sets the machine up",
        _ => "the document",
    }
}

/// The bastion's machine among its own instances.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice<'a> {
    None,
    /// The bastion's address leads to it: it is the machine, whatever else there is.
    Holder(&'a Instance),
    /// No address leads to it, and there is no other: an interrupted run has left it.
    Candidate(&'a Instance),
    /// No address tells which of them it is.
    Several(Vec<&'a Instance>),
}

/// Which of a bastion's own instances is its machine: the one that the plan's address leads to, else the one that its own address
/// leads to, else the one that any address leads to, else the only one. Every gangplank chooses the same.
pub fn choose<'a>(want: &Desired<'_>, seen: &'a Observed) -> Choice<'a> {
    let all: Vec<&Instance> = seen.instances_of(want.bastion()).collect();
    let named = match &want.aws.address {
        AwsAddress::Existing(id) => seen.addresses.iter().find(|a| a.allocation == *id),
        AwsAddress::Elastic => None,
    };
    let own: Vec<&ElasticIp> = seen.addresses_of(want.bastion()).collect();
    let led_to = |addresses: &[&ElasticIp]| -> Vec<&'a Instance> {
        let leads =
            |i: &&&Instance| addresses.iter().any(|a| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
        all.iter().filter(leads).copied().collect()
    };
    let every: Vec<&ElasticIp> = seen.addresses.iter().collect();
    for addresses in [named.as_slice(), &own, &every] {
        match led_to(addresses).as_slice() {
            [] => {}
            [one] => return Choice::Holder(one),
            several => return Choice::Several(several.to_vec()),
        }
    }
    match all.as_slice() {
        [] => Choice::None,
        [one] => Choice::Candidate(one),
        _ => Choice::Several(all),
    }
}

/// What of a machine is not as gangplank makes one, as far as its origin was read. One that nothing leads to is taken over only
/// where all of it is right; one that serves is not replaced for what EC2 does not tell.
pub fn foreign_origin(
    want: &Desired<'_>,
    have: &Instance,
    origin: Option<&MachineOrigin>,
    serves: bool,
) -> Vec<Detail> {
    let mut found = Vec::new();
    if let Some(key) = &have.key_pair {
        found.push(Detail::changed("key pair", key, "none").note("gangplank launches machines without one"));
    }
    if !serves && let Some(profile) = &have.profile {
        found.push(Detail::changed("instance profile", profile, "none"));
    }
    let Some(origin) = origin else { return found };
    let unread = |name: &str, why: &str| Detail::changed(name, "unknown", "gangplank's").note(why);
    match &origin.user_data {
        Ok(digest) if !is_document(want, have, digest.as_deref()) => {
            let before = digest.as_deref().map_or("none", |digest| digest.get(..12).unwrap_or(digest));
            let after = tags::document(&have.tags).unwrap_or(&want.user_data.digest);
            found.push(Detail::changed("user data", before, after).note(FOREIGN_DOCUMENT));
        }
        Ok(_) => {}
        Err(why) if !serves => found.push(unread("user data", why)),
        Err(_) => {}
    }
    let AwsImage::Alias(alias) = want.aws.image else { return found };
    // A plan that has come to say another alias replaces the machine anyway.
    if have.tags.get(tags::IMAGE).is_none_or(|pinned| pinned != alias.as_str()) {
        return found;
    }
    match &origin.image {
        Ok(Some(image)) if !is_published(alias, image) => found.push(
            Detail::changed("image", image_words(image), alias.as_str()).note("its publisher did not make this image"),
        ),
        Ok(Some(_)) => {}
        Ok(None) if !serves => found.push(unread("image", "EC2 does not know its image any more")),
        Err(why) if !serves => found.push(unread("image", why)),
        Ok(None) | Err(_) => {}
    }
    found
}

pub const FOREIGN_DOCUMENT: &str = "its user data is not the document that gangplank gave it";

/// Whether a machine's user data is what its tag says; where that is the plan's document, to the last bit.
pub fn is_document(want: &Desired<'_>, have: &Instance, digest: Option<&str>) -> bool {
    let (Some(digest), Some(document)) = (digest, tags::document(&have.tags)) else { return false };
    digest.starts_with(document)
        && (document != want.user_data.digest || digest == cloudinit::digest(&want.user_data.text))
}

/// Whether an image is one that the alias's publisher has published under its usual names.
pub fn is_published(alias: ImageAlias, image: &Image) -> bool {
    let (owner, patterns) = publisher(alias);
    image.owner == owner && patterns.iter().any(|pattern| glob(pattern, &image.name))
}

pub fn image_words(image: &Image) -> String {
    format!("{} ({}, published by account {})", image.id, image.name, image.owner)
}

/// What the surroundings must tell before `want` can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub network: bool,
    pub aliases: Vec<ImageAlias>,
    pub image_ids: Vec<String>,
    pub instance_types: Vec<String>,
    /// An address is allocated.
    pub address: bool,
}

impl Needs {
    /// Adds what `want` must know in a region where this was seen.
    pub fn add(&mut self, want: &Desired<'_>, seen: &Observed) {
        self.address |= allocates(want, seen);
        let creates = match choose(want, seen) {
            Choice::None | Choice::Several(_) => true,
            Choice::Holder(have) => !reasons(want, seen, have, None, true).is_empty(),
            Choice::Candidate(have) => !reasons(want, seen, have, None, false).is_empty(),
        };
        if !creates && !want.aws.image_update {
            return;
        }
        self.network = true;
        match &want.aws.image {
            AwsImage::Alias(alias) => push_new(&mut self.aliases, *alias),
            AwsImage::Id(id) => push_new(&mut self.image_ids, id.clone()),
        }
        push_new(&mut self.instance_types, want.aws.instance_type.clone());
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a plan has an address allocated that is not there yet.
pub fn allocates(want: &Desired<'_>, seen: &Observed) -> bool {
    let of_the_call = want.tags(None);
    want.aws.address == AwsAddress::Elastic
        && seen.addresses_of(want.bastion()).next().is_none()
        && ownership::lost_its_tag(seen, want.bastion()).is_none()
        && !seen.addresses.iter().any(|address| ownership::is_abandoned(address, &of_the_call))
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The subnet that the plan means, proven to be one that a bastion can stand in.
pub fn subnet<'a>(want: &Desired<'_>, around: &'a Surroundings, region: &str) -> Result<&'a Subnet, Diagnostic> {
    let problem = |summary: &str, label: String| want.plan.origin.problem("aws.subnet", summary, label);
    let found: Vec<&Subnet> = match &want.aws.subnet {
        SubnetRef::Id(id) => around.subnets.iter().filter(|s| s.id == *id).collect(),
        SubnetRef::Tag { key, value } => around.subnets.iter().filter(|s| s.tags.get(key) == Some(value)).collect(),
    };
    let subnet = match found.as_slice() {
        [one] => *one,
        [] => {
            return Err(problem(
                "no such subnet",
                format!("{} has no subnet {}", region::name(region), subnet_text(&want.aws.subnet)),
            )
            .fix(format!("check the id and the region; `{} ec2 describe-subnets` lists them", region::cli(region))));
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|s| s.id.as_str()).collect();
            return Err(problem("the subnet is ambiguous", format!("{} subnets carry this tag", several.len()))
                .because(format!("they are {}", ids.join(", ")))
                .fix("name one by its id"));
        }
    };
    let letter = subnet.zone.strip_prefix(region::name(region)).unwrap_or_default();
    // "Regions and Zones" in the Amazon EC2 User Guide: an Availability Zone is called as its region and a letter, others have more.
    if letter.len() > 1 {
        return Err(problem("the subnet is not in an Availability Zone", format!("{} is in {}", subnet.id, subnet.zone))
            .because(
                "Local Zones and Wavelength Zones have addresses of their own network border groups, other instance types and other volumes, \
                 which gangplank does not serve",
            )
            .fix(elsewhere(around, subnet, region)));
    }
    if !around.reaches_internet(subnet) {
        return Err(problem("the subnet has no route to the internet", format!("{} is private", subnet.id))
            .because(
                "a bastion has a public address, and packets to it arrive only where the subnet's route table sends \
                 0.0.0.0/0 to an internet gateway",
            )
            .fix(format!("{}, or add the route", elsewhere(around, subnet, region))));
    }
    Ok(subnet)
}

/// The subnets of the same network that a bastion can stand in.
fn elsewhere(around: &Surroundings, subnet: &Subnet, region: &str) -> String {
    let fits = |other: &&Subnet| {
        let letter = other.zone.strip_prefix(region::name(region)).unwrap_or_default();
        other.vpc == subnet.vpc && letter.len() <= 1 && around.reaches_internet(other)
    };
    let named = |other: &Subnet| match other.tags.get(tags::NAME) {
        Some(name) => format!("{} ({name})", other.id),
        None => other.id.clone(),
    };
    let found: Vec<String> = around.subnets.iter().filter(fits).take(5).map(named).collect();
    if found.is_empty() {
        "choose a public subnet of the same network".to_owned()
    } else {
        format!("choose a public subnet of the same network, such as {}", found.join(", "))
    }
}

/// The image that a new instance boots: the alias's newest for the instance type's architecture, or the one that the plan names.
pub fn image<'a>(want: &Desired<'_>, around: &'a Surroundings, region: &str) -> Result<&'a Image, Diagnostic> {
    let problem = |field: &str, summary: &str, label: String| want.plan.origin.problem(field, summary, label);
    let type_name = &want.aws.instance_type;
    let region = region::name(region);
    let Some(instance_type) = around.instance_types.iter().find(|t| t.name == *type_name) else {
        return Err(problem(
            "aws.instance_type",
            "no such instance type",
            format!("{region} does not offer {type_name}"),
        )
        .fix("t4g.nano and t3.nano are enough for a tunnel, and offered in most regions"));
    };
    if !instance_type.nitro {
        let label = format!("{type_name} is a Xen type");
        return Err(problem("aws.instance_type", "the instance type is not built on the Nitro System", label)
            .because(
                "while such a machine runs, EC2 may keep new tags from it (its keys and its deadline are there), and shows its console \
                 (its report is there) only after a start",
            )
            .fix("choose a Nitro type: t4g.nano or t3.nano cost less"));
    }
    if want.aws.image == AwsImage::Alias(ImageAlias::AmazonLinux2023)
        && let Some(memory) = instance_type.memory.filter(|memory| *memory < AMAZON_LINUX_MEMORY)
    {
        let label = format!("{type_name} has {memory} MiB of memory");
        return Err(problem("aws.instance_type", "Amazon Linux 2023 needs 1 GiB of memory here", label)
            .because("it has no swap, and with less its package manager is killed: the machine would never get a security update")
            .fix("choose a type with 1 GiB, such as t4g.micro or t3.micro, or another image"));
    }
    let fits = |image: &&Image| instance_type.architectures.contains(&image.architecture);
    match &want.aws.image {
        AwsImage::Id(id) => {
            let Some(image) = around.images.iter().find(|i| i.id == *id) else {
                return Err(problem(
                    "aws.image",
                    "no such image",
                    format!("{region} has no {id} that this account may use"),
                )
                .because(format!("it may be another region's or private, or {ALLOWED_IMAGES}"))
                .fix("image ids differ between regions; an alias like debian-13 works in all"));
            };
            if !fits(&image) {
                let label = format!("{id} is for {}", image.architecture);
                return Err(problem("aws.image", "the image does not fit the instance type", label)
                    .because(format!("{type_name} runs {}", instance_type.architectures.join(" and ")))
                    .fix("name an image for it, an alias such as debian-13 (it has both), or another instance type"));
            }
            Ok(image)
        }
        AwsImage::Alias(alias) => {
            let (owner, _) = publisher(*alias);
            around
                .images
                .iter()
                .filter(|image| is_published(*alias, image))
                .filter(fits)
                .max_by_key(|image| (is_usual_kernel(image), &image.created, &image.id))
                .ok_or_else(|| {
                    let label = format!(
                        "{region} has no {} image for {}",
                        alias.as_str(),
                        instance_type.architectures.join(" or ")
                    );
                    problem("aws.image", "no image for this alias", label)
                        .because(format!(
                            "account {owner} publishes none here under its usual names, or {ALLOWED_IMAGES}"
                        ))
                        .fix("name an image by its id (ami-...)")
                })
        }
    }
}

/// MiB: dnf is killed with less (amazonlinux/amazon-linux-2023 issue 404, with the maintainers' answer).
const AMAZON_LINUX_MEMORY: i64 = 1024;

/// "Control the discovery and use of AMIs in Amazon EC2 with Allowed AMIs" in the Amazon EC2 User Guide.
const ALLOWED_IMAGES: &str = "the account's setting \"Allowed AMIs\" hides it";

/// Amazon publishes each release of Amazon Linux 2023 with two kernels under names alike; 6.1 is the one that its own aliases mean.
fn is_usual_kernel(image: &Image) -> bool {
    !image.name.contains("-kernel-") || image.name.contains("-kernel-6.1-")
}

/// Who publishes an alias's images and under which names. The patterns are EC2 filters, for both architectures; daily
/// builds, backport kernels and minimal variants don't match.
///
/// Owners: wiki.debian.org/Cloud/AmazonEC2Image, documentation.ubuntu.com/aws (finding images), docs.aws.amazon.com/linux/al2023.
pub fn publisher(alias: ImageAlias) -> (&'static str, [&'static str; 2]) {
    const DEBIAN: &str = "136693071363";
    const CANONICAL: &str = "099720109477";
    const AMAZON: &str = "137112412989";
    match alias {
        ImageAlias::Debian13 => (DEBIAN, ["debian-13-arm64-*", "debian-13-amd64-*"]),
        ImageAlias::Debian12 => (DEBIAN, ["debian-12-arm64-*", "debian-12-amd64-*"]),
        ImageAlias::Ubuntu2404 => (
            CANONICAL,
            [
                "ubuntu/images/hvm-ssd-gp3/ubuntu-*-24.04-arm64-server-*",
                "ubuntu/images/hvm-ssd-gp3/ubuntu-*-24.04-amd64-server-*",
            ],
        ),
        ImageAlias::Ubuntu2604 => (
            CANONICAL,
            [
                "ubuntu/images/hvm-ssd-gp3/ubuntu-*-26.04-arm64-server-*",
                "ubuntu/images/hvm-ssd-gp3/ubuntu-*-26.04-amd64-server-*",
            ],
        ),
        ImageAlias::AmazonLinux2023 => (AMAZON, ["al2023-ami-2023.*-arm64", "al2023-ami-2023.*-x86_64"]),
    }
}

/// EC2's filter wildcard: `*` is any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    if rest.is_empty() {
        return true;
    }
    loop {
        if glob(rest, left) {
            return true;
        }
        let mut chars = left.chars();
        if chars.next().is_none() {
            return false;
        }
        left = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_an_ec2_filter_does() {
        assert!(glob("debian-13-arm64-*", "debian-13-arm64-20260811-2566"));
        assert!(!glob("debian-13-arm64-*", "debian-13-backports-arm64-20260811-2566"));
        assert!(glob("al2023-ami-2023.*-arm64", "al2023-ami-2023.9.20260810.0-kernel-6.12-arm64"));
        assert!(!glob("al2023-ami-2023.*-arm64", "al2023-ami-minimal-2023.9.20260810.0-kernel-6.12-arm64"));
        assert!(!glob("al2023-ami-2023.*-arm64", "al2023-ami-2023.9.20260810.0-kernel-6.12-x86_64"));
        assert!(glob("exact", "exact") && !glob("exact", "exactly"));
    }
}
