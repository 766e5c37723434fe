//! Draws a run's events: live on a terminal, as plain lines elsewhere, as JSON on request.
//!
//! Progress goes to stderr, JSON to stdout because somebody asked for it as data. Writing never stops a run: an error of
//! the stream (a closed pipe, say) is ignored, for the cloud's state matters more than its picture.

mod bars;
mod board;
mod json;
mod lines;
mod waiting;

use std::{
    io::{self, Stderr, Stdout},
    pin::pin,
    time::Duration,
};

use indicatif::ProgressDrawTarget;
use jiff::Timestamp;

pub use self::{
    bars::Bars,
    board::{OutageLog, retrying},
    json::Json,
    lines::Lines,
    waiting::Waiting,
};
use crate::{
    event::{Event, Watcher},
    location::Location,
    style::Palette,
};

/// How often a terminal's elapsed times and spinners move.
const TICK: Duration = Duration::from_millis(100);

/// The watcher of the command line.
pub enum Console<'c> {
    Bars(Bars),
    Lines(Lines<Stderr>),
    Json(Json<'c, Stdout>),
}

impl<'c> Console<'c> {
    /// JSON where it was asked for; otherwise bars, where stderr is a terminal that can move its cursor. `palette` is
    /// stderr's; `moves`: whether anything may move its cursor; `clock` dates the lines of JSON.
    pub fn new(json: bool, palette: Palette, moves: bool, clock: impl Fn() -> Timestamp + 'c) -> Self {
        let terminal = ProgressDrawTarget::stderr();
        if json {
            Self::Json(Json::new(io::stdout(), clock))
        } else if terminal.is_hidden() || !moves {
            Self::Lines(Lines::new(io::stderr(), palette))
        } else {
            Self::Bars(Bars::new(terminal, palette))
        }
    }

    /// Where the run changes something, which its first line of JSON tells. People were told before.
    #[must_use]
    pub fn at(self, locations: Vec<Location>) -> Self {
        match self {
            Self::Json(json) => Self::Json(json.at(locations)),
            for_people => for_people,
        }
    }

    /// Runs `work`, whose events come to this console, and keeps the elapsed times moving meanwhile.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let Self::Bars(bars) = self else { return work.await };
        let mut work = pin!(work);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                out = &mut work => return out,
                _ = tick.tick() => bars.redraw(),
            }
        }
    }
}

impl Watcher for Console<'_> {
    fn event(&self, event: Event) {
        match self {
            Self::Bars(bars) => bars.event(event),
            Self::Lines(lines) => lines.event(event),
            Self::Json(json) => json.event(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::{changeset::Op, cli::console::board::tests::started};

    #[tokio::test(start_paused = true)]
    async fn the_clock_moves_without_events() {
        let term = InMemoryTerm::new(10, 60);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let console = Console::Bars(Bars::new(target, Palette::PLAIN));
        let work = async {
            console.event(Event::RunStarted { steps: 1 });
            console.event(started("b/group", Op::Create, "security group"));
            tokio::time::sleep(Duration::from_millis(65_050)).await;
            term.contents()
        };
        let picture = console.during(work).await;
        assert!(picture.contains("1:05 creating security group"), "{picture}");
    }
}
