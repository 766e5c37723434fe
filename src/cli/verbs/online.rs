//! How reads of a cloud are watched.

use std::{
    cell::{Cell, RefCell},
    io,
};

use tokio::time::Instant;

use crate::{
    cli::{
        console::{self, OutageLog},
        exit::say,
    },
    event::{Event, Watcher},
    style::{Color, Palette, clean},
};

/// Watches reads: silent, unless the cloud makes us wait.
pub struct Reading {
    palette: Palette,
    said: Cell<bool>,
}

thread_local! {
    /// One for all looks of a run.
    static OUTAGES: RefCell<OutageLog> = RefCell::default();
}

impl Reading {
    pub fn new(color: Color) -> Self {
        Self { palette: color.palette(&io::stderr()), said: Cell::new(false) }
    }
}

impl Watcher for Reading {
    fn event(&self, event: Event) {
        let Event::StepRetrying { operation, kind, code, no_answer, delay, .. } = event else { return };
        let Palette { faint, .. } = self.palette;
        if let Some(no_answer) = no_answer {
            if let Some(line) = OUTAGES.with_borrow_mut(|log| log.line(&no_answer, Instant::now())) {
                say(&format!("{faint}{line}{faint:#}\n"));
            }
            return;
        }
        let what = console::retrying(&clean(&operation), kind, &clean(&code), delay);
        let opening = if self.said.replace(true) { "" } else { "Looking at the cloud takes longer than usual.\n" };
        say(&format!("{opening}{faint}  {what}{faint:#}\n"));
    }
}
