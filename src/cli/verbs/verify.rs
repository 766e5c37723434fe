//! `gangplank verify`: asks the control plane, the machine and the network whether the tunnels work and nothing else does.

use super::{
    context::Context,
    vantages::{Looks, Vantages},
};
use crate::{
    cli::{
        args::{self, VerifyOutput},
        exit::{Error, Exit, print},
        show,
    },
    plan,
    verify::Verification,
};

pub async fn run(args: &args::Verify, cx: &Context) -> Result<Exit, Error> {
    // A bastion past its deadline may be verified as any other.
    let now = cx.now();
    let plans = plan::load(&args.paths.paths)?;
    let vantages = Vantages::new(&args.network, &plans).await?.over(cx.dialer());
    let fleet = cx.connect(&plans).await?;
    let Looks { looks, failed } = vantages.look(&plans, &fleet, now, &cx.reading()).await?;
    let verifications = vantages.judge(&looks, now).await;
    if !failed.is_empty() && args.output != VerifyOutput::Human {
        // A program gets all or nothing.
        return Err(failed.into());
    }
    print(&match args.output {
        VerifyOutput::Human => show::verification::human(&verifications, &cx.palette(), args.details),
        VerifyOutput::Json => show::verification::json(&verifications),
        VerifyOutput::Junit => show::verification::junit(&verifications),
    })?;
    if !failed.is_empty() {
        return Err(failed.into());
    }
    Ok(exit(&verifications, args.strict))
}

/// A failed check is a failure; what could not be seen is one only where that was asked for.
pub fn exit(verifications: &[Verification], strict: bool) -> Exit {
    let bad = |v: &Verification| v.failed() > 0 || (strict && v.unknown() > 0);
    if verifications.iter().any(bad) { Exit::Unverified } else { Exit::Done }
}
