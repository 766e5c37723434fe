//! Reads what a verification goes by. For a region, however many bastions: three calls as for a plan, and at the same time
//! networks and their DHCP options, VPC Block Public Access, subnets, route tables, network ACLs and the databases' interfaces; then volumes, the interfaces in the
//! bastions' groups, and one console for each running machine
//! (pages aside, and the consoles twice where EC2 has only the old kind). Writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_sdk_ec2::types::Filter;
use futures_util::{StreamExt, future::try_join_all, stream};
use jiff::Timestamp;

use super::{
    api::Ec2,
    convert, doubts,
    evidence::{Console, Evidence, Network, main_instance},
    judging::Known,
    name_servers::NameServers,
    network::{Acl, Interface, Volume},
    observe::{self, AT_ONCE, Named, PAGE, known, pages},
    observed::{Group, Instance, InstanceState, Observed},
    retry::Repeat,
};
use crate::{cloud_error::CloudError, provider::Progress};

/// EC2's limit for the values of a filter.
const MOST_VALUES: usize = 200;

/// What is asked about one region.
pub struct Question<'a> {
    pub ec2: &'a Ec2,
    pub region: &'a str,
    /// The bastions by name, in the order of the answer.
    pub bastions: Vec<&'a str>,
    pub named: Named,
    pub now: Timestamp,
}

impl Question<'_> {
    /// The evidence about each bastion.
    ///
    /// # Errors
    /// Instances, addresses and groups must be readable. What else is not, the evidence says, and so do the checks.
    pub async fn ask(&self, progress: &Progress<'_>) -> Result<Vec<Evidence>, CloudError> {
        let ec2 = self.ec2;
        let (core, name_servers, public_access, subnets, route_tables, acls, database_interfaces, prefix_lists) = tokio::join!(
            async {
                tokio::try_join!(
                    observe::instances(ec2, progress),
                    observe::addresses(ec2, progress),
                    groups(ec2, progress)
                )
            },
            observe::name_servers(ec2, progress),
            observe::public_access(ec2, progress),
            observe::subnets(ec2, progress),
            observe::route_tables(ec2, progress),
            acls(ec2, progress),
            interfaces(ec2, &self.named.databases, progress),
            observe::prefix_lists(ec2, &self.named.prefix_lists, progress),
        );
        let (instances, addresses, groups) = core?;
        let name_servers = known(name_servers).unwrap_or_else(NameServers::unread);
        let mut seen = Observed { instances, addresses, groups, name_servers, prefix_lists, ..Observed::default() };

        let machines: Vec<Option<&Instance>> = self.bastions.iter().map(|b| main_instance(&seen, b)).collect();
        let ids: BTreeSet<String> =
            self.bastions.iter().flat_map(|b| seen.instances_of(b)).map(|i| i.id.clone()).collect();
        let machines_of = machines.clone();
        let consoles = stream::iter(machines).map(|machine| console_of(ec2, machine, progress)).buffered(AT_ONCE);
        let of: Vec<&Instance> = machines_of.iter().copied().flatten().collect();
        let own: BTreeSet<String> = self.bastions.iter().flat_map(|b| doubts::groups_called(b, &seen)).collect();
        let (volumes, consoles, origins, members) = tokio::join!(
            volumes(ec2, &ids, progress),
            consoles.collect::<Vec<_>>(),
            observe::origins(ec2, &of, progress),
            interfaces(ec2, &own, progress),
        );

        let network = Arc::new(Network {
            subnets: known(subnets),
            route_tables: known(route_tables),
            acls: known(acls),
            public_access,
            database_interfaces: known(database_interfaces),
            volumes: known(volumes),
        });
        seen.origins = origins;
        seen.members = Some(known(members));
        let seen = Arc::new(seen);
        let evidence = self.bastions.iter().zip(consoles).map(|(bastion, console)| Evidence {
            bastion: (*bastion).to_owned(),
            region: self.region.to_owned(),
            at: self.now,
            seen: Arc::clone(&seen),
            network: Arc::clone(&network),
            console,
        });
        Ok(evidence.collect())
    }
}

/// All of the region's groups with all of their rules: any of them may be attached to a bastion.
async fn groups(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<Group>, CloudError> {
    let request = ec2.client.describe_security_groups();
    let mut groups = pages!(ec2, progress, "DescribeSecurityGroups", request, PAGE, security_groups, convert::group);
    groups.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(groups)
}

async fn acls(ec2: &Ec2, progress: &Progress<'_>) -> Result<Vec<Acl>, CloudError> {
    let request = ec2.client.describe_network_acls();
    Ok(pages!(ec2, progress, "DescribeNetworkAcls", request, PAGE, network_acls, convert::acl))
}

/// Interfaces that carry any of these groups.
pub(super) async fn interfaces(
    ec2: &Ec2,
    groups: &BTreeSet<String>,
    progress: &Progress<'_>,
) -> Result<Vec<Interface>, CloudError> {
    let found = try_join_all(filters("group-id", groups).into_iter().map(async |filter| {
        let request = ec2.client.describe_network_interfaces().filters(filter);
        let convert = convert::interface;
        Ok(pages!(ec2, progress, "DescribeNetworkInterfaces", request, PAGE, network_interfaces, convert))
    }));
    // One that carries two of the groups may be told twice.
    let found = found.await?.into_iter().flatten().map(|interface| (interface.id.clone(), interface));
    Ok(found.collect::<BTreeMap<_, _>>().into_values().collect())
}

async fn volumes(ec2: &Ec2, instances: &BTreeSet<String>, progress: &Progress<'_>) -> Result<Vec<Volume>, CloudError> {
    let found = try_join_all(filters("attachment.instance-id", instances).into_iter().map(async |filter| {
        let request = ec2.client.describe_volumes().filters(filter);
        Ok(pages!(ec2, progress, "DescribeVolumes", request, PAGE, volumes, convert::volume))
    }));
    Ok(found.await?.into_iter().flatten().collect())
}

fn filters(name: &str, values: &BTreeSet<String>) -> Vec<Filter> {
    let values: Vec<String> = values.iter().cloned().collect();
    let filter = |chunk: &[String]| Filter::builder().name(name).set_values(Some(chunk.to_vec())).build();
    values.chunks(MOST_VALUES).map(filter).collect()
}

async fn console_of(ec2: &Ec2, machine: Option<&Instance>, progress: &Progress<'_>) -> Known<Console> {
    match machine {
        None => Err("there is no instance whose console could be read".to_owned()),
        Some(instance) if instance.state != InstanceState::Running => {
            Err(format!("{} is {}: its console tells nothing about now", instance.id, instance.state.as_str()))
        }
        Some(instance) => match console(ec2, &instance.id, progress).await {
            Ok(Some(console)) => Ok(console),
            Ok(None) => Err(format!("EC2 has no console output of {} yet: it may still be booting", instance.id)),
            Err(error) => known(Err(error)),
        },
    }
}

/// The console as it is now, where the instance type has that (Nitro); otherwise as EC2 last took it, after a start.
async fn console(ec2: &Ec2, instance: &str, progress: &Progress<'_>) -> Result<Option<Console>, CloudError> {
    let request = ec2.client.get_console_output().instance_id(instance);
    let latest = || request.clone().latest(true).send();
    let answer = match ec2.call("GetConsoleOutput", Repeat::SAFE, progress, latest).await {
        Err(error) if error.code.as_deref() == Some("UnsupportedOperation") => {
            ec2.call("GetConsoleOutput", Repeat::SAFE, progress, || request.clone().send()).await?
        }
        answer => answer?,
    };
    let base64: String = answer.output().unwrap_or_default().split_ascii_whitespace().collect();
    // What is no base64 can't come from EC2; the report's reader will not find a report in it.
    let bytes = aws_smithy_types::base64::decode(&base64).unwrap_or_default();
    let at = answer.timestamp().and_then(|t| Timestamp::from_second(t.secs()).ok());
    Ok((!bytes.is_empty()).then_some(Console { bytes, at }))
}
