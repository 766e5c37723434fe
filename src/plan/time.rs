//! When a bastion ends.

use jiff::{SignedDuration, Timestamp};

use super::{
    fields::{Field, excerpt},
    report::{Read, Report},
};

const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
pub const LONGEST: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

pub(super) fn lifetime(field: &Field<'_>, report: &mut Report) -> Read<SignedDuration> {
    let text = &field.scalar("a duration", report)?.text;
    let Some(duration) = duration(text) else {
        let label = format!("`{}` is not a duration", excerpt(text));
        let problem = field.problem(report, "not a duration", label);
        return Err(report.push(problem.fix("write weeks, days, hours and minutes: 2w, 90d, 12h, 30m or 1d12h")));
    };
    let bound = if duration < SHORTEST {
        "the shortest is 10m"
    } else if duration > LONGEST {
        "the longest is ten years, 3650d"
    } else {
        return Ok(duration);
    };
    let problem = field.problem(report, "a lifetime out of range", bound);
    Err(report.push(problem))
}

/// A time with an offset, as plans write it.
pub fn moment(text: &str) -> Option<Timestamp> {
    if is_rfc3339(text) { text.parse().ok() } else { None }
}

/// `1d12h`: numbers with units, from large to small, each at most once.
pub fn duration(text: &str) -> Option<SignedDuration> {
    const UNITS: [(char, i64); 4] = [('w', 7 * 86400), ('d', 86400), ('h', 3600), ('m', 60)];
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut seconds = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let unit_char = unit.chars().next()?;
        let (_, length) = units.find(|(unit, _)| *unit == unit_char)?;
        seconds = seconds.checked_add(number.parse::<i64>().ok()?.checked_mul(*length)?)?;
        rest = &unit[1..];
    }
    (!text.is_empty()).then(|| SignedDuration::from_secs(seconds))
}

pub(super) fn expires(field: &Field<'_>, report: &mut Report) -> Read<Timestamp> {
    let text = field.text(report)?;
    if let (true, Ok(time)) = (is_rfc3339(text), text.parse::<Timestamp>()) {
        return Ok(time);
    }
    let label = format!("`{}` is not a time with an offset", excerpt(text));
    let problem = field.problem(report, "not a point in time", label);
    let completed = ["Z", "T00:00:00Z"].map(|rest| format!("{text}{rest}"));
    let fix = match completed.iter().find(|time| is_rfc3339(time)) {
        Some(time) => format!("write {time}"),
        None => "write it like 2027-01-31T00:00:00Z".to_owned(),
    };
    Err(report.push(problem.fix(fix)))
}

/// jiff reads more than RFC 3339; the `T`, the seconds and the offset are what readers and schemas agree on.
fn is_rfc3339(text: &str) -> bool {
    let shaped = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T') && !text.contains('[');
    shaped && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let minutes = |m| Some(SignedDuration::from_mins(m));
        assert_eq!(duration("30m"), minutes(30));
        assert_eq!(duration("1d12h"), minutes(36 * 60));
        assert_eq!(duration("2w"), minutes(14 * 24 * 60));
        for broken in [
            "",
            "90",
            "d",
            "12h1d",
            "1d1d",
            "-1d",
            "1.5h",
            "90 d",
            "1y",
            "5é",
            "99999999999999999999d",
            "9223372036854775807w",
        ] {
            assert_eq!(duration(broken), None, "{broken}");
        }
    }
}
