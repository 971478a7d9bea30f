//! Which operation of the provider's API a request calls, and where upstream that lies (F6, F11). What an operator
//! opens beyond it (`provider.allow_paths`) and which route a path takes are decided elsewhere. The law: what is not
//! listed is not let through, and a path that two readers could take for two different ones goes nowhere.

use http::Method;
use http::header::{AUTHORIZATION, HeaderName};

use super::Dialect;

pub use super::path::path_fault;

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

/// Why an operation is not let through (F7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// No operation has this path.
    Path,
    /// None of those that have this path has this method.
    Method,
}

/// Methods that a path is listed with. HEAD goes where GET does.
#[derive(Clone, Copy)]
enum Listed {
    Get,
    Post,
    GetOrDelete,
}

impl Listed {
    fn has(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
            Self::GetOrDelete => matches!(*method, Method::GET | Method::HEAD | Method::DELETE),
        }
    }
}

impl Dialect {
    /// The operation of a method and path, the route's prefix stripped (F6). The generic dialect lists all.
    pub fn endpoint(self, method: &Method, path: &str) -> Result<Endpoint, Unlisted> {
        let listed = match self {
            Self::Anthropic => anthropic(path),
            Self::OpenAi => openai(path),
            Self::Generic => return Ok(Endpoint::Other),
        };
        let (endpoint, methods) = listed.ok_or(Unlisted::Path)?;
        if methods.has(method) {
            Ok(endpoint)
        } else {
            Err(Unlisted::Method)
        }
    }

    /// The dialect that a path belongs to where no route says it (F11); `None`: no dialect claims it.
    pub fn of_path(path: &str, has_anthropic_version: bool) -> Option<Self> {
        let mut segments = path.strip_prefix("/v1/")?.split('/');
        let common = if has_anthropic_version {
            Self::Anthropic
        } else {
            Self::OpenAi
        };
        match (segments.next()?, segments.next()) {
            ("messages", _) => Some(Self::Anthropic),
            ("models", Some(id)) if is_gemini_call(id) => None,
            ("models" | "files", _) => Some(common),
            ("chat", Some("completions")) => Some(Self::OpenAi),
            ("completions" | "responses" | "embeddings" | "moderations", _) => Some(Self::OpenAi),
            ("audio" | "images" | "batches" | "conversations", _) => Some(Self::OpenAi),
            _ => None,
        }
    }

    /// The path to ask the provider for (F11). `base_path`: of the provider's base URL; a slash at its end does not
    /// count. `path`: the client's, the route's prefix stripped; it begins with a slash.
    pub fn upstream_path(self, base_path: &str, path: &str) -> String {
        let rest = match self {
            // OpenAI's base URL ends with the version that the path begins with.
            Self::OpenAi => match path.strip_prefix("/v1") {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
                _ => path,
            },
            Self::Anthropic | Self::Generic => path,
        };
        let joined = [base_path.trim_end_matches('/'), rest].concat();
        if joined.is_empty() {
            "/".to_owned()
        } else {
            joined
        }
    }

    /// The header of the credential and the scheme before it; `None`: the dialect has no habit, configuration says.
    pub fn auth(self) -> Option<(HeaderName, Option<&'static str>)> {
        match self {
            Self::Anthropic => Some((HeaderName::from_static("x-api-key"), None)),
            Self::OpenAi => Some((AUTHORIZATION, Some("Bearer"))),
            Self::Generic => None,
        }
    }
}

fn anthropic(path: &str) -> Option<(Endpoint, Listed)> {
    Some(match path {
        "/v1/messages" => (Endpoint::Messages, Listed::Post),
        "/v1/messages/count_tokens" => (Endpoint::CountTokens, Listed::Post),
        _ if is_models(path) => (Endpoint::Models, Listed::Get),
        _ => return None,
    })
}

fn openai(path: &str) -> Option<(Endpoint, Listed)> {
    Some(match path {
        "/v1/chat/completions" => (Endpoint::ChatCompletions, Listed::Post),
        "/v1/completions" => (Endpoint::Completions, Listed::Post),
        "/v1/responses" => (Endpoint::Responses, Listed::Post),
        "/v1/embeddings" => (Endpoint::Embeddings, Listed::Post),
        "/v1/moderations" => (Endpoint::Other, Listed::Post),
        _ if is_models(path) => (Endpoint::Models, Listed::Get),
        _ => match path.strip_prefix("/v1/")?.split_once('/')? {
            ("audio" | "images", rest) if !rest.is_empty() => (Endpoint::Other, Listed::Post),
            ("responses", rest) => match rest.split_once('/') {
                None if !rest.is_empty() => (Endpoint::StoredResponse, Listed::GetOrDelete),
                Some((id, "input_items")) if !id.is_empty() => {
                    (Endpoint::StoredResponse, Listed::Get)
                }
                Some((id, "cancel")) if !id.is_empty() => (Endpoint::StoredResponse, Listed::Post),
                _ => return None,
            },
            _ => return None,
        },
    })
}

/// `/v1/models` or `/v1/models/ID`.
fn is_models(path: &str) -> bool {
    match path.strip_prefix("/v1/models") {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('/')
            .is_some_and(|id| !id.is_empty() && !id.contains('/')),
        None => false,
    }
}

/// `MODEL:method`. A colon alone tells nothing: names of fine-tuned models hold some.
fn is_gemini_call(id: &str) -> bool {
    const METHODS: [&str; 9] = [
        "generateContent",
        "streamGenerateContent",
        "batchGenerateContent",
        "countTokens",
        "embedContent",
        "batchEmbedContents",
        "asyncBatchEmbedContent",
        "predict",
        "predictLongRunning",
    ];
    id.rsplit_once(':')
        .is_some_and(|(_, method)| METHODS.contains(&method))
}

/// The id in `/v1/responses/ID` and what lies below it; `None`: another path.
pub fn stored_response_id(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/v1/responses/")?.split('/').next()?;
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(dialect: Dialect, method: &str, path: &str) -> Result<Endpoint, Unlisted> {
        dialect.endpoint(&method.parse().unwrap(), path)
    }

    #[track_caller]
    fn check(dialect: Dialect, method: &str, path: &str, expected: Endpoint) {
        assert_eq!(
            endpoint(dialect, method, path),
            Ok(expected),
            "{method} {path}"
        );
    }

    // F6
    #[test]
    fn anthropics_operations_are_told_apart() {
        let check = |method, path, expected| check(Dialect::Anthropic, method, path, expected);
        check("POST", "/v1/messages", Endpoint::Messages);
        check("POST", "/v1/messages/count_tokens", Endpoint::CountTokens);
        check("GET", "/v1/models", Endpoint::Models);
        check("HEAD", "/v1/models/claude-opus-4-8", Endpoint::Models);
    }

    // F6
    #[test]
    fn openais_operations_are_told_apart() {
        let check = |method, path, expected| check(Dialect::OpenAi, method, path, expected);
        check("POST", "/v1/chat/completions", Endpoint::ChatCompletions);
        check("POST", "/v1/completions", Endpoint::Completions);
        check("POST", "/v1/responses", Endpoint::Responses);
        check("POST", "/v1/embeddings", Endpoint::Embeddings);
        check("POST", "/v1/moderations", Endpoint::Other);
        check("POST", "/v1/audio/speech", Endpoint::Other);
        check("POST", "/v1/images/generations", Endpoint::Other);
        check("GET", "/v1/models/ft:gpt-4o-mini:org::id", Endpoint::Models);
        for method in ["GET", "HEAD", "DELETE"] {
            check(method, "/v1/responses/resp_1", Endpoint::StoredResponse);
        }
        check(
            "GET",
            "/v1/responses/resp_1/input_items",
            Endpoint::StoredResponse,
        );
        check(
            "POST",
            "/v1/responses/resp_1/cancel",
            Endpoint::StoredResponse,
        );
    }

    // F6
    #[test]
    fn the_generic_dialect_lists_everything() {
        check(Dialect::Generic, "PATCH", "/what/ever", Endpoint::Other);
        check(Dialect::Generic, "POST", "/v1/messages", Endpoint::Other);
    }

    // F6, F7: path not listed 403, method 405
    #[test]
    fn what_is_not_listed_is_refused_for_its_path_before_its_method() {
        use Unlisted::{Method, Path};
        for (dialect, method, path, expected) in [
            (Dialect::Anthropic, "GET", "/v1/messages", Method),
            (Dialect::Anthropic, "DELETE", "/v1/models/m", Method),
            (Dialect::Anthropic, "POST", "/v1/messages/batches", Path),
            (Dialect::Anthropic, "POST", "/v1/messages/", Path),
            (Dialect::Anthropic, "POST", "/v1/chat/completions", Path),
            (Dialect::Anthropic, "GET", "/v1/models/", Path),
            (Dialect::Anthropic, "GET", "/v1/models/a/b", Path),
            (Dialect::Anthropic, "GET", "/v1/modelsx", Path),
            (Dialect::OpenAi, "GET", "/v1/chat/completions", Method),
            (Dialect::OpenAi, "PUT", "/v1/responses/resp_1", Method),
            (
                Dialect::OpenAi,
                "GET",
                "/v1/responses/resp_1/cancel",
                Method,
            ),
            (
                Dialect::OpenAi,
                "POST",
                "/v1/responses/resp_1/input_items",
                Method,
            ),
            (Dialect::OpenAi, "POST", "/v1/responses/", Path),
            (Dialect::OpenAi, "GET", "/v1/responses//input_items", Path),
            (Dialect::OpenAi, "GET", "/v1/responses/resp_1/other", Path),
            (Dialect::OpenAi, "POST", "/v1/audio/", Path),
            (Dialect::OpenAi, "POST", "/v1/audio", Path),
            (Dialect::OpenAi, "POST", "/v1/messages", Path),
            (Dialect::OpenAi, "POST", "/v1/%63ompletions", Path),
            (Dialect::OpenAi, "POST", "/chat/completions", Path),
            (Dialect::OpenAi, "GET", "/v1/organization/usage", Path),
        ] {
            assert_eq!(
                endpoint(dialect, method, path),
                Err(expected),
                "{method} {path}"
            );
        }
    }

    // F11
    #[test]
    fn a_path_without_a_route_belongs_to_the_dialect_that_claims_it() {
        let (anthropic, openai) = (Some(Dialect::Anthropic), Some(Dialect::OpenAi));
        for (path, plain, with_version) in [
            ("/v1/messages", anthropic, anthropic),
            ("/v1/messages/count_tokens", anthropic, anthropic),
            ("/v1/chat/completions", openai, openai),
            ("/v1/responses", openai, openai),
            ("/v1/responses/resp_1/cancel", openai, openai),
            ("/v1/embeddings", openai, openai),
            ("/v1/models", openai, anthropic),
            ("/v1/models/ft:gpt-4o:org::1", openai, anthropic),
            ("/v1/files", openai, anthropic),
            ("/v1/models/gemini-x:generateContent", None, None),
            ("/v1beta/models", None, None),
            ("/v1/messagesx", None, None),
            ("/v1/chat", None, None),
            ("/v1", None, None),
            ("/", None, None),
        ] {
            assert_eq!(Dialect::of_path(path, false), plain, "{path}");
            assert_eq!(Dialect::of_path(path, true), with_version, "{path}");
        }
    }

    // F11
    #[test]
    fn the_base_urls_path_comes_first_and_openais_version_once() {
        for (dialect, base, path, expected) in [
            (
                Dialect::OpenAi,
                "/v1",
                "/v1/chat/completions",
                "/v1/chat/completions",
            ),
            (
                Dialect::OpenAi,
                "/openai/v1",
                "/v1/models",
                "/openai/v1/models",
            ),
            (Dialect::OpenAi, "/v1/", "/v1/models", "/v1/models"),
            (Dialect::OpenAi, "/", "/v1/models", "/models"),
            (Dialect::OpenAi, "", "/v1", "/"),
            (Dialect::OpenAi, "/v1", "/v1beta/x", "/v1/v1beta/x"),
            (Dialect::OpenAi, "/v1", "/other", "/v1/other"),
            (Dialect::Anthropic, "/", "/v1/messages", "/v1/messages"),
            (Dialect::Anthropic, "", "/v1/messages", "/v1/messages"),
            (
                Dialect::Anthropic,
                "/proxy/",
                "/v1/messages",
                "/proxy/v1/messages",
            ),
            (Dialect::Generic, "/api", "/v1/x", "/api/v1/x"),
            (Dialect::Generic, "", "/", "/"),
        ] {
            assert_eq!(dialect.upstream_path(base, path), expected, "{base} {path}");
        }
    }

    // F6
    #[test]
    fn a_stored_response_is_found_by_its_id() {
        for (path, expected) in [
            ("/v1/responses/resp_1", Some("resp_1")),
            ("/v1/responses/resp_1/input_items", Some("resp_1")),
            ("/v1/responses", None),
            ("/v1/responses/", None),
            ("/v1/models/resp_1", None),
        ] {
            assert_eq!(stored_response_id(path), expected, "{path}");
        }
    }

    // F6
    #[test]
    fn only_inference_is_metered_and_each_dialect_knows_where_its_key_goes() {
        assert!(Endpoint::Messages.is_metered() && !Endpoint::CountTokens.is_metered());
        assert_eq!(Dialect::Anthropic.auth().unwrap().0, "x-api-key");
        assert_eq!(
            Dialect::OpenAi.auth(),
            Some((AUTHORIZATION, Some("Bearer")))
        );
        assert_eq!(Dialect::Generic.auth(), None);
    }
}
