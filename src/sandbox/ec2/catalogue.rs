//! What Amazon and the images' publishers offer in every region. A small part of it: what plans name.

use std::collections::BTreeMap;

use super::{
    form::Form,
    kind::Kind,
    listing::{Filters, Listing, Page, SMALL, USUAL},
    model::{Image, Region, Tags},
    refusal::{Outcome, refuse},
    tags,
    vpcs::zones,
    world::{ACCOUNT, Context, mixed},
    xml::Xml,
};

const DEBIAN: &str = "136693071363";
const CANONICAL: &str = "099720109477";
const AMAZON: &str = "137112412989";

/// Owner, name with the publisher's word for the architecture in place of `{}`, root device, GiB, creation. Two builds of each.
const PUBLISHED: [(&str, &str, &str, i64, &str); 10] = [
    (DEBIAN, "debian-12-{}-20251006-2257", "/dev/xvda", 8, "2025-10-06T08:11:05.000Z"),
    (DEBIAN, "debian-12-{}-20260112-2355", "/dev/xvda", 8, "2026-01-12T08:14:31.000Z"),
    (DEBIAN, "debian-13-{}-20251006-2257", "/dev/xvda", 8, "2025-10-06T08:20:47.000Z"),
    (DEBIAN, "debian-13-{}-20260112-2355", "/dev/xvda", 8, "2026-01-12T08:23:10.000Z"),
    (
        CANONICAL,
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{}-server-20260108",
        "/dev/sda1",
        8,
        "2026-01-08T07:02:54.000Z",
    ),
    (
        CANONICAL,
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{}-server-20260512",
        "/dev/sda1",
        8,
        "2026-05-12T07:01:12.000Z",
    ),
    (
        CANONICAL,
        "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-{}-server-20260423",
        "/dev/sda1",
        8,
        "2026-04-23T11:40:26.000Z",
    ),
    (
        CANONICAL,
        "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-{}-server-20260512",
        "/dev/sda1",
        8,
        "2026-05-12T07:31:49.000Z",
    ),
    (AMAZON, "al2023-ami-2023.9.20251117.1-kernel-6.1-{}", "/dev/xvda", 8, "2025-11-14T21:18:02.000Z"),
    (AMAZON, "al2023-ami-2023.10.20260105.0-kernel-6.12-{}", "/dev/xvda", 8, "2026-01-03T01:12:39.000Z"),
];

const REGIONS: [&str; 17] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

const ARM: &[&str] = &["arm64"];
const INTEL: &[&str] = &["x86_64"];
const OLD_INTEL: &[&str] = &["i386", "x86_64"];

/// Name, architectures, virtual CPUs, memory in MiB, and whether it is a Nitro one.
const TYPES: [(&str, &[&str], i64, i64, bool); 17] = [
    ("c7g.medium", ARM, 1, 2048, true),
    ("m7g.medium", ARM, 1, 4096, true),
    ("m7i.large", INTEL, 2, 8192, true),
    ("t2.micro", OLD_INTEL, 1, 1024, false),
    ("t2.nano", OLD_INTEL, 1, 512, false),
    ("t3.large", INTEL, 2, 8192, true),
    ("t3.medium", INTEL, 2, 4096, true),
    ("t3.micro", INTEL, 2, 1024, true),
    ("t3.nano", INTEL, 2, 512, true),
    ("t3.small", INTEL, 2, 2048, true),
    ("t3a.micro", INTEL, 2, 1024, true),
    ("t3a.nano", INTEL, 2, 512, true),
    ("t4g.large", ARM, 2, 8192, true),
    ("t4g.medium", ARM, 2, 4096, true),
    ("t4g.micro", ARM, 2, 1024, true),
    ("t4g.nano", ARM, 2, 512, true),
    ("t4g.small", ARM, 2, 2048, true),
];

pub struct InstanceType {
    pub architectures: &'static [&'static str],
    pub nitro: bool,
}

pub fn instance_type(name: &str) -> Option<InstanceType> {
    let found = TYPES.iter().find(|(known, ..)| *known == name);
    found.map(|(_, architectures, _, _, nitro)| InstanceType { architectures, nitro: *nitro })
}

/// The images that every region has; their ids differ between regions, and stay.
fn published(region: &str) -> impl Iterator<Item = (String, Image)> {
    let place = region.bytes().fold(0_u64, |hash, byte| mixed(hash, u64::from(byte)));
    PUBLISHED.iter().zip(0_u64..).flat_map(move |((owner, name, root_device, root_size, created), number)| {
        ["arm64", "x86_64"].into_iter().zip(0..).map(move |(architecture, side)| {
            let word = if architecture == "x86_64" && *owner != AMAZON { "amd64" } else { architecture };
            let name = name.replace("{}", word);
            let image = Image {
                description: name.clone(),
                name,
                owner: (*owner).to_owned(),
                architecture: architecture.to_owned(),
                root_device: (*root_device).to_owned(),
                root_size: *root_size,
                created: (*created).to_owned(),
                deprecated: None,
                unsubscribed: false,
                tags: Tags::new(),
            };
            (format!("ami-0{:016x}", mixed(place, number * 2 + side)), image)
        })
    })
}

impl Region {
    pub(super) fn image(&self, id: &str, region: &str) -> Outcome<Image> {
        Kind::Image.check(id)?;
        let own = self.images.get(id).cloned();
        own.or_else(|| published(region).find(|(known, _)| known == id).map(|(_, image)| image))
            .ok_or_else(|| Kind::Image.missing(id))
    }

    pub(super) fn describe_images(&self, context: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let owners = form.texts("Owner")?;
        let deprecated_too = form.flag("IncludeDeprecated")? == Some(true);
        // No image is disabled.
        form.flag("IncludeDisabled")?;
        let filters = [
            "architecture",
            "creation-date",
            "description",
            "image-id",
            "image-type",
            "is-public",
            "name",
            "owner-alias",
            "owner-id",
            "root-device-name",
            "root-device-type",
            "state",
            "virtualization-type",
            "tag",
        ];
        let listing = Listing::take(form, "ImageId", &filters, Some(USUAL))?;
        let mut all: BTreeMap<String, Image> = published(context.region).collect();
        all.extend(self.images.clone());
        // "Deprecate an Amazon EC2 AMI": ids name one all the same, filters do not.
        all.retain(|id, image| deprecated_too || image.deprecated.is_none() || listing.parts().0.contains(id));
        if !owners.is_empty() {
            all.retain(|_, image| owners.iter().any(|o| owns(o, image)));
        }
        let field = |id: &str, image: &Image, name: &str| {
            vec![match name {
                "architecture" => image.architecture.clone(),
                "creation-date" => image.created.clone(),
                "description" => image.description.clone(),
                "image-type" => "machine".to_owned(),
                "is-public" => (image.owner != ACCOUNT).to_string(),
                "name" => image.name.clone(),
                "owner-alias" => (if image.owner == AMAZON { "amazon" } else { "" }).to_owned(),
                "owner-id" => image.owner.clone(),
                "root-device-name" => image.root_device.clone(),
                "root-device-type" => "ebs".to_owned(),
                "state" => "available".to_owned(),
                "virtualization-type" => "hvm".to_owned(),
                _ => id.to_owned(),
            }]
        };
        let (shown, next) = listing.of(Kind::Image, &all, |i| &i.tags, field)?;
        let mut xml = Xml::default();
        xml.items("imagesSet", shown, |xml, (id, image)| write_image(xml, id, image));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    pub(super) fn describe_instance_types(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let names = form.texts("InstanceType")?;
        let filters = Filters::take(
            &mut form,
            &["current-generation", "hypervisor", "instance-type", "processor-info.supported-architecture"],
        )?;
        let page = Page::take(&mut form, &SMALL)?;
        form.done()?;
        let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|n| instance_type(n).is_none()).collect();
        if !unknown.is_empty() {
            return refuse(
                "InvalidInstanceType",
                format!("The following supplied instance types do not exist: [{}]", unknown.join(", ")),
            );
        }
        let shown = TYPES.iter().filter(|(name, architectures, .., nitro)| {
            let field = |filter: &str| match filter {
                "current-generation" => vec![nitro.to_string()],
                "hypervisor" => vec![if *nitro { "nitro" } else { "xen" }.to_owned()],
                "instance-type" => vec![(*name).to_owned()],
                _ => architectures.iter().map(|a| (*a).to_owned()).collect(),
            };
            (names.is_empty() || names.iter().any(|n| n == name)) && filters.admit(&Tags::new(), field)
        });
        let (shown, next) = page.cut(shown.map(|row| (row.0, row)).collect());
        let mut xml = Xml::default();
        xml.items("instanceTypeSet", shown, |xml, (name, (_, architectures, cpus, memory, nitro))| {
            xml.leaf("instanceType", name);
            xml.flag("currentGeneration", *nitro);
            xml.leaf("hypervisor", if *nitro { "nitro" } else { "xen" });
            xml.flag("bareMetal", false);
            xml.node("processorInfo", |xml| {
                xml.items("supportedArchitectures", *architectures, |xml, architecture| xml.text(architecture));
            });
            xml.node("vCpuInfo", |xml| xml.number("defaultVCpus", *cpus));
            xml.node("memoryInfo", |xml| xml.number("sizeInMiB", *memory));
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    pub(super) fn describe_regions(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        form.flag("AllRegions")?;
        let filters = ["endpoint", "opt-in-status", "region-name"];
        let listing = Listing::take(form, "RegionName", &filters, None)?;
        let names = listing.names(|name| REGIONS.contains(&name), "InvalidParameterValue", "region")?;
        let (_, filters, _) = listing.parts();
        let endpoint = |region: &str| format!("ec2.{region}.amazonaws.com");
        let shown = REGIONS.into_iter().filter(|region| {
            let field = |name: &str| {
                vec![match name {
                    "endpoint" => endpoint(region),
                    "opt-in-status" => "opt-in-not-required".to_owned(),
                    _ => (*region).to_owned(),
                }]
            };
            (names.is_empty() || names.iter().any(|n| n == region)) && filters.admit(&Tags::new(), field)
        });
        let mut xml = Xml::default();
        xml.items("regionInfo", shown, |xml, region| {
            xml.leaf("regionName", region);
            xml.leaf("regionEndpoint", endpoint(region));
            xml.leaf("optInStatus", "opt-in-not-required");
        });
        Ok(xml)
    }

    pub(super) fn describe_availability_zones(&self, context: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        form.flag("AllAvailabilityZones")?;
        let filters = ["region-name", "state", "zone-name"];
        let listing = Listing::take(form, "ZoneName", &filters, None)?;
        let all = zones(context.region);
        let names = listing.names(|name| all.iter().any(|zone| zone == name), "InvalidParameterValue", "zone")?;
        let (_, filters, _) = listing.parts();
        let shown = all.iter().filter(|zone| {
            let field = |name: &str| {
                vec![match name {
                    "region-name" => context.region.to_owned(),
                    "state" => "available".to_owned(),
                    _ => (*zone).clone(),
                }]
            };
            (names.is_empty() || names.contains(zone)) && filters.admit(&Tags::new(), field)
        });
        let mut xml = Xml::default();
        xml.items("availabilityZoneInfo", shown, |xml, zone| {
            xml.leaf("zoneName", zone);
            xml.leaf("zoneState", "available");
            xml.leaf("regionName", context.region);
            xml.leaf("zoneType", "availability-zone");
        });
        Ok(xml)
    }

    /// None: machines get their keys from the document alone.
    pub(super) fn describe_key_pairs(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        form.flag("IncludePublicKey")?;
        let by_id = form.texts("KeyPairId")?;
        let listing = Listing::take(form, "KeyName", &["fingerprint", "key-name", "key-pair-id", "tag"], None)?;
        listing.names(|_| false, "InvalidKeyPair.NotFound", "key pair")?;
        if let Some(id) = by_id.first() {
            return refuse("InvalidKeyPair.NotFound", format!("The key pair '{id}' does not exist"));
        }
        let mut xml = Xml::default();
        xml.items("keySet", std::iter::empty::<()>(), |_, ()| {});
        Ok(xml)
    }
}

fn owns(word: &str, image: &Image) -> bool {
    match word {
        "self" => image.owner == ACCOUNT,
        "amazon" => image.owner == AMAZON,
        owner => image.owner == owner,
    }
}

fn write_image(xml: &mut Xml, id: &str, image: &Image) {
    xml.leaf("imageId", id);
    xml.leaf("imageLocation", format!("{}/{}", image.owner, image.name));
    xml.leaf("imageState", "available");
    xml.leaf("imageOwnerId", &image.owner);
    if image.owner == AMAZON {
        xml.leaf("imageOwnerAlias", "amazon");
    }
    xml.leaf("creationDate", &image.created);
    xml.maybe("deprecationTime", image.deprecated.as_ref());
    xml.flag("isPublic", image.owner != ACCOUNT);
    xml.leaf("architecture", &image.architecture);
    xml.leaf("imageType", "machine");
    xml.leaf("name", &image.name);
    xml.leaf("description", &image.description);
    xml.leaf("rootDeviceType", "ebs");
    xml.leaf("rootDeviceName", &image.root_device);
    xml.items("blockDeviceMapping", [image], |xml, image| {
        xml.leaf("deviceName", &image.root_device);
        xml.node("ebs", |xml| {
            xml.number("volumeSize", image.root_size);
            xml.flag("deleteOnTermination", true);
            xml.leaf("volumeType", "gp3");
            xml.flag("encrypted", false);
        });
    });
    xml.leaf("virtualizationType", "hvm");
    xml.leaf("hypervisor", "xen");
    xml.flag("enaSupport", true);
    tags::write(xml, &image.tags);
}
