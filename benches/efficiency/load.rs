//! What clients ask: Poisson arrivals, prompts of 1 to 64 KiB, answers of some length. Everything about a request is
//! drawn when it arrives, from the load's own stream of chance: every strategy meets the same requests.

/// A second, in the microseconds that all of this counts in.
pub const SECOND: u64 = 1_000_000;
/// What every request lets its answer have.
pub const MAX_TOKENS: u64 = 4_096;
/// To the provider's limiter, in microseconds.
pub const LONGEST_WAY: u64 = 16_000;
/// The models asked for, each a limit group with limits of its own.
pub const MODELS: [&str; 2] = ["alpha", "beta"];
/// How much of the load, and of every account's limits, each model has.
pub const SHARES: [f64; 2] = [0.6, 0.4];

/// One request, as nobody but the provider knows it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Which of [`MODELS`].
    pub model: usize,
    /// Of the body.
    pub bytes: u64,
    /// Prompt tokens.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Who asks.
    pub client: usize,
    /// On the way to the provider's limiter.
    pub way: u64,
    /// From the limiter to the answer's head.
    pub head: u64,
    /// From the limiter to a refusal.
    pub refusal: u64,
    /// From the head to the answer's end.
    pub length: u64,
    /// When between limiter and head the limits that the head states were read: a share.
    pub read: f64,
    /// The random half of its id.
    pub entropy: u64,
}

/// Where requests come from.
pub struct Source {
    random: fastrand::Rng,
    /// Tokens per byte, by model: nobody is told.
    ratios: [f64; MODELS.len()],
    /// Lengthens answers: 1 as a rule.
    slowness: f64,
}

impl Source {
    /// Of a seed; `slowness` multiplies the length of answers.
    pub fn new(seed: u64, slowness: f64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x10ad);
        let ratios = MODELS.map(|_| 0.22 + 0.08 * random.f64());
        Self {
            random,
            ratios,
            slowness,
        }
    }

    /// The next request. `clients`: how much of the load each one has; they add up to 1.
    pub fn draw(&mut self, clients: &[f64]) -> Load {
        let random = &mut self.random;
        let model = pick(random, &SHARES);
        let client = pick(random, clients);
        let bytes = (1_024.0 * 64.0_f64.powf(random.f64())) as u64;
        let noise = 1.0 + 0.05 * normal(random).clamp(-3.0, 3.0);
        let input = (bytes as f64 * self.ratios[model] * noise).round().max(1.0) as u64;
        Load {
            model,
            bytes,
            input,
            output: log_normal(random, 300.0, 0.8).clamp(50.0, 1_500.0) as u64,
            client,
            way: random.u64(1_000..LONGEST_WAY),
            head: seconds(log_normal(random, 0.5, 0.5).clamp(0.2, 1.5)),
            refusal: 10_000 + random.u64(0..60_000),
            length: seconds(log_normal(random, 2.0, 0.9).clamp(0.2, 8.0) * self.slowness),
            read: random.f64(),
            entropy: random.u64(..),
        }
    }

    /// Until the next arrival of a Poisson stream of this many a second.
    pub fn gap(&mut self, rate: f64) -> u64 {
        let chance = 1.0 - self.random.f64();
        seconds(-chance.ln() / rate.max(1e-9))
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.random.f64() < probability
    }

    /// The mean input and output of a request of each model, from a stream of its own: what capacity is computed by.
    pub fn means(&self) -> [(f64, f64); MODELS.len()] {
        const DRAWS: usize = 40_000;
        let mut source = Self {
            random: fastrand::Rng::with_seed(1),
            ..*self
        };
        let mut sums = [(0.0, 0.0, 0.0); MODELS.len()];
        for _ in 0..DRAWS {
            let load = source.draw(&[1.0]);
            let (count, input, output) = &mut sums[load.model];
            *count += 1.0;
            *input += load.input as f64;
            *output += load.output as f64;
        }
        sums.map(|(count, input, output)| (input / count, output / count))
    }
}

fn seconds(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

fn pick(random: &mut fastrand::Rng, shares: &[f64]) -> usize {
    let mut left = random.f64();
    for (at, share) in shares.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return at;
        }
    }
    shares.len() - 1
}

fn normal(random: &mut fastrand::Rng) -> f64 {
    let (one, two) = (1.0 - random.f64(), random.f64());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

fn log_normal(random: &mut fastrand::Rng, median: f64, spread: f64) -> f64 {
    median * (spread * normal(random)).exp()
}
