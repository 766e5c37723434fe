//! What people type. The doc comments are the help texts.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use tracing::Level;

use crate::{location::AccountGuard, plan::time, saved::FileDigest, style::Color};

/// SSH bastions for SaaS vendors, from one YAML plan: shown as a diff, applied, proven, and gone on time.
#[derive(Debug, Parser)]
#[command(name = "gangplank", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = false)]
    pub color: Color,
    /// Talk to an embedded cloud that is kept in this folder, and to nothing else
    #[arg(long, global = true, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = SANDBOX)]
    pub sandbox: Option<PathBuf>,
    /// Log each call to a cloud on stderr: service, operation, status, time, request id
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Log repeated calls and steps as well; GANGPLANK_LOG=FILE writes the same into a file
    #[arg(long, global = true)]
    pub debug: bool,
}

impl Cli {
    /// What is logged on stderr, where anything is.
    pub fn log_level(&self) -> Option<Level> {
        match (self.debug, self.verbose) {
            (true, _) => Some(Level::DEBUG),
            (false, true) => Some(Level::INFO),
            (false, false) => None,
        }
    }
}

/// The folder of a sandbox for which none is named.
pub const SANDBOX: &str = ".gangplank-sandbox";

const EXIT_CODES: &str = "\
Exit codes:
  0    done; with `plan --detailed-exitcode`: nothing would change
  1    the cloud refused or failed, or a run did not complete
  2    `plan --detailed-exitcode`: something would change
       `drift`: something is not as the plans say
       `reap`: something was found and not destroyed
       `destroy`: something carries the tag and is not gangplank's, or a machine is left
                  that may be the bastion's
       `status`: a machine may be the bastion's and is not proven to be
       `vendors --check`: the lists differ
  3    the plan is wrong, or can't be fulfilled as it is
  4    a check failed; with `verify --strict` also: something could not be checked
  5    declined: the answer to the question was no
  64   the command line is wrong, or nobody was there to be asked
  70   a mistake in gangplank itself: please report it
  130  interrupted
Of several bastions, the exit code tells the worst: 1, then 3, 4, 2, 0.";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check plans without asking any cloud
    Validate(Paths),
    /// Print the JSON Schema of the plan language, for editors
    Schema,
    /// Print a commented starter plan
    Init(Init),
    /// List the catalogue of vendors, or explain one
    Vendors(Vendors),
    /// Print a shell's script that completes what you type
    Completions { shell: clap_complete::Shell },
    /// Fetch the public key that a vendor's API tells, for a plan; Fivetran's, with FIVETRAN_APIKEY and FIVETRAN_APISECRET
    #[cfg(feature = "azure")]
    VendorKey(VendorKey),
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
    /// Find what is past its deadline or has lost its machine in whole accounts, without plans, and destroy it
    Reap(Reap),
    /// Show what exists now
    Status(Status),
    /// Compare cloud, machine and plan, tell who changed what, and change nothing
    Drift(Drift),
    /// Prove that the tunnels work and nothing else does, and change nothing
    Verify(Verify),
    /// Print what the vendor and the people who operate the tunnel need
    Handoff(HandOff),
    /// See all of it in seconds, without an account: bastions are made, proven, changed and removed in a sandbox
    Demo(Demo),
    /// The embedded cloud itself: serve it to other programs, let its time pass, forget it
    #[command(subcommand)]
    Sandbox(SandboxVerb),
}

#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Keep the plans, the hand-off page and the sandbox in this folder, which must be new
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Show the steps, and what they print only where one goes wrong; also where CI is set
    #[arg(long, short)]
    pub quiet: bool,
    /// Show all that each step prints, not only where it begins and ends
    #[arg(long, conflicts_with = "quiet")]
    pub full: bool,
}

#[derive(Debug, Subcommand)]
pub enum SandboxVerb {
    /// Answer the AWS CLI, SDKs and Azure's on a loopback port, and SSH for each bastion, until interrupted
    #[command(long_flag = "listen")]
    Listen {
        /// The port of 127.0.0.1; 0 takes a free one
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Let time pass in it, such as 90d: what happens meanwhile happens
    Advance {
        #[arg(value_parser = duration)]
        by: SignedDuration,
    },
    /// Forget everything in it
    Reset,
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
pub struct Vendors {
    /// A vendor, such as fivetran, or one of its regions, such as fivetran/gcp-us-east4
    pub name: Option<String>,
    /// Compare its addresses with those in a file that you have from the vendor; exits with 2 where they differ
    #[arg(long, value_name = "FILE", conflicts_with = "make_key")]
    pub check: Option<PathBuf>,
    /// Make a key pair for a vendor that is given the private half: that half in FILE, the public one in FILE.pub, both new
    #[arg(long, value_name = "FILE")]
    pub make_key: Option<PathBuf>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub output: RunOutput,
}

#[cfg(feature = "azure")]
#[derive(Debug, ClapArgs)]
pub struct VendorKey {
    /// One plan file
    #[arg(value_name = "PLAN")]
    pub path: PathBuf,
    /// Fivetran's id of the destination's group, such as decent_dropsy
    #[arg(long, value_name = "ID")]
    pub group: String,
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
    /// Of a saved changeset: refuse any other file than the one with this digest, sha256:...
    #[arg(long, value_name = "DIGEST", value_parser = FileDigest::parse)]
    pub expect: Option<FileDigest>,
    /// Of a saved changeset: refuse it when it is older than this
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    pub max_age: SignedDuration,
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
pub struct Reap {
    /// Plan files, or directories of them: their regions, profiles and subscriptions are looked at
    #[arg(value_name = "PLAN")]
    pub plans: Vec<PathBuf>,
    /// Look at all that these credentials reach: every enabled region of AWS and every subscription of Azure; and the PLANs'
    #[arg(long, conflicts_with = "regions")]
    pub all: bool,
    /// A region of the AWS account; again for more. Without any: all that are enabled, unless only subscriptions or plans are named
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<String>,
    /// The AWS profile
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// A subscription of Azure; again for more
    #[arg(long = "subscription", value_name = "ID")]
    pub subscriptions: Vec<String>,
    /// Look at this AWS account or Azure subscription only, and refuse any other; again for more
    #[arg(long = "account", value_name = "ID", value_parser = account)]
    pub accounts: Vec<AccountGuard>,
    /// Only the bastion of this name; again for more
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Leave a bastion alone for so long after its deadline: 2h, 1d
    #[arg(long, value_name = "DURATION", default_value = "0m", value_parser = duration)]
    pub grace: SignedDuration,
    /// Only bastions that are known to be at least so old
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<SignedDuration>,
    /// How long to wait before the second look at what has no machine: an apply may be making one
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub settle: SignedDuration,
    /// Destroy so many bastions at the most: for more, people are asked, and with --yes nothing is destroyed
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub at_most: usize,
    /// Destroy what is found; without it, people are asked, and programs only told
    #[arg(long, short)]
    pub yes: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: RunOutput,
}

fn account(text: &str) -> Result<AccountGuard, String> {
    AccountGuard::parse(text)
        .ok_or_else(|| "write an AWS account's twelve digits, or an Azure subscription's id".to_owned())
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    time::duration(text).ok_or_else(|| "write weeks, days, hours and minutes: 2w, 90d, 12h, 30m or 1d12h".to_owned())
}

#[derive(Debug, ClapArgs)]
pub struct Drift {
    #[command(flatten)]
    pub paths: Paths,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
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
