//! `gangplank extend` and `gangplank shorten`: move the end of a bastion that stands, show it, and look whether it is so.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    context::Context,
    run::{LOOKS, carry_out, closing_event, confirmed, declined},
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
    plan,
    provider::{
        extend::{End, Which, Wish},
        fleet::Fleet,
    },
};

pub async fn run(args: &Extend, which: Which, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = plan::load(&args.run.paths.paths)?;
    let end = match (args.by, args.until) {
        (Some(span), _) => End::By(span),
        (None, Some(time)) => End::Until(time),
        (None, None) => return Err(Error::Usage("say --by or --until".to_owned())),
    };
    let fleet = cx.connect_to_write(&plans).await?;
    let sets = fleet.extensions(Wish { which, end }, now, &cx.reading()).await?;
    if args.run.output == RunOutput::Human {
        print(&show::human_of_tags(&sets, &cx.palette()))?;
    }
    if !sets.iter().all(Changeset::is_empty) {
        if !confirmed(
            &show::places::question("Move the end", "in", &show::places::changed(&sets)),
            args.run.yes,
            args.run.output,
            cx,
        ).await? {
            return Ok(declined());
        }
        if let Some(exit) = carry_out(&fleet.performer(), &sets, Resume::SameCommand, args.run.output, cx).await? {
            if args.by.is_some() {
                say(
                    "What was done has moved the end already: complete it with `gangplank apply`, not with --by again.\n",
                );
            }
            return Ok(exit);
        }
        let plan = cx.command("plan", &args.run.paths.paths);
        let what = "Every step was done; whether all resources agree about the end was not looked at yet.";
        cx.enter(Phase::Written(format!("{what} `{plan}` looks.")));
    }
    settled(&fleet, args.run.output, now, cx).await
}

/// Looks until no resource tells another end than the one that was decided.
async fn settled(fleet: &Fleet<'_>, output: RunOutput, now: Timestamp, cx: &Context) -> Result<Exit, Error> {
    let reading = cx.reading();
    for pause in LOOKS {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        if fleet.ends_agree(&reading).await? {
            let told = fleet.status(now, &reading).await;
            if !told.failed.is_empty() {
                return Err(told.failed.into());
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
