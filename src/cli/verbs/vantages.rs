//! The three vantages put together: what the cloud tells, what the machine reports, what a connection finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::try_join_all, stream};
use jiff::Timestamp;

use super::{context::Context, online::Reading};
use crate::{
    cli::{args::Network, console::Waiting, exit::Error},
    cloud_error::{CloudError, Refused},
    cloudinit,
    diagnostic::Diagnostics,
    handoff::{HandOff, Known, handoff},
    plan::{Cloud, Host, Plan},
    provider::{
        aws::verify as control,
        azure,
        fleet::{Control, Fleet, Seen},
        pin,
    },
    tags::{self, deadline::ResolvedDeadline},
    verify::{
        Check, Verification, causes,
        machine::{self, MachineEvidence, Silence},
        network::{
            self, HostKeys, Identity, Reach,
            dial::{Dialer, Tcp},
        },
        report::{self, NoReport},
    },
};

/// Bastions that are connected to at once.
const AT_ONCE: usize = 4;
/// Pauses between looks at the consoles, in seconds, the last one again and again: a machine takes minutes to boot, and EC2
/// counts the calls.
const PAUSES: [u64; 4] = [5, 5, 10, 20];
/// A machine that has not reported for so many seconds after its launch is not booting any more.
const BOOTING: i64 = 30 * 60;
/// What a running machine takes to notice changed keys and to report them, with room to spare, in seconds.
const KEYS_TAKEN: i64 = 120;

/// How to look, as the command line says.
pub struct Vantages<'a> {
    network: &'a Network,
    /// In the order of the plans.
    identities: Vec<Option<Arc<Identity>>>,
    /// How bastions are connected to.
    dialer: Arc<dyn Dialer>,
}

/// What was read about the bastions, in the order of the plans; of the plans that are missing there, why.
pub struct Looks<'a> {
    pub looks: Vec<Look<'a>>,
    pub failed: Vec<(&'a Plan, Refused)>,
}

/// What was read about one bastion.
pub struct Look<'a> {
    plan: &'a Plan,
    /// Who connects to it.
    identity: Option<Arc<Identity>>,
    seen: Seen,
    /// The machine's own words, or why there are none.
    report: Result<report::Reading, Silent>,
    /// Digest of the document that the plan asks for.
    document: String,
}

/// Why a machine has told nothing.
enum Silent {
    Unread(String),
    NoReport(NoReport),
}

impl<'a> Vantages<'a> {
    /// Finds the identity of each plan before any cloud is asked.
    ///
    /// # Errors
    /// An identity that cannot be used.
    pub async fn new(network: &'a Network, plans: &[Plan]) -> Result<Self, Error> {
        let identities = try_join_all(plans.iter().map(|plan| identity(network, plan))).await?;
        Ok(Self { network, identities, dialer: Arc::new(Tcp::default()) })
    }

    /// Connects in another way than over this machine's network.
    #[must_use]
    pub fn over(self, dialer: Arc<dyn Dialer>) -> Self {
        Self { dialer, ..self }
    }

    /// Reads what the cloud tells about each plan's bastion, the machine's report among it.
    pub async fn look<'p>(&self, plans: &'p [Plan], fleet: &Fleet<'p>, now: Timestamp, reading: &Reading) -> Looks<'p> {
        let identity = |of: &Plan| {
            let mut all = plans.iter().zip(&self.identities);
            all.find(|(plan, _)| std::ptr::eq(*plan, of)).and_then(|(_, identity)| identity.clone())
        };
        look(fleet, now, reading, identity).await
    }

    /// Looks until every machine has reported what was applied, or patience ends. A machine that is up for long and was not
    /// changed has nothing more to report.
    pub async fn await_reports<'p>(
        &self,
        plans: &'p [Plan],
        fleet: &Fleet<'p>,
        applied: Option<Timestamp>,
        patience: Duration,
        cx: &Context,
    ) -> Looks<'p> {
        let opening = match applied {
            Some(_) => "Everything is applied, and it is safe to leave (Ctrl-C): what follows only looks.",
            None => "Nothing had to be changed, and it is safe to leave (Ctrl-C): what follows only looks.",
        };
        let waiting = Waiting::new(opening, patience);
        let mut pauses = PAUSES.into_iter();
        let mut pause = PAUSES[0];
        loop {
            let now = cx.now();
            let looks = self.look(plans, fleet, now, &cx.reading()).await;
            let awaited: Vec<String> = looks.looks.iter().filter_map(|look| look.awaits(applied, now)).collect();
            if awaited.is_empty() || waiting.waited() >= patience {
                return looks;
            }
            pause = pauses.next().unwrap_or(pause);
            waiting.pause(&awaited.join(" and "), Duration::from_secs(pause)).await;
        }
    }

    /// Connects to each bastion, unless that is not wanted, and judges everything.
    pub async fn judge(&self, looks: &[Look<'_>], now: Timestamp) -> Vec<Verification> {
        let each = looks.iter().map(async |look| {
            let mut checks = look.judge(now);
            checks.extend(self.connect(look).await);
            causes::fold(&mut checks);
            Verification {
                bastion: look.plan.name.to_string(),
                location: look.seen.location.clone(),
                address: look.address().map(|a| a.to_string()),
                port: look.plan.ssh.port,
                checks,
            }
        });
        stream::iter(each).buffered(AT_ONCE).collect().await
    }

    async fn connect(&self, look: &Look<'_>) -> Vec<Check> {
        let Network { concurrent, no_network, .. } = *self.network;
        let address = match look.address() {
            _ if no_network => Err("no connection was opened (--no-network)"),
            None => Err("the bastion has no address yet"),
            Some(address) => Ok(address),
        };
        match address {
            Err(why) => network::unseen(look.plan, concurrent, why),
            Ok(address) => {
                let reach = Reach {
                    from: self.network.from,
                    identity: look.identity.clone(),
                    step: Duration::from_secs(self.network.timeout),
                    concurrent,
                    dialer: Arc::clone(&self.dialer),
                    prefix_lists: look.seen.admitted_by_lists(look.plan),
                    ..Reach::new(Host::Address(address), look.plan.ssh.port, look.host_keys())
                };
                network::verify(look.plan, &reach).await
            }
        }
    }
}

/// Reads what the cloud tells about each plan's bastion, the machine's report among it. Opens no connection to a bastion.
pub async fn look<'p>(
    fleet: &Fleet<'p>,
    now: Timestamp,
    reading: &Reading,
    identity: impl Fn(&Plan) -> Option<Arc<Identity>>,
) -> Looks<'p> {
    let told = fleet.evidence(now, reading).await;
    let mut failed: Vec<_> = told.failed.into_iter().map(|(plan, error)| (plan, Refused::Cloud(error))).collect();
    let mut looks = Vec::new();
    for (plan, seen) in told.of {
        match Look::new(plan, seen, identity(plan)) {
            Ok(look) => looks.push(look),
            Err(problems) => failed.push((plan, Refused::Plan(problems))),
        }
    }
    Looks { looks, failed }
}

impl<'a> Look<'a> {
    fn new(plan: &'a Plan, seen: Seen, identity: Option<Arc<Identity>>) -> Result<Self, Diagnostics> {
        let report = read_report(&seen);
        let document = cloudinit::render(plan).map(|user_data| user_data.digest);
        match document {
            Ok(document) => Ok(Self { plan, identity, seen, report, document }),
            Err(error) => Err(error.in_plan(plan).into()),
        }
    }

    /// What is still to come of what was applied; `None` where the machine has nothing more to say.
    fn awaits(&self, applied: Option<Timestamp>, now: Timestamp) -> Option<String> {
        let launched = self.seen.machine.as_ref()?.launched?;
        match &self.report {
            Err(_) if now.as_second() - launched.as_second() < BOOTING => {
                Some(format!("{}'s machine to boot and report", self.plan.name))
            }
            Err(_) => None,
            Ok(_) => {
                let taken = ["machine.keys", "machine.deadline"];
                let keys = self.machine(now).into_iter().any(|c| taken.contains(&c.id) && c.verdict.is_fail());
                let soon = applied.is_some_and(|applied| now.as_second() - applied.as_second() < KEYS_TAKEN);
                (keys && soon && self.plan.asks_metadata())
                    .then(|| format!("{}'s machine to take what has changed", self.plan.name))
            }
        }
    }

    /// The control plane's and the machine's checks.
    pub fn judge(&self, now: Timestamp) -> Vec<Check> {
        let mut checks = match (&self.plan.cloud, &self.seen.control) {
            (Cloud::Aws(aws), Control::Aws(evidence)) => control::judge(self.plan, aws, evidence, &self.resolved()),
            (Cloud::Azure(azure), Control::Azure(evidence)) => {
                azure::verify::judge(self.plan, azure, evidence, &self.document, &self.resolved())
            }
            // Evidence is of the plan's own cloud.
            (Cloud::Aws(_), Control::Azure(_)) | (Cloud::Azure(_), Control::Aws(_)) => Vec::new(),
        };
        checks.extend(self.machine(now));
        checks
    }

    pub fn is_of(&self, plan: &Plan) -> bool {
        std::ptr::eq(self.plan, plan)
    }

    /// Whether the machine was made from another document than the plan asks for now, as its tag says.
    pub fn records_another_document(&self) -> bool {
        let recorded = self.seen.machine.as_ref().and_then(|machine| tags::document(&machine.tags));
        recorded.is_some_and(|recorded| recorded != self.document)
    }

    /// When the machine was made.
    pub fn launched(&self) -> Option<Timestamp> {
        self.seen.machine.as_ref()?.launched
    }

    fn machine(&self, now: Timestamp) -> Vec<Check> {
        let instance = self.seen.machine.as_ref();
        machine::judge(
            self.plan,
            &MachineEvidence {
                report: self.report.as_ref().map_err(|silent| match silent {
                    Silent::Unread(why) => Silence::Unread(why.clone()),
                    Silent::NoReport(none) => Silence::NoReport(none),
                }),
                now,
                launched: instance.and_then(|i| i.launched),
                document: &self.document,
                tagged_document: instance.and_then(|i| tags::document(&i.tags)),
                deadline: instance.and_then(|i| ResolvedDeadline::from_tags(&i.tags)),
                pinned_host_key: self.seen.host_key(),
            },
        )
    }

    fn address(&self) -> Option<IpAddr> {
        self.seen.address
    }

    /// What the targets' names mean to the machine.
    fn resolved(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let targets = self.report.as_ref().ok().and_then(|reading| reading.report.targets.as_result().ok());
        let resolved = targets.into_iter().flatten().filter_map(|target| {
            let (host, _) = target.open.rsplit_once(':')?;
            let addresses = target.dns.as_ref()?.as_result().ok()?;
            Some((host.to_owned(), addresses.clone()))
        });
        resolved.collect()
    }

    /// What the machine has said its host keys are.
    fn reported(&self) -> &[String] {
        let sshd = self.report.as_ref().ok().and_then(|reading| reading.report.sshd.as_result().ok());
        sshd.and_then(|sshd| sshd.host_keys.as_result().ok()).map_or(&[], Vec::as_slice)
    }

    /// The key that was seen first, where it is pinned; a machine that reports others is not believed.
    fn pinned(&self) -> Option<String> {
        let pin = self.seen.host_key()?;
        if !pin.starts_with("SHA256:") {
            return Some(pin.to_owned());
        }
        self.reported().iter().find(|key| pin::value([key.as_str()]).as_deref() == Some(pin)).cloned()
    }

    fn host_keys(&self) -> HostKeys {
        let pinned = self.pinned();
        let known: BTreeSet<String> = match (&pinned, self.seen.host_key()) {
            // What the machine reports beside its pinned key is the same machine's.
            (Some(pin), _) if self.reported().iter().any(|key| key == pin) => self.reported().iter().cloned().collect(),
            (Some(pin), _) => BTreeSet::from([pin.clone()]),
            (None, None) => self.reported().iter().cloned().collect(),
            (None, Some(_)) => BTreeSet::new(),
        };
        if known.is_empty() {
            let why = match &self.report {
                Err(Silent::Unread(why)) => why.clone(),
                Err(Silent::NoReport(none)) => none.to_string(),
                Ok(_) => "the machine reported none".to_owned(),
            };
            return HostKeys::Unknown { reason: format!("no host key is known: {why}") };
        }
        HostKeys::Known(known.into_iter().collect())
    }

    /// Pins the host key that the machine reported, where none is pinned yet.
    ///
    /// # Errors
    /// The cloud's refusal.
    pub async fn pin(&self, fleet: &Fleet<'_>, reading: &Reading) -> Result<(), CloudError> {
        if self.seen.host_key().is_some() {
            return Ok(());
        }
        let Some(value) = pin::value(self.reported().iter().map(String::as_str)) else { return Ok(()) };
        fleet.pin(&self.seen, &value, reading).await
    }

    pub fn hand_off(&self, verification: Option<&Verification>, now: Timestamp) -> HandOff {
        let host_keys = match self.host_keys() {
            HostKeys::Known(keys) => keys,
            HostKeys::Unknown { .. } => Vec::new(),
        };
        handoff(
            self.plan,
            &Known {
                location: self.seen.location.clone(),
                address: self.address().map(|a| a.to_string()),
                port: self.plan.ssh.port,
                host_keys,
                deadline: self.seen.machine.as_ref().and_then(|i| ResolvedDeadline::from_tags(&i.tags)),
                other_ends: self.seen.other_ends.clone(),
                now,
                prefix_lists: self.seen.prefix_lists(),
                verification,
            },
        )
    }
}

/// Whose key to enter a plan's bastion with, where one was given.
async fn identity(network: &Network, plan: &Plan) -> Result<Option<Arc<Identity>>, Error> {
    let Some(path) = &network.identity else { return Ok(None) };
    let identity = if path.as_os_str() == "agent" {
        let socket = env::var_os("SSH_AUTH_SOCK")
            .ok_or_else(|| Error::Usage("--identity agent: SSH_AUTH_SOCK names no ssh-agent".to_owned()))?;
        Identity::from_agent(Path::new(&socket), plan).await
    } else {
        Identity::load(path, plan)
    };
    identity.map(|identity| Some(Arc::new(identity))).map_err(Error::Identity)
}

/// The machine's report, from its console.
fn read_report(seen: &Seen) -> Result<report::Reading, Silent> {
    let unread = |why: String| Silent::Unread(why);
    let console = seen.console.as_ref().map_err(|why| unread(why.clone()))?;
    let machine = seen.machine.as_ref().ok_or_else(|| unread("there is no instance".to_owned()))?;
    let seal = tags::document(&machine.tags).ok_or_else(|| {
        unread(format!("{} does not say in its tag {} which document it was given", machine.id, tags::BOOT))
    })?;
    report::read(console, seal, machine.reports_as.as_deref()).map_err(Silent::NoReport)
}
