//! Auto-shutdown: DevTest Labs stops a machine each day at a time that a schedule of its says, and gives its host back
//! ("Auto-shutdown a virtual machine"). That it does so with one that has stopped itself is a guess.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    World,
    power::{Machine, Power},
    reply::refused,
    state::Resource,
};
use crate::sandbox::http::Reply;

const DAY: i64 = 24 * 60 * 60;
pub(super) const SCHEDULES: &str = "Microsoft.DevTestLab/schedules";

impl World {
    /// The machines that a schedule has deallocated by now, by their keys, and when.
    pub(super) fn shutdowns(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let schedules = self.resources.values().filter(|resource| resource.kind.path == SCHEDULES);
        let due = schedules.filter_map(|schedule| {
            let key = text(schedule, "/properties/targetResourceId").to_lowercase();
            let machine = self.resources.get(&key)?.machine.as_ref()?;
            let at = last(schedule, now)?;
            let stands = matches!(machine.power(), Power::Running | Power::Stopped);
            (stands && at > machine.launched() && at > schedule.written).then_some((key, at))
        });
        due.collect()
    }

    pub(super) fn shut_down_on_schedule(&mut self, now: Timestamp) {
        for (key, at) in self.shutdowns(now) {
            let machine: Option<&mut Machine> = self.machine(&key);
            if let Some(machine) = machine {
                machine.turn(Power::Deallocated, at);
            }
        }
    }
}

/// Why a schedule is refused. `InvalidScheduleId` was seen by others (an issue of Azure/bicep); the other codes are guesses.
pub(super) fn refuse(world: &World, key: &str, body: &Value) -> Option<Reply> {
    let said = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let invalid = |what: &str| Some(refused(400, "InvalidRequestContent", &format!("{what} is not valid.")));
    let target = said("/properties/targetResourceId");
    if world.resources.get(&target.to_lowercase()).is_none_or(|r| r.machine.is_none()) {
        return Some(refused(404, "ResourceNotFound", &format!("The resource {target} was not found.")));
    }
    let parts: Vec<&str> = target.split('/').collect();
    let (group, machine) = (parts.get(4).copied().unwrap_or_default(), parts.last().copied().unwrap_or_default());
    let name = format!("shutdown-computevm-{machine}");
    let own = key.rsplit('/').next().is_some_and(|own| own.eq_ignore_ascii_case(&name));
    if !own || key.split('/').nth(4).is_none_or(|own| !own.eq_ignore_ascii_case(group)) {
        let message = format!(
            "The schedule should be created in subscription {}, resource group {group} and with name {name}",
            world.subscription
        );
        return Some(refused(400, "InvalidScheduleId", &message));
    }
    let is = |pointer: &str, words: &[&str]| words.iter().any(|word| said(pointer).eq_ignore_ascii_case(word));
    let time = said("/properties/dailyRecurrence/time");
    let minutes = time.parse::<u32>().ok().filter(|t| time.len() == 4 && *t < 2400 && *t % 100 < 60);
    if !is("/properties/taskType", &["ComputeVmShutdownTask"]) {
        return invalid("taskType");
    }
    if minutes.is_none() {
        return invalid("dailyRecurrence.time");
    }
    if said("/properties/timeZoneId").is_empty() {
        return invalid("timeZoneId");
    }
    let status = body.pointer("/properties/status").is_some();
    if status && !is("/properties/status", &["Enabled", "Disabled"]) {
        return invalid("status");
    }
    None
}

fn text<'a>(schedule: &'a Resource, pointer: &str) -> &'a str {
    schedule.body().pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// When it last was the time that an enabled schedule says. Of time zones only UTC is known.
fn last(schedule: &Resource, now: Timestamp) -> Option<Timestamp> {
    let is = |pointer: &str, word: &str| text(schedule, pointer).eq_ignore_ascii_case(word);
    if !is("/properties/status", "Enabled")
        || !is("/properties/taskType", "ComputeVmShutdownTask")
        || !is("/properties/timeZoneId", "UTC")
    {
        return None;
    }
    // 0330
    let number: i64 = text(schedule, "/properties/dailyRecurrence/time").parse().ok()?;
    let today = now.as_second().div_euclid(DAY) * DAY + number / 100 * 3600 + number % 100 * 60;
    let at = if today > now.as_second() { today - DAY } else { today };
    Timestamp::from_second(at).ok()
}
