//! Values that are written as words: durations, sizes, ids, patterns, header names, paths. Each is parsed or
//! rejected, never cleaned.

use std::time::Duration;

use http::{HeaderName, Method};

use super::{AllowedPath, Glob};

/// `0s`, `1500ms`, `30s`, `5m`, `1h`: a whole number and one unit, as F9 and the file write durations. `None` for
/// anything else, also where it does not fit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(factor)?))
}

/// The shortest word for a duration of whole milliseconds.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis % 1000, millis / 1000) {
        (0, 0) => "0s".to_owned(),
        (0, seconds) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (0, seconds) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (0, seconds) => format!("{seconds}s"),
        _ => format!("{millis}ms"),
    }
}

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// `64KiB`, `32MiB`, `1GiB`, `512B`, in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let (_, factor) = SIZES.into_iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(factor)
}

/// The shortest word for a size.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = |(_, factor): &(&str, u64)| bytes != 0 && bytes.is_multiple_of(*factor);
    let (unit, factor) = SIZES.into_iter().find(fits).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// What an id may be.
pub(super) const ID: &str = "must be 1 to 64 of the characters A-Z a-z 0-9 _ -";

/// `[A-Za-z0-9_-]{1,64}`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A pattern of 1 to 256 characters without controls or blanks.
pub(super) fn glob(text: &str) -> Option<Glob> {
    let fits = (1..=256).contains(&text.len())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    fits.then(|| Glob(text.into()))
}

/// Whether it may be a pattern over an answer's text: 1 to 1024 characters without controls. Blanks are letters there.
pub(super) fn is_text_pattern(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A header that requests bring and that may be treated on its own: neither one that frames a message or belongs
/// to one connection, nor one that carries a key.
pub(super) fn free_header(text: &str) -> Result<HeaderName, &'static str> {
    let name = header(text)?;
    if CREDENTIALS.contains(&name.as_str()) {
        return Err("carries a key: only authpool decides which one is used");
    }
    Ok(name)
}

/// Where SDKs put keys (K1).
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Headers that belong to the message's framing or to one connection.
const FRAMING: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header that a request may carry end to end.
pub(super) fn header(text: &str) -> Result<HeaderName, &'static str> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| "is not the name of a header")?;
    if FRAMING.contains(&name.as_str()) {
        return Err("belongs to the connection, which is authpool's own");
    }
    Ok(name)
}

/// `METHOD /path`, with `*` in the path.
pub(super) fn allowed_path(text: &str) -> Result<AllowedPath, &'static str> {
    const FORM: &str = "must be a method and a path, such as \"GET /v1/files/*\"";
    let (method, path) = text.split_once(' ').ok_or(FORM)?;
    let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| FORM)?;
    if !is_method || method == Method::CONNECT {
        return Err(FORM);
    }
    if !path.starts_with('/') || 1024 < path.len() {
        return Err(FORM);
    }
    let path = plain_path(path)?;
    Ok(AllowedPath {
        method,
        path: Glob(path.into()),
    })
}

/// `/`, or `/a/b` without a slash at its end.
pub(super) fn path_prefix(text: &str) -> Result<&str, &'static str> {
    if !text.starts_with('/') {
        return Err("must begin with a slash");
    }
    if text != "/" && text.ends_with('/') {
        return Err("must not end in a slash: a prefix matches whole segments");
    }
    if text.contains('*') {
        return Err("is a prefix, not a pattern");
    }
    plain_path(text)
}

/// A path that normalisation would not change; F6 refuses any other before it is compared.
pub(super) fn plain_path(path: &str) -> Result<&str, &'static str> {
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("must be visible ASCII: write other characters percent-encoded");
    }
    if path.contains(['?', '#']) {
        return Err("must be a path, without query or fragment");
    }
    let lower = path.to_ascii_lowercase();
    let encoded = ["%2e", "%2f", "%5c"]
        .iter()
        .any(|code| lower.contains(code));
    let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
    if path.contains("//") || path.contains('\\') || encoded || dots {
        return Err("must be a plain path, without //, dot segments, \\ or their encodings");
    }
    if http::uri::PathAndQuery::try_from(path).is_err() && !path.is_empty() {
        return Err("is not a path");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_whole_number_and_one_unit() {
        // O1, F9
        let check = |text, millis: Option<u64>| {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("0s", Some(0));
        check("1500ms", Some(1500));
        check("30s", Some(30_000));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        for wrong in [
            "",
            "s",
            "5",
            "5 s",
            "-5s",
            "+5s",
            "1.5s",
            "1h30m",
            "5S",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
            "5ß",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes_are_binary() {
        // O1
        let check = |text, bytes| assert_eq!(size(text), bytes, "{text}");
        check("0B", Some(0));
        check("64KiB", Some(65_536));
        check("32MiB", Some(33_554_432));
        check("1GiB", Some(1_073_741_824));
        for wrong in [
            "",
            "1",
            "1KB",
            "1kib",
            "1 MiB",
            "-1B",
            "1.5GiB",
            "18446744073709551615GiB",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["0s", "1500ms", "30s", "5m", "1h", "90s", "25h"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["0B", "1B", "64KiB", "32MiB", "1GiB", "1025B"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn ids_are_short_and_plain() {
        // O1
        for id in ["a", "A_b-9", &"x".repeat(64)] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "a b", "a.b", "ä", "a/b", &"x".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn opened_paths_name_a_method_and_a_plain_path() {
        // F6
        let path = allowed_path("GET /v1/files/*").unwrap();
        assert_eq!(path.method, Method::GET);
        assert!(path.path.matches("/v1/files/x"));
        for wrong in [
            "/v1/files",
            "GET",
            "GET v1",
            "get /v1",
            "GET  /v1",
            "GET /v1?x",
            "GET /v1#x",
            "GET /a//b",
            "GET /a/../b",
            "GET /a/%2e%2E/b",
            "GET /a%2Fb",
            "GET /a\\b",
            "GET /ä",
            "CONNECT /v1",
            "GET /a b",
            "",
        ] {
            assert!(allowed_path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_whole_segments() {
        // F11
        for right in ["/", "/a", "/a/b"] {
            assert_eq!(path_prefix(right), Ok(right));
        }
        for wrong in ["", "a", "/a/", "//", "/a/*", "/a/./b", "/a?b"] {
            assert!(path_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_header_of_the_connection_and_no_key_is_let_through() {
        // K7
        assert_eq!(
            free_header("OpenAI-Organization").unwrap(),
            "openai-organization"
        );
        for wrong in [
            "host",
            "Connection",
            "authorization",
            "X-Api-Key",
            "a b",
            "",
            "te",
        ] {
            assert!(free_header(wrong).is_err(), "{wrong}");
        }
    }
}
