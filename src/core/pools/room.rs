//! What a pool has left for one limit group, as its clients are told (D9). How it is worded is `dialect::limits`'.

use super::Pools;
use crate::core::id::{LimitGroup, PoolIndex};
use crate::core::limit::reading::PoolRoom;
use crate::core::time::Timestamp;

impl Pools {
    /// The sums over the distinct quota domains of the pool's usable subscriptions, of what their answers told of this
    /// group; of windows the mean over the subscriptions that told them, and the last reset. What was configured and
    /// what was learned from refusals is not told: a client sees only what a provider said. Until accounts hand their
    /// readings on, that is nothing.
    pub fn pool_room(
        &self,
        _pool: PoolIndex,
        _limit_group: &LimitGroup,
        _now: Timestamp,
    ) -> PoolRoom {
        PoolRoom::NONE
    }
}
