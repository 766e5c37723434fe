//! Decides about the machine: keep it, or make a new one and why; and what a new one is made from.

use super::{
    desire::Desired,
    id::Id,
    observed::{Resource, State, Surroundings},
    tags, views,
};
use crate::{
    changeset::Detail,
    diagnostic::Diagnostic,
    plan::ImageAlias,
    provider::boot::{self, boot_differences, boot_text},
};

/// Of the marketplace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub publisher: &'static str,
    pub offer: &'static str,
    pub sku: &'static str,
}

/// Images without a fee or a purchase plan, by wiki.debian.org/Cloud/MicrosoftAzure and documentation.ubuntu.com/azure (finding
/// images); of each the one for x86-64 of the second generation, of the first, and for Arm. Public projects deploy from every one of
/// them; none was asked for in an account.
fn skus(alias: ImageAlias) -> Option<(&'static str, &'static str, [&'static str; 3])> {
    const UBUNTU: [&str; 3] = ["server", "server-gen1", "server-arm64"];
    match alias {
        ImageAlias::Debian13 => Some(("Debian", "debian-13", ["13-gen2", "13", "13-arm64"])),
        ImageAlias::Debian12 => Some(("Debian", "debian-12", ["12-gen2", "12", "12-arm64"])),
        ImageAlias::Ubuntu2404 => Some(("Canonical", "ubuntu-24_04-lts", UBUNTU)),
        ImageAlias::Ubuntu2604 => Some(("Canonical", "ubuntu-26_04-lts", UBUNTU)),
        ImageAlias::AmazonLinux2023 => None,
    }
}

/// `Debian debian-13`, as [`views::Machine::image`] says it. The newest build is chosen by Azure when the machine is made, and stays.
fn image_text(alias: ImageAlias) -> String {
    skus(alias).map_or_else(String::new, |(publisher, offer, _)| format!("{publisher} {offer}"))
}

/// Whether a machine was made from an image of the alias, for whichever architecture and generation: what Azure says of a machine's
/// image (`imageReference`) nobody can change afterwards.
pub fn is_of_image(alias: ImageAlias, have: &Resource) -> bool {
    let machine = views::Machine(have);
    skus(alias).is_some_and(|(_, _, skus)| {
        machine.image().eq_ignore_ascii_case(&image_text(alias))
            && skus.iter().any(|sku| machine.image_sku().eq_ignore_ascii_case(sku))
    })
}

/// Why nothing may be written to what is called as the bastion's machine is: it can't be one that gangplank made from this plan. An
/// `apply` makes a new one.
pub fn suspicion(alias: ImageAlias, have: &Resource) -> Option<String> {
    if !is_of_image(alias, have) {
        let image = image_words(have);
        return Some(format!("{} was made from {image}, not from {}", have.words(), alias.as_str()));
    }
    match have.tags.get(tags::BOOT) {
        Some(boot) if boot::is_well_formed(boot) => None,
        Some(_) => Some(format!("the tag {} of {} is not one that gangplank writes", tags::BOOT, have.words())),
        None => Some(format!("{} has no tag {}", have.words(), tags::BOOT)),
    }
}

/// `Debian debian-13 13-gen2`, or that there is none.
pub fn image_words(have: &Resource) -> String {
    let machine = views::Machine(have);
    let text = format!("{} {}", machine.image(), machine.image_sku());
    let text = text.trim();
    if text.is_empty() { "no image of the marketplace".to_owned() } else { text.to_owned() }
}

/// Why a machine can't stay, one detail a property; empty where it can.
pub fn replacement_reasons(want: &Desired<'_>, have: &Resource, new_interface: bool) -> Vec<Detail> {
    let machine = views::Machine(have);
    let mut reasons = Vec::new();
    let (size, image) = (machine.size(), machine.image());
    if !size.eq_ignore_ascii_case(&want.azure.size) {
        reasons.push(Detail::changed("size", size, &want.azure.size));
    }
    let wanted = image_text(want.azure.image);
    if !image.eq_ignore_ascii_case(&wanted) {
        reasons.push(Detail::changed("image", image, wanted));
    } else if !is_of_image(want.azure.image, have) {
        let note = "it is none of the images that gangplank makes this bastion's machines from";
        reasons.push(Detail::changed("image", image_words(have), wanted).note(note));
    }
    let interfaces = machine.interfaces();
    let stays = interfaces.as_slice() == [want.names.interface.clone()] && !new_interface;
    if !stays {
        let names: Vec<&str> = interfaces.iter().map(Id::name).collect();
        let after = if new_interface { "a new one" } else { want.names.interface.name() };
        reasons.push(Detail::changed("network interface", names.join(", "), after));
    }
    match have.tags.get(tags::BOOT) {
        Some(boot) => reasons.extend(boot_differences(&boot_text(want.user_data), boot).into_iter().map(|part| {
            let note = match part.name.as_str() {
                "keys" if part.before.starts_with("live-") || part.after.starts_with("live-") => {
                    "how the machine gets its keys"
                }
                "keys" => "the accepted keys",
                "tunnels" => "the users and what each may open",
                "sshd" => "the daemon's settings",
                "system" => "another version of gangplank sets the machine up",
                _ => "the document",
            };
            Detail::changed(format!("cloud-init {}", part.name), part.before, part.after).note(note)
        })),
        None => {
            let note = format!("the machine has lost its tag {}", tags::BOOT);
            reasons.push(Detail::changed("cloud-init", "unknown", want.user_data.digest.clone()).note(note));
        }
    }
    // Otherwise only its last operation failed: it may well run.
    if have.state == State::Failed && machine.never_ran() {
        reasons.push(Detail::changed("provisioning", "failed", "succeeded"));
    }
    reasons
}

/// The image that a new machine boots: the alias's for the size's architecture. `is_new`: it replaces none.
pub fn image(want: &Desired<'_>, around: &Surroundings, is_new: bool) -> Result<Image, Diagnostic> {
    let problem = |field: &str, summary: &str, label: String| want.plan.origin.problem(field, summary, label);
    let (name, location) = (&want.azure.size, &want.azure.location);
    if around.sizes.is_empty() {
        return Err(problem(
            "azure.location",
            "no such location",
            format!("{location} offers no machine to this subscription"),
        )
        .fix("`az account list-locations --query [].name --output tsv` lists them"));
    }
    let Some(size) = around.sizes.iter().find(|s| s.name.eq_ignore_ascii_case(name)) else {
        return Err(problem("azure.size", "no such size in the location", format!("{location} does not offer {name}"))
            .fix(format!(
                "`az vm list-skus --location {location} --size Standard_B --output table` lists small ones"
            )));
    };
    if let Some(reason) = &size.restricted {
        return Err(problem(
            "azure.size",
            "the size is not for this subscription",
            format!("{name} in {location}: {reason}"),
        )
        .fix("choose another size or location, or ask Azure's support for it"));
    }
    // One that is replaced gives its own processors back first.
    let full =
        around.quotas.iter().filter(|quota| quota.name == "cores" || quota.name.eq_ignore_ascii_case(&size.family));
    let full = full.filter(|quota| is_new && quota.used.saturating_add(size.cores) > quota.limit);
    if let Some(quota) = full.min_by_key(|quota| quota.limit.saturating_sub(quota.used)) {
        let label = format!(
            "{} in {location}: {} of {} are used, {name} needs {}",
            quota.said, quota.used, quota.limit, size.cores
        );
        return Err(problem("azure.size", "the subscription's quota has no room for it", label)
            .fix("raise the quota in the portal (Quotas), remove what is unused, or choose a size of another family or location"));
    }
    let Some((publisher, offer, [second, first, arm])) = skus(want.azure.image) else {
        let label = format!("Azure has no {}", want.azure.image.as_str());
        return Err(problem("azure.image", "no image for this alias", label).fix("write debian-13"));
    };
    let sku = match (size.arm64, size.second_generation) {
        (true, _) => arm,
        (false, true) => second,
        (false, false) => first,
    };
    Ok(Image { publisher, offer, sku })
}
