//! A changeset in a file: what `plan --out` writes and `apply` carries out exactly, or refuses.
//!
//! The file holds the plans' texts, the moment at which it was made, and the changesets. Applying works the changesets out
//! again, from those texts and that moment, against the cloud as it is then: where they come out different, the cloud has
//! changed. So steps that somebody writes into the file are not carried out; but whoever writes another plan's text with its
//! changesets has made another file. What ties it to what was reviewed is its digest, and the plans themselves.

use std::{
    ffi::OsString,
    fmt, fs,
    io::{self, Read, Write},
    path::Path,
    process,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

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
/// By so much the clock that a changeset was made with may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
const REMAKE: &str = "make a new one: `gangplank plan --out FILE`";

/// The SHA-256 of a saved changeset's bytes: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDigest(String);

impl FileDigest {
    pub fn of(bytes: &[u8]) -> Self {
        let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("sha256:{digits}"))
    }

    /// As people write it.
    ///
    /// # Errors
    /// How it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64);
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        digits
            .map(|digits| Self(format!("sha256:{}", digits.to_ascii_lowercase())))
            .ok_or_else(|| "write it as `gangplank plan --out` told it: sha256: and 64 hexadecimal digits".to_owned())
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What whoever applies a saved changeset asks of it.
#[derive(Clone, Debug)]
pub struct Acceptance {
    pub now: Timestamp,
    pub max_age: SignedDuration,
    /// The digest of the file that was reviewed.
    pub expect: Option<FileDigest>,
}

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

    /// Puts it into a file that only its owner can read, in one act: whoever reads it finds the old one or the new one.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, path: &Path) -> io::Result<FileDigest> {
        let bytes = serde_json::to_vec(self)?;
        replace(path, &bytes)?;
        Ok(FileDigest::of(&bytes))
    }

    /// Whether a file is a saved changeset rather than a plan. Reads its first bytes; what can't be read is no changeset.
    pub fn is_at(path: &Path) -> bool {
        let mut start = [0; START.len()];
        let regular = fs::metadata(path).is_ok_and(|m| m.is_file());
        regular && fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *START
    }

    /// Reads the file once: its digest is that of what is carried out.
    ///
    /// # Errors
    /// Why the file is none that this gangplank can carry out, or not the one that is accepted.
    pub fn read(path: &Path, acceptance: &Acceptance) -> Result<Self, Diagnostics> {
        let problem = |summary: &str| Diagnostic::new(format!("{}: {summary}", path.display()));
        let unreadable = |error: io::Error| problem("the saved changeset can't be read").because(error.to_string());
        if fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
            return Err(problem("the file is too large for a saved changeset").into());
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let found = FileDigest::of(&bytes);
        if let Some(expected) = acceptance.expect.as_ref().filter(|expected| **expected != found) {
            return Err(problem("this is not the changeset that was expected")
                .because(format!("its digest is {found}, and --expect says {expected}"))
                .fix("review this file, or fetch the one that was reviewed")
                .into());
        }
        let saved: Self = serde_json::from_slice(&bytes)
            .map_err(|e| problem("the saved changeset is damaged").because(e.to_string()).fix(REMAKE))?;
        if saved.format != FORMAT || saved.version != env!("CARGO_PKG_VERSION") {
            let wrote = format!("gangplank {} wrote it, this is {}", saved.version, env!("CARGO_PKG_VERSION"));
            return Err(problem("another version of gangplank saved this changeset").because(wrote).fix(REMAKE).into());
        }
        saved.check_age(path, acceptance)?;
        Ok(saved)
    }

    /// Deadlines are counted from the moment at which it was made, so that must be about now.
    fn check_age(&self, path: &Path, acceptance: &Acceptance) -> Result<(), Diagnostic> {
        let problem = |summary: &str| Diagnostic::new(format!("{}: {summary}", path.display()));
        let age = acceptance.now.duration_since(self.made);
        let because = format!("it says that it was made at {}, and it is {} now", self.made, acceptance.now);
        if age < -CLOCK_SKEW {
            return Err(problem("the saved changeset is from the future")
                .because(because)
                .fix("check this machine's clock, or make a new one: `gangplank plan --out FILE`"));
        }
        if age > acceptance.max_age {
            return Err(problem("the saved changeset is too old")
                .because(because)
                .fix("make a new one: `gangplank plan --out FILE`; or allow its age with --max-age, such as 3d"));
        }
        Ok(())
    }

    /// Whether these are the plans that were saved, text by text; otherwise what differs.
    ///
    /// # Errors
    /// Every plan that is in one place only, or has another text.
    pub fn check_plans(&self, path: &Path, saved: &[Plan], checkout: &[Plan]) -> Result<(), Diagnostics> {
        let text = |plan: &Plan| plan.origin.source.text.clone();
        let file = |plan: &Plan| plan.origin.source.path.clone();
        let mut left: Vec<&Plan> = checkout.iter().collect();
        let mut others = Vec::new();
        for plan in saved {
            match left.iter().position(|here| text(here) == text(plan)) {
                Some(at) => _ = left.remove(at),
                None => others.push(plan),
            }
        }
        let mut differences = Vec::new();
        for plan in others {
            match left.iter().position(|here| here.name == plan.name) {
                Some(at) => {
                    let here = left.remove(at);
                    differences.push(format!("{} has another text in the changeset than in {}", plan.name, file(here)));
                }
                None => differences.push(format!("{} ({}) is in the changeset only", plan.name, file(plan))),
            }
        }
        differences.extend(left.iter().map(|plan| format!("{} ({}) is not in the changeset", plan.name, file(plan))));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Diagnostic::new(format!("{}: it was not made from these plans", path.display()))
            .because(differences.join("; "))
            .fix("make a new one from them: `gangplank plan --out FILE PLAN...`")
            .into())
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

/// Replaces a file by one that only its owner can read. What is no file (a pipe, a device) is written to.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes);
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for number in 0..16 {
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}-{number}", process::id()));
        let beside = path.with_file_name(beside);
        let mut file = match private().open(&beside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            opened => opened?,
        };
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // What is left is no changeset.
            let _ = fs::remove_file(&beside);
        }
        return written;
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "version: 1\nname: warehouse\nlifetime: 1d\naws: {region: us-east-1, subnet: subnet-0a1b2c3d4e5f60718, image: debian-13, \
        instance_type: t4g.nano}\ntunnels:\n  - user: secoda\n    allow_from: [198.51.100.7]\n    targets: [{name: warehouse, host: \
        10.20.2.10, port: 5432, speaks: postgres}]\n";

    fn plan(text: &str) -> Plan {
        plan::read(Arc::new(Source { path: "plans/warehouse.yaml".to_owned(), text: text.to_owned() })).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn accepting(now: &str) -> Acceptance {
        Acceptance { now: at(now), max_age: SignedDuration::from_hours(24), expect: None }
    }

    #[test]
    fn only_a_young_changeset_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changeset.json");
        let saved = Saved::<u8>::new(&[plan(PLAN)], at("2026-11-22T12:00:00Z"), Vec::new());
        saved.write(&path).unwrap();
        let refused = |now: &str| Saved::<u8>::read(&path, &accepting(now)).err().map(|e| e.0[0].summary.clone());
        assert_eq!(refused("2026-11-22T11:56:00Z"), None, "clocks differ a little");
        assert_eq!(refused("2026-11-23T12:00:00Z"), None);
        assert!(refused("2026-11-23T12:00:01Z").is_some_and(|why| why.ends_with("the saved changeset is too old")));
        let early = refused("2026-11-22T11:54:00Z");
        assert!(early.is_some_and(|why| why.ends_with("the saved changeset is from the future")));
        let patient = Acceptance { max_age: SignedDuration::from_hours(72), ..accepting("2026-11-25T12:00:00Z") };
        assert!(Saved::<u8>::read(&path, &patient).is_ok());
    }

    #[test]
    fn another_file_than_the_expected_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changeset.json");
        let saved = Saved::<u8>::new(&[plan(PLAN)], at("2026-11-22T12:00:00Z"), Vec::new());
        let digest = saved.write(&path).unwrap();
        assert_eq!(FileDigest::parse(&digest.to_string()), Ok(digest.clone()));
        let expecting = Acceptance { expect: Some(digest), ..accepting("2026-11-22T12:00:00Z") };
        assert!(Saved::<u8>::read(&path, &expecting).is_ok());
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(b' ');
        fs::write(&path, bytes).unwrap();
        assert!(Saved::<u8>::read(&path, &accepting("2026-11-22T12:00:00Z")).is_ok(), "it says the same");
        let refused = Saved::<u8>::read(&path, &expecting).unwrap_err();
        assert!(refused.0[0].summary.ends_with("this is not the changeset that was expected"));
        assert!(FileDigest::parse("sha256:12").is_err() && FileDigest::parse("md5:00").is_err());
    }

    #[test]
    fn plans_are_compared_by_their_texts() {
        let (one, path) = (plan(PLAN), Path::new("changeset.json"));
        let other = plan(&PLAN.replace("198.51.100.7", "198.51.100.8"));
        let second = plan(&PLAN.replace("name: warehouse\nlife", "name: orders\nlife"));
        let saved = Saved::<u8>::new(&[], at("2026-11-22T12:00:00Z"), Vec::new());
        let check = |then: &[&Plan], here: &[&Plan]| {
            let own = |plans: &[&Plan]| plans.iter().map(|p| (*p).clone()).collect::<Vec<_>>();
            saved.check_plans(path, &own(then), &own(here)).err().map(|e| format!("{e:?}"))
        };
        assert_eq!(check(&[&one, &second], &[&second, &one]), None);
        assert!(check(&[&one], &[&other]).is_some_and(|why| why.contains("warehouse has another text")));
        assert!(check(&[&one, &second], &[&one]).is_some_and(|why| why.contains("is in the changeset only")));
        assert!(check(&[&one], &[&one, &second]).is_some_and(|why| why.contains("is not in the changeset")));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it_also_where_there_was_a_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changeset.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Saved::<u8>::new(&[plan(PLAN)], at("2026-11-22T12:00:00Z"), Vec::new()).write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
