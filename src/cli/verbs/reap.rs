//! `gangplank reap`: finds what has had its time or lost its machine, shows it, destroys it, and lists what is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal},
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    context::Context,
    run::{LOOKS, carry_out, closing_event, confirmed, declined},
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{self, RunOutput},
        exit::{Error, Exit, print, say},
        show::{
            places::{distinct, question},
            reap as show,
        },
        summary::Resume,
        words::{count, elapsed},
    },
    location::{AccountGuard, AccountId, Location},
    plan::{self, Aws, AwsAddress, Cloud, Plan},
    provider::{
        estate::{Places, Sight},
        fleet::Action,
    },
    reap::{Found, MachineFacts, Policy, Verdict, Why, judge, unchanged},
};

pub async fn run(args: &args::Reap, cx: &Context) -> Result<Exit, Error> {
    let plans = if args.plans.is_empty() { Vec::new() } else { plan::load(&args.plans)? };
    let places = places(args, &plans);
    check_guards(&args.accounts, &places)?;
    let unseen = not_looked_at(&places);
    let policy = || Policy { now: cx.now(), grace: args.grace, only: args.only.clone(), older_than: args.older_than };
    let estate = cx.estates(&places).await?;
    let reading = cx.reading();
    let sight = estate.look(&reading).await;
    let mut judged = Judged { unseen: unseen.clone(), ..Judged::of(sight, &policy()) };
    estate.add_launchers(judged.machines(), cx.now(), &reading).await;
    judged.print(args.output, cx)?;

    let found = judged.going().count();
    if found == 0 {
        return Ok(judged.exit());
    }
    let somebody = args.output == RunOutput::Human && io::stdin().is_terminal();
    if !args.yes && !somebody {
        say("Nothing was destroyed: add --yes to destroy what was found.\n");
        return Ok(judged.exit());
    }
    let too_many = found > args.at_most;
    if too_many && args.yes {
        say(&format!(
            "Nothing was destroyed: {} would be, and --at-most allows {}. Look at the list; then name some of them with --only, or \
             raise it: --at-most {found}.\n",
            count(found, "bastion"),
            args.at_most
        ));
        return Ok(judged.exit());
    }
    // Nothing is destroyed in an account that is not known.
    estate.require_known()?;
    let going = distinct(judged.going().map(|(found, _)| &found.location));
    let act = if too_many {
        format!("Destroy all {found}, more than --at-most {} expects,", args.at_most)
    } else {
        "Destroy this".to_owned()
    };
    if !confirmed(&question(&act, "in", &going), args.yes, args.output, cx).await? {
        return Ok(declined());
    }

    // An apply may be making a machine for what has none; somebody may have postponed the end, or tagged something, since the list.
    let orphans = judged.going().any(|(_, why)| why == Why::Orphaned);
    if orphans && !args.settle.is_zero() {
        let pause = args.settle.unsigned_abs();
        say(&format!("Looking again in {} at what has no machine.\n", elapsed(pause)));
        tokio::time::sleep(pause).await;
    }
    let again = Judged::of(estate.look(&reading).await, &policy());
    judged = again.and_before(&judged);
    let sets: Vec<Changeset<Action>> = judged.sets();
    if sets.iter().any(|set| !set.is_empty())
        && let Some(exit) = carry_out(&estate.performer(), &sets, Resume::SameCommand, args.output, cx).await?
    {
        return Ok(exit);
    }

    // The proof: everything is looked at again, until nothing is left of what went.
    let went: Vec<Found> = judged.going().map(|(found, _)| found.clone()).collect();
    let mut left = Vec::new();
    let mut after = judged;
    for pause in LOOKS {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        after = Judged { unseen: unseen.clone(), ..Judged::of(estate.look(&reading).await, &policy()) };
        let is_there = |f: &&Found| after.bastions.iter().any(|b| same(&b.found, f));
        left = went.iter().filter(is_there).cloned().collect();
        if left.is_empty() {
            break;
        }
    }
    let gone: Vec<&Found> = went.iter().filter(|f| !left.iter().any(|l| same(l, f))).collect();
    let now = cx.now();
    match args.output {
        RunOutput::Human => print(&show::inventory(&gone, &left, &after, now, &cx.palette()))?,
        RunOutput::Json => {
            closing_event(cx, args.output, "inventory", &show::inventory_json(&gone, &left, &after, now))?
        }
    }
    if !left.is_empty() || !after.sight_is_whole() {
        return Ok(Exit::Failed);
    }
    Ok(after.exit())
}

/// Looks by tag and by name at where changesets were for: what is left there of their bastions, and what it costs.
pub async fn inventory(sets: &[Changeset<Action>], plans: &[Plan], cx: &Context) -> Result<Vec<Judged>, Error> {
    // By profile.
    let mut aws: BTreeMap<Option<String>, Places> = BTreeMap::new();
    let mut azure = Places::default();
    for (set, plan) in sets.iter().zip(plans) {
        let places = match &plan.cloud {
            Cloud::Aws(of) => {
                let places = aws.entry(of.profile.clone()).or_default();
                places.profile.clone_from(&of.profile);
                places.regions.get_or_insert_default().extend(set.location.region.clone());
                places.addresses.extend(existing(of));
                places
            }
            Cloud::Azure(of) => {
                azure.subscriptions.push(of.subscription.clone());
                &mut azure
            }
        };
        // The run has asked whose these are.
        places.known.push(set.location.account.clone());
    }
    let azure = (!azure.subscriptions.is_empty()).then_some(azure);
    let policy = Policy { now: cx.now(), grace: SignedDuration::ZERO, only: Vec::new(), older_than: None };
    let mut all = Vec::new();
    for places in aws.into_values().chain(azure) {
        all.push(Judged::of(cx.estate(&places).await?.look(&cx.reading()).await, &policy));
    }
    Ok(all)
}

/// What is looked at, a place for each profile of AWS and one for Azure: all that is asked for together, and the standard AWS account where
/// nothing is.
fn places(args: &args::Reap, plans: &[Plan]) -> Vec<Places> {
    // By profile; no region is every region.
    let mut aws: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
    let mut whole: BTreeSet<Option<String>> = BTreeSet::new();
    let mut subscriptions: BTreeSet<String> = args.subscriptions.iter().cloned().collect();
    for plan in plans {
        match &plan.cloud {
            Cloud::Aws(plan) => {
                let regions = aws.entry(plan.profile.clone()).or_default();
                match &plan.region {
                    Some(region) if !args.all => _ = regions.insert(region.clone()),
                    _ => _ = whole.insert(plan.profile.clone()),
                }
            }
            Cloud::Azure(azure) => _ = subscriptions.insert(azure.subscription.clone()),
        }
    }
    let named = !args.regions.is_empty() || args.profile.is_some();
    if named || args.all || (plans.is_empty() && subscriptions.is_empty()) {
        aws.entry(args.profile.clone()).or_default().extend(args.regions.iter().cloned());
        if args.regions.is_empty() {
            whole.insert(args.profile.clone());
        }
    }
    let guards = || args.accounts.clone();
    // Whatever the profile: a plan that names an address says that it is to stay.
    let of_plan = |plan: &Plan| if let Cloud::Aws(aws) = &plan.cloud { existing(aws) } else { None };
    let addresses: BTreeSet<String> = plans.iter().filter_map(of_plan).collect();
    // What a plan says of its account holds for its profile, whatever else is looked at with it.
    let pins = |profile: &Option<String>| -> BTreeSet<AccountId> {
        let of_plan = |plan: &Plan| match &plan.cloud {
            Cloud::Aws(aws) if aws.profile == *profile => aws.account.clone(),
            _ => None,
        };
        plans.iter().filter_map(of_plan).collect()
    };
    let aws = aws.into_iter().map(|(profile, regions)| {
        let pins = pins(&profile);
        let regions = if whole.contains(&profile) { Vec::new() } else { regions.into_iter().collect() };
        Places {
            regions: Some(regions),
            profile,
            addresses: addresses.clone(),
            guards: guards(),
            pins,
            ..Places::default()
        }
    });
    let mut places: Vec<Places> = aws.collect();
    if args.all || !subscriptions.is_empty() {
        let subscriptions = subscriptions.into_iter().collect();
        places.push(Places { subscriptions, every_subscription: args.all, guards: guards(), ..Places::default() });
    }
    places
}

/// The address that a plan names as an existing one.
fn existing(plan: &Aws) -> Option<String> {
    match &plan.address {
        AwsAddress::Existing(id) => Some(id.clone()),
        AwsAddress::Elastic => None,
    }
}

/// The clouds that are not looked at, or not as a whole, with how they would be.
fn not_looked_at(places: &[Places]) -> Vec<String> {
    let aws: Vec<&Vec<String>> = places.iter().filter_map(|place| place.regions.as_ref()).collect();
    let azure = places.iter().find(|place| place.regions.is_none());
    let aws = match aws.as_slice() {
        [] => Some("AWS (name plans, --region, --profile, or --all)"),
        some if some.iter().any(|regions| !regions.is_empty()) => Some("other regions of AWS (--all)"),
        _ => None,
    };
    let azure = match azure {
        None => Some("Azure (name plans, --subscription ID, or --all)"),
        Some(place) => (!place.every_subscription).then_some("other subscriptions of Azure (--all)"),
    };
    aws.into_iter().chain(azure).map(str::to_owned).collect()
}

/// A guard for a cloud that is not looked at would guard nothing.
fn check_guards(guards: &[AccountGuard], places: &[Places]) -> Result<(), Error> {
    let on_aws = places.iter().any(|place| place.regions.is_some());
    let on_azure = places.iter().any(|place| place.regions.is_none());
    if !on_aws && guards.iter().any(|guard| guard.aws().is_some()) {
        return Err(Error::Usage("--account names an account of AWS, which is not looked at: add --region".to_owned()));
    }
    if !on_azure && guards.iter().any(|guard| guard.azure().is_some()) {
        return Err(Error::Usage(
            "--account names a subscription of Azure, and none is looked at: add --subscription".to_owned(),
        ));
    }
    Ok(())
}

fn same(one: &Found, other: &Found) -> bool {
    (&one.bastion, &one.location) == (&other.bastion, &other.location)
}

/// One look, with the verdicts.
pub struct Judged {
    pub bastions: Vec<Bastion>,
    /// Without its bastions.
    pub sight: Sight,
    /// The clouds that were not looked at, or not as a whole.
    pub unseen: Vec<String>,
}

pub struct Bastion {
    pub found: Found,
    pub verdict: Verdict,
    set: Changeset<Action>,
}

impl Judged {
    pub fn of(mut sight: Sight, policy: &Policy) -> Self {
        let bastions = std::mem::take(&mut sight.found)
            .into_iter()
            .map(|(found, set)| Bastion { verdict: judge(&found, policy), found, set })
            .collect();
        Self { bastions, sight, unseen: Vec::new() }
    }

    /// The machines that a reader should recognise: of what goes, and those that only look like gangplank's.
    fn machines(&mut self) -> Vec<(Location, &mut MachineFacts)> {
        let going = self.bastions.iter_mut().filter(|b| b.verdict.why().is_some()).flat_map(|b| {
            let location = b.found.location.clone();
            b.found.parts.iter_mut().filter_map(move |part| Some((location.clone(), part.machine.as_mut()?)))
        });
        let strangers = self.sight.strangers.iter_mut();
        going.chain(strangers.filter_map(|s| Some((s.location.clone(), s.machine.as_mut()?)))).collect()
    }

    fn going(&self) -> impl Iterator<Item = (&Found, Why)> {
        self.bastions.iter().filter_map(|b| Some((&b.found, b.verdict.why()?)))
    }

    fn sets(&self) -> Vec<Changeset<Action>> {
        self.bastions.iter().filter(|b| b.verdict.why().is_some()).map(|b| b.set.clone()).collect()
    }

    /// Only what was to go before, and has not changed since, goes.
    fn and_before(mut self, before: &Self) -> Self {
        for bastion in &mut self.bastions {
            let agreed =
                before.bastions.iter().any(|b| b.verdict == bastion.verdict && unchanged(&b.found, &bastion.found));
            if bastion.verdict.why().is_some() && !agreed {
                say(&format!("{} has changed meanwhile: it is left alone this time.\n", bastion.found.bastion));
                bastion.verdict = Verdict::Keep { reason: "it changed between two looks".to_owned() };
            }
        }
        self
    }

    fn sight_is_whole(&self) -> bool {
        self.sight.unread.is_empty()
    }

    fn print(&self, output: RunOutput, cx: &Context) -> Result<(), Error> {
        match output {
            RunOutput::Human => print(&show::human(self, cx.now(), &cx.palette())),
            RunOutput::Json => closing_event(cx, output, "found", &show::json(self, cx.now())),
        }
    }

    /// When nothing is destroyed.
    fn exit(&self) -> Exit {
        let open = |b: &Bastion| b.verdict.why().is_some() || b.verdict.is_reported();
        let tagged = self.sight.strangers.iter().any(|stranger| stranger.tagged.is_some());
        match (self.sight_is_whole(), tagged || self.bastions.iter().any(open)) {
            (false, _) => Exit::Failed,
            (true, true) => Exit::Differs,
            (true, false) => Exit::Done,
        }
    }
}
