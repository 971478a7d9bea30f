//! Reads the head of an HTTP/1.1 request, strictly: whatever two readers could understand in two ways is refused,
//! so that what the ledger shows is what a strict provider would have seen. Reads no body and decides no answer.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Method};

/// The longest head that is read, in bytes.
pub(super) const LONGEST: usize = 512 * 1024;

/// The head of one request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// As in the request line, with the query.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// HTTP/1.1, not 1.0.
    pub(super) version_11: bool,
    /// Whether the connection stays open after the answer.
    pub(super) keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects_continue: bool,
}

/// How the end of the body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Why a head is no head. The text goes into the 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadHead(pub(super) &'static str);

impl Head {
    /// Reads a head that is there in full: everything before its empty line.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadHead> {
        let mut lines = Lines(bytes);
        let (method, target, version_11) = request_line(lines.next()?.unwrap_or_default())?;
        let mut headers = HeaderMap::with_capacity(24);
        while let Some(line) = lines.next()? {
            let (name, value) = field(line)?;
            headers.append(name, value);
        }
        let framing = framing(&headers)?;
        let keep_alive = version_11 && !names(&headers, &CONNECTION, "close");
        let expects_continue = names(&headers, &EXPECT, "100-continue");
        Ok(Self {
            method,
            target,
            headers,
            framing,
            version_11,
            keep_alive,
            expects_continue,
        })
    }

    /// The credential it carries: `authorization: Bearer`, else `x-api-key`, else `api-key`. `None` where it has none.
    pub(super) fn credential(&self) -> Option<&str> {
        let bearer = self
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let named = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        bearer
            .or_else(|| named("x-api-key"))
            .or_else(|| named("api-key"))
            .filter(|credential| !credential.is_empty())
    }
}

/// A target without its query.
pub(super) fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// The query of a target. `None` where it has none.
pub(super) fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

/// Lines that end in CRLF; a CR or LF alone is refused.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, BadHead> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let end = memchr::memchr2(b'\r', b'\n', self.0);
        let Some(end) = end else {
            return Ok(Some(std::mem::take(&mut self.0)));
        };
        let (line, rest) = self.0.split_at(end);
        self.0 = rest
            .strip_prefix(b"\r\n")
            .ok_or(BadHead("a line ends without CRLF"))?;
        Ok(Some(line))
    }
}

fn request_line(line: &[u8]) -> Result<(Method, String, bool), BadHead> {
    let text = std::str::from_utf8(line).map_err(|_| BadHead("the request line is not text"))?;
    let mut words = text.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BadHead("the request line does not have three words"));
    };
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| BadHead("the method is no token"))?;
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BadHead(
            "the target has characters that must not stand there",
        ));
    }
    let version_11 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(BadHead("the version is not HTTP/1.1")),
    };
    Ok((method, target.to_owned(), version_11))
}

fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), BadHead> {
    let colon = memchr::memchr(b':', line).ok_or(BadHead("a header line has no colon"))?;
    let (name, value) = line.split_at(colon);
    let name = HeaderName::from_bytes(name).map_err(|_| BadHead("a header name is no token"))?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let value = HeaderValue::from_bytes(value)
        .map_err(|_| BadHead("a header value has control characters"))?;
    Ok((name, value))
}

fn framing(headers: &HeaderMap) -> Result<Framing, BadHead> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (
        lengths.next(),
        lengths.next(),
        codings.next(),
        codings.next(),
    ) {
        (None, None, None, None) => Ok(Framing::None),
        (Some(length), None, None, None) => length
            .to_str()
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(Framing::Length)
            .ok_or(BadHead("the content length is no number")),
        (None, None, Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        _ => Err(BadHead("the framing is ambiguous")),
    }
}

/// Whether one of the header's comma-separated words is that word.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head, BadHead> {
        Head::read(text.as_bytes())
    }

    #[test]
    fn a_plain_head_is_read() {
        let head = read(
            "POST /v1/messages?beta=true HTTP/1.1\r\nHost: a\r\nX-Api-Key: k1\r\ncontent-length: 12",
        )
        .unwrap();
        assert_eq!(head.method, Method::POST);
        assert_eq!(head.target, "/v1/messages?beta=true");
        assert_eq!(head.framing, Framing::Length(12));
        assert_eq!(head.credential(), Some("k1"));
        assert!(head.keep_alive && !head.expects_continue);
    }

    #[test]
    fn the_bearer_token_goes_before_the_other_headers() {
        let head = read("GET / HTTP/1.1\r\nx-api-key: k1\r\nAuthorization: bearer k2").unwrap();
        assert_eq!(head.credential(), Some("k2"));
        let head = read("GET / HTTP/1.1\r\napi-key: k3\r\nAuthorization: Basic k2").unwrap();
        assert_eq!(head.credential(), Some("k3"));
        assert_eq!(read("GET / HTTP/1.1").unwrap().credential(), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "content-length: 1\r\ntransfer-encoding: chunked",
            "content-length: 1\r\ncontent-length: 1",
            "content-length: +1",
            "transfer-encoding: gzip, chunked",
            "host : a",
            "host: a\r\n folded",
            "host: a\nx: b",
            "host: a\rb",
            "no colon",
        ] {
            assert!(
                read(&format!("POST / HTTP/1.1\r\n{fields}")).is_err(),
                "{fields:?}"
            );
        }
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET /",
            "G@T / HTTP/1.1",
        ] {
            assert!(read(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn connections_stay_open_unless_told_otherwise() {
        assert!(
            !read("GET / HTTP/1.1\r\nconnection: x, Close")
                .unwrap()
                .keep_alive
        );
        assert!(!read("GET / HTTP/1.0").unwrap().keep_alive);
        assert!(
            read("POST / HTTP/1.1\r\nexpect: 100-Continue")
                .unwrap()
                .expects_continue
        );
    }
}
