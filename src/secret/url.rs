//! Passwords in connection URLs: `scheme://user:password@host`, and their relatives without slashes.

use std::ops::Range;

use super::{Secret, SecretKind};

pub(super) fn find(text: &str, found: &mut Vec<Secret>) {
    let mut password = |span: Range<usize>| found.push(Secret { span, kind: SecretKind::Password });
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        userinfo(text, start).or_else(|| token(text, at, start)).into_iter().for_each(&mut password);
    }
    // Oracle's: `jdbc:oracle:thin:user/password@host`.
    for (at, mark) in text.match_indices("jdbc:oracle:thin:") {
        let start = at + mark.len();
        let run = &text[start..run_end(text, start)];
        if let (Some(slash), Some(end)) = (run.find('/'), run.rfind('@'))
            && slash + 1 < end
        {
            password(start + slash + 1..start + end);
        }
    }
    // Go's driver for MySQL: `user:password@tcp(host:3306)/database`.
    for mark in ["@tcp(", "@unix("] {
        for (at, _) in text.match_indices(mark) {
            let start = run_start(text, at);
            if let Some(colon) = text[start..at].find(':')
                && start + colon + 1 < at
            {
                password(start + colon + 1..at);
            }
        }
    }
}

/// Where the password stands in what follows `://`. It may hold anything but what ends a URL in a text: people paste it
/// without encoding it.
fn userinfo(text: &str, start: usize) -> Option<Range<usize>> {
    let run = &text[start..run_end(text, start)];
    let end = run.rfind('@')?;
    let before = &run[..end];
    let colon = before.find(':')?;
    let password = &before[colon + 1..];
    // A slash before the colon: `host/path:tag@digest`; a port before a slash: `host:443/path@2x`; an address in brackets.
    let is_path = before[..colon].contains(['/', '?', '#', '[']);
    let is_port =
        password.split_once(['/', '?', '#']).is_some_and(|(port, _)| port.bytes().all(|b| b.is_ascii_digit()));
    (!password.is_empty() && !is_path && !is_port && !super::assigned::is_placeholder(password))
        .then(|| start + colon + 1..start + end)
}

/// A token in a user's place: `https://TOKEN@github.com/x`. A user's name has shorter words, or no digit.
fn token(text: &str, scheme_end: usize, start: usize) -> Option<Range<usize>> {
    const SHORTEST: usize = 16;
    let end = start + text[start..].find('@')?;
    let user = &text[start..end];
    let is_token = user.split(['_', '-']).any(|word| word.len() >= SHORTEST)
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && user.bytes().any(|b| b.is_ascii_digit());
    let scheme = &text[..scheme_end];
    (is_token && (scheme.ends_with("http") || scheme.ends_with("https"))).then_some(start..end)
}

fn ends_run(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '<' | '>' | '`')
}

fn run_end(text: &str, start: usize) -> usize {
    text[start..].find(ends_run).map_or(text.len(), |end| start + end)
}

fn run_start(text: &str, end: usize) -> usize {
    text[..end].rfind(ends_run).map_or(0, |at| at + text[at..].chars().next().map_or(0, char::len_utf8))
}
