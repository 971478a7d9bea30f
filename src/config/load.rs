//! From a file or a text to a [`Config`]: reads, then has the rules judge, then says all that is wrong.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::fault::{ConfigError, Faults};
use super::rules;
use super::surroundings::Surroundings;
use super::{Config, ReadingConfig, wire};

/// Where the configuration is: the argument, else `AUTHPOOL_CONFIG` unless empty, else
/// `/etc/authpool/authpool.toml`.
pub fn path(argument: Option<&Path>, surroundings: &dyn Surroundings) -> PathBuf {
    if let Some(path) = argument {
        return path.to_owned();
    }
    match surroundings.variable("AUTHPOOL_CONFIG") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from("/etc/authpool/authpool.toml"),
    }
}

impl Config {
    /// Parses a text, with the variables and files that it names. Relative paths are handed on as they are.
    ///
    /// # Errors
    /// All faults at once, each with its line and path. None shows a secret.
    pub fn parse(text: &str, surroundings: &dyn Surroundings) -> Result<Self, ConfigError> {
        judge(text, surroundings, rules::lower)
    }

    /// Reads and parses a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// Where the file cannot be read or is not UTF-8, and as [`Config::parse`], naming the file.
    pub fn load(path: &Path, surroundings: &dyn Surroundings) -> Result<Self, ConfigError> {
        read(path, surroundings, rules::lower)
    }
}

impl ReadingConfig {
    /// Reads and parses what a file says of providers and their answers; what else is in it is not looked at, so
    /// that rules can be tried where no secret is.
    ///
    /// # Errors
    /// As [`Config::load`], of those tables.
    pub fn load(path: &Path, surroundings: &dyn Surroundings) -> Result<Self, ConfigError> {
        read(path, surroundings, rules::lower_reading)
    }
}

/// From the file's root table to what it says.
type Lower<T> = fn(DeTable<'_>, &Faults, &dyn Surroundings) -> T;

fn judge<T>(
    text: &str,
    surroundings: &dyn Surroundings,
    lower: Lower<T>,
) -> Result<T, ConfigError> {
    let faults = Faults::new(text);
    let root = wire::parse(text, &faults).map_err(ConfigError::Syntax)?;
    let config = lower(root, &faults, surroundings);
    match faults.into_faults() {
        faults if faults.is_empty() => Ok(config),
        faults => Err(ConfigError::Invalid(faults)),
    }
}

fn read<T>(
    path: &Path,
    surroundings: &dyn Surroundings,
    lower: Lower<T>,
) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let content = surroundings.file(path).map_err(unreadable)?;
    let text = String::from_utf8(content).map_err(|_| {
        unreadable(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not UTF-8 text",
        ))
    })?;
    let beside = Beside {
        folder: path.parent().unwrap_or(Path::new("")),
        surroundings,
    };
    judge(&text, &beside, lower).map_err(|error| error.in_file(path))
}

/// Files as the configuration names them: from its own folder.
struct Beside<'a> {
    folder: &'a Path,
    surroundings: &'a dyn Surroundings,
}

impl Surroundings for Beside<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.surroundings.variable(name)
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.surroundings.file(&self.folder.join(path))
    }

    fn cores(&self) -> usize {
        self.surroundings.cores()
    }

    fn memory_limit(&self) -> Option<u64> {
        self.surroundings.memory_limit()
    }
}
