//! `gangplank drift`: what is not as the plans say, and who changed it. Writes nothing and opens no connection to a bastion.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{
    context::Context,
    load_together,
    online::Reading,
    selection::{Selection, exit, rows},
    vantages::{self, Look, Looks},
};
use crate::{
    changeset::Changeset,
    cli::{
        args::{self, Output},
        exit::{Error, Exit, print, say},
        show::{drift as show, left_out::markdown as markdown_rows},
    },
    drift::{Drift, Who, since},
    left_out::{Condition, LeftOut},
    plan::{Loaded, Plan},
    provider::{
        fleet::{Action, Fleet},
        status::{State, Status},
    },
};

/// Calls to clouds' logs at once, and in all: what more there is to ask, a reader asks.
const AT_ONCE: usize = 4;
const ASKED: usize = 20;

pub async fn run(args: &args::Drift, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let Loaded { plans, broken } = load_together(&args.paths.paths)?;
    let fleet = cx.connect(&plans).await?;
    let reading = cx.reading();
    let mut selection = Selection::of_outlook(&plans, fleet.changes(now, &reading).await, broken);
    let is_there = |status: &Status| status.state != State::Absent;
    let looks = if selection.ready.iter().any(|(_, (_, status))| is_there(status)) {
        let Looks { looks, failed } = vantages::look(&fleet, now, &reading, |_| None).await;
        selection.leave_out(failed);
        looks
    } else {
        Vec::new()
    };
    let drifts = compare(&fleet, &selection, &looks, now, &reading).await;
    let left_out = &selection.left_out;
    print(&match args.output {
        Output::Human => {
            let rows = rows(left_out, drifts.len(), cx);
            if drifts.is_empty() { rows } else { show::human(&drifts, &cx.palette()) + &rows }
        }
        Output::Json => show::json_with(&drifts, left_out),
        Output::Markdown => show::markdown(&drifts) + &markdown_rows(left_out),
    })?;
    for reason in LeftOut::reasons(left_out) {
        say(&Error::from(reason).render(cx.color));
    }
    let drifted = drifts.iter().any(Drift::is_drifted);
    // That its time is up is not the plan's mistake: there is something to be done about the bastion.
    let each = left_out.iter().map(|one| if one.condition() == Condition::Ended { Exit::Differs } else { exit(one) });
    Ok(each.fold(if drifted { Exit::Differs } else { Exit::Done }, Exit::worst))
}

/// Each bastion that could be compared, in the order of the plans.
async fn compare(
    fleet: &Fleet<'_>,
    selection: &Selection<'_, (Changeset<Action>, Status)>,
    looks: &[Look<'_>],
    now: Timestamp,
    reading: &Reading,
) -> Vec<Drift> {
    let absent = |status: &Status| status.state == State::Absent;
    let gone = selection.ready.iter().filter(|(_, (_, status))| absent(status));
    let gone: Vec<_> = gone.map(|(plan, (set, _))| (*plan, set)).collect();
    let mut removals = Vec::new();
    if !gone.is_empty() {
        removals = fleet.removals(&gone, since(None, now), now, reading).await;
    }
    let mut removals = removals.into_iter();
    let look = |plan: &Plan| looks.iter().find(|look| look.is_of(plan));
    let there = || {
        let there = selection.ready.iter().filter(|(_, (_, status))| !absent(status));
        there.filter_map(|(plan, (set, _))| Some((*plan, set, look(plan)?)))
    };

    // Several steps may be about one resource, which is asked about once.
    let steps = there().flat_map(|(_, set, look)| {
        let from = since(look.launched(), now);
        set.steps.iter().map(move |step| (&step.action, from))
    });
    let mut known = BTreeSet::new();
    let asked: Vec<_> = steps.filter(|(action, _)| known.insert(subject(action))).take(ASKED).collect();
    let answers =
        asked.into_iter().map(async |(action, from)| (subject(action), fleet.who(action, from, now, reading).await));
    let answers: BTreeMap<String, Who> = stream::iter(answers).buffered(AT_ONCE).collect().await;

    let drift = |(plan, (set, status)): &(&Plan, (Changeset<Action>, Status))| {
        if absent(status) {
            return Some(Drift::absent(set, removals.next().flatten()));
        }
        let look = look(plan)?;
        let who = |i: usize| answers.get(&subject(&set.steps.get(i)?.action)).cloned();
        Some(Drift::of(plan, set, &look.judge(now), look.records_another_document(), who))
    };
    selection.ready.iter().filter_map(drift).collect()
}

/// What a log is asked about, as text.
fn subject(action: &Action) -> String {
    match action {
        Action::Aws(action) => crate::provider::aws::history::subject(action),
        Action::Azure(action) => action.call.id().as_str().to_lowercase(),
    }
}
