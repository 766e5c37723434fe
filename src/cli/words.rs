//! The words that every view uses, so that one thing is called by one name.

use std::time::Duration;

use anstyle::Style;

use crate::{changeset::Op, style::Palette};

/// A verb in the forms that the views need.
pub struct Verb {
    /// `create`
    pub plain: &'static str,
    /// `creating`
    pub now: &'static str,
    /// `created`
    pub past: &'static str,
}

pub fn verb(op: Op) -> Verb {
    match op {
        Op::Create => Verb { plain: "create", now: "creating", past: "created" },
        Op::Update => Verb { plain: "change", now: "changing", past: "changed" },
        Op::Replace => Verb { plain: "replace", now: "replacing", past: "replaced" },
        Op::Delete => Verb { plain: "remove", now: "removing", past: "removed" },
    }
}

pub fn style(op: Op, palette: &Palette) -> Style {
    match op {
        Op::Create => palette.create,
        Op::Update | Op::Replace => palette.update,
        Op::Delete => palette.delete,
    }
}

/// How many of each operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub delete: usize,
}

impl Totals {
    pub fn of(ops: impl IntoIterator<Item = Op>) -> Self {
        let mut totals = Self::default();
        for op in ops {
            match op {
                Op::Create => totals.create += 1,
                Op::Update => totals.update += 1,
                Op::Replace => totals.replace += 1,
                Op::Delete => totals.delete += 1,
            }
        }
        totals
    }

    /// `3 to create, 2 to remove`; `None` where all are zero.
    pub fn to_do(self) -> Option<String> {
        self.list(|n, op| format!("{n} to {}", verb(op).plain))
    }

    /// `3 created, 2 removed`; `None` where all are zero.
    pub fn done(self) -> Option<String> {
        self.list(|n, op| format!("{n} {}", verb(op).past))
    }

    fn list(self, item: impl Fn(usize, Op) -> String) -> Option<String> {
        let all = [
            (self.create, Op::Create),
            (self.update, Op::Update),
            (self.replace, Op::Replace),
            (self.delete, Op::Delete),
        ];
        let items: Vec<_> = all.into_iter().filter(|(n, _)| *n > 0).map(|(n, op)| item(n, op)).collect();
        (!items.is_empty()).then(|| items.join(", "))
    }
}

/// `1 step`, `3 steps`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `0.4 s`, `4 s`, `12 s`, `1 min 4 s`, `1 h 2 min`: short, and no more exact than a reader needs.
pub fn elapsed(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    match seconds {
        _ if tenths < 100 && !tenths.is_multiple_of(10) => format!("{}.{} s", tenths / 10, tenths % 10),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [0, 40, 440, 4_000, 9_949, 9_950, 59_499, 59_500, 64_000, 3_600_000, 7_320_000]
            .map(|ms| elapsed(Duration::from_millis(ms)));
        let expected =
            ["0 s", "0 s", "0.4 s", "4 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "1 min 4 s", "1 h 0 min", "2 h 2 min"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn totals_leave_zeros_out() {
        let totals = Totals::of([Op::Delete, Op::Create, Op::Delete]);
        assert_eq!(totals.to_do().as_deref(), Some("1 to create, 2 to remove"));
        assert_eq!(totals.done().as_deref(), Some("1 created, 2 removed"));
        assert_eq!(Totals::default().to_do(), None);
    }
}
