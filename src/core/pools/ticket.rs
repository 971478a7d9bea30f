//! The pure half of a lease: what was taken, by whom, and since when; and the table of all that are out. Law: a ticket
//! moves, it is never copied; its slot is freed once, so that what is in flight can be counted again from the table.

use crate::core::choice::chain::Via;
use crate::core::choice::fair::Turn;
use crate::core::id::{LimitGroup, PoolIndex, SessionKey, SubscriptionIndex};
use crate::core::limit::breaker::Attempt;
use crate::core::limit::pacing::Amounts;
use crate::core::limit::verdict::Verdict;
use crate::core::time::Timestamp;

/// At most so many attempts at once in the process; beyond, a pool counts as limited. Allocated at the start.
pub const MOST_TICKETS: usize = 1 << 16;

/// The right to one attempt on one subscription. To be settled, once.
#[derive(Debug)]
#[must_use = "a ticket that is dropped leaks its slot"]
pub struct Ticket {
    pub(super) subscription: SubscriptionIndex,
    pub(super) pool: PoolIndex,
    pub(super) via: Via,
    pub(super) group: LimitGroup,
    pub(super) attempt: Attempt,
    pub(super) probe: bool,
    pub(super) entropy: u64,
    turn: Option<Turn>,
    slot: u32,
}

impl Ticket {
    /// Who serves.
    pub const fn subscription(&self) -> SubscriptionIndex {
        self.subscription
    }

    /// Through which pool.
    pub const fn pool(&self) -> PoolIndex {
        self.pool
    }

    /// Which of its chain's pools that is.
    pub const fn via(&self) -> Via {
        self.via
    }

    /// When it was granted.
    pub const fn began(&self) -> Timestamp {
        self.attempt.began
    }

    /// Its request's share, kept when it is tried again (C5): for [`Demand::turn`](super::Demand::turn).
    pub const fn turn(&self) -> Option<Turn> {
        self.turn
    }

    pub(super) const fn in_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Whether it probes a bar (D5).
    pub const fn is_probe(&self) -> bool {
        self.probe
    }
}

/// What a ticket has reserved (C4).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reserved {
    pub(super) amounts: Amounts,
    /// The request's bytes, for the next estimate; 0: it carries no tokens.
    pub(super) bytes: u64,
    /// Whose answer it will be, by the pool that serves.
    pub(super) session: Option<(PoolIndex, SessionKey)>,
}

/// What is remembered of a ticket that is out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Out {
    pub(super) subscription: Option<SubscriptionIndex>,
    /// What was reserved for it.
    pub(super) reserved: Reserved,
    /// The verdict that was observed last: the same one again counts nothing.
    pub(super) observed: Option<Verdict>,
    /// An attempt counts as one failure at most (D11).
    pub(super) failed: bool,
    /// Pacing has counted it as answered, or as refused.
    pub(super) paced: bool,
    /// What it had reserved has been given back.
    pub(super) returned: bool,
}

/// All tickets that are out.
#[derive(Debug)]
pub(super) struct Tickets {
    out: Vec<Out>,
    free: Vec<u32>,
}

impl Tickets {
    pub(super) fn new() -> Self {
        Self {
            out: Vec::with_capacity(MOST_TICKETS),
            free: Vec::with_capacity(MOST_TICKETS),
        }
    }

    /// Whether there is none left to give.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.out.len() >= MOST_TICKETS
    }

    /// `None`: all are out.
    pub(super) fn issue(
        &mut self,
        (subscription, pool): (SubscriptionIndex, PoolIndex),
        group: LimitGroup,
        attempt: Attempt,
        probe: bool,
        entropy: u64,
        reserved: Reserved,
    ) -> Option<Ticket> {
        let out = Out {
            subscription: Some(subscription),
            reserved,
            ..Out::default()
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.out.get_mut(slot as usize)? = out;
                slot
            }
            None if self.is_full() => return None,
            None => {
                self.out.push(out);
                u32::try_from(self.out.len() - 1).ok()?
            }
        };
        Some(Ticket {
            subscription,
            pool,
            via: Via::OWN,
            group,
            attempt,
            probe,
            entropy,
            turn: None,
            slot,
        })
    }

    pub(super) fn out(&mut self, ticket: &Ticket) -> Option<&mut Out> {
        self.out.get_mut(ticket.slot as usize)
    }

    pub(super) fn take_back(&mut self, ticket: &Ticket) {
        if let Some(out) = self.out(ticket) {
            *out = Out::default();
            self.free.push(ticket.slot);
        }
    }

    /// Whose tickets are out, once for each.
    pub(super) fn holders(&self) -> impl Iterator<Item = SubscriptionIndex> {
        self.out.iter().filter_map(|out| out.subscription)
    }
}
