//! The right to one attempt. Law: settled exactly once, by [`Lease::settle`] or by being dropped; neither spawns,
//! sleeps or needs a runtime.

use super::Balancer;
use crate::core::choice::chain::Via;
use crate::core::id::{PoolIndex, SubscriptionIndex};
use crate::core::ledger::usage::Usage;
use crate::core::limit::reading::Readings;
use crate::core::limit::verdict::{Outcome, Verdict};
use crate::core::pools::{Ticket, Turn};
use crate::core::time::Timestamp;

/// The right to send one attempt on one subscription. Dropping it settles it as abandoned.
#[must_use = "a dropped lease is an abandoned attempt"]
pub struct Lease {
    balancer: Balancer,
    /// Taken when it is settled.
    ticket: Option<Ticket>,
    subscription: SubscriptionIndex,
    pool: PoolIndex,
    via: Via,
    began: Timestamp,
    probe: bool,
    turn: Option<Turn>,
}

impl Lease {
    pub(super) fn new(balancer: Balancer, ticket: Ticket) -> Self {
        Self {
            balancer,
            subscription: ticket.subscription(),
            pool: ticket.pool(),
            via: ticket.via(),
            began: ticket.began(),
            probe: ticket.is_probe(),
            turn: ticket.turn(),
            ticket: Some(ticket),
        }
    }

    /// Who serves.
    pub fn subscription(&self) -> SubscriptionIndex {
        self.subscription
    }

    /// Through which pool.
    pub fn pool(&self) -> PoolIndex {
        self.pool
    }

    /// Which of its chain's pools that is.
    pub fn via(&self) -> Via {
        self.via
    }

    /// When it was granted.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Its request's share, kept when it is tried again (C5): for [`Demand::turn`](crate::core::pools::Demand::turn).
    pub fn turn(&self) -> Option<Turn> {
        self.turn
    }

    /// Whether it probes a bar (D5).
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// A verdict is known now, before the attempt has ended: it acts at once. The same verdict at settling counts
    /// nothing more; another one counts too.
    /// `readings`: what the answer's head says of limits, handed over once; [`Readings::NONE`] after that.
    pub fn observe(&self, verdict: &Verdict, readings: &Readings) {
        if let Some(ticket) = &self.ticket {
            self.balancer.observe(ticket, verdict, readings);
        }
    }

    /// Whether a verdict against its subscription was observed since it was granted: an attempt that has not begun is
    /// then not to begin (C8): settle it as [`Outcome::Unsent`] and acquire again. Worth asking where time has passed since the grant:
    /// after a wait, after connecting.
    pub fn is_overtaken(&self) -> bool {
        let ticket = self.ticket.as_ref();
        ticket.is_some_and(|ticket| self.balancer.is_overtaken(ticket))
    }

    /// The attempt has ended. A request that was handed back unsent over a connection that had gone stale is
    /// [`Outcome::Unsent`]: it tells nothing about the server, while a silence counts against it (D11).
    /// `usage`: what the answer reported; where it reported nothing, the reservation counts as spent.
    pub fn settle(mut self, outcome: Outcome, usage: &Usage) {
        if let Some(ticket) = self.ticket.take() {
            self.balancer.settle(ticket, outcome, usage);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.balancer
                .settle(ticket, Outcome::Abandoned, &Usage::default());
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lease")
            .field("subscription", &self.subscription)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}
