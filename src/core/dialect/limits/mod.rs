//! What a pool has left, in its dialect's own headers (D9), so that SDKs and Claude Code show it as if the pool were
//! one account. What is left is told by the pools, and whether a client is told at all by the pool's `limit_headers`.
//! Law: nothing is invented. A figure that no subscription told has no header.

mod write;

use http::{HeaderName, HeaderValue};

use self::write::Lines;
use super::Dialect;
use super::flavour::Flavour;
use crate::core::limit::reading::{Dimension, PoolReading, PoolRoom, Window, WindowReading};
use crate::core::time::WallTime;

/// The names of one limit's limit, remaining and reset.
type Names = [HeaderName; 3];

macro_rules! names {
    ($($name:literal),+ $(,)?) => {
        [$(HeaderName::from_static($name)),+]
    };
}

static ANTHROPIC: [(Dimension, Names); 3] = [
    (
        Dimension::Requests,
        names![
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
    ),
    (
        Dimension::InputTokens,
        names![
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
    ),
    (
        Dimension::OutputTokens,
        names![
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
    ),
];

static ANTHROPIC_TOKENS: Names = names![
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
];

/// Status, reset and representative claim of all windows together.
static UNIFIED: Names = names![
    "anthropic-ratelimit-unified-status",
    "anthropic-ratelimit-unified-reset",
    "anthropic-ratelimit-unified-representative-claim",
];

/// A window's claim; its status, utilisation and reset.
static UNIFIED_WINDOWS: [(Window, &str, Names); 2] = [
    (
        Window::FiveHours,
        "five_hour",
        names![
            "anthropic-ratelimit-unified-5h-status",
            "anthropic-ratelimit-unified-5h-utilization",
            "anthropic-ratelimit-unified-5h-reset",
        ],
    ),
    (
        Window::Week,
        "seven_day",
        names![
            "anthropic-ratelimit-unified-7d-status",
            "anthropic-ratelimit-unified-7d-utilization",
            "anthropic-ratelimit-unified-7d-reset",
        ],
    ),
];

static OPENAI: [(Dimension, Names); 2] = [
    (
        Dimension::Requests,
        names![
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
    ),
    (
        Dimension::Tokens,
        names![
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
        ],
    ),
];

/// A ChatGPT window's length in minutes; its length, use and reset.
static CODEX: [(Window, &str, Names); 2] = [
    (
        Window::FiveHours,
        "300",
        names![
            "x-codex-primary-window-minutes",
            "x-codex-primary-used-percent",
            "x-codex-primary-reset-after-seconds",
        ],
    ),
    (
        Window::Week,
        "10080",
        names![
            "x-codex-secondary-window-minutes",
            "x-codex-secondary-used-percent",
            "x-codex-secondary-reset-after-seconds",
        ],
    ),
];

static GITHUB: Names = names![
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

/// The most lines that one answer gets: four limits and the windows of Anthropic's.
const MOST_LINES: usize = 21;

/// What the client is told of its pool: each name once. `flavour`: of the pool's providers; it tells which form a
/// generic pool's clients know, if any. Resets count from `now` and are rounded up, but for a tenth of a second: what they
/// promise is true by then.
pub fn limit_headers(
    dialect: Dialect,
    flavour: Flavour,
    room: &PoolRoom,
    now: WallTime,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
    let mut lines = Lines::new(now);
    if !room.is_empty() {
        match dialect {
            Dialect::Anthropic => anthropic(&mut lines, room),
            Dialect::OpenAi => openai(&mut lines, room),
            Dialect::Generic if flavour == Flavour::GitHub => github(&mut lines, room),
            Dialect::Generic => {}
        }
    }
    lines.into_headers()
}

fn anthropic(lines: &mut Lines, room: &PoolRoom) {
    for (dimension, names) in &ANTHROPIC {
        if let Some(reading) = room.dimension(*dimension) {
            let is_rounded = *dimension != Dimension::Requests;
            bucket(lines, names, reading, is_rounded);
        }
    }
    if let Some(tokens) = tokens(room) {
        bucket(lines, &ANTHROPIC_TOKENS, tokens, true);
    }
    unified(lines, room);
}

/// Of both kinds together, where they are told apart, Anthropic states the sum.
fn tokens(room: &PoolRoom) -> Option<PoolReading> {
    room.dimension(Dimension::Tokens).or_else(|| {
        let input = room.dimension(Dimension::InputTokens)?;
        let output = room.dimension(Dimension::OutputTokens)?;
        Some(PoolReading {
            limit: input.limit + output.limit,
            remaining: input.remaining + output.remaining,
            full_in: input.full_in.max(output.full_in),
        })
    })
}

/// `is_rounded`: what is left is told to the nearest thousand, as Anthropic does with tokens.
fn bucket(lines: &mut Lines, names: &'static Names, reading: PoolReading, is_rounded: bool) {
    let [limit, remaining, reset] = names;
    let left = if is_rounded {
        ((reading.remaining / 1_000.0).round() * 1_000.0).min(reading.limit)
    } else {
        reading.remaining
    };
    lines.number(limit, reading.limit);
    lines.number(remaining, left);
    lines.instant(reset, reading.full_in);
}

fn is_spent(window: WindowReading) -> bool {
    window.remaining <= 0.0
}

fn unified(lines: &mut Lines, room: &PoolRoom) {
    let told = UNIFIED_WINDOWS
        .iter()
        .filter_map(|(window, claim, names)| Some((room.window(*window)?, *claim, names)));
    let spent = told.clone().filter(|(window, ..)| is_spent(*window));
    // Of what is spent the last to come back; else the five hours first, as Anthropic's own answers have it.
    let representative = spent
        .max_by_key(|(window, ..)| window.reset)
        .or_else(|| told.clone().next());
    let Some((window, claim, _)) = representative else {
        return;
    };
    let word = |window| {
        if is_spent(window) {
            "rejected"
        } else {
            "allowed"
        }
    };
    let [status, reset, representative_claim] = &UNIFIED;
    lines.word(status, word(window));
    if let Some(until) = window.reset {
        lines.epoch(reset, until);
    }
    lines.word(representative_claim, claim);
    for (window, _, [status, utilization, reset]) in told {
        lines.word(status, word(window));
        lines.share(utilization, used(window), 1);
        if let Some(until) = window.reset {
            lines.epoch(reset, until);
        }
    }
}

/// The share that is used in thousandths; all of it only where the window is spent.
fn used(window: WindowReading) -> u64 {
    let used = ((1.0 - window.remaining) * 1_000.0).round() as u64;
    if is_spent(window) {
        1_000
    } else {
        used.min(999)
    }
}

fn openai(lines: &mut Lines, room: &PoolRoom) {
    for (dimension, [limit, remaining, reset]) in &OPENAI {
        if let Some(reading) = room.dimension(*dimension) {
            lines.number(limit, reading.limit);
            lines.number(remaining, reading.remaining);
            lines.duration(reset, reading.full_in);
        }
    }
    for (window, minutes, [length, used_percent, reset]) in &CODEX {
        if let Some(window) = room.window(*window) {
            lines.word(length, minutes);
            lines.share(used_percent, used(window) * 100, 0);
            if let Some(until) = window.reset {
                lines.seconds(reset, until);
            }
        }
    }
}

fn github(lines: &mut Lines, room: &PoolRoom) {
    let [limit, remaining, reset] = &GITHUB;
    if let Some(reading) = room.dimension(Dimension::Requests) {
        lines.number(limit, reading.limit);
        lines.number(remaining, reading.remaining);
        lines.epoch(reset, reading.full_in);
    }
}

#[cfg(test)]
mod tests;
