//! A live view: one bar for the run, one line for each of the steps that run longest.

use std::{cell::RefCell, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::board::{Board, Running, ended, stopping};
use crate::{
    cli::words,
    event::{Event, Watcher},
    style::Palette,
};

/// How many running steps have a line of their own; the others are counted, so that the view fits a small terminal.
const STEP_LINES: usize = 8;

/// Redraws the foot of a terminal; ended steps scroll away above it.
pub struct Bars {
    multi: MultiProgress,
    state: RefCell<State>,
    palette: Palette,
}

#[derive(Default)]
struct State {
    board: Board,
    /// The run's bar, then one bar without a bar for each line below it.
    drawn: Vec<ProgressBar>,
}

impl Bars {
    pub fn new(target: ProgressDrawTarget, palette: Palette) -> Self {
        Self { multi: MultiProgress::with_draw_target(target), state: RefCell::default(), palette }
    }

    /// Brings elapsed times and spinners up to now.
    pub fn redraw(&self) {
        let State { board, drawn } = &mut *self.state.borrow_mut();
        let Some(begin) = board.begin else { return };
        let now = Instant::now();
        let lines = frame(board, now - begin, now, &self.palette);
        while drawn.len() > lines.len() {
            if let Some(bar) = drawn.pop() {
                self.multi.remove(&bar);
            }
        }
        while drawn.len() < lines.len() {
            let style = if drawn.is_empty() { run_style() } else { line_style() };
            drawn.push(self.multi.add(ProgressBar::new(board.total as u64).with_style(style)));
        }
        if let Some(bar) = drawn.first() {
            bar.set_position((board.done + board.failed + board.skipped + board.abandoned) as u64);
        }
        for (bar, line) in drawn.iter().zip(lines) {
            bar.set_message(line);
        }
    }

    fn clear(&self) {
        let state = &mut *self.state.borrow_mut();
        for bar in state.drawn.drain(..) {
            self.multi.remove(&bar);
        }
        state.board = Board::default();
        let _ = self.multi.clear();
    }
}

impl Watcher for Bars {
    fn event(&self, event: Event) {
        let step = self.state.borrow_mut().board.fold(&event, Instant::now());
        let lasting = match &event {
            Event::StepDone { .. } | Event::StepFailed { .. } | Event::StepAbandoned { .. } => {
                step.and_then(|s| ended(&event, &s, &self.palette))
            }
            Event::Interrupted { running } => Some(stopping(*running, &self.palette)),
            Event::RunFinished { elapsed, .. } => Some(format!("  took {}", words::elapsed(*elapsed))),
            _ => None,
        };
        if let Some(line) = lasting {
            let _ = self.multi.println(line);
        }
        match event {
            Event::RunFinished { .. } => self.clear(),
            _ => self.redraw(),
        }
    }
}

impl Drop for Bars {
    /// A run that is abandoned leaves no bar behind.
    fn drop(&mut self) {
        self.clear();
    }
}

/// The lines of the view: the run's first, then the steps', oldest first.
fn frame(board: &Board, elapsed: Duration, now: Instant, palette: &Palette) -> Vec<String> {
    let Palette { delete: bad, warning, faint, .. } = palette;
    let mut run = format!("{faint}{}{faint:#} {} of {} done", clock(elapsed), board.done, board.total);
    if board.failed > 0 {
        run += &format!(", {bad}{} failed{bad:#}", board.failed);
    }
    if board.skipped > 0 {
        run += &format!(", {} skipped", board.skipped);
    }
    if board.stopping {
        run += &format!(", {warning}stopping{warning:#}");
    }
    let mut lines = vec![run];
    let shown = if board.running.len() > STEP_LINES { STEP_LINES - 1 } else { STEP_LINES };
    lines.extend(board.running.iter().take(shown).map(|step| step_line(step, now - step.started, palette)));
    if board.running.len() > shown {
        lines.push(format!("  and {} more", board.running.len() - shown));
    }
    lines
}

fn step_line(step: &Running, elapsed: Duration, palette: &Palette) -> String {
    let turn = spinner(elapsed);
    let faint = palette.faint;
    let latest = step.latest.as_ref().map(|seen| format!(": {seen}")).unwrap_or_default();
    let (verb, elapsed) = (words::verb(step.op), clock(elapsed));
    format!("{turn} {faint}{elapsed}{faint:#} {} {}{latest}", verb.now, step.resource)
}

/// One of its pictures: each stands for a tenth of a second.
pub(super) fn spinner(elapsed: Duration) -> char {
    const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    SPINNER[(elapsed.as_millis() / 100 % SPINNER.len() as u128) as usize]
}

/// `0:07`, `12:34`, `1:02:03`: steady in width while it runs.
pub(super) fn clock(time: Duration) -> String {
    let (hours, minutes, seconds) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

fn run_style() -> ProgressStyle {
    // `wide_msg` is what cuts a line to the terminal's width.
    ProgressStyle::with_template("{bar:24} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

pub(super) fn line_style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        changeset::{Op, StepId},
        cli::console::board::tests::{started, story},
    };

    /// A terminal of `columns` and the bars that draw on it, without a limit of redraws per second.
    fn terminal(columns: u16) -> (InMemoryTerm, Bars) {
        let term = InMemoryTerm::new(40, columns);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        (term, Bars::new(target, Palette::PLAIN))
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_on_a_terminal() {
        let (term, bars) = terminal(110);
        let begin = Instant::now();
        let mut pictures = String::new();
        for (at, event) in story() {
            tokio::time::sleep_until(begin + Duration::from_secs_f64(at)).await;
            let picture =
                matches!(event, Event::StepDone { .. } | Event::StillRunning { .. } | Event::Interrupted { .. });
            bars.event(event);
            if picture {
                pictures += &format!("--- after {at} s\n{}\n", term.contents());
            }
        }
        pictures += &format!("--- at the end\n{}\n", term.contents());
        assert_snapshot!(pictures, @r#"
        --- after 0.4 s
        ✓ created security group gangplank-warehouse (sg-0abc) 0.4 s
        ━━━━╸                    0:00 1 of 5 done
        ⠼ 0:00 changing elastic address \u{1b}[31mred\u{1b}[0m
        --- after 1.5 s
        ✓ created security group gangplank-warehouse (sg-0abc) 0.4 s
        ✓ changed elastic address \u{1b}[31mred\u{1b}[0m 1.5 s
        ━━━━━━━━━╸               0:01 2 of 5 done
        ⠙ 0:01 creating instance gangplank-warehouse: the cloud is throttling RunInstances (RequestLimitExceeded), try
        --- after 20 s
        ✓ created security group gangplank-warehouse (sg-0abc) 0.4 s
        ✓ changed elastic address \u{1b}[31mred\u{1b}[0m 1.5 s
        ━━━━━━━━━╸               0:20 2 of 5 done
        ⠦ 0:19 creating instance gangplank-warehouse: waiting for i-0abc to run
        --- after 21 s
        ✓ created security group gangplank-warehouse (sg-0abc) 0.4 s
        ✓ changed elastic address \u{1b}[31mred\u{1b}[0m 1.5 s
        stopping: the call of the step that runs gets 2 s to be answered; Ctrl-C again quits at once
        ━━━━━━━━━╸               0:21 2 of 5 done, stopping
        ⠦ 0:20 creating instance gangplank-warehouse: waiting for i-0abc to run
        --- at the end
        ✓ created security group gangplank-warehouse (sg-0abc) 0.4 s
        ✓ changed elastic address \u{1b}[31mred\u{1b}[0m 1.5 s
        stopping: the call of the step that runs gets 2 s to be answered; Ctrl-C again quits at once
        ✗ could not create instance gangplank-warehouse: RunInstances failed: You have requested more vCPU capacity th
        an your current vCPU limit of 1.
          took 1 min 10 s
        "#);
    }

    #[tokio::test(start_paused = true)]
    async fn many_steps_stay_within_a_few_lines_and_the_width() {
        let (term, bars) = terminal(60);
        bars.event(Event::RunStarted { steps: 400 });
        for i in 0..32 {
            let name = format!("security group gangplank-bastion-with-a-rather-long-name-{i}");
            bars.event(started(&format!("b{i}/group"), Op::Create, &name));
        }
        bars.redraw();
        assert_snapshot!(term.contents(), @r#"
                                 0:00 0 of 400 done
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
          and 25 more
        "#);
        for i in 0..28 {
            let (step, elapsed) = (StepId(format!("b{i}/group")), Duration::from_millis(400));
            bars.event(Event::StepDone { step, elapsed, made: None });
        }
        let all = term.contents();
        let last: Vec<_> = all.lines().rev().take(6).collect();
        assert_snapshot!(last.into_iter().rev().collect::<Vec<_>>().join("\n"), @r#"
        g-name-27 0.4 s
        ━╸                       0:00 28 of 400 done
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        ⠋ 0:00 creating security group gangplank-bastion-with-a-rath
        "#);
    }

    #[test]
    fn the_clock_keeps_its_width() {
        assert_eq!([7, 754, 3723].map(|s| clock(Duration::from_secs(s))), ["0:07", "12:34", "1:02:03"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_run_leaves_no_bar() {
        let (term, bars) = terminal(60);
        bars.event(Event::RunStarted { steps: 1 });
        bars.event(started("b/group", Op::Create, "security group"));
        assert!(term.contents().contains("0 of 1 done"), "{}", term.contents());
        drop(bars);
        assert_eq!(term.contents(), "");
    }
}
