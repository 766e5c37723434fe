//! Reading plan files: the only I/O of this module.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Plan, read};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Source},
    secret,
};

/// The largest plan file: fifty times the largest that anybody writes, and nothing for the memory.
const LARGEST: u64 = 256 * 1024;

/// What paths stand for: plans, and files that hold none.
#[derive(Debug, Default)]
pub struct Loaded {
    pub plans: Vec<Plan>,
    pub broken: Vec<BrokenFile>,
}

/// A file, or a directory, that holds no plan.
#[derive(Clone, Debug)]
pub struct BrokenFile {
    pub path: String,
    pub problems: Diagnostics,
}

/// Reads plan files, and every `*.yaml` and `*.yml` directly in a directory, in the order of their names. What concerns a file as a
/// whole has no place and names the path.
pub fn load_each(paths: &[PathBuf]) -> Loaded {
    let mut loaded = Loaded::default();
    for path in paths {
        let broken = |path: &Path, problems| BrokenFile { path: path.display().to_string(), problems };
        let files = match files(path) {
            Ok(files) => files,
            Err(problem) => {
                loaded.broken.push(broken(path, problem.into()));
                continue;
            }
        };
        for file in files {
            match text(&file).map_err(Diagnostics::from).and_then(|source| read(Arc::new(source))) {
                Ok(plan) => loaded.plans.push(plan),
                Err(problems) => loaded.broken.push(broken(&file, problems)),
            }
        }
    }
    loaded
}

/// The same where one broken file spoils all.
///
/// # Errors
///
/// Every problem of every file.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Plan>, Diagnostics> {
    let Loaded { plans, broken } = load_each(paths);
    let problems: Vec<Diagnostic> = broken.into_iter().flat_map(|file| file.problems.0).collect();
    if problems.is_empty() { Ok(plans) } else { Err(Diagnostics(problems)) }
}

/// The files that a path stands for.
fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error: io::Error| unreadable(path, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let named = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if named && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Diagnostic::new(format!("{} holds no plans", path.display()))
            .because("A directory stands for the *.yaml and *.yml files directly in it.")
            .fix("write a plan with `gangplank init`, or name another directory"));
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<Source, Diagnostic> {
    // Each output names the plan's file.
    if let Some(found) = secret::find(&path.display().to_string()).first() {
        return Err(Diagnostic::new(format!("{} in a file's name", found.kind.description()))
            .because("Names of files are shown in every output, and kept in logs. Treat it as compromised.")
            .fix(format!("rename the file; {}", found.kind.remedy())));
    }
    // Looked at before it is opened: opening a pipe waits for a writer.
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Diagnostic::new(format!("{} is not a regular file", path.display()))
            .because("A plan is read once and as a whole; pipes and devices are not.")
            .fix("write the plan into a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    // One byte more than allowed tells that there is more, whatever the metadata said.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Diagnostic::new(format!("{} is too large for a plan", path.display()))
            .because(format!("It has {} bytes; a plan has at most {LARGEST}.", metadata.len().max(LARGEST + 1)))
            .fix("check that this is the right file"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { path: path.display().to_string(), text }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
            Err(Diagnostic::new(format!("{} is not UTF-8 text", path.display()))
                .because(format!("Byte {at} of the file, on line {line}, does not belong to a UTF-8 character."))
                .fix("save the file as UTF-8"))
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::new(format!("{} cannot be read", path.display())).because(error.to_string())
}
