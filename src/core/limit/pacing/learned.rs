//! A window that no header tells of, learned from refusals (SPEC 16.12): the stated end of one is where the next begins,
//! what was spent since the last such end is its size. The count is spent, not spread by a rate; beyond it one at a
//! time, and only where nobody else has room.

use std::time::Duration;

use super::super::breaker::PROBE_PATIENCE;
use crate::core::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// What was spent is remembered in slices of so much.
const SLICE: u64 = 5_000_000;
const SLICES: usize = 14;
/// One more beyond the count at a time for so many in a row that were served.
const HASTE: u16 = 3;
/// A first refusal tells a size only after so many requests.
const EVIDENCE: f64 = 3.0;

/// One dimension's window. Until a first refusal it only counts.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    /// When the present window began; `None`: no refusal has told yet.
    begins: Option<Timestamp>,
    length: Duration,
    size: f64,
    /// Granted in this window.
    spent: f64,
    /// Answered in this window without a refusal.
    served: f64,
    /// Those beyond the count that are unanswered, and when the latest was sent.
    beyond: u16,
    tried: Timestamp,
    /// Those beyond the count that were answered since the latest refusal.
    streak: u16,
    /// The latest refusal: those sent before it are of its episode.
    refused: Timestamp,
    /// Whether its size is the count of what was sent, refusals to come included.
    counted: bool,
    /// Granted by slice of time, the latest minute or so.
    slices: [f32; SLICES],
    slice: u64,
}

/// Whether there is room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// Within the count; the share that is left then.
    Within(f64),
    /// Beyond it, and one may try.
    Beyond,
    /// One tries already; the next window begins then.
    Spent(Timestamp),
}

impl Learned {
    /// Counts from now.
    pub const fn new() -> Self {
        Self {
            begins: None,
            length: MINUTE,
            size: f64::INFINITY,
            spent: 0.0,
            served: 0.0,
            beyond: 0,
            tried: Timestamp::ZERO,
            streak: 0,
            refused: Timestamp::ZERO,
            counted: false,
            slices: [0.0; SLICES],
            slice: 0,
        }
    }

    /// Whether a refusal has told anything.
    pub const fn is_known(&self) -> bool {
        self.begins.is_some()
    }

    /// When the present window ends; `None`: not known.
    pub fn ends(&self) -> Option<Timestamp> {
        self.begins.map(|begins| begins + self.length)
    }

    /// Whether this much may go.
    pub fn count(&self, amount: f64, now: Timestamp) -> Count {
        let Some(begins) = self.begins else {
            return Count::Within(0.5);
        };
        let fresh = begins + self.length <= now;
        let spent = if fresh { 0.0 } else { self.spent };
        let left = self.size - spent - amount;
        if left >= 0.0 {
            return Count::Within(left / self.size.max(1.0));
        }
        let patience = self.tried + PROBE_PATIENCE;
        if fresh || self.beyond <= self.streak / HASTE || patience <= now {
            return Count::Beyond;
        }
        Count::Spent((begins + self.length).min(patience))
    }

    /// This much is sent.
    pub fn take(&mut self, amount: f64, now: Timestamp) {
        self.roll(now);
        if self.is_known() && self.spent + amount > self.size {
            if self.tried + PROBE_PATIENCE <= now {
                // Unanswered for long has passed: limiters refuse at once.
                self.beyond = 0;
            }
            self.beyond = self.beyond.saturating_add(1);
            self.tried = now;
        }
        self.spent += amount;
        let slice = now.as_micros() / SLICE;
        let gone = slice.saturating_sub(self.slice).min(SLICES as u64);
        for ago in 0..gone {
            if let Some(old) = self
                .slices
                .get_mut(((slice - ago) % SLICES as u64) as usize)
            {
                *old = 0.0;
            }
        }
        self.slice = slice;
        if let Some(own) = self.slices.get_mut((slice % SLICES as u64) as usize) {
            *own += amount as f32;
        }
    }

    /// What was sent at the instant was answered without a refusal.
    pub fn answered(&mut self, amount: f64, sent: Timestamp, now: Timestamp) {
        self.roll(now);
        if self.begins.is_some_and(|begins| sent < begins) {
            return;
        }
        self.served += amount;
        if self.size < self.served {
            self.size = self.served;
            self.beyond = self.beyond.saturating_sub(1);
            self.streak = self.streak.saturating_add(1);
        }
    }

    /// What was sent at the instant never counted.
    pub fn returned(&mut self, amount: f64, sent: Timestamp) {
        if self.begins.is_none_or(|begins| begins <= sent) {
            let before = self.spent;
            self.spent = (before - amount).max(0.0);
            if self.size < before {
                self.beyond = self.beyond.saturating_sub(1);
            }
        }
    }

    /// What was sent at the instant, and has been returned, was refused, until `end`. `false`: too little was sent to
    /// learn from.
    pub fn refused(
        &mut self,
        amount: f64,
        sent: Timestamp,
        end: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.roll(now);
        if self.is_known() && sent < self.refused {
            if self.counted {
                self.size = (self.size - amount).max(amount);
            }
            return true;
        }
        self.refused = now;
        self.counted = self.begins.is_none();
        self.streak = 0;
        match self.begins {
            None => {
                let wait = end.since(now);
                self.length = [MINUTE, HOUR]
                    .into_iter()
                    .find(|length| wait <= *length)
                    .unwrap_or(DAY);
                self.size = self.sent_since(end - self.length);
                if self.size < EVIDENCE * amount {
                    return false;
                }
            }
            Some(begins) => {
                // Beyond the count, what is refused together takes off one; within it, the count was wrong.
                self.counted = self.beyond == 0;
                let size = if self.counted {
                    self.spent
                } else {
                    self.size - amount
                };
                self.size = size.max(amount);
                let distance = end.since(begins);
                if Duration::from_secs(1) <= distance && distance.mul_f64(1.1) < self.length {
                    self.length = distance;
                }
            }
        }
        self.begins = Some(end);
        self.spent = 0.0;
        self.served = 0.0;
        self.beyond = 0;
        true
    }

    /// What was sent since the instant, as far back as is remembered; what was refused is not in it.
    fn sent_since(&self, since: Timestamp) -> f64 {
        if self.length != MINUTE {
            return self.spent;
        }
        let first = since.as_micros() / SLICE;
        let kept = self.slice.saturating_sub(SLICES as u64 - 1);
        let sum: f64 = (first.max(kept)..=self.slice)
            .filter_map(|slice| {
                let amount = self.slices.get((slice % SLICES as u64) as usize)?;
                // Of the slice that it falls into the later part.
                let before = since.as_micros().saturating_sub(slice * SLICE);
                let part = 1.0 - (before as f64 / SLICE as f64).min(1.0);
                Some(f64::from(*amount) * part)
            })
            .sum();
        sum.min(self.spent)
    }

    fn roll(&mut self, now: Timestamp) {
        let Some(begins) = self.begins else { return };
        if now < begins + self.length {
            return;
        }
        let windows = now.since(begins).as_micros() / self.length.as_micros().max(1);
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        self.begins = Some(begins + self.length.saturating_mul(windows));
        self.spent = 0.0;
        self.served = 0.0;
        self.beyond = 0;
    }
}
