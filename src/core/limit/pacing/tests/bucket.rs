//! A provider's limiter, exact: buckets that refill all the time, read by rounded headers. Knows nothing of accounts.

use super::*;

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub limit: f64,
    pub rate: f64,
    pub level: f64,
    at: Timestamp,
    /// How far an account may be ahead that knows what it reserved and not when it came back: when the bucket was full
    /// last, it was not ahead at all, and what was reserved then may come back, or be debited, since.
    pub lead: f64,
    /// Whether it ever was full while something was under way.
    pub ran_over: bool,
    /// Readings are rounded to so much: 1 down, more to the nearest.
    unit: f64,
}

impl Bucket {
    pub fn new(limit: f64, level: f64, unit: f64) -> Self {
        Self {
            limit,
            rate: limit / 60.0,
            level,
            at: START,
            lead: 0.0,
            ran_over: false,
            unit,
        }
    }

    /// `back`: what requests under way reserved that is not debited, or will not be used.
    pub fn advance(&mut self, now: Timestamp, back: f64) {
        self.gain(self.rate * now.since(self.at).as_secs_f64(), back);
        self.at = now;
    }

    fn gain(&mut self, amount: f64, back: f64) {
        let level = self.level + amount;
        if self.limit <= level {
            self.lead = back;
            self.ran_over |= back > 0.0;
        }
        self.level = level.min(self.limit);
    }

    /// How far a reading may be from the truth: below it, above it.
    pub fn rounding(&self) -> (f64, f64) {
        if self.unit > 1.0 {
            (self.unit / 2.0, self.unit / 2.0)
        } else {
            (0.0, 1.0)
        }
    }

    pub fn reading(&self) -> Reading {
        let level = self.level.max(0.0);
        let remaining = if self.unit > 1.0 {
            (level / self.unit).round() * self.unit
        } else {
            level.floor()
        };
        reading(self.limit, remaining, self.rounding())
    }
}

/// How a provider debits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// The true prompt at admission, the answer when it is produced.
    Anthropic,
    /// Its own estimate and all that the answer may have at admission; handed back at the end.
    OpenAi,
}

/// All buckets of one account.
#[derive(Clone, Debug)]
pub struct Provider {
    pub habit: Habit,
    pub buckets: [Option<Bucket>; DIMENSIONS],
}

impl Provider {
    /// `fullness`: of all buckets at the start, 0..=1.
    pub fn new(habit: Habit, requests: f64, tokens: f64, fullness: f64) -> Self {
        let bucket = |limit: f64, unit| Some(Bucket::new(limit, limit * fullness, unit));
        let buckets = match habit {
            Habit::Anthropic => [
                bucket(requests, 1.0),
                bucket(tokens, 1_000.0),
                bucket(tokens / 4.0, 1_000.0),
                None,
            ],
            Habit::OpenAi => [bucket(requests, 1.0), None, None, bucket(tokens, 1.0)],
        };
        Self { habit, buckets }
    }

    pub fn advance(&mut self, now: Timestamp, back: &Amounts) {
        for (bucket, back) in self.buckets.iter_mut().zip(back) {
            if let Some(bucket) = bucket {
                bucket.advance(now, *back);
            }
        }
    }

    /// What is debited at admission.
    fn debits(&self, reserved: &Amounts, used: &Amounts) -> Amounts {
        match self.habit {
            Habit::Anthropic => [1.0, used[1], 0.0, 0.0],
            Habit::OpenAi => [1.0, 0.0, 0.0, reserved[3]],
        }
    }

    /// By how much what it has falls short of a request: 0 in every dimension, and it is debited.
    pub fn admit(&mut self, reserved: &Amounts, used: &Amounts) -> Amounts {
        let debits = self.debits(reserved, used);
        let mut lack = [0.0; DIMENSIONS];
        for ((lack, bucket), debit) in lack.iter_mut().zip(&self.buckets).zip(debits) {
            if let Some(bucket) = bucket {
                *lack = (debit - bucket.level).max(0.0);
            }
        }
        if lack == [0.0; DIMENSIONS] {
            self.debit(&debits);
        }
        lack
    }

    fn debit(&mut self, debits: &Amounts) {
        for (bucket, debit) in self.buckets.iter_mut().zip(debits) {
            if let Some(bucket) = bucket {
                bucket.level -= debit;
            }
        }
    }

    /// The answer was produced: output is debited, or what was not used comes back.
    pub fn produce(&mut self, reserved: &Amounts, used: &Amounts, back: &Amounts) {
        match self.habit {
            Habit::Anthropic => self.debit(&[0.0, 0.0, used[2], 0.0]),
            Habit::OpenAi => {
                if let Some(bucket) = &mut self.buckets[3] {
                    bucket.gain(reserved[3] - used[3], back[3]);
                }
            }
        }
    }

    pub fn readings(&self) -> Readings {
        Readings {
            dimensions: self
                .buckets
                .each_ref()
                .map(|bucket| bucket.as_ref().map(Bucket::reading)),
            ..Readings::NONE
        }
    }
}
