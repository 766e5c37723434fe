//! Where the clouds of a run are: those that the environment names, or a sandbox's. Never a mixture of both.

use std::env;

use jiff::Timestamp;

#[cfg(feature = "aws")]
use super::aws::api::{Ec2, NotConnected};
#[cfg(feature = "azure")]
use super::azure::arm::Arm;
#[cfg(feature = "azure")]
use crate::cloud_error::CloudError;
#[cfg(feature = "aws")]
use crate::sandbox::ec2::client::Direct;
use crate::{
    location::SandboxName,
    sandbox::{call::Cloud, cloud::Sandbox},
};

/// The region of a sandbox for plans that name none.
#[cfg(feature = "aws")]
const REGION: &str = "us-east-1";

#[derive(Clone, Debug)]
pub enum Clouds {
    /// As this process's environment says.
    Real,
    /// None of them: worlds in this process, which ask no environment.
    Sandbox(Sandbox),
}

impl Clouds {
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Real => Timestamp::now(),
            Self::Sandbox(sandbox) => sandbox.now(),
        }
    }

    /// The sandbox that these are in, where they are in one.
    pub fn sandbox(&self) -> Option<SandboxName> {
        match self {
            Self::Real => None,
            Self::Sandbox(sandbox) => Some(sandbox.name()),
        }
    }

    /// EC2 in a region, as a profile.
    ///
    /// # Errors
    /// No region or no such profile, or a setting that can't be used.
    #[cfg(feature = "aws")]
    pub async fn ec2(&self, profile: Option<&str>, region: Option<&str>) -> Result<Ec2, NotConnected> {
        match self {
            Self::Real => Ec2::connect(profile, region).await,
            Self::Sandbox(sandbox) => Ok(Ec2::over(Direct::new(sandbox.door(Cloud::Aws)), region.unwrap_or(REGION))),
        }
    }

    /// # Errors
    /// An environment that names no cloud.
    #[cfg(feature = "azure")]
    pub fn arm(&self) -> Result<Arm, CloudError> {
        match self {
            Self::Real => Arm::connect(&|name| env::var(name).ok()),
            Self::Sandbox(sandbox) => Arm::within(sandbox.door(Cloud::Azure)),
        }
    }
}
