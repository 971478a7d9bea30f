//! What answers told of one limit group of one domain, as we think that it is by now, for clients to see (D9). What was
//! configured, and what was learned from refusals, nobody told: it is left out.

use super::account::Account;
use super::row::PlanWindow;
use super::{Book, Group};
use crate::core::limit::reading::{PoolReading, PoolRoom, WindowReading};
use crate::core::time::Timestamp;

impl Book {
    /// Of a pool of this domain alone; `None`: nothing is known of that group there.
    pub fn told(&self, domain: usize, group: Group, now: Timestamp) -> Option<PoolRoom> {
        let row = self.rows.get(self.place(group, domain)?)?;
        Some(PoolRoom {
            dimensions: row
                .accounts
                .each_ref()
                .map(|account| account.as_ref().map(|account| of_account(account, now))),
            windows: row
                .windows
                .map(|window| window.map(|window| of_window(window, now))),
        })
    }
}

fn of_account(account: &Account, now: Timestamp) -> PoolReading {
    let limit = account.limit();
    let begins_anew = account.ends().is_some_and(|ends| ends <= now);
    let gained = account.gain() * now.since(account.at()).as_secs_f64();
    let remaining = if begins_anew {
        limit
    } else {
        (account.level() + gained).clamp(0.0, limit)
    };
    PoolReading {
        limit,
        remaining,
        full_in: account.full_at().since(now),
    }
}

fn of_window(window: PlanWindow, now: Timestamp) -> WindowReading {
    if window.ends.is_some_and(|ends| ends <= now) {
        return WindowReading {
            remaining: 1.0,
            reset: None,
        };
    }
    WindowReading {
        remaining: window.remaining,
        reset: window.ends.map(|ends| ends.since(now)),
    }
}
