//! The family that OpenAI began: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, some with the period's name
//! behind. What a nameless period is, and how a limit comes back, differs by provider.

use std::time::Duration;

use http::HeaderMap;

use super::figures::{self, Draft, Figure, Rounding};
use super::times;
use crate::core::dialect::answer::readings::states_seconds;
use crate::core::dialect::flavour::Flavour;
use crate::core::limit::reading::{Dimension, Readings, Refill};
use crate::core::time::WallTime;

/// How many limits of one answer are gathered; Cerebras states six.
const MAX_LIMITS: usize = 8;

const SECOND: u32 = 1;
const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

/// A limit as headers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    dimension: Dimension,
    /// In seconds; 0: the name tells no period.
    period: u32,
}

/// A limit while its headers are gathered.
#[derive(Clone, Copy, Debug)]
struct Gathered {
    name: Name,
    draft: Draft,
    /// Azure's word for the period, in seconds.
    renewal: Option<f64>,
}

/// Which figure of a limit a header carries.
#[derive(Clone, Copy, Debug)]
enum Part {
    Figure(Figure),
    Renewal,
}

pub(super) fn readings(flavour: Flavour, headers: &HeaderMap, now: WallTime) -> Readings {
    let mut limits = [None::<Gathered>; MAX_LIMITS];
    let milliseconds = flavour == Flavour::Azure && !states_seconds(headers);
    let (mut organisation, mut project) = (None, None);
    for (header, value) in headers {
        let Some((part, name)) = read(header.as_str()) else {
            match header.as_str() {
                "openai-organization" => organisation = organisation.or(Some(value)),
                "openai-project" => project = project.or(Some(value)),
                _ => {}
            }
            continue;
        };
        let Some(limit) = place(&mut limits, name) else {
            continue;
        };
        let value = value.as_bytes();
        match part {
            Part::Renewal => limit.renewal = figures::number(value).or(limit.renewal),
            Part::Figure(Figure::Reset) if milliseconds => {
                limit.draft.put_reset(match figures::number(value) {
                    Some(number) => times::span(number, 1e-3),
                    None => figures::reset(value, now),
                });
            }
            Part::Figure(figure) => limit.draft.put(figure, value, now),
        }
    }
    let mut readings = Readings {
        // Others that speak this family do not say whose key it was, or say whose a gateway's was.
        organisation: organisation
            .filter(|_| flavour == Flavour::OpenAi)
            .and_then(|organisation| super::hashed(organisation, project)),
        ..Readings::NONE
    };
    for limit in limits.iter().flatten() {
        let Some((period, refill)) = limit.kind(flavour) else {
            continue;
        };
        let rounding = match refill {
            Refill::Continuous => Rounding::Down,
            Refill::AtReset => Rounding::Exact,
        };
        let reading = limit.draft.reading(rounding, period, refill);
        figures::keep(&mut readings, limit.name.dimension, reading);
    }
    readings
}

/// Where a limit is gathered; `None`: there are too many.
fn place(limits: &mut [Option<Gathered>; MAX_LIMITS], name: Name) -> Option<&mut Gathered> {
    limits
        .iter_mut()
        .find(|limit| limit.as_ref().is_none_or(|limit| limit.name == name))
        .map(|limit| {
            limit.get_or_insert(Gathered {
                name,
                draft: Draft::default(),
                renewal: None,
            })
        })
}

/// `x-ratelimit-remaining-tokens-minute`; `None`: another header, or a limit of something else.
fn read(header: &str) -> Option<(Part, Name)> {
    let rest = header.strip_prefix("x-rate")?;
    let rest = rest
        .strip_prefix("limit-")
        .or_else(|| rest.strip_prefix("-limit-"))?;
    let (part, limit) = rest.split_once('-')?;
    let part = match part {
        "limit" => Part::Figure(Figure::Limit),
        "remaining" => Part::Figure(Figure::Remaining),
        "reset" => Part::Figure(Figure::Reset),
        "renewalperiod" => Part::Renewal,
        _ => return None,
    };
    let (dimension, period) = match limit {
        "tokens-prompt" => (Dimension::InputTokens, ""),
        "tokens-generated" => (Dimension::OutputTokens, ""),
        _ => counted(limit)?,
    };
    let period = match period {
        "" => 0,
        "-second" => SECOND,
        "-10-second" => 10,
        "-minute" => MINUTE,
        "-hour" => HOUR,
        "-day" => DAY,
        _ => return None,
    };
    Some((part, Name { dimension, period }))
}

/// What is counted, and what stands behind it.
fn counted(limit: &str) -> Option<(Dimension, &str)> {
    const WORDS: [(&str, Dimension); 5] = [
        ("requests", Dimension::Requests),
        ("req", Dimension::Requests),
        ("tokens", Dimension::Tokens),
        ("input-tokens", Dimension::InputTokens),
        ("output-tokens", Dimension::OutputTokens),
    ];
    WORDS
        .iter()
        .find_map(|(word, dimension)| Some((*dimension, limit.strip_prefix(word)?)))
}

impl Gathered {
    /// What the limit is per and how it comes back; `None`: one of them is not known.
    fn kind(&self, flavour: Flavour) -> Option<(Duration, Refill)> {
        let named = self.name.period;
        // Cerebras counts by the clock: its resets of all periods end on the same minute.
        if flavour == Flavour::Cerebras && self.draft.reset.is_some() && named != 0 {
            return Some((seconds(named), Refill::AtReset));
        }
        let period = match (flavour, named) {
            (_, 1..=MINUTE) => seconds(named),
            (_, 1..) | (Flavour::Mistral | Flavour::Cerebras, 0) => return None,
            (Flavour::Groq, 0) if self.name.dimension == Dimension::Requests => seconds(DAY),
            (Flavour::Azure, 0) => self.renewal(),
            (Flavour::Groq | Flavour::XAi | Flavour::Fireworks, 0) => seconds(MINUTE),
            (_, 0) => seconds(shown(&self.draft).unwrap_or(MINUTE)),
        };
        Some((period, Refill::Continuous))
    }

    fn renewal(&self) -> Duration {
        self.renewal
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| times::span(seconds, 1.0))
            .filter(|period| !period.is_zero())
            .unwrap_or(seconds(MINUTE))
    }
}

const fn seconds(count: u32) -> Duration {
    Duration::from_secs(count as u64)
}

/// The period that a bucket's own reset shows: so much is lacking, and it is full again then. OpenAI states the
/// limits of its small tiers by the day under the same names (200 requests, one used, full in 7m12s).
///
/// What is left is rounded down, and a request has been taken just now: so of `used` stated at least half is lacking,
/// and the period lies between the one computed and twice that. Where that meets none of the usual ones, the reset
/// is of something else and shows nothing. That a period is shorter than a minute needs enough use to tell, since
/// resets are cut to milliseconds.
fn shown(draft: &Draft) -> Option<u32> {
    let limit = draft.limit.filter(|limit| *limit > 0.0)?;
    let used = limit - draft.remaining?.min(limit);
    let reset = draft.reset?.as_secs_f64();
    if used < 1.0 {
        return None;
    }
    let least = reset * limit / used;
    let fits = |period: u32| {
        let period = f64::from(period);
        least * 0.9 <= period && period <= least * 2.2
    };
    if let Some(longer) = [MINUTE, HOUR, DAY].into_iter().find(|period| fits(*period)) {
        return Some(longer);
    }
    let plain = 2.0 <= used && 0.01 * limit <= used && 0.05 <= reset;
    (plain && fits(SECOND)).then_some(SECOND)
}
