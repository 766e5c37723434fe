//! What a step does, with nothing left to choose: a saved changeset holds these. Ids are known before anything exists; values
//! that Azure chooses (addresses) are filled in.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{id::Id, tags::Tags};

/// One step's work for one bastion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    pub subscription: String,
    pub bastion: String,
    pub call: Call,
}

/// Each of them ends when Azure's own operation has: created, updated or gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Call {
    /// PUT: makes it, or makes it what the body says.
    Put {
        id: Id,
        body: Value,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        fill: Vec<Fill>,
    },
    /// PATCH: sets what the body names; its tags beside those that are there, under the resource's etag.
    Patch { id: Id, body: Value },
    /// `Microsoft.Resources/tags/default` of the resource: Merge `set`, then Delete `remove`; a firewall policy is read and PUT with them.
    /// What others set stays.
    Tag { id: Id, set: Tags, remove: Vec<String> },
    /// POST `start`.
    Start { id: Id },
    /// POST `reapply`: Azure does once more what the machine's last operation did not end.
    Reapply { id: Id },
    /// An earlier run has begun it: nothing is sent, only waited for.
    Wait { id: Id },
    /// What is not there is done.
    Delete { id: Id },
    /// Deletes a resource group in which there is nothing but `with`, which is the bastion's own and goes along. If there is something
    /// else in it by then, it is left, and that is an error.
    DeleteGroup {
        id: Id,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        with: Vec<Id>,
    },
    /// A NAT rule collection in somebody else's firewall: read, change ([`super::shared`]), PUT with `If-Match`; on 412 again.
    NatCollection {
        firewall: Id,
        /// The collection that is ours: by its name and its rules' descriptions ([`super::tags::is_marked`]).
        name: String,
        /// `None` removes it.
        collection: Option<Value>,
        /// Into the collection.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        fill: Vec<Fill>,
    },
}

/// A value that another resource of the same bastion gets when it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// Where it goes, as a JSON pointer (RFC 6901) into the body. There is a null.
    pub at: String,
    pub from: Id,
    /// Where it stands in the other resource.
    pub property: String,
}

impl Call {
    /// What the call changes.
    pub fn id(&self) -> &Id {
        match self {
            Call::Put { id, .. }
            | Call::Patch { id, .. }
            | Call::Tag { id, .. }
            | Call::Start { id }
            | Call::Reapply { id }
            | Call::Wait { id }
            | Call::Delete { id }
            | Call::DeleteGroup { id, .. } => id,
            Call::NatCollection { firewall, .. } => firewall,
        }
    }
}

/// Puts the values of other resources into a body; `read` finds a resource. `Err` is the fill whose value is not there.
///
/// # Errors
/// The resource or its value is missing, or the body has no such place.
pub fn filled(mut body: Value, fill: &[Fill], read: impl Fn(&Id) -> Option<Value>) -> Result<Value, &Fill> {
    for one in fill {
        let value = read(&one.from).and_then(|resource| resource.pointer(&one.property).cloned());
        match (body.pointer_mut(&one.at), value.filter(|value| !value.is_null())) {
            (Some(place), Some(value)) => *place = value,
            _ => return Err(one),
        }
    }
    Ok(body)
}
