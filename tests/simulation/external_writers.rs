//! People who write what looks like gangplank's: somebody who may only tag, and somebody who may launch machines and tag them.

use gangplank::{
    sandbox::{call::Cloud, cloud::State, ec2::model::Tags},
    tags::{BASTION, BOOT, EXPIRES, EXTENDED, HOST_KEY, LIFETIME, NAME},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    hand::{arm, ec2, last, net, owner, region, tags, whole},
    provenance::ResourceProvenance,
};

const PAST: &str = "2020-02-29T23:59:59Z";
const FAR: &str = "9998-01-01T00:00:00Z";
/// No bastion of the stories', for a reaper.
const OLD_PROJECT: &str = "oldproject";
/// Well-formed, and of no document.
const OTHER_BOOT: &str = "document=000000000000";
/// The machine of somebody with the right to launch, and its interface, on Azure.
const IMPOSTOR: &str = "rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse-new";
const IMPOSTOR_INTERFACE: &str = "networkInterfaces/gangplank-warehouse-new";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalWriter {
    /// Puts a bastion's tags on what is other people's.
    Tagger,
    /// Writes an end, or a key, on one thing of a bastion's.
    Forger,
    /// Launches a machine with a bastion's tags and document from another image.
    Impostor,
}

/// What one of them did.
#[derive(Clone, Debug)]
pub enum ExternalWrite {
    Tagged {
        id: String,
        tags: Tags,
    },
    Forged {
        id: String,
        end: bool,
    },
    /// Into the bastion's group, or under its name: with both marks.
    Launched {
        two_marks: bool,
    },
}

impl ExternalWriter {
    pub fn some(rng: &mut fastrand::Rng) -> Self {
        [Self::Tagger, Self::Tagger, Self::Forger, Self::Impostor][rng.usize(..4)]
    }

    /// What they write, where there is something to write it on and the cloud lets them.
    pub fn write(
        self,
        worlds: &mut State,
        rng: &mut fastrand::Rng,
        cloud: Cloud,
        made: &ResourceProvenance,
        now: Timestamp,
    ) -> Option<ExternalWrite> {
        let writing = &mut Writing { worlds, rng, cloud, made, now };
        match self {
            Self::Tagger => writing.tag_foreign(),
            Self::Forger => writing.forge_end(),
            Self::Impostor if cloud == Cloud::Aws => writing.launch_instance(),
            Self::Impostor if writing.rng.bool() => writing.launch_machine_beside(),
            Self::Impostor => writing.launch_machine_under_its_name(),
        }
    }
}

struct Writing<'w> {
    worlds: &'w mut State,
    rng: &'w mut fastrand::Rng,
    cloud: Cloud,
    made: &'w ResourceProvenance,
    now: Timestamp,
}

impl Writing<'_> {
    fn choose<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.rng.usize(..all.len())].clone())
    }

    /// Everything of the story's bastions that carries tags, with its kind.
    fn own(&self) -> Vec<(String, String, Tags)> {
        let all = taggable(self.worlds, self.cloud).into_iter();
        let ours = |(id, kind, tags): &(String, String, Tags)| {
            let is_bastions = tags.get(BASTION).is_some_and(|name| name.starts_with("warehouse"));
            is_bastions && kind != "disks" && kind != "volume" && self.made.is_own(id)
        };
        all.filter(ours).collect()
    }

    /// A complete set of tags, as the bastion's own thing of the same kind has it where there is one.
    fn complete_set(&mut self, kind: &str) -> Tags {
        let own = self.own();
        let twin = own.iter().find(|(_, own, _)| own == kind).or(own.first());
        let mut set = twin.map(|(_, _, tags)| tags.clone()).unwrap_or_default();
        set.remove(HOST_KEY);
        for (key, value) in [(BASTION, "warehouse"), (NAME, "gangplank-warehouse"), (BOOT, OTHER_BOOT)] {
            set.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        match self.rng.u8(..3) {
            0 => {}
            1 => _ = set.insert(EXPIRES.to_owned(), PAST.to_owned()),
            _ => {
                set.insert(EXPIRES.to_owned(), PAST.to_owned());
                set.insert(BASTION.to_owned(), OLD_PROJECT.to_owned());
            }
        }
        set
    }

    fn tag_foreign(&mut self) -> Option<ExternalWrite> {
        let all = taggable(self.worlds, self.cloud).into_iter();
        // Under such a name the tag is the second mark and no longer the only one.
        let named = |id: &str| last(id).starts_with("gangplank-warehouse");
        let foreign: Vec<_> = all.filter(|(id, ..)| self.made.is_untouchable(id) && !named(id)).collect();
        let (id, kind, _) = self.choose(&foreign)?;
        let tags = self.complete_set(&kind);
        self.write_tags(&id, &tags).then_some(ExternalWrite::Tagged { id, tags })
    }

    fn forge_end(&mut self) -> Option<ExternalWrite> {
        let own = self.own();
        let (id, _, has) = self.choose(&own)?;
        // An address that is not marked yet is nobody's, and disagrees with nothing.
        let counts = |id: &str| !self.made.is_stray_address(id);
        let dated = own.iter().filter(|(id, _, tags)| counts(id) && tags.contains_key(EXPIRES)).count();
        let expires = has.get(EXPIRES);
        let moved = |to: &str| Some((EXTENDED, format!("to {to} from {} on {}", expires?, self.now)));
        let years = self.now.saturating_add(SignedDuration::from_hours(5 * 365 * 24)).unwrap_or(self.now);
        let (key, value) = match self.rng.u8(..5) {
            0 => moved(FAR)?,
            // Where nothing else has an end, nothing else can disagree.
            1 if dated > 1 => moved(&years.to_string())?,
            2 => (EXPIRES, FAR.to_owned()),
            // Of two starts of a lifetime the earlier counts, and a crash or a meddler may leave two resources.
            3 if !has.contains_key(LIFETIME) => (EXPIRES, PAST.to_owned()),
            _ => ("gangplank:key.x", "ssh-ed25519".to_owned()),
        };
        let end = key == EXPIRES || key == EXTENDED;
        self.write_tags(&id, &Tags::from([(key.to_owned(), value)])).then_some(ExternalWrite::Forged { id, end })
    }

    fn write_tags(&mut self, id: &str, tags: &Tags) -> bool {
        if self.cloud == Cloud::Azure {
            // A policy's are not set so, whatever Azure answers.
            if id.to_lowercase().contains("/firewallpolicies/") {
                return false;
            }
            let body = json!({"operation": "Merge", "properties": {"tags": tags}});
            let id = format!("{id}/providers/Microsoft.Resources/tags/default");
            return arm(self.worlds, self.now, "PATCH", &id, Some(&body)).status < 300;
        }
        let mut fields =
            vec![("Action".to_owned(), "CreateTags".to_owned()), ("ResourceId.1".to_owned(), id.to_owned())];
        for (at, (key, value)) in tags.iter().enumerate() {
            fields.push((format!("Tag.{}.Key", at + 1), key.clone()));
            fields.push((format!("Tag.{}.Value", at + 1), value.clone()));
        }
        self.call(&fields).is_some()
    }

    fn call(&mut self, fields: &[(String, String)]) -> Option<String> {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let reply = ec2(self.worlds, self.now, &fields);
        (reply.status == 200).then(|| String::from_utf8_lossy(&reply.body).into_owned())
    }

    /// The genuine document and the real tags from an image of somebody else's; sometimes in the bastion's group, and sometimes with
    /// the real machine made to look outdated.
    fn launch_instance(&mut self) -> Option<ExternalWrite> {
        let region = region(self.worlds)?;
        let of_a_bastion = |tags: &Tags| tags.get(BASTION).is_some_and(|name| name.starts_with("warehouse"));
        let mut all = region.instances.iter();
        let (real, instance) =
            all.find(|(id, i)| self.made.is_own(id) && of_a_bastion(&i.tags) && !i.state(Timestamp::MAX).ends())?;
        let real = real.clone();
        let group = region.main_interface(&real)?.1.groups.first()?.clone();
        let mut set = instance.tags.clone();
        set.remove(HOST_KEY);
        let mut fields: Vec<(String, String)> = [
            ("Action", "RunInstances"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("InstanceType", &instance.instance_type),
            ("SubnetId", &instance.subnet),
            ("UserData", instance.user_data.as_deref()?),
            ("MetadataOptions.HttpTokens", "required"),
            ("MetadataOptions.HttpPutResponseHopLimit", "1"),
            ("MetadataOptions.InstanceMetadataTags", "enabled"),
            ("TagSpecification.1.ResourceType", "instance"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        fields.push(("ImageId".to_owned(), self.other_image()?));
        for (at, (key, value)) in set.iter().enumerate() {
            fields.push((format!("TagSpecification.1.Tag.{}.Key", at + 1), key.clone()));
            fields.push((format!("TagSpecification.1.Tag.{}.Value", at + 1), value.clone()));
        }
        let two_marks = self.rng.u8(..3) == 0;
        if two_marks {
            fields.push(("SecurityGroupId.1".to_owned(), group));
        }
        self.call(&fields)?;
        if self.rng.bool() {
            self.write_tags(&real, &Tags::from([(BOOT.to_owned(), OTHER_BOOT.to_owned())]));
        }
        Some(ExternalWrite::Launched { two_marks })
    }

    fn other_image(&mut self) -> Option<String> {
        let fields = [
            ("Action", "DescribeImages"),
            ("Filter.1.Name", "name"),
            ("Filter.1.Value.1", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-*"),
        ];
        let images = self.call(&fields.map(|(key, value)| (key.to_owned(), value.to_owned())))?;
        let image = images.split("<imageId>").nth(1)?.split('<').next()?;
        Some(image.to_owned())
    }

    /// The real machine on Azure, as a GET with its user data answers it.
    fn real_machine(&self) -> Option<(String, Value)> {
        let is_real = |id: &String| {
            id.contains("/virtualmachines/gangplank-warehouse")
                && self.made.is_own(id)
                && owner(&self.worlds.arm, id).is_some_and(|name| name.starts_with("warehouse"))
        };
        let id = self.worlds.arm.ids().into_iter().find(is_real)?;
        let machine = self.worlds.arm.resource(&id)?;
        Some((id, machine))
    }

    /// Under a name of its own: what is not called as the bastion's machine has one mark.
    fn launch_machine_beside(&mut self) -> Option<ExternalWrite> {
        let (_, real) = self.real_machine()?;
        let subnets = self.worlds.arm.ids().into_iter();
        let subnet = subnets.filter(|id| id.contains("/subnets/bastion")).find(|id| self.made.is_own(whole(id)));
        let subnet = subnet.unwrap_or_else(|| net("rg-shared", "virtualNetworks/vnet-data/subnets/snet-a"));
        let interface = net("rg-shared", IMPOSTOR_INTERFACE);
        let body = json!({"location": "westeurope", "tags": real["tags"], "properties": {
            "ipConfigurations": [{"name": "one", "properties": {"subnet": {"id": subnet}}}]}});
        if arm(self.worlds, self.now, "PUT", &interface, Some(&body)).status >= 300 {
            return None;
        }
        self.worlds.arm.finish_on(&interface, self.now);
        let id = format!("{}{IMPOSTOR}", super::hand::group(""));
        let body = impostor_body(&real, &interface);
        let done = arm(self.worlds, self.now, "PUT", &id, Some(&body)).status < 300;
        self.worlds.arm.finish_on(&id, self.now);
        done.then_some(ExternalWrite::Launched { two_marks: false })
    }

    /// In the real machine's place, with its interface and so with its address.
    fn launch_machine_under_its_name(&mut self) -> Option<ExternalWrite> {
        let (id, real) = self.real_machine()?;
        let interface = real.pointer("/properties/networkProfile/networkInterfaces/0/id")?.as_str()?.to_owned();
        if arm(self.worlds, self.now, "DELETE", &id, None).status >= 300 {
            return None;
        }
        self.worlds.arm.finish_on(&id, self.now);
        arm(self.worlds, self.now, "PUT", &id, Some(&impostor_body(&real, &interface)));
        self.worlds.arm.finish_on(&id, self.now);
        Some(ExternalWrite::Launched { two_marks: true })
    }
}

/// The real machine's tags and user data, from an image of another publisher.
fn impostor_body(real: &Value, interface: &str) -> Value {
    let mut body = json!({"location": "westeurope", "tags": real["tags"], "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {"imageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"},
            "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"}},
        "osProfile": {"computerName": "theirs", "adminUsername": "somebody", "adminPassword": "Not-4-secret!"},
        "networkProfile": {"networkInterfaces": [{"id": interface}]}}});
    if let Some(data) = real.pointer("/properties/userData") {
        body["properties"]["userData"] = data.clone();
    }
    body
}

/// Everything that somebody may tag: id, kind and tags.
fn taggable(worlds: &State, cloud: Cloud) -> Vec<(String, String, Tags)> {
    if cloud == Cloud::Azure {
        let all = worlds.arm.ids().into_iter().filter(|id| whole(id) == id);
        let kind = |id: &str| id.rsplit('/').nth(1).unwrap_or_default().to_owned();
        return all.map(|id| (id.clone(), kind(&id), tags(&worlds.arm, &id))).collect();
    }
    let Some(region) = region(worlds) else { return Vec::new() };
    let instances = region.instances.iter().filter(|(_, i)| !i.state(Timestamp::MAX).ends());
    let instances = instances.map(|(id, i)| (id, "instance", &i.tags));
    let groups = region.groups.iter().map(|(id, g)| (id, "group", &g.tags));
    let addresses = region.addresses.iter().map(|(id, a)| (id, "address", &a.tags));
    let volumes = region.volumes.iter().map(|(id, v)| (id, "volume", &v.tags));
    let all = instances.chain(groups).chain(addresses).chain(volumes);
    all.map(|(id, kind, tags)| (id.clone(), kind.to_owned(), tags.clone())).collect()
}

/// What impostors have launched goes, by the hands of those who launched it: where it has both marks in any case, else as far as a
/// bastion's network could not go otherwise. Whether there was anything.
pub fn end_impostors(worlds: &mut State, made: &ResourceProvenance, now: Timestamp) -> bool {
    let mut any = false;
    let instances = region(worlds).into_iter().flat_map(|region| &region.instances);
    let insiders = instances.filter(|(id, i)| !made.is_own(id) && !made.is_untouchable(id) && !i.state(now).ends());
    for id in insiders.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
        any |= ec2(worlds, now, &[("Action", "TerminateInstances"), ("InstanceId.1", &id)]).status == 200;
    }
    any
}

/// The machine beside the bastion on Azure holds the bastion's network.
pub fn leave_network(worlds: &mut State, now: Timestamp) -> bool {
    let machine = format!("{}{IMPOSTOR}", super::hand::group(""));
    let interface = net("rg-shared", IMPOSTOR_INTERFACE);
    let mut any = false;
    for id in [machine, interface] {
        if worlds.arm.resource(&id).is_some() {
            let status = arm(worlds, now, "DELETE", &id, None).status;
            assert!(status < 300, "{id}: {status}");
            worlds.arm.finish_on(&id, now);
            any = true;
        }
    }
    any
}
