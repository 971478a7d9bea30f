//! Anthropic's limits: buckets of a minute, and the windows of a subscription's plan. `anthropic-priority-*` are
//! limits of another tier and overage is billed apart: neither is read. That a rejected window refuses is
//! `windows`' to say.

use std::time::Duration;

use http::HeaderMap;

use super::figures::{self, Draft, Figure, Rounding};
use crate::core::limit::reading::{
    DIMENSIONS, Dimension, Readings, Refill, WINDOWS, Window, WindowReading,
};
use crate::core::time::WallTime;

const MINUTE: Duration = Duration::from_secs(60);

/// A window while its headers are gathered.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    share: Option<f64>,
    rejected: bool,
    reset: Option<Duration>,
}

pub(super) fn readings(headers: &HeaderMap, now: WallTime) -> Readings {
    let mut drafts = [Draft::default(); DIMENSIONS];
    let mut windows = [Used::default(); WINDOWS];
    let mut organisation = None;
    for (name, value) in headers {
        let Some(rest) = name.as_str().strip_prefix("anthropic-") else {
            continue;
        };
        if let Some(rest) = rest.strip_prefix("ratelimit-") {
            if let Some((dimension, figure)) = bucket(rest) {
                if let Some(draft) = drafts.get_mut(dimension.at()) {
                    draft.put(figure, value.as_bytes(), now);
                }
            } else if let Some((window, word)) = window(rest)
                && let Some(used) = windows.get_mut(window.at())
            {
                used.put(word, value.as_bytes(), now);
            }
        } else if rest == "organization-id" && organisation.is_none() {
            organisation = super::hashed(value, None);
        }
    }
    let mut readings = Readings {
        windows: windows.map(Used::reading),
        organisation,
        ..Readings::NONE
    };
    for (dimension, draft) in Dimension::ALL.into_iter().zip(drafts) {
        let rounding = match dimension {
            Dimension::Requests => Rounding::Down,
            _ => Rounding::Thousands,
        };
        // The plain tokens state the tightest of the others: of those they are no limit of their own.
        if dimension == Dimension::Tokens && says_kinds(&readings) {
            continue;
        }
        let reading = draft.reading(rounding, MINUTE, Refill::Continuous);
        figures::keep(&mut readings, dimension, reading);
    }
    readings
}

/// Whether prompt or generated tokens have a limit of their own.
fn says_kinds(readings: &Readings) -> bool {
    [Dimension::InputTokens, Dimension::OutputTokens]
        .into_iter()
        .any(|kind| matches!(readings.dimensions.get(kind.at()), Some(Some(_))))
}

fn bucket(rest: &str) -> Option<(Dimension, Figure)> {
    Some(match rest {
        "requests-limit" => (Dimension::Requests, Figure::Limit),
        "requests-remaining" => (Dimension::Requests, Figure::Remaining),
        "requests-reset" => (Dimension::Requests, Figure::Reset),
        "input-tokens-limit" => (Dimension::InputTokens, Figure::Limit),
        "input-tokens-remaining" => (Dimension::InputTokens, Figure::Remaining),
        "input-tokens-reset" => (Dimension::InputTokens, Figure::Reset),
        "output-tokens-limit" => (Dimension::OutputTokens, Figure::Limit),
        "output-tokens-remaining" => (Dimension::OutputTokens, Figure::Remaining),
        "output-tokens-reset" => (Dimension::OutputTokens, Figure::Reset),
        "tokens-limit" => (Dimension::Tokens, Figure::Limit),
        "tokens-remaining" => (Dimension::Tokens, Figure::Remaining),
        "tokens-reset" => (Dimension::Tokens, Figure::Reset),
        _ => return None,
    })
}

/// `unified-5h-utilization`; the windows of one model (`7d_oi`) are not the plan's.
fn window(rest: &str) -> Option<(Window, &str)> {
    let rest = rest.strip_prefix("unified-")?;
    let five_hours = rest.strip_prefix("5h-");
    five_hours
        .map(|word| (Window::FiveHours, word))
        .or_else(|| Some((Window::Week, rest.strip_prefix("7d-")?)))
}

impl Used {
    fn put(&mut self, word: &str, value: &[u8], now: WallTime) {
        match word {
            "utilization" => {
                let share = figures::number(value);
                self.share = match (self.share, share) {
                    (Some(known), Some(share)) => Some(known.max(share)),
                    (known, share) => share.or(known),
                };
            }
            "status" => self.rejected |= value.trim_ascii().eq_ignore_ascii_case(b"rejected"),
            "reset" => self.reset = self.reset.max(figures::reset(value, now)),
            _ => {}
        }
    }

    /// A window that rejects has nothing left, whatever its utilisation says.
    fn reading(self) -> Option<WindowReading> {
        let used = if self.rejected { Some(1.0) } else { self.share };
        Some(WindowReading {
            remaining: (1.0 - used?).clamp(0.0, 1.0),
            reset: self.reset,
        })
    }
}
