//! `gangplank extend` and `gangplank shorten`: move the end of a bastion that stands, show it, and look whether it is so.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    context::Context,
    load_each,
    run::{LOOKS, carry_out, closing_event, confirmed, declined},
    selection::{Selection, announce, report},
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Extend, RunOutput},
        exit::{Error, Exit, print, say},
        interruption::Phase,
        show,
        summary::Resume,
    },
    plan::Loaded,
    provider::{
        extend::{End, Which, Wish},
        fleet::{Action, Fleet},
    },
};

pub async fn run(args: &Extend, which: Which, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let Loaded { plans, broken } = load_each(&args.run.paths.paths)?;
    let end = match (args.by, args.until) {
        (Some(span), _) => End::By(span),
        (None, Some(time)) => End::Until(time),
        (None, None) => return Err(Error::Usage("say --by or --until".to_owned())),
    };
    let fleet = cx.connect_to_write(&plans).await?;
    let each = fleet.extensions(Wish { which, end }, now, &cx.reading()).await;
    let selection = Selection::of(each, broken);
    let sets: Vec<_> = selection.ready.iter().map(|(_, set)| set.clone()).collect();
    let Some(rest) = selection.rest() else { return move_ends(args, which, &fleet, &sets, now, cx).await };
    announce(&selection.left_out, rest.len(), args.run.output, cx)?;
    let refused = report(&selection.left_out, cx);
    if rest.is_empty() {
        return Ok(refused);
    }
    let accounts = fleet.accounts_of(selection.ready.iter().map(|(plan, _)| *plan));
    let fleet = cx.connect_to_rest(&rest, accounts).await?;
    Ok(move_ends(args, which, &fleet, &sets, now, cx).await?.worst(refused))
}

async fn move_ends(
    args: &Extend,
    which: Which,
    fleet: &Fleet<'_>,
    sets: &[Changeset<Action>],
    now: Timestamp,
    cx: &Context,
) -> Result<Exit, Error> {
    if args.run.output == RunOutput::Human {
        print(&show::human_of_tags(sets, &cx.palette()))?;
    }
    if !sets.iter().all(Changeset::is_empty) {
        if !confirmed(
            &show::places::question("Move the end", "in", &show::places::changed(sets)),
            args.run.yes,
            args.run.output,
            cx,
        )
        .await?
        {
            return Ok(declined());
        }
        if let Some(exit) = carry_out(&fleet.performer(), sets, Resume::SameCommand, args.run.output, cx).await? {
            say(match which {
                // Of the ends that more than one resource tells, the earliest counts.
                Which::Extend => {
                    "The end has not moved before all of the bastion's resources tell it: run the same command again. `gangplank apply` \
                     takes back what was done.\n"
                }
                Which::Shorten if args.by.is_some() => {
                    "`gangplank plan` says which end counts now: move it with --until, since --by counts from there.\n"
                }
                Which::Shorten => {
                    "The end may have moved: complete it with the same command. `gangplank plan` says which end counts now.\n"
                }
            });
            return Ok(exit);
        }
        let plan = cx.command("plan", &args.run.paths.paths);
        let what = "Every step was done; whether all resources agree about the end was not looked at yet.";
        cx.enter(Phase::Written(format!("{what} `{plan}` looks.")));
    }
    settled(fleet, args.run.output, now, cx).await
}

/// Looks until no resource tells another end than the one that was decided.
async fn settled(fleet: &Fleet<'_>, output: RunOutput, now: Timestamp, cx: &Context) -> Result<Exit, Error> {
    let reading = cx.reading();
    for pause in LOOKS {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let agree = fleet.ends_agree(&reading).await;
        if !agree.failed.is_empty() {
            return Err(agree.reasons().into());
        }
        if agree.of.iter().all(|(_, agrees)| *agrees) {
            let told = fleet.status(now, &reading).await;
            if !told.failed.is_empty() {
                return Err(told.reasons().into());
            }
            let statuses: Vec<_> = told.of.into_iter().map(|(_, status)| status).collect();
            closing_event(cx, output, "converged", &json!({"bastions": statuses}))?;
            if output == RunOutput::Human {
                say(
                    "Looked again: the bastion's resources agree about its end. A running machine takes it within a minute.\n",
                );
            }
            return Ok(Exit::Done);
        }
    }
    closing_event(cx, output, "differs", &json!({}))?;
    say(
        "error: the bastion's resources do not agree about its end; somebody else may be changing them. Run `gangplank plan`.\n",
    );
    Ok(Exit::Failed)
}
