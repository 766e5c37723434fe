//! TLS with a target: to hear an answer that is larger than one packet, and to begin a login behind it.
//!
//! Nothing secret is sent, and nothing that is heard is believed: every certificate will do.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{dial::Stream, wire::excerpt};
use crate::plan::Host;

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTls {
    /// It is TLS, and the two sides do not agree: an alert, or something that is not spoken here.
    Disagrees(String),
    /// Bytes that are no TLS.
    Other,
    Ended,
}

/// # Errors
///
/// If no TLS connection comes about.
pub async fn handshake<S: Stream>(
    stream: S,
    host: &Host,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<TlsStream<S>, NoTls> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| NoTls::Disagrees(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = match host {
        Host::Address(address) => ServerName::from(*address),
        // Without a name that TLS takes, none is sent.
        Host::Name(name) => {
            ServerName::try_from(name.clone()).unwrap_or_else(|_| ServerName::from(IpAddr::from([0, 0, 0, 0])))
        }
    };
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(stream),
        Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_)) => NoTls::Other,
            Some(inner) => NoTls::Disagrees(excerpt(inner.to_string().as_bytes())),
            None => NoTls::Ended,
        }),
    }
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
