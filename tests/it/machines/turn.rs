//! How many machines are alive at once in this process: a boot keeps a core busy.

use std::sync::{Condvar, Mutex, PoisonError};

const AT_ONCE: usize = 2;
static ALIVE: Mutex<usize> = Mutex::new(0);
static GONE: Condvar = Condvar::new();

/// The right to have a machine, until it is dropped.
pub struct Turn(());

impl Turn {
    pub fn wait() -> Self {
        let alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
        *GONE.wait_while(alive, |alive| *alive >= AT_ONCE).unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *ALIVE.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GONE.notify_one();
    }
}
