//! All plans of a run, whichever clouds they are for. Only the clouds that plans name are connected to, and what comes back is in
//! the order of the plans.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::future::join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CloudError, Progress, Provider, Refused, aws, azure,
    clouds::Clouds,
    identity::{self, IdentityNeed, Located},
};
use crate::{
    changeset::{Changeset, Step},
    diagnostic::{Diagnostic, Diagnostics},
    drift::Who,
    event::Watcher,
    location::{CloudAccount, Location, SandboxName},
    plan::{Cloud, Plan},
    provider::{
        extend::Wish,
        status::Status,
        tags::{HOST_KEY, Tags},
    },
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

/// One look at the clouds: what is there, and what would make it match the plans.
#[derive(Debug, Default)]
pub struct Outlook {
    pub changesets: Vec<Changeset<Action>>,
    pub statuses: Vec<Status>,
    /// Of the clouds about whose plans nothing is said above, why.
    pub refused: Vec<Refused>,
}

impl Outlook {
    /// Only where every cloud has answered.
    ///
    /// # Errors
    /// Why not, of each cloud that did not.
    pub fn whole(self) -> Result<Self, Vec<Refused>> {
        if self.refused.is_empty() { Ok(self) } else { Err(self.refused) }
    }
}

/// What the clouds told of their plans. One cloud's failure hides nothing of what another told.
#[derive(Debug)]
pub struct Told<'a, T, E = CloudError> {
    /// In the order of the plans.
    pub of: Vec<(&'a Plan, T)>,
    /// Of the clouds whose plans are missing above, why.
    pub failed: Vec<E>,
}

/// What a cloud tells about one bastion.
pub struct Seen {
    pub location: Location,
    /// Where the vendor connects to.
    pub address: Option<IpAddr>,
    pub machine: Option<Machine>,
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
        Self { location, address, machine, console, control: Control::Aws(Box::new(evidence)) }
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
        self.accounts = each.into_iter().map(|(_, found)| found.account).collect();
        Ok(())
    }

    /// Whose account each plan's bastion is in, in their order; empty until [`Self::identify`] has asked.
    pub fn accounts(&self) -> &[CloudAccount] {
        &self.accounts
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
    ///
    /// What a plan can't have, or a cloud's failure, is in [`Outlook::refused`].
    pub async fn changes(&self, now: Timestamp, watcher: &dyn Watcher) -> Outlook {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let outlook = fleet.changes(now, watcher).await?;
                let sets = outlook.changesets.into_iter().map(|set| set.map(Action::Aws));
                return Ok(sets.zip(outlook.statuses).collect());
            }
            Ok(Vec::new())
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let outlook = fleet.changes(now, watcher).await?;
                let sets = outlook.changesets.into_iter().map(|set| set.map(Action::Azure));
                return Ok(sets.zip(outlook.statuses).collect());
            }
            Ok(Vec::new())
        };
        let (aws, azure) = join(aws, azure).await;
        let told: Told<'_, _, Refused> = self.told(aws, azure);
        let (changesets, statuses) = told.of.into_iter().map(|(_, both)| both).unzip();
        let mut refused = told.failed;
        if let [Refused::Plan(Diagnostics(problems)), Refused::Plan(Diagnostics(more))] = refused.as_mut_slice() {
            problems.append(more);
            refused.truncate(1);
        }
        Outlook { changesets, statuses, refused }
    }

    /// What moves the ends of the bastions. Writes nothing.
    ///
    /// # Errors
    /// Every reason why an end can't be moved, or the failure of each cloud that failed.
    pub async fn extensions(
        &self,
        wish: Wish,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Result<Vec<Changeset<Action>>, Vec<Refused>> {
        type Sets = Vec<Result<Changeset<Action>, Diagnostic>>;
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let sets = fleet.extensions(wish, now, watcher).await?;
                return Ok(sets.into_iter().map(|set| set.map(|set| set.map(Action::Aws))).collect());
            }
            Ok::<Sets, CloudError>(Vec::new())
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let sets = fleet.extensions(wish, now, watcher).await?;
                return Ok(sets.into_iter().map(|set| set.map(|set| set.map(Action::Azure))).collect());
            }
            Ok::<Sets, CloudError>(Vec::new())
        };
        let (aws, azure) = join(aws, azure).await;
        let told = self.told(aws, azure);
        let (mut sets, mut problems) = (Vec::new(), Vec::new());
        for (_, set) in told.of {
            match set {
                Ok(set) => sets.push(set),
                Err(problem) => problems.push(problem),
            }
        }
        let mut refused: Vec<Refused> = told.failed.into_iter().map(Refused::Cloud).collect();
        if !problems.is_empty() {
            refused.push(Refused::Plan(Diagnostics(problems)));
        }
        if refused.is_empty() { Ok(sets) } else { Err(refused) }
    }

    /// Whether all that each bastion has tells the same end.
    ///
    /// # Errors
    /// A cloud's failure.
    pub async fn ends_agree(&self, watcher: &dyn Watcher) -> Result<bool, CloudError> {
        let mut agree = true;
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            agree &= fleet.ends_agree(watcher).await?;
        }
        #[cfg(feature = "azure")]
        if let Some(fleet) = &self.azure {
            agree &= fleet.ends_agree(watcher).await?;
        }
        Ok(agree)
    }

    /// What removes the bastions. Writes nothing.
    ///
    /// # Errors
    /// The failure of each cloud that failed.
    pub async fn teardowns(&self, watcher: &dyn Watcher) -> Result<Vec<Changeset<Action>>, Vec<CloudError>> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let sets = fleet.teardowns(watcher).await?;
                return Ok(sets.into_iter().map(|set| set.map(Action::Aws)).collect());
            }
            Ok(Vec::new())
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let sets = fleet.teardowns(watcher).await?;
                return Ok(sets.into_iter().map(|set| set.map(Action::Azure)).collect());
            }
            Ok(Vec::new())
        };
        let (aws, azure) = join(aws, azure).await;
        let told = self.told(aws, azure);
        if told.failed.is_empty() { Ok(told.of.into_iter().map(|(_, set)| set).collect()) } else { Err(told.failed) }
    }

    /// By bastion, what of it is still there.
    pub async fn remains(&self, watcher: &dyn Watcher) -> Told<'a, (String, Vec<String>)> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                return fleet.remains(watcher).await;
            }
            Ok(Vec::new())
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.remains(watcher).await;
            }
            Ok(Vec::new())
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
            Ok(Vec::new())
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.status(now, watcher).await;
            }
            Ok(Vec::new())
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
                let seen = fleet.evidence(now, watcher).await?;
                return Ok(plans.zip(seen).map(|(plan, seen)| Seen::aws(plan, seen)).collect());
            }
            Ok(Vec::new())
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                return fleet.evidence(now, watcher).await;
            }
            Ok(Vec::new())
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

    /// Each cloud answers in the order of its plans.
    fn told<T: Located, E>(&self, aws: Result<Vec<T>, E>, azure: Result<Vec<T>, E>) -> Told<'a, T, E> {
        let mut failed = Vec::new();
        let mut answers =
            |of: Result<Vec<T>, E>| of.map_err(|error| failed.push(error)).unwrap_or_default().into_iter();
        let (mut aws, mut azure) = (answers(aws), answers(azure));
        let next = |(i, plan): (usize, &'a Plan)| {
            let mut answer = match plan.cloud {
                Cloud::Aws(_) => aws.next()?,
                Cloud::Azure(_) => azure.next()?,
            };
            answer.locate(self.accounts.get(i), self.sandbox.as_ref());
            Some((plan, answer))
        };
        Told { of: self.plans.iter().enumerate().filter_map(next).collect(), failed }
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
