//! How many tokens a request of a limit group will take (C4, SPEC 16.4), learned from what earlier ones took.

/// Tokens per byte until an answer has told.
const UNLEARNED: f64 = 0.25;
/// What is added to an estimate by bytes.
const MARGIN: f64 = 1.12;
/// The weight of one answer among those before it.
const LEARNING: f64 = 0.02;
/// An answer's length until enough answers have told.
const UNKNOWN_OUTPUT: u64 = 1_024;
/// How many answers are remembered.
const ANSWERS: usize = 200;
/// The 90th percentile is found anew after so many.
const EVERY: usize = 10;

/// What is known of a request's tokens before it is served. All zero and `None`: it carries no tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Of the body, where the operation is metered; else 0.
    pub bytes: u64,
    /// The most that it lets the answer have.
    pub max_tokens: Option<u64>,
    /// The client's own word for its prompt (`x-authpool-estimated-tokens`), instead of an estimate by bytes.
    pub estimated: Option<u64>,
}

impl Size {
    /// Input and output tokens that it may come to, before anything was learned of its model: the client's word or a
    /// quarter of the bytes, and what it lets the answer have, at most 1,024.
    pub const fn rough(&self) -> (u64, u64) {
        const OUTPUT: u64 = 1024;
        let input = match self.estimated {
            Some(estimated) => estimated,
            None => self.bytes / 4,
        };
        let output = match self.max_tokens {
            Some(most) if most < OUTPUT => most,
            _ if 0 < self.bytes => OUTPUT,
            _ => 0,
        };
        (input, output)
    }
}

/// What a request needs, before it is known whose limits count how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Need {
    /// Prompt tokens.
    pub input: f64,
    /// Tokens of the answer, as answers have been.
    pub output: f64,
    /// The most that the answer may have.
    pub most_output: f64,
}

/// Of one limit group.
#[derive(Clone, Debug)]
pub struct Estimate {
    ratio: Option<f64>,
    samples: u32,
    outputs: Box<[u32; ANSWERS]>,
    len: usize,
    next: usize,
    percentile: f64,
}

impl Estimate {
    /// Nothing learned; allocates.
    pub fn new() -> Self {
        Self {
            ratio: None,
            samples: 0,
            outputs: Box::new([0; ANSWERS]),
            len: 0,
            next: 0,
            percentile: 0.0,
        }
    }

    /// Forgets what it has learned.
    pub fn clear(&mut self) {
        self.ratio = None;
        self.samples = 0;
        self.len = 0;
        self.next = 0;
    }

    /// What a request needs.
    pub fn need(&self, size: &Size) -> Need {
        let input = input(size, self.ratio.unwrap_or(UNLEARNED));
        let output = if self.len < EVERY {
            UNKNOWN_OUTPUT as f64
        } else {
            self.percentile
        };
        need(size, input, output)
    }

    /// The same where nothing is learned.
    pub fn unlearned(size: &Size) -> Need {
        need(size, input(size, UNLEARNED), UNKNOWN_OUTPUT as f64)
    }

    /// What a request of so many bytes took; `None`: not known.
    pub fn learn(&mut self, bytes: u64, input: Option<f64>, output: Option<f64>) {
        if let Some(input) = input.filter(|input| 0.0 < *input && bytes > 0) {
            let ratio = (input / bytes as f64).clamp(0.001, 4.0);
            let known = self.ratio.get_or_insert(ratio);
            self.samples = self.samples.saturating_add(1);
            *known += (ratio - *known) * (1.0 / f64::from(self.samples)).max(LEARNING);
        }
        if let Some(output) = output {
            self.note_output(output as u32);
        }
    }

    fn note_output(&mut self, output: u32) {
        if let Some(place) = self.outputs.get_mut(self.next) {
            *place = output;
        }
        self.next = (self.next + 1) % ANSWERS;
        self.len = (self.len + 1).min(ANSWERS);
        if self.next.is_multiple_of(EVERY) {
            let mut sorted = *self.outputs;
            if let Some(known) = sorted.get_mut(..self.len)
                && let Some(last) = self.len.checked_sub(1)
            {
                let (_, percentile, _) = known.select_nth_unstable(last * 9 / 10);
                self.percentile = f64::from(*percentile);
            }
        }
    }
}

fn input(size: &Size, ratio: f64) -> f64 {
    let by_bytes = size.bytes as f64 * ratio * MARGIN;
    size.estimated
        .map_or(by_bytes, |estimated| estimated as f64)
}

fn need(size: &Size, input: f64, output: f64) -> Need {
    if input <= 0.0 {
        return Need::default();
    }
    let most = size.max_tokens.map_or(output, |most| most as f64);
    Need {
        input,
        output: output.min(most),
        most_output: most,
    }
}
