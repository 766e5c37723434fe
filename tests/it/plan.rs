//! The plan language, from files to plans and to what a reader sees of a broken one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gangplank::{
    diagnostic::{Diagnostics, Source, render},
    plan::{self, Plan},
};

fn read(path: &str, text: &str) -> Result<Plan, Diagnostics> {
    plan::read(Arc::new(Source { path: path.to_owned(), text: text.to_owned() }))
}

/// The YAML files of a folder of the repository, with their texts, in the order of their names.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_example_and_starter_reads() {
    let files: Vec<_> = files("plans").into_iter().chain(files("templates")).collect();
    assert!(files.len() >= 5);
    for (name, text) in files {
        if let Err(problems) = read(&name, &text) {
            panic!("{}", render(&problems, false));
        }
    }
}
