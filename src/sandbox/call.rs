//! A call to one of the worlds, as it is logged, and what may happen to it.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    cloud::State,
    ec2,
    http::{Ask, Reply},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    Aws,
    Azure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    pub time: Timestamp,
    pub cloud: Cloud,
    /// `RunInstances`, `PUT /subscriptions/…`
    pub operation: String,
    /// The region or the subscription that is asked; empty where a call is to none.
    pub place: String,
    /// Changes something, or tries to.
    pub write: bool,
    /// What was answered; none where the call or its answer was lost.
    pub status: Option<u16>,
}

impl Call {
    pub fn of(cloud: Cloud, ask: &Ask, time: Timestamp) -> Self {
        let (operation, place, write) = match cloud {
            Cloud::Aws => {
                let fields = form_urlencoded::parse(&ask.body);
                let in_body =
                    fields.into_iter().find(|(name, _)| name == "Action").map(|(_, value)| value.into_owned());
                let in_query = || ask.query("Action").map(str::to_owned);
                let asked = ec2::trail::operation(ask).map(str::to_owned);
                let action = asked.or(in_body).or_else(in_query).unwrap_or_default();
                let write = !["Describe", "Get", "Lookup"].iter().any(|read| action.starts_with(read));
                (action, ec2::region_of(ask), write)
            }
            Cloud::Azure => {
                let reads = ask.method == "GET" || ask.path.to_lowercase().ends_with("/retrievebootdiagnosticsdata");
                let mut parts =
                    ask.path.split('/').skip_while(|part| !part.eq_ignore_ascii_case("subscriptions")).skip(1);
                let place = parts.next().unwrap_or_default().to_owned();
                (format!("{} {}", ask.method, ask.path), place, !reads)
            }
        };
        Self { time, cloud, operation, place, write, status: None }
    }
}

/// Before the call has an effect, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Before,
    After,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fate {
    Answered,
    /// The cloud's way of saying no, without any effect.
    Refused(Reply),
    /// The connection closes without an answer.
    Lost(Moment),
    /// The caller dies.
    Dead(Moment),
}

/// Who decides what happens to calls. The worlds are at hand: somebody else may act between two calls.
pub trait Fates: Send {
    fn of(&mut self, call: &Call, worlds: &mut State) -> Fate;

    /// The call is over.
    fn after(&mut self, call: &Call, worlds: &State);
}
