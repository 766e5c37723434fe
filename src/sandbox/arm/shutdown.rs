//! Auto-shutdown: DevTest Labs stops a machine each day at a time that a schedule of its says, and gives its host back
//! ("Auto-shutdown a virtual machine").

use jiff::Timestamp;
use serde_json::Value;

use super::{
    World,
    power::{Machine, Power},
    state::Resource,
};

const DAY: i64 = 24 * 60 * 60;
pub(super) const SCHEDULES: &str = "Microsoft.DevTestLab/schedules";

impl World {
    /// The running machines that a schedule has stopped by now, by their keys, and when.
    pub(super) fn shutdowns(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let schedules = self.resources.values().filter(|resource| resource.kind.path == SCHEDULES);
        let due = schedules.filter_map(|schedule| {
            let key = text(schedule, "/properties/targetResourceId").to_lowercase();
            let machine = self.resources.get(&key)?.machine.as_ref()?;
            let at = last(schedule, now)?;
            (machine.power() == Power::Running && at > machine.launched() && at > schedule.written).then_some((key, at))
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
