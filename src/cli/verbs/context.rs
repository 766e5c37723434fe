//! What every verb that asks a cloud works with: how to reach it, its clock, and how to show what comes back.

use std::{io, sync::Arc};

use jiff::Timestamp;

use super::online::Reading;
use crate::{
    cli::{
        exit::Error,
        style::{Color, Palette},
    },
    plan::Plan,
    provider::{
        clouds::Clouds,
        estate::{Estate, Places},
        fleet::Fleet,
        identity::IdentityNeed,
    },
    verify::network::dial::{Dialer, Tcp},
};

pub struct Context {
    pub color: Color,
    pub clouds: Clouds,
}

impl Context {
    pub fn now(&self) -> Timestamp {
        self.clouds.now()
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

    async fn connect_as<'p>(&self, plans: &'p [Plan], need: IdentityNeed) -> Result<Fleet<'p>, Error> {
        let mut fleet = Fleet::connect(plans, &self.clouds).await?;
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
            Clouds::Real => Arc::new(Tcp),
            Clouds::Sandbox(sandbox) => Arc::new(sandbox.clone()),
        }
    }

    /// Connects to whole accounts.
    pub async fn estate(&self, places: &Places) -> Result<Estate, Error> {
        Ok(Estate::connect(places, &self.clouds, &self.reading()).await?)
    }

    pub fn reading(&self) -> Reading {
        Reading::new(self.color)
    }

    /// The styles of what goes to stdout.
    pub fn palette(&self) -> Palette {
        self.color.palette(&io::stdout())
    }
}
