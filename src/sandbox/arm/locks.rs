//! Management locks ("Lock your resources to protect your infrastructure", and "Management Locks" in the REST reference): what is within a
//! locked scope is not deleted, nor written to where the lock says so; and a resource group is not deleted while something in it is locked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    World,
    reply::{Call, answered, refused},
};
use crate::sandbox::http::Reply;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lock {
    /// As it was written; what is compared is in lower case.
    scope: String,
    name: String,
    level: String,
}

const TYPE: &str = "/providers/microsoft.authorization/locks";

impl World {
    /// Calls about locks, and those that a lock forbids.
    pub(super) fn locked(&mut self, call: &Call<'_>) -> Option<Reply> {
        if let Some(at) = call.key.rfind(TYPE) {
            let name = call.path.get(at + TYPE.len()..).unwrap_or_default().trim_start_matches('/').to_owned();
            let scope = call.path.get(..at).unwrap_or_default().to_owned();
            return Some(self.lock(call, scope, name));
        }
        let writes = match call.method.as_str() {
            "DELETE" => "delete",
            "PUT" | "PATCH" => "write",
            _ => return None,
        };
        let group = call.key.matches('/').count() == 4;
        let blocks = |lock: &&Lock| {
            let scope = lock.scope.to_lowercase();
            let over = is_within(&call.key, &scope) || (group && writes == "delete" && is_within(&scope, &call.key));
            over && (writes == "delete" || lock.level == "ReadOnly")
        };
        let lock = self.locks.iter().find(blocks)?;
        let message = format!(
            "The scope '{}' cannot perform {writes} operation because following scope(s) are locked: '{}'. Please remove the lock and \
             try again.",
            call.path, lock.scope
        );
        Some(refused(409, "ScopeLocked", &message))
    }

    fn lock(&mut self, call: &Call<'_>, scope: String, name: String) -> Reply {
        let known = self
            .locks
            .iter()
            .position(|lock| lock.scope.eq_ignore_ascii_case(&scope) && lock.name.eq_ignore_ascii_case(&name));
        match (call.method.as_str(), known, name.as_str()) {
            ("GET", _, "") => {
                let key = scope.to_lowercase();
                let within = self.locks.iter().filter(|lock| is_within(&lock.scope.to_lowercase(), &key));
                answered(200, &json!({"value": within.map(shown).collect::<Vec<_>>()}))
            }
            ("GET", Some(at), _) => answered(200, &shown(&self.locks[at])),
            ("PUT", _, _) => {
                let level = call.body.as_ref().and_then(|body| body.pointer("/properties/level")?.as_str());
                let Some(level) = level.filter(|level| ["CanNotDelete", "ReadOnly"].contains(level)) else {
                    return refused(400, "InvalidRequestContent", "The lock has no level that there is.");
                };
                let lock = Lock { scope, name, level: level.to_owned() };
                let reply = answered(if known.is_some() { 200 } else { 201 }, &shown(&lock));
                match known.and_then(|at| self.locks.get_mut(at)) {
                    Some(there) => *there = lock,
                    None => self.locks.push(lock),
                }
                reply
            }
            ("DELETE", Some(at), _) => {
                self.locks.remove(at);
                Reply::empty(200)
            }
            ("DELETE", None, _) => Reply::empty(204),
            _ => refused(404, "LockNotFound", &format!("The lock '{name}' could not be found.")),
        }
    }
}

fn is_within(key: &str, scope: &str) -> bool {
    key.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn shown(lock: &Lock) -> Value {
    json!({
        "id": format!("{}/providers/Microsoft.Authorization/locks/{}", lock.scope, lock.name),
        "type": "Microsoft.Authorization/locks", "name": lock.name, "properties": {"level": lock.level},
    })
}
