//! A row's accounts as the scan of all subscriptions reads them: one cache line, single precision. Laws: what it says
//! is what the accounts say, but for rounding that is below any limit's unit; it has room from the very instant on that
//! it names while it has none.

use std::time::Duration;

use super::account::Account;
use super::row::{Amounts, Room, Row};
use crate::core::limit::reading::DIMENSIONS;
use crate::core::time::Timestamp;

/// What rounding may hide: more than single precision loses on the way.
const ROUNDING: f32 = 1e-6;
/// The share that is left where nothing is known (C2).
const UNKNOWN: f32 = 0.5;
/// Nobody waits longer, in seconds.
const LONGEST: f64 = 1e7;

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
    /// Slow start lets nobody go before; an answer may. Where the row is to be asked, never.
    held: Timestamp,
}

impl Gauge {
    /// Of a row, all of whose accounts are advanced to the instant.
    pub fn of(row: &Row, now: Timestamp) -> Self {
        let unknown = if row.is_known() { 1.0 } else { UNKNOWN };
        let mut gauge = Self {
            share: [unknown; DIMENSIONS],
            gain: [0.0; DIMENSIONS],
            unit: [0.0; DIMENSIONS],
            at: now,
            full: 1.0,
            special: row.is_special() || row.windows.iter().any(Option::is_some),
            held: Timestamp::ZERO,
        };
        for (at, account) in row.accounts.iter().enumerate() {
            match account {
                Some(account) if account.ends().is_none() => gauge.set(at, account),
                Some(_) => gauge.special = true,
                None => {}
            }
        }
        gauge.held = if gauge.special {
            Timestamp::MAX
        } else {
            row.held_until(now)
        };
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
            held: Timestamp::ZERO,
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

    /// The share that would be left, where that is all there is to ask; `None`: ask further.
    #[inline]
    pub fn glance(&self, amounts: &[f32; DIMENSIONS], now: Timestamp) -> Option<f32> {
        if now < self.held {
            return None;
        }
        let passed = now.as_micros().saturating_sub(self.at.as_micros()) as f32 * 1e-6;
        let parts = self.share.iter().zip(&self.gain).zip(&self.unit);
        let least = parts
            .zip(amounts)
            .map(|(((share, gain), unit), amount)| {
                lesser(share + gain * passed, self.full) - lesser(amount * unit, self.full)
            })
            .fold(1.0, lesser);
        (ROUNDING <= least).then_some(least)
    }

    /// Whether these amounts have room; a larger request than the bucket goes when it is full (C4).
    pub fn room(&self, amounts: &Amounts, now: Timestamp) -> Room {
        let room = self.accounts_room(amounts, now);
        if !self.special && now < self.held {
            return room.and(Room::Closed {
                until: self.held,
                event: true,
            });
        }
        room
    }

    fn accounts_room(&self, amounts: &Amounts, now: Timestamp) -> Room {
        let passed = now.since(self.at).as_micros() as f32 * 1e-6;
        let mut least = f32::MAX;
        for at in 0..DIMENSIONS {
            let (left, need) = self.left(at, amounts, passed);
            least = least.min(left - need);
        }
        if ROUNDING <= least {
            return Room::Open(f64::from(least.clamp(-1.0, 1.0)));
        }
        // Close to the instant only that one decides: who was told it is not asked before.
        let until = self.until(amounts);
        if until <= now {
            return Room::Open(f64::from(least.clamp(-1.0, 1.0)));
        }
        Room::Closed {
            until,
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
            let lack = f64::from(need) - f64::from(share);
            if f64::from(ROUNDING) < lack {
                let gain = self.gain.get(at).copied().unwrap_or_default();
                longest = longest.max(lack / f64::from(gain));
            }
        }
        let micros = (longest.min(LONGEST) * 1e6).ceil();
        self.at + Duration::from_micros(micros as u64)
    }
}

/// As `f32::min`, but for NaN, of which there is none: one instruction instead of three.
fn lesser(one: f32, other: f32) -> f32 {
    if one < other { one } else { other }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_micros(1);

    proptest! {
        // C4, C5: who is told an instant is woken then, and would not have been let go before
        #[test]
        fn there_is_room_from_the_very_instant_on_that_is_named(
            limit in 1.0_f64..1e8,
            period in 1_u64..=86_400,
            taken in 0.0..1.5_f64,
            part in 0.0..1.2_f64,
            asked in 0_u64..200_000_000,
        ) {
            let start = Timestamp::from_micros(1_700_000_000_000_000);
            let mut account = Account::full(limit, Duration::from_secs(period), start);
            account.reserve(limit * taken, start);
            let gauge = Gauge::of_account(1, &account, start);
            let amounts = [1.0, limit * part, 0.0, 0.0];
            let now = start + Duration::from_micros(asked);
            if let Room::Closed { until, .. } = gauge.room(&amounts, now) {
                prop_assert!(now < until);
                prop_assert!(matches!(gauge.room(&amounts, until), Room::Open(_)));
                let before = gauge.room(&amounts, until - TICK);
                let named = Room::Closed { until, event: false };
                prop_assert_eq!(before, named);
            }
        }
    }
}
