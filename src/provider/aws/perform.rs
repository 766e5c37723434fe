//! Carries out one step. Every call may come twice: what exists already is adopted when it is ours, what is gone already is done.

mod end;
mod rules;
mod wait;

use std::{cell::RefCell, collections::BTreeMap};

use aws_sdk_ec2::types::{
    AttributeValue, BlockDeviceMapping, DomainType, EbsBlockDevice, Filter, HttpTokensState,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceMetadataTagsState,
    InstanceNetworkInterfaceSpecification, InstanceType, ResourceType, ShutdownBehavior, Tag, VolumeType,
};
use sha2::{Digest, Sha256};

use self::{
    end::{Ending, Endings},
    wait::{END_LIMIT, POLL, START_LIMIT, Watch, start_limit},
};
use super::{
    action::{Action, Call, Launch, Ref},
    api::Ec2,
    convert::{sdk_tags, tag_specification},
    doubts, observe,
    observed::{Instance, InstanceState, MetadataOptions},
    ownership::{self, Changed, is_abandoned},
    region,
    retry::Repeat,
    rule::description,
    tags::{self, Tags, owns},
};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue, residue::EffectDone},
    cloudinit,
    provider::Progress,
};

/// Performs the steps of one region.
pub struct Performer<'a> {
    ec2: &'a Ec2,
    /// By bastion, what this run has made so far.
    made: RefCell<BTreeMap<String, Made>>,
    watch: Watch,
    endings: Endings,
}

#[derive(Clone, Debug, Default)]
struct Made {
    group: Option<String>,
    address: Option<String>,
    ip: Option<String>,
    instance: Option<String>,
}

impl<'a> Performer<'a> {
    pub fn new(ec2: &'a Ec2) -> Self {
        Self { ec2, made: RefCell::default(), watch: Watch::default(), endings: Endings::default() }
    }

    pub async fn perform(&self, action: &Action, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        let bastion = &action.bastion;
        match &action.call {
            Call::CreateGroup { vpc, name, description, tags } => {
                let id = self.create_group(bastion, vpc, name, description, tags, progress).await?;
                self.remember(bastion, |made| made.group = Some(id.clone()));
                Ok(Some(id))
            }
            Call::ChangeRules { group, direction, add, remove, closes_first, tags } => {
                let change = self.change_rules(bastion, group, *direction, add, remove, *closes_first, tags, progress);
                change.await.map(|()| None)
            }
            Call::AllocateAddress { tags } => {
                let (id, ip) = self.allocate(bastion, tags, progress).await?;
                self.remember(bastion, |made| (made.address, made.ip) = (Some(id.clone()), Some(ip.clone())));
                Ok(Some(format!("{ip} {id}")))
            }
            Call::MarkAddress { group, address, ip, tags } => {
                self.mark_address(bastion, group, address, *ip, tags, progress).await.map(|()| None)
            }
            Call::RunInstance(launch) => {
                let id = self.run_instance(action, launch, progress).await?;
                self.remember(bastion, |made| made.instance = Some(id.clone()));
                Ok(Some(id))
            }
            Call::Associate { address, instance, interface } => {
                self.associate(bastion, address, instance, interface.as_deref(), progress).await.map(|()| None)
            }
            Call::StartInstance { instance } => self.start(instance, progress).await.map(|()| None),
            Call::SetMetadataOptions { instance, tags } => {
                let send = || {
                    self.ec2
                        .client
                        .modify_instance_metadata_options()
                        .instance_id(instance)
                        .http_tokens(HttpTokensState::Required)
                        .http_put_response_hop_limit(MetadataOptions::HOP_LIMIT)
                        .http_endpoint(InstanceMetadataEndpointState::Enabled)
                        .instance_metadata_tags(tags_state(*tags))
                        .send()
                };
                self.ec2.call("ModifyInstanceMetadataOptions", Repeat::SAFE, progress, send).await.map(|_| None)
            }
            Call::SetGroups { instance, interface, groups } => {
                let groups = groups.iter().map(|g| self.group(bastion, g)).collect::<Result<Vec<_>, _>>()?;
                if let Some(interface) = interface {
                    let request = self.ec2.client.modify_network_interface_attribute().network_interface_id(interface);
                    let request = request.set_groups(Some(groups));
                    let send = || request.clone().send();
                    let set = self.ec2.call("ModifyNetworkInterfaceAttribute", Repeat::SETTLING, progress, send);
                    return set.await.map(|_| None);
                }
                let send = || {
                    self.ec2
                        .client
                        .modify_instance_attribute()
                        .instance_id(instance)
                        .set_groups(Some(groups.clone()))
                        .send()
                };
                self.ec2.call("ModifyInstanceAttribute", Repeat::SETTLING, progress, send).await.map(|_| None)
            }
            Call::SetShutdownBehavior { instance, terminate } => {
                let behavior = if *terminate { ShutdownBehavior::Terminate } else { ShutdownBehavior::Stop };
                let value = AttributeValue::builder().value(behavior.as_str()).build();
                let send = || {
                    self.ec2
                        .client
                        .modify_instance_attribute()
                        .instance_id(instance)
                        .instance_initiated_shutdown_behavior(value.clone())
                        .send()
                };
                self.ec2.call("ModifyInstanceAttribute", Repeat::SAFE, progress, send).await.map(|_| None)
            }
            Call::Tag { resources, set, remove } => self.tag(resources, set, remove, progress).await.map(|()| None),
            Call::TerminateInstance { instance, within, displaced } => {
                let (within, displaced) = (within.clone(), displaced.clone());
                let ending = Ending { bastion: bastion.clone(), within, displaced };
                self.terminate(instance, ending, progress).await.map(|()| None)
            }
            Call::ReleaseAddress { allocation } => {
                let send = || self.ec2.client.release_address().allocation_id(allocation).send();
                gone(self.ec2.call("ReleaseAddress", Repeat::RELEASING, progress, send).await).map(|()| None)
            }
            Call::DeleteGroup { group } => self.delete_group(group, progress).await.map(|()| None),
            Call::DeleteVolume { volume } => {
                let send = || self.ec2.client.delete_volume().volume_id(volume).send();
                gone(self.ec2.call("DeleteVolume", Repeat::RELEASING, progress, send).await).map(|()| None)
            }
        }
    }

    fn remember(&self, bastion: &str, note: impl FnOnce(&mut Made)) {
        note(self.made.borrow_mut().entry(bastion.to_owned()).or_default());
    }

    fn made(&self, bastion: &str, what: &str, get: impl Fn(&Made) -> Option<String>) -> Result<String, CloudError> {
        // The graph lets a step start only after the steps that make what it needs.
        self.made
            .borrow()
            .get(bastion)
            .and_then(get)
            .ok_or_else(|| CloudError::mistake(format!("the {what} of {bastion} is needed before it is made")))
    }

    fn group(&self, bastion: &str, group: &Ref) -> Result<String, CloudError> {
        match group {
            Ref::Id(id) => Ok(id.clone()),
            Ref::Made => self.made(bastion, "security group", |m| m.group.clone()),
        }
    }

    fn address(&self, bastion: &str, address: &Ref) -> Result<String, CloudError> {
        match address {
            Ref::Id(id) => Ok(id.clone()),
            Ref::Made => self.made(bastion, "address", |m| m.address.clone()),
        }
    }

    async fn create_group(
        &self,
        bastion: &str,
        vpc: &str,
        name: &str,
        words: &str,
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<String, CloudError> {
        let client = &self.ec2.client;
        let send = || {
            client
                .create_security_group()
                .group_name(name)
                .description(description(words))
                .vpc_id(vpc)
                .tag_specifications(tag_specification(ResourceType::SecurityGroup, tags))
                .send()
        };
        let error = match self.ec2.call("CreateSecurityGroup", Repeat::SAFE, progress, send).await {
            Ok(created) => {
                return created.group_id().map(str::to_owned).ok_or_else(|| unreadable("CreateSecurityGroup"));
            }
            Err(error) => error,
        };
        if error.code.as_deref() != Some("InvalidGroup.Duplicate") {
            return Err(error);
        }
        // It came into being since we looked: by a lost answer of ours, by another gangplank, or by a stranger.
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let send = || {
            client.describe_security_groups().filters(filter("group-name", name)).filters(filter("vpc-id", vpc)).send()
        };
        let found = self.ec2.call("DescribeSecurityGroups", Repeat::SAFE, progress, send).await?;
        let ours = found
            .security_groups()
            .iter()
            .filter_map(crate::provider::aws::convert::group)
            .find(|g| owns(&g.tags, bastion) && ownership::group(g, bastion).is_ok());
        ours.map(|g| g.id).ok_or(error)
    }

    /// AllocateAddress knows no client token: where its answer is lost, the address is looked for before another is asked for.
    async fn allocate(
        &self,
        bastion: &str,
        tags: &Tags,
        progress: &Progress<'_>,
    ) -> Result<(String, String), CloudError> {
        let send = || {
            self.ec2
                .client
                .allocate_address()
                .domain(DomainType::Vpc)
                .tag_specifications(tag_specification(ResourceType::ElasticIp, tags))
                .send()
        };
        for last in [false, false, true] {
            match self.ec2.call("AllocateAddress", Repeat::ONCE, progress, send).await {
                Ok(made) => {
                    let id = made.allocation_id().ok_or_else(|| unreadable("AllocateAddress"))?;
                    return Ok((id.to_owned(), made.public_ip().unwrap_or_default().to_owned()));
                }
                Err(error) if error.residue == Residue::Unknown && !last => {
                    progress.retrying(
                        "AllocateAddress",
                        error.kind,
                        error.code.as_deref().unwrap_or_default(),
                        1,
                        POLL,
                    );
                    if progress.pause(POLL).await.is_err() {
                        return Err(error.not_repeated());
                    }
                    // Where it can't be looked for, what the lost answer said stays unknown.
                    let found = observe::addresses(self.ec2, progress).await;
                    let found = found.map_err(|failed| CloudError { residue: Residue::Unknown, ..failed })?;
                    if let Some(ours) = found.into_iter().find(|a| owns(&a.tags, bastion) && is_abandoned(a, tags)) {
                        let ip = ours.ip.map_or_else(String::new, |ip| ip.to_string());
                        return Ok((ours.allocation, ip));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(unreadable("AllocateAddress"))
    }

    async fn run_instance(
        &self,
        action: &Action,
        launch: &Launch,
        progress: &Progress<'_>,
    ) -> Result<String, CloudError> {
        let bastion = &action.bastion;
        let group = self.group(bastion, &launch.group)?;
        let request = self
            .ec2
            .client
            .run_instances()
            .min_count(1)
            .max_count(1)
            .image_id(&launch.image)
            .instance_type(InstanceType::from(launch.instance_type.as_str()))
            .user_data(aws_smithy_types::base64::encode(cloudinit::compressed(&launch.user_data)))
            .instance_initiated_shutdown_behavior(if launch.terminate_on_shutdown {
                ShutdownBehavior::Terminate
            } else {
                ShutdownBehavior::Stop
            })
            .metadata_options(
                InstanceMetadataOptionsRequest::builder()
                    .http_tokens(HttpTokensState::Required)
                    .http_put_response_hop_limit(MetadataOptions::HOP_LIMIT)
                    .http_endpoint(InstanceMetadataEndpointState::Enabled)
                    .instance_metadata_tags(tags_state(launch.metadata_tags))
                    .build(),
            )
            .block_device_mappings(
                BlockDeviceMapping::builder()
                    .device_name(&launch.root_device)
                    .ebs(
                        EbsBlockDevice::builder()
                            .volume_type(VolumeType::Gp3)
                            .volume_size(launch.root_size)
                            .encrypted(true)
                            .delete_on_termination(true)
                            .build(),
                    )
                    .build(),
            )
            // Its only public address is the fixed one.
            .network_interfaces(
                InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .subnet_id(&launch.subnet)
                    .groups(&group)
                    .associate_public_ip_address(false)
                    .delete_on_termination(true)
                    .build(),
            )
            .tag_specifications(tag_specification(ResourceType::Instance, &launch.tags))
            .tag_specifications(tag_specification(ResourceType::Volume, &launch.part_tags))
            .tag_specifications(tag_specification(ResourceType::NetworkInterface, &launch.part_tags));
        let mut ended = 0;
        let made = loop {
            let request = request.clone().client_token(client_token(bastion, &group, launch, ended));
            match self.ec2.call("RunInstances", repeat_of(&[&launch.group]), progress, || request.clone().send()).await
            {
                // The tags of the instance that it made are gone, and so it is missing in the history.
                Err(error) if is(&error, ENDED_TOKEN) && ended < MOST_ENDED => ended += 1,
                answer => break answer?,
            }
        };
        let id = made
            .instances()
            .first()
            .and_then(|i| i.instance_id())
            .ok_or_else(|| unreadable("RunInstances"))?
            .to_owned();
        let limit = start_limit(&launch.instance_type);
        let started = self.until(&id, InstanceState::Running, limit, progress).await;
        let started = started.map_err(|error| error.after(EffectDone::Made { resource: format!("instance {id}") }))?;
        // EC2 answers a repeated request with the instance of the first one, whatever has become of it since.
        let changed = |i: &Instance| ownership::changed(i, bastion, std::slice::from_ref(&group), None);
        match started.and_then(|instance| Some((changed(&instance)?, instance))) {
            Some((changed, instance)) => Err(not_ours(action, launch, &instance, &group, &changed)),
            None => Ok(id),
        }
    }

    async fn associate(
        &self,
        bastion: &str,
        address: &Ref,
        instance: &Ref,
        interface: Option<&str>,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let repeat = repeat_of(&[address, instance]);
        let address = self.address(bastion, address)?;
        let instance = match instance {
            Ref::Id(id) => {
                // An interrupted run may have left it just starting, and EC2 gives an address only to what runs.
                self.until(id, InstanceState::Running, START_LIMIT, progress).await?;
                id.clone()
            }
            Ref::Made => self.made(bastion, "instance", |m| m.instance.clone())?,
        };
        let request = self.ec2.client.associate_address().allocation_id(&address).allow_reassociation(true);
        let request = match interface {
            Some(interface) => request.network_interface_id(interface),
            None => request.instance_id(&instance),
        };
        self.ec2.call("AssociateAddress", repeat, progress, || request.clone().send()).await.map(drop)
    }

    async fn start(&self, instance: &str, progress: &Progress<'_>) -> Result<(), CloudError> {
        self.until(instance, InstanceState::Stopped, END_LIMIT, progress).await?;
        self.ec2
            .call("StartInstances", Repeat::SAFE, progress, || {
                self.ec2.client.start_instances().instance_ids(instance).send()
            })
            .await?;
        let started = self.until(instance, InstanceState::Running, START_LIMIT, progress).await;
        started.map_err(|error| error.after(EffectDone::Started { resource: format!("instance {instance}") })).map(drop)
    }

    /// Takes away first: EC2 counts what goes and what comes together, and what an interruption leaves then says less than it
    /// did, and nothing contradictory.
    pub(super) async fn tag(
        &self,
        resources: &[String],
        set: &Tags,
        remove: &[String],
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let client = &self.ec2.client;
        let resources = Some(resources.to_vec());
        if !remove.is_empty() {
            let tags: Vec<_> = remove.iter().map(|key| Tag::builder().key(key).build()).collect();
            let request = client.delete_tags().set_resources(resources.clone()).set_tags(Some(tags));
            self.ec2.call("DeleteTags", Repeat::SAFE, progress, || request.clone().send()).await?;
        }
        if !set.is_empty() {
            let request = client.create_tags().set_resources(resources).set_tags(Some(sdk_tags(set)));
            let made = self.ec2.call("CreateTags", Repeat::SAFE, progress, || request.clone().send()).await;
            made.map_err(|error| match remove {
                [] => error,
                _ => error.after(EffectDone::Tags { set: Vec::new(), removed: remove.to_vec() }),
            })?;
        }
        Ok(())
    }

    async fn terminate(&self, instance: &str, ending: Ending, progress: &Progress<'_>) -> Result<(), CloudError> {
        gone(self.end(instance, ending, progress).await)?;
        let ended = self.until(instance, InstanceState::Terminated, END_LIMIT, progress).await;
        ended.map_err(|error| error.after(EffectDone::Ending { resource: format!("instance {instance}") })).map(drop)
    }

    /// Names what still uses the group when EC2 keeps refusing.
    async fn delete_group(&self, group: &str, progress: &Progress<'_>) -> Result<(), CloudError> {
        let send = || self.ec2.client.delete_security_group().group_id(group).send();
        let result = gone(self.ec2.call("DeleteSecurityGroup", Repeat::RELEASING, progress, send).await);
        let Err(mut error) = result else { return Ok(()) };
        if is(&error, "DependencyViolation") {
            let filter = Filter::builder().name("group-id").values(group).build();
            let send = || self.ec2.client.describe_network_interfaces().filters(filter.clone()).send();
            if let Ok(users) = self.ec2.call("DescribeNetworkInterfaces", Repeat::SAFE, progress, send).await {
                let users: Vec<&str> =
                    users.network_interfaces().iter().filter_map(|i| i.network_interface_id()).collect();
                if !users.is_empty() {
                    error.message = format!("{} (used by {})", error.message, users.join(", "));
                }
            }
        }
        Err(error)
    }
}

/// The client token made an instance that has ended: EC2 remembers it for at least 24 hours ("Ensuring idempotency in Amazon EC2 API
/// requests").
const ENDED_TOKEN: &str = "IdempotentInstanceTerminated";
/// Instances of one bastion that were launched alike and have ended within these hours.
const MOST_ENDED: u32 = 100;

fn repeat_of(named: &[&Ref]) -> Repeat {
    if named.contains(&&Ref::Made) { Repeat::JUST_MADE } else { Repeat::SETTLING }
}

fn tags_state(readable: bool) -> InstanceMetadataTagsState {
    if readable { InstanceMetadataTagsState::Enabled } else { InstanceMetadataTagsState::Disabled }
}

/// Removing what is not there is done.
fn gone<T>(result: Result<T, CloudError>) -> Result<(), CloudError> {
    match result {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

fn is(error: &CloudError, code: &str) -> bool {
    error.code.as_deref() == Some(code)
}

/// The instance that EC2 answered with is not, or is no more, what was asked for.
fn not_ours(action: &Action, launch: &Launch, instance: &Instance, group: &String, changed: &Changed) -> CloudError {
    let (cli, id) = (region::cli(&action.region), &instance.id);
    let boot = launch.tags.get(tags::BOOT).map_or("", String::as_str);
    let mut commands = doubts::give_back(&action.region, &action.bastion, Some(boot), instance, None);
    if !commands.is_empty() && !ownership::groups_of_interfaces(instance).any(|one| one == group) {
        commands.push(doubts::back_into(&cli, instance, group));
    }
    let back = match commands.as_slice() {
        [] => "see whose it is".to_owned(),
        commands => {
            format!(
                "if it is this bastion's machine and was changed, give back what it lost: {}",
                commands.join(" and ")
            )
        }
    };
    CloudError {
        operation: "RunInstances".to_owned(),
        kind: ErrorKind::Conflict,
        code: None,
        request_id: None,
        message: format!(
            "EC2 answered with {}, which is not proven to be the bastion's: {changed}; no address leads to it by this run",
            ownership::instance_words(instance)
        ),
        residue: Residue::Nothing,
        remedy: Some(format!(
            "{back}; otherwise end it: `{cli} ec2 terminate-instances --instance-ids {id}`; then run the command again"
        )),
    }
    .after(EffectDone::Unproven { resource: format!("instance {id}") })
}

fn unreadable(operation: &str) -> CloudError {
    CloudError {
        operation: operation.to_owned(),
        kind: ErrorKind::Unreachable,
        code: None,
        request_id: None,
        message: "EC2's answer does not say what it made".to_owned(),
        residue: Residue::Unknown,
        remedy: Some("run the command again: it looks before it acts".to_owned()),
    }
}

/// The same request of the same bastion in the same situation has the same token, so that EC2 answers a repeated call with the
/// instance that the first one made. `ended` counts the tokens of the same situation that EC2 refused, because what they made has
/// ended. 64 hex digits, EC2's limit.
fn client_token(bastion: &str, group: &str, launch: &Launch, ended: u32) -> String {
    let mut hash = Sha256::new();
    let fields = [bastion, group, &launch.image, &launch.instance_type, &launch.subnet, &launch.user_data];
    let tags = launch.tags.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]);
    for field in fields.into_iter().chain(tags).chain(launch.history.iter().map(String::as_str)) {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field);
    }
    if ended > 0 {
        hash.update(ended.to_be_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
