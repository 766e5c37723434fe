//! Private keys in a text: PEM, OpenSSH, PuTTY.

use std::ops::Range;

/// Where private keys stand, in the order of the text, without overlaps. A key without an end reaches to the end of the text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
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
