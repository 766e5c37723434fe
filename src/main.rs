//! Parses the command line, calls the library, chooses the exit code.

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};
use gangplank::cli::{self, args::Cli, exit::Exit};

fn main() -> ExitCode {
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
