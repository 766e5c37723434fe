//! The plans that a run leaves out: a row each for people and in a comment, an object for programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::markdown::{code, plain};
use crate::{
    cli::words::count,
    left_out::{LeftOut, Reason},
    location::Location,
    style::{Palette, clean},
    tags::deadline::span,
    text::shell_word,
};

/// A row for each, under what is said of the others; nothing where none is left out.
pub fn human(all: &[LeftOut], palette: &Palette) -> String {
    let mut out = String::new();
    let Palette { heading, warning, faint, .. } = palette;
    let cells: Vec<_> = all.iter().map(|one| (name(one), place(one), clean(&one.plan).into_owned())).collect();
    let widest = |cell: fn(&(String, String, String)) -> &String| {
        cells.iter().map(|row| cell(row).chars().count()).max().unwrap_or_default()
    };
    let (names, places, plans) = (widest(|row| &row.0), widest(|row| &row.1), widest(|row| &row.2));
    for (one, (name, place, plan)) in all.iter().zip(&cells) {
        let place = if places == 0 { String::new() } else { format!("{place:places$}  ") };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{heading}{name:names$}{heading:#}  {place}{faint}{plan:plans$}{faint:#}  {warning}{}{warning:#}",
            clean(&word(one))
        );
    }
    out
}

/// The same in Markdown.
pub fn markdown(all: &[LeftOut]) -> String {
    let mut out = String::new();
    if !all.is_empty() {
        let _ = writeln!(out, "\nLeft out:\n");
    }
    for one in all {
        let _ = writeln!(out, "- {} ({}): {}", code(&name(one)), plain(&one.plan), plain(&word(one)));
    }
    out
}

/// `left_out[]` of a document: `bastion` and whose where they are known, `plan`, `condition` (`broken`, `ended`, `unfulfillable`,
/// `unreadable`), `word`, and `problems[]` (`summary`, `label`, `line`, `column`) or the cloud's `error`.
pub fn json(all: &[LeftOut]) -> Value {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        bastion: Option<&'a str>,
        #[serde(flatten)]
        location: Option<&'a Location>,
        plan: &'a str,
        condition: crate::left_out::Condition,
        word: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        problems: Vec<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a crate::cloud_error::CloudError>,
    }
    let row = |one: &LeftOut| {
        let problems = one.problems().iter().map(|problem| {
            let place = problem.place.as_ref().map(crate::diagnostic::Place::line_column);
            let (line, column) = place.unzip();
            json!({"summary": problem.summary, "label": problem.label, "line": line, "column": column})
        });
        let error = match &one.reason {
            Reason::Unreadable(error) => Some(error),
            _ => None,
        };
        json!(Row {
            bastion: one.bastion.as_deref(),
            location: one.location.as_ref(),
            plan: &one.plan,
            condition: one.condition(),
            word: word(one),
            problems: problems.collect(),
            error,
        })
    };
    all.iter().map(row).collect()
}

/// The state in a few words.
pub(super) fn word(one: &LeftOut) -> String {
    let first = || {
        let problems = one.problems();
        let more = problems.len().saturating_sub(1);
        let more = if more > 0 { format!(" (and {})", count(more, "more problem")) } else { String::new() };
        format!("{}{more}", problems.first().map_or("", |problem| problem.summary.as_str()))
    };
    match &one.reason {
        Reason::Ended { seconds_ago, .. } => {
            format!("ended {} ago: `gangplank destroy {}`", span(*seconds_ago), shell_word(&one.plan))
        }
        Reason::Broken(_) => format!("the file is no plan: {}", first()),
        Reason::Unfulfillable(_) => format!("can't be fulfilled: {}", first()),
        Reason::Unreadable(error) => format!("not readable: {} failed", error.operation),
    }
}

fn name(one: &LeftOut) -> String {
    one.bastion.as_deref().map_or_else(|| "?".to_owned(), |name| clean(name).into_owned())
}

fn place(one: &LeftOut) -> String {
    one.location.as_ref().map_or_else(String::new, |location| clean(&location.to_string()).into_owned())
}
