//! The table of dependencies, checked on the source text: which module may use which, and what the core must not
//! know. A new edge is a design change: it is made here, in a commit that says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of this crate that it may use (its own are free).
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("clock", &["core"]),
    ("tasks", &[]),
    ("sync", &[]),
    ("secret", &[]),
    ("records", &["core"]),
    ("config", &["core", "secret"]),
    ("balancer", &["core", "clock", "records", "sync"]),
    ("clients", &["core", "clock", "secret", "config"]),
    ("upstream", &["core", "config", "secret", "clock", "tasks"]),
    (
        "proxy",
        &[
            "core", "balancer", "clients", "upstream", "secret", "clock", "config", "tasks",
            "records",
        ],
    ),
    ("metrics", &["core", "clock", "config", "records"]),
    ("log", &["core", "clock", "config", "records", "metrics"]),
    ("admin", &["core", "server"]),
    ("server", &["core", "clock", "config", "tasks"]),
    ("scripted", &["clock", "tasks"]),
    (
        "app",
        &[
            "core", "admin", "balancer", "clients", "clock", "config", "metrics", "proxy",
            "records", "secret", "server", "tasks", "upstream",
        ],
    ),
    (
        "cli",
        &[
            "app", "config", "core", "scripted", "clock", "log", "records", "tasks",
        ],
    ),
];

/// What the core may use from outside.
const CORE_CRATES: &[&str] = &[
    "std",
    "bytes",
    "http",
    "serde_json",
    "memchr",
    "thiserror",
    "sha2",
    "hmac",
    "httpdate",
    "flate2",
    "serde",
];

/// Words that would make the core read a clock, lock, wait or log.
const CORE_NEVER: &[&str] = &[
    "Mutex",
    "RwLock",
    "Atomic",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime",
    "static mut",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Unit tests in files of their own are bound by less.
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file: without comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\n").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root()).unwrap();
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn all() -> Vec<(String, PathBuf, String)> {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    files
        .into_iter()
        .map(|path| (module_of(&path), path.clone(), code(&path)))
        .collect()
}

/// The modules named after `crate::`, also in braces.
fn used(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at]
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
        {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inside = group.split('}').next().unwrap();
            found.extend(inside.split(',').map(|part| first_word(part.trim())));
        } else {
            found.push(first_word(rest));
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let edges: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut faults = Vec::new();
    for (module, path, code) in all() {
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(allowed) = edges.get(module.as_str()) else {
            faults.push(format!(
                "{}: the module `{module}` is not in the table",
                path.display()
            ));
            continue;
        };
        // Instants are words that everybody may use; what judges the core must not know what it decides.
        let code = if module == "scripted" {
            code.replace("crate::core::time", "")
        } else {
            code
        };
        for used in used(&code) {
            if used != module
                && edges.contains_key(used.as_str())
                && !allowed.contains(&used.as_str())
            {
                faults.push(format!(
                    "{}: `{module}` must not use `{used}`",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_knows_no_clock_lock_runtime_or_log() {
    let mut faults = Vec::new();
    for (_, path, code) in all().into_iter().filter(|(module, ..)| module == "core") {
        for word in CORE_NEVER {
            if code.contains(word) {
                faults.push(format!(
                    "{}: the core must not say `{word}`",
                    path.display()
                ));
            }
        }
        for line in code
            .lines()
            .filter_map(|line| line.trim().strip_prefix("use "))
        {
            let crate_name = first_word(line.trim_start_matches("pub ").trim_start_matches("::"));
            let own = ["crate", "self", "super"].contains(&crate_name.as_str());
            if !own
                && !CORE_CRATES.contains(&crate_name.as_str())
                && !crate_name.chars().next().is_some_and(char::is_uppercase)
            {
                faults.push(format!(
                    "{}: the core must not use the crate `{crate_name}`",
                    path.display()
                ));
            }
        }
        for outside in ["tokio::", "hyper::", "tracing::"] {
            if code.contains(outside) {
                faults.push(format!(
                    "{}: the core must not say `{outside}`",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_stay_short_enough_to_read() {
    let long: Vec<String> = all()
        .into_iter()
        .filter_map(|(_, path, code)| {
            let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
            (lines > 500).then(|| format!("{}: {lines} lines of code", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = all()
        .into_iter()
        .filter(|(_, path, _)| !fs::read_to_string(path).unwrap().starts_with("//! "))
        .map(|(_, path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no head comment: {}", silent.join(", "));
}
