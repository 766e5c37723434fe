//! One story: a company's clouds, plans that come and change, runs in bad weather, then peace, and the end.

use std::{pin::pin, time::Duration};

use super::{
    bugs::Bug,
    external_writers::ExternalWriter,
    hand,
    judge::Judge,
    lookalikes,
    plans::{Bastion, Version},
    reapers::{places, reap},
    view::ReapExpectation,
    weather::{Storm, Weather},
};
use futures_util::future::{Either, join, select};
use gangplank::{
    changeset::Changeset,
    cloud_error::Refused,
    event::{Event, Watcher},
    execute::{self, Outcome},
    location::CloudAccount,
    provider::{
        clouds::Clouds,
        fleet::{Action, Fleet, Outlook, Whole},
        identity::{self, IdentifiedAccount, IdentityNeed},
    },
    sandbox::{
        arm,
        call::Cloud,
        cloud::{Sandbox, State},
        ec2,
    },
    stop::Stop,
};
use jiff::Timestamp;

/// Runs in peace after which the clouds must match the plans, whatever happened before.
const CONVERGES: usize = 4;

/// What happened, for whoever wonders whether anything did.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub calls: u64,
    pub writes: u64,
    pub runs: u64,
    pub failed: u64,
    pub together: u64,
    pub crashes: u64,
    pub lost: u64,
    pub refused: u64,
    pub meddled: u64,
    pub meddled_on_azure: u64,
    pub tagged: u64,
    pub forged: u64,
    pub impostors: u64,
    pub other_accounts: u64,
    pub reaps: u64,
    pub reapers_together: u64,
    pub reaped: u64,
    pub spared: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        for (all, one) in [
            (&mut self.calls, other.calls),
            (&mut self.writes, other.writes),
            (&mut self.runs, other.runs),
            (&mut self.failed, other.failed),
            (&mut self.together, other.together),
            (&mut self.crashes, other.crashes),
            (&mut self.lost, other.lost),
            (&mut self.refused, other.refused),
            (&mut self.meddled, other.meddled),
            (&mut self.meddled_on_azure, other.meddled_on_azure),
            (&mut self.tagged, other.tagged),
            (&mut self.forged, other.forged),
            (&mut self.impostors, other.impostors),
            (&mut self.other_accounts, other.other_accounts),
            (&mut self.reaps, other.reaps),
            (&mut self.reapers_together, other.reapers_together),
            (&mut self.reaped, other.reaped),
            (&mut self.spared, other.spared),
        ] {
            *all += one;
        }
    }
}

pub struct Nobody;

impl Watcher for Nobody {
    fn event(&self, _: Event) {}
}

/// Tells the story of a seed; `Err` is the first invariant that was broken, and how.
pub fn tell(seed: u64, bug: Option<Bug>, aloud: bool) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(Story::new(seed, bug, aloud).tell())
}

struct Story {
    rng: fastrand::Rng,
    bug: Option<Bug>,
    aloud: bool,
    weather: Weather,
    sandbox: Sandbox,
    bastions: Vec<Bastion>,
}

/// What somebody wants the clouds to be, and the fleet with which to bring it about. Nothing of a run stays in a fleet but rendered
/// documents, so that one serves many runs.
struct Wanted<'a> {
    version: &'a Version,
    fleet: Fleet<'a>,
}

/// One run in bad weather, by the numbers of the versions of the plans that it is for.
#[derive(Clone, Copy)]
enum Run {
    Apply(usize),
    Destroy(usize),
    /// Two applies at the same time.
    Both(usize, usize),
}

impl Story {
    fn new(seed: u64, bug: Option<Bug>, aloud: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bastions = vec![Bastion::some(&mut rng, "warehouse")];
        if rng.u8(..8) == 0 {
            bastions.push(Bastion::some(&mut rng, "warehouse-2"));
        }
        let clouds: Vec<Cloud> = bastions.iter().map(Bastion::cloud).collect();
        let worlds = worlds(&mut rng, seed, &clouds);
        let names = bastions.iter().map(|bastion| (bastion.name, bastion.cloud())).collect();
        let from = "2026-11-22T12:00:00Z".parse().expect("a time");
        let weather = Weather::new(rng.fork(), Judge::new(&worlds, names, clouds, from), aloud);
        let sandbox = Sandbox::at_the_mercy_of(Box::new(weather.clone()), worlds, from);
        Self { rng, bug, aloud, weather, sandbox, bastions }
    }

    async fn tell(mut self) -> Result<Tally, String> {
        let (versions, runs) = self.script();
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        let mut wanted = Vec::new();
        for version in &versions {
            let fleet = Fleet::connect(&version.plans, &clouds).await.map_err(|refused| told(&refused))?;
            wanted.push(Wanted { version, fleet });
        }
        let mut last = &wanted[0];
        let mut to_stand = true;
        for (number, run) in runs.into_iter().enumerate() {
            // What is begun has ended, or it has not.
            if number > 0 && self.rng.bool() {
                self.calm().await;
            }
            let storm = self.storm();
            self.say(&format!("{storm:?}"));
            self.weather.set(Some(storm));
            match run {
                Run::Apply(version) => {
                    last = &wanted[version];
                    self.bring(last).await;
                }
                Run::Destroy(version) => {
                    last = &wanted[version];
                    self.ask(|judge, worlds, now| judge.removal_begins(worlds, now));
                    self.remove(last).await;
                }
                Run::Both(version, other) => {
                    last = &wanted[version];
                    self.at_once(last, &wanted[other]).await;
                }
            }
            to_stand = !matches!(run, Run::Destroy(_));
            self.weather.set(None);
            self.ask(|judge, worlds, now| {
                judge.interrupted(worlds);
                judge.ends(worlds, false, now);
            });
            self.verdict()?;
        }
        self.visit();
        if self.bastions.iter().any(Bastion::is_on_aws) && self.rng.u8(..8) == 0 {
            self.with_other_credentials(last).await?;
        }
        // Whoever reaps finds bastions that stand, or what a crash has left of them.
        let reaps = self.rng.u8(..6) == 0;
        if to_stand && (!reaps || self.rng.bool()) {
            self.peace(last).await?;
        }
        if reaps {
            self.reaping().await?;
        }
        self.end(last).await?;
        Ok(self.weather.tally())
    }

    /// Mostly one run, rarely three, of plans that change between them or do not.
    fn script(&mut self) -> (Vec<Version>, Vec<Run>) {
        let Self { bastions, rng, .. } = self;
        let mut versions = vec![Version::some(rng, bastions)];
        let mut runs = Vec::new();
        let mut last = 0;
        for run in 0..[1, 1, 1, 1, 1, 1, 1, 1, 2, 3][rng.usize(..10)] {
            if run > 0 && rng.u8(..3) > 0 {
                last = versions.len();
                versions.push(Version::some(rng, bastions));
            }
            runs.push(match rng.u8(..10) {
                // What never stood is seldom destroyed.
                dice if dice < if run > 0 { 4 } else { 1 } => Run::Destroy(last),
                8 | 9 => {
                    // Somebody else has another plan, or the same.
                    versions.push(if rng.bool() { Version::some(rng, bastions) } else { versions[last].clone() });
                    Run::Both(last, versions.len() - 1)
                }
                _ => Run::Apply(last),
            });
        }
        (versions, runs)
    }

    fn storm(&mut self) -> Storm {
        let rng = &mut self.rng;
        let dies_at = (rng.u8(..8) < 5).then(|| rng.u32(..25));
        let [lost, refused, meddled] = [60, 60, 120].map(|most| if rng.bool() { rng.u32(..most) } else { 0 });
        Storm { dies_at, lost, refused, meddled }
    }

    /// Somebody's environment has the credentials of another account: every command is refused before it writes.
    async fn with_other_credentials(&mut self, last: &Wanted<'_>) -> Result<(), String> {
        self.say("with other credentials");
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        self.weather.judge(|judge| judge.other_account = true);
        let done = match self.rng.u8(..3) {
            0 => reap(&places(&self.bastions, self.bug), &clouds, self.bug).await.err(),
            dice => match identified(last.version, &clouds, self.bug).await {
                Ok(fleet) if dice == 1 => apply(&fleet, &clouds, self.bug).await.err(),
                Ok(fleet) => destroy(&fleet, &clouds, self.bug).await.err(),
                Err(refused) => Some(refused),
            },
        };
        self.weather.judge(|judge| judge.other_account = false);
        self.weather.count(|tally| tally.other_accounts += 1);
        self.verdict()?;
        match done {
            Some(_) => Ok(()),
            None => {
                Err("the right account: a command with the credentials of another account was not refused".to_owned())
            }
        }
    }

    /// Now and then somebody writes what looks like gangplank's.
    fn visit(&mut self) {
        if self.rng.u8(..4) == 0 {
            let writer = ExternalWriter::some(&mut self.rng);
            let cloud = self.bastions[self.rng.usize(..self.bastions.len())].cloud();
            let weather = &self.weather;
            self.sandbox.change(|worlds, now| weather.write_externally(worlds, writer, cloud, now));
        }
    }

    /// An apply, as far as it gets.
    async fn bring(&mut self, wanted: &Wanted<'_>) {
        self.admit(wanted);
        self.ask(|judge, worlds, _| judge.apply_begins(worlds, wanted.version.admitted()));
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        let death = self.weather.death();
        let run = apply(&wanted.fleet, &clouds, self.bug);
        let ended = matches!(select(pin!(run), pin!(death.notified())).await, Either::Left((Ok(true), _)));
        self.weather.judge(Judge::apply_ends);
        self.weather.count(|tally| {
            tally.runs += 1;
            tally.failed += u64::from(!ended);
        });
    }

    async fn at_once(&mut self, one: &Wanted<'_>, other: &Wanted<'_>) {
        self.admit(one);
        self.admit(other);
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        let death = self.weather.death();
        let both = join(apply(&one.fleet, &clouds, self.bug), apply(&other.fleet, &clouds, self.bug));
        let _ = select(pin!(both), pin!(death.notified())).await;
        self.weather.count(|tally| {
            tally.runs += 2;
            tally.together += 1;
        });
    }

    async fn remove(&mut self, wanted: &Wanted<'_>) {
        let death = self.weather.death();
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        let run = destroy(&wanted.fleet, &clouds, self.bug);
        let _ = select(pin!(run), pin!(death.notified())).await;
        self.weather.count(|tally| tally.runs += 1);
    }

    fn admit(&self, wanted: &Wanted<'_>) {
        self.weather.judge(|judge| {
            for (bastion, sources) in wanted.version.admitted() {
                judge.admit(bastion, sources);
            }
        });
    }

    /// Nobody disturbs any more: a bounded number of runs makes the clouds match the plans.
    async fn peace(&mut self, last: &Wanted<'_>) -> Result<(), String> {
        self.say("peace");
        self.calm().await;
        self.end_impostors().await;
        self.admit(last);
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        let mut trouble = String::new();
        for _ in 0..=CONVERGES {
            let writes = self.weather.tally().writes;
            let outlook = outlook(&last.fleet, &clouds, self.bug).await;
            if self.weather.tally().writes != writes {
                return Err("a dry run writes nothing: it wrote".to_owned());
            }
            let mut sets = match outlook {
                Ok(sets) => sets,
                Err(why) => {
                    trouble = why;
                    self.decide().await;
                    continue;
                }
            };
            let steps: Vec<String> = sets.iter().flat_map(|set| &set.steps).map(|step| step.id.to_string()).collect();
            if steps.is_empty() {
                return self.as_planned(last.version).await;
            }
            trouble = steps.join(", ");
            if let Some(bug) = self.bug {
                sets.iter_mut().for_each(|set| bug.in_an_apply(set, &clouds));
            }
            self.ask(|judge, worlds, _| judge.apply_begins(worlds, last.version.admitted()));
            match carry_out(&last.fleet, &sets).await {
                Ok(true) => self.once(false),
                Ok(false) => trouble.push_str(": a step failed"),
                Err(why) => trouble = why,
            }
            self.ask(|judge, worlds, now| {
                judge.apply_ends();
                judge.ends(worlds, false, now);
            });
            self.verdict()?;
        }
        Err(format!("convergence: after {CONVERGES} runs in peace: {trouble}"))
    }

    /// Two runs at the same time have made a machine each, and an address leads to either: people end one of them, as they are told.
    async fn decide(&self) {
        let weather = &self.weather;
        let undecided = self.sandbox.change(|worlds, now| {
            weather.judge(|judge| {
                let undecided = judge.undecided(worlds);
                undecided.iter().for_each(|bastion| judge.end_a_machine(worlds, bastion, now));
                undecided
            })
        });
        if !undecided.is_empty() {
            self.calm().await;
        }
    }

    /// What a run has done to its end, nobody has to tidy up after it.
    fn once(&self, stands: bool) {
        self.ask(|judge, worlds, _| {
            for bastion in &self.bastions {
                judge.once(worlds, bastion.name, bastion.is_on_aws(), stands);
            }
        });
    }

    async fn as_planned(&mut self, last: &Version) -> Result<(), String> {
        self.calm().await;
        self.once(true);
        self.ask(|judge, worlds, now| {
            for (bastion, sources) in self.bastions.iter().zip(&last.sources) {
                judge.as_listed(worlds, *bastion, sources, now);
            }
            judge.no_impostor(worlds);
            judge.ends(worlds, true, now);
            judge.nothing_foreign_is_touched(worlds);
        });
        self.verdict()
    }

    /// Time passes and machines end; then one reaper or two, in bad weather and in good.
    async fn reaping(&mut self) -> Result<(), String> {
        self.say("reaping");
        self.others_leave().await;
        self.end_impostors().await;
        for bastion in self.bastions.clone() {
            if self.rng.u8(..4) == 0 {
                self.sandbox.change(|worlds, now| self.weather.judge(|j| j.end_a_machine(worlds, bastion.name, now)));
            }
        }
        let days = [0, 20, 40, 100][self.rng.usize(..4)];
        tokio::time::sleep(Duration::from_secs(days * 86_400)).await;
        self.calm().await;
        let (bastions, weather) = (&self.bastions, &self.weather);
        let (due, may_go, before) = self.sandbox.change(|worlds, now| {
            weather.judge(|judge| {
                let expected = |is: ReapExpectation| -> Vec<&'static str> {
                    let all = bastions.iter().filter(|b| judge.reap_expectation(worlds, **b, now) == is);
                    all.map(|bastion| bastion.name).collect()
                };
                let due = expected(ReapExpectation::MustGo);
                let may_go = [due.clone(), expected(ReapExpectation::MayGo)].concat();
                let before = judge.beside(worlds, &may_go);
                (due, may_go, before)
            })
        });
        let places = places(bastions, self.bug);
        self.say(&format!("after {days} days {due:?} are due"));
        self.weather.count(|tally| {
            tally.reaped += due.len() as u64;
            tally.spared += (self.bastions.len() - due.len()) as u64;
        });
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        for _ in 0..self.rng.usize(1..3) {
            let storm = Storm { meddled: 0, ..self.storm() };
            self.weather.set(Some(storm));
            let death = self.weather.death();
            if self.rng.bool() {
                self.weather.count(|tally| tally.reapers_together += 1);
                let both = join(reap(&places, &clouds, self.bug), reap(&places, &clouds, self.bug));
                let _ = select(pin!(both), pin!(death.notified())).await;
            } else {
                let _ = select(pin!(reap(&places, &clouds, self.bug)), pin!(death.notified())).await;
            }
            self.weather.count(|tally| tally.reaps += 1);
            self.weather.set(None);
            self.ask(|judge, worlds, _| judge.only_what_is_due(worlds, &may_go, &before));
            self.verdict()?;
        }
        self.calm().await;
        let mut last = Ok(0);
        for _ in 0..CONVERGES {
            last = reap(&places, &clouds, self.bug).await;
            self.ask(|judge, worlds, _| judge.only_what_is_due(worlds, &may_go, &before));
            self.verdict()?;
            if last == Ok(0) {
                break;
            }
        }
        if last != Ok(0) {
            return Err(format!("reap leaves nothing: after {CONVERGES} runs in peace: {last:?}"));
        }
        self.ask(|judge, worlds, now| due.iter().for_each(|bastion| judge.reaped(worlds, bastion, now)));
        self.verdict()
    }

    async fn end(&mut self, last: &Wanted<'_>) -> Result<(), String> {
        self.say("end");
        // What a read does not show yet, nobody can take away.
        self.calm().await;
        self.end_impostors().await;
        self.destroyed(last).await?;
        if self.others_leave().await {
            self.destroyed(last).await?;
        }
        self.ask(Judge::nothing_is_left);
        self.verdict()
    }

    async fn destroyed(&mut self, last: &Wanted<'_>) -> Result<(), String> {
        let clouds = Clouds::Sandbox(self.sandbox.clone());
        let done = destroy(&last.fleet, &clouds, self.bug).await;
        self.calm().await;
        self.ask(|judge, worlds, _| judge.nothing_foreign_is_touched(worlds));
        self.verdict()?;
        done.map_err(|why| format!("destroy leaves nothing: {why}"))
    }

    /// Whether somebody had something in a bastion's network.
    async fn others_leave(&self) -> bool {
        // Azure lets nobody delete what it is still at work on.
        self.calm().await;
        let weather = &self.weather;
        let left = self.sandbox.change(|worlds, now| weather.judge(|judge| judge.others_leave(worlds, now)));
        self.calm().await;
        left
    }

    /// Those who launched a machine with both of a bastion's marks end it.
    async fn end_impostors(&self) {
        let weather = &self.weather;
        if self.sandbox.change(|worlds, now| weather.judge(|judge| judge.end_impostors(worlds, now))) {
            self.calm().await;
        }
    }

    fn ask(&self, question: impl FnOnce(&mut Judge, &State, Timestamp)) {
        let weather = &self.weather;
        self.sandbox.change(|worlds, now| weather.judge(|judge| question(judge, worlds, now)));
    }

    /// What is under way ends, and every read shows what is.
    async fn calm(&self) {
        self.sandbox.change(|worlds, _| worlds.ec2.lag = None);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        self.sandbox.change(hand::settle);
        self.weather.judge(Judge::calm);
    }

    fn verdict(&self) -> Result<(), String> {
        self.weather.judge(|judge| judge.broken.clone()).map_or(Ok(()), Err)
    }

    fn say(&self, what: &str) {
        if self.aloud {
            println!("-- {what}");
        }
    }
}

/// How operations of Azure's end that somebody or something else got in the way of.
const IN_PASSING: [&str; 4] =
    ["AnotherOperationInProgress", "RetryableError", "ReferencedResourceNotProvisioned", "OperationPreempted"];

/// A company's clouds, at once, slow or as slow as the real ones, in which reads may lag.
fn worlds(rng: &mut fastrand::Rng, seed: u64, clouds: &[Cloud]) -> State {
    let mut worlds = lookalikes::company(clouds, rng.usize(..lookalikes::COMPANIES));
    worlds.ec2.seed = seed;
    worlds.ec2.pace = match rng.u8(..16) {
        0 => ec2::Pace::default(),
        1..6 => ec2::Pace {
            stop: Duration::from_secs(3),
            end: Duration::from_secs(5),
            tags: Duration::from_secs(rng.u64(..4)),
            ..ec2::Pace::default()
        },
        _ => ec2::Pace::instant(),
    };
    if rng.u8(..3) == 0 {
        worlds.ec2.lag = Some(Duration::from_secs(rng.u64(1..20)));
    }
    worlds.arm.pace = match rng.u8(..16) {
        0 => arm::Pace::default(),
        1..6 => arm::Pace { interface: Duration::from_secs(2), ..arm::Pace::default().faster(10) },
        _ => arm::Pace::none(),
    };
    if rng.u8(..4) == 0 {
        // Of whatever is written first.
        let mut passing = || arm::Failure {
            on: String::new(),
            code: IN_PASSING[rng.usize(..IN_PASSING.len())].to_owned(),
            message: "The operation was not carried out.".to_owned(),
        };
        worlds.arm.failing = vec![passing(), passing()];
    }
    if rng.u8(..4) == 0 {
        let own = rng.bool();
        hand::restrict(&mut worlds, own);
    }
    worlds
}

/// A fleet in the account that its plans name. A sandbox is not held to that, so it is compared here.
async fn identified<'v>(version: &'v Version, clouds: &Clouds, bug: Option<Bug>) -> Result<Fleet<'v>, String> {
    let mut fleet = Fleet::connect(&version.plans, clouds).await.map_err(|refused| told(&refused))?;
    let need = IdentityNeed::ToWrite;
    fleet.identify(need, &Nobody).await.map_err(|refused| refused.iter().map(told).collect::<String>())?;
    if bug != Some(Bug::IgnoresAccount) {
        let found = |account: &CloudAccount| IdentifiedAccount { account: account.clone(), arn: None, unknown: None };
        let each: Vec<_> = version.plans.iter().zip(fleet.accounts().iter().map(found)).collect();
        identity::check(&each, need, false).map_err(|refused| refused.iter().map(told).collect::<String>())?;
    }
    Ok(fleet)
}

/// What `gangplank plan` does.
async fn outlook(fleet: &Fleet<'_>, clouds: &Clouds, bug: Option<Bug>) -> Result<Vec<Changeset<Action>>, String> {
    let outlook = whole(fleet.changes(clouds.now(), &Nobody).await)?;
    if let Some(bug) = bug {
        bug.in_a_dry_run(fleet, &outlook.changesets).await;
    }
    Ok(outlook.changesets)
}

/// What `gangplank apply` does; whether every step was done.
async fn apply(fleet: &Fleet<'_>, clouds: &Clouds, bug: Option<Bug>) -> Result<bool, String> {
    let mut sets = whole(fleet.changes(clouds.now(), &Nobody).await)?.changesets;
    if let Some(bug) = bug {
        sets.iter_mut().for_each(|set| bug.in_an_apply(set, clouds));
    }
    carry_out(fleet, &sets).await
}

/// What `gangplank destroy` does, until nothing is left.
async fn destroy(fleet: &Fleet<'_>, clouds: &Clouds, bug: Option<Bug>) -> Result<(), String> {
    let told = fleet.teardowns(&Nobody).await.into_iter();
    let sets: Result<Vec<_>, _> = told.map(|(_, set)| set.map_err(|refused| format!("{refused:?}"))).collect();
    let mut sets = sets?;
    if let Some(bug) = bug {
        sets.iter_mut().for_each(|set| bug.in_a_destroy(set, clouds));
    }
    if !carry_out(fleet, &sets).await? {
        return Err("a step failed".to_owned());
    }
    Ok(())
}

async fn carry_out(fleet: &Fleet<'_>, sets: &[Changeset<Action>]) -> Result<bool, String> {
    let steps: Vec<_> = sets.iter().flat_map(|set| &set.steps).collect();
    let outcome = execute::run(&fleet.performer(), &steps, Stop::new(), &Nobody).await;
    match outcome.map_err(|error| error.to_string())? {
        Outcome::Completed(_) => Ok(true),
        Outcome::Interrupted(_) | Outcome::Failed(_) => Ok(false),
    }
}

fn whole(outlook: Outlook) -> Result<Whole, String> {
    outlook.whole().map_err(|refused| refused.iter().map(told).collect::<Vec<_>>().join("\n"))
}

pub fn told(refused: &Refused) -> String {
    match refused {
        Refused::Plan(problems) => gangplank::diagnostic::render(problems, false),
        Refused::Cloud(error) => error.to_string(),
    }
}
