//! Why a plan can't be fulfilled in the world as it is: checked before anything is changed, and all of it reported.

use super::{
    boot::boot_text,
    deadline::{self, ResolvedDeadline},
    desire::Desired,
    diff::{Current, World},
    doubts::{self, Use},
    machine,
    observed::{Attachment, ElasticIp, Group, Observed},
    ownership::{self, Doubt, ForeignTag},
    peering, prefix_list, region, tags,
};
use crate::{
    diagnostic::Diagnostic,
    plan::{AwsAddress, TooWide, grouped, size},
};

/// When the bastion ends. It must not have ended.
pub(super) fn deadline(
    want: &Desired<'_>,
    world: World<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<ResolvedDeadline> {
    let existing = world.seen.deadline_of(want.bastion());
    let deadline = deadline::deadline(want.plan.deadline, &existing, world.now)?;
    if deadline.expires <= world.now {
        let (field, because) = match deadline.lifetime {
            Some(_) => (
                "lifetime",
                "a lifetime counts from the bastion's creation; applying would keep open what was meant to be closed",
            ),
            None => ("expires", "applying would keep open what was meant to be closed"),
        };
        let problem = |label: String| want.plan.origin.problem(field, "the bastion's time is up", label);
        problems.push(match existing.disputed(want.plan.deadline, world.now) {
            Some(both) => problem(format!("it ended at {}, as its machine tells it", deadline.expires))
                .because(format!(
                    "only two resources tell an end, and differ: {}. By the second it is {}, and nothing tells which is right",
                    who_tells_ends(want.bastion(), world.seen).unwrap_or_default(),
                    both[1].expires
                ))
                .fix(deadline::settlement(&both, &want.plan.origin.argument(), world.now)),
            None => problem(format!("it ended at {}", deadline.expires))
                .because(match who_tells_ends(want.bastion(), world.seen) {
                    Some(who) => format!("its resources tell different ends, and this one counts: {who}"),
                    None => because.to_owned(),
                })
                .fix("run `gangplank destroy`, or give it more time here"),
        });
    }
    Some(deadline)
}

/// Each resource that tells an end, the machine first, where they differ.
pub(super) fn who_tells_ends(bastion: &str, seen: &Observed) -> Option<String> {
    let instances = seen.instances_of(bastion).map(|i| (format!("instance {}", i.id), &i.tags));
    let addresses = seen.addresses_of(bastion).map(|a| (format!("elastic IP {}", a.allocation), &a.tags));
    let groups = seen.groups_of(bastion).map(|g| (format!("security group {}", g.id), &g.tags));
    deadline::who_tells(instances.chain(addresses).chain(groups))
}

/// Several machines of which nothing tells which one is the bastion's: none is chosen, and none is ended.
pub(super) fn machines(want: &Desired<'_>, world: World<'_>, current: &Current<'_>, problems: &mut Vec<Diagnostic>) {
    if current.undecided.is_empty() {
        return;
    }
    let cli = region::cli(world.region);
    let each: Vec<String> = current.undecided.iter().map(|i| ownership::instance_words(i)).collect();
    let ids: Vec<&str> = current.undecided.iter().map(|i| i.id.as_str()).collect();
    problems.push(
        want.plan
            .origin
            .problem("name", "several machines could be this bastion", format!("{} of them are there", ids.len()))
            .because(format!(
                "{}: all of them carry the bastion's marks, and its address does not tell which one serves",
                each.join("; ")
            ))
            .fix(format!(
                "end those that are not wanted: `{cli} ec2 terminate-instances --instance-ids ID`; or let the address lead to the \
                 right one: `{cli} ec2 associate-address --allocation-id ID --instance-id ID`"
            )),
    );
}

/// A machine that holds the address and is not what gangplank made, beside others that carry the bastion's marks: the address may have
/// been moved to it, and none of the others is ended for its sake.
pub(super) fn holder(want: &Desired<'_>, world: World<'_>, current: &Current<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(holder) = current.instance.filter(|_| current.serves) else { return };
    let others: Vec<String> =
        world.seen.instances_of(want.bastion()).filter(|i| i.id != holder.id).map(ownership::instance_words).collect();
    let Some(origin) = world.seen.origins.get(&holder.id).filter(|_| !others.is_empty()) else { return };
    let doubts = machine::foreign_origin(want, holder, Some(origin), false);
    // Somebody may have given the right machine a profile.
    let Some(doubt) = doubts.iter().find(|doubt| doubt.name == "user data" || doubt.name == "image") else { return };
    let cli = region::cli(world.region);
    let why = doubt.note.clone().unwrap_or_else(|| format!("its {} is not gangplank's", doubt.name));
    problems.push(
        want.plan
            .origin
            .problem("name", "the address leads to a machine that gangplank did not make", ownership::instance_words(holder))
            .because(format!("{why}; {} carries the bastion's marks, too, and is not ended for its sake", others.join(", ")))
            .fix(format!(
                "see who made it; then let the address lead to the right machine: `{cli} ec2 associate-address --allocation-id ID \
                 --instance-id ID`, and end the other: `{cli} ec2 terminate-instances --instance-ids ID`"
            )),
    );
}

/// What may be the bastion's machine and is not proven to be, while the bastion has no other: it may have lost a tag or its group, and beside
/// it neither a second machine nor another address is made.
pub(super) fn lost_machines(want: &Desired<'_>, world: World<'_>, problems: &mut Vec<Diagnostic>) {
    let (bastion, seen) = (want.bastion(), world.seen);
    let untagged = || format!("it does not carry the tag {}={bastion}", tags::BASTION);
    let boot = boot_text(want.user_data);
    for one in doubts::lost(bastion, seen) {
        let why = match &one {
            Use::InGroup { instance, .. } if !tags::owns(&instance.tags, bastion) => untagged(),
            Use::InGroup { instance, .. } => match ownership::made_by_us(instance) {
                Err(doubt) => doubt.to_string(),
                Ok(()) => format!("its security group does not carry the tag {}={bastion}", tags::BASTION),
            },
            Use::Apart(_) => Doubt::OutsideGroup.to_string(),
            Use::InstanceHasAddress { .. } | Use::InterfaceHasAddress { .. } => {
                "the address does not carry the bastion's tag, and a rule of the bastion's group names it".to_owned()
            }
        };
        problems.push(
            want.plan
                .origin
                .problem("name", "what may be the bastion's machine is not proven to be", one.to_string())
                .because(format!(
                    "{why}; it may be this bastion's machine all the same, and beside it neither a second one nor another address is made"
                ))
                .fix(one.remedy(bastion, Some(&boot), world.region, seen)),
        );
    }
}

const FOREIGN_USE: &str = "the address points to something that is not this bastion";

/// An address that points to something that is not ours is never taken away from it.
pub(super) fn address(want: &Desired<'_>, world: World<'_>, current: &Current<'_>, problems: &mut Vec<Diagnostic>) {
    let problem = |summary: &str, label: String| want.plan.origin.problem("aws.address", summary, label);
    if let (AwsAddress::Existing(id), None) = (&want.aws.address, current.address) {
        problems.push(
            problem("no such address", format!("{} has no {id}", region::name(world.region)))
                .fix("check the id and the region, or write `elastic` for an address of the bastion's own"),
        );
    }
    let tag = current.address.and_then(|a| ownership::foreign_tag(a, world.seen, want.bastion()));
    if let (AwsAddress::Existing(id), Some(ForeignTag::Alone(owner) | ForeignTag::Claimed(owner))) =
        (&want.aws.address, tag)
        && !current.takes_foreign_tag_away(want, world.seen)
    {
        problems.push(
            problem("the address is another bastion's", format!("{id} belongs to the bastion {owner}"))
                .because("what one bastion owns goes away with it")
                .fix(format!(
                    "if that bastion does not have it and only the tag says so, take the tag away: `{} ec2 delete-tags --resources {id} \
                     --tags Key={}`; otherwise name another address, or write `elastic` for one of the bastion's own",
                    region::cli(world.region),
                    tags::BASTION
                )),
        );
    }
    if let (AwsAddress::Existing(id), Some(group)) =
        (&want.aws.address, current.address.and_then(|a| a.border_group.as_deref()))
        && group != region::name(world.region)
    {
        problems.push(
            problem("the address is not the region's own", format!("{id} is of the network border group {group}"))
                .because("addresses do not move between network border groups, and the machine stands in an Availability Zone")
                .fix("name another address, or write `elastic` for one of the bastion's own"),
        );
    }
    let strangers = ownership::strangers(world.seen, want.bastion());
    let is_stranger = |id: &str| strangers.iter().any(|s| s.id() == id);
    // What looks like this bastion as a whole and can't be proven to be: beside it no second one is made.
    let unproven = world.seen.addresses.iter().filter(|a| {
        let leads_to_one = matches!(&a.attached, Some(Attachment::Instance(id)) if is_stranger(id));
        current.address.is_none() && is_stranger(&a.allocation) && leads_to_one
    });
    let history = world.seen.instance_history(want.bastion());
    // Those are refused already, with all that they lack.
    let lost = doubts::lost(want.bastion(), world.seen);
    let is_lost = |a: &ElasticIp| {
        let has_it = |one: &Use<'_>| match one {
            Use::InGroup { instance, .. } | Use::Apart(instance) => {
                a.attached.as_ref().is_some_and(|at| at.is_instance(&instance.id))
            }
            Use::InstanceHasAddress { .. } | Use::InterfaceHasAddress { .. } => false,
        };
        lost.iter().any(has_it)
    };
    let used = current.address.into_iter().chain(current.spare_addresses.iter().copied());
    for address in used.chain(unproven).filter(|a| !is_lost(a)) {
        let foreign = match &address.attached {
            Some(Attachment::Instance(id)) if let Some(stranger) = strangers.iter().find(|s| s.id() == id) => {
                problems.push(
                    problem(FOREIGN_USE, format!("{} points to {id}", address.allocation))
                        .because(format!(
                            "{} carries the tag {}={}, and that is not enough: {}; what holds the bastion's address is never displaced by \
                             a machine that somebody else has made",
                            stranger.what(),
                            tags::BASTION,
                            want.bastion(),
                            stranger.doubt
                        ))
                        .fix(repair(&stranger.doubt, id, want, world)),
                );
                continue;
            }
            Some(Attachment::Instance(id)) if !history.contains(id) => id,
            Some(Attachment::Interface(id)) => {
                problems.push(
                    problem(FOREIGN_USE, format!("{} points to {id}", address.allocation))
                        .because(format!(
                            "{id} is a network interface without an instance: a NAT gateway's or a load balancer's, say"
                        ))
                        .fix("disassociate the address there, or name another one here"),
                );
                continue;
            }
            _ => continue,
        };
        problems.push(
            problem(FOREIGN_USE, format!("{} points to {foreign}", address.allocation))
                .because(format!(
                    "{foreign} does not carry the tag {}={}, so it is left alone",
                    tags::BASTION,
                    want.bastion()
                ))
                .fix(format!(
                    "if it is this bastion's machine and lost its tag, give it back: `{} ec2 create-tags --resources \
                     {foreign} --tags Key={},Value={}`; otherwise disassociate the address",
                    region::cli(world.region),
                    tags::BASTION,
                    want.bastion()
                )),
        );
    }
}

/// A new address must have room, beside those that plans before this one take.
pub(super) fn address_quota(want: &Desired<'_>, world: World<'_>, problems: &mut Vec<Diagnostic>) {
    let Some(most) = world.around.most_addresses.filter(|_| machine::allocates(want, world.seen)) else { return };
    let used = world.seen.addresses.iter().filter(|address| address.counts).count();
    if used + world.claimed < most {
        return;
    }
    let beside = match world.claimed {
        0 => String::new(),
        claimed => format!(", and plans before this one take {claimed}"),
    };
    let label =
        format!("{used} of {most} elastic IP addresses of {} are allocated{beside}", region::name(world.region));
    problems.push(want.plan.origin.problem("aws.address", "no elastic IP address is left", label).fix(
        "release one, raise the quota \"EC2-VPC Elastic IPs\" (L-0263D0A3), or name one that exists: `address: eipalloc-...`",
    ));
}

/// How a machine that holds the bastion's address comes to be its own again, or makes room.
fn repair(doubt: &Doubt, id: &str, want: &Desired<'_>, world: World<'_>) -> String {
    let cli = region::cli(world.region);
    let room = format!(
        "otherwise end it (`{cli} ec2 terminate-instances --instance-ids {id}`) or disassociate the address, and apply makes another"
    );
    let group = world.seen.groups_of(want.bastion()).next();
    match (doubt, group) {
        (Doubt::OutsideGroup, Some(group)) => format!(
            "if it is this bastion's machine, put it back into its group: `{cli} ec2 modify-instance-attribute --instance-id {id} \
             --groups {}`; {room}",
            group.id
        ),
        (Doubt::BootTag, _) => format!(
            "if it is this bastion's machine and lost its tag, give it back: `{cli} ec2 create-tags --resources {id} --tags \
             'Key={},Value={}'` (its document is compared with it); {room}",
            tags::BOOT,
            boot_text(want.user_data)
        ),
        _ => format!("see whose it is; {room}"),
    }
}

/// A prefix list admits whatever stands in it, so that is held to what a plan's own sources are held to.
pub(super) fn prefix_lists(want: &Desired<'_>, world: World<'_>, problems: &mut Vec<Diagnostic>) {
    let mut sources: Vec<_> = want.plan.sources().collect();
    for named in want.plan.prefix_lists() {
        let problem = |summary: &str, label: String| want.plan.origin.problem(&named.field, summary, label);
        let list = match prefix_list::find(&world.seen.prefix_lists, &named.id) {
            Ok(list) => list,
            Err(why) => {
                problems.push(problem("the prefix list is not known", why).because(
                    "What stands in a list is what is admitted, so nothing is opened before it was read.",
                ).fix("check the id and the region, let the list's owner share it with this account, or list the addresses themselves"));
                continue;
            }
        };
        sources.extend(&list.entries);
        let Some(wide) = TooWide::of(&sources) else { continue };
        let label = match &wide {
            TooWide::Block(block) => {
                format!(
                    "with the plan's other sources {} makes up {block}, {} addresses",
                    list.name,
                    grouped(size(block))
                )
            }
            TooWide::Total { addresses, .. } => {
                format!("{} and the plan's other sources are {} addresses", list.name, grouped(*addresses))
            }
        };
        let problem = problem("a prefix list that admits too much", label).because(wide.limit());
        problems
            .push(problem.fix("take the wide entries out of the list, or list the addresses that are really needed"));
        return;
    }
}

/// `vpc` is `None` where the bastion has no place: the rest is checked all the same.
pub(super) fn databases(want: &Desired<'_>, world: World<'_>, vpc: Option<&str>, problems: &mut Vec<Diagnostic>) {
    for (i, access) in want.aws.database_access.iter().enumerate() {
        let id = &access.security_group;
        let field = format!("aws.database_access[{i}].security_group");
        let problem = |summary: &str, label: String| want.plan.origin.problem(&field, summary, label);
        if let Some(account) = &access.account {
            problems.extend(peering::check_foreign(want, world.seen, vpc, (access, account), problem));
            continue;
        }
        match world.seen.group(id) {
            None => problems.push(
                problem("no such security group", format!("{} has no {id}", region::name(world.region)))
                    .fix("name the group of the database itself, in the bastion's region"),
            ),
            Some(group) => {
                // A tag alone, which somebody may have put there, takes no plan its database.
                let owner = group.tags.get(tags::BASTION).filter(|owner| ownership::group(group, owner).is_ok());
                if let Some(owner) = owner {
                    problems.push(
                        problem("the group is a bastion's own", format!("{id} belongs to the bastion {owner}"))
                            .because("a bastion's group admits what its own plan lists and nothing else")
                            .fix("name the group of the database itself"),
                    );
                }
                let Some(vpc) = vpc.filter(|vpc| *vpc != group.vpc) else { continue };
                let because = match world.seen.is_peered(vpc, &group.vpc) {
                    Ok(true) => continue,
                    Ok(false) => String::new(),
                    Err(why) => format!("; whether these are peered is not known ({why})"),
                };
                problems.push(
                    problem("the subnet is not in the database's network", format!("{id} is in {}, the bastion's subnet in {vpc}", group.vpc))
                        .because(format!(
                            "the database's group can refer to the bastion's within one network, or over an active peering connection \
                             within the region{because}"
                        ))
                        .fix(format!(
                            "choose a public subnet in {}, or peer the networks; or, where a transit gateway leads there, leave this entry \
                             out, give the target its ranges in `networks`, and open the database's group to the bastion by hand",
                            group.vpc
                        )),
                );
            }
        }
    }
}

/// EC2 allows one group of a name in a network: if somebody else has ours, creating would fail half way.
pub(super) fn group_name(
    want: &Desired<'_>,
    world: World<'_>,
    vpc: &str,
    own: Option<&Group>,
    problems: &mut Vec<Diagnostic>,
) {
    let name = tags::resource_name(&want.plan.name);
    let taken = world.seen.groups.iter().find(|g| g.vpc == vpc && g.name == name);
    if let (None, Some(foreign)) = (own, taken) {
        problems.push(
            want.plan
                .origin
                .problem("name", "a security group of this name is not gangplank's", format!("{} is called {name}", foreign.id))
                .because(format!("it does not carry the tag {}={}, so it is left alone", tags::BASTION, want.bastion()))
                .fix(format!(
                    "give the plan another name; or, if the group is this bastion's and lost its tag: `{} ec2 create-tags \
                     --resources {} --tags Key={},Value={}`",
                    region::cli(world.region),
                    foreign.id,
                    tags::BASTION,
                    want.bastion()
                )),
        );
    }
}
