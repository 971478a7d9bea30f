//! What a pool has left for one limit group, as its clients are told (D9). How it is worded is `dialect::limits`'. Law: a
//! quota domain counts once, however many of its subscriptions are in the pool.

use std::time::Duration;

use super::Pools;
use crate::core::id::{LimitGroup, PoolIndex};
use crate::core::limit::pacing::Group;
use crate::core::limit::reading::{PoolReading, PoolRoom, WindowReading};
use crate::core::time::Timestamp;

/// Pools of more members are summed up so seldom at most: a sum over 1,000 takes tens of microseconds.
const SMALL: usize = 32;
const KEPT: Duration = Duration::from_millis(100);

/// A sum that is kept for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    group: Group,
    at: Timestamp,
    room: PoolRoom,
}

/// Sums on their way; windows are means.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    room: PoolRoom,
    tellers: [u32; 2],
}

impl Pools {
    /// The sums over the distinct quota domains of the pool's enabled subscriptions, of what their answers told of this
    /// group; of windows the mean over those that told them, and the last reset. What was configured and what was
    /// learned from refusals is not told: a client sees only what a provider said. Of a pool of more than 32 it may
    /// be 100 ms old.
    pub fn pool_room(
        &mut self,
        pool: PoolIndex,
        limit_group: &LimitGroup,
        now: Timestamp,
    ) -> PoolRoom {
        let stamp = self.next_sequence();
        let Some(group) = self.book.find(limit_group) else {
            return PoolRoom::NONE;
        };
        let Some(pool) = self.pools.get_mut(pool.at()) else {
            return PoolRoom::NONE;
        };
        let is_small = pool.members.len() <= SMALL;
        if let Some(told) = pool.told.filter(|told| !is_small && told.group == group)
            && now < told.at + KEPT
        {
            return told.room;
        }
        let mut sum = Sum::default();
        for member in &pool.members {
            let own = self.subscriptions.get(member.subscription.at());
            let Some(own) = own.filter(|own| !own.is_closed()) else {
                continue;
            };
            let Some(domain) = self.domains.get_mut(own.domain) else {
                continue;
            };
            if std::mem::replace(&mut domain.told, stamp) == stamp {
                continue;
            }
            if let Some(room) = self.book.told(own.domain, group, now) {
                sum.add(&room);
            }
        }
        let room = sum.finish();
        pool.told = Some(Told {
            group,
            at: now,
            room,
        });
        room
    }
}

impl Sum {
    fn add(&mut self, room: &PoolRoom) {
        for (sum, reading) in self.room.dimensions.iter_mut().zip(&room.dimensions) {
            let Some(reading) = reading else { continue };
            let sum = sum.get_or_insert(PoolReading {
                limit: 0.0,
                remaining: 0.0,
                full_in: Duration::ZERO,
            });
            sum.limit += reading.limit;
            sum.remaining += reading.remaining;
            sum.full_in = sum.full_in.max(reading.full_in);
        }
        let windows = self.room.windows.iter_mut().zip(&mut self.tellers);
        for ((sum, tellers), window) in windows.zip(&room.windows) {
            let Some(window) = window else { continue };
            let sum = sum.get_or_insert(WindowReading {
                remaining: 0.0,
                reset: None,
            });
            sum.remaining += window.remaining;
            sum.reset = sum.reset.max(window.reset);
            *tellers += 1;
        }
    }

    fn finish(mut self) -> PoolRoom {
        for (window, tellers) in self.room.windows.iter_mut().zip(self.tellers) {
            if let Some(window) = window {
                window.remaining /= f64::from(tellers.max(1));
            }
        }
        self.room
    }
}
