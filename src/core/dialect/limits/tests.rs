//! The writer against the forms that providers' answers have in the corpus.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::*;
use crate::core::dialect::answer::{instant, readings};
use crate::core::limit::reading::Readings;

const CORPUS: &str = include_str!("../../../../tests/corpus/responses.jsonl");

const EMPTY: PoolRoom = PoolRoom::NONE;

fn reading(limit: f64, remaining: f64, full_in: f64) -> Option<PoolReading> {
    Some(PoolReading {
        limit,
        remaining,
        full_in: Duration::from_secs_f64(full_in),
    })
}

fn window(remaining: f64, reset: Option<u64>) -> Option<WindowReading> {
    Some(WindowReading {
        remaining,
        reset: reset.map(Duration::from_secs),
    })
}

fn lines(dialect: Dialect, flavour: Flavour, room: &PoolRoom, now: WallTime) -> Vec<String> {
    limit_headers(dialect, flavour, room, now)
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect()
}

#[track_caller]
fn check(dialect: Dialect, flavour: Flavour, room: &PoolRoom, expected: &str) {
    let now = instant("2026-08-19T14:34:12.5Z").unwrap();
    let expected = expected.lines().map(str::trim);
    let expected: Vec<&str> = expected.filter(|line| !line.is_empty()).collect();
    assert_eq!(lines(dialect, flavour, room, now), expected);
}

// D9
#[test]
fn anthropics_limits_are_told_as_anthropic_tells_them() {
    check(
        Dialect::Anthropic,
        Flavour::Anthropic,
        &PoolRoom {
            dimensions: [
                reading(150.0, 148.7, 0.7),
                reading(2_000_000.0, 1_998_600.0, 0.0),
                reading(400_000.0, 200_000.0, 30.0),
                None,
            ],
            ..EMPTY
        },
        "
        anthropic-ratelimit-requests-limit: 150
        anthropic-ratelimit-requests-remaining: 148
        anthropic-ratelimit-requests-reset: 2026-08-19T14:34:14Z
        anthropic-ratelimit-input-tokens-limit: 2000000
        anthropic-ratelimit-input-tokens-remaining: 1999000
        anthropic-ratelimit-input-tokens-reset: 2026-08-19T14:34:13Z
        anthropic-ratelimit-output-tokens-limit: 400000
        anthropic-ratelimit-output-tokens-remaining: 200000
        anthropic-ratelimit-output-tokens-reset: 2026-08-19T14:34:43Z
        anthropic-ratelimit-tokens-limit: 2400000
        anthropic-ratelimit-tokens-remaining: 2199000
        anthropic-ratelimit-tokens-reset: 2026-08-19T14:34:43Z
        ",
    );
    // A limit of one kind alone makes no limit of both.
    check(
        Dialect::Anthropic,
        Flavour::Anthropic,
        &PoolRoom {
            dimensions: [None, None, reading(1_500.0, 1_500.0, 0.0), None],
            ..EMPTY
        },
        "
        anthropic-ratelimit-output-tokens-limit: 1500
        anthropic-ratelimit-output-tokens-remaining: 1500
        anthropic-ratelimit-output-tokens-reset: 2026-08-19T14:34:13Z
        ",
    );
}

#[test]
fn windows_are_told_as_claudes_subscriptions_tell_them() {
    check(
        Dialect::Anthropic,
        Flavour::ClaudeSubscription,
        &PoolRoom {
            windows: [window(0.98, Some(100)), window(0.263, Some(1_000))],
            ..EMPTY
        },
        "
        anthropic-ratelimit-unified-status: allowed
        anthropic-ratelimit-unified-reset: 1787150153
        anthropic-ratelimit-unified-representative-claim: five_hour
        anthropic-ratelimit-unified-5h-status: allowed
        anthropic-ratelimit-unified-5h-utilization: 0.02
        anthropic-ratelimit-unified-5h-reset: 1787150153
        anthropic-ratelimit-unified-7d-status: allowed
        anthropic-ratelimit-unified-7d-utilization: 0.737
        anthropic-ratelimit-unified-7d-reset: 1787151053
        ",
    );
    check(
        Dialect::Anthropic,
        Flavour::ClaudeSubscription,
        &PoolRoom {
            windows: [window(0.0001, None), window(0.0, Some(1_000))],
            ..EMPTY
        },
        "
        anthropic-ratelimit-unified-status: rejected
        anthropic-ratelimit-unified-reset: 1787151053
        anthropic-ratelimit-unified-representative-claim: seven_day
        anthropic-ratelimit-unified-5h-status: allowed
        anthropic-ratelimit-unified-5h-utilization: 0.999
        anthropic-ratelimit-unified-7d-status: rejected
        anthropic-ratelimit-unified-7d-utilization: 1.0
        anthropic-ratelimit-unified-7d-reset: 1787151053
        ",
    );
}

#[test]
fn openais_limits_are_told_as_openai_tells_them() {
    check(
        Dialect::OpenAi,
        Flavour::OpenAi,
        &PoolRoom {
            dimensions: [
                reading(10_000.0, 9_999.0, 0.0055),
                reading(1.0, 1.0, 0.0),
                None,
                reading(30_000_000.0, 29_998_186.9, 360.0),
            ],
            ..EMPTY
        },
        "
        x-ratelimit-limit-requests: 10000
        x-ratelimit-remaining-requests: 9999
        x-ratelimit-reset-requests: 6ms
        x-ratelimit-limit-tokens: 30000000
        x-ratelimit-remaining-tokens: 29998186
        x-ratelimit-reset-tokens: 6m0s
        ",
    );
    check(
        Dialect::OpenAi,
        Flavour::ChatGpt,
        &PoolRoom {
            windows: [window(0.245, Some(60)), window(0.0, None)],
            ..EMPTY
        },
        "
        x-codex-primary-window-minutes: 300
        x-codex-primary-used-percent: 75.5
        x-codex-primary-reset-after-seconds: 60
        x-codex-secondary-window-minutes: 10080
        x-codex-secondary-used-percent: 100
        ",
    );
}

#[test]
fn a_dialect_without_headers_of_its_own_tells_nothing() {
    let room = PoolRoom {
        dimensions: [reading(5_000.0, 4_931.0, 3_600.0), None, None, None],
        windows: [window(0.5, None), None],
    };
    check(Dialect::Generic, Flavour::Generic, &room, "");
    check(
        Dialect::Generic,
        Flavour::GitHub,
        &room,
        "
        x-ratelimit-limit: 5000
        x-ratelimit-remaining: 4931
        x-ratelimit-reset: 1787153653
        ",
    );
    for dialect in [Dialect::Anthropic, Dialect::OpenAi, Dialect::Generic] {
        check(dialect, Flavour::GitHub, &EMPTY, "");
    }
}

/// A pool of the one subscription that told this.
fn alone(readings: &Readings) -> PoolRoom {
    PoolRoom {
        dimensions: readings.dimensions.map(|reading| {
            let reading = reading?;
            Some(PoolReading {
                limit: reading.limit,
                remaining: reading.remaining,
                full_in: reading.reset.unwrap_or_default(),
            })
        }),
        windows: readings.windows,
    }
}

// A pool of one tells what its subscription told, in the same words; but resets that were past are now, those of
// windows are always epochs, and there is no warning.
#[test]
fn a_pool_of_one_tells_what_was_recorded() {
    let mut told = 0;
    for line in CORPUS.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let flavour = Flavour::parse(case["provider"].as_str().unwrap());
        let (dialect, flavour) = match flavour {
            Some(it @ (Flavour::Anthropic | Flavour::ClaudeSubscription)) => {
                (Dialect::Anthropic, it)
            }
            Some(it @ Flavour::OpenAi) => (Dialect::OpenAi, it),
            _ => continue,
        };
        if case["status"] != 200 {
            continue;
        }
        let mut recorded = HeaderMap::new();
        for pair in case["headers"].as_array().unwrap() {
            let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
            recorded.append(name, pair[1].as_str().unwrap().parse().unwrap());
        }
        let now = instant(case["received_at"].as_str().unwrap()).unwrap();
        let room = alone(&readings(flavour, &recorded, now));
        for (name, value) in limit_headers(dialect, flavour, &room, now) {
            let Some(original) = recorded.get(&name) else {
                continue;
            };
            let (original, value) = (original.to_str().unwrap(), value.to_str().unwrap());
            if name.as_str().ends_with("-utilization") {
                assert_eq!(value.parse::<f64>(), original.parse::<f64>(), "{name}");
            } else if let (Some(original), Some(value)) = (instant(original), instant(value)) {
                assert_eq!(value, original.max(now), "{name}");
            } else if instant(original).is_none() && original != "allowed_warning" {
                assert_eq!(value, original, "{name} of {}", case["id"]);
            }
            told += 1;
        }
    }
    assert!(60 < told, "{told}");
}
