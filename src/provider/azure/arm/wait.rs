//! Long operations: followed until Azure has ended them, whoever began them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{
        error::operation_error,
        poll::{self, Next, Outcome, Place, Poller},
        request::{Answer, Headers, Method, Request, short},
        retry::{self, Repeat},
    },
    Arm, unreadable,
};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    provider::Progress,
};

impl Arm {
    /// Waits until Azure is at work on the resource no more, whoever set it to work: nothing else may be written to it before.
    /// Returns the resource as it then is, which may be `Failed`; `None` where there is none.
    pub async fn settle(&self, request: &Request, progress: &Progress<'_>) -> Result<Option<Value>, CloudError> {
        match self.call(request, Repeat::SAFE, progress).await {
            Ok(answer) => self.follow(request, answer, Poller::settling(self.pace), progress).await,
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn follow(
        &self,
        request: &Request,
        first: Answer,
        mut poller: Poller,
        progress: &Progress<'_>,
    ) -> Result<Option<Value>, CloudError> {
        let limit = poll::limit(&request.path, request.method);
        let started = Instant::now();
        let mut told = Telling::default();
        let mut answer = first;
        loop {
            let retry_after =
                answer.headers.retry_after.as_deref().and_then(|h| retry::retry_after(h, Timestamp::now()));
            let (place, after) = match poller.next(&answer, retry_after) {
                Next::Ask { place, after } => (place, after),
                Next::Done(Outcome::Gone) => return Ok(None),
                Next::Done(Outcome::Here) => return Ok(Some(answer.body)),
                Next::Done(Outcome::At(place)) => {
                    return self.look(request, &place, progress).await.map(|answer| Some(answer.body));
                }
                Next::Failed(refusal) => return Err(operation_error(request, refusal)),
            };
            if started.elapsed() + after > limit {
                return Err(endless(request, limit, poller.state()));
            }
            told.tell(request, poller.state(), started.elapsed(), progress);
            if progress.pause(after).await.is_err() {
                let reads = request.method == Method::Get;
                let residue = if reads { Residue::Nothing } else { Residue::Unfinished };
                let what = format_args!("{} to be {}", short(&request.path), end(request));
                return Err(CloudError::interrupted(&request.operation(), what, residue));
            }
            answer = match self.look(request, &place, progress).await {
                // Whether that is an end or a hiccup is the poller's to say.
                Err(error) if error.kind == ErrorKind::NotFound => {
                    Answer { status: 404, headers: Headers::default(), body: Value::Null }
                }
                other => other?,
            };
        }
    }

    /// Asks once more after something that is under way.
    async fn look(&self, request: &Request, place: &Place, progress: &Progress<'_>) -> Result<Answer, CloudError> {
        let get = Request::get(request.path.clone(), request.api_version);
        let url = match place {
            Place::Resource => self.url(&get),
            Place::Url(url) => self.own(url).ok_or_else(|| unreadable(request, "its status is on another host"))?,
        };
        // What was written may not be visible everywhere at once; what is removed is gone when it is.
        let written = matches!(request.method, Method::Put | Method::Patch) && *place == Place::Resource;
        let repeat = Repeat { settling: written, ..Repeat::AWAITING };
        self.repeated(&get, &url, repeat, progress).await.map_err(|error| CloudError {
            operation: request.operation(),
            message: format!("while it was awaited: {}", error.message),
            residue: if request.method == Method::Get { Residue::Nothing } else { Residue::Unfinished },
            ..error
        })
    }
}

/// What was said about one wait: it is said once a minute.
#[derive(Default)]
struct Telling {
    minutes: Option<u64>,
}

impl Telling {
    fn tell(&mut self, request: &Request, state: &str, waited: Duration, progress: &Progress<'_>) {
        let minutes = waited.as_secs() / 60;
        if self.minutes.replace(minutes) == Some(minutes) {
            return;
        }
        let end = end(request);
        let mut words = Vec::new();
        if !state.is_empty() {
            words.push(format!("Azure says {state}"));
        }
        if minutes > 0 {
            words.push(format!("{minutes} min so far"));
        }
        words.extend(poll::usual(&request.path, request.method).map(str::to_owned));
        let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        progress.waiting(format!("{} to be {end}{words}", short(&request.path)));
    }
}

/// What is awaited of what was written.
fn end(request: &Request) -> &'static str {
    if request.method == Method::Delete { "gone" } else { "ready" }
}

fn endless(request: &Request, limit: Duration, state: &str) -> CloudError {
    let said = if state.is_empty() { String::new() } else { format!("; Azure last said {state}") };
    CloudError {
        operation: request.operation(),
        kind: ErrorKind::Fault,
        code: None,
        request_id: None,
        message: format!("not finished after {} minutes{said}", limit.as_secs() / 60),
        residue: Residue::Unfinished,
        remedy: Some("see the resource in the portal; run the command again, it continues to wait".to_owned()),
    }
}
