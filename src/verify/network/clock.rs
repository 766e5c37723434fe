//! How long things may take: each step, and everything together.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub step: Duration,
    /// After which nothing is waited for any more.
    pub end: Instant,
}

/// A step took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

impl Clock {
    /// Honest servers answer a step in well under a second; the whole is for those that take almost all of each.
    pub fn new(step: Duration) -> Self {
        let now = Instant::now();
        let end = now.checked_add(step.saturating_mul(20)).unwrap_or(now);
        Self { step, end }
    }

    pub async fn within<T>(&self, step: impl Future<Output = T>) -> Result<T, Late> {
        let now = Instant::now();
        let until = now.checked_add(self.step).unwrap_or(now).min(self.end);
        timeout_at(until, step).await.map_err(|_| Late)
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// `no answer within 10 s`
    pub fn late(&self) -> String {
        format!("no answer within {}", seconds(self.step))
    }
}

pub fn seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}
