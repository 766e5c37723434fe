//! The verbs that ask no cloud.

use std::{iter, path::Path, slice};

use clap::{CommandFactory, builder::PossibleValuesParser};
use clap_complete::Shell;
use jiff::Timestamp;

use super::load_current;
use crate::{
    cli::{
        args::{Cli, Paths, StarterCloud},
        exit::{Error, Exit, print},
    },
    cloudinit,
    diagnostic::{Diagnostic, Diagnostics},
    plan::{
        self, CloudKind,
        catalogue::{KnownVendor, catalogue},
    },
};

pub fn validate(args: &Paths, now: Timestamp) -> Result<Exit, Error> {
    let plans = load_current(&args.paths, now)?;
    let problems: Vec<Diagnostic> =
        plans.iter().filter_map(|plan| cloudinit::render(plan).err().map(|error| error.in_plan(plan))).collect();
    if !problems.is_empty() {
        return Err(Diagnostics(problems).into());
    }
    for plan in &plans {
        print(&format!("{}: {} is valid\n", plan.origin.source.path, plan.name))?;
    }
    Ok(Exit::Done)
}

pub fn schema() -> Result<Exit, Error> {
    print(plan::schema())?;
    Ok(Exit::Done)
}

/// With every vendor and region of the catalogue, which the parser does not check: `vendors` says more about a wrong one.
pub fn completions(shell: Shell) -> Result<Exit, Error> {
    let regions =
        |vendor: &'static KnownVendor| vendor.regions.keys().map(move |region| format!("{}/{region}", vendor.id));
    let ids = catalogue().iter().flat_map(|vendor| iter::once(vendor.id.clone()).chain(regions(vendor)));
    // clap takes texts that live for ever; the process ends after this.
    let ids: Vec<&'static str> = ids.map(|id| &*id.leak()).collect();
    let name = |arg: clap::Arg| arg.value_parser(PossibleValuesParser::new(ids));
    let mut command = Cli::command().mut_subcommand("vendors", |vendors| vendors.mut_arg("name", name));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "gangplank", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub fn init(cloud: StarterCloud) -> Result<Exit, Error> {
    print(match cloud {
        StarterCloud::Aws => plan::starter(CloudKind::Aws),
        StarterCloud::Azure => plan::starter(CloudKind::Azure),
    })?;
    Ok(Exit::Done)
}

pub fn render(path: &Path) -> Result<Exit, Error> {
    let plans = plan::load(slice::from_ref(&path.to_owned()))?;
    let [plan] = plans.as_slice() else {
        return Err(Error::Usage(format!("{} holds {} plans; render one file at a time", path.display(), plans.len())));
    };
    match cloudinit::render(plan) {
        Ok(user_data) => print(&user_data.text)?,
        Err(error) => return Err(Diagnostics::from(error.in_plan(plan)).into()),
    }
    Ok(Exit::Done)
}
