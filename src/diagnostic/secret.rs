//! Private keys in a plan's text. They must never reach a terminal or a log, whatever else is wrong with the file.

use std::{borrow::Cow, ops::Range};

/// Base64 of `openssh-key-v1\0`: a private key whose `BEGIN` line was left out.
const OPENSSH_BODY: &str = "b3BlbnNzaC1rZXktdjE";
const PUTTY: &str = "PuTTY-User-Key-File";

/// Where private keys stand, in the order of the text, without overlaps. A key without an end reaches to the end of the text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(span) = first(text, from) {
        from = span.end;
        found.push(span);
    }
    found
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

fn first(text: &str, from: usize) -> Option<Range<usize>> {
    let rest = &text[from..];
    let pem = pem(rest);
    let putty = rest.find(PUTTY).map(|start| {
        let end = rest[start..].find("Private-MAC").map_or(rest.len(), |mac| line_end(rest, start + mac));
        start..end
    });
    let body = rest.find(OPENSSH_BODY).map(|start| start..rest.len());
    let span = [pem, putty, body].into_iter().flatten().min_by_key(|span| span.start)?;
    Some(from + span.start..from + span.end)
}

/// `-----BEGIN ... PRIVATE KEY-----` to the end of the line with the `END` marker.
fn pem(text: &str) -> Option<Range<usize>> {
    let begin = private_marker(text, "BEGIN ")?;
    let dashes = text[..begin].len() - text[..begin].trim_end_matches(['-', ' ']).len();
    let end = private_marker(&text[begin..], "END ").map_or(text.len(), |at| marker_end(text, begin + at));
    Some(begin - dashes.min(begin)..end)
}

/// The offset of `word` where `PRIVATE KEY` follows on the same line.
fn private_marker(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word).map(|(at, _)| at).find(|&at| {
        let line = text[at..].lines().next().unwrap_or_default();
        line.find("PRIVATE KEY").is_some_and(|words| words <= word.len() + 24)
    })
}

fn marker_end(text: &str, marker: usize) -> usize {
    let words = text[marker..].find("PRIVATE KEY").map_or(marker, |at| marker + at + "PRIVATE KEY".len());
    text.len() - text[words..].trim_start_matches(['-', ' ']).len()
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end)
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
