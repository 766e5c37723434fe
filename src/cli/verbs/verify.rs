//! `gangplank verify`: asks the control plane, the machine and the network whether the tunnels work and nothing else does.

use super::{
    context::Context,
    load_each,
    selection::{left_out, report, rows},
    vantages::{Looks, Vantages},
};
use crate::{
    cli::{
        args::{self, VerifyOutput},
        exit::{Error, Exit, print},
        show,
    },
    plan::Loaded,
    verify::Verification,
};

pub async fn run(args: &args::Verify, cx: &Context) -> Result<Exit, Error> {
    // A bastion past its deadline may be verified as any other.
    let now = cx.now();
    let Loaded { plans, broken } = load_each(&args.paths.paths)?;
    let vantages = Vantages::new(&args.network, &plans).await?.over(cx.dialer());
    let fleet = cx.connect(&plans).await?;
    let Looks { looks, failed } = vantages.look(&plans, &fleet, now, &cx.reading()).await;
    let verifications = vantages.judge(&looks, now).await;
    let left_out = left_out(failed, broken);
    print(&match args.output {
        VerifyOutput::Human => {
            let checks = show::verification::human(&verifications, &cx.palette(), args.details);
            match rows(&left_out, looks.len(), cx) {
                rows if rows.is_empty() || checks.is_empty() => checks + &rows,
                rows => format!("{checks}\n{rows}"),
            }
        }
        VerifyOutput::Json => show::verification::json_with(&verifications, &left_out),
        VerifyOutput::Junit => show::verification::junit(&verifications, &left_out),
    })?;
    Ok(exit(&verifications, args.strict).worst(report(&left_out, cx)))
}

/// A failed check is a failure; what could not be seen is one only where that was asked for.
pub fn exit(verifications: &[Verification], strict: bool) -> Exit {
    let bad = |v: &Verification| v.failed() > 0 || (strict && v.unknown() > 0);
    if verifications.iter().any(bad) { Exit::Unverified } else { Exit::Done }
}
