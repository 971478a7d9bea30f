//! Server-sent events as they pass: finds the events in bytes cut anywhere, by the rules of the WHATWG (LF, CR and
//! CRLF, a byte order mark, several `data` lines, comments). What an event means is its reader's. Keeps nothing of
//! an event that lies whole within one piece, at most [`MAX_EVENT`] of one that does not; a longer one is handed
//! on in parts and never kept. How the bytes were cut changes nothing but what is borrowed.

use memchr::memchr2;

/// The largest event handed on whole: bytes of `data`, line ends between its lines included.
pub const MAX_EVENT: usize = 48 * 1024;
/// Event names are cut here; real ones are a tenth of it.
const MAX_NAME: usize = 256;
/// The least capacity worth giving back between events: an idle stream should hold next to nothing.
const SPARE: usize = 4 * 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The last `event` field, cut at 256 bytes; empty: none.
    pub name: &'a [u8],
    /// The `data` fields, joined by LF.
    pub data: &'a [u8],
}

/// What a [`Scanner`] tells of.
pub trait Sink {
    /// An event of at most [`MAX_EVENT`] bytes.
    fn event(&mut self, event: Event<'_>);

    /// A further piece of the data of an event longer than that.
    fn part(&mut self, _data: &[u8]) {}

    /// The event whose parts were handed on has ended.
    fn end(&mut self, _name: &[u8]) {}
}

/// Finds events in a stream fed piece by piece.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes of a leading byte order mark seen so far; `BOM.len()`: that question is settled.
    mark: usize,
    after_cr: bool,
    line: Line,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// This event is over the bound and goes out in parts.
    large: bool,
    /// A field of an event was seen since the last blank line.
    pending: bool,
}

/// What is known of a line of which only the beginning has come.
#[derive(Debug)]
enum Line {
    /// Too little to tell its field.
    Head { bytes: [u8; 6], len: usize },
    /// In the value of this field. `start`: nothing of it yet, so that one space is dropped.
    Value { field: Field, start: bool },
    /// In a field that no one needs, or a comment.
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Name,
}

/// Fields of the present event that lie in the present piece.
#[derive(Default)]
struct Borrowed<'a> {
    name: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

impl Default for Line {
    fn default() -> Self {
        Self::Head {
            bytes: [0; 6],
            len: 0,
        }
    }
}

impl Scanner {
    /// At the beginning of a stream. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing of an event is pending: an event written after the bytes fed so far is one of its own.
    pub fn at_boundary(&self) -> bool {
        !self.pending && matches!(self.line, Line::Head { len: 0, .. }) && self.mark_is_whole()
    }

    /// The next bytes of the stream; `sink` hears of each event that ends in them.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let mut rest = self.after_mark(bytes, sink);
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        let mut borrowed = Borrowed::default();
        while let Some((line, after)) = self.cut_line(rest) {
            if matches!(self.line, Line::Head { len: 0, .. }) {
                self.whole_line(line, &mut borrowed, sink);
            } else {
                self.part_of_line(line, sink);
                self.end_of_line(sink);
            }
            rest = after;
        }
        self.own(&mut borrowed, sink);
        if !rest.is_empty() {
            self.part_of_line(rest, sink);
        }
    }

    /// The stream has ended. Its last event counts also without the blank line: not all providers write it.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        if !matches!(self.line, Line::Head { len: 0, .. }) {
            self.end_of_line(sink);
        }
        self.dispatch(&mut Borrowed::default(), sink);
    }

    /// The line that `rest` begins with and what follows its end; `None`: it does not end there.
    fn cut_line<'a>(&mut self, rest: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (line, end) = rest.split_at_checked(memchr2(b'\n', b'\r', rest)?)?;
        let after = match end {
            [b'\r', b'\n', after @ ..] => after,
            [b'\r'] => {
                self.after_cr = true;
                &[]
            }
            [_, after @ ..] => after,
            [] => return None,
        };
        Some((line, after))
    }

    fn whole_line<'a>(
        &mut self,
        line: &'a [u8],
        borrowed: &mut Borrowed<'a>,
        sink: &mut impl Sink,
    ) {
        if line.is_empty() {
            return self.dispatch(borrowed, sink);
        }
        if line.starts_with(b":") {
            return;
        }
        self.pending = true;
        if let Some(value) = value_of(line, b"data") {
            if self.has_data {
                self.own(borrowed, sink);
                self.append(b"\n", sink);
                self.append(value, sink);
            } else {
                borrowed.data = Some(value);
                self.has_data = true;
            }
        } else if let Some(value) = value_of(line, b"event") {
            borrowed.name = Some(value.get(..MAX_NAME).unwrap_or(value));
        }
    }

    /// Keeps what was borrowed from a piece that is at its end.
    fn own(&mut self, borrowed: &mut Borrowed<'_>, sink: &mut impl Sink) {
        if let Some(name) = borrowed.name.take() {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        if let Some(data) = borrowed.data.take() {
            self.append(data, sink);
        }
    }

    fn append(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let len = self.data.len().saturating_add(bytes.len());
        if !self.large && len > MAX_EVENT {
            self.large = true;
            sink.part(&self.data);
            self.data = Vec::new();
        }
        if self.large {
            return sink.part(bytes);
        }
        if len > self.data.capacity() {
            let capacity = len.max(self.data.capacity().saturating_mul(2));
            let more = capacity.min(MAX_EVENT).saturating_sub(self.data.len());
            self.data.reserve_exact(more);
        }
        self.data.extend_from_slice(bytes);
    }

    fn part_of_line(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        while let Line::Head { bytes: head, len } = &mut self.line {
            let (Some((&byte, after)), Some(slot)) = (bytes.split_first(), head.get_mut(*len))
            else {
                return;
            };
            *slot = byte;
            *len += 1;
            bytes = after;
            let Some(line) = field_of(head.get(..*len).unwrap_or_default()) else {
                continue;
            };
            let comment = head.starts_with(b":");
            self.pending |= !comment;
            self.open(line, sink);
        }
        if let Line::Value { field, start } = &mut self.line {
            if *start && let Some(&byte) = bytes.first() {
                *start = false;
                bytes = if byte == b' ' {
                    bytes.get(1..).unwrap_or_default()
                } else {
                    bytes
                };
            }
            match field {
                Field::Data => self.append(bytes, sink),
                Field::Name => {
                    let room = MAX_NAME.saturating_sub(self.name.len());
                    self.name
                        .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                }
            }
        }
    }

    /// Begins the value of a line.
    fn open(&mut self, line: Line, sink: &mut impl Sink) {
        match line {
            Line::Value {
                field: Field::Data, ..
            } => {
                if self.has_data {
                    self.append(b"\n", sink);
                }
                self.has_data = true;
            }
            Line::Value {
                field: Field::Name, ..
            } => self.name.clear(),
            Line::Head { .. } | Line::Ignored => {}
        }
        self.line = line;
    }

    /// The line of which parts came has ended.
    fn end_of_line(&mut self, sink: &mut impl Sink) {
        if let Line::Head { bytes, len } = &self.line {
            self.pending = true;
            // A field's name without a colon has an empty value.
            match bytes.get(..*len) {
                Some(b"data") => self.open(
                    Line::Value {
                        field: Field::Data,
                        start: true,
                    },
                    sink,
                ),
                Some(b"event") => self.name.clear(),
                _ => {}
            }
        }
        self.line = Line::default();
    }

    /// A blank line: the event is whole. One without data is none.
    fn dispatch(&mut self, borrowed: &mut Borrowed<'_>, sink: &mut impl Sink) {
        if self.has_data {
            let name = borrowed.name.unwrap_or(&self.name);
            match borrowed.data {
                Some(data) if data.len() <= MAX_EVENT => sink.event(Event { name, data }),
                Some(data) => {
                    sink.part(data);
                    sink.end(name);
                }
                None if self.large => sink.end(name),
                None => sink.event(Event {
                    name,
                    data: &self.data,
                }),
            }
        }
        *borrowed = Borrowed::default();
        self.name.clear();
        self.data.clear();
        self.data.shrink_to(SPARE);
        self.has_data = false;
        self.large = false;
        self.pending = false;
    }

    fn mark_is_whole(&self) -> bool {
        self.mark == 0 || self.mark == BOM.len()
    }

    /// What follows the byte order mark, if one opens the stream.
    fn after_mark<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let mut rest = bytes;
        while let Some(&expected) = BOM.get(self.mark) {
            match rest.split_first() {
                None => return rest,
                Some((&byte, after)) if byte == expected => {
                    self.mark += 1;
                    rest = after;
                }
                Some(_) => {
                    // It only looked like one: what was held back is the beginning of a line.
                    let held = BOM.get(..self.mark).unwrap_or_default();
                    self.mark = BOM.len();
                    self.part_of_line(held, sink);
                }
            }
        }
        rest
    }
}

/// The value of a whole line of this field.
fn value_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(field)? {
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        [] => Some(&[]),
        _ => None,
    }
}

/// What a line is that begins so; `None`: too early to tell.
fn field_of(head: &[u8]) -> Option<Line> {
    let value = |field| Line::Value { field, start: true };
    match head {
        b"data:" => Some(value(Field::Data)),
        b"event:" => Some(value(Field::Name)),
        _ if b"data:".starts_with(head) || b"event:".starts_with(head) => None,
        _ => Some(Line::Ignored),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Told = (Vec<u8>, Vec<u8>);

    /// Hears events, whole or in parts, as pairs of name and data.
    #[derive(Default)]
    struct Heard {
        events: Vec<Told>,
        parts: Vec<u8>,
        whole: usize,
    }

    impl Sink for Heard {
        fn event(&mut self, event: Event<'_>) {
            assert!(event.data.len() <= MAX_EVENT);
            self.whole += 1;
            self.events.push((event.name.to_vec(), event.data.to_vec()));
        }

        fn part(&mut self, data: &[u8]) {
            self.parts.extend_from_slice(data);
        }

        fn end(&mut self, name: &[u8]) {
            let data = std::mem::take(&mut self.parts);
            assert!(data.len() > MAX_EVENT);
            self.events.push((name.to_vec(), data));
        }
    }

    /// The events of a whole stream, read slowly: all lines first, then their fields.
    fn oracle(stream: &[u8]) -> Vec<Told> {
        let stream = stream.strip_prefix(BOM).unwrap_or(stream);
        let mut lines = vec![Vec::new()];
        let mut bytes = stream.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' | b'\n' => {
                    if byte == b'\r' {
                        bytes.next_if_eq(&b'\n');
                    }
                    lines.push(Vec::new());
                }
                other => lines.last_mut().unwrap().push(other),
            }
        }
        lines.pop(); // a line without its end
        let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
        for line in lines {
            if line.is_empty() {
                if !data.is_empty() {
                    events.push((name, data.join(&b'\n')));
                }
                (name, data) = (Vec::new(), Vec::new());
                continue;
            }
            let colon = line.iter().position(|&byte| byte == b':');
            let field = &line[..colon.unwrap_or(line.len())];
            let value = colon.map_or(&[][..], |at| &line[at + 1..]);
            let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
            match field {
                b"data" => data.push(value),
                b"event" => name = value,
                _ => {}
            }
        }
        events
    }

    /// Feeds pieces of these lengths, over and over.
    fn fed(stream: &[u8], lengths: &[usize]) -> (Heard, Scanner) {
        let (mut heard, mut scanner) = (Heard::default(), Scanner::new());
        let mut rest = stream;
        for &length in lengths.iter().cycle() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            scanner.feed(piece, &mut heard);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        (heard, scanner)
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let token = prop::sample::select(vec![
            "data",
            "data:",
            "data: ",
            "data: {\"a\":1}\n",
            "event",
            "event:",
            "event: ping\n",
            "event: error\r\n",
            ":",
            ": hi\n",
            "id: 1\n",
            "retry:5\r",
            "\n",
            "\n\n",
            "\r",
            "\r\n",
            "\r\n\r\n",
            " ",
            "x",
            "dat",
            "events:y\n",
            "\u{feff}",
            "é",
        ]);
        prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes())
    }

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(0usize..9, 1..8).prop_map(|mut lengths| {
            lengths.push(1);
            lengths
        })
    }

    proptest! {
        // F3, U1
        #[test]
        fn however_a_stream_is_cut_its_events_are_those_of_the_naive_reader(
            stream in stream(),
            lengths in lengths(),
            marked in any::<bool>(),
        ) {
            let stream = if marked { [BOM, &stream].concat() } else { stream };
            prop_assert_eq!(fed(&stream, &lengths).0.events, oracle(&stream));
            prop_assert_eq!(fed(&stream, &[stream.len().max(1)]).0.events, oracle(&stream));
        }

        // C9: an error event of ours follows at an event boundary
        #[test]
        fn at_a_boundary_an_event_of_ours_is_one_of_its_own(stream in stream(), lengths in lengths()) {
            let (_, scanner) = fed(&stream, &lengths);
            let mut expected = oracle(&stream);
            expected.push((b"error".to_vec(), b"x".to_vec()));
            let with_ours = [&*stream, b"event: error\ndata: x\n\n"].concat();
            if scanner.at_boundary() {
                prop_assert_eq!(oracle(&with_ours), expected);
            }
        }
    }

    #[track_caller]
    fn check(stream: &str, expected: &[(&str, &str)]) {
        let expected: Vec<Told> = expected
            .iter()
            .map(|(name, data)| (name.as_bytes().to_vec(), data.as_bytes().to_vec()))
            .collect();
        assert_eq!(fed(stream.as_bytes(), &[stream.len()]).0.events, expected);
        assert_eq!(fed(stream.as_bytes(), &[1]).0.events, expected);
    }

    // F3
    #[test]
    fn events_are_read_by_the_rules_of_the_whatwg() {
        check("event: a\ndata: 1\n\ndata:2\n\n", &[("a", "1"), ("", "2")]);
        check(
            "data: 1\ndata: 2\r\ndata\rdata:  3\n\n",
            &[("", "1\n2\n\n 3")],
        );
        check("\u{feff}data: 1\n\n", &[("", "1")]);
        check("\n\u{feff}data: 1\n\n", &[]);
        check(": comment\n\nevent: only\n\ndata\n\n", &[("", "")]);
        check("event: a\nevent: b\ndata: x\n\n", &[("b", "x")]);
        check("data: no blank line\n", &[]);
    }

    // C9
    #[test]
    fn a_boundary_is_where_nothing_of_an_event_is_pending() {
        for (stream, expected) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r", true),
            (": comment\n", true),
            ("data: 1\n", false),
            ("data: 1", false),
            ("event: a\n", false),
            ("id: 1\n", false),
            (": comm", false),
            ("d", false),
        ] {
            let boundary = |lengths: &[usize]| fed(stream.as_bytes(), lengths).1.at_boundary();
            assert_eq!(boundary(&[1]), expected, "{stream:?}");
            assert_eq!(boundary(&[stream.len().max(1)]), expected, "{stream:?}");
        }
        assert!(!fed(&BOM[..2], &[1]).1.at_boundary());
        assert!(fed(BOM, &[1]).1.at_boundary());
    }

    // U1
    #[test]
    fn at_its_end_a_stream_gives_the_event_that_lacks_its_blank_line() {
        for stream in ["data: 1\n\ndata: [DONE]", "data: 1\n\ndata: [DONE]\n"] {
            let (mut heard, mut scanner) = fed(stream.as_bytes(), &[3]);
            scanner.finish(&mut heard);
            assert_eq!(heard.events.last().unwrap().1, b"[DONE]");
            assert!(scanner.at_boundary());
            scanner.finish(&mut heard);
            assert_eq!(heard.events.len(), 2);
        }
    }

    // STYLE, hot path: past the bound stop parsing, never stop forwarding
    #[test]
    fn an_event_over_the_bound_comes_in_parts_and_is_never_kept() {
        let line = |len: usize| format!("data: {}\n", "x".repeat(len));
        for (stream, whole) in [
            (line(MAX_EVENT), 1),
            (line(MAX_EVENT + 1), 0),
            (line(MAX_EVENT / 2) + &line(MAX_EVENT / 2 - 1), 1),
            (line(MAX_EVENT / 2) + &line(MAX_EVENT / 2), 0),
        ] {
            let stream = format!("event: big\n{stream}\ndata: next\n\n").into_bytes();
            for length in [stream.len(), 4096, 1000, 7] {
                let (heard, scanner) = fed(&stream, &[length]);
                assert_eq!(heard.events, oracle(&stream));
                assert_eq!(heard.whole, whole + 1);
                assert!(scanner.data.capacity() <= SPARE);
            }
        }
        let (_, scanner) = fed(line(10 * MAX_EVENT).as_bytes(), &[1500]);
        assert_eq!(scanner.data.capacity(), 0);
        let (_, scanner) = fed(line(MAX_EVENT - 9).as_bytes(), &[1500]);
        assert!(scanner.data.capacity() <= MAX_EVENT);
    }

    // STYLE, hot path
    #[test]
    fn a_comment_or_an_unknown_field_is_never_kept() {
        for start in [": ", "id: ", "unknown"] {
            let stream = format!("{start}{}\ndata: 1\n\n", "x".repeat(100_000));
            let (heard, scanner) = fed(stream.as_bytes(), &[1000]);
            assert_eq!(heard.events, oracle(stream.as_bytes()));
            assert!(scanner.data.capacity() <= SPARE);
        }
        let stream = format!("event: {}\ndata: 1\n\n", "n".repeat(1000));
        for length in [1, stream.len()] {
            let (heard, _) = fed(stream.as_bytes(), &[length]);
            assert_eq!(heard.events[0].0.len(), MAX_NAME);
        }
    }
}
