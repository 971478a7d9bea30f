//! The binary: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // One TLS provider for the whole process, also for what libraries build by themselves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    authpool::cli::run(authpool::cli::Arguments::parse())
}
