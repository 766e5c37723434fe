//! `gangplank plan`: the difference, and nothing changed.

use std::path::Path;

use jiff::Timestamp;

use super::{
    context::Context,
    costs::bills_of_plans,
    load_together,
    selection::{Selection, report, rows},
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{Output, PlanArgs},
        exit::{Error, Exit, print, say},
        show::{self, SavedFile},
    },
    cost::Bill,
    plan::{Loaded, Plan},
    provider::fleet::Action,
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

fn save(path: &Path, plans: &[Plan], now: Timestamp, sets: &[Changeset<Action>]) -> Result<SavedFile, Error> {
    let digest = Saved::new(plans, now, sets.to_vec())
        .write(path)
        .map_err(|error| Error::Io(format!("saving the changeset to {}", path.display()), error))?;
    Ok(SavedFile { path: path.display().to_string(), digest })
}

/// Two paths of one file that is there.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

pub async fn run(args: &PlanArgs, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let Loaded { plans, broken } = load_together(&args.paths.paths)?;
    if let Some(out) =
        args.out.as_ref().filter(|out| plans.iter().any(|plan| is_same(Path::new(&plan.origin.source.path), out)))
    {
        return Err(Error::Usage(format!("--out names the plan {}, which the changeset would replace", out.display())));
    }
    let fleet = cx.connect(&plans).await?;
    let selection = Selection::of_outlook(&plans, fleet.changes(now, &cx.reading()).await, broken);
    let bills = bills_of_plans(selection.ready.iter().map(|(plan, (_, status))| (*plan, status)), now);
    let sets: Vec<Changeset<Action>> = selection.ready.iter().map(|(_, (set, _))| set.clone()).collect();
    // Whoever reads the difference learns which file holds it.
    let out = args.out.as_ref().filter(|_| selection.left_out.is_empty());
    let saved = out.map(|path| save(path, &plans, now, &sets)).transpose()?;
    let (left_out, palette) = (&selection.left_out, cx.palette());
    print(&match args.output {
        Output::Human => {
            let sets = with_costs(&sets, &bills);
            let rows = rows(left_out, sets.len(), cx);
            match (sets.is_empty(), left_out.is_empty()) {
                (true, _) => rows,
                (false, true) => show::human(&sets, &palette),
                (false, false) => format!("{}{rows}", show::human_of_some(&sets, &palette)),
            }
        }
        Output::Json => show::json_with(&sets, &bills, left_out, saved.as_ref()),
        Output::Markdown => show::markdown_with(&with_costs(&sets, &bills), left_out, saved.as_ref()),
    })?;
    let refused = report(left_out, cx);
    let changed = !sets.iter().all(Changeset::is_empty);
    match &saved {
        Some(SavedFile { path, digest }) => say(&format!("Saved to {path}, {digest}\n")),
        None if args.out.is_some() => {
            say("Nothing was saved: a changeset is saved of all plans that were named, or not at all.\n");
        }
        None => {}
    }
    let exit = if args.detailed_exitcode && changed { Exit::Differs } else { Exit::Done };
    Ok(exit.worst(refused))
}
