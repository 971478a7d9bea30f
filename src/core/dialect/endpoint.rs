//! Which operation of the provider's API a request calls.

/// One operation of an API, as far as authpool treats it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Anthropic `POST /v1/messages`.
    Messages,
    /// Anthropic `POST /v1/messages/count_tokens`; its limit group is `count_tokens`.
    CountTokens,
    /// OpenAI `POST /v1/chat/completions`.
    ChatCompletions,
    /// OpenAI `POST /v1/completions`.
    Completions,
    /// OpenAI `POST /v1/responses`.
    Responses,
    /// OpenAI `POST /v1/embeddings`.
    Embeddings,
    /// OpenAI `/v1/responses/ID` and what lies below it: goes to the response's owner.
    StoredResponse,
    /// `GET /v1/models[/ID]`.
    Models,
    /// Any other listed or operator-opened path.
    Other,
}

impl Endpoint {
    /// Whether answers carry usage, so that the model must be known and `accept-encoding: identity` goes upstream.
    pub const fn is_metered(self) -> bool {
        matches!(
            self,
            Self::Messages
                | Self::ChatCompletions
                | Self::Completions
                | Self::Responses
                | Self::Embeddings
        )
    }
}
