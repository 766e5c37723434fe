//! What a session carries: more than one packet's worth both ways, and words after a rest.

use std::{sync::Arc, time::Duration};

use russh::keys::PublicKey;
use tokio::time::{Instant, sleep_until};

use super::{
    ask::Asker,
    clock::{Clock, Late},
    identity::Identity,
    session::{Answer, Question, Route, Session},
};

/// RFC 4253 section 6.1: a packet of 35,000 bytes is what every server must be able to read.
const LARGE: usize = 24_000;
/// Packets of this size from here, and answers of the server's.
const TIMES: usize = 2;
const ANSWERS: usize = 4;

/// What takes so long is tried twice.
pub const SLOW: Duration = Duration::from_millis(3500);

/// Where it got stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Nothing came after a large packet from here.
    Sending,
    /// A large answer of the server's did not come.
    Hearing,
    /// There was no session, or it ended; why.
    NoSession(String),
}

/// What was carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    pub sent: usize,
    pub heard: usize,
    pub took: Duration,
    pub stuck: Option<Stuck>,
    /// Whether it goes in small segments what got stuck in large ones; `None`: not tried.
    pub small: Option<bool>,
    /// How long the connection rested, and whether it answered then; `None`: not tried.
    pub rest: Option<(Duration, bool)>,
}

/// A session that nothing else is done on, and since when it rests.
#[derive(Default)]
pub struct Quiet(Option<(Session, Instant)>);

/// Enters once more and carries.
pub async fn transfer(route: &Route, identity: &Arc<Identity>) -> (Transfer, Quiet) {
    let session = match enter(route, identity).await {
        Ok(session) => session,
        Err(why) => {
            return (Transfer { stuck: Some(Stuck::NoSession(why)), ..Transfer::default() }, Quiet(None));
        }
    };
    let mut transfer = carry(&session, &route.clock).await;
    if transfer.stuck.is_none() && transfer.took >= SLOW {
        let again = carry(&session, &route.clock).await;
        transfer = if again.stuck.is_none() && again.took < transfer.took { again } else { transfer };
    }
    if matches!(transfer.stuck, Some(Stuck::Sending | Stuck::Hearing)) {
        transfer.small = match enter(&route.small(), identity).await {
            Ok(session) => Some(carry(&session, &route.clock).await.stuck.is_none()),
            Err(_) => None,
        };
        return (transfer, Quiet(None));
    }
    let quiet = transfer.stuck.is_none().then(|| (session, Instant::now()));
    (transfer, Quiet(quiet))
}

async fn enter(route: &Route, identity: &Arc<Identity>) -> Result<Session, String> {
    let mut asker = Asker::new(route, identity.user.as_str(), None);
    match asker.ask(Question::Identity(Arc::clone(identity))).await {
        Answer::Yes => asker.session.take().ok_or_else(|| "no session".to_owned()),
        Answer::None(why) => Err(why),
        _ => Err("the identity did not enter a second time".to_owned()),
    }
}

async fn carry(session: &Session, clock: &Clock) -> Transfer {
    let begun = Instant::now();
    let mut transfer = Transfer::default();
    let stuck = 'carried: {
        // No server knows this request: it answers that (RFC 4254 section 4), after it has read all of it.
        for _ in 0..TIMES {
            match request(session, clock, "padding@gangplank.invalid", &vec![0; LARGE]).await {
                Ok(_) => transfer.sent += LARGE,
                Err(Missed::Late) => break 'carried Some(Stuck::Sending),
                Err(Missed::Ended) => break 'carried Some(ended(session)),
            }
        }
        // OpenSSH's PROTOCOL, section 2.5: the server signs once for each key that is named, also where one is named often.
        let Some(keys) = session.host_key().and_then(|key| named_often(&key)) else { break 'carried None };
        for _ in 0..ANSWERS {
            match request(session, clock, "hostkeys-prove-00@openssh.com", &keys).await {
                Ok(Some(proof)) => {
                    transfer.sent += keys.len();
                    transfer.heard += proof;
                }
                Ok(None) => break,
                Err(Missed::Late) => break 'carried Some(Stuck::Hearing),
                Err(Missed::Ended) => break 'carried Some(ended(session)),
            }
        }
        None
    };
    Transfer { took: begun.elapsed(), stuck, ..transfer }
}

fn ended(session: &Session) -> Stuck {
    let goodbye = session.goodbye().map(|said| format!(": {said}")).unwrap_or_default();
    Stuck::NoSession(format!("the connection ended{goodbye}"))
}

fn named_often(key: &PublicKey) -> Option<Vec<u8>> {
    let key = key.to_bytes().ok()?;
    let length = u32::try_from(key.len()).ok()?.to_be_bytes();
    Some([length.as_slice(), &key].concat().repeat((LARGE / (key.len() + 4)).clamp(1, 300)))
}

enum Missed {
    Late,
    Ended,
}

/// The length of the answer; `None` for a refusal.
async fn request(session: &Session, clock: &Clock, name: &str, data: &[u8]) -> Result<Option<usize>, Missed> {
    match clock.within(session.handle.send_global_request(name, data, true)).await {
        Ok(Ok(answer)) => Ok(answer.map(|answer| answer.len())),
        Ok(Err(russh::Error::RequestDenied)) if session.handle.is_closed() => Err(Missed::Ended),
        Ok(Err(russh::Error::RequestDenied)) => Ok(None),
        Ok(Err(_)) => Err(Missed::Ended),
        Err(Late) => Err(Missed::Late),
    }
}

impl Quiet {
    /// Waits until the session has rested for so long, and asks whether it is still there.
    pub async fn ask(self, rest: Duration, clock: &Clock) -> Option<(Duration, bool)> {
        let (session, since) = self.0?;
        sleep_until((since + rest).min(clock.end)).await;
        let rested = since.elapsed();
        let answered = matches!(clock.within(session.handle.send_ping()).await, Ok(Ok(())));
        Some((rested, answered && !session.handle.is_closed()))
    }
}
