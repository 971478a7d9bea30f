//! Tokens that an answer reported. Unknown is unknown, never zero.

/// Token counts as the provider reported them (corpus, Usage); `None`: not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The prompt figure as the provider counts it (OpenAI includes cached tokens, Anthropic does not).
    pub input: Option<u64>,
    /// Includes reasoning.
    pub output: Option<u64>,
    /// Read from the prompt cache.
    pub cache_read: Option<u64>,
    /// Written to the prompt cache.
    pub cache_write: Option<u64>,
    /// The part of `output` that was reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Whether nothing was reported.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a later report: it wins field by field (corpus, Usage).
    pub fn update(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.reasoning = later.reasoning.or(self.reasoning);
    }
}
