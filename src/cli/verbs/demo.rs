//! `gangplank demo`: the whole life of two bastions in a sandbox. Every step is this program, started as people start it; the
//! plans, the keys and the sandbox are in a folder of its own.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::Instant,
};

use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};

use crate::{
    cli::{
        args::Demo,
        exit::{Error, Exit, print},
        style::{Color, Palette},
    },
    sandbox::{
        cloud::{Sandbox, State},
        company,
    },
};

const PLANS: &str = "plans";
const SANDBOX: &str = "sandbox";
const IDENTITY: &str = "ana";
const PAGE: &str = "handoff.html";

/// A demonstration under way.
struct Stage {
    home: PathBuf,
    program: PathBuf,
    quiet: bool,
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
    let result = play(args, color, &home);
    if args.keep.is_none() {
        // What stays behind would be a temporary folder of invented keys.
        let _ = fs::remove_dir_all(&home);
    }
    let exit = result?;
    if exit == Exit::Done {
        let kept = match &args.keep {
            Some(folder) => format!(
                "Look around in {}: the page is {PAGE}, and any command works there with --sandbox={SANDBOX}.\n",
                folder.display()
            ),
            None => "With `--keep FOLDER` the plans, the page and the sandbox stay.\n".to_owned(),
        };
        print(&format!(
            "\nEvery step ended as it should, in {:.1} s: two bastions came, were proven, changed, repaired and removed.\n\
             Nobody's cloud was asked. For yours: gangplank init aws > warehouse.yaml\n{kept}",
            began.elapsed().as_secs_f64()
        ))?;
    }
    Ok(exit)
}

fn play(args: &Demo, color: Color, home: &Path) -> Result<Exit, Error> {
    let [first, second, ana] = [key("secoda")?, key("secoda, rotated")?, key("ana")?];
    let mut stage = Stage::new(args, color, home, &ana)?;
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
    stage.run("A nightly job looks for drift: exit 2.", &["drift", folder], Exit::Differs)?;
    stage.run("Applying repairs it.", &["apply", "--yes", folder], Exit::Done)?;
    stage.run("No drift any more: exit 0.", &["drift", folder], Exit::Done)?;

    stage.run("Take it all away, and look whether anything is left.", &["destroy", "--yes", folder], Exit::Done)?;
    stage.nothing_is_left()?;
    Ok(Exit::Done)
}

impl Stage {
    fn new(args: &Demo, color: Color, home: &Path, ana: &PrivateKey) -> Result<Self, Error> {
        let program = env::current_exe().map_err(|error| Error::Io("finding this program".to_owned(), error))?;
        let palette = color.palette(&io::stdout());
        let quiet = args.quiet || (env::var_os("CI").is_some() && !io::stdout().is_terminal());
        let mut stage = Self { home: home.to_owned(), program, quiet, color, palette, step: 0, before: Vec::new() };
        stage.before = stage.open()?.change(|state, _| state.inventory());
        fs::create_dir(home.join(PLANS)).map_err(|error| Error::Io("making a folder of plans".to_owned(), error))?;
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
        if self.quiet { Ok(()) } else { print(&format!("{text}\n")) }
    }

    fn title(&mut self, why: &str, command: &str) -> Result<(), Error> {
        self.step += 1;
        let Palette { heading, faint, .. } = self.palette;
        let step = self.step;
        if self.quiet {
            print(&format!("{step:>2}. {command}\n"))
        } else {
            print(&format!("\n{heading}{step}. {why}{heading:#}\n{faint}${faint:#} {command}\n"))
        }
    }

    /// Runs a verb and minds its exit code.
    fn run(&mut self, why: &str, args: &[&str], expected: Exit) -> Result<(), Error> {
        self.title(why, &format!("gangplank {}", args.join(" ")))?;
        let mut command = self.command(args);
        let (code, output) = if self.quiet {
            let output = command.stdin(Stdio::null()).output().map_err(started)?;
            (output.status.code(), [output.stdout, output.stderr].concat())
        } else {
            (command.status().map_err(started)?.code(), Vec::new())
        };
        self.mind(code, expected, &output)
    }

    /// Runs a verb and keeps what it prints as a page.
    fn page(&mut self, why: &str, args: &[&str]) -> Result<(), Error> {
        self.title(why, &format!("gangplank {} > {PAGE}", args.join(" ")))?;
        let output = self.command(args).stderr(Stdio::inherit()).output().map_err(started)?;
        self.mind(output.status.code(), Exit::Done, &output.stdout)?;
        self.write(PAGE, &String::from_utf8_lossy(&output.stdout))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.home).args(args).arg(format!("--sandbox={SANDBOX}"));
        command.arg(format!("--color={}", self.color.name()));
        command
    }

    fn mind(&self, code: Option<i32>, expected: Exit, output: &[u8]) -> Result<(), Error> {
        if code == Some(expected as i32) {
            return Ok(());
        }
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
        let after = self.open()?.change(|state, _| state.inventory());
        if after == self.before {
            return self
                .say(&format!("The sandbox itself says the same: its {} resources are those of before.", after.len()));
        }
        let new: Vec<&str> = after.iter().filter(|id| !self.before.contains(id)).map(String::as_str).collect();
        Err(Error::Io("the demonstration left something behind".to_owned(), io::Error::other(new.join(", "))))
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
