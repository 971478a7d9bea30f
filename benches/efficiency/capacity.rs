//! What the accounts can serve at best, by their limits and the mix of requests: what load is measured in.
//!
//! A model's rate is the least, over its dimensions, of all accounts' limits a second divided by the mean need of a
//! request; other consumers' share is taken off first. The pool's rate is the least of the models' rates divided by
//! their shares of the load.

use authpool::core::limit::reading::Dimension;

use super::bucket::Bucket;
use super::load::{MODELS, SECOND, SHARES, Source};
use super::provider::Provider;
use super::setting::Setting;

/// In requests a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// The pool's, at a load of one.
    pub pool: f64,
    /// Another consumer's.
    pub foreign: f64,
}

/// Of a setting.
pub fn of(setting: &Setting, source: &Source, provider: &Provider) -> Rates {
    let means = source.means();
    let mut pool = f64::INFINITY;
    let mut foreign = f64::INFINITY;
    for model in 0..MODELS.len() {
        for dimension in Dimension::ALL {
            let (input, output) = means[model];
            let need = match dimension {
                Dimension::Requests => 1.0,
                Dimension::InputTokens => input,
                Dimension::OutputTokens => output,
                Dimension::Tokens => input + output,
            };
            let limits = provider.limits(dimension, model);
            if limits.is_empty() {
                continue;
            }
            let rate = |limit: f64| limit / 60.0 / need / SHARES[model];
            let others = setting.foreign * limits[setting.marked_account()];
            foreign = foreign.min(rate(others));
            pool = pool.min(rate(limits.iter().sum::<f64>() - others));
        }
    }
    Rates { pool, foreign }
}

/// Seconds until so many requests of each model could have gone at best, nothing else coming. Only where requests
/// bind.
pub fn ideal(
    provider: &mut Provider,
    bound: Dimension,
    need: [u64; MODELS.len()],
    now: u64,
) -> f64 {
    const STEP: u64 = SECOND / 1_000;
    let mut at = now;
    for (model, need) in need.into_iter().enumerate() {
        let mut buckets: Vec<Bucket> = provider.filled(bound, model, now);
        let room = |buckets: &mut [Bucket], at: u64| -> u64 {
            let whole = |bucket: &Bucket| {
                let gained = bucket.gains(now, at);
                (bucket.level() + gained).max(0.0) as u64
            };
            buckets.iter().map(whole).sum()
        };
        while room(&mut buckets, at) < need {
            at += STEP;
        }
    }
    (at - now).max(STEP) as f64 / SECOND as f64
}

/// The pool's rate in a setting, of the first seed: the hidden ratio of tokens to bytes differs between seeds.
pub fn typical(setting: &Setting) -> f64 {
    let provider = Provider::new(setting.plan(0), 1, 60 * SECOND);
    of(setting, &Source::new(1, setting.slowness), &provider).pool
}
