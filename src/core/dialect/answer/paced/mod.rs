//! What limit headers say, as pacing takes it: figures of known dimension, size, period and refill, without
//! allocation, since every answer pays for it. What is shown to people and to the verdict is `readings`', which knows
//! more families and less about each. The law kept here: rather no reading than a wrong one. A limit whose period
//! or refill the provider leaves open gives none, but for the families that are counted by the minute.
//!
//! No bytes make it panic, and of every reading: all figures are finite, `0 < limit`, `0 <= remaining <= limit`, and
//! `remaining - below` and `remaining + above` lie within the limit too. A limit of 0, a limit or a remaining that is
//! missing, negative or unreadable gives no reading; a remaining above its limit reads as the limit. Of two equal
//! headers the smaller remaining and the later reset count.

mod anthropic;
mod figures;
mod named;
mod structured;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use self::figures::{Draft, Rounding};
use super::times;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::reading::{Dimension, Readings, Refill, Window, WindowReading};
use crate::core::time::WallTime;

/// What the head of an answer says of limits. Resets are read against `received_at`; those in the past are zero.
pub fn readings(flavour: Flavour, headers: &HeaderMap, received_at: WallTime) -> Readings {
    match flavour {
        Flavour::Anthropic | Flavour::ClaudeSubscription => {
            anthropic::readings(headers, received_at)
        }
        Flavour::OpenAi
        | Flavour::OpenAiCompatible
        | Flavour::LiteLlm
        | Flavour::NewApi
        | Flavour::Azure
        | Flavour::Groq
        | Flavour::Mistral
        | Flavour::Cerebras
        | Flavour::XAi
        | Flavour::Fireworks => named::readings(flavour, headers, received_at),
        Flavour::ChatGpt => codex(headers, received_at),
        Flavour::GitHub => github(headers, received_at),
        Flavour::Generic | Flavour::HuggingFace | Flavour::Envoy => {
            structured::readings(headers, received_at)
        }
        // They send none, or none whose period is known: Together's adapt by the second, OpenRouter's are on
        // refusals alone and of a day or of a minute.
        Flavour::Gemini
        | Flavour::GeminiCodeAssist
        | Flavour::Vertex
        | Flavour::Bedrock
        | Flavour::Cohere
        | Flavour::OpenRouter
        | Flavour::DeepSeek
        | Flavour::Together
        | Flavour::Perplexity
        | Flavour::Replicate
        | Flavour::Moonshot
        | Flavour::Zhipu
        | Flavour::Ollama
        | Flavour::LlamaCpp
        | Flavour::Doubleword
        | Flavour::Nginx
        | Flavour::Cloudflare => Readings::NONE,
    }
}

/// Whose keys an answer names: the organisation, with the project where it names one. The same for the same words in
/// every process of one build. An empty name is none.
fn hashed(organisation: &HeaderValue, project: Option<&HeaderValue>) -> Option<u64> {
    if organisation.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    organisation.as_bytes().hash(&mut hasher);
    project.map(HeaderValue::as_bytes).hash(&mut hasher);
    Some(hasher.finish())
}

/// ChatGPT's windows, which tell their length in minutes; which of them is the longer varies by plan.
fn codex(headers: &HeaderMap, now: WallTime) -> Readings {
    const PRIMARY: [&str; 4] = [
        "x-codex-primary-window-minutes",
        "x-codex-primary-used-percent",
        "x-codex-primary-reset-after-seconds",
        "x-codex-primary-reset-at",
    ];
    const SECONDARY: [&str; 4] = [
        "x-codex-secondary-window-minutes",
        "x-codex-secondary-used-percent",
        "x-codex-secondary-reset-after-seconds",
        "x-codex-secondary-reset-at",
    ];
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let mut readings = Readings::NONE;
    for [minutes, used, after, at] in [PRIMARY, SECONDARY] {
        let minutes = value(minutes).and_then(figures::number);
        let window = match minutes.unwrap_or_default() as u32 {
            299..=300 => Window::FiveHours,
            10_079..=10_080 => Window::Week,
            _ => continue,
        };
        let Some(used) = value(used).and_then(figures::number) else {
            continue;
        };
        let reset = value(after).or_else(|| value(at));
        let reading = WindowReading {
            remaining: (1.0 - used / 100.0).clamp(0.0, 1.0),
            reset: reset.and_then(|value| figures::reset(value, now)),
        };
        if let Some(slot) = readings.windows.get_mut(window.at()) {
            *slot = Some(reading);
        }
    }
    readings
}

/// GitHub counts by the hour, one resource apart from the other; those with a window of their own (`search`, a
/// minute) are not told apart by limit group, so only the main one is read.
fn github(headers: &HeaderMap, now: WallTime) -> Readings {
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    if value("x-ratelimit-resource").is_some_and(|resource| resource != b"core") {
        return Readings::NONE;
    }
    let draft = Draft {
        limit: value("x-ratelimit-limit").and_then(figures::limit),
        remaining: value("x-ratelimit-remaining").and_then(figures::number),
        reset: value("x-ratelimit-reset").and_then(|value| figures::reset(value, now)),
    };
    let hour = Duration::from_secs(3_600);
    let mut readings = Readings::NONE;
    if draft.reset.is_some() {
        let reading = draft.reading(Rounding::Exact, hour, Refill::AtReset);
        figures::keep(&mut readings, Dimension::Requests, reading);
    }
    readings
}

#[cfg(test)]
mod tests;
