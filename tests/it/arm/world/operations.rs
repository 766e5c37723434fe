//! Long operations, and the actions of machines.

use serde_json::{Value, json};

use super::super::{
    kinds::{Etag, Kind, Work, guid},
    reply::{Ask, Reply, gone, refused},
};
use super::{Effect, Operation, Resource, World};

impl World {
    pub(super) fn action(&mut self, ask: &Ask, owner: &str, verb: &str) -> Reply {
        let Some(resource) =
            self.resources.get(owner).filter(|r| r.kind.path == "Microsoft.Compute/virtualMachines").cloned()
        else {
            return gone(404, "ResourceNotFound", "The Resource was not found.");
        };
        match (ask.method.as_str(), verb) {
            ("GET", "instanceview") => Reply::json(200, self.instance_view(owner)),
            ("POST", "retrievebootdiagnosticsdata") => {
                let enabled = resource.body.pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled")
                    == Some(&json!(true));
                // The code is a guess.
                if !enabled || resource.state == "Creating" {
                    return refused(
                        409,
                        "OperationNotAllowed",
                        "Boot diagnostics data is not available for this virtual machine yet.",
                    );
                }
                let at = format!("{}/console/{}?sv=2024-05-04&sig=c2VjcmV0", ask.origin, resource.name.to_lowercase());
                Reply::json(
                    200,
                    json!({"consoleScreenshotBlobUri": format!("{at}&screenshot"), "serialConsoleLogBlobUri": at}),
                )
            }
            ("POST", "start" | "restart" | "poweroff" | "deallocate" | "redeploy" | "reapply") => {
                let name = resource.name.to_lowercase();
                match verb {
                    "poweroff" => self.power.insert(name, "stopped"),
                    "deallocate" => self.power.insert(name, "deallocated"),
                    _ => self.power.remove(&name),
                };
                let work = Work { looks: 1, retry_after: 10, under: "operations" };
                let id = self.start(owner, Effect::Settle, work);
                let location = self.location_of(&resource);
                self.long(ask, Reply::empty(202), resource.kind, work, &id, &location, true)
            }
            _ => gone(404, "NotFound", "There is no such action."),
        }
    }

    pub(super) fn instance_view(&self, key: &str) -> Value {
        let resource = &self.resources[key];
        let power = self.power.get(&resource.name.to_lowercase()).copied().unwrap_or("running");
        let status = |code: String, words: String| json!({"code": code, "level": "Info", "displayStatus": words});
        json!({
            "vmAgent": {"vmAgentVersion": "2.12.0.4", "statuses": [status("ProvisioningState/succeeded".to_owned(), "Ready".to_owned())]},
            "bootDiagnostics": {},
            "statuses": [status(format!("ProvisioningState/{}", resource.state.to_lowercase()), "Provisioning".to_owned()),
                         status(format!("PowerState/{power}"), format!("VM {power}"))],
        })
    }

    pub(super) fn start(&mut self, target: &str, effect: Effect, work: Work) -> String {
        let id = guid(self.number());
        let failing = self.failing.iter().position(|(suffix, ..)| target.ends_with(&suffix.to_lowercase()));
        let failure =
            failing.map(|at| self.failing.remove(at)).map(|(_, code, message)| (code.to_owned(), message.to_owned()));
        let operation = Operation {
            target: target.to_owned(),
            effect,
            looks: work.looks,
            retry_after: work.retry_after,
            failure,
            ended: false,
        };
        self.operations.insert(id.clone(), operation);
        id
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn long(
        &self,
        ask: &Ask,
        reply: Reply,
        kind: &Kind,
        work: Work,
        id: &str,
        location: &str,
        with_location: bool,
    ) -> Reply {
        let namespace = kind.path.split('/').next().unwrap_or_default();
        let version = ask.query("api-version").unwrap_or_default();
        let at = |under: &str, more: &str| {
            format!(
                "{}/subscriptions/{}/providers/{namespace}/locations/{location}/{under}/{id}?{more}api-version={version}&t=1&c=2&s=signed&h=3",
                ask.origin, self.subscription
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
        if work.retry_after > 0 { reply.with("Retry-After", &work.retry_after.to_string()) } else { reply }
    }

    /// Somebody looks: time passes.
    pub(super) fn look(&mut self, id: &str) {
        let by_hand = self.by_hand;
        let Some(operation) = self.operations.get_mut(id) else { return };
        if by_hand || operation.ended {
            return;
        }
        match operation.looks.checked_sub(1) {
            Some(left) => operation.looks = left,
            None => self.end(id),
        }
    }

    pub(super) fn end(&mut self, id: &str) {
        let Some(operation) = self.operations.get_mut(id) else { return };
        if std::mem::replace(&mut operation.ended, true) {
            return;
        }
        let (target, effect, failed) = (operation.target.clone(), operation.effect, operation.failure.is_some());
        match effect {
            Effect::RemoveGroup => {
                let prefix = format!("{target}/");
                self.resources.retain(|key, _| !key.starts_with(&prefix));
                self.groups.remove(&target);
            }
            Effect::Remove if !failed => self.remove(&target),
            Effect::Remove | Effect::Settle => {
                if !failed {
                    self.assign(&target);
                }
                let etag = self.number();
                if let Some(resource) = self.resources.get_mut(&target) {
                    resource.state = if failed { "Failed" } else { "Succeeded" }.to_owned();
                    resource.operation = None;
                    if resource.kind.etag == Etag::Weak {
                        resource.etag = etag;
                    }
                }
            }
        }
    }

    /// The status of an operation.
    pub(super) fn operation(&mut self, _: &Ask, id: &str) -> Reply {
        let was = self.operations.get(id).is_some_and(|o| o.ended);
        self.look(id);
        let Some(operation) = self.operations.get(id) else {
            return refused(404, "NotFound", "The operation was not found.");
        };
        let _ = was;
        match (&operation.failure, operation.ended) {
            (_, false) => {
                let reply = Reply::json(200, json!({"status": "InProgress"}));
                if operation.retry_after > 0 {
                    reply.with("Retry-After", &operation.retry_after.to_string())
                } else {
                    reply
                }
            }
            (None, true) => Reply::json(200, json!({"status": "Succeeded"})),
            (Some((code, message)), true) => {
                Reply::json(200, json!({"status": "Failed", "error": {"code": code, "message": message}}))
            }
        }
    }

    /// The result of an operation: 202 until there is one.
    pub(super) fn location(&mut self, ask: &Ask, id: &str) -> Reply {
        self.look(id);
        match self.operations.get(id) {
            None => refused(404, "NotFound", "The operation was not found."),
            Some(operation) if operation.ended => Reply::empty(200),
            Some(operation) => {
                let here = ask.link(&[]);
                Reply::empty(202).with("Location", &here).with("Retry-After", &operation.retry_after.to_string())
            }
        }
    }

    pub(super) fn location_of(&self, resource: &Resource) -> String {
        let own = resource.body["location"].as_str().map(str::to_owned);
        let group = self.group_key(resource.id.split('/').nth(4).unwrap_or_default());
        own.or_else(|| self.groups.get(&group).map(|g| g.location.clone())).unwrap_or_default()
    }
}
