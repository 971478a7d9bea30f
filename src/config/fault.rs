//! Faults of a configuration: where each is and what is wrong, never what a secret was. Keeps O1 (all at once, each
//! with line and path) and K4.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `None`: the text came from no file.
    pub file: Option<Arc<Path>>,
    /// Counted from 1.
    pub line: u32,
    /// Such as `provider[1].base_url`, counted from 0; empty where the text is not TOML.
    pub path: String,
    /// What is wrong, and where obvious what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(formatter, "{}:{}: ", file.display(), self.line)?,
            None => write!(formatter, "line {}: ", self.line)?,
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

/// Why there is no [`Config`](super::Config). Shown as one line per fault, in the order of the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML: nothing else can be said of it.
    #[error("{}", Lines(.0))]
    Syntax(Vec<Fault>),
    /// Every fault of the file, at least one.
    #[error("{}", Lines(.0))]
    Invalid(Vec<Fault>),
}

impl ConfigError {
    /// The faults, in the order of the file; none where it could not be read.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Syntax(faults) | Self::Invalid(faults) => faults,
        }
    }

    /// The same, naming the file.
    pub(super) fn in_file(mut self, file: &Path) -> Self {
        let file: Arc<Path> = Arc::from(file);
        if let Self::Syntax(faults) | Self::Invalid(faults) = &mut self {
            for fault in faults {
                fault.file = Some(Arc::clone(&file));
            }
        }
        self
    }
}

struct Lines<'a>(&'a [Fault]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().enumerate() {
            let end = if position == 0 { "" } else { "\n" };
            write!(formatter, "{end}{fault}")?;
        }
        Ok(())
    }
}

/// A place in the file: what a fault is reported at.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// In bytes from the beginning of the text.
    pub(super) offset: usize,
    pub(super) path: String,
}

/// The faults found so far. Rules go on after one, with whatever stands in for what is wrong.
pub(super) struct Faults {
    /// Where each line begins.
    lines: Vec<usize>,
    found: RefCell<Vec<(Place, String)>>,
}

impl Faults {
    pub(super) fn new(text: &str) -> Self {
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes());
        Self {
            lines: std::iter::once(0).chain(breaks.map(|at| at + 1)).collect(),
            found: RefCell::default(),
        }
    }

    /// The line that a byte of the text is in.
    pub(super) fn line(&self, offset: usize) -> u32 {
        let line = self.lines.partition_point(|&start| start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// A place as another fault's message names it: `pool[0] (line 12)`.
    pub(super) fn tell(&self, place: &Place) -> String {
        format!("{} (line {})", place.path, self.line(place.offset))
    }

    pub(super) fn report(&self, place: &Place, message: impl Into<String>) {
        let found = (place.clone(), message.into());
        self.found.borrow_mut().push(found);
    }

    /// In the order of the file.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut found = self.found.take();
        found.sort_by_key(|(place, _)| place.offset);
        let found = found.into_iter().map(|(place, message)| Fault {
            file: None,
            line: self.line(place.offset),
            path: place.path,
            message,
        });
        found.collect()
    }
}

/// A text without anything that a terminal or a log would take for more than letters.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\'' | '"' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

/// A name out of the file as a message may show it: one as long as a key, which may be one in the wrong place, by
/// its beginning only.
pub(super) fn shown(name: &str) -> String {
    const SHORTEST_KEY: usize = 24;
    if name.len() < SHORTEST_KEY {
        return printable(name);
    }
    let beginning: String = name.chars().take(8).collect();
    format!("{}...", printable(&beginning))
}

/// `: perhaps ...?` with the one of `known` that was probably meant; empty where none is near enough.
pub(super) fn nearest<'a>(name: &str, known: impl ExactSizeIterator<Item = &'a str>) -> String {
    /// Of names: what is longer is no slip. Of candidates: what is more would take long.
    const LONGEST: usize = 64;
    const MOST: usize = 500;
    if LONGEST < name.len() || MOST < known.len() {
        return String::new();
    }
    let name = name.to_ascii_lowercase();
    known
        .map(|candidate| (distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 3.min(candidate.len() / 2))
        .min()
        .map(|(_, candidate)| format!(": perhaps `{}`?", shown(candidate)))
        .unwrap_or_default()
}

/// Levenshtein's, over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *cell;
            left = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_counted_from_one_and_ends_behind_its_break() {
        let faults = Faults::new("ab\n\ncd");
        let lines: Vec<u32> = (0..7).map(|offset| faults.line(offset)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn what_was_probably_meant_is_near() {
        let known = ["base_url", "connect", "ca"];
        let check = |name, expected| assert_eq!(nearest(name, known.into_iter()), expected);
        check("baseurl", ": perhaps `base_url`?");
        check("Base_URL", ": perhaps `base_url`?");
        check("conect", ": perhaps `connect`?");
        check("cb", ": perhaps `ca`?");
        check("weight", "");
        check("", "");
    }

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn what_may_be_a_key_is_shown_by_its_beginning() {
        // K4
        assert_eq!(shown("a\n\u{1b}[m 'x'"), "a\\n\\u{1b}[m 'x'");
        assert_eq!(shown("sk-ant-api03-0123456789a"), "sk-ant-a...");
        assert_eq!(shown("models"), "models");
    }
}
