//! `gangplank plan`: the difference, and nothing changed.

use jiff::Timestamp;

use super::{
    load_current,
    online::{Reading, connect},
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Output, PlanArgs},
        exit::{Error, Exit, print},
        show,
        style::Color,
    },
    saved::Saved,
};

pub async fn run(args: &PlanArgs, color: Color, now: Timestamp) -> Result<Exit, Error> {
    let plans = load_current(&args.paths.paths, now)?;
    let fleet = connect(&plans).await?;
    let outlook = fleet.changes(now, &Reading::new(color)).await;
    if !outlook.refused.is_empty() && args.output == Output::Human {
        // What the other cloud says is worth reading all the same; a program gets all or nothing.
        print(&show::human(&outlook.changesets, &color.palette(&std::io::stdout())))?;
    }
    let sets = outlook.whole()?.changesets;
    print(&match args.output {
        Output::Human => show::human(&sets, &color.palette(&std::io::stdout())),
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
