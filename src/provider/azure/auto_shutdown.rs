//! Azure's auto-shutdown: a schedule of DevTest Labs that stops a virtual machine and gives its host back, every day at a time of
//! day (REST reference of DevTest Labs 2018-09-15, "Global Schedules - Create Or Update"). It knows no date, so it is written only
//! where its next time is the one after the bastion's end. Pure.
//!
//! What else could deallocate at a date, and why it is not used: `Microsoft.ComputeSchedule/scheduledActions` is a preview that
//! ordinary subscriptions do not get (`InvalidResourceType`), and moves to another namespace; `virtualMachinesSubmitDeallocate`
//! leaves no resource behind, so nobody could see what has been ordered, nor call it off without an operation's id.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    action::Call,
    diff::Run,
    id::{Id, Kind},
    observed::{Observed, Resource, list, text},
    steps::{Differ, Node, There},
    tags::{self, Tags},
};
use crate::{
    changeset::{Detail, Draft, Op, StepId},
    tags::deadline::ResolvedDeadline,
};

/// The namespace that a subscription must be registered for.
pub const NAMESPACE: &str = "Microsoft.DevTestLab";
/// From the end to the schedule's time, cut to its minute. DevTest Labs may take a change of the last half hour for the next day
/// only; a bastion's end is moved before it has come, so a schedule that was moved or removed never strikes at its old time.
const AFTER_THE_END: SignedDuration = SignedDuration::from_mins(31);
/// A schedule is written at most so long before its time: less than a day by an hour, in case this machine's clock is wrong.
const AHEAD: SignedDuration = SignedDuration::from_hours(23);
const MINUTE: i64 = 60;

/// What a subscription may have of `Microsoft.DevTestLab/schedules`, beside the schedules themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Why the schedules could not be listed.
    pub unseen: Option<String>,
    /// Asked where a schedule is to be written; `None` where Azure did not tell.
    pub offer: Option<Offer>,
}

/// "Providers - Get" of Azure Resource Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub registered: bool,
    /// Without spaces and in lower case; empty where Azure names none.
    pub locations: Vec<String>,
}

impl Offer {
    pub fn read(raw: &Value) -> Self {
        let types = list(raw, "/resourceTypes").iter();
        let schedules = types.filter(|t| text(t, "/resourceType").eq_ignore_ascii_case("schedules"));
        let plain = |l: &Value| l.as_str().map(|l| l.replace(' ', "").to_lowercase());
        Self {
            registered: text(raw, "/registrationState").eq_ignore_ascii_case("Registered"),
            locations: schedules.flat_map(|t| list(t, "/locations")).filter_map(plain).collect(),
        }
    }
}

impl Service {
    /// Why no schedule can be written in a location, as far as that is known.
    fn obstacle(&self, location: &str) -> Option<String> {
        if let Some(reason) = &self.unseen {
            return Some(format!("its schedules could not be listed ({reason})"));
        }
        let offer = self.offer.as_ref()?;
        if !offer.registered {
            return Some(format!(
                "the subscription is not registered for {NAMESPACE} (`az provider register --namespace {NAMESPACE}`, then apply)"
            ));
        }
        let here = offer.locations.is_empty() || offer.locations.iter().any(|l| l == location);
        (!here).then(|| format!("{NAMESPACE} is not in {location}"))
    }
}

/// The schedule of a machine. Azure takes no other ("The schedule should be created in subscription ..., resource group ... and with
/// name shutdown-computevm-...", InvalidScheduleId).
pub fn id_of(machine: &Id) -> Id {
    machine.group_id().resource(Kind::AutoShutdown, &format!("shutdown-computevm-{}", machine.name()))
}

/// When Azure shall deallocate a machine whose bastion ends then; `None` while that is too far away for a time of day, and after
/// the end.
pub fn due(end: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let second = end.as_second().checked_add(AFTER_THE_END.as_secs())?;
    let at = Timestamp::from_second(second.div_euclid(MINUTE) * MINUTE).ok()?;
    (now < end && at.duration_since(now) <= AHEAD).then_some(at)
}

/// A bastion's schedule as it shall be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub id: &'w Id,
    pub machine: &'w Id,
    pub location: &'w str,
    pub tags: &'w Tags,
    pub end: Option<Timestamp>,
    pub now: Timestamp,
}

/// Which side of the machine's own change the schedule's comes on: whatever is interrupted, Azure never deallocates a machine that
/// still has time. A later end takes the schedule away first; an earlier one is the machine's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

pub(super) const STEP: &str = "auto-shutdown";

impl Wanted<'_> {
    fn at(&self) -> Option<Timestamp> {
        self.end.and_then(|end| due(end, self.now))
    }

    /// The step for it, if it is one of this side.
    pub fn step(&self, plan: &mut Differ<'_>, seen: &Observed, bastion: &str, side: Side, after: &[&str]) {
        let have = seen.get(self.id);
        let ours = have.filter(|have| have.is_owned(bastion));
        let resource = words(self.machine);
        let Some(at) = self.at() else {
            if let Some(ours) = ours.filter(|_| side == Side::Before) {
                let reason = match self.end {
                    Some(_) => "it comes every day, and the end is further away than that",
                    None => "the bastion has no end any more",
                };
                let draft = Draft { details: vec![time_of(ours)], ..Draft::new(Op::Delete, resource, reason) };
                plan.push(STEP, draft, Call::Delete { id: self.id.clone() });
            }
            return;
        };
        let told = ours.and_then(|ours| ResolvedDeadline::from_tags(&ours.tags));
        let postponed = told.is_some_and(|told| self.end.is_some_and(|end| told.expires < end));
        let is_here = (side == Side::Before) == postponed;
        // Somebody's own is left alone; a note says so.
        if !is_here || have.is_some() != ours.is_some() || seen.auto_shutdown.obstacle(self.location).is_some() {
            return;
        }
        let node = Node {
            what: STEP,
            id: self.id,
            resource,
            body: self.body(at),
            fill: Vec::new(),
            details: vec![Detail::added("time", format!("{at}, and daily after that"))],
            reason: "the end is less than a day away: after it Azure deallocates the virtual machine, which ends its costs",
            after,
        };
        plan.node(node, ours.map_or(There::Nothing, There::Kept), Vec::new());
    }

    fn body(&self, at: Timestamp) -> Value {
        json!({
            "location": self.location,
            "tags": self.tags,
            "properties": {
                "status": "Enabled",
                "taskType": "ComputeVmShutdownTask",
                "dailyRecurrence": {"time": at.strftime("%H%M").to_string()},
                "timeZoneId": "UTC",
                "notificationSettings": {"status": "Disabled"},
                "targetResourceId": self.machine.as_str(),
            },
        })
    }

    /// What a reader should know and no step says.
    pub fn notes(&self, seen: &Observed, bastion: &str) -> Vec<String> {
        let mut notes = Vec::new();
        let have = seen.get(self.id);
        if let Some(theirs) = have.filter(|have| !have.is_owned(bastion)) {
            notes.push(format!(
                "somebody has set up an auto-shutdown for {} ({}): gangplank leaves it alone, and Azure deallocates the machine \
                 then whatever its end is",
                self.machine.name(),
                time(theirs),
            ));
        } else if let Some(obstacle) = self.at().and_then(|_| seen.auto_shutdown.obstacle(self.location)) {
            notes.push(format!(
                "Azure's auto-shutdown can't be set up: {obstacle}. At its end the machine still admits nobody and stops itself, \
                 but it is billed until `gangplank destroy` or `gangplank reap`"
            ));
        } else if let (Some(end), Some(reason)) = (self.end, &seen.auto_shutdown.unseen)
            && end > self.now
            && seen.owned(bastion).any(|r| r.id == *self.machine)
        {
            notes.push(format!(
                "whether Azure has an auto-shutdown for {} could not be seen ({reason}): one of an earlier end would deallocate it",
                self.machine.name()
            ));
        }
        notes
    }
}

impl Run<'_> {
    fn auto_shutdown(&self) -> Wanted<'_> {
        let names = &self.want.names;
        Wanted {
            id: &names.auto_shutdown,
            machine: &names.machine,
            location: &self.want.azure.location,
            tags: &self.tags,
            end: self.deadline.map(|deadline| deadline.expires),
            now: self.world.now,
        }
    }

    pub(super) fn auto_shutdown_steps(&self, plan: &mut Differ<'_>, side: Side) {
        let after = ["group", "machine", "machine-start", "machine-keys", "machine-tags"];
        let after = if side == Side::Before { &[][..] } else { &after };
        self.auto_shutdown().step(plan, self.world.seen, self.want.bastion(), side, after);
    }

    pub(super) fn auto_shutdown_notes(&self) -> Vec<String> {
        self.auto_shutdown().notes(self.world.seen, self.want.bastion())
    }
}

/// The schedule's part in moving a bastion's end (`gangplank extend`, `gangplank shorten`): its step before those of the machine,
/// or after them. Nothing but the end changes in its tags.
pub(super) fn move_end(
    plan: &mut Differ<'_>,
    seen: &Observed,
    bastion: &str,
    wanted: Wanted<'_>,
    side: Side,
    after: &[StepId],
) {
    let kept = seen.get(wanted.id).map(|have| {
        let mut tags = have.tags.clone();
        tags.retain(|key, _| ![tags::EXPIRES, tags::LIFETIME, tags::EXTENDED].contains(&key.as_str()));
        tags.extend(crate::tags::about_the_end(wanted.tags));
        tags
    });
    let wanted = Wanted { tags: kept.as_ref().unwrap_or(wanted.tags), ..wanted };
    let before = plan.steps.len();
    wanted.step(plan, seen, bastion, side, &[]);
    plan.steps.iter_mut().skip(before).for_each(|step| step.after.extend_from_slice(after));
}

/// Whether a schedule is to be written, so that it must be known whether it can be.
pub fn is_to_be_written(seen: &Observed, id: &Id, end: Option<Timestamp>, now: Timestamp) -> bool {
    end.and_then(|end| due(end, now)).is_some() && seen.get(id).is_none()
}

fn words(machine: &Id) -> String {
    format!("auto-shutdown of {}", machine.name())
}

fn time(schedule: &Resource) -> String {
    let time = schedule.text("/properties/dailyRecurrence/time");
    format!("daily at {time} {}", schedule.text("/properties/timeZoneId"))
}

/// What goes with a schedule.
pub(super) fn time_of(schedule: &Resource) -> Detail {
    Detail::removed("time", time(schedule))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// When a schedule that is written then strikes first, reckoned by looking at every minute.
    fn strikes(time: &str, written: Timestamp) -> Timestamp {
        let minute = written.as_second().div_euclid(MINUTE) * MINUTE;
        let minutes = (1..=24 * 60).map(|n| at(minute + n * MINUTE));
        minutes.into_iter().find(|at| at.strftime("%H%M").to_string() == time).expect("once a day")
    }

    proptest! {
        /// Whenever between the look and the end a schedule is written, it strikes after the end, and on the first day of it.
        #[test]
        fn a_schedule_never_strikes_before_the_end(
            now in 1_700_000_000..2_000_000_000_i64,
            left in 1..60 * 3600_i64,
            later in 0..60 * 3600_i64,
        ) {
            let (now, end) = (at(now), at(now + left));
            let Some(due) = due(end, now) else {
                prop_assert!(left > 22 * 3600, "{left} s");
                return Ok(());
            };
            let written = at(now.as_second() + later.min(left));
            let strikes = strikes(&due.strftime("%H%M").to_string(), written);
            prop_assert_eq!(strikes, due);
            prop_assert!(strikes.duration_since(end) > SignedDuration::from_mins(30));
            prop_assert!(strikes.duration_since(end) <= SignedDuration::from_mins(31));
        }
    }

    #[test]
    fn after_the_end_nothing_is_due() {
        let end = at(1_794_000_000);
        assert_eq!((due(end, end), due(end, at(1_794_000_060))), (None, None));
        assert_eq!(due(Timestamp::MAX, end), None);
    }

    #[test]
    fn an_offer_is_read_as_azure_gives_it() {
        // "Providers - Get", shortened.
        let offer = Offer::read(&json!({
            "namespace": "Microsoft.DevTestLab", "registrationState": "Registered",
            "resourceTypes": [{"resourceType": "labs", "locations": ["Antarctica"]},
                              {"resourceType": "schedules", "locations": ["West Europe", "East US"]}],
        }));
        assert_eq!(offer, Offer { registered: true, locations: vec!["westeurope".to_owned(), "eastus".to_owned()] });
        let service = Service { unseen: None, offer: Some(offer) };
        assert_eq!(service.obstacle("westeurope"), None);
        assert_eq!(service.obstacle("antarctica").as_deref(), Some("Microsoft.DevTestLab is not in antarctica"));
        assert_eq!(Service::default().obstacle("westeurope"), None, "what Azure does not tell is tried");
        for odd in
            [json!(null), json!([]), json!({"resourceTypes": [3, {"resourceType": "schedules", "locations": 3}]})]
        {
            let service = Service { unseen: None, offer: Some(Offer::read(&odd)) };
            assert!(service.obstacle("westeurope").is_some_and(|why| why.contains("az provider register")));
        }
    }
}
