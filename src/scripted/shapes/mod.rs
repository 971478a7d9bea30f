//! Answers in the providers' shapes: the official SDKs read them. They depend on the request alone, so that two equal
//! requests get equal bytes. What limits or breaks an answer is decided elsewhere.

pub(super) mod anthropic;
pub(super) mod chat;
pub(super) mod completions;
pub(super) mod embeddings;
pub(super) mod failure;
pub(super) mod models;
pub(super) mod refusal;
pub(super) mod responses;

use std::fmt;

use super::ask::Ask;

/// When everything was made: a fixed instant, since answers depend on the request alone.
pub(super) const CREATED: u64 = 1_790_000_000;

const WORDS: [&str; 12] = [
    " one",
    " subscription",
    " serves",
    " while",
    " another",
    " waits",
    " and",
    " nobody",
    " is",
    " told",
    " no",
    ".",
];

/// One token of the answer's text. The first says how many bytes the prompt had, to show that it arrived whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    index: u64,
    prompt: u64,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index.checked_sub(1) {
            None => write!(f, "A prompt of {} bytes:", self.prompt),
            Some(index) => {
                let index = usize::try_from(index % WORDS.len() as u64).unwrap_or(0);
                f.write_str(WORDS.get(index).copied().unwrap_or_default())
            }
        }
    }
}

/// The tokens of an answer's text, in order. None of them needs escaping in JSON.
pub(super) fn words(ask: &Ask) -> impl Iterator<Item = Word> + use<> {
    let prompt = ask.bytes;
    (0..ask.output_tokens).map(move |index| Word { index, prompt })
}

/// The whole text of an answer.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) &'a Ask);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words(self.0).try_for_each(|word| word.fmt(f))
    }
}

/// The model's name as a JSON string.
#[derive(Debug)]
pub(super) struct Quoted(String);

impl Quoted {
    pub(super) fn new(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
