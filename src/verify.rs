//! Would the vendor's tunnel work, and nothing else? Evidence from three vantages, each check with its verdict.
//!
//! Judging is pure: expectations (a plan) × evidence → [`Check`]s. What a vantage could not see is [`Verdict::Unknown`],
//! never a pass; every check that a vantage was asked for is always among its results.

pub mod causes;
pub mod machine;
pub mod network;
pub mod report;
pub mod summary;

use serde::Serialize;

use crate::location::Location;

/// From where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vantage {
    /// What the cloud's own API says.
    ControlPlane,
    /// What the machine says about itself, in its boot report.
    Machine,
    /// What a connection from here finds.
    Network,
}

impl Vantage {
    pub fn as_str(self) -> &'static str {
        match self {
            Vantage::ControlPlane => "control plane",
            Vantage::Machine => "machine",
            Vantage::Network => "network",
        }
    }
}

/// The part of the path vendor → edge → bastion → target that a check is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Who may connect, and what leads to the bastion: address, rules, routes.
    Edge,
    /// The machine: its system, its daemon, its accounts.
    Bastion,
    /// A target, and the way from the bastion to it; by the target's name in the plan.
    Target(String),
}

/// One question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable between versions: `network.host-key`. Begins with the vantage: `control`, `machine` or `network`.
    pub id: &'static str,
    /// Which one of several, where there are several: a user, a target, a key's fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub vantage: Vantage,
    pub part: Part,
    /// What a pass proves, as a sentence without a full stop.
    pub proves: String,
    /// What was seen, a line each. Never a secret; not yet made harmless for a terminal.
    pub evidence: Vec<String>,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was seen proves a failure by itself: nothing that is met on the way can be its cause.
    #[serde(skip)]
    pub is_proof: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Fail {
        /// What is wrong, as far as the evidence tells.
        cause: String,
        /// What to do about it.
        fix: String,
    },
    Unknown {
        /// Why this could not be seen, and what would show it.
        reason: String,
    },
}

impl Verdict {
    pub fn is_fail(&self) -> bool {
        matches!(self, Verdict::Fail { .. })
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, Verdict::Unknown { .. })
    }
}

impl Check {
    /// A check that is yet to be judged; end with [`Check::pass`], [`Check::fail`] or [`Check::unknown`].
    pub fn new(vantage: Vantage, id: &'static str, part: Part, proves: impl Into<String>) -> Self {
        let verdict = Verdict::Unknown { reason: "not judged".to_owned() };
        Self { id, subject: None, vantage, part, proves: proves.into(), evidence: Vec::new(), verdict, is_proof: false }
    }

    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    #[must_use]
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    #[must_use]
    pub fn pass(self) -> Self {
        Self { verdict: Verdict::Pass, ..self }
    }

    #[must_use]
    pub fn fail(self, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail { cause: cause.into(), fix: fix.into() }, ..self }
    }

    /// Of a failure that nothing on the way explains.
    #[must_use]
    pub fn proven(self) -> Self {
        Self { is_proof: true, ..self }
    }

    #[must_use]
    pub fn unknown(self, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unknown { reason: reason.into() }, ..self }
    }

    /// `network.forward[warehouse]`: what tells the checks of one bastion apart.
    pub fn name(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{}[{subject}]", self.id),
            None => self.id.to_owned(),
        }
    }
}

/// Everything that was asked about one bastion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    pub bastion: String,
    #[serde(flatten)]
    pub location: Location,
    /// Where the vendor connects to, once there is such an address.
    pub address: Option<String>,
    pub port: u16,
    pub checks: Vec<Check>,
}

impl Verification {
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|c| c.verdict.is_fail()).count()
    }

    pub fn unknown(&self) -> usize {
        self.checks.iter().filter(|c| c.verdict.is_unknown()).count()
    }

    pub fn passed(&self) -> usize {
        self.checks.len() - self.failed() - self.unknown()
    }
}
