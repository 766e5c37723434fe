//! `gangplank plan`: the difference, and nothing changed.

use super::{context::Context, load_together};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Output, PlanArgs},
        exit::{Error, Exit, print},
        show,
    },
    saved::Saved,
};

pub async fn run(args: &PlanArgs, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = load_together(&args.paths.paths)?;
    let fleet = cx.connect(&plans).await?;
    let sets = fleet.changes(now, &cx.reading()).await?.changesets;
    print(&match args.output {
        Output::Human => show::human(&sets, &cx.palette()),
        Output::Json => show::json(&sets),
        Output::Markdown => show::markdown(&sets),
    })?;
    let changed = !sets.iter().all(Changeset::is_empty);
    if let Some(path) = &args.out {
        Saved::new(&plans, now, sets)
            .write(path)
            .map_err(|error| Error::Io(format!("saving the changeset to {}", path.display()), error))?;
    }
    Ok(if args.detailed_exitcode && changed { Exit::Differs } else { Exit::Done })
}
