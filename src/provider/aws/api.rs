//! The client of one region, and the one way to call it: repeated while that can help, its errors in our words.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
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
use tokio::time::Instant;

pub use super::connection::NotConnected;
use super::{
    call_log::CallLog,
    connection::{self, Connection, ServiceHosts},
    credentials::{CredentialFailure, CredentialSource, told},
    error::{Refusal, cloud_error},
    retry::{self, Repeat},
};
use crate::{
    cloud_error::{
        CloudError, ErrorKind, Failure, Residue,
        no_answer::{NoAnswer, NoAnswerReason, causes, second_try},
    },
    provider::Progress,
};

/// What AWS is told that calls it.
pub(super) const NAME: &str = "gangplank";

/// EC2 in one region, as one identity.
#[derive(Clone, Debug)]
pub struct Ec2 {
    pub client: Client,
    /// CloudTrail, as the same identity in the same region.
    trail: aws_sdk_cloudtrail::Client,
    /// STS, likewise.
    pub sts: aws_sdk_sts::Client,
    hosts: ServiceHosts,
    source: Arc<CredentialSource>,
    /// Somebody has answered: what is silent now was there before.
    answered: Arc<AtomicBool>,
    /// Credentials of the environment that are not used, for a reader.
    pub note: Option<String>,
    pub region: String,
    /// The profile that names the credentials, where one was named.
    pub profile: Option<String>,
}

impl Ec2 {
    /// As a profile where one is named, by the caller or by `AWS_PROFILE`; otherwise through the standard chain: environment,
    /// default profile, web identity, container, instance. See `connection::load`.
    ///
    /// # Errors
    /// What has to be corrected before anybody can be called.
    pub async fn connect(profile: Option<&str>, region: Option<&str>) -> Result<Self, NotConnected> {
        let Connection { config, region, source, hosts, note } = connection::load(profile, region).await?;
        let profile = source.profile().map(str::to_owned);
        let (client, trail, sts) = clients(&config);
        Ok(Self {
            client,
            trail,
            sts,
            profile,
            hosts,
            source: Arc::new(source),
            answered: Arc::default(),
            note,
            region,
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
            ..self.clone()
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
        let (client, trail, sts) = clients(&config.build());
        Self {
            client,
            trail,
            sts,
            hosts: ServiceHosts::default(),
            source: Arc::new(CredentialSource::Sandbox),
            answered: Arc::default(),
            note: None,
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
        let mut lost = false;
        loop {
            let mut failure = match send().await {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => self.explain(operation, &error),
            };
            // A refusal says nothing of an earlier attempt whose answer was lost.
            lost |= failure.error.residue == Residue::Unknown;
            if lost && failure.error.residue == Residue::Nothing {
                failure.error.residue = Residue::Unknown;
            }
            let Failure { error, no_answer } = &failure;
            let seldom_passes = no_answer.as_ref().is_some_and(|n| n.reason.is_unsent());
            let pause = if seldom_passes && !self.answered.load(Ordering::Relaxed) {
                second_try(attempt)
            } else {
                retry::delay(error, repeat, attempt, started.elapsed(), (progress.step, operation))
            };
            let Some(pause) = pause else { return Err(failure.error) };
            progress.retrying_after(&failure, attempt, pause);
            if progress.pause(pause).await.is_err() {
                return Err(failure.error.not_repeated());
            }
            attempt += 1;
        }
    }

    /// The newest events that name a resource, as CloudTrail records them: one page of 50, and no second try.
    ///
    /// # Errors
    /// CloudTrail's refusal or silence.
    pub async fn events(&self, resource: &str, since: Timestamp, now: Timestamp) -> Result<Vec<String>, CloudError> {
        self.lookup(LookupAttributeKey::ResourceName, resource, since, now).await
    }

    /// The newest calls of a name, whatever they were about.
    ///
    /// # Errors
    /// CloudTrail's refusal or silence.
    pub async fn calls_named(&self, name: &str, since: Timestamp, now: Timestamp) -> Result<Vec<String>, CloudError> {
        self.lookup(LookupAttributeKey::EventName, name, since, now).await
    }

    async fn lookup(
        &self,
        key: LookupAttributeKey,
        value: &str,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, CloudError> {
        let attribute = LookupAttribute::builder()
            .attribute_key(key)
            .attribute_value(value)
            .build()
            .map_err(|error| CloudError::mistake(error.to_string()))?;
        let time = |at: Timestamp| DateTime::from_secs(at.as_second());
        let lookup = self.trail.lookup_events().lookup_attributes(attribute).max_results(50);
        let answer = lookup.start_time(time(since)).end_time(time(now)).send().await;
        let answer = answer.map_err(|error| self.explain("LookupEvents", &error).error)?;
        let events = answer.events.unwrap_or_default().into_iter();
        Ok(events.filter_map(|event| event.cloud_trail_event).collect())
    }

    fn explain<E>(&self, operation: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let SdkError::ServiceError(service) = error {
            self.answered.store(true, Ordering::Relaxed);
            let meta = service.err().meta();
            let refusal = Refusal {
                code: meta.code().map(str::to_owned),
                status: Some(service.raw().status().as_u16()),
                message: meta.message().unwrap_or("AWS gave no reason").to_owned(),
                request_id: error.request_id().map(str::to_owned),
            };
            let ended = session_has_ended(&refusal);
            let mut error = cloud_error(operation, refusal);
            if ended && let CredentialSource::Profile(..) = *self.source {
                error.remedy = Some(format!("the session has ended or the clock is wrong: {}", self.source.remedy()));
            }
            return error.into();
        }
        let request_id = error.request_id().map(str::to_owned);
        let unanswered = |kind, message, residue, remedy: String| CloudError {
            operation: operation.to_owned(),
            kind,
            code: None,
            request_id,
            message,
            residue,
            remedy: Some(remedy),
        };
        if let Some(missing) = causes(error).find_map(|cause| cause.downcast_ref::<CredentialFailure>()) {
            let CredentialFailure { kind, message, remedy, no_answer } = missing.clone();
            let error = unanswered(kind, message, Residue::Nothing, remedy);
            return Failure { error, no_answer };
        }
        self.silence(operation, error, unanswered)
    }

    /// No answer, or one that can't be read.
    fn silence<E>(
        &self,
        operation: &str,
        error: &SdkError<E, HttpResponse>,
        unanswered: impl FnOnce(ErrorKind, String, Residue, String) -> CloudError,
    ) -> Failure
    where
        E: Error + 'static,
    {
        let (service, named) = match operation {
            "LookupEvents" => ("CloudTrail", &self.hosts.cloudtrail),
            "GetCallerIdentity" => ("STS", &self.hosts.sts),
            _ => ("EC2", &self.hosts.ec2),
        };
        let host = named.clone().unwrap_or_else(|| format!("{service} in {}", self.region));
        let reason = match error {
            SdkError::TimeoutError(_) => Some(NoAnswerReason::TimedOut),
            SdkError::DispatchFailure(_) => Some(NoAnswerReason::of(error)),
            _ => None,
        };
        let is_read = ["Describe", "Get", "Lookup"].iter().any(|verb| operation.starts_with(verb));
        let harmless = is_read
            || matches!(error, SdkError::ConstructionFailure(_))
            || reason.is_some_and(NoAnswerReason::is_unsent);
        let residue = if harmless { Residue::Nothing } else { Residue::Unknown };
        let no_answer = reason.map(|reason| NoAnswer { host: host.clone(), reason });
        let message = match &no_answer {
            Some(no_answer) if no_answer.reason != NoAnswerReason::ConnectionLost => no_answer.to_string(),
            _ => format!("no readable answer from {host}: {}", told(error)),
        };
        let region = &self.region;
        let remedy = match (reason, named) {
            (Some(NoAnswerReason::UntrustedCertificate), _) => {
                "behind a proxy that reads TLS, name the file with its certificate authority in AWS_CA_BUNDLE"
                    .to_owned()
            }
            (_, Some(_)) => "check the network, and AWS_ENDPOINT_URL or the profile's `endpoint_url`".to_owned(),
            (_, None) => format!("check the network, the proxy, and that {region} is a region of AWS"),
        };
        Failure { error: unanswered(ErrorKind::Unreachable, message, residue, remedy), no_answer }
    }
}

/// Of each service one, whose requests are logged.
fn clients(config: &SdkConfig) -> (Client, aws_sdk_cloudtrail::Client, aws_sdk_sts::Client) {
    let trail = aws_sdk_cloudtrail::config::Builder::from(config).interceptor(CallLog).build();
    let sts = aws_sdk_sts::config::Builder::from(config).interceptor(CallLog).build();
    (
        Client::from_conf(aws_sdk_ec2::config::Builder::from(config).interceptor(CallLog).build()),
        aws_sdk_cloudtrail::Client::from_conf(trail),
        aws_sdk_sts::Client::from_conf(sts),
    )
}

fn session_has_ended(refusal: &Refusal) -> bool {
    matches!(refusal.code.as_deref(), Some("ExpiredToken" | "ExpiredTokenException" | "RequestExpired"))
}
