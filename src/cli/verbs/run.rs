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
        interruption::Phase,
        show,
        summary::{Resume, summary},
    },
    cloud_error::ErrorKind,
    execute::{self, Outcome},
    provider::fleet::{Action, Performer},
};

/// How often a question is asked before what was typed counts as a no.
const ASKED: usize = 5;

/// What somebody types at a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// Neither: a typo, or nothing at all.
    Unclear,
}

impl Answer {
    fn of(line: &str) -> Self {
        match line.trim() {
            "yes" => Self::Yes,
            "no" => Self::No,
            _ => Self::Unclear,
        }
    }
}

/// Whether the person at the terminal agrees. Without one, silence is no consent.
pub async fn confirmed(question: &str, yes: bool, output: RunOutput, cx: &Context) -> Result<bool, Error> {
    if yes {
        return Ok(true);
    }
    if output == RunOutput::Json {
        return Err(Error::Usage(
            "with --output json nobody is asked: look at the difference first, then add --yes".to_owned(),
        ));
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "standard input is not a terminal, so nobody can be asked: look at the difference first, then add --yes"
                .to_owned(),
        ));
    }
    say(&format!("{question} Type yes to go on, or no to stop: "));
    cx.enter(Phase::Asking);
    let agreed = agreed().await;
    cx.enter(Phase::Reading);
    agreed
}

async fn agreed() -> Result<bool, Error> {
    for _ in 1..ASKED {
        match answer().await? {
            Some(Answer::Yes) => return Ok(true),
            Some(Answer::No) => return Ok(false),
            Some(Answer::Unclear) => say("Type yes to go on, or no to stop: "),
            None => {
                // The end of the input leaves the cursor behind the question.
                say("\n");
                return Ok(false);
            }
        }
    }
    Ok(answer().await? == Some(Answer::Yes))
}

/// The next line, read by a thread that nobody waits for; `None` at the end of the input.
async fn answer() -> Result<Option<Answer>, Error> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|bytes| (bytes > 0).then(|| Answer::of(&line)))
    });
    let failed = |error| Error::Io("reading the answer".to_owned(), error);
    read.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
}

/// How a verb ends whose question was answered with no.
pub fn declined() -> Exit {
    say("Declined: nothing was changed.\n");
    Exit::Declined
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
    let console = Console::new(output == RunOutput::Json, palette, !cx.logs, || cx.now()).at(places);
    let mut steps: Vec<_> = sets.iter().flat_map(|set| &set.steps).collect();
    if sets.iter().all(Changeset::is_teardown) {
        steps = in_waves(&steps);
    }
    cx.enter(Phase::Writing);
    let stop = cx.interruption.stop().clone();
    let outcome = console
        .during(execute::run(performer, &steps, stop, &console))
        .await
        .map_err(|error| Error::Internal(format!("the steps have no order: {error}")))?;
    drop(console);
    say(&summary(&outcome, resume, &palette));
    Ok(match outcome {
        Outcome::Completed(_) => {
            // What follows looks only, and may be left.
            let what = "Every step was done; the result was not looked at yet. Run the same command again: it looks.";
            cx.enter(Phase::Written(what.to_owned()));
            None
        }
        Outcome::Interrupted(_) => Some(Exit::Interrupted),
        Outcome::Failed(report) if report.failed.iter().any(|failed| failed.error.kind == ErrorKind::Internal) => {
            Some(Exit::Internal)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_word_is_an_answer() {
        assert_eq!(Answer::of("yes\n"), Answer::Yes);
        assert_eq!(Answer::of(" no \r\n"), Answer::No);
        for unclear in ["", "\n", "y\n", "YES\n", "yess", "n", "yes please"] {
            assert_eq!(Answer::of(unclear), Answer::Unclear, "{unclear:?}");
        }
    }
}
