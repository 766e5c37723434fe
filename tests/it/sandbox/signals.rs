//! Ctrl-C and SIGTERM at each stage, with real time: whatever a command waits for, it ends, says what exists, and exits with 130.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Desk,
    listen::Listening,
    terminal::{Running, SOON, asked, over},
};

/// Accepts connections and never answers.
struct Silent {
    address: SocketAddr,
    connected: mpsc::Receiver<()>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (told, connected) = mpsc::channel();
        thread::spawn(move || {
            let mut held: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                held.push(stream);
                if told.send(()).is_err() {
                    return;
                }
            }
        });
        Self { address, connected }
    }

    fn await_call(&self) {
        self.connected.recv_timeout(Duration::from_secs(60)).expect("a call");
    }
}

#[test]
fn a_look_that_is_not_answered_ends() {
    let desk = Desk::new();
    let aws = "plans/warehouse.yaml";
    let azure = "plans/sales.yaml";
    let verbs: [&[&str]; 13] = [
        &["plan", aws],
        &["apply", "--yes", aws],
        &["destroy", "--yes", aws],
        &["extend", "--by", "1d", "--yes", aws],
        &["shorten", "--by", "1h", "--yes", aws],
        &["reap", "--region", "us-east-1", "--yes"],
        &["verify", aws],
        &["drift", aws],
        &["status", aws],
        &["handoff", aws],
        &["plan", azure],
        &["destroy", "--yes", azure],
        &["reap", "--subscription", "00000000-0000-0000-0000-000000000000"],
    ];
    let all: Vec<_> = verbs
        .iter()
        .map(|args| {
            let silent = Silent::start();
            let running = Running::start(&mut over(&desk, &format!("http://{}", silent.address), args));
            (silent, running)
        })
        .collect();
    for (i, (silent, running)) in all.into_iter().enumerate() {
        silent.await_call();
        running.interrupted(if i % 2 == 0 { "-INT" } else { "-TERM" }, "Stopped while looking; nothing was changed.");
    }
}

/// Whoever reads the output has stopped reading: the thread that writes is blocked, and hears nothing itself.
#[cfg(target_os = "linux")]
#[test]
fn a_command_whose_output_nobody_reads_ends() {
    use std::os::fd::AsRawFd;
    let desk = Desk::new();
    let (reader, writer) = io::pipe().unwrap();
    // SAFETY: both calls are about a descriptor that is open here, and write to nothing else but `waiting`.
    let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
    assert_eq!(size, 4096);
    let mut child = desk.command(&["plan", "--sandbox", "plans"]).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    let mut waiting = 0;
    while waiting < 4096 {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD, &raw mut waiting) }, 0);
        assert!(child.try_wait().unwrap().is_none(), "it fits into the pipe");
        thread::sleep(Duration::from_millis(10));
    }
    let begin = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[test]
fn a_question_ends_with_a_signal_and_is_asked_again_after_a_typo() {
    let desk = Desk::new();
    let apply = || desk.command(&["apply", "plans/warehouse.yaml", "--sandbox"]);
    for name in ["-INT", "-TERM"] {
        let (_near, running) = asked(apply());
        running.interrupted(name, "nothing was changed");
    }
    // `y`, a typo and Enter are no answers; the end of the input is a no.
    let (mut near, mut running) = asked(apply());
    for unclear in ["y\n", "YES\n", "\n"] {
        running.said.clear();
        near.write_all(unclear.as_bytes()).unwrap();
        running.until("Type yes to go on, or no to stop: ");
    }
    near.write_all(b"no\n").unwrap();
    let (code, said) = running.end(SOON);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("Declined: nothing was changed."), "{said}");
    let (mut near, running) = asked(apply());
    near.write_all(&[4]).unwrap();
    assert_eq!(running.end(SOON).0, Some(5));
    let (mut near, mut running) = asked(apply());
    near.write_all(b"yep\nyes\n").unwrap();
    running.until("Looked again");
    assert_eq!(running.end(Duration::from_secs(60)).0, Some(0));

    for verb in [&["destroy"][..], &["extend", "--by", "1h"]] {
        let args = [verb, &["plans/warehouse.yaml", "--sandbox"]].concat();
        let (mut near, running) = asked(desk.command(&args));
        near.write_all(b"no\n").unwrap();
        assert_eq!(running.end(SOON).0, Some(5), "{verb:?}");
    }
    // Without a terminal nobody is asked.
    let refused = desk.play(&["destroy", "plans/warehouse.yaml"]).expect(64);
    assert!(
        refused.stderr.contains("standard input is not a terminal") && refused.stderr.contains("--yes"),
        "{refused}"
    );
}

#[test]
fn writes_waits_and_verifications_end() {
    let desk = Desk::new();
    let listening = Listening::start(&desk);
    let endpoint = listening.endpoint();
    let plan = "plans/warehouse.yaml";
    let apply = ["apply", "--yes", "--no-verify", plan];

    // The machine starts: what was begun is not awaited, and the same command goes on.
    let mut running = Running::start(&mut over(&desk, &endpoint, &apply));
    running.until("to be running");
    running.signal("-TERM");
    let (code, said) = running.end(SOON);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("Begun and not awaited") && said.contains("Run the same command again"), "{said}");
    let machines = || listening.ec2("Action=DescribeInstances").matches("<instanceId>").count();
    let before = machines();

    // Everything is there; the machine boots for longer than anybody should have to wait.
    let mut running = Running::start(&mut over(&desk, &endpoint, &["apply", "--yes", plan]));
    running.until("it is safe to leave");
    running.until("Waiting for");
    assert_eq!(machines(), before, "the machine that was begun is adopted");
    running.interrupted("-INT", &format!("Stopped. Everything was applied; the machines had not reported all of it yet. `gangplank verify {plan}` goes on."));

    // Its end is awaited for longer than a second, too.
    let mut running = Running::start(&mut over(&desk, &endpoint, &["destroy", "--yes", plan]));
    running.until("to be terminated");
    running.interrupted("-INT", "Begun and not awaited");
    let run = over(&desk, &endpoint, &["destroy", "--yes", plan]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
}

/// A machine was ended by somebody: whether a run makes another is looked at once more after two minutes.
#[test]
fn the_pause_before_what_has_no_machine_is_destroyed_ends() {
    let desk = Desk::new();
    let listening = Listening::start(&desk);
    let plan = "plans/warehouse.yaml";
    // Without a lifetime its age is not known: what is known to be young is left alone.
    let text = std::fs::read_to_string(desk.path(plan)).unwrap();
    let undated: Vec<&str> = text.lines().filter(|line| !line.starts_with("lifetime:")).collect();
    std::fs::write(desk.path(plan), undated.join("\n")).unwrap();
    let run = over(&desk, &listening.endpoint(), &["apply", "--yes", "--no-verify", plan]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    let instances =
        listening.ec2("Action=DescribeInstances&Filter.1.Name=tag:gangplank:bastion&Filter.1.Value.1=warehouse");
    let id = instances.split("<instanceId>").nth(1).and_then(|rest| rest.split('<').next()).expect("an instance");
    listening.ec2(&format!("Action=TerminateInstances&InstanceId.1={id}"));
    while !listening.ec2(&format!("Action=DescribeInstances&InstanceId.1={id}")).contains("<name>terminated</name>") {
        thread::sleep(Duration::from_millis(100));
    }
    let reap = ["reap", "--region", "us-east-1", "--yes"];
    let mut running = Running::start(&mut over(&desk, &listening.endpoint(), &reap));
    running.until("Looking again in");
    running.interrupted("-TERM", "nothing was changed");
}

#[test]
fn a_listening_sandbox_ends_with_connections_open() {
    let desk = Desk::new();
    let mut listening = Listening::start(&desk);
    let mut open = TcpStream::connect(listening.address).unwrap();
    open.write_all(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\nAction=").unwrap();
    let begin = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &listening.child.id().to_string()]).status().unwrap().success());
    assert_eq!(listening.child.wait().unwrap().code(), Some(130));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

/// SIGTERM comes to the demonstration alone: the step that runs is ended by it.
#[test]
fn the_demonstration_ends_with_its_step() {
    let desk = Desk::new();
    let mut command = desk.command(&["demo", "--full"]);
    let temporary = tempfile::TempDir::new().unwrap();
    let mut child =
        command.env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("2. ")));
    let drained = thread::spawn(move || lines.map_while(Result::ok).count());
    let begin = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    drained.join().unwrap();
    assert!(is_empty(temporary.path()));
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
