//! The request to stop, and the signals that make it.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

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

/// Hears Ctrl-C (and SIGTERM on Unix) for the rest of the process's life: `heard` is called with 1 at the first signal, 2 at the
/// second. It has a thread of its own, so that whatever blocks another one does not keep a signal from being heard. The handlers
/// are installed when this returns.
///
/// # Errors
/// The operating system's refusal to install a handler or to start a thread.
pub fn on_signals(mut heard: impl FnMut(usize) + Send + 'static) -> io::Result<()> {
    let (told, installed) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = told.send(Err(error));
                return;
            }
        };
        runtime.block_on(async {
            let mut signals = match Signals::listen() {
                Ok(signals) => signals,
                Err(error) => {
                    let _ = told.send(Err(error));
                    return;
                }
            };
            let _ = told.send(Ok(()));
            for number in 1.. {
                signals.next().await;
                heard(number);
            }
        });
    })?;
    installed.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that hears signals has ended")))
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
    use super::*;

    #[tokio::test]
    async fn a_request_made_earlier_is_seen_at_once() {
        let stop = Stop::new();
        assert!(!stop.is_requested());
        stop.request();
        stop.requested().await;
        assert!(stop.is_requested());
    }
}
