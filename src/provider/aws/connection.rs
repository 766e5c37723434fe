//! How EC2 is reached, and as whom: what plan, command line, environment and shared configuration files say, read and checked
//! before the first call.

#![allow(
    deprecated,
    reason = "the names `ProfileFiles` and `ProfileFileKind`: they stand for types of a crate that nothing else here needs"
)]

use std::{borrow::Cow, env, fs, time::Duration};

use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig,
    profile::{ProfileFileCredentialsProvider, ProfileSet},
    provider_config::ProviderConfig,
    retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{
    api::NAME,
    ca_bundle,
    credentials::{CredentialSource, ExplainedProvider},
    profile::{LoginKind, MissingProfile, NamedBy, NamedProfile, ProfileLogin, unused_credentials},
};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    provider::endpoint_setting,
};

const ENDPOINTS: &[&str] = &[
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_CLOUDTRAIL",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_ENDPOINT_URL_SIGNIN",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// One identity's way to one region.
#[derive(Debug)]
pub struct Connection {
    pub config: SdkConfig,
    pub region: String,
    pub source: CredentialSource,
    pub hosts: ServiceHosts,
    /// What of the environment is not used, for a reader.
    pub note: Option<String>,
}

/// The hosts of services, where a setting names one.
#[derive(Clone, Debug, Default)]
pub struct ServiceHosts {
    pub ec2: Option<String>,
    pub cloudtrail: Option<String>,
    pub sts: Option<String>,
}

/// Why nobody is called.
#[derive(Debug)]
pub enum NotConnected {
    /// Neither the caller, nor the environment, nor the profile names a region.
    NoRegion,
    /// A named profile is in no file.
    NoProfile(MissingProfile),
    /// A setting that can't be used.
    Setting(CloudError),
}

impl From<CloudError> for NotConnected {
    fn from(error: CloudError) -> Self {
        Self::Setting(error)
    }
}

impl From<MissingProfile> for NotConnected {
    fn from(missing: MissingProfile) -> Self {
        Self::NoProfile(missing)
    }
}

impl NotConnected {
    /// For whoever has no plan to point at.
    pub fn into_error(self) -> CloudError {
        match self {
            NotConnected::NoRegion => {
                refused("no region is known".to_owned(), "name one with --region, or set AWS_REGION".to_owned())
            }
            NotConnected::NoProfile(missing) => {
                let of = match missing.profile.named_by {
                    NamedBy::Environment => " of AWS_PROFILE",
                    NamedBy::Caller => "",
                };
                let message = format!("there is no profile {}{of}: {}", missing.profile.name, missing.where_not());
                CloudError { kind: ErrorKind::Credentials, ..refused(message, missing.remedy()) }
            }
            NotConnected::Setting(error) => error,
        }
    }
}

/// Reads files and environment; the network is first asked by the first call (or for the region, on an EC2 machine).
///
/// # Errors
/// What has to be corrected first.
pub async fn load(profile: Option<&str>, region: Option<&str>) -> Result<Connection, NotConnected> {
    let settings = Settings::read(profile).await?;
    let config = settings.config(region).await;
    let region = config.region().filter(|region| !region.as_ref().is_empty()).ok_or(NotConnected::NoRegion)?.clone();
    let source = settings.source();
    let provider = match &source {
        CredentialSource::Profile(named, _) => Some(settings.of_profile(named, &region, &config)),
        CredentialSource::Chain(_) | CredentialSource::Sandbox => config.credentials_provider(),
    };
    let mut builder = config.to_builder();
    if let Some(provider) = provider {
        let explained = ExplainedProvider::new(provider, source.clone());
        builder = builder.credentials_provider(SharedCredentialsProvider::new(explained));
    }
    let host = |service: &str| {
        let address = set(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| config.endpoint_url().map(str::to_owned));
        address.map(|address| endpoint_setting::host(&address))
    };
    let hosts = ServiceHosts { ec2: host("EC2"), cloudtrail: host("CLOUDTRAIL"), sts: host("STS") };
    let note = settings.note(&source);
    Ok(Connection { config: builder.build(), region: region.to_string(), source, hosts, note })
}

/// A variable of the environment that is not empty.
fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What environment and files say, where it can be used.
struct Settings {
    named: Option<NamedProfile>,
    sources: ProfileFiles,
    files: Option<ProfileSet>,
    /// Where a bundle of certificates is named.
    client: Option<SharedHttpClient>,
}

impl Settings {
    async fn read(profile: Option<&str>) -> Result<Self, NotConnected> {
        endpoint_setting::check("AWS", ENDPOINTS, &set)?;
        let named = NamedProfile::choose(profile, &set);
        if named.is_none() {
            whole_key(&set)?;
        }
        let sources = profile_files(&set);
        let files = files(named.as_ref(), &sources, &set).await?;
        if let Some(files) = &files {
            check_endpoint(files)?;
        }
        let of_profile = || files.as_ref()?.get("ca_bundle").filter(|path| !path.is_empty());
        let client = match (set("AWS_CA_BUNDLE"), of_profile()) {
            (Some(path), _) => Some(ca_bundle::client(&path, "AWS_CA_BUNDLE")?),
            (None, Some(path)) => Some(ca_bundle::client(path, "the profile's `ca_bundle`")?),
            (None, None) => None,
        };
        Ok(Self { named, sources, files, client })
    }

    async fn config(&self, region: Option<&str>) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .profile_files(self.sources.clone())
            // `call` repeats, since it knows which calls may be, and says so while it waits.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts());
        // CloudTrail shows it with each call: so drift knows what gangplank did itself.
        if let Ok(name) = AppName::new(NAME) {
            loader = loader.app_name(name);
        }
        if let Some(client) = &self.client {
            loader = loader.http_client(client.clone());
        }
        if let Some(named) = &self.named {
            loader = loader.profile_name(named.name.clone());
        }
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        loader.load().await
    }

    /// What a profile gives, and nobody else.
    fn of_profile(&self, named: &NamedProfile, region: &Region, config: &SdkConfig) -> SharedCredentialsProvider {
        let mut of = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_retry_config(RetryConfig::disabled())
            .with_timeout_config(timeouts())
            .with_use_fips(config.use_fips())
            .with_use_dual_stack(config.use_dual_stack());
        if let Some(client) = &self.client {
            of = of.with_http_client(client.clone());
        }
        let builder = ProfileFileCredentialsProvider::builder().configure(&of).profile_files(self.sources.clone());
        SharedCredentialsProvider::new(builder.profile_name(&named.name).build())
    }

    fn source(&self) -> CredentialSource {
        match &self.named {
            Some(named) => CredentialSource::Profile(named.clone(), self.login(&named.name)),
            None => {
                // One without keys is the same as none: then the others are asked.
                CredentialSource::Chain(Some(self.login("default")).filter(|login| login.kind != LoginKind::AccessKeys))
            }
        }
    }

    fn login(&self, profile: &str) -> ProfileLogin {
        ProfileLogin::of(profile, &|profile, key| self.setting(profile, key))
    }

    fn setting(&self, profile: &str, key: &str) -> Option<String> {
        self.files.as_ref()?.get_profile(profile)?.get(key).map(str::to_owned)
    }

    /// What a reader is told whose environment has other credentials; a profile may also take them from there.
    fn note(&self, source: &CredentialSource) -> Option<String> {
        let CredentialSource::Profile(named, login) = source else { return None };
        let takes = self.setting(&login.profile, "credential_source").is_some();
        if takes { None } else { unused_credentials(named, &set) }
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(60))
        .build()
}

/// Where the shared configuration files are. One that sets `endpoint_url` to nothing is handed over without those lines: the SDK takes
/// nothing for an address, and panics.
fn profile_files(set: &dyn Fn(&str) -> Option<String>) -> ProfileFiles {
    let of = |variable: &str, usual: &str| {
        let path = set(variable).unwrap_or_else(|| format!("~/{usual}"));
        let path = match (path.strip_prefix("~/"), set("HOME")) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => path,
        };
        fs::read_to_string(path).unwrap_or_default()
    };
    let (config, credentials) =
        (of("AWS_CONFIG_FILE", ".aws/config"), of("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"));
    let names_nothing = |line: &&str| {
        line.split_once('=').is_some_and(|(key, value)| key.trim() == "endpoint_url" && value.trim().is_empty())
    };
    if !config.lines().chain(credentials.lines()).any(|line| names_nothing(&line)) {
        return ProfileFiles::default();
    }
    let without = |text: &str| text.lines().filter(|line| !names_nothing(line)).collect::<Vec<_>>().join("\n");
    ProfileFiles::builder()
        .with_contents(ProfileFileKind::Config, without(&config))
        .with_contents(ProfileFileKind::Credentials, without(&credentials))
        .build()
}

/// The shared configuration files, as the SDK reads them; `None` where they can't be read and nobody named a profile.
async fn files(
    named: Option<&NamedProfile>,
    sources: &ProfileFiles,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<ProfileSet>, NotConnected> {
    let name = named.map_or("default", |named| &named.name).to_owned();
    // In this process's file system and environment.
    let read =
        aws_config::profile::load(&Default::default(), &Default::default(), sources, Some(Cow::Owned(name))).await;
    match (read, named) {
        (Ok(files), Some(named)) if files.get_profile(&named.name).is_none() => {
            let known = files.profiles().map(str::to_owned);
            Err(MissingProfile::new(named.clone(), known, env).into())
        }
        (Ok(files), _) => Ok(Some(files)),
        (Err(_), None) => Ok(None),
        (Err(error), Some(named)) => {
            let why = super::credentials::told(&error);
            let message = format!("the profile {} cannot be read: {why}", named.name);
            Err(refused(message, "correct the file; `aws configure list-profiles` reads it, too".to_owned()).into())
        }
    }
}

/// The SDK takes a wrong address for a network that is down.
fn check_endpoint(files: &ProfileSet) -> Result<(), CloudError> {
    let setting = format!("`endpoint_url` of the profile {}", files.selected_profile());
    match files.get("endpoint_url") {
        Some(value) => endpoint_setting::check_web_address("AWS", &setting, value),
        None => Ok(()),
    }
}

/// Half a key is a mistake, and the SDK would go on to whoever comes next.
fn whole_key(set: &dyn Fn(&str) -> Option<String>) -> Result<(), CloudError> {
    let secret = set("AWS_SECRET_ACCESS_KEY").or_else(|| set("SECRET_ACCESS_KEY"));
    let (there, missing) = match (set("AWS_ACCESS_KEY_ID"), secret) {
        (Some(_), None) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        (None, Some(_)) if set("AWS_SECRET_ACCESS_KEY").is_some() => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        _ => return Ok(()),
    };
    let error = refused(format!("{there} is set, and {missing} is not"), format!("set {missing}, or unset {there}"));
    Err(CloudError { kind: ErrorKind::Credentials, ..error })
}

fn refused(message: String, remedy: String) -> CloudError {
    CloudError {
        operation: "connect to AWS".to_owned(),
        kind: ErrorKind::Invalid,
        code: None,
        request_id: None,
        message,
        residue: Residue::Nothing,
        remedy: Some(remedy),
    }
}
