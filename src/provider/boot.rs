//! The digests of a machine's cloud-init document, in its tag: why a machine would have to be replaced.

use std::collections::BTreeMap;

use crate::cloudinit::UserData;

/// `document=… keys=… sshd=…`: 12 hex digits each, far below a tag's 256 characters.
pub fn boot_text(user_data: &UserData) -> String {
    let parts = user_data.parts.iter().map(|(part, digest)| format!(" {part}={digest}"));
    std::iter::once(format!("document={}", user_data.digest)).chain(parts).collect()
}

/// Whether a tag's value has the form that [`boot_text`] gives it: the document's digest first, and then only parts with digests.
pub fn is_well_formed(text: &str) -> bool {
    let is_digest =
        |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_part = |word: &str| {
        word.split_once('=').is_some_and(|(part, value)| {
            let named = !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            // `live-` and a digest, or two of them: see `UserData::parts`.
            named && value.split('-').all(|word| is_digest(word) || word.bytes().all(|b| b.is_ascii_lowercase()))
        })
    };
    let mut words = text.split(' ');
    words.next().and_then(|first| first.strip_prefix("document=")).is_some_and(is_digest) && words.all(is_part)
}

/// A part of the cloud-init document that differs: its digests, or `none` where one side does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDifference {
    pub name: String,
    pub before: String,
    pub after: String,
}

/// The parts in which two boot tags differ; the whole document where they differ in no part; nothing where they are equal.
pub fn boot_differences(want: &str, have: &str) -> Vec<BootDifference> {
    const WHOLE: &str = "document";
    let parse = |text: &str| -> BTreeMap<String, String> {
        text.split_whitespace().filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let (want, have) = (parse(want), parse(have));
    let digest = |of: &BTreeMap<String, String>, part: &str| of.get(part).map_or("none", String::as_str).to_owned();
    let difference = |part: &String| {
        let (before, after) = (digest(&have, part), digest(&want, part));
        (before != after).then(|| BootDifference { name: part.clone(), before, after })
    };
    let parts: Vec<_> = want.keys().filter(|part| *part != WHOLE).filter_map(difference).collect();
    if parts.is_empty() { difference(&WHOLE.to_owned()).into_iter().collect() } else { parts }
}
