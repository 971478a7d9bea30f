//! Why the provider refused: the first of its 429s, with what was truly there.

use authpool::core::limit::reading::Dimension;

use super::driver::START;
use super::load::{Load, MODELS, SECOND};
use super::words::Spoken;

const MOST: u32 = 50;

/// Prints refusals, if it is to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    /// How many are still to be printed.
    left: u32,
}

impl Trace {
    /// The first ones.
    pub fn first() -> Self {
        Self { left: MOST }
    }

    /// A 429. `short`: which bucket, and what was in it; `None`: the key flapped.
    pub fn refused(
        &mut self,
        now: u64,
        key: usize,
        load: &Load,
        short: Option<(Dimension, f64)>,
        spoken: &Spoken,
    ) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let at = (now - START) as f64 / SECOND as f64;
        let model = MODELS[load.model];
        let stated = spoken.headers.get("retry-after");
        let stated = stated.and_then(|value| value.to_str().ok()).unwrap_or("-");
        let why = short.map_or("flapping".to_owned(), |(dimension, level)| {
            format!("{} at {level:.3}", dimension.name())
        });
        println!(
            "  429 at {at:9.3} s  key {key}  {model:5}  {why}, input {}, retry-after {stated}",
            load.input
        );
    }
}
