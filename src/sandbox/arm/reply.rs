//! A request once it is read, and how answers are worded.

use std::ops::Deref;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::http::{Ask, Reply};

/// A request with what was read out of it.
pub struct Call<'a> {
    ask: &'a Ask,
    pub now: Timestamp,
    /// Its path, in lower case and without a slash at its end.
    pub key: String,
    pub body: Option<Value>,
}

impl Deref for Call<'_> {
    type Target = Ask;

    fn deref(&self) -> &Ask {
        self.ask
    }
}

impl<'a> Call<'a> {
    /// # Errors
    /// Azure's answer to a body that is not JSON.
    pub fn read(ask: &'a Ask, now: Timestamp) -> Result<Self, Reply> {
        let body = match ask.body.as_slice() {
            [] => None,
            bytes => Some(serde_json::from_slice(bytes).map_err(|error| {
                let message = format!("The request content was invalid and could not be deserialized: '{error}'.");
                gone(400, "InvalidRequestContent", &message)
            })?),
        };
        Ok(Self { ask, now, key: ask.path.to_lowercase().trim_end_matches('/').to_owned(), body })
    }

    /// This address once more, with other values in its query.
    pub fn link(&self, with: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.query.iter().filter(|(n, _)| with.iter().all(|(w, _)| w != n)));
        query.extend_pairs(with);
        format!("{}{}?{}", self.origin, self.path, query.finish())
    }
}

pub fn answered(status: u16, body: &Value) -> Reply {
    let reply = Reply { body: body.to_string().into_bytes(), ..Reply::empty(status) };
    reply.with("Content-Type", "application/json; charset=utf-8")
}

/// An error as resource providers word it.
pub fn refused(status: u16, code: &str, message: &str) -> Reply {
    answered(status, &json!({"error": {"code": code, "message": message, "details": []}}))
}

/// An error as the front end words it.
pub fn gone(status: u16, code: &str, message: &str) -> Reply {
    answered(status, &json!({"error": {"code": code, "message": message}})).with("x-ms-failure-cause", "gateway")
}
