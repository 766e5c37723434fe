//! What is not as the plans say: for people, for a pull request or an issue, for programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::{
    human::write_details,
    left_out,
    markdown::{LONGEST, code, plain, write_detail},
    places::distinct,
};
use crate::{
    cli::words::count,
    drift::{Cause, Difference, Drift, Who, names_nobody},
    left_out::LeftOut,
    style::{Palette, clean},
};

/// Raised when a field goes away or changes its meaning; new fields may come without it.
const FORMAT_VERSION: u32 = 1;

/// Each bastion's differences, by where they were found; what could not be compared; and what to do.
pub fn human(drifts: &[Drift], palette: &Palette) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_human(&mut out, drifts, palette);
    out
}

fn write_human(out: &mut String, drifts: &[Drift], palette: &Palette) -> std::fmt::Result {
    let Palette { heading, faint, update, .. } = palette;
    for drift in drifts {
        let location = drift.location.to_string();
        let (bastion, location, plan) = (clean(&drift.bastion), clean(&location), clean(&drift.plan));
        write!(out, "{heading}{bastion}{heading:#}  {location}  {faint}{plan}{faint:#}")?;
        match drift.differences.len() {
            _ if drift.absent.is_some() => writeln!(out, "  {update}{}{update:#}", clean(&absent(drift)))?,
            0 => writeln!(out, "  as the plan says")?,
            n => writeln!(out, "  {update}{}{update:#}", count(n, "difference"))?,
        }
        let mut cause = None;
        for difference in &drift.differences {
            let heading = heading_of(difference);
            if cause.replace(heading) != Some(heading) {
                writeln!(out, "\n  {}:", heading)?;
            }
            write_difference(out, difference, palette)?;
        }
        if !drift.unseen.is_empty() {
            writeln!(out)?;
        }
        for unseen in &drift.unseen {
            let checks = count(unseen.checks.len(), "check");
            writeln!(out, "  {update}?{update:#} {checks} not compared: {faint}{}{faint:#}", clean(&unseen.reason))?;
        }
        writeln!(out)?;
    }
    let drifted = drifts.iter().filter(|d| d.is_drifted()).count();
    match drifted {
        0 => writeln!(out, "{heading}No drift{heading:#} in what could be compared."),
        _ => writeln!(out, "{heading}Drift:{heading:#} {} of {}.", drifted, count(drifts.len(), "bastion")),
    }
}

/// What is said of a bastion of which nothing is there.
fn absent(drift: &Drift) -> String {
    match drift.absent.as_ref().and_then(|absent| absent.removed.as_ref()) {
        Some(act) if act.ours => format!("not there: destroyed by {} at {}", act.by(), act.at),
        Some(act) => format!("not there: removed by {} at {}", act.by(), act.at),
        None => "not there".to_owned(),
    }
}

fn heading_of(difference: &Difference) -> &'static str {
    match difference.cause {
        Some(Cause::Cloud) => "Changed in the cloud",
        Some(Cause::Undetermined) => "Changed in the cloud, or in the plan and not applied yet",
        Some(Cause::Plan) => "In the plan and not applied yet",
        None => "Checks that fail",
    }
}

fn write_difference(out: &mut String, of: &Difference, palette: &Palette) -> std::fmt::Result {
    let Palette { heading, faint, update, .. } = palette;
    writeln!(out, "\n  {update}~{update:#} {}: {}", of.kind.as_str(), clean(&of.what))?;
    writeln!(out, "      {}", clean(&of.why))?;
    write_details(out, &of.details, palette)?;
    for seen in &of.seen {
        writeln!(out, "      {faint}seen   {}{faint:#}", clean(seen))?;
    }
    match &of.who {
        None => {}
        Some(Who::Log { acts }) => {
            let nobody = names_nobody(acts);
            if let Some(nobody) = &nobody {
                writeln!(out, "      {heading}who{heading:#}    {}", clean(nobody))?;
            }
            for act in acts.iter().filter(|_| nobody.is_none()) {
                let by = act.by();
                let (at, who, what) = (clean(&act.at), clean(&by), clean(&act.what));
                writeln!(out, "      {heading}who{heading:#}    {at}  {who}  {faint}{what}{faint:#}")?;
            }
        }
        Some(Who::Unknown { reason, ask }) => {
            writeln!(out, "      {heading}who{heading:#}    unknown: {}; to ask:", clean(reason))?;
            writeln!(out, "             {faint}{}{faint:#}", clean(ask))?;
        }
    }
    writeln!(out, "      {heading}repair{heading:#} {}", clean(&of.repair))
}

/// Markdown of a length that one comment can hold: of very much drift only the totals are told.
pub fn markdown(drifts: &[Drift]) -> String {
    let mut out = String::new();
    for whole in [true, false] {
        out.clear();
        // Writing to a string cannot fail.
        let _ = write_markdown(&mut out, drifts, whole);
        if out.chars().count() <= LONGEST {
            break;
        }
    }
    out
}

fn write_markdown(out: &mut String, drifts: &[Drift], whole: bool) -> std::fmt::Result {
    let drifted = drifts.iter().filter(|d| d.is_drifted()).count();
    match drifted {
        0 => {
            writeln!(out, "### gangplank: no drift\n\nNo drift in what could be compared.")?;
            for place in distinct(drifts.iter().map(|drift| &drift.location)) {
                writeln!(out, "\n{}", plain(&place.to_string()))?;
            }
        }
        _ => writeln!(out, "### gangplank: drift in {drifted} of {}", count(drifts.len(), "bastion"))?,
    }
    if !whole {
        writeln!(out, "\nToo long for one comment: only totals are shown here.")?;
    }
    for drift in drifts {
        if !drift.is_drifted() && drift.unseen.is_empty() {
            continue;
        }
        let (bastion, location, plan) = (plain(&drift.bastion), plain(&drift.location.to_string()), plain(&drift.plan));
        let differences = if drift.absent.is_some() {
            plain(&absent(drift)).to_string()
        } else {
            count(drift.differences.len(), "difference")
        };
        writeln!(out, "\n#### {bastion} ({location}, {plan}): {differences}\n")?;
        for of in drift.differences.iter().filter(|_| whole) {
            writeln!(out, "- **{}** {}: {}", of.kind.as_str(), plain(&of.what), plain(&of.why))?;
            writeln!(out, "  - {}", heading_of(of))?;
            for detail in &of.details {
                write_detail(out, detail)?;
            }
            for seen in &of.seen {
                writeln!(out, "  - seen: {}", plain(seen))?;
            }
            match &of.who {
                None => {}
                Some(Who::Log { acts }) => {
                    let nobody = names_nobody(acts);
                    if let Some(nobody) = &nobody {
                        writeln!(out, "  - who: {}", plain(nobody))?;
                    }
                    for act in acts.iter().filter(|_| nobody.is_none()) {
                        writeln!(out, "  - who: {} {} ({})", plain(&act.at), plain(&act.by()), plain(&act.what))?;
                    }
                }
                Some(Who::Unknown { reason, ask }) => {
                    writeln!(out, "  - who: unknown, {}; to ask: {}", plain(reason), code(ask))?;
                }
            }
            writeln!(out, "  - repair: {}", plain(&of.repair))?;
        }
        for unseen in &drift.unseen {
            writeln!(out, "- {} not compared: {}", count(unseen.checks.len(), "check"), plain(&unseen.reason))?;
        }
    }
    Ok(())
}

/// One JSON document, ending in a newline:
///
/// - `format_version`: 1
/// - `drifted`: whether any bastion has a difference
/// - `bastions[]`: `bastion`, `location` and whose (`region`, `account`, `sandbox`), `plan` (the file), `drifted`, and
///   - `absent`, where nothing of the bastion is there: with `removed` where the log tells who did it (`at`, `who`, `what`, `ours`)
///   - `differences[]`: `kind` (`cloud`, `catalogue`, `control-plane`, `machine`), `cause` (`cloud`, `plan` where it is not applied
///     yet, `undetermined`; of a check none), `what`, `why`, `details[]` (as in `plan`:
///     `before` is what the cloud has, `after` what the plan says), `seen[]`, `repair`, and where the cloud was asked `who`:
///     `known` is `log` (with `acts[]`: `at`, `who`, `what`, and `ours` where gangplank did it) or `unknown` (with `reason`, and `ask`: a command)
///   - `unseen[]`: `reason`, and the `checks` that could not be judged for it
pub fn json(drifts: &[Drift]) -> String {
    json_with(drifts, &[])
}

/// The same with `left_out[]` where plans are left out: see [`left_out::json`].
pub fn json_with(drifts: &[Drift], left_out: &[LeftOut]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        format_version: u32,
        drifted: bool,
        bastions: Vec<Bastion<'a>>,
        #[serde(skip_serializing_if = "Value::is_null")]
        left_out: Value,
    }
    #[derive(Serialize)]
    struct Bastion<'a> {
        drifted: bool,
        #[serde(flatten)]
        drift: &'a Drift,
    }
    let bastions = drifts.iter().map(|drift| Bastion { drifted: drift.is_drifted(), drift }).collect();
    let drifted = drifts.iter().any(Drift::is_drifted);
    let left_out = if left_out.is_empty() { Value::Null } else { left_out::json(left_out) };
    let document = Document { format_version: FORMAT_VERSION, drifted, bastions, left_out };
    // Cannot fail: every map key is a string and nothing refuses to be serialised.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
