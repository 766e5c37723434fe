//! Reading over the tree: which fields a block has, of which type, and where they stand.

use std::ops::{Range, RangeInclusive};

use super::{
    report::{Read, Report, Reported},
    tree::{Node, Scalar, Value},
};

/// More than any cloud takes: EC2 allows at most 1,000 rules in an interface's security groups.
const MOST_ITEMS: usize = 1000;

/// The fields that a block may have. The JSON Schema is held to the same lists by a test.
pub(super) struct Shape {
    /// What the block is, as messages say it: `a tunnel`.
    pub what: &'static str,
    pub fields: &'static [&'static str],
}

/// A value in the plan, with its path.
#[derive(Clone)]
pub(super) struct Field<'n> {
    pub path: String,
    /// What to point at: the value; the key of a block of lines, or of nothing.
    pub place: Range<usize>,
    node: &'n Node,
}

/// A block whose field names have been checked.
pub(super) struct Block<'n> {
    what: &'static str,
    place: Range<usize>,
    fields: Vec<(&'n str, Field<'n>)>,
    /// Fields that are most likely here under a wrong name.
    misspelt: Vec<(&'static str, Reported)>,
}

impl<'n> Field<'n> {
    /// The whole document.
    pub fn root(node: &'n Node) -> Self {
        Self { path: String::new(), place: node.span.start..node.span.start, node }
    }

    fn child(&self, path: String, node: &'n Node, key: Option<&Range<usize>>, report: &mut Report) -> Self {
        let first_line = || {
            let text = report.source().text.get(node.span.clone()).unwrap_or_default();
            node.span.start..node.span.start + text.lines().next().unwrap_or_default().trim_end().len()
        };
        let place = match (&node.value, key) {
            (Value::Sequence { flow: false, .. } | Value::Mapping { flow: false, .. }, Some(key)) => key.clone(),
            (_, Some(key)) if node.span.is_empty() => key.clone(),
            _ => first_line(),
        };
        report.fields.insert(path.clone(), place.clone());
        Self { path, place, node }
    }

    /// A text. Numbers, booleans and nothing are not taken for one: quotes make them texts.
    pub fn text(&self, report: &mut Report) -> Read<&'n str> {
        match &self.node.value {
            Value::Scalar(scalar) if matches!(scalar.kind(), Kind::Text) => Ok(&scalar.text),
            Value::Scalar(scalar) if !matches!(scalar.kind(), Kind::Nothing) => {
                let problem = self.mistyped("text", report);
                Err(report.push(problem.fix(format!("put it in quotes: \"{}\"", excerpt(&scalar.text)))))
            }
            _ => Err(self.unexpected("text", report)),
        }
    }

    /// Whatever single value is written here, as text.
    pub fn scalar(&self, expected: &str, report: &mut Report) -> Read<&'n Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) if !matches!(scalar.kind(), Kind::Nothing) => Ok(scalar),
            _ => Err(self.unexpected(expected, report)),
        }
    }

    pub fn integer(&self, range: RangeInclusive<u32>, report: &mut Report) -> Read<u32> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Value::Scalar(scalar) = &self.node.value else { return Err(self.unexpected(&expected, report)) };
        match scalar.kind() {
            Kind::Integer => match scalar.text.parse() {
                Ok(number) if range.contains(&number) => Ok(number),
                _ => {
                    let label = format!("`{}` is not {expected}", excerpt(&scalar.text));
                    Err(report.push(report.at(&self.place, "a number out of range", label)))
                }
            },
            Kind::OddInteger => {
                let problem = self.mistyped(&expected, report);
                let problem = problem.because("YAML versions read leading zeros, `0x` and `_` differently.");
                Err(report.push(problem.fix("write it in plain decimal digits")))
            }
            Kind::Text if !scalar.plain && scalar.text.bytes().all(|b| b.is_ascii_digit()) => {
                let problem = self.mistyped(&expected, report);
                Err(report.push(problem.fix("remove the quotes")))
            }
            _ => Err(self.unexpected(&expected, report)),
        }
    }

    pub fn port(&self, report: &mut Report) -> Read<u16> {
        self.integer(1..=65535, report).map(|port| u16::try_from(port).unwrap_or(u16::MAX))
    }

    pub fn boolean(&self, report: &mut Report) -> Read<bool> {
        match &self.node.value {
            Value::Scalar(scalar) => match scalar.kind() {
                Kind::Boolean(value) => Ok(value),
                _ => {
                    let problem = self.mistyped("true or false", report);
                    let yes = ["yes", "on", "y", "true"].contains(&scalar.text.to_lowercase().as_str());
                    let no = ["no", "off", "n", "false"].contains(&scalar.text.to_lowercase().as_str());
                    Err(report.push(if yes || no { problem.fix(format!("write `{yes}`")) } else { problem }))
                }
            },
            _ => Err(self.unexpected("true or false", report)),
        }
    }

    /// The items of a list, each with its own path.
    pub fn items(&self, report: &mut Report) -> Read<Vec<Field<'n>>> {
        match &self.node.value {
            Value::Sequence { items, .. } if items.len() > MOST_ITEMS => {
                let problem = self.problem(report, "a list that is too long", format!("it has {} items", items.len()));
                Err(report.push(problem.fix(format!("a list has at most {MOST_ITEMS} items; split the plan"))))
            }
            Value::Sequence { items, .. } => Ok(items
                .iter()
                .enumerate()
                .map(|(i, item)| self.child(format!("{}[{i}]", self.path), item, None, report))
                .collect()),
            Value::Scalar(scalar) if !matches!(scalar.kind(), Kind::Nothing) => {
                let problem = self.mistyped("a list", report);
                Err(report.push(problem.fix("put it into brackets: `[...]`")))
            }
            _ => Err(self.unexpected("a list", report)),
        }
    }

    /// Every item of a list, read; all of them are tried even if one is broken.
    pub fn list<T>(
        &self,
        report: &mut Report,
        mut read: impl FnMut(&Field<'n>, &mut Report) -> Read<T>,
    ) -> Read<Vec<T>> {
        let read: Vec<Read<T>> = self.items(report)?.iter().map(|item| read(item, report)).collect();
        read.into_iter().collect()
    }

    /// The entries of a map whose keys are the user's.
    pub fn entries(&self, expected: &str, report: &mut Report) -> Read<Vec<(&'n str, Range<usize>, Field<'n>)>> {
        match &self.node.value {
            Value::Mapping { entries, .. } => Ok(entries
                .iter()
                .map(|entry| {
                    let path = self.join(&entry.key);
                    let field = self.child(path, &entry.value, Some(&entry.key_span), report);
                    (entry.key.as_str(), entry.key_span.clone(), field)
                })
                .collect()),
            _ => Err(self.unexpected(expected, report)),
        }
    }

    /// A block with known fields. Unknown ones are reported and left out.
    pub fn block(&self, shape: &Shape, report: &mut Report) -> Read<Block<'n>> {
        let entries = self.entries("a map of fields", report)?;
        let mut fields = Vec::with_capacity(entries.len());
        let mut misspelt = Vec::new();
        for (key, key_span, field) in entries {
            if shape.fields.contains(&key) {
                fields.push((key, field));
            } else {
                misspelt.extend(unknown(key, &key_span, shape, report));
            }
        }
        Ok(Block { what: shape.what, place: self.place.clone(), fields, misspelt })
    }

    /// Whether a text begins so.
    pub fn starts_with(&self, prefix: &str) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.text.starts_with(prefix))
    }

    pub fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Mapping { .. })
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A problem with this value.
    pub fn problem(&self, report: &Report, summary: &str, label: impl Into<String>) -> crate::diagnostic::Diagnostic {
        report.at(&self.place, summary, label)
    }

    fn mistyped(&self, expected: &str, report: &Report) -> crate::diagnostic::Diagnostic {
        let label = format!("expected {expected}, found {}", describe(&self.node.value));
        self.problem(report, "a value of the wrong type", label)
    }

    /// Reports the type that is here instead of the expected one.
    fn unexpected(&self, expected: &str, report: &mut Report) -> Reported {
        match &self.node.value {
            Value::Broken(reported) => *reported,
            Value::Scalar(scalar) if matches!(scalar.kind(), Kind::Nothing) => {
                let problem = self.problem(report, "a field without a value", format!("expected {expected}"));
                report.push(problem.fix("write a value, or remove the line"))
            }
            _ => {
                let problem = self.mistyped(expected, report);
                report.push(problem)
            }
        }
    }
}

impl<'n> Block<'n> {
    pub fn place(&self) -> &Range<usize> {
        &self.place
    }

    pub fn get(&self, name: &str) -> Option<&Field<'n>> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }

    pub fn require(&self, name: &str, report: &mut Report) -> Read<&Field<'n>> {
        self.get(name).ok_or_else(|| {
            if let Some((_, reported)) = self.misspelt.iter().find(|(meant, _)| *meant == name) {
                return *reported;
            }
            let problem = report.at(&self.place, "a field is missing", format!("{} needs `{name}`", self.what));
            report.push(problem)
        })
    }

    /// A field that must be there, read.
    pub fn required<T>(
        &self,
        name: &str,
        report: &mut Report,
        read: impl FnOnce(&Field<'n>, &mut Report) -> Read<T>,
    ) -> Read<T> {
        self.require(name, report).and_then(|field| read(field, report))
    }

    /// A field that may be absent, read.
    pub fn optional<T>(
        &self,
        name: &str,
        report: &mut Report,
        read: impl FnOnce(&Field<'n>, &mut Report) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(name).map(|field| read(field, report)).transpose()
    }
}

/// Reports a field that the block does not have, and says which one was probably meant.
fn unknown(key: &str, span: &Range<usize>, shape: &Shape, report: &mut Report) -> Option<(&'static str, Reported)> {
    let label = format!("{} has no field `{}`", shape.what, excerpt(key));
    let problem = report.at(span, "an unknown field", label);
    let meant = near(key, shape.fields.iter().copied());
    let reported = report.push(match meant {
        Some(meant) => problem.fix(format!("did you mean `{meant}`?")),
        None if key == "<<" => problem.fix("merge keys are not part of the language: write the fields out"),
        None => problem.fix(format!("its fields are {}", shape.fields.join(", "))),
    });
    meant.map(|meant| (meant, reported))
}

/// The known word that a reader most likely meant.
pub(super) fn near<'w>(written: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let written = written.to_lowercase().replace('-', "_");
    known
        .map(|word| (strsim::normalized_damerau_levenshtein(&written, &word.replace('-', "_")), word))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// A user's text for a message: short, on one line.
pub(super) fn excerpt(text: &str) -> String {
    crate::text::excerpt(text, 48)
}

enum Kind {
    Nothing,
    Boolean(bool),
    /// Decimal digits with an optional minus.
    Integer,
    /// A number to some YAML readers: octal, hexadecimal, with leading zeros or underscores.
    OddInteger,
    Float,
    Text,
}

impl Scalar {
    /// What YAML 1.2's core schema makes of it.
    fn kind(&self) -> Kind {
        if !self.plain {
            return Kind::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Kind::Nothing,
            "true" | "True" | "TRUE" => return Kind::Boolean(true),
            "false" | "False" | "FALSE" => return Kind::Boolean(false),
            ".nan" | ".NaN" | ".NAN" => return Kind::Float,
            _ => {}
        }
        let number = self.text.strip_prefix(['-', '+']).unwrap_or(&self.text);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits(number) {
            let plain = !self.text.starts_with('+') && (number == "0" || !number.starts_with('0'));
            return if plain { Kind::Integer } else { Kind::OddInteger };
        }
        let prefixed = |prefix, radix| {
            number.strip_prefix(prefix).is_some_and(|n: &str| !n.is_empty() && n.chars().all(|c| c.is_digit(radix)))
        };
        if prefixed("0x", 16) || prefixed("0o", 8) || (number.contains('_') && digits(&number.replace('_', ""))) {
            return Kind::OddInteger;
        }
        let float = number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && number.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
            && number.parse::<f64>().is_ok();
        if float || [".inf", ".Inf", ".INF"].contains(&number) { Kind::Float } else { Kind::Text }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Scalar(scalar) => match scalar.kind() {
            Kind::Nothing => "nothing".to_owned(),
            Kind::Boolean(_) => format!("the boolean `{}`", scalar.text),
            Kind::Integer | Kind::OddInteger | Kind::Float => format!("the number `{}`", excerpt(&scalar.text)),
            Kind::Text => format!("the text `{}`", excerpt(&scalar.text)),
        },
        Value::Sequence { .. } => "a list".to_owned(),
        Value::Mapping { .. } => "a map".to_owned(),
        Value::Broken(_) => "something unreadable".to_owned(),
    }
}
