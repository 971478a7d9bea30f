//! What an answer does to the pools (D3-D7; D11 in `eject`), at once when it is known, and what the end of an attempt frees. What
//! an answer means, `dialect` read. Law: the same verdict of one attempt counts once, a slot is freed once.

use super::Pools;
use super::consequences::Consequences;
use super::sweep::Touch;
use super::ticket::Ticket;
use crate::core::choice::select::{EVERYBODY, mark};
use crate::core::event::{Change, Event};
use crate::core::id::{LimitGroup, SubscriptionIndex};
use crate::core::ledger::usage::Usage;
use crate::core::limit::breaker::{Bars, Ending, Kind, Raised, Refusal};
use crate::core::limit::reading::Readings;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Outcome, Verdict};
use crate::core::time::Timestamp;

/// Whose bar a verdict is (D3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Subscription,
    Domain,
    Provider,
}

impl Holder {
    fn of(verdict: &Verdict) -> Self {
        if verdict.class == Class::CredentialInvalid
            || verdict.scope.contains(Scope::PER_CREDENTIAL)
        {
            Self::Subscription
        } else if verdict.scope.contains(Scope::PER_IP) {
            Self::Provider
        } else {
            Self::Domain
        }
    }
}

impl Pools {
    /// A verdict is known before the attempt has ended: at commit, or on an error answer; and what the answer's head
    /// says of limits, told once.
    pub fn observe(
        &mut self,
        ticket: &Ticket,
        verdict: &Verdict,
        readings: &Readings,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        let mut changed = self.pace_observed(ticket, verdict, readings, now, consequences);
        changed |= self.judge(ticket, verdict, now, consequences);
        if changed {
            self.sweep(Touch::All, now, consequences);
        }
    }

    /// Whether a verdict observed since the ticket was granted bars what it stands for (C8: no attempt starts after a
    /// verdict against its subscription was observed).
    pub fn is_overtaken(&self, ticket: &Ticket, now: Timestamp) -> bool {
        let own = self.subscriptions.get(ticket.subscription.at());
        own.is_some_and(|own| {
            self.holders(own)
                .any(|bars| bars.refused_after(&ticket.group, ticket.attempt, now))
        })
    }

    /// An attempt has ended: its slot is free, and what its outcome means counts, unless it was observed.
    pub fn settle(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        usage: &Usage,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        if let Outcome::Answered(verdict) = &outcome {
            self.pace_observed(&ticket, verdict, &Readings::NONE, now, consequences);
        }
        self.pace_settled(&ticket, &outcome, usage, now);
        let mut changed = match outcome {
            Outcome::Answered(verdict) => self.judge(&ticket, &verdict, now, consequences),
            Outcome::Silence { .. } => self.failed(&ticket, now, consequences),
            Outcome::Unsent | Outcome::Abandoned => false,
        };
        // Whatever it still was the probe of is free.
        changed |= ticket.probe && self.end(&ticket, Ending::Neither, now, consequences);
        self.tickets.take_back(&ticket);
        let full = self.free_seats(ticket.subscription);
        changed |= !self.queue.is_empty();
        if changed {
            self.sweep(Touch::All, now, consequences);
        } else if full {
            let successor = self.successor(ticket.subscription);
            self.sweep(Touch::Subscription(successor), now, consequences);
        }
    }

    /// One less in flight, for its successors too. Returns whether a cap had been reached.
    fn free_seats(&mut self, subscription: SubscriptionIndex) -> bool {
        let mut full = false;
        let mut next = Some(subscription);
        while let Some(index) = next {
            let Some(seat) = self.seats.get_mut(index.at()) else {
                break;
            };
            full |= seat.is_full();
            seat.in_flight = seat.in_flight.saturating_sub(1);
            next = self
                .subscriptions
                .get(index.at())
                .and_then(|own| own.successor);
        }
        full
    }

    /// Returns whether anybody's standing may have changed.
    fn judge(
        &mut self,
        ticket: &Ticket,
        verdict: &Verdict,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let Some(out) = self.tickets.out(ticket) else {
            return false;
        };
        if out.observed.replace(*verdict) == Some(*verdict) {
            return false;
        }
        let mut changed = match verdict.class {
            Class::Ok => self.end(ticket, Ending::Success, now, consequences),
            Class::ClientError => self.end(ticket, Ending::Passed, now, consequences),
            Class::Overloaded => false,
            Class::UpstreamError => self.failed(ticket, now, consequences),
            Class::RateLimited => {
                self.refuse_bar(ticket, Kind::RateLimited, verdict, now, consequences)
            }
            Class::QuotaExhausted => {
                self.refuse_bar(ticket, Kind::QuotaExhausted, verdict, now, consequences)
            }
            Class::CredentialInvalid => {
                self.refuse_bar(ticket, Kind::Credential, verdict, now, consequences)
            }
        };
        if !matches!(verdict.class, Class::Ok | Class::ClientError) && ticket.probe {
            changed |= self.end(ticket, Ending::Neither, now, consequences);
        }
        if !matches!(verdict.class, Class::Overloaded | Class::UpstreamError) {
            changed |= self.answered(ticket, verdict.class, now, consequences);
        }
        changed
    }

    /// D3, D4, D7: sets the bar that the verdict means.
    fn refuse_bar(
        &mut self,
        ticket: &Ticket,
        kind: Kind,
        verdict: &Verdict,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let refusal = Refusal {
            attempt: ticket.attempt,
            sequence: self.next_sequence(),
            now,
            wait: verdict.wait,
            entropy: ticket.entropy,
        };
        let per_model = verdict.scope.contains(Scope::PER_MODEL);
        let group = per_model.then_some(&ticket.group);
        let holder = Holder::of(verdict);
        let bars = self.bars(ticket.subscription, holder);
        let Some(raised) = bars.and_then(|bars| bars.refuse(kind, group, &refusal)) else {
            return false;
        };
        self.doubt(ticket.subscription, holder, group.map_or(EVERYBODY, mark));
        if raised.news {
            self.tell(
                ticket,
                change(kind, group, verdict.class, raised),
                now,
                consequences,
            );
        }
        true
    }

    fn bars(&mut self, subscription: SubscriptionIndex, holder: Holder) -> Option<&mut Bars> {
        let own = self.subscriptions.get_mut(subscription.at())?;
        match holder {
            Holder::Subscription => Some(&mut own.bars),
            Holder::Domain => self
                .domains
                .get_mut(own.domain)
                .map(|domain| &mut domain.bars),
            Holder::Provider => self
                .providers
                .get_mut(own.provider)
                .map(|provider| &mut provider.bars),
        }
    }

    /// Notes for the scan that a new bar may concern them.
    fn doubt(&mut self, subscription: SubscriptionIndex, holder: Holder, marks: u64) {
        let Some(own) = self.subscriptions.get(subscription.at()) else {
            return;
        };
        let alone = self
            .domains
            .get(own.domain)
            .is_none_or(|domain| !domain.shared);
        if holder == Holder::Subscription || holder == Holder::Domain && alone {
            if let Some(seat) = self.seats.get_mut(subscription.at()) {
                seat.doubts |= marks;
            }
            return;
        }
        for (other, seat) in self.subscriptions.iter().zip(&mut self.seats) {
            let concerned = match holder {
                Holder::Provider => other.provider == own.provider,
                Holder::Subscription | Holder::Domain => other.domain == own.domain,
            };
            if concerned {
                seat.doubts |= marks;
            }
        }
    }

    /// The attempt says nothing against the bars that concern it: its probes end (D5), and after a success the steps
    /// of those that were over before it began are forgotten (D4).
    fn end(
        &mut self,
        ticket: &Ticket,
        ending: Ending,
        now: Timestamp,
        consequences: &mut Consequences,
    ) -> bool {
        let mut changed = false;
        let mut slowly = false;
        for holder in [Holder::Subscription, Holder::Domain, Holder::Provider] {
            let Some(bars) = self
                .bars(ticket.subscription, holder)
                .filter(|bars| !bars.is_empty())
            else {
                continue;
            };
            let told = |group: Option<&LimitGroup>| {
                consequences.tell(Event {
                    at: now,
                    subscription: ticket.subscription,
                    change: Change::Recovered {
                        limit_group: group.cloned(),
                    },
                });
            };
            let recovered = bars.end(&ticket.group, ticket.attempt, ending, now, told);
            if recovered && ticket.probe && ending != Ending::Neither {
                slowly = true;
            }
            changed |= recovered;
        }
        if slowly && let Some(domain) = self.domain_at(ticket.subscription) {
            self.book.start_slowly(domain, &ticket.group, now);
        }
        if ending == Ending::Neither
            && let Some(own) = self.subscriptions.get_mut(ticket.subscription.at())
        {
            changed |= own.ejection.freed(ticket.attempt, now);
        }
        changed
    }

    pub(super) fn tell(
        &self,
        ticket: &Ticket,
        change: Change,
        now: Timestamp,
        consequences: &mut Consequences,
    ) {
        consequences.tell(Event {
            at: now,
            subscription: ticket.subscription,
            change,
        });
    }
}

fn change(kind: Kind, group: Option<&LimitGroup>, class: Class, raised: Raised) -> Change {
    let limit_group = group.cloned();
    let Raised { until, stated, .. } = raised;
    match kind {
        Kind::Credential => Change::Quarantined {
            limit_group,
            recheck: until,
        },
        Kind::RateLimited | Kind::QuotaExhausted => Change::Cooling {
            limit_group,
            until,
            class,
            stated,
        },
    }
}
