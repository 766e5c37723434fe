//! What people type. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::style::Color;

/// SSH bastions for SaaS vendors, from one YAML plan: shown as a diff, applied, and gone again.
#[derive(Debug, Parser)]
#[command(name = "gangplank", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = false)]
    pub color: Color,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done; with `plan --detailed-exitcode`: nothing would change
  1    the cloud refused or failed, or a run did not complete
  2    `plan --detailed-exitcode`: something would change
  3    the plan is wrong, or can't be fulfilled as it is
  64   the command line is wrong
  130  interrupted";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check plans without asking any cloud
    Validate(Paths),
    /// Print the JSON Schema of the plan language, for editors
    Schema,
    /// Print a commented starter plan
    Init(Init),
    /// Print the cloud-init document that a plan's machine boots with
    Render(Render),
    /// Show what applying would change, and change nothing
    Plan(PlanArgs),
    /// Make the cloud match the plans
    Apply(Apply),
    /// Remove the plans' bastions, and prove that nothing of them is left
    Destroy(Apply),
    /// Show what exists now
    Status(Status),
}

#[derive(Debug, ClapArgs)]
pub struct Paths {
    /// Plan files, or directories of them
    #[arg(required = true, value_name = "PLAN")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct Init {
    pub cloud: StarterCloud,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StarterCloud {
    Aws,
    Azure,
}

#[derive(Debug, ClapArgs)]
pub struct Render {
    /// One plan file
    #[arg(value_name = "PLAN")]
    pub path: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    #[command(flatten)]
    pub paths: Paths,
    /// How to print the difference
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Exit with 2 when something would change
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Save the changeset, for `gangplank apply FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct Apply {
    #[command(flatten)]
    pub paths: Paths,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
    /// How to report: json is one event a line
    #[arg(long, value_enum, default_value_t)]
    pub output: RunOutput,
}

#[derive(Debug, ClapArgs)]
pub struct Status {
    #[command(flatten)]
    pub paths: Paths,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: RunOutput,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Human,
    Json,
    Markdown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RunOutput {
    #[default]
    Human,
    Json,
}
