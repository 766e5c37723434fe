//! What the verbs that ask a cloud share.

use std::{cell::Cell, io};

use crate::{
    cli::{
        console,
        exit::{Error, say},
        style::{Color, Palette, clean},
    },
    diagnostic::{Diagnostic, Diagnostics},
    event::{Event, Watcher},
    plan::{Cloud, Plan},
};

/// Refuses plans for clouds that this gangplank can't reach.
pub fn only_reachable(plans: &[Plan]) -> Result<(), Error> {
    let azure = plans.iter().filter(|p| matches!(p.cloud, Cloud::Azure(_))).map(|plan| {
        plan.origin
            .problem("azure", "Azure plans can't be applied yet", "this version checks and renders them")
            .fix("`gangplank validate` and `gangplank render` work; leave the file out here")
    });
    let problems: Vec<Diagnostic> = azure.collect();
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems).into()) }
}

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
