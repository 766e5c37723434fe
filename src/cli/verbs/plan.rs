//! `gangplank plan`: the difference, and nothing changed.

use super::{context::Context, costs::bills_of_plans, load_together};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Output, PlanArgs},
        exit::{Error, Exit, print},
        show,
    },
    cost::Bill,
    provider::fleet::{Action, Outlook},
    saved::Saved,
};

/// What it costs is for the reader only: a saved changeset has none of it.
fn with_costs(sets: &[Changeset<Action>], bills: &[Bill]) -> Vec<Changeset<Action>> {
    let noted = |(set, bill): (&Changeset<Action>, &Bill)| {
        let mut set = set.clone();
        set.notes.push(bill.to_string());
        set
    };
    sets.iter().zip(bills).map(noted).collect()
}

pub async fn run(args: &PlanArgs, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = load_together(&args.paths.paths)?;
    let fleet = cx.connect(&plans).await?;
    let outlook = fleet.changes(now, &cx.reading()).await;
    if !outlook.refused.is_empty() && !outlook.changesets.is_empty() && args.output == Output::Human {
        // What the other cloud says is worth reading all the same; a program gets all or nothing.
        print(&show::human_of_some(&outlook.changesets, &cx.palette()))?;
    }
    let Outlook { changesets: sets, statuses, .. } = outlook.whole()?;
    let bills = bills_of_plans(&plans, &statuses, now);
    print(&match args.output {
        Output::Human => show::human(&with_costs(&sets, &bills), &cx.palette()),
        Output::Json => show::json_with(&sets, &bills),
        Output::Markdown => show::markdown(&with_costs(&sets, &bills)),
    })?;
    let changed = !sets.iter().all(Changeset::is_empty);
    if let Some(path) = &args.out {
        Saved::new(&plans, now, sets)
            .write(path)
            .map_err(|error| Error::Io(format!("saving the changeset to {}", path.display()), error))?;
    }
    Ok(if args.detailed_exitcode && changed { Exit::Differs } else { Exit::Done })
}
