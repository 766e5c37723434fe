//! A bastion ends without us: at its deadline a real machine lets nobody in, ends the tunnels that are open, and switches itself
//! off; whatever its metadata, its clock, or a value in a tag are like by then.

use std::{
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use gangplank::{
    provider::aws::keys,
    tags::{EXPIRES, Tags},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    Blueprint, Claims, Kind, Lab,
    boots::{Keys, plan},
    eventually,
    lab::VENDOR,
};

#[test]
fn debian_13_ends_with_its_metadata_gone() {
    ends(Kind::Debian13);
}

#[test]
fn a_machine_without_systemd_ends_with_its_metadata_gone() {
    ends(Kind::Sysv);
}

fn ends(kind: Kind) {
    let keys = Keys::new();
    let plan = plan(&keys, &[&keys.vendor]);
    let tags = keys::tags(&plan);
    let Some(mut lab) = Lab::up(&plan, &Blueprint { kind, ..Blueprint::default() }) else { return };
    let mut claims = Claims::default();
    let comes_in = |lab: &Lab| lab.admits(VENDOR, &keys.vendor, "secoda");
    claims.that(comes_in(&lab), "the vendor comes in where there is no deadline");

    let first = told(&lab, &tags, SignedDuration::from_secs(50));
    let modes = lab.machine.sh("stat -c '%a %U' /var/lib/gangplank/deadline");
    claims.same(modes.as_str(), "600 root\n", "what the machine remembers is root's");
    told(&lab, &tags, SignedDuration::from_hours(1));
    let mut tunnel = Tunnel::open(&lab, &keys);
    eventually("the first end has passed", || (Timestamp::now() > first + SignedDuration::from_secs(2)).then_some(()));
    claims.that(comes_in(&lab) && tunnel.is_open(), "an extension in time lets the machine go on, without a reboot");

    let mut broken = tags.clone();
    broken.insert(EXPIRES.to_owned(), "next week".to_owned());
    lab.tag(&broken);
    eventually("a value without sense is told", || {
        lab.machine.console().contains("the deadline stays as it is: 'next week' is no time").then_some(())
    });
    claims.that(comes_in(&lab), "it keeps the end that it knows");

    let end = told(&lab, &tags, SignedDuration::from_secs(30));
    lab.metadata.stop();
    claims.that(comes_in(&lab) && tunnel.is_open(), "until the deadline all is as it was");
    eventually("the tunnel is ended", || (!tunnel.is_open()).then_some(()));
    let late = Timestamp::now() - end;
    claims.that(!comes_in(&lab), "nobody comes in any more");
    claims.that(late.total(jiff::Unit::Second).is_ok_and(|s| (0.0..20.0).contains(&s)), format_args!("late by {late}"));
    let left = lab.machine.sh("find / -xdev -name 'authorized_keys*' -size +0; pgrep -u secoda -c || :");
    claims.same(left.as_str(), "0\n", "keys and processes that are left");
    let off = power_off(&mut lab);
    println!("{kind:?}: closed {late:#} after the deadline, off after {off:.0} s more");
    claims.end(|| format!("--- console\n{}", lab.machine.console()));
}

/// A container has its host's clock. The one service believes in another time of day, so many seconds ahead; what the kernel
/// counts stays as it is.
const MOVED_CLOCK: &str = r#"
echo 0 >etc/clock-offset
cat >usr/local/sbin/moved-clock <<'END'
#!/usr/bin/python3
import runpy, time
own = time.time
time.time = lambda: own() + float(open("/etc/clock-offset").read())
runpy.run_path("/usr/local/sbin/gangplank-keys", run_name="__main__")
END
chmod 0755 usr/local/sbin/moved-clock
mkdir -p etc/systemd/system/gangplank-keys.service.d
cat >etc/systemd/system/gangplank-keys.service.d/clock.conf <<'END'
[Service]
ExecStartPre=
ExecStartPre=-/usr/local/sbin/moved-clock
ExecStart=
ExecStart=/usr/local/sbin/moved-clock 20
END
"#;

#[test]
fn a_machine_whose_clock_is_wrong_errs_on_closing() {
    let keys = Keys::new();
    let plan = plan(&keys, &[&keys.vendor]);
    let tags = keys::tags(&plan);
    let Some(mut lab) = Lab::up(&plan, &Blueprint { image: MOVED_CLOCK, ..Blueprint::default() }) else { return };
    let mut claims = Claims::default();
    let comes_in = |lab: &Lab| lab.admits(VENDOR, &keys.vendor, "secoda");
    let set_clock = |lab: &Lab, to: i64| {
        drop(lab.machine.sh(&format!("echo {to} >/etc/clock-offset.new; mv /etc/clock-offset.new /etc/clock-offset")))
    };
    told(&lab, &tags, SignedDuration::from_hours(1));
    claims.that(comes_in(&lab), "the vendor comes in");

    set_clock(&lab, 172800);
    eventually("a clock beyond the deadline closes the machine", || (!comes_in(&lab)).then_some(()));
    // The cloud's clock says that it has not ended: it does not end for good.
    set_clock(&lab, 0);
    eventually("a clock that is right again opens it", || comes_in(&lab).then_some(()));

    let mut tunnel = Tunnel::open(&lab, &keys);
    let end = told(&lab, &tags, SignedDuration::from_secs(30));
    lab.metadata.stop();
    set_clock(&lab, -2_592_000);
    claims.that(comes_in(&lab), "until the deadline all is as it was");
    eventually("a clock that was set back does not keep it open", || (!comes_in(&lab)).then_some(()));
    claims.that(Timestamp::now() >= end, "it closes at the deadline, not before");
    eventually("the tunnel is ended", || (!tunnel.is_open()).then_some(()));
    // It must not outlive a reboot either: systemd-nspawn starts the machine again.
    lab.machine.sh("systemctl --no-block reboot");
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(60) && !lab.machine.has_ended() {
        claims.that(!comes_in(&lab), "nobody comes in around a reboot");
        thread::sleep(Duration::from_millis(500));
    }
    power_off(&mut lab);
    claims.end(|| format!("--- console\n{}", lab.machine.console()));
}

/// Tags an end that is so far away, and waits until the machine knows it.
#[track_caller]
fn told(lab: &Lab, tags: &Tags, away: SignedDuration) -> Timestamp {
    let end = Timestamp::from_second((Timestamp::now() + away).as_second()).expect("a time");
    let mut tags = tags.clone();
    tags.insert(EXPIRES.to_owned(), end.to_string());
    lab.tag(&tags);
    eventually(format_args!("the machine knows that it ends at {end}"), || {
        let known: serde_json::Value = serde_json::from_str(&lab.machine.read("/var/lib/gangplank/deadline")?).ok()?;
        (known["expires"] == end.as_second()).then_some(())
    });
    end
}

/// Waits until the machine has switched itself off; how many seconds that took.
#[track_caller]
fn power_off(lab: &mut Lab) -> f64 {
    let began = std::time::Instant::now();
    while !lab.machine.has_ended() {
        assert!(began.elapsed() < Duration::from_secs(150), "it stays on:\n{}", lab.machine.console());
        thread::sleep(Duration::from_millis(100));
    }
    began.elapsed().as_secs_f64()
}

/// A vendor's connection that stays.
struct Tunnel(Child);

impl Tunnel {
    fn open(lab: &Lab, keys: &Keys) -> Self {
        let mut ssh = lab.ssh(VENDOR, &keys.vendor, "secoda");
        // In place of coreutils' `timeout 15`, which is for connections that end by themselves.
        let words: Vec<_> = ssh.get_args().map(ToOwned::to_owned).collect();
        let at = words.iter().position(|word| word == "15").expect("lab.ssh's timeout");
        let mut long = lab.internet.command("timeout");
        long.arg("--kill-after=1").arg("600").args(words.iter().skip(at + 1)).arg("-N");
        ssh = long;
        let child = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("coreutils");
        eventually("the tunnel is open", || (lab.machine.sh("pgrep -u secoda -c || :") != "0\n").then_some(()));
        Self(child)
    }

    fn is_open(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
