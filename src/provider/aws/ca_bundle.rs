//! A client that trusts the certificates of a file instead of this machine's: as with the AWS CLI, `AWS_CA_BUNDLE` and a
//! profile's `ca_bundle` replace what is trusted otherwise (botocore hands the file to its TLS context as the only one).

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
};

use aws_smithy_http_client::{
    Builder, Connector, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::cloud_error::{CloudError, ErrorKind, Residue};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The client for a bundle that `setting` (`AWS_CA_BUNDLE`, say) names.
///
/// # Errors
/// A file that can't be read, or that holds no certificate that can be trusted.
pub fn client(path: &str, setting: &str) -> Result<SharedHttpClient, CloudError> {
    let refused = |why: &str| CloudError {
        operation: "connect to AWS".to_owned(),
        kind: ErrorKind::Invalid,
        code: None,
        request_id: None,
        message: format!("{setting} names {path}, {why}"),
        residue: Residue::Nothing,
        remedy: Some(format!("name a file of PEM certificates in {setting}, or unset it")),
    };
    let bytes = fs::read(path).map_err(|error| refused(&format!("which cannot be read: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let certificates = certificates(&text);
    if certificates.is_empty() {
        return Err(refused("which holds no PEM certificate"));
    }
    let context = trusting(&certificates).ok_or_else(|| refused("whose certificates cannot be read"))?;
    // As the SDK makes its own, but for what is trusted.
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = ConnectorBuilder::default().tls_provider(rustls()).tls_context(context.clone());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.set_proxy_config(Some(ProxyConfig::from_env()));
        builder.build()
    }))
}

/// Each certificate's own lines.
fn certificates(text: &str) -> Vec<&str> {
    text.match_indices(BEGIN)
        .filter_map(|(at, _)| {
            let block = &text[at..];
            let end = block.find(END)? + END.len();
            Some(&block[..end])
        })
        .collect()
}

/// What trusts these certificates. One that can't be used is left out, as it is among this machine's own.
fn trusting(certificates: &[&str]) -> Option<TlsContext> {
    if let Some(all) = usable(certificates) {
        return Some(all);
    }
    let some: Vec<&str> = certificates.iter().copied().filter(|one| usable(&[one]).is_some()).collect();
    if some.is_empty() { None } else { usable(&some) }
}

/// The TLS library's client takes a certificate that it cannot parse for a mistake of the program, and panics; there is no other way
/// to ask it.
fn usable(certificates: &[&str]) -> Option<TlsContext> {
    let store = certificates.iter().fold(TrustStore::empty(), |store, one| store.with_pem_certificate(one.as_bytes()));
    let context = TlsContext::builder().with_trust_store(store).build().ok()?;
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let built = catch_unwind(AssertUnwindSafe(|| {
        drop(Connector::builder().tls_provider(rustls()).tls_context(context.clone()).build());
    }));
    set_hook(hook);
    built.ok().map(|()| context)
}

fn rustls() -> Provider {
    Provider::Rustls(CryptoMode::AwsLc)
}
