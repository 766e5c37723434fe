//! Private keys in a plan's text. They must never reach a terminal or a log, whatever else is wrong with the file.

use std::{borrow::Cow, ops::Range};

/// Where private keys stand, in the order of the text, without overlaps. A key without an end reaches to the end of the text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Mark)> = None;
    for (mark, span) in marks(text) {
        match (&open, mark) {
            (None, Mark::Begin | Mark::Body | Mark::Putty) => {
                // Markers on one line share the space between them.
                let free = found.last().map_or(0, |before: &Range<usize>| before.end);
                open = Some((span.start.max(free), mark));
            }
            (Some((start, Mark::Begin | Mark::Body)), Mark::End) | (Some((start, Mark::Putty)), Mark::Mac) => {
                found.push(*start..span.end);
                open = None;
            }
            _ => {}
        }
    }
    found.extend(open.map(|(start, _)| start..text.len()));
    found
}

#[derive(Clone, Copy)]
enum Mark {
    /// `-----BEGIN ... PRIVATE KEY-----` and its end.
    Begin,
    End,
    /// The first line of PuTTY's format, and its last.
    Putty,
    Mac,
    /// A private key whose `BEGIN` line was left out.
    Body,
}

fn marks(text: &str) -> Vec<(Mark, Range<usize>)> {
    const PRIVATE_KEY: &str = "PRIVATE KEY";
    // Base64 of `openssh-key-v1\0`.
    let bodies = text.match_indices("b3BlbnNzaC1rZXktdjE").map(|(at, word)| (Mark::Body, at..at + word.len()));
    let puttys = text.match_indices("PuTTY-User-Key-File").map(|(at, word)| (Mark::Putty, at..at + word.len()));
    let macs = text.match_indices("Private-MAC").map(|(at, _)| (Mark::Mac, at..line_end(text, at)));
    let pems = text.match_indices(PRIVATE_KEY).filter_map(|(at, _)| pem(text, at, at + PRIVATE_KEY.len()));
    let mut marks: Vec<_> = bodies.chain(puttys).chain(macs).chain(pems).collect();
    marks.sort_by_key(|(_, span)| span.start);
    marks
}

/// The marker around the words `PRIVATE KEY`: `BEGIN` or `END` stands at most a key type before them on the same line.
fn pem(text: &str, words: usize, words_end: usize) -> Option<(Mark, Range<usize>)> {
    const LONGEST_TYPE: usize = 24;
    let line = words - text[..words].bytes().rev().take_while(|b| *b != b'\n').take(LONGEST_TYPE + 6).count();
    let before = &text.as_bytes()[line..words];
    let last = |word: &[u8]| before.windows(word.len()).rposition(|window| window == word);
    let (mark, at) = match (last(b"BEGIN "), last(b"END ")) {
        (Some(begin), end) if end.is_none_or(|end| end < begin) => (Mark::Begin, begin),
        (_, Some(end)) => (Mark::End, end),
        _ => return None,
    };
    let lead = &text[..line + at];
    let start = lead.strip_suffix(' ').unwrap_or(lead).trim_end_matches('-').len();
    let end = text.len() - text[words_end..].trim_start_matches(['-', ' ']).len();
    Some((mark, start..end))
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end)
}

/// The text with every character of a private key as `*`; places keep their byte offsets.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let spans = find(text);
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        redacted.push_str(&text[from..span.start]);
        for c in text[span.clone()].chars() {
            match c {
                '\n' | '\r' | ' ' => redacted.push(c),
                other => redacted.extend(std::iter::repeat_n('*', other.len_utf8())),
            }
        }
        from = span.end;
    }
    redacted.push_str(&text[from..]);
    Cow::Owned(redacted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pem_key_is_found_from_marker_to_marker() {
        let text = "a: 1\nkey: |\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  -----END RSA PRIVATE KEY-----\nb: 2\n";
        let redacted = redact(text);
        assert_eq!(redacted.len(), text.len());
        assert!(!redacted.contains("MIIE") && redacted.starts_with("a: 1\nkey: |") && redacted.ends_with("\nb: 2\n"));
    }

    #[test]
    fn a_key_without_an_end_reaches_to_the_end_of_the_text() {
        for start in
            ["-----BEGIN OPENSSH PRIVATE KEY-----", "PuTTY-User-Key-File-3: ssh-ed25519", "b3BlbnNzaC1rZXktdjEAAAA"]
        {
            let text = format!("a: \"é\"\nk: {start}\nsecret é\n");
            let redacted = redact(&text);
            assert!(!redacted.contains("secret"), "{redacted}");
            assert_eq!(redacted.len(), text.len());
        }
    }

    #[test]
    fn several_keys_are_found() {
        let key = "-----BEGIN EC PRIVATE KEY-----\\nsecret\\n-----END EC PRIVATE KEY-----";
        let text = format!("a: [\"{key}\", public, \"{key}\"]\nb: END PRIVATE KEY\n");
        assert_eq!(find(&text).len(), 2);
        assert!(!redact(&text).contains("secret") && redact(&text).contains(", public, "));
    }

    #[test]
    fn markers_that_touch_do_not_overlap() {
        let text = "-----BEGIN PRIVATE KEY----- x -----END PRIVATE KEY-----".repeat(3)
            + " "
            + &"BEGIN PRIVATE KEY END PRIVATE KEY ".repeat(3);
        let found = find(&text);
        assert!(found.len() > 3 && found.windows(2).all(|pair| pair[0].end <= pair[1].start), "{found:?}");
        assert_eq!(redact(&text).len(), text.len());
    }

    #[test]
    fn a_body_without_its_first_line_ends_at_the_end_marker() {
        let text = "k: |\n  b3BlbnNzaC1rZXktdjEAAAA\n  secret\n  -----END OPENSSH PRIVATE KEY-----\nb: 2\n";
        assert!(!redact(text).contains("secret") && redact(text).ends_with("\nb: 2\n"));
    }

    #[test]
    fn a_putty_key_ends_with_its_mac() {
        let text = "k: |\n  PuTTY-User-Key-File-2: ssh-rsa\n  Private-Lines: 1\n  AAAB\n  Private-MAC: 00ff\nb: 2\n";
        let redacted = redact(text);
        assert!(!redacted.contains("AAAB") && !redacted.contains("00ff") && redacted.ends_with("\nb: 2\n"));
    }

    #[test]
    fn public_keys_are_left_alone() {
        let text = "keys: [ssh-ed25519 AAAA]\n# -----BEGIN PUBLIC KEY-----\n";
        assert_eq!(redact(text), text);
    }
}
