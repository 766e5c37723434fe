//! One request, one answer: bytes on the wire and back.

use std::{error::Error, sync::atomic::Ordering, time::Duration};

use azure_core::{
    error::ErrorKind as Cause,
    http::{self, Url},
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    super::request::{Answer, Condition, Headers, Method, Request},
    Arm, ENDPOINT, origin, subscription, unreadable,
};
use crate::{
    cloud_error::{
        CloudError, ErrorKind, Failure, Residue,
        no_answer::{NoAnswer, NoAnswerReason},
    },
    provider::endpoint_setting,
    secret,
    tags::REQUEST_ID,
};

/// One request's answer, to its last byte.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Arm {
    /// One request, one answer, whatever its status.
    pub(super) async fn exchange(&self, request: &Request, url: &Url) -> Result<Answer, Failure> {
        let mut headers = Vec::new();
        if let Some(tokens) = &self.tokens {
            headers.push(("authorization", format!("Bearer {}", tokens.get(subscription(url)).await?.secret())));
        }
        match &request.condition {
            Some(Condition::Unchanged(etag)) => headers.push(("if-match", etag.clone())),
            Some(Condition::Absent) => headers.push(("if-none-match", "*".to_owned())),
            None => {}
        }
        let began = Instant::now();
        let sent = self.send(request.method, url, &headers, request.body.as_ref()).await;
        log(&request.operation(), &sent, began.elapsed());
        let (status, mut headers, bytes) = sent.map_err(|cause| self.no_answer(request, &cause, url))?;
        // A token follows these addresses: only back to where it came from.
        for address in [&mut headers.operation, &mut headers.location] {
            *address = address.take().filter(|url| self.own(url).is_some());
        }
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() || status >= 300 => Value::Null,
            Err(_) => return Err(unreadable(request, "the answer is not JSON: is there a proxy in between?").into()),
        };
        Ok(Answer { status, headers, body })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Result<(u16, Headers, Vec<u8>), Lost> {
        let mut request = http::Request::new(url.clone(), verb(method));
        request.insert_header("user-agent", concat!("gangplank/", env!("CARGO_PKG_VERSION")));
        request.insert_header("x-ms-client-request-id", REQUEST_ID);
        request.insert_header("accept", "application/json");
        for (name, value) in headers {
            request.insert_header(*name, value.clone());
        }
        match body {
            Some(body) => {
                request.insert_header("content-type", "application/json");
                request.set_body(body.to_string());
            }
            // Azure's front end refuses a POST or PUT that does not tell its length.
            None if method != Method::Get => request.insert_header("content-length", "0"),
            None => {}
        }
        let exchanged = timeout(TIMEOUT, async {
            let answer = self.http.execute_request(&request).await?;
            answer.try_into_raw_response().await
        });
        let answer = exchanged.await.map_err(|_| Lost::Late)?.map_err(Lost::Broken)?;
        let (status, from, body) = answer.deconstruct();
        // To ask for one that is not there would make an error, with a backtrace where those are wanted.
        let header = |name: &str| {
            from.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value.as_str().to_owned())
        };
        self.answered.store(true, Ordering::Relaxed);
        let headers = Headers {
            etag: header("etag"),
            operation: header("azure-asyncoperation"),
            location: header("location"),
            retry_after: header("retry-after"),
            challenge: header("www-authenticate"),
            request_id: header("x-ms-request-id").or_else(|| header("x-ms-correlation-request-id")),
        };
        Ok((status.into(), headers, body.to_vec()))
    }

    pub(super) fn no_answer(&self, request: &Request, lost: &Lost, url: &Url) -> Failure {
        let (reason, unsent) = match lost {
            Lost::Late => (NoAnswerReason::TimedOut, false),
            Lost::Broken(error) => {
                let reason = NoAnswerReason::of(error);
                (reason, reason.is_unsent() || matches!(error.kind(), Cause::Connection))
            }
        };
        let no_answer = NoAnswer { host: endpoint_setting::host(&origin(url)), reason };
        let message = match lost {
            Lost::Late => format!("no answer from {} within {} s", no_answer.host, TIMEOUT.as_secs()),
            Lost::Broken(_) if reason != NoAnswerReason::ConnectionLost => no_answer.to_string(),
            Lost::Broken(error) => format!("no readable answer from {}: {}", no_answer.host, chain(error)),
        };
        let remedy = match reason {
            NoAnswerReason::UntrustedCertificate => {
                "behind a proxy that reads TLS, name the file with its certificate authority in SSL_CERT_FILE"
                    .to_owned()
            }
            _ => format!("check the network, the proxy, and {ENDPOINT} where it is set"),
        };
        let harmless = unsent || request.method == Method::Get;
        let error = CloudError {
            operation: request.operation(),
            kind: ErrorKind::Unreachable,
            code: None,
            request_id: None,
            message,
            residue: if harmless { Residue::Nothing } else { Residue::Unknown },
            remedy: Some(remedy),
        };
        Failure { error, no_answer: Some(no_answer) }
    }
}

fn log(operation: &str, sent: &Result<(u16, Headers, Vec<u8>), Lost>, took: Duration) {
    let (service, ms) = ("Azure", took.as_millis());
    match sent {
        Ok((status, headers, _)) => {
            let request_id = headers.request_id.as_deref().unwrap_or("none");
            tracing::info!(service, operation, status, ms, request_id, "call");
        }
        Err(_) => tracing::info!(service, operation, ms, "call failed: no answer"),
    }
}

/// Why there is no answer.
pub(super) enum Lost {
    Late,
    Broken(azure_core::Error),
}

fn verb(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::Get,
        Method::Put => http::Method::Put,
        Method::Patch => http::Method::Patch,
        Method::Delete => http::Method::Delete,
        Method::Post => http::Method::Post,
    }
}

/// An error and its causes, each in its own words, without the addresses: a signature in one of them is a
/// secret, and the Azure CLI prints what it likes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = vec![unaddressed(&error.to_string())];
    let mut current = error.source();
    while let Some(cause) = current {
        let text = unaddressed(&cause.to_string());
        if !words.iter().any(|w| w.contains(&text)) {
            words.push(text);
        }
        current = cause.source();
    }
    secret::redact(&words.join(": ")).into_owned()
}

/// The HTTP client appends `for url (https://...)` to what it says.
fn unaddressed(text: &str) -> String {
    match text.split_once(" for url (") {
        Some((before, rest)) => format!("{before}{}", rest.split_once(')').map_or("", |(_, after)| after)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_cut_out_of_an_error() {
        let text = "error sending request for url (https://a.example/log?sig=secret): connection refused";
        assert_eq!(unaddressed(text), "error sending request: connection refused");
    }
}
