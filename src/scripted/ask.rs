//! What a request asks: which operation, which model, a stream or not, how many tokens. Reads only the members that
//! matter here.

use http::Method;
use serde::Deserialize;

/// How many tokens an answer has where the request does not say.
const TOKENS: u64 = 16;
/// The most tokens an answer has.
const MOST_TOKENS: u64 = 1_000_000;

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Anthropic,
    OpenAi,
    Generic,
}

/// Which operation is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Messages,
    CountTokens,
    Chat,
    /// The legacy completions.
    Completions,
    Responses,
    /// What lies below `/responses/`: the id, and whether its deletion is asked for.
    Stored {
        id: String,
        delete: bool,
    },
    Embeddings,
    /// The list, or one model.
    Models(Option<String>),
    /// Any other path.
    Echo,
}

impl Operation {
    /// By method and path (without query), under whatever prefix.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let post = *method == Method::POST;
        if post && path.ends_with("/v1/messages") {
            return Self::Messages;
        }
        if post && path.ends_with("/messages/count_tokens") {
            return Self::CountTokens;
        }
        if post && path.ends_with("/chat/completions") {
            return Self::Chat;
        }
        if post && path.ends_with("/v1/completions") {
            return Self::Completions;
        }
        if post && path.ends_with("/responses") {
            return Self::Responses;
        }
        if post && path.ends_with("/embeddings") {
            return Self::Embeddings;
        }
        if let Some((_, id)) = path.rsplit_once("/responses/resp_") {
            let id = id.split('/').next().unwrap_or_default();
            return Self::Stored {
                id: format!("resp_{id}"),
                delete: *method == Method::DELETE,
            };
        }
        let get = *method == Method::GET || *method == Method::HEAD;
        if get && path.ends_with("/models") {
            return Self::Models(None);
        }
        match path.rsplit_once("/v1/models/") {
            Some((_, id)) if get && !id.is_empty() => Self::Models(Some(id.to_owned())),
            _ => Self::Echo,
        }
    }

    /// In whose words it is answered; lists of models are read by both and follow the client's own.
    pub(super) const fn dialect(&self, anthropic_version: bool) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Stored { .. }
            | Self::Embeddings => Dialect::OpenAi,
            Self::Models(_) if anthropic_version => Dialect::Anthropic,
            Self::Models(_) => Dialect::OpenAi,
            Self::Echo if anthropic_version => Dialect::Anthropic,
            Self::Echo => Dialect::Generic,
        }
    }

    /// Whether the body is read as JSON.
    pub(super) const fn takes_json(&self) -> bool {
        matches!(
            self,
            Self::Messages
                | Self::CountTokens
                | Self::Chat
                | Self::Completions
                | Self::Responses
                | Self::Embeddings
        )
    }
}

/// What a body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// How many tokens the answer has.
    pub(super) output_tokens: u64,
    /// How many the request lets it have; 0 where it does not say.
    pub(super) most: u64,
    /// Whether the request's own bound made it shorter.
    pub(super) cut_short: bool,
    pub(super) store: bool,
    pub(super) previous_response: Option<String>,
    pub(super) scripted: Scripted,
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// Of the body: what makes ids of the answer.
    pub(super) digest: u64,
}

/// The member `scripted` of a request: what a test wants of the answer. Unknown ones are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Scripted {
    /// Tokens of the answer.
    output_tokens: Option<u64>,
    /// Tokens of the prompt, instead of what its bytes come to.
    input_tokens: Option<u64>,
    /// Milliseconds between two events.
    pub(super) gap_ms: u64,
    /// Milliseconds before the head.
    pub(super) delay_ms: u64,
    /// Ids that never came before, so that equal requests get different answers.
    pub(super) fresh_id: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    store: Option<bool>,
    previous_response_id: Option<String>,
    scripted: Scripted,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
}

impl Ask {
    /// Reads a body. `Err`: it is not the JSON that the operation takes; the text says why.
    pub(super) fn read(operation: &Operation, body: &[u8]) -> Result<Self, String> {
        let bare = Self {
            bytes: body.len() as u64,
            digest: digest(body),
            ..Self::default()
        };
        if !operation.takes_json() {
            return Ok(bare);
        }
        let members: Members = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let wanted = members.scripted.output_tokens.unwrap_or(TOKENS).max(1);
        let stated = members
            .max_tokens
            .or(members.max_completion_tokens)
            .or(members.max_output_tokens);
        let bound = stated.unwrap_or(MOST_TOKENS).clamp(1, MOST_TOKENS);
        Ok(Self {
            model: members.model,
            stream: members.stream.unwrap_or(false),
            include_usage: members.stream_options.is_some_and(|set| set.include_usage),
            output_tokens: wanted.min(bound),
            most: stated.map_or(0, |_| bound),
            cut_short: wanted > bound,
            store: members.store.unwrap_or(true),
            previous_response: members.previous_response_id,
            scripted: members.scripted,
            ..bare
        })
    }

    /// The model's name, or a stand-in.
    pub(super) fn model_name(&self) -> &str {
        self.model.as_deref().unwrap_or("scripted-1")
    }

    /// Tokens of the prompt: a quarter of the body's bytes, unless the request says another number.
    pub(super) fn input_tokens(&self) -> u64 {
        let quarter = self.bytes.div_ceil(4);
        self.scripted.input_tokens.unwrap_or(quarter)
    }
}

/// A digest that is quick over large prompts and the same in every process; it holds off no forger.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |state: u64, word: u64| ((state ^ word).wrapping_mul(PRIME)).rotate_left(29);
    let mut state = mix(0xCBF2_9CE4_8422_2325, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    for byte in rest {
        state = mix(state, u64::from(*byte));
    }
    state = (state ^ state >> 32).wrapping_mul(PRIME);
    state ^ state >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_under_any_prefix() {
        let of = |method: Method, path| Operation::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/messages"), Operation::Messages);
        assert_eq!(
            of(Method::POST, "/anthropic/v1/messages/count_tokens"),
            Operation::CountTokens
        );
        assert_eq!(of(Method::POST, "/x/chat/completions"), Operation::Chat);
        assert_eq!(of(Method::POST, "/v1/responses"), Operation::Responses);
        assert_eq!(of(Method::GET, "/v1/models"), Operation::Models(None));
        assert_eq!(
            of(Method::GET, "/v1/models/m"),
            Operation::Models(Some("m".to_owned()))
        );
        assert_eq!(
            of(Method::DELETE, "/v1/responses/resp_1"),
            Operation::Stored {
                id: "resp_1".to_owned(),
                delete: true
            }
        );
        assert_eq!(of(Method::HEAD, "/"), Operation::Echo);
        assert_eq!(of(Method::GET, "/v1/messages"), Operation::Echo);
        assert_eq!(of(Method::POST, "/v1/threads/t/messages"), Operation::Echo);
    }

    #[track_caller]
    fn check(body: &str, tokens: u64, cut_short: bool) {
        let ask = Ask::read(&Operation::Chat, body.as_bytes()).unwrap();
        assert_eq!((ask.output_tokens, ask.cut_short), (tokens, cut_short));
    }

    #[test]
    fn an_answer_is_as_long_as_asked_and_never_longer_than_allowed() {
        check("{}", TOKENS, false);
        check(r#"{"max_tokens":5}"#, 5, true);
        check(r#"{"max_completion_tokens":50}"#, TOKENS, false);
        check(
            r#"{"max_output_tokens":50,"scripted":{"output_tokens":64}}"#,
            50,
            true,
        );
        check(
            r#"{"scripted":{"output_tokens":64,"unknown":1}}"#,
            64,
            false,
        );
    }

    #[test]
    fn what_is_no_json_is_refused_where_json_is_taken() {
        assert!(Ask::read(&Operation::Messages, b"{").is_err());
        assert!(Ask::read(&Operation::Messages, br#"{"model":"a","model":"b"}"#).is_err());
        assert!(Ask::read(&Operation::Echo, b"{").is_ok());
    }

    #[test]
    fn digests_tell_bodies_apart() {
        let bodies: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"abcdefgh", b"abcdefgi", b"abcdefghi"];
        let all: std::collections::HashSet<u64> = bodies.iter().map(|body| digest(body)).collect();
        assert_eq!(all.len(), bodies.len());
    }
}
