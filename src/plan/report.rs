//! What reading a plan leaves behind: its problems, and where each field stands.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::secrets::{self, FoundSecrets};
use crate::diagnostic::{Diagnostic, Diagnostics, Place, Source};

/// Proof that a problem has been reported. Only [`Report::push`] makes one, so nothing can fail silently and nothing that
/// builds on a broken field needs to be reported again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

pub(super) type Read<T> = Result<T, Reported>;

pub(super) struct Report {
    source: Arc<Source>,
    problems: Vec<Diagnostic>,
    /// Dotted field path → the bytes to point at.
    pub fields: BTreeMap<String, Range<usize>>,
    pub secrets: FoundSecrets,
}

impl Report {
    pub fn new(source: Arc<Source>) -> Self {
        Self { source, problems: Vec::new(), fields: BTreeMap::new(), secrets: FoundSecrets::default() }
    }

    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// A problem at a place of this file, to be completed and pushed.
    pub fn at(&self, span: &Range<usize>, summary: impl Into<String>, label: impl Into<String>) -> Diagnostic {
        Diagnostic::new(summary).at(Place { source: Arc::clone(&self.source), span: span.clone() }, label)
    }

    pub fn push(&mut self, problem: Diagnostic) -> Reported {
        self.problems.push(problem);
        Reported(())
    }

    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The line on which a place begins, counted from 1, for messages that name a second place.
    pub fn line(&self, span: &Range<usize>) -> usize {
        Place { source: Arc::clone(&self.source), span: span.clone() }.line_column().0
    }

    /// Reports every secret of the file. Called when the YAML has been read as far as it can be.
    pub fn report_secrets(&mut self) {
        let found = self.secrets.reported(&self.source.text);
        self.problems.extend(found.iter().map(|secret| secrets::problem(secret, &self.source)));
    }

    /// Every problem in the order of the file, each once: an alias shows the same text to several readers.
    pub fn into_problems(mut self) -> Diagnostics {
        self.secrets.hide(&self.source, &mut self.problems);
        self.problems.sort_by_key(|problem| problem.place.as_ref().map_or(0, |place| place.span.start));
        self.problems.dedup();
        Diagnostics(self.problems)
    }
}
