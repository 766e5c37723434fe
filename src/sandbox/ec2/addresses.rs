//! Elastic IP addresses.

use super::{
    form::Form,
    groups::known_to_policies,
    kind::Kind,
    listing::Listing,
    model::{Address, Association, Region, State},
    refusal::{Outcome, refuse},
    tags::{self, Specified, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

impl Region {
    pub(super) fn allocate_address(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let domain = form.text("Domain");
        let specified = Specified::take(&mut form, &[Kind::Address])?;
        form.done()?;
        if domain.as_deref().is_some_and(|domain| domain != "vpc") {
            return refuse(
                "InvalidParameterValue",
                format!("Value ({}) for parameter domain is invalid.", domain.unwrap_or_default()),
            );
        }
        if self.addresses.len() >= context.quotas.addresses {
            return refuse("AddressLimitExceeded", "The maximum number of addresses has been reached.");
        }
        let (id, ip) = (context.mint.id(Kind::Address), context.mint.address());
        let mut xml = Xml::default();
        xml.leaf("publicIp", ip.to_string());
        xml.leaf("domain", "vpc");
        xml.leaf("allocationId", &id);
        xml.leaf("publicIpv4Pool", "amazon");
        xml.leaf("networkBorderGroup", context.region);
        self.addresses.insert(id, Address { ip, association: None, tags: specified.of(Kind::Address) });
        Ok(xml)
    }

    pub(super) fn release_address(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("AllocationId")?;
        form.done()?;
        let address = self.address(&id)?;
        if address.association.is_some() {
            return refuse("InvalidIPAddress.InUse", format!("Address {} is in use.", address.ip));
        }
        self.addresses.remove(&id);
        Ok(done())
    }

    /// An interface has one address here: its first. What it had before loses it, and what the address led to loses the
    /// address only where the caller allows that.
    pub(super) fn associate_address(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("AllocationId")?;
        let (instance, interface) = (form.text("InstanceId"), form.text("NetworkInterfaceId"));
        let allowed = form.flag("AllowReassociation")?.unwrap_or(false);
        form.done()?;
        self.address(&id)?;
        let interface = match (instance, interface) {
            (Some(instance), None) => {
                let found = self.instance(&instance)?;
                known_to_policies(&instance, found.launched, &found.tags, context)?;
                match found.state(context.now) {
                    State::Running | State::Stopped | State::Stopping => {}
                    state => {
                        return refuse(
                            "InvalidInstanceID",
                            format!(
                                "The {} instance '{instance}' is not in a valid state for this operation.",
                                state.name()
                            ),
                        );
                    }
                }
                self.only_interface(&instance)?
            }
            (None, Some(interface)) => {
                self.interface(&interface)?;
                interface
            }
            _ => {
                return refuse(
                    "InvalidParameterCombination",
                    "Either an instance or a network interface must be specified",
                );
            }
        };
        let vpc = self.interface(&interface).ok().and_then(|i| self.subnets.get(&i.subnet)).map(|s| s.vpc.clone());
        if let Some(vpc) = vpc.filter(|vpc| !self.has_gateway(vpc)) {
            return refuse("Gateway.NotAttached", format!("Network {vpc} is not attached to any internet gateway"));
        }
        let association = match self.address(&id)?.association.clone() {
            Some(present) if present.interface == interface => present.id,
            Some(present) if !allowed => {
                return refuse(
                    "Resource.AlreadyAssociated",
                    format!("resource {id} is already associated with associate-id {}", present.id),
                );
            }
            _ => {
                for other in self.addresses.values_mut() {
                    if other.association.as_ref().is_some_and(|a| a.interface == interface) {
                        other.association = None;
                    }
                }
                let association = context.mint.id_with("eipassoc");
                if let Some(address) = self.addresses.get_mut(&id) {
                    address.association = Some(Association { id: association.clone(), interface });
                }
                association
            }
        };
        let mut xml = done();
        xml.leaf("associationId", association);
        Ok(xml)
    }

    pub(super) fn disassociate_address(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("AssociationId")?;
        form.done()?;
        let mut associations = self.addresses.values_mut().map(|a| &mut a.association);
        match associations.find(|association| association.as_ref().is_some_and(|a| a.id == id)) {
            Some(association) => *association = None,
            None => {
                return refuse("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist"));
            }
        }
        Ok(done())
    }

    pub(super) fn describe_addresses(&self, context: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = [
            "allocation-id",
            "association-id",
            "domain",
            "instance-id",
            "network-interface-id",
            "private-ip-address",
            "public-ip",
            "tag",
        ];
        let listing = Listing::take(form, "AllocationId", &filters, None)?;
        let field = |id: &str, address: &Address, name: &str| {
            let at = address.association.as_ref();
            let interface = at.and_then(|a| self.interfaces.get(&a.interface));
            let value = match name {
                "allocation-id" => Some(id.to_owned()),
                "association-id" => at.map(|a| a.id.clone()),
                "domain" => Some("vpc".to_owned()),
                "instance-id" => interface.and_then(|i| i.attachment.as_ref()).map(|a| a.instance.clone()),
                "network-interface-id" => at.map(|a| a.interface.clone()),
                "private-ip-address" => interface.map(|i| i.ip.to_string()),
                _ => Some(address.ip.to_string()),
            };
            value.into_iter().collect()
        };
        let (shown, _) = listing.of(Kind::Address, &self.addresses, |a| &a.tags, field)?;
        let mut xml = Xml::default();
        xml.items("addressesSet", shown, |xml, (id, address)| {
            xml.leaf("publicIp", address.ip.to_string());
            xml.leaf("allocationId", id);
            xml.leaf("domain", "vpc");
            xml.leaf("publicIpv4Pool", "amazon");
            xml.leaf("networkBorderGroup", context.region);
            if let Some(association) = &address.association
                && let Some(interface) = self.interfaces.get(&association.interface)
            {
                xml.maybe("instanceId", interface.attachment.as_ref().map(|a| &a.instance));
                xml.leaf("associationId", &association.id);
                xml.leaf("networkInterfaceId", &association.interface);
                xml.leaf("networkInterfaceOwnerId", ACCOUNT);
                xml.leaf("privateIpAddress", interface.ip.to_string());
            }
            tags::write(xml, &address.tags);
        });
        Ok(xml)
    }

    fn address(&self, id: &str) -> Outcome<&Address> {
        Kind::Address.check(id)?;
        self.addresses.get(id).ok_or_else(|| Kind::Address.missing(id))
    }
}
