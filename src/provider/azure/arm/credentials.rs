//! Whose identity calls carry: the first source that gives a token, asked in one order, and why each of the others did not.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

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
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

use crate::cloud_error::{CloudError, ErrorKind, Residue};

/// Signing in takes a second or two, the Azure CLI up to ten.
const SIGN_IN: Duration = Duration::from_secs(30);
/// Where there is no such service nothing answers at all; nobody shall wait long for that on a laptop.
const METADATA: Duration = Duration::from_secs(2);
/// A token is replaced when it has less than this left.
const MARGIN: Duration = Duration::from_secs(300);

/// Processes of the Azure CLI at once: each is a Python of its own.
const PROCESSES: usize = 4;

/// One way to get a token.
#[derive(Debug)]
pub struct Source {
    pub name: &'static str,
    /// Or why it can't be tried here.
    pub credential: Result<Credential, String>,
    /// What is tried without knowing whether it is there answers in time or not at all.
    pub patience: Duration,
}

pub enum Credential {
    /// The same identity everywhere.
    Shared(Arc<dyn TokenCredential>),
    /// Somebody who may be logged in to several tenants at once, and is asked by subscription.
    OfSubscription(ForSubscription),
}

/// Makes the credential for a subscription; for whatever is the default where none is known.
type ForSubscription = Box<dyn Fn(Option<&str>) -> Result<Arc<dyn TokenCredential>, String> + Send + Sync>;

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared(_) => "Shared",
            Self::OfSubscription(_) => "OfSubscription",
        })
    }
}

/// Tokens for one audience.
#[derive(Debug)]
pub struct Tokens {
    scope: String,
    sources: Vec<Source>,
    /// The source that gave a token first is the identity of the whole run.
    chosen: Mutex<Option<usize>>,
    held: std::sync::Mutex<HashMap<Option<String>, Held>>,
    processes: Semaphore,
}

/// The token of a subscription, or the one for all of them.
type Held = Arc<Mutex<Token>>;

#[derive(Default)]
struct Token(Option<AccessToken>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a token" } else { "none" })
    }
}

impl Token {
    fn valid(&self) -> Option<Secret> {
        let token = self.0.as_ref().filter(|t| t.expires_on > OffsetDateTime::now_utc() + MARGIN)?;
        Some(token.token.clone())
    }
}

impl Tokens {
    pub fn new(scope: String, sources: Vec<Source>) -> Self {
        let processes = Semaphore::new(PROCESSES);
        Self { scope, sources, chosen: Mutex::default(), held: std::sync::Mutex::default(), processes }
    }

    /// A token that is valid for some minutes more, for calls about this subscription.
    pub async fn get(&self, subscription: Option<&str>) -> Result<Secret, CloudError> {
        let mut chosen = self.chosen.lock().await;
        if let Some(index) = *chosen {
            drop(chosen);
            return self.of_source(index, subscription).await.map_err(|why| none(subscription, &[why]));
        }
        let mut tried = Vec::new();
        for index in 0..self.sources.len() {
            match self.of_source(index, subscription).await {
                Ok(secret) => {
                    *chosen = Some(index);
                    return Ok(secret);
                }
                Err(why) => tried.push(why),
            }
        }
        Err(none(subscription, &tried))
    }

    /// Azure did not accept it: the next call gets another.
    pub async fn forget(&self, subscription: Option<&str>) {
        for key in [None, subscription] {
            *self.held(key).lock().await = Token::default();
        }
    }

    async fn of_source(&self, index: usize, subscription: Option<&str>) -> Result<Secret, String> {
        let Some(source) = self.sources.get(index) else { return Err("no such source".to_owned()) };
        let named = |why: String| format!("{}: {why}", source.name);
        let (key, credential) = match source.credential.as_ref().map_err(|why| named(why.clone()))? {
            Credential::Shared(credential) => (None, Ok(Arc::clone(credential))),
            Credential::OfSubscription(make) => (subscription, make(subscription)),
        };
        let held = self.held(key);
        let mut token = held.lock().await;
        if let Some(secret) = token.valid() {
            return Ok(secret);
        }
        let _turn = self.processes.acquire().await;
        let fresh = ask(&*credential.map_err(named)?, &self.scope, source.patience).await.map_err(named)?;
        let secret = fresh.token.clone();
        token.0 = Some(fresh);
        Ok(secret)
    }

    fn held(&self, key: Option<&str>) -> Held {
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(held.entry(key.map(str::to_owned)).or_default())
    }
}

async fn ask(credential: &dyn TokenCredential, scope: &str, patience: Duration) -> Result<AccessToken, String> {
    match timeout(patience, credential.get_token(&[scope], None)).await {
        Ok(Ok(token)) => Ok(token),
        Ok(Err(error)) => Err(told(&error)),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
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
                .map(|c| Credential::Shared(c))
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
            WorkloadIdentityCredential::new(Some(options)).map(|c| Credential::Shared(c)).map_err(|error| told(&error))
        }
        _ => Err(missing(&["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"])),
    };
    let managed = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: client.clone().map(UserAssignedId::ClientId),
        client_options: client_options(),
    }))
    .map(|c| Credential::Shared(c))
    .map_err(|error| told(&error));
    // A subscription tells its tenant, and the CLI refuses to be told both: "Please specify only one of subscription and tenant,
    // not both" (azure-cli, `get_raw_token`).
    let cli = Credential::OfSubscription(Box::new(move |subscription| {
        let options = AzureCliCredentialOptions {
            subscription: subscription.map(str::to_owned),
            tenant_id: tenant.clone().filter(|_| subscription.is_none()),
            ..AzureCliCredentialOptions::default()
        };
        AzureCliCredential::new(Some(options)).map(|c| c as Arc<dyn TokenCredential>).map_err(|error| told(&error))
    }));

    // A service that the environment names is there, and may take its time.
    let named = ["IDENTITY_ENDPOINT", "MSI_ENDPOINT"].into_iter().any(|name| set(name).is_some());
    vec![
        Source { name: "environment", credential: environment, patience: SIGN_IN },
        Source { name: "workload identity", credential: workload, patience: SIGN_IN },
        Source { name: "managed identity", credential: managed, patience: if named { SIGN_IN } else { METADATA } },
        Source { name: "Azure CLI", credential: Ok(cli), patience: SIGN_IN },
    ]
}

fn none(subscription: Option<&str>, tried: &[String]) -> CloudError {
    let of = subscription.map(|id| format!(" for subscription {id}")).unwrap_or_default();
    CloudError {
        operation: "sign in to Azure".to_owned(),
        kind: ErrorKind::Credentials,
        code: None,
        request_id: None,
        message: format!("no source gave credentials{of}\n  {}", tried.join("\n  ")),
        residue: Residue::Nothing,
        remedy: Some(
            "log in (`az login`; `az login --tenant TENANT` for a tenant that is not your own), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; on a machine in Azure, \
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
        (Arc::clone(&fixed), Source { name, credential: Ok(Credential::Shared(fixed)), patience: METADATA })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_source_that_answers_is_the_identity() {
        let (refusing, a) = source("a", None, false);
        let (giving, b) = source("b", Some(3600), false);
        let tokens = Tokens::new("scope".to_owned(), vec![a, b]);
        assert_eq!(tokens.get(None).await.expect("a token").secret(), "token-0");
        assert_eq!(tokens.get(None).await.expect("the same").secret(), "token-0");
        tokens.forget(None).await;
        assert_eq!(tokens.get(None).await.expect("another").secret(), "token-1");
        assert_eq!((refusing.asked.load(Ordering::Relaxed), giving.asked.load(Ordering::Relaxed)), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_it_ends() {
        let (asked, a) = source("a", Some(200), false);
        let tokens = Tokens::new("scope".to_owned(), vec![a]);
        for _ in 0..2 {
            tokens.get(None).await.expect("a token");
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
        let error = Tokens::new("scope".to_owned(), vec![unset, silent, refusing]).get(None).await.expect_err("nobody");
        insta::assert_snapshot!(error, @r"
        sign in to Azure failed: no source gave credentials
          environment: AZURE_CLIENT_SECRET not set
          managed identity: no answer within 2 s
          Azure CLI: Please run 'az login'.
          exists now: this call changed nothing
          to do: log in (`az login`; `az login --tenant TENANT` for a tenant that is not your own), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; on a machine in Azure, give it a managed identity
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_several_tenants_is_asked_for_each_subscription_once() {
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let make = {
            let asked = Arc::clone(&asked);
            move |subscription: Option<&str>| {
                asked.lock().expect("one thread").push(subscription.map(str::to_owned));
                Ok(Arc::new(Fixed { valid: Some(3600), silent: false, asked: AtomicUsize::default() })
                    as Arc<dyn TokenCredential>)
            }
        };
        let (refusing, environment) = source("environment", None, false);
        let cli = Source { name: "cli", credential: Ok(Credential::OfSubscription(Box::new(make))), patience: SIGN_IN };
        let tokens = Tokens::new("scope".to_owned(), vec![environment, cli]);
        for subscription in ["one", "two", "one", "two"] {
            tokens.get(Some(subscription)).await.expect("a token");
        }
        assert_eq!(refusing.asked.load(Ordering::Relaxed), 1, "the choice is made once");
        let held = tokens.held.lock().expect("one thread").len();
        assert_eq!(held, 3, "one for each subscription, and none for all");
        assert!(asked.lock().expect("one thread").iter().all(Option::is_some));
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
