//! Plain lines, for logs and for terminals that cannot move their cursor.

use std::{cell::RefCell, io::Write, time::Duration};

use tokio::time::Instant;

use super::board::{Board, OutageLog, ended, stopping};
use crate::{
    cli::words,
    event::{Event, Watcher},
    style::Palette,
};

/// How many of the steps that take long are named every ten seconds; the others are counted.
const STILL_LINES: usize = 4;
/// What a step waits for is told when that begins, and then at most so often.
const WAITING_EVERY: Duration = Duration::from_secs(60);

/// Writes one line when a step starts, when it begins to wait, when a call is repeated and when it ends, and a few every ten seconds
/// while steps take long.
pub struct Lines<W> {
    state: RefCell<(Board, W)>,
    outages: RefCell<OutageLog>,
    palette: Palette,
}

impl<W: Write> Lines<W> {
    pub fn new(out: W, palette: Palette) -> Self {
        Self { state: RefCell::new((Board::default(), out)), outages: RefCell::default(), palette }
    }

    fn text(&self, event: &Event, board: &mut Board) -> Option<String> {
        let now = Instant::now();
        let step = board.fold(event, now);
        match event {
            Event::StepStarted { step, .. } => {
                let step = board.find(step)?;
                Some(format!("  {} {}", words::verb(step.op).now, step.resource))
            }
            Event::StepWaiting { step, .. } if !board.is_time_to_tell(step, now, WAITING_EVERY) => None,
            Event::StepRetrying { no_answer: Some(no_answer), .. } => {
                Some(format!("  {}", self.outages.borrow_mut().line(no_answer, now)?))
            }
            Event::StepWaiting { step, .. } | Event::StepRetrying { step, .. } => {
                let step = board.find(step)?;
                Some(format!("  {}: {}", step.resource, step.latest.as_deref()?))
            }
            Event::StillRunning { steps } => {
                let lines = steps.iter().take(STILL_LINES).filter_map(|still| {
                    let step = board.find(&still.step)?;
                    let latest = step.latest.as_ref().map(|seen| format!(": {seen}")).unwrap_or_default();
                    let (verb, elapsed) = (words::verb(step.op), words::elapsed(still.elapsed));
                    Some(format!("  still {} {} after {elapsed}{latest}", verb.now, step.resource))
                });
                let mut lines: Vec<_> = lines.collect();
                if steps.len() > STILL_LINES {
                    lines.push(format!("  and {} more", steps.len() - STILL_LINES));
                }
                Some(lines.join("\n"))
            }
            Event::StepDone { .. } | Event::StepFailed { .. } | Event::StepAbandoned { .. } => {
                ended(event, &step?, &self.palette)
            }
            Event::Interrupted { running } => Some(stopping(*running, &self.palette)),
            Event::RunFinished { elapsed, .. } => Some(format!("  took {}", words::elapsed(*elapsed))),
            // Skipped steps can be hundreds: the summary counts them.
            Event::RunStarted { .. } | Event::StepSkipped { .. } => None,
        }
    }
}

impl<W: Write> Watcher for Lines<W> {
    fn event(&self, event: Event) {
        let (board, out) = &mut *self.state.borrow_mut();
        if let Some(mut text) = self.text(&event, board) {
            text.push('\n');
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        changeset::{Op, StepId},
        cli::console::board::tests::{started, story},
        event::RunningStep,
    };

    fn draw(events: impl IntoIterator<Item = Event>, palette: Palette) -> String {
        let lines = Lines::new(Vec::new(), palette);
        for event in events {
            lines.event(event);
        }
        String::from_utf8(lines.state.into_inner().1).unwrap()
    }

    #[test]
    fn a_run_in_plain_lines() {
        assert_snapshot!(draw(story().into_iter().map(|(_, e)| e), Palette::PLAIN), @r#"
          creating security group gangplank-warehouse
          changing elastic address \u{1b}[31mred\u{1b}[0m
        ✓ created security group gangplank-warehouse (sg-0abc) 0.4 s
          creating instance gangplank-warehouse
          instance gangplank-warehouse: the cloud is throttling RunInstances (RequestLimitExceeded), trying again in 4 s
        ✓ changed elastic address \u{1b}[31mred\u{1b}[0m 1.5 s
          instance gangplank-warehouse: waiting for i-0abc to run
          still creating instance gangplank-warehouse after 20 s: waiting for i-0abc to run
        stopping: the call of the step that runs gets 2 s to be answered; Ctrl-C again quits at once
        ✗ could not create instance gangplank-warehouse: RunInstances failed: You have requested more vCPU capacity than your current vCPU limit of 1.
          took 1 min 10 s
        "#);
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let events = || story().into_iter().map(|(_, e)| e);
        let colored = draw(events(), Palette::COLORED);
        assert!(colored.contains("\x1b[32m✓\x1b[0m"), "{colored}");
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), draw(events(), Palette::PLAIN));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_awaited_is_told_once_a_while() {
        let lines = Lines::new(Vec::new(), Palette::PLAIN);
        let waiting =
            |what: &str| Event::StepWaiting { step: StepId("b/firewall".to_owned()), for_what: what.to_owned() };
        lines.event(started("b/firewall", Op::Create, "firewall"));
        for second in 0..130 {
            lines.event(waiting(&format!("fw to be ready ({second} s)")));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        lines.event(Event::StepWaiting { step: StepId("nobody".to_owned()), for_what: "nothing".to_owned() });
        assert_snapshot!(String::from_utf8(lines.state.into_inner().1).unwrap(), @r#"
          creating firewall
          firewall: waiting for fw to be ready (0 s)
          firewall: waiting for fw to be ready (60 s)
          firewall: waiting for fw to be ready (120 s)
        "#);
    }

    #[test]
    fn many_long_steps_make_few_lines() {
        let name = |i: usize| format!("b{i}/machine");
        let elapsed = Duration::from_secs(30);
        let starts = (0..32).map(|i| started(&name(i), Op::Create, &format!("instance {i}")));
        let still = (0..32).map(|i| RunningStep { step: StepId(name(i)), elapsed }).collect();
        let text = draw(starts.chain([Event::StillRunning { steps: still }]), Palette::PLAIN);
        let still: Vec<_> = text.lines().skip(32).collect();
        assert_snapshot!(still.join("\n"), @r#"
        still creating instance 0 after 30 s
        still creating instance 1 after 30 s
        still creating instance 2 after 30 s
        still creating instance 3 after 30 s
        and 28 more
        "#);
    }
}
