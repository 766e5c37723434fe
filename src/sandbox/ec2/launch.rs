//! RunInstances.

use base64ct::{Base64, Encoding};

use super::{
    catalogue,
    form::Form,
    kind::Kind,
    model::{Attachment, Image, Instance, Interface, Metadata, Region, State, Token, Volume},
    refusal::{Outcome, Refusal, bad_value, missing_parameter, refuse},
    tags::{Specified, check_readable},
    world::{Context, later},
    xml::Xml,
};

/// Bytes, before base64 ("Run commands when you launch an EC2 instance with user data input" in the Amazon EC2 User Guide).
const LARGEST_USER_DATA: usize = 16 * 1024;

const FREE_TYPES: [&str; 6] = ["t3.micro", "t3.small", "t4g.micro", "t4g.small", "c7i-flex.large", "m7i-flex.large"];

/// Where an instance stands.
struct Place {
    subnet: String,
    groups: Vec<String>,
    ip: Option<String>,
    description: String,
    ends_with_instance: bool,
}

/// One volume, as far as the call says it.
#[derive(Default)]
struct Disk {
    device: String,
    size: Option<i64>,
    kind: Option<String>,
    encrypted: bool,
    stays: bool,
}

impl Region {
    pub(super) fn run_instances(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let token = form.text("ClientToken").filter(|token| !token.is_empty());
        let digest = form.digest();
        if let Some(reservation) = self.made_before(token.as_deref(), &digest)? {
            let mut made = self.instances.values().filter(|i| i.reservation == reservation);
            if made.all(|i| i.state(context.now) == State::Terminated) {
                return refuse(
                    "IdempotentInstanceTerminated",
                    "The client token you have provided is associated with a terminated instance. Please use a different client token.",
                );
            }
            let mut xml = Xml::default();
            self.write_reservation(&mut xml, &reservation, context.now, |_| true);
            return Ok(xml);
        }
        let most = form.number("MaxCount")?.ok_or_else(|| missing_parameter("MaxCount"))?;
        let least = form.number("MinCount")?.ok_or_else(|| missing_parameter("MinCount"))?;
        let image_id = form.need("ImageId")?;
        let instance_type = form.text("InstanceType").unwrap_or_else(|| "m1.small".to_owned());
        let user_data = form.text("UserData").filter(|data| !data.is_empty());
        let shutdown = form.text("InstanceInitiatedShutdownBehavior");
        let protected = form.flag("DisableApiTermination")?.unwrap_or(false);
        let key = form.text("KeyName");
        let metadata = metadata(form.part("MetadataOptions"), None)?;
        let disks = form.list("BlockDeviceMapping")?.into_iter().map(disk).collect::<Outcome<Vec<_>>>()?;
        let place = place(&mut form)?;
        let specified = Specified::take(&mut form, &[Kind::Instance, Kind::Volume, Kind::Interface])?;
        form.done()?;

        if least < 1 || most < least {
            return refuse("InvalidParameterValue", format!("Invalid number of instances: from {least} to {most}"));
        }
        if let Some(key) = key {
            return refuse("InvalidKeyPair.NotFound", format!("The key pair '{key}' does not exist"));
        }
        let terminates_on_shutdown = shutdown.map_or(Ok(false), |text| shutdown_behavior(&text))?;
        if let Some(data) = &user_data {
            check_user_data(data)?;
        }
        let image = self.image(&image_id, context.region)?;
        if image.unsubscribed {
            return Err(Refusal {
                status: 401,
                code: "OptInRequired".to_owned(),
                message: "In order to use this AWS Marketplace product you need to accept terms and subscribe. To do so please visit \
                          https://aws.amazon.com/marketplace/pp?sku=sandbox"
                    .to_owned(),
            });
        }
        fits(&instance_type, &image)?;
        // "Amazon EC2 Free Tier" in the Amazon EC2 User Guide, for accounts that were made on or after July 15, 2025.
        if context.quotas.free_plan && !FREE_TYPES.contains(&instance_type.as_str()) {
            return refuse(
                "InvalidParameterCombination",
                "The specified instance type is not eligible for Free Tier. For a list of Free Tier instance types, run \
                 'describe-instance-types' with the filter 'free-tier-eligible=true'.",
            );
        }
        let subnet = self.subnet(&place.subnet)?.clone();
        let groups = if place.groups.is_empty() { self.default_group(&subnet.vpc) } else { place.groups };
        self.groups_in(&groups, &subnet.vpc, context)?;
        let tags = specified.of(Kind::Instance);
        if metadata.tags {
            check_readable(&tags)?;
        }
        let there = self.instances.values().filter(|i| !i.state(context.now).ends()).count();
        let room = i64::try_from(context.quotas.instances.saturating_sub(there)).unwrap_or(i64::MAX);
        if room < least {
            return refuse(
                "VcpuLimitExceeded",
                format!(
                    "You have requested more vCPU capacity than your current vCPU limit of {} allows",
                    context.quotas.instances
                ),
            );
        }

        let reservation = context.mint.id_with("r");
        for _ in 0..most.min(room) {
            let id = context.mint.id(Kind::Instance);
            let running = later(context.now, context.pace.start);
            self.instances.insert(
                id.clone(),
                Instance {
                    reservation: reservation.clone(),
                    token: token.clone(),
                    image: image_id.clone(),
                    instance_type: instance_type.clone(),
                    architecture: image.architecture.clone(),
                    root_device: image.root_device.clone(),
                    subnet: place.subnet.clone(),
                    vpc: subnet.vpc.clone(),
                    zone: subnet.zone.clone(),
                    launched: context.now,
                    life: vec![(context.now, State::Pending), (running, State::Running)],
                    reason: None,
                    terminates_on_shutdown,
                    protected,
                    metadata: metadata.clone(),
                    user_data: user_data.clone(),
                    console: Vec::new(),
                    printed: None,
                    cleared: false,
                    tags: tags.clone(),
                },
            );
            self.make_disks(context, &id, &image, &disks, &specified)?;
            let attachment = Attachment {
                id: context.mint.id_with("eni-attach"),
                instance: id,
                device: "0".to_owned(),
                at: context.now,
                ends_with_instance: place.ends_with_instance,
            };
            let interface = Interface {
                ip: self.free_address(&place.subnet, place.ip.as_deref())?,
                subnet: place.subnet.clone(),
                ipv6: Vec::new(),
                groups: groups.clone(),
                description: place.description.clone(),
                attachment: Some(attachment),
                tags: specified.of(Kind::Interface),
            };
            self.interfaces.insert(context.mint.id(Kind::Interface), interface);
        }
        if let Some(token) = token {
            self.tokens.insert(token, Token { made: reservation.clone(), digest });
        }
        let mut xml = Xml::default();
        self.write_reservation(&mut xml, &reservation, context.now, |_| true);
        Ok(xml)
    }

    /// What a client token made, the first time ("Ensuring idempotency in Amazon EC2 API requests"). A repetition answers with it
    /// as it is now. EC2 remembers a token for at least 24 hours after the end of what it made; here no token is forgotten.
    pub(super) fn made_before(&self, token: Option<&str>, digest: &str) -> Outcome<Option<String>> {
        let Some(token) = token else { return Ok(None) };
        if token.len() > 64 || !token.is_ascii() {
            return Err(bad_value("clientToken", token, "Expected at most 64 ASCII characters."));
        }
        match self.tokens.get(token) {
            None => Ok(None),
            Some(known) if known.digest == digest => Ok(Some(known.made.clone())),
            Some(_) => refuse(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ),
        }
    }

    /// The root volume as the image has it and the call changes it, and those that the call adds.
    fn make_disks(
        &mut self,
        context: &mut Context<'_>,
        instance: &str,
        image: &Image,
        disks: &[Disk],
        specified: &Specified,
    ) -> Outcome<()> {
        let usual = Disk { device: image.root_device.clone(), ..Disk::default() };
        let root = disks.iter().find(|d| d.device == image.root_device).unwrap_or(&usual);
        let others = disks.iter().filter(|d| d.device != image.root_device);
        let zone = self.instances.get(instance).map(|i| i.zone.clone()).unwrap_or_default();
        for disk in std::iter::once(root).chain(others) {
            let least = if disk.device == image.root_device { image.root_size } else { 1 };
            let size = disk.size.unwrap_or(least);
            if size < least {
                return refuse(
                    "InvalidBlockDeviceMapping",
                    format!("Volume of size {size}GB is smaller than snapshot, expect size >= {least}GB"),
                );
            }
            let attachment = Attachment {
                id: String::new(),
                instance: instance.to_owned(),
                device: disk.device.clone(),
                at: context.now,
                ends_with_instance: !disk.stays,
            };
            let volume = Volume {
                size,
                kind: disk.kind.clone().unwrap_or_else(|| "gp3".to_owned()),
                encrypted: disk.encrypted,
                zone: zone.clone(),
                created: context.now,
                attachment: Some(attachment),
                tags: specified.of(Kind::Volume),
            };
            self.volumes.insert(context.mint.id(Kind::Volume), volume);
        }
        Ok(())
    }
}

fn fits(instance_type: &str, image: &Image) -> Outcome<()> {
    let Some(known) = catalogue::instance_type(instance_type) else {
        return refuse("InvalidParameterValue", format!("Invalid value '{instance_type}' for InstanceType."));
    };
    if known.architectures.contains(&image.architecture.as_str()) {
        return Ok(());
    }
    refuse(
        "InvalidParameterValue",
        format!(
            "The architecture '{}' of the specified instance type does not match the architecture '{}' of the specified AMI.",
            known.architectures.join(","),
            image.architecture
        ),
    )
}

fn check_user_data(base64: &str) -> Outcome<()> {
    let compact: String = base64.split_ascii_whitespace().collect();
    match Base64::decode_vec(&compact) {
        Err(_) => refuse("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."),
        Ok(bytes) if bytes.len() > LARGEST_USER_DATA => {
            refuse("InvalidParameterValue", format!("User data is limited to {LARGEST_USER_DATA} bytes"))
        }
        Ok(_) => Ok(()),
    }
}

fn place(form: &mut Form) -> Outcome<Place> {
    let (subnet, groups, ip) = (form.text("SubnetId"), form.texts("SecurityGroupId")?, form.text("PrivateIpAddress"));
    let mut interfaces = form.list("NetworkInterface")?;
    let Some(mut interface) = interfaces.pop() else {
        let Some(subnet) = subnet else {
            return refuse(
                "MissingInput",
                "No subnets found for the default VPC: there is none. Please specify a subnet.",
            );
        };
        return Ok(Place { subnet, groups, ip, description: String::new(), ends_with_instance: true });
    };
    if !interfaces.is_empty() {
        return refuse("InvalidParameterValue", "This sandbox knows instances of one network interface");
    }
    if subnet.is_some() || !groups.is_empty() || ip.is_some() {
        return refuse(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID may not be specified on the same request",
        );
    }
    if interface.number("DeviceIndex")?.unwrap_or_default() != 0 {
        return refuse("InvalidParameterValue", "Each network interface requires a device index, from 0");
    }
    if interface.flag("AssociatePublicIpAddress")? == Some(true) {
        return refuse("InvalidParameterValue", "This sandbox knows no public addresses but elastic ones");
    }
    let place = Place {
        subnet: interface.need("SubnetId")?,
        groups: interface.texts("SecurityGroupId")?,
        ip: interface.text("PrivateIpAddress"),
        description: interface.text("Description").unwrap_or_default(),
        ends_with_instance: interface.flag("DeleteOnTermination")?.unwrap_or(true),
    };
    interface.done()?;
    Ok(place)
}

fn disk(mut form: Form) -> Outcome<Disk> {
    let device = form.need("DeviceName")?;
    let mut ebs = form.part("Ebs");
    let disk = Disk {
        device,
        size: ebs.number("VolumeSize")?,
        kind: ebs.text("VolumeType"),
        encrypted: ebs.flag("Encrypted")?.unwrap_or(false),
        stays: ebs.flag("DeleteOnTermination")? == Some(false),
    };
    ebs.done()?;
    form.done()?;
    if let Some(kind) = disk.kind.as_deref().filter(|kind| !["standard", "gp2", "gp3"].contains(kind)) {
        return Err(bad_value("volumeType", kind, "This sandbox knows standard, gp2 and gp3."));
    }
    Ok(disk)
}

pub fn shutdown_behavior(text: &str) -> Outcome<bool> {
    match text {
        "terminate" => Ok(true),
        "stop" => Ok(false),
        _ => Err(bad_value("instanceInitiatedShutdownBehavior", text, "Expected stop or terminate.")),
    }
}

/// Options as a call states them; what it leaves out stays, or is as new instances have it.
pub fn metadata(mut form: Form, present: Option<&Metadata>) -> Outcome<Metadata> {
    let usual = Metadata { tokens_required: false, hop_limit: 1, enabled: true, tags: false, ipv6: false };
    let mut options = present.unwrap_or(&usual).clone();
    let choice = |form: &mut Form, name: &str, on: &str, off: &str, option: &mut bool| match form.text(name) {
        None => Ok(()),
        Some(text) if text == on || text == off => {
            *option = text == on;
            Ok(())
        }
        Some(text) => Err(bad_value(name, &text, &format!("Expected {on} or {off}."))),
    };
    choice(&mut form, "HttpTokens", "required", "optional", &mut options.tokens_required)?;
    choice(&mut form, "HttpEndpoint", "enabled", "disabled", &mut options.enabled)?;
    choice(&mut form, "InstanceMetadataTags", "enabled", "disabled", &mut options.tags)?;
    choice(&mut form, "HttpProtocolIpv6", "enabled", "disabled", &mut options.ipv6)?;
    if let Some(limit) = form.number("HttpPutResponseHopLimit")? {
        if !(1..=64).contains(&limit) {
            return Err(bad_value("httpPutResponseHopLimit", &limit.to_string(), "Expected a number from 1 to 64."));
        }
        options.hop_limit = limit;
    }
    form.done()?;
    Ok(options)
}
