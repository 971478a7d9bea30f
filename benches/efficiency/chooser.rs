//! Who serves, behind one interface: authpool's pools (`pooled`) and today's gateways (`baseline`), and what could be
//! reached (`oracle`). Law: a chooser learns only what a proxy would: answers, never the provider's levels.

use std::time::Duration;

use authpool::core::choice::queue::WaiterId;
use authpool::core::choice::tried::Tried;
use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::Readings;
use authpool::core::limit::verdict::Verdict;
use authpool::core::pools::{Demand, Ticket};
use authpool::core::time::Timestamp;

use super::load::Load;

/// One request on its way.
pub struct Course {
    /// What it asks.
    pub demand: Demand,
    /// What it will come to: for the oracle alone.
    pub load: Load,
    pub tried: Tried,
    /// Tries by (b), the first counted.
    pub counted: u8,
    /// Tries of every kind.
    pub tries: u8,
    /// An answer passes if nothing is left; else it waits, and is told the truth.
    pub answered: bool,
    /// Its place, if it waits.
    pub waiter: Option<WaiterId>,
    /// Sent during the outage.
    suffered: bool,
}

impl Course {
    /// Nothing tried yet.
    pub fn new(demand: Demand, load: Load) -> Self {
        Self {
            demand,
            load,
            tried: Tried::new(),
            counted: 1,
            tries: 0,
            answered: false,
            waiter: None,
            suffered: false,
        }
    }

    /// Whether this is its first attempt during the outage.
    pub fn first_in_outage(&mut self) -> bool {
        !std::mem::replace(&mut self.suffered, true)
    }
}

/// The right to one attempt.
pub struct Grant {
    /// On which key.
    pub key: usize,
    /// The pools' own.
    pub ticket: Option<Ticket>,
}

/// What the client sees instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429.
    Limited,
    /// 503: the waiting room is full.
    Full,
    /// 529, as the provider answered.
    Overloaded,
    /// Any other 5xx of our own.
    Unavailable,
}

/// What comes of asking.
pub enum Reply {
    /// Send.
    Go(Grant),
    /// It waits, until then at the latest.
    Waits(Timestamp),
    /// It ends here.
    Fault(Fault),
}

/// What follows a refusal by the provider.
pub enum Next {
    /// Ask again, after this long.
    Again(Duration),
    /// It ends here.
    Fault(Fault),
}

/// What a call decided for requests that wait, by their numbers.
#[derive(Default)]
pub struct Outbox {
    /// They go.
    pub grants: Vec<(usize, Grant)>,
    /// They end.
    pub faults: Vec<(usize, Fault)>,
    /// The keeper is to look again.
    pub rearm: bool,
}

/// Chooses.
pub trait Chooser {
    /// A request has come.
    fn arrived(&mut self, now: Timestamp);
    /// A key for request number `id`.
    fn ask(&mut self, id: usize, course: &mut Course, now: Timestamp, out: &mut Outbox) -> Reply;
    /// An answer's head is there.
    fn head(
        &mut self,
        grant: &Grant,
        verdict: &Verdict,
        readings: &Readings,
        now: Timestamp,
        out: &mut Outbox,
    );
    /// An attempt has ended.
    fn end(
        &mut self,
        grant: Grant,
        load: &Load,
        verdict: Verdict,
        usage: &Usage,
        now: Timestamp,
        out: &mut Outbox,
    );
    /// What the request does after a verdict that is not `ok`.
    fn after(&mut self, course: &mut Course, key: usize, verdict: &Verdict, now: Timestamp)
    -> Next;
    /// A waiter's deadline has come; `None`: it waits no longer.
    fn expire(
        &mut self,
        id: usize,
        course: &mut Course,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Option<Fault>;
    /// The keeper's look; when to look again.
    fn arm(&mut self, now: Timestamp, out: &mut Outbox) -> Timestamp;
}
