//! The last valid report of a console text.

use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::form::{Report, VERSION};
use crate::text;

const START: &str = "{\"gangplank\":";
const CHECKSUM: &str = ",\"sha256\":\"";
const DIGITS: usize = 64;
/// The machine keeps well below it; EC2 and Azure keep the last 64 KiB of a console.
const LONGEST: usize = 64 * 1024;
/// A console of 64 KiB has room for fewer reports; a flood of forged ones is not read to its end.
const MOST: usize = 200;

/// A report, and what came after it that was none.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub report: Report,
    /// Newest first. Any of them may have been a newer report, which makes this one less certain.
    pub later_rejected: Vec<Rejected>,
}

/// Why a console holds no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoReport {
    /// What looked like one, newest first; empty where nothing did.
    pub rejected: Vec<Rejected>,
}

/// Something that looked like a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its line in the console's text, from 1.
    pub line: usize,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its beginning or its end is missing.
    Truncated,
    /// Forged, or another text was printed into the middle of it.
    Checksum,
    /// Whole, but written by a machine that was given another document.
    OtherDocument(String),
    /// Whole, but of another version of the report.
    Version(String),
    /// Whole, but another instance's: the tag or the console is not this machine's.
    OtherInstance(String),
    /// Whole, but not readable as a report.
    Unreadable(String),
    /// More lines than are read look like reports: somebody floods the console.
    TooMany,
}

/// Finds the last report that this machine wrote. `console` may hold anything; bounded in time and memory by its length.
///
/// `seal` is the digest of the document that the machine was given ([`crate::cloudinit::UserData::digest`]), from the
/// instance's tag; `instance`, where it is known, is its id.
///
/// # Errors
/// [`NoReport`] says for everything that looked like a report why it is none.
pub fn read(console: &str, seal: &str, instance: Option<&str>) -> Result<Reading, NoReport> {
    let mut rejected = Vec::new();
    let mut line = 1 + console.bytes().filter(|b| *b == b'\n').count();
    for text in console.rsplit('\n') {
        // A line may have been overwritten with carriage returns, and may hold several beginnings: the last one counts.
        for piece in text.rsplit('\r') {
            let reason = match candidate(piece) {
                None => continue,
                Some(_) if rejected.len() >= MOST => {
                    rejected.push(Rejected { line, reason: Reason::TooMany });
                    return Err(NoReport { rejected });
                }
                Some(Err(reason)) => reason,
                Some(Ok(candidate)) => match judge(candidate, seal, instance) {
                    Ok(report) => return Ok(Reading { report, later_rejected: rejected }),
                    Err(reason) => reason,
                },
            };
            rejected.push(Rejected { line, reason });
        }
        line -= 1;
    }
    Err(NoReport { rejected })
}

/// A line's sealed bytes and their checksum.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    sealed: &'a str,
    checksum: &'a str,
}

/// `None` where nothing in the line looks like a report.
fn candidate(line: &str) -> Option<Result<Candidate<'_>, Reason>> {
    let Some(start) = line.rfind(START) else {
        // A quote within JSON's text is escaped: this can only be a report's own end.
        let end = line.find(CHECKSUM).and_then(|at| line.get(at + CHECKSUM.len()..));
        return end.is_some_and(|end| checksum(end).is_some()).then_some(Err(Reason::Truncated));
    };
    let text = line.get(start..)?;
    let parts = text.find(CHECKSUM).and_then(|at| Some((text.get(..at)?, text.get(at + CHECKSUM.len()..)?)));
    let found = parts.and_then(|(sealed, end)| Some(Candidate { sealed, checksum: checksum(end)? }));
    Some(match found {
        Some(found) if found.sealed.len() <= LONGEST => Ok(found),
        Some(_) => Err(Reason::Checksum),
        None => Err(Reason::Truncated),
    })
}

/// 64 digits and the end of the object; what follows (a colour's end, a log line) is not the report's.
fn checksum(end: &str) -> Option<&str> {
    let digits = end.get(..DIGITS)?;
    let whole = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (whole && end.get(DIGITS..)?.starts_with("\"}")).then_some(digits)
}

fn judge(candidate: Candidate<'_>, seal: &str, instance: Option<&str>) -> Result<Report, Reason> {
    let sealed_with = |seal: &str| {
        let mut hash = Sha256::new();
        hash.update(seal);
        hash.update("\n");
        hash.update(candidate.sealed);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>() == candidate.checksum
    };
    let json = format!("{}}}", candidate.sealed);
    if !sealed_with(seal) {
        let own = serde_json::from_str::<Value>(&json).ok();
        let own = own.as_ref().and_then(|value| value.get("document")).and_then(Value::as_str);
        return Err(match own {
            Some(own) if own != seal && sealed_with(own) => Reason::OtherDocument(excerpt(own)),
            _ => Reason::Checksum,
        });
    }
    let value: Value =
        serde_json::from_str(&json).map_err(|e| Reason::Unreadable(text::excerpt(&e.to_string(), 200)))?;
    match value.get("gangplank") {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        other => return Err(Reason::Version(excerpt(&other.map(Value::to_string).unwrap_or_default()))),
    }
    let report: Report =
        serde_json::from_value(value).map_err(|e| Reason::Unreadable(text::excerpt(&e.to_string(), 200)))?;
    match instance {
        Some(instance) => match report.instance.as_result() {
            Ok(other) if other != instance => Err(Reason::OtherInstance(excerpt(other))),
            // A machine that does not know its own id still knows its document.
            _ => Ok(report),
        },
        None => Ok(report),
    }
}

fn excerpt(text: &str) -> String {
    text::excerpt(text, 40)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Truncated => f.write_str("it is cut off"),
            Reason::Checksum => f.write_str(
                "its checksum is wrong: another text was printed into the middle of it, or somebody else wrote it",
            ),
            Reason::OtherDocument(document) => {
                write!(f, "it was written by a machine with the document {document}, which is not this instance's")
            }
            Reason::Version(version) => write!(f, "it has version {version}, and this gangplank reads {VERSION}"),
            Reason::OtherInstance(id) => write!(f, "it was written by another instance, {id}"),
            Reason::Unreadable(problem) => write!(f, "it cannot be read as a report: {problem}"),
            Reason::TooMany => write!(f, "more than {MOST} lines look like reports and are none"),
        }
    }
}

impl fmt::Display for NoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(newest) = self.rejected.first() else {
            return f.write_str("the console holds no report");
        };
        write!(f, "the console holds no valid report; the newest line that looks like one is line {}: ", newest.line)?;
        newest.reason.fmt(f)
    }
}

impl std::error::Error for NoReport {}
