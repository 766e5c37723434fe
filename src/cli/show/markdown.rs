//! The diff for a pull request's comment, in GitHub's Markdown.

use std::fmt::Write;

use super::{
    Common, SavedFile, directions, impact, left_out, no_changes, places::distinct, steps_with_impact, strongest_impact,
    totals, totals_of_all,
};
use crate::{
    changeset::{Changeset, Detail, Impact, Op},
    cli::words::verb,
    left_out::LeftOut,
    style::clean,
};

/// From so many changed bastions on, each is folded.
const FOLD_FROM: usize = 6;

/// GitHub refuses a comment of more than 65,536 characters; some are left for what a pipeline adds.
pub(super) const LONGEST: usize = 60_000;

/// How much is told; less where more would not fit into a comment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Totals,
    Steps,
    Details,
}

/// A comment, ending in a newline, that one comment can hold: of very many changes only the steps or the totals are told.
pub fn markdown<A>(sets: &[Changeset<A>]) -> String {
    markdown_with(sets, &[], None)
}

/// The same with the plans that are left out, and the file that holds the changeset.
pub fn markdown_with<A>(sets: &[Changeset<A>], left_out: &[LeftOut], saved: Option<&SavedFile>) -> String {
    let mut text = String::new();
    for depth in [Depth::Details, Depth::Steps, Depth::Totals] {
        text.clear();
        // Writing to a string cannot fail.
        let _ = write_all(&mut text, sets, left_out.is_empty(), depth);
        text += &left_out::markdown(left_out);
        if text.chars().count() <= LONGEST {
            break;
        }
    }
    if let Some(SavedFile { path, digest }) = saved {
        let (path, digest) = (code(path), code(&digest.to_string()));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nSaved to {path}. `gangplank apply --expect` takes its digest: {digest}");
    }
    text
}

fn write_all<A>(out: &mut String, sets: &[Changeset<A>], whole: bool, depth: Depth) -> std::fmt::Result {
    let Some(all) = totals_of_all(sets).to_do() else {
        let words = if whole { no_changes(sets.len()) } else { "No changes in the plans that could be compared." };
        writeln!(out, "### gangplank: no changes\n\n{words}")?;
        let places = distinct(sets.iter().map(|set| &set.location));
        return places.into_iter().try_for_each(|place| writeln!(out, "\n{}", plain(&place.to_string())));
    };
    writeln!(out, "### gangplank: {all}")?;
    match depth {
        Depth::Details => {}
        Depth::Steps => writeln!(out, "\nToo long for one comment: rules and exposure are left out here.")?,
        Depth::Totals => writeln!(out, "\nToo long for one comment: only totals are shown here.")?,
    }
    let (unchanged, changed): (Vec<_>, Vec<_>) = sets.iter().partition(|set| set.is_empty());
    let fold = changed.len() >= FOLD_FROM;
    for set in changed {
        write_bastion(out, set, fold, depth)?;
    }
    if !unchanged.is_empty() {
        for place in distinct(unchanged.iter().map(|set| &set.location)) {
            let there = unchanged.iter().filter(|set| set.location == *place);
            let names: Vec<_> = there.map(|set| code(&set.bastion)).collect();
            writeln!(out, "\nNo changes in {}: {}", plain(&place.to_string()), names.join(", "))?;
        }
    }
    Ok(())
}

fn write_bastion<A>(out: &mut String, set: &Changeset<A>, fold: bool, depth: Depth) -> std::fmt::Result {
    let (name, location, plan) = (plain(&set.bastion), plain(&set.location.to_string()), plain(&set.plan));
    // Nothing that cuts connections hides in a fold.
    let impact_of_all = strongest_impact(set).map(|i| format!(" ⚠️ {i}")).unwrap_or_default();
    let totals = totals(set).to_do().unwrap_or_default() + &impact_of_all;
    if depth == Depth::Totals {
        return writeln!(out, "\n**{name}** ({location}, {plan}): {totals}");
    }
    if fold {
        writeln!(out, "\n<details><summary><b>{name}</b> ({location}, {plan}): {totals}</summary>")?;
    } else {
        writeln!(out, "\n#### {name} ({location}, {plan})")?;
    }
    let common = Common::of(set);
    if let Some(reason) = common.reason {
        writeln!(out, "\n{}", plain(reason))?;
    }
    if let (true, Some(teardown)) = (common.teardown, impact(Impact::Teardown)) {
        writeln!(out, "\n⚠️ {teardown}")?;
    }
    writeln!(out)?;
    for (step, impact) in steps_with_impact(set) {
        write!(out, "- **{}** {}", verb(step.op).plain, plain(&step.resource))?;
        match common.reason {
            None if !step.reason.is_empty() => writeln!(out, ": {}", plain(&step.reason))?,
            _ => writeln!(out)?,
        }
        if let Some(impact) = impact {
            writeln!(out, "  - ⚠️ {impact}")?;
        }
        if depth == Depth::Details {
            for detail in &step.details {
                write_detail(out, detail)?;
            }
        }
    }
    for note in &set.notes {
        writeln!(out, "\nNote: {}", plain(note))?;
    }
    if depth == Depth::Details {
        write_exposure(out, set)?;
    }
    if fold {
        writeln!(out, "\n</details>")?;
    }
    Ok(())
}

pub(super) fn write_detail(out: &mut String, detail: &Detail) -> std::fmt::Result {
    let word = match detail.op() {
        Op::Create => "add",
        Op::Delete => "remove",
        Op::Update | Op::Replace => "change",
    };
    write!(out, "  - {word} {}", plain(&detail.name))?;
    match (&detail.before, &detail.after) {
        (Some(before), Some(after)) => write!(out, ": {} → {}", code(before), code(after))?,
        (Some(one), None) | (None, Some(one)) => write!(out, ": {}", code(one))?,
        (None, None) => {}
    }
    match &detail.note {
        Some(note) => writeln!(out, " ({})", plain(note)),
        None => writeln!(out),
    }
}

fn write_exposure<A>(out: &mut String, set: &Changeset<A>) -> std::fmt::Result {
    if set.exposure.is_empty() {
        return writeln!(out, "\nAfter this, nobody can reach anything: nothing is open any more.");
    }
    writeln!(out, "\nAfter this, who can reach what:\n")?;
    writeln!(out, "| | From | To | Why |\n| --- | --- | --- | --- |")?;
    for (name, ways) in directions(&set.exposure) {
        for way in ways {
            writeln!(out, "| {name} | {} | {} | {} |", code(&way.from), code(&way.to), plain(&way.why))?;
        }
    }
    Ok(())
}

/// Text that means nothing to Markdown, a table or HTML, and mentions nobody.
pub(super) fn plain(text: &str) -> String {
    let text = clean(text);
    let mut out = String::with_capacity(text.len());
    for (i, c) in text.char_indices() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // An empty comment ends what GitHub would take for a mention.
            '@' => out.push_str("@<!-- -->"),
            '`' | '|' | '*' | '_' | '~' | '[' | ']' | '\\' | '#' | '"' | '!' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // Otherwise an address becomes a link.
            ':' if text[i..].starts_with("://") => out.push_str("&#58;"),
            '.' if i >= 3 && text.get(i - 3..i).is_some_and(|www| www.eq_ignore_ascii_case("www")) => {
                out.push_str("&#46;")
            }
            _ => out.push(c),
        }
    }
    out
}

/// [`plain`] in the type of code; with backticks where nothing in the text needs an escape.
pub(super) fn code(text: &str) -> String {
    let text = clean(text);
    if text.is_empty() {
        String::new()
    } else if text.contains(['`', '|', '\\']) {
        format!("<code>{}</code>", plain(&text))
    } else {
        format!("`{text}`")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(plain("a|b `c` <img> @all"), "a&#124;b &#96;c&#96; &lt;img&gt; @<!-- -->all");
        assert_eq!(plain("[x](http://e.example)"), "&#91;x&#93;(http&#58;//e.example)");
        assert_eq!(plain("see www.evil.example"), "see www&#46;evil.example");
        assert_eq!(code("35.175.75.15/32"), "`35.175.75.15/32`");
        assert_eq!(code("a`|\n"), "<code>a&#96;&#124;&#92;n</code>");
    }

    proptest! {
        #[test]
        fn plain_text_holds_no_markup(text in any::<String>()) {
            let out = plain(&text).replace("@<!-- -->", "");
            prop_assert!(!out.contains(['<', '>', '|', '`', '*', '_', '[', ']', '\\', '\n']), "{out}");
        }

        #[test]
        fn code_holds_no_pipe_and_no_odd_backtick(text in any::<String>()) {
            let out = code(&text);
            prop_assert!(!out.contains(['|', '\n']), "{out}");
            prop_assert!(matches!(out.matches('`').count(), 0 | 2), "{out}");
        }
    }
}
