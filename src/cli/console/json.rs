//! One JSON object per line and event.

use std::{cell::RefCell, io::Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    event::{Event, Watcher},
    location::Location,
    text::for_stream,
};

/// Raised when a field goes away or changes its meaning; new fields and events may come without it.
const FORMAT_VERSION: u32 = 1;

/// Writes `{"time": "2026-11-02T10:50:00Z", "event": "step-started", ...}`. The fields are those of [`Event`], in its names;
/// the first line of each run (`run-started`) carries `format_version` and `locations` too: where something is changed.
pub struct Json<'c, W> {
    out: RefCell<W>,
    clock: Box<dyn Fn() -> Timestamp + 'c>,
    locations: Vec<Location>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    format_version: Option<u32>,
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    locations: &'a [Location],
}

impl<'c, W: Write> Json<'c, W> {
    pub fn new(out: W, clock: impl Fn() -> Timestamp + 'c) -> Self {
        Self { out: RefCell::new(out), clock: Box::new(clock), locations: Vec::new() }
    }

    pub(super) fn at(self, locations: Vec<Location>) -> Self {
        Self { locations, ..self }
    }
}

impl<W: Write> Watcher for Json<'_, W> {
    fn event(&self, event: Event) {
        let first = matches!(event, Event::RunStarted { .. });
        let format_version = first.then_some(FORMAT_VERSION);
        let locations = if first { self.locations.as_slice() } else { &[] };
        let line = Line { time: (self.clock)(), format_version, event: &event, locations };
        // Cannot fail: every map key is a string.
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        text.push('\n');
        let mut out = self.out.borrow_mut();
        let _ = out.write_all(for_stream(&text).as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::cli::console::board::tests::story;

    #[test]
    fn every_event_is_one_object_with_its_time() {
        let json = Json::new(Vec::new(), || Timestamp::constant(1_793_616_600, 0));
        for (_, event) in story() {
            json.event(event);
        }
        let text = String::from_utf8(json.out.into_inner()).unwrap();
        for line in text.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(object["event"].is_string() && object["time"].is_string(), "{line}");
        }
        assert_snapshot!(text, @r#"
        {"time":"2026-11-02T10:50:00Z","format_version":1,"event":"run-started","steps":5}
        {"time":"2026-11-02T10:50:00Z","event":"step-started","step":"warehouse/group","op":"create","resource":"security group gangplank-warehouse"}
        {"time":"2026-11-02T10:50:00Z","event":"step-started","step":"warehouse/address","op":"update","resource":"elastic address \u001b[31mred\u001b[0m"}
        {"time":"2026-11-02T10:50:00Z","event":"step-done","step":"warehouse/group","elapsed_s":0.4,"made":"sg-0abc"}
        {"time":"2026-11-02T10:50:00Z","event":"step-started","step":"warehouse/machine","op":"create","resource":"instance gangplank-warehouse"}
        {"time":"2026-11-02T10:50:00Z","event":"step-retrying","step":"warehouse/machine","operation":"RunInstances","kind":"throttled","code":"RequestLimitExceeded","attempt":1,"delay_s":4.0}
        {"time":"2026-11-02T10:50:00Z","event":"step-done","step":"warehouse/address","elapsed_s":1.5}
        {"time":"2026-11-02T10:50:00Z","event":"step-waiting","step":"warehouse/machine","for_what":"i-0abc to run"}
        {"time":"2026-11-02T10:50:00Z","event":"still-running","steps":[{"step":"warehouse/machine","elapsed_s":19.6}]}
        {"time":"2026-11-02T10:50:00Z","event":"interrupted","running":1}
        {"time":"2026-11-02T10:50:00Z","event":"step-skipped","step":"warehouse/check","because":"the run was interrupted"}
        {"time":"2026-11-02T10:50:00Z","event":"step-failed","step":"warehouse/machine","error":{"operation":"RunInstances","kind":"quota","code":"VcpuLimitExceeded","request_id":"59dbff89","message":"You have requested more vCPU capacity than your current vCPU limit of 1.","residue":"nothing","remedy":"ask for a higher quota in Service Quotas, or remove an instance"}}
        {"time":"2026-11-02T10:50:00Z","event":"step-skipped","step":"warehouse/association","because":"warehouse/machine failed"}
        {"time":"2026-11-02T10:50:00Z","event":"run-finished","done":2,"failed":1,"skipped":2,"elapsed_s":70.0}
        "#);
    }
}
