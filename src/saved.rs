//! A changeset in a file: what `plan --out` writes and `apply` carries out exactly, or refuses.
//!
//! The file holds the plans' texts, the moment at which it was made, and the changesets. Applying works the changesets out
//! again, from those texts and that moment, against the cloud as it is then: where they come out different the world has
//! moved. So nothing that somebody writes into the file's changesets can be carried out.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    changeset::Changeset,
    diagnostic::{Diagnostic, Diagnostics, Source},
    plan::{self, Plan},
};

const FORMAT: &str = "gangplank changeset 1";
/// How every saved changeset begins, and no YAML plan does.
const START: &[u8] = b"{\"format\":\"gangplank changeset";
/// Larger than the changesets of a thousand bastions.
const LARGEST: u64 = 256 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<A> {
    format: String,
    /// The gangplank that wrote it: another version may decide differently.
    version: String,
    /// The clock that the changesets were worked out with.
    pub made: Timestamp,
    plans: Vec<PlanText>,
    pub changesets: Vec<Changeset<A>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlanText {
    path: String,
    text: String,
}

impl<A: Serialize + DeserializeOwned> Saved<A> {
    pub fn new(plans: &[Plan], made: Timestamp, changesets: Vec<Changeset<A>>) -> Self {
        let text = |plan: &Plan| {
            let source = &plan.origin.source;
            PlanText { path: source.path.clone(), text: source.text.clone() }
        };
        Self {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made,
            plans: plans.iter().map(text).collect(),
            changesets,
        }
    }

    /// # Errors
    /// The operating system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }

    /// Whether a file is a saved changeset rather than a plan. Reads its first bytes; what can't be read is no changeset.
    pub fn is_at(path: &Path) -> bool {
        let mut start = [0; START.len()];
        let regular = fs::metadata(path).is_ok_and(|m| m.is_file());
        regular && fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *START
    }

    /// # Errors
    /// Why the file is none that this gangplank can carry out.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let problem = |summary: &str| Diagnostic::new(format!("{}: {summary}", path.display()));
        let unreadable = |error: io::Error| problem("the saved changeset can't be read").because(error.to_string());
        if fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
            return Err(problem("the file is too large for a saved changeset").into());
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let remake = "make a new one: `gangplank plan --out FILE`";
        let saved: Self = serde_json::from_slice(&bytes)
            .map_err(|e| problem("the saved changeset is damaged").because(e.to_string()).fix(remake))?;
        if saved.format != FORMAT || saved.version != env!("CARGO_PKG_VERSION") {
            let wrote = format!("gangplank {} wrote it, this is {}", saved.version, env!("CARGO_PKG_VERSION"));
            return Err(problem("another version of gangplank saved this changeset").because(wrote).fix(remake).into());
        }
        Ok(saved)
    }

    /// The plans, read again from the texts that were saved.
    ///
    /// # Errors
    /// The texts' problems: they had none when they were saved, so the file was edited.
    pub fn plans(&self) -> Result<Vec<Plan>, Diagnostics> {
        let read =
            |saved: &PlanText| plan::read(Arc::new(Source { path: saved.path.clone(), text: saved.text.clone() }));
        self.plans.iter().map(read).collect()
    }
}
