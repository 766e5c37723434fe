//! The machine's vantage: a plan × the boot report → checks. Pure.
//!
//! One cause turns one check red. What follows from it is unknown, with the name of the check that says why: settings in
//! files prove nothing while the daemon has not read them, and nothing follows from a report that is hours old.

mod account;
mod daemon;
mod system;
mod target;
mod vendor;
mod wrappers;

use jiff::{SignedDuration, Timestamp};

use super::{
    Check, Part, Vantage, Verdict,
    report::{Daemon, NoReport, Reading, Report, Seen},
};
use crate::{plan::Plan, tags::deadline::ResolvedDeadline};

/// What is known about the machine, and what it should be.
#[derive(Clone, Debug)]
pub struct MachineEvidence<'a> {
    pub report: Result<&'a Reading, Silence<'a>>,
    /// The clock of whoever asks.
    pub now: Timestamp,
    /// When the cloud started the instance.
    pub launched: Option<Timestamp>,
    /// Digest of the document that the plan asks for ([`crate::cloudinit::UserData::digest`]).
    pub document: &'a str,
    /// The one that the instance's own tag tells.
    pub tagged_document: Option<&'a str>,
    /// The deadline that the instance's own tags tell.
    pub deadline: Option<ResolvedDeadline>,
    /// `ssh-ed25519 AAAA...`: the host key that the vendor and operators were told, where one was.
    pub pinned_host_key: Option<&'a str>,
}

/// Why there is no report.
#[derive(Clone, Debug)]
pub enum Silence<'a> {
    /// The console could not be read, for this reason.
    Unread(String),
    /// It was read, and holds no valid report.
    NoReport(&'a NoReport),
}

/// The machine reports every hour. A report that is older tells what was, not what is.
pub const MAX_AGE: SignedDuration = SignedDuration::from_hours(2);

/// Every check of this vantage, always; in the order from the report itself to the targets.
pub fn judge(plan: &Plan, seen: &MachineEvidence<'_>) -> Vec<Check> {
    let (first, report) = system::report(seen);
    let mut bench = Bench { plan, seen, report, checks: vec![first] };
    system::checks(&mut bench);
    account::checks(&mut bench);
    daemon::checks(&mut bench);
    target::checks(&mut bench);
    vendor::checks(&mut bench);
    let mut checks = bench.checks;
    consequences(&mut checks);
    checks
}

/// Turns the failures that follow from another failure into what they are: unknown.
fn consequences(checks: &mut [Check]) {
    let failed = |checks: &[Check], id: &str| checks.iter().any(|c| c.id == id && c.verdict.is_fail());
    let boot = checks.iter().any(|c| {
        c.id == "machine.cloud-init"
            && c.verdict.is_fail()
            && c.evidence.iter().any(|e| e.starts_with(system::UNFINISHED))
    });
    let document = failed(checks, "machine.document");
    let ended = failed(checks, "machine.deadline");
    let reasons: Vec<(&'static str, Option<String>)> = checks
        .iter()
        .filter(|check| check.verdict.is_fail() && vendor::EXPLAINS.contains(&check.id))
        .map(|check| (check.id, check.subject.clone()))
        .collect();
    for check in checks {
        if check.id == vendor::SELF_TEST {
            let own = |(id, subject): &&(&str, Option<String>)| {
                subject.is_none() || *subject == check.subject || id.starts_with("machine.target")
            };
            let explained = reasons.iter().find(own);
            if let (Verdict::Fail { cause, .. }, Some((id, subject))) = (&check.verdict, explained) {
                let name = subject.as_ref().map_or_else(|| (*id).to_owned(), |subject| format!("{id}[{subject}]"));
                check.verdict = Verdict::Unknown { reason: format!("{cause}; that follows from {name}") };
            }
            continue;
        }
        let why = match check.id {
            "machine.report" | "machine.cloud-init" | "machine.document" | "machine.clock" | "machine.disk"
            | "machine.agents" | "machine.updates" | "machine.listening" | "machine.sources" => continue,
            "machine.target" | "machine.target-dns" => continue,
            "machine.keys" if ended => "a machine whose time is up takes all keys away: see machine.deadline",
            _ if boot => "the machine was not set up to its end: see machine.cloud-init",
            "machine.daemon"
            | "machine.daemon-current"
            | "machine.home"
            | "machine.ssh-folder"
            | "machine.authorized-keys"
            | "machine.key-channel"
            | "machine.authentication"
            | "machine.confinement"
            | "machine.host-keys" => continue,
            _ if document => "the machine was made from another document than the plan's: see machine.document",
            _ => continue,
        };
        if let Verdict::Fail { cause, .. } = &check.verdict {
            let reason = format!("{cause}; {why}");
            check.verdict = Verdict::Unknown { reason };
        }
    }
}

/// What all checks are judged from, and those that are.
struct Bench<'a> {
    plan: &'a Plan,
    seen: &'a MachineEvidence<'a>,
    /// The report, or why nothing follows from it.
    report: Result<&'a Report, String>,
    checks: Vec<Check>,
}

/// Why a check does not pass.
enum Problem {
    Fail { cause: String, fix: String },
    Unknown(String),
}

type Judged = Result<(), Problem>;

fn fail(cause: impl Into<String>, fix: impl Into<String>) -> Judged {
    Err(Problem::Fail { cause: cause.into(), fix: fix.into() })
}

fn unknown<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Unknown(reason.into()))
}

/// What gangplank can do about a machine that nobody can log in to.
const REPLACE: &str = "nobody can log in to repair it: `gangplank destroy` and `gangplank apply` replace the machine (an \
                       address that gangplank allocated changes with it)";

/// The value of a probe; where the probe failed the check is unknown.
fn found<'a, T>(what: &str, probe: &'a Seen<T>) -> Result<&'a T, Problem> {
    probe.as_result().or_else(|error| unknown(format!("the machine could not tell {what}: {error}")))
}

impl<'a> Bench<'a> {
    /// Judges one check. The closure adds what it sees to the evidence.
    fn check(
        &mut self,
        id: &'static str,
        subject: Option<&str>,
        part: Part,
        proves: impl Into<String>,
        judge: impl FnOnce(&'a Report, &mut Vec<String>) -> Judged,
    ) {
        let mut check = Check::new(Vantage::Machine, id, part, proves);
        check.subject = subject.map(str::to_owned);
        let judged = match &self.report {
            Ok(report) => judge(report, &mut check.evidence),
            Err(reason) => unknown(reason.clone()),
        };
        self.checks.push(match judged {
            Ok(()) => check.pass(),
            Err(Problem::Fail { cause, fix }) => check.fail(cause, fix),
            Err(Problem::Unknown(reason)) => check.unknown(reason),
        });
    }
}

/// The daemon whose files are what it runs with, or why its settings cannot be known.
fn current(report: &Report) -> Result<&Daemon, Problem> {
    let sshd = found("how sshd is", &report.sshd)?;
    let Some(running) = found("whether sshd runs", &sshd.running)? else {
        return unknown("sshd does not run: see machine.daemon");
    };
    let changed = found("when sshd's files changed", &sshd.changed)?;
    if changed.time > running.read {
        return unknown("the files are not what the daemon runs with: see machine.daemon-current");
    }
    found("sshd's settings", &sshd.settings)?;
    Ok(sshd)
}
