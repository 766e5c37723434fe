//! One call to Azure Resource Manager and its answer, as plain data.

use std::fmt;

use serde_json::Value;

/// What is asked of Azure Resource Manager.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: Method,
    /// From the first slash, without the query: a resource's id (`/subscriptions/S/resourceGroups/G/providers/T/N`), or an id
    /// and what is asked of it (`ID/instanceView`).
    pub path: String,
    /// `2024-03-01`
    pub api_version: &'static str,
    /// Beside the version, such as `$filter`; not encoded.
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    pub condition: Option<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Patch,
    Delete,
    Post,
}

/// When the call shall take effect at all; Azure answers 412 otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `If-Match`: the resource still has this etag.
    Unchanged(String),
    /// `If-None-Match: *`: there is no such resource.
    Absent,
}

/// What Azure Resource Manager answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    /// `Null` where there was none.
    pub body: Value,
}

/// The headers that mean something to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub etag: Option<String>,
    /// `Azure-AsyncOperation`: where a long operation tells its status.
    pub operation: Option<String>,
    /// `Location`: where a long operation answers 202 until it is done.
    pub location: Option<String>,
    /// `Retry-After` as it came: seconds or a date.
    pub retry_after: Option<String>,
    /// `WWW-Authenticate`
    pub challenge: Option<String>,
    /// `x-ms-request-id`, or else `x-ms-correlation-request-id`: what Azure's support asks for.
    pub request_id: Option<String>,
}

impl Request {
    pub fn new(method: Method, path: impl Into<String>, api_version: &'static str) -> Self {
        Self { method, path: path.into(), api_version, query: Vec::new(), body: None, condition: None }
    }

    pub fn get(path: impl Into<String>, api_version: &'static str) -> Self {
        Self::new(Method::Get, path, api_version)
    }

    pub fn put(path: impl Into<String>, api_version: &'static str, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::Put, path, api_version) }
    }

    pub fn patch(path: impl Into<String>, api_version: &'static str, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::Patch, path, api_version) }
    }

    pub fn delete(path: impl Into<String>, api_version: &'static str) -> Self {
        Self::new(Method::Delete, path, api_version)
    }

    pub fn post(path: impl Into<String>, api_version: &'static str, body: Option<Value>) -> Self {
        Self { body, ..Self::new(Method::Post, path, api_version) }
    }

    #[must_use]
    pub fn only_if(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    #[must_use]
    pub fn with_query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// What errors call it: `PUT Microsoft.Network/azureFirewalls/fw-hub`.
    pub fn operation(&self) -> String {
        format!("{} {}", self.method, short(&self.path))
    }
}

impl Answer {
    /// `properties.provisioningState`, or "" where there is none.
    pub fn provisioning_state(&self) -> &str {
        provisioning_state(&self.body)
    }
}

/// A resource's `properties.provisioningState`, or "" where it has none.
pub fn provisioning_state(resource: &Value) -> &str {
    resource.pointer("/properties/provisioningState").and_then(Value::as_str).unwrap_or_default()
}

/// An id without its subscription and, where it has a provider, its resource group: what people call the resource.
pub fn short(path: &str) -> &str {
    let after = |marker: &str| {
        // Ids differ in case from answer to answer.
        let at = path.to_ascii_lowercase().rfind(marker)?;
        path.get(at + marker.len()..)
    };
    after("/providers/")
        .or_else(|| {
            let at = path.to_ascii_lowercase().find("/resourcegroups/")?;
            path.get(at + 1..)
        })
        .unwrap_or_else(|| path.trim_start_matches('/'))
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Post => "POST",
        }
    }

    /// Sending it twice does what sending it once does (RFC 9110, section 9.2.2). A PATCH here sets what it names, so it counts.
    pub fn is_idempotent(self) -> bool {
        self != Self::Post
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_without_the_subscription() {
        let named = |path: &str| Request::get(path, "2024-03-01").operation();
        let group = "/subscriptions/s/resourceGroups/rg";
        assert_eq!(
            named(&format!("{group}/providers/Microsoft.Network/azureFirewalls/fw")),
            "GET Microsoft.Network/azureFirewalls/fw"
        );
        assert_eq!(named(group), "GET resourceGroups/rg");
        assert_eq!(named("/subscriptions/s"), "GET subscriptions/s");
    }
}
