//! Secrets in a plan: what is one by its form wherever it stands, also in comments, and what a field's name says is one.

use std::{collections::HashSet, ops::Range, sync::Arc};

use super::tree::{Node, Value};
use crate::{
    diagnostic::{Diagnostic, Place, Source},
    secret::{self, Secret, SecretKind},
};

/// The summaries of the problems that stay when a secret hides everything else around it.
const PRIVATE_KEY: &str = "a private key in a plan";
const SECRET: &str = "a secret in a plan";

/// A shorter value is masked where it stands, but not searched for elsewhere: it may be a common word.
const SEARCHED: usize = 8;

/// What reading the YAML has found. The text alone shows neither escapes within quotes nor what an alias stands for.
#[derive(Default)]
pub(super) struct FoundSecrets {
    found: Vec<Secret>,
    values: Vec<String>,
}

impl FoundSecrets {
    /// Looks at a scalar, a key or a value, whose place in the source is `span`.
    pub fn scalar(&mut self, source: &str, text: &str, span: &Range<usize>) {
        let by_form = secret::find(text);
        for Secret { span: within, kind } in secret::find_in_plan(text) {
            let value = text.get(within.clone()).unwrap_or_default();
            self.values.push(value.to_owned());
            let is_named = !by_form.iter().any(|secret| secret.span == within) && is_no_word(value);
            // It is written with escapes, or a name within the scalar gives it away.
            if !source.contains(value) || is_named {
                self.found.push(Secret { span: span.clone(), kind });
            }
        }
    }

    /// Looks at a field.
    pub fn field(&mut self, key: &str, value: &Node) {
        let Some(kind) = secret::name(key) else { return };
        let mut below = Below::default();
        below.look(value);
        if below.unreadable || !below.values.is_empty() {
            self.found.push(Secret { span: value.span.clone(), kind });
        }
        self.values.extend(below.values);
    }

    /// What makes the plan invalid.
    pub fn reported(&self, source: &str) -> Vec<Secret> {
        let mut found = secret::find(source);
        found.extend(self.found.iter().cloned());
        secret::disjoint(found)
    }

    /// Problems that were found in the source, with nothing in them that a secret could be read from.
    pub fn hide(&self, source: &Source, problems: &mut Vec<Diagnostic>) {
        let text = &source.text;
        let mut hidden = secret::find_in_plan(text);
        hidden.extend(self.found.iter().cloned());
        for value in self.values.iter().filter(|value| value.len() >= SEARCHED) {
            let kind = SecretKind::NamedSecret;
            hidden
                .extend(text.match_indices(value.as_str()).map(|(at, _)| Secret { span: at..at + value.len(), kind }));
        }
        let hidden = secret::disjoint(hidden);
        if hidden.is_empty() {
            return;
        }
        let reported = self.reported(text);
        problems.retain(|problem| is_secrets(problem) || !touches(problem, &reported));
        let masked = Arc::new(Source { path: source.path.clone(), text: secret::mask(text, &hidden) });
        let written = hidden.iter().filter_map(|secret| text.get(secret.span.clone())).map(str::to_owned);
        let fragments = Fragments::of(written.chain(self.values.iter().cloned()));
        for problem in problems {
            if let Some(place) = &mut problem.place {
                place.source = Arc::clone(&masked);
            }
            if is_secrets(problem) {
                continue;
            }
            if fragments.are_in(&problem.label) {
                "what stands here is hidden, for it holds a secret".clone_into(&mut problem.label);
            }
            problem.detail.take_if(|detail| fragments.are_in(detail));
            problem.fix.take_if(|fix| fragments.are_in(fix));
        }
    }
}

/// Whether a value after a secret's name is more than a remark, as in `password: rotated 2026-11` or `token: q3-2026`.
fn is_no_word(value: &str) -> bool {
    let has = |is: fn(&u8) -> bool| value.as_bytes().iter().any(is);
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    let is_hex = value.len() >= 16 && value.bytes().all(|b| b.is_ascii_hexdigit()) && has(u8::is_ascii_digit);
    value.len() >= SEARCHED && !value.contains(' ') && (is_mixed || is_hex)
}

/// What stands below a node.
#[derive(Default)]
struct Below {
    values: Vec<String>,
    unreadable: bool,
}

impl Below {
    fn look(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar(scalar) => {
                let is_none = scalar.plain && ["", "~", "null", "true", "false"].contains(&scalar.text.as_str());
                if !is_none {
                    let lines = scalar.text.lines().map(str::trim).filter(|line| !line.is_empty());
                    self.values.extend(lines.map(str::to_owned));
                }
            }
            Value::Sequence { items, .. } => items.iter().for_each(|item| self.look(item)),
            Value::Mapping { entries, .. } => entries.iter().for_each(|entry| self.look(&entry.value)),
            Value::Broken(_) => self.unreadable = true,
        }
    }
}

pub(super) fn problem(secret: &Secret, source: &Arc<Source>) -> Diagnostic {
    let summary = if secret.kind == SecretKind::PrivateKey { PRIVATE_KEY } else { SECRET };
    Diagnostic::new(summary)
        .at(
            Place { source: Arc::clone(source), span: secret.span.clone() },
            format!("this is {} (its text is hidden here)", secret.kind.description()),
        )
        .because(
            "Whoever has seen this file can use it. Treat it as compromised, also if the file was never committed.",
        )
        .fix(secret.kind.remedy())
}

fn is_secrets(problem: &Diagnostic) -> bool {
    [PRIVATE_KEY, SECRET].contains(&problem.summary.as_str())
}

/// The YAML around a pasted secret is broken in ways that do not matter.
fn touches(problem: &Diagnostic, secrets: &[Secret]) -> bool {
    let span = problem.place.as_ref().map(|place| place.span.clone()).unwrap_or_default();
    secrets.iter().any(|secret| span.start <= secret.span.end && secret.span.start <= span.end)
}

/// Parts of secrets. Messages quote the beginning of a value only, and so may end within a secret.
struct Fragments {
    short: Vec<String>,
    /// By their length in characters.
    long: [(usize, HashSet<String>); 2],
}

impl Fragments {
    fn of(secrets: impl Iterator<Item = String>) -> Self {
        let mut fragments = Self { short: Vec::new(), long: [(5, HashSet::new()), (SEARCHED, HashSet::new())] };
        let [(few, few_parts), (many, many_parts)] = &mut fragments.long;
        for secret in secrets.filter(|secret| !secret.is_empty()) {
            match secret.chars().count() {
                ..SEARCHED => fragments.short.push(secret),
                // Parts of a long one would be words by chance.
                SEARCHED..=64 => few_parts.extend(windows(&secret, *few)),
                _ => many_parts.extend(windows(&secret, *many)),
            }
        }
        fragments
    }

    fn are_in(&self, text: &str) -> bool {
        self.short.iter().any(|secret| text.contains(secret.as_str()))
            || self.long.iter().any(|(length, parts)| windows(text, *length).any(|part| parts.contains(&part)))
    }
}

/// Every stretch of so many characters.
fn windows(text: &str, length: usize) -> impl Iterator<Item = String> {
    let chars: Vec<char> = text.chars().collect();
    let count = (chars.len() + 1).saturating_sub(length);
    (0..count).map(move |at| chars[at..at + length].iter().collect())
}
