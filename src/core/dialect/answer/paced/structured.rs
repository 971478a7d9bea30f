//! The IETF's `RateLimit` fields: policies by name, with the window's length and what is left. They speak of windows,
//! not of buckets, and of requests unless a policy says otherwise.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::figures::{self, Draft, Rounding};
use super::times;
use crate::core::dialect::answer::readings::{member_name, members, parameter};
use crate::core::limit::reading::{Dimension, Reading, Readings, Refill};
use crate::core::time::WallTime;

/// How many members of a field are looked at.
const MAX_MEMBERS: usize = 8;

pub(super) fn readings(headers: &HeaderMap, now: WallTime) -> Readings {
    let mut readings = Readings::NONE;
    for limit in list(headers, "ratelimit") {
        figures::keep(
            &mut readings,
            Dimension::Requests,
            by_policy(headers, limit),
        );
    }
    if readings.is_empty() {
        let reading = ["ratelimit", "x-ratelimit"]
            .into_iter()
            .find_map(|family| older(headers, family, now));
        figures::keep(&mut readings, Dimension::Requests, reading);
    }
    readings
}

/// `RateLimit: "hour";r=15;t=40` with `RateLimit-Policy: "hour";q=100;w=3600`.
fn by_policy(headers: &HeaderMap, limit: &str) -> Option<Reading> {
    let name = member_name(limit)?;
    let policy =
        list(headers, "ratelimit-policy").find(|policy| member_name(policy) == Some(name))?;
    if policy.contains("qu=") {
        return None;
    }
    let draft = Draft {
        limit: parameter(policy, "q"),
        remaining: parameter(limit, "r"),
        reset: times::span(parameter(limit, "t")?, 1.0),
    };
    window(draft, parameter(policy, "w")?)
}

/// `RateLimit-Limit: 100, 100;w=60` with `RateLimit-Remaining` and `RateLimit-Reset`.
fn older(headers: &HeaderMap, family: &str, now: WallTime) -> Option<Reading> {
    let [limit, remaining, reset] = match family {
        "ratelimit" => ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
        _ => [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ],
    };
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let draft = Draft {
        limit: value(limit).and_then(figures::limit),
        remaining: value(remaining).and_then(figures::number),
        reset: value(reset).and_then(|value| figures::reset(value, now)),
    };
    draft.reset?;
    // The first member is the limit that is closest; the window is that of the policy with the same size.
    let stated = draft.limit?;
    let policy = list(headers, limit)
        .find(|member| member.contains(';') && figures::limit(member.as_bytes()) == Some(stated))?;
    window(draft, parameter(policy, "w")?)
}

fn window(draft: Draft, seconds: f64) -> Option<Reading> {
    let length = times::span(seconds, 1.0).filter(|length| *length > Duration::ZERO)?;
    draft.reading(Rounding::Exact, length, Refill::AtReset)
}

/// The members of a list, over all fields of the name.
fn list<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(members)
        .take(MAX_MEMBERS)
}
