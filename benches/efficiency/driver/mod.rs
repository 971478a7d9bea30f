//! Virtual time: events in the order of their instants, nothing between them. Hours take seconds, and a seed gives the
//! same run each time. It carries out what choosers decide, as `Balancer` and the request path do.

mod flow;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use authpool::core::id::{ClientIndex, LimitGroup, PoolIndex};
use authpool::core::limit::verdict::Verdict;
use authpool::core::pools::{Demand, Priority, Size};
use authpool::core::time::Timestamp;

use crate::capacity;
use crate::chooser::{Chooser, Course, Fault, Grant, Outbox, Reply};
use crate::load::{Load, MAX_TOKENS, MODELS, SECOND, Source};
use crate::provider::{Provider, cost};
use crate::setting::{Clients, Setting};
use crate::tally::{Fate, Span, Tally};
use crate::trace::Trace;
use crate::words::Spoken;

/// When a run starts.
pub const START: u64 = 1_700_000_000 * SECOND;
/// The load rises in this time; then it is measured.
pub const RAMP: u64 = 60 * SECOND;

/// Beyond capacity it is measured only once what was saved up at the start is spent.
const SATURATION: u64 = 120 * SECOND;

/// Timers are exact to a millisecond, and late rather than early.
const TICK: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Burst,
    Admit(usize),
    Read(usize),
    Head(usize),
    End(usize),
    Again(usize),
    Expire(usize),
    Keep(u64),
    Foreign,
    ForeignEnd(usize),
    Mark,
    Change,
    Close,
}

struct Attempt {
    request: usize,
    grant: Option<Grant>,
    granted: u64,
    /// What its head says, once that is known.
    spoken: Option<Spoken>,
    verdict: Verdict,
}

/// One run.
pub struct Driver<'a> {
    setting: &'a Setting,
    chooser: Box<dyn Chooser + 'a>,
    provider: Provider,
    source: Source,
    others: Source,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    now: u64,
    requests: Vec<Course>,
    attempts: Vec<Attempt>,
    foreign: Vec<Load>,
    out: Outbox,
    keeper: u64,
    /// Requests a second at a load of one.
    rate: f64,
    foreign_rate: f64,
    groups: [(LimitGroup, Arc<str>); MODELS.len()],
    tally: Tally,
    trace: Trace,
}

impl<'a> Driver<'a> {
    /// Nothing has happened. `seconds`: measured, after the ramp.
    pub fn new(
        setting: &'a Setting,
        chooser: Box<dyn Chooser + 'a>,
        seed: u64,
        seconds: u64,
        trace: Trace,
    ) -> Self {
        // A burst at the start is all there is to measure.
        let cold = setting.burst.is_some_and(|(_, second)| second == 0);
        let from = match setting.load {
            _ if cold => START,
            load if load > 1.0 => START + RAMP + SATURATION,
            _ => START + RAMP,
        };
        let span = Span {
            from,
            to: from + seconds * SECOND,
            burst: setting.burst.map(|(_, second)| START + second * SECOND),
            outage: setting.plan(from).outage,
        };
        let source = Source::new(seed, setting.slowness);
        let provider = Provider::new(setting.plan(from), seed, START);
        let rates = capacity::of(setting, &source, &provider);
        Self {
            setting,
            chooser,
            provider,
            source,
            others: Source::new(seed ^ 0xf0e1, 1.0),
            events: BinaryHeap::new(),
            order: 0,
            now: START,
            requests: Vec::new(),
            attempts: Vec::new(),
            foreign: Vec::new(),
            out: Outbox::default(),
            keeper: 0,
            rate: rates.pool,
            foreign_rate: rates.foreign,
            groups: MODELS.map(|model| (LimitGroup::new(model), Arc::from(model))),
            tally: Tally {
                taken: vec![0.0; setting.clients.shares().len()],
                span,
                ..Tally::default()
            },
            trace,
        }
    }

    /// Runs to the end, and until the last request has its answer.
    pub fn run(mut self) -> Tally {
        if self.setting.load > 0.0 {
            self.at(START, Event::Arrive);
        }
        if let Some(burst) = self.tally.span.burst {
            self.at(burst, Event::Burst);
        }
        if self.foreign_rate > 0.0 {
            self.at(START, Event::Foreign);
        }
        if let Some((second, _)) = self.setting.change {
            self.at(self.tally.span.from + second * SECOND, Event::Change);
        }
        self.at(self.tally.span.from, Event::Mark);
        self.at(self.tally.span.to, Event::Close);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            self.happen(event);
            self.settle_out();
        }
        self.tally
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Burst => self.burst(),
            Event::Admit(attempt) => self.admit(attempt),
            Event::Read(attempt) => {
                let (key, model) = self.key_and_model(attempt);
                self.attempts[attempt].spoken = Some(self.provider.head(key, model, self.now));
            }
            Event::Head(attempt) => self.head(attempt),
            Event::End(attempt) => self.end(attempt),
            Event::Again(request) => self.ask(request),
            Event::Expire(request) => self.expire(request),
            Event::Keep(keeper) if keeper == self.keeper => self.keep(),
            Event::Keep(_) => {}
            Event::Foreign => self.foreign(),
            Event::ForeignEnd(load) => {
                let key = self.setting.marked_account();
                self.provider.finish(key, &self.foreign[load], self.now);
            }
            Event::Mark => {
                let (bound, to) = (self.setting.bound, self.tally.span.to);
                self.tally.supply += self.provider.supply(bound, self.now, to);
            }
            Event::Change => {
                let (bound, to) = (self.setting.bound, self.tally.span.to);
                let before = self.provider.supply(bound, self.now, to);
                let account = self.setting.marked_account();
                let factor = self.setting.change.map_or(1.0, |(_, factor)| factor);
                self.provider.resize(account, factor, self.now);
                self.tally.supply += self.provider.supply(bound, self.now, to) - before;
            }
            Event::Close => {
                let unspent = self.provider.unspent(self.setting.bound, self.now);
                self.tally.supply -= unspent;
            }
        }
    }

    fn at(&mut self, instant: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((instant, self.order, event)));
    }

    fn stamp(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    fn arrive(&mut self) {
        let last = self.tally.span.burst.unwrap_or(self.tally.span.to);
        let full = self.rate * self.setting.load;
        // Thinned, so that the load rises with the ramp.
        let risen = (self.now - START) as f64 / RAMP as f64;
        if self.source.chance(risen.min(1.0)) {
            self.request();
        }
        let next = self.now + self.source.gap(full);
        if next < last {
            self.at(next, Event::Arrive);
        }
    }

    fn burst(&mut self) {
        let Some((count, _)) = self.setting.burst else {
            return;
        };
        let mut need = [0; MODELS.len()];
        let first = self.requests.len();
        let loads: Vec<Load> = (0..count).map(|_| self.draw()).collect();
        for load in &loads {
            need[load.model] += 1;
        }
        let ideal = capacity::ideal(&mut self.provider, self.setting.bound, need, self.now);
        self.tally.ideal = Some(ideal);
        for load in loads {
            self.enter(load);
        }
        for request in first..self.requests.len() {
            self.ask(request);
            self.settle_out();
        }
    }

    fn draw(&mut self) -> Load {
        self.source.draw(self.setting.clients.shares())
    }

    fn request(&mut self) {
        let load = self.draw();
        let id = self.enter(load);
        self.ask(id);
    }

    fn enter(&mut self, load: Load) -> usize {
        let now = self.stamp();
        let (group, model) = &self.groups[load.model];
        let bulk = self.setting.clients == Clients::Bulk && load.client == 0;
        let demand = Demand {
            model: Some(Arc::clone(model)),
            entropy: load.entropy,
            size: Size {
                bytes: load.bytes,
                max_tokens: Some(MAX_TOKENS),
                estimated: None,
            },
            client: ClientIndex(load.client as u16),
            priority: if bulk {
                Priority::Low
            } else {
                Priority::Normal
            },
            ..Demand::new(PoolIndex(0), group.clone(), now)
        };
        self.chooser.arrived(now);
        self.tally.fates.push(Fate {
            arrival: self.now,
            client: load.client,
            units: cost(self.setting.bound, &load),
            wait: None,
            fault: None,
        });
        self.requests.push(Course::new(demand, load));
        self.requests.len() - 1
    }

    fn ask(&mut self, id: usize) {
        let now = self.stamp();
        let course = &mut self.requests[id];
        match self.chooser.ask(id, course, now, &mut self.out) {
            Reply::Go(grant) => self.send(id, grant),
            Reply::Waits(deadline) => {
                let late = deadline.as_micros().div_ceil(TICK) * TICK;
                self.at(late, Event::Expire(id));
            }
            Reply::Fault(fault) => self.fail(id, fault),
        }
    }

    /// Carries out what was decided for those who wait.
    fn settle_out(&mut self) {
        loop {
            let grants = std::mem::take(&mut self.out.grants);
            let faults = std::mem::take(&mut self.out.faults);
            if grants.is_empty() && faults.is_empty() {
                break;
            }
            for (id, grant) in grants {
                self.send(id, grant);
            }
            for (id, fault) in faults {
                self.fail(id, fault);
            }
        }
        if std::mem::take(&mut self.out.rearm) {
            self.keep();
            self.settle_out();
        }
    }

    fn keep(&mut self) {
        let now = self.stamp();
        let wake = self.chooser.arm(now, &mut self.out);
        self.keeper += 1;
        if wake != Timestamp::MAX {
            let late = wake.as_micros().div_ceil(TICK) * TICK;
            let keeper = self.keeper;
            self.at(late.max(self.now + 1), Event::Keep(keeper));
        }
    }

    fn expire(&mut self, id: usize) {
        let now = self.stamp();
        let course = &mut self.requests[id];
        if let Some(fault) = self.chooser.expire(id, course, now, &mut self.out) {
            self.fail(id, fault);
        }
    }

    fn fail(&mut self, id: usize, fault: Fault) {
        self.tally.fates[id].fault = Some(fault);
    }
}
