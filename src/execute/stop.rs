//! The request to stop, and the signals that make it.

use std::{io, sync::Arc};

use tokio::sync::watch;

/// A request to start nothing new, shared by everybody who has to heed it.
///
/// It is made once and never taken back.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// A handle that nobody has asked to stop yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// For runs that nobody can interrupt.
    pub fn never() -> Self {
        Self::new()
    }

    pub fn request(&self) {
        self.0.send_replace(true);
    }

    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when a stop is requested, at once if it was already.
    pub async fn requested(&self) {
        // An error would mean that the sender is gone, and this handle holds it.
        let _ = self.0.subscribe().wait_for(|requested| *requested).await;
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// What the second signal exits with: 128 + SIGINT, as shells report it.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Runs `work` while listening for Ctrl-C (and SIGTERM on Unix). The first signal requests `stop`; the second exits the
/// process at once with [`EXIT_INTERRUPTED`].
///
/// # Errors
/// The operating system's refusal to install a handler. `work` was not begun.
pub async fn on_signals<T>(stop: &Stop, work: impl Future<Output = T>) -> io::Result<T> {
    let mut signals = Signals::listen()?;
    match until_second(stop, async || signals.next().await, work).await {
        Some(out) => Ok(out),
        None => std::process::exit(EXIT_INTERRUPTED),
    }
}

/// What `work` returns; `None` where a second signal came first.
async fn until_second<T>(stop: &Stop, mut signal: impl AsyncFnMut(), work: impl Future<Output = T>) -> Option<T> {
    let twice = async {
        signal().await;
        stop.request();
        signal().await;
    };
    tokio::select! {
        biased;
        out = work => Some(out),
        () = twice => None,
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    /// Signals at fixed seconds after the start.
    fn at(seconds: &[u64]) -> impl AsyncFnMut() {
        let mut gaps: Vec<u64> = seconds.iter().scan(0, |last, s| Some(s - std::mem::replace(last, *s))).collect();
        gaps.reverse();
        async move || match gaps.pop() {
            Some(gap) => sleep(Duration::from_secs(gap)).await,
            None => std::future::pending().await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_signal_the_work_ends_undisturbed() {
        let stop = Stop::new();
        let work = async { sleep(Duration::from_secs(60)).await };
        assert_eq!(until_second(&stop, at(&[]), work).await, Some(()));
        assert!(!stop.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_signal_stops_and_the_work_still_ends() {
        let stop = Stop::new();
        let heeding = stop.clone();
        let work = async {
            heeding.requested().await;
            sleep(Duration::from_secs(60)).await;
            "all awaited"
        };
        assert_eq!(until_second(&stop, at(&[1]), work).await, Some("all awaited"));
        assert!(stop.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_signal_does_not_wait() {
        let stop = Stop::new();
        let begin = tokio::time::Instant::now();
        assert_eq!(until_second(&stop, at(&[1, 3]), sleep(Duration::from_secs(60))).await, None);
        assert_eq!(begin.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_request_made_earlier_is_seen_at_once() {
        let stop = Stop::new();
        stop.request();
        stop.requested().await;
    }
}
