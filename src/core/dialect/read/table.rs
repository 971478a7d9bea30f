//! Which members of a JSON object a scan looks for, and how it tells of them. The scan itself is `json`'s; what a
//! member means is its visitor's.

use std::ops::{ControlFlow, Range};

/// A member worth knowing.
#[derive(Debug)]
pub(super) struct Member<T: 'static> {
    /// Its name, without escapes.
    pub(super) key: &'static str,
    /// Whether any case of its ASCII letters will do: some parsers see no difference.
    pub(super) any_case: bool,
    /// What the visitor calls it.
    pub(super) tag: T,
    /// What is kept of its value.
    pub(super) take: Take,
    /// Where the value is an object: its members.
    pub(super) inside: &'static [Self],
}

/// What is kept of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Take {
    /// A string without its escapes, up to so many bytes; short scalars.
    Text(usize),
    /// The text of the whole value as it stands, up to so many bytes.
    Raw(usize),
}

/// A value, told when it has ended; a container under `Take::Text` when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string. Not checked to be UTF-8.
    Text(&'a [u8]),
    /// A number or literal.
    Scalar(&'a [u8]),
    /// An object or array.
    Container,
    /// Under `Take::Raw`: whatever it is, unparsed.
    Raw(&'a [u8]),
    /// Over its limit.
    TooLong,
}

/// Who is told of members.
pub(super) trait Visitor<T> {
    /// A member of the table; each time, where it is named twice. `Break`: the scan is over.
    fn value(&mut self, tag: T, value: Value<'_>) -> ControlFlow<()>;

    /// Where a string lies that [`Visitor::value`] tells next: in bytes fed before it, its quotes counted.
    fn place(&mut self, _tag: T, _bytes: Range<u64>) {}

    /// The value is whole; of an array of values: one of them.
    fn end(&mut self) {}
}

impl<T> Member<T> {
    /// Whether a key without its escapes names this member.
    pub(super) fn is_named(&self, key: &[u8]) -> bool {
        self.key.as_bytes() == key
            || (self.any_case && self.key.as_bytes().eq_ignore_ascii_case(key))
    }
}
