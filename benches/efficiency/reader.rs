//! What authpool's own readers make of an answer: the one place where the simulated provider's words become verdicts
//! and figures.

use authpool::core::dialect::answer::{self, Answer};
use authpool::core::dialect::endpoint::Endpoint;
use authpool::core::dialect::flavour::Flavour;
use authpool::core::limit::reading::Readings;
use authpool::core::limit::verdict::Verdict;
use authpool::core::time::WallTime;

use super::words::{Habit, Spoken};

/// Verdict and readings of an answer that came at `now`.
pub fn read(habit: Habit, spoken: &Spoken, now: u64) -> (Verdict, Readings) {
    let (flavour, endpoint) = match habit {
        Habit::Anthropic => (Flavour::Anthropic, Endpoint::Messages),
        Habit::OpenAi => (Flavour::OpenAi, Endpoint::ChatCompletions),
        Habit::Gemini => (Flavour::Gemini, Endpoint::Other),
    };
    let wall = WallTime::from_micros(now as i64);
    let verdict = if spoken.status < 400 {
        answer::head_verdict(flavour, endpoint, spoken.status, &spoken.headers, wall)
    } else {
        answer::verdict(&Answer {
            flavour,
            endpoint,
            status: spoken.status,
            headers: &spoken.headers,
            body: &spoken.body,
            received_at: wall,
        })
    };
    (verdict, answer::readings(flavour, &spoken.headers, wall))
}
