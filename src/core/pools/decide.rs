//! Whether a request may go now, whom it takes, what it waits for, or why not (C1, C2, C5, C6, S2): one pure function
//! for those who arrive and those who wait; also when the further pools of its chain are asked (C5, C7). Changes
//! nothing. Law: the scan costs one look at a compact seat for each member that nothing speaks against.

use super::Pools;
use super::claims::Claimed;
use super::demand::{Affinity, Demand, RefusalReason, Refused, Size};
use super::pace::Pace;
use super::table::Pool;
use crate::core::choice::chain::{Link, Via, links};
use crate::core::choice::queue::{LaneKey, Target, Waiter};
use crate::core::choice::select::{Best, Offer, Pick, mark};
use crate::core::choice::standing::{Absence, Cause, Standing};
use crate::core::choice::strategy::{Strategy, by_share};
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::time::Timestamp;

/// What one asks who arrives or waits.
#[derive(Clone, Copy)]
pub(super) struct Asks<'a> {
    pub(super) pool: PoolIndex,
    pub(super) group: &'a LimitGroup,
    /// Of the limit group.
    pub(super) mark: u64,
    pub(super) model: Option<&'a str>,
    /// Nobody else will do.
    pub(super) owner: Option<SubscriptionIndex>,
    /// The further pools of its chain.
    pub(super) links: &'a [Link],
    /// D6: only those are asked.
    pub(super) elsewhere: bool,
    /// A `should` session.
    pub(super) session: Option<SessionKey>,
    pub(super) tried: &'a Tried,
    pub(super) arrival: Timestamp,
    pub(super) deadline: Timestamp,
    /// Waits already: what ends by an event is waited for to the deadline, and who refused may be tried again.
    pub(super) waiting: bool,
    pub(super) size: Size,
    /// What it needs; filled in by [`Pools::decide`].
    pub(super) pace: Pace,
    /// Not for this one: saved up for others.
    pub(super) claimed: &'a Claimed,
}

/// What follows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Go(Pick, Via),
    Wait(Wait),
    Refuse(Refused),
}

/// What to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) target: Target,
    /// When it is expected; what ends by an event stands for its instant.
    pub(super) earliest: Timestamp,
    /// When to ask again, if no event comes before. [`Timestamp::MAX`]: only an event helps.
    pub(super) wake: Timestamp,
    /// What a refusal would say.
    pub(super) reason: RefusalReason,
    /// Who is soonest ready for it, and when time alone brings that about: saved up for it, while it comes first
    /// (SPEC 16.10). `None`: only an event helps.
    pub(super) claims: Option<SubscriptionIndex>,
}

/// The least of what bars the members.
#[derive(Clone, Copy, Debug)]
struct Least {
    until: Timestamp,
    cause: Cause,
    wake: Timestamp,
    absence: Option<Absence>,
    any: bool,
    soonest: Option<(Timestamp, SubscriptionIndex)>,
}

impl Least {
    const NONE: Self = Self {
        until: Timestamp::MAX,
        cause: Cause::Limit,
        wake: Timestamp::MAX,
        absence: None,
        any: false,
        soonest: None,
    };

    fn add(&mut self, of: SubscriptionIndex, standing: &Standing) {
        let sooner = self.soonest.is_none_or(|(wake, _)| standing.wake < wake);
        if sooner && claim(of, standing).is_some() {
            self.soonest = Some((standing.wake, of));
        }
        self.wake = self.wake.min(standing.wake);
        match standing.absence {
            Some(absence) => self.lack(absence),
            None => self.bar(standing.until, standing.cause),
        }
    }

    /// Any other reason beside the model's own bar outweighs it (C6).
    fn lack(&mut self, absence: Absence) {
        match absence {
            Absence::Other => self.absence = Some(Absence::Other),
            Absence::Model => self.absence = self.absence.or(Some(Absence::Model)),
            Absence::NoCandidate => {}
        }
    }

    fn bar(&mut self, until: Timestamp, cause: Cause) {
        if !self.any || until < self.until {
            self.until = until;
            self.cause = cause;
        }
        self.any = true;
    }

    /// That of another pool of the chain.
    fn merge(&mut self, other: &Self) {
        self.wake = self.wake.min(other.wake);
        self.soonest = match (self.soonest, other.soonest) {
            (Some(own), Some(other)) if other.0 < own.0 => Some(other),
            (own, other) => own.or(other),
        };
        if let Some(absence) = other.absence {
            self.lack(absence);
        }
        if other.any {
            self.bar(other.until, other.cause);
        }
    }

    fn reason(&self) -> RefusalReason {
        match self.absence {
            _ if self.any => RefusalReason::of(self.cause),
            Some(absence) => RefusalReason::nobody(absence),
            None => RefusalReason::PoolUnavailable,
        }
    }

    /// C5, steps 4 and 5: it is waited for within the request's time.
    fn wait_or_refuse(&self, deadline: Timestamp) -> Decision {
        let reason = self.reason();
        if !self.any || deadline < self.until {
            let earliest = self.any.then_some(self.until);
            return Decision::Refuse(Refused { reason, earliest });
        }
        Decision::Wait(Wait {
            target: Target::Any,
            earliest: self.until,
            wake: self.wake,
            reason,
            claims: self.soonest.map(|(_, soonest)| soonest),
        })
    }
}

impl Pools {
    /// The one decision.
    pub(super) fn decide(&self, asks: &Asks<'_>, now: Timestamp) -> Decision {
        let Some(pool) = self.pools.get(asks.pool.at()).filter(|pool| !pool.removed) else {
            return Decision::Refuse(Refused {
                reason: RefusalReason::PoolUnavailable,
                earliest: None,
            });
        };
        let asks = &self.paced(*asks);
        if let Some(owner) = asks.owner {
            return self.decide_owner(owner, asks, now);
        }
        if asks.elsewhere {
            let mut least = Least::NONE;
            let found = self.fall_back(asks, &mut least, now);
            return found.unwrap_or_else(|| least.wait_or_refuse(Timestamp::ZERO));
        }
        self.decide_warm(pool, asks, now)
            .unwrap_or_else(|| self.decide_any(pool, asks, now))
    }

    /// S2, must: this subscription alone, through the first pool of the chain that has it.
    fn decide_owner(&self, asked: SubscriptionIndex, asks: &Asks<'_>, now: Timestamp) -> Decision {
        let unavailable = |reason, earliest| Decision::Refuse(Refused { reason, earliest });
        let subscription = self.successor(asked);
        let Some((via, asks)) = self.pool_of_owner(subscription, asks) else {
            return unavailable(RefusalReason::OwnerUnavailable, None);
        };
        let standing = self.standing(subscription, &asks, now);
        match standing.absence {
            None => {}
            Some(Absence::Model) => return unavailable(RefusalReason::ModelUnavailable, None),
            Some(_) => return unavailable(RefusalReason::OwnerUnavailable, None),
        }
        if standing.is_open() {
            return Decision::Go(pick(subscription, &standing), via);
        }
        let reason = match standing.cause {
            Cause::Recheck => RefusalReason::OwnerUnavailable,
            cause => RefusalReason::of(cause),
        };
        if asks.deadline < standing.until {
            return unavailable(reason, Some(standing.until));
        }
        Decision::Wait(Wait {
            target: Target::Must(asked),
            earliest: standing.until,
            wake: standing.wake,
            reason,
            claims: claim(subscription, &standing),
        })
    }

    /// S2, should: the subscription it is bound to, if that one is open or frees in time. `None`: it moves.
    fn decide_warm(&self, pool: &Pool, asks: &Asks<'_>, now: Timestamp) -> Option<Decision> {
        let (subscription, standing) = self.warm(asks, now)?;
        if standing.is_open() {
            return Some(Decision::Go(pick(subscription, &standing), Via::OWN));
        }
        let stick = (asks.arrival + pool.stick_wait).min(asks.deadline);
        let frees = standing.absence.is_none() && standing.until <= stick && now < stick;
        frees.then(|| {
            Decision::Wait(Wait {
                target: Target::Stick(subscription),
                earliest: standing.until,
                wake: standing.wake.min(stick),
                reason: RefusalReason::of(standing.cause),
                claims: claim(subscription, &standing),
            })
        })
    }

    /// The subscription that its session is bound to in this pool.
    fn warm(&self, asks: &Asks<'_>, now: Timestamp) -> Option<(SubscriptionIndex, Standing)> {
        let bound = self.sessions.binding(asks.pool, &asks.session?)?;
        let subscription = self.successor(bound);
        if !self.is_member(subscription, asks.pool) || asks.tried.has_errored(subscription) {
            return None;
        }
        let mut asks = *asks;
        asks.pace.cached = self.cached(asks.pool, &asks.session?, subscription);
        Some((subscription, self.standing(subscription, &asks, now)))
    }

    /// C5's steps: the best of the pool that is open (C2), what frees in it soon, the first further pool with room,
    /// whichever of the chain frees first, a refusal (C6).
    fn decide_any(&self, pool: &Pool, asks: &Asks<'_>, now: Timestamp) -> Decision {
        let mut least = match self.scan(pool, asks, now) {
            Ok(pick) => return Decision::Go(pick, Via::OWN),
            Err(least) => least,
        };
        if !asks.links.is_empty() {
            let patience = (asks.arrival + pool.fallback_after).min(asks.deadline);
            if least.any && least.until <= patience && now < patience {
                return Decision::Wait(Wait {
                    target: Target::Own,
                    earliest: least.until,
                    wake: least.wake.min(patience),
                    reason: least.reason(),
                    claims: least.soonest.map(|(_, soonest)| soonest),
                });
            }
            if let Some(found) = self.fall_back(asks, &mut least, now) {
                return found;
            }
        }
        least.wait_or_refuse(asks.deadline)
    }

    /// The first further pool with room; there too a session goes where its prompt cache is, if that one is open.
    /// `None`: none has, and `least` knows when.
    fn fall_back(&self, asks: &Asks<'_>, least: &mut Least, now: Timestamp) -> Option<Decision> {
        for (via, asks) in asks.of_links() {
            let pool = self.pools.get(asks.pool.at());
            let Some(pool) = pool.filter(|pool| !pool.removed) else {
                continue;
            };
            let asks = self.paced(asks);
            if let Some((subscription, standing)) = self.warm(&asks, now)
                && standing.is_open()
            {
                return Some(Decision::Go(pick(subscription, &standing), via));
            }
            match self.scan(pool, &asks, now) {
                Ok(pick) => return Some(Decision::Go(pick, via)),
                Err(other) => least.merge(&other),
            }
        }
        None
    }

    /// The best of one pool that is open, else what bars its members.
    fn scan(&self, pool: &Pool, asks: &Asks<'_>, now: Timestamp) -> Result<Pick, Least> {
        let mut best = Best::default();
        let mut least = Least::NONE;
        let untried = asks.tried.is_empty();
        let unclaimed = asks.claimed.len() == 0;
        let column = self.column(asks);
        for (position, &member) in pool.members.iter().enumerate() {
            if best.is_settled(member.tier) {
                break;
            }
            let Some(seat) = self.seats.get(member.subscription.at()) else {
                continue;
            };
            let unbarred = !seat.closed && seat.doubts & asks.mark == 0 && !seat.is_full();
            if untried
                && unbarred
                && (unclaimed || !self.is_claimed(member.subscription, asks))
                && let Some(share) = column.glance(seat.domain, asks.pace.rough(seat), now)
            {
                let rank = if pool.strategy == Strategy::Headroom {
                    by_share(share)
                } else {
                    self.rank(pool.strategy, seat, position, share.into(), asks, now)
                };
                let offer = Offer {
                    rank,
                    ..Offer::default()
                };
                best.offer(member, seat, offer);
                continue;
            }
            let standing = self.standing(member.subscription, asks, now);
            if standing.is_open() {
                let share = standing.share;
                let offer = Offer {
                    rank: self.rank(pool.strategy, seat, position, share, asks, now),
                    probe: standing.probe,
                    errored: asks.tried.has_errored(member.subscription),
                    beyond: standing.beyond,
                };
                best.offer(member, seat, offer);
            } else {
                least.add(member.subscription, &standing);
            }
        }
        best.pick().ok_or(least)
    }
}

impl<'a> Asks<'a> {
    /// Of one who arrives.
    pub(super) fn of_demand(demand: &'a Demand, tried: &'a Tried, deadline: Timestamp) -> Self {
        let owner = match demand.affinity {
            Affinity::Must { owner, .. } => Some(owner),
            Affinity::None | Affinity::Should(_) => None,
        };
        Self {
            pool: demand.pool,
            group: &demand.limit_group,
            mark: mark(&demand.limit_group),
            model: demand.model.as_deref(),
            owner,
            links: links(&demand.links),
            elsewhere: demand.elsewhere,
            session: demand.affinity.session(),
            tried,
            arrival: demand.arrival,
            deadline,
            waiting: false,
            size: demand.size,
            pace: Pace::default(),
            claimed: &Claimed::NONE,
        }
    }

    /// Of one who waits.
    pub(super) fn of_waiter(key: &'a LaneKey, waiter: &Waiter) -> Self {
        let owner = match key.target {
            Target::Must(owner) => Some(owner),
            Target::Any | Target::Own | Target::Stick(_) => None,
        };
        Self {
            pool: key.pool,
            group: &key.group,
            mark: mark(&key.group),
            model: key.model.as_deref(),
            owner,
            links: links(&key.links),
            elsewhere: false,
            session: waiter.session,
            tried: &key.tried,
            arrival: waiter.arrival,
            deadline: waiter.deadline,
            waiting: true,
            size: waiter.size,
            pace: Pace::default(),
            claimed: &Claimed::NONE,
        }
    }
}

const fn pick(subscription: SubscriptionIndex, standing: &Standing) -> Pick {
    Pick {
        subscription,
        probe: standing.probe,
    }
}

/// What is saved up for one who waits for it: only where time alone brings it.
fn claim(of: SubscriptionIndex, standing: &Standing) -> Option<SubscriptionIndex> {
    (standing.absence.is_none() && standing.wake < Timestamp::MAX).then_some(of)
}
