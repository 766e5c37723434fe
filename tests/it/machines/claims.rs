//! What is claimed of one machine: all that does not hold is told together, since a boot is dear.

use std::fmt;

#[derive(Default)]
pub struct Claims(Vec<String>);

impl Claims {
    pub fn that(&mut self, holds: bool, claim: impl fmt::Display) {
        if !holds {
            self.0.push(claim.to_string());
        }
    }

    pub fn same<T: PartialEq + fmt::Debug>(&mut self, found: T, expected: T, what: impl fmt::Display) {
        self.that(found == expected, format_args!("{what}: {found:?} instead of {expected:?}"));
    }

    pub fn hold(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Fails if anything did not hold.
    #[track_caller]
    pub fn end(self, context: impl FnOnce() -> String) {
        assert!(self.hold(), "{self}\n{}", context());
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} claims do not hold:\n- {}", self.0.len(), self.0.join("\n- "))
    }
}
