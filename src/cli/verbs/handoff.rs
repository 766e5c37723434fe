//! `gangplank handoff`: verifies, and prints what the vendor and the people who operate the tunnel need.

use super::{
    context::Context,
    load_each,
    selection::{left_out, report, rows},
    vantages::{Looks, Vantages},
    verify::exit,
};
use crate::{
    cli::{
        args::{self, HandOffOutput},
        exit::{Error, Exit, print, say},
    },
    handoff,
    plan::Loaded,
};

pub async fn run(args: &args::HandOff, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let Loaded { plans, broken } = load_each(&args.paths.paths)?;
    let vantages = Vantages::new(&args.network, &plans).await?.over(cx.dialer());
    let fleet = cx.connect(&plans).await?;
    let Looks { looks, failed } = vantages.look(&plans, &fleet, now, &cx.reading()).await;
    let verifications = vantages.judge(&looks, now).await;
    let handoffs: Vec<_> = looks.iter().zip(&verifications).map(|(look, v)| look.hand_off(Some(v), now)).collect();
    let left_out = left_out(failed, broken);
    if !handoffs.is_empty() {
        print(&match args.output {
            HandOffOutput::Human => handoff::text::text(&handoffs, &cx.palette()),
            HandOffOutput::Json => handoff::json::json(&handoffs),
            HandOffOutput::Html => handoff::html::html(&handoffs).map_err(Error::Internal)?,
        })?;
    }
    // What is handed on is about the others; whoever hands it on reads who is missing.
    say(&rows(&left_out, handoffs.len(), cx));
    Ok(exit(&verifications, false).worst(report(&left_out, cx)))
}
