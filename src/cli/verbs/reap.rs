//! `gangplank reap`: finds what has had its time or lost its machine, shows it, destroys it, and lists what is left.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    context::Context,
    run::{LOOKS, carry_out, closing_event, confirmed},
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
        words::elapsed,
    },
    plan::{Cloud, Plan},
    provider::{
        estate::{Places, Sight},
        fleet::Action,
    },
    reap::{Found, Policy, Verdict, Why, judge, unchanged},
};

pub async fn run(args: &args::Reap, cx: &Context) -> Result<Exit, Error> {
    let places = places(args);
    check_guards(&places)?;
    let policy = || Policy { now: cx.now(), grace: args.grace, only: args.only.clone(), older_than: args.older_than };
    let estate = cx.estate(&places).await?;
    let reading = cx.reading();
    if places.subscriptions.is_empty() && args.output == RunOutput::Human {
        say("Only AWS is looked at: --subscription ID adds a subscription of Azure.\n");
    }
    let sight = estate.look(&reading).await;
    let mut judged = Judged::of(sight, &policy());
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
    // Nothing is destroyed in an account that is not known.
    estate.require_known()?;
    let places = distinct(judged.going().map(|(found, _)| &found.location));
    if !confirmed(&question("Destroy this", "in", &places), args.yes, args.output)? {
        say("Nothing was changed.\n");
        return Ok(judged.exit());
    }

    // An apply may be making a machine for what has none, and somebody may have postponed the end while we asked.
    let orphans = judged.going().any(|(_, why)| why == Why::Orphaned);
    if orphans && !args.settle.is_zero() {
        let pause = args.settle.unsigned_abs();
        say(&format!("Looking again in {} at what has no machine.\n", elapsed(pause)));
        tokio::time::sleep(pause).await;
    }
    if orphans || !args.yes {
        let again = Judged::of(estate.look(&reading).await, &policy());
        judged = again.and_before(&judged);
    }
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
        after = Judged::of(estate.look(&reading).await, &policy());
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

fn places(args: &args::Reap) -> Places {
    let only_azure = args.regions.is_empty() && args.profile.is_none() && !args.subscriptions.is_empty();
    Places {
        regions: (!only_azure).then(|| args.regions.clone()),
        profile: args.profile.clone(),
        subscriptions: args.subscriptions.clone(),
        guards: args.accounts.clone(),
        known: Vec::new(),
    }
}

/// A guard for a cloud that is not looked at would guard nothing.
fn check_guards(places: &Places) -> Result<(), Error> {
    let guards = &places.guards;
    if places.regions.is_none() && guards.iter().any(|guard| guard.aws().is_some()) {
        return Err(Error::Usage("--account names an account of AWS, which is not looked at: add --region".to_owned()));
    }
    if places.subscriptions.is_empty() && guards.iter().any(|guard| guard.azure().is_some()) {
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
        Self { bastions, sight }
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
        match (self.sight_is_whole(), self.bastions.iter().any(open)) {
            (false, _) => Exit::Failed,
            (true, true) => Exit::Differs,
            (true, false) => Exit::Done,
        }
    }
}
