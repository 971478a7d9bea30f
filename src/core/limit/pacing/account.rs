//! Our account of one bucket or window (SPEC 16.1-16.7): refilled by its rate, or whole again at its reset, lowered at sending, settled by usage; readings
//! correct it and never replace it. What is refused and who waits is not decided here. Law: the level never passes the
//! limit, and one and the same use is never taken off twice.

use std::time::Duration;

use super::extremes::Extremes;
use super::row::Room;
use crate::core::limit::reading::{Reading, Refill};
use crate::core::time::Timestamp;

/// Over how long corrections are averaged into others' use.
const MEMORY: f64 = 5.0;
/// In which others' use is forgotten while readings agree with the account.
const FORGETTING: f64 = 30.0;
/// Part of what is under way by which its estimates may be too low.
const MISJUDGED: f64 = 0.15;
/// The refill that others leave us at least.
const LEAST_SHARE: f64 = 0.05;
/// Others use less than this part of the refill: nobody else is there.
const ALONE: f64 = 0.01;

/// One bucket as we think that it is. Amounts in units of its dimension, times in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    limit: f64,
    /// Units a second.
    rate: f64,
    level: f64,
    at: Timestamp,
    /// Since when its values are known.
    began: Timestamp,
    period: Duration,
    /// A window's end, when all is left again; `None`: a bucket.
    ends: Option<Timestamp>,
    /// What others take, in units a second.
    others: f64,
    /// How much they take at once.
    chunk: f64,
    /// When the request was sent that brought the latest reading.
    read: Timestamp,
    extremes: Extremes,
}

/// What is under way in a dimension, while a reading is weighed.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// All reservations that are out, the asker's own included.
    pub all: f64,
    /// The asker's own, as far as the reading is sure to hold it.
    pub own: f64,
}

impl Account {
    /// A full bucket that gains `limit` in a `period`.
    pub fn full(limit: f64, period: Duration, now: Timestamp) -> Self {
        let mut account = Self {
            limit,
            rate: limit / period.as_secs_f64().max(1e-3),
            level: limit,
            at: now,
            began: now,
            period,
            ends: None,
            others: 0.0,
            chunk: 1.0,
            read: now,
            extremes: Extremes::default(),
        };
        account.note(now);
        account
    }

    /// From its first reading: the low end of it, less all that is under way (16.3).
    pub fn first(reading: &Reading, under_way: UnderWay, now: Timestamp) -> Self {
        let mut account = Self::full(reading.limit, reading.period, now);
        if reading.refill == Refill::AtReset {
            account.ends = Some(now + reading.reset.unwrap_or(reading.period));
        }
        let left = reading.remaining - reading.below - (under_way.all - under_way.own);
        account.level = left.min(reading.limit);
        account.extremes = Extremes::default();
        account.note(now);
        account
    }

    /// The bucket's size.
    pub const fn limit(&self) -> f64 {
        self.limit
    }

    /// When the level was computed.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// What is left at that instant, less a margin where others are seen (16.6).
    pub fn level(&self) -> f64 {
        self.level - self.margin()
    }

    /// What it gains a second.
    pub fn gain(&self) -> f64 {
        if self.ends.is_some() {
            return 0.0;
        }
        (self.rate - self.others).max(self.rate * LEAST_SHARE)
    }

    /// A window's end; `None`: a bucket.
    pub const fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// What a window has for the amount; `None`: it is a bucket.
    pub fn window(&self, amount: f64, now: Timestamp) -> Option<Room> {
        let ends = self.ends?;
        let level = if ends <= now { self.limit } else { self.level };
        let left = level - amount.min(self.limit);
        Some(if 0.0 <= left {
            Room::Open(left / self.limit)
        } else {
            Room::Closed {
                until: ends,
                event: false,
            }
        })
    }

    /// When it is full.
    pub fn full_at(&self) -> Timestamp {
        if let Some(ends) = self.ends {
            return ends;
        }
        let lack = (self.limit - self.level).max(0.0);
        self.at + Duration::from_secs_f64((lack / self.gain()).min(1e7))
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Timestamp) {
        let passed = now.since(self.at).as_secs_f64();
        if let Some(ends) = self.ends {
            if ends <= now {
                let periods = now.since(ends).as_micros() / self.period.as_micros().max(1) + 1;
                let periods = u32::try_from(periods).unwrap_or(u32::MAX);
                self.ends = Some(ends + self.period.saturating_mul(periods));
                self.level = self.limit;
                self.extremes = Extremes::default();
            }
            self.at = now;
        } else if passed > 0.0 {
            self.level = (self.level + self.gain() * passed).min(self.limit);
            self.at = now;
        }
    }

    /// A request of ours is sent.
    pub fn reserve(&mut self, amount: f64, now: Timestamp) {
        self.advance(now);
        self.note(now);
        // C4: capped at the bucket's size; what is larger goes when it is full.
        self.level -= amount.min(self.limit);
        self.note(now);
    }

    /// What a request used of what was reserved for it is known. `unseen`: so much of that, a reading from before now
    /// may not have held.
    pub fn settle(&mut self, reserved: f64, used: f64, unseen: f64, now: Timestamp) {
        self.advance(now);
        if unseen > 0.0 {
            self.extremes.raise(unseen);
        }
        // However much an answer says that it used, the bucket is full again in two periods.
        let back = reserved.min(self.limit) - used.min(self.limit);
        let lowest = self.level.min(-self.limit);
        self.level = (self.level + back).clamp(lowest, self.limit);
        self.note(now);
    }

    /// The provider refused for want of this: nothing is left (16.7).
    pub fn empty(&mut self, now: Timestamp) {
        self.advance(now);
        self.note(now);
        self.level = self.level.min(0.0);
        self.note(now);
    }

    /// A reading that was true at some instant since the request that brings it was sent (16.2).
    pub fn read(
        &mut self,
        reading: &Reading,
        sent: Timestamp,
        under_way: UnderWay,
        now: Timestamp,
    ) {
        if self.is_of_another_size(reading) || self.ends.is_some() {
            let before = *self;
            *self = Self::first(reading, under_way, now);
            self.keep_lower(&before);
            return;
        }
        if sent < self.began {
            // It may have been true before there was an account to hold it against.
            return;
        }
        self.advance(now);
        self.note(now);
        let (low, high) = self
            .extremes
            .since(sent)
            .unwrap_or((self.level, self.level));
        let least = reading.remaining - reading.below;
        let most = reading.remaining + reading.above;
        let correction = if most < low {
            most - low
        } else {
            // What requests under way hand back would be counted twice (16.4).
            (least - high - under_way.all).max(0.0)
        };
        if correction != 0.0 {
            self.level = (self.level + correction).min(self.limit);
            self.extremes.shift(correction);
            self.note(now);
            self.blame(correction, under_way.all);
        } else if 0.0 < self.others {
            let since = sent.since(self.read).as_secs_f64().min(MEMORY);
            self.others *= (-since / FORGETTING).exp();
        }
        self.read = self.read.max(sent);
    }

    /// Of two readings of one window the smaller stays (STYLE).
    fn keep_lower(&mut self, before: &Self) {
        const SAME: Duration = Duration::from_secs(1);
        if let (Some(own), Some(theirs)) = (self.ends, before.ends)
            && own.since(theirs) <= SAME
            && theirs.since(own) <= SAME
            && self.limit == before.limit
        {
            self.level = self.level.min(before.level);
        }
    }

    /// 16.6: what we cannot explain, others took.
    fn blame(&mut self, correction: f64, under_way: f64) {
        let unexplained = if correction < 0.0 {
            (-correction - MISJUDGED * under_way).max(0.0)
        } else {
            -correction
        };
        if unexplained > 0.0 {
            self.chunk += (unexplained - self.chunk) / 8.0;
        }
        self.others = (self.others + unexplained / MEMORY).clamp(0.0, self.rate);
    }

    fn is_of_another_size(&self, reading: &Reading) -> bool {
        let rate = reading.limit / reading.period.as_secs_f64().max(1e-3);
        (reading.limit - self.limit).abs() > self.limit * 1e-9
            || (rate - self.rate).abs() > self.rate * 1e-9
    }

    /// What is kept back where others are seen to use the same bucket (16.6).
    pub fn margin(&self) -> f64 {
        if self.others < self.rate * ALONE || self.ends.is_some() {
            return 0.0;
        }
        let age = self.at.since(self.read).as_secs_f64().clamp(0.2, 60.0);
        let chunk = self.chunk.max(1.0);
        let margin = chunk * (1.0 + 2.0 * (self.others * age / chunk).sqrt());
        margin.min(self.limit / 4.0)
    }

    fn note(&mut self, now: Timestamp) {
        self.extremes.note(now, self.level);
    }

    /// Two accounts turn out to be one: the lower stays (D8).
    pub fn join(&mut self, other: &Self, now: Timestamp) {
        self.advance(now);
        let mut other = *other;
        other.advance(now);
        if other.level < self.level {
            *self = other;
        }
    }
}
