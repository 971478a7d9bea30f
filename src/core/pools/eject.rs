//! Ejection from the pools (D11): what counts, and whether they can spare the subscription. Counts and the bar itself
//! are `limit::ejection`'s. Law: at the instant of ejection at most half of any pool is out, and another member serves.

use super::Pools;
use super::claims::Claimed;
use super::consequences::Consequences;
use super::decide::Asks;
use super::demand::Size;
use super::pace::Pace;
use super::ticket::Ticket;
use crate::core::choice::select::{EVERYBODY, mark};
use crate::core::choice::tried::Tried;
use crate::core::event::Change;
use crate::core::id::{LimitGroup, SubscriptionIndex};
use crate::core::limit::ejection::Failure;
use crate::core::limit::verdict::Class;
use crate::core::time::Timestamp;

impl Pools {
    /// D11: an answer that is no failure.
    pub(super) fn answered(
        &mut self,
        ticket: &Ticket,
        class: Class,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let passes = matches!(class, Class::Ok | Class::ClientError);
        let Some(own) = self.subscriptions.get_mut(ticket.subscription.at()) else {
            return false;
        };
        let passed = own.ejection.answered(ticket.attempt, passes, now);
        if passed {
            self.tell(
                ticket,
                Change::Recovered { limit_group: None },
                now,
                consequences,
            );
        }
        passed
    }

    /// D11: `upstream_error`, silence, or a failed connect.
    pub(super) fn failed(
        &mut self,
        ticket: &Ticket,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let counted = self
            .tickets
            .out(ticket)
            .is_some_and(|out| std::mem::replace(&mut out.failed, true));
        let own = self.subscriptions.get_mut(ticket.subscription.at());
        let Some(own) = own.filter(|own| !counted && !own.draining) else {
            return false;
        };
        let until = match own.ejection.failed(ticket.attempt, now) {
            Failure::Counted => return false,
            Failure::Renewed { until } => until,
            Failure::Enough if self.can_spare(ticket.subscription, &ticket.group, now) => {
                let Some(until) = self.eject(ticket.subscription, now) else {
                    return false;
                };
                until
            }
            Failure::Enough => return false,
        };
        self.tell(ticket, Change::Ejected { until }, now, consequences);
        true
    }

    fn eject(&mut self, subscription: SubscriptionIndex, now: Timestamp) -> Option<Timestamp> {
        let own = self.subscriptions.get_mut(subscription.at())?;
        self.seats.get_mut(subscription.at())?.doubts = EVERYBODY;
        Some(own.ejection.eject(now))
    }

    /// D11: in every pool at most half may be ejected, and another member must be eligible.
    fn can_spare(
        &self,
        subscription: SubscriptionIndex,
        group: &LimitGroup,
        now: Timestamp,
    ) -> bool {
        let Some(own) = self.subscriptions.get(subscription.at()) else {
            return false;
        };
        let pools = own
            .pools
            .iter()
            .filter_map(|pool| Some((*pool, self.pools.get(pool.at())?)));
        let mut any = false;
        for (index, pool) in pools {
            any = true;
            let others = || {
                let members = pool.members.iter().map(|member| member.subscription);
                members.filter(|other| *other != subscription)
            };
            let ejected = others().filter(|other| {
                let other = self.subscriptions.get(other.at());
                other.is_some_and(|other| other.ejection.is_active())
            });
            let asks = Asks {
                pool: index,
                group,
                mark: mark(group),
                model: None,
                owner: None,
                links: &[],
                elsewhere: false,
                session: None,
                tried: &Tried::new(),
                arrival: now,
                deadline: now,
                waiting: false,
                size: Size::default(),
                pace: Pace::default(),
                claimed: &Claimed::NONE,
            };
            let half = pool.members.len() / 2;
            let replaceable = others().any(|other| self.standing(other, &asks, now).is_open());
            if ejected.count() >= half || !replaceable {
                return false;
            }
        }
        any
    }
}
