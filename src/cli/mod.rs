//! The commands, one file each.

pub mod check;
pub mod classify;
pub mod demo;
pub mod provider;
pub mod serve;

use std::error::Error;
use std::fmt::{self, Display};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A reverse proxy that pools an organisation's LLM provider credentials.
#[derive(Debug, Parser)]
#[command(name = "authpool", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until SIGTERM or SIGINT; SIGHUP reloads the configuration
    Serve {
        /// The configuration; else AUTHPOOL_CONFIG, else /etc/authpool/authpool.toml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say what is wrong with a configuration, or that nothing is
    Check {
        /// The configuration; else AUTHPOOL_CONFIG, else /etc/authpool/authpool.toml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read recorded answers as JSON lines and say what each means
    Classify {
        /// The recorded answers; else standard input
        file: Option<PathBuf>,
        /// A configuration whose [[rule]]s come first; of the rest of it only the providers are read
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show three subscriptions with small limits under traffic, with a scripted provider inside
    Demo(demo::DemoArgs),
    /// Run the scripted provider alone
    Provider(provider::ProviderArgs),
}

/// Runs the command that the arguments name.
pub fn run(arguments: Arguments) -> ExitCode {
    let (out, err) = (&mut std::io::stdout(), &mut std::io::stderr());
    match arguments.command {
        Command::Serve { config } => serve::run(config.as_deref()),
        Command::Check { config } => check::run(config.as_deref(), out, err),
        Command::Classify { file, config } => {
            match classify::run(file.as_deref(), config.as_deref(), out) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => unusable(Whole(&error)),
            }
        }
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Provider(arguments) => provider::run(arguments),
    }
}

/// One clear line, and the exit code of what cannot be used.
fn unusable(error: impl Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "authpool: {error}");
    ExitCode::from(2)
}

/// An error and its causes, on one line.
struct Whole<'a>(&'a dyn Error);

impl Display for Whole<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
