//! What a request asks of the further pools of its chain (C7), and who of them serves. When it is their turn, `decide`
//! says.

use std::sync::Arc;

use super::Pools;
use super::consequences::Consequences;
use super::decide::Asks;
use super::ticket::Ticket;
use crate::core::choice::chain::{Links, Via, links};
use crate::core::choice::queue::LaneKey;
use crate::core::choice::select::mark;
use crate::core::event::{Change, Event};
use crate::core::id::{LimitGroup, PoolIndex, SubscriptionIndex};
use crate::core::time::Timestamp;

/// What is asked of a pool: which one, whose limit, and the model that is sent there.
pub(super) type Asked<'a> = (PoolIndex, &'a LimitGroup, &'a Option<Arc<str>>);

/// What is asked at one place of a chain, of its own pool or a further one.
pub(super) fn place<'a>(via: Via, own: Asked<'a>, chain: &'a Links) -> Asked<'a> {
    let link = via.link().and_then(|position| links(chain).get(position));
    link.map_or(own, |link| (link.pool, &link.limit_group, &link.model))
}

impl<'a> Asks<'a> {
    /// What it asks of each further pool of its chain, in order.
    pub(super) fn of_links(&self) -> impl Iterator<Item = (Via, Self)> + use<'a> {
        let own = *self;
        own.links.iter().enumerate().map(move |(position, link)| {
            let asks = Self {
                pool: link.pool,
                group: &link.limit_group,
                mark: mark(&link.limit_group),
                model: link.model.as_deref(),
                ..own
            };
            (Via::at(position), asks)
        })
    }
}

impl Pools {
    /// The first pool of the chain that the owner of its state belongs to, and what is asked there.
    pub(super) fn pool_of_owner<'a>(
        &self,
        owner: SubscriptionIndex,
        asks: &Asks<'a>,
    ) -> Option<(Via, Asks<'a>)> {
        std::iter::once((Via::OWN, *asks))
            .chain(asks.of_links())
            .find(|(_, asks)| self.is_member(owner, asks.pool))
            .map(|(via, asks)| (via, self.paced(asks)))
    }

    /// With what it needs there.
    pub(super) fn paced<'a>(&self, asks: Asks<'a>) -> Asks<'a> {
        Asks {
            pace: self.pace(&asks),
            ..asks
        }
    }

    /// Whether it can serve those of a lane, through any pool of their chain.
    pub(super) fn is_in_chain(&self, subscription: SubscriptionIndex, key: &LaneKey) -> bool {
        self.is_member(subscription, key.pool)
            || links(&key.links)
                .iter()
                .any(|link| self.is_member(subscription, link.pool))
    }

    /// Marks through which pool it goes, and tells where that is not the request's own.
    pub(super) fn mark_via(
        &self,
        ticket: &mut Ticket,
        own: PoolIndex,
        via: Via,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        ticket.via = via;
        if via == Via::OWN {
            return;
        }
        let name = |pool: PoolIndex| self.pools.get(pool.at()).map(|pool| Arc::clone(&pool.id));
        if let (Some(from), Some(to)) = (name(own), name(ticket.pool)) {
            consequences.tell(Event {
                at: now,
                subscription: ticket.subscription,
                change: Change::FellBack { from, to },
            });
        }
    }
}
