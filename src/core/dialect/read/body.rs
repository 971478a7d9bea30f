//! Reads along an answer's body: content yet, an error, usage, the end. Bytes pass unchanged whatever is read here;
//! what is kept of them is bounded (one event or one error at a time, under 64 KiB; what decoding needs comes on
//! top), and past a bound reading stops, never forwarding. What to do about it is the proxy's (C9); what an error
//! means is the classifier's (D2).

use std::fmt;
use std::ops::ControlFlow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::decode::{Coding, Decoder};
use super::json::Scanner;
use super::members::{self, Found, Tag};
use super::report::{Judge, Report};
use super::stream::StreamReader;
use super::table::{Value, Visitor};
use crate::core::dialect::Dialect;
use crate::core::dialect::endpoint::Endpoint;
use crate::core::dialect::flavour::Flavour;
use crate::core::ledger::usage::Usage;
use crate::core::time::WallTime;

pub use super::report::Progress;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events.
    Sse,
    /// A JSON array, element by element.
    JsonArray,
    /// JSON.
    Json,
    /// Not read: another type, or a coding that we cannot decode.
    Opaque,
}

/// Reads one answer's body, fed piece by piece as on the wire.
pub struct BodyReader {
    source: Source,
    is_identity: bool,
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BodyReader")
    }
}

enum Source {
    Plain(Box<Parser>),
    Coded(Box<Decoder>),
}

impl BodyReader {
    /// Before the first byte. `headers`: the answer's; `received_at`: when they came, for resets in errors. The
    /// dialect changes nothing yet: what matters is told apart by its own structure, whoever's it is.
    pub fn new(
        _dialect: Dialect,
        flavour: Flavour,
        endpoint: Endpoint,
        headers: &HeaderMap,
        received_at: WallTime,
    ) -> Self {
        let coding = Coding::of(headers);
        let declared = match coding {
            Coding::Unknown => Declared::Opaque,
            _ => Declared::of(headers),
        };
        // Only a stream outlives its head, which goes to the client; other errors are judged with the head at hand.
        let headers = match declared {
            Declared::Sse | Declared::Unknown => headers.clone(),
            Declared::Json | Declared::Opaque => HeaderMap::new(),
        };
        let parser = Parser {
            form: Form::Undecided(declared),
            report: Report::new(Judge {
                flavour,
                endpoint,
                headers,
                received_at,
            }),
        };
        let source = match coding {
            Coding::Known(scheme) => Source::Coded(Box::new(Decoder::new(scheme, parser))),
            Coding::Identity | Coding::Unknown => Source::Plain(Box::new(parser)),
        };
        Self {
            source,
            is_identity: coding == Coding::Identity,
        }
    }

    /// What the body is: by its type, and once its first byte has come by what it is. An array becomes
    /// [`Kind::JsonArray`] then; a type that lies is found out.
    pub fn kind(&self) -> Kind {
        match &self.parser().form {
            Form::Undecided(Declared::Sse) | Form::Sse(_) => Kind::Sse,
            Form::Undecided(Declared::Json) | Form::Unread => Kind::Json,
            Form::Undecided(Declared::Unknown | Declared::Opaque) => Kind::Opaque,
            Form::Json(..) => Kind::Json,
            Form::Array(..) => Kind::JsonArray,
        }
    }

    /// Whether the body passes uncompressed, so that bytes of ours could follow.
    pub fn is_identity(&self) -> bool {
        self.is_identity
    }

    /// The next bytes as on the wire.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        match &mut self.source {
            Source::Plain(parser) => parser.feed(bytes),
            Source::Coded(decoder) => decoder.feed(bytes),
        }
        self.progress()
    }

    /// The body has ended where it should: a last event without its blank line counts too. Not to be called for
    /// a body that broke off.
    pub fn end(&mut self) -> Progress {
        match &mut self.source {
            Source::Plain(parser) => parser.end(),
            Source::Coded(decoder) => decoder.parser_mut().end(),
        }
        self.progress()
    }

    /// What was seen so far.
    pub fn progress(&self) -> Progress {
        self.parser().report.progress()
    }

    /// Tokens reported so far (U1), also by a body that breaks off.
    pub fn usage(&self) -> Usage {
        self.parser().report.usage_so_far()
    }

    /// The id under which the provider stores this answer of `/v1/responses`; `None`: not read, or another endpoint.
    pub fn response_id(&self) -> Option<&str> {
        self.parser().report.stored_id()
    }

    /// Server-sent events: nothing of an event is pending, so that an error event of ours may follow. `false` for
    /// anything else.
    pub fn at_event_boundary(&self) -> bool {
        match &self.parser().form {
            Form::Sse(stream) => stream.at_boundary(),
            Form::Undecided(Declared::Sse) => true,
            _ => false,
        }
    }

    fn parser(&self) -> &Parser {
        match &self.source {
            Source::Plain(parser) => parser,
            Source::Coded(decoder) => decoder.parser(),
        }
    }
}

/// What `content-type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declared {
    Sse,
    Json,
    /// Nothing that tells: JSON has been seen under these types, and under none.
    Unknown,
    Opaque,
}

impl Declared {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Self::Unknown;
        };
        let name = value.as_bytes().split(|&byte| byte == b';').next();
        let name = name.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match name.as_slice() {
            b"text/event-stream" => Self::Sse,
            b"application/json" => Self::Json,
            name if name.ends_with(b"+json") => Self::Json,
            b"text/plain" | b"application/octet-stream" => Self::Unknown,
            _ => Self::Opaque,
        }
    }

    /// What a body of this type is that begins with this byte.
    fn form(self, first: u8) -> Form {
        match (self, first) {
            (Self::Opaque, _) => Form::Undecided(Self::Opaque),
            (_, b'{') => Form::Json(members::scanner(false), Found::default()),
            (_, b'[') => Form::Array(members::scanner(true), Found::default()),
            // `data:`, `event:`, `id:`, `retry:` and comments; no JSON value begins so.
            (Self::Sse, _) | (Self::Json, b'd' | b'e' | b'i' | b'r' | b':') => {
                Form::Sse(Box::new(StreamReader::new()))
            }
            (Self::Json, _) => Form::Unread,
            (Self::Unknown, _) => Form::Undecided(Self::Opaque),
        }
    }
}

/// Reads decoded bytes.
pub(super) struct Parser {
    form: Form,
    report: Report,
}

enum Form {
    /// Nothing but white space has come.
    Undecided(Declared),
    Sse(Box<StreamReader>),
    Json(Scanner<Tag>, Found),
    Array(Scanner<Tag>, Found),
    /// JSON by its type, but neither object nor array.
    Unread,
}

impl Parser {
    /// One that reads nothing.
    pub(super) fn opaque() -> Self {
        Self {
            form: Form::Undecided(Declared::Opaque),
            report: Report::new(Judge {
                flavour: Flavour::Generic,
                endpoint: Endpoint::Other,
                headers: HeaderMap::new(),
                received_at: WallTime::default(),
            }),
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if let Form::Undecided(declared) = self.form {
            if declared == Declared::Opaque {
                return;
            }
            // White space and a byte order mark say nothing.
            let says =
                |byte: &u8| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0xef | 0xbb | 0xbf);
            let Some(at) = bytes.iter().position(says) else {
                return;
            };
            bytes = bytes.get(at..).unwrap_or_default();
            self.form = declared.form(bytes.first().copied().unwrap_or_default());
        }
        match &mut self.form {
            Form::Undecided(_) | Form::Unread => {}
            Form::Sse(stream) => stream.feed(bytes, &mut self.report),
            Form::Json(scanner, found) => read_json(scanner, found, bytes, &mut self.report, false),
            Form::Array(scanner, found) => read_json(scanner, found, bytes, &mut self.report, true),
        }
    }

    pub(super) fn end(&mut self) {
        if let Form::Sse(stream) = &mut self.form {
            stream.finish(&mut self.report);
        }
    }
}

fn read_json(
    scanner: &mut Scanner<Tag>,
    found: &mut Found,
    bytes: &[u8],
    report: &mut Report,
    in_array: bool,
) {
    if scanner.is_over() {
        return;
    }
    scanner.feed(
        bytes,
        &mut Values {
            found,
            report,
            in_array,
        },
    );
    if scanner.is_whole() {
        report.end();
    }
}

/// Hears the members of a JSON object, or of each element of an array.
struct Values<'a> {
    found: &'a mut Found,
    report: &'a mut Report,
    in_array: bool,
}

impl Visitor<Tag> for Values<'_> {
    fn value(&mut self, tag: Tag, value: Value<'_>) -> ControlFlow<()> {
        self.found.take(tag, value);
        // At once: a body that breaks off is counted with what was seen.
        self.report.usage(self.found.usage);
        if !self.in_array {
            self.report.response_id(self.found.id.take());
        }
        ControlFlow::Continue(())
    }

    fn end(&mut self) {
        let found = std::mem::take(self.found);
        if !found.has_error() || !self.report.error(&found.error(), b"") {
            self.report.content();
        }
    }
}
