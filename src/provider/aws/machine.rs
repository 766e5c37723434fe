//! Decides about the instance: keep it, or make a new one and why; and what a new one is made from.

use super::{
    boot::{BootDifference, boot_differences, boot_text},
    desire::{Desired, image_text, subnet_tag, subnet_text},
    network::Subnet,
    observed::{ElasticIp, Image, Instance, Surroundings},
    region, tags,
};
use crate::{
    changeset::Detail,
    diagnostic::Diagnostic,
    plan::{AwsImage, ImageAlias, SubnetRef},
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

/// The instance that stays or is replaced when there are several: one that needs no replacement, then the one that the
/// address points to, then the lowest id. Every gangplank chooses the same.
pub fn choose<'a>(
    want: &Desired<'_>,
    all: &[&'a Instance],
    addresses: &[&ElasticIp],
    newest: Option<&Image>,
) -> Option<&'a Instance> {
    let attached = |i: &Instance| addresses.iter().any(|a| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
    all.iter().copied().min_by_key(|i| (!replacement_reasons(want, i, newest).is_empty(), !attached(i), i.id.clone()))
}

/// What the surroundings must tell before `want` can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub network: bool,
    pub aliases: Vec<ImageAlias>,
    pub image_ids: Vec<String>,
    pub instance_types: Vec<String>,
}

impl Needs {
    pub fn add(&mut self, want: &Desired<'_>, have: Option<&Instance>) {
        let creates = have.is_none_or(|i| !replacement_reasons(want, i, None).is_empty());
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
    if !around.reaches_internet(subnet) {
        return Err(problem("the subnet has no route to the internet", format!("{} is private", subnet.id))
            .because(
                "a bastion has a public address, and packets to it arrive only where the subnet's route table sends \
                 0.0.0.0/0 to an internet gateway",
            )
            .fix("choose a public subnet of the same network, or add the route"));
    }
    Ok(subnet)
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
    let fits = |image: &&Image| instance_type.architectures.contains(&image.architecture);
    match &want.aws.image {
        AwsImage::Id(id) => {
            let Some(image) = around.images.iter().find(|i| i.id == *id) else {
                return Err(problem(
                    "aws.image",
                    "no such image",
                    format!("{region} has no {id} that this account may use"),
                )
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
            let (owner, patterns) = publisher(*alias);
            let published = |image: &&Image| image.owner == owner && patterns.iter().any(|p| glob(p, &image.name));
            around
                .images
                .iter()
                .filter(published)
                .filter(fits)
                .max_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)))
                .ok_or_else(|| {
                    let label = format!(
                        "{region} has no {} image for {}",
                        alias.as_str(),
                        instance_type.architectures.join(" or ")
                    );
                    problem("aws.image", "no image for this alias", label)
                        .because(format!("account {owner} publishes none here under its usual names"))
                        .fix("name an image by its id (ami-...)")
                })
        }
    }
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
