//! Another end for a bastion that stands: the tags of its group, its address and its instance, and nothing else of it.

use jiff::Timestamp;

use super::{action::Action, deadline, observed::Observed, region as regions, steps::Differ, tags};
use crate::{
    changeset::Changeset,
    diagnostic::Diagnostic,
    plan::Plan,
    provider::extend::{Wish, decide},
    tags::{about_the_end, deadline::Remembered},
};

/// # Errors
/// Why the bastion can't end then.
pub fn extend(
    plan: &Plan,
    region: &str,
    seen: &Observed,
    wish: Wish,
    now: Timestamp,
) -> Result<Changeset<Action>, Diagnostic> {
    let name = plan.name.as_str();
    let instances: Vec<_> = seen.instances_of(name).collect();
    let groups: Vec<_> = seen.groups_of(name).collect();
    let addresses: Vec<_> = seen.addresses_of(name).collect();
    let there = !(instances.is_empty() && groups.is_empty());
    let end = decide(plan, there.then(|| seen.deadline_of(name)), wish, now)?;

    let mut differ = Differ::new(name, region);
    let wanted = about_the_end(&tags::common(&plan.name, &plan.tags, Some(&end)));
    let instances = instances.iter().map(|i| ("instance", &i.id, &i.tags));
    let addresses = addresses.iter().map(|a| ("elastic IP", &a.allocation, &a.tags));
    let groups = groups.iter().map(|g| ("security group", &g.id, &g.tags));
    for (kind, id, have) in instances.chain(addresses).chain(groups) {
        differ.tags(&format!("end-{id}"), &format!("{kind} {id}"), id, &wanted, &about_the_end(have), Vec::new());
    }
    differ.steps.iter_mut().for_each(|step| step.reason = "the bastion's end moves".to_owned());
    let remembered = Remembered::agreed(&end);
    Ok(Changeset {
        bastion: name.to_owned(),
        location: regions::location(region),
        plan: plan.origin.source.path.clone(),
        steps: differ.steps,
        exposure: Vec::new(),
        notes: deadline::notes(plan.deadline, Some(&end), &remembered, now),
    })
}
