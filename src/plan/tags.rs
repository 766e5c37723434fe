//! The user's own tags, within the limits of EC2 and Azure.

use std::{collections::BTreeMap, ops::Range};

use super::{
    fields::{Field, excerpt},
    report::{Read, Report},
};

/// EC2 allows 50 tags a resource, of which gangplank needs some.
const MOST: usize = 40;
/// EC2: 128 characters for a key and 256 for a value; Azure allows longer keys.
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

pub(super) fn tags(field: &Field<'_>, on_azure: bool, report: &mut Report) -> Read<BTreeMap<String, String>> {
    let entries = field.entries("a map of tags", report)?;
    if entries.len() > MOST {
        let problem = field.problem(report, "too many tags", format!("there are {} tags here", entries.len()));
        return Err(report.push(problem.fix(format!("keep {MOST} of them"))));
    }
    let mut tags = BTreeMap::new();
    let mut outcome = Ok(());
    let mut seen: Vec<(String, Range<usize>)> = Vec::new();
    for (key, key_span, value) in entries {
        let read =
            check_key(key, &key_span, on_azure, &mut seen, report).and_then(|()| check_value(&value, on_azure, report));
        match read {
            Ok(value) => _ = tags.insert(key.to_owned(), value),
            Err(reported) => outcome = Err(reported),
        }
    }
    outcome.map(|()| tags)
}

fn check_key(
    key: &str,
    span: &Range<usize>,
    on_azure: bool,
    seen: &mut Vec<(String, Range<usize>)>,
    report: &mut Report,
) -> Read<()> {
    let lower = key.to_lowercase();
    let reserved = if lower.starts_with("aws:") {
        Some("keys that begin with `aws:` belong to AWS")
    } else if lower.starts_with("gangplank") {
        Some("keys that begin with `gangplank` say what gangplank owns")
    } else if lower == "name" {
        Some("gangplank sets `Name` itself, from the plan's name")
    } else if on_azure && ["microsoft", "azure", "windows"].iter().any(|prefix| lower.starts_with(prefix)) {
        Some("keys that begin with `microsoft`, `azure` or `windows` belong to Azure")
    } else {
        None
    };
    if let Some(label) = reserved {
        let problem = report.at(span, "a reserved tag", label);
        return Err(report.push(problem.fix("choose another key")));
    }
    let length = key.chars().count();
    if length == 0 || length > LONGEST_KEY {
        let problem = report.at(
            span,
            "a tag that the cloud refuses",
            format!("a key has 1 to {LONGEST_KEY} characters, this has {length}"),
        );
        return Err(report.push(problem));
    }
    if let Some(c) = key.chars().find(|c| !allowed(*c, on_azure) || (on_azure && "<>%&\\?/".contains(*c))) {
        return Err(refused_character(c, span, on_azure, report));
    }
    // Azure's tag names differ in more than case.
    if on_azure && let Some((first, place)) = seen.iter().find(|(first, _)| first.to_lowercase() == lower) {
        let label = format!("Azure takes it for `{}` on line {}", excerpt(first), report.line(place));
        let problem = report.at(span, "a tag twice", label);
        return Err(report.push(problem.fix("keep one of them")));
    }
    seen.push((key.to_owned(), span.clone()));
    Ok(())
}

fn check_value(field: &Field<'_>, on_azure: bool, report: &mut Report) -> Read<String> {
    let value = field.text(report)?;
    let length = value.chars().count();
    if length > LONGEST_VALUE {
        let label = format!("a value has at most {LONGEST_VALUE} characters, this has {length}");
        let problem = field.problem(report, "a tag that the cloud refuses", label);
        return Err(report.push(problem));
    }
    match value.chars().find(|c| !allowed(*c, on_azure)) {
        Some(c) => Err(refused_character(c, &field.place, on_azure, report)),
        None => Ok(value.to_owned()),
    }
}

/// EC2: letters, digits and spaces of any language, and `+ - = . _ : / @`. Azure's values are free.
fn allowed(c: char, on_azure: bool) -> bool {
    if on_azure { !c.is_control() } else { c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c) }
}

fn refused_character(c: char, span: &Range<usize>, on_azure: bool, report: &mut Report) -> super::report::Reported {
    let cloud = if on_azure { "Azure" } else { "EC2" };
    let label = format!("{cloud} refuses the character `{}` here", excerpt(&c.to_string()));
    let problem = report.at(span, "a tag that the cloud refuses", label);
    report.push(if on_azure {
        problem.fix("keys have no control characters and none of < > % & \\ ? /")
    } else {
        problem.fix("use letters, digits, spaces and + - = . _ : / @")
    })
}
