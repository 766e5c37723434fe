//! `gangplank apply`: shows the difference, asks, carries it out, and looks again to find none.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::json;

use super::{
    check_current,
    context::Context,
    load_together,
    run::{LOOKS, carry_out, closing_event, confirmed, declined},
    selection::{Selection, announce, report},
    step_differences::differences,
    vantages::{Looks, Vantages},
    verify::exit,
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Apply, RunOutput},
        exit::{Error, Exit, print, say},
        interruption::Phase,
        show,
        summary::Resume,
    },
    cloud_error::Refused,
    diagnostic::{Diagnostic, Diagnostics},
    handoff::{self, HandOff, Known, handoff},
    location::CloudAccount,
    plan::{Loaded, Plan, load},
    provider::{
        fleet::{Action, Fleet, Whole},
        status::Status,
    },
    saved::{Acceptance, Saved},
    tags::deadline::ResolvedDeadline,
    verify::Verification,
};

pub async fn run(args: &Apply, cx: &Context) -> Result<Exit, Error> {
    let (changesets, others): (Vec<_>, Vec<_>) =
        args.run.paths.paths.iter().cloned().partition(|path| Saved::<Action>::is_at(path));
    match changesets.as_slice() {
        [] if args.expect.is_some() => {
            return Err(Error::Usage("--expect is for a saved changeset, and there is none".to_owned()));
        }
        [] => {}
        [path] => return saved(path, &others, args, cx).await,
        _ => return Err(Error::Usage("apply one saved changeset at a time".to_owned())),
    }
    let now = cx.now();
    let Loaded { plans, broken } = load_together(&args.run.paths.paths)?;
    let fleet = cx.connect_to_write(&plans).await?;
    let selection = Selection::of_outlook(&plans, fleet.changes(now, &cx.reading()).await, broken);
    let whole = selection.whole();
    let Some(rest) = selection.rest() else {
        return carry_on(&plans, &fleet, whole, args, cx, now, Resume::SameCommand).await;
    };
    announce(&selection.left_out, rest.len(), args.run.output, cx)?;
    let refused = report(&selection.left_out, cx);
    if rest.is_empty() {
        return Ok(refused);
    }
    let accounts = fleet.accounts_of(selection.ready.iter().map(|(plan, _)| *plan));
    let fleet = cx.connect_to_rest(&rest, accounts).await?;
    let exit = carry_on(&rest, &fleet, whole, args, cx, now, Resume::SameCommand).await?;
    Ok(exit.worst(refused))
}

/// Carries out a saved changeset, or refuses it: worked out again as of then, it must come out the same. Where plans are named
/// beside it, it must have been made from them.
async fn saved(path: &Path, checkout: &[PathBuf], args: &Apply, cx: &Context) -> Result<Exit, Error> {
    let acceptance = Acceptance { now: cx.now(), max_age: args.max_age, expect: args.expect.clone() };
    let saved = Saved::<Action>::read(path, &acceptance)?;
    let plans = saved.plans()?;
    if !checkout.is_empty() {
        saved.check_plans(path, &plans, &load(checkout)?)?;
    }
    check_current(&plans, cx.now())?;
    let fleet = cx.connect_to_write(&plans).await?;
    check_accounts(path, &saved.changesets, fleet.accounts())?;
    let outlook = fleet.changes(saved.made, &cx.reading()).await.whole()?;
    if outlook.changesets != saved.changesets {
        if args.run.output == RunOutput::Human {
            print("What would be needed now:\n\n")?;
            print(&show::human(&outlook.changesets, &cx.palette()))?;
        }
        let changed = Diagnostic::new(format!("{} no longer fits", path.display()))
            .because(format!(
                "The cloud changed since this changeset was saved: {}",
                differences(&saved.changesets, &outlook.changesets)
            ))
            .fix("look at the difference again: `gangplank plan --out FILE`");
        return Err(Diagnostics::from(changed).into());
    }
    carry_on(&plans, &fleet, outlook, args, cx, saved.made, Resume::NewChangeset).await
}

/// A changeset is for the account that it was made in, whatever the plans say.
fn check_accounts(path: &Path, sets: &[Changeset<Action>], accounts: &[CloudAccount]) -> Result<(), Diagnostics> {
    let differs = |(set, account): &(&Changeset<Action>, &CloudAccount)| set.location.account != **account;
    let Some((set, account)) = sets.iter().zip(accounts).find(differs) else { return Ok(()) };
    let made = &set.location.account;
    let problem = Diagnostic::new(format!("{} was made in another account", path.display()))
        .because(format!("it was made in {made}, and these credentials are for {account}"))
        .fix("use the credentials that it was made with, or make a new one: `gangplank plan --out FILE`");
    Err(problem.into())
}

async fn carry_on<'p>(
    plans: &'p [Plan],
    fleet: &Fleet<'p>,
    outlook: Whole,
    args: &Apply,
    cx: &Context,
    clock: Timestamp,
    resume: Resume,
) -> Result<Exit, Error> {
    // A wrong identity is found before anything is written.
    let vantages = Vantages::new(&args.network, plans).await?.over(cx.dialer());
    let sets = &outlook.changesets;
    if args.run.output == RunOutput::Human {
        print(&show::human(sets, &cx.palette()))?;
    }
    if sets.iter().all(Changeset::is_empty) {
        closing_event(cx, args.run.output, "converged", &json!({"changed": false, "bastions": outlook.statuses}))?;
        return proven(plans, fleet, &vantages, args, cx, None).await;
    }
    if !confirmed(
        &show::places::question("Apply this", "to", &show::places::changed(sets)),
        args.run.yes,
        args.run.output,
        cx,
    )
    .await?
    {
        return Ok(declined());
    }
    if let Some(exit) = carry_out(&fleet.performer(), sets, resume, args.run.output, cx).await? {
        return Ok(exit);
    }
    let started = cx.now();
    match converged(fleet, args.run.output, cx, clock).await? {
        Some(statuses) if args.no_verify => {
            if args.run.output == RunOutput::Human {
                let now = cx.now();
                let handoffs: Vec<_> = plans.iter().zip(&statuses).map(|(plan, s)| unverified(plan, s, now)).collect();
                print(&handoff::text::fields(&handoffs))?;
            }
            Ok(Exit::Done)
        }
        Some(_) => proven(plans, fleet, &vantages, args, cx, Some(started)).await,
        None => Ok(Exit::Failed),
    }
}

/// A run ends by looking again and finding no difference. EC2 may show what was done a little later, so it is looked at
/// several times before a difference is believed; `None` then.
async fn converged(
    fleet: &Fleet<'_>,
    output: RunOutput,
    cx: &Context,
    clock: Timestamp,
) -> Result<Option<Vec<Status>>, Error> {
    let reading = cx.reading();
    let mut sets = Vec::new();
    for pause in LOOKS {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let outlook = fleet.changes(clock, &reading).await;
        // Of what one says nothing is hidden by what another does not.
        let settled: Vec<String> = outlook
            .plans
            .iter()
            .filter_map(|plan| plan.changes.as_ref().ok())
            .filter(|set| set.is_empty())
            .map(|set| set.bastion.clone())
            .collect();
        let whole = match outlook.whole() {
            Ok(whole) => whole,
            Err(refused) => {
                if !settled.is_empty() {
                    say(&format!("Looked again: the cloud matches the plan of {}.\n", settled.join(", ")));
                }
                say("Every step was done; whether all of it is as planned could not be looked at:\n");
                return Err(refused.into());
            }
        };
        if whole.changesets.iter().all(Changeset::is_empty) {
            closing_event(cx, output, "converged", &json!({"changed": true, "bastions": whole.statuses}))?;
            if output == RunOutput::Human {
                say("Looked again: the cloud matches the plan.\n");
            }
            return Ok(Some(whole.statuses));
        }
        sets = whole.changesets;
    }
    let steps: Vec<_> = sets.iter().flat_map(|s| &s.steps).map(|s| &s.id).collect();
    closing_event(cx, output, "differs", &json!({"steps": steps}))?;
    if output == RunOutput::Human {
        print(&show::human(&sets, &cx.palette()))?;
    }
    say(
        "error: every step was done, and the cloud still differs as shown; somebody else may be changing it. Run apply again.\n",
    );
    Ok(None)
}

/// Whether nothing says that the machine is somebody else's: the host key of such a one is not remembered.
fn is_ours(verification: &Verification) -> bool {
    let about_origin = ["control.document", "control.image"];
    !verification.checks.iter().any(|check| about_origin.contains(&check.id) && check.verdict.is_fail())
}

/// What is known of a bastion that nobody has verified.
fn unverified(plan: &Plan, status: &Status, now: Timestamp) -> HandOff {
    let (location, address) = (status.location.clone(), status.address.clone());
    let expires = status.expires.as_ref().and_then(|e| e.parse().ok());
    let deadline = expires.map(|expires| ResolvedDeadline { expires, lifetime: None, moved: status.moved });
    handoff(
        plan,
        &Known {
            location,
            address,
            port: status.port,
            host_keys: Vec::new(),
            deadline,
            other_ends: status.other_ends.clone(),
            now,
            prefix_lists: BTreeMap::new(),
            verification: None,
        },
    )
}

/// Verifies what is there, pins the host keys that were seen for the first time, and hands over. Young machines, and after a
/// change (`applied` is when its steps were done) all of them, get the time to report.
async fn proven<'p>(
    plans: &'p [Plan],
    fleet: &Fleet<'p>,
    vantages: &Vantages<'_>,
    args: &Apply,
    cx: &Context,
    applied: Option<Timestamp>,
) -> Result<Exit, Error> {
    if args.no_verify {
        return Ok(Exit::Done);
    }
    let reading = cx.reading();
    let patience = Duration::from_secs(60 * args.wait);
    let verify = cx.command("verify", &paths(plans, args));
    if applied.is_some() {
        let what = "Everything was applied; the machines had not reported all of it yet.";
        cx.enter(Phase::Written(format!("{what} `{verify}` goes on.")));
    }
    let Looks { looks, failed } = vantages.await_reports(plans, fleet, applied, patience, cx).await;
    let now = cx.now();
    if applied.is_some() {
        let what = "Everything was applied; the verification was not finished.";
        cx.enter(Phase::Written(format!("{what} `{verify}` does it again.")));
    }
    let verifications = vantages.judge(&looks, now).await;
    for (look, _) in looks.iter().zip(&verifications).filter(|(_, verification)| is_ours(verification)) {
        look.pin(fleet, &reading).await?;
    }
    closing_event(cx, args.run.output, "verified", &json!({"bastions": verifications}))?;
    if args.run.output == RunOutput::Human {
        print(&show::verification::human(&verifications, &cx.palette(), false))?;
        let handoffs: Vec<_> = looks.iter().zip(&verifications).map(|(look, v)| look.hand_off(Some(v), now)).collect();
        print(&handoff::text::fields(&handoffs))?;
    }
    if !failed.is_empty() {
        return Err(Refused::distinct(failed.into_iter().map(|(_, why)| why)).into());
    }
    Ok(exit(&verifications, false))
}

/// What to name to another verb: the same as here, or the plans that a saved changeset was made from.
fn paths(plans: &[Plan], args: &Apply) -> Vec<PathBuf> {
    match args.run.paths.paths.as_slice() {
        [path] if Saved::<Action>::is_at(path) => {
            plans.iter().map(|plan| PathBuf::from(&plan.origin.source.path)).collect()
        }
        paths => paths.to_vec(),
    }
}
