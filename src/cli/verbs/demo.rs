//! `gangplank demo`: the whole life of two bastions in a sandbox. Every step is this program, started as people start it; the
//! plans, the keys and the sandbox are in a folder of its own.

use std::{
    collections::VecDeque,
    env, fs,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    mem,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};

use crate::{
    cli::{
        args::Demo,
        exit::{Error, Exit, print, say},
    },
    sandbox::{
        cloud::{Sandbox, State},
        company,
    },
    stop::{Stop, on_signals},
    style::{Color, Palette},
};

const PLANS: &str = "plans";
const SANDBOX: &str = "sandbox";
const IDENTITY: &str = "ana";
const PAGE: &str = "handoff.html";

/// Lines that a step shows of where its output begins and ends; what lies between is counted.
const BEGINNING: usize = 12;
const END: usize = 14;

/// How much of its steps the demonstration shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Names,
    Ends,
    Everything,
}

/// A demonstration under way.
struct Stage {
    home: PathBuf,
    program: PathBuf,
    show: Show,
    stop: Stop,
    child: Child,
    color: Color,
    palette: Palette,
    step: usize,
    /// The company's own, before anything of ours was there.
    before: Vec<String>,
}

pub fn run(args: &Demo, color: Color) -> Result<Exit, Error> {
    let began = Instant::now();
    let home = match &args.keep {
        Some(folder) => folder.clone(),
        None => env::temp_dir().join(format!("gangplank-demo-{}", process::id())),
    };
    fs::create_dir(&home).map_err(|error| Error::Io(format!("making the new folder {}", home.display()), error))?;
    let child = Child::default();
    let stop = heed(&child)?;
    let result = play(args, color, &home, &stop, &child);
    if args.keep.is_none() {
        // What stays behind would be a temporary folder of invented keys.
        let _ = fs::remove_dir_all(&home);
    }
    if stop.is_requested() {
        say("Interrupted. Nobody's cloud was asked.\n");
        return Ok(Exit::Interrupted);
    }
    let exit = result?;
    if exit == Exit::Done {
        let kept = match &args.keep {
            Some(folder) => format!(
                "In {}: the page is {PAGE}, and any command works there with --sandbox={SANDBOX}.\n",
                folder.display()
            ),
            None => {
                "`--keep FOLDER` keeps plans, page and sandbox; `--full` shows all that the steps print.\n".to_owned()
            }
        };
        print(&format!(
            "\nEvery step ended as it should, in {:.1} s. Nobody's cloud was asked.\n\
             For yours: gangplank init aws > warehouse.yaml\n{kept}",
            began.elapsed().as_secs_f64()
        ))?;
    }
    Ok(exit)
}

/// The step under way, for whoever has to end it.
type Child = Arc<Mutex<Option<process::Child>>>;

/// Between two looks whether a step has ended whose output nobody reads here.
const LOOK: Duration = Duration::from_millis(10);

/// What a step that hears the signal itself, as on a terminal, gets to end well.
const OWN_END: Duration = Duration::from_millis(500);

/// Hears signals, so that no folder is left: the first one ends the step and the demonstration, the second one the process.
fn heed(child: &Child) -> Result<Stop, Error> {
    let stop = Stop::new();
    let (heard, child) = (stop.clone(), Arc::clone(child));
    on_signals(move |number| {
        if number > 1 {
            process::exit(Exit::Interrupted as i32);
        }
        heard.request();
        thread::sleep(OWN_END);
        // Whatever it was writing is in a sandbox, which is whole after each call.
        if let Some(child) = lock(&child).as_mut() {
            let _ = child.kill();
        }
    })
    .map_err(|error| Error::Io("listening for signals".to_owned(), error))?;
    Ok(stop)
}

fn lock(child: &Child) -> MutexGuard<'_, Option<process::Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn play(args: &Demo, color: Color, home: &Path, stop: &Stop, child: &Child) -> Result<Exit, Error> {
    let [first, second, ana] = [key("secoda")?, key("secoda, rotated")?, key("ana")?];
    let mut stage = Stage::new(args, color, home, stop, child, &ana)?;
    let folder = PLANS;

    stage.write_plans(&ana, &[])?;
    stage.say("Two plans: a bastion on AWS, and one on Azure behind the firewall that is there already.")?;
    stage.run("What applying would change. Nothing is written.", &["plan", folder], Exit::Done)?;
    stage.run(
        "Make it. The vendor shows its key only after its form is filled in: the tunnels come up and admit nobody yet.",
        &["apply", "--yes", folder],
        Exit::Done,
    )?;

    stage.write_plans(&ana, &[&first])?;
    stage.run(
        "The vendor's key is in the plans now. The running machines take it.",
        &["apply", "--yes", folder],
        Exit::Done,
    )?;
    stage.run(
        "Would the tunnels work, and nothing else? From the control plane, from inside the machines, and over SSH from here.",
        &["verify", "--strict", "--identity", IDENTITY, folder],
        Exit::Done,
    )?;
    stage.page("The page for whoever operates the tunnels.", &["handoff", "--output", "html", folder])?;

    stage.write_plans(&ana, &[&second])?;
    stage.run(
        "The vendor rotates its key: no reboot, no new host key, no new address.",
        &["apply", "--yes", folder],
        Exit::Done,
    )?;

    stage.somebody_opens_the_port()?;
    stage.run(
        "An hour later a job looks for drift, and CloudTrail says who it was: exit 2.",
        &["drift", folder],
        Exit::Differs,
    )?;
    stage.run("Applying repairs it.", &["apply", "--yes", folder], Exit::Done)?;
    stage.run("No drift any more: exit 0.", &["drift", folder], Exit::Done)?;

    stage.run("Take it all away, and look whether anything is left.", &["destroy", "--yes", folder], Exit::Done)?;
    stage.nothing_is_left()?;
    Ok(Exit::Done)
}

impl Stage {
    fn new(
        args: &Demo,
        color: Color,
        home: &Path,
        stop: &Stop,
        child: &Child,
        ana: &PrivateKey,
    ) -> Result<Self, Error> {
        let program = env::current_exe().map_err(|error| Error::Io("finding this program".to_owned(), error))?;
        let palette = color.palette(&io::stdout());
        let in_ci = env::var_os("CI").is_some() && !io::stdout().is_terminal();
        let show = match (args.full, args.quiet || in_ci) {
            (true, _) => Show::Everything,
            (false, true) => Show::Names,
            (false, false) => Show::Ends,
        };
        let (home, stop, child) = (home.to_owned(), stop.clone(), Arc::clone(child));
        let mut stage = Self { home, program, show, stop, child, color, palette, step: 0, before: Vec::new() };
        stage.before = stage.open()?.change(|state, now| state.inventory(now));
        fs::create_dir(stage.home.join(PLANS))
            .map_err(|error| Error::Io("making a folder of plans".to_owned(), error))?;
        let text = ana.to_openssh(LineEnding::LF).map_err(|error| unmade(&error))?;
        stage.write(IDENTITY, &text)?;
        Ok(stage)
    }

    fn open(&self) -> Result<Sandbox, Error> {
        Sandbox::open(&self.home.join(SANDBOX), State::company).map_err(Error::Sandbox)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.home.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Error::Io(format!("writing {}", path.display()), error))
    }

    fn write_plans(&self, ana: &PrivateKey, keys: &[&PrivateKey]) -> Result<(), Error> {
        let public = |key: &PrivateKey| key.public_key().to_openssh().map_err(|error| unmade(&error));
        let vendor = keys.iter().map(|key| Ok(format!("\"{}\"", public(key)?))).collect::<Result<Vec<_>, Error>>()?;
        for (name, text) in company::plans(&public(ana)?, &vendor.join(", ")) {
            self.write(&format!("{PLANS}/{name}"), &text)?;
        }
        Ok(())
    }

    fn say(&self, text: &str) -> Result<(), Error> {
        if self.show == Show::Names { Ok(()) } else { print(&format!("{text}\n")) }
    }

    fn title(&mut self, why: &str, command: &str) -> Result<(), Error> {
        self.go_on()?;
        self.step += 1;
        let Palette { heading, faint, .. } = self.palette;
        let step = self.step;
        if self.show == Show::Names {
            print(&format!("{step:>2}. {command}\n"))
        } else {
            print(&format!("\n{heading}{step}. {why}{heading:#}\n{faint}${faint:#} {command}\n"))
        }
    }

    /// Runs a verb and minds its exit code.
    fn run(&mut self, why: &str, args: &[&str], expected: Exit) -> Result<(), Error> {
        self.title(why, &format!("gangplank {}", args.join(" ")))?;
        let mut command = self.command(args);
        let (code, output) = match self.show {
            Show::Names => self.output(command.stdin(Stdio::null()), true)?,
            Show::Ends => (self.ends(&mut command)?, Vec::new()),
            Show::Everything => {
                self.start(&mut command)?;
                (self.end()?, Vec::new())
            }
        };
        self.mind(code, expected, &output)
    }

    /// Runs a command and shows where its output begins and ends.
    fn ends(&self, command: &mut Command) -> Result<Option<i32>, Error> {
        let terminal = io::stderr().is_terminal();
        // It sees a pipe where there is a terminal.
        if self.palette == Palette::COLORED && terminal {
            command.arg("--color=always");
        } else {
            command.arg(format!("--color={}", self.color.name()));
        }
        let (reader, writer) = io::pipe().map_err(started)?;
        if !terminal {
            // Progress is lines then: they come where they belong.
            command.stderr(writer.try_clone().map_err(started)?);
        }
        self.start(command.stdout(writer))?;
        let Palette { faint, .. } = self.palette;
        let mut fold = Fold::default();
        let mut reader = BufReader::new(reader);
        loop {
            let mut line = Vec::new();
            let read = |error| Error::Io("reading what a step prints".to_owned(), error);
            if reader.read_until(b'\n', &mut line).map_err(read)? == 0 {
                break;
            }
            if let Some(line) = fold.take(String::from_utf8_lossy(&line).into_owned()) {
                print(&line)?;
            }
        }
        let code = self.end()?;
        if fold.left_out > 0 {
            print(&format!("  {faint}... {} lines left out: --full shows them{faint:#}\n", fold.left_out))?;
        }
        print(&fold.end.into_iter().collect::<String>())?;
        Ok(code)
    }

    /// Runs a verb and keeps what it prints as a page.
    fn page(&mut self, why: &str, args: &[&str]) -> Result<(), Error> {
        self.title(why, &format!("gangplank {} > {PAGE}", args.join(" ")))?;
        let (code, output) = self.output(self.command(args).stdin(Stdio::null()), false)?;
        self.mind(code, Exit::Done, &output)?;
        self.write(PAGE, &String::from_utf8_lossy(&output))
    }

    /// Runs a command to its end; its exit code, and what it printed.
    fn output(&self, command: &mut Command, errors: bool) -> Result<(Option<i32>, Vec<u8>), Error> {
        let (mut reader, writer) = io::pipe().map_err(started)?;
        if errors {
            command.stderr(writer.try_clone().map_err(started)?);
        }
        self.start(command.stdout(writer))?;
        let mut output = Vec::new();
        reader.read_to_end(&mut output).map_err(|error| Error::Io("reading what a step prints".to_owned(), error))?;
        Ok((self.end()?, output))
    }

    /// Starts a command. Its ends of pipes are its own then.
    fn start(&self, command: &mut Command) -> Result<(), Error> {
        let mut child = lock(&self.child);
        // Whoever heard the signal has looked here already, or will.
        self.go_on()?;
        *child = Some(command.spawn().map_err(started)?);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(())
    }

    /// Waits for the command that was started, which somebody else may end.
    fn end(&self) -> Result<Option<i32>, Error> {
        loop {
            let mut child = lock(&self.child);
            let Some(running) = child.as_mut() else { return Ok(None) };
            if let Some(status) = running.try_wait().map_err(started)? {
                *child = None;
                return Ok(status.code());
            }
            drop(child);
            thread::sleep(LOOK);
        }
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.stop.is_requested() {
            return Err(Error::Io("going on".to_owned(), io::ErrorKind::Interrupted.into()));
        }
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.home).args(args).arg(format!("--sandbox={SANDBOX}"));
        if self.show != Show::Ends {
            command.arg(format!("--color={}", self.color.name()));
        }
        command
    }

    fn mind(&self, code: Option<i32>, expected: Exit, output: &[u8]) -> Result<(), Error> {
        if code == Some(expected as i32) {
            return Ok(());
        }
        // A step that a signal has ended did not go wrong.
        self.go_on()?;
        print(&String::from_utf8_lossy(output))?;
        let got = code.map_or("was killed".to_owned(), |code| format!("ended with {code}"));
        Err(Error::Io(
            format!("step {} of the demonstration {got}, where {} was expected", self.step, expected as i32),
            io::Error::other("this is a mistake in gangplank, or the folder cannot be written"),
        ))
    }

    fn somebody_opens_the_port(&mut self) -> Result<(), Error> {
        self.title(
            "Somebody opens the port to the world.",
            "aws ec2 authorize-security-group-ingress --group-name gangplank-warehouse --protocol tcp --port 22 --cidr 0.0.0.0/0",
        )?;
        let sandbox = self.open()?;
        let reply = sandbox.change(company::open_to_the_world);
        // Clouds' logs tell of it a while later.
        let kept = "keeping the sandbox";
        sandbox.advance(SignedDuration::from_hours(1)).map_err(|error| Error::Io(kept.to_owned(), error))?;
        sandbox.keep().map_err(|error| Error::Io("keeping the sandbox".to_owned(), error))?;
        if reply.status == 200 {
            return Ok(());
        }
        Err(Error::Io(
            "opening the port".to_owned(),
            io::Error::other(String::from_utf8_lossy(&reply.body).into_owned()),
        ))
    }

    /// The worlds are as they were, by their own account and not by gangplank's.
    fn nothing_is_left(&mut self) -> Result<(), Error> {
        let after = self.open()?.change(|state, now| state.inventory(now));
        if after == self.before {
            return self
                .say(&format!("The sandbox itself says the same: its {} resources are those of before.", after.len()));
        }
        let new: Vec<&str> = after.iter().filter(|id| !self.before.contains(id)).map(String::as_str).collect();
        Err(Error::Io("the demonstration left something behind".to_owned(), io::Error::other(new.join(", "))))
    }
}

/// The lines of a text as they come, without its middle; what a step has done stays.
#[derive(Default)]
struct Fold {
    begun: usize,
    end: VecDeque<String>,
    left_out: usize,
}

impl Fold {
    /// The line itself, where it is shown at once.
    fn take(&mut self, line: String) -> Option<String> {
        if self.begun < BEGINNING {
            self.begun += 1;
            return Some(line);
        }
        if line.starts_with("✓ ") {
            self.left_out += mem::take(&mut self.end).len();
            return Some(line);
        }
        self.end.push_back(line);
        if self.end.len() > END {
            self.end.pop_front();
            self.left_out += 1;
        }
        None
    }
}

fn key(comment: &str) -> Result<PrivateKey, Error> {
    let mut key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(|error| unmade(&error))?;
    key.set_comment(comment);
    Ok(key)
}

fn unmade(error: &russh::keys::ssh_key::Error) -> Error {
    Error::Io("making a key".to_owned(), io::Error::other(error.to_string()))
}

fn started(error: io::Error) -> Error {
    Error::Io("starting this program once more".to_owned(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_leaves_out_the_middle_only() {
        for (lines, left_out) in [(0, 0), (1, 0), (BEGINNING, 0), (BEGINNING + END, 0), (BEGINNING + END + 5, 5)] {
            let mut fold = Fold::default();
            let text: Vec<String> = (0..lines).map(|n| format!("{n}\n")).collect();
            let begun: Vec<String> = text.iter().filter_map(|line| fold.take(line.clone())).collect();
            assert_eq!(fold.left_out, left_out);
            assert_eq!(begun, text[..begun.len()]);
            assert_eq!(Vec::from(fold.end), text[begun.len() + left_out..]);
        }
    }

    #[test]
    fn what_was_done_is_never_left_out() {
        let mut fold = Fold::default();
        for n in 0..BEGINNING + 30 {
            fold.take(format!("{n}\n"));
        }
        assert_eq!(fold.take("✓ created\n".to_owned()), Some("✓ created\n".to_owned()));
        assert_eq!((fold.left_out, fold.end.len()), (30, 0));
    }
}
