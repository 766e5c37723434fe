//! `gangplank handoff`: verifies, and prints what the vendor and the people who operate the tunnel need.

use super::{
    context::Context,
    vantages::{Looks, Vantages},
    verify::exit,
};
use crate::{
    cli::{
        args::{self, HandOffOutput},
        exit::{Error, Exit, print},
    },
    handoff, plan,
    provider::CloudError,
};

pub async fn run(args: &args::HandOff, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = plan::load(&args.paths.paths)?;
    let vantages = Vantages::new(&args.network, &plans).await?.over(cx.dialer());
    let fleet = cx.connect(&plans).await?;
    let Looks { looks, failed } = vantages.look(&plans, &fleet, now, &cx.reading()).await?;
    if !failed.is_empty() {
        // A page is handed on: it is whole, or there is none.
        return Err(failed.into());
    }
    let verifications = vantages.judge(&looks, now).await;
    let handoffs: Vec<_> = looks.iter().zip(&verifications).map(|(look, v)| look.hand_off(Some(v), now)).collect();
    print(&match args.output {
        HandOffOutput::Human => handoff::text::text(&handoffs, &cx.palette()),
        HandOffOutput::Json => handoff::json::json(&handoffs),
        HandOffOutput::Html => {
            handoff::html::html(&handoffs).map_err(|error| Error::Cloud(CloudError::mistake(error)))?
        }
    })?;
    Ok(exit(&verifications, false))
}
