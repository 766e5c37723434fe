//! The client of one region, and the one way to call it: repeated while that can help, its errors in our words.

use std::error::Error;

use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{SharedCredentialsProvider, error::CredentialsError},
};
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use aws_sdk_ec2::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use aws_smithy_runtime_api::client::http::HttpClient;
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

use super::{
    error::{Refusal, cloud_error},
    retry::{self, Repeat},
};
use crate::{
    provider::{CloudError, ErrorKind, Progress, Residue},
    secret,
};

/// What AWS is told that calls it.
const NAME: &str = "gangplank";

/// EC2 in one region, as one identity.
#[derive(Clone, Debug)]
pub struct Ec2 {
    pub client: Client,
    /// CloudTrail, as the same identity in the same region.
    trail: aws_sdk_cloudtrail::Client,
    /// STS, likewise.
    pub sts: aws_sdk_sts::Client,
    pub region: String,
    /// The profile that names the credentials, where one was named.
    pub profile: Option<String>,
}

/// The standard chain found no region.
#[derive(Debug)]
pub struct NoRegion;

impl Ec2 {
    /// Through the standard chain: environment, profile, web identity, container, instance; `AWS_ENDPOINT_URL` is honoured.
    /// Reads files and environment; the network is first asked by the first call (or for the region, on an EC2 machine).
    pub async fn connect(profile: Option<&str>, region: Option<&str>) -> Result<Self, NoRegion> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            // CloudTrail shows it with each call: so drift knows what gangplank did itself.
            .app_name(AppName::new(NAME).map_err(|_| NoRegion)?)
            // `call` repeats, since it knows which calls may be, and says so while it waits.
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .operation_attempt_timeout(Duration::from_secs(60))
                    .build(),
            );
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        let region = config.region().ok_or(NoRegion)?.to_string();
        let from_environment = || std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        Ok(Self {
            client: Client::new(&config),
            trail: aws_sdk_cloudtrail::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            region,
            profile: profile.map(str::to_owned).or_else(from_environment),
        })
    }

    /// The same identity in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.client.config().to_builder().region(Region::new(region.to_owned())).build();
        let trail = self.trail.config().to_builder().region(Region::new(region.to_owned())).build();
        let sts = self.sts.config().to_builder().region(Region::new(region.to_owned())).build();
        Self {
            client: Client::from_conf(config),
            trail: aws_sdk_cloudtrail::Client::from_conf(trail),
            sts: aws_sdk_sts::Client::from_conf(sts),
            region: region.to_owned(),
            profile: self.profile.clone(),
        }
    }

    /// Over a transport of the caller's, with credentials that nobody gave out: for worlds that check none. Asks neither the
    /// environment nor a file.
    pub fn over(http: impl HttpClient + 'static, region: &str) -> Self {
        let credentials = Credentials::new("AKIASANDBOXSANDBOX00", "sandbox", None, None, "gangplank");
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            // An answer is there at once or never.
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_app_name(AppName::new(NAME).ok());
        let config = config.build();
        Self {
            client: Client::new(&config),
            trail: aws_sdk_cloudtrail::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            region: region.to_owned(),
            profile: None,
        }
    }

    /// Calls until it succeeds, fails for good, or patience ends.
    pub async fn call<T, E, F>(
        &self,
        operation: &str,
        repeat: Repeat,
        progress: &Progress<'_>,
        send: impl Fn() -> F,
    ) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            let error = match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.explain(operation, &error),
            };
            let Some(pause) = retry::delay(&error, repeat, attempt, started.elapsed(), (progress.step, operation))
            else {
                return Err(error);
            };
            progress.retrying(operation, error.kind, error.code.as_deref().unwrap_or_default(), attempt, pause);
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// The newest events that name a resource, as CloudTrail records them: one page of 50, and no second try.
    ///
    /// # Errors
    /// CloudTrail's refusal or silence.
    pub async fn events(&self, resource: &str, since: Timestamp, now: Timestamp) -> Result<Vec<String>, CloudError> {
        let attribute = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::ResourceName)
            .attribute_value(resource)
            .build()
            .map_err(|error| CloudError::mistake(error.to_string()))?;
        let time = |at: Timestamp| DateTime::from_secs(at.as_second());
        let lookup = self.trail.lookup_events().lookup_attributes(attribute).max_results(50);
        let answer = lookup.start_time(time(since)).end_time(time(now)).send().await;
        let answer = answer.map_err(|error| self.explain("LookupEvents", &error))?;
        let events = answer.events.unwrap_or_default().into_iter();
        Ok(events.filter_map(|event| event.cloud_trail_event).collect())
    }

    fn explain<E>(&self, operation: &str, error: &SdkError<E, HttpResponse>) -> CloudError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let SdkError::ServiceError(service) = error {
            let meta = service.err().meta();
            return cloud_error(
                operation,
                Refusal {
                    code: meta.code().map(str::to_owned),
                    status: Some(service.raw().status().as_u16()),
                    message: meta.message().unwrap_or("AWS gave no reason").to_owned(),
                    request_id: error.request_id().map(str::to_owned),
                },
            );
        }
        let no_answer = |kind, message, residue, remedy: String| CloudError {
            operation: operation.to_owned(),
            kind,
            code: None,
            request_id: error.request_id().map(str::to_owned),
            message,
            residue,
            remedy: Some(remedy),
        };
        if let Some(missing) = find::<CredentialsError>(error) {
            return no_answer(
                ErrorKind::Credentials,
                format!("there are no AWS credentials: {}", chain(missing)),
                Residue::Nothing,
                "log in (`aws sso login`, `aws configure`), set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; asked were \
                 the environment, the shared files, web identity, the container and the instance"
                    .to_owned(),
            );
        }
        let residue = match error {
            SdkError::ConstructionFailure(_) => Residue::Nothing,
            _ if operation == "LookupEvents" || operation.starts_with("Describe") || operation.starts_with("Get") => {
                Residue::Nothing
            }
            _ => Residue::Unknown,
        };
        let service = match operation {
            "LookupEvents" => "CloudTrail",
            "GetCallerIdentity" => "STS",
            _ => "EC2",
        };
        no_answer(
            ErrorKind::Unreachable,
            format!("no readable answer from {service} in {}: {}", self.region, chain(error)),
            residue,
            format!("check the network, AWS_ENDPOINT_URL, and that {} is a region of this account", self.region),
        )
    }
}

/// An error and its causes, each in its own words, without secrets: `credential_process` prints what it likes, and a proxy's
/// address may hold a password. The SDK's full context would add requests and headers.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = vec![error.to_string()];
    let mut current = error.source();
    while let Some(cause) = current {
        let text = cause.to_string();
        if !words.contains(&text) {
            words.push(text);
        }
        current = cause.source();
    }
    secret::redact(&words.join(": ")).into_owned()
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        current = error.source();
    }
    None
}
