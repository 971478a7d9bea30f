//! Why the provider refused: the first of its 429s, with what was truly there.

use authpool::core::limit::reading::Dimension;

use super::driver::START;
use super::load::{Load, MODELS, SECOND};
use super::reader::read;
use super::words::{Habit, Spoken};

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
        habit: Habit,
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
        let (verdict, _) = read(habit, spoken, now);
        let wait = verdict
            .wait
            .map_or("none".to_owned(), |wait| format!("{wait:?}"));
        let why = short.map_or("flapping".to_owned(), |(dimension, level)| {
            format!("{} at {level:.3}", dimension.name())
        });
        println!(
            "  429 at {at:9.3} s  key {key}  {model:5}  {why}, input {}, stated {wait}",
            load.input
        );
    }
}
