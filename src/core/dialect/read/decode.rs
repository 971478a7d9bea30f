//! Answers compressed against our word: decoded aside, while the bytes pass as they are. Bounded: at most 64 MiB
//! come out of one answer and at most a hundred times what went in; past that, or at the first fault, reading stops
//! and forwarding does not. A coding that is not named here is not decoded (C9).

use std::io::{Error, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::body::Parser;

const MAX_DECODED: u64 = 64 * 1024 * 1024;
const MAX_RATIO: u64 = 100;
/// What may come out however little went in: short runs compress well.
const FREE: u64 = 64 * 1024;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// In a way that we can decode.
    Known(Scheme),
    /// In another, or one upon the other.
    Unknown,
}

/// A coding that we can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `gzip`.
    Gzip,
    /// `deflate`: with zlib's header or, as some send it, without.
    Deflate,
}

impl Coding {
    /// From `content-encoding`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut coding = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.as_bytes().split(|&byte| byte == b',') {
                let next = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                    b"" | b"identity" => continue,
                    b"gzip" | b"x-gzip" => Self::Known(Scheme::Gzip),
                    b"deflate" => Self::Known(Scheme::Deflate),
                    _ => Self::Unknown,
                };
                coding = match coding {
                    Self::Identity => next,
                    _ => Self::Unknown,
                };
            }
        }
        coding
    }
}

/// Decodes into the parser that it holds.
pub(super) struct Decoder {
    inner: Inner,
    fed: u64,
    over: bool,
}

enum Inner {
    Gzip(MultiGzDecoder<Bounded>),
    /// `deflate`, until its first byte says that it has no header.
    Zlib(ZlibDecoder<Bounded>),
    Raw(DeflateDecoder<Bounded>),
}

/// The parser behind a bound.
struct Bounded {
    parser: Parser,
    written: u64,
    allowed: u64,
}

impl Decoder {
    /// Before the first byte.
    pub(super) fn new(scheme: Scheme, parser: Parser) -> Self {
        let bounded = Bounded {
            parser,
            written: 0,
            allowed: 0,
        };
        Self {
            inner: match scheme {
                Scheme::Gzip => Inner::Gzip(MultiGzDecoder::new(bounded)),
                Scheme::Deflate => Inner::Zlib(ZlibDecoder::new(bounded)),
            },
            fed: 0,
            over: false,
        }
    }

    /// What reads the decoded bytes.
    pub(super) fn parser(&self) -> &Parser {
        match &self.inner {
            Inner::Gzip(decoder) => &decoder.get_ref().parser,
            Inner::Zlib(decoder) => &decoder.get_ref().parser,
            Inner::Raw(decoder) => &decoder.get_ref().parser,
        }
    }

    /// The same, to tell it of the end.
    pub(super) fn parser_mut(&mut self) -> &mut Parser {
        &mut self.bounded().parser
    }

    /// The next bytes as on the wire. What they decode to is read before this returns.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let Some(&first) = bytes.first() else { return };
        if self.over {
            return;
        }
        if self.fed == 0 {
            self.settle_header(first);
        }
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        let allowed = self.fed.saturating_mul(MAX_RATIO).saturating_add(FREE);
        self.bounded().allowed = allowed.min(MAX_DECODED);
        let written = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Zlib(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Inner::Raw(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
        };
        self.over = written.is_err();
    }

    /// zlib's header begins with 8 in its lower half; no deflate block that a compressor writes does.
    fn settle_header(&mut self, first: u8) {
        if let Inner::Zlib(decoder) = &mut self.inner
            && first & 0x0f != 8
        {
            let empty = Bounded {
                parser: Parser::opaque(),
                written: 0,
                allowed: 0,
            };
            let bounded = std::mem::replace(decoder.get_mut(), empty);
            self.inner = Inner::Raw(DeflateDecoder::new(bounded));
        }
    }

    fn bounded(&mut self) -> &mut Bounded {
        match &mut self.inner {
            Inner::Gzip(decoder) => decoder.get_mut(),
            Inner::Zlib(decoder) => decoder.get_mut(),
            Inner::Raw(decoder) => decoder.get_mut(),
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written > self.allowed {
            return Err(Error::other("decoded body is over its bound"));
        }
        self.parser.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
