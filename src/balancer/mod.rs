//! The pools, shared: one guard around the pure machine, the clock read under it, and whoever waits for an answer.
//! What is decided, `core::pools` decides; this carries it out. Law: under the guard nothing is sent, woken,
//! formatted or grown; grants become leases after release, and a lease that reaches nobody settles itself.

mod lease;
mod waiting;

pub use lease::Lease;
pub use waiting::Waiting;

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::Clock;
use crate::core::choice::queue::WaiterId;
pub use crate::core::choice::session::HandleOwner;
pub use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::ledger::usage::Usage;
use crate::core::limit::reading::{PoolRoom, Readings};
use crate::core::limit::verdict::{Outcome, Verdict};
use crate::core::pools::{
    Acquisition, Applied, Consequences, Demand, Entrance, Layout, Pools, Ticket,
};
pub use crate::core::pools::{PoolsSnapshot, RefusalReason, Refused};
use crate::core::time::Timestamp;
use crate::records::{Record, Records};
use crate::sync::{Mutex, MutexGuard, Notify, oneshot};

type Answer = Result<Lease, Refused>;

/// The balancer. Clones share it.
#[derive(Clone)]
pub struct Balancer(Arc<Shared>);

struct Shared {
    guarded: Mutex<Guarded>,
    clock: Clock,
    records: Records,
    keeper: Notify,
    poisoned: AtomicU64,
    /// Whether an answer has told anything of limits.
    told: AtomicBool,
}

struct Guarded {
    pools: Pools,
    /// By a waiter's place.
    senders: Vec<Option<oneshot::Sender<Answer>>>,
}

/// What an acquire comes to.
#[must_use]
pub enum Acquired {
    /// Go. Dropping it settles it as abandoned.
    Granted(Lease),
    /// Await it. Dropping it leaves the waiting room at once.
    Waiting(Waiting),
    /// Nothing serves within the time.
    Refused(Refused),
}

/// What a section decided, with room for it, kept by its thread from one section to the next.
struct Outbox {
    consequences: Consequences,
    answers: Vec<Addressed>,
}

/// An answer beside the sender that it is for.
struct Addressed {
    /// `None`: nobody is there to take it.
    sender: Option<oneshot::Sender<Answer>>,
    answer: Result<Ticket, Refused>,
}

impl Default for Outbox {
    fn default() -> Self {
        let consequences = Consequences::new();
        let most = consequences.grants.capacity() + consequences.refusals.capacity();
        Self {
            consequences,
            answers: Vec::with_capacity(most),
        }
    }
}

thread_local! {
    static OUTBOX: Cell<Option<Box<Outbox>>> = const { Cell::new(None) };
}

impl Balancer {
    /// Around the pools of a layout, with all memory that they need. Events go to `events`.
    pub fn new(layout: &Layout, clock: Clock, events: Records) -> (Self, Applied) {
        let mut pools = Pools::new(layout.max_sessions, layout.max_handles, fastrand::u64(..));
        let applied = pools.apply(layout, clock.now());
        let mut senders = Vec::new();
        senders.resize_with(pools.waiting_capacity(), || None);
        let balancer = Self(Arc::new(Shared {
            guarded: Mutex::new(Guarded { pools, senders }),
            clock,
            records: events,
            keeper: Notify::new(),
            poisoned: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }));
        (balancer, applied)
    }

    /// Takes a new layout over (D7's reload rules); leases and waiters stay. The sizes of the tables of sessions and
    /// handles do not change. A reload alone allocates under the guard.
    pub fn apply(&self, layout: &Layout) -> Applied {
        let applied = self.section(|guarded, now, _| {
            let applied = guarded.pools.apply(layout, now);
            let capacity = guarded.pools.waiting_capacity();
            guarded.senders.resize_with(capacity, || None);
            applied
        });
        self.section(|guarded, now, consequences| guarded.pools.wake(now, consequences));
        applied
    }

    /// C8: counts an arrival for the pool's retry budget. To be called once per request, before its first acquire:
    /// acquire cannot tell a first try from one again.
    pub fn arrived(&self, pool: PoolIndex) {
        self.section(|guarded, now, _| guarded.pools.arrived(pool, now));
    }

    /// A subscription for the request: now, or after a wait, or not. Where the request waits, and is granted,
    /// go on with a new [`Tried`]: the grant has emptied the list (C8).
    pub fn acquire(&self, demand: &Demand, tried: &Tried) -> Acquired {
        let acquisition = self.section(|guarded, now, consequences| {
            guarded.pools.acquire(demand, tried, now, consequences)
        });
        match acquisition {
            Acquisition::Granted(ticket) => Acquired::Granted(Lease::new(self.clone(), ticket)),
            Acquisition::Refused(refused) => Acquired::Refused(refused),
            Acquisition::MustWait => self.enter(demand, tried),
        }
    }

    /// C8: charges a retry by (b) or (c) to the pool's budget, when it is decided; `false`: the budget is spent.
    pub fn charge_retry(&self, pool: PoolIndex) -> bool {
        self.section(|guarded, now, _| guarded.pools.charge_retry(pool, now))
    }

    /// S3: remembers whose provider-side state lies where. `owner_tag` is a hash of the client or its tenant.
    pub fn remember_handle(
        &self,
        handle: SessionKey,
        owner_tag: u64,
        subscription: SubscriptionIndex,
        pool: PoolIndex,
    ) {
        self.section(|guarded, _, _| {
            guarded
                .pools
                .remember_handle(handle, owner_tag, subscription, pool);
        });
    }

    /// S2, S3: whose state a handle names. Whether that subscription can serve, acquire says.
    pub fn handle_owner(&self, handle: SessionKey, owner_tag: u64) -> HandleOwner {
        self.section(|guarded, _, _| guarded.pools.handle_owner(&handle, owner_tag))
    }

    /// D9: what a pool has left for a limit group. No section while nothing was told.
    pub fn room(&self, pool: PoolIndex, limit_group: &LimitGroup) -> PoolRoom {
        if !self.0.told.load(Ordering::Relaxed) {
            return PoolRoom::NONE;
        }
        self.section(|guarded, now, _| guarded.pools.pool_room(pool, limit_group, now))
    }

    /// Everything at one instant, for metrics and readiness.
    pub fn snapshot(&self) -> PoolsSnapshot {
        let size = self.section(|guarded, _, _| guarded.pools.snapshot_size());
        let mut snapshot = PoolsSnapshot::with_room(size);
        self.section(|guarded, now, _| guarded.pools.snapshot(&mut snapshot, now));
        snapshot.poisoned = self.0.poisoned.load(Ordering::Relaxed);
        snapshot
    }

    /// The keeper of C5: sleeps to the earliest instant at which a waiter could go, and is woken when that changes.
    /// Never ends; to be spawned once, on any runtime. Without it waiters go only when something else happens.
    pub fn keep(&self) -> impl Future<Output = ()> + Send + use<> {
        let balancer = self.clone();
        async move {
            loop {
                let wake = balancer
                    .section(|guarded, now, consequences| guarded.pools.arm(now, consequences));
                let changed = balancer.0.keeper.notified();
                if wake == Timestamp::MAX {
                    changed.await;
                } else {
                    tokio::select! {
                        // Either way it looks again; without a draw the model checker can repeat a schedule.
                        biased;
                        () = balancer.0.clock.sleep_until(wake) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn enter(&self, demand: &Demand, tried: &Tried) -> Acquired {
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let entrance = self.section(|guarded, now, consequences| {
            let entrance = guarded.pools.enter(demand, tried, now, consequences);
            if let Entrance::Waiting { waiter, .. } = entrance
                && let Some(place) = guarded.senders.get_mut(waiter.at())
            {
                std::mem::swap(place, &mut sender);
            }
            entrance
        });
        match entrance {
            Entrance::Granted(ticket) => Acquired::Granted(Lease::new(self.clone(), ticket)),
            Entrance::Refused(refused) => Acquired::Refused(refused),
            Entrance::Waiting { waiter, deadline } => {
                Acquired::Waiting(Waiting::new(self.clone(), waiter, deadline, receiver))
            }
        }
    }

    fn observe(&self, ticket: &Ticket, verdict: &Verdict, readings: &Readings) {
        if !self.0.told.load(Ordering::Relaxed) && !readings.is_empty() {
            self.0.told.store(true, Ordering::Relaxed);
        }
        self.section(|guarded, now, consequences| {
            let pools = &mut guarded.pools;
            pools.observe(ticket, verdict, readings, now, consequences);
        });
    }

    fn is_overtaken(&self, ticket: &Ticket) -> bool {
        self.section(|guarded, now, _| guarded.pools.is_overtaken(ticket, now))
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome, usage: &Usage) {
        self.section(|guarded, now, consequences| {
            let pools = &mut guarded.pools;
            pools.settle(ticket, outcome, usage, now, consequences);
        });
    }

    fn leave(&self, waiter: WaiterId) {
        // The sender is dropped after release.
        let _sender = self.section(|guarded, now, consequences| {
            let still_there = guarded.pools.leave(waiter, now, consequences);
            let place = guarded.senders.get_mut(waiter.at()).filter(|_| still_there);
            place.and_then(Option::take)
        });
    }

    fn expire(&self, waiter: WaiterId) -> Option<Refused> {
        let (refused, _sender) = self.section(|guarded, now, consequences| {
            let refused = guarded.pools.expire(waiter, now, consequences);
            let place = guarded
                .senders
                .get_mut(waiter.at())
                .filter(|_| refused.is_some());
            (refused, place.and_then(Option::take))
        });
        refused
    }

    /// One section under the guard; what it decided is carried out after release.
    fn section<R>(
        &self,
        decide: impl FnOnce(&mut Guarded, Timestamp, &mut Consequences) -> R,
    ) -> R {
        let mut outbox = OUTBOX
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        let result = {
            let mut guarded = self.lock();
            let now = self.0.clock.now();
            let result = decide(&mut guarded, now, &mut outbox.consequences);
            guarded.address(&mut outbox);
            result
        };
        while self.carry_out(&mut outbox) {
            let mut guarded = self.lock();
            let now = self.0.clock.now();
            guarded.pools.wake(now, &mut outbox.consequences);
            guarded.address(&mut outbox);
        }
        let _ = OUTBOX.try_with(|kept| kept.set(Some(outbox)));
        result
    }

    /// Returns whether more is due than the outbox held.
    fn carry_out(&self, outbox: &mut Outbox) -> bool {
        let Outbox {
            consequences,
            answers,
        } = outbox;
        let more = consequences.overflowed;
        consequences.overflowed = false;
        for event in consequences.events.drain(..) {
            self.0.records.push(Record::Event(event));
        }
        if std::mem::take(&mut consequences.rearm) {
            self.0.keeper.notify_one();
        }
        for Addressed { sender, answer } in answers.drain(..) {
            let answer = answer.map(|ticket| Lease::new(self.clone(), ticket));
            // Whoever is gone drops the lease here, which settles it.
            sender.map(|sender| sender.send(answer).is_ok());
        }
        more
    }

    /// A poisoned guard is entered and counted: sections write last, and what is in flight is counted anew.
    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.0.guarded.lock().unwrap_or_else(|poisoned| {
            self.0.guarded.clear_poison();
            self.0.poisoned.fetch_add(1, Ordering::Relaxed);
            let mut guarded = poisoned.into_inner();
            guarded.pools.recount();
            guarded
        })
    }
}

impl Guarded {
    /// Puts each answer beside the sender that it is for.
    fn address(&mut self, outbox: &mut Outbox) {
        let Outbox {
            consequences,
            answers,
        } = outbox;
        let grants = consequences
            .grants
            .drain(..)
            .map(|(waiter, ticket)| (waiter, Ok(ticket)));
        let refusals = consequences
            .refusals
            .drain(..)
            .map(|(waiter, refused)| (waiter, Err(refused)));
        for (waiter, answer) in grants.chain(refusals) {
            let sender = self.senders.get_mut(waiter.at()).and_then(Option::take);
            answers.push(Addressed { sender, answer });
        }
    }
}

impl std::fmt::Debug for Balancer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Balancer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // HARDENING 47, STYLE State: a poisoned guard is entered, counted, and what is in flight counted anew
    #[test]
    fn a_panic_under_the_guard_is_counted_and_survived() {
        let clock = Clock::new();
        let (balancer, _) = Balancer::new(&Layout::default(), clock, Records::new(1));
        let panicking = balancer.clone();
        let thread = std::thread::spawn(move || panicking.section(|_, _, _| panic!("on purpose")));
        assert!(thread.join().is_err());
        assert_eq!(balancer.snapshot().poisoned, 1);
        assert_eq!(balancer.snapshot().poisoned, 1);
    }
}
