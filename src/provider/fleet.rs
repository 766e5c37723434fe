//! All plans of a run, whichever clouds they are for. Only the clouds that plans name are connected to, and what comes back is in
//! the order of the plans.

// A cloud that was built without adds nothing to its lists.
#![cfg_attr(not(all(feature = "aws", feature = "azure")), allow(unused_mut))]

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CloudError, Progress, Provider, Refused, aws, azure};
use crate::{
    changeset::{Changeset, Step},
    diagnostic::{Diagnostic, Diagnostics},
    event::Watcher,
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
}

/// What a cloud tells about one bastion.
pub struct Seen {
    /// `aws us-east-1`
    pub location: String,
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
    /// Resolves credentials' sources and regions. `env` reads the environment.
    ///
    /// # Errors
    /// What is wrong with a plan before a cloud is asked, a cloud that this gangplank was built without among it, or an
    /// environment that names no cloud.
    pub async fn connect(plans: &'a [Plan], env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Refused> {
        let without: Vec<Diagnostic> = plans.iter().filter_map(unreachable).collect();
        if !without.is_empty() {
            return Err(Diagnostics(without).into());
        }
        #[cfg(not(feature = "azure"))]
        let _ = env;
        Ok(Self {
            plans,
            #[cfg(feature = "aws")]
            aws: if plans.iter().any(|p| matches!(p.cloud, Cloud::Aws(_))) {
                Some(aws::fleet::Fleet::connect(plans).await?)
            } else {
                None
            },
            #[cfg(feature = "azure")]
            azure: if plans.iter().any(|p| matches!(p.cloud, Cloud::Azure(_))) {
                Some(azure::fleet::Fleet::new(plans, azure::arm::Arm::connect(env)?)?)
            } else {
                None
            },
        })
    }

    /// Looks at every cloud and works out what would make it match the plans. Writes nothing.
    ///
    /// # Errors
    /// Every reason why a plan can't be fulfilled, or a cloud's failure.
    pub async fn changes(&self, now: Timestamp, watcher: &dyn Watcher) -> Result<Outlook, Refused> {
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(fleet) = &self.aws {
                let outlook = fleet.changes(now, watcher).await?;
                let sets = outlook.changesets.into_iter().map(|set| set.map(Action::Aws));
                return Ok((sets.collect(), outlook.statuses));
            }
            Ok((Vec::new(), Vec::new()))
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(fleet) = &self.azure {
                let outlook = fleet.changes(now, watcher).await?;
                let sets = outlook.changesets.into_iter().map(|set| set.map(Action::Azure));
                return Ok((sets.collect(), outlook.statuses));
            }
            Ok((Vec::new(), Vec::new()))
        };
        let both: (Result<_, Refused>, Result<_, Refused>) = futures_util::future::join(aws, azure).await;
        match both {
            (Ok((aws, seen)), Ok((azure, also_seen))) => {
                Ok(Outlook { changesets: self.in_order(aws, azure), statuses: self.in_order(seen, also_seen) })
            }
            (Err(Refused::Plan(Diagnostics(mut problems))), Err(Refused::Plan(Diagnostics(more)))) => {
                problems.extend(more);
                Err(Refused::Plan(Diagnostics(problems)))
            }
            // What a plan can't have is said before a cloud's hiccup.
            (Err(error @ Refused::Plan(_)), _) | (_, Err(error @ Refused::Plan(_))) => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// What moves the ends of the bastions. Writes nothing.
    ///
    /// # Errors
    /// Every reason why an end can't be moved, or a cloud's failure.
    pub async fn extensions(
        &self,
        wish: Wish,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Result<Vec<Changeset<Action>>, Refused> {
        let (mut aws, mut azure) = (Vec::new(), Vec::new());
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            let sets = fleet.extensions(wish, now, watcher).await?;
            aws.extend(sets.into_iter().map(|set| set.map(|set| set.map(Action::Aws))));
        }
        #[cfg(feature = "azure")]
        if let Some(fleet) = &self.azure {
            let sets = fleet.extensions(wish, now, watcher).await?;
            azure.extend(sets.into_iter().map(|set| set.map(|set| set.map(Action::Azure))));
        }
        let (sets, problems): (Vec<_>, Vec<Result<Changeset<Action>, Diagnostic>>) =
            self.in_order(aws, azure).into_iter().partition(Result::is_ok);
        let problems: Vec<Diagnostic> = problems.into_iter().filter_map(Result::err).collect();
        if problems.is_empty() { Ok(sets.into_iter().flatten().collect()) } else { Err(Diagnostics(problems).into()) }
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
    /// A cloud's failure.
    pub async fn teardowns(&self, watcher: &dyn Watcher) -> Result<Vec<Changeset<Action>>, CloudError> {
        let (mut aws, mut azure) = (Vec::new(), Vec::new());
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            aws.extend(fleet.teardowns(watcher).await?.into_iter().map(|set| set.map(Action::Aws)));
        }
        #[cfg(feature = "azure")]
        if let Some(fleet) = &self.azure {
            azure.extend(fleet.teardowns(watcher).await?.into_iter().map(|set| set.map(Action::Azure)));
        }
        Ok(self.in_order(aws, azure))
    }

    /// By bastion, what of it is still there.
    ///
    /// # Errors
    /// A cloud's failure.
    pub async fn remains(&self, watcher: &dyn Watcher) -> Result<Vec<(String, Vec<String>)>, CloudError> {
        let (mut aws, mut azure) = (Vec::new(), Vec::new());
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            aws.extend(fleet.remains(watcher).await?);
        }
        #[cfg(feature = "azure")]
        if let Some(fleet) = &self.azure {
            azure.extend(fleet.remains(watcher).await?);
        }
        Ok(self.in_order(aws, azure))
    }

    /// # Errors
    /// A cloud's failure.
    pub async fn status(&self, now: Timestamp, watcher: &dyn Watcher) -> Result<Vec<Status>, CloudError> {
        let (mut aws, mut azure) = (Vec::new(), Vec::new());
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            aws.extend(fleet.status(now, watcher).await?);
        }
        #[cfg(feature = "azure")]
        if let Some(fleet) = &self.azure {
            azure.extend(fleet.status(now, watcher).await?);
        }
        Ok(self.in_order(aws, azure))
    }

    /// Looks at everything that a verification goes by, one for each plan. Writes nothing.
    ///
    /// # Errors
    /// A cloud's failure to tell what there is. What else it does not tell, the evidence says.
    pub async fn evidence(&self, now: Timestamp, watcher: &dyn Watcher) -> Result<Vec<Seen>, CloudError> {
        let (mut aws, mut azure) = (Vec::new(), Vec::new());
        #[cfg(feature = "aws")]
        if let Some(fleet) = &self.aws {
            let plans = self.plans.iter().filter(|plan| matches!(plan.cloud, Cloud::Aws(_)));
            aws.extend(plans.zip(fleet.evidence(now, watcher).await?).map(|(plan, seen)| Seen::aws(plan, seen)));
        }
        #[cfg(feature = "azure")]
        if let Some(fleet) = &self.azure {
            azure.extend(fleet.evidence(now, watcher).await?);
        }
        Ok(self.in_order(aws, azure))
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

    /// Each cloud answers in the order of its plans.
    fn in_order<T>(&self, aws: Vec<T>, azure: Vec<T>) -> Vec<T> {
        let (mut aws, mut azure) = (aws.into_iter(), azure.into_iter());
        let next = |plan: &Plan| match plan.cloud {
            Cloud::Aws(_) => aws.next(),
            Cloud::Azure(_) => azure.next(),
        };
        self.plans.iter().filter_map(next).collect()
    }

    /// Something that performs this fleet's steps, with nothing made yet.
    pub fn performer(&self) -> Performer<'_> {
        Performer {
            #[cfg(feature = "aws")]
            aws: self.aws.as_ref().map(aws::fleet::Fleet::performer),
            #[cfg(feature = "azure")]
            azure: self.azure.as_ref().map(azure::fleet::Fleet::performer),
        }
    }
}

/// Performs each step in its cloud.
pub struct Performer<'a> {
    #[cfg(feature = "aws")]
    aws: Option<aws::fleet::FleetPerformer<'a>>,
    #[cfg(feature = "azure")]
    azure: Option<azure::perform::Performer<'a>>,
}

impl Provider for Performer<'_> {
    type Action = Action;

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
