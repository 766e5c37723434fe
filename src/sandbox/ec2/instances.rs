//! Instances after their launch: described, changed, stopped, started, ended.

use base64ct::{Base64, Encoding};
use jiff::Timestamp;

use super::{
    catalogue,
    form::Form,
    kind::Kind,
    launch,
    listing::{Filters, Page, USUAL},
    model::{Instance, Metadata, Reason, Region, State},
    refusal::{Outcome, missing_parameter, refuse},
    tags::{self, check_readable, done},
    world::{ACCOUNT, Context, later},
    xml::Xml,
};

const FILTERS: [&str; 19] = [
    "architecture",
    "availability-zone",
    "client-token",
    "dns-name",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "network-interface.network-interface-id",
    "private-ip-address",
    "reservation-id",
    "subnet-id",
    "tag",
    "vpc-id",
    "network-interface.subnet-id",
];

impl Region {
    pub(super) fn describe_instances(&self, context: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let ids = form.texts("InstanceId")?;
        let filters = Filters::take(&mut form, &FILTERS)?;
        let sized = form.has("MaxResults");
        let page = Page::take(&mut form, &USUAL)?;
        form.done()?;
        if sized && !ids.is_empty() {
            return refuse(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            );
        }
        for id in &ids {
            self.instance(id)?;
        }
        let now = context.now;
        let found = self.instances.iter().filter(|(id, instance)| {
            (ids.is_empty() || ids.contains(id))
                && filters.admit(&instance.tags, |name| self.instance_field(id, instance, name, now))
        });
        let (shown, next) = page.cut(found.map(|(id, instance)| (id.as_str(), instance)).collect());
        let mut reservations: Vec<&str> = Vec::new();
        for (_, instance) in &shown {
            if !reservations.contains(&instance.reservation.as_str()) {
                reservations.push(&instance.reservation);
            }
        }
        let mut xml = Xml::default();
        xml.items("reservationSet", reservations, |xml, reservation| {
            self.write_reservation(xml, reservation, now, |id| shown.iter().any(|(shown, _)| *shown == id));
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn instance_field(&self, id: &str, instance: &Instance, name: &str, now: Timestamp) -> Vec<String> {
        let state = instance.state(now);
        let there = state != State::Terminated;
        let interface = self.main_interface(id).filter(|_| there);
        let value = match name {
            "architecture" => Some(instance.architecture.clone()),
            "availability-zone" => Some(instance.zone.clone()),
            "client-token" => instance.token.clone(),
            "image-id" => Some(instance.image.clone()),
            "instance-id" => Some(id.to_owned()),
            "instance-state-code" => Some(state.code().to_string()),
            "instance-state-name" => Some(state.name().to_owned()),
            "instance-type" => Some(instance.instance_type.clone()),
            "instance.group-id" => return interface.map(|(_, i)| i.groups.clone()).unwrap_or_default(),
            "instance.group-name" => {
                let groups = interface.into_iter().flat_map(|(_, i)| &i.groups);
                return groups.filter_map(|g| self.groups.get(g)).map(|g| g.name.clone()).collect();
            }
            "ip-address" => interface.and_then(|(i, _)| self.address_of(i)).map(|(_, a)| a.ip.to_string()),
            "network-interface.network-interface-id" => interface.map(|(i, _)| i.clone()),
            "private-ip-address" => interface.map(|(_, i)| i.ip.to_string()),
            "reservation-id" => Some(instance.reservation.clone()),
            "subnet-id" | "network-interface.subnet-id" => there.then(|| instance.subnet.clone()),
            "vpc-id" => there.then(|| instance.vpc.clone()),
            _ => None,
        };
        value.into_iter().collect()
    }

    pub(super) fn write_reservation(
        &self,
        xml: &mut Xml,
        reservation: &str,
        now: Timestamp,
        shown: impl Fn(&str) -> bool,
    ) {
        xml.leaf("reservationId", reservation);
        xml.leaf("ownerId", ACCOUNT);
        xml.items("groupSet", std::iter::empty::<()>(), |_, ()| {});
        let own = self.instances.iter().filter(|(id, i)| i.reservation == reservation && shown(id));
        xml.items("instancesSet", own.enumerate(), |xml, (index, (id, instance))| {
            xml.number("amiLaunchIndex", i64::try_from(index).unwrap_or_default());
            self.write_instance(xml, id, instance, now);
        });
    }

    fn write_instance(&self, xml: &mut Xml, id: &str, instance: &Instance, now: Timestamp) {
        let state = instance.state(now);
        xml.leaf("instanceId", id);
        xml.leaf("imageId", &instance.image);
        write_state(xml, "instanceState", state);
        xml.leaf("instanceType", &instance.instance_type);
        xml.time("launchTime", instance.launched);
        xml.node("placement", |xml| {
            xml.leaf("availabilityZone", &instance.zone);
            xml.leaf("tenancy", "default");
        });
        xml.node("monitoring", |xml| xml.leaf("state", "disabled"));
        xml.leaf("architecture", &instance.architecture);
        xml.leaf("rootDeviceType", "ebs");
        xml.leaf("rootDeviceName", &instance.root_device);
        xml.leaf("virtualizationType", "hvm");
        xml.leaf("hypervisor", "xen");
        xml.flag("ebsOptimized", false);
        xml.flag("enaSupport", true);
        xml.maybe("clientToken", instance.token.as_ref());
        self.write_change(xml, instance, state, now);
        write_metadata(xml, "metadataOptions", &instance.metadata, "applied");
        tags::write(xml, &instance.tags);
        let main = self.main_interface(id).filter(|_| state != State::Terminated);
        let Some((interface_id, interface)) = main else {
            xml.leaf("privateDnsName", "");
            xml.leaf("dnsName", "");
            return;
        };
        xml.leaf("subnetId", &instance.subnet);
        xml.leaf("vpcId", &instance.vpc);
        xml.leaf("privateIpAddress", interface.ip.to_string());
        xml.leaf("privateDnsName", format!("ip-{}.ec2.internal", interface.ip.to_string().replace('.', "-")));
        xml.maybe("ipAddress", self.address_of(interface_id).map(|(_, a)| a.ip.to_string()));
        xml.leaf("dnsName", "");
        xml.flag("sourceDestCheck", true);
        self.write_groups(xml, &interface.groups);
        let volumes = self.volumes.iter().filter_map(|(volume, v)| Some((volume, v.attachment.as_ref()?)));
        xml.items("blockDeviceMapping", volumes.filter(|(_, a)| a.instance == id), |xml, (volume, attachment)| {
            xml.leaf("deviceName", &attachment.device);
            xml.node("ebs", |xml| {
                xml.leaf("volumeId", volume);
                xml.leaf("status", "attached");
                xml.time("attachTime", attachment.at);
                xml.flag("deleteOnTermination", attachment.ends_with_instance);
            });
        });
        xml.items("networkInterfaceSet", self.interfaces_of(id), |xml, (interface_id, interface)| {
            self.write_interface_core(xml, interface_id, interface);
            if let Some(attachment) = &interface.attachment {
                xml.node("attachment", |xml| {
                    xml.leaf("attachmentId", &attachment.id);
                    xml.leaf("deviceIndex", &attachment.device);
                    xml.leaf("status", "attached");
                    xml.time("attachTime", attachment.at);
                    xml.flag("deleteOnTermination", attachment.ends_with_instance);
                });
            }
        });
    }

    fn write_change(&self, xml: &mut Xml, instance: &Instance, state: State, now: Timestamp) {
        let Some(reason) = instance.reason.filter(|_| !matches!(state, State::Pending | State::Running)) else {
            xml.leaf("reason", "");
            return;
        };
        let (code, message) = match reason {
            Reason::User => ("Client.UserInitiatedShutdown", "User initiated shutdown"),
            Reason::Itself => ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"),
        };
        let at = instance.since(now).strftime("%Y-%m-%d %H:%M:%S GMT");
        xml.leaf("reason", if reason == Reason::User { format!("User initiated ({at})") } else { String::new() });
        xml.node("stateReason", |xml| {
            xml.leaf("code", code);
            xml.leaf("message", format!("{code}: {message}"));
        });
    }

    pub(super) fn instance(&self, id: &str) -> Outcome<&Instance> {
        Kind::Instance.check(id)?;
        self.instances.get(id).ok_or_else(|| Kind::Instance.missing(id))
    }

    /// One that can be changed.
    fn living(&mut self, id: &str, now: Timestamp) -> Outcome<&mut Instance> {
        let state = self.instance(id)?.state(now);
        match self.instances.get_mut(id) {
            Some(instance) if !state.ends() => Ok(instance),
            _ => refuse("IncorrectInstanceState", format!("The instance '{id}' is {}", state.name())),
        }
    }

    pub(super) fn terminate_instances(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.turn(context, form, |id, instance, state, now, context| {
            if state.ends() {
                return Ok(());
            }
            if instance.protected {
                return refuse("OperationNotPermitted", format!("The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."));
            }
            instance.reason = Some(Reason::User);
            instance.go(now, State::ShuttingDown, State::Terminated, later(now, context.pace.end));
            Ok(())
        })
    }

    pub(super) fn stop_instances(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.turn(context, form, |id, instance, state, now, context| match state {
            State::Stopping | State::Stopped => Ok(()),
            State::Running => {
                instance.reason = Some(Reason::User);
                instance.go(now, State::Stopping, State::Stopped, later(now, context.pace.stop));
                Ok(())
            }
            _ => refuse(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a state from which it can be stopped."),
            ),
        })
    }

    pub(super) fn start_instances(&mut self, context: &mut Context<'_>, form: Form) -> Outcome<Xml> {
        self.turn(context, form, |id, instance, state, now, context| match state {
            State::Pending | State::Running => Ok(()),
            State::Stopped => {
                instance.launched = now;
                instance.reason = None;
                instance.go(now, State::Pending, State::Running, later(now, context.pace.start));
                Ok(())
            }
            _ => refuse(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a state from which it can be started."),
            ),
        })
    }

    fn turn(
        &mut self,
        context: &Context<'_>,
        mut form: Form,
        act: impl Fn(&str, &mut Instance, State, Timestamp, &Context<'_>) -> Outcome<()>,
    ) -> Outcome<Xml> {
        let ids = form.texts("InstanceId")?;
        form.done()?;
        if ids.is_empty() {
            return Err(missing_parameter("InstanceId"));
        }
        let mut changes = Vec::new();
        for id in ids {
            let before = self.instance(&id)?.state(context.now);
            let Some(instance) = self.instances.get_mut(&id) else { return Err(Kind::Instance.missing(&id)) };
            act(&id, instance, before, context.now, context)?;
            // What is due at once has not happened yet for this answer.
            let now = match instance.life.iter().rev().nth(1) {
                Some((at, state)) if *at == context.now && *state != before => *state,
                _ => instance.state(context.now),
            };
            changes.push((id, before, now));
        }
        let mut xml = Xml::default();
        xml.items("instancesSet", changes, |xml, (id, before, now)| {
            xml.leaf("instanceId", id);
            write_state(xml, "currentState", now);
            write_state(xml, "previousState", before);
        });
        Ok(xml)
    }

    /// One attribute a call.
    pub(super) fn modify_instance_attribute(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("InstanceId")?;
        let groups = form.texts("GroupId")?;
        let mut shutdown = form.part("InstanceInitiatedShutdownBehavior");
        let mut protection = form.part("DisableApiTermination");
        form.done()?;
        let (behavior, protected) = (shutdown.text("Value"), protection.flag("Value")?);
        shutdown.done()?;
        protection.done()?;
        let given = [!groups.is_empty(), behavior.is_some(), protected.is_some()];
        match given.iter().filter(|given| **given).count() {
            1 => {}
            0 => return refuse("InvalidParameterCombination", "No attributes specified."),
            _ => return refuse("InvalidParameterCombination", "Fields for multiple attribute types specified"),
        }
        let instance = self.living(&id, context.now)?;
        if let Some(behavior) = behavior {
            instance.terminates_on_shutdown = launch::shutdown_behavior(&behavior)?;
        }
        if let Some(protected) = protected {
            instance.protected = protected;
        }
        if !groups.is_empty() {
            let vpc = instance.vpc.clone();
            self.groups_in(&groups, &vpc, context)?;
            let interface = self.only_interface(&id)?;
            if let Some(interface) = self.interfaces.get_mut(&interface) {
                interface.groups = groups;
            }
        }
        Ok(done())
    }

    pub(super) fn modify_instance_metadata_options(
        &mut self,
        context: &mut Context<'_>,
        mut form: Form,
    ) -> Outcome<Xml> {
        let id = form.need("InstanceId")?;
        let instance = self.living(&id, context.now)?;
        let options = launch::metadata(form, Some(&instance.metadata))?;
        if options.tags {
            check_readable(&instance.tags)?;
        }
        instance.metadata = options;
        let mut xml = Xml::default();
        xml.leaf("instanceId", &id);
        write_metadata(&mut xml, "instanceMetadataOptions", &instance.metadata, "pending");
        Ok(xml)
    }

    pub(super) fn describe_instance_attribute(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (id, attribute) = (form.need("InstanceId")?, form.need("Attribute")?);
        form.done()?;
        let instance = self.instance(&id)?;
        let mut xml = Xml::default();
        xml.leaf("instanceId", &id);
        let behavior = if instance.terminates_on_shutdown { "terminate" } else { "stop" };
        match attribute.as_str() {
            "userData" => xml.node("userData", |xml| xml.maybe("value", instance.user_data.as_ref())),
            "instanceInitiatedShutdownBehavior" => xml.node(&attribute, |xml| xml.leaf("value", behavior)),
            "disableApiTermination" => xml.node(&attribute, |xml| xml.flag("value", instance.protected)),
            "instanceType" => xml.node(&attribute, |xml| xml.leaf("value", &instance.instance_type)),
            "groupSet" => {
                let groups = self.main_interface(&id).map(|(_, i)| i.groups.clone()).unwrap_or_default();
                self.write_groups(&mut xml, &groups);
            }
            _ => {
                return refuse(
                    "InvalidParameterValue",
                    format!(
                        "Value ({attribute}) for parameter attribute is invalid: EC2 has none of this name, or this sandbox does not know it"
                    ),
                );
            }
        }
        Ok(xml)
    }

    pub(super) fn get_console_output(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("InstanceId")?;
        let latest = form.flag("Latest")?.unwrap_or(false);
        form.done()?;
        let instance = self.instance(&id)?;
        if latest && !catalogue::instance_type(&instance.instance_type).is_some_and(|t| t.nitro) {
            return refuse(
                "UnsupportedOperation",
                "This instance type does not support retrieving the latest console logs.",
            );
        }
        let mut xml = Xml::default();
        xml.leaf("instanceId", &id);
        if let Some(at) = instance.printed {
            xml.time("timestamp", at);
            xml.leaf("output", Base64::encode_string(&instance.console));
        }
        Ok(xml)
    }
}

fn write_state(xml: &mut Xml, name: &str, state: State) {
    xml.node(name, |xml| {
        xml.number("code", state.code());
        xml.leaf("name", state.name());
    });
}

fn write_metadata(xml: &mut Xml, name: &str, options: &Metadata, state: &str) {
    let on = |on: bool| if on { "enabled" } else { "disabled" };
    xml.node(name, |xml| {
        xml.leaf("state", state);
        xml.leaf("httpTokens", if options.tokens_required { "required" } else { "optional" });
        xml.number("httpPutResponseHopLimit", options.hop_limit);
        xml.leaf("httpEndpoint", on(options.enabled));
        xml.leaf("httpProtocolIpv6", on(options.ipv6));
        xml.leaf("instanceMetadataTags", on(options.tags));
    });
}
