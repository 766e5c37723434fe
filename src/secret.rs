//! Secrets in texts that people or clouds wrote: private keys, passwords in connection URLs, cloud keys, tokens. They must
//! never reach a terminal or a log, whatever else is wrong with the text around them.
//!
//! [`find`] reports what is a secret by its own form, in any text. In a plan the names of fields tell more
//! ([`find_in_plan`], [`name`]). Masks keep the length of what they hide: places in the text stay valid.

mod assigned;
mod private_key;
mod token;
mod url;

use std::{borrow::Cow, ops::Range};

pub(crate) use assigned::name;
use assigned::named_in;

/// Where a secret stands, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    pub span: Range<usize>,
    pub kind: SecretKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretKind {
    PrivateKey,
    /// In a connection URL or string, or the value of a field of that name.
    Password,
    AwsAccessKey,
    AwsSessionToken,
    AzureClientSecret,
    AzureStorageKey,
    /// Of a shared access signature.
    SasSignature,
    /// A token of a service that its prefix names.
    ServiceToken(&'static str),
    JsonWebToken,
    /// The value of a field whose name says that it is secret.
    NamedSecret,
}

impl SecretKind {
    /// For "this is ...".
    pub fn description(self) -> String {
        match self {
            Self::PrivateKey => "a private key".to_owned(),
            Self::Password => "a password".to_owned(),
            Self::AwsAccessKey => "an AWS access key".to_owned(),
            Self::AwsSessionToken => "an AWS session token".to_owned(),
            Self::AzureClientSecret => "a client secret of Microsoft Entra ID".to_owned(),
            Self::AzureStorageKey => "an Azure storage account key".to_owned(),
            Self::SasSignature => "the signature of a signed URL".to_owned(),
            Self::ServiceToken(service) => format!("a token of {service}"),
            Self::JsonWebToken => "a JSON Web Token".to_owned(),
            Self::NamedSecret => "a secret, by the name before it".to_owned(),
        }
    }

    /// What to do about one in a plan.
    pub fn remedy(self) -> String {
        match self {
            Self::PrivateKey => {
                "replace the key pair everywhere it is used, and put the new pair's public key (the .pub file's one line) here"
                    .to_owned()
            }
            Self::Password => {
                "change the password. A plan needs none: `host` is the database's name or address alone".to_owned()
            }
            Self::AwsAccessKey | Self::AwsSessionToken => {
                "deactivate the access key in IAM, and make a new one if it is needed. A plan holds no credentials: \
                 gangplank takes them from the environment or from `aws.profile`"
                    .to_owned()
            }
            Self::AzureClientSecret => {
                "delete the secret in the app registration, and make a new one if it is needed. A plan holds no \
                 credentials: gangplank takes them from the environment or from the Azure CLI"
                    .to_owned()
            }
            Self::AzureStorageKey => "rotate the storage account's key, and remove it here".to_owned(),
            Self::SasSignature => "rotate the key that signed the URL, and remove the URL here".to_owned(),
            Self::ServiceToken(service) => format!("revoke the token at {service}, and remove it here"),
            Self::JsonWebToken => "revoke the token where it was issued, and remove it here".to_owned(),
            Self::NamedSecret => "rotate it where it is used, and remove it here: a plan holds no secrets".to_owned(),
        }
    }
}

/// Every secret that is one by its own form, in the order of the text, without overlaps.
pub(crate) fn find(text: &str) -> Vec<Secret> {
    let keys = private_key::find(text).into_iter().map(|span| Secret { span, kind: SecretKind::PrivateKey });
    let mut found: Vec<Secret> = keys.collect();
    token::find(text, &mut found);
    url::find(text, &mut found);
    assigned::find(text, &mut found);
    disjoint(found)
}

/// In order, and joined where they overlap: what is found first in the text names the kind.
pub(crate) fn disjoint(mut found: Vec<Secret>) -> Vec<Secret> {
    // A private key is named before what may look like something else inside it.
    found.sort_by_key(|secret| {
        (secret.span.start, secret.kind != SecretKind::PrivateKey, std::cmp::Reverse(secret.span.end))
    });
    let mut joined: Vec<Secret> = Vec::with_capacity(found.len());
    for secret in found.into_iter().filter(|secret| !secret.span.is_empty()) {
        match joined.last_mut() {
            Some(last) if secret.span.start < last.span.end => last.span.end = last.span.end.max(secret.span.end),
            _ => joined.push(secret),
        }
    }
    joined
}

/// The text with every character of a secret as `*`.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(mask(text, &found)) }
}

/// A plan's text without its secrets, those that only a name before them gives away among them.
pub(crate) fn mask_plan(text: &str) -> Cow<'_, str> {
    let found = find_in_plan(text);
    if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(mask(text, &found)) }
}

/// Every secret of a plan's text, or of a value in it, as far as they can be found without reading it as YAML.
pub(crate) fn find_in_plan(text: &str) -> Vec<Secret> {
    let mut found = find(text);
    found.extend(named_in(text));
    disjoint(found)
}

/// The text with `*` for each byte in the spans, which are in order and do not overlap; line ends and blanks stay.
pub(crate) fn mask(text: &str, secrets: &[Secret]) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for Secret { span, .. } in secrets {
        let (Some(before), Some(hidden)) = (text.get(from..span.start), text.get(span.clone())) else { continue };
        masked.push_str(before);
        for c in hidden.chars() {
            match c {
                '\n' | '\r' | ' ' => masked.push(c),
                other => masked.extend(std::iter::repeat_n('*', other.len_utf8())),
            }
        }
        from = span.end;
    }
    masked.push_str(text.get(from..).unwrap_or_default());
    masked
}

#[cfg(test)]
mod tests;
