//! What every verb that asks a cloud works with: how to reach it, its clock, and how to show what comes back.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use super::online::Reading;
use crate::{
    cli::{
        exit::{Error, say},
        interruption::{Interruption, Phase},
    },
    location::CloudAccount,
    plan::Plan,
    provider::{
        clouds::Clouds,
        estate::{Estate, Estates, Places},
        fleet::Fleet,
        identity::IdentityNeed,
    },
    style::{Color, Palette, clean},
    text::shell_word,
    verify::network::dial::{Dialer, Tcp},
};

pub struct Context {
    pub color: Color,
    pub clouds: Clouds,
    /// What a signal interrupts.
    pub interruption: Interruption,
    /// The folder of the sandbox, as it was given.
    pub sandbox: Option<PathBuf>,
    /// The log is on stderr, so nothing there may move the cursor.
    pub logs: bool,
}

impl Context {
    pub fn now(&self) -> Timestamp {
        self.clouds.now()
    }

    /// Tells what the verb is doing, so that a signal can say what exists.
    pub fn enter(&self, phase: Phase) {
        self.interruption.enter(phase);
    }

    /// A command of this program about the same plans, as people type it: `gangplank verify plans`.
    pub fn command(&self, verb: &str, paths: &[PathBuf]) -> String {
        let paths = paths.iter().map(|path| shell_word(&path.to_string_lossy()).into_owned());
        let sandbox =
            self.sandbox.iter().map(|folder| shell_word(&format!("--sandbox={}", folder.display())).into_owned());
        let words: Vec<String> = [verb.to_owned()].into_iter().chain(paths).chain(sandbox).collect();
        format!("gangplank {}", words.join(" "))
    }

    /// Connects to the clouds that the plans name, and asks whose accounts these are. What is only read may be in one that does
    /// not tell.
    pub async fn connect<'p>(&self, plans: &'p [Plan]) -> Result<Fleet<'p>, Error> {
        self.connect_as(plans, IdentityNeed::ToRead).await
    }

    /// The same for a verb that writes, into accounts that are known.
    pub async fn connect_to_write<'p>(&self, plans: &'p [Plan]) -> Result<Fleet<'p>, Error> {
        self.connect_as(plans, IdentityNeed::ToWrite).await
    }

    /// The same for those plans of a run that it goes on with: whose accounts these are is known.
    pub async fn connect_to_rest<'p>(&self, rest: &'p [Plan], accounts: Vec<CloudAccount>) -> Result<Fleet<'p>, Error> {
        let fleet = Fleet::connect(rest, &self.clouds).await?;
        Ok(fleet.known_to_be_in(accounts))
    }

    async fn connect_as<'p>(&self, plans: &'p [Plan], need: IdentityNeed) -> Result<Fleet<'p>, Error> {
        let mut fleet = Fleet::connect(plans, &self.clouds).await?;
        self.tell(&fleet.notes());
        fleet.identify(need, &self.reading()).await?;
        Ok(fleet)
    }

    /// Keeps what happened in a sandbox. It goes on from the last call otherwise, without the time that has passed since.
    ///
    /// # Errors
    /// Its folder cannot be written.
    pub fn leave(&self) -> Result<(), Error> {
        match &self.clouds {
            Clouds::Real => Ok(()),
            Clouds::Sandbox(sandbox) => {
                sandbox.keep().map_err(|error| Error::Io("keeping the sandbox".to_owned(), error))
            }
        }
    }

    /// How bastions are connected to.
    pub fn dialer(&self) -> Arc<dyn Dialer> {
        match &self.clouds {
            Clouds::Real => Arc::new(Tcp::default()),
            Clouds::Sandbox(sandbox) => Arc::new(sandbox.clone()),
        }
    }

    /// Connects to whole accounts.
    pub async fn estate(&self, places: &Places) -> Result<Estate, Error> {
        let estate = Estate::connect(places, &self.clouds, &self.reading()).await?;
        self.tell(&estate.notes());
        Ok(estate)
    }

    /// Each note once in the life of this process, however often it connects.
    fn tell(&self, notes: &BTreeSet<&str>) {
        static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let Palette { faint, .. } = self.color.palette(&io::stderr());
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        for note in notes {
            if told.insert((*note).to_owned()) {
                say(&format!("{faint}note: {}{faint:#}\n", clean(note)));
            }
        }
    }

    /// Connects to whole accounts, of which some may not be reached.
    pub async fn estates(&self, places: &[Places]) -> Result<Estates, Error> {
        let estates = Estates::connect(places, &self.clouds, &self.reading()).await?;
        self.tell(&estates.notes());
        Ok(estates)
    }

    pub fn reading(&self) -> Reading {
        Reading::new(self.color)
    }

    /// The styles of what goes to stdout.
    pub fn palette(&self) -> Palette {
        self.color.palette(&io::stdout())
    }
}
