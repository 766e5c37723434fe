//! All AWS plans of a run together: one client for each profile and region, one look for all bastions of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    ptr,
    sync::OnceLock,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{
    sync::Mutex,
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{
    action::{Action, Call},
    api::{Ec2, NotConnected},
    boot::boot_text,
    desire::Desired,
    diff::{self, World},
    doubts,
    evidence::Evidence,
    extend, history,
    identity::{self, CallerIdentity},
    inspect::{self, Question},
    machine::{self, Choice, Needs, allocates},
    observe::{self, Named},
    observed::{ElasticIp, Instance, Observed, Surroundings},
    peering,
    perform::Performer,
    profile::{MissingProfile, NamedBy},
    tags::{self, Tags},
    teardown,
};
use crate::{
    changeset::{Changeset, StepId},
    cloud_error::{CloudError, Refused},
    cloudinit::{self, UserData},
    diagnostic::{Diagnostic, Diagnostics},
    drift::{Act, Who},
    event::Watcher,
    location::CloudAccount,
    plan::{Aws, AwsAddress, Cloud, Plan, two_for_one},
    provider::{
        Progress,
        clouds::Clouds,
        extend::Wish,
        fleet::PlanOutlook,
        identity::IdentifiedAccount,
        status::{Doubt, Remains, State, Status},
    },
};

/// The AWS plans of one run, each in its region.
pub struct Fleet<'a> {
    regions: Vec<Region>,
    /// In the order of the plans.
    bastions: Vec<Bastion<'a>>,
    rendered: OnceLock<Vec<Result<UserData, Diagnostic>>>,
    /// The principals' ARNs by profile, once they were asked for.
    callers: OnceLock<BTreeMap<Option<String>, String>>,
}

/// CloudTrail takes two lookups a second for each account and region ("LookupEvents").
pub(super) const BETWEEN_LOOKUPS: Duration = Duration::from_millis(500);
/// What a history may take: who did it is good to know, and no reason to wait long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

struct Region {
    /// `us-east-1`, or `profile@us-east-1` where a plan names a profile: stable between runs.
    key: String,
    ec2: Ec2,
    /// When the next lookup may start.
    turn: Mutex<Option<Instant>>,
}

struct Bastion<'a> {
    plan: &'a Plan,
    aws: &'a Aws,
    /// Index into the fleet's regions.
    region: usize,
}

/// What is read of the groups that are called as the bastions' are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InGroups {
    Nothing,
    /// The machines in those of bastions that have none of their own.
    Users,
    /// Those, and all network interfaces: for who removes the bastions.
    Members,
}

impl<'a> Fleet<'a> {
    /// Resolves credentials' sources and regions; plans of other clouds are left to their own providers.
    ///
    /// # Errors
    /// A plan whose region or profile nobody knows, two plans that are the same bastion, or a setting that can't be used.
    pub async fn connect(plans: &'a [Plan], clouds: &Clouds) -> Result<Self, Refused> {
        let mut fleet =
            Self { regions: Vec::new(), bastions: Vec::new(), rendered: OnceLock::new(), callers: OnceLock::new() };
        let mut connected: BTreeMap<(Option<&str>, Option<&str>), usize> = BTreeMap::new();
        let mut problems = Vec::new();
        for plan in plans {
            let Cloud::Aws(aws) = &plan.cloud else { continue };
            let wanted = (aws.profile.as_deref(), aws.region.as_deref());
            let region = match connected.get(&wanted) {
                Some(known) => *known,
                None => match clouds.ec2(wanted.0, wanted.1).await {
                    Ok(ec2) => {
                        let region = fleet.add_region(wanted.0, ec2);
                        connected.insert(wanted, region);
                        region
                    }
                    Err(NotConnected::NoRegion) => {
                        problems.push(no_region(plan));
                        continue;
                    }
                    Err(NotConnected::NoProfile(missing)) if missing.profile.named_by == NamedBy::Caller => {
                        problems.push(no_profile(plan, &missing));
                        continue;
                    }
                    Err(other) => return Err(other.into_error().into()),
                },
            };
            if let Some(twin) = fleet.bastions.iter().find(|b| b.region == region && b.plan.name == plan.name) {
                problems.push(same_bastion(plan, twin.plan, &fleet.regions[region].key));
                continue;
            }
            fleet.bastions.push(Bastion { plan, aws, region });
        }
        if problems.is_empty() { Ok(fleet) } else { Err(Diagnostics(problems).into()) }
    }

    /// What of the environment is not used, each once.
    pub fn notes(&self) -> BTreeSet<&str> {
        self.regions.iter().filter_map(|region| region.ec2.note.as_deref()).collect()
    }

    fn add_region(&mut self, profile: Option<&str>, ec2: Ec2) -> usize {
        let key = profile.map_or_else(|| ec2.region.clone(), |profile| format!("{profile}@{}", ec2.region));
        // A plan that names the default region and one that leaves it to the environment share a client.
        self.regions.iter().position(|r| r.key == key).unwrap_or_else(|| {
            self.regions.push(Region { key, ec2, turn: Mutex::default() });
            self.regions.len() - 1
        })
    }

    /// The region of each plan, in their order.
    pub fn regions_of_plans(&self) -> Vec<&str> {
        self.bastions.iter().map(|b| self.regions[b.region].ec2.region.as_str()).collect()
    }

    /// Whose account each plan is for, in the order of the plans: one call for each profile.
    pub async fn identify(&self, watcher: &dyn Watcher) -> Vec<IdentifiedAccount> {
        let mut profiles: BTreeMap<Option<&str>, &Region> = BTreeMap::new();
        for bastion in &self.bastions {
            profiles.entry(bastion.aws.profile.as_deref()).or_insert(&self.regions[bastion.region]);
        }
        let asked = profiles.into_iter().map(async |(profile, region)| {
            let step = StepId(format!("{}/identity", region.key));
            let told = identity::caller(&region.ec2, &Progress { step: &step, watcher }).await;
            (profile, identified(region.ec2.profile.clone(), told))
        });
        let told: BTreeMap<Option<&str>, IdentifiedAccount> = join_all(asked).await.into_iter().collect();
        let arns = told.iter().filter_map(|(profile, found)| Some((profile.map(str::to_owned), found.arn.clone()?)));
        // Whoever asks twice has the same credentials.
        let _ = self.callers.set(arns.collect());
        self.bastions.iter().filter_map(|b| told.get(&b.aws.profile.as_deref()).cloned()).collect()
    }

    /// Looks at every region and works out what would make it match the plans, in their order. Writes nothing.
    pub async fn changes(&self, now: Timestamp, watcher: &dyn Watcher) -> Vec<PlanOutlook<Action>> {
        let rendered = self.rendered();
        let wants: Vec<Result<Desired<'_>, &Diagnostic>> = self
            .bastions
            .iter()
            .zip(rendered)
            .map(|(b, user_data)| user_data.as_ref().map(|user_data| Desired::new(b.plan, b.aws, user_data)))
            .collect();
        let looks = join_all(self.regions.iter().enumerate().map(async |(i, region)| {
            let here = self.bastions.iter().zip(&wants).filter(|(b, _)| b.region == i);
            let wants: Vec<&Desired<'_>> = here.filter_map(|(_, want)| want.as_ref().ok()).collect();
            region.look(&wants, now, watcher).await
        }))
        .await;
        let mut claimed = vec![0; self.regions.len()];
        let outlook = |(bastion, want): (&Bastion<'_>, &Result<Desired<'_>, &Diagnostic>)| {
            let (seen, around) = match &looks[bastion.region] {
                Ok(look) => look,
                Err(error) => return PlanOutlook::refused(error.clone()),
            };
            let region = self.regions[bastion.region].key.as_str();
            let changes = match want {
                Ok(want) => {
                    let claimed = &mut claimed[bastion.region];
                    let world = World { region, seen, around, now, claimed: *claimed };
                    let changes = diff::diff(want, world).map_err(Refused::Plan);
                    *claimed += usize::from(changes.is_ok() && allocates(want, seen));
                    changes
                }
                Err(problem) => Err(Refused::Plan((*problem).clone().into())),
            };
            PlanOutlook { status: Some(Status::of(bastion.plan, bastion.aws, region, seen, now)), changes }
        };
        self.bastions.iter().zip(&wants).map(outlook).collect()
    }

    /// What moves the end of each bastion, or why that can't be. Writes nothing.
    pub async fn extensions(
        &self,
        wish: Wish,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Vec<Result<Result<Changeset<Action>, Diagnostic>, CloudError>> {
        self.each(watcher, InGroups::Nothing, |bastion, region, seen| {
            extend::extend(bastion.plan, region, seen, wish, now)
        })
        .await
    }

    /// As whom a region of this run is asked, where that is known.
    fn caller_in(&self, region: &str) -> Option<&str> {
        let bastion = self.bastions.iter().find(|b| self.regions[b.region].key == region)?;
        self.callers.get()?.get(&bastion.aws.profile).map(String::as_str)
    }

    /// Who has written to what a step is about, as CloudTrail says.
    pub async fn who(&self, action: &Action, since: Timestamp, now: Timestamp) -> Who {
        let unasked = |reason: &str| history::unasked(action, since, now, reason);
        let Some(resource) = history::resource(action) else {
            return unasked("what is gone has no id that CloudTrail could be asked for");
        };
        let Some(region) = self.regions.iter().find(|region| region.key == action.region) else {
            return unasked("its region is none of this run's");
        };
        match timeout(PATIENCE, region.events(&resource, since, now)).await {
            Ok(Ok(events)) => {
                Who::Log { acts: history::read(events.iter().map(String::as_str), self.caller_in(&region.key)) }
            }
            Ok(Err(error)) => unasked(&history::refusal(&error)),
            Err(_) => unasked("CloudTrail did not answer in time"),
        }
    }

    /// Who removed each of these bastions of which nothing is there, as CloudTrail says: two lookups for each region. What it does not
    /// tell, or may not be asked, is nobody's.
    pub async fn removals(&self, gone: &[&Plan], since: Timestamp, now: Timestamp) -> Vec<Option<Act>> {
        let is_here =
            |i: usize| self.bastions.iter().any(|b| b.region == i && gone.iter().any(|p| ptr::eq(*p, b.plan)));
        let told = join_all(self.regions.iter().enumerate().map(async |(i, region)| {
            if !is_here(i) {
                return None;
            }
            let both = async {
                let created = region.calls_named("CreateSecurityGroup", since, now).await.ok()?;
                Some((created, region.calls_named("DeleteSecurityGroup", since, now).await.ok()?))
            };
            timeout(PATIENCE, both).await.ok().flatten()
        }))
        .await;
        let removal = |plan: &&Plan| {
            let bastion = self.bastions.iter().find(|b| ptr::eq(b.plan, *plan))?;
            let (created, deleted) = told.get(bastion.region)?.as_ref()?;
            history::removal(&tags::resource_name(&plan.name), created, deleted)
        };
        gone.iter().map(removal).collect()
    }

    /// Whether all that each bastion has tells the same end.
    pub async fn ends_agree(&self, watcher: &dyn Watcher) -> Vec<Result<bool, CloudError>> {
        self.each(watcher, InGroups::Nothing, |bastion, _, seen| seen.ends_agree(bastion.plan.name.as_str())).await
    }

    /// What removes the bastions, or why one is not removed. Writes nothing.
    pub async fn teardowns(
        &self,
        watcher: &dyn Watcher,
    ) -> Vec<Result<Result<Changeset<Action>, Diagnostics>, CloudError>> {
        let rendered = self.rendered();
        let boot_of = |bastion: &Bastion<'_>| {
            let at = self.bastions.iter().position(|b| ptr::eq(b.plan, bastion.plan));
            at.and_then(|at| rendered.get(at)?.as_ref().ok()).map(boot_text)
        };
        self.each(watcher, InGroups::Members, |bastion, region, seen| {
            let name = bastion.plan.name.as_str();
            if seen.instances_of(name).next().is_none() {
                Doubt::refuse_destroy(
                    doubts::in_the_way(name, boot_of(bastion).as_deref(), region, seen),
                    bastion.plan,
                )?;
            }
            let mut set = teardown::teardown(name, &bastion.plan.origin.source.path, region, seen);
            let named = |a: &ElasticIp| bastion.aws.address == AwsAddress::Existing(a.allocation.clone());
            let kept = teardown::keep_addresses(&mut set, seen, |a| named(a).then_some(teardown::NAMED_BY_PLAN));
            set.notes.extend(kept.iter().map(|(address, why)| teardown::kept_note(address, why)));
            teardown::keep_groups(&mut set, region, seen);
            Ok(set)
        })
        .await
    }

    /// By bastion, what of it is still there.
    pub async fn remains(&self, watcher: &dyn Watcher) -> Vec<Result<Remains, CloudError>> {
        self.each(watcher, InGroups::Users, |bastion, region, seen| {
            let name = bastion.plan.name.as_str();
            Remains {
                bastion: name.to_owned(),
                own: teardown::remains(name, seen),
                doubts: doubts::doubts(name, None, region, seen),
            }
        })
        .await
    }

    pub async fn status(&self, now: Timestamp, watcher: &dyn Watcher) -> Vec<Result<Status, CloudError>> {
        self.each(watcher, InGroups::Users, |bastion, region, seen| {
            let mut status = Status::of(bastion.plan, bastion.aws, region, seen, now);
            if status.state != State::Up {
                let doubts = doubts::doubts(bastion.plan.name.as_str(), None, region, seen);
                status.doubts = doubts.into_iter().map(|doubt| doubt.what).collect();
            }
            status
        })
        .await
    }

    /// Looks at everything that a verification goes by, in the order of the plans. Writes nothing.
    ///
    /// A region fails where it does not tell instances, addresses or groups. What else it does not tell, the evidence says.
    pub async fn evidence(&self, now: Timestamp, watcher: &dyn Watcher) -> Vec<Result<Evidence, CloudError>> {
        let of_region = |i: usize| self.bastions.iter().filter(move |b| b.region == i);
        let answers = join_all(self.regions.iter().enumerate().map(async |(i, region)| {
            let step = region.step();
            let question = Question {
                ec2: &region.ec2,
                region: &region.key,
                bastions: of_region(i).map(|b| b.plan.name.as_str()).collect(),
                named: Named::by(of_region(i).map(|b| (b.plan, b.aws))),
                now,
            };
            question.ask(&Progress { step: &step, watcher }).await
        }));
        let mut answers: Vec<_> = answers.await.into_iter().map(|told| told.map(Vec::into_iter)).collect();
        // Each region answers in the order of the plans, too.
        let next = |b: &Bastion<'_>| match answers.get_mut(b.region)? {
            Ok(answers) => answers.next().map(Ok),
            Err(error) => Some(Err(error.clone())),
        };
        self.bastions.iter().filter_map(next).collect()
    }

    /// Pins a host key (a value of [`crate::provider::pin::value`]) to the machine that `evidence` is about.
    ///
    /// It is the only write outside of a changeset: a host key comes into being on the machine, after everything that a
    /// changeset could have shown, and the tag says what was seen. Pinning again is harmless; to replace a pin is the
    /// caller's decision.
    ///
    /// # Errors
    /// The cloud's refusal, or that there is no machine.
    pub async fn pin(&self, evidence: &Evidence, host_key: &str, watcher: &dyn Watcher) -> Result<(), CloudError> {
        let region = self.regions.iter().find(|region| region.key == evidence.region);
        let (Some(region), Some(instance)) = (region, evidence.instance()) else {
            return Err(CloudError::mistake(format!("{} has no machine to pin a host key to", evidence.bastion)));
        };
        let step = StepId(format!("{}/host-key", evidence.bastion));
        let tags = Tags::from([(tags::HOST_KEY.to_owned(), host_key.to_owned())]);
        let progress = Progress { step: &step, watcher };
        Performer::new(&region.ec2).tag(std::slice::from_ref(&instance.id), &tags, &[], &progress).await
    }

    async fn each<T>(
        &self,
        watcher: &dyn Watcher,
        in_groups: InGroups,
        read: impl Fn(&Bastion<'_>, &str, &Observed) -> T,
    ) -> Vec<Result<T, CloudError>> {
        let none = Named::default();
        let looks: Vec<Result<Observed, CloudError>> =
            join_all(self.regions.iter().enumerate().map(async |(i, region)| {
                let step = region.step();
                let progress = Progress { step: &step, watcher };
                let mut seen = match in_groups {
                    InGroups::Members => observe::observe_to_remove(&region.ec2, &progress).await?,
                    InGroups::Nothing | InGroups::Users => observe::observe(&region.ec2, &none, &progress).await?,
                };
                let names = || self.bastions.iter().filter(|b| b.region == i).map(|b| b.plan.name.as_str());
                if in_groups != InGroups::Nothing {
                    region.add_users(names(), &mut seen, &progress).await?;
                }
                if in_groups == InGroups::Members {
                    region.add_members(names(), &mut seen, &progress).await;
                }
                Ok(seen)
            }))
            .await;
        let told = |b: &Bastion<'_>| match &looks[b.region] {
            Ok(seen) => Ok(read(b, &self.regions[b.region].key, seen)),
            Err(error) => Err(error.clone()),
        };
        self.bastions.iter().map(told).collect()
    }

    /// The bastions' documents, made once for however many looks.
    fn rendered(&self) -> &[Result<UserData, Diagnostic>] {
        let render = |b: &Bastion<'_>| cloudinit::render(b.plan).map_err(|error| error.in_plan(b.plan));
        self.rendered.get_or_init(|| self.bastions.iter().map(render).collect())
    }

    /// Something that performs this fleet's steps, with nothing made yet.
    pub fn performer(&self) -> FleetPerformer<'_> {
        FleetPerformer(self.regions.iter().map(|r| (r.key.as_str(), Performer::new(&r.ec2))).collect())
    }
}

impl Region {
    /// The machines in groups of the names of bastions that have none of their own: one that has lost a tag is found by nothing else.
    async fn add_users(
        &self,
        names: impl Iterator<Item = &str>,
        seen: &mut Observed,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let without = names.filter(|name| seen.instances_of(name).next().is_none());
        let groups: BTreeSet<String> = without.flat_map(|name| doubts::groups_called(name, seen)).collect();
        if !groups.is_empty() {
            seen.users = observe::instances_in_groups(&self.ec2, &groups, progress).await?;
        }
        Ok(())
    }

    /// What is in groups of the bastions' names.
    async fn add_members(&self, names: impl Iterator<Item = &str>, seen: &mut Observed, progress: &Progress<'_>) {
        let groups: BTreeSet<String> = names.flat_map(|name| doubts::groups_called(name, seen)).collect();
        seen.members = Some(observe::known(inspect::interfaces(&self.ec2, &groups, progress).await));
    }

    async fn events(&self, resource: &str, since: Timestamp, now: Timestamp) -> Result<Vec<String>, CloudError> {
        self.take_turn().await;
        self.ec2.events(resource, since, now).await
    }

    async fn calls_named(&self, name: &str, since: Timestamp, now: Timestamp) -> Result<Vec<String>, CloudError> {
        self.take_turn().await;
        self.ec2.calls_named(name, since, now).await
    }

    /// Waits until CloudTrail takes another lookup.
    async fn take_turn(&self) {
        let start = {
            let mut turn = self.turn.lock().await;
            let start = turn.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *turn = Some(start + BETWEEN_LOOKUPS);
            start
        };
        sleep_until(start).await;
    }

    fn step(&self) -> StepId {
        StepId(format!("{}/observe", self.key))
    }

    async fn look(
        &self,
        wants: &[&Desired<'_>],
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Result<(Observed, Surroundings), CloudError> {
        let step = self.step();
        let progress = Progress { step: &step, watcher };
        let named = Named::by(wants.iter().map(|want| (want.plan, want.aws)));
        let (mut seen, name_servers) = tokio::try_join!(
            observe::observe(&self.ec2, &named, &progress),
            observe::name_servers(&self.ec2, &progress)
        )?;
        seen.name_servers = name_servers;
        let names = || wants.iter().map(|want| want.bastion());
        self.add_users(names(), &mut seen, &progress).await?;
        self.add_members(names(), &mut seen, &progress).await;
        let around = self.surroundings(wants, &seen, None, &progress).await?;
        let world = World { region: &self.key, seen: &seen, around: &around, now, claimed: 0 };
        if wants.iter().any(|want| peering::are_needed(want, diff::network(want, world), &seen)) {
            seen.peerings = Some(observe::peerings(&self.ec2, &progress).await?);
        }
        // A machine that something would be written to is looked into first, and then it is decided anew.
        let written: Vec<&Instance> =
            wants.iter().flat_map(|want| written(want, &self.key, &seen, &around, now)).collect();
        if written.is_empty() {
            return Ok((seen, around));
        }
        let origins = observe::origins(&self.ec2, &written, &progress).await;
        seen.origins = origins;
        let around = self.surroundings(wants, &seen, Some(around), &progress).await?;
        Ok((seen, around))
    }

    /// What the plans must know about the region beside the bastions, where `known` is not enough.
    async fn surroundings(
        &self,
        wants: &[&Desired<'_>],
        seen: &Observed,
        known: Option<Surroundings>,
        progress: &Progress<'_>,
    ) -> Result<Surroundings, CloudError> {
        let needs_of = |seen: &Observed| {
            let mut needs = Needs::default();
            wants.iter().for_each(|want| needs.add(want, seen));
            needs
        };
        let needs = needs_of(seen);
        match known {
            // They were read for the same needs, before origins were known.
            Some(known) if needs_of(&Observed { origins: BTreeMap::new(), ..seen.clone() }) == needs => Ok(known),
            _ if needs.is_empty() => Ok(Surroundings::default()),
            _ => observe::surroundings(&self.ec2, &needs, progress).await,
        }
    }
}

/// The machines of a bastion that its changeset would write to, but for their end; and the one that holds the address, where another one
/// would be ended for its sake.
fn written<'a>(
    want: &Desired<'_>,
    region: &str,
    seen: &'a Observed,
    around: &Surroundings,
    now: Timestamp,
) -> Vec<&'a Instance> {
    let Ok(set) = diff::diff(want, World { region, seen, around, now, claimed: 0 }) else { return Vec::new() };
    let ids: BTreeSet<&str> = set.steps.iter().filter_map(|step| step.action.call.written_machine()).collect();
    let ended = |id: &str| {
        let other = |call: &Call| matches!(call, Call::TerminateInstance { instance, .. } if instance != id);
        set.steps.iter().any(|step| other(&step.action.call))
    };
    let holder = match machine::choose(want, seen) {
        Choice::Holder(holder) if ended(&holder.id) => Some(holder.id.as_str()),
        _ => None,
    };
    let is_written = |i: &&Instance| {
        holder == Some(i.id.as_str())
            || ids.contains(i.id.as_str())
            || i.parts.iter().any(|part| ids.contains(part.as_str()))
    };
    seen.instances_of(want.bastion()).filter(is_written).collect()
}

/// Performs each step in its region.
pub struct FleetPerformer<'a>(BTreeMap<&'a str, Performer<'a>>);

impl<'a> FleetPerformer<'a> {
    /// Of regions by their keys.
    pub(super) fn of(regions: impl Iterator<Item = (&'a str, &'a Ec2)>) -> Self {
        Self(regions.map(|(key, ec2)| (key, Performer::new(ec2))).collect())
    }
}

impl FleetPerformer<'_> {
    /// Does the work of the step called `step`.
    ///
    /// # Errors
    /// The cloud's refusal or silence.
    pub async fn perform(
        &self,
        step: &StepId,
        action: &Action,
        progress: &Progress<'_>,
    ) -> Result<Option<String>, CloudError> {
        match self.0.get(action.region.as_str()) {
            Some(performer) => performer.perform(action, progress).await,
            None => Err(CloudError::mistake(format!("{step} is in a region that this run does not know"))),
        }
    }
}

/// What STS told of the account that a profile leads to.
pub(super) fn identified(profile: Option<String>, told: Result<CallerIdentity, CloudError>) -> IdentifiedAccount {
    match told {
        Ok(CallerIdentity { account, arn }) => {
            let account = CloudAccount::Aws { id: Some(account), profile };
            IdentifiedAccount { account, arn: Some(arn).filter(|arn| !arn.is_empty()), unknown: None }
        }
        Err(error) => {
            IdentifiedAccount { account: CloudAccount::Aws { id: None, profile }, arn: None, unknown: Some(error) }
        }
    }
}

fn no_region(plan: &Plan) -> Diagnostic {
    plan.origin
        .problem(
            "aws",
            "the bastion's region is not known",
            "no region here, and none in the environment or the profile",
        )
        .fix("add `region: us-east-1` (or yours) here, or set AWS_REGION")
}

fn no_profile(plan: &Plan, missing: &MissingProfile) -> Diagnostic {
    plan.origin
        .problem("aws.profile", "there is no such profile", missing.where_not())
        .because("a plan's profile is the only source of its credentials")
        .fix(missing.remedy())
}

fn same_bastion(plan: &Plan, twin: &Plan, region: &str) -> Diagnostic {
    let because = format!("A name is a bastion's identity within its account and region, and both are in {region}.");
    two_for_one(plan, twin, because, "give one of them another name")
}
