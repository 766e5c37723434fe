//! Where things come from: whether what carries the bastion's tag is the bastion's own, and whether its machine was made from the plan's
//! image and document.

use super::Scene;
use crate::{
    plan::ImageAlias,
    provider::{
        azure::{
            machine::{image_words, is_of_image},
            tags::{self, BOOT},
        },
        boot,
        judging::{check, fail, judged},
    },
    verify::{Check, Part, Verdict},
};

pub fn ownership(scene: &Scene<'_>) -> Check {
    let proves = "everything that carries the bastion's tag is the bastion's own";
    judged(check("control.ownership", Part::Bastion, proves), |check| {
        let name = scene.name();
        let foreign = scene.seen.foreign(Some(name));
        check.evidence.extend(foreign.iter().map(|one| format!("{}: {}", one.words(), one.id)));
        let Some(first) = foreign.first() else {
            // Where nothing of the bastion is there, that nothing foreign was seen proves nothing.
            return scene.machine().map(|_| Verdict::Pass);
        };
        let told: Vec<String> = foreign.iter().map(|one| one.told()).collect();
        Ok(fail(
            format!("the tag {}={name} is on what gangplank did not make: {}", tags::BASTION, told.join("; ")),
            format!(
                "find out who tagged it, or which policy did; gangplank leaves it alone. Take the tag off: `az tag update --resource-id {} \
                 --operation Delete --tags {}={name}`",
                first.id.argument(),
                tags::BASTION
            ),
        ))
    })
}

/// What Azure says of the image that a machine was made from, nobody can change afterwards.
pub fn image(scene: &Scene<'_>) -> Check {
    let alias: ImageAlias = scene.azure.image;
    let proves = format!("the machine was made from the publisher's {}", alias.as_str());
    judged(check("control.image", Part::Bastion, proves), |check| {
        let machine = scene.machine()?;
        let image = image_words(machine);
        check.evidence.push(format!("{}: {image}", machine.name()));
        if is_of_image(alias, machine) {
            return Ok(Verdict::Pass);
        }
        Ok(fail(
            format!("{} was made from {image}, not from {}", machine.name(), alias.as_str()),
            format!("if you did not do that, somebody else made this machine: {}", scene.apply("makes a new one")),
        ))
    })
}

/// Azure never shows the document itself (`customData`), so this is about the tag that names it; that the machine runs what the document
/// says is the machine's own report.
pub fn document(scene: &Scene<'_>, want: &str) -> Check {
    let proves = "the machine's tag names the plan's cloud-init document; Azure does not show the document itself";
    judged(check("control.document", Part::Bastion, proves), |check| {
        let machine = scene.machine()?;
        let Some(have) = machine.tags.get(BOOT) else {
            return Err(format!(
                "{} has no tag {BOOT}, and Azure never shows a machine's document: its report says what it runs",
                machine.name()
            ));
        };
        check.evidence.push(format!("{BOOT}: {have}"));
        let digest = tags::document(&machine.tags).filter(|_| boot::is_well_formed(have));
        Ok(match digest {
            Some(digest) if digest == want => Verdict::Pass,
            Some(digest) => fail(
                format!("{} was given the document {digest}, the plan's is {want}", machine.name()),
                scene.apply("makes a machine with the plan's"),
            ),
            None => fail(
                format!("the tag {BOOT} of {} is not one that gangplank writes", machine.name()),
                format!("find out who changed it; {}", scene.apply("makes a machine with the plan's")),
            ),
        })
    })
}
