//! Whose identity calls carry, and why there is none: told by what was asked, in our words and never as the SDK's debugging text.

use std::{error::Error, fmt, sync::Mutex};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future};
use aws_smithy_types::error::ErrorMetadata;

use super::{
    error::{Refusal, kind},
    profile::{NamedProfile, ProfileLogin},
};
use crate::{
    cloud_error::{
        ErrorKind,
        no_answer::{NoAnswer, NoAnswerReason, causes},
    },
    secret,
};

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// This profile and nothing else.
    Profile(NamedProfile, ProfileLogin),
    /// Environment, default profile, web identity, container, instance; the default profile's login where there is one.
    Chain(Option<ProfileLogin>),
    /// Made for a world that checks none.
    Sandbox,
}

/// There are no credentials.
#[derive(Clone, Debug)]
pub struct CredentialFailure {
    pub kind: ErrorKind,
    pub message: String,
    pub remedy: String,
    /// Whoever gives the credentials did not answer.
    pub no_answer: Option<NoAnswer>,
}

impl fmt::Display for CredentialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CredentialFailure {}

/// A provider of the SDK's whose failures are [`CredentialFailure`]s.
#[derive(Debug)]
pub struct ExplainedProvider {
    inner: SharedCredentialsProvider,
    source: CredentialSource,
    /// Why the profile cannot be used at all. The SDK tells that once, and then only that it has told it.
    unusable: Mutex<Option<CredentialFailure>>,
}

impl ExplainedProvider {
    pub fn new(inner: SharedCredentialsProvider, source: CredentialSource) -> Self {
        Self { inner, source, unusable: Mutex::default() }
    }

    fn explain(&self, error: &CredentialsError) -> CredentialFailure {
        let mut unusable = self.unusable.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match (error, unusable.as_ref()) {
            (CredentialsError::Unhandled(_), Some(first)) => first.clone(),
            (CredentialsError::InvalidConfiguration(_) | CredentialsError::CredentialsNotLoaded(_), _) => {
                unusable.insert(self.source.failure(error)).clone()
            }
            _ => self.source.failure(error),
        }
    }
}

impl ProvideCredentials for ExplainedProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let provided = self.inner.provide_credentials().await;
            provided.map_err(|error| CredentialsError::provider_error(self.explain(&error)))
        })
    }
}

impl CredentialSource {
    /// The profile that somebody named.
    pub fn profile(&self) -> Option<&str> {
        match self {
            Self::Profile(profile, _) => Some(&profile.name),
            Self::Chain(_) | Self::Sandbox => None,
        }
    }

    /// What a person does about credentials that are missing, refused or over.
    pub fn remedy(&self) -> String {
        match self {
            Self::Profile(_, login) | Self::Chain(Some(login)) => login.remedy(),
            Self::Chain(None) | Self::Sandbox => {
                "log in (`aws sso login`, `aws login`, `aws configure`), set AWS_PROFILE, or set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned()
            }
        }
    }

    fn failure(&self, error: &CredentialsError) -> CredentialFailure {
        let giver = match self {
            Self::Profile(profile, _) => format!("whoever gives the profile {} its credentials", profile.name),
            Self::Chain(_) | Self::Sandbox => "whoever gives the credentials".to_owned(),
        };
        if let Some(reason) = unreachable(error) {
            let no_answer = NoAnswer { host: giver, reason };
            return CredentialFailure {
                kind: ErrorKind::Unreachable,
                message: format!("{no_answer}: {}", told(error)),
                remedy: "check the network, the proxy, and AWS_ENDPOINT_URL where it is set".to_owned(),
                no_answer: Some(no_answer),
            };
        }
        let why = told(error);
        let message = match (self, error) {
            (Self::Profile(profile, _), _) => format!("the profile {} gives no credentials: {why}", profile.name),
            (_, CredentialsError::CredentialsNotLoaded(_)) => "there are no AWS credentials: asked were Environment \
                 (AWS_ACCESS_KEY_ID), the default profile, web identity, the container and the instance"
                .to_owned(),
            _ => format!("there are no AWS credentials: {why}"),
        };
        CredentialFailure { kind: kind_of(error), message, remedy: self.remedy(), no_answer: None }
    }
}

/// Of errors without a refusal: whether somebody could not be reached.
fn unreachable(error: &CredentialsError) -> Option<NoAnswerReason> {
    let reason = NoAnswerReason::of(error);
    let silent = matches!(error, CredentialsError::ProviderError(_)) && reason != NoAnswerReason::ConnectionLost;
    silent.then_some(reason)
}

/// What passes by itself is worth another call; all else is the credentials'.
fn kind_of(error: &CredentialsError) -> ErrorKind {
    let refused = causes(error).find_map(|cause| cause.downcast_ref::<ErrorMetadata>());
    let Some(code) = refused.and_then(ErrorMetadata::code) else { return ErrorKind::Credentials };
    let refusal = Refusal { code: Some(code.to_owned()), status: None, message: String::new(), request_id: None };
    match kind(&refusal) {
        passing @ (ErrorKind::Throttled | ErrorKind::Fault) => passing,
        _ => ErrorKind::Credentials,
    }
}

/// What an error's causes say, without what only names a layer of the SDK.
pub fn told(error: &(dyn Error + 'static)) -> String {
    const LAYERS: &[&str] = &[
        "the credential provider was not enabled",
        "the credentials provider was not properly configured",
        "an error occurred while loading credentials",
        "unexpected credentials error",
        "failed to construct request",
        "dispatch failure",
        "response error",
        "service error",
        "io error",
        "other",
        "user error",
        "client error (Connect)",
        "tcp connect error",
        "TLS handshake failed",
    ];
    let mut words: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = match cause.downcast_ref::<ErrorMetadata>() {
            Some(refusal) => {
                let parts = [refusal.code(), refusal.message()];
                on_one_line(&parts.into_iter().flatten().collect::<Vec<_>>().join(": "))
            }
            None => on_one_line(&cause.to_string()),
        };
        let says_nothing = text.is_empty() || LAYERS.contains(&text.as_str()) || text.starts_with("unhandled error");
        if !says_nothing && !words.iter().any(|said| said.contains(&text)) {
            words.push(text);
        }
    }
    if words.is_empty() { on_one_line(&error.to_string()) } else { words.join(": ") }
}

/// Another program's text, which may be long, hold secrets, and command a terminal: `credential_process` prints what it likes.
fn on_one_line(text: &str) -> String {
    const LONGEST: usize = 500;
    let text = secret::redact(text);
    let harmless: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    harmless.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::aws::profile::{LoginKind, NamedBy};

    fn source() -> CredentialSource {
        let named = NamedProfile { name: "data".to_owned(), named_by: NamedBy::Caller };
        let login = ProfileLogin { profile: "base".to_owned(), kind: LoginKind::SingleSignOn };
        CredentialSource::Profile(named, login)
    }

    #[test]
    fn a_refusal_is_told_by_its_code_and_never_as_debugging_text() {
        let refusal = ErrorMetadata::builder().code("AccessDenied").message("not allowed\nto assume it").build();
        let failure = source().failure(&CredentialsError::provider_error(refusal));
        assert_eq!(failure.message, "the profile data gives no credentials: AccessDenied: not allowed to assume it");
        assert_eq!(
            (failure.kind, failure.remedy.as_str()),
            (ErrorKind::Credentials, "log in: `aws sso login --profile base`")
        );
    }

    #[test]
    fn what_passes_by_itself_is_not_the_credentials_fault() {
        let throttled = ErrorMetadata::builder().code("Throttling").build();
        assert_eq!(source().failure(&CredentialsError::provider_error(throttled)).kind, ErrorKind::Throttled);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(source().failure(&CredentialsError::provider_error(refused)).kind, ErrorKind::Unreachable);
    }

    #[test]
    fn why_a_profile_cannot_be_used_is_told_each_time() {
        #[derive(Debug)]
        struct Once(Mutex<bool>);
        impl ProvideCredentials for Once {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                let told = std::mem::replace(&mut *self.0.lock().expect("one thread"), true);
                future::ProvideCredentials::ready(Err(match told {
                    false => CredentialsError::invalid_configuration("no such source profile"),
                    true => CredentialsError::unhandled("error already taken"),
                }))
            }
        }
        let provider = ExplainedProvider::new(SharedCredentialsProvider::new(Once(Mutex::default())), source());
        for _ in 0..2 {
            let error = futures_util::FutureExt::now_or_never(provider.provide_credentials())
                .expect("ready")
                .expect_err("none");
            let failure =
                causes(&error).find_map(|cause| cause.downcast_ref::<CredentialFailure>()).expect("explained");
            assert!(failure.message.ends_with("no such source profile"), "{failure}");
        }
    }
}
