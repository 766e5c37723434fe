//! What a person reads over a bastion's life: its cost and its end, before it is there, while it is, and once it has ended.

use jiff::Timestamp;

use super::Desk;

/// Without what differs from one time to the next: moments, and the fingerprints of keys.
fn steady(text: &str) -> String {
    let word = |word: &str| {
        let (core, comma) = word.strip_suffix([',', ';']).map_or((word, ""), |core| (core, &word[core.len()..]));
        match () {
            () if core.parse::<Timestamp>().is_ok() => format!("MOMENT{comma}"),
            () if core.starts_with("SHA256:") => "FINGERPRINT".to_owned(),
            () => word.to_owned(),
        }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn cost_and_end_are_told_throughout_a_life() {
    let desk = Desk::new();
    let read = |args: &[&str]| steady(&desk.play(args).expect(0).stdout);
    let notes = |text: &str| text.lines().filter(|line| line.contains("note:")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!("plan_of_what_is_not_there", notes(&read(&["plan", "plans"])));
    insta::assert_snapshot!("status_of_what_is_not_there", read(&["status", "plans"]));
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    insta::assert_snapshot!("status_of_what_is_up", read(&["status", "plans"]));
    desk.play(&["extend", "--yes", "--by", "20d", "plans"]).expect(0);
    desk.play(&["sandbox", "advance", "100d"]).expect(0);
    // One has ended, the other has ten days left.
    insta::assert_snapshot!("status_after_a_hundred_days", read(&["status", "plans"]));
    desk.play(&["sandbox", "advance", "11d"]).expect(0);
    insta::assert_snapshot!("status_of_what_has_ended", read(&["status", "plans"]));
}

/// Programs read the sandbox's time, as people do.
#[test]
fn events_are_dated_by_the_sandboxs_clock() {
    let desk = Desk::new();
    desk.play(&["plan", "plans"]).expect(0);
    desk.play(&["sandbox", "advance", "3650d"]).expect(0);
    let run = desk.play(&["apply", "--yes", "--no-verify", "--output", "json", "plans"]).expect(0);
    let years_ahead = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event");
        let time: Timestamp = event["time"].as_str().expect("a time").parse().expect("a time");
        (time.as_second() - Timestamp::now().as_second()) / (365 * 86400)
    };
    let ahead: Vec<i64> = run.stdout.lines().map(years_ahead).collect();
    assert!(ahead.len() > 20 && ahead.iter().all(|years| *years >= 9), "{ahead:?}\n{run}");
}
