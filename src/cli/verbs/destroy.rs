//! `gangplank destroy`: shows what goes, asks, removes it, and proves by looking that nothing is left.

use std::time::Duration;

use serde_json::json;

use super::{
    context::Context,
    load_each,
    online::Reading,
    reap::inventory,
    run::{LOOKS, carry_out, closing_event, confirmed, declined},
    selection::{Selection, announce, report},
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Run, RunOutput},
        exit::{Error, Exit, print, say},
        show,
        summary::Resume,
        words::count,
    },
    location::Location,
    plan::{Loaded, Plan},
    provider::{
        fleet::{Action, Fleet},
        status::Remains,
    },
    reap::{Stranger, is_alike},
};

pub async fn run(args: &Run, cx: &Context) -> Result<Exit, Error> {
    // A plan whose time is up is just the one to destroy: its deadline is not asked about.
    let Loaded { plans, broken } = load_each(&args.paths.paths)?;
    let fleet = cx.connect_to_write(&plans).await?;
    let selection = Selection::of(fleet.teardowns(&cx.reading()).await, broken);
    let sets: Vec<_> = selection.ready.iter().map(|(_, set)| set.clone()).collect();
    let Some(rest) = selection.rest() else { return remove(args, &plans, &fleet, &sets, cx).await };
    announce(&selection.left_out, rest.len(), args.output, cx)?;
    let refused = report(&selection.left_out, cx);
    if rest.is_empty() {
        return Ok(refused);
    }
    let accounts = fleet.accounts_of(selection.ready.iter().map(|(plan, _)| *plan));
    let fleet = cx.connect_to_rest(&rest, accounts).await?;
    Ok(remove(args, &rest, &fleet, &sets, cx).await?.worst(refused))
}

async fn remove(
    args: &Run,
    plans: &[Plan],
    fleet: &Fleet<'_>,
    sets: &[Changeset<Action>],
    cx: &Context,
) -> Result<Exit, Error> {
    let reading = cx.reading();
    if !sets.iter().all(Changeset::is_empty) {
        if args.output == RunOutput::Human {
            print(&show::human(sets, &cx.palette()))?;
        }
        if !confirmed(
            &show::places::question("Destroy this", "in", &show::places::changed(sets)),
            args.yes,
            args.output,
            cx,
        )
        .await?
        {
            return Ok(declined());
        }
        if let Some(exit) = carry_out(&fleet.performer(), sets, Resume::SameCommand, args.output, cx).await? {
            return Ok(exit);
        }
    }
    let places = show::places::distinct(sets.iter().map(|set| &set.location));
    let exit = gone(fleet, &reading, args.output, &places, cx).await?;
    // The tags have been looked at; names are looked at, too, and what is still paid for is said.
    let inventory = inventory(sets, plans, cx).await?;
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    if args.output == RunOutput::Human {
        print(&show::reap::leftovers(&inventory, &names, cx.now(), &cx.palette()))?;
    }
    // What carries their tag and is not gangplank's is left alone, and somebody has to look at it.
    let tagged =
        |s: &Stranger| s.tagged.as_deref().is_some_and(|bastion| names.iter().any(|name| is_alike(bastion, name)));
    let left_alone = inventory.iter().flat_map(|judged| &judged.sight.strangers).any(tagged);
    Ok(if left_alone && exit == Exit::Done { Exit::Differs } else { exit })
}

/// Looks until nothing of the bastions is there, or long enough to believe that something is.
async fn gone(
    fleet: &Fleet<'_>,
    reading: &Reading,
    output: RunOutput,
    places: &[&Location],
    cx: &Context,
) -> Result<Exit, Error> {
    let (mut left, mut doubtful) = (Vec::new(), Vec::new());
    for pause in LOOKS {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let told = fleet.remains(reading).await;
        let all = told.of.iter().map(|(_, of)| of.clone());
        let (remains, gone): (Vec<Remains>, Vec<Remains>) = all.partition(|of| !of.own.is_empty());
        left = remains;
        if !told.failed.is_empty() {
            for one in gone.iter().filter(|one| one.doubts.is_empty()) {
                say(&format!("Looked again: nothing is left of {}.\n", one.bastion));
            }
            say_doubts(gone.iter().chain(&left));
            for one in &left {
                say(&format!("Of {} there is still: {}.\n", one.bastion, one.own.join(", ")));
            }
            return Err(told.reasons().into());
        }
        if left.is_empty() {
            return none_left(&gone, output, places, cx);
        }
        doubtful = gone;
    }
    let remains = |one: &Remains| json!({"bastion": one.bastion, "what": one.own});
    let remains: Vec<_> = left.iter().map(remains).collect();
    let bastions = doubts_of(doubtful.iter().chain(&left));
    closing_event(cx, output, "remains", &json!({"remains": remains, "bastions": bastions, "locations": places}))?;
    for one in &left {
        say(&format!("error: of {} there is still:\n", one.bastion));
        for what in &one.own {
            say(&format!("  {what}\n"));
        }
    }
    say_doubts(doubtful.iter().chain(&left));
    Ok(Exit::Failed)
}

/// Nothing that is proven to be the bastions' own is there.
fn none_left(gone: &[Remains], output: RunOutput, places: &[&Location], cx: &Context) -> Result<Exit, Error> {
    let certain = gone.iter().filter(|one| one.doubts.is_empty()).count();
    if output == RunOutput::Human && (certain > 0 || gone.is_empty()) {
        print(&format!("Looked again: nothing is left of {}.\n", count(certain, "bastion")))?;
    }
    if certain == gone.len() {
        closing_event(cx, output, "gone", &json!({ "locations": places }))?;
        return Ok(Exit::Done);
    }
    closing_event(cx, output, "in-doubt", &json!({"bastions": doubts_of(gone), "locations": places}))?;
    say_doubts(gone);
    Ok(Exit::Differs)
}

fn doubts_of<'a>(all: impl IntoIterator<Item = &'a Remains>) -> Vec<serde_json::Value> {
    let doubtful = all.into_iter().filter(|one| !one.doubts.is_empty());
    doubtful.map(|one| json!({"bastion": one.bastion, "doubts": one.doubts})).collect()
}

fn say_doubts<'a>(all: impl IntoIterator<Item = &'a Remains>) {
    for one in all {
        for doubt in &one.doubts {
            say(&format!("error: {} is in doubt: {}\n  help: {}\n", one.bastion, doubt.what, doubt.remedy));
        }
    }
}
