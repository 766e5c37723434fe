//! Parses the command line, calls the library, chooses the exit code.

use std::{env, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use gangplank::cli::{self, args::Cli, exit::Exit};

fn main() -> ExitCode {
    forget_empty_settings();
    match Cli::try_parse() {
        Ok(args) => cli::main(&args).into(),
        Err(error) => {
            // Help and version come this way too.
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            if asked_for { Exit::Done.into() } else { Exit::Usage.into() }
        }
    }
}

/// A setting of a cloud that is empty counts as unset, as compose files and CI leave it. The SDKs read the environment themselves, and
/// take an empty address or region for one.
fn forget_empty_settings() {
    let empty = env::vars_os().filter(|(_, value)| value.is_empty()).map(|(name, _)| name);
    let of_a_cloud = |name: &str| ["AWS_", "AZURE_", "IDENTITY_", "MSI_"].iter().any(|cloud| name.starts_with(cloud));
    for name in empty.filter(|name| name.to_str().is_some_and(of_a_cloud)).collect::<Vec<_>>() {
        // SAFETY: no other thread has been started yet that could read the environment.
        unsafe { env::remove_var(name) };
    }
}
