//! Runs against a provider that only waits, on virtual time: the trace of events is the proof.

use std::{
    cell::{Cell, RefCell},
    fmt::Write,
    time::Duration,
};

use gangplank::{
    changeset::{Impact, Op, Step, StepId},
    cloud_error::{CloudError, ErrorKind, Residue},
    event::{Event, Watcher},
    execute::{self, GraphError, IN_FLIGHT, Outcome, Report, Why},
    provider::{Progress, Provider},
    stop::Stop,
};
use insta::assert_snapshot;
use tokio::time::{Instant, sleep};

/// What a step of these tests does: take some seconds, then succeed or not.
#[derive(Clone, Copy)]
enum Does {
    Work(u64),
    Fail(u64),
    /// Is throttled once, then waits for the cloud.
    Struggle,
}

struct Cloud {
    now: Cell<usize>,
    peak: Cell<usize>,
}

impl Provider for Cloud {
    type Action = Does;

    fn place<'a>(&self, _: &'a Does) -> &'a str {
        "here"
    }

    async fn perform(&self, step: &Step<Does>, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        self.now.set(self.now.get() + 1);
        self.peak.set(self.peak.get().max(self.now.get()));
        let result = match step.action {
            Does::Work(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                Ok(Some(format!("x-{}", step.resource)))
            }
            Does::Fail(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                Err(refusal())
            }
            Does::Struggle => {
                let delay = Duration::from_secs(4);
                progress.retrying("RunInstances", ErrorKind::Throttled, "RequestLimitExceeded", 1, delay);
                if progress.pause(delay).await.is_err() {
                    return Err(CloudError { message: "throttled".to_owned(), ..refusal() }.not_repeated());
                }
                progress.waiting("i-0abc to run");
                if progress.pause(Duration::from_secs(20)).await.is_err() {
                    return Err(CloudError::interrupted("DescribeInstances", "i-0abc to run", Residue::Unfinished));
                }
                Ok(None)
            }
        };
        self.now.set(self.now.get() - 1);
        result
    }
}

fn refusal() -> CloudError {
    CloudError {
        operation: "RunInstances".to_owned(),
        kind: ErrorKind::Quota,
        code: Some("VcpuLimitExceeded".to_owned()),
        request_id: None,
        message: "no more".to_owned(),
        residue: Residue::Nothing,
        remedy: None,
    }
}

fn id(name: &str) -> StepId {
    StepId::new("b", name)
}

fn step(name: &str, action: Does, after: &[&str]) -> Step<Does> {
    Step {
        id: id(name),
        op: Op::Create,
        resource: name.to_owned(),
        details: vec![],
        reason: String::new(),
        impact: Impact::Live,
        after: after.iter().map(|a| id(a)).collect(),
        action,
    }
}

/// Writes each event down with the second in which it came.
struct Trace {
    begin: Instant,
    text: RefCell<String>,
    events: Cell<usize>,
}

impl Watcher for Trace {
    fn event(&self, event: Event) {
        self.events.set(self.events.get() + 1);
        let mut text = self.text.borrow_mut();
        write!(text, "{:>2}s ", self.begin.elapsed().as_secs()).unwrap();
        match event {
            Event::RunStarted { steps } => writeln!(text, "run of {steps}"),
            Event::StepStarted { step, .. } => writeln!(text, "start {step}"),
            Event::StepWaiting { step, for_what } => writeln!(text, "wait {step} for {for_what}"),
            Event::StepRetrying { step, code, attempt, delay, .. } => {
                writeln!(text, "retry {step} {code} attempt {attempt} delay {delay:?}")
            }
            Event::StepDone { step, elapsed, made } => writeln!(text, "done {step} in {elapsed:?} made {made:?}"),
            Event::StepFailed { step, error } => writeln!(text, "fail {step} {}", error.operation),
            Event::StepSkipped { step, because } => writeln!(text, "skip {step}: {because}"),
            Event::StillRunning { steps } => {
                let steps: Vec<_> = steps.iter().map(|s| format!("{} {:?}", s.step, s.elapsed)).collect();
                writeln!(text, "still {}", steps.join(", "))
            }
            Event::Interrupted { running } => writeln!(text, "interrupted, {running} running"),
            Event::StepAbandoned { step, because } => writeln!(text, "abandon {step}: {because}"),
            Event::RunFinished { done, failed, skipped, abandoned, elapsed } => {
                let abandoned = if abandoned > 0 { format!("{abandoned} abandoned, ") } else { String::new() };
                writeln!(text, "end: {done} done, {failed} failed, {abandoned}{skipped} skipped in {elapsed:?}")
            }
        }
        .unwrap();
    }
}

struct Ran {
    result: Result<Outcome, GraphError>,
    trace: String,
    events: usize,
    peak: usize,
    took: Duration,
}

async fn run(steps: &[Step<Does>], stop: Stop) -> Ran {
    let cloud = Cloud { now: Cell::new(0), peak: Cell::new(0) };
    let begin = Instant::now();
    let trace = Trace { begin, text: RefCell::default(), events: Cell::new(0) };
    let steps: Vec<_> = steps.iter().collect();
    let result = execute::run(&cloud, &steps, stop, &trace).await;
    let (events, took) = (trace.events.get(), begin.elapsed());
    Ran { result, trace: trace.text.into_inner(), events, peak: cloud.peak.get(), took }
}

fn stop_after(seconds: u64) -> (Stop, impl Future<Output = ()>) {
    let stop = Stop::new();
    let handle = stop.clone();
    (stop, async move {
        sleep(Duration::from_secs(seconds)).await;
        handle.request();
    })
}

#[tokio::test(start_paused = true)]
async fn independent_steps_run_at_once_and_dependents_wait() {
    let steps = [
        step("group", Does::Work(1), &[]),
        step("address", Does::Work(2), &[]),
        step("machine", Does::Work(3), &["group"]),
        step("association", Does::Work(1), &["machine", "address"]),
    ];
    let ran = run(&steps, Stop::never()).await;
    assert_snapshot!(ran.trace, @r#"
    0s run of 4
    0s start b/group
    0s start b/address
    1s done b/group in 1s made Some("x-group")
    1s start b/machine
    2s done b/address in 2s made Some("x-address")
    4s done b/machine in 3s made Some("x-machine")
    4s start b/association
    5s done b/association in 1s made Some("x-association")
    5s end: 4 done, 0 failed, 0 skipped in 5s
    "#);
    let Ok(Outcome::Completed(done)) = ran.result else { panic!("{:?}", ran.result) };
    let order: Vec<_> = done.iter().map(|d| d.resource.as_str()).collect();
    assert_eq!(order, ["group", "address", "machine", "association"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_as_many_rounds_as_the_graph_is_deep() {
    // Ten bastions of three layers, each step one second.
    let steps: Vec<_> = (0..10)
        .flat_map(|b| {
            let name = |what: &str| format!("{b}-{what}");
            [
                step(&name("group"), Does::Work(1), &[]),
                step(&name("address"), Does::Work(1), &[]),
                step(&name("machine"), Does::Work(1), &[&name("group")]),
                step(&name("association"), Does::Work(1), &[&name("machine"), &name("address")]),
            ]
        })
        .collect();
    let ran = run(&steps, Stop::never()).await;
    assert!(matches!(ran.result, Ok(Outcome::Completed(done)) if done.len() == 40));
    assert_eq!((ran.took, ran.peak), (Duration::from_secs(3), 20));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_runs_at_once() {
    let steps: Vec<_> = (0..IN_FLIGHT * 2 + 1).map(|i| step(&i.to_string(), Does::Work(1), &[])).collect();
    let ran = run(&steps, Stop::never()).await;
    assert_eq!((ran.took, ran.peak), (Duration::from_secs(3), IN_FLIGHT));
}

#[tokio::test(start_paused = true)]
async fn a_failure_skips_what_needs_it_and_the_others_go_on() {
    let steps = [
        step("group", Does::Fail(1), &[]),
        step("address", Does::Work(2), &[]),
        step("machine", Does::Work(3), &["group"]),
        step("association", Does::Work(1), &["machine", "address"]),
        step("other", Does::Work(1), &["address"]),
    ];
    let ran = run(&steps, Stop::never()).await;
    assert_snapshot!(ran.trace, @r#"
    0s run of 5
    0s start b/group
    0s start b/address
    1s fail b/group RunInstances
    1s skip b/machine: b/group failed
    1s skip b/association: b/group failed
    2s done b/address in 2s made Some("x-address")
    2s start b/other
    3s done b/other in 1s made Some("x-other")
    3s end: 2 done, 1 failed, 2 skipped in 3s
    "#);
    let Ok(Outcome::Failed(Report { done, failed, skipped, .. })) = ran.result else { panic!("{:?}", ran.result) };
    assert_eq!(done.iter().map(|d| &d.step).collect::<Vec<_>>(), [&id("address"), &id("other")]);
    assert_eq!(done[0].made.as_deref(), Some("x-address"));
    assert_eq!(failed.iter().map(|f| (&f.step, &f.error)).collect::<Vec<_>>(), [(&id("group"), &refusal())]);
    let why = Why::Needs(id("group"));
    let expected = [(&id("machine"), &why), (&id("association"), &why)];
    assert_eq!(skipped.iter().map(|s| (&s.step, &s.why)).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_nothing_new_and_gives_calls_a_moment() {
    let steps = [
        step("group", Does::Work(3), &[]),
        step("address", Does::Fail(3), &[]),
        step("rules", Does::Work(50), &[]),
        step("machine", Does::Work(1), &["group"]),
        step("association", Does::Work(1), &["machine", "address"]),
    ];
    let (stop, later) = stop_after(2);
    let (ran, ()) = tokio::join!(run(&steps, stop), later);
    assert_snapshot!(ran.trace, @r#"
    0s run of 5
    0s start b/group
    0s start b/address
    0s start b/rules
    2s interrupted, 3 running
    2s skip b/machine: the run was interrupted
    2s skip b/association: the run was interrupted
    3s done b/group in 3s made Some("x-group")
    3s fail b/address RunInstances
    4s abandon b/rules: no answer came in time after the stop
    4s end: 1 done, 1 failed, 1 abandoned, 2 skipped in 4s
    "#);
    let Ok(Outcome::Interrupted(report)) = ran.result else { panic!("{:?}", ran.result) };
    assert_eq!((report.done.len(), report.failed.len(), report.abandoned.len()), (1, 1, 1));
    assert!(report.skipped.iter().all(|s| s.why == Why::Interrupted));
}

/// A step that waits for what it has begun, or before it repeats a call, does not keep anybody.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_waits_at_once() {
    for (seconds, because) in [(1, "throttled; stopped before it was repeated"), (5, "i-0abc to run")] {
        let (stop, later) = stop_after(seconds);
        let steps = [step("machine", Does::Struggle, &[])];
        let (ran, ()) = tokio::join!(run(&steps, stop), later);
        assert_eq!(ran.took, Duration::from_secs(seconds));
        let Ok(Outcome::Interrupted(report)) = ran.result else { panic!("{:?}", ran.result) };
        assert!(report.abandoned[0].because.ends_with(because), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_run_starts_nothing() {
    let stop = Stop::new();
    stop.request();
    let ran = run(&[step("group", Does::Work(1), &[])], stop).await;
    assert_snapshot!(ran.trace, @r#"
    0s run of 1
    0s interrupted, 0 running
    0s skip b/group: the run was interrupted
    0s end: 0 done, 0 failed, 1 skipped in 0ns
    "#);
    assert!(matches!(ran.result, Ok(Outcome::Interrupted(_))));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_kept_nothing_from_starting_is_no_interruption() {
    let steps = [step("group", Does::Work(2), &[])];
    let (stop, later) = stop_after(1);
    let (ran, ()) = tokio::join!(run(&steps, stop), later);
    assert!(matches!(ran.result, Ok(Outcome::Completed(done)) if done.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn long_steps_are_reported_every_ten_seconds() {
    let steps = [step("quick", Does::Work(3), &[]), step("machine", Does::Struggle, &["quick"])];
    let ran = run(&steps, Stop::never()).await;
    assert_snapshot!(ran.trace, @r#"
     0s run of 2
     0s start b/quick
     3s done b/quick in 3s made Some("x-quick")
     3s start b/machine
     3s retry b/machine RequestLimitExceeded attempt 1 delay 4s
     7s wait b/machine for i-0abc to run
    20s still b/machine 17s
    27s done b/machine in 24s made None
    27s end: 2 done, 0 failed, 0 skipped in 27s
    "#);
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_is_completed_at_once() {
    let ran = run(&[], Stop::never()).await;
    assert_eq!(ran.result, Ok(Outcome::Completed(vec![])));
    assert_eq!((ran.events, ran.took), (2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn steps_without_an_order_are_refused_before_anything_starts() {
    let unknown = [step("group", Does::Work(1), &[]), step("machine", Does::Work(1), &["gone"])];
    let ran = run(&unknown, Stop::never()).await;
    assert_eq!(ran.result, Err(GraphError::Unknown { step: id("machine"), after: id("gone") }));
    assert_eq!((ran.events, ran.peak), (0, 0));

    let cycle = [step("group", Does::Work(1), &["machine"]), step("machine", Does::Work(1), &["group"])];
    let ran = run(&cycle, Stop::never()).await;
    assert_eq!(ran.result, Err(GraphError::Cycle(vec![id("group"), id("machine")])));
    assert_eq!((ran.events, ran.peak), (0, 0));

    let twice = [step("group", Does::Work(1), &[]), step("group", Does::Work(1), &[])];
    let ran = run(&twice, Stop::never()).await;
    assert_eq!(ran.result, Err(GraphError::Duplicate(id("group"))));
}
