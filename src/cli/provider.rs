//! `authpool provider`: the scripted provider alone, for tests in other languages and for benchmarks. Reads the files
//! it is given, starts it, waits for a signal. What it answers is decided by `scripted`.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};

use crate::scripted::{IdleClose, Options, Provider};

/// What is wrong with the command's arguments or files.
const FAULT: u8 = 2;

/// Run the scripted provider: Anthropic and OpenAI shapes, real limits, scripted faults.
///
/// Steer it while it runs: POST, GET, DELETE /_script; POST, DELETE /_limits; GET, DELETE /_ledger (?entries).
///
/// A script is one rule, an array of rules, or one rule a line; the first that fits a request decides:
/// {"match":{"credential":"key-a","model":"m","path":"/v1/messages"},"times":2,"chance":0.5,"delay_ms":50,"do":{"corpus":"anth-529"}}
///
/// `do` is one of {"corpus":ID,"headers":{...}}, {"status":429,"headers":{...},"body":"..."}, {"serve":true},
/// {"raw":"HTTP/1.1 ...","repeat":1,"piece":0,"gap_ms":0,"then":"keep|close|reset|hang"}, or {"fault":NAME,...} with
/// NAME one of delay (ms), slow_stream (gap_ms, events), trickle (gap_ms), early_429 (retry_after_ms, hold_ms, drain_bytes),
/// reset_on_accept, reset_before, reset_within (bytes), reset_after_request, reset_after_head (events), cut_stream
/// (events, clean), error_event_first (error), error_event_later (events, error), html_403, hang.
///
/// Limits: {"key-a":{"requests_per_minute":60,"tokens_per_minute":90000,"input_tokens_per_minute":...,
/// "output_tokens_per_minute":...,"requests_burst":5,"tokens_burst":...,"concurrent":4,"model":"m",
/// "window_seconds":60,"start_percent":100,"reserves_max_tokens":false,"silent":false}}
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct ProviderArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Speak TLS
    #[arg(long, requires = "cert", requires = "key")]
    pub tls: bool,
    /// Certificate chain in PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub cert: Option<PathBuf>,
    /// Private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub key: Option<PathBuf>,
    /// Rules to begin with
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Limits to begin with
    #[arg(long, value_name = "FILE")]
    pub limits: Option<PathBuf>,
    /// Close idle connections with this chance after so many milliseconds
    #[arg(long, value_name = "CHANCE:MIN:MAX", value_parser = idle_close)]
    pub idle_close: Option<IdleClose>,
    /// Decides what is left to chance
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// Keep sums only, no single requests
    #[arg(long)]
    pub no_record: bool,
}

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot use {path}", path = .path.display())]
    File {
        path: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("cannot listen on {listen}")]
    Listen {
        listen: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot use the certificate with its key")]
    Certificate(#[from] rustls::Error),
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// Runs until SIGTERM or SIGINT: then 0. A fault in what it was given: one line on stderr, and 2.
pub fn run(args: ProviderArgs) -> ExitCode {
    match start(&args).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("authpool provider: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                line = format!("{line}: {cause}");
                source = cause.source();
            }
            // A file's content may span lines; the fault does not.
            let _ = writeln!(std::io::stderr().lock(), "{}", line.replace('\n', " "));
            ExitCode::from(FAULT)
        }
    }
}

fn start(args: &ProviderArgs) -> Result<Provider, StartError> {
    let tls = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) if args.tls => Some(Arc::new(tls(cert, key)?)),
        _ => None,
    };
    let provider = Provider::start(Options {
        listen: args.listen,
        tls,
        idle_close: args.idle_close,
        record: !args.no_record,
        seed: args.seed,
        workers: args.workers,
        ..Options::default()
    })
    .map_err(|source| StartError::Listen {
        listen: args.listen,
        source,
    })?;
    if let Some(path) = &args.limits {
        let read = provider.script().limit_json(&text(path)?);
        read.map_err(|error| fault(path, error))?;
    }
    if let Some(path) = &args.script {
        let read = provider.script().push_json(&text(path)?);
        read.map_err(|error| fault(path, error))?;
    }
    Ok(provider)
}

fn text(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|error| fault(path, error))
}

fn fault(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> StartError {
    StartError::File {
        path: path.to_owned(),
        source: source.into(),
    }
}

fn tls(cert: &Path, key: &Path) -> Result<rustls::ServerConfig, StartError> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(cert, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, error))?;
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn serve(provider: Provider) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Signals)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "listening on {}", provider.url());
        let _ = stdout.flush();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok::<(), StartError>(())
    })?;
    provider.stop();
    Ok(())
}

fn idle_close(text: &str) -> Result<IdleClose, String> {
    const SHAPE: &str = "it must be CHANCE:MIN:MAX, as in 0.1:5:50";
    let mut parts = text.split(':');
    let (Some(chance), Some(min), Some(max), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SHAPE.to_owned());
    };
    let chance = chance.parse().map_err(|_| SHAPE)?;
    let millis = |text: &str| text.parse().map(Duration::from_millis).map_err(|_| SHAPE);
    let (min, max) = (millis(min)?, millis(max)?);
    if !(0.0..=1.0).contains(&chance) || max < min {
        return Err("the chance must be within 0 and 1, and MIN not above MAX".to_owned());
    }
    Ok(IdleClose { chance, min, max })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: ProviderArgs,
    }

    fn parse(words: &[&str]) -> Result<ProviderArgs, clap::Error> {
        let words = std::iter::once(&"provider").chain(words);
        Command::try_parse_from(words).map(|command| command.args)
    }

    #[test]
    fn arguments_are_read() {
        let args = parse(&["--listen", "127.0.0.1:7", "--idle-close", "0.5:1:20"]).unwrap();
        assert_eq!(args.listen.port(), 7);
        let idle_close = args.idle_close.unwrap();
        assert_eq!(idle_close.max, Duration::from_millis(20));
    }

    #[test]
    fn tls_needs_its_files() {
        assert!(parse(&["--tls"]).is_err());
        assert!(parse(&["--tls", "--cert", "a"]).is_err());
        assert!(parse(&["--tls", "--cert", "a", "--key", "b"]).unwrap().tls);
    }

    #[test]
    fn a_chance_beyond_one_is_refused() {
        for text in ["1.5:1:2", "0.5:3:2", "0.5", "a:1:2", "0.5:1:2:3"] {
            assert!(idle_close(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_fault_in_a_file_is_named_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script.json");
        let mut args = parse(&[]).unwrap();
        args.script = Some(script.clone());
        let error = start(&args).unwrap_err();
        assert!(error.to_string().ends_with("script.json"), "{error}");
        std::fs::write(&script, r#"{"do":{"fault":"no-such"}}"#).unwrap();
        assert!(matches!(start(&args), Err(StartError::File { .. })));
        std::fs::write(&script, r#"{"do":{"fault":"hang"}}"#).unwrap();
        assert_eq!(start(&args).unwrap().script().len(), 1);
    }

    #[test]
    fn an_occupied_port_is_a_fault() {
        let mut args = parse(&[]).unwrap();
        let first = start(&args).unwrap();
        args.listen = first.addr();
        assert!(matches!(start(&args), Err(StartError::Listen { .. })));
    }
}
