//! What every verb that asks a cloud works with: how to reach it, its clock, and how to show what comes back.

use std::{env, io};

use jiff::Timestamp;

use super::online::Reading;
use crate::{
    cli::{
        exit::Error,
        style::{Color, Palette},
    },
    plan::Plan,
    provider::{
        estate::{Estate, Places},
        fleet::Fleet,
    },
};

pub struct Context {
    pub color: Color,
}

impl Context {
    pub fn new(color: Color) -> Self {
        Self { color }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Connects to the clouds that the plans name, as the environment says.
    pub async fn connect<'p>(&self, plans: &'p [Plan]) -> Result<Fleet<'p>, Error> {
        Ok(Fleet::connect(plans, &|name| env::var(name).ok()).await?)
    }

    /// Connects to whole accounts, as the environment says.
    pub async fn estate(&self, places: &Places) -> Result<Estate, Error> {
        Ok(Estate::connect(places, &|name| env::var(name).ok(), &self.reading()).await?)
    }

    pub fn reading(&self) -> Reading {
        Reading::new(self.color)
    }

    /// The styles of what goes to stdout.
    pub fn palette(&self) -> Palette {
        self.color.palette(&io::stdout())
    }
}
