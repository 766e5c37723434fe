//! How reads of a cloud are watched.

use std::{cell::Cell, io};

use crate::{
    cli::{
        console,
        exit::say,
        style::{Color, Palette, clean},
    },
    event::{Event, Watcher},
};

/// Watches reads: silent, unless the cloud makes us wait.
pub struct Reading {
    palette: Palette,
    said: Cell<bool>,
}

impl Reading {
    pub fn new(color: Color) -> Self {
        Self { palette: color.palette(&io::stderr()), said: Cell::new(false) }
    }
}

impl Watcher for Reading {
    fn event(&self, event: Event) {
        if let Event::StepRetrying { operation, kind, code, delay, .. } = event {
            let Palette { faint, .. } = self.palette;
            let what = console::retrying(&clean(&operation), kind, &clean(&code), delay);
            let opening = if self.said.replace(true) { "" } else { "Looking at the cloud takes longer than usual.\n" };
            say(&format!("{opening}{faint}  {what}{faint:#}\n"));
        }
    }
}
