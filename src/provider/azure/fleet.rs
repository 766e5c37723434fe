//! All Azure plans of a run together: one client, one look for all bastions of each subscription.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::{join_all, try_join, try_join_all};
use jiff::Timestamp;

use super::{
    action::Action,
    arm::Arm,
    auto_shutdown,
    desire::{self, Desired},
    diff::{self, World},
    doubts, elsewhere, extend, history,
    id::{Id, Kind, Names},
    identity, observe,
    observed::{Observed, Surroundings},
    perform::Performer,
    retry::Repeat,
    status,
    tags::{self, Tags},
    teardown,
    verify::Evidence,
};
use crate::{
    changeset::{Changeset, StepId},
    cloud_error::{CloudError, Refused},
    cloudinit::{self, UserData},
    diagnostic::{Diagnostic, Diagnostics},
    drift::Who,
    event::Watcher,
    location::CloudAccount,
    plan::{Azure, Cloud, Plan, two_for_one},
    provider::{
        Progress,
        extend::Wish,
        fleet::{Control, Machine, PlanOutlook, Seen},
        identity::IdentifiedAccount,
        status::{Doubt, Remains, Status},
    },
    tags::deadline::{ResolvedDeadline, deadline},
};

/// What an activity log may take: who did it is good to know, and no reason to wait long.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// The Azure plans of one run, each in its subscription.
pub struct Fleet<'a> {
    arm: Arm,
    subscriptions: BTreeSet<&'a str>,
    /// In the order of the plans.
    bastions: Vec<Bastion<'a>>,
    rendered: OnceLock<Vec<Result<UserData, Diagnostic>>>,
}

#[derive(Clone, Copy)]
struct Bastion<'a> {
    plan: &'a Plan,
    azure: &'a Azure,
}

impl<'a> Fleet<'a> {
    /// Plans of other clouds are left to their own providers. Nobody is asked yet.
    ///
    /// # Errors
    /// Two plans that are the same bastion.
    pub fn new(plans: &'a [Plan], arm: Arm) -> Result<Self, Diagnostics> {
        let mut bastions: Vec<Bastion<'a>> = Vec::new();
        let mut problems = Vec::new();
        for plan in plans {
            let Cloud::Azure(azure) = &plan.cloud else { continue };
            let same = |b: &&Bastion<'_>| b.azure.subscription == azure.subscription && b.plan.name == plan.name;
            match bastions.iter().find(same) {
                Some(twin) => problems.push(same_bastion(plan, twin)),
                None => bastions.push(Bastion { plan, azure }),
            }
        }
        let subscriptions = bastions.iter().map(|b| b.azure.subscription.as_str()).collect();
        if problems.is_empty() {
            Ok(Self { arm, subscriptions, bastions, rendered: OnceLock::new() })
        } else {
            Err(Diagnostics(problems))
        }
    }

    /// Whose subscription each plan is for, in the order of the plans: one call for each subscription.
    pub async fn identify(&self, watcher: &dyn Watcher) -> Vec<IdentifiedAccount> {
        let asked = self.subscriptions.iter().map(async |subscription| {
            let step = StepId(format!("{subscription}/identity"));
            let told = identity::subscription(&self.arm, subscription, &Progress { step: &step, watcher }).await;
            (*subscription, identified(subscription, told))
        });
        let told: BTreeMap<&str, IdentifiedAccount> = join_all(asked).await.into_iter().collect();
        self.bastions.iter().filter_map(|b| told.get(b.azure.subscription.as_str()).cloned()).collect()
    }

    /// Looks at every subscription and works out what would make it match the plans, in their order. Writes nothing.
    pub async fn changes(&self, now: Timestamp, watcher: &dyn Watcher) -> Vec<PlanOutlook<Action>> {
        let rendered = self.rendered();
        let wants: Vec<Result<Desired<'_>, &Diagnostic>> = self
            .bastions
            .iter()
            .zip(rendered)
            .map(|(b, user_data)| user_data.as_ref().map(|user_data| Desired::new(b.plan, b.azure, user_data)))
            .collect();
        let sound: Vec<&Desired<'_>> = wants.iter().filter_map(|want| want.as_ref().ok()).collect();
        let each = self.subscriptions.iter().map(async |subscription| {
            let look = self.look_to_change(subscription, &sound, now, watcher).await;
            (*subscription, look)
        });
        let mut looks: BTreeMap<&str, _> = join_all(each).await.into_iter().collect();
        let none = Surroundings::default();
        let outlook = |(b, want): (&Bastion<'_>, &Result<Desired<'_>, &Diagnostic>)| {
            let (seen, around) = match looks.get_mut(b.azure.subscription.as_str())? {
                Ok(look) => look,
                Err(error) => return Some(PlanOutlook::refused(refused(b, error))),
            };
            let around = around.get(&place(b.azure)).unwrap_or(&none);
            let status = Some(status::of(b.plan, b.azure, seen, now));
            let changes = match want {
                Ok(want) => diff::diff(want, World { seen, around, now }).map_err(Refused::Plan),
                Err(problem) => Err(Refused::Plan((*problem).clone().into())),
            };
            if let Ok(set) = &changes {
                diff::anticipate(seen, set);
            }
            Some(PlanOutlook { status, changes })
        };
        self.bastions.iter().zip(&wants).filter_map(outlook).collect()
    }

    /// What there is in a subscription, and where machines of some size can be made in it.
    async fn look_to_change<'w>(
        &self,
        subscription: &str,
        wants: &[&'w Desired<'_>],
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Result<(Observed, BTreeMap<(&'w str, &'w str), Surroundings>), CloudError> {
        let mut looks = BTreeMap::from([(subscription, self.look_at(subscription, watcher).await?)]);
        self.add_offers(&mut looks, now, watcher, |b, seen| {
            let remembered = super::check::remembered(b.plan.name.as_str(), seen);
            deadline(b.plan.deadline, &remembered, now).map(|end| end.expires)
        })
        .await?;
        let around = self.surroundings(wants, &looks, watcher).await?;
        Ok((looks.remove(subscription).unwrap_or_default(), around))
    }

    /// What moves the end of each bastion, or why that can't be. Writes nothing.
    pub async fn extensions(
        &self,
        wish: Wish,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Vec<Result<Result<Changeset<Action>, Diagnostic>, CloudError>> {
        let end = |b: &Bastion<'_>, seen: &Observed| extend::end(b.plan, seen, wish, now).ok().map(|end| end.expires);
        let looks = self.looks(async |subscription: &str| {
            let mut looks = BTreeMap::from([(subscription, self.look_at(subscription, watcher).await?)]);
            self.add_user_data(&mut looks, watcher).await?;
            self.add_offers(&mut looks, now, watcher, end).await?;
            Ok(looks.remove(subscription).unwrap_or_default())
        });
        let looks = looks.await;
        self.read(&looks, |b, seen| extend::extend(b.plan, b.azure, seen, wish, now))
    }

    /// Whether all that each bastion has tells the same end.
    pub async fn ends_agree(&self, watcher: &dyn Watcher) -> Vec<Result<bool, CloudError>> {
        self.each(watcher, |b, seen| {
            let ends: Vec<_> = seen.owned(b.plan.name.as_str()).map(|r| ResolvedDeadline::from_tags(&r.tags)).collect();
            ends.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await
    }

    /// What removes the bastions, or why one is not removed. Writes nothing.
    pub async fn teardowns(
        &self,
        watcher: &dyn Watcher,
    ) -> Vec<Result<Result<Changeset<Action>, Diagnostics>, CloudError>> {
        let of = |b: &Bastion<'_>, seen: &Observed| {
            readable(b, seen)?;
            let (name, group) = (b.plan.name.as_str(), Id::group(&b.azure.subscription, desire::group_name(b.azure)));
            if seen.owned(name).all(|r| r.kind != Kind::Machine) {
                let near =
                    doubts::in_use(name, seen).into_iter().filter(|u| doubts::is_near(u, name, Some(&group), seen));
                let doubts = near.map(|one| doubts::doubt(&one, name, seen)).collect();
                if let Err(problems) = Doubt::refuse_destroy(doubts, b.plan) {
                    return Ok(Err(problems));
                }
            }
            Ok(Ok(teardown::teardown(b.plan, b.azure, seen)))
        };
        self.each(watcher, of).await.into_iter().map(Result::flatten).collect()
    }

    /// By bastion, what of it is still there.
    pub async fn remains(&self, watcher: &dyn Watcher) -> Vec<Result<Remains, CloudError>> {
        let of = |b: &Bastion<'_>, seen: &Observed| {
            let name = b.plan.name.as_str();
            readable(b, seen).map(|()| Remains {
                bastion: name.to_owned(),
                own: teardown::remains(name, &b.azure.subscription, seen),
                doubts: doubts::in_use(name, seen).iter().map(|one| doubts::doubt(one, name, seen)).collect(),
            })
        };
        self.each(watcher, of).await.into_iter().map(Result::flatten).collect()
    }

    pub async fn status(&self, now: Timestamp, watcher: &dyn Watcher) -> Vec<Result<Status, CloudError>> {
        self.each(watcher, |b, seen| status::of(b.plan, b.azure, seen, now)).await
    }

    /// Looks at what a verification goes by, in the order of the plans. Writes nothing.
    ///
    /// A subscription fails where it does not tell what there is. Where it only does not tell what a machine wrote, the evidence
    /// says so.
    pub async fn evidence(&self, now: Timestamp, watcher: &dyn Watcher) -> Vec<Result<Seen, CloudError>> {
        let looks = self.looks(async |subscription: &str| {
            let mut looks = BTreeMap::from([(subscription, self.look_at(subscription, watcher).await?)]);
            self.add_user_data(&mut looks, watcher).await?;
            Ok(Arc::new(looks.remove(subscription).unwrap_or_default()))
        });
        let looks = looks.await;
        let each = self.bastions.iter().filter_map(|b| Some((b, looks.get(b.azure.subscription.as_str())?)));
        let each = each.map(async |(b, seen)| {
            let seen = seen.as_ref().map_err(CloudError::clone)?;
            let status = status::of(b.plan, b.azure, seen, now);
            let machine = seen.owned(b.plan.name.as_str()).find(|r| r.kind == Kind::Machine);
            let shown = machine.and_then(|machine| ResolvedDeadline::from_tags(&machine.tags));
            let other_ends = super::check::other_ends(b.plan, shown.map(|end| end.expires), seen, now);
            let console = match machine {
                Some(machine) => {
                    let step = StepId(format!("{}/observe", b.azure.subscription));
                    let read = observe::console(&self.arm, &machine.id, &Progress { step: &step, watcher }).await;
                    read.map_err(|error| format!("{}: {}", error.operation, error.message))
                }
                None => Err("there is no virtual machine".to_owned()),
            };
            Ok(Seen {
                location: status.location,
                address: status.address.and_then(|address| address.parse().ok()),
                machine: machine.map(|machine| Machine {
                    id: machine.id.as_str().to_owned(),
                    // Which of its ids the machine takes for its own, cloud-init decides.
                    reports_as: None,
                    launched: machine.text("/properties/timeCreated").parse().ok(),
                    tags: machine.tags.clone(),
                }),
                other_ends,
                console,
                control: Control::Azure(Box::new(Evidence { at: now, seen: Arc::clone(seen) })),
            })
        });
        join_all(each).await
    }

    /// Whether auto-shutdowns can be had, where one is to be written: `end` says when a bastion ends.
    async fn add_offers(
        &self,
        looks: &mut BTreeMap<&str, Observed>,
        now: Timestamp,
        watcher: &dyn Watcher,
        end: impl Fn(&Bastion<'_>, &Observed) -> Option<Timestamp>,
    ) -> Result<(), CloudError> {
        let needs = |b: &&Bastion<'_>| {
            let names = Names::new(&b.azure.subscription, desire::group_name(b.azure), &b.plan.name);
            let seen = looks.get(b.azure.subscription.as_str());
            seen.is_some_and(|s| auto_shutdown::is_to_be_written(s, &names.auto_shutdown, end(b, s), now))
        };
        let near: BTreeSet<&str> = self.bastions.iter().filter(needs).map(|b| b.azure.subscription.as_str()).collect();
        let each = near.into_iter().map(async |subscription| {
            let step = StepId(format!("{subscription}/observe"));
            let offer = observe::offer(&self.arm, subscription, &Progress { step: &step, watcher }).await?;
            Ok((subscription, offer))
        });
        for (subscription, offer) in try_join_all(each).await? {
            if let Some(seen) = looks.get_mut(subscription) {
                seen.auto_shutdown.offer = offer;
            }
        }
        Ok(())
    }

    /// What each bastion's machine is told to accept, which no list shows.
    async fn add_user_data(
        &self,
        looks: &mut BTreeMap<&str, Observed>,
        watcher: &dyn Watcher,
    ) -> Result<(), CloudError> {
        let machines = self.bastions.iter().filter_map(|b| {
            let (subscription, name) = (b.azure.subscription.as_str(), b.plan.name.as_str());
            let machines = looks.get(subscription)?.owned(name).filter(|r| r.kind == Kind::Machine);
            Some(machines.map(move |machine| (subscription, machine.id.clone())))
        });
        let each = machines.flatten().map(async |(subscription, id)| {
            let step = StepId(format!("{subscription}/observe"));
            let read = observe::user_data(&self.arm, &id, &Progress { step: &step, watcher }).await?;
            Ok((subscription, id, read))
        });
        for (subscription, id, read) in try_join_all(each).await? {
            if let (Some(seen), Some(user_data)) = (looks.get_mut(subscription), read) {
                seen.add_user_data(&id, user_data);
            }
        }
        Ok(())
    }

    /// Pins a host key to a machine: the only write outside of a changeset, as on AWS.
    ///
    /// # Errors
    /// The cloud's refusal.
    pub async fn pin(&self, machine: &str, host_key: &str, watcher: &dyn Watcher) -> Result<(), CloudError> {
        let step = StepId(format!("{machine}/host-key"));
        let tags = Tags::from([(tags::HOST_KEY.to_owned(), host_key.to_owned())]);
        self.performer().tag(&Id::new(machine), &tags, &[], &Progress { step: &step, watcher }).await
    }

    /// Who has written to what a step is about, as the activity log says.
    pub async fn who(&self, action: &Action, since: Timestamp, now: Timestamp, watcher: &dyn Watcher) -> Who {
        let step = StepId(format!("{}/activity-log", action.subscription));
        let request = history::request(action, since, now);
        let progress = Progress { step: &step, watcher };
        match tokio::time::timeout(LOG_PATIENCE, self.arm.call(&request, Repeat::ONCE, &progress)).await {
            Ok(Ok(answer)) => Who::Log { acts: history::read(&answer.body, action.call.id()) },
            Ok(Err(error)) => {
                let reason = format!("the activity log did not tell: {}", error.message);
                history::unasked(action, since, now, &reason)
            }
            Err(_) => history::unasked(action, since, now, "the activity log did not answer in time"),
        }
    }

    async fn each<T>(
        &self,
        watcher: &dyn Watcher,
        read: impl Fn(&Bastion<'_>, &Observed) -> T,
    ) -> Vec<Result<T, CloudError>> {
        let looks = self.looks(async |subscription: &str| self.look_at(subscription, watcher).await).await;
        self.read(&looks, read)
    }

    /// Looks at every subscription at once.
    async fn looks<T>(
        &self,
        look: impl AsyncFn(&str) -> Result<T, CloudError>,
    ) -> BTreeMap<&str, Result<T, CloudError>> {
        let each = self.subscriptions.iter().map(async |subscription| (*subscription, look(subscription).await));
        join_all(each).await.into_iter().collect()
    }

    /// Reads of each bastion what its subscription has told.
    fn read<T>(
        &self,
        looks: &BTreeMap<&str, Result<Observed, CloudError>>,
        read: impl Fn(&Bastion<'_>, &Observed) -> T,
    ) -> Vec<Result<T, CloudError>> {
        let of = |b: &Bastion<'_>| {
            let look = looks.get(b.azure.subscription.as_str())?;
            Some(look.as_ref().map(|seen| read(b, seen)).map_err(CloudError::clone))
        };
        self.bastions.iter().filter_map(of).collect()
    }

    async fn look_at(&self, subscription: &str, watcher: &dyn Watcher) -> Result<Observed, CloudError> {
        let step = StepId(format!("{subscription}/observe"));
        let progress = Progress { step: &step, watcher };
        let plans = self.bastions.iter().filter(|b| b.azure.subscription == subscription);
        let plans: Vec<_> = plans.map(|b| (b.plan, b.azure)).collect();
        observe::observe(&self.arm, subscription, &plans, &progress).await
    }

    /// By subscription and location, where a machine is to be made.
    async fn surroundings<'w>(
        &self,
        wants: &[&'w Desired<'_>],
        looks: &BTreeMap<&str, Observed>,
        watcher: &dyn Watcher,
    ) -> Result<BTreeMap<(&'w str, &'w str), Surroundings>, CloudError> {
        let makes = |want: &&&Desired<'_>| {
            looks.get(want.azure.subscription.as_str()).is_some_and(|seen| diff::makes_machine(want, seen))
        };
        let places: BTreeSet<(&str, &str)> = wants.iter().filter(makes).map(|want| place(want.azure)).collect();
        let each = places.into_iter().map(async |(subscription, location)| {
            let step = StepId(format!("{subscription}/observe"));
            let progress = Progress { step: &step, watcher };
            let (sizes, quotas) = try_join(
                observe::sizes(&self.arm, subscription, location, &progress),
                observe::quotas(&self.arm, subscription, location, &progress),
            )
            .await?;
            Ok(((subscription, location), Surroundings { sizes, quotas }))
        });
        Ok(try_join_all(each).await?.into_iter().collect())
    }

    /// The bastions' documents, made once for however many looks.
    fn rendered(&self) -> &[Result<UserData, Diagnostic>] {
        let render = |b: &Bastion<'_>| cloudinit::render(b.plan).map_err(|error| error.in_plan(b.plan));
        self.rendered.get_or_init(|| self.bastions.iter().map(render).collect())
    }

    /// Something that performs this fleet's steps.
    pub fn performer(&self) -> Performer<'_> {
        Performer::new(&self.arm)
    }
}

/// Nothing is called gone while it is not known what is in the firewall that the plan names, and in its policy.
fn readable(bastion: &Bastion<'_>, seen: &Observed) -> Result<(), CloudError> {
    elsewhere::unreadable(bastion.plan, bastion.azure, seen).map_or(Ok(()), |error| Err(error.clone()))
}

/// Where a plan's machine can be of some size.
fn place(azure: &Azure) -> (&str, &str) {
    (&azure.subscription, &azure.location)
}

/// What Azure told of a subscription.
pub(super) fn identified(subscription: &str, told: Result<CloudAccount, CloudError>) -> IdentifiedAccount {
    match told {
        Ok(account) => IdentifiedAccount { account, arn: None, unknown: None },
        Err(error) => {
            let account = CloudAccount::Azure { subscription: subscription.to_owned(), name: None, tenant: None };
            IdentifiedAccount { account, arn: None, unknown: Some(error) }
        }
    }
}

fn same_bastion(plan: &Plan, twin: &Bastion<'_>) -> Diagnostic {
    let subscription = &twin.azure.subscription;
    let because = format!("A name is a bastion's identity within a subscription, and both are in {subscription}.");
    two_for_one(plan, twin.plan, because, "give one of them another name")
}

fn refused(bastion: &Bastion<'_>, error: &CloudError) -> Refused {
    match blamed(bastion.plan, bastion.azure, error) {
        Some(problem) => Refused::Plan(problem.into()),
        None => Refused::Cloud(error.clone()),
    }
}

/// A failure to look that the plan is the cause of: it names a subscription that is not there.
pub(in crate::provider) fn blamed(plan: &Plan, azure: &Azure, error: &CloudError) -> Option<Diagnostic> {
    let gone = matches!(error.code.as_deref(), Some("SubscriptionNotFound" | "InvalidSubscriptionId"));
    if !gone || !error.message.contains(&azure.subscription) {
        return None;
    }
    let problem = plan.origin.problem("azure.subscription", "no such subscription", error.message.clone());
    Some(
        problem
            .because("It does not exist, was deleted, or is not these credentials' to see.")
            .fix("`az account list --output table` shows those that can be seen"),
    )
}
