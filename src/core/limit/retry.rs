//! C8's retry budget of one pool: over any 10 s at most 3 + 0.2 x the requests that arrived in them. Which failure
//! costs a retry is the request path's decision. Law: one window for both counts, nothing older is saved up, and
//! where the window is coarse it is coarse against the retry.

use crate::core::time::Timestamp;

const STEP_MICROS: u64 = 100_000;
/// Steps that lie wholly or partly within the last 10 s.
const STEPS: usize = 101;
const FREE: u32 = 3;
/// One retry for so many arrivals.
const ARRIVALS_PER_RETRY: u32 = 5;

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    number: u64,
    arrivals: u32,
    retries: u32,
}

/// Counts arrivals and retries in steps of 100 ms.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    steps: Box<[Step]>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryBudget {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self {
            steps: vec![Step::default(); STEPS].into_boxed_slice(),
        }
    }

    /// A request arrived.
    pub fn arrived(&mut self, now: Timestamp) {
        if let Some(step) = self.step(now) {
            step.arrivals = step.arrivals.saturating_add(1);
        }
    }

    /// Charges one retry where the budget allows it; `false`: it does not, and nothing was charged.
    pub fn charge(&mut self, now: Timestamp) -> bool {
        let current = number(now);
        let mut arrivals: u32 = 0;
        let mut retries: u32 = 0;
        for step in self.steps.iter() {
            let age = current.saturating_sub(step.number);
            if age < STEPS as u64 {
                retries = retries.saturating_add(step.retries);
            }
            // The oldest step reaches beyond the 10 s: its retries count, its arrivals do not.
            if age + 1 < STEPS as u64 {
                arrivals = arrivals.saturating_add(step.arrivals);
            }
        }
        let allowed = FREE.saturating_add(arrivals / ARRIVALS_PER_RETRY);
        if retries >= allowed {
            return false;
        }
        if let Some(step) = self.step(now) {
            step.retries += 1;
        }
        true
    }

    fn step(&mut self, now: Timestamp) -> Option<&mut Step> {
        let number = number(now);
        let place = usize::try_from(number % STEPS as u64).unwrap_or(0);
        let step = self.steps.get_mut(place)?;
        if step.number != number {
            *step = Step {
                number,
                ..Step::default()
            };
        }
        Some(step)
    }
}

/// From 1, so that a step never used is older than any other.
const fn number(now: Timestamp) -> u64 {
    now.as_micros() / STEP_MICROS + STEPS as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000) + Duration::from_millis(millis)
    }

    fn charged(budget: &mut RetryBudget, now: Timestamp, tries: usize) -> usize {
        (0..tries).filter(|_| budget.charge(now)).count()
    }

    // C8
    #[test]
    fn a_cold_start_has_three_retries() {
        assert_eq!(charged(&mut RetryBudget::new(), Timestamp::ZERO, 10), 3);
        assert_eq!(charged(&mut RetryBudget::new(), at(0), 10), 3);
    }

    // C8
    #[test]
    fn five_arrivals_earn_one_retry() {
        let mut budget = RetryBudget::new();
        for _ in 0..100 {
            budget.arrived(at(0));
        }
        assert_eq!(charged(&mut budget, at(5_000), 100), 23);
    }

    // C8: nothing older is saved up
    #[test]
    fn arrivals_older_than_ten_seconds_earn_nothing() {
        let mut budget = RetryBudget::new();
        for _ in 0..100 {
            budget.arrived(at(0));
        }
        assert_eq!(charged(&mut budget, at(10_000), 100), 3);
        assert_eq!(charged(&mut budget, at(20_000), 100), 0);
        assert_eq!(charged(&mut budget, at(20_100), 100), 3);
    }

    // C8: acceptance 3's bound, from a cold start and after normal traffic
    #[test]
    fn ten_seconds_of_overload_cost_little() {
        let mut budget = RetryBudget::new();
        let mut retries = 0;
        for request in 0..500_u64 {
            budget.arrived(at(request * 20));
            retries += charged(&mut budget, at(request * 20), 1);
        }
        assert!(retries <= 103, "{retries}");
        assert!(retries >= 98, "{retries}");
    }

    proptest! {
        // C8: at every charge, the ten seconds before it hold at most 3 + 0.2 x their arrivals
        #[test]
        fn no_window_that_ends_at_a_charge_exceeds_the_budget(
            steps in proptest::collection::vec((0_u64..400, 0_u8..4), 1..400),
        ) {
            let mut budget = RetryBudget::new();
            let mut now = 0;
            let mut arrivals = Vec::new();
            let mut retries: Vec<u64> = Vec::new();
            for (gap, kind) in steps {
                now += gap;
                if kind == 0 {
                    if budget.charge(at(now)) {
                        retries.push(now);
                        let within = |&&then: &&u64| then + 10_000 > now;
                        let arrived = arrivals.iter().filter(within).count();
                        let retried = retries.iter().filter(within).count();
                        prop_assert!(retried <= 3 + arrived / 5, "{retried} for {arrived}");
                    }
                } else {
                    budget.arrived(at(now));
                    arrivals.push(now);
                }
            }
        }
    }
}
