//! Ctrl-C and SIGTERM: they end every wait of every verb, and people hear what exists then.
//!
//! A verb is raced with the signal in one place ([`Interruption::until_stopped`]). Only while a changeset is carried out it is not:
//! the executor heeds the same request, awaits the calls under way for a moment, and reports what became of each step.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;

use super::exit::{Error, Exit, say};
use crate::{
    execute::GRACE,
    stop::{Stop, on_signals},
};

/// What a verb that was asked to stop gets to end by itself: only something that blocks its thread takes longer.
const OVERDUE: Duration = Duration::from_secs(1);

/// What a verb is doing, so that a signal can say what exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has only read so far.
    #[default]
    Reading,
    /// A question stands on the terminal.
    Asking,
    /// The changeset is carried out: the executor heeds the signal and reports.
    Writing,
    /// Every step was done; this says so, what was still under way, and how it goes on.
    Written(String),
    /// It answers other programs until it is stopped.
    Serving,
}

impl Phase {
    /// For the reader, a line's end among it.
    fn stopped(&self) -> String {
        match self {
            Phase::Reading => "Stopped while looking; nothing was changed.\n".to_owned(),
            // The question is on the line.
            Phase::Asking => "\nStopped before an answer; nothing was changed.\n".to_owned(),
            Phase::Writing => {
                "Stopped within the writes: run the same command again, it looks before it acts.\n".to_owned()
            }
            Phase::Written(what) => format!("Stopped. {what}\n"),
            Phase::Serving => "Stopped. What happened in the sandbox is kept.\n".to_owned(),
        }
    }
}

/// The request to stop of this process, and what it interrupts.
#[derive(Clone, Debug, Default)]
pub struct Interruption {
    stop: Stop,
    phase: Arc<watch::Sender<Phase>>,
    /// Whether people have heard what exists.
    told: Arc<AtomicBool>,
}

impl Interruption {
    /// Hears signals from now on. The first requests the stop, the second ends the process at once.
    ///
    /// # Errors
    /// The operating system installs no handler.
    pub fn listen() -> Result<Self, Error> {
        let this = Self::default();
        let heard = this.clone();
        on_signals(move |number| heard.heard(number))
            .map_err(|error| Error::Io("listening for signals".to_owned(), error))?;
        Ok(this)
    }

    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub fn is_in(&self, phase: &Phase) -> bool {
        *self.phase.borrow() == *phase
    }

    /// Runs a verb to its end, or to the signal: whatever it awaits then is dropped, unless it is in its writes.
    ///
    /// # Errors
    /// The verb's own.
    pub async fn until_stopped(&self, verb: impl Future<Output = Result<Exit, Error>>) -> Result<Exit, Error> {
        tokio::select! {
            biased;
            exit = verb => exit,
            () = self.stopped() => {
                self.tell();
                Ok(Exit::Interrupted)
            }
        }
    }

    /// Ends when a stop is requested and the verb is not in its writes.
    async fn stopped(&self) {
        self.stop.requested().await;
        // An error would mean that the sender is gone, and this holds it.
        let _ = self.phase.subscribe().wait_for(|phase| *phase != Phase::Writing).await;
    }

    /// Says once what exists.
    pub fn tell(&self) {
        if !self.told.swap(true, Ordering::SeqCst) {
            let text = self.phase.borrow().stopped();
            say(&text);
        }
    }

    fn heard(&self, number: usize) {
        if number > 1 {
            process::exit(Exit::Interrupted as i32);
        }
        self.stop.request();
        let this = self.clone();
        thread::spawn(move || {
            // A pipe that nobody reads, a file that nobody writes: the thread that works may be blocked for as long as it likes.
            thread::sleep(OVERDUE);
            if this.is_in(&Phase::Writing) {
                thread::sleep(2 * GRACE);
            }
            this.tell();
            process::exit(Exit::Interrupted as i32);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn stop_after(interruption: &Interruption, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
        interruption.stop.request();
        std::future::pending::<()>().await;
    }

    async fn run(interruption: &Interruption, verb: impl Future<Output = Result<Exit, Error>>) -> (Option<Exit>, u64) {
        let begin = Instant::now();
        let exit = tokio::select! {
            exit = interruption.until_stopped(verb) => exit.ok(),
            () = stop_after(interruption, 3) => None,
        };
        (exit, begin.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_verb_that_ends_is_not_interrupted() {
        let verb = async {
            sleep(Duration::from_secs(2)).await;
            Ok(Exit::Differs)
        };
        assert_eq!(run(&Interruption::default(), verb).await, (Some(Exit::Differs), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_awaited_ends_with_the_signal() {
        let verb = async {
            sleep(Duration::from_secs(600)).await;
            Ok(Exit::Done)
        };
        assert_eq!(run(&Interruption::default(), verb).await, (Some(Exit::Interrupted), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_end_by_themselves_and_what_follows_does_not_begin() {
        let interruption = Interruption::default();
        let verb = async {
            interruption.enter(Phase::Writing);
            sleep(Duration::from_secs(5)).await;
            interruption.enter(Phase::Written("Every step was done.".to_owned()));
            sleep(Duration::from_secs(600)).await;
            Ok(Exit::Done)
        };
        assert_eq!(run(&interruption, verb).await, (Some(Exit::Interrupted), 5));
    }
}
