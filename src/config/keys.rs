//! Every key of the file, by its table. What is not in here is refused; a key comes with its behaviour, never before.

/// Of the file itself.
pub const ROOT: &[&str] = &[
    "server",
    "admin",
    "provider",
    "subscription",
    "pool",
    "route",
    "client",
    "sessions",
    "rule",
];
/// `[server]`.
pub const SERVER: &[&str] = &[
    "listen",
    "tls",
    "workers",
    "drain",
    "body_limit",
    "body_memory",
    "max_connections",
    "expose",
    "log",
];
/// `server.tls`.
pub const TLS: &[&str] = &["cert", "key"];
/// `server.log`.
pub const LOG: &[&str] = &["level", "format"];
/// `[admin]`.
pub const ADMIN: &[&str] = &["listen"];
/// `[[provider]]`.
pub const PROVIDER: &[&str] = &[
    "id",
    "dialect",
    "flavour",
    "base_url",
    "auth",
    "ca",
    "roots",
    "insecure",
    "connect",
    "first_byte",
    "idle",
    "total",
    "keep_alive",
    "allow_paths",
    "pass_headers",
    "limit_groups",
];
/// `provider.auth`.
pub const AUTH: &[&str] = &["header", "scheme"];
/// `provider.ca`.
pub const CA: &[&str] = &["file"];
/// `[[subscription]]`.
pub const SUBSCRIPTION: &[&str] = &[
    "id",
    "provider",
    "credential",
    "domain",
    "enabled",
    "priority",
    "max_in_flight",
    "models",
    "deny_models",
    "weight",
    "limits",
];
/// Of `subscription.limits`, each.
pub const LIMIT: &[&str] = &["dimension", "per", "limit", "models"];
/// `subscription.credential`.
pub const CREDENTIAL: &[&str] = &["env", "file"];
/// `[[pool]]`.
pub const POOL: &[&str] = &[
    "id",
    "subscriptions",
    "max_wait",
    "max_waiting",
    "max_attempts",
    "session_headers",
    "stick_wait",
    "default_owner",
    "limit_headers",
    "strategy",
    "fallback",
    "fallback_after",
    "model_aliases",
];
/// `[[route]]`.
pub const ROUTE: &[&str] = &[
    "pool",
    "host",
    "path_prefix",
    "models",
    "clients",
    "resend_unknown",
];
/// `[[client]]`.
pub const CLIENT: &[&str] = &[
    "id",
    "key",
    "tenant",
    "pools",
    "models",
    "requests_per_minute",
    "tokens_per_minute",
    "max_in_flight",
    "priority",
    "may_pin",
];
/// `client.key`.
pub const KEY: &[&str] = &["env", "file", "sha256"];
/// `[sessions]`.
pub const SESSIONS: &[&str] = &["max"];
/// `[[rule]]`.
pub const RULE: &[&str] = &[
    "providers",
    "status",
    "headers",
    "body",
    "verdict",
    "scope",
    "wait",
];
