//! `gangplank drift`: what is not as the plans say, and who changed it. Writes nothing and opens no connection to a bastion.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::{
    context::Context,
    load_together,
    vantages::{self, Looks},
};
use crate::{
    cli::{
        args::{self, Output},
        exit::{Error, Exit, print},
        show::drift as show,
    },
    drift::{Drift, Who, since},
    provider::fleet::Action,
};

/// Calls to clouds' logs at once, and in all: what more there is to ask, a reader asks.
const AT_ONCE: usize = 4;
const ASKED: usize = 20;

pub async fn run(args: &args::Drift, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = load_together(&args.paths.paths)?;
    let fleet = cx.connect(&plans).await?;
    let reading = cx.reading();
    let sets = fleet.changes(now, &reading).await.whole()?.changesets;
    let Looks { looks, failed } = vantages::look(&fleet, now, &reading, |_| None).await?;
    if !failed.is_empty() {
        return Err(failed.into());
    }

    // Several steps may be about one resource, which is asked about once.
    let from: Vec<_> = looks.iter().map(|look| since(look.launched(), now)).collect();
    let steps = sets.iter().zip(&from).flat_map(|(set, from)| set.steps.iter().map(move |step| (&step.action, *from)));
    let mut known = BTreeSet::new();
    let asked: Vec<_> = steps.filter(|(action, _)| known.insert(subject(action))).take(ASKED).collect();
    let answers =
        asked.into_iter().map(async |(action, from)| (subject(action), fleet.who(action, from, now, &reading).await));
    let answers: BTreeMap<String, Who> = stream::iter(answers).buffered(AT_ONCE).collect().await;

    let each = plans.iter().zip(&sets).zip(&looks);
    let drifts: Vec<Drift> = each
        .map(|((plan, set), look)| {
            let who = |i: usize| answers.get(&subject(&set.steps.get(i)?.action)).cloned();
            Drift::of(plan, set, &look.judge(now), who)
        })
        .collect();
    print(&match args.output {
        Output::Human => show::human(&drifts, &cx.palette()),
        Output::Json => show::json(&drifts),
        Output::Markdown => show::markdown(&drifts),
    })?;
    Ok(if drifts.iter().any(Drift::is_drifted) { Exit::Differs } else { Exit::Done })
}

/// What a log is asked about, as text.
fn subject(action: &Action) -> String {
    match action {
        Action::Aws(action) => crate::provider::aws::history::subject(action),
        Action::Azure(action) => action.call.id().as_str().to_lowercase(),
    }
}
