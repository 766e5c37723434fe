//! The log for whoever looks for a cause or reports a problem: each call to a cloud in a line, on stderr (`-v`, `--debug`) or in the
//! file that `GANGPLANK_LOG` names. Off unless asked for. What the SDKs log themselves may hold signatures and is left out.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Stderr, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, registry::Registry};

use super::exit::Error;
use crate::{secret, text::for_stream};

/// Names the file that the log is appended to, with all that `--debug` shows.
pub const VARIABLE: &str = "GANGPLANK_LOG";

/// Begins the log: `on_stderr` is what `-v` and `--debug` ask for.
///
/// # Errors
/// A file that can't be written.
pub fn begin(on_stderr: Option<Level>) -> Result<(), Error> {
    let file = env::var_os(VARIABLE).filter(|name| !name.is_empty());
    if on_stderr.is_none() && file.is_none() {
        return Ok(());
    }
    let file = file.map(|name| {
        open(Path::new(&name)).map_err(|error| Error::Io(format!("{VARIABLE}: {}", name.to_string_lossy()), error))
    });
    let stderr = on_stderr.map(|level| layer(Masked::new(io::stderr()), level));
    let file = file.transpose()?.map(|file| layer(Masked::new(file), Level::DEBUG));
    // A second one in the same process is the first one's business.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(stderr).with(file));
    Ok(())
}

fn layer<S, W>(writer: Masked<W>, level: Level) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>,
    W: Write + Send + 'static,
    Masked<W>: for<'w> fmt::MakeWriter<'w>,
{
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), LevelFilter::from_level(level));
    fmt::layer().with_ansi(false).with_target(false).with_writer(writer).with_filter(ours)
}

/// For its owner alone: a log names accounts and addresses.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What a line of the log passes through: no secret, and nothing that a terminal obeys.
struct Masked<W>(Mutex<W>);

impl<W> Masked<W> {
    fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }
}

struct Line<'a, W>(&'a Masked<W>);

impl<W: Write> Write for Line<'_, W> {
    /// The log writes a whole line at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let masked = secret::redact(&text);
        let mut writer = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(for_stream(&masked).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl<'a> fmt::MakeWriter<'a> for Masked<Stderr> {
    type Writer = Line<'a, Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

impl<'a> fmt::MakeWriter<'a> for Masked<File> {
    type Writer = Line<'a, File>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_holds_no_secret_and_no_command() {
        let log = Masked::new(Vec::new());
        let key = "AKIAIOSFODNN7EXAMPLE";
        let line = format!("INFO url=postgres://ana:hunter2@db/ key={key} \x1b]0;title\x07\n");
        Line(&log).write_all(line.as_bytes()).expect("memory");
        let written = String::from_utf8(log.0.into_inner().expect("no panic")).expect("text");
        assert!(!written.contains("hunter2") && !written.contains('\x1b') && written.ends_with('\n'), "{written}");
    }
}
