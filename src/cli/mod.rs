//! The command line: what people type and read.

pub mod args;
pub mod console;
pub mod exit;
#[cfg(any(feature = "aws", feature = "azure"))]
pub mod interruption;
pub mod log;
pub mod show;
pub mod summary;
mod verbs;
mod words;

use std::panic::AssertUnwindSafe;

use jiff::Timestamp;

#[cfg(any(feature = "aws", feature = "azure"))]
use self::interruption::Interruption;
#[cfg(any(feature = "aws", feature = "azure"))]
use crate::provider::clouds::Clouds;

use self::{
    args::{Cli, Verb},
    exit::{Error, Exit, say},
    verbs::offline,
};
#[cfg(any(feature = "aws", feature = "azure"))]
use crate::provider::extend::Which;

/// Does what the command line says and reports its errors.
pub fn main(args: &Cli) -> Exit {
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| dispatch(args)));
    done.unwrap_or_else(|_| Err(Error::Internal("the program broke off; the lines above say where".to_owned())))
        .unwrap_or_else(|error| {
            say(&error.render(args.color));
            error.exit()
        })
}

fn dispatch(args: &Cli) -> Result<Exit, Error> {
    log::begin(args.log_level())?;
    let now = Timestamp::now();
    match &args.verb {
        Verb::Validate(paths) => offline::validate(paths, now),
        Verb::Schema => offline::schema(),
        Verb::Init(init) => offline::init(init.cloud),
        Verb::Vendors(vendors) => verbs::vendors::run(vendors),
        Verb::Completions { shell } => offline::completions(*shell),
        Verb::Render(render) => offline::render(&render.path),
        Verb::Demo(_) if args.sandbox.is_some() => {
            Err(Error::Usage("the demonstration makes a sandbox of its own: --keep FOLDER keeps it".to_owned()))
        }
        Verb::Demo(demo) => run_demo(demo, args.color),
        online => ask_cloud(online, args),
    }
}

/// The verbs that need a cloud. One thread is enough: they wait far more than they work.
#[cfg(any(feature = "aws", feature = "azure"))]
fn ask_cloud(verb: &Verb, args: &Cli) -> Result<Exit, Error> {
    let sandbox = args.sandbox.as_deref();
    // In a sandbox nobody is waited for: its time passes as soon as there is nothing else to do. Whoever listens to other
    // programs lives at their pace.
    let in_no_time = sandbox.is_some() && !matches!(verb, Verb::Sandbox(_));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(in_no_time)
        .build()
        .map_err(|error| Error::Io("starting".to_owned(), error))?;
    let interruption = Interruption::listen()?;
    let exit = runtime.block_on(async {
        #[cfg(feature = "azure")]
        if let Verb::VendorKey(vendor_key) = verb {
            return interruption.until_stopped(verbs::vendor_key::run(vendor_key, sandbox.is_some())).await;
        }
        if let Verb::Sandbox(verb) = verb {
            return verbs::sandbox::run(verb, sandbox, &interruption).await;
        }
        let clouds = sandbox.map_or(Ok(Clouds::Real), |folder| verbs::sandbox::open(folder).map(Clouds::Sandbox))?;
        let context = verbs::context::Context {
            color: args.color,
            clouds,
            interruption,
            sandbox: args.sandbox.clone(),
            logs: args.log_level().is_some(),
        };
        let verb = async {
            match verb {
                Verb::Plan(plan) => verbs::plan::run(plan, &context).await,
                Verb::Apply(apply) => verbs::apply::run(apply, &context).await,
                Verb::Destroy(destroy) => verbs::destroy::run(destroy, &context).await,
                Verb::Extend(extend) => verbs::extend::run(extend, Which::Extend, &context).await,
                Verb::Shorten(shorten) => verbs::extend::run(shorten, Which::Shorten, &context).await,
                Verb::Reap(reap) => verbs::reap::run(reap, &context).await,
                Verb::Status(status) => verbs::status::run(status, &context).await,
                Verb::Drift(drift) => verbs::drift::run(drift, &context).await,
                Verb::Verify(verify) => verbs::verify::run(verify, &context).await,
                Verb::Handoff(handoff) => verbs::handoff::run(handoff, &context).await,
                Verb::Validate(_)
                | Verb::Schema
                | Verb::Init(_)
                | Verb::Vendors(_)
                | Verb::VendorKey(_)
                | Verb::Completions { .. }
                | Verb::Render(_)
                | Verb::Demo(_)
                | Verb::Sandbox(_) => Ok(Exit::Done),
            }
        };
        let exit = context.interruption.until_stopped(verb).await;
        // Why a verb failed says more than that its sandbox could not be kept, which may be the same reason.
        let left = context.leave();
        exit.and_then(|exit| left.map(|()| exit))
    });
    // A thread may still read an answer or resolve a name: nobody waits for it.
    runtime.shutdown_background();
    exit
}

#[cfg(any(feature = "aws", feature = "azure"))]
fn run_demo(demo: &args::Demo, color: crate::style::Color) -> Result<Exit, Error> {
    verbs::demo::run(demo, color)
}

#[cfg(not(any(feature = "aws", feature = "azure")))]
fn run_demo(_: &args::Demo, _: crate::style::Color) -> Result<Exit, Error> {
    Err(no_cloud())
}

#[cfg(not(any(feature = "aws", feature = "azure")))]
fn ask_cloud(_: &Verb, _: &Cli) -> Result<Exit, Error> {
    Err(no_cloud())
}

#[cfg(not(any(feature = "aws", feature = "azure")))]
fn no_cloud() -> Error {
    Error::Usage("this gangplank was built without a cloud: build it with the feature `aws` or `azure`".to_owned())
}
