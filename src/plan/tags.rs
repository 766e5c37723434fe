//! The user's own tags, within the limits of EC2 and Azure.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Cloud, Plan,
    fields::{Field, excerpt},
    report::{Read, Report},
};

/// EC2 allows 50 tags a resource, of which gangplank keeps ten for itself. Live keys share the rest with the user's tags.
const MOST: usize = 40;
/// EC2: 128 characters for a key and 256 for a value; Azure allows longer keys.
const LONGEST_KEY: usize = 128;
/// Characters of a tag's value.
pub const LONGEST_TAG_VALUE: usize = 256;

/// What carries the tags decides about what they may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    Ec2,
    /// EC2, and the machine reads its tags in its metadata: there a key is a part of a path. EC2 User Guide, "View tags for
    /// your EC2 instances using instance metadata".
    Ec2Metadata,
    Azure,
}

/// How many tags of EC2 a text needs.
fn parts(text: &str) -> usize {
    text.len().div_ceil(LONGEST_TAG_VALUE)
}

/// EC2's live keys are tags of the instance, beside the user's.
pub(super) fn check_room(plan: &Plan, report: &mut Report) -> Read<()> {
    let keys: Vec<usize> = plan.accounts().flat_map(|(_, keys)| keys).map(|key| parts(&key.text())).collect();
    let (own, parts) = (plan.tags.len(), keys.iter().sum::<usize>());
    if !plan.keys_are_live() || !matches!(plan.cloud, Cloud::Aws(_)) || own + parts <= MOST {
        return Ok(());
    }
    let place = report.fields.get("tunnels").cloned().unwrap_or_default();
    let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let label = format!("{} need {}", number(keys.len(), "key"), number(parts, "tag"));
    let problem = report
        .at(&place, "more keys than the instance has tags for", label)
        .because(format!(
            "The running machine reads its keys from its tags, {LONGEST_TAG_VALUE} characters in each. EC2 allows 50 tags, gangplank \
             keeps {} for itself, and the plan has {} of its own: {} remain.",
            50 - MOST,
            number(own, "tag"),
            MOST - own
        ))
        .fix("remove keys that are no longer used, ask for ed25519 keys (one tag each), or write `key_updates: replace`");
    Err(report.push(problem))
}

pub(super) fn tags(field: &Field<'_>, bearer: Bearer, report: &mut Report) -> Read<BTreeMap<String, String>> {
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
            check_key(key, &key_span, bearer, &mut seen, report).and_then(|()| check_value(&value, bearer, report));
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
    bearer: Bearer,
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
    } else if bearer == Bearer::Azure
        && ["microsoft", "azure", "windows"].iter().any(|prefix| lower.starts_with(prefix))
    {
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
    if let Some(c) = key.chars().find(|c| !allowed(*c, bearer) || (bearer == Bearer::Azure && "<>%&\\?/".contains(*c)))
    {
        return Err(refused_character(c, span, bearer, report));
    }
    if bearer == Bearer::Ec2Metadata {
        check_path(key, span, report)?;
    }
    // Azure's tag names differ in more than case.
    if bearer == Bearer::Azure
        && let Some((first, place)) = seen.iter().find(|(first, _)| first.to_lowercase() == lower)
    {
        let label = format!("Azure takes it for `{}` on line {}", excerpt(first), report.line(place));
        let problem = report.at(span, "a tag twice", label);
        return Err(report.push(problem.fix("keep one of them")));
    }
    seen.push((key.to_owned(), span.clone()));
    Ok(())
}

/// EC2 refuses to launch an instance that may read its tags and has one of another key.
fn check_path(key: &str, span: &Range<usize>, report: &mut Report) -> Read<()> {
    let refused = key.chars().find(|c| !c.is_ascii_alphanumeric() && !"+-=.,_:@".contains(*c));
    let label = match refused {
        Some(c) => {
            format!("the instance metadata service refuses the character `{}` in a key", excerpt(&c.to_string()))
        }
        None if [".", "..", "_index"].contains(&key) => {
            format!("the instance metadata service refuses the key `{key}`")
        }
        None => return Ok(()),
    };
    let problem = report
        .at(span, "a tag that the machine cannot read", label)
        .because(
            "The running machine reads its keys and its deadline from its tags, and EC2 shows it all of them or none.",
        )
        .fix("rename it with a-z, A-Z, 0-9 and + - = . _ : @; or write `key_updates: replace` and no deadline");
    Err(report.push(problem))
}

fn check_value(field: &Field<'_>, bearer: Bearer, report: &mut Report) -> Read<String> {
    let value = field.text(report)?;
    let length = value.chars().count();
    if length > LONGEST_TAG_VALUE {
        let label = format!("a value has at most {LONGEST_TAG_VALUE} characters, this has {length}");
        let problem = field.problem(report, "a tag that the cloud refuses", label);
        return Err(report.push(problem));
    }
    match value.chars().find(|c| !allowed(*c, bearer)) {
        Some(c) => Err(refused_character(c, &field.place, bearer, report)),
        None => Ok(value.to_owned()),
    }
}

/// EC2: letters, digits and spaces of any language, and `+ - = . _ : / @`. Azure's values are free.
fn allowed(c: char, bearer: Bearer) -> bool {
    if bearer == Bearer::Azure { !c.is_control() } else { c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c) }
}

fn refused_character(c: char, span: &Range<usize>, bearer: Bearer, report: &mut Report) -> super::report::Reported {
    let on_azure = bearer == Bearer::Azure;
    let cloud = if on_azure { "Azure" } else { "EC2" };
    let label = format!("{cloud} refuses the character `{}` here", excerpt(&c.to_string()));
    let problem = report.at(span, "a tag that the cloud refuses", label);
    report.push(if on_azure {
        problem.fix("keys have no control characters and none of < > % & \\ ? /")
    } else {
        problem.fix("use letters, digits, spaces and + - = . _ : / @")
    })
}
