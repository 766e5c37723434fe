//! What reading a plan leaves behind: its problems, and where each field stands.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Source, secret};

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
}

impl Report {
    pub fn new(source: Arc<Source>) -> Self {
        Self { source, problems: Vec::new(), fields: BTreeMap::new() }
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

    /// Every problem in the order of the file, each once: an alias shows the same text to several readers.
    ///
    /// A private key drowns what stands in it: the YAML around a pasted key is broken in ways that do not matter.
    pub fn into_problems(mut self) -> Diagnostics {
        let secrets = secret::find(&self.source.text);
        let drowned = |problem: &Diagnostic| {
            let span = problem.place.as_ref().map(|place| place.span.clone()).unwrap_or_default();
            secrets.iter().any(|secret| span.start <= secret.end && secret.start <= span.end)
        };
        self.problems.retain(|problem| problem.summary == PRIVATE_KEY || !drowned(problem));
        self.problems.sort_by_key(|problem| problem.place.as_ref().map_or(0, |place| place.span.start));
        self.problems.dedup();
        Diagnostics(self.problems)
    }
}

/// The one problem that stays when a private key hides everything else around it.
pub(super) const PRIVATE_KEY: &str = "a private key in a plan";
