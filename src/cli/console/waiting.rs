//! Waiting after a run for what goes on by itself: a line that counts on a terminal, one in a while elsewhere.

use std::{cell::Cell, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget};
use tokio::time::{Instant, interval, sleep};

use super::{
    TICK,
    bars::{clock, line_style, spinner},
};
use crate::cli::{exit::say, words::elapsed};

/// How often a wait is told where no line can count, in seconds.
const TOLD_EVERY: u64 = 30;

/// What stands on the screen while something is awaited, and is gone after it.
pub struct Waiting<'a> {
    /// Said once, before anything else: what exists already.
    opening: &'a str,
    most: Duration,
    started: Instant,
    told: Cell<Option<u64>>,
    bar: Option<ProgressBar>,
}

impl<'a> Waiting<'a> {
    pub fn new(opening: &'a str, most: Duration) -> Self {
        let target = ProgressDrawTarget::stderr();
        // It draws nothing before its first message.
        let bar = (!target.is_hidden()).then(|| ProgressBar::with_draw_target(None, target).with_style(line_style()));
        Self { opening, most, started: Instant::now(), told: Cell::new(None), bar }
    }

    pub fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for so long, and tells for what.
    pub async fn pause(&self, what: &str, time: Duration) {
        if self.told.get().is_none() {
            say(&format!("{}\n", self.opening));
        }
        let Some(bar) = &self.bar else {
            self.tell(what);
            return sleep(time).await;
        };
        self.told.set(Some(0));
        let mut tick = interval(TICK);
        let end = sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return,
                _ = tick.tick() => bar.set_message(self.line(what)),
            }
        }
    }

    fn line(&self, what: &str) -> String {
        let waited = self.waited();
        format!("{} {} of at most {}: waiting for {what}", spinner(waited), clock(waited), clock(self.most))
    }

    fn tell(&self, what: &str) {
        let waited = self.waited();
        if self.told.get().is_none_or(|told| waited.as_secs() >= told + TOLD_EVERY) {
            say(&format!("Waiting for {what}: {}, at most {}.\n", elapsed(waited), elapsed(self.most)));
            self.told.set(Some(waited.as_secs()));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
