//! `authpool check`: whether a configuration would be taken, and all that is wrong with it. Reads what `serve` would
//! read, and opens nothing. Keeps O1.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::Whole;
use crate::app;
use crate::config::{self, Config, Machine, Surroundings};

/// What a configuration that cannot be taken ends with.
const REFUSED: u8 = 2;

/// Says `PATH: ok: ...` on `out`, or each fault as one line on `err`. `config`: the argument; see
/// [`config::path`] for what is read without one. The exit code is 0, or 2 where there are faults.
pub fn run(config: Option<&Path>, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    let exit = check(config, &Machine, out, err);
    // Nobody is left to tell where the output is closed.
    exit.unwrap_or(ExitCode::from(REFUSED))
}

fn check(
    argument: Option<&Path>,
    surroundings: &dyn Surroundings,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<ExitCode> {
    let path = config::path(argument, surroundings);
    match Config::load(&path, surroundings) {
        Ok(config) => match app::check(&config) {
            Ok(()) => {
                writeln!(out, "{}: ok: {}", path.display(), summary(&config))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                writeln!(err, "{}: {}", path.display(), Whole(&error))?;
                Ok(ExitCode::from(REFUSED))
            }
        },
        Err(error) => {
            writeln!(err, "{}", Whole(&error))?;
            Ok(ExitCode::from(REFUSED))
        }
    }
}

/// Such as `2 providers, 3 subscriptions, 1 pool, 1 route, 2 clients`. Routes that the file does not have count
/// too: they serve.
fn summary(config: &Config) -> String {
    let counts = [
        (config.providers.len(), "provider"),
        (config.subscriptions.len(), "subscription"),
        (config.pools.len(), "pool"),
        (config.routes.len(), "route"),
        (config.clients.len(), "client"),
    ];
    let words = counts.map(|(count, noun)| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {noun}{plural}")
    });
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [[provider]]
        id = "p"
        dialect = "openai"
        base_url = "https://api.openai.com/v1"
        [[subscription]]
        id = "a"
        provider = "p"
        credential = { file = "key" }
        [[pool]]
        id = "main"
        subscriptions = ["a"]
    "#;

    #[track_caller]
    fn check_in(folder: &Path) -> (ExitCode, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run(Some(&folder.join("authpool.toml")), &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (exit, text(out), text(err))
    }

    #[test]
    fn a_good_file_is_counted_and_files_are_found_beside_it() {
        // O1, O3
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authpool.toml"), CONFIG).unwrap();
        std::fs::write(folder.path().join("key"), "sk-canary\n").unwrap();
        let (exit, out, err) = check_in(folder.path());
        let path = folder.path().join("authpool.toml");
        let expected = "ok: 1 provider, 1 subscription, 1 pool, 1 route, 0 clients";
        assert_eq!(out, format!("{}: {expected}\n", path.display()), "{err}");
        assert_eq!(err, "");
        assert_eq!(exit, ExitCode::SUCCESS);
    }

    #[test]
    fn each_fault_is_one_line_that_names_file_and_line() {
        // O1
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authpool.toml"), CONFIG).unwrap();
        let (exit, out, err) = check_in(folder.path());
        assert_eq!(out, "");
        let expected = format!(
            "{}:9: subscription[0].credential.file: names a file that cannot be read: No such file",
            folder.path().join("authpool.toml").display()
        );
        assert!(err.starts_with(&expected), "{err}");
        assert_eq!(err.lines().count(), 1);
        assert_eq!(exit, ExitCode::from(2));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_line_too() {
        // O1
        let folder = tempfile::tempdir().unwrap();
        let (exit, _, err) = check_in(folder.path());
        assert!(err.starts_with("cannot read the configuration "), "{err}");
        assert!(err.contains("No such file"), "{err}");
        assert_eq!(err.lines().count(), 1);
        assert_eq!(exit, ExitCode::from(2));
        std::fs::write(folder.path().join("authpool.toml"), b"\xff").unwrap();
        assert!(check_in(folder.path()).2.contains("it is not UTF-8 text"));
    }
}
