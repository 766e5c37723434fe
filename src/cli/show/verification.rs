//! A verification for people, for programs, and for what reads JUnit's XML.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::left_out;

use crate::{
    left_out::LeftOut,
    style::{Palette, clean},
    verify::{
        Check, Verdict, Verification,
        summary::{by_vantage, summary, totals},
    },
};

/// Raised when a field goes away or changes its meaning; new fields may come without it.
const FORMAT_VERSION: u32 = 1;

/// More checks than this that are unknown for one reason are told in one line.
const FOLDED: usize = 4;

/// A check's name longer than this does not widen its column.
const WIDEST: usize = 40;

/// Every check in a line, grouped by vantage; failures with cause, fix and evidence; ends in a line with the totals.
/// `details`: the evidence of what passed or stayed unknown, too.
pub fn human(verifications: &[Verification], palette: &Palette, details: bool) -> String {
    let mut out = String::new();
    for (i, verification) in verifications.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = if i > 0 { writeln!(out) } else { Ok(()) };
        let _ = write_verification(&mut out, verification, palette, details);
    }
    if verifications.len() > 1 {
        let sum = |of: fn(&Verification) -> usize| verifications.iter().map(of).sum();
        let all = totals(sum(Verification::passed), sum(Verification::failed), sum(Verification::unknown));
        let Palette { heading, .. } = palette;
        let _ = writeln!(out, "\n{heading}together: {all}{heading:#}");
    }
    out
}

fn write_verification(out: &mut String, of: &Verification, palette: &Palette, details: bool) -> std::fmt::Result {
    let Palette { heading, faint, create, update, delete, .. } = palette;
    let address = match &of.address {
        Some(address) => format!("{} port {}", clean(address), of.port),
        None => "no address yet".to_owned(),
    };
    let location = of.location.to_string();
    let (bastion, location) = (clean(&of.bastion), clean(&location));
    writeln!(out, "{heading}{bastion}{heading:#}  {location}  {faint}{address}{faint:#}")?;
    let names = of.checks.iter().map(|check| clean(&check.name()).chars().count());
    let width = names.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for seen in by_vantage(of) {
        writeln!(out, "\n  {heading}{}{heading:#}", seen.vantage.as_str())?;
        for check in seen.answered {
            write_check(out, check, width, palette, details)?;
        }
        for (reason, checks) in seen.unknown {
            match checks.as_slice() {
                [first, .., last] if !details && checks.len() > FOLDED => {
                    let (first, last) = (first.name(), last.name());
                    let (first, last, count) = (clean(&first), clean(&last), checks.len());
                    writeln!(
                        out,
                        "  {update}?{update:#} {count} checks, {first} to {last}  {faint}--details lists them{faint:#}"
                    )?;
                }
                few => {
                    for check in few {
                        write_check(out, check, width, palette, details)?;
                    }
                }
            }
            writeln!(out, "      {faint}unknown: {}{faint:#}", clean(reason))?;
        }
    }
    let color = match (of.failed(), of.unknown()) {
        (0, 0) => create,
        (0, _) => heading,
        _ => delete,
    };
    writeln!(out, "\n  {color}{}{color:#}", summary(of))
}

fn write_check(out: &mut String, check: &Check, width: usize, palette: &Palette, details: bool) -> std::fmt::Result {
    let Palette { faint, create, update, delete, heading, .. } = palette;
    let (color, sign) = match check.verdict {
        Verdict::Pass => (create, "✓"),
        Verdict::Fail { .. } => (delete, "✗"),
        Verdict::Unknown { .. } => (update, "?"),
    };
    let (name, proves) = (check.name(), clean(&check.proves));
    writeln!(out, "  {color}{sign}{color:#} {:width$}  {faint}{proves}{faint:#}", clean(&name))?;
    if let Verdict::Fail { cause, fix } = &check.verdict {
        writeln!(out, "      {delete}cause{delete:#}  {}", clean(cause))?;
        writeln!(out, "      {heading}fix{heading:#}    {}", clean(fix))?;
    }
    if details || check.verdict.is_fail() {
        for line in &check.evidence {
            writeln!(out, "      {faint}seen   {}{faint:#}", clean(line))?;
        }
    }
    Ok(())
}

/// One JSON document, ending in a newline:
///
/// - `format_version`: 1
/// - `passed`, `failed`, `unknown`: how many checks, over all bastions
/// - `bastions[]`: `bastion`, `location` and whose (`region`, `account`, `sandbox`), `address` (null: none yet), `port`, the same counts, and
///   - `checks[]`: `id`, `subject` (where there are several of one id), `vantage` (`control-plane`, `machine`, `network`),
///     `part` (`"edge"`, `"bastion"`, `{"target": NAME}`), `proves`, `evidence[]`, `verdict` (`pass`; `fail` with `cause` and
///     `fix`; `unknown` with `reason`)
pub fn json(verifications: &[Verification]) -> String {
    json_with(verifications, &[])
}

/// The same with `left_out[]` where plans are left out: see [`left_out::json`].
pub fn json_with(verifications: &[Verification], left_out: &[LeftOut]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        format_version: u32,
        #[serde(flatten)]
        counts: Counts,
        bastions: Vec<Bastion<'a>>,
        #[serde(skip_serializing_if = "Value::is_null")]
        left_out: Value,
    }
    #[derive(Serialize)]
    struct Bastion<'a> {
        #[serde(flatten)]
        counts: Counts,
        #[serde(flatten)]
        verification: &'a Verification,
    }
    #[derive(Default, Serialize)]
    struct Counts {
        passed: usize,
        failed: usize,
        unknown: usize,
    }
    let counts = |v: &Verification| Counts { passed: v.passed(), failed: v.failed(), unknown: v.unknown() };
    let all = verifications.iter().map(counts).fold(Counts::default(), |sum, one| Counts {
        passed: sum.passed + one.passed,
        failed: sum.failed + one.failed,
        unknown: sum.unknown + one.unknown,
    });
    let bastions = verifications.iter().map(|v| Bastion { counts: counts(v), verification: v }).collect();
    let left_out = if left_out.is_empty() { Value::Null } else { left_out::json(left_out) };
    let document = Document { format_version: FORMAT_VERSION, counts: all, bastions, left_out };
    // Cannot fail: every map key is a string and nothing refuses to be serialised.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// JUnit's XML as CI systems read it: a suite for each bastion, a case for each check, with its vantage as the class. What is
/// unknown counts as skipped: no green, and no red of the tunnel's own.
///
/// A plan that is left out is a suite with an error.
pub fn junit(verifications: &[Verification], left_out: &[LeftOut]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_junit(&mut out, verifications, left_out);
    out
}

fn write_junit(out: &mut String, verifications: &[Verification], left_out: &[LeftOut]) -> std::fmt::Result {
    let sum = |of: fn(&Verification) -> usize| verifications.iter().map(of).sum::<usize>();
    let (failed, unknown) = (sum(Verification::failed), sum(Verification::unknown));
    let errors = left_out.len();
    let tests: usize = verifications.iter().map(|v| v.checks.len()).sum::<usize>() + errors;
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="gangplank" tests="{tests}" failures="{failed}" errors="{errors}" skipped="{unknown}">"#
    )?;
    for of in verifications {
        let (name, tests) = (xml(&of.bastion), of.checks.len());
        let (failed, unknown) = (of.failed(), of.unknown());
        writeln!(
            out,
            r#"  <testsuite name="{name}" tests="{tests}" failures="{failed}" errors="0" skipped="{unknown}">"#
        )?;
        for check in &of.checks {
            write_case(out, check)?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    for one in left_out {
        let (name, word) = (xml(&one.plan), xml(&left_out::word(one)));
        writeln!(out, r#"  <testsuite name="{name}" tests="1" failures="0" errors="1" skipped="0">"#)?;
        writeln!(out, r#"    <testcase classname="plan" name="{name}">"#)?;
        writeln!(out, r#"      <error message="{word}"/>"#)?;
        writeln!(out, "    </testcase>\n  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn write_case(out: &mut String, check: &Check) -> std::fmt::Result {
    write!(out, r#"    <testcase classname="{}" name="{}""#, check.vantage.as_str(), xml(&check.name()))?;
    let mut seen: Vec<String> = vec![format!("proves: {}", xml(&check.proves))];
    seen.extend(check.evidence.iter().map(|line| format!("seen: {}", xml(line))));
    let seen = seen.join("\n");
    match &check.verdict {
        Verdict::Pass => writeln!(out, ">\n      <system-out>{seen}</system-out>\n    </testcase>"),
        Verdict::Fail { cause, fix } => {
            let (cause, fix) = (xml(cause), xml(fix));
            writeln!(
                out,
                ">\n      <failure type=\"fail\" message=\"{cause}\">cause: {cause}\nfix: {fix}\n{seen}</failure>\n    </testcase>"
            )
        }
        Verdict::Unknown { reason } => {
            let reason = xml(reason);
            writeln!(
                out,
                ">\n      <skipped message=\"{reason}\"/>\n      <system-out>{seen}</system-out>\n    </testcase>"
            )
        }
    }
}

/// Text for XML 1.0, in an element or an attribute. Control characters have become escapes that a reader sees; the two
/// that are none and still no `Char` of XML (section 2.2) become U+FFFD.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
