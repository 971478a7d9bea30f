//! Which paths are taken for what they say (F6). The law: a path that two readers could take for two different ones
//! goes nowhere; any other goes on unchanged. Which of them are listed is `endpoint`'s.

use std::borrow::Cow;

/// How many layers of percent-encoding are looked behind: honest paths have one.
const MAX_ROUNDS: u32 = 3;

/// Why a path is refused with 400 (F6): normalised on the way it could become another, so that what we let through
/// would not be what the provider serves. `None`: it goes on unchanged. `path`: without the query.
pub fn path_fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("the path does not begin with `/`");
    }
    if path.contains("//") {
        return Some("the path has an empty segment");
    }
    // Decoded more than once: a server in between may do so too.
    let mut bytes = Cow::Borrowed(path.as_bytes());
    for round in 0.. {
        let decoded = Decoded::from(&bytes);
        if round == 0 && decoded.is_malformed {
            return Some("the path has a `%` without two hexadecimal digits");
        }
        if !decoded.is_other {
            break;
        }
        if round == MAX_ROUNDS {
            return Some("the path is encoded too many times over");
        }
        bytes = Cow::Owned(decoded.bytes);
    }
    byte_fault(&bytes)
        .or_else(|| {
            let slashes = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'/').count();
            (slashes(&bytes) > slashes(path.as_bytes())).then_some("the path has an encoded `/`")
        })
        .or_else(|| {
            let mut segments = bytes.split(|&byte| byte == b'/');
            let dots = |segment: &[u8]| {
                // Some servers cut a segment at `;` before they look at it.
                let name = segment.split(|&byte| byte == b';').next();
                matches!(name, Some(b"." | b".."))
            };
            segments
                .any(dots)
                .then_some("the path has a `.` or `..` segment")
        })
}

fn byte_fault(bytes: &[u8]) -> Option<&'static str> {
    bytes.iter().find_map(|byte| match byte {
        b'\\' => Some("the path has a backslash"),
        0..=0x1f | 0x7f => Some("the path has a control character"),
        // Never in UTF-8, but for overlong forms of `.` and `/`.
        0xc0 | 0xc1 => Some("the path has an overlong character"),
        _ => None,
    })
}

/// One round of percent-decoding.
#[derive(Default)]
struct Decoded {
    bytes: Vec<u8>,
    is_other: bool,
    /// A `%` without two hexadecimal digits is in it, and stayed.
    is_malformed: bool,
}

impl Decoded {
    fn from(encoded: &[u8]) -> Self {
        let mut decoded = Self::default();
        if !encoded.contains(&b'%') {
            return decoded;
        }
        let mut rest = encoded;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'%' {
                decoded.bytes.push(byte);
                continue;
            }
            let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
            if let (Some(high), Some(low)) = (digit(0), digit(1)) {
                let byte = u8::try_from(high * 16 + low).unwrap_or(u8::MAX);
                decoded.bytes.push(byte);
                decoded.is_other = true;
                rest = rest.get(2..).unwrap_or_default();
            } else {
                decoded.bytes.push(byte);
                decoded.is_malformed = true;
            }
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F6
    #[test]
    fn paths_that_normalisation_would_change_are_at_fault() {
        for path in [
            "",
            "v1/messages",
            "http://host/v1/messages",
            "*",
            "//v1/messages",
            "/v1//messages",
            "/v1/messages//",
            "/v1/./messages",
            "/v1/../messages",
            "/v1/messages/..",
            "/.",
            "/v1/%2e%2e/messages",
            "/v1/%2E/messages",
            "/v1/.%2e/messages",
            "/v1/%252e%252e/messages",
            "/v1/%25252e/messages",
            "/v1/%25252525252e/messages",
            "/v1/%c0%ae/messages",
            "/v1/..;/messages",
            "/v1/%2e%2e;x=1/messages",
            "/v1/models/a%2fb",
            "/v1/models/a%2Fb",
            "/v1/models/a%252fb",
            "/v1\\messages",
            "/v1/%5cmessages",
            "/v1/%255Cmessages",
            "/v1/mess\tages",
            "/v1/mess%0aages",
            "/v1/mess%00ages",
            "/v1/mess\u{7f}ages",
            "/v1/messages%",
            "/v1/messages%2",
            "/v1/messages%zz",
            "/v1/%u002e/messages",
        ] {
            assert!(path_fault(path).is_some(), "{path}");
        }
    }

    // F6: any other goes on unchanged
    #[test]
    fn other_paths_have_no_fault() {
        for path in [
            "/",
            "/v1/messages",
            "/v1/messages/",
            "/v1/models/ft:gpt-4o:org::id",
            "/v1/%6dessages",
            "/v1/a%20b",
            "/v1/100%25",
            "/v1/a..b/.c/...",
            "/v1/a;b=c/d",
            "/v1/caf%C3%A9",
            "/v1/café",
            "/v1/x@y,z+w~",
        ] {
            assert_eq!(path_fault(path), None, "{path}");
        }
    }

    // K3: what a stranger sends costs no more than its length
    #[test]
    fn a_path_encoded_over_and_over_is_given_up_soon() {
        let path = ["/%", &"25".repeat(30_000), "2e"].concat();
        assert_eq!(
            path_fault(&path),
            Some("the path is encoded too many times over")
        );
    }
}
