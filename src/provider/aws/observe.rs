//! Reads a region: three calls, at once, however many bastions there are (pages aside); one for the prefix lists that plans name and one
//! for the entries of each; one for the machines in a group whose bastion has none; two more about its networks' DNS where plans are compared; up to eight more, also at once, when a machine and
//! its address are to be created.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_ec2::types::{Filter, InstanceAttributeName, Reservation, SecurityGroup};
use futures_util::{
    StreamExt,
    future::{join_all, try_join_all},
    stream,
};
use ipnet::IpNet;

use super::{
    api::Ec2,
    convert,
    judging::Known,
    machine::{Needs, publisher},
    name_servers::NameServers,
    network::{RouteTable, Subnet},
    observed::{ElasticIp, Group, Image, Instance, InstanceType, MachineOrigin, Observed, Surroundings},
    ownership,
    peering::Peering,
    prefix_list::{PrefixList, PrefixLists},
    public_access::{OFF, PublicAccess},
    retry::Repeat,
    rule::{Peer, Rules},
    tags,
};
use crate::{
    cloud_error::{CloudError, ErrorKind},
    cloudinit,
    plan::{Aws, Plan},
    provider::Progress,
};

/// What plans name by its id and nothing of gangplank's is.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub databases: BTreeSet<String>,
    pub prefix_lists: BTreeSet<String>,
}

impl Named {
    pub fn by<'p>(plans: impl Iterator<Item = (&'p Plan, &'p Aws)>) -> Self {
        let mut named = Self::default();
        for (plan, aws) in plans {
            let own = aws.database_access.iter().filter(|access| access.account.is_none());
            named.databases.extend(own.map(|access| access.security_group.clone()));
            named.prefix_lists.extend(plan.prefix_lists().iter().map(|list| list.id.clone()));
        }
        named
    }
}

/// Everything of ours in the region, and what it touches.
pub async fn observe(ec2: &Ec2, named: &Named, progress: &Progress<'_>) -> Result<Observed, CloudError> {
    let (instances, addresses, groups, prefix_lists) = tokio::try_join!(
        instances(ec2, progress),
        addresses(ec2, progress),
        groups(ec2, &named.databases, progress),
        async { Ok(prefix_lists(ec2, &named.prefix_lists, progress).await) },
    )?;
    Ok(Observed { instances, addresses, groups, prefix_lists, ..Observed::default() })
}

/// The same where bastions are to be taken away. EC2 may list an address some seconds after it was allocated ("Eventual consistency", Amazon
/// EC2 API Reference). A rule that names it tells that it was; it is the proof whose the address is, and goes with the group.
pub async fn observe_to_remove(ec2: &Ec2, progress: &Progress<'_>) -> Result<Observed, CloudError> {
    let mut seen = observe(ec2, &Named::default(), progress).await?;
    for seconds in LISTED_AFTER {
        let Some(unlisted) = ownership::unlisted_address(&seen) else { break };
        progress.waiting(format!("EC2 to list {unlisted}, which a bastion's group names"));
        if progress.pause(Duration::from_secs(seconds)).await.is_err() {
            break;
        }
        seen.addresses = addresses(ec2, progress).await?;
    }
    Ok(seen)
}

/// Seconds between two looks for an address. One that was released by hand is looked for in vain.
const LISTED_AFTER: [u64; 4] = [1, 3, 6, 10];

pub async fn surroundings(ec2: &Ec2, needs: &Needs, progress: &Progress<'_>) -> Result<Surroundings, CloudError> {
    let (subnets, route_tables, mut images, named, instance_types, most_addresses, public_access) = tokio::try_join!(
        async { if needs.network { subnets(ec2, progress).await } else { Ok(Vec::new()) } },
        async { if needs.network { route_tables(ec2, progress).await } else { Ok(Vec::new()) } },
        published_images(ec2, needs, progress),
        named_images(ec2, needs, progress),
        instance_types(ec2, needs, progress),
        async { Ok(if needs.address { most_addresses(ec2, progress).await } else { None }) },
        async { Ok(if needs.network { public_access(ec2, progress).await.ok() } else { None }) },
    )?;
    images.extend(named);
    Ok(Surroundings { subnets, route_tables, images, instance_types, most_addresses, public_access })
}

/// Reads every page of a describe call. The pages of one answer depend on each other; different calls run at once. A macro,
/// since the SDK's requests and answers share methods but no trait.
macro_rules! pages {
    ($ec2:expr, $progress:expr, $operation:literal, $request:expr, $page_size:expr, $items:ident, $convert:expr) => {{
        let request = $request.max_results($page_size);
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let send = || request.clone().set_next_token(token.clone()).send();
            let page = $ec2.call($operation, Repeat::SAFE, $progress, send).await?;
            all.extend(page.$items().iter().filter_map($convert));
            token = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            if token.is_none() {
                break all;
            }
        }
    }};
}
pub(super) use pages;

/// What EC2 gives on one page at the most, by call.
pub(super) const PAGE: i32 = 1000;
pub(super) const SMALL_PAGE: i32 = 100;

/// Machines that are asked about at once, where EC2 tells of one at a time.
pub(super) const AT_ONCE: usize = 32;

/// Instances with our tag, in every state: the terminated ones are history that a client token must differ from. And those that have only
/// the tag of their document left.
pub(super) async fn instances(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<Instance>, CloudError> {
    let filter = Filter::builder().name("tag-key").values(tags::BASTION).values(tags::BOOT).build();
    instances_where(ec2, filter, progress).await
}

/// The instances of these ids, as far as EC2 knows them already or still. At most 200, EC2's limit for a filter.
pub async fn instances_of_ids(
    ec2: &Ec2,
    ids: Vec<String>,
    progress: &Progress<'_>,
) -> Result<Vec<Instance>, CloudError> {
    instances_where(ec2, Filter::builder().name("instance-id").set_values(Some(ids)).build(), progress).await
}

/// Machines that are called as gangplank calls its own, whoever's they are.
pub(super) async fn instances_named_alike(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<Instance>, CloudError> {
    instances_where(ec2, Filter::builder().name("tag:Name").values("gangplank-*").build(), progress).await
}

/// Every machine in these groups, whoever's it is.
pub(super) async fn instances_in_groups(
    ec2: &Ec2,
    groups: &BTreeSet<String>,
    progress: &Progress<'_>,
) -> Result<Vec<Instance>, CloudError> {
    let groups: Vec<String> = groups.iter().cloned().collect();
    // EC2's limit for the values of a filter.
    let reads = groups.chunks(200).map(async |ids| {
        let filter = Filter::builder().name("instance.group-id").set_values(Some(ids.to_vec())).build();
        instances_where(ec2, filter, progress).await
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

async fn instances_where(ec2: &Ec2, filter: Filter, progress: &Progress<'_>) -> Result<Vec<Instance>, CloudError> {
    let request = ec2.client.describe_instances().filters(filter);
    let convert = |r: &Reservation| Some(r.instances().iter().filter_map(convert::instance).collect::<Vec<_>>());
    let reservations = pages!(ec2, progress, "DescribeInstances", request, PAGE, reservations, convert);
    let mut instances: Vec<Instance> = reservations.into_iter().flatten().collect();
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(instances)
}

/// What these machines were made from: one call for each, which EC2 gives no other way, and one for all of their images.
pub(super) async fn origins(
    ec2: &Ec2,
    machines: &[&Instance],
    progress: &Progress<'_>,
) -> BTreeMap<String, MachineOrigin> {
    let ids: BTreeSet<String> = machines.iter().map(|m| m.image.clone()).filter(|id| !id.is_empty()).collect();
    let documents = stream::iter(machines).map(|machine| user_data(ec2, &machine.id, progress)).buffered(AT_ONCE);
    let (documents, images) = tokio::join!(documents.collect::<Vec<_>>(), images_of_ids(ec2, ids, progress));
    let images = known(images);
    let origin = |(machine, user_data): (&&Instance, Known<Option<String>>)| {
        let find = |all: &Vec<Image>| all.iter().find(|image| image.id == machine.image).cloned();
        let image = images.as_ref().map(find).map_err(String::clone);
        (machine.id.clone(), MachineOrigin { user_data, image })
    };
    machines.iter().zip(documents).map(origin).collect()
}

/// SHA-256 of a machine's user data; `None` where it has none.
async fn user_data(ec2: &Ec2, instance: &str, progress: &Progress<'_>) -> Known<Option<String>> {
    let request =
        ec2.client.describe_instance_attribute().instance_id(instance).attribute(InstanceAttributeName::UserData);
    let answer = known(ec2.call("DescribeInstanceAttribute", Repeat::SAFE, progress, || request.clone().send()).await)?;
    let Some(base64) = answer.user_data().and_then(|value| value.value()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // What is no document of ours has a digest, too: that of its bytes.
    let bytes = aws_smithy_types::base64::decode(base64).unwrap_or_else(|_| base64.as_bytes().to_vec());
    Ok(Some(
        cloudinit::uncompressed(&bytes).map_or_else(|| cloudinit::digest_of(&bytes), |text| cloudinit::digest(&text)),
    ))
}

async fn images_of_ids(ec2: &Ec2, ids: BTreeSet<String>, progress: &Progress<'_>) -> Result<Vec<Image>, CloudError> {
    let ids: Vec<String> = ids.into_iter().collect();
    // EC2's limit for the values of a filter.
    let reads = ids.chunks(200).map(async |ids| {
        let filter = Filter::builder().name("image-id").set_values(Some(ids.to_vec())).build();
        // A deprecated image goes on being what it was.
        let request = ec2.client.describe_images().include_deprecated(true).filters(filter);
        Ok::<_, CloudError>(pages!(ec2, progress, "DescribeImages", request, PAGE, images, convert::image))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// What was read, or why it could not be, for people.
pub(super) fn known<T>(read: Result<T, CloudError>) -> Known<T> {
    read.map_err(told)
}

fn told(error: CloudError) -> String {
    let code = error.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let remedy = error.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("{} failed: {}{code}{remedy}", error.operation, error.message)
}

/// All of the region's addresses: EC2 gives them on one page, and a quota keeps them few.
pub async fn addresses(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<ElasticIp>, CloudError> {
    let answer =
        ec2.call("DescribeAddresses", Repeat::SAFE, progress, || ec2.client.describe_addresses().send()).await?;
    let mut addresses: Vec<ElasticIp> = answer.addresses().iter().filter_map(convert::address).collect();
    addresses.sort_by(|a, b| a.allocation.cmp(&b.allocation));
    Ok(addresses)
}

/// All of the region's groups: that alone shows a foreign group of our name, and foreign rules that refer to ours, before
/// anything is written. What is of no concern is dropped as it arrives.
async fn groups(ec2: &Ec2, databases: &BTreeSet<String>, progress: &Progress<'_>) -> Result<Vec<Group>, CloudError> {
    let convert = |from: &SecurityGroup| {
        let mut group = convert::group(from)?;
        let concerns = group.tags.contains_key(tags::BASTION) || databases.contains(&group.id);
        if !concerns {
            group.ingress = referring(group.ingress);
            group.egress = referring(group.egress);
            group.tags.clear();
        }
        let keep =
            concerns || group.name.starts_with("gangplank-") || !group.ingress.is_empty() || !group.egress.is_empty();
        keep.then_some(group)
    };
    let request = ec2.client.describe_security_groups();
    let mut groups = pages!(ec2, progress, "DescribeSecurityGroups", request, PAGE, security_groups, convert);
    groups.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(groups)
}

/// The lists of these ids with what stands in them: one call for the lists, and one for each list's entries (and pages).
pub(super) async fn prefix_lists(ec2: &Ec2, ids: &BTreeSet<String>, progress: &Progress<'_>) -> PrefixLists {
    if ids.is_empty() {
        return PrefixLists::new();
    }
    let found = known(described_prefix_lists(ec2, ids, progress).await);
    let read = ids.iter().map(async |id| {
        let list = found.as_ref().map_err(String::clone).and_then(|found| {
            let found = found.iter().find(|list| list.id == *id).cloned();
            found.ok_or_else(|| format!("{} has no {id}, or it is not shared with this account", ec2.region))
        });
        let list = match list {
            Ok(list) => {
                known(prefix_list_entries(ec2, id, progress).await).map(|entries| PrefixList { entries, ..list })
            }
            Err(why) => Err(why),
        };
        (id.clone(), list)
    });
    join_all(read).await.into_iter().collect()
}

async fn described_prefix_lists(
    ec2: &Ec2,
    ids: &BTreeSet<String>,
    progress: &Progress<'_>,
) -> Result<Vec<PrefixList>, CloudError> {
    // Named by a filter, an unknown one refuses nothing.
    let filter = Filter::builder().name("prefix-list-id").set_values(Some(ids.iter().cloned().collect())).build();
    let request = ec2.client.describe_managed_prefix_lists().filters(filter);
    let convert = convert::prefix_list;
    Ok(pages!(ec2, progress, "DescribeManagedPrefixLists", request, SMALL_PAGE, prefix_lists, convert))
}

async fn prefix_list_entries(ec2: &Ec2, id: &str, progress: &Progress<'_>) -> Result<Vec<IpNet>, CloudError> {
    let request = ec2.client.get_managed_prefix_list_entries().prefix_list_id(id);
    let convert = convert::prefix_list_entry;
    let mut entries = pages!(ec2, progress, "GetManagedPrefixListEntries", request, SMALL_PAGE, entries, convert);
    entries.sort();
    Ok(entries)
}

/// The account's quota of elastic addresses. Where that may not be asked, a refusal of AllocateAddress tells it.
async fn most_addresses(ec2: &Ec2, progress: &Progress<'_>) -> Option<usize> {
    // Without names EC2 tells all attributes; of the names its reference lists two, and this is neither.
    let send = || ec2.client.describe_account_attributes().send();
    let answer = ec2.call("DescribeAccountAttributes", Repeat::SAFE, progress, send).await.ok()?;
    let attribute = answer.account_attributes().iter().find(|a| a.attribute_name() == Some("vpc-max-elastic-ips"))?;
    attribute.attribute_values().first()?.attribute_value()?.parse().ok()
}

fn referring(rules: Rules) -> Rules {
    rules.into_iter().filter(|(rule, _)| matches!(rule.peer, Peer::Group(_))).collect()
}

pub(crate) async fn subnets(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<Subnet>, CloudError> {
    Ok(pages!(ec2, progress, "DescribeSubnets", ec2.client.describe_subnets(), PAGE, subnets, convert::subnet))
}

/// Which DNS servers the networks' machines ask. Who may not read it is told so where it matters.
pub(super) async fn name_servers(ec2: &Ec2, progress: &Progress<'_>) -> Result<NameServers, CloudError> {
    let networks = async {
        let request = ec2.client.describe_vpcs();
        Ok::<_, CloudError>(pages!(ec2, progress, "DescribeVpcs", request, PAGE, vpcs, convert::network_dns))
    };
    let options = async {
        let request = ec2.client.describe_dhcp_options();
        Ok(pages!(ec2, progress, "DescribeDhcpOptions", request, PAGE, dhcp_options, convert::dhcp_options))
    };
    Ok(match or_refused(tokio::try_join!(networks, options))? {
        Ok((networks, options)) => NameServers { networks, options, unread: None },
        Err(why) => NameServers::unread(why),
    })
}

/// The active peering connections within the region. Who may not read them is told so where it matters.
pub(super) async fn peerings(ec2: &Ec2, progress: &Progress<'_>) -> Result<Known<Vec<Peering>>, CloudError> {
    let read = async {
        let request = ec2.client.describe_vpc_peering_connections();
        let convert = convert::peering;
        Ok::<_, CloudError>(pages!(
            ec2,
            progress,
            "DescribeVpcPeeringConnections",
            request,
            PAGE,
            vpc_peering_connections,
            convert
        ))
    };
    or_refused(read.await)
}

/// VPC Block Public Access, and what it excludes where it is on. It is a warning and no condition, so nothing is tried twice for it.
pub(super) async fn public_access(ec2: &Ec2, progress: &Progress<'_>) -> Known<PublicAccess> {
    let options = || ec2.client.describe_vpc_block_public_access_options().send();
    let options = known(ec2.call("DescribeVpcBlockPublicAccessOptions", Repeat::ONCE, progress, options).await)?;
    let options = options.vpc_block_public_access_options();
    let mode = options.and_then(|options| options.internet_gateway_block_mode()).map_or(OFF, |mode| mode.as_str());
    if mode == OFF {
        return Ok(PublicAccess::off());
    }
    let exclusions = || ec2.client.describe_vpc_block_public_access_exclusions().max_results(PAGE).send();
    let told = known(ec2.call("DescribeVpcBlockPublicAccessExclusions", Repeat::ONCE, progress, exclusions).await)?;
    let excluded = told.vpc_block_public_access_exclusions().iter().filter_map(convert::excluded).collect();
    Ok(PublicAccess { mode: mode.to_owned(), excluded })
}

/// A refusal for want of a permission is a fact of its own.
fn or_refused<T>(read: Result<T, CloudError>) -> Result<Known<T>, CloudError> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error) if error.kind == ErrorKind::Permission => Ok(Err(told(error))),
        Err(error) => Err(error),
    }
}

pub(super) async fn route_tables(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<RouteTable>, CloudError> {
    let request = ec2.client.describe_route_tables();
    Ok(pages!(ec2, progress, "DescribeRouteTables", request, SMALL_PAGE, route_tables, convert::route_table))
}

/// The publishers' images under their usual names; which one is newest is decided elsewhere.
async fn published_images(ec2: &Ec2, needs: &Needs, progress: &Progress<'_>) -> Result<Vec<Image>, CloudError> {
    if needs.aliases.is_empty() {
        return Ok(Vec::new());
    }
    let publishers: Vec<_> = needs.aliases.iter().map(|alias| publisher(*alias)).collect();
    let owners: BTreeSet<&str> = publishers.iter().map(|(owner, _)| *owner).collect();
    let names = publishers.iter().flat_map(|(_, patterns)| patterns.iter().map(|p| (*p).to_owned())).collect();
    let request = ec2
        .client
        .describe_images()
        .set_owners(Some(owners.into_iter().map(str::to_owned).collect()))
        .filters(Filter::builder().name("name").set_values(Some(names)).build())
        .filters(Filter::builder().name("state").values("available").build());
    Ok(pages!(ec2, progress, "DescribeImages", request, PAGE, images, convert::image))
}

/// Images that plans name by id. Unknown ones are simply not among them.
async fn named_images(ec2: &Ec2, needs: &Needs, progress: &Progress<'_>) -> Result<Vec<Image>, CloudError> {
    if needs.image_ids.is_empty() {
        return Ok(Vec::new());
    }
    let filter = Filter::builder().name("image-id").set_values(Some(needs.image_ids.clone())).build();
    // A filter is no id: without this a deprecated image would not be there, and EC2 launches it ("Deprecate an Amazon EC2 AMI").
    let request = ec2.client.describe_images().include_deprecated(true).filters(filter);
    Ok(pages!(ec2, progress, "DescribeImages", request, PAGE, images, convert::image))
}

async fn instance_types(ec2: &Ec2, needs: &Needs, progress: &Progress<'_>) -> Result<Vec<InstanceType>, CloudError> {
    if needs.instance_types.is_empty() {
        return Ok(Vec::new());
    }
    let filter = Filter::builder().name("instance-type").set_values(Some(needs.instance_types.clone())).build();
    let request = ec2.client.describe_instance_types().filters(filter);
    Ok(pages!(ec2, progress, "DescribeInstanceTypes", request, SMALL_PAGE, instance_types, convert::instance_type))
}
