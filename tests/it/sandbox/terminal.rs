//! A command under way, with a person at its terminal or with nobody there.

use std::{
    fs,
    io::{self, BufReader, Read},
    os::fd::{FromRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::Desk;

/// What a command gets to end: a second is promised, and machines that test are slow. What these tests interrupt would go on for
/// ten times as long at the least.
pub const SOON: Duration = Duration::from_secs(6);

/// A command under way, whose errors are read as they come.
pub struct Running {
    pub child: Child,
    errors: mpsc::Receiver<String>,
    pub said: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (told, errors) = mpsc::channel();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            // A prompt has no line's end.
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut bytes) {
                let _ = told.send(String::from_utf8_lossy(&bytes[..read]).into_owned());
            }
        });
        Self { child, errors, said: String::new() }
    }

    #[track_caller]
    pub fn until(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.said.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(more) => self.said += &more,
                Err(_) => panic!("it did not say {text:?}:\n{}", self.said),
            }
        }
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Its exit code, and what it said.
    #[track_caller]
    pub fn end(mut self, within: Duration) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > within {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("it did not end within {within:?}:\n{}", self.said);
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.said.extend(self.errors.iter());
        (status.code(), self.said)
    }

    #[track_caller]
    pub fn interrupted(self, name: &str, says: &str) {
        self.signal(name);
        let (code, said) = self.end(SOON);
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

/// A command whose clouds are there.
pub fn over(desk: &Desk, endpoint: &str, args: &[&str]) -> Command {
    let mut command = desk.command(args);
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AZURE_RESOURCE_MANAGER_ENDPOINT", endpoint)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    command
}

/// A terminal of which this is the one end, and a process's input the other.
fn terminal() -> (fs::File, OwnedFd) {
    let (mut near, mut far) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: the call fills in two descriptors, which nobody else has.
    let opened = unsafe { libc::openpty(&mut near, &mut far, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0, "{}", io::Error::last_os_error());
    // SAFETY: as above.
    unsafe { (fs::File::from_raw_fd(near), OwnedFd::from_raw_fd(far)) }
}

/// A command with a person at its terminal.
pub fn asked(mut command: Command) -> (fs::File, Running) {
    let (near, far) = terminal();
    let mut running = Running::start(command.stdin(Stdio::from(far)));
    running.until("Type yes to go on, or no to stop: ");
    (near, running)
}
