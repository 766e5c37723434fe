//! With whose key the verifier may enter: a private key in a file, or one that an ssh-agent keeps.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use russh::{
    client::{AuthResult, Handle},
    keys::{self, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, agent::AgentIdentity},
};

use super::session::Client;
use crate::{
    diagnostic::Diagnostic,
    plan::{Plan, UserName},
};

/// No private key is larger.
const LARGEST_FILE: u64 = 64 * 1024;

/// A key of one of the plan's users. Whose it is follows from the plan, which gives a key to one user only.
pub struct Identity {
    pub user: UserName,
    /// `SHA256:...`
    pub fingerprint: String,
    key: Key,
}

/// Why nobody was asked to let the identity in, or did not answer.
pub(super) enum NotEntered {
    /// The connection ended.
    Connection,
    /// The key could not be used here; why.
    Here(String),
}

enum Key {
    File(Arc<PrivateKey>),
    #[cfg_attr(not(unix), allow(dead_code))]
    Agent {
        socket: PathBuf,
        key: PublicKey,
    },
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("user", &self.user).field("fingerprint", &self.fingerprint).finish()
    }
}

impl Identity {
    /// Reads a private key without a passphrase and finds its user in the plan.
    ///
    /// # Errors
    ///
    /// If the file is not such a key, may be read by others, or the plan does not know the key. No error holds a part of
    /// the file.
    pub fn load(path: &Path, plan: &Plan) -> Result<Self, Diagnostic> {
        let at = path.display();
        let problem = |summary: &str, why: String| Diagnostic::new(summary).because(why);
        let unreadable = |error: std::io::Error| {
            problem("the identity file cannot be read", format!("{at}: {error}.")).fix("name the file of a private key")
        };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > LARGEST_FILE {
            return Err(problem("the identity is no private key", format!("{at} is no file of a key's size."))
                .fix("name the file of a private key"));
        }
        let text = String::from_utf8_lossy(&fs::read(path).map_err(unreadable)?).into_owned();
        if PublicKey::from_openssh(text.trim()).is_ok() {
            return Err(problem("the identity is a public key", format!("{at} holds the public half.")).fix(
                "name the private key's file (the same without .pub), or add the key to an ssh-agent and use that",
            ));
        }
        if let Some(mode) = open_to_others(&metadata) {
            return Err(problem("the identity may be read by others", format!("{at} has mode {mode:04o}."))
                .fix(format!("run: chmod 600 {at}")));
        }
        let key = keys::decode_secret_key(&text, None);
        if matches!(key, Err(keys::Error::KeyIsEncrypted)) || key.as_ref().is_ok_and(PrivateKey::is_encrypted) {
            return Err(problem("the identity has a passphrase", format!("{at} is encrypted."))
                .fix(format!("run: ssh-add {at}; then use the ssh-agent as the identity")));
        }
        let Ok(key) = key else {
            return Err(problem("the identity is no private key", format!("{at} holds no key that can be read."))
                .fix("name the file of a private key, as ssh-keygen writes it"));
        };
        let user = owner(plan, key.public_key()).ok_or_else(|| {
            problem("nobody's identity", format!("No user of the plan has the key in {at}."))
                .fix("add its public half to an operator of the plan and apply, or use an operator's own key")
        })?;
        Ok(Self { user, fingerprint: fingerprint(key.public_key()), key: Key::File(Arc::new(key)) })
    }

    /// Finds the first key of an ssh-agent that the plan knows, operators' before tunnels'. `socket` is what
    /// `SSH_AUTH_SOCK` says.
    ///
    /// # Errors
    ///
    /// If there is no agent, or it has no key of the plan.
    #[cfg(unix)]
    pub async fn from_agent(socket: &Path, plan: &Plan) -> Result<Self, Diagnostic> {
        let fix = "start an ssh-agent and add an operator's key: ssh-add FILE";
        let failed = |error: keys::Error| {
            Diagnostic::new("the ssh-agent does not answer")
                .because(format!("{}: {error}.", socket.display()))
                .fix(fix.to_owned())
        };
        let mut agent = keys::agent::client::AgentClient::connect_uds(socket).await.map_err(failed)?;
        let keys: Vec<PublicKey> = agent
            .request_identities()
            .await
            .map_err(failed)?
            .into_iter()
            .filter_map(|identity| match identity {
                AgentIdentity::PublicKey { key, .. } => Some(key),
                AgentIdentity::Certificate { .. } => None,
            })
            .collect();
        let is_operator = |user: &UserName| plan.operators.iter().any(|operator| operator.name == *user);
        let known = keys.into_iter().filter_map(|key| Some((owner(plan, &key)?, key)));
        let best = known.min_by_key(|(user, _)| !is_operator(user));
        let (user, key) = best.ok_or_else(|| {
            Diagnostic::new("the ssh-agent has no key of the plan")
                .because("No user of the plan has one of its keys.")
                .fix(fix)
        })?;
        Ok(Self { user, fingerprint: fingerprint(&key), key: Key::Agent { socket: socket.to_owned(), key } })
    }

    /// Authenticates as `user`.
    pub(super) async fn enter(&self, handle: &mut Handle<Client>, user: &str) -> Result<AuthResult, NotEntered> {
        match &self.key {
            Key::File(key) => {
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), Some(HashAlg::Sha512));
                handle.authenticate_publickey(user, key).await.map_err(|_| NotEntered::Connection)
            }
            #[cfg(unix)]
            Key::Agent { socket, key } => {
                let agent = keys::agent::client::AgentClient::connect_uds(socket).await;
                let mut agent =
                    agent.map_err(|error| NotEntered::Here(format!("the ssh-agent does not answer: {error}")))?;
                let hash = key.algorithm().is_rsa().then_some(HashAlg::Sha512);
                let entered = handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await;
                entered.map_err(|error| {
                    if handle.is_closed() {
                        NotEntered::Connection
                    } else {
                        NotEntered::Here(format!("the ssh-agent did not sign: {error}"))
                    }
                })
            }
            #[cfg(not(unix))]
            Key::Agent { .. } => Err(NotEntered::Here("ssh-agents are not supported on this system".to_owned())),
        }
    }
}

/// Whose key this is.
fn owner(plan: &Plan, key: &PublicKey) -> Option<UserName> {
    let fingerprint = fingerprint(key);
    plan.accounts()
        .find(|(_, keys)| keys.iter().any(|key| key.fingerprint == fingerprint))
        .map(|(user, _)| user.clone())
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(unix)]
fn open_to_others(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_to_others(_: &fs::Metadata) -> Option<u32> {
    None
}
