//! Every pool, quota domain and subscription behind acquire, observe, settle, apply and snapshot. Only composes:
//! bars and their probes are `limit::breaker`'s, ejections `limit::ejection`'s, order and choice `choice`'s; sharing
//! it between threads, waking and telling are `balancer`'s.
//!
//! Laws: whether a subscription may serve is computed from stored facts and `now`; a cap is checked and taken in one
//! step; every ticket is settled once; after each call no waiter is left that could go, or the call says so
//! ([`Consequences::overflowed`]).

mod acquire;
mod apply;
mod behind;
mod chain;
mod claims;
mod consequences;
mod decide;
mod demand;
mod eject;
mod keeper;
mod layout;
mod observe;
mod pace;
mod patience;
mod room;
mod snapshot;
mod sweep;
mod table;
mod ticket;
mod wait;
mod weigh;

#[cfg(test)]
mod tests;

pub use crate::core::choice::fair::Turn;
pub use acquire::Acquisition;
pub use consequences::Consequences;
pub use demand::{Affinity, Demand, Priority, RefusalReason, Refused, Size};
pub use layout::{Applied, Layout, LimitLayout, PoolLayout, SubscriptionLayout};
pub use snapshot::{
    CooldownView, HeadroomView, PoolView, PoolsSnapshot, SnapshotSize, State, SubscriptionView,
};
pub use ticket::{MOST_TICKETS, Ticket};
pub use wait::Entrance;

use std::sync::Arc;

use self::table::{Domain, Pool, Provider, Subscription};
use self::ticket::Tickets;
pub use crate::core::choice::chain::{Link, Links, MOST_POOLS, Via};
use crate::core::choice::queue::Queue;
use crate::core::choice::select::Seat;
use crate::core::choice::session::{HandleOwner, Handles, Sessions};
use crate::core::id::{PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::limit::pacing::Book;
use crate::core::time::Timestamp;

/// The whole state of choosing.
#[derive(Debug)]
pub struct Pools {
    subscriptions: Vec<Subscription>,
    /// What the scan reads of `subscriptions`, at the same positions.
    seats: Vec<Seat>,
    domains: Vec<Domain>,
    providers: Vec<Provider>,
    endpoints: Vec<Arc<str>>,
    pools: Vec<Pool>,
    sessions: Sessions,
    session_moves: u64,
    handles: Handles,
    tickets: Tickets,
    queue: Queue,
    book: Book,
    /// What `weighted` has given so far.
    pass: u64,
    /// The order of takings and observations.
    sequence: u64,
    sweeps: u64,
    /// What the keeper sleeps to; [`Timestamp::MAX`]: it waits to be woken.
    armed: Timestamp,
}

impl Pools {
    /// Nothing to choose from yet. Sessions and handles get their memory here; `seed` is to be secret.
    pub fn new(max_sessions: u32, max_handles: u32, seed: u64) -> Self {
        Self {
            subscriptions: Vec::new(),
            seats: Vec::new(),
            domains: Vec::new(),
            providers: Vec::new(),
            endpoints: Vec::new(),
            pools: Vec::new(),
            sessions: Sessions::new(max_sessions, seed),
            session_moves: 0,
            handles: Handles::new(max_handles, seed.rotate_left(17)),
            tickets: Tickets::new(),
            queue: Queue::new(),
            book: Book::new(),
            pass: 0,
            sequence: 0,
            sweeps: 0,
            armed: Timestamp::MAX,
        }
    }

    /// C8: counts an arrival for the pool's retry budget; once per request.
    pub fn arrived(&mut self, pool: PoolIndex, now: Timestamp) {
        if let Some(pool) = self.pools.get_mut(pool.at()) {
            pool.retries.arrived(now);
        }
    }

    /// C8: charges a retry to the pool's budget; `false`: it is spent.
    pub fn charge_retry(&mut self, pool: PoolIndex, now: Timestamp) -> bool {
        let pool = self.pools.get_mut(pool.at());
        pool.is_some_and(|pool| pool.retries.charge(now))
    }

    /// S3: remembers whose state lies where. A client cannot take over another's handle.
    pub fn remember_handle(
        &mut self,
        handle: SessionKey,
        owner_tag: u64,
        subscription: SubscriptionIndex,
        pool: PoolIndex,
    ) {
        let (held, gone) = self.handles.remember(handle, owner_tag, subscription, pool);
        if let Some(pool) = gone.and_then(|gone| self.pools.get_mut(gone.at())) {
            pool.handles = pool.handles.saturating_sub(1);
        }
        if let Some(pool) = self.pools.get_mut(pool.at()).filter(|_| held) {
            pool.handles = pool.handles.saturating_add(1);
        }
    }

    /// S2, S3: whose state it is. A changed credential's successor answers for it.
    pub fn handle_owner(&self, handle: &SessionKey, owner_tag: u64) -> HandleOwner {
        match self.handles.owner(handle, owner_tag) {
            HandleOwner::Known(owner) => HandleOwner::Known(self.successor(owner)),
            other => other,
        }
    }

    /// How many can wait: places of [`WaiterId`](crate::core::choice::queue::WaiterId)s are below it.
    pub fn waiting_capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Counts what is in flight again, from the tickets that are out: after a panic under the guard.
    pub fn recount(&mut self) {
        for seat in &mut self.seats {
            seat.in_flight = 0;
        }
        for place in self.tickets.holders() {
            let mut next = Some(place);
            while let Some(index) = next {
                let Some(seat) = self.seats.get_mut(index.at()) else {
                    break;
                };
                seat.in_flight += 1;
                next = self
                    .subscriptions
                    .get(index.at())
                    .and_then(|own| own.successor);
            }
        }
    }

    /// Who stands for a subscription now: itself, or what replaced it when its credential changed.
    fn successor(&self, subscription: SubscriptionIndex) -> SubscriptionIndex {
        let mut current = subscription;
        while let Some(next) = self
            .subscriptions
            .get(current.at())
            .and_then(|own| own.successor)
        {
            current = next;
        }
        current
    }

    /// The next place in the order of takings and observations.
    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}
