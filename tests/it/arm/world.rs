//! The sandbox's Azure as tests use it: with a clock, a log of calls, faults (`fault.rs`) and Microsoft's schemas.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use gangplank::sandbox::{
    arm,
    http::{Ask, Reply},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{fault::Rule, schema};

pub const SUBSCRIPTION: &str = arm::SUBSCRIPTION;

#[derive(Clone)]
pub struct World {
    cloud: arm::World,
    /// Its time is a month behind, so that nothing made here is younger than what a test says about it. It passes as tokio's does:
    /// only by waiting, where that is paused.
    began: (Timestamp, Instant),
    /// Bodies that Microsoft's schemas refuse.
    pub mistakes: Vec<String>,
    /// Every call, in order.
    pub calls: Vec<Call>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Option<Value>,
    /// What was answered; none where the answer was lost or the call never came in.
    pub status: Option<u16>,
}

impl Call {
    /// Changes something, or tries to.
    pub fn is_write(&self) -> bool {
        self.method != "GET" && !self.path.to_lowercase().ends_with("/retrievebootdiagnosticsdata")
    }

    /// Asks after something long.
    pub fn is_poll(&self) -> bool {
        let path = self.path.to_lowercase();
        ["/operations/", "/nfvoperations/", "/operationresults/"].iter().any(|part| path.contains(part))
    }
}

impl From<arm::World> for World {
    fn from(cloud: arm::World) -> Self {
        let month = Duration::from_secs(30 * 24 * 60 * 60);
        let began = (Timestamp::now() - month, Instant::now());
        Self { cloud, began, mistakes: Vec::new(), calls: Vec::new(), rules: Vec::new() }
    }
}

impl Default for World {
    fn default() -> Self {
        arm::World::default().into()
    }
}

impl Deref for World {
    type Target = arm::World;

    fn deref(&self) -> &arm::World {
        &self.cloud
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut arm::World {
        &mut self.cloud
    }
}

impl World {
    pub fn now(&self) -> Timestamp {
        self.began.0 + self.began.1.elapsed()
    }

    /// Ends every operation that is under way.
    pub fn finish(&mut self) {
        self.cloud.finish(self.now());
    }

    /// Ends the operation that is under way on a resource or group.
    pub fn finish_on(&mut self, id: &str) {
        self.cloud.finish_on(id, self.now());
    }

    /// A machine writes to its serial console.
    pub fn print(&mut self, machine: &str, text: &str) {
        self.cloud.print(machine, text, self.now());
    }

    /// What Azure answers. Faults and the log are `serve`'s.
    pub fn answer(&mut self, ask: &Ask) -> Reply {
        let now = self.now();
        if let Err(why) = judged(ask) {
            // Azure may have another reason to refuse it.
            let reply = self.cloud.clone().answer(now, ask);
            if reply.status >= 300 {
                return reply;
            }
            self.mistakes.push(format!("{} {}: {why}", ask.method, ask.path));
            return refused(400, "InvalidRequestContent", &why);
        }
        self.cloud.answer(now, ask)
    }
}

pub fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::text(status, json!({"error": {"code": code, "message": message, "details": []}}).to_string())
}

/// Whether Microsoft's schema takes the body of a PUT.
fn judged(ask: &Ask) -> Result<(), String> {
    let Some((_, tail)) = ask.path.rsplit_once("/providers/").filter(|_| ask.method == "PUT") else { return Ok(()) };
    let mut parts = tail.split('/');
    let kind: Vec<&str> = parts.next().into_iter().chain(parts.step_by(2)).collect();
    let mut body = serde_json::from_slice(&ask.body).unwrap_or_default();
    if ask.header("if-match").is_some() {
        // What was read is written back: Azure passes over what is its own to say.
        unread(&mut body);
    }
    schema::validate(&kind.join("/"), ask.query("api-version").unwrap_or_default(), &body)
}

/// Without what only Azure writes.
fn unread(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["provisioningState", "resourceGuid", "privateIPAddress", "privateIPAllocationMethod"] {
                map.remove(name);
            }
            if map.contains_key("properties") && map.contains_key("etag") && !map.contains_key("location") {
                map.remove("type");
                map.remove("etag");
            }
            map.values_mut().for_each(unread);
        }
        Value::Array(items) => items.iter_mut().for_each(unread),
        _ => {}
    }
}
