//! Problems of a plan file, each pointing at its place. They are collected, never thrown singly, so that one run shows all.

mod render;

use std::{fmt, ops::Range, sync::Arc};

pub use render::render;

/// One plan file as it was read: the name that the user gave it, and its text.
#[derive(PartialEq, Eq)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Without the text: a secret may have been pasted into it.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).field("bytes", &self.text.len()).finish()
    }
}

/// A place in a source, in bytes. Empty ranges are allowed and point between two characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<Source>,
    pub span: Range<usize>,
}

impl Place {
    /// Line and column of the beginning, both counted from 1; the column in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or(&self.source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One problem of a plan.
///
/// `summary` is stable and free of the user's values; `label` stands under the snippet and says what is wrong there;
/// `detail` says why it matters; `fix` says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub summary: String,
    pub place: Option<Place>,
    pub label: String,
    pub detail: Option<String>,
    pub fix: Option<String>,
}

impl Diagnostic {
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), place: None, label: String::new(), detail: None, fix: None }
    }

    #[must_use]
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.place = Some(place);
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// At least one problem, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", diagnostic.summary)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
