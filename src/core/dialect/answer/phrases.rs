//! The phrases by which a sentence is known, in lower case: what providers write of money, keys, capacity, places,
//! plans and rates. Wide enough for the wordings of one provider over the years; whether a phrase may decide is
//! `judge`'s to say, by status.

use crate::core::limit::scope::Scope;

/// First words of sentences that advise rather than state.
pub(super) const ADVICE: &[&str] = &[
    "please",
    "for",
    "visit",
    "you can",
    "you may",
    "to",
    "need",
    "try",
    "see",
    "learn",
    "contact",
    "consider",
    "upgrade",
    "reduce",
    "subscribe",
    "add",
    "if",
    "read",
    "check",
    "manage",
    "we advise",
    "retry",
    "the input or output tokens must",
    "go to",
    "increase",
];

/// Credits, balances, bills and limits of spending.
pub(super) const MONEY: &[&str] = &[
    "any credits",
    "payment instrument",
    "额度不足",
    "额度已用",
    "预扣费额度失败",
    "credit balance",
    "insufficient balance",
    "insufficient account balance",
    "insufficient credit",
    "insufficient fund",
    "insufficient quota",
    "not enough credit",
    "not enough balance",
    "not enough funds",
    "out of credit",
    "out of funds",
    "all available credits",
    "all of your credits",
    "more credits",
    "included credits",
    "credits are depleted",
    "credits depleted",
    "credits have been",
    "credits exhausted",
    "credit limit",
    "no credits",
    "negative balance",
    "balance is too low",
    "balance is not enough",
    "balance is insufficient",
    "quota is not enough",
    "spending limit",
    "spend limit",
    "spending cap",
    "spend cap",
    "budget has been exceeded",
    "exceeded budget",
    "over budget",
    "budget limit",
    "billing limit",
    "billing hard limit",
    "payment required",
    "payment method",
    "extra usage",
    "key limit exceeded",
    "余额",
    "欠费",
];

/// The provider or the model has no room, or is not there yet.
pub(super) const CAPACITY: &[&str] = &[
    "负载已饱和",
    "访问量过大",
    "服务繁忙",
    "is currently loading",
    "loading model",
    "overloaded",
    "at capacity",
    "no capacity",
    "over capacity",
    "out of capacity",
    "capacity exceeded",
    "insufficient capacity",
    "not enough capacity",
    "capacity constraints",
    "high traffic",
    "too busy",
    "is busy",
    "high demand",
    "high load",
    "heavy load",
    "currently busy",
    "过载",
];

/// What names a key ...
pub(super) const KEY: &[&str] = &[
    "api key",
    "api-key",
    "apikey",
    "access key",
    "auth token",
    "oauth token",
];
/// ... and what is said of one that is refused.
pub(super) const REFUSED: &[&str] = &[
    "incorrect",
    "invalid",
    "not valid",
    "expired",
    "revoked",
    "disabled",
    "deactivated",
    "missing",
    "suspended",
];

/// Whose key it may be ...
pub(super) const OWNER: &[&str] = &["account", "organization", "organisation", "workspace"];
/// ... and what is said of an owner who is barred.
pub(super) const BARRED: &[&str] = &[
    "restricted",
    "disabled",
    "suspended",
    "deactivated",
    "banned",
    "blocked",
    "terminated",
];

/// The place that the request comes from is refused, not the key.
pub(super) const REGION: &[&str] = &[
    "virtual network",
    "public access is disabled",
    "network settings",
    "region, or territory",
    "country, region",
    "in your country",
    "in your region",
    "unsupported country",
    "unsupported region",
    "location is not supported",
    "not available in your location",
];

/// What a 403 says that concerns the request's content or a thing that it names.
pub(super) const REQUEST: &[&str] = &[
    "context length",
    "usage guidelines",
    "flagged",
    "request blocked",
    "moderation",
    "content policy",
    "not found",
    "or it may not exist",
    "does not exist",
];

/// What is said of a request that is larger than its allowance, so that no wait helps.
pub(super) const TOO_LARGE: &[&str] = &[
    "request too large",
    "request is too large",
    "larger than the limit",
];

/// What is said where the connection behind a gateway failed.
pub(super) const CONNECT: &[&str] = &[
    "upstream connect error",
    "no healthy upstream",
    "connection refused",
    "connection failure",
    "connect timeout",
    "upstream request timeout",
];

/// A plan's own window is spent, in the words that subscriptions use.
pub(super) const PLAN: &[&str] = &[
    "usage limit",
    "exhausted your capacity",
    "quota will reset",
    "call volume quota",
    "使用上限",
];

/// It speaks of a rate, where the status does not.
pub(super) const RATE: &[&str] = &[
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "abuse detection",
];

/// Beginnings of names of models, followed by a digit or a hyphen.
pub(super) const FAMILIES: &[&str] = &[
    "gpt",
    "text-davinci",
    "chatgpt",
    "claude",
    "gemini",
    "gemma",
    "llama",
    "mistral",
    "mixtral",
    "codestral",
    "ministral",
    "magistral",
    "devstral",
    "pixtral",
    "grok",
    "deepseek",
    "qwen",
    "command",
    "kimi",
    "moonshot",
    "glm",
    "sonar",
    "embedding",
    "text-embedding",
    "embed",
    "dall-e",
    "whisper",
    "tts",
    "codex",
    "phi",
    "nova",
    "titan",
    "o1",
    "o3",
    "o4",
];

/// Windows as Chinese providers name them.
pub(super) const CHINESE_WINDOWS: &[(&str, Scope)] = &[
    ("每分钟", Scope::MINUTE),
    ("分钟内", Scope::MINUTE),
    ("5 小时", Scope::FIVE_HOUR),
    ("5小时", Scope::FIVE_HOUR),
    ("今日", Scope::DAY),
    ("每日", Scope::DAY),
    ("每天", Scope::DAY),
    ("每周", Scope::WEEK),
    ("每月", Scope::MONTH),
];

/// Words side by side that say: requests are counted.
pub(super) const REQUESTS: &[&[&str]] = &[
    &["number", "of", "requests"],
    &["requests", "per"],
    &["request", "per"],
    &["requests", "/"],
    &["request", "limit"],
    &["requests", "limit"],
    &["request", "rate"],
    &["requests", "rate"],
    &["call", "rate"],
    &["api", "calls"],
    &["calls", "per"],
    &["call", "volume"],
    &["many", "requests"],
    &["models", "per"],
    &["rpm"],
    &["rpd"],
    &["rps"],
];

/// What is under way at once is counted.
pub(super) const CONCURRENCY: &[&[&str]] = &[
    &["parallel", "request"],
    &["parallel", "requests"],
    &["in", "flight"],
    &["too", "many", "connections"],
];

/// The limit is an organisation's.
pub(super) const PER_ORG: &[&[&str]] = &[&["organization"], &["organisation"], &["for", "team"]];

/// The limit is the key's, or its account's.
pub(super) const PER_CREDENTIAL: &[&[&str]] = &[
    &["account", "s", "rate"],
    &["account", "rate", "limit"],
    &["trial", "key"],
    &["key", "limit"],
    &["your", "api", "key"],
    &["this", "api", "key"],
    &["for", "api", "key"],
    &["per", "key"],
    &["this", "key"],
    &["installation", "id"],
    &["user", "id"],
    &["per", "user"],
];

/// The limit is an address's.
pub(super) const PER_IP: &[&[&str]] = &[
    &["ip", "address"],
    &["your", "ip"],
    &["per", "ip"],
    &["this", "ip"],
];
