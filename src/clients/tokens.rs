//! A client's tokens per minute: a bucket of one minute's tokens, as a single instant. A request takes its estimate
//! before it is sent and gives back, or is charged, the difference once the truth is known: `governor`, which limits
//! the requests, can do neither. Laws: what is given back never makes more than a full bucket; a request larger than
//! the bucket goes when it is full, and is charged in full afterwards.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::whole_micros;
use crate::clock::Clock;

/// In nanoseconds.
const MINUTE: u64 = 60_000_000_000;
/// What one request is charged at most, whatever an answer reports: a nonsense figure must not shut a client out for
/// good.
const MOST: u64 = 10_000_000;

/// The bucket. It gains `per_minute` in a minute, and holds no more.
#[derive(Debug)]
pub(super) struct Tokens {
    per_minute: NonZeroU32,
    /// When it will be full, in nanoseconds of our clock; the past: it is. More than a minute ahead: in debt.
    full_at: AtomicU64,
    clock: Clock,
}

impl Tokens {
    /// A full one.
    pub(super) fn new(per_minute: NonZeroU32, clock: Clock) -> Self {
        Self {
            per_minute,
            full_at: AtomicU64::new(0),
            clock,
        }
    }

    /// Its size.
    pub(super) const fn per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }

    /// Takes tokens, at most a full bucket of them.
    ///
    /// # Errors
    /// There are not as many. How long until there are, if nobody takes any in between; never zero.
    pub(super) fn take(self: &Arc<Self>, tokens: u64) -> Result<Taken, Duration> {
        let tokens = tokens.min(u64::from(self.per_minute.get()));
        let cost = self.cost(tokens);
        let now = self.now();
        let most = now.saturating_add(MINUTE);
        let after = |full_at: u64| full_at.max(now).saturating_add(cost);
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(after(full_at)).filter(|after| *after <= most)
            })
            .map_err(|full_at| {
                whole_micros(Duration::from_nanos(after(full_at).saturating_sub(most)))
            })?;
        Ok(Taken {
            tokens,
            from: Arc::clone(self),
        })
    }

    /// In nanoseconds of refilling.
    fn cost(&self, tokens: u64) -> u64 {
        let nanos = u128::from(tokens) * u128::from(MINUTE) / u128::from(self.per_minute.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        self.clock.now().as_micros().saturating_mul(1000)
    }
}

/// Tokens that a request has taken. Dropping them leaves them taken.
#[derive(Debug)]
pub struct Taken {
    tokens: u64,
    from: Arc<Tokens>,
}

impl Taken {
    /// The truth: gives back what was not used, or takes what was used beyond, though the bucket may have less.
    pub fn settle(self, used: u64) {
        let (used, from) = (used.min(MOST), &self.from);
        let (taken, used) = (from.cost(self.tokens), from.cost(used));
        let now = from.now();
        let settled = |full_at: u64| {
            if used <= taken {
                full_at.saturating_sub(taken - used)
            } else {
                full_at.max(now).saturating_add(used - taken)
            }
        };
        let updated = from
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(settled(full_at))
            });
        debug_assert!(updated.is_ok(), "it always settles");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;
    use tokio::time::advance;

    use super::*;

    fn bucket(per_minute: u32) -> Arc<Tokens> {
        Arc::new(Tokens::new(
            NonZeroU32::new(per_minute).unwrap(),
            Clock::new(),
        ))
    }

    #[track_caller]
    fn refused(bucket: &Arc<Tokens>, tokens: u64, wait_ms: u64) {
        let wait = bucket.take(tokens).unwrap_err();
        assert_eq!(wait, Duration::from_millis(wait_ms));
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_tokens_may_go_at_once_and_come_back_evenly() {
        // K2
        let bucket = bucket(600);
        bucket.take(200).unwrap();
        bucket.take(400).unwrap();
        bucket.take(0).unwrap();
        refused(&bucket, 1, 100);
        refused(&bucket, 100, 10_000);
        advance(Duration::from_secs(10)).await;
        bucket.take(100).unwrap();
        refused(&bucket, 1, 100);
        advance(Duration::from_secs(3600)).await;
        bucket.take(600).unwrap();
        refused(&bucket, 1, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_comes_back_and_never_makes_more_than_a_full_bucket() {
        // K2, C4
        let bucket = bucket(600);
        let taken = bucket.take(600).unwrap();
        taken.settle(150);
        bucket.take(450).unwrap();
        refused(&bucket, 1, 100);
        // Held while the bucket fills up again.
        advance(Duration::from_secs(60)).await;
        let taken = bucket.take(600).unwrap();
        advance(Duration::from_secs(60)).await;
        taken.settle(0);
        bucket.take(600).unwrap();
        refused(&bucket, 1, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_beyond_the_estimate_is_waited_for_by_those_who_follow() {
        // K2, C4
        let bucket = bucket(600);
        bucket.take(100).unwrap().settle(900);
        refused(&bucket, 1, 30_100);
        refused(&bucket, 600, 90_000);
        advance(Duration::from_secs(30)).await;
        refused(&bucket, 1, 100);
        // A debt is paid by time, also where that is more than a bucket.
        bucket.take(0).unwrap();
        let taken = {
            advance(Duration::from_secs(60)).await;
            bucket.take(600).unwrap()
        };
        taken.settle(3000);
        advance(Duration::from_secs(300)).await;
        bucket.take(600).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_larger_than_the_minute_goes_when_the_bucket_is_full_and_costs_all_it_uses() {
        // C4
        let bucket = bucket(600);
        bucket.take(1).unwrap();
        refused(&bucket, 6_000_000, 100);
        advance(Duration::from_millis(100)).await;
        let taken = bucket.take(6_000_000).unwrap();
        refused(&bucket, 1, 100);
        taken.settle(1200);
        refused(&bucket, 1, 60_100);
    }

    #[tokio::test(start_paused = true)]
    async fn no_figure_of_an_answer_shuts_a_client_out_for_good() {
        // K2
        let bucket = bucket(1_000_000);
        bucket.take(1).unwrap().settle(u64::MAX);
        let wait = bucket.take(1).unwrap_err();
        assert!(wait <= Duration::from_secs(600), "{wait:?}");
    }

    #[test]
    fn many_at_once_never_take_more_than_there_is() {
        // K2
        let bucket = bucket(1000);
        let (all, start) = (AtomicU64::new(0), bucket.now());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if bucket.take(3).is_ok() {
                            all.fetch_add(3, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let gained = (bucket.now() - start).div_ceil(MINUTE / 1000);
        assert!((999..=1000 + gained).contains(&all.into_inner()));
    }

    /// A request's estimate, its truth, how long it runs, and how long nobody asks after it.
    type Step = (u64, u64, u64, u64);

    async fn check_rate(per_minute: u32, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let bucket = bucket(per_minute);
        let start = bucket.now();
        let mut used_before = 0_u128;
        for (estimate, used, runs, pause) in steps {
            let taken = match bucket.take(estimate) {
                Ok(taken) => taken,
                Err(wait) => {
                    advance(wait - Duration::from_micros(1)).await;
                    prop_assert!(
                        bucket.take(estimate).is_err(),
                        "less than {wait:?} is enough"
                    );
                    advance(Duration::from_micros(1)).await;
                    let taken = bucket.take(estimate);
                    prop_assert!(taken.is_ok(), "{wait:?} is not enough");
                    taken.unwrap()
                }
            };
            // All that was used before this one has been gained, but for a bucket.
            let elapsed = u128::from(bucket.now() - start);
            let gained = elapsed * u128::from(per_minute) / u128::from(MINUTE);
            prop_assert!(used_before <= gained + u128::from(per_minute) + 10);
            advance(Duration::from_micros(runs)).await;
            taken.settle(used);
            used_before += u128::from(used);
            advance(Duration::from_micros(pause)).await;
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn whatever_the_estimates_the_truth_keeps_the_rate_and_the_wait_is_exact(
            per_minute in 1_u32..100_000,
            steps in prop::collection::vec(
                (0_u64..200_000, 0_u64..200_000, 0_u64..120_000_000, 0_u64..90_000_000), 1..12,
            ),
        ) {
            // K2, F7
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(check_rate(per_minute, steps))?;
        }
    }
}
