//! Another end for a bastion that stands: the tags of everything that it has, the machine's user data, and nothing else of it.

use base64ct::{Base64, Encoding};
use jiff::Timestamp;
use serde_json::json;

use super::{
    action::{Action, Call},
    auto_shutdown::{self, Side, Wanted},
    check::remembered,
    id::Kind,
    keys,
    machine::suspicion,
    observed::{Observed, Resource},
    steps::Differ,
    tags::{self, TagChange},
    views::Machine,
};
use crate::{
    changeset::{Changeset, Detail, Draft, Op, StepId},
    diagnostic::Diagnostic,
    location::Location,
    plan::{Azure, Plan},
    provider::extend::{Which, Wish, decide},
    tags::{
        about_the_end,
        deadline::{self, Remembered, ResolvedDeadline},
    },
};

/// The end that the bastion gets.
///
/// # Errors
/// Why it can't end then.
pub fn end(plan: &Plan, seen: &Observed, wish: Wish, now: Timestamp) -> Result<ResolvedDeadline, Diagnostic> {
    let name = plan.name.as_str();
    let exists = seen.owned(name).next().is_some();
    decide(plan, exists.then(|| remembered(name, seen)), wish, now)
}

/// # Errors
/// Why the bastion can't end then.
pub fn extend(
    plan: &Plan,
    azure: &Azure,
    seen: &Observed,
    wish: Wish,
    now: Timestamp,
) -> Result<Changeset<Action>, Diagnostic> {
    let name = plan.name.as_str();
    let end = end(plan, seen, wish, now)?;
    let owned: Vec<&Resource> = seen.owned(name).collect();
    let machine = owned.iter().find(|r| r.kind == Kind::Machine);

    if let Some(suspicion) = machine.and_then(|machine| suspicion(azure.image, machine)) {
        return Err(plan
            .origin
            .problem("name", "the bastion's machine is not one that gangplank made", suspicion)
            .because("what decides about its end would be written to somebody else's machine")
            .fix("run `gangplank plan`: it says what `apply` would put right"));
    }

    let mut differ = Differ::new(name, &azure.subscription);
    let all = tags::common(&plan.name, &plan.tags, Some(&end));
    let wanted = about_the_end(&all);
    let id = machine.map(|machine| auto_shutdown::id_of(&machine.id));
    let schedule = machine.zip(id.as_ref()).map(|(machine, id)| Wanted {
        id,
        machine: &machine.id,
        location: &azure.location,
        tags: &all,
        end: Some(end.expires),
        now,
    });
    if let Some(schedule) = schedule {
        auto_shutdown::move_end(&mut differ, seen, name, schedule, Side::Before, &[]);
    }
    let mut first = differ.planned(&[auto_shutdown::STEP]);
    let (machines, others): (Vec<&Resource>, Vec<&Resource>) =
        owned.iter().filter(|r| r.kind != Kind::AutoShutdown).partition(|r| r.kind == Kind::Machine);
    // The schedule has steps of its own.
    let tag = |differ: &mut Differ<'_>, resource: &Resource, after: Vec<StepId>| {
        let have = about_the_end(&resource.tags);
        let what = format!("end-{}-{}", resource.kind.words().replace(' ', "-"), resource.name()).to_lowercase();
        let before = differ.steps.len();
        differ.tags(&what, &resource.words(), &resource.id, &TagChange::between(&wanted, &have), &have, after);
        differ.steps.iter_mut().skip(before).for_each(|step| step.reason = "the bastion's end moves".to_owned());
    };
    // Of the ends that more than one resource tells, the earliest counts. An earlier one is told before the machine learns of it: were the machine's user
    // data alone to know it, an interrupted run would be undone by the next.
    if wish.which == Which::Shorten {
        others.iter().for_each(|resource| tag(&mut differ, resource, Vec::new()));
        first = differ.steps.iter().map(|step| step.id.clone()).collect();
    }
    if let Some(machine) = machine {
        let read = Machine(machine).user_data().unwrap_or_default();
        let have = Base64::decode_vec(read).ok().and_then(|data| String::from_utf8(data).ok());
        let have = have.unwrap_or_default();
        let Some((data, tag)) = keys::with_deadline(&have, end.expires) else {
            return Err(plan
                .origin
                .problem("name", "the machine's user data can't be changed", "it is not what gangplank writes")
                .because("it holds the accepted keys beside the end, and no digest tells that they are whole")
                .fix("run `gangplank apply` first: it writes them again"));
        };
        if data != have || machine.tags.get(tags::KEYS) != Some(&tag) {
            let details = vec![Detail::added("deadline", end.expires.to_string())];
            let resource = format!("user data of {}", machine.words());
            let after = first.clone();
            let draft =
                Draft { details, after, ..Draft::new(Op::Update, resource, "the machine takes it within a minute") };
            let body = json!({
                "properties": {"userData": Base64::encode_string(data.as_bytes())}, "tags": {tags::KEYS: tag},
            });
            differ.push("end-machine", draft, Call::Patch { id: machine.id.clone(), body });
        }
    }
    if wish.which == Which::Extend {
        others.iter().for_each(|resource| tag(&mut differ, resource, Vec::new()));
    }
    for machine in machines {
        // Azure changes a machine once at a time.
        let after = differ.planned(&["end-machine", auto_shutdown::STEP]);
        tag(&mut differ, machine, after);
    }
    if let Some(schedule) = schedule {
        let after: Vec<_> = differ.steps.iter().map(|step| step.id.clone()).collect();
        auto_shutdown::move_end(&mut differ, seen, name, schedule, Side::After, &after);
    }
    let kept = Remembered::agreed(&end);
    let mut notes = deadline::notes(plan.deadline, Some(&end), &kept, now);
    notes.extend(schedule.into_iter().flat_map(|schedule| schedule.notes(seen, name)));
    Ok(Changeset {
        bastion: name.to_owned(),
        location: Location::azure(&azure.subscription, &azure.location),
        plan: plan.origin.source.path.clone(),
        steps: differ.steps,
        exposure: Vec::new(),
        notes,
    })
}
