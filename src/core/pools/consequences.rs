//! What a call decided for others: to be carried out after the guard is released. Law: allocated beforehand and never
//! grown; a full one ends the sweep, which goes on with the next call.

use super::demand::Refused;
use super::ticket::Ticket;
use crate::core::choice::queue::WaiterId;
use crate::core::event::Event;

const ANSWERS: usize = 64;
/// One for each grant that fell back, and those of what is observed.
const EVENTS: usize = 2 * ANSWERS;

/// Grants and refusals of waiters, events, and whether the keeper sleeps too long.
#[derive(Debug)]
pub struct Consequences {
    /// Waiters that may go, in their order.
    pub grants: Vec<(WaiterId, Ticket)>,
    /// Waiters that news has put beyond their time.
    pub refusals: Vec<(WaiterId, Refused)>,
    /// Changes of state.
    pub events: Vec<Event>,
    /// The keeper is to look again when to wake.
    pub rearm: bool,
    /// More answers are due than these hold: carry these out and call [`Pools::wake`](super::Pools::wake).
    pub overflowed: bool,
}

impl Consequences {
    /// Empty, with room.
    pub fn new() -> Self {
        Self {
            grants: Vec::with_capacity(ANSWERS),
            refusals: Vec::with_capacity(ANSWERS),
            events: Vec::with_capacity(EVENTS),
            rearm: false,
            overflowed: false,
        }
    }

    /// Whether it holds no further answer.
    pub(super) fn is_full(&self) -> bool {
        self.grants.len() >= ANSWERS || self.refusals.len() >= ANSWERS
    }

    /// Notes a change. Beyond the room, which no call reaches, it is dropped.
    pub(super) fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS {
            self.events.push(event);
        }
    }
}

impl Default for Consequences {
    fn default() -> Self {
        Self::new()
    }
}
