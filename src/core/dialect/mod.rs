//! The languages providers speak: how a request names its model and session, how an answer states errors, limits
//! and usage, and how an error of ours is worded so that the client's SDK understands it.

pub mod answer;
pub mod endpoint;
pub mod flavour;
pub mod limit_group;
pub mod limits;
pub mod path;
pub mod read;
pub mod word;

/// A provider's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's chat completions, Responses and what goes with them.
    OpenAi,
    /// Anything that speaks HTTP and answers 429.
    Generic,
}

impl Dialect {
    /// SPEC's word, as the file writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::Generic => "generic",
        }
    }

    /// By SPEC's word.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Anthropic, Self::OpenAi, Self::Generic]
            .into_iter()
            .find(|dialect| dialect.name() == name)
    }
}
