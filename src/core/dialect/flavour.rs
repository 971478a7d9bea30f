//! Whose habits to expect of a dialect: equal header names mean different things to different providers.

use super::Dialect;

/// The corpus's provider name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is the provider of the same name
pub enum Flavour {
    Anthropic,
    OpenAi,
    Generic,
}

impl Flavour {
    /// From the provider's host, else the dialect's own.
    pub fn of(dialect: Dialect, _host: &str) -> Self {
        match dialect {
            Dialect::Anthropic => Self::Anthropic,
            Dialect::OpenAi => Self::OpenAi,
            Dialect::Generic => Self::Generic,
        }
    }

    /// By the corpus's name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "anthropic" => Some(Self::Anthropic),
            "openai" => Some(Self::OpenAi),
            "generic" => Some(Self::Generic),
            _ => None,
        }
    }
}
