//! Whose identity calls carry: the first source that gives a token, asked in one order, and why each of the others did not.

use std::{fmt, sync::Arc, time::Duration};

use azure_core::{
    cloud::CloudConfiguration,
    credentials::{AccessToken, Secret, TokenCredential},
    http::ClientOptions,
    time::OffsetDateTime,
};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use tokio::{sync::Mutex, time::timeout};

use crate::provider::{CloudError, ErrorKind, Residue};

/// Signing in takes a second or two, the Azure CLI up to ten.
const SIGN_IN: Duration = Duration::from_secs(30);
/// Where there is no such service nothing answers at all; nobody shall wait long for that on a laptop.
const METADATA: Duration = Duration::from_secs(2);
/// A token is replaced when it has less than this left.
const MARGIN: Duration = Duration::from_secs(300);

/// One way to get a token.
#[derive(Debug)]
pub struct Source {
    pub name: &'static str,
    /// Or why it can't be tried here.
    pub credential: Result<Arc<dyn TokenCredential>, String>,
    /// What is tried without knowing whether it is there answers in time or not at all.
    pub patience: Duration,
}

/// Tokens for one audience.
#[derive(Debug)]
pub struct Tokens {
    scope: String,
    sources: Vec<Source>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// The source that gave a token first is the identity of the whole run.
    chosen: Option<usize>,
    token: Option<AccessToken>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("chosen", &self.chosen).finish_non_exhaustive()
    }
}

impl Tokens {
    pub fn new(scope: String, sources: Vec<Source>) -> Self {
        Self { scope, sources, held: Mutex::default() }
    }

    /// A token that is valid for some minutes more.
    pub async fn get(&self) -> Result<Secret, CloudError> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.token.as_ref().filter(|t| t.expires_on > OffsetDateTime::now_utc() + MARGIN) {
            return Ok(token.token.clone());
        }
        let mut tried = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            if held.chosen.is_some_and(|chosen| chosen != index) {
                continue;
            }
            match source.ask(&self.scope).await {
                Ok(token) => {
                    let secret = token.token.clone();
                    *held = Held { chosen: Some(index), token: Some(token) };
                    return Ok(secret);
                }
                Err(why) => tried.push(format!("{}: {why}", source.name)),
            }
        }
        Err(none(&tried))
    }

    /// Azure did not accept it: the next call gets another.
    pub async fn forget(&self) {
        self.held.lock().await.token = None;
    }
}

impl Source {
    async fn ask(&self, scope: &str) -> Result<AccessToken, String> {
        let credential = self.credential.as_ref().map_err(String::clone)?;
        match timeout(self.patience, credential.get_token(&[scope], None)).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(format!("no answer within {} s", self.patience.as_secs())),
        }
    }
}

/// The sources in the order of Azure's own tools. Reads the environment through `env`; asks nobody yet.
pub fn sources(env: &dyn Fn(&str) -> Option<String>, cloud: Option<&Arc<CloudConfiguration>>) -> Vec<Source> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let client_options = || ClientOptions { cloud: cloud.cloned(), ..ClientOptions::default() };
    let (tenant, client) = (set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID"));
    let missing = |names: &[&str]| {
        let unset: Vec<&str> = names.iter().copied().filter(|name| set(name).is_none()).collect();
        format!("{} not set", unset.join(", "))
    };

    let environment = match (&tenant, &client, set("AZURE_CLIENT_SECRET")) {
        (Some(tenant), Some(client), Some(secret)) => {
            let options = ClientSecretCredentialOptions { client_options: client_options() };
            ClientSecretCredential::new(tenant, client.clone(), secret.into(), Some(options))
                .map(|c| c as Arc<dyn TokenCredential>)
                .map_err(|error| told(&error))
        }
        _ => Err(missing(&["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"])),
    };
    let workload = match (&tenant, &client, set("AZURE_FEDERATED_TOKEN_FILE")) {
        (Some(tenant), Some(client), Some(file)) => {
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options: client_options() },
                client_id: Some(client.clone()),
                tenant_id: Some(tenant.clone()),
                token_file_path: Some(file.into()),
            };
            WorkloadIdentityCredential::new(Some(options))
                .map(|c| c as Arc<dyn TokenCredential>)
                .map_err(|error| told(&error))
        }
        _ => Err(missing(&["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"])),
    };
    let managed = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: client.clone().map(UserAssignedId::ClientId),
        client_options: client_options(),
    }))
    .map(|c| c as Arc<dyn TokenCredential>)
    .map_err(|error| told(&error));
    let cli = AzureCliCredential::new(Some(AzureCliCredentialOptions {
        tenant_id: tenant,
        ..AzureCliCredentialOptions::default()
    }))
    .map(|c| c as Arc<dyn TokenCredential>)
    .map_err(|error| told(&error));

    // A service that the environment names is there, and may take its time.
    let named = ["IDENTITY_ENDPOINT", "MSI_ENDPOINT"].into_iter().any(|name| set(name).is_some());
    vec![
        Source { name: "environment", credential: environment, patience: SIGN_IN },
        Source { name: "workload identity", credential: workload, patience: SIGN_IN },
        Source { name: "managed identity", credential: managed, patience: if named { SIGN_IN } else { METADATA } },
        Source { name: "Azure CLI", credential: cli, patience: SIGN_IN },
    ]
}

fn none(tried: &[String]) -> CloudError {
    CloudError {
        operation: "sign in to Azure".to_owned(),
        kind: ErrorKind::Credentials,
        code: None,
        request_id: None,
        message: format!("no source gave credentials\n  {}", tried.join("\n  ")),
        residue: Residue::Nothing,
        remedy: Some(
            "log in (`az login`), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; on a machine in Azure, \
             give it a managed identity"
                .to_owned(),
        ),
    }
}

/// An error and its causes, on one line, without links. The libraries keep secrets and tokens out of their errors.
fn told(error: &azure_core::Error) -> String {
    let full = super::exchange::chain(error);
    let line: String = full
        .split("To troubleshoot")
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use azure_core::credentials::TokenRequestOptions;

    use super::*;

    /// Says the same thing each time it is asked, or nothing.
    #[derive(Debug)]
    struct Fixed {
        /// Seconds for which a token is valid; none for a refusal.
        valid: Option<i64>,
        silent: bool,
        asked: AtomicUsize,
    }

    impl TokenCredential for Fixed {
        fn get_token<'a, 'b, 'c, 'd, 'async_trait>(
            &'a self,
            _: &'b [&'c str],
            _: Option<TokenRequestOptions<'d>>,
        ) -> Pin<Box<dyn Future<Output = azure_core::Result<AccessToken>> + Send + 'async_trait>>
        where
            'a: 'async_trait,
            'b: 'async_trait,
            'c: 'async_trait,
            'd: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                if self.silent {
                    std::future::pending::<()>().await;
                }
                let n = self.asked.fetch_add(1, Ordering::Relaxed);
                let refused = || {
                    azure_core::Error::with_message(
                        azure_core::error::ErrorKind::Credential,
                        "Please run 'az login'.\nTo troubleshoot, visit https://aka.ms/x",
                    )
                };
                let valid = self.valid.ok_or_else(refused)?;
                let expires = OffsetDateTime::now_utc() + azure_core::time::Duration::seconds(valid);
                Ok(AccessToken::new(format!("token-{n}"), expires))
            })
        }
    }

    fn source(name: &'static str, valid: Option<i64>, silent: bool) -> (Arc<Fixed>, Source) {
        let fixed = Arc::new(Fixed { valid, silent, asked: AtomicUsize::default() });
        (Arc::clone(&fixed), Source { name, credential: Ok(fixed), patience: METADATA })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_source_that_answers_is_the_identity() {
        let (refusing, a) = source("a", None, false);
        let (giving, b) = source("b", Some(3600), false);
        let tokens = Tokens::new("scope".to_owned(), vec![a, b]);
        assert_eq!(tokens.get().await.expect("a token").secret(), "token-0");
        assert_eq!(tokens.get().await.expect("the same").secret(), "token-0");
        tokens.forget().await;
        assert_eq!(tokens.get().await.expect("another").secret(), "token-1");
        assert_eq!((refusing.asked.load(Ordering::Relaxed), giving.asked.load(Ordering::Relaxed)), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_it_ends() {
        let (asked, a) = source("a", Some(200), false);
        let tokens = Tokens::new("scope".to_owned(), vec![a]);
        for _ in 0..2 {
            tokens.get().await.expect("a token");
        }
        assert_eq!(asked.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_says_what_was_tried_and_why_it_failed() {
        let (_, silent) = source("managed identity", Some(1), true);
        let (_, refusing) = source("Azure CLI", None, false);
        let unset = Source {
            name: "environment",
            credential: Err("AZURE_CLIENT_SECRET not set".to_owned()),
            patience: SIGN_IN,
        };
        let error = Tokens::new("scope".to_owned(), vec![unset, silent, refusing]).get().await.expect_err("nobody");
        insta::assert_snapshot!(error, @r"
        sign in to Azure failed: no source gave credentials
          environment: AZURE_CLIENT_SECRET not set
          managed identity: no answer within 2 s
          Azure CLI: Please run 'az login'.
          exists now: this call changed nothing
          to do: log in (`az login`), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; on a machine in Azure, give it a managed identity
        ");
    }

    #[test]
    fn what_is_missing_in_the_environment_is_named() {
        let env = |name: &str| (name == "AZURE_CLIENT_ID").then(|| "id".to_owned());
        let sources = sources(&env, None);
        let whys: Vec<_> = sources.iter().filter_map(|s| s.credential.as_ref().err()).collect();
        assert_eq!(
            whys,
            ["AZURE_TENANT_ID, AZURE_CLIENT_SECRET not set", "AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE not set"]
        );
    }
}
