//! Answers of what stands in between: Cloudflare, nginx, Envoy, firewalls, captive portals. They say nothing of
//! the key, whatever their status. Recognised under every flavour; a provider's own JSON behind such a proxy is
//! not an answer of the proxy.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::body::bare;
use super::times;
use super::wait;
use super::wording::Wording;
use crate::core::limit::scope::Scope;
use crate::core::limit::verdict::{Class, Verdict};
use crate::core::time::WallTime;

/// The most of a page that is looked at.
const MAX_PAGE: usize = 16 << 10;

/// Whether something in between refused the request with a page or a challenge of its own, so that the client
/// should hear of a failed upstream: HTML 403 and 407, `cf-mitigated`, firewalls' actions, Cloudflare's 1xxx.
pub fn is_intermediary_page(status: u16, headers: &HeaderMap, body: &[u8]) -> bool {
    if status < 400 {
        return false;
    }
    is_challenge(headers)
        || status == 407
        || (status == 403 && is_html(headers, body))
        || cloudflare_code(headers, &beginning(body)).is_some_and(|code| code != RATE_LIMITED)
}

const RATE_LIMITED: u16 = 1015;
/// The site's own plan is spent until midnight UTC.
const PLAN_SPENT: u16 = 1027;

/// What an answer of something in between means; `None`: it is not such an answer.
pub(super) fn verdict(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: WallTime,
) -> Option<Verdict> {
    let waiting = |class, scope| Verdict {
        class,
        scope,
        wait: wait::retry_after(headers, now),
    };
    if is_challenge(headers) || status == 407 {
        return Some(Verdict::of(Class::UpstreamError));
    }
    let page = beginning(body);
    match cloudflare_code(headers, &page) {
        Some(RATE_LIMITED) => {
            return Some(waiting(Class::RateLimited, Scope::REQUESTS | Scope::PER_IP));
        }
        Some(PLAN_SPENT) => {
            let mut verdict = waiting(Class::Overloaded, Scope::DAY);
            verdict.wait = verdict.wait.or(Some(now.until(times::utc_midnight(now))));
            return Some(verdict);
        }
        Some(_) => return Some(waiting(Class::UpstreamError, Scope::NONE)),
        None => {}
    }
    if is_html(headers, body) {
        return match status {
            403 => Some(Verdict::of(Class::UpstreamError)),
            429 => Some(waiting(Class::RateLimited, Scope::REQUESTS)),
            503 => Some(waiting(Class::Overloaded, Scope::NONE)),
            500..=599 => Some(waiting(Class::UpstreamError, Scope::NONE)),
            _ => None,
        };
    }
    envoy(status, headers, &page).map(|(class, scope)| waiting(class, scope))
}

/// Envoy's own answers are short texts, or nothing.
fn envoy(status: u16, headers: &HeaderMap, page: &str) -> Option<(Class, Scope)> {
    let page = page.trim();
    if page.starts_with(['{', '[']) {
        return None;
    }
    if status == 429
        && (page == "local_rate_limited" || headers.contains_key("x-envoy-ratelimited"))
    {
        return Some((Class::RateLimited, Scope::REQUESTS));
    }
    let is_overflow = page.contains("reset reason: overflow") || page == "envoy overloaded";
    if status >= 500 && (headers.contains_key("x-envoy-overloaded") || is_overflow) {
        return Some((Class::Overloaded, Scope::NONE));
    }
    if status >= 500 && Wording::of(page).is_connect_failure() {
        return Some((Class::UpstreamError, Scope::NONE));
    }
    (status == 403 && page == "rbac: access denied").then_some((Class::UpstreamError, Scope::NONE))
}

fn is_challenge(headers: &HeaderMap) -> bool {
    headers.contains_key("cf-mitigated") || headers.contains_key("x-amzn-waf-action")
}

/// Whether the body is a page; by `content-type` only where there is no body to tell.
pub(super) fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let body = bare(body);
    if !body.is_empty() {
        return body.first() == Some(&b'<');
    }
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("text/html")
        })
}

/// A page's beginning in lower case.
fn beginning(body: &[u8]) -> String {
    let body = bare(body);
    let body = body.get(..MAX_PAGE).unwrap_or(body);
    String::from_utf8_lossy(body).to_lowercase()
}

/// Cloudflare's own code of an edge error, 1000..=1999: `error code: 1015`, `Error 1015` on a page, `error_code`
/// in its JSON.
fn cloudflare_code(headers: &HeaderMap, page: &str) -> Option<u16> {
    if page.starts_with('{') {
        let is_own = page.contains("\"ray_id\"") || page.contains("\"cloudflare_error\"");
        let value = super::body::tree(page.as_bytes()).filter(|_| is_own)?;
        return value
            .get("error_code")?
            .as_u64()
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (1_000..2_000).contains(code));
    }
    let is_edge = headers.contains_key("cf-ray")
        || headers
            .get("server")
            .is_some_and(|server| server.as_bytes().eq_ignore_ascii_case(b"cloudflare"))
        || page.contains("cloudflare")
        || page.starts_with("error code: ");
    if !is_edge {
        return None;
    }
    let mut words = words(page);
    while let Some(word) = words.next() {
        if word != "error" {
            continue;
        }
        let code = match words.next() {
            Some("code") => words.next(),
            word => word,
        };
        let code = code.and_then(|word| word.parse().ok());
        if let Some(code @ 1_000..2_000) = code {
            return Some(code);
        }
    }
    None
}

/// The words of a page, without its tags.
fn words(page: &str) -> impl Iterator<Item = &str> {
    page.split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(status: u16, lines: &[(&'static str, &str)], body: &str, expected: Option<Class>) {
        let now = times::instant("2026-10-01T00:00:00Z").unwrap();
        let verdict = verdict(status, &headers(lines), body.as_bytes(), now);
        assert_eq!(verdict.map(|verdict| verdict.class), expected, "{body}");
    }

    // Corpus rule 8: 403 and 407 pages of something in between say nothing about the key.
    #[test]
    fn a_page_of_something_in_between_is_told_from_the_providers_own_words() {
        let own = "{\"error\":{\"type\":\"permission_error\"}}";
        check(403, &[("content-type", "text/html")], own, None);
        check(
            403,
            &[],
            "<!DOCTYPE html><title>Just a moment...</title>",
            Some(Class::UpstreamError),
        );
        check(
            403,
            &[("cf-mitigated", "challenge")],
            own,
            Some(Class::UpstreamError),
        );
        check(
            403,
            &[("content-type", "text/html")],
            "",
            Some(Class::UpstreamError),
        );
        check(407, &[], "", Some(Class::UpstreamError));
        check(
            403,
            &[("server", "cloudflare")],
            "error code: 1020",
            Some(Class::UpstreamError),
        );
        check(
            403,
            &[("server", "envoy")],
            "RBAC: access denied",
            Some(Class::UpstreamError),
        );
        check(400, &[], "<html>400</html>", None);
        check(429, &[], "Too Many Requests", None);
    }

    #[test]
    fn cloudflares_json_is_read_like_its_pages() {
        let json = r#"{"status":429,"error_code":1015,"error_name":"rate_limited","ray_id":"x","retry_after":30}"#;
        check(429, &[], json, Some(Class::RateLimited));
        check(
            429,
            &[],
            r#"{"error_code":1015,"message":"of a provider"}"#,
            None,
        );
    }

    // F7, `upstream_failed`.
    #[test]
    fn only_refusals_of_something_in_between_count_as_its_pages() {
        let html = b"<html></html>";
        let none = HeaderMap::new();
        assert!(is_intermediary_page(403, &none, html));
        assert!(is_intermediary_page(407, &none, b""));
        assert!(is_intermediary_page(
            503,
            &headers(&[("cf-mitigated", "challenge")]),
            html
        ));
        assert!(!is_intermediary_page(429, &none, html));
        assert!(!is_intermediary_page(403, &none, b"{}"));
        assert!(!is_intermediary_page(200, &none, html));
    }
}
