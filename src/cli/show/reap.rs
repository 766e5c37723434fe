//! What a reaper found and what is left after it: for people and for programs.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cli::{
        verbs::reap::{Bastion, Judged},
        words::count,
    },
    cloud_error::CloudError,
    cost::{Bill, Item, bill},
    location::Location,
    reap::{Expires, Found, MachineFacts, Stranger, Verdict, Why, is_alike},
    style::{Palette, clean},
};

/// Raised when a field goes away or changes its meaning; new fields may come without it.
const FORMAT_VERSION: u32 = 1;

/// What something is paid for.
fn bill_of(found: &Found, now: Timestamp) -> Bill {
    let items: Vec<Item> = found.parts.iter().flat_map(|part| part.items.iter().cloned()).collect();
    let left = match found.expires {
        Expires::At(expires) => Some(expires.as_second() - now.as_second()),
        Expires::Never | Expires::Disputed(..) | Expires::Unclear(_) => None,
    };
    bill(&found.priced_at, &items, left)
}

fn words(verdict: &Verdict, found: &Found) -> String {
    match (verdict, &found.expires) {
        (Verdict::Reap { why: Why::Expired }, Expires::At(expires) | Expires::Disputed(_, expires)) => {
            format!("past its deadline, {expires}")
        }
        (Verdict::Reap { why: Why::Expired }, _) => "past its deadline".to_owned(),
        (Verdict::Reap { why: Why::Orphaned }, _) => "without a machine: what is left leads nowhere".to_owned(),
        (Verdict::Report { problem }, _) => format!("left alone, look at it: {problem}"),
        (Verdict::Keep { reason }, _) => format!("stays: {reason}"),
    }
}

/// What would be destroyed and why, what is left alone, and what could not be read.
pub fn human(judged: &Judged, now: Timestamp, palette: &Palette) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_human(&mut out, judged, now, palette);
    out
}

fn write_human(out: &mut String, judged: &Judged, now: Timestamp, palette: &Palette) -> std::fmt::Result {
    let Palette { heading, delete, warning, .. } = palette;
    for bastion in &judged.bastions {
        write_bastion(out, bastion, now, palette)?;
    }
    write_strangers(out, &judged.sight.strangers, now, palette)?;
    for (place, error) in &judged.sight.unread {
        writeln!(out, "{warning}not read:{warning:#} {}: {}", clean(&place.to_string()), clean(&error.to_string()))?;
    }
    if !judged.unseen.is_empty() {
        writeln!(out, "Not looked at: {}.", judged.unseen.join(", "))?;
    }
    let going = judged.bastions.iter().filter(|b| b.verdict.why().is_some()).count();
    let reported = judged.bastions.iter().filter(|b| b.verdict.is_reported()).count();
    let staying = judged.bastions.len() - going - reported;
    let read = count(judged.sight.read, "place");
    let doubt = if reported == 0 { String::new() } else { format!(", {reported} to look at") };
    let color = if going > 0 { delete } else { heading };
    let accounts = accounts(judged);
    writeln!(out, "{color}{going} to destroy{color:#}{doubt}, {staying} staying, in {read}{accounts}.")
}

/// ` of aws 111122223333 (profile data) and azure Data Platform (SUBSCRIPTION)`
fn accounts(judged: &Judged) -> String {
    let accounts: Vec<String> = judged.sight.accounts.iter().map(|one| clean(&one.to_string()).into_owned()).collect();
    if accounts.is_empty() { String::new() } else { format!(" of {}", accounts.join(" and ")) }
}

/// `, Standard_B1s, 93 days old, launched by ana@example.com`: nothing where it is no machine.
fn machine_words(what: &str, machine: Option<&MachineFacts>, now: Timestamp) -> String {
    let Some(machine) = machine else { return String::new() };
    let age = machine.launched.map(|at| format!("{} old", age(at, now)));
    let by = machine.launched_by.as_ref().map(|by| format!("launched by {by}"));
    let protected = (machine.protected == Some(true)).then(|| "protected from deletion".to_owned());
    let name = machine.name.as_ref().filter(|name| !what.ends_with(name.as_str())).map(|name| format!("Name {name}"));
    let kind = (!machine.machine_type.is_empty()).then(|| machine.machine_type.clone());
    let all = [name, kind, age, by, protected].into_iter().flatten();
    all.map(|words| format!(", {words}")).collect()
}

/// `93 days`, `5 hours`, `12 minutes`
fn age(at: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(at).as_mins().max(0).unsigned_abs();
    let many = |n: u64, what: &str| count(usize::try_from(n).unwrap_or(usize::MAX), what);
    match minutes {
        0..120 => many(minutes, "minute"),
        120..2880 => many(minutes / 60, "hour"),
        _ => many(minutes / 1440, "day"),
    }
}

fn write_bastion(out: &mut String, bastion: &Bastion, now: Timestamp, palette: &Palette) -> std::fmt::Result {
    let Palette { heading, delete, update, faint, warning, .. } = palette;
    let found = &bastion.found;
    let (sign, color) = match bastion.verdict {
        Verdict::Reap { .. } => ("-", delete),
        Verdict::Report { .. } => ("?", update),
        Verdict::Keep { .. } => (" ", faint),
    };
    let location = found.location.to_string();
    let (name, location, why) = (clean(&found.bastion), clean(&location), words(&bastion.verdict, found));
    writeln!(out, "{color}{sign}{color:#} {heading}{name}{heading:#}  {location}  {}", clean(&why))?;
    if !found.other_ends.is_empty() {
        let ends: Vec<String> = found.other_ends.iter().map(Timestamp::to_string).collect();
        writeln!(out, "    {warning}⚠ some of its tags tell another end: {}{warning:#}", ends.join(", "))?;
    }
    for guest in &found.guests {
        writeln!(out, "    {warning}⚠ {}: it reaches what the bastion reaches{warning:#}", clean(guest))?;
    }
    if matches!(bastion.verdict, Verdict::Reap { .. }) {
        for one in &found.in_use {
            writeln!(out, "    {warning}⚠ {}: it is not proven to be the bastion's, and stays{warning:#}", clean(one))?;
        }
    }
    if matches!(bastion.verdict, Verdict::Keep { .. }) {
        return writeln!(out, "    {faint}costs {}{faint:#}", bill_of(found, now).monthly_words());
    }
    for part in &found.parts {
        writeln!(out, "    {}{}", clean(&part.what), clean(&machine_words(&part.what, part.machine.as_ref(), now)))?;
    }
    for note in &found.notes {
        writeln!(out, "    note: {}", clean(note))?;
    }
    if found.parts.is_empty() {
        return Ok(());
    }
    writeln!(out, "    {faint}{}{faint:#}", clean(&bill_of(found, now).to_string()))
}

/// Everything that carries the tag of one of these bastions, or is called as theirs are, after they have been destroyed.
pub fn leftovers(judged: &[Judged], bastions: &[&str], now: Timestamp, palette: &Palette) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_leftovers(&mut out, judged, bastions, now, palette);
    out
}

fn write_leftovers(
    out: &mut String,
    judged: &[Judged],
    bastions: &[&str],
    now: Timestamp,
    palette: &Palette,
) -> std::fmt::Result {
    let Palette { warning, faint, .. } = palette;
    let called = |s: &&Stranger| {
        let name = s.called.trim().to_ascii_lowercase();
        let tagged = |bastion: &&str| s.tagged.as_deref().is_some_and(|tag| is_alike(tag, bastion));
        bastions.iter().any(|bastion| name == format!("gangplank-{bastion}") || tagged(bastion))
    };
    let strangers: Vec<Stranger> = judged.iter().flat_map(|j| &j.sight.strangers).filter(called).cloned().collect();
    let found: Vec<&Found> = judged.iter().flat_map(|j| &j.bastions).map(|b| &b.found).collect();
    let of_these = |f: &&&Found| !f.parts.is_empty() && bastions.contains(&f.bastion.as_str());
    for found in found.iter().filter(of_these) {
        writeln!(out, "With the tag of {} in {} there is:", clean(&found.bastion), clean(&found.location.to_string()))?;
        for part in &found.parts {
            writeln!(out, "  {}", clean(&part.what))?;
        }
        writeln!(out, "  {faint}{}{faint:#}", clean(&bill_of(found, now).to_string()))?;
    }
    write_strangers(out, &strangers, now, palette)?;
    for (place, error) in judged.iter().flat_map(|j| &j.sight.unread) {
        writeln!(
            out,
            "{warning}No inventory{warning:#} of {}: {}",
            clean(&place.to_string()),
            clean(&error.to_string())
        )?;
    }
    if out.is_empty() {
        writeln!(out, "Inventory: nothing carries their tag or their name any more.")?;
    }
    Ok(())
}

fn write_strangers(out: &mut String, strangers: &[Stranger], now: Timestamp, palette: &Palette) -> std::fmt::Result {
    let Palette { update, faint, .. } = palette;
    for stranger in strangers {
        let location = stranger.location.to_string();
        let what = format!("{}{}", stranger.what, machine_words(&stranger.what, stranger.machine.as_ref(), now));
        let (what, location, why) = (clean(&what), clean(&location), clean(&stranger.why));
        let cost = bill(&stranger.priced_at, &stranger.items, None);
        let cost = if stranger.items.is_empty() { String::new() } else { format!("; costs {}", cost.monthly_words()) };
        writeln!(out, "{update}?{update:#} {what}  {location}  {faint}left alone: {why}{cost}{faint:#}")?;
    }
    Ok(())
}

/// What went, what of it is still there, and everything else that carries the tag or is called as ours are, with what it costs.
pub fn inventory(gone: &[&Found], left: &[Found], after: &Judged, now: Timestamp, palette: &Palette) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_inventory(&mut out, gone, left, after, now, palette);
    out
}

fn write_inventory(
    out: &mut String,
    gone: &[&Found],
    left: &[Found],
    after: &Judged,
    now: Timestamp,
    palette: &Palette,
) -> std::fmt::Result {
    let Palette { heading, delete, faint, .. } = palette;
    writeln!(out, "Looked again: nothing is left of {}.", count(gone.len(), "bastion"))?;
    for found in left {
        writeln!(
            out,
            "{delete}still there{delete:#} of {} in {}:",
            clean(&found.bastion),
            clean(&found.location.to_string())
        )?;
        let parts = after.bastions.iter().filter(|b| b.found.bastion == found.bastion);
        for part in parts.filter(|b| b.found.location == found.location).flat_map(|b| &b.found.parts) {
            writeln!(out, "  {}", clean(&part.what))?;
        }
    }
    if after.bastions.is_empty() && after.sight.strangers.is_empty() {
        return writeln!(
            out,
            "Nothing with gangplank's tag or name is there any more{}.",
            accounts(after).replacen(" of", " in", 1)
        );
    }
    writeln!(out, "\n{heading}What there is by tag and by name:{heading:#}")?;
    for bastion in &after.bastions {
        let (found, cost) = (&bastion.found, bill_of(&bastion.found, now));
        let location = found.location.to_string();
        let (name, location) = (clean(&found.bastion), clean(&location));
        writeln!(
            out,
            "  {name}  {location}  {}  {faint}costs {}{faint:#}",
            clean(&words(&bastion.verdict, found)),
            cost.monthly_words()
        )?;
    }
    write_strangers(out, &after.sight.strangers, now, palette)
}

/// The fields of the event `found`:
///
/// - `format_version`: 1; `read`: how many regions and subscriptions answered; `accounts[]`: whose they are; `unread[]`: `place`, its location, `error`
/// - `bastions[]`: `bastion`, `location` and whose (`region`, `account`, `sandbox`), `expires` (`"never"`, `{"at": ...}`, `{"disputed": [...]}`, `{"unclear": ...}`), `has_machine`, `busy`, `made`,
///   `parts[]` (`what`, `items`, of a machine `machine`), `notes`, `protected[]`, `verdict` (`reap` with `why`: `expired` or
///   `orphaned`; `report` with `problem`; `keep` with `reason`), `cost`
/// - `strangers[]`: its location, `what`, `name`, `why`, `tagged` (the bastion that its tag names), of a machine `machine`, `cost`
/// - `machine`: `name`, `machine_type`, `launched`, `launched_by`, `protected`; `null` is what the cloud does not tell
/// - `not_looked_at[]`: what was left out, for people
pub fn json(judged: &Judged, now: Timestamp) -> Value {
    let bastions: Vec<Value> = judged.bastions.iter().map(|b| bastion_json(b, now)).collect();
    json!({
        "format_version": FORMAT_VERSION,
        "read": judged.sight.read,
        "accounts": judged.sight.accounts,
        "unread": unread(judged),
        "bastions": bastions,
        "strangers": strangers_json(&judged.sight.strangers),
        "not_looked_at": judged.unseen,
    })
}

fn bastion_json(bastion: &Bastion, now: Timestamp) -> Value {
    let mut value = json!(bastion.found);
    if let (Some(fields), Value::Object(verdict)) = (value.as_object_mut(), json!(bastion.verdict)) {
        fields.extend(verdict);
        fields.insert("cost".to_owned(), json!(bill_of(&bastion.found, now)));
    }
    value
}

fn strangers_json(strangers: &[Stranger]) -> Vec<Value> {
    let one = |s: &Stranger| {
        let cost = bill(&s.priced_at, &s.items, None);
        let mut value = at(&s.location, json!({"what": s.what, "name": s.called, "why": s.why, "cost": cost}));
        if let Some(bastion) = &s.tagged {
            value["tagged"] = json!(bastion);
        }
        if let Some(machine) = &s.machine {
            value["machine"] = json!(machine);
        }
        value
    };
    strangers.iter().map(one).collect()
}

fn unread(judged: &Judged) -> Vec<Value> {
    let one =
        |(place, error): &(Location, CloudError)| at(place, json!({"place": place.without_account(), "error": error}));
    judged.sight.unread.iter().map(one).collect()
}

/// Fields, and those of a location beside them.
fn at(location: &Location, fields: Value) -> Value {
    let mut value = json!(location);
    if let (Some(all), Value::Object(fields)) = (value.as_object_mut(), fields) {
        all.extend(fields);
    }
    value
}

/// The fields of the event `inventory`: `gone[]` and `left[]` (`bastion`, its location), and what there is: as in [`json()`].
pub fn inventory_json(gone: &[&Found], left: &[Found], after: &Judged, now: Timestamp) -> Value {
    let name = |f: &Found| at(&f.location, json!({"bastion": f.bastion}));
    let mut value = json!({
        "gone": gone.iter().map(|f| name(f)).collect::<Vec<_>>(),
        "left": left.iter().map(name).collect::<Vec<_>>(),
    });
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), json(after, now)) {
        fields.extend(more);
    }
    value
}
