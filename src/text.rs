//! Text that gangplank did not write itself, made safe to show: names and tags found in a cloud, error messages, consoles,
//! greetings of servers, file names, plans. The only list of harmful characters is here.

use std::borrow::Cow;

/// Whether a character acts on a reader instead of being read: a terminal obeys it, or it reorders, hides or breaks text.
///
/// These are Unicode's control characters, its line and paragraph separators, its interlinear annotations, the last two
/// noncharacters of the basic plane, and `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt), which has the zero-width,
/// the bidirectional and the tag characters. Two of the latter are left: the variation selectors 15 and 16, which only choose
/// between the two looks of the sign before them.
pub const fn is_harmful(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// `text` on one line, each harmful character as an escape.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The beginning of a text, [`clean`]; dots tell that there is more.
pub fn excerpt(text: &str, longest: usize) -> String {
    let end = text.char_indices().nth(longest).map_or(text.len(), |(at, _)| at);
    let (start, rest) = text.split_at(end);
    format!("{}{}", clean(start), if rest.is_empty() { "" } else { "..." })
}

/// The beginning of bytes that may be text, [`clean`]; what is no UTF-8 is written as `\xff`.
pub fn excerpt_of_bytes(bytes: &[u8], longest: usize) -> String {
    let start = bytes.get(..longest).unwrap_or(bytes);
    let mut out = String::with_capacity(start.len());
    for chunk in start.utf8_chunks() {
        out.push_str(&clean(chunk.valid()));
        // A character that the cut went through is not shown in halves.
        let cut = start.len() < bytes.len() && start.ends_with(chunk.invalid());
        if !cut {
            out.extend(chunk.invalid().escape_ascii().map(char::from));
        }
    }
    if start.len() < bytes.len() {
        out.push_str("...");
    }
    out
}

/// Each harmful character replaced by visible ones of the same length in UTF-8, so that places in the text stay valid. Line
/// ends and tabs stay.
pub fn same_length(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            _ if matches!(c, '\n' | '\r' | '\t') || !is_harmful(c) => out.push(c),
            1 => out.push('?'),
            2 => out.push('·'),
            3 => out.push('\u{fffd}'),
            _ => out.push_str("\u{fffd}?"),
        }
    }
    out
}

/// The last gate before a stream: whatever a writer forgot to [`clean`] is escaped here. Only line ends, tabs and colours
/// (`ESC [ ... m`) pass. The escapes are JSON's, so that a JSON document keeps its meaning.
pub fn for_stream(text: &str) -> Cow<'_, str> {
    let passes = |c: char| matches!(c, '\n' | '\t') || !is_harmful(c);
    if text.chars().all(passes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = color_length(rest) {
            let (color, after) = rest.split_at(length);
            out.push_str(color);
            rest = after;
            continue;
        }
        if passes(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

/// The length of the colour sequence (SGR) at the beginning of a text.
fn color_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}

/// One argument of a command that a reader may type: quoted where a shell would read it otherwise.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/@:=+,%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn harmless_text_stays() {
        for text in ["Zürich 東京 (sg-0abc) ±", "⚠\u{fe0f} a note", ""] {
            assert!(matches!(clean(text), Cow::Borrowed(_)), "{text}");
            assert!(matches!(for_stream(text), Cow::Borrowed(_)), "{text}");
            assert_eq!(same_length(text), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_becomes_visible() {
        assert_eq!(clean("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean("one\ntwo\r\tthree"), "one\\ntwo\\r\\tthree");
        assert_eq!(clean("\u{9b}31m \u{202e}gnp.exe \u{200b}"), "\\u{9b}31m \\u{202e}gnp.exe \\u{200b}");
        for hidden in ["\u{180e}", "\u{fff9}", "\u{e0041}", "\u{2028}", "\u{2066}", "\u{ffff}", "\u{e0100}", "\u{3164}"]
        {
            assert!(clean(hidden).starts_with("\\u{"), "{hidden:?}");
        }
    }

    #[test]
    fn colors_pass_to_a_stream_and_nothing_else_does() {
        assert_eq!(for_stream("\x1b[1;31mred\x1b[0m\n\tx"), "\x1b[1;31mred\x1b[0m\n\tx");
        assert_eq!(for_stream("\x1b[2J\x1b]0;t\x07\x1b["), "\\u001b[2J\\u001b]0;t\\u0007\\u001b[");
        assert_eq!(for_stream("\u{9b}1m \u{e0041}"), "\\u009b1m \\udb40\\udc41");
        let json = serde_json::json!({"name": "a\u{202e}b\u{7f}\u{e0041}"}).to_string();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&for_stream(&json)).unwrap()["name"],
            "a\u{202e}b\u{7f}\u{e0041}"
        );
    }

    #[test]
    fn excerpts_are_short_and_clean() {
        assert_eq!(excerpt("abcdef\x1b", 3), "abc...");
        assert_eq!(excerpt("a\x1b", 3), "a\\u{1b}");
        assert_eq!(excerpt_of_bytes(b"SSH-2.0\r\n\xff", 40), "SSH-2.0\\r\\n\\xff");
        assert_eq!(excerpt_of_bytes("aé".as_bytes(), 2), "a...");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(text in any::<String>(), longest in 0_usize..40) {
            let out = clean(&text);
            prop_assert!(!out.contains(is_harmful));
            prop_assert_eq!(clean(&out), out.as_ref());
            prop_assert!(!excerpt(&text, longest).contains(is_harmful));
            prop_assert!(!excerpt_of_bytes(text.as_bytes(), longest).contains(is_harmful));
            let same = same_length(&text);
            prop_assert_eq!(same.len(), text.len());
            prop_assert!(!same.contains(|c| is_harmful(c) && !matches!(c, '\n' | '\r' | '\t')));
        }
    }

    #[test]
    fn a_shell_reads_an_argument_as_it_was() {
        for plain in ["plans/a.yaml", "i-0a", "/subscriptions/a/resourceGroups/rg-1", "gangplank:bastion=a"] {
            assert_eq!(shell_word(plain), plain);
        }
        for (text, word) in [
            ("", "''"),
            ("a b;c/$(id) p.yaml", "'a b;c/$(id) p.yaml'"),
            ("it's", r"'it'\''s'"),
            ("~/a", "'~/a'"),
            ("rg(1)", "'rg(1)'"),
            ("a`id`", "'a`id`'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
