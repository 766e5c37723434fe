//! The verifier's look at a lab, from the machine and from the network.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

use gangplank::{
    cloudinit,
    plan::{Host, Plan},
    tags::deadline::ResolvedDeadline,
    verify::{
        Check,
        machine::{self, MachineEvidence, Silence},
        network::{self, HostKeys, Reach},
        report,
    },
};
use jiff::{SignedDuration, Timestamp};

use super::{Identity, Lab, eventually, truth};

/// Who looks, and what is known beforehand.
pub struct Watch<'a> {
    pub plan: &'a Plan,
    /// The vantage's address and the key to enter with.
    pub from: Ipv4Addr,
    pub identity: Option<&'a Identity>,
    /// The host keys that were told when the bastion was new.
    pub host_keys: Vec<String>,
    pub launched: Timestamp,
    /// What the instance's tags say.
    pub deadline: Option<ResolvedDeadline>,
}

impl<'a> Watch<'a> {
    /// Believes the machine's first report, as `apply` does.
    pub fn new(lab: &Lab, plan: &'a Plan, from: Ipv4Addr, identity: Option<&'a Identity>) -> Self {
        let mut watch = Self { identity, ..Self::blind(lab, plan, from) };
        let first = eventually("the machine reports", || watch.read(lab).ok());
        let sshd = first.report.sshd.as_result().expect("sshd is told");
        watch.host_keys = sshd.host_keys.as_result().expect("host keys are told").clone();
        watch
    }

    /// Knows no host keys, and enters with no key.
    pub fn blind(lab: &Lab, plan: &'a Plan, from: Ipv4Addr) -> Self {
        let launched = Timestamp::now() - SignedDuration::try_from(lab.machine.age()).expect("not that long");
        Self { plan, from, identity: None, host_keys: Vec::new(), launched, deadline: None }
    }

    /// The last report on the console.
    pub fn read(&self, lab: &Lab) -> Result<report::Reading, report::NoReport> {
        report::read(&lab.machine.console(), &self.document(), Some(lab.machine.instance()))
    }

    fn document(&self) -> String {
        cloudinit::render(self.plan).expect("a plan that has a document").digest
    }

    /// Has the machine report once more, and judges that. `ahead` is how far its clock is ahead of the world's.
    pub fn machine(&self, lab: &Lab, ahead: SignedDuration) -> Vec<Check> {
        self.machine_for(lab, "asked", report::Why::Asked, ahead)
    }

    /// The same with the report that it makes every hour, which spares the targets.
    pub fn machine_hourly(&self, lab: &Lab, ahead: SignedDuration) -> Vec<Check> {
        self.machine_for(lab, "hour", report::Why::Hour, ahead)
    }

    fn machine_for(&self, lab: &Lab, word: &str, why: report::Why, ahead: SignedDuration) -> Vec<Check> {
        let began = Timestamp::now().as_duration().as_secs_f64();
        // The machine's own reports have other occasions, and one of them may be under way.
        lab.machine.sh(&format!("/usr/local/sbin/gangplank-report {word}"));
        let asked = |report: &report::Report| report.why == why && report.time >= began;
        let fresh = || self.read(lab).ok().filter(|reading| asked(&reading.report));
        let reading = eventually("a fresh report is on the console", fresh);
        self.judge(Ok(&reading), ahead)
    }

    pub fn judge(&self, report: Result<&report::Reading, Silence<'_>>, ahead: SignedDuration) -> Vec<Check> {
        let document = self.document();
        let evidence = MachineEvidence {
            report,
            now: Timestamp::now() - ahead,
            launched: Some(self.launched - ahead),
            document: &document,
            tagged_document: Some(&document),
            deadline: self.deadline,
            pinned_host_key: self.host_keys.first().map(String::as_str),
        };
        machine::judge(self.plan, &evidence)
    }

    /// Connects from the watcher's address on the internet.
    pub fn network(&self, lab: &Lab) -> Vec<Check> {
        let identity = self.identity.map(|identity| {
            let identity = network::Identity::load(&identity.private, self.plan);
            Arc::new(identity.unwrap_or_else(|problem| panic!("{problem:?}")))
        });
        let reach = Reach {
            from: Some(self.from.into()),
            identity,
            step: Duration::from_secs(4),
            // As long as the vendor's own session rests.
            rest: truth::IDLE,
            ..Reach::new(Host::Address(lab.edge.public.into()), lab.port, HostKeys::Known(self.host_keys.clone()))
        };
        lab.internet.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(network::verify(self.plan, &reach))
        })
    }
}

/// The names of the checks that fail; of several keys of a user, the user.
pub fn red(checks: &[Check]) -> BTreeSet<String> {
    checks.iter().filter(|check| check.verdict.is_fail()).map(name).collect()
}

pub fn name(check: &Check) -> String {
    let subject = check.subject.as_deref().and_then(|subject| subject.split(' ').next());
    subject.map_or_else(|| check.id.to_owned(), |subject| format!("{}[{subject}]", check.id))
}
