//! One limit of a provider, true to the microsecond: a bucket that fills all the time, or a window that is whole again
//! at fixed instants. Integers: levels are in sixty-millionths of a unit, what a rate of one a minute yields in a
//! microsecond. A level may be below zero: tokens of answers are counted when they have been made.

use authpool::core::limit::reading::Dimension;

/// A minute in microseconds, and a unit in levels.
pub const MINUTE: u64 = 60_000_000;
const UNIT: i64 = MINUTE as i64;

/// One limit.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// What it counts.
    pub dimension: Dimension,
    /// How much comes in a minute, or in a window, and the most that it holds.
    pub limit: u64,
    level: i64,
    /// The highest level.
    most: i64,
    /// Up to when it is filled; of a window, when the present one began.
    at: u64,
    /// How long a window is, in microseconds; `None`: it fills all the time.
    window: Option<u64>,
}

impl Bucket {
    /// Full. `window`: how long its windows are, and when one of them begins; `None`: it fills all the time.
    pub fn new(dimension: Dimension, limit: u64, now: u64, window: Option<(u64, u64)>) -> Self {
        let at = window.map_or(now, |(long, begins)| {
            now - (now + long - begins % long) % long
        });
        Self {
            dimension,
            limit,
            level: limit as i64 * UNIT,
            most: limit as i64 * UNIT,
            at,
            window: window.map(|(long, _)| long),
        }
    }

    /// Filled to a share.
    pub fn begun_at(mut self, share: f64) -> Self {
        self.level = (self.most as f64 * share) as i64;
        self
    }

    /// Lets time pass.
    pub fn fill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.at);
        match self.window {
            None => {
                let gained = elapsed as i64 * self.limit as i64;
                self.level = (self.level + gained).min(self.most);
                self.at = now.max(self.at);
            }
            Some(long) if elapsed >= long => {
                self.level = self.most;
                self.at += elapsed / long * long;
            }
            Some(_) => {}
        }
    }

    /// Until so much is there, in microseconds; 0: it is. Once filled up to now.
    pub fn lacks(&self, units: u64, now: u64) -> u64 {
        let missing = units as i64 * UNIT - self.level;
        match self.window {
            _ if missing <= 0 => 0,
            Some(long) => (self.at + long).saturating_sub(now),
            None => (missing as u64).div_ceil(self.limit.max(1)),
        }
    }

    /// Takes units, whether they are there or not.
    pub fn take(&mut self, units: u64) {
        self.level -= units as i64 * UNIT;
    }

    /// Gives units back.
    pub fn give(&mut self, units: u64) {
        self.level = (self.level + units as i64 * UNIT).min(self.most);
    }

    /// Its limit becomes another; it holds no more than that.
    pub fn resize(&mut self, limit: u64) {
        self.limit = limit;
        self.most = limit as i64 * UNIT;
        self.level = self.level.min(self.most);
    }

    /// Holds less than full, by what it gains in so many microseconds.
    pub fn lag(&mut self, micros: u64) {
        if self.window.is_none() {
            self.most = (self.limit * (MINUTE - micros)) as i64;
            self.level = self.level.min(self.most);
        }
    }

    /// What is left of a window, not lost before its end; of a bucket its debt, below zero.
    pub fn unspent(&self) -> f64 {
        let level = self.level();
        if self.window.is_some() {
            level
        } else {
            level.min(0.0)
        }
    }

    /// What is left, in whole units; never below zero.
    pub fn remaining(&self) -> u64 {
        (self.level.max(0) / UNIT) as u64
    }

    /// What is left, exactly.
    pub fn level(&self) -> f64 {
        self.level as f64 / UNIT as f64
    }

    /// Until it is full, in microseconds.
    pub fn full_in(&self, now: u64) -> u64 {
        self.lacks(self.limit, now)
    }

    /// What it gains in a minute.
    pub fn a_minute(&self) -> f64 {
        let long = self.window.unwrap_or(MINUTE);
        self.limit as f64 * MINUTE as f64 / long as f64
    }

    /// What it gains between two instants, if nothing is lost to a full bucket.
    pub fn gains(&self, from: u64, to: u64) -> f64 {
        if let Some(long) = self.window {
            let started = |at: u64| (at + long - self.at % long) / long;
            return (started(to) - started(from)) as f64 * self.limit as f64;
        }
        (to - from) as f64 / MINUTE as f64 * self.limit as f64
    }
}
