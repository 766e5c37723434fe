//! The command line: what people type and read.

pub mod args;
pub mod console;
pub mod exit;
pub mod show;
pub mod style;
pub mod summary;
mod verbs;
mod words;

use jiff::Timestamp;

use self::{
    args::{Cli, Verb},
    exit::{Error, Exit, say},
    verbs::offline,
};
#[cfg(any(feature = "aws", feature = "azure"))]
use crate::provider::extend::Which;

/// Does what the command line says and reports its errors.
pub fn main(args: &Cli) -> Exit {
    dispatch(args).unwrap_or_else(|error| {
        say(&error.render(args.color));
        error.exit()
    })
}

fn dispatch(args: &Cli) -> Result<Exit, Error> {
    let now = Timestamp::now();
    match &args.verb {
        Verb::Validate(paths) => offline::validate(paths, now),
        Verb::Schema => offline::schema(),
        Verb::Init(init) => offline::init(init.cloud),
        Verb::Render(render) => offline::render(&render.path),
        online => ask_cloud(online, args.color),
    }
}

/// The verbs that need a cloud. One thread is enough: they wait far more than they work.
#[cfg(any(feature = "aws", feature = "azure"))]
fn ask_cloud(verb: &Verb, color: style::Color) -> Result<Exit, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Io("starting".to_owned(), error))?;
    let context = verbs::context::Context::new(color);
    runtime.block_on(async {
        match verb {
            Verb::Plan(plan) => verbs::plan::run(plan, &context).await,
            Verb::Apply(apply) => verbs::apply::run(apply, &context).await,
            Verb::Destroy(destroy) => verbs::destroy::run(destroy, &context).await,
            Verb::Extend(extend) => verbs::extend::run(extend, Which::Extend, &context).await,
            Verb::Shorten(shorten) => verbs::extend::run(shorten, Which::Shorten, &context).await,
            Verb::Status(status) => verbs::status::run(status, &context).await,
            Verb::Verify(verify) => verbs::verify::run(verify, &context).await,
            Verb::Handoff(handoff) => verbs::handoff::run(handoff, &context).await,
            Verb::Validate(_) | Verb::Schema | Verb::Init(_) | Verb::Render(_) => Ok(Exit::Done),
        }
    })
}

#[cfg(not(any(feature = "aws", feature = "azure")))]
fn ask_cloud(_: &Verb, _: style::Color) -> Result<Exit, Error> {
    Err(Error::Usage("this gangplank was built without a cloud: build it with the feature `aws` or `azure`".to_owned()))
}
