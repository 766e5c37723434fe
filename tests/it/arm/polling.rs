//! The poller on recorded traffic: every long operation that was recorded ends as it did, and asks where the recorded client asked.

use std::{collections::BTreeMap, fs, time::Duration};

use gangplank::provider::azure::{
    error::Refusal,
    poll::{Next, Outcome, Place, Poller},
    request::{Answer, Headers, Method},
};
use serde::Deserialize;
use serde_json::Value;

use super::schema::folders;
use crate::support::cannot;

/// One recorded request and its answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Exchange {
    pub method: String,
    pub url: String,
    pub request: Option<String>,
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub response: Option<String>,
}

impl Exchange {
    pub fn body(&self) -> Value {
        serde_json::from_str(self.response.as_deref().unwrap_or_default()).unwrap_or_default()
    }

    /// Some were recorded as Python prints bytes.
    pub fn sent(&self) -> Option<Value> {
        let text = self.request.as_deref()?;
        let text = text.strip_prefix("b'").and_then(|t| t.strip_suffix('\'')).unwrap_or(text);
        serde_json::from_str(text).ok()
    }

    pub fn path(&self) -> &str {
        let at = self.url.find("/subscriptions/").unwrap_or_default();
        self.url[at..].split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn answer(&self) -> Answer {
        let header = |name: &str| self.header(name).map(str::to_owned);
        let headers = Headers {
            challenge: None,
            etag: header("etag"),
            operation: header("azure-asyncoperation"),
            location: header("location"),
            retry_after: header("retry-after"),
            request_id: header("x-ms-request-id"),
        };
        Answer { status: self.status, headers, body: self.body() }
    }
}

/// By name; none where there are none at all, which the test says aloud.
pub fn recordings() -> Option<BTreeMap<String, Vec<Exchange>>> {
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a recording");
        let exchanges: Vec<Exchange> =
            text.lines().map(|line| serde_json::from_str(line).expect("an exchange")).collect();
        (name, exchanges)
    };
    let files = folders("recordings").flat_map(|folder| fs::read_dir(folder).expect("a folder with recordings"));
    let found: BTreeMap<_, _> =
        files.map(|file| read(file.expect("a file").path())).filter(|(_, e)| !e.is_empty()).collect();
    if found.is_empty() {
        cannot("no recorded traffic of Azure here (tests/run downloads it; GANGPLANK_TEST_AZURE)");
        return None;
    }
    Some(found)
}

fn method(text: &str) -> Method {
    match text {
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "POST" => Method::Post,
        _ => Method::Get,
    }
}

/// How the operations of recordings ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub ended: usize,
    pub looks: usize,
    pub faults: usize,
    pub open: Vec<String>,
}

/// An operation that the recorded client left alone has no end to be found. Recordings of others are followed and not counted.
const ENDS: &str = "\
firewall-classic-503-2020-08-01: ended 6, looks 33, faults 1, open 0
firewall-policy-2024-03-01: ended 11, looks 22, faults 0, open 1
firewall-policy-dnat-azcli: ended 15, looks 28, faults 0, open 0
in-use-errors-2022-07-01: ended 10, looks 15, faults 0, open 0
network-interface-2020-08-01: ended 4, looks 6, faults 0, open 0
public-ip-2020-04-01: ended 2, looks 2, faults 0, open 0
public-ip-2024-03-01: ended 5, looks 4, faults 0, open 0
subnets-2020-04-01: ended 3, looks 3, faults 0, open 0
virtual-machine-2022-03-01: ended 10, looks 18, faults 0, open 0
virtual-network-2024-03-01: ended 7, looks 6, faults 0, open 0
virtual-networks-2020-04-01: ended 2, looks 2, faults 0, open 0
vm-life-2020-06-01: ended 6, looks 21, faults 0, open 0
vm-run-command-2020-06-01: ended 18, looks 31, faults 0, open 0
";

#[test]
fn every_recorded_operation_is_followed_to_its_end() {
    let Some(recordings) = recordings() else { return };
    let known = ENDS.lines().map(|line| line.split_once(": ").expect("a name and its tally"));
    let known: BTreeMap<&str, &str> = known.collect();
    for (name, exchanges) in &recordings {
        let mut tally = Tally::default();
        for (at, exchange) in exchanges.iter().enumerate() {
            let accepted = exchange.method != "GET" && (200..300).contains(&exchange.status);
            if accepted {
                follow(name, exchanges, at, &mut tally);
            }
        }
        let Tally { ended, looks, faults, open } = &tally;
        let told = format!("ended {ended}, looks {looks}, faults {faults}, open {}", open.len());
        assert_eq!(known.get(name.as_str()).copied().unwrap_or(&told), told, "{name}: {open:?}");
    }
}

/// Follows the operation that the write at `at` began.
pub fn follow(name: &str, exchanges: &[Exchange], at: usize, tally: &mut Tally) {
    let write = &exchanges[at];
    let mut poller = Poller::new(method(&write.method), Duration::from_secs(2));
    let mut next = poller.next(&write.answer(), None);
    let mut from = at;
    loop {
        let place = match &next {
            Next::Done(outcome) => {
                let deleted = write.method == "DELETE";
                assert_eq!(*outcome == Outcome::Gone, deleted, "{name} {at}: {outcome:?}");
                tally.ended += 1;
                return;
            }
            Next::Failed(refusal) => panic!("{name} {at}: {refusal:?}"),
            Next::Ask { place, after } => {
                assert!(
                    *after >= Duration::from_secs(2) && *after <= Duration::from_secs(60),
                    "{name} {at}: {after:?}"
                );
                place.clone()
            }
        };
        let path = match &place {
            Place::Url(url) => {
                url.split('?').next().unwrap_or_default().split("azure.com").last().unwrap_or_default().to_owned()
            }
            Place::Resource => write.path().to_owned(),
        };
        let found = exchanges.iter().enumerate().skip(from + 1).find(|(_, e)| e.method == "GET" && e.path() == path);
        let Some((found, look)) = found else {
            tally.open.push(format!(
                "{name} {at}: {} {}",
                write.method,
                gangplank::provider::azure::request::short(write.path())
            ));
            return;
        };
        from = found;
        tally.looks += 1;
        // The client repeats these, and the poller never sees them.
        if look.status >= 500 {
            tally.faults += 1;
            assert_eq!(Refusal::of(&look.answer()).code.as_deref(), Some("ServerTimeout"));
            continue;
        }
        next = poller.next(&look.answer(), None);
    }
}
