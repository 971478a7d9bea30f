//! The rules of D3-D7, D11, C1, C2, C5, C6, C8 and S2 as tables, and laws that random histories keep. `World` moves the
//! time and carries out what a balancer would.

mod affinity;
mod claims;
mod fair;
mod fallback;
mod laws;
mod limits;
mod reload;
mod room;
mod trying;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::core::choice::queue::WaiterId;
use crate::core::choice::tried::Tried;
use crate::core::event::{Change, Event};
use crate::core::id::{ClientIndex, LimitGroup};
use crate::core::ledger::usage::Usage;
use crate::core::limit::reading::{Dimension, Readings};
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Outcome, Verdict};

const MAIN: PoolIndex = PoolIndex(0);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn sub(index: u16) -> SubscriptionIndex {
    SubscriptionIndex(index)
}

fn group(name: &str) -> LimitGroup {
    LimitGroup::new(name)
}

fn subscription(id: &str) -> SubscriptionLayout {
    SubscriptionLayout {
        id: Arc::from(id),
        provider: Arc::from("provider"),
        endpoint: Arc::from("https://endpoint"),
        domain: Arc::from(id),
        models: vec!["*".to_owned()],
        fingerprint: 1,
        limits: vec![boundless()],
        ..SubscriptionLayout::default()
    }
}

/// So that no slow start is in the way: limits are known, and out of reach.
fn boundless() -> LimitLayout {
    LimitLayout {
        dimension: Dimension::Requests,
        limit: 1e9,
        period: seconds(60),
        models: Vec::new(),
    }
}

fn pool(id: &str, members: &[usize]) -> PoolLayout {
    PoolLayout {
        id: Arc::from(id),
        members: members.to_vec(),
        strategy: crate::core::choice::strategy::Strategy::LeastInFlight,
        ..PoolLayout::default()
    }
}

/// One pool of this many subscriptions, each a domain of its own, all of one provider.
fn layout(subscriptions: usize) -> Layout {
    let ids = (0..subscriptions).map(|index| format!("s{index}"));
    Layout {
        subscriptions: ids.map(|id| subscription(&id)).collect(),
        pools: vec![pool("main", &(0..subscriptions).collect::<Vec<_>>())],
        max_sessions: 64,
        max_handles: 64,
    }
}

fn limited(wait: Option<Duration>) -> Verdict {
    Verdict {
        wait,
        ..Verdict::of(Class::RateLimited)
    }
}

fn scoped(class: Class, scope: Scope, wait: Option<Duration>) -> Verdict {
    Verdict { class, scope, wait }
}

struct World {
    pools: Pools,
    layout: Layout,
    applied: Applied,
    now: Timestamp,
    out: Consequences,
    granted: Vec<(WaiterId, Ticket)>,
    refused: Vec<(WaiterId, Refused)>,
    events: Vec<Event>,
}

impl World {
    fn new(layout: Layout) -> Self {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut pools = Pools::new(layout.max_sessions, layout.max_handles, 42);
        let applied = pools.apply(&layout, now);
        Self {
            pools,
            layout,
            applied,
            now,
            out: Consequences::new(),
            granted: Vec::new(),
            refused: Vec::new(),
            events: Vec::new(),
        }
    }

    fn of(subscriptions: usize) -> Self {
        Self::new(layout(subscriptions))
    }

    fn carry_out(&mut self) {
        loop {
            self.granted.append(&mut self.out.grants);
            self.refused.append(&mut self.out.refusals);
            self.events.append(&mut self.out.events);
            if !std::mem::take(&mut self.out.overflowed) {
                return;
            }
            self.pools.wake(self.now, &mut self.out);
        }
    }

    /// Lets time pass; then the keeper looks.
    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.pools.wake(self.now, &mut self.out);
        self.carry_out();
    }

    fn reload(&mut self) {
        self.applied = self.pools.apply(&self.layout, self.now);
        self.pools.wake(self.now, &mut self.out);
        self.carry_out();
    }

    /// This subscription has room for so many tokens, none of them now.
    fn scarce(&mut self, of: SubscriptionIndex, per_second: u64, most: u64) {
        let domain = self.pools.domain_at(of).unwrap();
        let (gain, limit) = (per_second as f64, most as f64);
        self.pools.book.starve(domain, gain, limit, self.now);
    }

    fn demand(&self) -> Demand {
        Demand {
            model: Some(Arc::from("m1")),
            ..Demand::new(MAIN, group("m1"), self.now)
        }
    }

    fn of_model(&self, model: &str) -> Demand {
        Demand {
            limit_group: group(model),
            model: Some(Arc::from(model)),
            ..self.demand()
        }
    }

    fn try_acquire(&mut self, demand: &Demand, tried: &Tried) -> Acquisition {
        let acquisition = self.pools.acquire(demand, tried, self.now, &mut self.out);
        self.carry_out();
        acquisition
    }

    #[track_caller]
    fn grant_to(&mut self, demand: &Demand, tried: &Tried) -> Ticket {
        match self.try_acquire(demand, tried) {
            Acquisition::Granted(ticket) => ticket,
            other => panic!("not granted: {other:?}"),
        }
    }

    #[track_caller]
    fn grant(&mut self, demand: &Demand) -> Ticket {
        self.grant_to(demand, &Tried::new())
    }

    #[track_caller]
    fn take(&mut self) -> Ticket {
        self.grant(&self.demand())
    }

    /// A ticket on this subscription; others are taken and given back meanwhile.
    #[track_caller]
    fn take_on(&mut self, wanted: SubscriptionIndex) -> Ticket {
        let demand = Demand {
            affinity: Affinity::Must {
                owner: wanted,
                session: None,
            },
            ..self.demand()
        };
        self.grant(&demand)
    }

    #[track_caller]
    fn refusal_of(&mut self, demand: &Demand) -> Refused {
        match self.try_acquire(demand, &Tried::new()) {
            Acquisition::Refused(refused) => refused,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[track_caller]
    fn wait(&mut self, demand: &Demand) -> WaiterId {
        self.wait_with(demand, &Tried::new())
    }

    #[track_caller]
    fn wait_with(&mut self, demand: &Demand, tried: &Tried) -> WaiterId {
        let entrance = self.pools.enter(demand, tried, self.now, &mut self.out);
        self.carry_out();
        match entrance {
            Entrance::Waiting { waiter, .. } => waiter,
            other => panic!("does not wait: {other:?}"),
        }
    }

    fn leave(&mut self, waiter: WaiterId) -> bool {
        let left = self.pools.leave(waiter, self.now, &mut self.out);
        self.carry_out();
        left
    }

    fn observe(&mut self, ticket: &Ticket, verdict: Verdict) {
        self.pools
            .observe(ticket, &verdict, &Readings::NONE, self.now, &mut self.out);
        self.carry_out();
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.pools
            .settle(ticket, outcome, &Usage::default(), self.now, &mut self.out);
        self.carry_out();
    }

    fn answer(&mut self, ticket: Ticket, verdict: Verdict) {
        self.settle(ticket, Outcome::Answered(verdict));
    }

    /// One request on this subscription with this answer.
    #[track_caller]
    fn answered_on(&mut self, wanted: SubscriptionIndex, verdict: Verdict) {
        let ticket = self.take_on(wanted);
        self.answer(ticket, verdict);
    }

    /// One request through this pool with this answer.
    #[track_caller]
    fn answered_on_pool(&mut self, pool: PoolIndex, verdict: Verdict) {
        let demand = Demand {
            pool,
            ..self.demand()
        };
        let ticket = self.grant(&demand);
        self.answer(ticket, verdict);
    }

    /// Whether a request could take it now, in a pool that has it.
    fn is_open(&mut self, wanted: SubscriptionIndex, demand: &Demand) -> bool {
        let demand = Demand {
            affinity: Affinity::Must {
                owner: wanted,
                session: None,
            },
            ..demand.clone()
        };
        match self.try_acquire(&demand, &Tried::new()) {
            Acquisition::Granted(ticket) => {
                self.settle(ticket, Outcome::Abandoned);
                true
            }
            Acquisition::MustWait | Acquisition::Refused(_) => false,
        }
    }

    fn opens(&mut self, wanted: SubscriptionIndex) -> bool {
        self.is_open(wanted, &self.demand())
    }

    fn snapshot(&self) -> PoolsSnapshot {
        let mut snapshot = PoolsSnapshot::with_room(self.pools.snapshot_size());
        self.pools.snapshot(&mut snapshot, self.now);
        snapshot
    }

    #[track_caller]
    fn state(&self, of: SubscriptionIndex) -> State {
        let snapshot = self.snapshot();
        let mut views = snapshot.subscriptions.iter();
        views.find(|view| view.index == of).expect("a view").state
    }

    fn in_flight(&self) -> u32 {
        self.snapshot()
            .subscriptions
            .iter()
            .map(|view| view.in_flight)
            .sum()
    }

    fn changes(&mut self) -> Vec<Change> {
        self.events.drain(..).map(|event| event.change).collect()
    }

    /// Who was granted since last asked, in order.
    fn grantees(&mut self) -> Vec<WaiterId> {
        let granted: Vec<_> = self.granted.drain(..).collect();
        let mut waiters = Vec::new();
        for (waiter, ticket) in granted {
            waiters.push(waiter);
            self.settle(ticket, Outcome::Abandoned);
        }
        waiters
    }
}
