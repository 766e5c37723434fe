//! Long operations: they begin, they end at their time, and somebody asks after them.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::{
    World,
    groups::group_of,
    kinds::{Etag, Kind, Work, guid},
    power::{MACHINES, Power},
    reply::{Call, answered, refused},
    state::{Effect, Operation, Resource, State, whole},
};
use crate::sandbox::http::Reply;

pub(super) const POLICIES: &str = "Microsoft.Network/firewallPolicies";
pub(super) const RULE_GROUPS: &str = "Microsoft.Network/firewallPolicies/ruleCollectionGroups";

/// For so long Azure knows an operation that has ended. A guess.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// An operation that has begun, and where Azure keeps its status.
pub(super) struct Begun {
    pub id: String,
    pub work: Work,
    pub location: String,
}

impl World {
    /// Ends what has ended by now, in the order in which it did.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.due(now) {
            self.end(&id, at);
        }
        self.shut_down_on_schedule(now);
    }

    /// This world as it is at this time.
    pub(super) fn at(&self, now: Timestamp) -> Cow<'_, World> {
        if self.due(now).is_none() && self.shutdowns(now).is_empty() {
            return Cow::Borrowed(self);
        }
        let mut world = self.clone();
        world.advance(now);
        Cow::Owned(world)
    }

    fn due(&self, now: Timestamp) -> Option<(Timestamp, String)> {
        let ends = |id: &String| self.operations.get(id)?.ends.filter(|at| *at <= now);
        let (at, id) = self.under_way.iter().filter_map(|id| Some((ends(id)?, id))).min_by_key(|(at, _)| *at)?;
        Some((at, id.clone()))
    }

    /// Ends every operation that is under way.
    pub fn finish(&mut self, now: Timestamp) {
        self.advance(now);
        while let Some(id) = self.under_way.first().cloned() {
            self.end(&id, now);
        }
    }

    /// Ends the operation that is under way on a resource or group.
    pub fn finish_on(&mut self, id: &str, now: Timestamp) {
        self.advance(now);
        let key = id.to_lowercase();
        for id in self.under_way.clone() {
            if self.operations.get(&id).is_some_and(|operation| operation.target == key) {
                self.end(&id, now);
            }
        }
    }

    pub(super) fn start(
        &mut self,
        target: &str,
        effect: Effect,
        work: Work,
        takes: Duration,
        now: Timestamp,
    ) -> String {
        let id = guid(self.number());
        let failing = self.failing.iter().position(|failure| target.ends_with(&failure.on.to_lowercase()));
        let failure = failing.map(|at| self.failing.remove(at));
        let ends = if self.by_hand { None } else { Some(now.checked_add(takes).unwrap_or(now)) };
        let retry_after = work.retry_after;
        let operation = Operation { target: target.to_owned(), effect, ends, retry_after, failure, ended: false };
        // What nobody asks after any more.
        self.operations.retain(|_, old| {
            !old.ended || old.ends.is_none_or(|at| now.duration_since(at).unsigned_abs() < REMEMBERED)
        });
        self.operations.insert(id.clone(), operation);
        self.under_way.push(id.clone());
        id
    }

    /// A change in a policy sets the policy itself to work, for somewhat longer than the change takes (terraform-provider-azurerm#15440).
    pub(super) fn occupy_policy(&mut self, rules: &str, takes: Duration, now: Timestamp) {
        let policy = whole(rules).to_owned();
        let takes = takes.saturating_add(self.pace.policy_after_rules);
        let Some(resource) = self.resources.get(&policy).filter(|r| r.kind.path == POLICIES) else { return };
        if resource.state != State::Succeeded {
            return;
        }
        let failing = std::mem::take(&mut self.failing);
        let id = self.start(&policy, Effect::Settle, Work { retry_after: 0, under: "nfvOperations" }, takes, now);
        self.failing = failing;
        if let Some(resource) = self.resources.get_mut(&policy) {
            resource.before = Some(resource.body().clone());
            resource.state = State::Updating;
            resource.operation = Some(id);
        }
    }

    /// Says in an answer where to ask after an operation.
    pub(super) fn long(&self, call: &Call<'_>, reply: Reply, kind: &Kind, begun: &Begun, with_location: bool) -> Reply {
        let Begun { id, work, location } = begun;
        let namespace = kind.path.split('/').next().unwrap_or_default();
        let version = call.query("api-version").unwrap_or_default();
        let at = |under: &str, more: &str| {
            format!(
                "{}/subscriptions/{}/providers/{namespace}/locations/{location}/{under}/{id}?{more}api-version={version}&t=1&c=2&s=signed&h=3",
                call.origin, self.subscription
            )
        };
        let mut reply = reply.with("Azure-AsyncOperation", &at(work.under, ""));
        if with_location {
            let results = match (namespace, work.under) {
                ("Microsoft.Compute", _) => at("operations", "monitor=true&"),
                (_, "nfvOperations") => at("nfvOperationResults", ""),
                _ => at("operationResults", ""),
            };
            reply = reply.with("Location", &results);
        }
        retry_after(reply, work.retry_after)
    }

    fn end(&mut self, id: &str, at: Timestamp) {
        self.under_way.retain(|open| open != id);
        let Some(operation) = self.operations.get_mut(id) else { return };
        if std::mem::replace(&mut operation.ended, true) {
            return;
        }
        operation.ends = Some(at);
        let (target, effect, failed) = (operation.target.clone(), operation.effect, operation.failure.is_some());
        match effect {
            Effect::RemoveGroup => {
                self.disconnect_all(&target);
                let prefix = format!("{target}/");
                self.resources.retain(|key, _| !key.starts_with(&prefix));
                self.groups.remove(&target);
                self.departed.retain(|(_, gone)| !gone.id.to_lowercase().starts_with(&prefix));
            }
            Effect::Remove if !failed => self.remove(&target, at),
            Effect::Power(power) => {
                if let Some(machine) = self.machine(&target) {
                    let back = if power == Power::Running { Power::Stopped } else { Power::Running };
                    machine.turn(if failed { back } else { power }, at);
                }
                // "Failed" is the state of the last operation ("Troubleshoot Azure Microsoft.Network failed provisioning state").
                if let Some(resource) = self.resources.get_mut(&target).filter(|_| failed) {
                    resource.before = Some(resource.body().clone());
                    resource.state = State::Failed;
                }
            }
            Effect::Remove | Effect::Settle => {
                if !failed {
                    self.assign(&target, at);
                }
                let etag = self.number();
                if let Some(resource) = self.resources.get_mut(&target) {
                    settle(resource, failed, etag, at);
                }
            }
        }
    }

    /// The status of an operation.
    pub(super) fn operation(&self, id: &str) -> Reply {
        let Some(operation) = self.operations.get(id) else {
            return refused(404, "NotFound", "The operation was not found.");
        };
        match (&operation.failure, operation.ended) {
            (_, false) => retry_after(answered(200, &json!({"status": "InProgress"})), operation.retry_after),
            (None, true) => answered(200, &json!({"status": "Succeeded"})),
            (Some(failure), true) => {
                let error = json!({"code": failure.code, "message": failure.message});
                answered(200, &json!({"status": "Failed", "error": error}))
            }
        }
    }

    /// The result of an operation: 202 until there is one.
    pub(super) fn location(&self, call: &Call<'_>, id: &str) -> Reply {
        match self.operations.get(id) {
            None => refused(404, "NotFound", "The operation was not found."),
            Some(operation) if operation.ended => Reply::empty(200),
            Some(operation) => retry_after(Reply::empty(202).with("Location", &call.link(&[])), operation.retry_after),
        }
    }

    pub(super) fn location_of(&self, resource: &Resource) -> String {
        let own = resource.body().get("location").and_then(|location| location.as_str()).map(str::to_owned);
        let group = group_of(&resource.id);
        own.or_else(|| self.groups.get(&group).map(|g| g.location.clone())).unwrap_or_default()
    }
}

fn settle(resource: &mut Resource, failed: bool, etag: u64, at: Timestamp) {
    if failed && resource.state == State::Deleting {
        // What could not be removed is still what it was.
        resource.before = Some(resource.body().clone());
    } else if !failed {
        resource.before = None;
    }
    resource.state = if failed { State::Failed } else { State::Succeeded };
    resource.operation = None;
    if resource.kind.etag == Etag::Weak {
        resource.etag = etag;
    }
    if let (true, false, Some(machine)) = (resource.kind.path == MACHINES, failed, &mut resource.machine)
        && machine.power() == Power::Starting
    {
        machine.turn(Power::Running, at);
    }
}

fn retry_after(reply: Reply, seconds: u32) -> Reply {
    if seconds > 0 { reply.with("Retry-After", &seconds.to_string()) } else { reply }
}
