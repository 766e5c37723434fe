mod execute;
mod show;
#[cfg(unix)]
mod signals;
