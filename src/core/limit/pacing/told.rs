//! What answers told of one limit group of one domain, as we think that it is by now, for clients to see (D9). What was
//! configured, and what was learned from refusals, nobody told: it is left out.

use super::account::Account;
use super::row::PlanWindow;
use super::{Book, Group};
use crate::core::id::LimitGroup;
use crate::core::limit::reading::{
    DIMENSIONS, Dimension, PoolReading, PoolRoom, WINDOWS, Window, WindowReading,
};
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

/// What is left of one limit of one domain.
#[derive(Clone, Copy, Debug)]
pub struct Share<'a> {
    /// Whose.
    pub domain: usize,
    /// Of which models.
    pub group: &'a LimitGroup,
    /// What is counted.
    pub dimension: &'static str,
    /// 0..=1.
    pub left: f64,
}

impl Book {
    /// No more than so many come of [`shares`](Self::shares).
    pub fn most_shares(&self) -> usize {
        self.rows.len() * (DIMENSIONS + WINDOWS)
    }

    /// What is left of everything that answers told.
    pub fn shares(&self, now: Timestamp) -> impl Iterator<Item = Share<'_>> {
        let rows = self.rows.iter().zip(&self.owners).enumerate();
        rows.filter_map(move |(at, (row, (group, domain)))| {
            let domain = *domain as usize;
            let place = self.place(Group(*group), domain);
            let named = self.groups.get(*group as usize)?;
            (place == Some(at)).then_some((row, domain, &named.group))
        })
        .flat_map(move |(row, domain, group)| {
            let accounts = Dimension::ALL.iter().zip(&row.accounts);
            let windows = Window::ALL.iter().zip(&row.windows);
            let accounts = accounts.filter_map(move |(dimension, account)| {
                let told = of_account(account.as_ref()?, now);
                Some((dimension.name(), told.remaining / told.limit))
            });
            let windows = windows.filter_map(move |(window, told)| {
                Some((window.name(), of_window((*told)?, now).remaining))
            });
            accounts.chain(windows).map(move |(dimension, left)| Share {
                domain,
                group,
                dimension,
                left,
            })
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
