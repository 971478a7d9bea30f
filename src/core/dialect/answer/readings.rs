//! What limit headers say is left: one family a function, equal names told apart by flavour. What follows from a
//! reading is not decided here. Readings that say nothing (no `remaining`, a negative or unreadable one) are
//! none; of two equal headers the smaller `remaining` and the later reset count.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;

use super::times;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::headroom::Headroom;
use crate::core::time::WallTime;

/// How many dimensions of one answer are kept.
const MAX_DIMENSIONS: usize = 24;

/// The dimension that headers without a dimension's name are about.
const UNNAMED: &str = "requests";

/// Which value of a dimension a header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Limit,
    Remaining,
    Reset,
}

/// A dimension while its headers are gathered.
struct Draft {
    dimension: Cow<'static, str>,
    limit: Option<f64>,
    remaining: Option<f64>,
    reset: Option<Duration>,
}

/// The readings of all families, in the order of their first header. At most 24.
pub fn headroom(flavour: Flavour, headers: &HeaderMap, received_at: WallTime) -> Vec<Headroom> {
    let mut drafts = Vec::new();
    let milliseconds = flavour == Flavour::Azure && !states_seconds(headers);
    for (name, value) in headers {
        let name = name.as_str();
        // Nearly all headers go by here: tell them by the few beginnings first.
        if !matches!(name.as_bytes(), [b'a' | b'x' | b'r', ..]) {
            continue;
        }
        let Ok(value) = value.to_str() else { continue };
        if let Some(rest) = name.strip_prefix("anthropic-ratelimit-unified-") {
            unified(&mut drafts, rest, value, received_at);
        } else if let Some((dimension, kind)) = anthropic(name) {
            put(&mut drafts, dimension, kind, value, &|text| {
                times::reset(text, received_at)
            });
        } else if let Some(rest) = name.strip_prefix("x-codex-") {
            codex(&mut drafts, rest, value, received_at);
        } else if let Some((dimension, kind)) = plain(name) {
            put(&mut drafts, dimension, kind, value, &|text| {
                if milliseconds && let Some(number) = times::number(text) {
                    return times::span(number, 1e-3);
                }
                times::reset(text, received_at)
            });
        }
    }
    structured(&mut drafts, headers);
    drafts.into_iter().filter_map(Draft::reading).collect()
}

/// Azure's bare resets are milliseconds on successes; on 429s, which state a wait, seconds have been seen.
pub(super) fn states_seconds(headers: &HeaderMap) -> bool {
    headers.contains_key("retry-after")
        || headers.contains_key("retry-after-ms")
        || headers
            .keys()
            .any(|name| name.as_str().starts_with("x-rate-limit-reset"))
}

impl Draft {
    fn reading(self) -> Option<Headroom> {
        Some(Headroom {
            dimension: self.dimension,
            limit: self.limit,
            remaining: self.remaining?,
            reset: self.reset,
        })
    }
}

/// `anthropic-ratelimit-input-tokens-remaining`, `anthropic-priority-input-tokens-limit`.
fn anthropic(name: &str) -> Option<(Cow<'static, str>, Value)> {
    let (rest, prefix) = match name.strip_prefix("anthropic-ratelimit-") {
        Some(rest) => (rest, ""),
        None => (name.strip_prefix("anthropic-priority-")?, "priority_"),
    };
    let (dimension, kind) = rest.rsplit_once('-')?;
    Some((snake(prefix, dimension), kind_of(kind)?))
}

/// `x-ratelimit-remaining-tokens`, `x-ratelimit-reset`, `ratelimit-limit`.
fn plain(name: &str) -> Option<(Cow<'static, str>, Value)> {
    let rest = name
        .strip_prefix("x-ratelimit-")
        .or_else(|| name.strip_prefix("x-rate-limit-"))
        .or_else(|| name.strip_prefix("ratelimit-"))?;
    if rest == "reset-after" {
        return Some((Cow::Borrowed(UNNAMED), Value::Reset));
    }
    let Some((kind, dimension)) = rest.split_once('-') else {
        return Some((Cow::Borrowed(UNNAMED), kind_of(rest)?));
    };
    Some((snake("", dimension), kind_of(kind)?))
}

fn kind_of(word: &str) -> Option<Value> {
    match word {
        "limit" => Some(Value::Limit),
        "remaining" => Some(Value::Remaining),
        "reset" => Some(Value::Reset),
        _ => None,
    }
}

/// The header's own word in snake case; Mistral's `req` is `requests`.
fn snake(prefix: &str, dimension: &str) -> Cow<'static, str> {
    match (prefix, dimension) {
        ("", "requests") => Cow::Borrowed("requests"),
        ("", "tokens") => Cow::Borrowed("tokens"),
        ("", "input-tokens") => Cow::Borrowed("input_tokens"),
        ("", "output-tokens") => Cow::Borrowed("output_tokens"),
        _ => {
            let words: Vec<&str> = dimension
                .split(['-', '_'])
                .map(|word| if word == "req" { "requests" } else { word })
                .collect();
            Cow::Owned(format!("{prefix}{}", words.join("_")))
        }
    }
}

fn put(
    drafts: &mut Vec<Draft>,
    dimension: Cow<'static, str>,
    kind: Value,
    text: &str,
    reset: &dyn Fn(&str) -> Option<Duration>,
) {
    let Some(draft) = draft(drafts, dimension) else {
        return;
    };
    match kind {
        // Of a list ("100, 100;w=60") the first number counts.
        Value::Limit => {
            let first = text.split([',', ';']).next().unwrap_or_default();
            draft.limit = times::number(first).or(draft.limit);
        }
        Value::Remaining => {
            let number = times::number(text);
            draft.remaining = match (draft.remaining, number) {
                (Some(known), Some(number)) => Some(known.min(number)),
                (known, number) => number.or(known),
            };
        }
        Value::Reset => draft.reset = draft.reset.max(reset(text)),
    }
}

fn draft<'a>(drafts: &'a mut Vec<Draft>, dimension: Cow<'static, str>) -> Option<&'a mut Draft> {
    let known = drafts.iter().position(|draft| draft.dimension == dimension);
    let at = known.unwrap_or(drafts.len());
    if at == MAX_DIMENSIONS {
        return None;
    }
    if known.is_none() {
        drafts.push(Draft {
            dimension,
            limit: None,
            remaining: None,
            reset: None,
        });
    }
    drafts.get_mut(at)
}

/// `anthropic-ratelimit-unified-5h-utilization`: the part of a subscription's window that is used.
fn unified(drafts: &mut Vec<Draft>, rest: &str, value: &str, now: WallTime) {
    let Some((window, kind)) = rest.rsplit_once('-') else {
        return;
    };
    // A threshold's value is a utilisation too, but not the window's.
    if window.ends_with("-surpassed") || !matches!(kind, "utilization" | "reset") {
        return;
    }
    let name = Cow::Owned(format!("unified_{}", window.replace('-', "_")));
    let Some(draft) = draft(drafts, name) else {
        return;
    };
    if kind == "reset" {
        draft.reset = draft.reset.max(times::reset(value, now));
    } else if let Some(used) = times::number(value) {
        draft.limit = Some(1.0);
        draft.remaining = Some((1.0 - used).max(0.0));
    }
}

/// `x-codex-primary-used-percent`: the part of a ChatGPT window that is used.
fn codex(drafts: &mut Vec<Draft>, rest: &str, value: &str, now: WallTime) {
    let Some((window, kind)) = rest.split_once('-') else {
        return;
    };
    let name = match window {
        "primary" => "codex_primary",
        "secondary" => "codex_secondary",
        _ => return,
    };
    let Some(draft) = draft(drafts, Cow::Borrowed(name)) else {
        return;
    };
    match kind {
        "used-percent" => {
            if let Some(used) = times::number(value) {
                draft.limit = Some(100.0);
                draft.remaining = Some((100.0 - used).max(0.0));
            }
        }
        "reset-after-seconds" | "reset-at" => {
            draft.reset = draft.reset.or_else(|| times::reset(value, now));
        }
        _ => {}
    }
}

/// `RateLimit: "name";r=15;t=40` with `RateLimit-Policy: "name";q=100;w=60`; malformed members are ignored.
fn structured(drafts: &mut Vec<Draft>, headers: &HeaderMap) {
    let limits = headers.get_all("ratelimit").iter();
    for member in limits
        .filter_map(|value| value.to_str().ok())
        .flat_map(members)
    {
        let (Some(name), Some(remaining)) = (member_name(member), parameter(member, "r")) else {
            continue;
        };
        let Some(draft) = draft(drafts, Cow::Owned(name.to_owned())) else {
            return;
        };
        draft.remaining = Some(
            draft
                .remaining
                .map_or(remaining, |known| known.min(remaining)),
        );
        let reset = parameter(member, "t").and_then(|seconds| times::span(seconds, 1.0));
        draft.reset = draft.reset.max(reset);
    }
    let policies = headers.get_all("ratelimit-policy").iter();
    for member in policies
        .filter_map(|value| value.to_str().ok())
        .flat_map(members)
    {
        let Some(name) = member_name(member) else {
            continue;
        };
        if let Some(draft) = drafts.iter_mut().find(|draft| draft.dimension == name) {
            draft.limit = parameter(member, "q").or(draft.limit);
        }
    }
}

/// The members of a structured list; commas within quotes separate nothing.
pub(super) fn members(field: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    field
        .split(move |c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// A member's name: a string or a token, followed by parameters and by nothing else.
pub(super) fn member_name(member: &str) -> Option<&str> {
    let (name, parameters) = match member.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => member.split_at_checked(member.find(';')?)?,
    };
    let named = parameters.split(';').skip(1).all(|parameter| {
        parameter
            .trim()
            .starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
    });
    (parameters.starts_with(';') && named && !name.is_empty()).then_some(name)
}

pub(super) fn parameter(member: &str, key: &str) -> Option<f64> {
    let name = member_name(member)?;
    let at = member.find(name)? + name.len();
    member.get(at..)?.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        (name.trim() == key).then(|| times::number(value))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        flavour: Flavour,
        lines: &[(&'static str, &str)],
    ) -> Vec<(String, Option<f64>, f64, Option<f64>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let now = times::instant("2026-10-01T00:00:00Z").unwrap();
        headroom(flavour, &headers, now)
            .into_iter()
            .map(|reading| {
                let reset = reading.reset.map(|reset| reset.as_secs_f64());
                (
                    reading.dimension.into_owned(),
                    reading.limit,
                    reading.remaining,
                    reset,
                )
            })
            .collect()
    }

    fn one(
        dimension: &str,
        limit: Option<f64>,
        remaining: f64,
        reset: Option<f64>,
    ) -> (String, Option<f64>, f64, Option<f64>) {
        (dimension.to_owned(), limit, remaining, reset)
    }

    // Corpus, Headroom; D8.
    #[test]
    fn every_family_of_limit_headers_is_read() {
        assert_eq!(
            read(
                Flavour::Anthropic,
                &[
                    ("anthropic-ratelimit-input-tokens-limit", "50000"),
                    ("anthropic-ratelimit-input-tokens-remaining", "49000"),
                    (
                        "anthropic-ratelimit-input-tokens-reset",
                        "2026-10-01T00:00:05Z"
                    ),
                ]
            ),
            [one("input_tokens", Some(50_000.0), 49_000.0, Some(5.0))]
        );
        assert_eq!(
            read(
                Flavour::Mistral,
                &[("x-ratelimit-remaining-req-10-second", "53")]
            ),
            [one("requests_10_second", None, 53.0, None)]
        );
        assert_eq!(
            read(
                Flavour::ChatGpt,
                &[
                    ("x-codex-primary-used-percent", "75.5"),
                    ("x-codex-primary-reset-after-seconds", "60"),
                ]
            ),
            [one("codex_primary", Some(100.0), 24.5, Some(60.0))]
        );
        assert_eq!(
            read(
                Flavour::Anthropic,
                &[
                    ("anthropic-ratelimit-unified-7d_oi-utilization", "1.02"),
                    (
                        "anthropic-ratelimit-unified-7d_oi-surpassed-threshold",
                        "0.9"
                    ),
                    ("anthropic-ratelimit-unified-7d_oi-reset", "1790812810"),
                    ("anthropic-ratelimit-unified-reset", "1790812810"),
                ]
            ),
            [one("unified_7d_oi", Some(1.0), 0.0, Some(10.0))]
        );
    }

    #[test]
    fn structured_fields_are_joined_by_policy_and_malformed_members_ignored() {
        let lines = [
            (
                "ratelimit-policy",
                "\"fixed window\";\"api\";q=1000;w=300, \"day\";q=5000;w=86400",
            ),
            ("ratelimit", "\"api\";r=999;t=180, \"day\";r=100;t=36000"),
            ("ratelimit", "\"a,b\"; r=1;pk=:AA==:;x, \"broken\";r"),
        ];
        assert_eq!(
            read(Flavour::Generic, &lines),
            [
                one("api", None, 999.0, Some(180.0)),
                one("day", Some(5_000.0), 100.0, Some(36_000.0)),
                one("a,b", None, 1.0, None),
            ]
        );
    }

    #[test]
    fn azures_bare_resets_are_milliseconds_unless_a_wait_is_stated() {
        let lines = [
            ("x-ratelimit-remaining-tokens", "5"),
            ("x-ratelimit-reset-tokens", "500"),
        ];
        assert_eq!(
            read(Flavour::Azure, &lines),
            [one("tokens", None, 5.0, Some(0.5))]
        );
        let stated = [lines[0], lines[1], ("retry-after", "1")];
        assert_eq!(
            read(Flavour::Azure, &stated),
            [one("tokens", None, 5.0, Some(500.0))]
        );
        assert_eq!(
            read(Flavour::OpenAi, &lines),
            [one("tokens", None, 5.0, Some(500.0))]
        );
    }

    #[test]
    fn what_says_nothing_is_no_reading() {
        assert!(
            read(
                Flavour::Azure,
                &[
                    ("x-ratelimit-remaining-tokens", "-1"),
                    ("x-ratelimit-limit-requests", "10"),
                    ("x-ratelimit-remaining-images", "many"),
                    ("x-ratelimit-over-limit", "yes"),
                ]
            )
            .is_empty()
        );
        assert_eq!(
            read(
                Flavour::OpenAi,
                &[
                    ("x-ratelimit-remaining-tokens", "7"),
                    ("x-ratelimit-remaining-tokens", "5"),
                    ("x-ratelimit-reset-tokens", "req_0123"),
                    ("x-ratelimit-reset-tokens", "6ms"),
                ]
            ),
            [one("tokens", None, 5.0, Some(0.006))]
        );
    }
}
