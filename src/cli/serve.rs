//! `authpool serve`: loads the configuration, runs until a signal, reloads on SIGHUP.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::filter::LevelFilter;

use super::Whole;
use crate::app::{self, App};
use crate::clock::Clock;
use crate::config::{self, Config, LogConfig, Machine};
use crate::log::Log;

/// Serves until a signal says to stop; 0 after a drain.
pub fn run(argument: Option<&Path>) -> ExitCode {
    let path = config::path(argument, &Machine);
    let config = match Config::load(&path, &Machine) {
        Ok(config) => config,
        Err(error) => return super::unusable(Whole(&error)),
    };
    start_log(config.server.log);
    app::process::prepare();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return super::unusable(Whole(&error)),
    };
    runtime.block_on(serve(config, path))
}

/// What is not a request's or an event's line: start, reload, stop, and what the libraries say.
fn start_log(config: LogConfig) {
    let level = LevelFilter::from_level(config.level);
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A log that is already set up (by a test) stays.
    let _ = if config.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.finish())
    };
}

async fn serve(config: Config, path: PathBuf) -> ExitCode {
    // Signals are caught before anything is announced, so that whoever waits for a line may send one at once.
    let (Ok(mut reload), Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::hangup()),
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return super::unusable("signals cannot be caught");
    };
    let log = Log::new(std::io::stderr(), config.server.log, Clock::new());
    let mut app = match App::start(config, vec![Box::new(log)]) {
        Ok(app) => app,
        Err(error) => return super::unusable(Whole(&error)),
    };
    for address in app.addresses() {
        info!(%address, "listening");
    }
    if let Some(address) = app.admin_address() {
        info!(%address, "admin listening");
    }
    loop {
        tokio::select! {
            _ = reload.recv() => take(&mut app, &path),
            () = stopped(&mut term, &mut interrupt) => break,
        }
    }
    info!("draining; a second signal ends at once");
    tokio::select! {
        () = app.drain() => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        () = stopped(&mut term, &mut interrupt) => {
            warn!("ended at once");
            // Threads that still serve are not waited for.
            std::process::exit(1)
        }
    }
}

async fn stopped(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// O2: validated first; the old one stays on an error.
fn take(app: &mut App, path: &Path) {
    let config = match Config::load(path, &Machine) {
        Ok(config) => config,
        Err(fault) => {
            error!(
                "reload refused, the old configuration stays: {}",
                Whole(&fault)
            );
            return;
        }
    };
    match app.reload(config) {
        Ok(fixed) => {
            info!("reloaded");
            for key in fixed {
                warn!(key, "changed, but takes effect only after a restart");
            }
        }
        Err(fault) => error!(
            "reload refused, the old configuration stays: {}",
            Whole(&fault)
        ),
    }
}
