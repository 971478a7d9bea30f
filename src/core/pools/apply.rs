//! A new configuration over the running state (D7's reload rules). What stays is kept by id; a changed credential or
//! provider gets a fresh row, which the old one names as its successor: sessions, handles and in-flight caps follow,
//! verdicts of attempts with the old credential do not. Law: an index is never used again; what is removed drains.
//! A reload is rare: this alone may allocate under the guard.

use std::collections::HashMap;
use std::sync::Arc;

use super::Pools;
use super::layout::{Applied, Layout, PoolLayout, SubscriptionLayout};
use super::table::{DOMAIN_BARS, Domain, Pool, Provider, SUBSCRIPTION_BARS, Subscription};
use crate::core::choice::globs::Models;
use crate::core::choice::select::{Member, Seat};
use crate::core::id::{PoolIndex, SubscriptionIndex};
use crate::core::limit::breaker::Bars;
use crate::core::limit::ejection::Ejection;
use crate::core::limit::retry::RetryBudget;
use crate::core::time::Timestamp;

/// What a request adds to the pass of a subscription of weight 1.
const STRIDE: u64 = 1 << 20;
/// Names no row.
const NOWHERE: SubscriptionIndex = SubscriptionIndex(u16::MAX);

impl Pools {
    /// Takes a layout over. Waiters are asked again by the next [`wake`](Pools::wake), which is to follow at once.
    pub fn apply(&mut self, layout: &Layout, now: Timestamp) -> Applied {
        let known = self.latest_by_id();
        let subscriptions: Vec<_> = layout
            .subscriptions
            .iter()
            .map(|row| self.apply_subscription(row, known.get(&row.id).copied(), now))
            .collect();
        for (place, own) in self.subscriptions.iter_mut().enumerate() {
            let stays = subscriptions.iter().any(|index| index.at() == place);
            own.draining |= !stays;
            own.pools.clear();
        }
        for pool in &mut self.pools {
            pool.removed = true;
            pool.members.clear();
        }
        let pools = layout
            .pools
            .iter()
            .map(|row| self.apply_pool(row, layout, &subscriptions))
            .collect();
        self.lay_out_pacing(layout, &subscriptions, now);
        self.finish(now);
        Applied {
            subscriptions,
            pools,
        }
    }

    /// The latest row of each id, if it is still the one to speak for it.
    fn latest_by_id(&self) -> HashMap<Arc<str>, SubscriptionIndex> {
        let rows = self.subscriptions.iter().enumerate();
        rows.filter(|(_, own)| own.successor.is_none())
            .map(|(place, own)| (Arc::clone(&own.id), index(place)))
            .collect()
    }

    fn apply_subscription(
        &mut self,
        row: &SubscriptionLayout,
        known: Option<SubscriptionIndex>,
        now: Timestamp,
    ) -> SubscriptionIndex {
        let same = known.filter(|known| {
            let own = self.subscriptions.get(known.at());
            own.is_some_and(|own| own.fingerprint == row.fingerprint && !own.draining)
        });
        let place = match same {
            Some(same) => same,
            None => match self.add(row, known) {
                Some(added) => added,
                None => return NOWHERE,
            },
        };
        let domain = self.domain_of(row, place);
        let provider = self.provider(&row.provider);
        let endpoint = self.endpoint(&row.endpoint);
        let Some(own) = self.subscriptions.get_mut(place.at()) else {
            return NOWHERE;
        };
        own.domain = domain;
        own.provider = provider;
        own.endpoint = endpoint;
        own.enabled = row.enabled;
        own.counting = row.counting;
        own.models = Models::new(&row.models, &row.deny_models);
        own.bars.recheck(now);
        if let Some(seat) = self.seats.get_mut(place.at()) {
            seat.cap = row.max_in_flight.unwrap_or(u32::MAX);
            seat.stride = STRIDE / u64::from(row.weight.max(1));
        }
        place
    }

    /// A new row. What was under this id before drains, and counts against the same cap until it is gone; where its
    /// credential is the same again, its bars still hold.
    fn add(
        &mut self,
        row: &SubscriptionLayout,
        former: Option<SubscriptionIndex>,
    ) -> Option<SubscriptionIndex> {
        let place = index(self.subscriptions.len());
        if place == NOWHERE {
            return None;
        }
        let mut own = Subscription {
            id: Arc::clone(&row.id),
            provider: 0,
            endpoint: 0,
            domain: self.domains.len(),
            enabled: row.enabled,
            draining: false,
            successor: None,
            fingerprint: row.fingerprint,
            models: Models::default(),
            counting: row.counting,
            bars: Bars::new(SUBSCRIPTION_BARS),
            ejection: Ejection::default(),
            pools: Vec::new(),
            sessions: 0,
        };
        let mut domain = Bars::new(DOMAIN_BARS);
        let mut seat = Seat::default();
        if let Some(former) = former {
            if let Some(old) = self.subscriptions.get_mut(former.at()) {
                old.draining = true;
                old.successor = Some(place);
                if old.fingerprint == row.fingerprint {
                    own.bars.merge(&old.bars);
                    if let Some(theirs) = self.domains.get(old.domain) {
                        domain.merge(&theirs.bars);
                    }
                }
            }
            seat.in_flight = self.seats.get(former.at()).map_or(0, |seat| seat.in_flight);
        }
        self.domains.push(Domain {
            name: None,
            bars: domain,
            organisation: None,
            shared: false,
            told: 0,
        });
        self.subscriptions.push(own);
        self.seats.push(seat);
        Some(place)
    }

    /// The domain that it belongs to from now on. What is known of the limits of the one it leaves still holds for
    /// it: of two cooldowns the later instant stays.
    fn domain_of(&mut self, row: &SubscriptionLayout, place: SubscriptionIndex) -> usize {
        let current = self
            .subscriptions
            .get(place.at())
            .map_or(0, |own| own.domain);
        let name = row.domain_named.then_some(&row.domain);
        if self
            .domains
            .get(current)
            .is_some_and(|domain| domain.name.as_ref() == name)
        {
            return current;
        }
        let named = self
            .domains
            .iter()
            .position(|domain| name.is_some() && domain.name.as_ref() == name);
        let next = named.unwrap_or_else(|| {
            self.domains.push(Domain {
                name: name.cloned(),
                bars: Bars::new(DOMAIN_BARS),
                organisation: None,
                shared: false,
                told: 0,
            });
            self.domains.len() - 1
        });
        let left = self.domains.get(current).map(|domain| domain.bars.clone());
        if let (Some(domain), Some(left)) = (self.domains.get_mut(next), left) {
            domain.bars.merge(&left);
        }
        next
    }

    fn provider(&mut self, id: &Arc<str>) -> usize {
        let known = self
            .providers
            .iter()
            .position(|provider| provider.id == *id);
        known.unwrap_or_else(|| {
            self.providers.push(Provider {
                id: Arc::clone(id),
                bars: Bars::new(DOMAIN_BARS),
            });
            self.providers.len() - 1
        })
    }

    fn endpoint(&mut self, origin: &Arc<str>) -> usize {
        let known = self.endpoints.iter().position(|known| known == origin);
        known.unwrap_or_else(|| {
            self.endpoints.push(Arc::clone(origin));
            self.endpoints.len() - 1
        })
    }

    fn apply_pool(
        &mut self,
        row: &PoolLayout,
        layout: &Layout,
        at: &[SubscriptionIndex],
    ) -> PoolIndex {
        let known = self.pools.iter().position(|pool| pool.id == row.id);
        let place = known.unwrap_or_else(|| {
            self.pools.push(Pool {
                id: Arc::clone(&row.id),
                removed: false,
                members: Vec::new(),
                restricts: false,
                max_wait: row.max_wait,
                max_waiting: row.max_waiting,
                stick_wait: row.stick_wait,
                fallback_after: row.fallback_after,
                strategy: row.strategy,
                retries: RetryBudget::new(),
                waiting: 0,
                handles: 0,
                told: None,
            });
            self.pools.len() - 1
        });
        let pool = PoolIndex(u16::try_from(place).unwrap_or(u16::MAX));
        let members = self.members(row, pool, layout, at);
        let restricts = members.iter().any(|member| {
            let own = self.subscriptions.get(member.subscription.at());
            own.is_some_and(|own| own.models.restricts())
        });
        if let Some(pool) = self.pools.get_mut(place) {
            pool.removed = false;
            pool.members = members;
            pool.restricts = restricts;
            pool.max_wait = row.max_wait;
            pool.max_waiting = row.max_waiting;
            pool.stick_wait = row.stick_wait;
            pool.fallback_after = row.fallback_after;
            pool.strategy = row.strategy;
        }
        pool
    }

    /// The rows that it names, by tier, each once.
    fn members(
        &mut self,
        row: &PoolLayout,
        pool: PoolIndex,
        layout: &Layout,
        at: &[SubscriptionIndex],
    ) -> Vec<Member> {
        let mut members = Vec::with_capacity(row.members.len());
        for &member in &row.members {
            let (Some(subscription), Some(own)) =
                (at.get(member), layout.subscriptions.get(member))
            else {
                continue;
            };
            if let Some(own) = self.subscriptions.get_mut(subscription.at())
                && !own.pools.contains(&pool)
            {
                own.pools.push(pool);
            } else {
                continue;
            }
            members.push(Member {
                subscription: *subscription,
                tier: own.priority,
            });
        }
        members.sort_by_key(|member| member.tier);
        members
    }

    /// What follows from the rows: who is a candidate, who can no longer be spared (D11: a pool of one never
    /// ejects), and room for all who may wait.
    fn finish(&mut self, now: Timestamp) {
        for place in 0..self.subscriptions.len() {
            let Some(own) = self.subscriptions.get_mut(place) else {
                break;
            };
            let alone = own.pools.iter().any(|pool| {
                let pool = self.pools.get(pool.at());
                pool.is_some_and(|pool| pool.members.len() == 1)
            });
            if alone {
                own.ejection = Ejection::default();
            }
            if let Some(seat) = self.seats.get_mut(place) {
                seat.closed = own.is_closed();
            }
            self.refresh(index(place), now);
        }
        let live = self.pools.iter().filter(|pool| !pool.removed);
        let waiters = live
            .map(|pool| pool.max_waiting)
            .fold(0, usize::saturating_add);
        self.queue.reserve(waiters, self.pools.len());
        self.queue.wake_all(now);
    }
}

fn index(place: usize) -> SubscriptionIndex {
    SubscriptionIndex(u16::try_from(place).unwrap_or(u16::MAX))
}
