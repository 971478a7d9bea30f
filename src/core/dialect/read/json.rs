//! A resumable scan of one JSON value for a few members of its outermost objects. Follows brackets and strings and
//! nothing else: it does not validate, so a document that a lenient parser accepts (`NaN`, control characters) is
//! read as that parser reads it. Which members matter is a table; what they mean is the visitor's. Costs one pass of
//! memchr over what is skipped; keeps what the table's limits allow, and nothing of the rest.

use super::skip::{StringEnd, bracket_or_quote, string_end};
use super::table::{Member, Take, Value, Visitor};
use super::text::Text;

/// The longest key worth comparing.
const MAX_KEY: usize = 64;
/// The longest number or literal worth keeping.
const MAX_SCALAR: usize = 32;
/// How deep tables may lie in tables.
const MAX_DEPTH: usize = 3;
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];
const BOM_LEN: u8 = 3;

/// One scan.
#[derive(Debug)]
pub(super) struct Scanner<T: 'static> {
    root: &'static [Member<T>],
    arrays: bool,
    state: State,
    in_array: bool,
    whole: bool,
    stopped: bool,
    /// The tables of the objects that we are inside of, the first `depth` of them.
    open: [&'static [Member<T>]; MAX_DEPTH],
    depth: usize,
    /// Whose value is next or being read; `None`: no one's.
    member: Option<&'static Member<T>>,
    text: Text,
    kept: Kept,
    /// How many bytes were fed before those that are being looked at.
    at: u64,
    /// Where the string that is being read began.
    begun: u64,
}

/// A value kept as it stands.
#[derive(Debug, Default)]
struct Kept {
    /// `None`: nothing is being kept.
    limit: Option<usize>,
    bytes: Vec<u8>,
    too_long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the value; so many bytes of a byte order mark were seen.
    Start(u8),
    Key,
    KeyText,
    Colon,
    Value,
    Text,
    Scalar,
    /// This many brackets deep in what no one needs.
    Skip(u32),
    /// In a string there; zero brackets: the string is the value.
    SkipText(u32),
    /// There, behind a backslash.
    SkipEscape(u32),
    /// Behind a member's value.
    After,
    /// Behind a value of the outermost array.
    AfterElement,
    /// Whole, or given up.
    Over,
}

impl<T: Copy + 'static> Scanner<T> {
    /// A scan for these members, at most three tables deep. `arrays`: an array is taken for a row of values to be
    /// scanned each; else it is passed over.
    pub(super) fn new(root: &'static [Member<T>], arrays: bool) -> Self {
        Self {
            root,
            arrays,
            state: State::Start(0),
            in_array: false,
            whole: false,
            stopped: false,
            open: [&[]; MAX_DEPTH],
            depth: 0,
            member: None,
            text: Text::default(),
            kept: Kept::default(),
            at: 0,
            begun: 0,
        }
    }

    /// Whether nothing further can be found.
    pub(super) fn is_over(&self) -> bool {
        self.stopped || self.state == State::Over
    }

    /// Whether the outermost value came to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], visitor: &mut impl Visitor<T>) {
        let fed = self.at;
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_over() {
            self.at = fed + (bytes.len() - rest.len()) as u64;
            rest = match self.state {
                State::KeyText | State::Text => self.text(rest, visitor),
                State::Scalar => self.scalar(rest, visitor),
                State::Skip(depth) => self.skip(rest, depth, visitor),
                State::SkipText(depth) => self.skip_text(rest, depth, visitor),
                State::SkipEscape(depth) => {
                    self.state = State::SkipText(depth);
                    self.take(rest, 1)
                }
                _ => self.step(rest, visitor),
            };
        }
        self.at = fed + bytes.len() as u64;
    }

    /// The next byte, where it alone decides.
    fn step<'a>(&mut self, bytes: &'a [u8], visitor: &mut impl Visitor<T>) -> &'a [u8] {
        let Some((&byte, after)) = bytes.split_first() else {
            return bytes;
        };
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            self.state = match self.state {
                State::Start(0) => State::Start(BOM_LEN),
                State::Start(1 | 2) => State::Over,
                other => other,
            };
            return after;
        }
        match (self.state, byte) {
            (State::Start(seen), _) if BOM.get(usize::from(seen)) == Some(&byte) => {
                self.state = State::Start(seen + 1);
            }
            (State::Start(0 | BOM_LEN), b'{') => self.enter(self.root),
            (State::Start(0 | BOM_LEN), b'[') if self.arrays && !self.in_array => {
                self.in_array = true;
            }
            (State::Start(_) | State::AfterElement, b']') if self.in_array => self.close(),
            (State::Start(_), _) if self.in_array => return self.begin(bytes, visitor),
            (State::AfterElement, b',') => self.state = State::Start(BOM_LEN),
            (State::Key, b'"') => {
                self.text.begin(MAX_KEY);
                self.state = State::KeyText;
            }
            (State::Key, b',') => {}
            (State::Key | State::After, b'}') => {
                self.depth = self.depth.saturating_sub(1);
                self.ended(visitor);
            }
            (State::After, b',') => self.state = State::Key,
            (State::Colon, b':') => self.state = State::Value,
            (State::Value, _) => return self.begin(bytes, visitor),
            _ => self.state = State::Over,
        }
        after
    }

    /// At the first byte of a value.
    fn begin<'a>(&mut self, bytes: &'a [u8], visitor: &mut impl Visitor<T>) -> &'a [u8] {
        let first = bytes.first().copied().unwrap_or_default();
        let take = self.member.map(|member| member.take);
        self.kept.begin(match (take, first) {
            (Some(Take::Raw(limit)), _) => Some(limit),
            (Some(Take::Text(_)), b'"' | b'{' | b'[') | (None, _) => None,
            (Some(Take::Text(_)), _) => Some(MAX_SCALAR),
        });
        match (first, take) {
            (b'"', Some(Take::Text(limit))) => {
                self.text.begin(limit);
                self.begun = self.at;
                self.state = State::Text;
            }
            (b'"', _) => self.state = State::SkipText(0),
            (b'{' | b'[', Some(Take::Text(_))) => {
                self.tell(Value::Container, visitor);
                match self.member {
                    Some(member) if first == b'{' && !member.inside.is_empty() => {
                        self.enter(member.inside);
                    }
                    _ => self.state = State::Skip(1),
                }
            }
            (b'{' | b'[', _) => self.state = State::Skip(1),
            _ => {
                self.state = State::Scalar;
                return bytes;
            }
        }
        self.take(bytes, 1)
    }

    fn enter(&mut self, members: &'static [Member<T>]) {
        if let Some(slot) = self.open.get_mut(self.depth) {
            *slot = members;
            self.depth += 1;
            self.state = State::Key;
        } else {
            self.state = State::Skip(1);
        }
    }

    fn text<'a>(&mut self, bytes: &'a [u8], visitor: &mut impl Visitor<T>) -> &'a [u8] {
        let Some(taken) = self.text.feed(bytes) else {
            return &[];
        };
        if self.state == State::KeyText {
            let members = self.depth.checked_sub(1).and_then(|at| self.open.get(at));
            let members = members.copied().unwrap_or_default();
            self.member = self
                .text
                .get()
                .and_then(|key| members.iter().find(|member| member.is_named(key)));
            self.state = State::Colon;
        } else {
            let value = self.text.get().map_or(Value::TooLong, Value::Text);
            if let Some(member) = self.member {
                visitor.place(member.tag, self.begun..self.at + taken as u64);
                self.stopped |= visitor.value(member.tag, value).is_break();
            }
            self.ended(visitor);
        }
        bytes.get(taken..).unwrap_or_default()
    }

    fn scalar<'a>(&mut self, bytes: &'a [u8], visitor: &mut impl Visitor<T>) -> &'a [u8] {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let Some(at) = bytes.iter().position(ends) else {
            return self.take(bytes, bytes.len());
        };
        let rest = self.take(bytes, at);
        self.kept_ended(visitor);
        rest
    }

    /// Passes over brackets and what is in them.
    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        mut depth: u32,
        visitor: &mut impl Visitor<T>,
    ) -> &'a [u8] {
        let mut at = 0;
        while let Some((found, byte)) = bracket_or_quote(bytes.get(at..).unwrap_or_default()) {
            at += found + 1;
            match byte {
                b'"' => match string_end(bytes.get(at..).unwrap_or_default()) {
                    StringEnd::At(len) => at += len,
                    StringEnd::Beyond => {
                        self.state = State::SkipText(depth);
                        return self.take(bytes, bytes.len());
                    }
                    StringEnd::InEscape => {
                        self.state = State::SkipEscape(depth);
                        return self.take(bytes, bytes.len());
                    }
                },
                b'{' | b'[' => depth = depth.saturating_add(1),
                _ => depth -= 1,
            }
            if depth == 0 {
                let rest = self.take(bytes, at);
                self.kept_ended(visitor);
                return rest;
            }
        }
        self.state = State::Skip(depth);
        self.take(bytes, bytes.len())
    }

    fn skip_text<'a>(
        &mut self,
        bytes: &'a [u8],
        depth: u32,
        visitor: &mut impl Visitor<T>,
    ) -> &'a [u8] {
        match string_end(bytes) {
            StringEnd::At(len) => {
                let rest = self.take(bytes, len);
                if depth == 0 {
                    self.kept_ended(visitor);
                } else {
                    self.state = State::Skip(depth);
                }
                rest
            }
            StringEnd::Beyond => self.take(bytes, bytes.len()),
            StringEnd::InEscape => {
                self.state = State::SkipEscape(depth);
                self.take(bytes, bytes.len())
            }
        }
    }

    /// Passes over the first `len` bytes, keeping them where they belong to a value that is kept.
    fn take<'a>(&mut self, bytes: &'a [u8], len: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
        self.kept.push(taken);
        rest
    }

    /// A value that was kept as it stands, or not at all, has ended.
    fn kept_ended(&mut self, visitor: &mut impl Visitor<T>) {
        if let (Some(member), Some(_)) = (self.member, self.kept.limit.take()) {
            let value = match (self.kept.too_long, member.take) {
                (true, _) => Value::TooLong,
                (false, Take::Raw(_)) => Value::Raw(&self.kept.bytes),
                (false, Take::Text(_)) => Value::Scalar(&self.kept.bytes),
            };
            self.stopped |= visitor.value(member.tag, value).is_break();
        }
        self.ended(visitor);
    }

    /// A value has ended.
    fn ended(&mut self, visitor: &mut impl Visitor<T>) {
        self.member = None;
        if self.depth > 0 {
            self.state = State::After;
            return;
        }
        visitor.end();
        if self.in_array {
            self.state = State::AfterElement;
        } else {
            self.close();
        }
    }

    fn close(&mut self) {
        self.state = State::Over;
        self.whole = true;
    }

    fn tell(&mut self, value: Value<'_>, visitor: &mut impl Visitor<T>) {
        if let Some(member) = self.member {
            self.stopped |= visitor.value(member.tag, value).is_break();
        }
    }
}

impl Kept {
    fn begin(&mut self, limit: Option<usize>) {
        self.limit = limit;
        self.bytes.clear();
        self.too_long = false;
    }

    fn push(&mut self, bytes: &[u8]) {
        let Some(limit) = self.limit else { return };
        if self.too_long || self.bytes.len() + bytes.len() > limit {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }
}
