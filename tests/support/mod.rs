//! What end-to-end tests share: the real binary in a process of its own, a configuration for it, and a client that
//! is not authpool's.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::disallowed_methods, clippy::print_stderr)] // a client has a clock of its own

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub mod client;

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The client key that [`Setup`] writes.
pub const CLIENT_KEY: &str = "client-key-for-tests-0123456789";

/// A configuration in the making: one provider, its subscriptions in one pool.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `anthropic`, `openai` or `generic`.
    pub dialect: &'static str,
    /// Id and credential of each subscription, and further lines of its table.
    pub subscriptions: Vec<(String, String, String)>,
    /// Further lines of `[server]`.
    pub server: String,
    /// Further lines of `[[provider]]`.
    pub provider: String,
    /// Further lines of `[[pool]]`; without a strategy among them it is `least_in_flight`.
    pub pool: String,
    /// Whole tables at the end.
    pub more: String,
    /// Whether a client key is asked for.
    pub keys: bool,
    /// Subscriptions with a provider of their own, which is named like them, and its base URL.
    pub apart: Vec<(String, String)>,
}

impl Setup {
    /// Subscriptions by these names; the credential of `a` is `cred-a`.
    pub fn new(dialect: &'static str, names: &[&str]) -> Self {
        let subscriptions = names
            .iter()
            .map(|name| ((*name).to_owned(), format!("cred-{name}"), String::new()))
            .collect();
        Self {
            dialect,
            subscriptions,
            server: String::new(),
            provider: String::new(),
            pool: String::new(),
            more: String::new(),
            keys: true,
            apart: Vec::new(),
        }
    }

    /// The file's text. Credentials are named by variables; see [`Setup::variables`].
    pub fn text(&self, base_url: &str) -> String {
        let names: Vec<String> = self
            .subscriptions
            .iter()
            .map(|(id, ..)| format!("{id:?}"))
            .collect();
        // So that tests know who serves.
        let strategy = if self.pool.contains("strategy") {
            ""
        } else {
            "strategy = \"least_in_flight\"\n"
        };
        let mut text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n{}\n[admin]\nlisten = \"127.0.0.1:0\"\n\n\
             [[provider]]\nid = \"provider\"\ndialect = {:?}\nbase_url = {base_url:?}\n{}\n\n\
             [[pool]]\nid = \"pool\"\nsubscriptions = [{}]\n{strategy}{}\n\n",
            self.server,
            self.dialect,
            self.provider,
            names.join(", "),
            self.pool
        );
        for (id, base_url) in &self.apart {
            text.push_str(&format!(
                "[[provider]]\nid = {id:?}\ndialect = {:?}\nbase_url = {base_url:?}\n{}\n\n",
                self.dialect, self.provider
            ));
        }
        for (id, _, lines) in &self.subscriptions {
            let apart = self.apart.iter().any(|(apart, _)| apart == id);
            let provider = if apart { id } else { "provider" };
            text.push_str(&format!(
                "[[subscription]]\nid = {id:?}\nprovider = {provider:?}\ncredential = {{ env = \"CRED_{id}\" }}\n{lines}\n\n"
            ));
        }
        if self.keys {
            text.push_str("[[client]]\nid = \"tester\"\nkey = { env = \"CLIENT_KEY\" }\n\n");
        }
        text.push_str(&self.more);
        text
    }

    /// The environment that the text names.
    pub fn variables(&self) -> Vec<(String, String)> {
        let credentials = self
            .subscriptions
            .iter()
            .map(|(id, credential, _)| (format!("CRED_{id}"), credential.clone()));
        credentials
            .chain([("CLIENT_KEY".to_owned(), CLIENT_KEY.to_owned())])
            .collect()
    }

    /// The base URL that this dialect's SDK would be given, of a scripted provider.
    pub fn base_url(&self, provider: SocketAddr) -> String {
        match self.dialect {
            "openai" => format!("http://{provider}/v1"),
            _ => format!("http://{provider}"),
        }
    }

    /// Starts the binary before a scripted provider.
    pub fn start(&self, provider: SocketAddr) -> Authpool {
        self.start_at(&self.base_url(provider))
    }

    /// Starts the binary before whatever answers at this base URL.
    #[track_caller]
    pub fn start_at(&self, base_url: &str) -> Authpool {
        Authpool::start(&self.text(base_url), &self.variables())
    }
}

/// The real binary, serving. Dropping it kills the process.
pub struct Authpool {
    child: Child,
    /// Where clients are served.
    pub addr: SocketAddr,
    /// Where metrics are served.
    pub admin: SocketAddr,
    /// The configuration's file: write it anew and [`Authpool::signal`] HUP to reload.
    pub config: PathBuf,
    log: Arc<Log>,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    news: Condvar,
}

impl Authpool {
    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn start(config: &str, variables: &[(String, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authpool.toml");
        std::fs::write(&path, config).unwrap();
        let mut child = command()
            .args(["serve", "--config"])
            .arg(&path)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = follow(child.stderr.take().unwrap());
        let addr = log.address(false);
        let admin = log.address(true);
        Self {
            child,
            addr,
            admin,
            config: path,
            log,
            _folder: folder,
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits until a line of the log contains the text, and returns that line.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> String {
        self.log.wait_for(|line| line.contains(text))
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it does not end:\n{}",
                self.log()
            );
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// One figure of `/metrics`: the sum of the series whose line starts so.
    pub fn metric(&self, start: &str) -> f64 {
        let text = client::get_text(self.admin, "/metrics");
        text.lines()
            .filter(|line| line.starts_with(start))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The sum of a metric's series that have these labels, whatever else they have; 0 where there is none.
    pub fn series(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = client::get_text(self.admin, "/metrics");
        let start = format!("{name}{{");
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        text.lines()
            .filter(|line| line.starts_with(&start))
            .filter(|line| labels.iter().all(|label| line.contains(label.as_str())))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }
}

impl Drop for Authpool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("authpool's log:\n{}", self.log());
        }
    }
}

/// The binary, with nothing of the tester's environment that it could read.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authpool"));
    command.env_remove("AUTHPOOL_CONFIG");
    command
}

/// Waits for a state, looking again and again; never longer than [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < PATIENCE,
            "it never came to be that {what}"
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Held by tests that load the machine or measure it, so that they run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // Another such test has failed; that says nothing about this one.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the project's own files are.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn follow(stderr: std::process::ChildStderr) -> Arc<Log> {
    let log = Arc::new(Log::default());
    let writer = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            writer.lines.lock().unwrap().push(line);
            writer.news.notify_all();
        }
        writer.lines.lock().unwrap().push("(end of log)".to_owned());
        writer.news.notify_all();
    });
    log
}

impl Log {
    #[track_caller]
    fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        let mut lines = self.lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = lines.iter().skip(seen).find(|line| wanted(line)) {
                return line.clone();
            }
            seen = lines.len();
            let over = lines.last().is_some_and(|line| line == "(end of log)");
            assert!(
                !over && start.elapsed() < PATIENCE,
                "the line never came:\n{}",
                lines.join("\n")
            );
            lines = self
                .news
                .wait_timeout(lines, Duration::from_millis(100))
                .unwrap()
                .0;
        }
    }

    /// The address in a line that says who listens, whether in text or in JSON.
    #[track_caller]
    fn address(&self, admin: bool) -> SocketAddr {
        let line = self.wait_for(|line| {
            line.contains("listening")
                && line.contains("address")
                && line.contains("admin listening") == admin
        });
        let rest = line.split("address").nth(1).unwrap();
        let rest = rest.trim_start_matches(['"', ':', '=']);
        rest.split(['"', ' ']).next().unwrap().parse().unwrap()
    }
}
