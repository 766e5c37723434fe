//! What people type. The doc comments are the help texts.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use jiff::{SignedDuration, Timestamp};

use super::style::Color;
use crate::plan::time;

/// SSH bastions for SaaS vendors, from one YAML plan: shown as a diff, applied, proven, and gone again.
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
  4    a check failed: the tunnel would not work, or more than the tunnel would
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
    Destroy(Run),
    /// Let bastions that stand end later than their plans say
    Extend(Extend),
    /// Let bastions that stand end earlier than their plans say
    Shorten(Extend),
    /// Show what exists now
    Status(Status),
    /// Prove that the tunnels work and nothing else does, and change nothing
    Verify(Verify),
    /// Print what the vendor and the people who operate the tunnel need
    Handoff(HandOff),
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
    pub run: Run,
    #[command(flatten)]
    pub network: Network,
    /// Don't verify the result
    #[arg(long, conflicts_with_all = ["from", "identity", "no_network", "wait"])]
    pub no_verify: bool,
    /// Minutes that a machine may take to report what was changed
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=120))]
    pub wait: u64,
}

/// A verb that changes something.
#[derive(Debug, ClapArgs)]
pub struct Run {
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
pub struct Extend {
    #[command(flatten)]
    pub run: Run,
    /// From the end that counts now: 12h, 7d, 1w2d
    #[arg(long, value_name = "TIME", value_parser = span, required_unless_present = "until", conflicts_with = "until")]
    pub by: Option<SignedDuration>,
    /// The new end, as a time with an offset: 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
}

fn span(text: &str) -> Result<SignedDuration, String> {
    let span = time::duration(text).filter(|span| span.is_positive() && *span <= time::LONGEST);
    span.ok_or_else(|| "write weeks, days, hours and minutes, ten years at most: 1w, 7d, 12h, 30m or 1d12h".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    time::moment(text).ok_or_else(|| "write it like 2030-01-31T00:00:00Z, with an offset".to_owned())
}

#[derive(Debug, ClapArgs)]
pub struct Status {
    #[command(flatten)]
    pub paths: Paths,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: RunOutput,
}

#[derive(Debug, ClapArgs)]
pub struct Verify {
    #[command(flatten)]
    pub paths: Paths,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: VerifyOutput,
    #[command(flatten)]
    pub network: Network,
    /// Show the evidence of what passed, too
    #[arg(long)]
    pub details: bool,
    /// Exit with 4 also when something could not be checked
    #[arg(long)]
    pub strict: bool,
}

/// How to look from this machine.
#[derive(Clone, Debug, ClapArgs)]
pub struct Network {
    /// Connect from this address of this machine
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// A private key of an operator: opens forwards, and tries what must be refused; or `agent`, for ssh-agent's
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Forwards to hold open at once
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub concurrent: usize,
    /// Seconds that each step over the network may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
    /// Open no connection to the bastion
    #[arg(long, conflicts_with_all = ["from", "identity"])]
    pub no_network: bool,
}

#[derive(Debug, ClapArgs)]
pub struct HandOff {
    #[command(flatten)]
    pub paths: Paths,
    /// How to print it: html is one page that needs nothing else
    #[arg(long, value_enum, default_value_t)]
    pub output: HandOffOutput,
    #[command(flatten)]
    pub network: Network,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum VerifyOutput {
    #[default]
    Human,
    Json,
    Junit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HandOffOutput {
    #[default]
    Human,
    Json,
    Html,
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
