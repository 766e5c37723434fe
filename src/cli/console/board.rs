//! What a run's events add up to: the state that a view draws, and the sentences that views share.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{
    changeset::{Op, StepId},
    cli::words,
    cloud_error::{ErrorKind, no_answer::NoAnswer},
    event::Event,
    execute::GRACE,
    secret,
    style::{Palette, clean},
};

/// The state of a run, as far as its events have told it.
#[derive(Debug, Default)]
pub struct Board {
    pub total: usize,
    pub done: usize,
    pub failed: usize,
    pub skipped: usize,
    pub abandoned: usize,
    pub stopping: bool,
    /// In the order in which they were started.
    pub running: Vec<Running>,
    pub begin: Option<Instant>,
}

#[derive(Debug)]
pub struct Running {
    step: StepId,
    pub op: Op,
    /// Harmless to print.
    pub resource: String,
    pub started: Instant,
    /// The last thing that was seen of it, harmless to print: `waiting for i-0abc to run`.
    pub latest: Option<String>,
    /// When a view last wrote a line about what it waits for.
    pub told: Option<Instant>,
}

impl Board {
    /// Takes an event in. Returns the step that the event ended.
    pub fn fold(&mut self, event: &Event, now: Instant) -> Option<Running> {
        match event {
            Event::RunStarted { steps } => {
                *self = Self { total: *steps, begin: Some(now), ..Self::default() };
            }
            Event::StepStarted { step, op, resource } => self.running.push(Running {
                step: step.clone(),
                op: *op,
                resource: clean(resource).into_owned(),
                started: now,
                latest: None,
                told: None,
            }),
            Event::StepWaiting { step, for_what } => {
                self.see(step, format!("waiting for {}", clean(for_what)));
            }
            Event::StepRetrying { step, no_answer: Some(no_answer), .. } => self.see(step, unanswered(no_answer)),
            Event::StepRetrying { step, operation, kind, code, delay, .. } => {
                self.see(step, retrying(operation, *kind, code, *delay));
            }
            Event::StepDone { step, .. } => {
                self.done += 1;
                return self.take(step);
            }
            Event::StepFailed { step, .. } => {
                self.failed += 1;
                return self.take(step);
            }
            Event::StepAbandoned { step, .. } => {
                self.abandoned += 1;
                return self.take(step);
            }
            Event::StepSkipped { .. } => self.skipped += 1,
            Event::Interrupted { .. } => self.stopping = true,
            Event::StillRunning { .. } | Event::RunFinished { .. } => {}
        }
        None
    }

    pub fn find(&self, step: &StepId) -> Option<&Running> {
        self.running.iter().find(|r| r.step == *step)
    }

    /// Whether it is time for a line about what a step waits for: at once, and then once in `every`.
    pub fn is_time_to_tell(&mut self, step: &StepId, now: Instant, every: Duration) -> bool {
        let Some(running) = self.running.iter_mut().find(|r| r.step == *step) else { return false };
        let due = running.told.is_none_or(|told| now.duration_since(told) >= every);
        if due {
            running.told = Some(now);
        }
        due
    }

    fn see(&mut self, step: &StepId, what: String) {
        if let Some(running) = self.running.iter_mut().find(|r| r.step == *step) {
            running.latest = Some(what);
        }
    }

    fn take(&mut self, step: &StepId) -> Option<Running> {
        let at = self.running.iter().position(|r| r.step == *step)?;
        Some(self.running.remove(at))
    }
}

/// `the cloud is throttling RunInstances (RequestLimitExceeded), trying again in 4 s`
pub fn retrying(operation: &str, kind: ErrorKind, code: &str, delay: Duration) -> String {
    let (operation, code) = (clean(operation), clean(code));
    let again = match words::elapsed(delay) {
        none if none == "0 s" => "trying again".to_owned(),
        delay => format!("trying again in {delay}"),
    };
    match kind {
        ErrorKind::Throttled => format!("the cloud is throttling {operation} ({code}), {again}"),
        ErrorKind::Unreachable => format!("no answer to {operation}, {again}"),
        _ => format!("{operation} failed for now ({code}), {again}"),
    }
}

/// `no answer from 127.0.0.1:1 (connection refused), trying again`
fn unanswered(no_answer: &NoAnswer) -> String {
    format!("{}, trying again", clean(&no_answer.to_string()))
}

/// Hosts that do not answer. All the calls that wait for one are one line.
#[derive(Debug, Default)]
pub struct OutageLog(HashMap<NoAnswer, Instant>);

impl OutageLog {
    /// A host that stays away is told again after so long.
    const EVERY: Duration = Duration::from_secs(60);

    /// The line about a host, where it is due.
    pub fn line(&mut self, no_answer: &NoAnswer, now: Instant) -> Option<String> {
        let due = self.0.get(no_answer).is_none_or(|told| now.duration_since(*told) >= Self::EVERY);
        due.then(|| {
            self.0.insert(no_answer.clone(), now);
            unanswered(no_answer)
        })
    }
}

/// The line that stays when a step has ended, for those events that end one.
pub fn ended(event: &Event, step: &Running, palette: &Palette) -> Option<String> {
    let Palette { create: good, delete: bad, warning, faint, .. } = palette;
    let (verb, resource) = (words::verb(step.op), &step.resource);
    match event {
        Event::StepDone { elapsed, made, .. } => {
            let made = made.as_ref().map(|made| format!(" ({})", clean(made))).unwrap_or_default();
            let elapsed = words::elapsed(*elapsed);
            Some(format!("{good}✓{good:#} {} {resource}{made} {faint}{elapsed}{faint:#}", verb.past))
        }
        Event::StepFailed { error, .. } => {
            let (operation, message) = (clean(&error.operation), secret::redact(&error.message));
            Some(format!("{bad}✗{bad:#} could not {} {resource}: {operation} failed: {}", verb.plain, clean(&message)))
        }
        Event::StepAbandoned { because, .. } => {
            Some(format!("{warning}?{warning:#} {} {resource}: {}", verb.now, clean(because)))
        }
        _ => None,
    }
}

/// What a person hears who has asked to stop.
pub fn stopping(running: usize, palette: &Palette) -> String {
    let warning = palette.warning;
    let grace = words::elapsed(GRACE);
    let rest = match running {
        0 => "nothing was running".to_owned(),
        1 => format!("the call of the step that runs gets {grace} to be answered; Ctrl-C again quits at once"),
        n => format!("the calls of the {n} steps that run get {grace} to be answered; Ctrl-C again quits at once"),
    };
    format!("{warning}stopping:{warning:#} {rest}")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{
        cloud_error::{CloudError, Residue, no_answer::NoAnswerReason},
        event::RunningStep,
    };

    pub fn started(step: &str, op: Op, resource: &str) -> Event {
        Event::StepStarted { step: StepId(step.to_owned()), op, resource: resource.to_owned() }
    }

    pub fn error() -> CloudError {
        CloudError {
            operation: "RunInstances".to_owned(),
            kind: ErrorKind::Quota,
            code: Some("VcpuLimitExceeded".to_owned()),
            request_id: Some("59dbff89".to_owned()),
            message: "You have requested more vCPU capacity than your current vCPU limit of 1.".to_owned(),
            residue: Residue::Nothing,
            remedy: Some("ask for a higher quota in Service Quotas, or remove an instance".to_owned()),
        }
    }

    /// A run in which everything happens once, each event with its second.
    pub fn story() -> Vec<(f64, Event)> {
        let id = |what: &str| StepId::new("warehouse", what);
        let s = Duration::from_secs_f64;
        vec![
            (0.0, Event::RunStarted { steps: 5 }),
            (0.0, started("warehouse/group", Op::Create, "security group gangplank-warehouse")),
            (0.0, started("warehouse/address", Op::Update, "elastic address \x1b[31mred\x1b[0m")),
            (0.4, Event::StepDone { step: id("group"), elapsed: s(0.4), made: Some("sg-0abc".to_owned()) }),
            (0.4, started("warehouse/machine", Op::Create, "instance gangplank-warehouse")),
            (
                1.0,
                Event::StepRetrying {
                    step: id("machine"),
                    operation: "RunInstances".to_owned(),
                    kind: ErrorKind::Throttled,
                    code: "RequestLimitExceeded".to_owned(),
                    no_answer: None,
                    attempt: 1,
                    delay: s(4.0),
                },
            ),
            (1.5, Event::StepDone { step: id("address"), elapsed: s(1.5), made: None }),
            (6.0, Event::StepWaiting { step: id("machine"), for_what: "i-0abc to run".to_owned() }),
            (20.0, Event::StillRunning { steps: vec![RunningStep { step: id("machine"), elapsed: s(19.6) }] }),
            (21.0, Event::Interrupted { running: 1 }),
            (21.0, Event::StepSkipped { step: id("check"), because: "the run was interrupted".to_owned() }),
            (70.0, Event::StepFailed { step: id("machine"), error: error() }),
            (70.0, Event::StepSkipped { step: id("association"), because: "warehouse/machine failed".to_owned() }),
            (70.0, Event::RunFinished { done: 2, failed: 1, skipped: 2, abandoned: 0, elapsed: s(70.0) }),
        ]
    }

    #[test]
    fn events_add_up() {
        let begin = Instant::now();
        let mut board = Board::default();
        let mut latest = Vec::new();
        for (at, event) in story() {
            board.fold(&event, begin + Duration::from_secs_f64(at));
            latest.extend(board.running.iter().filter_map(|r| r.latest.clone()));
        }
        assert_eq!((board.total, board.done, board.failed, board.skipped), (5, 2, 1, 2));
        assert!(board.running.is_empty() && board.stopping);
        latest.dedup();
        assert_eq!(
            latest,
            [
                "the cloud is throttling RunInstances (RequestLimitExceeded), trying again in 4 s",
                "waiting for i-0abc to run"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_answer_is_told_once_for_all_calls() {
        let refused = NoAnswer { host: "127.0.0.1:1".to_owned(), reason: NoAnswerReason::ConnectionRefused };
        let lost = NoAnswer { reason: NoAnswerReason::ConnectionLost, ..refused.clone() };
        let mut log = OutageLog::default();
        let line = log.line(&refused, Instant::now());
        assert_eq!(line.as_deref(), Some("no answer from 127.0.0.1:1 (connection refused), trying again"));
        assert_eq!(log.line(&refused, Instant::now()), None);
        assert!(log.line(&lost, Instant::now()).is_some(), "another reason is news");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(log.line(&refused, Instant::now()).is_some(), "it is still away");
    }

    #[test]
    fn a_second_run_begins_anew() {
        let mut board = Board::default();
        for (_, event) in story() {
            board.fold(&event, Instant::now());
        }
        board.fold(&Event::RunStarted { steps: 2 }, Instant::now());
        assert_eq!((board.total, board.done, board.failed, board.skipped, board.stopping), (2, 0, 0, 0, false));
    }
}
