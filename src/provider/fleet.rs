//! All plans of a run, whichever clouds they are for. Only the clouds that plans name are connected to, and what comes back is in
//! the order of the plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures_util::future::join;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Progress, Provider, aws, azure,
    clouds::Clouds,
    identity::{self, IdentityNeed, Located},
    vendor_notes,
};
use crate::{
    changeset::{Changeset, Step},
    cloud_error::{CloudError, Refused},
    diagnostic::{Diagnostic, Diagnostics},
    drift::{Act, Who},
    event::Watcher,
    location::{CloudAccount, Location, SandboxName},
    plan::{Cloud, Plan},
    provider::{
        extend::Wish,
        status::{Remains, Status},
    },
    tags::{HOST_KEY, Tags, deadline::ResolvedDeadline},
};

/// One step's work, in its cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Aws(aws::action::Action),
    Azure(azure::action::Action),
}

/// The plans of one run, each in its cloud.
pub struct Fleet<'a> {
    plans: &'a [Plan],
    /// In the order of the plans, once they have been asked for.
    accounts: Vec<CloudAccount>,
    sandbox: Option<SandboxName>,
    #[cfg(feature = "aws")]
    aws: Option<aws::fleet::Fleet<'a>>,
    #[cfg(feature = "azure")]
    azure: Option<azure::fleet::Fleet<'a>>,
}

/// One look at the clouds, in the order of the plans.
#[derive(Debug, Default)]
pub struct Outlook {
    pub plans: Vec<PlanOutlook>,
}

/// What is there of one plan's bastion, and what would make it match the plan. No other plan's state is of any influence.
#[derive(Clone, Debug)]
pub struct PlanOutlook<A = Action> {
    /// `None` where the cloud did not tell.
    pub status: Option<Status>,
    /// The changes, or why there can be none.
    pub changes: Result<Changeset<A>, Refused>,
}

impl<A> PlanOutlook<A> {
    /// Of a plan about whose bastion the cloud told nothing.
    pub fn refused(why: impl Into<Refused>) -> Self {
        Self { status: None, changes: Err(why.into()) }
    }

    fn map<B>(self, tell: impl Fn(A) -> B) -> PlanOutlook<B> {
        PlanOutlook { status: self.status, changes: self.changes.map(|set| set.map(tell)) }
    }
}

/// An outlook on plans of which each can be fulfilled.
#[derive(Debug, Default)]
pub struct Whole {
    pub changesets: Vec<Changeset<Action>>,
    pub statuses: Vec<Status>,
}

impl Outlook {
    /// Only where every plan can be fulfilled.
    ///
    /// # Errors
    /// Why not, each reason once.
    pub fn whole(self) -> Result<Whole, Vec<Refused>> {
        let (mut whole, mut refused) = (Whole::default(), Vec::new());
        for plan in self.plans {
            match plan.changes {
                Ok(set) => {
                    whole.changesets.push(set);
                    whole.statuses.extend(plan.status);
                }
                Err(why) => refused.push(why),
            }
        }
        if refused.is_empty() { Ok(whole) } else { Err(Refused::distinct(refused)) }
    }
}

/// What the clouds told of their plans. One plan's failure hides nothing of what was told of another.
#[derive(Debug)]
pub struct Told<'a, T, E = CloudError> {
    /// In the order of the plans.
    pub of: Vec<(&'a Plan, T)>,
    /// The plans that are missing above, and why.
    pub failed: Vec<(&'a Plan, E)>,
}

impl<T, E: Clone + PartialEq> Told<'_, T, E> {
    /// Why plans are missing, each reason once: what a region did not tell it told of none of its bastions.
    pub fn reasons(&self) -> Vec<E> {
        let mut all: Vec<E> = Vec::new();
        for (_, error) in &self.failed {
            if !all.contains(error) {
                all.push(error.clone());
            }
        }
        all
    }
}

/// What a cloud tells about one bastion.
pub struct Seen {
    pub location: Location,
    /// Where the vendor connects to.
    pub address: Option<IpAddr>,
    pub machine: Option<Machine>,
    /// Ends that the plan or some of the bastion's resources tell, other than the machine's.
    pub other_ends: Vec<Timestamp>,
    /// What the machine has written to its serial console, the newest of it, or why that is not known.
    pub console: Result<String, String>,
    pub control: Control,
}

/// The machine that the vendor would meet.
pub struct Machine {
    /// What the cloud calls it.
    pub id: String,
    /// What its reports call it, where the cloud knows that.
    pub reports_as: Option<String>,
    pub launched: Option<Timestamp>,
    pub tags: Tags,
}

/// What else there is to judge the control plane by.
pub enum Control {
    Aws(Box<aws::evidence::Evidence>),
    Azure(Box<azure::verify::Evidence>),
}

impl Seen {
    /// The pinned host key of the machine: see [`super::pin`].
    pub fn host_key(&self) -> Option<&str> {
        self.machine.as_ref()?.tags.get(HOST_KEY).map(String::as_str)
    }

    #[cfg(feature = "aws")]
    fn aws(plan: &Plan, evidence: aws::evidence::Evidence) -> Self {
        let address = match &plan.cloud {
            Cloud::Aws(aws) => evidence.address(aws).and_then(|address| address.ip),
            Cloud::Azure(_) => None,
        };
        let machine = evidence.instance().map(|instance| Machine {
            id: instance.id.clone(),
            reports_as: Some(instance.id.clone()),
            launched: instance.launched,
            tags: instance.tags.clone(),
        });
        let console = match &evidence.console {
            Ok(console) => Ok(String::from_utf8_lossy(&console.bytes).into_owned()),
            Err(why) => Err(why.clone()),
        };
        let location = evidence.location();
        let shown = machine.as_ref().and_then(|machine| ResolvedDeadline::from_tags(&machine.tags));
        let other_ends = evidence.seen.other_ends(plan, shown.map(|end| end.expires), evidence.at);
        Self { location, address, machine, other_ends, console, control: Control::Aws(Box::new(evidence)) }
    }
}

impl Seen {
    /// The ranges of the prefix lists that plans of the region name, by their ids, as far as they are known.
    pub fn prefix_lists(&self) -> BTreeMap<String, Vec<IpNet>> {
        let Control::Aws(evidence) = &self.control else { return BTreeMap::new() };
        let lists = evidence.seen.prefix_lists.iter();
        lists.filter_map(|(id, list)| Some((id.clone(), list.as_ref().ok()?.entries.clone()))).collect()
    }

    /// Whom the plan's prefix lists admit.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn admitted_by_lists(&self, plan: &Plan) -> Result<Vec<IpNet>, String> {
        match &self.control {
            Control::Aws(evidence) => aws::prefix_list::entries(&evidence.seen.prefix_lists, plan.prefix_lists()),
            Control::Azure(_) => Ok(Vec::new()),
        }
    }
}

impl<'a> Fleet<'a> {
    /// Resolves credentials' sources and regions.
    ///
    /// # Errors
    /// What is wrong with a plan before a cloud is asked, a cloud that this gangplank was built without among it, or an
    /// environment that names no cloud.
    pub async fn connect(plans: &'a [Plan], clouds: &Clouds) -> Result<Self, Refused> {
        let without: Vec<Diagnostic> = plans.iter().filter_map(unreachable).collect();
        if !without.is_empty() {
            return Err(Diagnostics(without).into());
        }
        Ok(Self {
            plans,
            accounts: Vec::new(),
            sandbox: clouds.sandbox(),
            #[cfg(feature = "aws")]
            aws: if plans.iter().any(|p| matches!(p.cloud, Cloud::Aws(_))) {
                Some(aws::fleet::Fleet::connect(plans, clouds).await?)
            } else {
                None
            },
            #[cfg(feature = "azure")]
            azure: if plans.iter().any(|p| matches!(p.cloud, Cloud::Azure(_))) {
                Some(azure::fleet::Fleet::new(plans, clouds.arm()?)?)
            } else {
                None
            },
        })
    }

    /// Asks every cloud whose account the plans' bastions are in, and holds these to what the plans say. To be called before
    /// anything else is asked: one call for each profile and for each subscription, all at once.
    ///
    /// # Errors
    /// A plan that is for another account, or why an account that must be known is not.
    pub async fn identify(&mut self, need: IdentityNeed, watcher: &dyn Watcher) -> Result<(), Vec<Refused>> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                return fleet.identify(watcher).await;
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.identify(watcher).await;
            }
            Vec::new()
        };
        let (aws, azure) = join(aws, azure).await;
        let (mut aws, mut azure) = (aws.into_iter(), azure.into_iter());
        let of = |plan: &'a Plan| match plan.cloud {
            Cloud::Aws(_) => Some((plan, aws.next()?)),
            Cloud::Azure(_) => Some((plan, azure.next()?)),
        };
        let each: Vec<_> = self.plans.iter().filter_map(of).collect();
        identity::check(&each, need, self.sandbox.is_some())?;
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            identity::check_twins(&each, &fleet.regions_of_plans()).map_err(|twins| vec![Refused::Plan(twins)])?;
        }
        self.accounts = each.into_iter().map(|(_, found)| found.account).collect();
        Ok(())
    }

    /// Whose account each plan's bastion is in, in their order; empty until [`Self::identify`] has asked.
    pub fn accounts(&self) -> &[CloudAccount] {
        &self.accounts
    }

    /// The accounts of some of these plans, in their order.
    pub fn accounts_of<'s>(&'s self, some: impl Iterator<Item = &'s Plan>) -> Vec<CloudAccount> {
        let of = |plan: &Plan| self.plans.iter().position(|known| std::ptr::eq(known, plan));
        some.filter_map(|plan| self.accounts.get(of(plan)?).cloned()).collect()
    }

    /// Instead of [`Self::identify`], where a run has asked for these accounts already: one for each plan, in their order.
    #[must_use]
    pub fn known_to_be_in(self, accounts: Vec<CloudAccount>) -> Self {
        Self { accounts, ..self }
    }

    /// What of the environment is not used, for a reader; each once.
    pub fn notes(&self) -> BTreeSet<&str> {
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            return fleet.notes();
        }
        BTreeSet::new()
    }

    /// Looks at every cloud and works out what would make it match the plans. Writes nothing.
    pub async fn changes(&self, now: Timestamp, watcher: &dyn Watcher) -> Outlook {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let plans = fleet.changes(now, watcher).await.into_iter();
                return plans.map(|plan| Ok(plan.map(Action::Aws))).collect();
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let plans = fleet.changes(now, watcher).await.into_iter();
                return plans.map(|plan| Ok(plan.map(Action::Azure))).collect();
            }
            Vec::new()
        };
        let (aws, azure) = join(aws, azure).await;
        let told: Told<'_, _, CloudError> = self.told(aws, azure);
        let plans = told.of.into_iter().map(|(plan, mut outlook)| {
            if let Ok(set) = &mut outlook.changes {
                set.notes.extend(vendor_notes::notes(plan, set));
            }
            outlook
        });
        Outlook { plans: plans.collect() }
    }

    /// What moves the ends of the bastions, or why an end can't be moved. Writes nothing.
    pub async fn extensions(
        &self,
        wish: Wish,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Vec<(&'a Plan, Result<Changeset<Action>, Refused>)> {
        type Sets = Vec<Result<Result<Changeset<Action>, Diagnostic>, CloudError>>;
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let sets = fleet.extensions(wish, now, watcher).await.into_iter();
                return sets.map(|told| told.map(|set| set.map(|set| set.map(Action::Aws)))).collect();
            }
            Sets::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let sets = fleet.extensions(wish, now, watcher).await.into_iter();
                return sets.map(|told| told.map(|set| set.map(|set| set.map(Action::Azure)))).collect();
            }
            Sets::new()
        };
        let (aws, azure) = join(aws, azure).await;
        self.decided(aws, azure)
    }

    /// Whether all that each bastion has tells the same end.
    pub async fn ends_agree(&self, watcher: &dyn Watcher) -> Told<'a, bool> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                return fleet.ends_agree(watcher).await;
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.ends_agree(watcher).await;
            }
            Vec::new()
        };
        let (aws, azure) = join(aws, azure).await;
        self.told(aws, azure)
    }

    /// What removes the bastions, or why one is not removed. Writes nothing.
    pub async fn teardowns(&self, watcher: &dyn Watcher) -> Vec<(&'a Plan, Result<Changeset<Action>, Refused>)> {
        type Sets = Vec<Result<Result<Changeset<Action>, Diagnostics>, CloudError>>;
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let sets = fleet.teardowns(watcher).await.into_iter();
                return sets.map(|told| told.map(|set| set.map(|set| set.map(Action::Aws)))).collect();
            }
            Sets::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let sets = fleet.teardowns(watcher).await.into_iter();
                return sets.map(|told| told.map(|set| set.map(|set| set.map(Action::Azure)))).collect();
            }
            Sets::new()
        };
        let (aws, azure) = join(aws, azure).await;
        self.decided(aws, azure)
    }

    /// By bastion, what of it is still there.
    pub async fn remains(&self, watcher: &dyn Watcher) -> Told<'a, Remains> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                return fleet.remains(watcher).await;
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.remains(watcher).await;
            }
            Vec::new()
        };
        let (aws, azure) = join(aws, azure).await;
        self.told(aws, azure)
    }

    pub async fn status(&self, now: Timestamp, watcher: &dyn Watcher) -> Told<'a, Status> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                return fleet.status(now, watcher).await;
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.status(now, watcher).await;
            }
            Vec::new()
        };
        let (aws, azure) = join(aws, azure).await;
        self.told(aws, azure)
    }

    /// Looks at everything that a verification goes by. Writes nothing.
    ///
    /// A cloud fails where it does not tell what there is; what else it does not tell, the evidence says.
    pub async fn evidence(&self, now: Timestamp, watcher: &dyn Watcher) -> Told<'a, Seen> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let plans = self.plans.iter().filter(|plan| matches!(plan.cloud, Cloud::Aws(_)));
                let seen = fleet.evidence(now, watcher).await;
                return plans.zip(seen).map(|(plan, seen)| Ok(Seen::aws(plan, seen?))).collect();
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.evidence(now, watcher).await;
            }
            Vec::new()
        };
        let (aws, azure) = join(aws, azure).await;
        self.told(aws, azure)
    }

    /// Pins a host key (a value of [`super::pin::value`]) to the machine that was seen of a plan's bastion.
    ///
    /// # Errors
    /// The cloud's refusal, or that there is no machine.
    pub async fn pin(&self, seen: &Seen, host_key: &str, watcher: &dyn Watcher) -> Result<(), CloudError> {
        #[cfg(feature = "aws")]
        if let (Control::Aws(evidence), Some(fleet)) = (&seen.control, &self.aws) {
            return fleet.pin(evidence, host_key, watcher).await;
        }
        #[cfg(feature = "azure")]
        if let (Control::Azure(_), Some(fleet), Some(machine)) = (&seen.control, &self.azure, &seen.machine) {
            return fleet.pin(&machine.id, host_key, watcher).await;
        }
        let _ = (host_key, watcher);
        Err(CloudError::mistake(format!("there is no machine in {} to pin a host key to", seen.location)))
    }

    /// Who has written to what a step is about since then, as the cloud's own log says: one call for a step at the most.
    pub async fn who(&self, action: &Action, since: Timestamp, now: Timestamp, watcher: &dyn Watcher) -> Who {
        match action {
            Action::Aws(action) => {
                #[cfg(feature = "aws")]
                if let Some(fleet) = &self.aws {
                    return fleet.who(action, since, now).await;
                }
                aws::history::unasked(action, since, now, "this gangplank was built without AWS")
            }
            Action::Azure(action) => {
                #[cfg(feature = "azure")]
                if let Some(fleet) = &self.azure {
                    return fleet.who(action, since, now, watcher).await;
                }
                let _ = watcher;
                azure::history::unasked(action, since, now, "this gangplank was built without Azure")
            }
        }
    }

    /// Who removed bastions of which nothing is there, as the clouds' logs say; `making` is what would make each again.
    pub async fn removals(
        &self,
        gone: &[(&'a Plan, &Changeset<Action>)],
        since: Timestamp,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Vec<Option<Act>> {
        let plans: Vec<&Plan> = gone.iter().map(|(plan, _)| *plan).collect();
        #[cfg(feature = "aws")]
        let aws = match &self.aws {
            Some(fleet) => fleet.removals(&plans, since, now).await,
            None => Vec::new(),
        };
        #[cfg(not(feature = "aws"))]
        let aws: Vec<Option<Act>> = Vec::new();
        let mut removals = Vec::new();
        for (i, (_, making)) in gone.iter().enumerate() {
            let machine = making.steps.iter().find_map(|step| match &step.action {
                Action::Azure(action) if azure::history::is_of_machine(action) => Some(&step.action),
                _ => None,
            });
            removals.push(match (aws.get(i).cloned().flatten(), machine) {
                (Some(act), _) => Some(act),
                (None, Some(action)) => match self.who(action, since, now, watcher).await {
                    Who::Log { acts } => {
                        acts.into_iter().find(|act| act.what.to_ascii_lowercase().ends_with("/delete"))
                    }
                    Who::Unknown { .. } => None,
                },
                (None, None) => None,
            });
        }
        removals
    }

    /// Each cloud answers of each of its plans, in their order.
    fn told<T: Located, E>(&self, aws: Vec<Result<T, E>>, azure: Vec<Result<T, E>>) -> Told<'a, T, E> {
        let (mut aws, mut azure) = (aws.into_iter(), azure.into_iter());
        let mut told = Told { of: Vec::new(), failed: Vec::new() };
        for (i, plan) in self.plans.iter().enumerate() {
            let answer = match plan.cloud {
                Cloud::Aws(_) => aws.next(),
                Cloud::Azure(_) => azure.next(),
            };
            match answer {
                Some(Ok(mut answer)) => {
                    answer.locate(self.accounts.get(i), self.sandbox.as_ref());
                    told.of.push((plan, answer));
                }
                Some(Err(error)) => told.failed.push((plan, error)),
                None => {}
            }
        }
        told
    }

    /// What each cloud decided about its plans, in the order of all.
    fn decided<T, E>(
        &self,
        aws: Vec<Result<Result<T, E>, CloudError>>,
        azure: Vec<Result<Result<T, E>, CloudError>>,
    ) -> Vec<(&'a Plan, Result<T, Refused>)>
    where
        T: Located,
        E: Into<Diagnostics>,
    {
        let told = self.told(aws, azure);
        let sets = told.of.into_iter().map(|(plan, set)| (plan, set.map_err(|one| Refused::Plan(one.into()))));
        let failed = told.failed.into_iter().map(|(plan, error)| (plan, Err(Refused::Cloud(error))));
        self.in_order(sets.chain(failed))
    }

    fn in_order<T>(&self, of: impl Iterator<Item = (&'a Plan, T)>) -> Vec<(&'a Plan, T)> {
        let place = |plan: &Plan| self.plans.iter().position(|known| std::ptr::eq(known, plan));
        let mut all: Vec<_> = of.collect();
        all.sort_by_key(|(plan, _)| place(plan));
        all
    }

    /// Something that performs this fleet's steps, with nothing made yet.
    pub fn performer(&self) -> Performer<'_> {
        Performer::new(
            #[cfg(feature = "aws")]
            self.aws.as_ref().map(aws::fleet::Fleet::performer),
            #[cfg(feature = "azure")]
            self.azure.as_ref().map(azure::fleet::Fleet::performer),
        )
    }
}

/// Performs each step in its cloud.
pub struct Performer<'a> {
    #[cfg(feature = "aws")]
    aws: Option<aws::fleet::FleetPerformer<'a>>,
    #[cfg(feature = "azure")]
    azure: Option<azure::perform::Performer<'a>>,
}

impl<'a> Performer<'a> {
    pub(super) fn new(
        #[cfg(feature = "aws")] aws: Option<aws::fleet::FleetPerformer<'a>>,
        #[cfg(feature = "azure")] azure: Option<azure::perform::Performer<'a>>,
    ) -> Self {
        Self {
            #[cfg(feature = "aws")]
            aws,
            #[cfg(feature = "azure")]
            azure,
        }
    }
}

impl Provider for Performer<'_> {
    type Action = Action;

    fn place<'a>(&self, action: &'a Action) -> &'a str {
        match action {
            Action::Aws(action) => &action.region,
            Action::Azure(action) => &action.subscription,
        }
    }

    async fn perform(&self, step: &Step<Action>, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        #[cfg(feature = "aws")]
        if let (Action::Aws(action), Some(performer)) = (&step.action, &self.aws) {
            return performer.perform(&step.id, action, progress).await;
        }
        #[cfg(feature = "azure")]
        if let (Action::Azure(action), Some(performer)) = (&step.action, &self.azure) {
            return performer.perform(action, progress).await;
        }
        let _ = progress;
        Err(CloudError::mistake(format!("{} is in a cloud that this run does not know", step.id)))
    }
}

/// A plan for a cloud that is not in this binary.
fn unreachable(plan: &Plan) -> Option<Diagnostic> {
    let (block, cloud, feature) = match plan.cloud {
        Cloud::Aws(_) if !cfg!(feature = "aws") => ("aws", "AWS", "aws"),
        Cloud::Azure(_) if !cfg!(feature = "azure") => ("azure", "Azure", "azure"),
        _ => return None,
    };
    Some(
        plan.origin
            .problem(block, format!("this gangplank was built without {cloud}"), "it checks and renders such plans")
            .fix(format!("build it with the feature `{feature}`, or leave the file out here")),
    )
}
