//! Trouble between a caller and the world, and the log of calls.

use std::ops::Range;

use gangplank::sandbox::http::{Ask, Reply};

use super::world::{Call, World, refused};
use crate::support::Moment;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Azure's own way of saying no, without any effect.
    Answer { status: u16, code: &'static str, message: &'static str, retry_after: Option<&'static str> },
    /// Something that is not Azure answers.
    Garbage,
    /// Somebody else does something just before.
    Meanwhile(fn(&mut World)),
    /// The connection closes without an answer.
    Drop(Moment),
    /// The caller is killed.
    Kill(Moment),
}

impl Fault {
    pub const fn answer(status: u16, code: &'static str) -> Self {
        Self::Answer { status, code, message: "Said by a test.", retry_after: None }
    }

    pub const fn throttled(retry_after: &'static str) -> Self {
        Self::Answer {
            status: 429,
            code: "SubscriptionRequestsThrottled",
            message: "Number of requests for subscription exceeded the limit.",
            retry_after: Some(retry_after),
        }
    }
}

/// Which calls a fault is for.
#[derive(Clone, Debug)]
pub enum Which {
    Any,
    Writes,
    /// By method and a part of the path, without case.
    To(&'static str, &'static str),
}

#[derive(Clone)]
pub struct Rule {
    which: Which,
    /// Of the calls in question, counted from 0.
    window: Range<usize>,
    fault: Fault,
    seen: usize,
}

/// What the caller gets.
#[derive(Debug)]
pub enum Served {
    Reply(Reply),
    Garbage,
    Lost,
    Kill,
}

impl World {
    /// Of the calls in question, those in `window` (from 0) meet `fault`. The rule that was made first wins.
    pub fn fault(&mut self, which: Which, window: Range<usize>, fault: Fault) {
        self.rules.push(Rule { which, window, fault, seen: 0 });
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.rules.clear();
    }

    pub fn writes(&self) -> usize {
        self.calls.iter().filter(|call| call.is_write()).count()
    }

    pub fn reads(&self) -> usize {
        self.calls.len() - self.writes()
    }

    /// Answers a call, or does to it what the test wants.
    pub fn serve(&mut self, ask: &Ask) -> Served {
        let body = serde_json::from_slice(&ask.body).ok();
        let call = Call { method: ask.method.clone(), path: ask.path.clone(), body, status: None };
        let mut found = None;
        for rule in &mut self.rules {
            let meant = match rule.which {
                Which::Any => true,
                Which::Writes => call.is_write(),
                Which::To(method, part) => {
                    call.method == method && call.path.to_lowercase().contains(&part.to_lowercase())
                }
            };
            if meant {
                // Each rule counts each call.
                rule.seen += 1;
                if found.is_none() && rule.window.contains(&(rule.seen - 1)) {
                    found = Some(rule.fault.clone());
                }
            }
        }
        self.calls.push(call);
        let at = self.calls.len() - 1;
        let answer = |world: &mut Self| {
            let mut reply = world.answer(ask);
            reply.headers.retain(|(name, _)| name != "x-ms-request-id");
            world.calls[at].status = Some(reply.status);
            numbered(reply, at)
        };
        match found {
            None => Served::Reply(answer(self)),
            Some(Fault::Answer { status, code, message, retry_after }) => {
                self.calls[at].status = Some(status);
                let reply = numbered(refused(status, code, message), at);
                Served::Reply(match retry_after {
                    Some(seconds) => reply.with("Retry-After", seconds),
                    None => reply,
                })
            }
            Some(Fault::Meanwhile(act)) => {
                act(self);
                Served::Reply(answer(self))
            }
            Some(Fault::Garbage) => Served::Garbage,
            Some(Fault::Drop(Moment::Before)) => Served::Lost,
            Some(Fault::Drop(Moment::After)) => {
                answer(self);
                Served::Lost
            }
            Some(Fault::Kill(Moment::Before)) => Served::Kill,
            Some(Fault::Kill(Moment::After)) => {
                answer(self);
                Served::Kill
            }
        }
    }
}

/// With an id that a test can foresee.
fn numbered(reply: Reply, at: usize) -> Reply {
    reply.with("x-ms-request-id", &format!("request-{at}"))
}
