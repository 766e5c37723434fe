//! What `apply` and `destroy` share: asking, carrying out, and summing up.

use std::io::{self, BufRead, IsTerminal};

use serde_json::json;

use super::context::Context;
use crate::{
    changeset::{Changeset, in_waves},
    cli::{
        args::RunOutput,
        console::Console,
        exit::{Error, Exit, print, say},
        show,
        summary::{Resume, summary},
    },
    execute::{self, Outcome, Stop},
    provider::fleet::{Action, Performer},
};

/// Whether the person at the terminal agrees. Without one, silence is no consent.
pub fn confirmed(question: &str, yes: bool, output: RunOutput) -> Result<bool, Error> {
    if yes {
        return Ok(true);
    }
    if output == RunOutput::Json || !io::stdin().is_terminal() {
        return Err(Error::Usage("nobody is there to ask: look at the difference first, then add --yes".to_owned()));
    }
    say(&format!("{question} Only `yes` is a yes: "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Error::Io("reading the answer".to_owned(), error))?;
    Ok(answer.trim() == "yes")
}

/// Carries the changesets out, shows how, and tells how it ended; `None` where everything was done.
pub async fn carry_out(
    performer: &Performer<'_>,
    sets: &[Changeset<Action>],
    resume: Resume,
    output: RunOutput,
    cx: &Context,
) -> Result<Option<Exit>, Error> {
    let palette = cx.color.palette(&io::stderr());
    let places = show::places::changed(sets).into_iter().cloned().collect();
    let console = Console::new(output == RunOutput::Json, palette, || cx.now()).at(places);
    let mut steps: Vec<_> = sets.iter().flat_map(|set| &set.steps).collect();
    if sets.iter().all(Changeset::is_teardown) {
        steps = in_waves(&steps);
    }
    let stop = Stop::new();
    let work = console.during(execute::run(performer, &steps, stop.clone(), &console));
    let outcome = execute::on_signals(&stop, work)
        .await
        .map_err(|error| Error::Io("listening for signals".to_owned(), error))?
        .map_err(|error| {
            Error::Io("ordering the steps (a mistake in gangplank)".to_owned(), io::Error::other(error.to_string()))
        })?;
    drop(console);
    say(&summary(&outcome, resume, &palette));
    Ok(match outcome {
        Outcome::Completed(_) => None,
        Outcome::Interrupted(_) => Some(Exit::Interrupted),
        Outcome::Failed(_) => Some(Exit::Failed),
    })
}

/// The run's last word in JSON, a line like those of its events.
pub fn closing_event(cx: &Context, output: RunOutput, event: &str, fields: &serde_json::Value) -> Result<(), Error> {
    if output != RunOutput::Json {
        return Ok(());
    }
    let mut line = json!({"time": cx.now(), "event": event});
    if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
        line.extend(fields.clone());
    }
    print(&format!("{line}\n"))
}

/// Pauses between looks, in seconds: what EC2 has done it shows to everybody within a minute.
pub const LOOKS: [u64; 6] = [0, 1, 2, 4, 8, 15];
