//! What happens to the calls of a story.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gangplank::sandbox::{
    arm,
    call::{Call, Cloud, Fate, Fates, Moment},
    cloud::State,
    ec2,
    http::Reply,
};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{external_writers::ExternalWriter, judge::Judge, story::Tally};

/// No plan's.
const OTHER_ACCOUNT: &str = "999988887777";

/// Shared between the story and the calls that it leads to.
#[derive(Clone)]
pub struct Weather(Arc<Mutex<Inner>>);

struct Inner {
    rng: fastrand::Rng,
    storm: Option<Storm>,
    judge: Judge,
    tally: Tally,
    death: Arc<Notify>,
    tell: bool,
}

/// How bad a run is.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// The caller dies at this call.
    pub dies_at: Option<u32>,
    /// In a thousand calls.
    pub lost: u32,
    pub refused: u32,
    pub meddled: u32,
}

impl Weather {
    pub fn new(rng: fastrand::Rng, judge: Judge, tell: bool) -> Self {
        let inner = Inner { rng, storm: None, judge, tally: Tally::default(), death: Arc::default(), tell };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, storm: Option<Storm>) {
        self.lock().storm = storm;
    }

    /// Resolves when the caller has died.
    pub fn death(&self) -> Arc<Notify> {
        Arc::clone(&self.lock().death)
    }

    pub fn judge<T>(&self, ask: impl FnOnce(&mut Judge) -> T) -> T {
        ask(&mut self.lock().judge)
    }

    pub fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.lock().tally);
    }

    /// Somebody writes what looks like gangplank's, between two runs.
    pub fn write_externally(&self, worlds: &mut State, writer: ExternalWriter, cloud: Cloud, now: Timestamp) {
        self.lock().write_externally(worlds, writer, cloud, now);
    }

    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }
}

impl Inner {
    fn write_externally(&mut self, worlds: &mut State, writer: ExternalWriter, cloud: Cloud, now: Timestamp) {
        if self.judge.write_externally(worlds, &mut self.rng, (writer, cloud), now) {
            match writer {
                ExternalWriter::Tagger => self.tally.tagged += 1,
                ExternalWriter::Forger => self.tally.forged += 1,
                ExternalWriter::Impostor => self.tally.impostors += 1,
            }
            if self.tell {
                println!("{now} {writer:?} writes in {cloud:?}");
            }
        }
    }
}

impl Fates for Weather {
    fn of(&mut self, call: &Call, worlds: &mut State) -> Fate {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.tally.calls += 1;
        inner.judge.hear(call);
        if inner.judge.other_account && call.operation == "GetCallerIdentity" {
            return Fate::Refused(other_identity());
        }
        let Some(storm) = &mut inner.storm else { return Fate::Answered };
        if let Some(left) = &mut storm.dies_at {
            if *left == 0 {
                inner.storm = None;
                inner.tally.crashes += 1;
                inner.death.notify_one();
                return Fate::Dead(if inner.rng.bool() { Moment::Before } else { Moment::After });
            }
            *left -= 1;
        }
        let dice = inner.rng.u32(..1000);
        if dice < storm.lost {
            inner.tally.lost += 1;
            return Fate::Lost(if inner.rng.bool() { Moment::Before } else { Moment::After });
        }
        if dice < storm.lost + storm.refused {
            inner.tally.refused += 1;
            return Fate::Refused(refusal(call, &mut inner.rng));
        }
        if dice < storm.lost + storm.refused + storm.meddled {
            if inner.rng.u8(..4) == 0 {
                let writer = ExternalWriter::some(&mut inner.rng);
                inner.write_externally(worlds, writer, call.cloud, call.time);
            } else if inner.judge.meddle(worlds, &mut inner.rng, call.cloud, call.time) {
                match call.cloud {
                    Cloud::Aws => inner.tally.meddled += 1,
                    Cloud::Azure => inner.tally.meddled_on_azure += 1,
                }
                if inner.tell {
                    println!("{} somebody changes something", call.time);
                }
            }
        }
        Fate::Answered
    }

    fn after(&mut self, call: &Call, worlds: &State) {
        let mut inner = self.lock();
        if inner.tell {
            println!(
                "{} {} {}",
                call.time,
                call.operation,
                call.status.map_or("no answer".to_owned(), |s| s.to_string())
            );
        }
        if call.write {
            inner.tally.writes += 1;
            inner.judge.look(worlds, call);
        }
    }
}

/// STS tells of another account.
fn other_identity() -> Reply {
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{OTHER_ACCOUNT}:user/ana</Arn><UserId>AIDAOTHER</UserId><Account>{OTHER_ACCOUNT}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId>\
         </ResponseMetadata></GetCallerIdentityResponse>"
    );
    Reply::text(200, body).with("content-type", "text/xml")
}

/// What a cloud says for a while: that it has no time; that a permission, a registration or a second factor is not there yet;
/// that a quota is used up.
fn refusal(call: &Call, rng: &mut fastrand::Rng) -> Reply {
    let (status, code) = match (call.cloud, if call.write { rng.u8(..8) } else { 7 }) {
        (Cloud::Aws, 0 | 1) => (403, "UnauthorizedOperation"),
        (Cloud::Aws, 2 | 3) => full(&call.operation),
        (Cloud::Azure, 0) => (403, "AuthorizationFailed"),
        // A write without a second factor ("Plan for mandatory Microsoft Entra multifactor authentication").
        (Cloud::Azure, 1) => (403, "RequestDisallowedByAzure"),
        (Cloud::Azure, 2) => (409, "MissingSubscriptionRegistration"),
        (Cloud::Azure, 3) => (409, "AnotherOperationInProgress"),
        (Cloud::Aws, _) if rng.bool() => (503, "RequestLimitExceeded"),
        (Cloud::Aws, _) => (500, "InternalError"),
        (Cloud::Azure, _) if rng.bool() => (429, "TooManyRequests"),
        (Cloud::Azure, _) => (503, "ServiceUnavailable"),
    };
    let says = "Said by a simulation.";
    match call.cloud {
        Cloud::Aws => Reply { status, ..ec2::refuse(code, says) },
        Cloud::Azure if status == 429 => arm::refuse(status, code, says).with("Retry-After", "5"),
        Cloud::Azure => arm::refuse(status, code, says),
    }
}

/// The account has no room for another of what this makes ("Error codes for the Amazon EC2 API").
fn full(operation: &str) -> (u16, &'static str) {
    match operation {
        "RunInstances" => (400, "VcpuLimitExceeded"),
        "AllocateAddress" => (400, "AddressLimitExceeded"),
        "CreateSecurityGroup" => (400, "SecurityGroupLimitExceeded"),
        "AuthorizeSecurityGroupIngress" | "AuthorizeSecurityGroupEgress" => (400, "RulesPerSecurityGroupLimitExceeded"),
        _ => (503, "Unavailable"),
    }
}
