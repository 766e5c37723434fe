//! The machine's whole configuration: [`Plan`] → one cloud-init document, from `templates/`.
//!
//! Pure. The document holds nothing but what the machine needs: who may enter with which key, what they may open, how
//! sshd runs, and two scripts. It does not depend on the plan's name, cloud, deadline or order of
//! lists, but for whether there is a deadline where the keys are a part of it.

mod document;
mod quote;

use std::{
    fmt,
    io::{Read, Write},
};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use self::document::Document;
pub use self::document::{bare, open};
use crate::{
    diagnostic::Diagnostic,
    plan::{Cloud, Plan},
};

/// Renders the machine's user-data.
///
/// # Errors
/// [`RenderError::Value`] where a value cannot be written safely in its place (the plan reader refuses such values),
/// [`RenderError::TooLarge`] where the plan's cloud would refuse the document.
pub fn render(plan: &Plan) -> Result<UserData, RenderError> {
    let document = Document::new(plan);
    let text = document.text()?;
    check_size(&document, &text, &plan.cloud)?;
    Ok(UserData { parts: document.parts()?, digest: short_digest(&text), text })
}

/// What a machine is given at its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    /// One `#cloud-config` document in ASCII.
    pub text: String,
    /// 12 hexadecimal digits that stand for the whole text.
    pub digest: String,
    /// Short digests of what the document is made of, by kind, in this order: `keys` (which are accepted; `live-` and the
    /// way in which the machine takes them where they are not in the document), `tunnels` (users and what each may
    /// open), `sshd` (port, sessions, startups, open files), `system` (all the rest, which only another version of
    /// gangplank changes). They tell later why a document differs. Equal texts have equal digests.
    pub parts: Vec<(&'static str, String)>,
}

/// What the document lets one account do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub user: String,
    /// `host:port` as `PermitOpen` writes it ([`open`]), sorted, each once.
    pub opens: Vec<String>,
    /// Stands for what is written before each of its keys: 12 hexadecimal digits of its SHA-256.
    pub options: String,
}

/// What every account may do, by name.
///
/// # Errors
/// As [`render`], but for the size.
pub fn access(plan: &Plan) -> Result<Vec<Access>, RenderError> {
    Document::new(plan).access()
}

/// Why a plan has no user-data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// A value that has no safe spelling where the document needs it: which one, where, and why.
    Value(String),
    /// The cloud accepts less.
    TooLarge {
        cloud: &'static str,
        /// Compressed bytes as this cloud counts them.
        size: usize,
        limit: usize,
        /// What the plan decides about and takes the most, and its bytes.
        largest: (String, usize),
    },
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenderError::Value(problem) => write!(f, "the machine's user-data cannot be written: {problem}"),
            RenderError::TooLarge { cloud, size, limit, largest: (part, bytes) } => write!(
                f,
                "the machine's user-data is too large: {size} bytes when compressed, and {cloud} accepts {limit}. Of what the plan decides, {part} \
                 take the most: {bytes} bytes. Remove what is no longer used, or split the plan into two bastions"
            ),
        }
    }
}

impl std::error::Error for RenderError {}

impl RenderError {
    /// The same, pointing into the plan.
    pub fn in_plan(&self, plan: &Plan) -> Diagnostic {
        plan.origin.problem("tunnels", "the machine's document can't be made", "").because(self.to_string())
    }
}

/// A document's text as clouds get it: compressed, which cloud-init undoes on each of them (its documentation, "User-data
/// formats", gzip compressed content). Equal texts give equal bytes. Most of the time is spent on the last few hundredths: only
/// where the text would not fit otherwise.
pub fn compressed(text: &str) -> Vec<u8> {
    let quick = gzip(text, Compression::new(2));
    if quick.len() <= EC2_LIMIT {
        return quick;
    }
    let best = gzip(text, Compression::best());
    if best.len() <= EC2_LIMIT {
        return best;
    }
    // A twentieth smaller, for a hundred times the work.
    let mut smallest = Vec::new();
    match zopfli::compress(zopfli::Options::default(), zopfli::Format::Gzip, text.as_bytes(), &mut smallest) {
        Ok(()) => smallest,
        Err(_) => best,
    }
}

fn gzip(text: &str, effort: Compression) -> Vec<u8> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), effort);
    // Memory takes everything.
    gzip.write_all(text.as_bytes()).and_then(|()| gzip.finish()).unwrap_or_default()
}

/// EC2 takes 16 KiB as they are (EC2 User Guide, "Run commands when you launch an EC2 instance").
const EC2_LIMIT: usize = 16 * 1024;

/// Azure takes 64 KiB of base64.
fn check_size(document: &Document, text: &str, cloud: &Cloud) -> Result<(), RenderError> {
    const AZURE_LIMIT: usize = 64 * 1024;
    // What fits as it is fits compressed: gzip adds less than a hundredth to what it can't make smaller (RFC 1951, 3.2.4).
    if matches!(cloud, Cloud::Azure(_)) && text.len() < AZURE_LIMIT / 4 * 3 / 100 * 99 {
        return Ok(());
    }
    let bytes = compressed(text).len();
    let (cloud, size, limit) = match cloud {
        Cloud::Aws(_) => ("EC2", bytes, EC2_LIMIT),
        Cloud::Azure(_) => ("Azure (in base64)", bytes.div_ceil(3) * 4, AZURE_LIMIT),
    };
    if size <= limit {
        return Ok(());
    }
    Err(RenderError::TooLarge { cloud, size, limit, largest: document.largest_part()? })
}

/// A document's text from what a cloud keeps of it: [`compressed`], or as it is. `None` where it is no text or is larger than any
/// document of ours.
pub fn uncompressed(bytes: &[u8]) -> Option<String> {
    const MOST: u64 = 1024 * 1024;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).take(MOST).read_to_string(&mut text).ok()?;
    ((text.len() as u64) < MOST).then_some(text)
}

/// SHA-256 of a text in hexadecimal digits. [`UserData::digest`] is how it begins.
pub fn digest(text: &str) -> String {
    digest_of(text.as_bytes())
}

pub fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short_digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
