//! The instance, its address, and what it was made with.

use super::{Scene, check, fail, judged, listed};
use crate::{
    cloudinit,
    plan::{AwsAddress, AwsImage},
    provider::aws::{
        check::who_tells_ends,
        deadline,
        desire::Desired,
        machine::{image_words, is_document, is_published},
        observed::{Attachment, InstanceState, MetadataOptions},
        ownership::{ForeignTag, Stranger, foreign_tag, lost_its_tag, strangers},
        region, tags,
    },
    verify::{Check, Part, Verdict},
};

pub fn instance(scene: &Scene<'_>) -> Check {
    let name = scene.name();
    let mut check = check("control.instance", Part::Bastion, "exactly one machine of this bastion exists, and it runs");
    let all: Vec<_> = scene.evidence.seen.instances_of(name).collect();
    for instance in &all {
        check = check.seen(format!("{} {} {}", instance.id, instance.instance_type, instance.state.as_str()));
    }
    let fix = |what: &str| scene.apply(what);
    match all.as_slice() {
        [] => match scene.evidence.address(scene.aws).and_then(|address| address.attached.as_ref()) {
            // It may be the machine without its tag, or an impostor: apply leaves it alone.
            Some(Attachment::Instance(id))
                if !scene.evidence.seen.instances.iter().any(|i| i.id == *id && !i.state.is_there()) =>
            {
                check.fail(
                    format!("no instance is the bastion's own, and its address leads to {id}, which is not"),
                    format!(
                        "`gangplank plan {}` says why, and how it becomes the bastion's again",
                        scene.plan.origin.argument()
                    ),
                )
            }
            _ => check.fail("no instance is the bastion's own", fix("makes one, if the bastion is to exist")),
        },
        [one] => match one.state {
            InstanceState::Running => check.pass(),
            InstanceState::Pending => {
                check.fail(format!("{} is still starting", one.id), "wait until it runs, then verify again")
            }
            state => check.fail(format!("{} is {}", one.id, state.as_str()), fix("starts it again")),
        },
        several => check.fail(
            format!("there are {} of them: {}", several.len(), listed(several.iter().map(|i| &i.id))),
            fix("keeps the one that the address leads to and ends the others, or says what to do"),
        ),
    }
}

pub fn address(scene: &Scene<'_>) -> Check {
    let check = check("control.address", Part::Edge, "the fixed public address leads to this machine");
    judged(check, |check| {
        let Some(address) = scene.evidence.address(scene.aws) else {
            return Ok(match &scene.aws.address {
                AwsAddress::Elastic if let Some(lost) = lost_its_tag(&scene.evidence.seen, scene.name()) => fail(
                    format!("elastic IP {} leads to the machine, and lost the bastion's tag", lost.allocation),
                    scene.apply("tags it again"),
                ),
                AwsAddress::Elastic => fail(
                    "no Elastic IP is the bastion's own",
                    scene.apply("allocates one; give the vendor the new address"),
                ),
                AwsAddress::Existing(id) => fail(
                    format!("{} has no {id}", region::name(&scene.evidence.region)),
                    "name an address that exists in `aws.address`, or write `elastic`",
                ),
            });
        };
        let ip = address.ip.map_or_else(|| address.allocation.clone(), |ip| ip.to_string());
        let instance = scene.machine()?;
        Ok(match &address.attached {
            None => {
                check.evidence.push(format!("{ip} ({}) is associated with nothing", address.allocation));
                fail(format!("{ip} leads nowhere: nobody reaches the bastion"), scene.apply("associates it again"))
            }
            Some(Attachment::Instance(id)) if *id == instance.id => {
                let carries =
                    |i: &&crate::provider::aws::network::Interface| address.ip.is_some_and(|ip| i.public.contains(&ip));
                let carrier = instance.interfaces.iter().find(carries);
                let first = instance.interfaces.first();
                check.evidence.push(match carrier {
                    Some(interface) => format!("{ip} ({}) → {} of {id}", address.allocation, interface.id),
                    None => format!("{ip} ({}) → {id}", address.allocation),
                });
                match (carrier, first) {
                    (Some(carrier), Some(first)) if carrier.id != first.id => fail(
                        format!("{ip} leads to {}, not to the machine's first interface {}", carrier.id, first.id),
                        format!("associate {} with {}, or detach {}", address.allocation, first.id, carrier.id),
                    ),
                    _ => Verdict::Pass,
                }
            }
            Some(Attachment::Instance(other) | Attachment::Interface(other)) => {
                check.evidence.push(format!("{ip} ({}) → {other}", address.allocation));
                fail(
                    format!(
                        "the vendor is led elsewhere: {ip} leads to {other}, the bastion's machine is {}",
                        instance.id
                    ),
                    format!(
                        "if {other} has no claim to it, disassociate {} there, then {}",
                        address.allocation,
                        scene.apply("associates it with the bastion")
                    ),
                )
            }
        })
    })
}

pub fn metadata(scene: &Scene<'_>) -> Check {
    let want = MetadataOptions::wanted(scene.plan.asks_metadata());
    let tags = if want.tags {
        "the machine may read its tags, where its keys and its deadline are"
    } else {
        "it does not show the tags"
    };
    let proves = format!("the metadata service requires session tokens, which travel one hop only, and {tags}");
    judged(check("control.metadata", Part::Bastion, proves), |check| {
        let have = scene.machine()?.metadata;
        let word = |yes: bool, one: &'static str, other: &'static str| if yes { one } else { other };
        check.evidence.push(format!(
            "{}session tokens {}, hop limit {}, tags {}",
            word(have.enabled, "", "off, "),
            word(have.tokens_required, "required", "optional"),
            have.hop_limit,
            word(have.tags, "readable", "hidden")
        ));
        let mut causes = Vec::new();
        if !have.enabled {
            causes.push("it is off: the machine takes neither new keys nor another deadline".to_owned());
        }
        if !have.tokens_required {
            causes.push("it answers without a session token (IMDSv1)".to_owned());
        }
        if have.hop_limit != want.hop_limit {
            causes.push(format!(
                "its hop limit is {}, not {}: its tokens travel beyond the machine",
                have.hop_limit, want.hop_limit
            ));
        }
        if have.tags != want.tags {
            causes.push(
                word(
                    want.tags,
                    "it hides the tags: the machine takes neither new keys nor another deadline",
                    "it shows the tags for no purpose",
                )
                .to_owned(),
            );
        }
        if causes.is_empty() { Ok(Verdict::Pass) } else { Ok(fail(causes.join("; "), scene.apply("sets it right"))) }
    })
}

pub fn encryption(scene: &Scene<'_>) -> Check {
    judged(check("control.encryption", Part::Bastion, "every volume of the machine is encrypted"), |check| {
        let instance = scene.machine()?;
        let volumes = scene.evidence.network.volumes.as_ref().map_err(String::clone)?;
        let attached: Vec<_> = volumes.iter().filter(|v| v.instances.contains(&instance.id)).collect();
        for volume in &attached {
            let word = if volume.encrypted { "encrypted" } else { "not encrypted" };
            check.evidence.push(format!("{} {word}", volume.id));
        }
        let known = |id: &&String| attached.iter().any(|v| v.id == **id);
        let mut missing = instance.parts.iter().filter(|id| id.starts_with("vol-")).filter(|id| !known(id)).peekable();
        let plain: Vec<&str> = attached.iter().filter(|v| !v.encrypted).map(|v| v.id.as_str()).collect();
        if !plain.is_empty() {
            return Ok(fail(
                format!("not encrypted: {}", plain.join(", ")),
                format!(
                    "detach what is not the bastion's; a root volume is encrypted only on a new machine: end {}, then {}",
                    instance.id,
                    scene.apply("makes another under the same address")
                ),
            ));
        }
        if attached.is_empty() || missing.peek().is_some() {
            return Err(format!("EC2 did not describe every volume of {}: {}", instance.id, listed(missing)));
        }
        Ok(Verdict::Pass)
    })
}

pub fn profile(scene: &Scene<'_>) -> Check {
    let proves = "the machine holds no permissions in the account: it has no instance profile";
    judged(check("control.profile", Part::Bastion, proves), |check| {
        let instance = scene.machine()?;
        let Some(profile) = &instance.profile else { return Ok(Verdict::Pass) };
        check.evidence.push(profile.clone());
        let cli = region::cli(&scene.evidence.region);
        Ok(fail(
            format!("{} has the instance profile {profile}", instance.id),
            format!(
                "take it away: `{cli} ec2 describe-iam-instance-profile-associations --filters \
                 Name=instance-id,Values={}` names the association, `{cli} ec2 disassociate-iam-instance-profile \
                 --association-id ID` ends it",
                instance.id
            ),
        ))
    })
}

/// What carries the bastion's tag and is not its own.
pub fn ownership(scene: &Scene<'_>) -> Check {
    let name = scene.name();
    let proves = "everything that carries the bastion's tag is its own, by a mark that tagging alone can't make";
    judged(check("control.ownership", Part::Bastion, proves), |check| {
        let strangers = strangers(&scene.evidence.seen, name);
        check.evidence.extend(strangers.iter().map(|s| format!("{}: {}", s.what(), s.doubt)));
        let seen = &scene.evidence.seen;
        let brought = match &scene.aws.address {
            AwsAddress::Existing(id) => seen.addresses.iter().find(|a| a.allocation == *id),
            AwsAddress::Elastic => None,
        };
        let tagged = brought.and_then(|a| Some((a, foreign_tag(a, seen, name)?)));
        if let Some((address, ForeignTag::Alone(owner) | ForeignTag::Claimed(owner))) = tagged {
            let cli = region::cli(&scene.evidence.region);
            return Ok(fail(
                format!(
                    "{}, the plan's address, carries the tag {}={owner} of another bastion",
                    address.allocation,
                    tags::BASTION
                ),
                format!(
                    "see who put it there; if the bastion {owner} does not have the address, take the tag away: `{cli} ec2 delete-tags \
                     --resources {} --tags Key={}`",
                    address.allocation,
                    tags::BASTION
                ),
            ));
        }
        if let Some(lost) = lost_its_tag(seen, name).filter(|_| scene.aws.address == AwsAddress::Elastic) {
            return Ok(fail(
                format!(
                    "elastic IP {} is the bastion's by its machine and its group, and lost its tag",
                    lost.allocation
                ),
                scene.apply("tags it again"),
            ));
        }
        if strangers.is_empty() {
            return scene.machine().map(|_| Verdict::Pass);
        }
        // A machine in the bastion's own group, or at its address, may be the bastion's own: `plan` tells.
        let groups: Vec<&str> = scene.evidence.seen.groups_of(name).map(|group| group.id.as_str()).collect();
        let at_address = scene.evidence.address(scene.aws).and_then(|address| address.attached.as_ref());
        let near = |s: &Stranger<'_>| {
            let of_group = scene
                .evidence
                .seen
                .instances
                .iter()
                .any(|i| i.id == s.id() && i.groups.iter().any(|g| groups.contains(&g.as_str())));
            of_group || matches!(at_address, Some(Attachment::Instance(id)) if id == s.id())
        };
        if strangers.iter().any(near) {
            let cause = strangers.iter().map(|s| format!("{}: {}", s.what(), s.doubt)).collect::<Vec<_>>().join("; ");
            return Ok(fail(
                format!("what carries its tag is not proven to be its own: {cause}"),
                format!("`gangplank plan {}` says how it becomes the bastion's again", scene.plan.origin.argument()),
            ));
        }
        let ids: Vec<&str> = strangers.iter().map(Stranger::id).collect();
        let tag = format!("the tag {}={name}", tags::BASTION);
        let one = |s: &Stranger<'_>| format!("{} carries {tag} and is not gangplank's: {}", s.what(), s.doubt);
        Ok(fail(
            strangers.iter().map(one).collect::<Vec<_>>().join("; "),
            format!(
                "gangplank leaves it alone; see who put the tag there, and take it away where it does not belong: `{} ec2 delete-tags \
                 --resources {} --tags Key={}`",
                region::cli(&scene.evidence.region),
                ids.join(" "),
                tags::BASTION
            ),
        ))
    })
}

/// What the machine was made from: its document, which decides who gets in and what they may open.
pub fn document(scene: &Scene<'_>) -> Check {
    let proves = "the machine's user data is the document that its tag names, and where that is the plan's, the plan's to the last bit";
    judged(check("control.document", Part::Bastion, proves), |check| {
        let instance = scene.machine()?;
        let digest = scene.origin(instance)?.user_data.as_ref().map_err(String::clone)?;
        let tagged = tags::document(&instance.tags);
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        let have = digest.as_deref().map_or_else(|| "none".to_owned(), short);
        check.evidence.push(format!("{}: user data {have}, tag {}", instance.id, tagged.unwrap_or("none")));
        let user_data = cloudinit::render(scene.plan).map_err(|error| error.to_string())?;
        let want = Desired::new(scene.plan, scene.aws, &user_data);
        if is_document(&want, instance, digest.as_deref()) {
            return Ok(Verdict::Pass);
        }
        Ok(fail(
            format!(
                "{} runs another document than gangplank gave it: its user data has the digest {have}",
                instance.id
            ),
            foreign_machine(scene),
        ))
    })
}

/// What the machine was made from: its image.
pub fn image(scene: &Scene<'_>) -> Check {
    let proves = match scene.aws.image {
        AwsImage::Alias(alias) => format!("the machine's image is one of {}, made by its publisher", alias.as_str()),
        AwsImage::Id(_) => "the machine's image is the plan's".to_owned(),
    };
    judged(check("control.image", Part::Bastion, proves), |check| {
        let instance = scene.machine()?;
        let alias = match &scene.aws.image {
            AwsImage::Alias(alias) => *alias,
            AwsImage::Id(id) => {
                check.evidence.push(instance.image.clone());
                return Ok(if *id == instance.image {
                    Verdict::Pass
                } else {
                    fail(
                        format!("{} was made from {}, not from {id}", instance.id, instance.image),
                        foreign_machine(scene),
                    )
                });
            }
        };
        let Some(image) = scene.origin(instance)?.image.as_ref().map_err(String::clone)? else {
            return Err(format!(
                "EC2 does not know {} any more: it was deregistered, or is not shown to this account",
                instance.image
            ));
        };
        check.evidence.push(image_words(image));
        Ok(if is_published(alias, image) {
            Verdict::Pass
        } else {
            fail(
                format!(
                    "{} was made from {}, which is no image of {}",
                    instance.id,
                    image_words(image),
                    alias.as_str()
                ),
                foreign_machine(scene),
            )
        })
    })
}

fn foreign_machine(scene: &Scene<'_>) -> String {
    format!("find out who made it, and do not trust it; then {}", scene.apply("puts a machine of its own in its place"))
}

pub fn deadline(scene: &Scene<'_>) -> Check {
    let proves = match scene.plan.deadline {
        Some(_) => "the machine, its group and its address carry the plan's deadline, and it has not passed",
        None => "nothing of the bastion carries a deadline, and the plan has none",
    };
    judged(check("control.deadline", Part::Bastion, proves), |check| {
        let instance = scene.machine()?;
        let seen = &scene.evidence.seen;
        let (remembered, now) = (seen.deadline_of(scene.name()), scene.evidence.at);
        let want = deadline::deadline(scene.plan.deadline, &remembered, now);
        let disputed = remembered.disputed(scene.plan.deadline, now);
        let settlement = disputed.map(|both| deadline::settlement(&both, &scene.plan.origin.argument(), now));
        check.evidence.push(format!("{}: {}", instance.id, deadline::told(&instance.tags)));
        if let Some(passed) = want.filter(|d| d.expires <= now && settlement.is_none()) {
            let who =
                who_tells_ends(scene.name(), seen).map(|who| format!(", and its resources tell different ends: {who}"));
            return Ok(fail(
                format!("the bastion's time was up at {}{}", passed.expires, who.unwrap_or_default()),
                format!("run `gangplank destroy {}`, or give it more time in the plan", scene.plan.origin.argument()),
            ));
        }
        let groups = seen.groups_of(scene.name()).map(|g| (g.id.as_str(), &g.tags));
        let addresses = seen.addresses_of(scene.name()).map(|a| (a.allocation.as_str(), &a.tags));
        let all = std::iter::once((instance.id.as_str(), &instance.tags)).chain(groups).chain(addresses);
        let says = |(id, tags): (&str, _)| format!("{id} says {}", deadline::told(tags));
        if let Some(fix) = settlement {
            let each: Vec<String> = all.map(says).collect();
            return Ok(fail(format!("nothing tells which end is right: {}", each.join(", ")), fix));
        }
        let differs = |(id, tags): (&str, _)| (!deadline::tells(tags, want.as_ref())).then(|| says((id, tags)));
        let wrong: Vec<String> = all.filter_map(differs).collect();
        if wrong.is_empty() {
            return Ok(Verdict::Pass);
        }
        let end = want.map_or_else(|| "none".to_owned(), |want| want.expires.to_string());
        Ok(fail(format!("the plan's deadline is {end}; {}", wrong.join(", ")), scene.apply("sets the tags")))
    })
}
