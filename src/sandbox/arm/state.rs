//! What the world remembers.

use std::sync::OnceLock;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    kinds::{self, CONFIGURATIONS, Kind, parts_of},
    power::Machine,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub name: String,
    pub id: String,
    pub location: String,
    pub tags: Option<Value>,
    /// The operation that removes it.
    pub going: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Resource {
    pub id: String,
    pub name: String,
    #[serde(with = "kinds::by_name")]
    pub kind: &'static Kind,
    /// As it was put, completed; without what depends on others.
    body: Value,
    /// What is in effect while `body` is not yet, or failed: none for what is new.
    pub before: Option<Value>,
    pub state: State,
    pub etag: u64,
    /// Another number for each resource.
    pub unique: u64,
    pub born: Timestamp,
    /// By the last PUT or PATCH.
    pub written: Timestamp,
    /// What is under way on it.
    pub operation: Option<String>,
    /// Of a machine: what is not in its body.
    pub machine: Option<Machine>,
    #[serde(skip)]
    uses: OnceLock<Vec<Use>>,
}

/// `provisioningState`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Creating,
    Updating,
    Deleting,
    Succeeded,
    Failed,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Creating => "Creating",
            State::Updating => "Updating",
            State::Deleting => "Deleting",
            State::Succeeded => "Succeeded",
            State::Failed => "Failed",
        }
    }
}

/// That a resource refers to another.
#[derive(Clone, Debug)]
pub(super) struct Use {
    /// In lower case.
    pub of: String,
    /// The address configuration that does, or the resource.
    pub by: String,
}

impl Resource {
    /// New, and at rest.
    pub fn new(id: String, name: String, kind: &'static Kind, body: Value, number: u64, born: Timestamp) -> Self {
        Self {
            id,
            name,
            kind,
            body,
            before: None,
            state: State::Succeeded,
            etag: number,
            unique: number,
            born,
            written: born,
            operation: None,
            machine: None,
            uses: OnceLock::new(),
        }
    }

    pub fn body(&self) -> &Value {
        &self.body
    }

    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.body);
        self.uses = OnceLock::new();
    }

    /// What Azure goes by at this time; none where it is not there yet.
    pub fn in_effect(&self) -> Option<&Value> {
        match self.state {
            State::Succeeded | State::Deleting => Some(&self.body),
            State::Creating | State::Updating | State::Failed => self.before.as_ref(),
        }
    }

    pub fn uses(&self) -> &[Use] {
        self.uses.get_or_init(|| {
            let mut uses: Vec<Use> = Vec::new();
            for (_, field, segment) in CONFIGURATIONS.iter().filter(|(kind, ..)| *kind == self.kind.path) {
                for part in self.body.get("properties").into_iter().flat_map(|p| parts_of(p, field)) {
                    let name = part.get("name").and_then(Value::as_str).unwrap_or_default();
                    let by = format!("{}/{segment}/{name}", self.id);
                    uses.extend(references(part).into_iter().map(|id| Use { of: id.to_lowercase(), by: by.clone() }));
                }
            }
            for id in references(&self.body) {
                let of = id.to_lowercase();
                if !uses.iter().any(|known| known.of == of) {
                    uses.push(Use { of, by: self.id.clone() });
                }
            }
            uses
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Operation {
    /// In lower case.
    pub target: String,
    pub effect: Effect,
    /// None: only when it is told to.
    pub ends: Option<Timestamp>,
    /// Seconds; none is asked for where it is 0.
    pub retry_after: u32,
    pub failure: Option<Failure>,
    pub ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Effect {
    Settle,
    Remove,
    RemoveGroup,
    /// Of a machine, which then has this state.
    Power(super::power::Power),
}

/// How the next operation on a resource will fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What the resource's id ends with.
    pub on: String,
    pub code: String,
    pub message: String,
}

/// The ids of resources anywhere in a value.
pub(super) fn references(value: &Value) -> Vec<&str> {
    fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            Value::Object(map) => {
                for (name, value) in map {
                    match value.as_str() {
                        Some(text) if name == "id" && text.starts_with("/subscriptions/") => into.push(text),
                        _ => collect(value, into),
                    }
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, &mut found);
    found
}

/// `microsoft.network/virtualnetworks/subnets` of an id in lower case.
pub(super) fn type_of(id: &str) -> String {
    let tail = id.rsplit("/providers/").next().unwrap_or_default();
    let mut parts = tail.split('/');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for kind in parts.step_by(2) {
        path.push('/');
        path.push_str(kind);
    }
    path
}

/// The resource that an id is a part of: its first nine words.
pub(super) fn whole(id: &str) -> &str {
    id.match_indices('/').nth(8).map_or(id, |(at, _)| &id[..at])
}
