//! The provider as it truly is: accounts with limits for each model, keys that may share an account, another consumer,
//! a key that flaps, an outage. Nobody but the report reads its levels.

use authpool::core::limit::reading::Dimension;

use super::bucket::{Bucket, MINUTE};
use super::load::{Load, MAX_TOKENS, MODELS, SECOND, SHARES};
use super::words::{self, Habit, Spoken};

/// A key flaps for so long, ...
const FLAP: u64 = 5 * SECOND;
/// ... once in this time.
const FLAP_EVERY: u64 = 30 * SECOND;

/// How many of a dimension a size of one has in a minute, for both models together.
pub type Rates = Vec<(Dimension, f64)>;

/// What a provider is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose habits.
    pub habit: Habit,
    /// Whether served answers state their limits.
    pub stated: bool,
    /// Whether answers name the organisation.
    pub named: bool,
    /// How large each account is.
    pub sizes: Vec<u64>,
    /// Which account each key is of.
    pub accounts: Vec<usize>,
    /// How long windows are, in microseconds.
    pub window: u64,
    /// Whether they all begin together.
    pub aligned: bool,
    /// The limits of a size of one.
    pub rates: Rates,
    /// How full the buckets are at the start: a share.
    pub start: f64,
    /// A key that flaps.
    pub flap: Option<usize>,
    /// From when to when everything is answered 529.
    pub outage: Option<(u64, u64)>,
}

/// What the limiter says.
pub enum Admission {
    /// It will be served.
    Served,
    /// It will not. `short`: which bucket, and what was in it.
    Refused {
        spoken: Spoken,
        short: Option<(Dimension, f64)>,
    },
}

/// All accounts.
pub struct Provider {
    plan: Plan,
    /// By account, then model.
    buckets: Vec<[Vec<Bucket>; MODELS.len()]>,
    random: fastrand::Rng,
    /// Of tokens, by requests that run.
    reserved: u64,
}

impl Provider {
    /// Everything full, at `now`.
    pub fn new(plan: Plan, seed: u64, now: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x9407);
        let buckets = plan.sizes.iter().map(|&size| {
            let drawn = random.u64(0..plan.window);
            let begins = if plan.aligned { now } else { now + drawn };
            let windowed = plan.habit == Habit::Gemini;
            let part = if windowed {
                plan.window as f64 / MINUTE as f64
            } else {
                1.0
            };
            let window = windowed.then_some((plan.window, begins));
            SHARES.map(|share| {
                let bucket = |&(dimension, rate): &(Dimension, f64)| {
                    let limit = (rate * size as f64 * share * part).round() as u64;
                    Bucket::new(dimension, limit, now, window).begun_at(plan.start)
                };
                plan.rates.iter().map(bucket).collect()
            })
        });
        let buckets = buckets.collect();
        Self {
            plan,
            buckets,
            random,
            reserved: 0,
        }
    }

    /// Asks the limiter for a request on a key.
    pub fn admit(&mut self, key: usize, load: &Load, now: u64) -> Admission {
        let outage = self.plan.outage;
        if outage.is_some_and(|(from, to)| (from..to).contains(&now)) {
            return refused(words::overloaded());
        }
        let flaps = self.plan.flap == Some(key) && now % FLAP_EVERY < FLAP;
        if flaps && self.random.bool() {
            return refused(words::flapping(self.plan.habit, self.random.u64(1..=3)));
        }
        let worst = self.shortest(key, load, now);
        let account = self.plan.accounts[key];
        let buckets = &mut self.buckets[account][load.model];
        let Some((at, wait)) = worst else {
            for bucket in buckets {
                bucket.take(taken(bucket.dimension, load));
            }
            self.reserved += MAX_TOKENS - load.output;
            return Admission::Served;
        };
        let short = &buckets[at];
        let organisation = self.plan.named.then_some(account);
        let (habit, model) = (self.plan.habit, MODELS[load.model]);
        let shown: &[Bucket] = if self.plan.stated { buckets } else { &[] };
        Admission::Refused {
            spoken: words::limited(habit, model, shown, organisation, short, wait, now),
            short: Some((short.dimension, short.level())),
        }
    }

    /// The bucket that lacks what a request needs for the longest, and until when; `None`: all have it.
    fn shortest(&mut self, key: usize, load: &Load, now: u64) -> Option<(usize, u64)> {
        let buckets = &mut self.buckets[self.plan.accounts[key]][load.model];
        let mut worst = None;
        for (at, bucket) in buckets.iter_mut().enumerate() {
            bucket.fill(now);
            let wait = bucket.lacks(asked(bucket.dimension, load), now);
            if wait > worst.map_or(0, |(_, wait)| wait) {
                worst = Some((at, wait));
            }
        }
        worst
    }

    /// How long until a key has all that a request needs, in microseconds.
    pub fn wait(&mut self, key: usize, load: &Load, now: u64) -> u64 {
        self.shortest(key, load, now).map_or(0, |(_, wait)| wait)
    }

    /// What a key has left of a dimension for a model, in shares of the limit; once filled.
    pub fn share(&self, key: usize, model: usize, dimension: Dimension) -> f64 {
        let mut buckets = self.buckets[self.plan.accounts[key]][model].iter();
        let bucket = buckets.find(|bucket| bucket.dimension == dimension);
        bucket.map_or(0.0, |bucket| bucket.level() / bucket.limit as f64)
    }

    /// The head of a served answer, its limits read now.
    pub fn head(&mut self, key: usize, model: usize, now: u64) -> Spoken {
        let account = self.plan.accounts[key];
        let buckets = &mut self.buckets[account][model];
        for bucket in buckets.iter_mut() {
            bucket.fill(now);
        }
        let shown: &[Bucket] = if self.plan.stated { buckets } else { &[] };
        let organisation = self.plan.named.then_some(account);
        words::served(self.plan.habit, shown, organisation, now)
    }

    /// The answer has been made: what it came to counts.
    pub fn finish(&mut self, key: usize, load: &Load, now: u64) {
        self.reserved -= MAX_TOKENS - load.output;
        let account = self.plan.accounts[key];
        for bucket in &mut self.buckets[account][load.model] {
            bucket.fill(now);
            match bucket.dimension {
                Dimension::OutputTokens => bucket.take(load.output),
                Dimension::Tokens => bucket.give(MAX_TOKENS - load.output),
                Dimension::Requests | Dimension::InputTokens => {}
            }
        }
    }

    /// The limits of an account change by a factor.
    pub fn resize(&mut self, account: usize, factor: f64, now: u64) {
        for bucket in self.buckets[account].iter_mut().flatten() {
            bucket.fill(now);
            bucket.resize((bucket.limit as f64 * factor).round() as u64);
        }
    }

    /// All buckets hold less than full, by what they gain in so many microseconds.
    pub fn lag(&mut self, micros: u64) {
        let buckets = self.buckets.iter_mut().flatten().flatten();
        buckets.for_each(|bucket| bucket.lag(micros));
    }

    /// What is in all buckets of a dimension now, and what they will have gained by `to`.
    pub fn supply(&mut self, dimension: Dimension, now: u64, to: u64) -> f64 {
        let of_dimension = |bucket: &&mut Bucket| bucket.dimension == dimension;
        let buckets = self.buckets.iter_mut().flatten().flatten();
        let supplies = buckets.filter(of_dimension).map(|bucket| {
            bucket.fill(now);
            bucket.level() + bucket.gains(now, to)
        });
        supplies.sum::<f64>() + self.reserved(dimension)
    }

    /// What a dimension and model have in a minute, by account; empty where there are none.
    pub fn limits(&self, dimension: Dimension, model: usize) -> Vec<f64> {
        let of_model = self.buckets.iter().flat_map(|models| &models[model]);
        let of_dimension = of_model.filter(|bucket| bucket.dimension == dimension);
        of_dimension.map(Bucket::a_minute).collect()
    }

    /// Copies of the buckets of a dimension and model, as they are now.
    pub fn filled(&self, dimension: Dimension, model: usize, now: u64) -> Vec<Bucket> {
        let of_model = self.buckets.iter().flat_map(|models| &models[model]);
        let of_dimension = of_model.filter(|bucket| bucket.dimension == dimension);
        let filled = of_dimension.map(|bucket| {
            let mut bucket = bucket.clone();
            bucket.fill(now);
            bucket
        });
        filled.collect()
    }

    /// What running requests hold of tokens and will give back: there at the beginning of a time, not at its end.
    fn reserved(&self, dimension: Dimension) -> f64 {
        if dimension == Dimension::Tokens {
            self.reserved as f64
        } else {
            0.0
        }
    }

    /// What of a supply does not count at the end of a time: what windows still have, which is not lost yet, and what
    /// running requests will give back. Less what was taken beyond what there was: tokens of answers are counted when
    /// they have been made.
    pub fn unspent(&mut self, dimension: Dimension, now: u64) -> f64 {
        let held = self.reserved(dimension);
        let buckets = self.buckets.iter_mut().flatten().flatten();
        let of_dimension = buckets.filter(|bucket| bucket.dimension == dimension);
        let unspent = of_dimension.map(|bucket| {
            bucket.fill(now);
            bucket.unspent()
        });
        held + unspent.sum::<f64>()
    }
}

/// What must be there for a request to be let in.
fn asked(dimension: Dimension, load: &Load) -> u64 {
    match dimension {
        // Not in debt is enough: nobody knows how long the answer will be.
        Dimension::OutputTokens => 1,
        _ => taken(dimension, load),
    }
}

/// What is taken when it is let in.
fn taken(dimension: Dimension, load: &Load) -> u64 {
    match dimension {
        Dimension::Requests => 1,
        Dimension::InputTokens => load.input,
        Dimension::OutputTokens => 0,
        Dimension::Tokens => load.input + MAX_TOKENS,
    }
}

/// What a request costs of a dimension in the end.
pub fn cost(dimension: Dimension, load: &Load) -> f64 {
    let units = match dimension {
        Dimension::Requests => 1,
        Dimension::InputTokens => load.input,
        Dimension::OutputTokens => load.output,
        Dimension::Tokens => load.input + load.output,
    };
    units as f64
}

fn refused(spoken: Spoken) -> Admission {
    Admission::Refused {
        spoken,
        short: None,
    }
}
