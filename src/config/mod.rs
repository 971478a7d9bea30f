//! `Config`: valid by construction. What the file may say is `wire`'s, what of it makes sense is that of `rules`;
//! which files, variables and cores exist is an argument, [`Surroundings`]. Keeps O1: unknown keys are refused, all
//! faults are told at once, secrets are named and not written.

mod base_url;
mod fault;
mod glob;
pub mod keys;
mod load;
mod rules;
mod surroundings;
mod value;
mod wire;
mod word;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::choice::strategy::Strategy;
use crate::core::dialect::Dialect;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::reading::Dimension;
use crate::core::limit::rules::Rule;
use crate::core::pools::Priority;
use crate::secret::{Credential, Secret};

pub use base_url::is_refused;
pub use fault::{ConfigError, Fault};
pub use load::path;
pub use surroundings::{Machine, Surroundings};
pub use word::{duration, is_id};

/// The whole configuration, with its references resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[admin]`; `None`: no admin listener.
    pub admin: Option<AdminConfig>,
    /// `[[provider]]`, in file order.
    pub providers: Vec<Arc<ProviderConfig>>,
    /// `[[subscription]]`, in file order.
    pub subscriptions: Vec<SubscriptionConfig>,
    /// `[[pool]]`, in file order; at least one.
    pub pools: Vec<PoolConfig>,
    /// `[[route]]`, in file order. Never empty: without any in the file, one per pool that matches everything of
    /// its dialect (`implied`).
    pub routes: Vec<RouteConfig>,
    /// `[[client]]`. Empty: the listener asks for no key, which only a loopback listener may do.
    pub clients: Vec<ClientConfig>,
    /// `[sessions]`.
    pub sessions: SessionsConfig,
    /// `[[rule]]`, in file order.
    pub rules: Vec<RuleConfig>,
}

/// What of the file says how answers are read.
#[derive(Clone, Debug)]
pub struct ReadingConfig {
    /// `[[provider]]`, in file order.
    pub providers: Vec<Arc<ProviderConfig>>,
    /// `[[rule]]`, in file order.
    pub rules: Vec<RuleConfig>,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// At least one; several listeners serve alike.
    pub listen: Vec<SocketAddr>,
    /// `None`: cleartext.
    pub tls: Option<ServerTls>,
    /// Data threads.
    pub workers: NonZeroUsize,
    /// How long streams may go on after a stop was asked for.
    pub drain: Duration,
    /// The largest request body in bytes.
    pub body_limit: u64,
    /// What all held request bodies together may take, in bytes.
    pub body_memory: u64,
    /// Client connections of the whole process.
    pub max_connections: NonZeroU32,
    /// What answers tell of how they were made.
    pub expose: Expose,
    /// Level and form of the log.
    pub log: LogConfig,
}

/// Certificate chain and key as read from their files: PEM.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The chain, leaf first.
    pub cert: PemFile,
    /// Its private key.
    pub key: PemFile,
}

/// A file that was readable when the configuration was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// For messages.
    pub path: PathBuf,
    /// Its content.
    pub content: Secret,
}

/// `server.expose`: `subscription`, `attempts`, `server-timing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expose {
    /// `x-authpool-subscription`.
    pub subscription: bool,
    /// `x-authpool-attempts`.
    pub attempts: bool,
    /// `server-timing`.
    pub server_timing: bool,
}

/// `server.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `error` .. `trace`.
    pub level: tracing::Level,
    /// JSON lines instead of text.
    pub json: bool,
}

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where metrics and health are served.
    pub listen: SocketAddr,
}

/// `[[provider]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Its id.
    pub id: Arc<str>,
    /// Its language.
    pub dialect: Dialect,
    /// From `flavour`, else by host, else the dialect's own.
    pub flavour: Flavour,
    /// Where requests go.
    pub base_url: BaseUrl,
    /// `ca = { file }`: trusted instead of the roots.
    pub ca: Option<PemFile>,
    /// `roots = "system"` instead of the bundled ones.
    pub system_roots: bool,
    /// Limit of connecting; TLS has the same again.
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Between two reads of an answer.
    pub idle: Duration,
    /// Of one attempt in all.
    pub total: Duration,
    /// How long an unused connection is kept; at most 30 s.
    pub keep_alive: Duration,
    /// Paths opened by the operator.
    pub allow_paths: Vec<AllowedPath>,
    /// Request headers that pass though K7 names them; lower case.
    pub pass_headers: Vec<http::HeaderName>,
    /// Named groups of model globs, in file order: the first match wins over the dialect's own table.
    pub limit_groups: Vec<(String, Vec<Glob>)>,
}

/// A parsed `base_url`: `http` or `https`, no user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: Box<str>,
    /// With the scheme's default filled in.
    pub port: u16,
    /// As the `host` header carries it: the port only where it is not the default.
    pub authority: Box<str>,
    /// Without a trailing slash; empty for the root.
    pub path: Box<str>,
}

/// `allow_paths`: `GET /v1/x/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPath {
    /// The one method.
    pub method: http::Method,
    /// A glob over the path.
    pub path: Glob,
}

/// A pattern in which `*` stands for any run of characters; nothing else is special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub Box<str>);

/// `[[subscription]]`.
#[derive(Clone, Debug)]
pub struct SubscriptionConfig {
    /// Its id.
    pub id: Arc<str>,
    /// Whose it is.
    pub provider: Arc<ProviderConfig>,
    /// Ready to inject.
    pub credential: Credential,
    /// The quota domain: as configured, else its own id.
    pub domain: Arc<str>,
    /// Whether the domain was named in the file.
    pub domain_named: bool,
    /// `false`: never chosen.
    pub enabled: bool,
    /// Lower first.
    pub priority: i32,
    /// In-flight cap, 1..10,000; `None`: none.
    pub max_in_flight: Option<u32>,
    /// Allowed models.
    pub models: Vec<Glob>,
    /// Denied models; they win.
    pub deny_models: Vec<Glob>,
    /// Its share of a `weighted` pool, 1..1,000.
    pub weight: NonZeroU16,
    /// The limits of its quota domain, as far as they are told.
    pub limits: Vec<LimitConfig>,
}

/// One of `subscription.limits`.
#[derive(Clone, Debug)]
pub struct LimitConfig {
    /// What is counted.
    pub dimension: Dimension,
    /// A second, minute, hour or day.
    pub per: Duration,
    /// How much in that time, at most 10^12.
    pub limit: NonZeroU64,
    /// The models that share it.
    pub models: Vec<Glob>,
}

/// `[[pool]]`.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its id.
    pub id: Arc<str>,
    /// The dialect of all its subscriptions.
    pub dialect: Dialect,
    /// Ids of its subscriptions; at least one, each defined.
    pub subscriptions: Vec<Arc<str>>,
    /// The longest wait of a request, from its arrival.
    pub max_wait: Duration,
    /// All waiters of the pool together.
    pub max_waiting: usize,
    /// Tries by (b) and (c) of C8, the first counted.
    pub max_attempts: u8,
    /// Further headers that name a session; lower case.
    pub session_headers: Vec<http::HeaderName>,
    /// How long a warm session waits for its subscription.
    pub stick_wait: Duration,
    /// Who serves response ids that we never saw.
    pub default_owner: Option<Arc<str>>,
    /// What its clients see of limits.
    pub limit_headers: LimitHeaders,
    /// How it chooses among what is open.
    pub strategy: Strategy,
    /// Positions in [`Config::pools`] of those that its requests may fall back to, in the order in which they are
    /// asked: its own list, then the lists of those, and so on; each once, never itself, all of its dialect.
    pub fallback: Vec<usize>,
    /// While this pool frees within so long from a request's arrival, the request stays.
    pub fallback_after: Duration,
    /// In file order; the first that matches the model asked for names the one that is sent.
    pub model_aliases: Vec<(Glob, Arc<str>)>,
}

/// What clients see of limits in the heads of answers (D9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHeaders {
    /// What the whole pool has left, in the headers of its dialect.
    #[default]
    Pool,
    /// What the provider said of the subscription that served.
    Upstream,
    /// Nothing.
    Strip,
}

impl LimitHeaders {
    /// All, in the order in which faults name them.
    pub const ALL: [Self; 3] = [Self::Pool, Self::Upstream, Self::Strip];

    /// As the file writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Upstream => "upstream",
            Self::Strip => "strip",
        }
    }
}

/// `[[route]]`.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Where it leads: a position in `Config::pools`.
    pub pool: usize,
    /// Exact host without port, lower case; `None`: any.
    pub host: Option<Box<str>>,
    /// Matches whole segments and is stripped; `/` or `/a/b` without a trailing slash.
    pub path_prefix: Arc<str>,
    /// Models it takes.
    pub models: Vec<Glob>,
    /// Clients it takes, by id.
    pub clients: Vec<Glob>,
    /// C8 (e): resend though the outcome is unknown.
    pub resend_unknown: bool,
    /// Made because the file has no route: answers only paths of its pool's dialect.
    pub implied: bool,
}

/// `[[client]]`.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its id.
    pub id: Arc<str>,
    /// How its key is known.
    pub key: ClientKey,
    /// Shares handles with the clients of the same tenant.
    pub tenant: Option<Arc<str>>,
    /// Pools it may use.
    pub pools: Vec<Glob>,
    /// Models it may use.
    pub models: Vec<Glob>,
    /// `None`: unlimited.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Input and output together; `None`: unlimited.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Requests at once; `None`: unlimited.
    pub max_in_flight: Option<NonZeroU32>,
    /// Its class in the waiting room; a request may only lower it.
    pub priority: Priority,
    /// Whether its requests may name their subscription.
    pub may_pin: bool,
}

/// A client's key as the file gives it.
#[derive(Clone)]
pub enum ClientKey {
    /// `env` or `file`.
    Plain(Secret),
    /// `sha256`: the digest of the key's bytes.
    Sha256([u8; 32]),
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientKey")
    }
}

/// `[sessions]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsConfig {
    /// Remembered sessions; allocated at start.
    pub max: NonZeroU32,
}

/// `[[rule]]`.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// Whose answers it is for, by the provider's id.
    pub providers: Vec<Glob>,
    /// What it asks and decides.
    pub rule: Arc<Rule>,
}

impl RuleConfig {
    /// Whether it is for the answers of this provider.
    pub fn covers(&self, provider: &str) -> bool {
        self.providers.iter().any(|glob| glob.matches(provider))
    }
}
