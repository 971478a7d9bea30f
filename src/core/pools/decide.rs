//! Whether a request may go now, whom it takes, what it waits for, or why not (C1, C2, C5, C6, S2): one pure function
//! for those who arrive and those who wait. Changes nothing. Law: the scan costs one look at a compact seat for each
//! member that nothing speaks against.

use super::Pools;
use super::demand::{Affinity, Demand, RefusalReason, Refused, Size};
use super::pace::Pace;
use super::table::Pool;
use crate::core::choice::queue::{LaneKey, Target, Waiter};
use crate::core::choice::select::{Best, Offer, Pick, mark};
use crate::core::choice::standing::{Absence, Cause, Standing};
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::limit::pacing::Room;
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
}

/// What follows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Go(Pick),
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
}

/// The least of what bars the members.
#[derive(Clone, Copy, Debug)]
struct Least {
    until: Timestamp,
    cause: Cause,
    wake: Timestamp,
    absence: Option<Absence>,
    any: bool,
}

impl Least {
    const NONE: Self = Self {
        until: Timestamp::MAX,
        cause: Cause::Limit,
        wake: Timestamp::MAX,
        absence: None,
        any: false,
    };

    fn add(&mut self, standing: &Standing) {
        self.wake = self.wake.min(standing.wake);
        match standing.absence {
            // Any other reason beside the model's own bar outweighs it (C6).
            Some(Absence::Other) => self.absence = Some(Absence::Other),
            Some(Absence::Model) => self.absence = self.absence.or(Some(Absence::Model)),
            Some(Absence::NoCandidate) => {}
            None => {
                if !self.any || standing.until < self.until {
                    self.until = standing.until;
                    self.cause = standing.cause;
                }
                self.any = true;
            }
        }
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
        let asks = &Asks {
            pace: self.pace(asks),
            ..*asks
        };
        if let Some(owner) = asks.owner {
            return self.decide_owner(owner, asks, now);
        }
        self.decide_warm(pool, asks, now)
            .unwrap_or_else(|| self.decide_any(pool, asks, now))
    }

    /// S2, must: this subscription alone.
    fn decide_owner(&self, asked: SubscriptionIndex, asks: &Asks<'_>, now: Timestamp) -> Decision {
        let unavailable = |reason, earliest| Decision::Refuse(Refused { reason, earliest });
        let subscription = self.successor(asked);
        let standing = self.standing(subscription, asks, now);
        if !self.is_member(subscription, asks.pool) {
            return unavailable(RefusalReason::OwnerUnavailable, None);
        }
        match standing.absence {
            None => {}
            Some(Absence::Model) => return unavailable(RefusalReason::ModelUnavailable, None),
            Some(_) => return unavailable(RefusalReason::OwnerUnavailable, None),
        }
        if standing.is_open() {
            let probe = standing.probe;
            return Decision::Go(Pick {
                subscription,
                probe,
            });
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
        })
    }

    /// S2, should: the subscription it is bound to, if that one is open or frees in time. `None`: it moves.
    fn decide_warm(&self, pool: &Pool, asks: &Asks<'_>, now: Timestamp) -> Option<Decision> {
        let bound = self.sessions.binding(asks.pool, &asks.session?)?;
        let subscription = self.successor(bound);
        if !self.is_member(subscription, asks.pool) || asks.tried.has_errored(subscription) {
            return None;
        }
        let standing = self.standing(subscription, asks, now);
        if standing.is_open() {
            let probe = standing.probe;
            return Some(Decision::Go(Pick {
                subscription,
                probe,
            }));
        }
        let stick = (asks.arrival + pool.stick_wait).min(asks.deadline);
        let frees = standing.absence.is_none() && standing.until <= stick && now < stick;
        frees.then(|| {
            Decision::Wait(Wait {
                target: Target::Stick(subscription),
                earliest: standing.until,
                wake: standing.wake.min(stick),
                reason: RefusalReason::of(standing.cause),
            })
        })
    }

    /// The best of the pool that is open (C2), else whichever frees first (C5, C6).
    fn decide_any(&self, pool: &Pool, asks: &Asks<'_>, now: Timestamp) -> Decision {
        let mut best = Best::default();
        let mut least = Least::NONE;
        let untried = asks.tried.is_empty();
        for (position, &member) in pool.members.iter().enumerate() {
            if best.is_settled(member.tier) {
                break;
            }
            let Some(seat) = self.seats.get(member.subscription.at()) else {
                continue;
            };
            if untried
                && !seat.closed
                && seat.doubts & asks.mark == 0
                && !seat.is_full()
                && let Room::Open(share) = self.room(seat, asks, now)
            {
                let rank = self.rank(pool.strategy, seat, position, share, asks, now);
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
                least.add(&standing);
            }
        }
        if let Some(pick) = best.pick() {
            return Decision::Go(pick);
        }
        let reason = match least.absence {
            _ if least.any => RefusalReason::of(least.cause),
            Some(absence) => RefusalReason::nobody(absence),
            None => RefusalReason::PoolUnavailable,
        };
        if !least.any || asks.deadline < least.until {
            let earliest = least.any.then_some(least.until);
            return Decision::Refuse(Refused { reason, earliest });
        }
        Decision::Wait(Wait {
            target: Target::Any,
            earliest: least.until,
            wake: least.wake,
            reason,
        })
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
            session: demand.affinity.session(),
            tried,
            arrival: demand.arrival,
            deadline,
            waiting: false,
            size: demand.size,
            pace: Pace::default(),
        }
    }

    /// Of one who waits.
    pub(super) fn of_waiter(key: &'a LaneKey, waiter: &Waiter) -> Self {
        let owner = match key.target {
            Target::Must(owner) => Some(owner),
            Target::Any | Target::Stick(_) => None,
        };
        Self {
            pool: key.pool,
            group: &key.group,
            mark: mark(&key.group),
            model: key.model.as_deref(),
            owner,
            session: waiter.session,
            tried: &key.tried,
            arrival: waiter.arrival,
            deadline: waiter.deadline,
            waiting: true,
            size: waiter.size,
            pace: Pace::default(),
        }
    }
}
