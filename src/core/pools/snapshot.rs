//! The pools as metrics and readiness see them (O6). Filled into memory that its reader brings; computed from facts and
//! `now`, so that a bar that is over is not shown as one.

use std::sync::Arc;
use std::time::Duration;

use super::Pools;
use super::table::Subscription;
use crate::core::choice::standing::Standing;
use crate::core::id::{LimitGroup, PoolIndex, SubscriptionIndex};
use crate::core::limit::breaker::{Bars, Kind, Stage};
use crate::core::time::Timestamp;

/// Exactly one holds: the last that applies in this order (O6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing bars it.
    Ready,
    /// A cooldown bars it, for all models or for a limit group.
    Cooling,
    /// A bar is over and its probe is to come or out.
    Probing,
    /// D11.
    Ejected,
    /// Its credential was refused, and the re-check is not due.
    Quarantined,
    /// `enabled = false`.
    Disabled,
    /// Removed or replaced; only what is under way still runs.
    Draining,
}

impl State {
    /// All, in their order.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Cooling,
        Self::Probing,
        Self::Ejected,
        Self::Quarantined,
        Self::Disabled,
        Self::Draining,
    ];

    /// O6's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cooling => "cooling",
            Self::Probing => "probing",
            Self::Ejected => "ejected",
            Self::Quarantined => "quarantined",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
        }
    }
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its row.
    pub index: SubscriptionIndex,
    /// Its id.
    pub id: Arc<str>,
    /// How it is.
    pub state: State,
    /// Attempts under way, of what it replaced too.
    pub in_flight: u32,
    /// Sessions bound to it.
    pub sessions: u32,
}

/// One cooldown that holds for a subscription: its own, its domain's or its provider's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CooldownView {
    /// Whose.
    pub subscription: SubscriptionIndex,
    /// `None`: all models.
    pub limit_group: Option<LimitGroup>,
    /// Until it ends; above zero. The longest, where several hold for one limit group.
    pub remaining: Duration,
}

/// What is left of one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadroomView {
    /// The quota domain: as named, else its first subscription's id.
    pub domain: Arc<str>,
    /// Whose limit.
    pub limit_group: LimitGroup,
    /// What is counted.
    pub dimension: &'static str,
    /// 0..=1.
    pub share: f64,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Its row.
    pub index: PoolIndex,
    /// Its id.
    pub id: Arc<str>,
    /// How many wait.
    pub waiting: usize,
    /// Members that a request without a model and without a limit of its own could take now.
    pub open: usize,
    /// Handles remembered for it.
    pub handles: u32,
}

/// Everything at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolsSnapshot {
    /// In the order of rows; those that drain without anything under way are left out.
    pub subscriptions: Vec<SubscriptionView>,
    /// By subscription.
    pub cooldowns: Vec<CooldownView>,
    /// Of limits that answers told or the configuration names.
    pub headrooms: Vec<HeadroomView>,
    /// In the order of rows; removed ones are left out.
    pub pools: Vec<PoolView>,
    /// Sessions remembered.
    pub sessions: usize,
    /// Bindings that moved, since the start.
    pub session_moves: u64,
    /// `must` handles remembered.
    pub handles: usize,
    /// How often the guard was found poisoned by a panic, since the start.
    pub poisoned: u64,
}

impl PoolsSnapshot {
    /// Room for what [`Pools::snapshot_size`] counted.
    pub fn with_room(size: SnapshotSize) -> Self {
        Self {
            subscriptions: Vec::with_capacity(size.subscriptions),
            cooldowns: Vec::with_capacity(size.cooldowns),
            headrooms: Vec::with_capacity(size.headrooms),
            pools: Vec::with_capacity(size.pools),
            ..Self::default()
        }
    }
}

/// How much a snapshot holds at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotSize {
    subscriptions: usize,
    cooldowns: usize,
    headrooms: usize,
    pools: usize,
}

impl Pools {
    /// How much a snapshot would hold.
    pub fn snapshot_size(&self) -> SnapshotSize {
        let bars = |own: &Subscription| self.holders(own).map(Bars::len).sum::<usize>();
        SnapshotSize {
            subscriptions: self.subscriptions.len(),
            cooldowns: self.subscriptions.iter().map(bars).sum(),
            headrooms: self.book.most_shares(),
            pools: self.pools.len(),
        }
    }

    /// Fills a snapshot. What came in since its size was taken is left out rather than grown for.
    pub fn snapshot(&self, into: &mut PoolsSnapshot, now: Timestamp) {
        for (place, (own, seat)) in self.subscriptions.iter().zip(&self.seats).enumerate() {
            let gone = own.draining && (seat.in_flight == 0 || own.successor.is_some());
            if gone || into.subscriptions.len() == into.subscriptions.capacity() {
                continue;
            }
            let index = SubscriptionIndex(u16::try_from(place).unwrap_or(u16::MAX));
            into.subscriptions.push(SubscriptionView {
                index,
                id: Arc::clone(&own.id),
                state: self.state(own, now),
                in_flight: seat.in_flight,
                sessions: own.sessions,
            });
            self.cooldowns(index, own, into, now);
        }
        for (place, pool) in self
            .pools
            .iter()
            .enumerate()
            .filter(|(_, pool)| !pool.removed)
        {
            if into.pools.len() == into.pools.capacity() {
                break;
            }
            into.pools.push(PoolView {
                index: PoolIndex(u16::try_from(place).unwrap_or(u16::MAX)),
                id: Arc::clone(&pool.id),
                waiting: pool.waiting,
                open: self.open_members(pool, now),
                handles: pool.handles,
            });
        }
        self.headrooms(into, now);
        into.sessions = self.sessions.len();
        into.session_moves = self.session_moves;
        into.handles = self.handles.len();
    }

    fn headrooms(&self, into: &mut PoolsSnapshot, now: Timestamp) {
        let name = |domain: usize| {
            let named = self.domains.get(domain)?.name.as_ref();
            let first = || {
                let mut own = self.subscriptions.iter();
                own.find(|own| own.domain == domain && !own.draining)
                    .map(|own| &own.id)
            };
            named.or_else(first)
        };
        for share in self.book.shares(now) {
            if into.headrooms.len() == into.headrooms.capacity() {
                break;
            }
            let Some(domain) = name(share.domain) else {
                continue;
            };
            into.headrooms.push(HeadroomView {
                domain: Arc::clone(domain),
                limit_group: share.group.clone(),
                dimension: share.dimension,
                share: share.left,
            });
        }
    }

    fn open_members(&self, pool: &super::table::Pool, now: Timestamp) -> usize {
        let members = pool.members.iter();
        members
            .filter(|member| {
                let at = member.subscription.at();
                let seat = self.seats.get(at);
                let own = self.subscriptions.get(at);
                let free = seat.is_some_and(|seat| !seat.closed && !seat.is_full());
                free && own.is_some_and(|own| self.barred_altogether(own, now).is_open())
            })
            .count()
    }

    /// What bars it for every model.
    fn barred_altogether(&self, own: &Subscription, now: Timestamp) -> Standing {
        let mut standing = Standing::OPEN;
        for bars in self.holders(own) {
            bars.weigh_all_models(now, &mut standing);
        }
        own.ejection.weigh(now, now, &mut standing);
        standing
    }

    pub(super) fn holders<'a>(&'a self, own: &'a Subscription) -> impl Iterator<Item = &'a Bars> {
        let domain = self.domains.get(own.domain).map(|domain| &domain.bars);
        let provider = self
            .providers
            .get(own.provider)
            .map(|provider| &provider.bars);
        [Some(&own.bars), domain, provider].into_iter().flatten()
    }

    fn state(&self, own: &Subscription, now: Timestamp) -> State {
        let mut state = State::Ready;
        for summary in self.holders(own).flat_map(|bars| bars.summaries(now)) {
            let bar = match (summary.stage, summary.kind) {
                (Stage::HalfOpen, _) => State::Probing,
                (Stage::Standing { .. }, Kind::Credential) if summary.group.is_none() => {
                    State::Quarantined
                }
                (Stage::Standing { .. }, _) => State::Cooling,
            };
            state = state.max(bar);
        }
        if own.ejection.until(now).is_some() {
            state = state.max(State::Ejected);
        } else if own.ejection.is_active() {
            state = state.max(State::Probing);
        }
        if !own.enabled {
            state = state.max(State::Disabled);
        }
        if own.draining { State::Draining } else { state }
    }

    fn cooldowns(
        &self,
        subscription: SubscriptionIndex,
        own: &Subscription,
        into: &mut PoolsSnapshot,
        now: Timestamp,
    ) {
        let first = into.cooldowns.len();
        for summary in self.holders(own).flat_map(|bars| bars.summaries(now)) {
            let Stage::Standing { until } = summary.stage else {
                continue;
            };
            if summary.kind == Kind::Credential {
                continue;
            }
            let remaining = until.since(now);
            let mut ours = into.cooldowns.iter_mut().skip(first);
            let same = ours.find(|known| known.limit_group.as_ref() == summary.group);
            if let Some(known) = same {
                known.remaining = known.remaining.max(remaining);
            } else if into.cooldowns.len() < into.cooldowns.capacity() {
                into.cooldowns.push(CooldownView {
                    subscription,
                    limit_group: summary.group.cloned(),
                    remaining,
                });
            }
        }
    }
}
