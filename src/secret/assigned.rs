//! Values that the name before them gives away: `password=...` in connection strings, `secret: ...` in a plan.

use std::ops::Range;

use super::{Secret, SecretKind};

/// What is secret by its name: the kind, if a value of this name is.
pub(crate) fn name(name: &str) -> Option<SecretKind> {
    let words = words(name);
    let squashed: String = words.concat();
    let last = words.last().map_or("", String::as_str);
    let ends = |tails: &[&str]| tails.iter().any(|tail| squashed.ends_with(tail));
    if ["password", "passwd", "passphrase", "passwort", "kennwort"].iter().any(|tail| last.ends_with(tail))
        || ["pwd", "pass"].contains(&last)
    {
        return Some(SecretKind::Password);
    }
    if ends(&["secretaccesskey", "awsaccesskey", "awsaccesskeyid", "awssecretkey"]) {
        return Some(SecretKind::AwsAccessKey);
    }
    if ends(&["awssessiontoken", "xamzsecuritytoken"]) {
        return Some(SecretKind::AwsSessionToken);
    }
    if ends(&["accountkey", "storagekey"]) {
        return Some(SecretKind::AzureStorageKey);
    }
    if ends(&["clientsecret"]) {
        return Some(SecretKind::AzureClientSecret);
    }
    let secret = ["secret", "secrets", "token"].contains(&last)
        || ends(&[
            "accesskey",
            "accesskeyid",
            "secretkey",
            "apikey",
            "privatekey",
            "sharedkey",
            "signingkey",
            "encryptionkey",
            "authtoken",
            "accesstoken",
        ]);
    secret.then_some(SecretKind::NamedSecret)
}

/// The words of a name, in lower case: `clientSecret`, `CLIENT_SECRET` and `client-secret` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (after_lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `name=value` in a query or a connection string, wherever it stands.
pub(super) fn find(text: &str, found: &mut Vec<Secret>) {
    for (at, _) in text.match_indices('=') {
        let Some(kind) = assigned_kind(&text[..at]) else { continue };
        let span = value(text, at + 1);
        let value = text.get(span.clone()).unwrap_or_default();
        let long_enough = if kind == SecretKind::SasSignature { value.len() >= 16 } else { !value.is_empty() };
        if long_enough && !is_placeholder(value) {
            found.push(Secret { span, kind });
        }
    }
}

/// The kind that the name before an equals sign tells.
fn assigned_kind(before: &str) -> Option<SecretKind> {
    let before = before.trim_end_matches([' ', '\t']);
    let start =
        before.rfind(|c: char| !is_name(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let written = &before[start..];
    let squashed: String = words(written).concat();
    if ["sig", "signature", "xamzsignature"].contains(&squashed.as_str()) {
        return Some(SecretKind::SasSignature);
    }
    name(written)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// From a place on: a value in quotes or braces to their end, any other to where connection strings and queries end one.
fn value(text: &str, from: usize) -> Range<usize> {
    let start = from + text[from..].len() - text[from..].trim_start_matches([' ', '\t']).len();
    let rest = &text[start..];
    for (open, close) in [('"', '"'), ('\'', '\''), ('{', '}')] {
        if let Some(inside) = rest.strip_prefix(open)
            && let Some(end) = inside.find(close)
        {
            return start + 1..start + 1 + end;
        }
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '&' | ';' | '"' | '`' | '<');
    start..start + rest.find(ends).unwrap_or(rest.len())
}

/// What stands for a value and is none: `$PASSWORD`, `${password}`, `<password>`, `****`, `none`.
pub(super) fn is_placeholder(value: &str) -> bool {
    let variable = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    value.strip_prefix('$').is_some_and(|name| {
        let inner = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        variable(inner.map(str::to_ascii_uppercase).as_deref().unwrap_or(name))
    }) || (value.starts_with('<') && value.ends_with('>'))
        || ["none", "null", "nil", "false", "true", "off", "no", "n/a", "unset", "empty"]
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word))
        || value.chars().all(|c| c == '*')
        || value.chars().all(|c| c == '.')
}

/// `name: value` in YAML that need not be valid, in comments too, as far as a value of it can reach: to its closing quote,
/// over the lines of a block, or to the end of the line.
pub(crate) fn named_in(text: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(':') {
        let rest = &text[at + 1..];
        if !rest.is_empty() && !rest.starts_with([' ', '\t', '\n', '\r', '"', '\'']) {
            continue;
        }
        let before = text[..at].trim_end_matches(['"', '\'', ' ']);
        let start = before
            .rfind(|c: char| !is_name(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let Some(kind) = name(&before[start..]).or_else(|| name(two_words(before, start))) else { continue };
        let span = yaml_value(text, start, at + 1);
        let value = text.get(span.clone()).unwrap_or_default().trim();
        if !value.is_empty() && !is_placeholder(value) {
            found.push(Secret { span, kind });
        }
    }
    super::disjoint(found)
}

/// A name that begins there with the word before it, as people write it: `api key`.
fn two_words(before: &str, start: usize) -> &str {
    let Some(first) = before[..start].strip_suffix(' ') else { return "" };
    let from =
        first.rfind(|c: char| !is_name(c)).map_or(0, |at| at + first[at..].chars().next().map_or(1, char::len_utf8));
    &before[from..]
}

fn yaml_value(text: &str, key: usize, from: usize) -> Range<usize> {
    let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |end| at + end);
    let start = from + text[from..].len() - text[from..].trim_start_matches([' ', '\t']).len();
    let rest = &text[start..];
    for quote in ['"', '\''] {
        if let Some(inside) = rest.strip_prefix(quote) {
            let mut escaped = false;
            let end = inside.char_indices().find(|(_, c)| {
                let closes = *c == quote && !escaped;
                escaped = quote == '"' && *c == '\\' && !escaped;
                closes
            });
            return start + 1..end.map_or(text.len(), |(end, _)| start + 1 + end);
        }
    }
    let end = line_end(start);
    let is_block = rest.is_empty() || rest.starts_with(['|', '>', '\n', '\r', '&', '!']);
    let key_line = text[..key].rfind('\n').map_or(0, |at| at + 1);
    if !is_block {
        let in_braces = text[key_line..key].contains('{');
        return start..if in_braces { rest.find([',', '}', '\n']).map_or(text.len(), |end| start + end) } else { end };
    }
    // The lines that are indented deeper than the key, the items of a list below it, and the empty lines between them.
    let lead = &text[key_line..key];
    let depth = lead.len() - lead.trim_start_matches([' ', '-']).len();
    let belongs = |line: &str| {
        let rest = line.trim_start_matches(' ');
        let indent = line.len() - rest.len();
        rest.trim().is_empty() || indent > depth || (indent == depth && rest.starts_with("- "))
    };
    let mut last = end;
    while last < text.len() {
        let next = last + 1;
        let next_end = line_end(next);
        if !belongs(&text[next..next_end]) {
            break;
        }
        last = next_end;
    }
    let start = if rest.starts_with(['|', '>']) { (end + 1).min(text.len()) } else { start };
    start.min(last)..last
}
