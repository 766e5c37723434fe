//! The report itself, the boot, the clock, the disk, and what else listens.

use jiff::{SignedDuration, Timestamp};

use super::{Bench, Judged, MAX_AGE, MachineEvidence, Problem, REPLACE, Silence, fail, found, unknown};
use crate::verify::{Check, Part, Vantage, report::Report};

/// A boot takes two to five minutes, and a cloud shows a console some minutes late.
const BOOT_LIMIT: SignedDuration = SignedDuration::from_mins(15);
/// Seconds. Certificates and signed requests bear more, logs of two machines do not.
const MAX_SKEW: f64 = 60.0;
/// Updates and logs need it.
const LEAST_FREE: u64 = 100 * 1024 * 1024;
const LEAST_INODES: u64 = 1000;
/// Longer than all tries of `templates/updates.sh` together: what still runs then was cut off by a restart.
const LONGEST_UPDATE: SignedDuration = SignedDuration::from_hours(12);
/// systemd-resolved answers LLMNR there, on images that leave it on.
const LLMNR: u16 = 5355;
/// Begins the evidence of a machine that was not set up to its end.
pub const UNFINISHED: &str = "gangplank-boot: ";

/// Whether there is a report to judge by; and the report, where there is.
pub fn report<'a>(seen: &MachineEvidence<'a>) -> (Check, Result<&'a Report, String>) {
    let check =
        Check::new(Vantage::Machine, "machine.report", Part::Bastion, "the machine is alive and reports about itself");
    let reading = match &seen.report {
        Ok(reading) => reading,
        Err(Silence::Unread(why)) => return (check.unknown(why.clone()), Err(format!("there is no report: {why}"))),
        Err(Silence::NoReport(none)) => {
            let check = none
                .rejected
                .iter()
                .take(5)
                .fold(check, |c, r| c.seen(format!("console line {}: {}", r.line, r.reason)));
            let none = none.to_string();
            let check = match seen.launched.map(|at| seen.now.duration_since(at)) {
                Some(age) if age > BOOT_LIMIT => check.fail(
                    format!(
                        "{none}, {} after its start: its boot failed before it could report, or it hangs",
                        ago(age)
                    ),
                    format!("read the console for the reason; {REPLACE}"),
                ),
                _ => check.unknown(format!("{none}; a machine reports some minutes after its start")),
            };
            return (check, Err(format!("there is no report: {none}")));
        }
    };
    let report = &reading.report;
    let made = made_at(report, seen);
    let age = made.map(|made| seen.now.duration_since(made));
    let mut check = check.seen(
        format!(
            "made {}, occasion: {:?}, boot {}",
            age.map_or_else(|| "at an unknown time".to_owned(), |age| format!("{} ago", ago(age))),
            report.why,
            report.boot_id
        )
        .to_lowercase(),
    );
    if !report.truncated.is_empty() {
        check = check
            .seen(format!("left out because the line would have become too long: {}", report.truncated.join(", ")));
    }
    for rejected in reading.later_rejected.iter().take(5) {
        check = check.seen(format!("console line {}, after this report: {}", rejected.line, rejected.reason));
    }
    match age {
        None => (check.unknown("its time is no time"), Err("the report's time is no time".to_owned())),
        Some(age) if age > MAX_AGE => {
            let old = format!("the last report is {} old", ago(age));
            let check = check.fail(
                format!("{old}, and the machine reports every hour: it has stopped, hangs, or cannot print"),
                format!("look at the instance in the cloud's console, reboot it there, or replace it; {REPLACE}"),
            );
            (check, Err(format!("{old}: see machine.report")))
        }
        Some(_) => (check.pass(), Ok(report)),
    }
}

/// When the report was made, by the best clock there is: the machine's own may be wrong.
fn made_at(report: &Report, seen: &MachineEvidence<'_>) -> Option<Timestamp> {
    let skew = report.clock.as_result().ok().and_then(|clock| clock.skew.as_result().ok());
    let time = timestamp(report.time - skew.copied().unwrap_or_default())?;
    match (skew, earliest(report, seen)) {
        // It cannot have been made before the machine had been up for so long.
        (None, Some(earliest)) => Some(time.max(earliest)),
        _ => Some(time),
    }
}

/// The report cannot be older: a reboot sets the uptime back, and nothing sets it forward.
fn earliest(report: &Report, seen: &MachineEvidence<'_>) -> Option<Timestamp> {
    let since = seen.launched?.duration_until(seen.now);
    let uptime = SignedDuration::try_from_secs_f64(report.uptime).ok()?;
    // An uptime longer than the machine's life is another clock's: a container shows its host's.
    if uptime > since + SignedDuration::from_mins(1) {
        return None;
    }
    seen.launched?.checked_add(uptime).ok()
}

fn timestamp(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

pub fn checks(bench: &mut Bench<'_>) {
    let seen = bench.seen;
    bench.check(
        "machine.cloud-init",
        None,
        Part::Bastion,
        "the machine was set up to its end, without an error",
        cloud_init,
    );
    bench.check(
        "machine.document",
        None,
        Part::Bastion,
        "the machine was made from the plan's document",
        |report, said| {
            said.push(format!("made from {}, the plan asks for {}", report.document, seen.document));
            if report.document != seen.document {
                return fail(
                    "the plan has changed since the machine was made, or another gangplank made it",
                    "`gangplank plan` shows what differs; `gangplank apply` replaces the machine",
                );
            }
            match seen.tagged_document {
                Some(tag) if tag != report.document => fail(
                    format!("the instance's tag gangplank:boot tells another document, {tag}"),
                    "`gangplank apply` replaces the machine, since it cannot know what it runs",
                ),
                _ => Ok(()),
            }
        },
    );
    bench.check("machine.clock", None, Part::Bastion, "the machine's clock is right", |report, said| {
        clock(report, seen, said)
    });
    bench.check("machine.disk", None, Part::Bastion, "the disk can be written and has room", |report, said| {
        let disk = found("its disk", &report.disk)?;
        said.push(format!(
            "{} MiB and {} inodes free",
            disk.free >> 20,
            disk.free_inodes.map_or_else(|| "enough".to_owned(), |n| n.to_string())
        ));
        if disk.read_only {
            return fail("the root file system is read-only: the kernel does that after an error of the disk", REPLACE);
        }
        if disk.free < LEAST_FREE || disk.free_inodes.is_some_and(|inodes| inodes < LEAST_INODES) {
            return fail(
                "the disk is full: keys and updates cannot be written",
                format!("logs or updates have filled it; {REPLACE}"),
            );
        }
        Ok(())
    });
    let asks = bench.plan.asks_metadata();
    let proves = "the machine knows the deadline that its tags tell, and has not ended";
    bench.check("machine.deadline", None, Part::Bastion, proves, |report, said| deadline(report, seen, asks, said));
    bench.check("machine.agents", None, Part::Bastion, "no agent of the cloud's is another way in", |report, said| {
        let running = found("which agents run", &report.agents)?;
        said.extend(running.iter().map(|name| format!("{name} runs")));
        if running.is_empty() {
            return Ok(());
        }
        fail(
            format!(
                "{} runs: who may use Systems Manager in the account may be root on the machine, without a key",
                running.join(", ")
            ),
            format!("stop it, which the machine's boot should have done; {REPLACE}"),
        )
    });
    let proves = "security updates are switched on, or still being set up";
    bench.check("machine.updates", None, Part::Bastion, proves, |report, said| {
        let cause = match found("what came of its security updates", &report.updates)?.as_str() {
            "ok" => {
                said.push("they are switched on".to_owned());
                return Ok(());
            }
            "running" if seen.launched.is_none() => return unknown("since when they are being set up is not known"),
            "running" if seen.launched.is_some_and(|launched| seen.now < launched + LONGEST_UPDATE) => {
                said.push("they are still being set up".to_owned());
                return Ok(());
            }
            "running" => "setting up security updates has not ended in twelve hours".to_owned(),
            command => format!("setting up security updates failed at: {command}"),
        };
        fail(
            format!("{cause}; the machine gets none, and the tunnel works all the same"),
            format!(
                "see that the machine reaches its distribution's mirrors (names, and tcp 80 and 443 to everywhere) and has enough memory for its package manager; \
                 {REPLACE}"
            ),
        )
    });
    let port = bench.plan.ssh.port;
    bench.check("machine.listening", None, Part::Bastion, "nothing but sshd listens to the outside on TCP", |report, said| {
        let all = found("what listens", &report.listening)?;
        // Where the bastion's own sshd listens elsewhere, machine.port says so.
        let running = report.sshd.as_result().ok().and_then(|sshd| sshd.running.as_result().ok()?.as_ref());
        let own = running.and_then(|running| running.ports.as_result().ok()).map_or(&[][..], Vec::as_slice);
        said.extend(all.iter().map(|l| format!("{} on {} port {}", name_of(&l.process), l.address, l.port)));
        let harmless = |l: &&crate::verify::report::Listener| l.port == port || (l.process == "sshd" && own.contains(&l.port)) || (l.port == LLMNR && l.process.starts_with("systemd-resolve"));
        let others: Vec<String> = all.iter().filter(|l| !harmless(l)).map(|l| format!("{} on port {}", name_of(&l.process), l.port)).collect();
        if others.is_empty() {
            return Ok(());
        }
        fail(format!("the image or an update started another service: {}", others.join(", ")), "the cloud's rules keep its port closed; use one of the plain images, or ask for the service to be removed from yours")
    });
}

fn name_of(process: &str) -> &str {
    if process.is_empty() { "an unnamed process" } else { process }
}

fn cloud_init(report: &Report, said: &mut Vec<String>) -> Judged {
    let cloud_init = found("cloud-init's result", &report.cloud_init)?;
    let version = cloud_init.version.as_deref().unwrap_or("of an unknown version");
    said.push(format!("cloud-init {version}: {}", cloud_init.status));
    said.extend(cloud_init.errors.iter().map(|e| format!("error: {e}")));
    said.extend(cloud_init.warnings.iter().map(|w| format!("warning: {w}")));
    let boot = match report.boot.as_result() {
        Ok(boot) => boot.as_str(),
        Err(_) => "it never ran",
    };
    if boot != "ok" {
        said.push(format!("{UNFINISHED}{boot}"));
        let cause = match boot {
            "running" => "gangplank's boot script still runs, or was ended from outside".to_owned(),
            "it never ran" => "cloud-init did not come to gangplank's boot script".to_owned(),
            failure => format!("gangplank's boot script failed: {failure}"),
        };
        return fail(cause, format!("if the image is one of your own, try a plain one; {REPLACE}"));
    }
    match cloud_init.status.as_str() {
        "done" => Ok(()),
        "running" => fail(
            format!("cloud-init has not ended {} s after the start", report.uptime.round()),
            format!("one of its modules hangs, and the console says which; {REPLACE}"),
        ),
        _ => fail(
            format!(
                "cloud-init ended with an error: {}",
                cloud_init.errors.first().map_or("it does not say which", String::as_str)
            ),
            format!("if the image is one of your own, try a plain one; {REPLACE}"),
        ),
    }
}

/// What a running machine takes to notice another deadline and to report it, with room to spare.
const NOTICED: SignedDuration = SignedDuration::from_mins(2);

fn deadline(report: &Report, seen: &MachineEvidence<'_>, asks: bool, said: &mut Vec<String>) -> Judged {
    let tagged = seen.deadline.map(|deadline| deadline.expires);
    let Some(known) = found("its deadline", &report.deadline)? else {
        said.push("it asks for none".to_owned());
        return match (asks, tagged) {
            (false, None) => Ok(()),
            _ => fail("the machine has no service that ends it", format!("it was made without one; {REPLACE}")),
        };
    };
    let text = |end: Option<Timestamp>| end.map_or_else(|| "none".to_owned(), |end| end.to_string());
    let end = known.expires.and_then(|second| Timestamp::from_second(second).ok());
    said.push(format!("it knows {}, the tags say {}", text(end), text(tagged)));
    if end.map(Timestamp::as_second) != tagged.map(Timestamp::as_second) {
        let moved = seen.deadline.and_then(|deadline| deadline.moved).map(|moved| moved.on);
        let just = moved.zip(made_at(report, seen)).is_some_and(|(on, made)| made.duration_since(on) < NOTICED);
        if just {
            return Err(Problem::Unknown("the end was moved after this report, or just before".to_owned()));
        }
        return fail(
            format!("it takes {} for its end, and its tags say {}", text(end), text(tagged)),
            "it asks its metadata again within a minute: see machine.key-channel and control.metadata",
        );
    }
    if known.closed {
        return fail(
            match end {
                Some(end) => format!("it lets nobody in any more: one of its clocks says that {end} has passed"),
                None => "it lets nobody in: it could not learn yet whether it has a deadline".to_owned(),
            },
            "see machine.clock and control.deadline; a bastion whose time is up is destroyed and applied anew",
        );
    }
    Ok(())
}

fn clock(report: &Report, seen: &MachineEvidence<'_>, said: &mut Vec<String>) -> Judged {
    let clock = found("its clock", &report.clock)?;
    said.push(match clock.synchronised {
        Some(true) => "it follows a time server".to_owned(),
        Some(false) => "it follows no time server yet".to_owned(),
        None => "nothing tells whether it follows a time server".to_owned(),
    });
    let wrong = |skew: f64| {
        let (by, direction) =
            (SignedDuration::from_secs(skew.abs().min(1e15) as i64), if skew > 0.0 { "ahead" } else { "behind" });
        fail(
            format!("the machine's clock is {} {direction}", ago(by)),
            "its time server cannot be reached, or the host's clock is wrong: reboot the instance, and see that its egress lets NTP (UDP 123) or the cloud's own time address out",
        )
    };
    match clock.skew.as_result() {
        Ok(skew) => {
            said.push(format!("{skew:+.0} s against the metadata service"));
            if skew.abs() > MAX_SKEW { wrong(*skew) } else { Ok(()) }
        }
        Err(error) => {
            said.push(format!("the metadata service tells no time: {error}"));
            let ahead = report.time - seen.now.as_duration().as_secs_f64();
            if ahead > MAX_SKEW {
                return wrong(ahead);
            }
            if let Some(earliest) = earliest(report, seen) {
                let behind = report.time - earliest.as_duration().as_secs_f64();
                if behind < -2.0 * MAX_SKEW {
                    return wrong(behind);
                }
            }
            match clock.synchronised {
                Some(true) => Ok(()),
                _ => Err(Problem::Unknown(
                    "neither the metadata service nor a time server tells the machine the time".to_owned(),
                )),
            }
        }
    }
}

/// `3 h 5 min`
fn ago(duration: SignedDuration) -> String {
    let minutes = duration.as_secs().abs() / 60;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{} s", duration.as_secs().abs()),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}
