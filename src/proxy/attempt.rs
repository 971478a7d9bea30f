//! Attempt after attempt, until an answer may go to the client (C8). The verdict's class decides whether we go
//! round, never the status; after commit there is no second attempt.

use std::sync::Arc;
use std::time::Duration;

use http::Response;

use super::Proxy;
use super::call::Call;
use super::commit::{self, Answer};
use super::exchange::Exchange;
use super::refusal::{Reason, Refusal};
use super::relay::Body;
use super::table::{Table, Target};
use crate::balancer::{Acquired, Lease, RefusalReason, Refused};
use crate::core::choice::tried::Tried;
use crate::core::id::SubscriptionIndex;
use crate::core::ledger::usage::Usage;
use crate::core::limit::verdict::{Class, Outcome, Verdict};
use crate::core::pools::Demand;

/// All tries of a request, of every kind.
const MOST_TRIES: u8 = 16;
/// C8 (b): an overload that states more is not waited for here.
const LONGEST_OVERLOAD: Duration = Duration::from_secs(1);
/// C8 (d): before an endpoint whose connect failed is tried once more.
const SECOND_CONNECT: Duration = Duration::from_millis(100);
/// A grant as young as this is not asked again whether a verdict overtook it: no connection was made meanwhile.
const FRESH: Duration = Duration::from_micros(100);

/// What has been tried so far.
#[derive(Debug, Default)]
struct Course {
    /// Since the request last waited.
    tried: Tried,
    /// Tries by (b) and (c), the first counted.
    counted: u8,
    /// What the client is told if nothing is left.
    last: Last,
    /// Whether the next attempt has yet to be charged to the retry budget (c).
    unpaid: bool,
    /// D6: the next attempt, at another provider.
    elsewhere: Option<Lease>,
}

/// What the client is told if nothing is left.
#[derive(Debug, Default)]
enum Last {
    /// The waiting room, then the truth about the pool.
    #[default]
    Wait,
    /// This answer, as received.
    Answer(Box<Answer>, Arc<Target>),
    /// Nothing was sent.
    NotSent { timeout: bool },
    /// It was sent, and no answer came.
    Unknown { timeout: bool },
}

/// How one attempt ended.
enum Ended {
    Answered(Box<Answer>),
    /// Not begun: a verdict against its subscription came first.
    Overtaken,
    /// Certainly not processed. `connect`: there was no connection.
    NotSent {
        connect: bool,
        timeout: bool,
    },
    /// Silence after a byte was sent, or a 2xx that broke off while it was held. `status`: 0 before a head.
    Unknown {
        status: u16,
        timeout: bool,
    },
}

impl Proxy {
    /// Sends the call until an answer may go to the client.
    ///
    /// # Errors
    /// Nothing could serve it, or it may have been processed without an answer.
    pub(super) async fn forward(
        &self,
        exchange: &mut Exchange,
        mut call: Call,
    ) -> Result<Response<Body>, Refusal> {
        let mut course = Course {
            counted: 1,
            ..Course::default()
        };
        self.0.balancer.arrived(call.demand.pool);
        for _ in 0..MOST_TRIES {
            let Some(lease) = self.obtain(exchange, &call, &mut course).await? else {
                return self.nothing_left(exchange, &call, course.last);
            };
            // Tried again, it keeps its share (C5).
            call.demand.turn = lease.turn();
            let subscription = lease.subscription();
            let Some((table, target)) = self.target(&call, subscription) else {
                course.tried.refused(subscription);
                continue;
            };
            exchange.tries(&target.id, call.falls_back_to(lease.via()));
            match self.attempt(&call, &table, &target, &lease).await {
                Ended::Answered(answer) => {
                    let verdict = answer.verdict;
                    if matches!(verdict.class, Class::Ok | Class::ClientError) {
                        lease.observe(&verdict, &answer.readings);
                        tell(exchange, &answer, subscription, "commit");
                        return Ok(self.commit(exchange, &call, *answer, Some(lease), &target));
                    }
                    turned_away(lease, &answer);
                    let course = &mut course;
                    if !self
                        .go_round(exchange, &call, course, answer, &target, subscription)
                        .await
                    {
                        return self.nothing_left(
                            exchange,
                            &call,
                            std::mem::take(&mut course.last),
                        );
                    }
                }
                Ended::Overtaken => {
                    lease.settle(Outcome::Unsent, &Usage::default());
                    exchange.attempted(subscription, 0, None, "failover");
                }
                Ended::NotSent { connect, timeout } => {
                    not_sent(exchange, &mut course, lease, connect, timeout);
                }
                Ended::Unknown { status, timeout } => {
                    lease.settle(Outcome::Silence { sent: true }, &Usage::default());
                    if !self.resend(exchange, &call, &mut course, subscription, status, timeout) {
                        let reason = Reason::OutcomeUnknown { timeout };
                        return Err(self.with_limits(&call, reason));
                    }
                }
            }
        }
        let reason = Reason::PoolLimited {
            wait: Duration::from_secs(1),
        };
        Err(self.with_limits(&call, reason))
    }

    /// One try: send, and hold the answer until it is known what to do with it.
    async fn attempt(&self, call: &Call, table: &Table, target: &Target, lease: &Lease) -> Ended {
        let unknown = |status, timeout| Ended::Unknown { status, timeout };
        let (Some(reach), Some(request)) = (
            table.endpoints.get(target.endpoint),
            call.request(target, lease.via()),
        ) else {
            return unknown(0, false);
        };
        // C8: what was observed while a connection was made counts, as what came before the grant does.
        let is_wanted = || self.0.clock.now().since(lease.began()) < FRESH || !lease.is_overtaken();
        let response = match reach.endpoint.send_if(request, is_wanted).await {
            Ok(response) => response,
            Err(error) if error.withdrawn => return Ended::Overtaken,
            Err(error) if error.sent => return unknown(0, error.timeout),
            Err(error) => {
                return Ended::NotSent {
                    connect: error.connect,
                    timeout: error.timeout,
                };
            }
        };
        let status = response.status().as_u16();
        let asked = call.asked(target);
        match commit::hold(response, &asked, &target.rules, &self.0.clock).await {
            Ok(answer) => Ended::Answered(Box::new(answer)),
            Err(error) => unknown(status, error.is_timeout()),
        }
    }

    /// The right to one more attempt; `None`: nothing is left, so the last word goes to the client.
    async fn obtain(
        &self,
        exchange: &mut Exchange,
        call: &Call,
        course: &mut Course,
    ) -> Result<Option<Lease>, Refusal> {
        if let Some(lease) = course.elsewhere.take() {
            return Ok(Some(lease));
        }
        loop {
            // After (b), (c) and (d) nothing is waited for: what was answered passes instead (C8 g).
            let may_wait = matches!(course.last, Last::Wait);
            let acquired = if may_wait {
                self.0.balancer.acquire(&call.demand, &course.tried)
            } else {
                let at_once = Demand {
                    max_wait: Some(Duration::ZERO),
                    retry: course.unpaid,
                    ..call.demand.clone()
                };
                self.0.balancer.acquire(&at_once, &course.tried)
            };
            match acquired {
                Acquired::Granted(lease) => {
                    course.unpaid = false;
                    return Ok(Some(lease));
                }
                Acquired::Waiting(waiting) if may_wait => {
                    let since = self.0.clock.now();
                    let waited = waiting.await;
                    let wait = self.0.clock.now().since(since);
                    exchange.note(|record| record.wait += wait);
                    course.tried = Tried::default();
                    return waited
                        .map(Some)
                        .map_err(|refused| self.refusal(call, &refused));
                }
                Acquired::Refused(refused) if may_wait => return Err(self.refusal(call, &refused)),
                Acquired::Waiting(_) | Acquired::Refused(_) => {}
            }
            if !matches!(course.last, Last::NotSent { .. }) || !course.tried.once_more() {
                return Ok(None);
            }
            tokio::time::sleep(SECOND_CONNECT).await;
        }
    }

    /// After an answer that is neither good nor the client's fault: whether to try again, and how.
    async fn go_round(
        &self,
        exchange: &Exchange,
        call: &Call,
        course: &mut Course,
        answer: Box<Answer>,
        target: &Arc<Target>,
        subscription: SubscriptionIndex,
    ) -> bool {
        let verdict = answer.verdict;
        let most = call.pool().map_or(1, |pool| pool.config.max_attempts);
        match verdict.class {
            Class::RateLimited | Class::QuotaExhausted | Class::CredentialInvalid => {
                tell(exchange, &answer, subscription, "failover");
                course.tried.refused(subscription);
                course.last = Last::Wait;
                true
            }
            Class::Overloaded => {
                course.tried.overloaded(subscription);
                let delay = overload_delay(&verdict, exchange.entropy(), course.counted)
                    .filter(|delay| course.counted < most && self.leaves(call, *delay))
                    .filter(|_| self.0.balancer.charge_retry(call.demand.pool));
                if delay.is_none() {
                    course.elsewhere = self.elsewhere(call, &course.tried);
                }
                let next = match (delay, &course.elsewhere) {
                    (Some(_), _) => "retry",
                    (None, Some(_)) => "failover",
                    (None, None) => "commit",
                };
                tell(exchange, &answer, subscription, next);
                course.last = Last::Answer(answer, Arc::clone(target));
                if let Some(delay) = delay {
                    course.counted += 1;
                    tokio::time::sleep(delay).await;
                }
                delay.is_some() || course.elsewhere.is_some()
            }
            _ => {
                let again = course.counted < most;
                tell(
                    exchange,
                    &answer,
                    subscription,
                    if again { "retry" } else { "commit" },
                );
                course.last = Last::Answer(answer, Arc::clone(target));
                course.tried.errored(subscription);
                course.counted += 1;
                course.unpaid = true;
                again
            }
        }
    }

    /// D6: another provider's subscription, in a pool that the request falls back to; from the retry budget, and free
    /// of `max_attempts`.
    fn elsewhere(&self, call: &Call, tried: &Tried) -> Option<Lease> {
        call.demand.links.as_ref()?;
        let demand = Demand {
            elsewhere: true,
            retry: true,
            max_wait: Some(Duration::ZERO),
            ..call.demand.clone()
        };
        match self.0.balancer.acquire(&demand, tried) {
            Acquired::Granted(lease) => Some(lease),
            Acquired::Waiting(_) | Acquired::Refused(_) => None,
        }
    }

    /// C8 (e): never, unless the operator opted in; then as (c).
    fn resend(
        &self,
        exchange: &Exchange,
        call: &Call,
        course: &mut Course,
        subscription: SubscriptionIndex,
        status: u16,
        timeout: bool,
    ) -> bool {
        let most = call.pool().map_or(1, |pool| pool.config.max_attempts);
        let again = call.resend_unknown && course.counted < most;
        exchange.attempted(
            subscription,
            status,
            None,
            if again { "retry" } else { "refuse" },
        );
        course.last = Last::Unknown { timeout };
        course.tried.errored(subscription);
        course.counted += 1;
        course.unpaid = true;
        again
    }

    /// Whether the request's own patience outlasts a delay.
    fn leaves(&self, call: &Call, delay: Duration) -> bool {
        let pools = call
            .pool()
            .map_or(Duration::ZERO, |pool| pool.config.max_wait);
        let most = call.demand.max_wait.map_or(pools, |wish| wish.min(pools));
        self.0.clock.now() + delay <= call.demand.arrival + most
    }

    /// The last word, where nothing is left to try (C8 g).
    fn nothing_left(
        &self,
        exchange: &mut Exchange,
        call: &Call,
        last: Last,
    ) -> Result<Response<Body>, Refusal> {
        let reason = match last {
            Last::Answer(answer, target) if !answer.is_a_page_in_between() => {
                return Ok(self.commit(exchange, call, *answer, None, &target));
            }
            Last::Answer(..) => Reason::UpstreamFailed { timeout: false },
            Last::NotSent { timeout } => Reason::UpstreamFailed { timeout },
            Last::Unknown { timeout } => Reason::OutcomeUnknown { timeout },
            Last::Wait => Reason::PoolUnavailable { wait: None },
        };
        Err(reason.in_words_of(call.dialect))
    }

    /// What a refusal of the pool means for the client.
    fn refusal(&self, call: &Call, refused: &Refused) -> Refusal {
        let wait = refused
            .earliest
            .map(|earliest| earliest.since(self.0.clock.now()));
        let reason = match refused.reason {
            RefusalReason::PoolLimited => Reason::PoolLimited {
                wait: wait.unwrap_or(Duration::from_secs(1)),
            },
            RefusalReason::QueueFull => Reason::QueueFull("the waiting room"),
            RefusalReason::PoolUnavailable => Reason::PoolUnavailable { wait },
            RefusalReason::ModelUnavailable => {
                Reason::ModelNotFound(call.model.as_deref().map(str::to_owned))
            }
            RefusalReason::OwnerUnavailable => Reason::OwnerUnavailable,
        };
        self.with_limits(call, reason)
    }

    /// A subscription that came after the request's own table is found in the newest one. With the table that it
    /// is of: in another its endpoint's place may be another provider's (K5).
    fn target(
        &self,
        call: &Call,
        subscription: SubscriptionIndex,
    ) -> Option<(Arc<Table>, Arc<Target>)> {
        let newest = || self.0.table.load_full();
        std::iter::once(Arc::clone(&call.table))
            .chain(std::iter::once_with(newest))
            .find_map(|table| {
                let target = Arc::clone(table.routing.target(subscription)?);
                Some((table, target))
            })
    }
}

/// An answer that is not the client's has come.
fn turned_away(lease: Lease, answer: &Answer) {
    let verdict = answer.verdict;
    if !answer.readings.is_empty() {
        lease.observe(&verdict, &answer.readings);
    }
    lease.settle(Outcome::Answered(verdict), &answer.reader.usage());
}

/// C8 (d): certainly not processed.
fn not_sent(exchange: &Exchange, course: &mut Course, lease: Lease, connect: bool, timeout: bool) {
    let subscription = lease.subscription();
    // Handed back unsent by a connection that was dying: nobody's failure.
    let outcome = if connect {
        Outcome::Silence { sent: false }
    } else {
        Outcome::Unsent
    };
    lease.settle(outcome, &Usage::default());
    exchange.attempted(subscription, 0, None, "failover");
    if connect {
        course.tried.failed(subscription);
    }
    course.last = Last::NotSent { timeout };
}

fn tell(exchange: &Exchange, answer: &Answer, subscription: SubscriptionIndex, next: &'static str) {
    exchange.attempted(
        subscription,
        answer.parts.status.as_u16(),
        Some(&answer.verdict),
        next,
    );
}

/// C8 (b): 500 to 1000 ms, or the stated wait if that is shorter; `None` where more than 1 s is stated.
fn overload_delay(verdict: &Verdict, entropy: u64, tries: u8) -> Option<Duration> {
    let delay = Duration::from_millis(500 + entropy.rotate_right(u32::from(tries)) % 501);
    match verdict.wait {
        Some(stated) if stated > LONGEST_OVERLOAD => None,
        Some(stated) if !stated.is_zero() => Some(delay.min(stated)),
        _ => Some(delay),
    }
}
