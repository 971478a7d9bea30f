//! Whose habits to expect of a dialect: equal header names mean different things to different providers.
//! Which flavour an upstream has is the configuration's word, else its host's, else its dialect's.

use super::Dialect;
use crate::core::limit::reading::Counting;

/// The corpus's provider name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is the provider of the same name
pub enum Flavour {
    Anthropic,
    ClaudeSubscription,
    OpenAi,
    ChatGpt,
    Azure,
    Gemini,
    GeminiCodeAssist,
    Vertex,
    Bedrock,
    Mistral,
    Groq,
    Cohere,
    OpenRouter,
    XAi,
    DeepSeek,
    Cerebras,
    Together,
    Fireworks,
    HuggingFace,
    Perplexity,
    Replicate,
    Moonshot,
    Zhipu,
    Ollama,
    LlamaCpp,
    Doubleword,
    LiteLlm,
    NewApi,
    OpenAiCompatible,
    GitHub,
    Generic,
    Nginx,
    Envoy,
    Cloudflare,
}

const NAMES: [(Flavour, &str); 34] = [
    (Flavour::Anthropic, "anthropic"),
    (Flavour::ClaudeSubscription, "claude-subscription"),
    (Flavour::OpenAi, "openai"),
    (Flavour::ChatGpt, "chatgpt"),
    (Flavour::Azure, "azure"),
    (Flavour::Gemini, "gemini"),
    (Flavour::GeminiCodeAssist, "gemini-codeassist"),
    (Flavour::Vertex, "vertex"),
    (Flavour::Bedrock, "bedrock"),
    (Flavour::Mistral, "mistral"),
    (Flavour::Groq, "groq"),
    (Flavour::Cohere, "cohere"),
    (Flavour::OpenRouter, "openrouter"),
    (Flavour::XAi, "xai"),
    (Flavour::DeepSeek, "deepseek"),
    (Flavour::Cerebras, "cerebras"),
    (Flavour::Together, "together"),
    (Flavour::Fireworks, "fireworks"),
    (Flavour::HuggingFace, "huggingface"),
    (Flavour::Perplexity, "perplexity"),
    (Flavour::Replicate, "replicate"),
    (Flavour::Moonshot, "moonshot"),
    (Flavour::Zhipu, "zhipu"),
    (Flavour::Ollama, "ollama"),
    (Flavour::LlamaCpp, "llamacpp"),
    (Flavour::Doubleword, "doubleword"),
    (Flavour::LiteLlm, "litellm"),
    (Flavour::NewApi, "new-api"),
    (Flavour::OpenAiCompatible, "openai-compatible"),
    (Flavour::GitHub, "github"),
    (Flavour::Generic, "generic"),
    (Flavour::Nginx, "nginx"),
    (Flavour::Envoy, "envoy"),
    (Flavour::Cloudflare, "cloudflare"),
];

/// Hosts, and the hosts below them, whose flavour is known.
const HOSTS: [(&str, Flavour); 29] = [
    ("api.anthropic.com", Flavour::Anthropic),
    ("api.openai.com", Flavour::OpenAi),
    ("chatgpt.com", Flavour::ChatGpt),
    ("openai.azure.com", Flavour::Azure),
    ("cognitiveservices.azure.com", Flavour::Azure),
    ("services.ai.azure.com", Flavour::Azure),
    ("generativelanguage.googleapis.com", Flavour::Gemini),
    ("cloudcode-pa.googleapis.com", Flavour::GeminiCodeAssist),
    ("aiplatform.googleapis.com", Flavour::Vertex),
    ("api.mistral.ai", Flavour::Mistral),
    ("api.groq.com", Flavour::Groq),
    ("api.cohere.com", Flavour::Cohere),
    ("api.cohere.ai", Flavour::Cohere),
    ("openrouter.ai", Flavour::OpenRouter),
    ("api.x.ai", Flavour::XAi),
    ("api.deepseek.com", Flavour::DeepSeek),
    ("api.cerebras.ai", Flavour::Cerebras),
    ("api.together.xyz", Flavour::Together),
    ("api.together.ai", Flavour::Together),
    ("api.fireworks.ai", Flavour::Fireworks),
    ("huggingface.co", Flavour::HuggingFace),
    ("api.perplexity.ai", Flavour::Perplexity),
    ("api.replicate.com", Flavour::Replicate),
    ("api.moonshot.ai", Flavour::Moonshot),
    ("api.moonshot.cn", Flavour::Moonshot),
    ("bigmodel.cn", Flavour::Zhipu),
    ("api.z.ai", Flavour::Zhipu),
    ("ollama.com", Flavour::Ollama),
    ("github.com", Flavour::GitHub),
];

impl Flavour {
    /// The corpus's word.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(flavour, _)| *flavour == self)
            .map_or("generic", |(_, name)| name)
    }

    /// By the corpus's word; `None`: no provider of that name is known.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(flavour, _)| *flavour)
    }

    /// From the provider's host (a port is ignored), else the dialect's own.
    pub fn of(dialect: Dialect, host: &str) -> Self {
        let host = host.split(':').next().unwrap_or_default();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some((_, flavour)) = HOSTS.iter().find(|(known, _)| lies_below(&host, known)) {
            return *flavour;
        }
        // Regional names vary in their first label: `bedrock-runtime.eu-west-1.amazonaws.com`,
        // `europe-west4-aiplatform.googleapis.com`.
        if host.starts_with("bedrock") && host.ends_with(".amazonaws.com") {
            return Self::Bedrock;
        }
        if host.ends_with("-aiplatform.googleapis.com") {
            return Self::Vertex;
        }
        match dialect {
            Dialect::Anthropic => Self::Anthropic,
            Dialect::OpenAi => Self::OpenAi,
            Dialect::Generic => Self::Generic,
        }
    }

    /// How its limiter counts tokens (C4).
    pub const fn counting(self) -> Counting {
        let anthropic = self.is_anthropic();
        Counting {
            input_without_cache: anthropic,
            ignores_cache_reads: anthropic,
            reserves_max_tokens: matches!(self, Self::OpenAi | Self::Azure),
        }
    }

    /// Whether limits of this provider are Anthropic's own: its API or a subscription of it.
    pub(super) const fn is_anthropic(self) -> bool {
        matches!(self, Self::Anthropic | Self::ClaudeSubscription)
    }

    /// Whether limits of this provider are counted Google's way.
    pub(super) const fn is_google(self) -> bool {
        matches!(self, Self::Gemini | Self::GeminiCodeAssist | Self::Vertex)
    }
}

fn lies_below(host: &str, known: &str) -> bool {
    host.strip_suffix(known)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    // D1: the flavour is the corpus's provider name: from config, else by host, else the dialect's name.
    #[test]
    fn every_flavour_has_a_name_that_leads_back_to_it() {
        for (flavour, name) in NAMES {
            assert_eq!(Flavour::parse(name), Some(flavour));
            assert_eq!(flavour.name(), name);
        }
        assert_eq!(Flavour::parse("nobody"), None);
    }

    #[test]
    fn a_known_host_decides_before_the_dialect() {
        let table = [
            ("api.groq.com", Flavour::Groq),
            ("API.GROQ.COM:443", Flavour::Groq),
            ("my-resource.openai.azure.com", Flavour::Azure),
            ("bedrock-runtime.eu-west-1.amazonaws.com", Flavour::Bedrock),
            ("europe-west4-aiplatform.googleapis.com", Flavour::Vertex),
            ("api.groq.com.example.org", Flavour::OpenAi),
            ("notapi.groq.com", Flavour::OpenAi),
            ("127.0.0.1:8080", Flavour::OpenAi),
        ];
        for (host, expected) in table {
            assert_eq!(Flavour::of(Dialect::OpenAi, host), expected, "{host}");
        }
        assert_eq!(
            Flavour::of(Dialect::Anthropic, "127.0.0.1"),
            Flavour::Anthropic
        );
        assert_eq!(Flavour::of(Dialect::Generic, ""), Flavour::Generic);
    }

    // C4
    #[test]
    fn anthropic_leaves_the_cache_out_and_openai_reserves_what_is_asked_for() {
        let table = [
            (Flavour::Anthropic, (true, true, false)),
            (Flavour::ClaudeSubscription, (true, true, false)),
            (Flavour::OpenAi, (false, false, true)),
            (Flavour::Azure, (false, false, true)),
            (Flavour::OpenAiCompatible, (false, false, false)),
            (Flavour::Groq, (false, false, false)),
            (Flavour::Generic, (false, false, false)),
        ];
        for (flavour, expected) in table {
            let counting = flavour.counting();
            let found = (
                counting.input_without_cache,
                counting.ignores_cache_reads,
                counting.reserves_max_tokens,
            );
            assert_eq!(found, expected, "{flavour:?}");
        }
    }
}
