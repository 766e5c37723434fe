//! What ends by itself, and who did what, as the program tells it of its own sandbox.

use std::fs;

use gangplank::sandbox::{
    cloud::{Sandbox, State},
    company,
    http::Ask,
};
use jiff::{SignedDuration, Timestamp};

use super::{Desk, FOLDER};

const SALES: &str = "plans/sales.yaml";

/// A desk whose bastion on Azure lives for so long.
fn desk(lifetime: &str) -> Desk {
    let desk = Desk::new();
    let plan = fs::read_to_string(desk.path(SALES)).unwrap();
    fs::write(desk.path(SALES), plan.replace("lifetime: 30d", &format!("lifetime: {lifetime}"))).unwrap();
    desk
}

fn state(desk: &Desk) -> String {
    let status = desk.play(&["status", "--output", "json", SALES]).expect(0);
    status.json()["bastions"][0]["instances"][0]["state"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned()
}

/// Without what is another time in every run.
fn masked(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ':', ';']);
        let of_day = bare.len() == 4 && bare.bytes().all(|b| b.is_ascii_digit());
        let mask = if of_day || bare.parse::<Timestamp>().is_ok() { "TIME" } else { return word.to_owned() };
        word.replace(bare, mask)
    };
    text.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// The lines of one step or note.
fn part(text: &str, with: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains(with)).unwrap_or_else(|| panic!("no {with} in\n{text}"));
    let depth = |line: &str| line.len() - line.trim_start().len();
    let more = lines[at + 1..].iter().take_while(|line| depth(line) > depth(lines[at]));
    masked(&[lines[at]].into_iter().chain(more.copied()).collect::<Vec<_>>().join("\n"))
}

#[cfg(feature = "azure")]
#[test]
fn azure_deallocates_what_has_ended_and_not_before() {
    let desk = desk("12h");
    desk.play(&["plan", SALES]).expect(0);
    let before = desk.inventory();
    let planned = desk.play(&["plan", SALES]).expect(0);
    insta::assert_snapshot!("the_auto_shutdown_of_a_short_life", part(&planned.stdout, "auto-shutdown of"));
    desk.play(&["apply", "--yes", SALES]).expect(0);
    desk.play(&["plan", "--detailed-exitcode", SALES]).expect(0);
    desk.play(&["drift", SALES]).expect(0);
    desk.play(&["sandbox", "advance", "11h"]).expect(0);
    assert_eq!(state(&desk), "running");
    desk.play(&["sandbox", "advance", "70m"]).expect(0);
    assert_eq!(state(&desk), "stopped", "by itself");
    desk.play(&["sandbox", "advance", "30m"]).expect(0);
    assert_eq!(state(&desk), "deallocated", "by Azure");
    desk.play(&["destroy", "--yes", SALES]).expect(0);
    assert_eq!(desk.inventory(), before);
}

#[cfg(feature = "azure")]
#[test]
fn a_moved_end_moves_it_too() {
    let desk = desk("12h");
    desk.play(&["apply", "--yes", "--no-verify", SALES]).expect(0);
    desk.play(&["sandbox", "advance", "11h"]).expect(0);
    let extended = desk.play(&["extend", "--by", "2d", "--yes", SALES]).expect(0);
    insta::assert_snapshot!("the_auto_shutdown_of_an_end_far_away", part(&extended.stdout, "auto-shutdown of"));
    desk.play(&["sandbox", "advance", "30h"]).expect(0);
    assert_eq!(state(&desk), "running");
    let shortened = desk.play(&["shorten", "--by", "12h", "--yes", SALES]).expect(0);
    assert!(shortened.stdout.contains("+ auto-shutdown of gangplank-sales"), "{shortened}");
    desk.play(&["drift", SALES]).expect(0);
    desk.play(&["sandbox", "advance", "8h"]).expect(0);
    assert_eq!(state(&desk), "deallocated");
}

#[cfg(feature = "azure")]
#[test]
fn without_its_provider_the_bastion_is_made_and_the_cost_is_told() {
    let desk = desk("12h");
    desk.play(&["plan", SALES]).expect(0);
    let kept = fs::read_to_string(desk.state()).unwrap();
    let without = kept.replacen(",\"Microsoft.DevTestLab\"", "", 1);
    assert_ne!(kept, without);
    fs::write(desk.state(), without).unwrap();
    let applied = desk.play(&["apply", "--yes", SALES]).expect(0);
    insta::assert_snapshot!("no_auto_shutdown_to_be_had", part(&applied.stdout, "auto-shutdown can't be set up"));
    desk.play(&["sandbox", "advance", "2d"]).expect(0);
    assert_eq!(state(&desk), "stopped");
    desk.play(&["destroy", "--yes", SALES]).expect(0);
}

/// Somebody opens both bastions to the world.
fn meddle(desk: &Desk) {
    let sandbox = Sandbox::open(&desk.path(FOLDER), State::company).unwrap();
    sandbox.change(|state, now| {
        if cfg!(feature = "aws") {
            assert_eq!(company::open_to_the_world(state, now).status, 200);
        }
        if cfg!(feature = "azure") {
            let group = state.arm.ids().into_iter().find(|id| id.ends_with("networksecuritygroups/gangplank-sales"));
            let body = serde_json::json!({"properties": {"protocol": "*", "access": "Allow", "direction": "Inbound",
                "priority": 4000, "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*",
                "destinationPortRange": "*"}});
            let ask = Ask {
                method: "PUT".to_owned(),
                path: format!("{}/securityRules/temporary", group.unwrap()),
                query: vec![("api-version".to_owned(), "2024-03-01".to_owned())],
                body: body.to_string().into_bytes(),
                ..Ask::default()
            };
            let reply = state.arm.answer(now, &ask);
            assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        }
    });
    sandbox.advance(SignedDuration::from_secs(60)).unwrap();
}

#[cfg(all(feature = "aws", feature = "azure"))]
#[test]
fn drift_names_who_changed_what_once_the_logs_tell() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    meddle(&desk);
    let who = |desk: &Desk| {
        let drift = desk.play(&["drift", "plans"]).expect(2);
        let lines = drift.stdout.lines().filter(|line| line.trim_start().starts_with("who "));
        masked(&lines.collect::<Vec<_>>().join("\n"))
    };
    // What somebody has just done is not told yet.
    let early = who(&desk);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    insta::assert_snapshot!("who_changed_what", format!("{early}\nAn hour later:\n{}", who(&desk)));
    let told = desk.play(&["drift", "--output", "json", "plans"]).expect(2).json().to_string();
    let comment = desk.play(&["drift", "--output", "markdown", "plans"]).expect(2).stdout;
    for text in [&told, &comment] {
        assert!(
            text.contains("user bob from 203.0.113.99") && text.contains("AuthorizeSecurityGroupIngress"),
            "{text}"
        );
        assert!(text.contains("somebody@") && text.contains("example.com from 203.0.113.99"), "{text}");
    }
}
