//! A body as it is, whatever its head says of it: decompressed, freed of its mark, mended where it is cut off,
//! taken apart into the JSON values, events or frames that it consists of. What they mean is `fault`'s.
//! All work is bounded by the bytes given: nothing here grows with what they claim.

use std::borrow::Cow;
use std::io::Read;

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use memchr::memchr2;
use serde_json::Value;

use super::frames;

/// The most that one body is decompressed to.
const MAX_DECODED: usize = 64 << 20;
/// The most that a body is decompressed to per byte of it.
const MAX_RATIO: usize = 100;
/// What a short body may always become.
const MIN_DECODED: usize = 64 << 10;
/// The most of one JSON value that is made into a tree; the rest counts as cut off.
const MAX_TREE: usize = 256 << 10;

/// The body without its compression, told by `content-encoding` or by its first bytes. At most 64 MiB and 100
/// times what it was; a cut or broken stream gives what came before; what cannot be decoded stays as it is.
pub fn decode<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cow<'a, [u8]> {
    let bound = body
        .len()
        .saturating_mul(MAX_RATIO)
        .clamp(MIN_DECODED, MAX_DECODED);
    let decoded = match body {
        [0x1f, 0x8b, ..] => unpack(flate2::read::MultiGzDecoder::new(body), bound),
        [first, second, ..] if is_deflate(headers) => {
            let zlib = first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0;
            if zlib {
                unpack(flate2::read::ZlibDecoder::new(body), bound)
            } else {
                unpack(flate2::read::DeflateDecoder::new(body), bound)
            }
        }
        _ => Vec::new(),
    };
    if decoded.is_empty() {
        Cow::Borrowed(body)
    } else {
        Cow::Owned(decoded)
    }
}

fn is_deflate(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("deflate"))
}

fn unpack(decoder: impl Read, bound: usize) -> Vec<u8> {
    let mut decoded = Vec::new();
    // What was decoded before an error stays in the vector.
    let _ = decoder.take(bound as u64).read_to_end(&mut decoded);
    decoded
}

/// Without byte order mark and white space in front.
pub(super) fn bare(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii_start()
}

/// One part of a body: an event of a stream, an element of an array, a line of JSON, or the whole of it.
#[derive(Debug, PartialEq)]
pub(super) struct Piece<'a> {
    /// The name that a stream gives it.
    pub(super) event: Option<Cow<'a, str>>,
    /// Its payload, JSON as a rule.
    pub(super) data: Cow<'a, [u8]>,
}

/// What a decoded body consists of. Text that is neither JSON nor a stream has no pieces.
pub(super) fn pieces(body: &[u8]) -> Box<dyn Iterator<Item = Piece<'_>> + '_> {
    if frames::is_event_stream(body) {
        return Box::new(frames::events(body));
    }
    let body = bare(body);
    match body {
        [b'{' | b'[', ..] => Box::new(values(body).map(|data| Piece {
            event: None,
            data: Cow::Borrowed(data),
        })),
        _ if is_sse(body) => Box::new(Events { rest: body }),
        _ => Box::new(std::iter::empty()),
    }
}

/// Whether the body begins like an event stream.
pub(super) fn is_sse(body: &[u8]) -> bool {
    let body = bare(body);
    [b"data:".as_slice(), b"event:", b"id:", b"retry:", b":"]
        .iter()
        .any(|field| body.starts_with(field))
}

/// The events of a whole event stream. The last one counts even if the empty line after it is missing.
struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Events<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let mut event = None;
        let mut data: Option<Cow<'a, [u8]>> = None;
        while !self.rest.is_empty() {
            let line = take_line(&mut self.rest);
            if line.is_empty() {
                if let Some(data) = data.take() {
                    return Some(Piece { event, data });
                }
                event = None;
            } else if let Some(value) = field(line, b"data:") {
                match &mut data {
                    None => data = Some(Cow::Borrowed(value)),
                    Some(data) => {
                        let data = data.to_mut();
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                }
            } else if let Some(value) = field(line, b"event:") {
                event = Some(String::from_utf8_lossy(value));
            }
        }
        data.map(|data| Piece { event, data })
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

fn take_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    let (line, after) = rest.split_at(end);
    *rest = after
        .strip_prefix(b"\r\n")
        .or_else(|| after.strip_prefix(b"\n"))
        .or_else(|| after.strip_prefix(b"\r"))
        .unwrap_or(after);
    line
}

/// The JSON objects and arrays that follow each other, at the top or as elements of one array; the last may be
/// cut off.
fn values(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let inside = body.first() == Some(&b'[');
    let mut rest = if inside { body.get(1..) } else { Some(body) }.unwrap_or_default();
    std::iter::from_fn(move || {
        let mut strings = Strings::default();
        let start = rest
            .iter()
            .position(|byte| !strings.is_inside(*byte) && matches!(byte, b'{' | b'['))?;
        let from = rest.get(start..)?;
        let end = value_end(from).unwrap_or(from.len());
        let (value, after) = from.split_at(end);
        rest = after;
        Some(value)
    })
}

/// Where the object or array ends that the bytes begin with.
fn value_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut scanner = Strings::default();
    for (index, byte) in bytes.iter().enumerate() {
        if scanner.is_inside(*byte) {
            continue;
        }
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Tells the bytes of strings from those of structure.
#[derive(Default)]
struct Strings {
    open: bool,
    escaped: bool,
}

impl Strings {
    /// Whether this byte belongs to a string, its quotes included.
    fn is_inside(&mut self, byte: u8) -> bool {
        if !self.open {
            self.open = byte == b'"';
            return self.open;
        }
        if self.escaped {
            self.escaped = false;
        } else {
            match byte {
                b'\\' => self.escaped = true,
                b'"' => self.open = false,
                _ => {}
            }
        }
        true
    }
}

/// The tree of a JSON value, of what there is of it where it is cut off. `None`: no JSON, or nested too deep.
pub(super) fn tree(bytes: &[u8]) -> Option<Value> {
    let bytes = bytes.get(..MAX_TREE).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&mended(text)))
        .ok()
}

/// The longest beginning that can be closed, closed. A string that is cut off stays, for it may be the message.
fn mended(text: &str) -> String {
    let mut open = Vec::new();
    let mut strings = Strings::default();
    let (mut safe, mut value_follows, mut string_from) = (0, false, 0);
    for (index, byte) in text.bytes().enumerate() {
        let was_open = strings.open;
        if strings.is_inside(byte) {
            if !was_open {
                string_from = index;
            }
            let closed = was_open && !strings.open;
            if closed && (value_follows || open.last() == Some(&']')) {
                safe = index + 1;
            }
            continue;
        }
        match byte {
            b'{' | b'[' => {
                open.push(if byte == b'{' { '}' } else { ']' });
                (safe, value_follows) = (index + 1, false);
            }
            b'}' | b']' => {
                open.pop();
                safe = index + 1;
            }
            b':' => value_follows = true,
            b',' => (safe, value_follows) = (index, false),
            _ => {}
        }
    }
    let is_value = value_follows || open.last() == Some(&']');
    let mut mended = if strings.open && is_value {
        let mut text = without_cut_escape(text, string_from).to_owned();
        text.push('"');
        text
    } else {
        text.get(..safe).unwrap_or_default().to_owned()
    };
    mended.extend(open.iter().rev());
    mended
}

/// An escape of which the end is missing is dropped: at most `\uXXX`.
fn without_cut_escape(text: &str, string_from: usize) -> &str {
    let from = text.len().saturating_sub(6).max(string_from + 1);
    let tail = text.get(from..).unwrap_or_default();
    let Some(at) = tail.rfind('\\') else {
        return text;
    };
    let escapes = tail.get(..at).map_or(0, |before| {
        before.len() - before.trim_end_matches('\\').len()
    });
    let escape = tail.get(at..).unwrap_or_default();
    let cut = escape == "\\" || (escape.starts_with("\\u") && escape.len() < 6);
    if cut && escapes.is_multiple_of(2) {
        text.get(..from + at).unwrap_or(text)
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    // Corpus rule 2: try to decompress, whatever the head says.
    #[test]
    fn a_gzip_body_is_decoded_by_its_magic() {
        let headers = HeaderMap::new();
        let packed = gzip(b"{\"error\":\"slow down\"}");
        assert_eq!(&*decode(&headers, &packed), b"{\"error\":\"slow down\"}");
        assert_eq!(&*decode(&headers, b"plain"), b"plain");
        assert_eq!(&*decode(&headers, b"\x1f\x8bbroken"), b"\x1f\x8bbroken");
    }

    // Corpus rule 2; HARDENING: no bomb.
    #[test]
    fn a_bomb_is_decoded_to_a_hundred_times_its_size_and_no_further() {
        let packed = gzip(&vec![0; 40 << 20]);
        let decoded = decode(&HeaderMap::new(), &packed);
        assert!(decoded.len() <= packed.len() * MAX_RATIO);
    }

    #[test]
    fn a_deflated_body_is_decoded_in_both_of_its_forms() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, "deflate".parse().unwrap());
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"{\"a\":1}").unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(b"{\"a\":1}").unwrap();
        for packed in [zlib.finish().unwrap(), raw.finish().unwrap()] {
            assert_eq!(&*decode(&headers, &packed), b"{\"a\":1}");
        }
    }

    // Corpus rule 2: if JSON is cut off, the text may still decide.
    #[test]
    fn json_that_is_cut_off_anywhere_is_mended() {
        let whole = r#"{"type":"error","error":{"message":"a \"b\" \u00e9 c","n":[1,{"x":null}]},"z":true}"#;
        for end in 1..=whole.len() {
            let mended = tree(&whole.as_bytes()[..end]);
            assert!(mended.is_some(), "{}", &whole[..end]);
        }
        let cut = br#"{"error":{"message":"Please try again in 20s. Vis"#;
        assert_eq!(
            tree(cut),
            Some(json!({"error": {"message": "Please try again in 20s. Vis"}}))
        );
        assert_eq!(tree(b"not json"), None);
    }

    fn data(body: &[u8]) -> Vec<(Option<String>, String)> {
        pieces(body)
            .map(|piece| {
                (
                    piece.event.map(Cow::into_owned),
                    String::from_utf8_lossy(&piece.data).into_owned(),
                )
            })
            .collect()
    }

    #[test]
    fn a_body_is_taken_apart_by_what_it_is() {
        let none = |text: &str| (None, text.to_owned());
        assert_eq!(data(b"{\"a\":\"}\"}"), [none("{\"a\":\"}\"}")]);
        assert_eq!(
            data(b"\xef\xbb\xbf [{\"a\":1}\r\n,\r\n{\"b\":2}]"),
            [none("{\"a\":1}"), none("{\"b\":2}")]
        );
        assert_eq!(
            data(b"{\"a\":1}\n{\"b\":"),
            [none("{\"a\":1}"), none("{\"b\":")]
        );
        assert_eq!(
            data(b": hello\r\n\r\nevent: error\r\ndata: a\r\ndata: b\r\n\r\ndata:c"),
            [(Some("error".into()), "a\nb".into()), none("c")]
        );
        assert!(data(b"error code: 1015").is_empty());
        assert!(data(br#"["{\"error\":1}"]"#).is_empty());
    }
}
