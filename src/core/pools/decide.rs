//! Whether a request may go now, whom it takes, what it waits for, or why not (C1, C2, C5, C6, S2): one pure function
//! for those who arrive and those who wait. Changes nothing. Law: the scan costs one look at a compact seat for each
//! member that nothing speaks against.

use super::Pools;
use super::claims::Claimed;
use super::demand::{Affinity, Demand, RefusalReason, Refused};
use super::table::Pool;
use crate::core::choice::queue::{LaneKey, Target, Waiter};
use crate::core::choice::select::{Best, Pick, mark};
use crate::core::choice::standing::{Absence, Cause, Standing};
use crate::core::choice::tried::Tried;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::time::Timestamp;

/// What one asks who arrives or waits.
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
    /// Not for this one: saved up for others.
    pub(super) claimed: &'a Claimed,
    #[cfg(test)]
    pub(super) size: super::demand::Size,
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
            claims: claim(subscription, &standing),
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
                claims: claim(subscription, &standing),
            })
        })
    }

    /// The best of the pool that is open (C2), else whichever frees first (C5, C6).
    fn decide_any(&self, pool: &Pool, asks: &Asks<'_>, now: Timestamp) -> Decision {
        let mut best = Best::default();
        let mut least = Least::NONE;
        let untried = asks.tried.is_empty();
        for &member in &pool.members {
            if best.is_settled(member.tier) {
                break;
            }
            let Some(seat) = self.seats.get(member.subscription.at()) else {
                continue;
            };
            let unbarred = !seat.closed && seat.doubts & asks.mark == 0 && !seat.is_full();
            if untried && unbarred && !self.is_claimed(member.subscription, asks) {
                best.offer(member, seat, false, false);
                continue;
            }
            let standing = self.standing(member.subscription, asks, now);
            if standing.is_open() {
                let errored = asks.tried.has_errored(member.subscription);
                best.offer(member, seat, standing.probe, errored);
            } else {
                least.add(member.subscription, &standing);
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
            claims: least.soonest.map(|(_, soonest)| soonest),
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
            claimed: &Claimed::NONE,
            #[cfg(test)]
            size: demand.size,
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
            claimed: &Claimed::NONE,
            #[cfg(test)]
            size: waiter.size,
        }
    }
}

/// What is saved up for one who waits for it: only where time alone brings it.
fn claim(of: SubscriptionIndex, standing: &Standing) -> Option<SubscriptionIndex> {
    (standing.absence.is_none() && standing.wake < Timestamp::MAX).then_some(of)
}
