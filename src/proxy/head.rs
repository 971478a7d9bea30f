//! What passes of a head, in both directions (F1, K7). Names are judged one by one and removed in place: everything
//! that is not named here passes unchanged, in its order among lines of one name.

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue,
};

use super::refusal::Reason;
use crate::core::dialect::endpoint::Endpoint;

/// K7: a head over this many bytes is refused with 431.
pub const LARGEST: usize = 64 * 1024;

/// A request's headers as they may go upstream, before a credential is chosen.
#[derive(Debug, Default)]
pub struct Upstream {
    /// What goes to every provider.
    pub headers: HeaderMap,
    /// What K7 withholds, kept only where an operator's `pass_headers` may ask for it.
    pub withheld: HeaderMap,
}

/// Whether the head's lines together are over [`LARGEST`].
pub fn is_too_large(headers: &HeaderMap) -> bool {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
        > LARGEST
}

/// Takes from the client's headers what may go upstream.
///
/// # Errors
/// A `connection` line that names what a proxy needs to read.
pub fn upstream(
    mut headers: HeaderMap,
    endpoint: Endpoint,
    keep_withheld: bool,
) -> Result<Upstream, Reason> {
    remove_named_by_connection(&mut headers)?;
    let mut withheld = HeaderMap::new();
    let stays = |name: &str| !is_hop_by_hop(name) && !is_made_anew(name) && !is_withheld(name);
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !stays(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        if keep_withheld && is_withheld(name.as_str()) && !is_credential(name.as_str()) {
            for value in headers.get_all(&name) {
                withheld.append(name.clone(), value.clone());
            }
        }
        headers.remove(&name);
    }
    if endpoint.is_metered() {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(Upstream { headers, withheld })
}

/// Takes from a provider's headers what is not for the client. `keep_limits`: what it says of limits is for him (D9).
pub fn downstream(headers: &mut HeaderMap, keep_limits: bool) {
    // What a provider's `connection` names is hop-by-hop whatever it is: there is nobody to refuse.
    let _ = remove_named_by_connection(headers);
    let goes = |name: &str| {
        is_hop_by_hop(name) || is_the_credentials(name) || (!keep_limits && is_a_limit(name))
    };
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| goes(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(&name);
    }
}

/// The stated length of the body; `None` where none is stated or it is unreadable.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn starts_with_ignoring_case(value: &[u8], prefix: &[u8]) -> bool {
    value
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn remove_named_by_connection(headers: &mut HeaderMap) -> Result<(), Reason> {
    if !headers.contains_key(CONNECTION) {
        return Ok(());
    }
    let mut fault = Ok(());
    let mut named: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            if is_needed(token) {
                fault = Err(Reason::Invalid(
                    "`connection` names a header that a proxy needs".into(),
                ));
            } else if let Ok(name) = HeaderName::from_bytes(token) {
                named.push(name);
            }
        }
    }
    for name in named {
        headers.remove(&name);
    }
    fault
}

/// Between two neighbours only (RFC 9110, 7.6.1). `trailer` stays: it announces what passes.
fn is_hop_by_hop(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'k') => name == "keep-alive",
        Some(b't') => matches!(name, "te" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        Some(b'p') => name.starts_with("proxy-"),
        _ => false,
    }
}

/// What this hop says for itself: framing and host. Request trailers are dropped, so none is announced.
fn is_made_anew(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "expect" | "trailer")
}

/// What no `connection` line may name: without these we would read another request than the one that was sent.
fn is_needed(token: &[u8]) -> bool {
    const NEEDED: [&[u8]; 6] = [
        b"host",
        b"content-length",
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
    ];
    NEEDED.iter().any(|name| token.eq_ignore_ascii_case(name))
        || starts_with_ignoring_case(token, b"x-authpool-")
}

fn is_credential(name: &str) -> bool {
    matches!(
        name,
        "authorization" | "x-api-key" | "api-key" | "x-goog-api-key"
    ) || name.starts_with("x-authpool-")
}

/// K7: only authpool decides which credential, account, server and identity are used. Further names are those by
/// which other gateways let a client choose the server or the account.
fn is_withheld(name: &str) -> bool {
    if is_credential(name) || name.contains('_') || matches!(name, "cookie" | "cookie2") {
        return true;
    }
    match name.as_bytes().first() {
        Some(b'x') => is_withheld_x(name),
        Some(b'o') => matches!(name, "openai-organization" | "openai-project"),
        Some(b'f') => name == "forwarded" || name.starts_with("fastly-"),
        Some(b'v') => name == "via",
        Some(b't') => matches!(name, "true-client-ip" | "target-url"),
        Some(b'c') => {
            name.starts_with("cf-")
                || matches!(
                    name,
                    "client-cert" | "client-cert-chain" | "cdn-loop" | "client-ip"
                )
        }
        Some(b's') => name.starts_with("ssl-client-"),
        Some(b'a') => matches!(name, "api-base" | "anthropic-base-url"),
        Some(b'b') => matches!(name, "base-url"),
        Some(b'h') => name.starts_with("helicone-") || name == "http-method-override",
        _ => false,
    }
}

/// The names that begin with `x-`, told apart by their third letter: most requests have several, and few of these.
fn is_withheld_x(name: &str) -> bool {
    let any = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name.as_bytes().get(2) {
        Some(b'f') => name == "x-forwarded" || any(&["x-forwarded-"]),
        Some(b'r') => {
            matches!(name, "x-remote-ip" | "x-remote-addr") || any(&["x-real-", "x-rewrite-"])
        }
        Some(b'o') => name == "x-originating-ip" || any(&["x-original-"]),
        Some(b'c') => {
            matches!(name, "x-client-ip" | "x-cluster-client-ip") || any(&["x-client-cert"])
        }
        Some(b's') => any(&["x-ssl-"]),
        Some(b't') => matches!(name, "x-target-url" | "x-target-host") || any(&["x-tls-client-"]),
        Some(b'e') => any(&["x-envoy-"]),
        Some(b'p') => name == "x-proxyuser-ip" || any(&["x-portkey-"]),
        Some(b'l') => any(&["x-litellm-"]),
        Some(b'u') => any(&["x-upstream-"]),
        Some(b'b') => name == "x-base-url" || any(&["x-bf-"]),
        Some(b'h') => matches!(name, "x-host" | "x-http-method" | "x-http-method-override"),
        Some(b'a') => matches!(
            name,
            "x-api-base" | "x-azure-clientip" | "x-arr-clientcert" | "x-amzn-mtls-clientcert"
        ),
        Some(b'm') => name == "x-method-override",
        _ => false,
    }
}

/// What an answer says of the credential and its account, or sets for its client (F1).
fn is_the_credentials(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'a') => matches!(
            name,
            "anthropic-organization-id" | "anthropic-workspace-id" | "alt-svc"
        ),
        Some(b'o') => matches!(name, "openai-organization" | "openai-project"),
        Some(b's') => matches!(name, "set-cookie" | "set-cookie2"),
        Some(b'x') => ["x-authpool-", "x-organization-id", "x-project-id"]
            .iter()
            .any(|prefix| name.starts_with(prefix)),
        _ => false,
    }
}

/// What an answer says of the credential's limits (D9). A wait is none: `retry-after` is for the client.
fn is_a_limit(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'a') => {
            name.starts_with("anthropic-ratelimit-") || name.starts_with("anthropic-priority-")
        }
        Some(b'r') => {
            name == "ratelimit"
                || ["ratelimit-", "rate-limit", "retry-limit"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        }
        Some(b'x') => ["x-ratelimit", "x-rate-limit", "x-codex-"]
            .iter()
            .any(|prefix| name.starts_with(prefix)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[track_caller]
    fn withheld(name: &str) {
        let headers = map(&[
            (name, "x"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
        ]);
        let out = upstream(headers, Endpoint::Other, false).unwrap().headers;
        assert!(!out.contains_key(name), "{name} went upstream");
        assert_eq!(out.get_all("anthropic-beta").iter().count(), 2);
    }

    // K7
    #[test]
    fn nothing_that_chooses_credential_account_server_or_identity_goes_upstream() {
        for name in [
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "cookie",
            "openai-organization",
            "openai-project",
            "x-authpool-session",
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "x-real-ip",
            "x-http-method-override",
            "x-portkey-custom-host",
            "x-litellm-api-key",
            "x-original-url",
            "x-rewrite-url",
            "some_header",
            "x-host",
            "ssl-client-cert",
            "proxy-authorization",
            "te",
            "upgrade",
            "keep-alive",
            "host",
            "expect",
        ] {
            withheld(name);
        }
    }

    // K7, F1
    #[test]
    fn other_headers_pass_unknown_ones_too() {
        let lines = [
            ("user-agent", "u"),
            ("x-stainless-lang", "python"),
            ("anthropic-version", "1"),
            ("x-app", "c"),
        ];
        let out = upstream(map(&lines), Endpoint::Other, false)
            .unwrap()
            .headers;
        assert_eq!(out, map(&lines));
    }

    // F1
    #[test]
    fn what_connection_names_is_hop_by_hop_but_it_cannot_strip_what_we_read() {
        let out = upstream(
            map(&[("connection", "close, x-a"), ("x-a", "1"), ("x-b", "2")]),
            Endpoint::Other,
            false,
        );
        assert_eq!(out.unwrap().headers, map(&[("x-b", "2")]));
        for named in [
            "Host",
            "authorization",
            "X-AuthPool-Session",
            "content-length",
        ] {
            let out = upstream(map(&[("connection", named)]), Endpoint::Other, false);
            assert!(matches!(out, Err(Reason::Invalid(_))), "{named}");
        }
    }

    // F1
    #[test]
    fn metered_endpoints_ask_for_answers_that_can_be_read() {
        let out = upstream(map(&[("accept-encoding", "br")]), Endpoint::Messages, false)
            .unwrap()
            .headers;
        assert_eq!(out.get(ACCEPT_ENCODING).unwrap(), "identity");
        let out = upstream(map(&[("accept-encoding", "br")]), Endpoint::Models, false)
            .unwrap()
            .headers;
        assert_eq!(out.get(ACCEPT_ENCODING).unwrap(), "br");
    }

    // F1, D9
    #[test]
    fn a_credentials_limits_and_account_do_not_reach_the_client_but_retry_after_does() {
        let mut headers = map(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("x-ratelimit-remaining-tokens", "1"),
            ("ratelimit", "r"),
            ("x-codex-primary-used-percent", "3"),
            ("anthropic-organization-id", "o"),
            ("openai-organization", "o"),
            ("openai-project", "p"),
            ("set-cookie", "c"),
            ("alt-svc", "h3"),
            ("x-authpool-code", "forged"),
            ("retry-after", "7"),
            ("request-id", "r"),
            ("content-type", "application/json"),
            ("openai-processing-ms", "5"),
        ]);
        let mut told = headers.clone();
        downstream(&mut headers, false);
        let kept = [
            ("retry-after", "7"),
            ("request-id", "r"),
            ("content-type", "application/json"),
            ("openai-processing-ms", "5"),
        ];
        assert_eq!(headers, map(&kept));
        downstream(&mut told, true);
        let limits = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("x-ratelimit-remaining-tokens", "1"),
            ("ratelimit", "r"),
            ("x-codex-primary-used-percent", "3"),
        ];
        assert_eq!(told, map(&[&limits[..], &kept[..]].concat()));
    }
}
