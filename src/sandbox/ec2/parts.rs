//! Network interfaces and volumes.

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{Attachment, Interface, Region, State, Token, Volume},
    refusal::{Outcome, refuse},
    tags::{self, Specified, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

impl Region {
    pub(super) fn create_network_interface(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let token = form.text("ClientToken");
        let digest = form.digest();
        let subnet = form.need("SubnetId")?;
        let description = form.text("Description").unwrap_or_default();
        let wanted = form.text("PrivateIpAddress");
        let mut groups = form.texts("SecurityGroupId")?;
        let specified = Specified::take(&mut form, &[Kind::Interface])?;
        form.done()?;
        if let Some(id) = self.made_before(token.as_deref(), &digest)? {
            let mut xml = Xml::default();
            xml.node("networkInterface", |xml| self.write_interface(xml, &id));
            return Ok(xml);
        }
        let vpc = self.subnet(&subnet)?.vpc.clone();
        if groups.is_empty() {
            groups = self.default_group(&vpc);
        }
        self.groups_in(&groups, &vpc, context)?;
        let ip = self.free_address(&subnet, wanted.as_deref())?;
        let id = context.mint.id(Kind::Interface);
        let tags = specified.of(Kind::Interface);
        let interface = Interface { subnet, ip, ipv6: Vec::new(), groups, description, attachment: None, tags };
        self.interfaces.insert(id.clone(), interface);
        if let Some(token) = token {
            self.tokens.insert(token, Token { made: id.clone(), digest });
        }
        let mut xml = Xml::default();
        xml.node("networkInterface", |xml| self.write_interface(xml, &id));
        Ok(xml)
    }

    pub(super) fn attach_network_interface(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (id, instance) = (form.need("NetworkInterfaceId")?, form.need("InstanceId")?);
        let index = form.number("DeviceIndex")?.unwrap_or_default().to_string();
        form.done()?;
        if self.interface(&id)?.attachment.is_some() {
            return refuse("InvalidNetworkInterface.InUse", format!("Network interface '{id}' is currently in use."));
        }
        let state = self.instance(&instance)?.state(context.now);
        if !matches!(state, State::Running | State::Stopped) {
            return refuse(
                "IncorrectState",
                format!("Instance '{instance}' is not 'running' or 'stopped', but '{}'", state.name()),
            );
        }
        let taken = |i: &Interface| i.attachment.as_ref().is_some_and(|a| a.device == index);
        if self.interfaces_of(&instance).any(|(_, i)| taken(i)) {
            return refuse(
                "InvalidParameterValue",
                format!("Instance '{instance}' already has an interface attached at device index '{index}'."),
            );
        }
        let attachment = context.mint.id_with("eni-attach");
        let mut xml = Xml::default();
        xml.leaf("attachmentId", &attachment);
        if let Some(interface) = self.interfaces.get_mut(&id) {
            let (device, at) = (index, context.now);
            interface.attachment = Some(Attachment { id: attachment, instance, device, at, ends_with_instance: false });
        }
        Ok(xml)
    }

    /// Of calls that name an instance and mean its interface: refused where it has several (hashicorp/terraform#7635,
    /// NixOS/nixops-aws#55).
    pub(super) fn only_interface(&self, instance: &str) -> Outcome<String> {
        let mut all = self.interfaces_of(instance);
        match (all.next(), all.next()) {
            (Some((id, _)), None) => Ok(id.clone()),
            (Some(_), Some(_)) => refuse(
                "InvalidInstanceID",
                format!(
                    "There are multiple interfaces attached to instance '{instance}'. Please specify an interface ID for the operation \
                     instead."
                ),
            ),
            (None, _) => Err(Kind::Instance.missing(instance)),
        }
    }

    pub(super) fn delete_network_interface(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("NetworkInterfaceId")?;
        form.done()?;
        if self.interface(&id)?.attachment.is_some() {
            return refuse("InvalidNetworkInterface.InUse", format!("Network interface '{id}' is currently in use."));
        }
        self.interfaces.remove(&id);
        for address in self.addresses.values_mut() {
            if address.association.as_ref().is_some_and(|a| a.interface == id) {
                address.association = None;
            }
        }
        Ok(done())
    }

    pub(super) fn modify_network_interface_attribute(
        &mut self,
        context: &mut Context<'_>,
        mut form: Form,
    ) -> Outcome<Xml> {
        let id = form.need("NetworkInterfaceId")?;
        let groups = form.texts("SecurityGroupId")?;
        form.done()?;
        let subnet = self.interface(&id)?.subnet.clone();
        let vpc = self.subnet(&subnet)?.vpc.clone();
        if groups.is_empty() {
            return refuse("InvalidParameterCombination", "No attributes specified.");
        }
        self.groups_in(&groups, &vpc, context)?;
        if let Some(interface) = self.interfaces.get_mut(&id) {
            interface.groups = groups;
        }
        Ok(done())
    }

    pub(super) fn describe_network_interfaces(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = [
            "addresses.private-ip-address",
            "attachment.instance-id",
            "attachment.status",
            "availability-zone",
            "description",
            "group-id",
            "group-name",
            "network-interface-id",
            "owner-id",
            "private-ip-address",
            "status",
            "subnet-id",
            "vpc-id",
            "tag",
        ];
        let listing = Listing::take(form, "NetworkInterfaceId", &filters, Some(USUAL))?;
        let field = |id: &str, interface: &Interface, name: &str| {
            let subnet = self.subnets.get(&interface.subnet);
            match name {
                "attachment.instance-id" => interface.attachment.iter().map(|a| a.instance.clone()).collect(),
                "attachment.status" => interface.attachment.iter().map(|_| "attached".to_owned()).collect(),
                "availability-zone" => subnet.iter().map(|s| s.zone.clone()).collect(),
                "description" => vec![interface.description.clone()],
                "group-id" => interface.groups.clone(),
                "group-name" => {
                    interface.groups.iter().filter_map(|g| self.groups.get(g)).map(|g| g.name.clone()).collect()
                }
                "owner-id" => vec![ACCOUNT.to_owned()],
                "private-ip-address" | "addresses.private-ip-address" => vec![interface.ip.to_string()],
                "status" => vec![status(interface).to_owned()],
                "subnet-id" => vec![interface.subnet.clone()],
                "vpc-id" => subnet.iter().map(|s| s.vpc.clone()).collect(),
                _ => vec![id.to_owned()],
            }
        };
        let (shown, next) = listing.of(Kind::Interface, &self.interfaces, |i| &i.tags, field)?;
        let mut xml = Xml::default();
        xml.items("networkInterfaceSet", shown, |xml, (id, _)| self.write_interface(xml, id));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_interface(&self, xml: &mut Xml, id: &str) {
        let Some(interface) = self.interfaces.get(id) else { return };
        self.write_interface_core(xml, id, interface);
        if let Some(subnet) = self.subnets.get(&interface.subnet) {
            xml.leaf("availabilityZone", &subnet.zone);
        }
        xml.leaf("interfaceType", "interface");
        xml.flag("requesterManaged", false);
        if let Some(attachment) = &interface.attachment {
            xml.node("attachment", |xml| {
                xml.leaf("attachmentId", &attachment.id);
                xml.leaf("instanceId", &attachment.instance);
                xml.leaf("instanceOwnerId", ACCOUNT);
                xml.leaf("deviceIndex", &attachment.device);
                xml.leaf("status", "attached");
                xml.time("attachTime", attachment.at);
                xml.flag("deleteOnTermination", attachment.ends_with_instance);
            });
        }
        if !interface.tags.is_empty() {
            tags::write(xml, &interface.tags);
        }
    }

    /// What an interface says of itself, alone and within its instance.
    pub(super) fn write_interface_core(&self, xml: &mut Xml, id: &str, interface: &Interface) {
        xml.leaf("networkInterfaceId", id);
        xml.leaf("subnetId", &interface.subnet);
        xml.maybe("vpcId", self.subnets.get(&interface.subnet).map(|s| &s.vpc));
        xml.leaf("description", &interface.description);
        xml.leaf("ownerId", ACCOUNT);
        xml.leaf("status", status(interface));
        xml.leaf("privateIpAddress", interface.ip.to_string());
        xml.flag("sourceDestCheck", true);
        self.write_groups(xml, &interface.groups);
        xml.items("ipv6AddressesSet", &interface.ipv6, |xml, ip| xml.leaf("ipv6Address", ip.to_string()));
        let address = self.address_of(id);
        self.write_association(xml, address);
        xml.items("privateIpAddressesSet", [interface], |xml, interface| {
            xml.leaf("privateIpAddress", interface.ip.to_string());
            xml.flag("primary", true);
            self.write_association(xml, address);
        });
    }

    fn write_association(&self, xml: &mut Xml, address: Option<(&String, &super::model::Address)>) {
        let Some((id, address)) = address else { return };
        xml.node("association", |xml| {
            xml.leaf("publicIp", address.ip.to_string());
            xml.leaf("allocationId", id);
            xml.maybe("associationId", address.association.as_ref().map(|a| &a.id));
            xml.leaf("ipOwnerId", ACCOUNT);
        });
    }

    pub(super) fn write_groups(&self, xml: &mut Xml, ids: &[String]) {
        xml.items("groupSet", ids, |xml, id| {
            xml.leaf("groupId", id);
            xml.maybe("groupName", self.groups.get(id).map(|g| &g.name));
        });
    }

    pub(super) fn interface(&self, id: &str) -> Outcome<&Interface> {
        Kind::Interface.check(id)?;
        self.interfaces.get(id).ok_or_else(|| Kind::Interface.missing(id))
    }

    pub(super) fn delete_volume(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("VolumeId")?;
        form.done()?;
        Kind::Volume.check(&id)?;
        let volume = self.volumes.get(&id).ok_or_else(|| Kind::Volume.missing(&id))?;
        if let Some(attachment) = &volume.attachment {
            let user = &attachment.instance;
            return refuse("VolumeInUse", format!("Volume {id} is currently attached to {user}"));
        }
        self.volumes.remove(&id);
        Ok(done())
    }

    pub(super) fn describe_volumes(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = [
            "attachment.delete-on-termination",
            "attachment.device",
            "attachment.instance-id",
            "attachment.status",
            "availability-zone",
            "encrypted",
            "size",
            "status",
            "volume-id",
            "volume-type",
            "tag",
        ];
        let listing = Listing::take(form, "VolumeId", &filters, Some(USUAL))?;
        let field = |id: &str, volume: &Volume, name: &str| {
            let attachment = volume.attachment.as_ref();
            let value = match name {
                "attachment.delete-on-termination" => attachment.map(|a| a.ends_with_instance.to_string()),
                "attachment.device" => attachment.map(|a| a.device.clone()),
                "attachment.instance-id" => attachment.map(|a| a.instance.clone()),
                "attachment.status" => attachment.map(|_| "attached".to_owned()),
                "availability-zone" => Some(volume.zone.clone()),
                "encrypted" => Some(volume.encrypted.to_string()),
                "size" => Some(volume.size.to_string()),
                "status" => Some(if attachment.is_some() { "in-use" } else { "available" }.to_owned()),
                "volume-type" => Some(volume.kind.clone()),
                _ => Some(id.to_owned()),
            };
            value.into_iter().collect()
        };
        let (shown, next) = listing.of(Kind::Volume, &self.volumes, |v| &v.tags, field)?;
        let mut xml = Xml::default();
        xml.items("volumeSet", shown, |xml, (id, volume)| {
            xml.leaf("volumeId", id);
            xml.number("size", volume.size);
            xml.leaf("snapshotId", "");
            xml.leaf("availabilityZone", &volume.zone);
            xml.leaf("status", if volume.attachment.is_some() { "in-use" } else { "available" });
            xml.time("createTime", volume.created);
            xml.leaf("volumeType", &volume.kind);
            xml.flag("encrypted", volume.encrypted);
            xml.items("attachmentSet", &volume.attachment, |xml, attachment| {
                xml.leaf("volumeId", id);
                xml.leaf("instanceId", &attachment.instance);
                xml.leaf("device", &attachment.device);
                xml.leaf("status", "attached");
                xml.time("attachTime", attachment.at);
                xml.flag("deleteOnTermination", attachment.ends_with_instance);
            });
            tags::write(xml, &volume.tags);
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }
}

fn status(interface: &Interface) -> &'static str {
    if interface.attachment.is_some() { "in-use" } else { "available" }
}
