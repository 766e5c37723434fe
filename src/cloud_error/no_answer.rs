//! Why a host did not answer. It is told once for all calls that wait for that host, and repeated only where that can help.

use std::{error::Error, fmt, io, time::Duration};

use serde::Serialize;

/// How often a call is made in all where a second try seldom helps.
const TRIES: u32 = 2;
/// The pause before the second try: a service that is being restarted is there again.
const PAUSE: Duration = Duration::from_secs(1);

/// A host that gave no answer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct NoAnswer {
    /// As a reader knows it: `127.0.0.1:1`, `EC2 in us-east-1`.
    pub host: String,
    pub reason: NoAnswerReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoAnswerReason {
    ConnectionRefused,
    UnknownHostName,
    /// Signed by nobody whom this machine trusts, or made for another name.
    UntrustedCertificate,
    TimedOut,
    ConnectionLost,
}

impl NoAnswerReason {
    /// By the causes of a transport's error; [`Self::ConnectionLost`] where none of them says more.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        causes(error).find_map(Self::of_cause).unwrap_or(Self::ConnectionLost)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return Some(Self::ConnectionRefused),
            Some(io::ErrorKind::TimedOut) => return Some(Self::TimedOut),
            _ => {}
        }
        // The types of these three are private to hyper-util, std and rustls; their texts are constants there.
        let text = cause.to_string();
        if text == "dns error" || text.starts_with("failed to lookup address information") {
            return Some(Self::UnknownHostName);
        }
        text.starts_with("invalid peer certificate").then_some(Self::UntrustedCertificate)
    }

    /// The request did not leave this machine: nothing can have changed. None of these passes by itself within seconds, where
    /// the host has not answered before.
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::ConnectionRefused | Self::UnknownHostName | Self::UntrustedCertificate)
    }
}

/// The pause before a call is made again that [was not sent](NoAnswerReason::is_unsent); `attempt` counts from 1.
pub fn second_try(attempt: u32) -> Option<Duration> {
    (attempt < TRIES).then_some(PAUSE)
}

impl fmt::Display for NoAnswerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionRefused => "connection refused",
            Self::UnknownHostName => "unknown host name",
            Self::UntrustedCertificate => "its certificate is not trusted here",
            Self::TimedOut => "no answer in time",
            Self::ConnectionLost => "connection lost",
        })
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer from {} ({})", self.host, self.reason)
    }
}

/// An error and its causes. An `io::Error` hides the error that it carries from `source`.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(&'static str, io::Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn the_reason_is_found_among_the_causes() {
        let reason = |text, error: io::Error| NoAnswerReason::of(&Wrapped(text, error));
        let inner = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
        assert_eq!(
            reason("client error", io::Error::from(io::ErrorKind::ConnectionRefused)),
            NoAnswerReason::ConnectionRefused
        );
        assert_eq!(reason("dns error", io::Error::other("Name or service not known")), NoAnswerReason::UnknownHostName);
        assert_eq!(
            reason("TLS handshake failed", inner("invalid peer certificate: UnknownIssuer")),
            NoAnswerReason::UntrustedCertificate
        );
        assert_eq!(
            reason("client error", io::Error::from(io::ErrorKind::ConnectionReset)),
            NoAnswerReason::ConnectionLost
        );
    }

    #[test]
    fn what_seldom_passes_is_tried_twice() {
        assert!(NoAnswerReason::ConnectionRefused.is_unsent() && !NoAnswerReason::ConnectionLost.is_unsent());
        assert_eq!((second_try(1), second_try(2)), (Some(PAUSE), None));
    }
}
