//! The words of a line of sshd_config(5), its times, and the patterns of ssh_config(5).

use std::net::IpAddr;

use ipnet::IpNet;

/// sshd_config(5), "TIME FORMATS".
pub fn seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut number = String::new();
    for c in text.chars() {
        let unit = match c.to_ascii_lowercase() {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    let rest = if number.is_empty() { 0 } else { number.parse().ok()? };
    (!text.is_empty()).then(|| total.checked_add(rest)).flatten()
}

/// Words of a line; a comment begins at a word's start, quotes hold blanks.
pub fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '#' if word.is_none() && !quoted => break,
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            // `Keyword=value` is as good.
            '=' if !quoted && words.is_empty() => words.extend(word.take()),
            c if c.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// PATTERNS of ssh_config(5): one of them and no `!` of them.
pub fn list(patterns: &str, matches: impl Fn(&str) -> bool) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern) => return false,
            Some(_) => {}
            None => found |= matches(pattern),
        }
    }
    found
}

/// Whether an address is in a list of patterns and networks, as `from=` and `Match Address` have it.
pub fn from(patterns: &str, source: IpAddr) -> bool {
    let text = source.to_string();
    list(patterns, |pattern| match pattern.parse::<IpNet>() {
        Ok(net) => net.contains(&source),
        Err(_) => pattern.parse::<IpAddr>().map_or_else(|_| like(pattern, &text), |one| one == source),
    })
}

/// `*` and `?`.
pub fn like(pattern: &str, text: &str) -> bool {
    let (mut rest, mut at) = (text.chars().collect::<Vec<_>>(), Vec::new());
    rest.push('\0');
    at.push(0_usize);
    // The positions in the text that the pattern's beginning may end at.
    for c in pattern.chars() {
        let mut next = Vec::new();
        for position in at {
            match c {
                '*' => next.extend(position..rest.len()),
                '?' if position + 1 < rest.len() => next.push(position + 1),
                c if rest.get(position) == Some(&c) => next.push(position + 1),
                _ => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        at = next;
    }
    at.contains(&(rest.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(like(pattern, text), matches, "{pattern} {text}");
        }
        let source = "192.0.2.7".parse().unwrap();
        for (patterns, matches) in [
            ("192.0.2.0/24", true),
            ("192.0.2.*,!192.0.2.7", false),
            ("192.0.2.8", false),
            ("10.0.0.0/8,192.0.2.7", true),
        ] {
            assert_eq!(from(patterns, source), matches, "{patterns}");
        }
    }
}
