//! authpool's own pools, driven as `Balancer` drives them, with the request path's rules of trying again (C8 a, b).

use std::sync::Arc;
use std::time::Duration;

use authpool::core::choice::strategy::Strategy;
use authpool::core::choice::tried::Tried;
use authpool::core::id::{PoolIndex, SubscriptionIndex};
use authpool::core::ledger::usage::Usage;
use authpool::core::limit::reading::{Counting, Readings};
use authpool::core::limit::verdict::{Class, Outcome, Verdict};
use authpool::core::pools::{
    Acquisition, Consequences, Entrance, Layout, PoolLayout, Pools, RefusalReason,
    SubscriptionLayout, Ticket,
};
use authpool::core::time::Timestamp;

use super::chooser::{Chooser, Course, Fault, Grant, Next, Outbox, Reply};
use super::load::Load;
use super::words::Habit;

/// C8 (b): an overload that states more is not waited for.
const LONGEST_OVERLOAD: Duration = Duration::from_secs(1);
/// C8: tries by (b), the first counted.
const MOST_ATTEMPTS: u8 = 2;
const POOL: PoolIndex = PoolIndex(0);

/// What the pools are laid out by.
pub struct Fleet<'a> {
    /// By what to choose.
    pub strategy: Strategy,
    /// What the operator gives each key by `weight`.
    pub weights: &'a [u16],
    /// The domain's name of each key that the configuration names one for.
    pub domains: Vec<Option<&'static str>>,
    /// Whose limiter counts.
    pub habit: Habit,
    /// How many may wait.
    pub max_waiting: usize,
    /// How long.
    pub max_wait: Duration,
}

/// authpool's own.
pub struct Pooled {
    pools: Pools,
    consequences: Consequences,
    /// Who waits at each place.
    waiting: Vec<usize>,
}

impl Pooled {
    /// Nothing learned.
    pub fn new(fleet: &Fleet<'_>, seed: u64, now: Timestamp) -> Self {
        let mut pools = Pools::new(16, 16, seed);
        pools.apply(&layout(fleet), now);
        let waiting = vec![usize::MAX; pools.waiting_capacity()];
        Self {
            pools,
            consequences: Consequences::new(),
            waiting,
        }
    }

    fn carry_out(&mut self, now: Timestamp, out: &mut Outbox) {
        loop {
            for (waiter, ticket) in self.consequences.grants.drain(..) {
                out.grants.push((self.waiting[waiter.at()], grant(ticket)));
            }
            for (waiter, refused) in self.consequences.refusals.drain(..) {
                out.faults
                    .push((self.waiting[waiter.at()], fault(refused.reason)));
            }
            self.consequences.events.clear();
            out.rearm |= std::mem::take(&mut self.consequences.rearm);
            if !std::mem::take(&mut self.consequences.overflowed) {
                return;
            }
            self.pools.wake(now, &mut self.consequences);
        }
    }

    fn enter(&mut self, id: usize, course: &mut Course, now: Timestamp) -> Reply {
        let (demand, tried) = (&course.demand, &course.tried);
        let consequences = &mut self.consequences;
        match self.pools.enter(demand, tried, now, consequences) {
            Entrance::Granted(ticket) => Reply::Go(grant(ticket)),
            Entrance::Refused(refused) => Reply::Fault(fault(refused.reason)),
            Entrance::Waiting { waiter, deadline } => {
                self.waiting[waiter.at()] = id;
                course.waiter = Some(waiter);
                // A grant from the waiting room empties the list (C8).
                course.tried = Tried::new();
                Reply::Waits(deadline)
            }
        }
    }
}

impl Chooser for Pooled {
    fn arrived(&mut self, now: Timestamp) {
        self.pools.arrived(POOL, now);
    }

    fn ask(&mut self, id: usize, course: &mut Course, now: Timestamp, out: &mut Outbox) -> Reply {
        let may_wait = !course.answered;
        let kept = course.demand.max_wait;
        if !may_wait {
            course.demand.max_wait = Some(Duration::ZERO);
        }
        let (demand, tried) = (&course.demand, &course.tried);
        let consequences = &mut self.consequences;
        let acquisition = self.pools.acquire(demand, tried, now, consequences);
        course.demand.max_wait = kept;
        // What was due goes first, as the balancer carries it out between two sections.
        self.carry_out(now, out);
        let reply = match acquisition {
            Acquisition::Granted(ticket) => Reply::Go(grant(ticket)),
            Acquisition::MustWait if may_wait => self.enter(id, course, now),
            Acquisition::Refused(refused) if may_wait => Reply::Fault(fault(refused.reason)),
            Acquisition::MustWait | Acquisition::Refused(_) => Reply::Fault(Fault::Overloaded),
        };
        self.carry_out(now, out);
        reply
    }

    fn head(
        &mut self,
        grant: &Grant,
        verdict: &Verdict,
        readings: &Readings,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if let Some(ticket) = &grant.ticket {
            let consequences = &mut self.consequences;
            self.pools
                .observe(ticket, verdict, readings, now, consequences);
            self.carry_out(now, out);
        }
    }

    fn end(
        &mut self,
        grant: Grant,
        _: &Load,
        verdict: Verdict,
        usage: &Usage,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if let Some(ticket) = grant.ticket {
            let outcome = Outcome::Answered(verdict);
            self.pools
                .settle(ticket, outcome, usage, now, &mut self.consequences);
            self.carry_out(now, out);
        }
    }

    fn after(
        &mut self,
        course: &mut Course,
        key: usize,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Next {
        const MOST_TRIES: u8 = 16;
        if verdict.class != Class::Overloaded {
            course.tried.refused(subscription(key));
            course.answered = false;
            return if course.tries < MOST_TRIES {
                Next::Again(Duration::ZERO)
            } else {
                Next::Fault(Fault::Limited)
            };
        }
        course.answered = true;
        let delay = overload_delay(verdict, course.demand.entropy, course.counted);
        let last = course.demand.arrival + Duration::from_secs(30);
        let again = course.counted < MOST_ATTEMPTS
            && delay.is_some_and(|delay| now + delay <= last)
            && self.pools.charge_retry(POOL, now);
        course.counted += u8::from(again);
        match delay {
            Some(delay) if again => Next::Again(delay),
            _ => Next::Fault(Fault::Overloaded),
        }
    }

    fn expire(
        &mut self,
        _: usize,
        course: &mut Course,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Option<Fault> {
        let waiter = course.waiter?;
        let refused = self.pools.expire(waiter, now, &mut self.consequences);
        self.carry_out(now, out);
        refused.map(|refused| fault(refused.reason))
    }

    fn arm(&mut self, now: Timestamp, out: &mut Outbox) -> Timestamp {
        let wake = self.pools.arm(now, &mut self.consequences);
        self.carry_out(now, out);
        wake
    }
}

fn layout(fleet: &Fleet<'_>) -> Layout {
    let row = |key: usize| {
        let id: Arc<str> = Arc::from(format!("s{key}"));
        SubscriptionLayout {
            domain: fleet.domains[key].map_or_else(|| Arc::clone(&id), Arc::from),
            domain_named: fleet.domains[key].is_some(),
            id,
            provider: Arc::from("provider"),
            endpoint: Arc::from("https://endpoint"),
            models: vec!["*".to_owned()],
            fingerprint: 1,
            weight: fleet.weights[key],
            counting: counting(fleet.habit),
            ..SubscriptionLayout::default()
        }
    };
    let keys = fleet.weights.len();
    Layout {
        subscriptions: (0..keys).map(row).collect(),
        pools: vec![PoolLayout {
            id: Arc::from("main"),
            members: (0..keys).collect(),
            max_wait: fleet.max_wait,
            max_waiting: fleet.max_waiting,
            strategy: fleet.strategy,
            ..PoolLayout::default()
        }],
        max_sessions: 16,
        max_handles: 16,
    }
}

fn counting(habit: Habit) -> Counting {
    Counting {
        input_without_cache: habit == Habit::Anthropic,
        ignores_cache_reads: habit == Habit::Anthropic,
        reserves_max_tokens: habit == Habit::OpenAi,
    }
}

fn grant(ticket: Ticket) -> Grant {
    Grant {
        key: ticket.subscription().at(),
        ticket: Some(ticket),
    }
}

fn subscription(key: usize) -> SubscriptionIndex {
    SubscriptionIndex(key as u16)
}

fn fault(reason: RefusalReason) -> Fault {
    match reason {
        RefusalReason::PoolLimited => Fault::Limited,
        RefusalReason::QueueFull => Fault::Full,
        RefusalReason::PoolUnavailable
        | RefusalReason::ModelUnavailable
        | RefusalReason::OwnerUnavailable => Fault::Unavailable,
    }
}

/// C8 (b), as the request path has it.
fn overload_delay(verdict: &Verdict, entropy: u64, tries: u8) -> Option<Duration> {
    let delay = Duration::from_millis(500 + entropy.rotate_right(u32::from(tries)) % 501);
    match verdict.wait {
        Some(stated) if stated > LONGEST_OVERLOAD => None,
        Some(stated) if !stated.is_zero() => Some(delay.min(stated)),
        _ => Some(delay),
    }
}
