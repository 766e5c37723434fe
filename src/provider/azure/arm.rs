//! The client of Azure Resource Manager, and the one way to call it: repeated while that can help, followed until it has ended, its
//! errors in our words.

mod credentials;
mod exchange;
mod wait;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use azure_core::{
    cloud::CloudConfiguration,
    http::{self, HttpClient, Url},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

pub use self::credentials::{Credential, Source, Tokens, sources};
use super::{
    error::{Refusal, cloud_error, ends_in_passing},
    poll::Poller,
    request::{Answer, Method, Request},
    retry::{self, Attempt, Repeat},
};
use crate::{
    cloud_error::{CloudError, ErrorKind, Failure, Residue, no_answer::second_try},
    provider::{Progress, endpoint_setting},
    sandbox::{arm::client::client, http::Serve},
};

const PUBLIC: &str = "https://management.azure.com";
/// Names another cloud's endpoint, such as `https://management.usgovcloudapi.net`.
const ENDPOINT: &str = "AZURE_RESOURCE_MANAGER_ENDPOINT";
/// Addresses that this and the libraries for signing in read from the environment.
const ADDRESSES: &[&str] = &[ENDPOINT, "AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "MSI_ENDPOINT", "IMDS_ENDPOINT"];
/// Pages of one list. A page has at least 100 resources: beyond this a link leads in a circle.
const PAGES: usize = 10_000;

/// Azure Resource Manager of one cloud, as one identity.
#[derive(Clone, Debug)]
pub struct Arm {
    endpoint: Url,
    http: Arc<dyn HttpClient>,
    /// None where there is nothing to prove: an emulator on this machine.
    tokens: Option<Arc<Tokens>>,
    /// The first pause between calls. An emulator's time passes by looks, not by the clock.
    pace: Duration,
    /// Somebody has answered: what is silent now was there before.
    answered: Arc<AtomicBool>,
}

impl Arm {
    /// Through the sources of `credentials`, towards the public cloud or the one that `AZURE_RESOURCE_MANAGER_ENDPOINT` names.
    /// Nobody is asked before the first call. An endpoint without TLS is for emulators: it must be on this machine, and gets no
    /// token.
    pub fn connect(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CloudError> {
        endpoint_setting::check("Azure", ADDRESSES, env)?;
        let text = env(ENDPOINT).filter(|value| !value.is_empty()).unwrap_or_else(|| PUBLIC.to_owned());
        let endpoint = Url::parse(&text).map_err(|error| wrong_endpoint(&text, &error.to_string()))?;
        let http = http::new_http_client(None);
        match endpoint.scheme() {
            "https" => {
                let cloud = cloud(&endpoint).map(Arc::new);
                let scope = format!("{}/.default", origin(&endpoint));
                let tokens = Tokens::new(scope, sources(env, cloud.as_ref()));
                Ok(Self::new(endpoint, http, Some(tokens)))
            }
            "http" if is_loopback(&endpoint) => Ok(Self::new(endpoint, http, None)),
            _ => Err(wrong_endpoint(&text, "it is not https, and not on this machine")),
        }
    }

    /// As if towards the public cloud, whoever serves it: no token, no network.
    ///
    /// # Errors
    /// None: the address is the public cloud's.
    pub fn within(cloud: Arc<dyn Serve>) -> Result<Self, CloudError> {
        let endpoint = Url::parse(PUBLIC).map_err(|error| wrong_endpoint(PUBLIC, &error.to_string()))?;
        Ok(Self::new(endpoint, client(cloud), None))
    }

    /// Over a transport of the caller's. Tokens go to this endpoint only.
    pub fn new(endpoint: Url, http: Arc<dyn HttpClient>, tokens: Option<Tokens>) -> Self {
        let pace = if is_loopback(&endpoint) { Duration::from_millis(20) } else { Duration::from_secs(2) };
        Self { endpoint, http, tokens: tokens.map(Arc::new), pace, answered: Arc::default() }
    }

    /// The same client with another first pause.
    #[must_use]
    pub fn paced(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// The first pause between looks at something.
    pub fn pace(&self) -> Duration {
        self.pace
    }

    /// Calls until it succeeds, fails for good, or patience ends. What it starts may still be under way: see [`Self::write`].
    pub async fn call(&self, request: &Request, repeat: Repeat, progress: &Progress<'_>) -> Result<Answer, CloudError> {
        let url = self.url(request);
        self.repeated(request, &url, repeat, progress).await
    }

    /// Reads a resource; `None` where there is none.
    pub async fn get(&self, request: &Request, progress: &Progress<'_>) -> Result<Option<Value>, CloudError> {
        match self.call(request, Repeat::SAFE, progress).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads every page of a list.
    pub async fn list(&self, request: &Request, progress: &Progress<'_>) -> Result<Vec<Value>, CloudError> {
        let mut all = Vec::new();
        let mut url = self.url(request);
        for _ in 0..PAGES {
            let mut answer = self.repeated(request, &url, Repeat::SAFE, progress).await?;
            let next = answer.body.get("nextLink").and_then(Value::as_str).filter(|l| !l.is_empty()).map(str::to_owned);
            match answer.body.get_mut("value").map(Value::take) {
                Some(Value::Array(items)) => all.extend(items),
                _ => return Err(unreadable(request, "the answer is not a list")),
            }
            url = match next {
                None => return Ok(all),
                Some(link) => self.own(&link).ok_or_else(|| unreadable(request, "the next page is on another host"))?,
            };
        }
        Err(unreadable(request, "the list does not end"))
    }

    /// Writes, and waits until Azure has done it. Returns the resource, or what a POST answers; `None` where it is gone.
    ///
    /// An operation that failed in passing is begun again, a condition included. A write whose answer was lost is repeated: with a condition, that can come back as 412 although the first took effect.
    /// What was to be removed and is not there is gone.
    ///
    /// # Errors
    /// [`Residue::Unfinished`] where Azure began and failed, or did not end in time: [`Self::settle`] continues there.
    pub async fn write(
        &self,
        request: &Request,
        repeat: Repeat,
        progress: &Progress<'_>,
    ) -> Result<Option<Value>, CloudError> {
        let (mut number, mut waited) = (1, Duration::ZERO);
        loop {
            let error = match self.call(request, repeat, progress).await {
                Ok(answer) => {
                    match self.follow(request, answer, Poller::new(request.method, self.pace), progress).await {
                        Err(error) if is_to_be_repeated(request, &error) => error,
                        done => return done,
                    }
                }
                Err(error) if request.method == Method::Delete && error.kind == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            // Of what an operation itself took, nothing counts: only the pauses are patience.
            let attempt = Attempt { error: &error, retry_after: None, number, waited };
            let Some(pause) = retry::delay(attempt, repeat, self.pace, (progress.step, &error.operation)) else {
                return Err(error);
            };
            let code = error.code.as_deref().unwrap_or_default();
            progress.retrying(&error.operation, error.kind, code, number, pause);
            if progress.pause(pause).await.is_err() {
                return Err(error.not_repeated());
            }
            (number, waited) = (number + 1, waited + pause);
        }
    }

    /// Reads what Azure keeps outside the resource manager, at an address that is itself the secret: no token goes along, and no
    /// error names it. Lossy where it is not text.
    pub async fn blob(&self, operation: &str, address: &str, progress: &Progress<'_>) -> Result<String, CloudError> {
        // The address is in no part of this, since errors tell it.
        let request = Request::get("", "");
        let named = |mut error: CloudError| {
            error.operation = operation.to_owned();
            error
        };
        let url = Url::parse(address).map_err(|_| named(unreadable(&request, "its address is not one")))?;
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url) && is_loopback(&self.endpoint)) {
            return Err(named(unreadable(&request, "its address is not https")));
        }
        let started = Instant::now();
        for number in 1.. {
            let failure = match self.send(Method::Get, &url, &[], None).await {
                Ok((200, _, bytes)) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Ok((status, headers, _)) => {
                    named(cloud_error(&request, Refusal::of(&Answer { status, headers, body: Value::Null }))).into()
                }
                Err(cause) => {
                    let Failure { error, no_answer } = self.no_answer(&request, &cause, &url);
                    Failure { error: named(error), no_answer }
                }
            };
            let attempt = Attempt { error: &failure.error, retry_after: None, number, waited: started.elapsed() };
            let Some(pause) = retry::delay(attempt, Repeat::SAFE, self.pace, progress.step) else {
                return Err(failure.error);
            };
            progress.retrying_after(&failure, number, pause);
            if progress.pause(pause).await.is_err() {
                return Err(failure.error.not_repeated());
            }
        }
        Err(named(unreadable(&request, "it does not answer")))
    }

    async fn repeated(
        &self,
        request: &Request,
        url: &Url,
        repeat: Repeat,
        progress: &Progress<'_>,
    ) -> Result<Answer, CloudError> {
        let operation = request.operation();
        let repeat = Repeat { idempotent: repeat.idempotent && request.method.is_idempotent(), ..repeat };
        let started = Instant::now();
        let mut number = 1;
        let mut renewed = false;
        let mut lost = false;
        loop {
            let (mut failure, retry_after) = match self.exchange(request, url).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) => {
                    let refused = answer.status == 401;
                    if let (true, false, Some(tokens)) = (refused, renewed, &self.tokens) {
                        // It may have been revoked, or the clocks differ: once is enough to know.
                        tokens.forget(subscription(url)).await;
                        renewed = true;
                        continue;
                    }
                    let header = answer.headers.retry_after.as_deref();
                    let retry_after = header.and_then(|h| retry::retry_after(h, Timestamp::now()));
                    (cloud_error(request, Refusal::of(&answer)).into(), retry_after)
                }
                Err(failure) => (failure, None),
            };
            // A refusal says nothing of an earlier attempt whose answer was lost.
            lost |= failure.error.residue == Residue::Unknown;
            if lost && failure.error.residue == Residue::Nothing {
                failure.error.residue = Residue::Unknown;
            }
            let attempt = Attempt { error: &failure.error, retry_after, number, waited: started.elapsed() };
            let seldom_passes = failure.no_answer.as_ref().is_some_and(|n| n.reason.is_unsent());
            let pause = if seldom_passes && !self.answered.load(Ordering::Relaxed) {
                second_try(number)
            } else {
                retry::delay(attempt, repeat, self.pace, (progress.step, &operation))
            };
            let Some(pause) = pause else {
                let error = failure.error;
                return Err(match retry_after.filter(|asked| !asked.is_zero()) {
                    Some(asked) => {
                        let message =
                            format!("{} (Azure asks to come back after {} s)", error.message, asked.as_secs());
                        CloudError { message, ..error }
                    }
                    None => error,
                });
            };
            progress.retrying_after(&failure, number, pause);
            if progress.pause(pause).await.is_err() {
                return Err(failure.error.not_repeated());
            }
            number += 1;
        }
    }

    fn url(&self, request: &Request) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(&request.path);
        url.query_pairs_mut()
            .append_pair("api-version", request.api_version)
            .extend_pairs(request.query.iter().map(|(name, value)| (*name, value.as_str())));
        // In a query of Azure's a space is %20; a plus itself is %2B by now.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
        url
    }

    /// An address that Azure gave, where it is one of this endpoint.
    fn own(&self, address: &str) -> Option<Url> {
        let url = Url::parse(address).ok()?;
        (url.origin() == self.endpoint.origin()).then_some(url)
    }
}

/// Whether an operation that Azure began and ended badly is begun again.
fn is_to_be_repeated(request: &Request, error: &CloudError) -> bool {
    let code = error.code.as_deref().unwrap_or_default();
    error.residue == Residue::Unfinished && request.method.is_idempotent() && ends_in_passing(code)
}

fn unreadable(request: &Request, why: &str) -> CloudError {
    CloudError {
        operation: request.operation(),
        kind: ErrorKind::Unreachable,
        code: None,
        request_id: None,
        message: why.to_owned(),
        residue: if request.method == Method::Get { Residue::Nothing } else { Residue::Unknown },
        remedy: Some("run the command again: it looks before it acts".to_owned()),
    }
}

fn wrong_endpoint(text: &str, why: &str) -> CloudError {
    CloudError {
        operation: "connect to Azure".to_owned(),
        kind: ErrorKind::Invalid,
        code: None,
        request_id: None,
        message: format!("{text:?} can't be the endpoint: {why}"),
        residue: Residue::Nothing,
        remedy: Some(format!("correct {ENDPOINT}, or unset it for {PUBLIC}")),
    }
}

/// Where a known cloud's identities sign in. For an unknown one `AZURE_AUTHORITY_HOST` says it.
fn cloud(endpoint: &Url) -> Option<CloudConfiguration> {
    match endpoint.host_str()? {
        "management.azure.com" => None,
        "management.usgovcloudapi.net" => Some(CloudConfiguration::AzureGovernment),
        "management.chinacloudapi.cn" => Some(CloudConfiguration::AzureChina),
        _ => None,
    }
}

/// The subscription that a call is about.
fn subscription(url: &Url) -> Option<&str> {
    let mut parts = url.path_segments()?;
    let of = parts.next()?.eq_ignore_ascii_case("subscriptions");
    parts.next().filter(|id| of && !id.is_empty())
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether an address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    // An address, not a name: what a name means can change.
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Arm, CloudError> {
        Arm::connect(&|name| (name == ENDPOINT).then(|| text.to_owned()))
    }

    #[test]
    fn the_public_cloud_is_the_default_and_tokens_need_tls() {
        let arm = Arm::connect(&|_| None).expect("the default");
        assert_eq!(arm.endpoint.as_str(), "https://management.azure.com/");
        assert!(arm.tokens.is_some());
        assert!(endpoint("https://management.usgovcloudapi.net").expect("a cloud").tokens.is_some());
        assert!(endpoint("http://127.0.0.1:4000").expect("an emulator").tokens.is_none());
        for wrong in ["http://management.azure.com", "http://localhost:4000", "ftp://127.0.0.1", "management.azure.com"]
        {
            let error = endpoint(wrong).expect_err(wrong);
            assert!(error.message.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_path_and_a_filter_survive_as_an_address() {
        let arm = Arm::connect(&|_| None).expect("the default");
        let request = Request::get("/subscriptions/s/resourceGroups/grün (a)/resources", "2021-04-01")
            .with_query("$filter", "tagName eq 'a+b'");
        assert_eq!(
            arm.url(&request).as_str(),
            "https://management.azure.com/subscriptions/s/resourceGroups/gr%C3%BCn%20(a)/resources\
             ?api-version=2021-04-01&%24filter=tagName%20eq%20%27a%2Bb%27"
        );
    }

    #[test]
    fn a_call_tells_its_subscription() {
        let of = |path: &str| {
            let url = Url::parse(&format!("https://management.azure.com{path}")).expect("an address");
            subscription(&url).map(str::to_owned)
        };
        assert_eq!(of("/subscriptions/s-1/resourceGroups/g?api-version=1").as_deref(), Some("s-1"));
        assert_eq!(of("/Subscriptions/s-1").as_deref(), Some("s-1"));
        assert_eq!((of("/subscriptions"), of("/subscriptions/"), of("/tenants/t")), (None, None, None));
    }

    #[test]
    fn an_address_of_another_host_is_not_ours() {
        let arm = Arm::connect(&|_| None).expect("the default");
        assert!(arm.own("https://management.azure.com:443/x?y").is_some());
        for foreign in ["https://management.azure.com.evil.example/x", "http://management.azure.com/x", "/x", ""] {
            assert!(arm.own(foreign).is_none(), "{foreign}");
        }
    }
}
