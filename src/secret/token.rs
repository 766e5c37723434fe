//! Keys and tokens that their own form gives away.

use super::{Secret, SecretKind};

/// A prefix that a service puts before its tokens, the fewest characters that follow it, and which.
struct Prefix {
    text: &'static str,
    least: usize,
    kind: SecretKind,
}

const fn of(text: &'static str, least: usize, service: &'static str) -> Prefix {
    Prefix { text, least, kind: SecretKind::ServiceToken(service) }
}

/// By the services' own documentation of their tokens' formats, and GitHub's list of supported secret scanning patterns.
const PREFIXES: [Prefix; 58] = [
    of("ghp_", 30, "GitHub"),
    of("gho_", 30, "GitHub"),
    of("ghu_", 30, "GitHub"),
    of("ghs_", 30, "GitHub"),
    of("ghr_", 30, "GitHub"),
    of("github_pat_", 20, "GitHub"),
    of("glpat-", 16, "GitLab"),
    of("gldt-", 16, "GitLab"),
    of("glrt-", 16, "GitLab"),
    of("glptt-", 16, "GitLab"),
    of("glcbt-", 16, "GitLab"),
    of("gloas-", 16, "GitLab"),
    of("xoxa-", 10, "Slack"),
    of("xoxb-", 10, "Slack"),
    of("xoxe-", 10, "Slack"),
    of("xoxo-", 10, "Slack"),
    of("xoxp-", 10, "Slack"),
    of("xoxr-", 10, "Slack"),
    of("xoxs-", 10, "Slack"),
    of("xapp-", 10, "Slack"),
    of("sk_live_", 10, "Stripe"),
    of("sk_test_", 10, "Stripe"),
    of("rk_live_", 10, "Stripe"),
    of("rk_test_", 10, "Stripe"),
    of("whsec_", 16, "Stripe"),
    of("npm_", 30, "npm"),
    of("pypi-", 16, "PyPI"),
    of("dckr_pat_", 16, "Docker"),
    of("dckr_oat_", 16, "Docker"),
    of("hvs.", 20, "HashiCorp Vault"),
    of("hvb.", 20, "HashiCorp Vault"),
    of("dop_v1_", 30, "DigitalOcean"),
    of("doo_v1_", 30, "DigitalOcean"),
    of("SG.", 40, "SendGrid"),
    of("shpat_", 30, "Shopify"),
    of("shpss_", 30, "Shopify"),
    of("sk-ant-", 20, "Anthropic"),
    of("sk-proj-", 20, "OpenAI"),
    of("AIza", 35, "Google"),
    of("ya29.", 20, "Google"),
    of("GOCSPX-", 20, "Google"),
    of("hf_", 30, "Hugging Face"),
    of("dapi", 32, "Databricks"),
    of("PMAK-", 40, "Postman"),
    of("rubygems_", 40, "RubyGems"),
    of("lin_api_", 30, "Linear"),
    of("AGE-SECRET-KEY-1", 40, "age"),
    of("hooks.slack.com/services/", 20, "Slack"),
    of("discord.com/api/webhooks/", 60, "Discord"),
    of("discordapp.com/api/webhooks/", 60, "Discord"),
    // PKCS #8 of Ed25519 and of P-256, and SEC 1 of P-256, in base64, without their first and last lines.
    Prefix { text: "MC4CAQAwBQYDK2VwBCIEI", least: 40, kind: SecretKind::PrivateKey },
    Prefix { text: "MIGHAgEAMBMGByqGSM49AgEG", least: 100, kind: SecretKind::PrivateKey },
    Prefix { text: "MHcCAQEEI", least: 100, kind: SecretKind::PrivateKey },
    // The first bytes of what STS issues, in base64: a region's name stands in each.
    Prefix { text: "IQoJb3JpZ2lu", least: 60, kind: SecretKind::AwsSessionToken },
    Prefix { text: "AgoJb3JpZ2lu", least: 60, kind: SecretKind::AwsSessionToken },
    Prefix { text: "FwoGZXIvYXdz", least: 60, kind: SecretKind::AwsSessionToken },
    Prefix { text: "FQoGZXIvYXdz", least: 60, kind: SecretKind::AwsSessionToken },
    Prefix { text: "AQoDYXdz", least: 60, kind: SecretKind::AwsSessionToken },
];

pub(super) fn find(text: &str, found: &mut Vec<Secret>) {
    for prefix in &PREFIXES {
        for (at, mark) in text.match_indices(prefix.text) {
            let length = length(&text[at + mark.len()..], |b| is_base64(b) || matches!(b, b'_' | b'-' | b'.' | b'='));
            let end = at + mark.len() + length;
            if length >= prefix.least && begins_word(text, at) && (prefix.text != "dapi" || is_hex(&text[at + 4..end]))
            {
                found.push(Secret { span: at..end, kind: prefix.kind });
            }
        }
    }
    json_web_tokens(text, found);
    rsa_keys(text, found);
    plain_tokens(text, found);
    bot_tokens(text, found);
    commands(text, found);
    bearer(text, found);
    client_secrets(text, found);
    runs(text, found);
}

/// Three parts of base64url with dots between; the first is JSON's `{"`.
fn json_web_tokens(text: &str, found: &mut Vec<Secret>) {
    let part = |text: &str| length(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    for (at, _) in text.match_indices("eyJ") {
        let rest = &text[at..];
        let first = part(rest);
        let Some(rest) = rest[first..].strip_prefix('.') else { continue };
        let second = part(rest);
        let third = rest[second..].strip_prefix('.').map_or(0, |rest| 1 + part(rest));
        let mut end = at + first + 1 + second + third;
        // An encrypted one has five parts, of which the second may be empty (RFC 7516, section 3.1).
        while let Some(length) = text[end..].strip_prefix('.').map(part).filter(|length| *length > 0) {
            end += 1 + length;
        }
        if first >= 12 && (second >= 8 || third > 8) && begins_word(text, at) {
            found.push(Secret { span: at..end, kind: SecretKind::JsonWebToken });
        }
    }
}

/// RSA in PKCS #1 and PKCS #8, in base64, without its first and last lines: the length of a sequence stands before what is the
/// same in each.
fn rsa_keys(text: &str, found: &mut Vec<Secret>) {
    for mark in ["IBADANBgkqhkiG9w0BAQEFAASC", "IBAAKCAQEA", "IBAAKCAgEA", "IBAAKCAYEA"] {
        for (at, _) in text.match_indices(mark) {
            let Some(start) = at.checked_sub(6) else { continue };
            let length = length(text.get(start..).unwrap_or_default(), |b| is_base64(b) || b == b'=');
            if length >= 60 && text[start..].starts_with("MII") && begins_word(text, start) {
                found.push(Secret { span: start..start + length, kind: SecretKind::PrivateKey });
            }
        }
    }
}

/// Tokens whose short prefixes begin ordinary names, too: what follows has no separators, and both cases or digits.
fn plain_tokens(text: &str, found: &mut Vec<Secret>) {
    let alphanumeric = |at: usize| length(&text[at..], |b| b.is_ascii_alphanumeric());
    let is_mixed = |run: &str| {
        run.bytes().any(|b| b.is_ascii_uppercase()) && run.bytes().any(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    for (prefix, least, most, service) in
        [("sk-", 40, 200, "OpenAI"), ("s.", 24, 24, "HashiCorp Vault"), ("NRAK-", 27, 27, "New Relic")]
    {
        for (at, mark) in text.match_indices(prefix) {
            let start = at + mark.len();
            let end = start + alphanumeric(start);
            let is_named = text[..at].ends_with(['.', '-', '/']);
            if (least..=most).contains(&(end - start))
                && is_mixed(&text[start..end])
                && begins_word(text, at)
                && !is_named
            {
                found.push(Secret { span: at..end, kind: SecretKind::ServiceToken(service) });
            }
        }
    }
    for (at, mark) in text.match_indices(".atlasv1.") {
        let before = text[..at].bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
        let after = alphanumeric(at + mark.len());
        if before >= 10 && after >= 40 {
            let span = at - before..at + mark.len() + after;
            found.push(Secret { span, kind: SecretKind::ServiceToken("HCP Terraform") });
        }
    }
}

/// Telegram's: the bot's number, a colon, and 35 characters that begin with `AA`.
fn bot_tokens(text: &str, found: &mut Vec<Secret>) {
    for (colon, mark) in text.match_indices(":AA") {
        let digits = text[..colon].bytes().rev().take_while(u8::is_ascii_digit).count();
        let rest = colon + mark.len();
        let length = length(&text[rest..], |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if (6..=12).contains(&digits) && (30..=40).contains(&length) {
            let span = colon - digits..rest + length;
            found.push(Secret { span, kind: SecretKind::ServiceToken("Telegram") });
        }
    }
}

/// Passwords among the arguments of commands: `curl -u user:password`, `mysql -ppassword`.
fn commands(text: &str, found: &mut Vec<Secret>) {
    let line = |at: usize| &text[text[..at].rfind('\n').map_or(0, |line| line + 1)..at];
    let mut password = |span: std::ops::Range<usize>| {
        if !span.is_empty() && !super::assigned::is_placeholder(&text[span.clone()]) {
            found.push(Secret { span, kind: SecretKind::Password });
        }
    };
    let argument =
        |at: usize| at + length(&text[at..], |b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'`'));
    for option in [" -u ", " --user ", " -u '", " --user '"] {
        for (at, _) in text.match_indices(option).filter(|(at, _)| line(*at).contains("curl")) {
            let start = at + option.len();
            let end = argument(start);
            if let Some(colon) = text[start..end].find(':') {
                password(start + colon + 1..end);
            }
        }
    }
    // A password, and not the beginning of another option or word: `-port`, `-primary`.
    let is_word = |span: &std::ops::Range<usize>| !text[span.clone()].bytes().any(|b| b.is_ascii_digit());
    for (at, mark) in text.match_indices(" -p").filter(|(at, _)| line(*at).contains("mysql")) {
        let span = at + mark.len()..argument(at + mark.len());
        if !is_word(&span) {
            password(span);
        }
    }
}

/// `Authorization: Bearer ...` and `Basic ...`, as they stand in logs and in errors.
fn bearer(text: &str, found: &mut Vec<Secret>) {
    for (mark, least) in [("Bearer ", 20), ("bearer ", 20), ("Authorization: Basic ", 4), ("authorization: Basic ", 4)]
    {
        for (at, _) in text.match_indices(mark) {
            let start = at + mark.len();
            let length = length(&text[start..], |b| is_base64(b) || matches!(b, b'_' | b'-' | b'.' | b'~' | b'='));
            if length >= least {
                found.push(Secret {
                    span: start..start + length,
                    kind: SecretKind::ServiceToken("the API that it is for"),
                });
            }
        }
    }
}

/// A client secret of Entra ID: three characters, a digit, `Q~`, and 31 to 34 more.
fn client_secrets(text: &str, found: &mut Vec<Secret>) {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'~');
    for (at, mark) in text.match_indices("Q~") {
        let Some(start) = at.checked_sub(4) else { continue };
        let Some(before) = text.get(start..at) else { continue };
        let after = length(&text[at + mark.len()..], is_part);
        if after >= 31 && before.bytes().all(is_part) && before.ends_with(|c: char| c.is_ascii_digit()) {
            found.push(Secret { span: start..at + mark.len() + after, kind: SecretKind::AzureClientSecret });
        }
    }
}

/// What only its length and its letters give away, in runs of base64 that nothing continues.
fn runs(text: &str, found: &mut Vec<Secret>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|b| is_base64(**b)).count();
        let padding = bytes[at + run..].iter().take_while(|b| **b == b'=').count();
        if run > 0 {
            // Base64 is ASCII: these are boundaries of characters.
            let text_of_run = text.get(at..at + run).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            let continued =
                [before, bytes.get(at + run + padding)].into_iter().flatten().any(|b| matches!(b, b'_' | b'-'));
            let kind = match (run, padding) {
                (20, 0) if is_access_key_id(text_of_run) => Some(SecretKind::AwsAccessKey),
                (40, 0) if !continued && is_random(text_of_run) => Some(SecretKind::AwsAccessKey),
                // A digest of SHA-512 is as long: its algorithm stands before it.
                (86, 2) if !continued && before != Some(&b':') && is_random(text_of_run) => {
                    Some(SecretKind::AzureStorageKey)
                }
                _ => None,
            };
            found.extend(kind.map(|kind| Secret { span: at..at + run + padding, kind }));
        }
        at += (run + padding).max(1);
    }
}

/// The four prefixes of keys and temporary keys ("IAM identifiers", unique identifiers, IAM User Guide).
fn is_access_key_id(run: &str) -> bool {
    ["AKIA", "ASIA", "ABIA", "ACCA"].iter().any(|prefix| run.starts_with(prefix))
        && run.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Whether letters follow each other as in random base64, and not as in words, paths and digests in hexadecimal.
fn is_random(run: &str) -> bool {
    let class = |b: u8| match b {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let classes: Vec<u8> = run.bytes().map(class).collect();
    let count = |wanted: u8| classes.iter().filter(|class| **class == wanted).count();
    let changes = classes.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes >= 14 && count(0) >= 4 && count(1) >= 4 && count(2) >= 1
}

fn length(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| is_part(*b)).count()
}

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn begins_word(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_'))
}
