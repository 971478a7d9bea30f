//! A row's accounts as the scan of all subscriptions reads them: one cache line, single precision. Law: what it says
//! is what the accounts say, but for rounding that is below any limit's unit.

use std::time::Duration;

use super::account::Account;
use super::row::{Amounts, Room, Row};
use crate::core::limit::reading::DIMENSIONS;
use crate::core::time::Timestamp;

/// What rounding may hide.
const ROUNDING: f32 = 2e-6;
/// The share that is left where nothing is known (C2).
const UNKNOWN: f32 = 0.5;

/// Shares of the limits at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// What is left.
    share: [f32; DIMENSIONS],
    /// Gained a second.
    gain: [f32; DIMENSIONS],
    /// One unit's share; 0: this dimension is unknown.
    unit: [f32; DIMENSIONS],
    at: Timestamp,
    /// The most that can be left.
    full: f32,
    /// The row itself is to be asked too.
    pub(super) special: bool,
}

impl Gauge {
    /// Of a row, all of whose accounts are advanced to the instant.
    pub fn of(row: &Row, now: Timestamp) -> Self {
        let unknown = if row.is_stated() { 1.0 } else { UNKNOWN };
        let mut gauge = Self {
            share: [unknown; DIMENSIONS],
            gain: [0.0; DIMENSIONS],
            unit: [0.0; DIMENSIONS],
            at: now,
            full: 1.0,
            special: row.is_special() || row.windows.iter().any(Option::is_some),
        };
        for (at, account) in row.accounts.iter().enumerate() {
            match account {
                Some(account) if account.ends().is_none() => gauge.set(at, account),
                Some(_) => gauge.special = true,
                None => {}
            }
        }
        gauge
    }

    /// Of one account alone.
    pub fn of_account(at: usize, account: &Account, now: Timestamp) -> Self {
        let mut gauge = Self {
            share: [1.0; DIMENSIONS],
            gain: [0.0; DIMENSIONS],
            unit: [0.0; DIMENSIONS],
            at: now,
            full: 1.0,
            special: false,
        };
        gauge.set(at, account);
        gauge
    }

    fn set(&mut self, at: usize, account: &Account) {
        let limit = account.limit();
        if let (Some(share), Some(gain), Some(unit)) = (
            self.share.get_mut(at),
            self.gain.get_mut(at),
            self.unit.get_mut(at),
        ) {
            *share = (account.level() / limit) as f32;
            *gain = (account.gain() / limit) as f32;
            *unit = (1.0 / limit) as f32;
        }
        self.full = self.full.min((1.0 - account.margin() / limit) as f32);
    }

    /// Whether these amounts have room; a larger request than the bucket goes when it is full (C4).
    pub fn room(&self, amounts: &Amounts, now: Timestamp) -> Room {
        let passed = now.since(self.at).as_micros() as f32 * 1e-6;
        let mut least = f32::MAX;
        for at in 0..DIMENSIONS {
            let (left, need) = self.left(at, amounts, passed);
            least = least.min(left - need);
        }
        if -ROUNDING <= least {
            return Room::Open(f64::from(least));
        }
        Room::Closed {
            until: self.until(amounts),
            event: false,
        }
    }

    /// The share that is left, and the share that is needed.
    fn left(&self, at: usize, amounts: &Amounts, passed: f32) -> (f32, f32) {
        let (Some(share), Some(gain), Some(unit), Some(amount)) = (
            self.share.get(at),
            self.gain.get(at),
            self.unit.get(at),
            amounts.get(at),
        ) else {
            return (1.0, 0.0);
        };
        let left = (share + gain * passed).min(self.full);
        (left, (*amount as f32 * unit).min(self.full))
    }

    fn until(&self, amounts: &Amounts) -> Timestamp {
        let mut longest = 0.0_f64;
        for at in 0..DIMENSIONS {
            let (share, need) = self.left(at, amounts, 0.0);
            let gain = self.gain.get(at).copied().unwrap_or_default();
            if share < need && 0.0 < gain {
                longest = longest.max(f64::from((need - share) / gain));
            }
        }
        let micros = (longest.min(1e7) * 1e6).ceil();
        self.at + Duration::from_micros(micros as u64)
    }
}
