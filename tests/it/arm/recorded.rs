//! The client on recorded traffic: each request gets the next recorded answer to it, and time passes by its own pauses.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::http::{AsyncRawResponse, HttpClient, Request as HttpRequest, headers::Headers};
use gangplank::{
    changeset::StepId,
    event::{Event, Watcher},
    provider::{
        Progress,
        azure::{arm::Arm, request::Request, retry::Repeat},
    },
};
use serde_json::Value;
use tokio::time::Instant;

use super::polling::{Exchange, recordings};
use crate::support::cannot;

/// Plays a recording from a certain exchange on.
struct Recorded {
    exchanges: Vec<Exchange>,
    next: Mutex<usize>,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorded")
    }
}

impl HttpClient for Recorded {
    fn execute_request<'a, 'b, 'async_trait>(
        &'a self,
        request: &'b HttpRequest,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        'b: 'async_trait,
        Self: 'async_trait,
    {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (method, path) = (request.method().as_ref().to_owned(), request.url().path());
        let found = self.exchanges.iter().enumerate().skip(*next).find(|(_, e)| e.method == method && e.path() == path);
        let (at, exchange) = found.unwrap_or_else(|| panic!("{method} {path} was not recorded from {next} on"));
        *next = at + 1;
        let mut headers = Headers::new();
        for (name, value) in &exchange.headers {
            headers.insert(name.clone(), value.clone());
        }
        let body = exchange.response.clone().unwrap_or_default();
        let answer = AsyncRawResponse::from_bytes(exchange.status.into(), headers, body);
        Box::pin(async move { Ok(answer) })
    }
}

#[derive(Default)]
struct Repeats(RefCell<Vec<String>>);

impl Watcher for Repeats {
    fn event(&self, event: Event) {
        if let Event::StepRetrying { operation, code, .. } = event {
            self.0.borrow_mut().push(format!("{operation} {code}"));
        }
    }
}

/// Repeats a recorded write with our client: what it returned, what it had to repeat, and how long it took.
async fn again(name: &str, at: usize) -> Option<(Option<Value>, Vec<String>, Duration)> {
    let Some(exchanges) = recordings()?.remove(name) else {
        cannot(&format!("the recording {name} is not here (GANGPLANK_TEST_AZURE)"));
        return None;
    };
    let write = exchanges[at].clone();
    let endpoint = "https://management.azure.com".parse().expect("an address");
    let http = Arc::new(Recorded { exchanges, next: Mutex::new(at) });
    let arm = Arm::new(endpoint, http, None);
    let (repeats, step) = (Repeats::default(), StepId("x".to_owned()));
    let progress = Progress { step: &step, watcher: &repeats };
    let request = match write.method.as_str() {
        "PUT" => Request::put(write.path(), "2024-03-01", write.sent().expect("a body")),
        "PATCH" => Request::patch(write.path(), "2024-03-01", write.sent().expect("a body")),
        "DELETE" => Request::delete(write.path(), "2024-03-01"),
        other => panic!("{other} is not for this"),
    };
    let started = Instant::now();
    let made = arm.write(&request, Repeat::SAFE, &progress).await.unwrap_or_else(|error| panic!("{error}"));
    Some((made, repeats.0.into_inner(), started.elapsed()))
}

#[tokio::test(start_paused = true)]
async fn a_firewall_is_made_as_it_was_recorded() {
    let Some((made, repeats, took)) = again("firewall-policy-2024-03-01", 17).await else { return };
    assert_eq!(made.expect("a firewall")["properties"]["provisioningState"], "Succeeded");
    assert_eq!(repeats, Vec::<String>::new());
    assert_eq!(took.as_secs(), 10 + 10 + 20, "as Azure asked");
}

#[tokio::test(start_paused = true)]
async fn a_firewall_that_is_busy_eight_times_is_changed_at_the_ninth() {
    let Some((made, repeats, took)) = again("firewall-policy-2024-03-01", 38).await else { return };
    assert_eq!(made.expect("a firewall")["properties"]["autoscaleConfiguration"]["maxCapacity"], 4);
    assert_eq!(repeats, ["PUT Microsoft.Network/azureFirewalls/asotest-firewall-qkvvlg AnotherOperationInProgress"; 8]);
    assert!(took < Duration::from_secs(300), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fault_while_it_is_awaited_is_waited_out() {
    let Some((made, repeats, _)) = again("firewall-classic-503-2020-08-01", 16).await else { return };
    assert_eq!(made.expect("a firewall")["properties"]["provisioningState"], "Succeeded");
    assert_eq!(repeats.len(), 1, "{repeats:?}");
    assert!(repeats[0].ends_with(" ServerTimeout"), "{repeats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_without_a_word_on_where_to_ask_is_followed_too() {
    let Some((made, ..)) = again("firewall-classic-503-2020-08-01", 31).await else { return };
    let made = made.expect("a firewall");
    assert_eq!(
        (&made["properties"]["provisioningState"], &made["tags"]["tag1"]),
        (&"Succeeded".into(), &"value1".into())
    );
}

#[tokio::test(start_paused = true)]
async fn removals_end_with_nothing() {
    for (name, at) in [
        ("firewall-classic-503-2020-08-01", 34),
        ("network-interface-2020-08-01", 14),
        ("vm-life-2020-06-01", 17),
        ("vm-run-command-2020-06-01", 67),
    ] {
        let Some((left, ..)) = again(name, at).await else { return };
        assert_eq!(left, None, "{name} {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn newer_removals_end_with_nothing() {
    for (name, at) in
        [("firewall-policy-2024-03-01", 52), ("firewall-policy-2024-03-01", 57), ("virtual-machine-2022-03-01", 35)]
    {
        let Some((left, ..)) = again(name, at).await else { return };
        assert_eq!(left, None, "{name} {at}");
    }
}
