//! The diff for people.

use std::fmt::Write;

use super::{Common, directions, impact, no_changes, steps_with_impact, totals_of_all};
use crate::{
    changeset::{Changeset, Detail, Exposure, Impact, Step},
    cli::words::style,
    style::{Palette, clean},
};

/// A value longer than this does not widen its column.
const WIDEST: usize = 64;

/// The whole diff, ending in a newline: each bastion's changes, then who can reach what afterwards, then the totals.
pub fn human<A>(sets: &[Changeset<A>], palette: &Palette) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, sets, true, no_changes(sets.len()), palette);
    out
}

/// The same of changes that open and close nothing: not a word about who can reach what.
pub fn human_of_tags<A>(sets: &[Changeset<A>], palette: &Palette) -> String {
    let mut out = String::new();
    let _ = write_all(&mut out, sets, false, no_changes(sets.len()), palette);
    out
}

/// The same of some of the plans, where the others could not be compared: what is said of the cloud is said of these only.
pub fn human_of_some<A>(sets: &[Changeset<A>], palette: &Palette) -> String {
    let mut out = String::new();
    let _ = write_all(&mut out, sets, true, "No changes there. The other plans are left out:", palette);
    out
}

fn write_all<A>(
    out: &mut String,
    sets: &[Changeset<A>],
    reach: bool,
    no_changes: &str,
    palette: &Palette,
) -> std::fmt::Result {
    let Palette { heading, .. } = palette;
    let (unchanged, changed): (Vec<_>, Vec<_>) = sets.iter().partition(|set| set.is_empty());
    for set in &changed {
        write_bastion(out, set, palette)?;
        writeln!(out)?;
    }
    if let ([one], []) = (unchanged.as_slice(), changed.as_slice()) {
        write_heading(out, one, palette)?;
        write_notes(out, one)?;
        writeln!(out)?;
    } else if !unchanged.is_empty() {
        write_unchanged(out, &unchanged, palette)?;
        writeln!(out)?;
    }
    if reach && !changed.is_empty() {
        writeln!(out, "{heading}After this, who can reach what:{heading:#}\n")?;
        for set in &changed {
            if sets.len() > 1 {
                writeln!(out, "  {heading}{}{heading:#}", clean(&set.bastion))?;
                write_exposure(out, &set.exposure, "    ", palette)?;
            } else {
                write_exposure(out, &set.exposure, "  ", palette)?;
            }
            writeln!(out)?;
        }
    }
    match totals_of_all(sets).to_do() {
        Some(totals) => writeln!(out, "{heading}{totals}{heading:#}"),
        None => writeln!(out, "{no_changes}"),
    }
}

fn write_heading<A>(out: &mut String, set: &Changeset<A>, palette: &Palette) -> std::fmt::Result {
    let Palette { heading, faint, .. } = palette;
    let location = set.location.to_string();
    let (bastion, location, plan) = (clean(&set.bastion), clean(&location), clean(&set.plan));
    writeln!(out, "{heading}{bastion}{heading:#}  {location}  {faint}{plan}{faint:#}")
}

fn write_bastion<A>(out: &mut String, set: &Changeset<A>, palette: &Palette) -> std::fmt::Result {
    let Palette { warning, faint, .. } = palette;
    write_heading(out, set, palette)?;
    let common = Common::of(set);
    if let Some(reason) = common.reason {
        writeln!(out, "  {faint}{}{faint:#}", clean(reason))?;
    }
    if let (true, Some(teardown)) = (common.teardown, impact(Impact::Teardown)) {
        writeln!(out, "  {warning}! {teardown}{warning:#}")?;
    }
    writeln!(out)?;
    for (step, impact) in steps_with_impact(set) {
        write_step(out, step, common.reason.is_none(), impact, palette)?;
    }
    write_notes(out, set)
}

fn write_step<A>(
    out: &mut String,
    step: &Step<A>,
    with_reason: bool,
    impact: Option<&str>,
    palette: &Palette,
) -> std::fmt::Result {
    let Palette { warning, faint, .. } = palette;
    let color = style(step.op, palette);
    writeln!(out, "  {color}{}{color:#} {}", step.op.sign(), clean(&step.resource))?;
    if with_reason && !step.reason.is_empty() {
        writeln!(out, "      {faint}{}{faint:#}", clean(&step.reason))?;
    }
    if let Some(impact) = impact {
        writeln!(out, "      {warning}! {impact}{warning:#}")?;
    }
    write_details(out, &step.details, palette)
}

pub(super) fn write_details(out: &mut String, details: &[Detail], palette: &Palette) -> std::fmt::Result {
    let faint = palette.faint;
    let rows: Vec<_> = details.iter().map(|d| (clean(&d.name), value(d))).collect();
    let names = column(rows.iter().map(|(name, _)| name.as_ref()));
    let values = column(details.iter().zip(&rows).filter(|(d, _)| d.note.is_some()).map(|(_, (_, v))| v.as_str()));
    for (detail, (name, value)) in details.iter().zip(&rows) {
        let color = style(detail.op(), palette);
        let sign = detail.op().sign();
        write!(out, "      {color}{sign}{color:#} {name:names$}  ")?;
        match &detail.note {
            Some(note) => writeln!(out, "{value:values$}  {faint}{}{faint:#}", clean(note))?,
            None => writeln!(out, "{value}")?,
        }
    }
    Ok(())
}

fn value(detail: &Detail) -> String {
    match (&detail.before, &detail.after) {
        (Some(before), Some(after)) => format!("{} → {}", clean(before), clean(after)),
        (Some(one), None) | (None, Some(one)) => clean(one).into_owned(),
        (None, None) => String::new(),
    }
}

fn write_notes<A>(out: &mut String, set: &Changeset<A>) -> std::fmt::Result {
    if !set.notes.is_empty() {
        writeln!(out)?;
    }
    for note in &set.notes {
        writeln!(out, "  note: {}", clean(note))?;
    }
    Ok(())
}

fn write_unchanged<A>(out: &mut String, sets: &[&Changeset<A>], palette: &Palette) -> std::fmt::Result {
    let Palette { heading, faint, .. } = palette;
    let locations: Vec<String> = sets.iter().map(|s| s.location.to_string()).collect();
    let rows: Vec<_> =
        sets.iter().zip(&locations).map(|(s, location)| (clean(&s.bastion), clean(location), clean(&s.plan))).collect();
    let names = column(rows.iter().map(|r| r.0.as_ref()));
    let locations = column(rows.iter().map(|r| r.1.as_ref()));
    let plans = column(rows.iter().map(|r| r.2.as_ref()));
    for (name, location, plan) in &rows {
        writeln!(
            out,
            "{heading}{name:names$}{heading:#}  {location:locations$}  {faint}{plan:plans$}{faint:#}  no changes"
        )?;
    }
    Ok(())
}

fn write_exposure(out: &mut String, exposure: &[Exposure], indent: &str, palette: &Palette) -> std::fmt::Result {
    let Palette { faint, .. } = palette;
    if exposure.is_empty() {
        return writeln!(out, "{indent}nobody: nothing is open any more");
    }
    let cleaned: Vec<_> = exposure.iter().map(|e| (clean(&e.from), clean(&e.to))).collect();
    let from = column(cleaned.iter().map(|(from, _)| from.as_ref()));
    let to = column(cleaned.iter().map(|(_, to)| to.as_ref()));
    for (name, ways) in directions(exposure) {
        writeln!(out, "{indent}{name}")?;
        for way in ways {
            let (source, target, why) = (clean(&way.from), clean(&way.to), clean(&way.why));
            writeln!(out, "{indent}  {source:from$} → {target:to$}  {faint}{why}{faint:#}")?;
        }
    }
    Ok(())
}

/// The width that holds most of `cells`, in characters.
fn column<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count()).filter(|width| *width <= WIDEST).max().unwrap_or(0)
}
