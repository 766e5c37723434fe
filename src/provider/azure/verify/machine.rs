//! The machine, and what it was made with.

use base64ct::{Base64, Encoding};

use super::{super::tags, Scene};
use crate::{
    provider::{
        azure::{
            check as problems,
            id::Kind,
            keys::{self, UserData},
            observed::{Resource, list, text},
            views::Machine,
        },
        judging::{check, fail, judged, listed},
    },
    tags::deadline,
    text::shell_word,
    verify::{Check, Part, Verdict},
};

pub fn instance(scene: &Scene<'_>) -> Check {
    let name = scene.name();
    let mut check = check("control.instance", Part::Bastion, "exactly one machine of this bastion exists, and it runs");
    let all: Vec<&Resource> = scene.seen.owned(name).filter(|r| r.kind == Kind::Machine).collect();
    let power = |machine: &Resource| match Machine(machine).power() {
        "" => "in an unknown state".to_owned(),
        state => state.to_owned(),
    };
    for machine in &all {
        check = check.seen(format!("{} {} {}", machine.name(), Machine(machine).size(), power(machine)));
    }
    match all.as_slice() {
        [] => {
            let cause = format!("no virtual machine carries the tag {}={name}", tags::BASTION);
            // It may be the machine without its tag: apply leaves it alone.
            match scene.seen.named(Kind::Machine, &format!("gangplank-{name}")).as_slice() {
                [] => check.fail(cause, scene.apply("makes one, if the bastion is to exist")),
                [other, ..] => check.fail(
                    format!("{cause}, and one of its name is there, {}", other.id),
                    format!(
                        "`gangplank plan {}` says how it becomes the bastion's again",
                        scene.plan.origin.argument()
                    ),
                ),
            }
        }
        [one] => match Machine(one).power() {
            "running" => check.pass(),
            "starting" => {
                check.fail(format!("{} is still starting", one.name()), "wait until it runs, then verify again")
            }
            "" => check.unknown(format!("Azure does not tell whether {} runs", one.name())),
            state => check.fail(format!("{} is {state}", one.name()), scene.apply("starts it again")),
        },
        several => check.fail(
            format!("there are {} of them: {}", several.len(), listed(several.iter().map(|m| &m.id))),
            scene.apply("keeps the plan's and ends the others"),
        ),
    }
}

pub fn diagnostics(scene: &Scene<'_>) -> Check {
    let proves = "the machine's serial console is kept, so that its reports can be read: boot diagnostics are on";
    judged(check("control.diagnostics", Part::Bastion, proves), |_| {
        let machine = scene.machine()?;
        if machine.raw.pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled").and_then(|on| on.as_bool())
            == Some(true)
        {
            return Ok(Verdict::Pass);
        }
        Ok(fail(
            format!("boot diagnostics are off for {}: nothing of what it reports can be read", machine.name()),
            format!("turn them on: `az vm boot-diagnostics enable --ids {}`", machine.id.argument()),
        ))
    })
}

pub fn metadata(scene: &Scene<'_>) -> Check {
    let live = scene.plan.asks_metadata();
    let data = if live { "its user data are the plan's keys and its deadline" } else { "it has no user data" };
    let remembered = problems::remembered(scene.name(), scene.seen);
    let expires = deadline::deadline(scene.plan.deadline, &remembered, scene.at).map(|deadline| deadline.expires);
    let proves = format!("the metadata service tells the machine what it needs and no more: {data}");
    judged(check("control.metadata", Part::Bastion, proves), |check| {
        let machine = scene.machine()?;
        let read = Machine(machine).user_data();
        let encoded = read.ok_or_else(|| format!("Azure did not tell the user data of {}", machine.name()))?;
        check.evidence.push(format!("user data: {}", if encoded.is_empty() { "none" } else { "present" }));
        let said = machine.tags.get(tags::KEYS).map_or("none", String::as_str);
        check.evidence.push(format!("tag {}: {said}", tags::KEYS));
        check.evidence.push(
            "Azure's metadata service can't be switched off; that no tunnel opens it is network.refuses-metadata"
                .to_owned(),
        );
        // What is not base64 the machine can't take either.
        let found = keys::judge(scene.plan, expires, &Base64::decode_vec(encoded).unwrap_or_else(|_| encoded.into()));
        let tag_agrees = machine.tags.get(tags::KEYS).cloned() == keys::tag(scene.plan, expires);
        // A plan goes by the tag: what was changed beside it no apply would see.
        let repair = |then: &str| match tag_agrees {
            false => scene.apply(then),
            true => format!(
                "somebody changed it and not the tag {tag}, so no plan shows it: take the tag off (`az tag update --resource-id {} \
                 --operation Delete --tags {}`), then {}",
                machine.id.argument(),
                shell_word(&format!("{}={said}", tags::KEYS)),
                scene.apply(then),
                tag = tags::KEYS,
            ),
        };
        Ok(match found {
            UserData::Planned => Verdict::Pass,
            UserData::OtherKeys => {
                fail("the user data has other keys than the plan: the machine takes those", repair("writes the plan's"))
            }
            UserData::OtherEnd => fail(
                "the user data has another deadline than the plan: the machine goes by that",
                repair("writes the plan's"),
            ),
            UserData::Broken => fail(
                "the user data is not one whole set of keys: the machine keeps those that it has",
                repair("writes the plan's"),
            ),
            UserData::Missing => fail(
                "there is no user data: the machine takes neither new keys nor another deadline",
                repair("writes it"),
            ),
            UserData::Surplus => fail(
                "the machine has user data that the plan does not want",
                "find out who wrote it; a machine that is made anew has none",
            ),
        })
    })
}

pub fn encryption(scene: &Scene<'_>) -> Check {
    let proves = "every disk of the machine is a managed one, which Azure always encrypts at rest";
    judged(check("control.encryption", Part::Bastion, proves), |check| {
        let machine = scene.machine()?;
        let system = machine.raw.pointer("/properties/storageProfile/osDisk");
        let Some(system) = system else { return Err(format!("Azure describes no disk of {}", machine.name())) };
        for disk in std::iter::once(system).chain(list(&machine.raw, "/properties/storageProfile/dataDisks")) {
            let name = match text(disk, "/name") {
                "" => "the system's disk",
                name => name,
            };
            if disk.get("managedDisk").is_none_or(|managed| managed.is_null()) {
                return Err(format!("{name} is not a managed disk: how its storage is encrypted is not read"));
            }
            let key = match text(disk, "/managedDisk/diskEncryptionSet/id") {
                "" => "a key of the platform's".to_owned(),
                set => format!("the keys of {}", super::Id::new(set).name()),
            };
            check.evidence.push(format!("{name}: managed, encrypted at rest with {key}"));
        }
        Ok(Verdict::Pass)
    })
}

pub fn profile(scene: &Scene<'_>) -> Check {
    let proves = "the machine holds no permissions in the subscription: it has no managed identity";
    judged(check("control.profile", Part::Bastion, proves), |check| {
        let machine = scene.machine()?;
        let kind = text(&machine.raw, "/identity/type");
        if kind.is_empty() || kind.eq_ignore_ascii_case("none") {
            return Ok(Verdict::Pass);
        }
        let users = machine.raw.pointer("/identity/userAssignedIdentities").and_then(|all| all.as_object());
        let users: Vec<&str> = users.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
        check.evidence.push(format!("{kind} {}", listed(&users)).trim_end().to_owned());
        let which = if kind.contains("SystemAssigned") { vec!["[system]"] } else { Vec::new() };
        let which: Vec<&str> = which.into_iter().chain(users).collect();
        Ok(fail(
            format!("{} has a managed identity ({kind})", machine.name()),
            format!(
                "take it away: `az vm identity remove --ids {} --identities {}`",
                machine.id.argument(),
                which.iter().map(|id| shell_word(id)).collect::<Vec<_>>().join(" ")
            ),
        ))
    })
}

/// Extensions are how Azure's agent runs commands as root: Run Command, VMAccess, Custom Script.
pub fn extensions(scene: &Scene<'_>) -> Check {
    let proves = "the machine takes no extensions: nobody runs commands on it through Azure's agent";
    judged(check("control.extensions", Part::Bastion, proves), |_| {
        let machine = scene.machine()?;
        match machine.raw.pointer("/properties/osProfile/allowExtensionOperations").and_then(|on| on.as_bool()) {
            Some(false) => Ok(Verdict::Pass),
            Some(true) => Ok(fail(
                format!("{} takes extensions: whoever may write them can run commands as root", machine.name()),
                format!(
                    "remove its extensions, then switch them off: `az vm update --ids {} --set osProfile.allowExtensionOperations=false`",
                    machine.id.argument()
                ),
            )),
            None => Err(format!("Azure did not tell whether {} takes extensions", machine.name())),
        }
    })
}

pub fn deadline(scene: &Scene<'_>) -> Check {
    let proves = match scene.plan.deadline {
        Some(_) => "everything of the bastion carries the plan's deadline, and it has not passed",
        None => "nothing of the bastion carries a deadline, and the plan has none",
    };
    judged(check("control.deadline", Part::Bastion, proves), |check| {
        let machine = scene.machine()?;
        let want = deadline::deadline(scene.plan.deadline, &problems::remembered(scene.name(), scene.seen), scene.at);
        check.evidence.push(format!("{}: {}", machine.name(), deadline::told(&machine.tags)));
        if let Some(passed) = want.filter(|d| d.expires <= scene.at) {
            let who = problems::who_tells_ends(scene.name(), scene.seen);
            let who = who.map(|who| format!(", and its resources tell different ends: {who}"));
            return Ok(fail(
                format!("the bastion's time was up at {}{}", passed.expires, who.unwrap_or_default()),
                format!("run `gangplank destroy {}`, or give it more time in the plan", scene.plan.origin.argument()),
            ));
        }
        let differs = |resource: &Resource| {
            let agrees = deadline::tells(&resource.tags, want.as_ref());
            (!agrees).then(|| format!("the {} says {}", resource.words(), deadline::told(&resource.tags)))
        };
        let wrong: Vec<String> = scene.seen.owned(scene.name()).filter_map(differs).collect();
        if wrong.is_empty() {
            return Ok(Verdict::Pass);
        }
        let end = want.map_or_else(|| "none".to_owned(), |want| want.expires.to_string());
        Ok(fail(format!("the plan's deadline is {end}; {}", wrong.join(", ")), scene.apply("sets the tags")))
    })
}
