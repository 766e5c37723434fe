//! How a command ends: exit codes, and errors on their way to stderr.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    cloud_error::{CloudError, ErrorKind, REPORT, Refused},
    diagnostic::{self, Diagnostic, Diagnostics},
    sandbox::store::Trouble,
    secret,
    style::{Color, Palette},
    text::for_stream,
};

/// The documented exit codes; docs/commands.md has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Differs = 2,
    WrongPlan = 3,
    /// A check of a verification failed.
    Unverified = 4,
    /// The person who was asked said no.
    Declined = 5,
    Usage = 64,
    /// A mistake in gangplank itself (`EX_SOFTWARE` of sysexits.h).
    Internal = 70,
    Interrupted = 130,
}

impl Exit {
    /// The one that a run of several bastions ends with: what a cloud did not tell or do weighs most, then a plan that can't be
    /// fulfilled, a check that failed, a difference.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let weight = |exit| match exit {
            Exit::Done => 0,
            Exit::Differs => 1,
            Exit::Unverified => 2,
            Exit::WrongPlan => 3,
            Exit::Failed => 4,
            Exit::Declined => 5,
            Exit::Usage => 6,
            Exit::Internal => 7,
            Exit::Interrupted => 8,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Error {
    Plan(Diagnostics),
    Cloud(CloudError),
    Usage(String),
    /// A key that `--identity` names can't be used.
    Identity(Diagnostic),
    /// The embedded cloud can't be used.
    Sandbox(Trouble),
    /// What failed, and the operating system's word for it.
    Io(String, io::Error),
    /// What the types can't rule out and must not happen: a mistake in gangplank.
    Internal(String),
    /// Of several clouds, each with its own.
    Several(Vec<Error>),
}

impl Error {
    pub fn exit(&self) -> Exit {
        match self {
            Error::Plan(_) => Exit::WrongPlan,
            Error::Internal(_) => Exit::Internal,
            Error::Cloud(error) if error.kind == ErrorKind::Internal => Exit::Internal,
            Error::Cloud(_) | Error::Sandbox(_) | Error::Io(..) => Exit::Failed,
            Error::Usage(_) | Error::Identity(_) => Exit::Usage,
            Error::Several(all) => all.iter().map(Error::exit).reduce(Exit::worst).unwrap_or(Exit::Failed),
        }
    }

    /// Text for stderr, ending in a newline.
    pub fn render(&self, color: Color) -> String {
        let palette = color.palette(&io::stderr());
        let line = |text: &dyn Display| format!("{bad}error{bad:#}: {text}\n", bad = palette.delete);
        match self {
            Error::Identity(problem) => {
                diagnostic::render(&Diagnostics::from(problem.clone()), palette == Palette::COLORED)
            }
            Error::Plan(problems) => diagnostic::render(problems, palette == Palette::COLORED),
            Error::Cloud(error) => line(error),
            Error::Usage(text) => line(text),
            Error::Sandbox(trouble) => line(trouble),
            Error::Internal(what) => line(&format!("{what}: a mistake in gangplank\n  to do: {REPORT}")),
            Error::Io(what, error) => line(&format!("{what}: {error}")),
            Error::Several(all) => all.iter().map(|error| error.render(color)).collect::<Vec<_>>().join("\n"),
        }
    }
}

impl From<Diagnostics> for Error {
    fn from(problems: Diagnostics) -> Self {
        Error::Plan(problems)
    }
}

impl From<CloudError> for Error {
    fn from(error: CloudError) -> Self {
        Error::Cloud(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Plan(problems) => Error::Plan(problems),
            Refused::Cloud(error) => Error::Cloud(error),
        }
    }
}

impl<E: Into<Error>> From<Vec<E>> for Error {
    fn from(errors: Vec<E>) -> Self {
        let mut errors: Vec<Error> = errors.into_iter().map(Into::into).collect();
        match (errors.len(), errors.pop()) {
            (1, Some(only)) => only,
            (_, last) => Error::Several(errors.into_iter().chain(last).collect()),
        }
    }
}

/// Writes to stdout, through [`for_stream`]. A reader that has gone away wants no more, and that is no error.
///
/// # Errors
/// Any other failure of the stream: a full disk behind a redirection must not look like success.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(for_stream(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Io("stdout".to_owned(), error)),
        _ => Ok(()),
    }
}

/// Writes to stderr, where there is nowhere to report a failure. It ends in CI's logs: no secret passes, whoever wrote it.
pub fn say(text: &str) {
    let _ = io::stderr().lock().write_all(for_stream(&secret::redact(text)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_of_our_own_has_its_exit_code_and_says_how_to_report_it() {
        let of_a_step = Error::Cloud(CloudError::mistake("two steps wait for each other".to_owned()));
        let own = Error::Internal("the template is broken".to_owned());
        let together = Error::Several(vec![Error::Usage(String::new()), Error::Internal(String::new())]);
        for error in [of_a_step, own] {
            assert_eq!(error.exit() as u8, 70);
            let text = error.render(Color::Never);
            assert!(text.contains("a mistake in gangplank") && text.contains("report it"), "{text}");
        }
        assert_eq!(together.exit(), Exit::Internal);
    }
}
