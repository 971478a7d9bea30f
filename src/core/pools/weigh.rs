//! All that bars one subscription for one request (C1): bars, ejection, caps, and what the request has tried. Changes
//! nothing. Whether it goes, waits or is refused follows in `decide`.

use super::Pools;
use super::decide::Asks;
use super::table::Subscription;
use crate::core::choice::standing::{Absence, Cause, EVENT, Standing};
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SubscriptionIndex};
use crate::core::limit::pacing::Room;
use crate::core::time::Timestamp;

impl Pools {
    /// All that bars one subscription for one request.
    pub(super) fn standing(
        &self,
        subscription: SubscriptionIndex,
        asks: &Asks<'_>,
        now: Timestamp,
    ) -> Standing {
        let (Some(own), Some(seat)) = (
            self.subscriptions.get(subscription.at()),
            self.seats.get(subscription.at()),
        ) else {
            return Standing::absent(Absence::NoCandidate);
        };
        if own.draining
            || !own.models.allow(asks.model)
            || self.is_ruled_out(subscription, own, asks.tried)
            || (asks.elsewhere && self.is_overloaded(own, asks.tried))
        {
            return Standing::absent(Absence::NoCandidate);
        }
        if seat.closed {
            return Standing::absent(Absence::Other);
        }
        let event = if asks.waiting { now } else { now + EVENT };
        let mut standing = Standing::OPEN;
        if seat.doubts & asks.mark != 0 {
            self.weigh(own, asks.group, now, event, &mut standing);
        }
        if seat.is_full() {
            standing.event(event, Timestamp::MAX, Cause::Limit);
        }
        if self.is_claimed(subscription, asks) {
            standing.event(event, Timestamp::MAX, Cause::Limit);
        }
        match self.room(seat, asks, now) {
            Room::Open(share) => standing.share = share,
            Room::Beyond => standing.beyond = true,
            Room::Closed {
                until,
                event: false,
            } => standing.bar(until, Cause::Limit),
            Room::Closed { until, event: true } => standing.event(event, until, Cause::Limit),
        }
        let refused = !asks.waiting && self.has_refused(subscription, own, asks);
        if refused && standing.is_open() {
            standing.event(now, now, Cause::Limit);
        }
        standing
    }

    /// Its bars, its domain's and its provider's, and its ejection.
    fn weigh(
        &self,
        own: &Subscription,
        group: &LimitGroup,
        now: Timestamp,
        event: Timestamp,
        standing: &mut Standing,
    ) {
        own.bars.weigh(group, now, event, standing);
        if let Some(domain) = self.domains.get(own.domain) {
            domain.bars.weigh(group, now, event, standing);
        }
        if let Some(provider) = self.providers.get(own.provider) {
            provider.bars.weigh(group, now, event, standing);
        }
        own.ejection.weigh(now, event, standing);
    }

    /// C8 (c), (d): what this request has tried speaks against it altogether.
    fn is_ruled_out(
        &self,
        subscription: SubscriptionIndex,
        own: &Subscription,
        tried: &Tried,
    ) -> bool {
        if tried.is_empty() {
            return false;
        }
        let shares = |other: SubscriptionIndex| {
            let other = self.subscriptions.get(other.at());
            other.is_some_and(|other| other.endpoint == own.endpoint)
        };
        (tried.wants_another() && tried.has_errored(subscription))
            || tried.unreachable().any(shares)
    }

    /// D6: its provider was overloaded for this request.
    fn is_overloaded(&self, own: &Subscription, tried: &Tried) -> bool {
        tried.overloads().any(|other| {
            let other = self.subscriptions.get(other.at());
            other.is_some_and(|other| other.provider == own.provider)
        })
    }

    /// C8 (a): it, or its domain for this limit group, refused this request, which has not waited since.
    fn has_refused(
        &self,
        subscription: SubscriptionIndex,
        own: &Subscription,
        asks: &Asks<'_>,
    ) -> bool {
        if asks.tried.is_empty() {
            return false;
        }
        let shares = |other: SubscriptionIndex| {
            let other = self.subscriptions.get(other.at());
            other.is_some_and(|other| other.domain == own.domain)
        };
        let domain = self.domains.get(own.domain);
        asks.tried.has_refused(subscription)
            || domain.is_some_and(|domain| domain.bars.refused_since(asks.group, asks.arrival))
                && asks.tried.refusers().any(shares)
    }

    pub(super) fn is_member(&self, subscription: SubscriptionIndex, pool: PoolIndex) -> bool {
        let own = self.subscriptions.get(subscription.at());
        own.is_some_and(|own| own.pools.contains(&pool))
    }
}
