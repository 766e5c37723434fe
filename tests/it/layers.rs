//! Which module uses which, read from the `use` lines and the paths of `src`: what stands below uses what stands above, and never
//! the other way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module's path, without `crate`.
type Module = Vec<String>;

/// What each file uses, without its tests.
fn uses() -> BTreeMap<Module, BTreeSet<Module>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    read(&root, &root, &mut files);
    let known: BTreeSet<Module> = files.keys().cloned().collect();
    let used = |(module, text): (&Module, &String)| {
        let all = paths(text).into_iter().filter_map(|path| absolute(module, &path));
        // The longest part of a path that is a file.
        let all = all.filter_map(|path| (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|p| known.contains(p)));
        (module.clone(), all.filter(|used| used != module).collect())
    };
    files.iter().map(used).collect()
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(root, &path, files);
            continue;
        }
        let relative = path.strip_prefix(root).expect("below it").with_extension("");
        let mut module: Module = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.iter().any(|part| part == "tests") || ["lib", "main"].contains(&module[0].as_str()) {
            continue;
        }
        module.pop_if(|last| last == "mod");
        let text = fs::read_to_string(&path).expect("a source");
        let text: Vec<&str> = text.lines().take_while(|line| *line != "#[cfg(test)]").collect();
        let code = text.into_iter().map(|line| line.split("//").next().unwrap_or_default());
        files.insert(module, code.collect::<Vec<_>>().join("\n"));
    }
}

/// Every path of a text that begins with `crate`, `super` or `self`, with braces resolved.
fn paths(text: &str) -> Vec<Module> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if !token.trim().is_empty() {
            tokens.push(token);
        }
        rest = after;
    }
    let mut all = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let begins = ["crate", "super", "self"].contains(token) && tokens.get(at + 1) == Some(&"::");
        if begins && (at == 0 || tokens[at - 1] != "::") {
            tree(&tokens, at, &Vec::new(), &mut all);
        }
    }
    all
}

/// One tree of a `use` line from `at` on; where it ends.
fn tree(tokens: &[&str], mut at: usize, before: &Module, all: &mut Vec<Module>) -> usize {
    let mut path = before.clone();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = tree(tokens, at + 1, &path, all);
                }
                return at + 1;
            }
            Some(name) if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push((*name).to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    all.push(path);
    // `as NAME`
    if tokens.get(at) == Some(&"as") { at + 2 } else { at }
}

fn absolute(module: &Module, path: &Module) -> Option<Module> {
    let (mut at, mut rest) = (module.clone(), path.as_slice());
    match rest.first()?.as_str() {
        "crate" => (at, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        _ => {
            while rest.first().is_some_and(|part| part == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
    }
    Some(at.into_iter().chain(rest.iter().filter(|part| *part != "self").cloned()).collect())
}

#[test]
fn each_module_uses_only_those_above_it() {
    let lib = include_str!("../../src/lib.rs");
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let place = |module: &Module| order.iter().position(|name| *name == module[0]).expect("a module of lib.rs");
    for (module, used) in uses() {
        for other in used {
            assert!(
                place(&other) <= place(&module),
                "{} uses {}, which stands below it",
                module.join("::"),
                other.join("::")
            );
        }
    }
}
